import type { MessagePort, Worker } from 'node:worker_threads';

/** One side of a line between two threads: asks, and answers what the other side asks. */
export interface Line<Ask extends { kind: string }> {
  /** Resolves with the answer; rejects when the other side failed, is gone, or does not answer within `deadline` ms. */
  call<Answer>(ask: Ask, deadline?: number): Promise<Answer>;
  /** The other side is gone: rejects everything still waiting, and everything asked from now on. */
  hangUp(cause: Error): void;
}

type Packet<Ask> =
  | { readonly type: 'ask'; readonly id: number; readonly ask: Ask }
  | { readonly type: 'answer'; readonly id: number; readonly answer: unknown }
  | { readonly type: 'fault'; readonly id: number; readonly message: string; readonly code?: string };

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout | undefined;
}

/** Opens a line over a port. `answer` serves what the other side asks; what it throws is told there as text, with its `code`. */
export function openLine<Ours extends { kind: string }, Theirs extends { kind: string }>(
  port: Worker | MessagePort,
  answer: (ask: Theirs) => unknown,
): Line<Ours> {
  const waiting = new Map<number, Waiting>();
  let next = 0;
  let gone: Error | undefined;
  const post = (packet: Packet<Ours>): void => (port as Worker).postMessage(packet);

  async function serve(id: number, ask: Theirs): Promise<void> {
    try {
      post({ type: 'answer', id, answer: await answer(ask) });
    } catch (error) {
      const { message, code } = error as Error & { readonly code?: unknown };
      post({ type: 'fault', id, message, ...(typeof code === 'string' ? { code } : {}) });
    }
  }

  (port as Worker).on('message', (packet: Packet<Theirs>) => {
    if (packet.type === 'ask') return void serve(packet.id, packet.ask);
    const one = waiting.get(packet.id);
    if (one === undefined) return;
    waiting.delete(packet.id);
    clearTimeout(one.timer);
    if (packet.type === 'answer') one.resolve(packet.answer as never);
    else one.reject(Object.assign(new Error(packet.message), packet.code === undefined ? {} : { code: packet.code }));
  });

  return {
    call: (ask, deadline) => new Promise((resolve, reject) => {
      if (gone !== undefined) return reject(gone);
      const id = next++;
      const late = (): void => {
        if (waiting.delete(id)) reject(new Error(`no answer to ${ask.kind} within ${deadline} ms`));
      };
      // What has come while this side was busy is heard first: it is this side then that was late.
      const timer = deadline === undefined ? undefined : setTimeout(() => setImmediate(late), deadline);
      waiting.set(id, { resolve, reject, timer });
      post({ type: 'ask', id, ask });
    }),
    hangUp(cause) {
      gone = cause;
      for (const one of waiting.values()) {
        clearTimeout(one.timer);
        one.reject(cause);
      }
      waiting.clear();
    },
  };
}
