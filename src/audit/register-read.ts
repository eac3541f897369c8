import { closeSync, fstatSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
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
  /** What that start has kept of them. */
  readonly kept: Kept | undefined;
  /** Lines behind them. */
  readonly lines: number;
  /** Whether each of these follows from the one before. */
  readonly whole: boolean;
}

/** What a register said up to a line, the last of so many octets. */
export interface Kept {
  readonly format: 1;
  readonly octets: number;
  readonly line: string;
  readonly latest: number;
  readonly claims: readonly SegmentClaim[];
  readonly ends: readonly (readonly [string, { readonly at: number; readonly latest: number }])[];
  readonly held: readonly (Hold & { readonly since: string })[];
}

const KEPT_FILE = 'checkpoints-read.json';
/** So many of what was kept are compared at a time. */
const AT_A_TIME = 1_000;

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
  const found = state === undefined ? undefined : readKept(state);
  const { kept: begun, ledger } = found !== undefined && endsWith(file, found.kept) ? found : { kept: undefined, ledger: newLedger() };
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
  return Object.assign(ledger, { last, lastLine, octets, rest, from, kept: begun, lines, whole });
}

/** Keeps for the next start what a register says up to `line`, which ends it at so many octets. Throws when it cannot be written. */
export function keepRead(state: string, { claims, ends, held, latest }: Ledger, octets: number, line: string): void {
  writeWhole(join(state, KEPT_FILE), JSON.stringify({ format: 1, octets, line, latest, claims: [...claims.values()], ends: [...ends], held: [...held.values()] } satisfies Kept));
}

/** Keeps nothing for the next start, which then reads all of it. */
export function forgetRead(state: string): void {
  rmSync(join(state, KEPT_FILE), { force: true });
}

/** Whether the lines that were not read follow from each other, and say what was kept of them, a piece at a time. */
export function* followsUpTo(path: string, octets: number, kept: Kept): Generator<void, 'whole' | 'broken' | 'kept_otherwise'> {
  let previous = NO_CHECKPOINT;
  let whole = true;
  const ledger = newLedger();
  yield* linePieces((use) => {
    const file = openSync(path, 'r');
    try {
      return use({ file, from: 0, to: octets });
    } finally {
      closeSync(file);
    }
  }, (text, start, end) => {
    const checkpoint = parseCheckpoint(text.toString('utf8', start, end));
    whole &&= checkpoint?.previous === previous;
    previous = digest(text.subarray(start, end));
    if (checkpoint !== undefined) enter(ledger, checkpoint);
  });
  if (!whole) return 'broken';
  return (yield* saysTheSame(ledger, kept)) ? 'whole' : 'kept_otherwise';
}

/** A hold that is missing there would have its records pruned, and a segment be called foreign. */
function* saysTheSame({ claims, ends, held, latest }: Ledger, kept: Kept): Generator<void, boolean> {
  if (latest !== kept.latest || claims.size !== kept.claims.length || ends.size !== kept.ends.length || held.size !== kept.held.length) return false;
  for (const [index, claim] of kept.claims.entries()) {
    if (!isDeepStrictEqual(claims.get(claim.segment), claim)) return false;
    if (index % AT_A_TIME === 0) yield;
  }
  for (const [index, [segment, end]] of kept.ends.entries()) {
    if (!isDeepStrictEqual(ends.get(segment), end)) return false;
    if (index % AT_A_TIME === 0) yield;
  }
  return kept.held.every((hold) => isDeepStrictEqual(held.get(hold.id), hold));
}

/** What cannot be read, or is of another release, is no loss: the register says all of it. */
function readKept(state: string): { readonly kept: Kept; readonly ledger: Ledger } | undefined {
  try {
    const kept = JSON.parse(readFileSync(join(state, KEPT_FILE), 'utf8')) as Kept;
    const { claims, ends, held, latest } = kept;
    return kept.format === 1 ? { kept, ledger: { claims: new Map(claims.map((claim) => [claim.segment, claim])), ends: new Map(ends), held: new Map(held.map((hold) => [hold.id, hold])), latest } } : undefined;
  } catch {
    return undefined;
  }
}

function newLedger(): Ledger {
  return { claims: new Map(), ends: new Map(), held: new Map(), latest: -Infinity };
}

/** Whether it is this very register: the chain leads through that line to all before it. */
function endsWith(file: number, { octets, line }: Kept): boolean {
  const wanted = Buffer.from(`${line}\n`);
  const there = Buffer.alloc(wanted.length);
  return octets >= wanted.length && readSync(file, there, 0, there.length, octets - wanted.length) === wanted.length && there.equals(wanted);
}
