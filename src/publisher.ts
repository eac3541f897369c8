import { advanceEpoch, type DenyTable } from './store/deny-table.ts';
import type { ToThread } from './thread-protocol.ts';
import type { Threads } from './threads.ts';

/** A thread that has not taken what is new by then is ended: it would go on with what is old. */
const TELL_MS = 10_000;
/** One that has not ended a revoked certificate's connections by then is ended, too. */
const SWEEP_MS = 5_000;

/** Puts what is new in force on every thread. A thread that does not follow in time is replaced by one that starts with the new. */
export interface Publisher {
  /** Every thread has it when this resolves. Never rejects. */
  tell(news: ToThread): Promise<void>;
  /**
   * For what changes the verdict about certificates. Every thread has it before the epoch moves: an admission that is taken in the
   * new epoch is taken with it, and one that was still being taken without it bears the old epoch, and does not stand.
   */
  publish(news: ToThread): Promise<void>;
  /** Ends what no longer stands. */
  sweep(): Promise<void>;
}

export function createPublisher(threads: Threads, table: DenyTable): Publisher {
  const tell = (news: ToThread): Promise<void> => threads.insist(news, TELL_MS);
  const sweep = (): Promise<void> => threads.insist({ kind: 'sweep' }, SWEEP_MS);
  return {
    tell,
    sweep,
    async publish(news) {
      await tell(news);
      advanceEpoch(table);
      await sweep();
    },
  };
}
