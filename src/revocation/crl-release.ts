import type { CrlHandle } from './crl-handle.ts';

/** Tables smaller than this, all together, may wait for the collector's own time. */
const WORTH_IT = 1 << 20;
/** More than the 64 MiB of external memory that V8 lets grow before it begins to collect. */
const NUDGE = 96 << 20;
/** By then nothing that was under way holds the old handles any more: no message, no frame. */
const DELAY_MS = 1_000;

/**
 * Sees to it that the tables of replaced CRLs are given back. V8 counts nothing for shared memory, so a thread with little to
 * do keeps an unreachable table of 20 MB for hours, and each reload adds one; it goes only when every thread has collected.
 * Making and dropping a buffer that nobody touches, which costs address space and no memory, has the collector begin, in the small steps
 * that it takes beside the work; to call it outright would stop the thread for a whole collection.
 */
export function releaseReplaced(before: readonly CrlHandle[], next: readonly CrlHandle[]): void {
  const kept = new Set(next.map(({ index }) => index.table.buffer));
  const replaced = before.filter(({ index }) => !kept.has(index.table.buffer)).reduce((sum, { index }) => sum + index.table.byteLength, 0);
  if (replaced >= WORTH_IT) setTimeout(nudge, DELAY_MS).unref();
}

function nudge(): void {
  try {
    new ArrayBuffer(NUDGE);
  } catch {
    // No address space to spare: then the collector has been at it already.
  }
}
