import { openRegister, type Register } from './audit/register.ts';
import type { AuditWriter, SegmentPosition } from './audit/writer.ts';
import type { Log } from './log.ts';
import type { AuditAnswer } from './thread-protocol.ts';

/** Keeps the register of the audit's segments up to date while the gateway runs. */
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
  readonly now: () => number;
  readonly log: Log;
  /** Asks every thread how far its segment has come. */
  readonly threads: () => Promise<readonly AuditAnswer[]>;
}

/** How long a stop waits for storage elsewhere. */
const ANCHOR_MS = 2_000;

/** Opens the register and closes what the last process left open; throws when that cannot be. */
export function keepCheckpoints({ directory, state, anchor, every, now, log, threads }: CheckpointsOptions): Checkpoints {
  const warn = (detail: string): void => log.error({ detail }, 'audit');
  const register = openRegister({ directory, state, anchor, now, warn });
  /** Segments of the threads by their places. */
  const places = new Map<number, string>();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  function note(answers: readonly AuditAnswer[]): readonly SegmentPosition[] {
    return answers.map(({ place, ...position }) => {
      places.set(place, position.segment);
      return position;
    });
  }

  async function look(audit: AuditWriter): Promise<void> {
    const positions = [await audit.settled(), ...note(await threads())];
    if (!closed) register.checkpoint(positions);
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
      const segment = places.get(place);
      places.delete(place);
      if (segment !== undefined && !closed) register.ended(segment);
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
