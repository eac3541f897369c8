import type { Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** How often files are looked at. Polled, since a file on a network share or behind a swapped link sends no event. */
const INTERVAL_MS = 250;

export interface WatchOptions {
  readonly files: () => readonly string[];
  /** When the files were read (ms since the epoch): one that changed while or since is new. */
  readonly readAt: number;
  readonly changed: () => void;
}

/** Calls `changed` when one of the files has another size, time or identity than before; of a directory, when one of the files in it has. */
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

/** Of a directory no more files than these are looked at. */
const MOST_FILES = 2_000;

async function mark(file: string, readAt: number): Promise<string> {
  try {
    const found = await stat(file);
    if (!found.isDirectory()) return found.mtimeMs >= readAt ? NEWER : identity(found);
    const names = (await readdir(file)).sort().slice(0, MOST_FILES);
    const inside = await Promise.all(names.map(async (name) => `${name} ${await stat(join(file, name)).then(identity, () => 'absent')}`));
    return found.mtimeMs >= readAt ? NEWER : [identity(found), ...inside].join('\n');
  } catch {
    return 'absent';
  }
}

/** Links are followed: where a volume is swapped by a link, another file is there. */
function identity({ dev, ino, size, mtimeMs, ctimeMs }: Stats): string {
  return `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}`;
}
