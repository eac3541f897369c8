/** The shortest of several times that something took, in milliseconds: on a busy machine any one of them may have waited for others. */
export function shortest(work: () => void, times = 6): number {
  return Math.min(...Array.from({ length: times }, () => {
    const started = performance.now();
    work();
    return performance.now() - started;
  }));
}
