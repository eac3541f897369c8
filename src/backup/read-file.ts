import { closeSync, constants, fstatSync, openSync, readSync, type BigIntStats } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { asOwnerOf } from '../store/as-owner.ts';
import { BackupError } from './fault.ts';

const PIECE = 1024 ** 2;
const SQLITE = Buffer.from('SQLite format 3\0');
const BUSY_MS = 10_000;

/** A file as it was at one moment. */
export interface Taken {
  readonly stats: BigIntStats;
  readonly octets: Buffer;
}

/** Reads a file whole. One that grows meanwhile is taken as long as it was. */
export function takeFile(path: string): Taken {
  const file = openRegular(path);
  try {
    const stats = fstatSync(file, { bigint: true });
    const octets = Buffer.alloc(Number(stats.size));
    let at = 0;
    while (at < octets.length) {
      const read = readSync(file, octets, at, octets.length - at, at);
      if (read === 0) throw new BackupError('changing', `${path} became shorter while it was read; try again`);
      at += read;
    }
    return { stats, octets };
  } finally {
    closeSync(file);
  }
}

/** As it was at one moment in spite of who writes it: a journal to its last whole line, a database as of its last transaction. */
export function takeState(path: string): Taken {
  const taken = takeFile(path);
  if (taken.octets.subarray(0, SQLITE.length).equals(SQLITE)) return { ...taken, octets: asOwnerOf(dirname(path), () => databaseImage(path)) };
  return path.endsWith('.jsonl') ? { ...taken, octets: taken.octets.subarray(0, taken.octets.lastIndexOf(0x0a) + 1) } : taken;
}

/** The image of a database, what lies in its log included. Throws a BackupError when it cannot be had. */
function databaseImage(path: string): Buffer {
  try {
    const database = new DatabaseSync(path, { readOnly: true, timeout: BUSY_MS });
    try {
      // All of its pages are of one transaction.
      database.exec('BEGIN');
      database.prepare('SELECT count(*) FROM sqlite_schema').get();
      return Buffer.from(database.serialize());
    } finally {
      database.close();
    }
  } catch (error) {
    throw new BackupError('unreadable', `${path}: the database cannot be copied: ${(error as Error).message}`, error);
  }
}

/** The first `size` octets of a file, piece by piece; fewer when it has become shorter. */
export function* pieces(path: string, size: number): Generator<Buffer> {
  const file = openRegular(path);
  try {
    yield* piecesOf(file, size);
  } finally {
    closeSync(file);
  }
}

/** The same of an open file, which somebody may remove meanwhile. */
export function* piecesOf(file: number, size: number): Generator<Buffer> {
  for (let at = 0; at < size;) {
    const piece = Buffer.alloc(Math.min(PIECE, size - at));
    const read = readSync(file, piece, 0, piece.length, at);
    if (read === 0) return;
    at += read;
    yield piece.subarray(0, read);
  }
}

/**
 * Opens a regular file, and never waits for another end of it. As the owner of its directory, where root asks: whoever swaps a part of the way to it for a link
 * meanwhile has nothing in his backup that he could not read.
 */
export function openRegular(path: string): number {
  const file = asOwnerOf(dirname(path), () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
  if (fstatSync(file).isFile()) return file;
  closeSync(file);
  throw new BackupError('unreadable', `${path} is not a regular file`);
}
