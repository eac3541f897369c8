import { stat } from 'node:fs/promises';

/** How often files are looked at. Polled, since a file on a network share or behind a swapped link sends no event. */
const INTERVAL_MS = 1_000;

/** Calls `changed` when one of the files has another size, time or identity than before. */
export function watchFiles(files: () => readonly string[], changed: () => void): { close(): void } {
  let before: string | undefined;
  let looking = false;
  const timer = setInterval(() => {
    if (looking) return;
    looking = true;
    void Promise.all(files().map(mark)).then((marks) => {
      const seen = marks.join('\n');
      if (before !== undefined && before !== seen) changed();
      before = seen;
      looking = false;
    });
  }, INTERVAL_MS);
  timer.unref();
  return { close: () => clearInterval(timer) };
}

async function mark(file: string): Promise<string> {
  try {
    const { ino, size, mtimeMs } = await stat(file);
    return `${file} ${ino} ${size} ${mtimeMs}`;
  } catch {
    return `${file} absent`;
  }
}
