import type { Snapshot } from './config/snapshot.ts';

/** A hint of less does not make us read faster: files are watched as well. */
const LEAST_MS = 1_000;
/** How long at most until the hints are looked at again: a reload may have brought a shorter one. */
const MOST_MS = 60_000;

/**
 * Has SPIFFE bundles read again as often as they say themselves (spiffe_refresh_hint), beside what is noticed of their files: on some file systems a change
 * does not show in a file's size or times. Returns what ends it.
 */
export function lookAtBundles(snapshot: () => Pick<Snapshot, 'bundles'>, reload: () => Promise<unknown>): () => void {
  let timer: NodeJS.Timeout | undefined;
  let last = performance.now();
  let closed = false;
  function wait(): void {
    if (closed) return;
    const hint = Math.min(...Object.values(snapshot().bundles).map(({ refresh }) => refresh ?? Infinity));
    const due = last + Math.max(hint, LEAST_MS) - performance.now();
    timer = setTimeout(look, Math.min(Math.max(due, LEAST_MS), MOST_MS), due <= MOST_MS).unref();
  }
  function look(due: boolean): void {
    if (!due) return wait();
    last = performance.now();
    // What is wrong is said, and tried again, by whoever reads.
    reload().catch(() => undefined).finally(wait);
  }
  wait();
  return () => {
    closed = true;
    clearTimeout(timer);
  };
}
