import { openRegister, type Register } from './audit/register.ts';
import type { AuditWriter, SegmentPosition } from './audit/writer.ts';
import type { Log } from './log.ts';
import type { AuditAnswer, ToThread } from './thread-protocol.ts';

/** Keeps the register of the audit's segments up to date while the gateway runs, and has them rotated. */
export interface Checkpoints {
  readonly ground: Register['ground'];
  /** Signs that every segment is there; from then on one checkpoint every so often. Rejects when that cannot be. */
  start(audit: AuditWriter): Promise<void>;
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
  /** Milliseconds. */
  readonly every: number;
  readonly rotate: Rotation;
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

/** Opens the register and closes what the last process left open; throws when that cannot be. */
export function keepCheckpoints({ directory, state, anchor, every, rotate, now, log, threads }: CheckpointsOptions): Checkpoints {
  const warn = (detail: string): void => log.error({ detail }, 'audit');
  const register = openRegister({ directory, state, anchor, now, warn });
  /** The open segments of the writers by their places. */
  const places = new Map<number, readonly string[]>();
  /** How many threads a place has lost: what a thread answered before it went is not said of its replacement. */
  const generations = new Map<number, number>();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

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
  async function look(audit: AuditWriter): Promise<void> {
    let answers = await answersOf(audit);
    const due = answers.flatMap(({ segments: [first] }) => (first !== undefined && isDue(first, rotate, now()) ? [first.segment] : []));
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
      look(audit)
        .catch((error: Error) => closed || warn(`no checkpoint was written: ${error.message}`))
        .finally(() => closed || again(audit));
    }, every);
    timer.unref();
  }

  return {
    ground: register.ground,
    async start(audit) {
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
