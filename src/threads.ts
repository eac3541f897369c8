import { Worker } from 'node:worker_threads';
import type { Log } from './log.ts';
import { openLine, type Line } from './store/call.ts';
import type { ThreadBirth, ToMain, ToThread } from './thread-protocol.ts';

/** The data-plane threads, seen from the main thread. */
export interface Threads {
  /** Asks every thread; rejects when one of them fails or is silent for `deadline` ms. */
  all<Answer>(ask: ToThread, deadline?: number): Promise<readonly Answer[]>;
  /** Asks the first thread alone: it finds the ports that the others then share. */
  first<Answer>(ask: ToThread, deadline?: number): Promise<Answer>;
  rest<Answer>(ask: ToThread, deadline?: number): Promise<readonly Answer[]>;
  /**
   * Has every thread do it, or be gone: one that is silent for `deadline` ms is ended and replaced, since its connections may
   * be what the ask was to end. Never rejects.
   */
  insist(ask: ToThread, deadline: number): Promise<void>;
  readonly count: number;
  terminate(): Promise<void>;
}

export interface ThreadsOptions {
  readonly count: number;
  /** What a thread is born with at that moment. */
  readonly birth: () => Omit<ThreadBirth, 'index' | 'place'>;
  readonly answer: (ask: ToMain) => unknown;
  /** The thread at this place is gone, whatever it had under way with it. */
  readonly gone: (place: number) => void;
  /** Brings a replacement thread to the state of the others before it counts. */
  readonly bringUp: (call: Line<ToThread>['call']) => Promise<void>;
  readonly log: Log;
}

interface Thread {
  readonly index: number;
  readonly worker: Worker;
  readonly line: Line<ToThread>;
}

const DEADLINE_MS = 30_000;
/** A thread that dies at once is not restarted faster than this. */
const RESTART_MS = 500;
/** How long the end of a thread is waited for. */
const ENDED_MS = 500;
const ENTRY = new URL(import.meta.url.endsWith('.ts') ? './data-plane.ts' : './data-plane.js', import.meta.url);

/** Starts the threads. One that dies is replaced; the others go on. */
export function startThreads(options: ThreadsOptions): Threads {
  const threads: Thread[] = [];
  let stopping = false;
  let born = 0;
  for (let slot = 0; slot < options.count; slot++) threads.push(start(slot));

  function start(slot: number): Thread {
    const index = born++;
    const worker = new Worker(ENTRY, { workerData: { ...options.birth(), index, place: slot } satisfies ThreadBirth, name: `wardgate-${index}` });
    const line = openLine<ToThread, ToMain>(worker, options.answer);
    const thread: Thread = { index, worker, line };
    worker.on('error', (error: unknown) => options.log.error({ thread: index, error: error instanceof Error ? error.stack : String(error) }, 'a data-plane thread failed'));
    worker.on('exit', (code) => {
      line.hangUp(new Error(`data-plane thread ${index} ended with code ${code}`));
      if (stopping) return;
      options.gone(slot);
      options.log.error({ thread: index, code }, 'a data-plane thread ended and is replaced');
      setTimeout(() => replace(slot), RESTART_MS);
    });
    return thread;
  }

  function replace(slot: number): void {
    if (stopping) return;
    const thread = start(slot);
    threads[slot] = thread;
    options.bringUp(thread.line.call).then(
      () => options.log.info({ thread: thread.index }, 'the replacement serves'),
      (error: Error) => {
        options.log.error({ thread: thread.index, error: error.message }, 'the replacement could not be started');
        // Its exit starts the next attempt.
        void thread.worker.terminate();
      },
    );
  }

  return {
    get count() {
      return threads.length;
    },
    all: (ask, deadline = DEADLINE_MS) => Promise.all(threads.map((thread) => thread.line.call<never>(ask, deadline))),
    first: (ask, deadline = DEADLINE_MS) => (threads[0] as Thread).line.call(ask, deadline),
    rest: (ask, deadline = DEADLINE_MS) => Promise.all(threads.slice(1).map((thread) => thread.line.call<never>(ask, deadline))),
    async insist(ask, deadline) {
      await Promise.all(threads.map(async ({ index, worker, line }) => {
        try {
          await line.call(ask, deadline);
        } catch (error) {
          options.log.error({ thread: index, error: (error as Error).message }, `a data-plane thread did not ${ask.kind} and is ended`);
          line.hangUp(new Error(`data-plane thread ${index} is ended`));
          // None of our code runs there any more; what the system holds it up in may take longer.
          await Promise.race([worker.terminate(), new Promise((resolve) => setTimeout(resolve, ENDED_MS).unref())]);
        }
      }));
    },
    async terminate() {
      stopping = true;
      await Promise.all(threads.map((thread) => thread.worker.terminate()));
    },
  };
}
