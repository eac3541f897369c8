import { readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { follows, LEAD_OCTETS, leadOf, START, statedLink } from './chain.ts';
import { isSignedLine, parseCheckpoint, PUBLIC_KEY_FILE, REGISTER_FILE } from './checkpoint.ts';
import { CompressedError } from './compressed.ts';
import { readPublicKey } from './key.ts';
import type { Stretch } from './lines.ts';
import type { AuditRecord } from './record.ts';
import { readSegment, segmentNames } from './segment-file.ts';

/** The newest records of an audit directory, and how the chain stands as far as that was read. Not masked. */
export interface AuditTail {
  /** Newest first. */
  readonly records: readonly AuditRecord[];
  readonly chain: ChainState;
}

export interface ChainState {
  /** Lines that were held to the hash of the line before. */
  readonly lines: number;
  /** The first line that does not follow. */
  readonly broken?: { readonly segment: string; readonly seq: number };
  /** The last checkpoint: whether the gateway's own key has signed it. */
  readonly checkpoint?: { readonly number: number; readonly time: string; readonly signed: boolean };
}

export interface TailOptions {
  readonly directory: string;
  /** Octets at the end of a segment, and segments from the newest on, that are read at most. */
  readonly octets: number;
  readonly segments: number;
  readonly most: number;
  /** Looked at before a line is parsed. */
  readonly mayBe?: (line: string) => boolean;
  readonly wanted: (record: AuditRecord) => boolean;
  /** There is one such record at most: what is further back is not read. */
  readonly single?: boolean;
}

/** Reads the ends of the newest segments, whatever is written to them meanwhile; a half line is not there yet. Never writes. */
export async function readTail({ directory, octets, segments, most, mayBe = () => true, wanted, single = false }: TailOptions): Promise<AuditTail> {
  const found: AuditRecord[] = [];
  let lines = 0;
  let broken: ChainState['broken'];
  for (const segment of segmentNames(directory).slice(-segments).reverse()) {
    // Other things wait for the thread that reads: one segment at a time.
    await new Promise((resolve) => setImmediate(resolve));
    const read = linesOf(directory, segment, octets);
    if (read === undefined) broken ??= { segment, seq: 0 };
    for (const { line, seq, whole } of read ?? []) {
      lines++;
      if (!whole) broken ??= { segment, seq };
      if (!mayBe(line)) continue;
      const record = parse(line);
      if (record !== undefined && wanted(record)) found.push(record);
    }
    if (single && found.length > 0) break;
  }
  const checkpoint = lastCheckpoint(directory);
  return {
    records: found.sort((left, right) => (left.time < right.time ? 1 : left.time > right.time ? -1 : 0)).slice(0, most),
    chain: { lines, ...(broken === undefined ? {} : { broken }), ...(checkpoint === undefined ? {} : { checkpoint }) },
  };
}

/** Undefined where it is compressed and cannot be read: then something is wrong with it. One that has been removed has no lines. */
function linesOf(directory: string, segment: string, octets: number): readonly ChainedLine[] | undefined {
  try {
    return readSegment(directory, segment, (stretch) => linesAtEnd(stretch, octets)) ?? [];
  } catch (error) {
    if (error instanceof CompressedError) return undefined;
    throw error;
  }
}

interface ChainedLine {
  readonly line: string;
  readonly seq: number;
  /** Whether it follows the line before. */
  readonly whole: boolean;
}

/** The whole lines in the last octets of a segment, each held to the one before. */
function linesAtEnd({ file, to }: Stretch, octets: number): readonly ChainedLine[] {
  const from = Math.max(0, to - octets);
  const head = from === 0 ? leadOf(START) : Buffer.alloc(0);
  const content = Buffer.alloc(to - from);
  const read = typeof file === 'number' ? readAll(file, content, from) : file(content, 0, content.length, from);
  const all = Buffer.concat([head, content.subarray(0, read)]);
  // What a line is hashed with stands right before it.
  const first = from === 0 ? head.length : all.indexOf(10, LEAD_OCTETS) + 1;
  if (first === 0) return [];
  const lines: ChainedLine[] = [];
  let before: number | undefined;
  for (let start = first, end = all.indexOf(10, start); end !== -1; start = end + 1, end = all.indexOf(10, start)) {
    const stated = statedLink(all, start, end);
    const seq = stated?.seq ?? -1;
    const whole = stated !== undefined && follows(all, start, stated, { seq: before ?? stated.seq - 1, hash: '' });
    before = seq;
    lines.push({ line: all.toString('utf8', start, end), seq, whole });
  }
  return lines;
}

function readAll(file: number, into: Buffer, from: number): number {
  let read = 0;
  for (let more = -1; more !== 0 && read < into.length;) {
    more = readSync(file, into, read, into.length - read, from + read);
    read += more;
  }
  return read;
}

/** A header of a segment is none. */
function parse(line: string): AuditRecord | undefined {
  try {
    const { seq: _seq, hash: _hash, ...record } = JSON.parse(line) as AuditRecord & { readonly seq?: number; readonly hash?: string };
    return (record.event as string) === 'segment' ? undefined : record;
  } catch {
    // It does not follow either, and is said to be broken.
    return undefined;
  }
}

/** Octets of the register that hold its last line, surely. */
const REGISTER_OCTETS = 1 << 20;

function lastCheckpoint(directory: string): ChainState['checkpoint'] {
  try {
    const register = readFileSync(join(directory, REGISTER_FILE));
    const text = register.subarray(Math.max(0, register.length - REGISTER_OCTETS)).toString('utf8').trimEnd();
    const line = text.slice(text.lastIndexOf('\n') + 1);
    const checkpoint = parseCheckpoint(line);
    if (checkpoint === undefined) return undefined;
    const signed = isSignedLine(line, readPublicKey(readFileSync(join(directory, PUBLIC_KEY_FILE))));
    return { number: checkpoint.checkpoint, time: checkpoint.time, signed };
  } catch {
    // The register is being written for the first time, or cannot be read: then nothing is known to be signed.
    return undefined;
  }
}
