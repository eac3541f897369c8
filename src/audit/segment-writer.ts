import { closeSync, fdatasync, fdatasyncSync, fstatSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { putOnBoard, type BoardPlace } from './board.ts';
import { LEAD_OCTETS, LINK_OCTETS, START, closeLine, leadOf, type Position } from './chain.ts';
import type { AuditRecord } from './record.ts';
import type { SegmentHeader, SegmentName } from './segment.ts';

/** One segment that is being written; one writer a thread, so no locks. */
export interface OpenSegment {
  /** The name of its file. */
  readonly name: string;
  /** Takes a record that already is JSON, its end perhaps as octets; `done` is called once it is safe, or not. */
  write(line: string, rest: Buffer | undefined, done: (error?: Error) => void): void;
  /** The error of the last write when it failed: the disk is full or gone. */
  failure(): Error | undefined;
  /** How far the segment has come; what it says is on the disk when it resolves. */
  settled(): Promise<SegmentPosition>;
  /**
   * Nothing more is written to it: once what has come is safe and on the disk, the file is closed and `ended` called with the number of records that
   * could not be written and are not on record as such. Called again, it tries again what the disk refused.
   */
  end(ended: (lost: number) => void): void;
  /** Says in its next line that so many records could not be written. */
  owe(lost: number): void;
  /** Ends it now, whatever it waits for. */
  close(): void;
}

/** How far a segment has come. */
export interface SegmentPosition extends Position {
  readonly segment: string;
}

/** What every segment of one start has in common. */
export interface SegmentGround extends Pick<SegmentName, 'gateway' | 'start' | 'after'> {
  readonly directory: string;
  /** `write`: a record is safe once the operating system has it; `fsync`: once the disk has. */
  readonly durability: 'write' | 'fsync';
  /** The board where those who follow the segments see how far they may read, and the writer's place on it. */
  readonly board?: SharedArrayBuffer;
  readonly place?: number;
}

/** Which segment of its writer it is. */
export interface SegmentPlace {
  /** `main`, or the thread. */
  readonly writer: string;
  /** Segments of this writer before this one. */
  readonly number: number;
  /** Milliseconds since the epoch. */
  readonly openedAt: number;
}

type Waiting = (error?: Error) => void;

const BATCH_OCTETS = 65_536;

/**
 * Opens a new segment in the directory (created 0700), named by the time it was opened and its writer; its header is written when this
 * returns. Records that come in one turn of the event loop are written by one system call: the page cache takes them in
 * microseconds, and a killed process cannot take them back. With `fsync`, what comes while the disk is busy is the next batch.
 */
export function openSegment(ground: SegmentGround, { writer, number, openedAt }: SegmentPlace): OpenSegment {
  const { directory, gateway, start, after, durability, board, place = 0 } = ground;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const name = `${new Date(openedAt).toISOString().replace(/[-:]/g, '')}-${writer}.jsonl`;
  const onBoard = putOnBoard(board, place, name);
  const file = makeFile(join(directory, name), onBoard);
  const header = JSON.stringify({
    time: new Date(openedAt).toISOString(), event: 'segment', result: 'done',
    segment: { format: 1, file: name, gateway, start, writer, number, after },
  } satisfies SegmentHeader);
  // In front of the lines that wait stands what the first of them is hashed with.
  let lines = Buffer.allocUnsafeSlow(BATCH_OCTETS);
  leadOf(START).copy(lines);
  let used = LEAD_OCTETS;
  let lastHash = START.hash;
  let lastSeq = START.seq;
  /** What is in the file and was said to be. */
  let safe: Position = START;
  /** What a failed write left behind `safe` must go before anything else is written. */
  let spoilt = false;
  /** Written, and being flushed to the disk. */
  let flushing: { readonly batch: readonly Waiting[]; readonly written: Position } | undefined;
  let waiting: Waiting[] = [];
  let lastError: Error | undefined;
  /** Records that could not be written and are not on record as such; those of them that a line still to be written counts. */
  let lost = 0;
  let said = 0;
  let closed = false;
  /** Set once nothing more is written to it. */
  let ended: ((lost: number) => void) | undefined;
  /** Its last flush is under way. */
  let ending = false;
  /** All of it is on the disk, and the file is closed. */
  let complete = false;

  function flush(): void {
    const batch = waiting;
    waiting = [];
    const written = attempt(writeBatch, batch);
    if (written === undefined) return endWhenDone();
    if (durability === 'write') {
      settle(batch, written);
      return endWhenDone();
    }
    flushing = { batch, written };
    if (closed) return;
    fdatasync(file, (error) => {
      if (closed) return closeSync(file);
      flushing = undefined;
      if (error === null) settle(batch, written);
      else fail([...batch, ...waiting.splice(0)], error);
      flushWaiting();
      endWhenDone();
    });
  }

  function endWhenDone(): void {
    if (ended === undefined || ending || closed || waiting.length > 0 || flushing !== undefined) return;
    ending = true;
    fdatasync(file, (error) => {
      ending = false;
      if (closed) return closeSync(file);
      if (error !== null) return;
      closed = true;
      complete = true;
      closeSync(file);
      onBoard.ended();
      ended?.(lost);
    });
  }

  function attempt<Result>(what: () => Result, batch: readonly Waiting[]): Result | undefined {
    try {
      return what();
    } catch (error) {
      fail(batch, error as Error);
      return undefined;
    }
  }

  function writeBatch(): Position {
    assertStillThere();
    if (spoilt) ftruncateSync(file, safe.octets);
    spoilt = true;
    for (let at = LEAD_OCTETS; at < used;) at += writeSync(file, lines, at, used - at);
    const written = { seq: lastSeq, hash: lastHash, octets: safe.octets + used - LEAD_OCTETS };
    lines.copy(lines, 0, used - LEAD_OCTETS, used);
    used = LEAD_OCTETS;
    return written;
  }

  function settle(batch: readonly Waiting[], written: Position): void {
    safe = written;
    onBoard.safe(written.octets);
    lost -= said;
    said = 0;
    spoilt = false;
    lastError = undefined;
    for (const done of batch) done();
  }

  /** The chain goes on from what is safe: what is behind it in the file was promised to nobody. */
  function fail(batch: readonly Waiting[], error: Error): void {
    lastError = error;
    lost += batch.length;
    said = 0;
    leadOf(safe).copy(lines);
    used = LEAD_OCTETS;
    lastSeq = safe.seq;
    lastHash = safe.hash;
    try {
      ftruncateSync(file, safe.octets);
      spoilt = false;
    } catch {
      // Tried again before the next write.
    }
    if (safe.seq === START.seq) put(header, undefined);
    for (const done of batch) done(error);
  }

  /** A file that was unlinked takes every record and keeps none. */
  function assertStillThere(): void {
    if (fstatSync(file).nlink === 0) throw new Error('the audit file was removed');
  }

  function write(line: string, rest: Buffer | undefined, done: Waiting): void {
    if (closed) return done(new Error('the audit writer is closed'));
    if (waiting.length === 0 && flushing === undefined) setImmediate(flushWaiting);
    if (lost > said) sayLost();
    put(line, rest);
    waiting.push(done);
  }

  /** A gap in the evidence is evidence, too. */
  function sayLost(): void {
    put(JSON.stringify({ time: new Date().toISOString(), event: 'audit', result: 'failed', reason: 'audit_unavailable', detail: `${lost} records could not be written before this one` } satisfies AuditRecord), undefined);
    said = lost;
  }

  function flushWaiting(): void {
    if (waiting.length > 0 && flushing === undefined && !closed) flush();
  }

  function put(line: string, rest: Buffer | undefined): void {
    // UTF-8 takes three octets for a unit of UTF-16 at most.
    makeRoom(line.length * 3 + (rest?.length ?? 0) + LINK_OCTETS);
    const from = used;
    used += lines.write(line, used);
    if (rest !== undefined) used += rest.copy(lines, used);
    ({ hash: lastHash, end: used } = closeLine(lines, from, used, ++lastSeq));
  }

  function makeRoom(octets: number): void {
    if (used + octets <= lines.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(lines.length * 2, used + octets));
    lines.copy(larger, 0, 0, used);
    lines = larger;
  }

  put(header, undefined);
  // What cannot be written now is, as the first line, with the first record that can.
  const opened = attempt(writeBatch, []);
  if (opened !== undefined) settle([], opened);

  return {
    name, write,
    failure: () => lastError,
    settled: () => new Promise((resolve, reject) => {
      const position = { segment: name, ...safe };
      if (closed) return resolve(position);
      // Another flush may have ended and closed it meanwhile.
      fdatasync(file, (error) => (error === null || complete ? resolve(position) : reject(error)));
    }),
    end(told) {
      ended = told;
      endWhenDone();
    },
    owe(count) {
      lost += count;
    },
    close() {
      if (closed) return;
      closed = true;
      // A flush that is under way has the file until it is done.
      const busy = flushing !== undefined || ending;
      finishFlush();
      if (waiting.length > 0) {
        flush();
        finishFlush();
      }
      if (!busy) closeSync(file);
      onBoard.ended();
    },
  };

  function finishFlush(): void {
    if (flushing === undefined) return;
    const { batch, written } = flushing;
    flushing = undefined;
    if (attempt(() => (fdatasyncSync(file), true), batch) !== undefined) settle(batch, written);
  }
}

function makeFile(path: string, onBoard: BoardPlace): number {
  try {
    return openSync(path, 'ax', 0o600);
  } catch (error) {
    onBoard.ended();
    throw error;
  }
}
