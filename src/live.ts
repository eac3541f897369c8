import { BroadcastChannel } from 'node:worker_threads';
import { SECONDS } from './admin/metrics.ts';
import type { ConnectionCount, ThreadPulse } from './live-protocol.ts';

/** The gateway over a few seconds, for plots. Rates are per second, durations in seconds. */
export interface Sample {
  /** ms since the epoch: its end. */
  readonly at: number;
  readonly connections: readonly ConnectionCount[];
  /** Answers by the first digit of their status. */
  readonly requests: Readonly<Record<string, number>>;
  /** How many, by reason. */
  readonly denials: Readonly<Record<string, number>>;
  /** Absent while there was no request. */
  readonly p50?: number;
  readonly p95?: number;
  readonly p99?: number;
}

/** The last quarter of an hour, and what comes. */
export interface Live {
  history(): readonly Sample[];
  /** Where data-plane threads hear each further one, as JSON, for the streams that they carry; null: there will be no more. */
  readonly channel: string;
  /** Denials by reason since the gateway began to count. */
  denials(): Readonly<Record<string, number>>;
  close(): void;
}

export interface LiveOptions {
  /** Whether anybody could look: else nothing is asked. */
  readonly wanted: () => boolean;
  readonly pulses: () => Promise<readonly ThreadPulse[]>;
  /** ms since the epoch */
  readonly now: () => number;
}

/** Tests have several gateways in one process. */
let born = 0;

const EVERY_MS = 2_000;
const KEPT = 450;

/** Asks the threads every two seconds what they have counted, whoever looks: a handful of numbers, so that the last minutes are there when somebody comes. */
export function createLive({ wanted, pulses, now }: LiveOptions): Live {
  const samples: Sample[] = [];
  const channelName = `wardgate-live-${process.pid}-${born++}`;
  const channel = new BroadcastChannel(channelName);
  channel.unref();
  let before: Totals | undefined;
  let asking = false;
  const timer = setInterval(() => {
    if (asking || !wanted()) return;
    asking = true;
    take().catch(() => undefined).finally(() => {
      asking = false;
    });
  }, EVERY_MS);
  timer.unref();

  async function take(): Promise<void> {
    const totals = totalsOf(await pulses(), now());
    if (before !== undefined) {
      const sample = sampleOf(before, totals);
      samples.push(sample);
      if (samples.length > KEPT) samples.shift();
      channel.postMessage(JSON.stringify(sample));
    }
    before = totals;
  }

  return {
    history: () => samples,
    channel: channelName,
    denials: () => before?.denials ?? {},
    close() {
      clearInterval(timer);
      // Streams end with it, and clients come again when there is somebody to come to.
      channel.postMessage(null);
      channel.close();
    },
  };
}

interface Totals extends Omit<Sample, 'p50' | 'p95' | 'p99'> {
  readonly durations: readonly number[];
}

function totalsOf(pulses: readonly ThreadPulse[], at: number): Totals {
  const connections = new Map<string, ConnectionCount>();
  for (const one of pulses.flatMap((pulse) => pulse.connections)) {
    const key = JSON.stringify([one.listener, one.protocol, one.role]);
    connections.set(key, { ...one, connections: one.connections + (connections.get(key)?.connections ?? 0) });
  }
  const durations = SECONDS.concat(Infinity).map((_, index) => pulses.reduce((sum, pulse) => sum + (pulse.durations[index] ?? 0), 0));
  return { at, connections: [...connections.values()], requests: added(pulses.map((pulse) => pulse.requests)), denials: added(pulses.map((pulse) => pulse.denials)), durations };
}

function added(all: readonly Readonly<Record<string, number>>[]): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (const [key, value] of all.flatMap((one) => Object.entries(one))) sums[key] = (sums[key] ?? 0) + value;
  return sums;
}

/** What has come between two totals. A thread that was replaced counts from nothing again: then there is less, and that is no negative rate. */
function sampleOf(before: Totals, after: Totals): Sample {
  const seconds = Math.max(0.001, (after.at - before.at) / 1000);
  const requests = Object.fromEntries(Object.entries(after.requests).map(([kind, count]) => [kind, round(Math.max(0, count - (before.requests[kind] ?? 0)) / seconds)]));
  const denials = Object.fromEntries(Object.entries(after.denials).map(([reason, count]) => [reason, Math.max(0, count - (before.denials[reason] ?? 0))] as const).filter(([, count]) => count > 0));
  const durations = after.durations.map((count, index) => Math.max(0, count - (before.durations[index] as number)));
  const all = durations.reduce((sum, count) => sum + count, 0);
  return { at: after.at, connections: after.connections, requests, denials, ...(all === 0 ? {} : { p50: quantile(durations, all, 0.5), p95: quantile(durations, all, 0.95), p99: quantile(durations, all, 0.99) }) };
}

/** Within a bucket durations are taken to be spread evenly, as Prometheus takes them. */
function quantile(durations: readonly number[], all: number, share: number): number {
  let left = all * share;
  for (const [index, count] of durations.entries()) {
    const from = index === 0 ? 0 : SECONDS[index - 1] as number;
    const to = SECONDS[index] ?? from;
    if (left <= count) return round(count === 0 ? from : from + (to - from) * (left / count));
    left -= count;
  }
  return SECONDS.at(-1) as number;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
