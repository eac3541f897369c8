import type { Bench } from './measure.ts';
import { measure } from './measure.ts';
import { runLoad, type LoadResult } from './load.ts';
import type { RunningPeer } from './peers.ts';
import { cpuSeconds, residentMiB } from './process.ts';
import { loadScenario } from './scenarios.ts';

/** What so many idle connections cost one server. */
export interface IdleMeasurement {
  readonly peer: string;
  readonly scenario: string;
  readonly connections: number;
  /** Resident size before the first of them and once all are idle, in MiB. */
  readonly beforeMiB: number;
  readonly afterMiB: number;
  readonly kibEach: number;
  /** CPU time to take one in: handshake and one request, in µs. */
  readonly openMicros: number;
  /** CPU time that all of them cost in a second in which nothing happens, in ms. */
  readonly idleMillis: number;
  /** Connections open after `IDLE_S`, and of these the ones that answered once more. */
  readonly open: number;
  readonly answered: number;
  /** Latencies of that second request, in µs. */
  readonly again: Pick<LoadResult, 'p50' | 'p95' | 'p99'>;
}

/** Seconds for which nothing happens on them, once all are open and memory has settled. */
export const IDLE_S = 3;
const SETTLE_S = 2;
const DEADLINE_S = 90;
/** Requests and handshakes that a server fresh from its start does first: code, caches and its pool are no cost of connections. */
const WARM = { requests: 4_000, handshakes: 200 } as const;

/** Opens `connections` to a server that has had none, waits, and asks once more on each. */
export async function measureIdle(bench: Bench, peer: { name: string; running: RunningPeer }, scenario: string, connections: number): Promise<IdleMeasurement & { readonly fault?: string }> {
  const { pid } = peer.running.process;
  const kept = loadScenario('kept-alive');
  await measure(bench, peer, kept, 0, WARM.requests);
  await measure(bench, peer, loadScenario('handshake-ec-1.3'), 0, WARM.handshakes);
  let measured: (IdleMeasurement & { readonly fault?: string }) | undefined;
  await runLoad(bench.program, {
    ...kept, mode: 'idle', connections, count: connections, port: peer.running.port, certificate: bench.pki.path('doctor.pem'), key: bench.pki.path('doctor.key'),
    expect: undefined, deadline: DEADLINE_S, core: bench.cores.load,
  }, async (go) => {
    const before = { memory: residentMiB(pid).now, cpu: cpuSeconds(pid) };
    const opened = await go();
    const openCpu = cpuSeconds(pid) - before.cpu;
    await seconds(SETTLE_S);
    const [afterMiB, idleFrom] = [residentMiB(pid).now, cpuSeconds(pid)];
    await seconds(IDLE_S);
    const idleCpu = cpuSeconds(pid) - idleFrom;
    const again = await go();
    // Failures so far: those that were closed meanwhile.
    const open = opened.finished - again.preludeFailed + opened.failed;
    const fault = opened.finished === connections && again.finished === connections ? undefined
      : `${opened.finished} of ${connections} opened, ${open} open after ${IDLE_S + SETTLE_S} s, ${again.finished} answered again: ${again.error}`;
    measured = {
      peer: peer.name, scenario, connections, beforeMiB: before.memory, afterMiB, kibEach: ((afterMiB - before.memory) * 1024) / connections,
      openMicros: (openCpu / connections) * 1e6, idleMillis: (idleCpu / IDLE_S) * 1000, open, answered: again.finished,
      again: { p50: again.p50, p95: again.p95, p99: again.p99 }, ...(fault === undefined ? {} : { fault }),
    };
  });
  return measured as unknown as IdleMeasurement & { readonly fault?: string };
}

function seconds(count: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, count * 1000));
}
