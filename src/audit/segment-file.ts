import { closeSync, constants, fstatSync, openSync, readSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { COMPRESSED, openCompressed, type CompressedFile } from './compressed.ts';
import type { Stretch } from './lines.ts';

/** To open a pipe that somebody has put there waits for whoever writes to it, for ever. */
export const WITHOUT_WAITING = constants.O_RDONLY | constants.O_NONBLOCK;

/** The names of the segments in a directory, in order; one is named alike whether it is compressed or not. */
export function segmentNames(directory: string): readonly string[] {
  const names = readdirSync(directory).map((name) => (name.endsWith(`.jsonl${COMPRESSED}`) ? name.slice(0, -COMPRESSED.length) : name));
  return [...new Set(names.filter((name) => name.endsWith('.jsonl')))].sort();
}

/** When a segment was opened by its name, in ms since the epoch; undefined where that is not one of ours. */
export function openedAt(segment: string): number | undefined {
  const [, day, hours, minutes, rest] = /^(\d{8}T)(\d\d)(\d\d)(\d\d\.\d{3}Z)-/.exec(segment) ?? [];
  return day === undefined ? undefined : Date.parse(`${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6, 8)}T${hours}:${minutes}:${rest}`);
}

/** Reads a segment, compressed or not; undefined when it is not there. Throws a CompressedError when it cannot be read as one. */
export function readSegment<Result>(directory: string, segment: string, use: (stretch: Stretch) => Result): Result | undefined {
  const path = join(directory, segment);
  // The compressed one takes the place of the plain one, which may just now happen.
  const found = openIfThere(path) ?? openIfThere(`${path}${COMPRESSED}`, true) ?? openIfThere(path);
  if (found === undefined) return undefined;
  const { file, compressed } = found;
  try {
    if (!compressed) return use({ file, from: 0, to: fstatSync(file).size });
    const { size, read } = openCompressed(file);
    return use({ file: read, from: 0, to: size });
  } finally {
    closeSync(file);
  }
}

/** Whether a segment is there compressed and plain, as a kill while it is compressed leaves it, and the two are not the same. Throws a CompressedError. */
export function differsCompressed(directory: string, segment: string): boolean {
  const path = join(directory, segment);
  const [plain, compressed] = [openIfThere(path), openIfThere(`${path}${COMPRESSED}`, true)];
  try {
    return plain !== undefined && compressed !== undefined && differ(plain.file, openCompressed(compressed.file));
  } finally {
    for (const found of [plain, compressed]) if (found !== undefined) closeSync(found.file);
  }
}

const COMPARED_OCTETS = 1 << 20;

function differ(plain: number, { size, read }: CompressedFile): boolean {
  if (fstatSync(plain).size !== size) return true;
  const [one, other] = [Buffer.allocUnsafe(COMPARED_OCTETS), Buffer.allocUnsafe(COMPARED_OCTETS)];
  for (let at = 0; at < size;) {
    const length = read(one, 0, COMPARED_OCTETS, at);
    if (length === 0 || readSync(plain, other, 0, length, at) !== length || one.compare(other, 0, length, 0, length) !== 0) return true;
    at += length;
  }
  return false;
}

function openIfThere(path: string, compressed = false): { readonly file: number; readonly compressed: boolean } | undefined {
  try {
    return { file: openSync(path, WITHOUT_WAITING), compressed };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
