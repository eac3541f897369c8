/** The processor time of this thread that something took, in milliseconds, to some five of them: what others do meanwhile on a busy machine does not count. */
export function processorTime(work: () => void): number {
  const before = process.threadCpuUsage();
  work();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000;
}

/** The least of several such times: any one of them may have had to wait for the collector, or for the compiler. */
export function shortest(work: () => void, times = 6): number {
  return Math.min(...Array.from({ length: times }, () => processorTime(work)));
}
