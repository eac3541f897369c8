/**
 * Milliseconds on a clock that all threads of the process share and that nobody sets, in 32 bits: only differences mean
 * anything. `performance.now()` counts from the start of its thread, the system's monotonic clock does not.
 */
export function sharedClock(): () => number {
  const offset = Number(process.hrtime.bigint() / 1_000n) / 1_000 - performance.now();
  return () => (performance.now() + offset) | 0;
}
