import { constants, type Stats } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { show } from './issue.ts';

interface HeldFile {
  readonly kind: 'ok';
  readonly bytes: Uint8Array;
  readonly mode: number;
  readonly owner: number;
  readonly group: number;
}

/** A file's bytes and who may read it, or why it cannot be had, in words that name it. */
export type FileContent =
  | HeldFile
  | { readonly kind: 'fault'; readonly message: string };

/** The same, where a directory will do: its files that hold certificates, by their names in it, sorted. */
export type EntryContent = FileContent | { readonly kind: 'directory'; readonly files: readonly (HeldFile & { readonly name: string })[] };

/** Reads a regular file of at most `limit` bytes; `name` is what messages call it. Never waits for a pipe's other end. */
export async function readRegularFile(file: string, name: string, limit: number): Promise<FileContent> {
  try {
    // O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = await handle.stat();
    const fault = kindFault(stats, name, limit);
    if (fault !== undefined) return { kind: 'fault', message: fault };
    const buffer = Buffer.alloc(Math.min(limit, stats.size) + 1);
    let length = 0;
    for (let read = -1; read !== 0 && length < buffer.length; length += read) {
      ({ bytesRead: read } = await handle.read(buffer, length, buffer.length - length, null));
    }
    // One byte more than the size that was just seen: it is being written, and half of it is worse than none.
    if (length > stats.size) return { kind: 'fault', message: `${show(name)} is being written` };
    return { kind: 'ok', bytes: new Uint8Array(buffer.buffer, buffer.byteOffset, length), mode: stats.mode & 0o7777, owner: stats.uid, group: stats.gid };
  } catch (error) {
    return { kind: 'fault', message: openFault(error, name) };
  }
}

const MOST_FILES = 1_000;
/** What file managers, Windows and OpenSSL's own directories call certificates. */
const CERTIFICATE_FILE = /^[^.].*\.(pem|crt|cer)$/i;

/**
 * Reads a file as `readRegularFile` does, or every file of a directory whose name ends as those of certificates do. Names that begin with a dot are no
 * files of certificates: temporary copies, and the links by which Kubernetes swaps a whole volume. A directory without any is a fault, and so is one of
 * which a file cannot be read: nobody is trusted or left out by accident.
 */
export async function readFileOrDirectory(path: string, name: string, limit: number): Promise<EntryContent> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() !== true) return readRegularFile(path, name, limit);
  try {
    const names = await certificateFiles(path);
    if (names.length === 0) return { kind: 'fault', message: `${show(name)} is a directory without any file *.pem, *.crt or *.cer` };
    if (names.length > MOST_FILES) return { kind: 'fault', message: `${show(name)} holds more than ${MOST_FILES} files of certificates` };
    const files = [];
    let left = limit;
    for (const one of names) {
      const content = await readRegularFile(join(path, one), `${name}/${one}`, left);
      if (content.kind !== 'ok') return content;
      left -= content.bytes.length;
      files.push({ ...content, name: one });
    }
    // A volume that is swapped meanwhile would leave files of before beside those of after.
    if ((await certificateFiles(path)).join('\n') !== names.join('\n') || await version(path) !== await version(path, found)) return { kind: 'fault', message: `${show(name)} is being changed` };
    return { kind: 'directory', files };
  } catch (error) {
    return { kind: 'fault', message: openFault(error, name) };
  }
}

async function certificateFiles(path: string): Promise<readonly string[]> {
  return (await readdir(path)).filter((one) => CERTIFICATE_FILE.test(one)).sort();
}

/** Changes when something comes into a directory or leaves it. */
async function version(path: string, found?: Stats): Promise<string> {
  const { dev, ino, mtimeMs } = found ?? await stat(path);
  return `${dev} ${ino} ${mtimeMs}`;
}

function kindFault(stats: Stats, name: string, limit: number): string | undefined {
  if (stats.isDirectory()) return `${show(name)} is a directory; expected a file`;
  if (!stats.isFile()) return `${show(name)} is not a regular file`;
  if (stats.size === 0) return `${show(name)} is empty`;
  return stats.size > limit ? `${show(name)} is larger than ${limit / 1024 ** 2} MiB` : undefined;
}

function openFault(error: unknown, name: string): string {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
  if (code === 'ENOENT') return `${show(name)}: no such file${name.startsWith('/') ? '' : ' (paths are relative to the configuration file)'}`;
  if (code === 'EACCES' || code === 'EPERM') return `${show(name)} cannot be read: permission denied`;
  return `${show(name)} cannot be read: ${code}`;
}

/**
 * What is wrong with the permissions of a secret file; `undefined` when only its owner, and at most our own group, reads
 * it. `ownGroup` is the process's effective group.
 */
export function privacyFault(mode: number, group: number, ownGroup: number, name: string): string | undefined {
  const octal = mode.toString(8).padStart(4, '0');
  if ((mode & 0o007) !== 0) return `${show(name)} is open to others (mode ${octal}); keys and secrets are for their owner alone: chmod 600`;
  if ((mode & 0o020) !== 0) return `${show(name)} can be written by its group (mode ${octal}); chmod 600`;
  if ((mode & 0o040) !== 0 && group !== ownGroup) return `${show(name)} can be read by the group ${group}, which is not the process's own (${ownGroup}); chmod 600, or chgrp ${ownGroup}`;
  return undefined;
}
