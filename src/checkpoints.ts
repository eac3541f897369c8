import { openArchive, type Archive } from './audit/archive.ts';
import { passedByAll } from './audit/passed.ts';
import { openRegister, type Register } from './audit/register.ts';
import type { ReceiverSetup } from './audit/sinks/setup.ts';
import type { AuditWriter, SegmentPosition } from './audit/writer.ts';
import type { Log } from './log.ts';
import type { AuditAnswer, ToThread } from './thread-protocol.ts';

/** Keeps the register of the audit's segments up to date while the gateway runs, and has them rotated. */
export interface Checkpoints {
  readonly ground: Register['ground'];
  readonly archive: Archive;
  /** Signs that every segment is there; from then on one checkpoint every so often. Rejects when that cannot be. */
  start(audit: AuditWriter): Promise<void>;
  /** Closes every segment that holds records and signs its tree: from then on each of them proves its place. Rejects when that takes too long. */
  settle(): Promise<void>;
  /** A replacement has opened its segment; rejects when that cannot be signed, and then it must not serve. */
  born(ask: () => Promise<AuditAnswer>): Promise<void>;
  /** The thread at this place is gone. */
  gone(place: number): void;
  /** All writers are closed: signs the ends. Never rejects. */
  close(): Promise<void>;
}

export interface CheckpointsOptions {
  readonly directory: string;
  readonly state: string;
  readonly anchor: string | undefined;
  readonly receiver?: ReceiverSetup | undefined;
  /** Milliseconds. */
  readonly every: number;
  readonly rotate: Rotation;
  /** Milliseconds. */
  readonly retention: number;
  readonly compress: boolean;
  readonly now: () => number;
  readonly log: Log;
  /** Asks every thread. */
  readonly threads: <Answer>(ask: Extract<ToThread, { kind: 'audit' | 'audit_next' | 'audit_switch' }>) => Promise<readonly Answer[]>;
}

/** When segments are closed: at so many octets, and at midnight UTC. */
export interface Rotation {
  readonly size: number;
  readonly daily: boolean;
}

/** How long a stop waits for storage elsewhere. */
const ANCHOR_MS = 2_000;
/** The place of the main thread's own writer. */
const MAIN = -1;
/** How long segments that are closed on demand may take, and how often they are looked at meanwhile. */
const SETTLE_MS = 30_000;
const SETTLE_EVERY_MS = 50;

/** Opens the register and closes what the last process left open; throws when that cannot be. */
export function keepCheckpoints({ directory, state, anchor, receiver, every, rotate, retention, compress, now, log, threads }: CheckpointsOptions): Checkpoints {
  const warn = (detail: string): void => log.error({ detail }, 'audit');
  const register = openRegister({ directory, state, anchor, receiver, now, warn });
  /** The open segments of the writers by their places. */
  const places = new Map<number, readonly string[]>();
  /** How many threads a place has lost: what a thread answered before it went is not said of its replacement. */
  const generations = new Map<number, number>();
  let writer: AuditWriter | undefined;
  let timer: NodeJS.Timeout | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  let closed = false;
  const archive = openArchive({
    register, directory, retention, compress, now, warn,
    passed: (segment, octets) => passedByAll(state, segment, octets),
    record: (record) => writer?.append(record) ?? Promise.reject(new Error('the audit is not written yet')),
  });

  /** What writers have said; a segment that its writer no longer has open has ended. */
  function note(answers: readonly AuditAnswer[]): readonly SegmentPosition[] {
    return answers.flatMap(({ place, segments }) => {
      const names = segments.map(({ segment }) => segment);
      for (const before of places.get(place) ?? []) if (!names.includes(before)) register.ended(before);
      places.set(place, names);
      return segments;
    });
  }

  async function answersOf(audit: AuditWriter): Promise<readonly AuditAnswer[]> {
    const asked = new Map(generations);
    const answers = [{ ...await audit.positions(), place: MAIN }, ...await threads<AuditAnswer>({ kind: 'audit' })];
    return answers.filter(({ place }) => generations.get(place) === asked.get(place));
  }

  /**
   * A checkpoint. Where segments are to be closed, those that follow are opened first, and nothing is written to them before this checkpoint has named
   * them: a record never stands in a segment that no checkpoint knows. What has ended is said by the checkpoint after.
   */
  async function look(audit: AuditWriter, ends = (position: SegmentPosition): boolean => isDue(position, rotate, now())): Promise<void> {
    let answers = await answersOf(audit);
    const due = answers.flatMap(({ segments: [first] }) => (first !== undefined && ends(first) ? [first.segment] : []));
    if (due.length > 0) {
      await prepare(audit, due).catch((error: Error) => warn(`a segment of the audit is not closed yet: the next one cannot be opened: ${error.message}`));
      answers = await answersOf(audit);
    }
    if (closed) return;
    register.checkpoint(note(answers));
    const to = answers.flatMap(({ next }) => next ?? []);
    if (to.length === 0) return;
    to.forEach(audit.switchTo);
    await threads({ kind: 'audit_switch', to });
  }

  async function prepare(audit: AuditWriter, segments: readonly string[]): Promise<void> {
    const { after } = register.ground();
    if (segments.includes(audit.current())) audit.prepare(after, now());
    await threads({ kind: 'audit_next', segments, after });
  }

  /** One after the other, whatever a thread takes to answer. */
  function again(audit: AuditWriter): void {
    timer = setTimeout(() => {
      inTurn(() => look(audit))
        .catch((error: Error) => closed || warn(`no checkpoint was written: ${error.message}`))
        .finally(() => {
          if (closed) return;
          void archive.look();
          again(audit);
        });
    }, every);
    timer.unref();
  }

  function inTurn(work: () => Promise<void>): Promise<void> {
    const result = turn.then(work);
    turn = result.catch(() => undefined);
    return result;
  }

  async function settle(): Promise<void> {
    const audit = writer;
    if (audit === undefined) throw new Error('the audit is not written yet');
    const written = new Set<string>();
    await inTurn(() => look(audit, ({ segment, seq }) => {
      if (seq > 0) written.add(segment);
      return seq > 0;
    }));
    const deadline = performance.now() + SETTLE_MS;
    while ([...places.values()].flat().some((segment) => written.has(segment))) {
      if (performance.now() > deadline) throw new Error('the segments of the audit were not closed in time');
      await new Promise((resolve) => setTimeout(resolve, SETTLE_EVERY_MS));
      await inTurn(() => look(audit));
    }
    await archive.signTrees();
    await inTurn(async () => register.checkpoint([]));
  }

  return {
    ground: register.ground,
    archive, settle,
    async start(audit) {
      writer = audit;
      await look(audit);
      again(audit);
    },
    async born(ask) {
      register.checkpoint(note([await ask()]));
    },
    gone(place) {
      generations.set(place, (generations.get(place) ?? 0) + 1);
      const segments = places.get(place) ?? [];
      places.delete(place);
      if (!closed) segments.forEach(register.ended);
    },
    async close() {
      if (closed) return;
      closed = true;
      clearTimeout(timer);
      await archive.close();
      try {
        register.close();
        await register.anchored(ANCHOR_MS);
      } catch (error) {
        warn(`the last checkpoint was not written: ${(error as Error).message}`);
      }
    },
  };
}

/** Whether a segment that holds records has grown large or is of another day; its name begins with the day that it was opened on. */
function isDue({ segment, seq, octets }: SegmentPosition, { size, daily }: Rotation, now: number): boolean {
  const today = new Date(now).toISOString().slice(0, 10).replaceAll('-', '');
  return seq > 0 && (octets >= size || (daily && segment.slice(0, today.length) < today));
}
