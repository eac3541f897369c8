import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { basename, join } from 'node:path';
import { writeWhole } from '../store/whole-file.ts';
import { digest } from './chain.ts';
import { NO_CHECKPOINT, REGISTER_FILE, checkpointHash, parseCheckpoint, type Checkpoint, type Hold, type SegmentClaim } from './checkpoint.ts';
import { readLines } from './lines.ts';
import { linePieces } from './pieces.ts';

/** What the checkpoints up to now say together. */
export interface Ledger {
  readonly claims: Map<string, SegmentClaim>;
  /** When each segment had ended, and the latest time that had been read off the clock until then. */
  readonly ends: Map<string, { readonly at: number; readonly latest: number }>;
  readonly held: Map<string, Hold & { readonly since: string }>;
  /** The latest time of any checkpoint; ms since the epoch. */
  latest: number;
}

/** A register as it was found. */
export interface Known extends Ledger {
  readonly last: Checkpoint | undefined;
  readonly lastLine: string | undefined;
  readonly octets: number;
  readonly rest: Buffer;
  /** Octets at its beginning that were not read: what they say is known from a start before. */
  readonly from: number;
  /** Lines behind them. */
  readonly lines: number;
  /** Whether each of these follows from the one before. */
  readonly whole: boolean;
}

/** What a register said up to a line, the last of so many octets. */
interface Kept {
  readonly format: 1;
  readonly octets: number;
  readonly line: string;
  readonly latest: number;
  readonly claims: readonly SegmentClaim[];
  readonly ends: readonly (readonly [string, { readonly at: number; readonly latest: number }])[];
  readonly held: readonly (Hold & { readonly since: string })[];
}

const KEPT_FILE = 'checkpoints-read.json';

/** Takes what a checkpoint says into the ledger. */
export function enter(ledger: Ledger, { segments, time, hold }: Pick<Checkpoint, 'segments' | 'time' | 'hold'>): void {
  const { claims, ends, held } = ledger;
  const at = Date.parse(time);
  if (at > ledger.latest) ledger.latest = at;
  for (const claim of segments) {
    // Files are opened by these names.
    if (basename(claim.segment) !== claim.segment) continue;
    claims.set(claim.segment, claim);
    if (claim.state === 'open') ends.delete(claim.segment);
    else if (!ends.has(claim.segment)) ends.set(claim.segment, { at, latest: ledger.latest });
  }
  if (hold?.op === 'release') held.delete(hold.id);
  if (hold?.op !== 'add') return;
  const { op: _, ...added } = hold;
  held.set(hold.id, { ...added, since: time });
}

/**
 * Reads a register; with a state directory not what an earlier start has kept there of it, where that is still how it begins: a register grows by a megabyte or
 * more a day for years, and nobody serves while it is read.
 */
export function readRegister(file: number, state?: string): Known {
  const kept = state === undefined ? undefined : readKept(state);
  const begun = kept !== undefined && endsWith(file, kept) ? kept : undefined;
  const ledger: Ledger = { claims: new Map(begun?.claims.map((claim) => [claim.segment, claim])), ends: new Map(begun?.ends), held: new Map(begun?.held.map((hold) => [hold.id, hold])), latest: begun?.latest ?? -Infinity };
  const from = begun?.octets ?? 0;
  let lastLine = begun?.line;
  let last = lastLine === undefined ? undefined : parseCheckpoint(lastLine);
  let previous = lastLine === undefined ? NO_CHECKPOINT : checkpointHash(lastLine);
  let octets = from;
  let lines = 0;
  let whole = true;
  const { rest, tooLong } = readLines({ file, from, to: fstatSync(file).size }, Buffer.alloc(0), (text, start, end) => {
    octets += end + 1 - start;
    lines += 1;
    lastLine = text.toString('utf8', start, end);
    const checkpoint = parseCheckpoint(lastLine);
    whole &&= checkpoint?.previous === previous;
    previous = digest(text.subarray(start, end));
    if (checkpoint === undefined) return true;
    last = checkpoint;
    enter(ledger, checkpoint);
    return true;
  });
  // Whatever was appended behind it would be read by nobody.
  if (tooLong) throw new Error(`${REGISTER_FILE} has a line that is longer than any checkpoint; move the audit directory away and keep it`);
  return Object.assign(ledger, { last, lastLine, octets, rest, from, lines, whole });
}

/** Keeps for the next start what a register says up to `line`, which ends it at so many octets. Throws when it cannot be written. */
export function keepRead(state: string, { claims, ends, held, latest }: Ledger, octets: number, line: string): void {
  writeWhole(join(state, KEPT_FILE), JSON.stringify({ format: 1, octets, line, latest, claims: [...claims.values()], ends: [...ends], held: [...held.values()] } satisfies Kept));
}

/** Whether the lines that were not read follow from each other, a piece at a time. */
export function* followsUpTo(path: string, octets: number): Generator<void, boolean> {
  let previous = NO_CHECKPOINT;
  let whole = true;
  yield* linePieces((use) => {
    const file = openSync(path, 'r');
    try {
      return use({ file, from: 0, to: octets });
    } finally {
      closeSync(file);
    }
  }, (text, start, end) => {
    whole &&= parseCheckpoint(text.toString('utf8', start, end))?.previous === previous;
    previous = digest(text.subarray(start, end));
  });
  return whole;
}

/** What cannot be read, or is of another release, is no loss: the register says all of it. */
function readKept(state: string): Kept | undefined {
  try {
    const kept = JSON.parse(readFileSync(join(state, KEPT_FILE), 'utf8')) as Kept;
    return kept.format === 1 ? kept : undefined;
  } catch {
    return undefined;
  }
}

/** Whether it is this very register: the chain leads through that line to all before it. */
function endsWith(file: number, { octets, line }: Kept): boolean {
  const wanted = Buffer.from(`${line}\n`);
  const there = Buffer.alloc(wanted.length);
  return octets >= wanted.length && readSync(file, there, 0, there.length, octets - wanted.length) === wanted.length && there.equals(wanted);
}
