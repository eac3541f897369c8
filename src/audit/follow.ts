import { readSync } from 'node:fs';
import { LRUCache } from 'lru-cache';
import type { SafeBoard } from './board.ts';
import { statedLink } from './chain.ts';
import { CompressedError } from './compressed.ts';
import type { ReadAt } from './lines.ts';
import type { AuditRecord } from './record.ts';
import { readSegment, segmentNames } from './segment-file.ts';

/** One record as consumers get it. It is not masked. */
export interface FedRecord {
  readonly record: AuditRecord;
  readonly segment: string;
  readonly seq: number;
  readonly hash: string;
  /** Where its line ends in the segment. */
  readonly octets: number;
}

/** A stretch of a segment, parsed. */
export interface Chunk {
  readonly from: number;
  readonly to: number;
  readonly records: readonly FedRecord[];
  /** The segment ends at `to`, and nothing more will come. */
  readonly last: boolean;
}

/** The segments of an audit directory as they grow. */
export interface Follower {
  /** Their names, oldest first; the same array as long as they are the same. */
  segments(): readonly string[];
  /** What stands behind `from` and is safe, some of it; undefined when there is no such segment any more. */
  read(segment: string, from: number): Chunk | undefined;
  /** Whether there is more behind `from` than was read. */
  hasMore(segment: string, from: number): boolean;
  /** Whether it is still being written. */
  isOpen(segment: string): boolean;
  /** The number of the record whose line ends at `octets`; -1 at the beginning. */
  seqAt(segment: string, octets: number): number;
  /** Safe octets by now; undefined when there is no such segment any more. */
  safeOctets(segment: string): number | undefined;
  close(): void;
}

const CHUNK_OCTETS = 256 * 1024;
/** No record comes near this. */
const LONGEST_LINE = 16 << 20;
/** Consumers that keep pace share what one of them has parsed. */
const CHUNKS = 16;
/** Segments come with the generation of the board; what somebody else does to the directory may take so long. */
const LIST_EVERY_MS = 30_000;
const TAIL_OCTETS = 64 * 1024;

export interface FollowOptions {
  readonly directory: string;
  readonly board: SafeBoard;
  /** Milliseconds, monotonic. */
  readonly clock: () => number;
  /** Whether a segment that nobody writes is the gateway's own; absent: all are. */
  readonly registered?: (segment: string) => boolean;
  /** Told of lines that are no records, and of files that are nobody's. */
  readonly warn: (detail: string) => void;
}

/** Follows the segments of a directory: only whole lines, and only what their writers have said is safe. */
export function followSegments({ directory, board, clock, registered = () => true, warn }: FollowOptions): Follower {
  const chunks = new LRUCache<string, Chunk>({ max: CHUNKS });
  const ours = new Set<string>();
  const strange = new Set<string>();
  let names: readonly string[] = [];
  let listedAt = -Infinity;
  let generation = -1;

  function list(): readonly string[] {
    const current = board.generation();
    if (current === generation && clock() - listedAt < LIST_EVERY_MS) return names;
    const found = segmentNames(directory).filter(isOurs);
    if (found.length !== names.length || found.some((name, index) => name !== names[index])) names = found;
    generation = current;
    listedAt = clock();
    return names;
  }

  /** What somebody else has put there is no record, and must not go out as one. */
  function isOurs(segment: string): boolean {
    if (ours.has(segment) || board.safeOctets(segment) !== undefined || registered(segment)) {
      ours.add(segment);
      return true;
    }
    if (!strange.has(segment)) warn(`${segment} is no segment of this gateway: nobody gets what is in it`);
    strange.add(segment);
    return false;
  }

  /** Which octets there are: first whether it is open, then its size, so that what is not open has its last size. */
  function reading<Result>(segment: string, use: (read: ReadAt, to: number, open: boolean) => Result): Result | undefined {
    const safe = board.safeOctets(segment);
    try {
      return readSegment(directory, segment, ({ file, to }) => use(typeof file === 'number' ? (...range) => readSync(file, ...range) : file, safe ?? to, safe !== undefined));
    } catch (error) {
      if (!(error instanceof CompressedError)) throw error;
      // What cannot be read must not keep the rest from anybody.
      warn(`${segment}: ${error.message}`);
      return undefined;
    }
  }

  function readChunk(segment: string, from: number): Chunk | undefined {
    return reading(segment, (readAt, to, open) => {
      for (let size = CHUNK_OCTETS; ; size *= 4) {
        const octets = Buffer.allocUnsafe(Math.max(0, Math.min(size, to - from)));
        const read = octets.length === 0 ? 0 : readWhole(readAt, octets, from);
        const end = octets.lastIndexOf(10, read - 1) + 1;
        const atEnd = from + read >= to;
        if (read > 0 && end === 0 && !atEnd && size < LONGEST_LINE) continue;
        // Half a line at the end of what nobody writes any more is none.
        const whole = atEnd && !open ? to : from + (end === 0 && !atEnd ? read : end);
        return { from, to: whole, records: parseLines(segment, octets.subarray(0, end), from), last: atEnd && !open };
      }
    });
  }

  function parseLines(segment: string, octets: Buffer, from: number): readonly FedRecord[] {
    const records: FedRecord[] = [];
    for (let start = 0; start < octets.length;) {
      const end = octets.indexOf(10, start);
      const fed = parseLine(segment, octets, start, end, from + end + 1);
      if (fed === undefined) warn(`${segment}: the line that ends at octet ${from + end + 1} is no record`);
      else if ((fed.record.event as string) !== 'segment') records.push(fed);
      start = end + 1;
    }
    return records;
  }

  function seqAt(segment: string, octets: number): number {
    if (octets === 0) return -1;
    return reading(segment, (readAt) => {
      const tail = Buffer.allocUnsafe(Math.min(TAIL_OCTETS, octets));
      const read = readWhole(readAt, tail, octets - tail.length);
      const end = tail.lastIndexOf(10, read - 1);
      const start = tail.lastIndexOf(10, end - 1) + 1;
      return end < 0 ? -1 : statedLink(tail, start, end)?.seq ?? -1;
    }) ?? -1;
  }

  return {
    segments: list,
    read(segment, from) {
      const key = `${segment} ${from}`;
      const known = chunks.get(key);
      if (known !== undefined && (known.last || known.to > from)) return known;
      const chunk = readChunk(segment, from);
      if (chunk !== undefined && chunk.to > from) chunks.set(key, chunk);
      return chunk;
    },
    hasMore(segment, from) {
      const safe = board.safeOctets(segment);
      return safe === undefined || safe > from;
    },
    isOpen: (segment) => board.safeOctets(segment) !== undefined,
    seqAt,
    safeOctets: (segment) => reading(segment, (_, to) => to),
    close: () => chunks.clear(),
  };
}

function parseLine(segment: string, octets: Buffer, start: number, end: number, at: number): FedRecord | undefined {
  const stated = statedLink(octets, start, end);
  if (stated === undefined) return undefined;
  try {
    const { seq, hash, ...record } = JSON.parse(octets.toString('utf8', start, end)) as AuditRecord & { readonly seq: number; readonly hash: string };
    return { record, segment, seq, hash, octets: at };
  } catch {
    return undefined;
  }
}

/** A compressed segment gives no more at a time than one of its frames has. */
function readWhole(readAt: ReadAt, into: Buffer, position: number): number {
  for (let filled = 0; ;) {
    const read = readAt(into, filled, into.length - filled, position + filled);
    filled += read;
    if (read === 0 || filled === into.length) return filled;
  }
}
