import { createHash, createPublicKey } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readdirSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { openAnchor, openSyslogAnchor } from './anchor.ts';
import { START, digest, type Position } from './chain.ts';
import { NO_CHECKPOINT, PUBLIC_KEY_FILE, REGISTER_FILE, checkpointHash, isSignedLine, signLine, type Checkpoint, type Cut, type Hold, type HoldChange, type Pruning, type SegmentClaim } from './checkpoint.ts';
import { makeAuditKey, readAuditKey, type AuditKey } from './key.ts';
import { unhurried } from './pieces.ts';
import { enter, followsUpTo, forgetRead, keepRead, readRegister, type Known } from './register-read.ts';
import { WITHOUT_WAITING } from './segment-file.ts';
import { isHeaderOnly, scanSegment } from './segment.ts';
import type { ReceiverSetup } from './sinks/setup.ts';
import type { SegmentGround, SegmentPosition } from './writer.ts';

/** The main thread's book of all segments: signed checkpoints, in the audit directory and, where one is configured, outside. */
export interface Register {
  /** What the next segment stands on. */
  ground(): Pick<SegmentGround, 'gateway' | 'start' | 'after'>;
  /** Signs how far these have come, together with what has ended since; nothing is written when nothing has changed. Throws when it cannot be written. */
  checkpoint(open: readonly SegmentPosition[]): void;
  /** The writer of this one is gone: it ends where it ends. */
  ended(segment: string): void;
  /** Whether each of its lines followed from the one before when it was opened: what the last one signs stands for all. */
  whole(): Promise<boolean>;
  /** Every segment there has been. */
  segments(): Iterable<KnownSegment>;
  /** The root of the tree over a segment that has ended; signed with the next checkpoint. */
  grown(segment: string, tree: string): void;
  /** Signs that these are removed, before they are. Throws when it cannot be written. */
  prune(segments: readonly string[], pruning: Pruning): void;
  /** What is held, by its id. */
  holds(): ReadonlyMap<string, Hold & { readonly since: string }>;
  /** Signs that something is held from now on, or no longer. Throws when it cannot be written. */
  hold(change: HoldChange): void;
  /** Nobody writes any more: signs the ends of all. Throws when it cannot be written. */
  close(): void;
  /** Resolves once everything is anchored, or after `deadline` ms. */
  anchored(deadline: number): Promise<void>;
}

/** What the register says of a segment; `endedAt`: the time of the checkpoint that said so first, in ms since the epoch. Everything in it was written before. */
export interface KnownSegment {
  readonly claim: SegmentClaim;
  readonly endedAt?: number;
}

export interface RegisterOptions {
  /** Directory of the segments, made (0700) when it is not there. */
  readonly directory: string;
  /** Directory of the key. */
  readonly state: string;
  /** File on other storage that gets every checkpoint, too. */
  readonly anchor: string | undefined;
  /** Receiver of syslog that gets every checkpoint, too. */
  readonly receiver?: ReceiverSetup | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told of what somebody should look at. */
  readonly warn: (detail: string) => void;
}

/** So many lines, of a day or two, are read at a start at the most. */
const KEPT_EVERY = 4_096;

/** A clock that was back in 1970 for a while must not make records old enough to be removed; one that was in the future says nothing. */
function endedAt({ at, latest }: { readonly at: number; readonly latest: number }, now: number): number {
  return latest <= now ? latest : at;
}

/** What is held by an audit directory's register, beside a running gateway too. */
export function readHolds(directory: string): readonly (Hold & { readonly since: string })[] {
  const file = openSync(join(directory, REGISTER_FILE), 'r');
  try {
    return [...readRegister(file).held.values()];
  } finally {
    closeSync(file);
  }
}

/**
 * Opens the register at a start, before any segment of it: closes what the last process left open, cuts half lines off, notes files
 * that are not ours, and signs all that. Throws when there is a register and not the key that it was signed with.
 */
export function openRegister({ directory, state, anchor, receiver, now, warn }: RegisterOptions): Register {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, REGISTER_FILE);
  const file = openSync(path, 'a+', 0o600);
  const outside = [...(anchor === undefined ? [] : [openAnchor(anchor, warn)]), ...(receiver === undefined ? [] : [openSyslogAnchor(receiver, now, warn)])];
  const found = readRegister(file, state);
  // What is called foreign stays so: then all of the register is asked.
  const known = found.kept === undefined || unknownIn(found).length === 0 ? found : readRegister(file);
  const key = keyFor(state, path, known);
  writeFileSync(join(directory, PUBLIC_KEY_FILE), key.publicPem, { mode: 0o600 });
  const { claims } = known;
  const start = (known.last?.start ?? 0) + 1;
  let number = (known.last?.checkpoint ?? -1) + 1;
  let previous = known.lastLine === undefined ? NO_CHECKPOINT : checkpointHash(known.lastLine);
  let octets = known.octets;
  /** Ends that no checkpoint has said yet. */
  let ends: SegmentClaim[] = [];
  /** Lines that the next start would have to read. */
  let unkept = known.lines;
  let closed = false;

  const notWhole = (): void => warn(`${path} is not what was written: wardgate audit verify says where, and nothing is pruned`);
  if (!known.whole) notWhole();
  const cut = cutOf(known.rest);
  if (cut !== undefined) ftruncateSync(file, octets);
  write('start', [...[...claims.values()].filter(isOpen).map(settle), ...strangers()], cut === undefined ? {} : { cut });

  function write(kind: Checkpoint['kind'], segments: readonly SegmentClaim[], more: Pick<Checkpoint, 'cut' | 'pruning' | 'hold'> = {}): void {
    const checkpoint: Checkpoint = {
      checkpoint: number, time: new Date(now()).toISOString(), kind, gateway: key.name, start, previous, ...more, segments,
    };
    const line = signLine(checkpoint, key);
    appendLine(file, line, octets);
    octets += Buffer.byteLength(line) + 1;
    enter(known, checkpoint);
    number += 1;
    previous = checkpointHash(line);
    unkept += 1;
    if (unkept >= KEPT_EVERY && known.whole) keep(line);
    for (const one of outside) one.add(line);
  }

  function keep(line: string): void {
    unkept = 0;
    try {
      keepRead(state, known, octets, line);
    } catch (error) {
      // The next start reads more.
      warn(`what ${path} says was not kept for the next start: ${(error as Error).message}`);
    }
  }

  /** What was not read is looked at while others have their turns: at every start, as long as this is open. */
  async function lookBack(): Promise<boolean> {
    if (!known.whole || known.kept === undefined) return known.whole;
    try {
      const found = await unhurried(followsUpTo(path, known.from, known.kept), () => closed);
      if (found === 'broken') notWhole();
      if (found === 'kept_otherwise') {
        warn(`what was kept of ${path} in ${state} is not what it says: the next start reads all of it, and until then nothing is pruned`);
        forgetRead(state);
      }
      return found === 'whole';
    } catch (error) {
      if (!closed) warn(`${path} cannot be read: ${(error as Error).message}`);
      return false;
    }
  }

  /** How a segment ends that nobody writes any more. */
  function settle(claim: SegmentClaim): SegmentClaim {
    const { segment } = claim;
    let handle: number;
    try {
      handle = openSync(join(directory, segment), 'r+');
    } catch (error) {
      warn(`audit segment ${segment} cannot be opened any more: ${(error as Error).message}`);
      return { ...pick(claim), segment, state: 'missing' };
    }
    try {
      return settleOpened(claim, handle);
    } finally {
      closeSync(handle);
    }
  }

  function settleOpened(claim: SegmentClaim, handle: number): SegmentClaim {
    const { segment } = claim;
    const { size } = fstatSync(handle);
    const short = size < claim.octets;
    const { at, rest, broken } = scanSegment({ file: handle, from: 0, to: size }, short ? START : claim);
    if (short) warn(`audit segment ${segment} ends before its last checkpoint`);
    if (broken !== undefined) {
      warn(`audit segment ${segment} is broken behind record ${at.seq}`);
      return { ...at, segment, state: 'broken' };
    }
    const torn = cutOf(rest);
    if (torn === undefined) return { ...at, segment, state: 'closed' };
    ftruncateSync(handle, at.octets);
    fsyncSync(handle);
    return { ...at, segment, state: 'recovered', cut: torn };
  }

  /** Files that no checkpoint knows: from before the first, opened by a process that was killed right then, or somebody else's. */
  function strangers(): SegmentClaim[] {
    return unknownIn(known).map((segment) => {
      if (known.last === undefined) return { ...START, segment, state: 'before', ...whole(segment) };
      // Its header is all that a segment holds before the register knows it.
      if (isEmpty(segment)) return settle({ ...START, segment, state: 'open' });
      warn(`audit file ${segment} was not written by this gateway`);
      return { ...START, segment, state: 'foreign', ...whole(segment) };
    });
  }

  function unknownIn(ledger: Pick<Known, 'claims'>): readonly string[] {
    return readdirSync(directory).filter((name) => name.endsWith('.jsonl') && !ledger.claims.has(name)).sort();
  }

  function isEmpty(segment: string): boolean {
    return reading(segment, (handle, size) => isHeaderOnly({ file: handle, from: 0, to: size }, segment));
  }

  function whole(segment: string): { readonly octets: number; readonly sha256: string } {
    return reading(segment, (handle, octetsThere) => {
      const hash = createHash('sha256');
      const part = Buffer.allocUnsafe(1 << 20);
      for (let at = 0, read = 1; at < octetsThere && read > 0; at += read) {
        read = readSync(handle, part, 0, Math.min(part.length, octetsThere - at), at);
        hash.update(part.subarray(0, read));
      }
      return { octets: octetsThere, sha256: hash.digest('base64url') };
    });
  }

  function reading<Result>(segment: string, read: (handle: number, size: number) => Result): Result {
    const handle = openSync(join(directory, segment), WITHOUT_WAITING);
    try {
      return read(handle, fstatSync(handle).size);
    } finally {
      closeSync(handle);
    }
  }

  const lookedBack = lookBack();
  return {
    ground: () => ({ gateway: key.name, start, after: previous }),
    checkpoint(open) {
      const moved = open.filter(({ segment, seq }) => claims.get(segment)?.seq !== seq);
      if (moved.length === 0 && ends.length === 0) return;
      write('checkpoint', [...ends, ...moved.map((position) => ({ ...position, state: 'open' as const }))]);
      ends = [];
    },
    whole: () => lookedBack,
    segments: () => Array.from(claims.values(), (claim) => {
      const end = known.ends.get(claim.segment);
      return { claim, ...(end === undefined ? {} : { endedAt: endedAt(end, now()) }) };
    }),
    grown(segment, tree) {
      const claim = claims.get(segment);
      if (claim === undefined || (claim.state !== 'closed' && claim.state !== 'recovered')) return;
      claims.set(segment, { ...claim, tree });
      ends = [...ends.filter((end) => end.segment !== segment), { ...claim, tree }];
    },
    prune(segments, pruning) {
      const gone = segments.map((segment) => ({ ...claims.get(segment) as SegmentClaim, state: 'pruned' as const }));
      write('checkpoint', [...ends, ...gone], { pruning });
      ends = [];
    },
    holds: () => known.held,
    hold(change) {
      write('checkpoint', ends, { hold: change });
      ends = [];
    },
    ended(segment) {
      const claim = claims.get(segment);
      if (claim?.state !== 'open') return;
      const end = settle(claim);
      claims.set(segment, end);
      ends.push(end);
    },
    close() {
      closed = true;
      write('stop', [...ends, ...[...claims.values()].filter(isOpen).map(settle)]);
      closeSync(file);
    },
    anchored: async (deadline) => void await Promise.all(outside.map((one) => one.settled(deadline))),
  };
}

function isOpen({ state }: SegmentClaim): boolean {
  return state === 'open';
}

function pick({ seq, hash, octets }: Position): Position {
  return { seq, hash, octets };
}

function cutOf(rest: Buffer): Cut | undefined {
  return rest.length === 0 ? undefined : { octets: rest.length, sha256: digest(rest) };
}

/** All of a line or none: half of one would spoil the next. */
function appendLine(file: number, line: string, octets: number): void {
  const text = Buffer.from(`${line}\n`);
  try {
    for (let written = 0; written < text.length;) written += writeSync(file, text, written);
    fsyncSync(file);
  } catch (error) {
    ftruncateSync(file, octets);
    throw error;
  }
}

/** The key that the register was signed with; a new one where there is no register. */
function keyFor(state: string, path: string, { lastLine }: Known): AuditKey {
  const key = readAuditKey(state);
  if (lastLine === undefined) return key ?? makeAuditKey(state);
  const remedy = 'put the key back (audit.key in the state directory), or move the audit directory away and keep it';
  if (key === undefined) throw new Error(`${path}: the key that signed it is gone; ${remedy}`);
  if (!isSignedLine(lastLine, createPublicKey(key.publicPem))) throw new Error(`${path}: its last line was not signed with this gateway's key; ${remedy}`);
  return key;
}

