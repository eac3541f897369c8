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

/**
 * Opens what ends by itself `ms` from the moment that `end` is asked for, in whole seconds as certificates and CRLs have it; where a busy machine took
 * longer over it, once more with twice the time.
 */
export async function openBefore<Opened>(ms: number, open: (end: () => Date) => Promise<Opened>): Promise<Opened> {
  for (let left = ms; ; left *= 2) {
    const over = Promise.withResolvers<'over'>();
    let timer: NodeJS.Timeout | undefined;
    const opened = open(() => {
      const end = Math.floor((Date.now() + left) / 1_000) * 1_000;
      timer = setTimeout(over.resolve, end - Date.now(), 'over');
      return new Date(end);
    });
    try {
      const found = await Promise.race([opened.then((value) => ({ value })), over.promise]);
      if (found !== 'over') return found.value;
    } finally {
      clearTimeout(timer);
    }
    opened.catch(() => undefined);
  }
}
