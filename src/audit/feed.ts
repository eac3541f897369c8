import type { SafeBoard } from './board.ts';
import { followSegments, type FedRecord, type Follower } from './follow.ts';
import { openPosition, type DurablePosition, type FeedPosition } from './positions.ts';

export type { FedRecord } from './follow.ts';

/** Somebody who is handed every record, each at least once, those of one segment in their order. */
export interface Consumer {
  readonly name: string;
  /** Batches that may be under way at a time; default 1. */
  readonly window?: number;
  /**
   * Resolves when the batch is safe with it; after a rejection it is handed out again, and what was handed out behind it, with growing
   * pauses, for ever. `passed` says earlier that the first so many of it are safe.
   */
  take(batch: readonly FedRecord[], passed: (records: number) => void): Promise<void>;
  /** Nothing more comes at the moment, and somebody waits for what is under way. */
  finish?(): void;
  /** Records that were put aside because the receiver would not have them, since the process started. */
  deadLetters?(): number;
  /** Nothing is under way any more, or has to be given up. */
  close?(): Promise<void> | void;
}

/** Records that are not safe with a consumer yet, and how old the oldest of them is. */
export interface Lag {
  readonly records: number;
  readonly seconds: number;
}

/** How a consumer stands. */
export interface ConsumerReport {
  readonly name: string;
  readonly lag: Lag;
  /** Since the process started: safe with it; handed to it more than once; times that it failed. */
  readonly delivered: number;
  readonly repeated: number;
  readonly failures: number;
  /** Records that it would not take and that lie in its dead-letter file instead. */
  readonly dead_letters: number;
  /** Why it takes nothing at the moment. */
  readonly failing?: string;
}

export interface Feed {
  /** `begin`: what it does without where it has no position yet. `everything` there is, `start`: all before the segments that are open; `now`: all there is so far. */
  add(consumer: Consumer, begin: Beginning): void;
  /** Ends a consumer; its position stays. */
  remove(name: string): Promise<void>;
  report(): readonly ConsumerReport[];
  /** Hands out what is there, for `deadline` ms at most, and ends all. */
  close(deadline: number): Promise<void>;
}

export type Beginning = 'everything' | 'start' | 'now';

export interface FeedOptions {
  readonly directory: string;
  /** Where positions lie. */
  readonly positions: string;
  readonly board: SafeBoard;
  /** Whether a segment that nobody writes is the gateway's own; absent: all are. */
  readonly registered?: (segment: string) => boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly warn: (detail: string) => void;
}

const POLL_MS = 100;
/** Bounds of one batch; a line is never split. */
const BATCH_RECORDS = 500;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** Where a consumer begins that has no position, among the segments that are there. */
export function beginningOf(there: readonly string[], board: SafeBoard, begin: Beginning): Omit<FeedPosition, 'name'> {
  if (begin === 'everything') return { segments: new Map(), done: new Set() };
  const open = there.filter((segment) => board.safeOctets(segment) !== undefined);
  return {
    segments: new Map(begin === 'start' ? [] : open.map((segment) => [segment, board.safeOctets(segment) ?? 0])),
    done: new Set(there.filter((segment) => !open.includes(segment))),
  };
}

/** Hands records to consumers, each at its own pace: what one of them has not taken yet is read again for it from the disk. */
export function createFeed({ directory, positions, board, registered, now, warn }: FeedOptions): Feed {
  const files = followSegments({ directory, board, clock: () => performance.now(), ...(registered === undefined ? {} : { registered }), warn });
  const runners = new Map<string, Runner>();

  return {
    add(consumer, begin) {
      const position = openPosition(positions, consumer.name, () => beginningOf(files.segments(), board, begin), warn);
      runners.set(consumer.name, run({ consumer, position, files, now, warn }));
    },
    async remove(name) {
      const runner = runners.get(name);
      runners.delete(name);
      await runner?.close(0);
    },
    report: () => [...runners.values()].map((runner) => runner.report()),
    async close(deadline) {
      await Promise.all([...runners.values()].map((runner) => runner.close(deadline)));
      files.close();
    },
  };
}

interface Runner {
  report(): ConsumerReport;
  close(deadline: number): Promise<void>;
}

interface RunOptions extends Pick<FeedOptions, 'now' | 'warn'> {
  readonly consumer: Consumer;
  readonly position: DurablePosition;
  readonly files: Follower;
}

interface Batch {
  readonly records: readonly FedRecord[];
  /** How far the segments are read with it, and which of them are then at their end. */
  readonly reached: ReadonlyMap<string, number>;
  readonly ended: readonly string[];
}

interface UnderWay {
  readonly batch: Batch;
  /** Records of it that are known to be safe. */
  passed: number;
  state: 'waiting' | 'safe' | 'failed';
}

function run({ consumer, position, files, now, warn }: RunOptions): Runner {
  const { name, window = 1 } = consumer;
  /** What has been handed out: never behind the position. */
  let read = new Map<string, number>();
  let readEnds = new Set<string>();
  let underWay: UnderWay[] = [];
  /** Of each segment, what was handed out at some time. */
  const handed = new Map<string, number>();
  let delivered = 0;
  let repeated = 0;
  let failures = 0;
  let pause = 0;
  let resumeAt = 0;
  let failing: string | undefined;
  let known: readonly string[] = [];
  let pending: readonly string[] = [];
  let turn = 0;
  let closing: { readonly at: number } | undefined;
  let wake: () => void = () => undefined;
  const ended = loop();

  function atOf(segment: string): number {
    return read.get(segment) ?? position.segments.get(segment) ?? 0;
  }

  /** Segments that it has not got whole. */
  function refresh(): void {
    const all = files.segments();
    if (all === known) return;
    known = all;
    const there = new Set(all);
    position.keepOnly(there);
    for (const segment of handed.keys()) if (!there.has(segment)) handed.delete(segment);
    pending = all.filter((segment) => !position.done.has(segment) && !readEnds.has(segment));
  }

  function nextBatch(): Batch | undefined {
    refresh();
    const waiting = pending.filter((segment) => files.hasMore(segment, atOf(segment)));
    if (waiting.length === 0) return undefined;
    const records: FedRecord[] = [];
    const reached = new Map<string, number>();
    const ends: string[] = [];
    // What has ended first, the oldest before the others; of those that grow each begins in its turn.
    const growing = waiting.filter(files.isOpen);
    const closed = waiting.filter((segment) => !growing.includes(segment));
    turn += 1;
    const begin = turn % Math.max(1, growing.length);
    for (const segment of [...closed, ...growing.slice(begin), ...growing.slice(0, begin)]) {
      for (let more = true; more && records.length < BATCH_RECORDS;) {
        const at = reached.get(segment) ?? atOf(segment);
        const chunk = files.read(segment, at);
        if (chunk === undefined) {
          warn(`${segment} is gone before ${name} had it`);
          ends.push(segment);
          break;
        }
        const taken = chunk.records.slice(0, BATCH_RECORDS - records.length);
        const whole = taken.length === chunk.records.length;
        const to = whole ? chunk.to : taken.at(-1)?.octets ?? at;
        records.push(...taken);
        if (to > at) reached.set(segment, to);
        if (whole && chunk.last) ends.push(segment);
        // A file that was cut shorter than its writer has said brings nothing: it is looked at again.
        more = to > at && whole && !chunk.last && files.hasMore(segment, to);
      }
    }
    if (reached.size === 0 && ends.length === 0) return undefined;
    return { records, reached, ended: ends };
  }

  function handOut(batch: Batch): void {
    for (const [segment, octets] of batch.reached) read.set(segment, octets);
    for (const segment of batch.ended) readEnds.add(segment);
    if (batch.ended.length > 0) pending = pending.filter((segment) => !readEnds.has(segment));
    for (const { segment, octets } of batch.records) {
      if (octets <= (handed.get(segment) ?? 0)) repeated += 1;
      else handed.set(segment, octets);
    }
    const entry: UnderWay = { batch, passed: 0, state: 'waiting' };
    underWay.push(entry);
    if (batch.records.length === 0) {
      entry.state = 'safe';
      return settle();
    }
    const passed = (count: number): void => {
      if (entry.state !== 'waiting' || underWay[0] !== entry || count <= entry.passed) return;
      position.advance(batch.records.slice(entry.passed, count).map(({ segment, octets }) => [segment, octets] as const));
      delivered += count - entry.passed;
      entry.passed = count;
    };
    takeIt(batch, passed).then(() => {
      if (entry.state !== 'waiting') return;
      entry.state = 'safe';
      settle();
    }, (error: unknown) => {
      if (entry.state === 'waiting') fail(error);
    });
  }

  async function takeIt(batch: Batch, passed: (count: number) => void): Promise<void> {
    await consumer.take(batch.records, passed);
  }

  /** What is safe with it, up to the first batch that is not yet. */
  function settle(): void {
    while (underWay[0]?.state === 'safe') {
      const { batch, passed } = underWay.shift() as UnderWay;
      delivered += batch.records.length - passed;
      position.advance(batch.reached, batch.ended);
      for (const segment of batch.ended) {
        readEnds.delete(segment);
        read.delete(segment);
      }
      pause = 0;
      if (failing !== undefined) warn(`${name} takes records again`);
      failing = undefined;
    }
    wake();
  }

  /** Everything behind the position again: what failed, and what was handed out after it. */
  function fail(error: unknown): void {
    failures += 1;
    if (failing === undefined) warn(`${name} takes nothing: ${messageOf(error)}`);
    failing = messageOf(error);
    for (const one of underWay) one.state = 'failed';
    underWay = [];
    read = new Map();
    readEnds = new Set();
    known = [];
    pause = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, pause * 2));
    resumeAt = performance.now() + pause;
    wake();
  }

  /** What cannot be read now is tried again like what cannot be delivered. */
  function batchOrFault(): Batch | undefined {
    try {
      return nextBatch();
    } catch (error) {
      fail(error);
      return undefined;
    }
  }

  function asleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async function loop(): Promise<void> {
    for (;;) {
      if (closing !== undefined && (failing !== undefined || performance.now() >= closing.at)) return;
      const paused = resumeAt - performance.now();
      if (paused > 0) {
        await asleep(paused);
        continue;
      }
      const batch = underWay.length < window ? batchOrFault() : undefined;
      if (batch !== undefined) {
        handOut(batch);
        continue;
      }
      if (closing !== undefined) {
        if (underWay.length === 0) return;
        consumer.finish?.();
      }
      await asleep(POLL_MS);
    }
  }

  function report(): ConsumerReport {
    return { name, delivered, repeated, failures, dead_letters: consumer.deadLetters?.() ?? 0, ...(failing === undefined ? {} : { failing }), lag: lagBehind(files, position, now()) };
  }

  return {
    report,
    async close(deadline) {
      closing = { at: performance.now() + deadline };
      wake();
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([ended, new Promise((resolve) => {
        timer = setTimeout(resolve, deadline);
      })]);
      clearTimeout(timer);
      for (const one of underWay) one.state = 'failed';
      await consumer.close?.();
      position.close();
    },
  };
}

/** How much a consumer has not got yet. */
export function lagBehind(files: Follower, { segments, done }: Omit<FeedPosition, 'name'>, now: number): Lag {
  let records = 0;
  let oldest = Infinity;
  for (const segment of files.segments()) {
    const at = segments.get(segment) ?? 0;
    if (done.has(segment) || !files.hasMore(segment, at)) continue;
    const first = files.read(segment, at)?.records[0];
    if (first === undefined) continue;
    records += files.seqAt(segment, files.safeOctets(segment) ?? at) - first.seq + 1;
    oldest = Math.min(oldest, Date.parse(first.record.time));
  }
  return { records, seconds: records === 0 ? 0 : Math.max(0, (now - oldest) / 1_000) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
