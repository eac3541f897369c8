import { advanceEpoch, type DenyTable } from './store/deny-table.ts';
import type { ToThread } from './thread-protocol.ts';
import type { Threads } from './threads.ts';

/** A thread that has not taken what is new by then is ended: it would go on with what is old. */
const TELL_MS = 10_000;
/** The same where somebody orders it: promised is 5 s on every thread, and to end a thread takes its time. */
const ORDER_MS = 4_500;
/** How much of that is for hearing of it: the threads that have heard still have to end connections when one that hangs was waited for. */
const HEARD_MS = 3_500;

/** Puts what is new in force on every thread. A thread that does not follow in time is replaced by one that starts with the new. */
export interface Publisher {
  /** Every thread has it when this resolves. Never rejects. */
  tell(news: ToThread): Promise<void>;
  /**
   * For what changes the verdict about certificates. Every thread has it before the epoch moves: an admission that is taken in the
   * new epoch is taken with it, and one that was still being taken without it bears the old epoch, and does not stand.
   */
  publish(news: ToThread): Promise<void>;
  /** The same for what somebody is cut off by, who may be an attacker: within 5 s on every thread, however busy. */
  order(news: ToThread): Promise<void>;
  /** Ends what no longer stands. */
  sweep(): Promise<void>;
}

export function createPublisher(threads: Threads, table: DenyTable): Publisher {
  const tell = (news: ToThread): Promise<void> => threads.insist(news, TELL_MS);
  const sweep = (most = ORDER_MS): Promise<void> => threads.insist({ kind: 'sweep' }, most);
  return {
    tell,
    sweep: () => sweep(),
    async publish(news) {
      await tell(news);
      advanceEpoch(table);
      await sweep();
    },
    async order(news) {
      const began = performance.now();
      await threads.insist(news, HEARD_MS);
      advanceEpoch(table);
      await sweep(Math.max(began + ORDER_MS - performance.now(), ORDER_MS - HEARD_MS));
    },
  };
}
