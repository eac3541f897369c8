import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** A file of the state directory: a line of JSON, then bytes as somebody else signed them. */
export interface KeptFile {
  readonly key: string;
  readonly head: unknown;
  readonly bytes: Uint8Array;
}

/**
 * What was fetched, kept for the next start. Nothing in it is believed for having been kept: who reads it checks the
 * signatures and times again. Failures to write are reported, never thrown: a full disk costs the copy, not the service.
 */
export interface Kept {
  read(key: string): Promise<KeptFile | undefined>;
  all(): Promise<readonly KeptFile[]>;
  write(file: KeptFile): Promise<void>;
  remove(key: string): Promise<void>;
  /** Resolves when what was begun is written. */
  settled(): Promise<void>;
}

export interface KeptOptions {
  /** Created with mode 0700 when it is missing. */
  readonly directory: string;
  /** The oldest go when there are more. */
  readonly maxFiles: number;
  /** Longer ones are neither written nor read. */
  readonly maxOctets: number;
  readonly failed?: (error: Error) => void;
}

/** How many files may be written before the directory is looked at again. */
const TIDY_EVERY = 256;
const SUFFIX = '.kept';
const MAX_HEAD = 64 * 1024;

export function openKept({ directory, maxFiles, maxOctets, failed = () => undefined }: KeptOptions): Kept {
  let written = TIDY_EVERY - 1;
  const pending = new Set<Promise<void>>();
  const pathOf = (key: string): string => join(directory, `${createHash('sha256').update(key).digest('hex')}${SUFFIX}`);

  async function readPath(path: string): Promise<KeptFile | undefined> {
    try {
      if ((await stat(path)).size > maxOctets + MAX_HEAD) return undefined;
      const whole = await readFile(path);
      const end = whole.indexOf(0x0a);
      const { key, head } = JSON.parse(whole.toString('utf8', 0, end)) as { key: string; head: unknown };
      // Copied: a small file lies in a buffer that Node shares among many.
      return pathOf(key) === path ? { key, head, bytes: new Uint8Array(whole.subarray(end + 1)) } : undefined;
    } catch {
      // Absent, cut short or not ours: as good as never fetched.
      return undefined;
    }
  }

  async function write({ key, head, bytes }: KeptFile): Promise<void> {
    if (bytes.length > maxOctets) return;
    const path = pathOf(key);
    const temporary = `${path}.${randomBytes(6).toString('hex')}`;
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const file = await open(temporary, 'wx', 0o600);
      try {
        // Not writev: of a disk that is nearly full it takes a part, and says nothing.
        await file.writeFile(`${JSON.stringify({ key, head })}\n`);
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      written += 1;
      if (written % TIDY_EVERY === 0) await tidy();
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      failed(error as Error);
    }
  }

  /** Removes the oldest files above the bound, and what a crash left half-written. */
  async function tidy(): Promise<void> {
    const names = await readdir(directory);
    const dated = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(directory, name)).catch(() => undefined))?.mtimeMs ?? 0 })));
    const halves = dated.filter(({ name, at }) => !name.endsWith(SUFFIX) && name.includes(`${SUFFIX}.`) && at < Date.now() - 60_000);
    const files = dated.filter(({ name }) => name.endsWith(SUFFIX)).sort((a, b) => b.at - a.at);
    for (const { name } of [...halves, ...files.slice(maxFiles)]) await rm(join(directory, name), { force: true });
  }

  return {
    read: (key) => readPath(pathOf(key)),
    async all() {
      const names = (await readdir(directory).catch(() => [])).filter((name) => name.endsWith(SUFFIX)).slice(0, maxFiles);
      const files: KeptFile[] = [];
      // One after the other: together they may be large.
      for (const name of names) {
        const file = await readPath(join(directory, name));
        if (file !== undefined) files.push(file);
      }
      return files;
    },
    write(file) {
      const begun = write(file).finally(() => pending.delete(begun));
      pending.add(begun);
      return begun;
    },
    settled: async () => void await Promise.all(pending),
    remove: (key) => rm(pathOf(key), { force: true }).catch(failed),
  };
}

/** For a process that may only look: `explain` beside a running gateway. */
export function readOnly(kept: Kept): Kept {
  return { ...kept, write: () => Promise.resolve(), remove: () => Promise.resolve() };
}
