import type { Snapshot } from '../../config/snapshot.ts';
import { forgetThread } from './table.ts';
import type { ThreadFaults, UpstreamShare } from './upstream.ts';
import { Watched, type UpstreamReport, type WatchedOptions } from './watched.ts';

export type { AddressReport, EndpointReport, UpstreamReport } from './watched.ts';

/** By the upstream's name: what each thread needs to take part. */
export type UpstreamShares = Readonly<Record<string, UpstreamShare>>;

/**
 * What is done about upstreams once a gateway, by the main thread: their tables in shared memory, the addresses behind their
 * names, health checks, and the account of how they stand.
 */
export interface UpstreamWatch {
  /** Makes ready what a configuration's upstreams need; one that has not changed goes on as it is. Waits for names, not for long. */
  prepare(snapshot: Pick<Snapshot, 'config' | 'upstreams'>): Promise<UpstreamShares>;
  /** What was prepared is in force. */
  adopt(): void;
  /** What was prepared is not wanted. */
  discard(): void;
  /** What is in force, for a thread that starts anew. */
  shares(): UpstreamShares;
  /** A thread is gone, and what it had under way with it. */
  forgetThread(thread: number): void;
  /** `faults` are what threads tell of requests that failed. */
  report(faults?: readonly ThreadFaults[]): readonly UpstreamReport[];
  close(): void;
}

const TICK_MS = 1_000;

/** Keeps watch over the upstreams of a gateway. */
export function createUpstreamWatch(options: WatchedOptions): UpstreamWatch {
  let current: ReadonlyMap<string, Watched> = new Map();
  let prepared: ReadonlyMap<string, Watched> | undefined;
  let born = 0;
  const timer = setInterval(() => {
    for (const watched of current.values()) watched.tick();
  }, TICK_MS);
  timer.unref();

  function discard(): void {
    for (const watched of prepared?.values() ?? []) if (![...current.values()].includes(watched)) watched.close();
    prepared = undefined;
  }

  return {
    async prepare({ config, upstreams }) {
      discard();
      const next = new Map<string, Watched>();
      for (const [name, upstream] of Object.entries(config.upstreams)) {
        const material = upstreams[name];
        if (material === undefined) throw new Error(`upstreams: no material for ${name}`);
        const before = current.get(name);
        const same = before !== undefined && before.isFor(upstream, material);
        next.set(name, same ? before : new Watched(born++, name, upstream, material, options, before));
      }
      prepared = next;
      await Promise.all([...next.values()].map((watched) => watched.ready()));
      return sharesOf(next);
    },
    adopt() {
      if (prepared === undefined) return;
      const before = current;
      current = prepared;
      prepared = undefined;
      for (const [name, watched] of before) if (current.get(name) !== watched) watched.close();
      for (const watched of current.values()) watched.start();
    },
    discard,
    shares: () => sharesOf(current),
    forgetThread(thread) {
      for (const watched of new Set([...current.values(), ...prepared?.values() ?? []])) forgetThread(watched.table, thread);
    },
    report: (faults = []) => [...current.values()].map((watched) => watched.report(faults)),
    close() {
      discard();
      clearInterval(timer);
      for (const watched of current.values()) watched.close();
    },
  };
}

function sharesOf(watched: ReadonlyMap<string, Watched>): UpstreamShares {
  return Object.fromEntries([...watched].map(([name, one]) => [name, one.share()]));
}
