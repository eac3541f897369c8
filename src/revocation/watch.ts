import { stat } from 'node:fs/promises';

/** How often files are looked at. Polled, since a file on a network share or behind a swapped link sends no event. */
const INTERVAL_MS = 250;

export interface WatchOptions {
  readonly files: () => readonly string[];
  /** When the files were read (ms since the epoch): one that changed while or since is new. */
  readonly readAt: number;
  readonly changed: () => void;
}

/** Calls `changed` when one of the files has another size, time or identity than before. */
export function watchFiles({ files, readAt, changed }: WatchOptions): { close(): void } {
  let before: ReadonlyMap<string, string> | undefined;
  let looking = false;
  const look = async (): Promise<void> => {
    if (looking) return;
    looking = true;
    const marks = new Map(await Promise.all(files().map(async (file) => [file, await mark(file, before === undefined ? readAt : Infinity)] as const)));
    if ([...marks].some(([file, seen]) => seen === NEWER || (before !== undefined && before.get(file) !== seen))) changed();
    before = marks;
    looking = false;
  };
  const timer = setInterval(() => void look(), INTERVAL_MS);
  timer.unref();
  void look();
  return { close: () => clearInterval(timer) };
}

const NEWER = 'newer';

async function mark(file: string, readAt: number): Promise<string> {
  try {
    const { ino, size, mtimeMs } = await stat(file);
    return mtimeMs >= readAt ? NEWER : `${ino} ${size} ${mtimeMs}`;
  } catch {
    return 'absent';
  }
}
