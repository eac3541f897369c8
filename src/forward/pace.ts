import type { Socket } from 'node:net';
import type { ListenerLimits } from '../config/schema.ts';

/** What a slow client holds up. */
export type PaceSide = 'request' | 'answer';

/** One exchange, as far as its client's pace goes. */
export interface Paced {
  /** Whether we are reading a body right now, and wait for more of it. */
  awaitsBody(): boolean;
  /** The client has stayed behind for too long; called once. */
  tooSlow(side: PaceSide): void;
}

/** Watches that clients send bodies and take answers fast enough. */
export interface PaceWatch {
  /** Watches one exchange until what this returns is called, or its connection has closed. */
  watch(socket: PacedSocket, paced: Paced): () => void;
}

/** What is read off a connection: octets received, octets handed to it, and those of them that have not left it. */
export type PacedSocket = Pick<Socket, 'bytesRead' | 'bytesWritten' | 'writableLength' | 'destroyed'>;

interface Watched {
  readonly socket: PacedSocket;
  readonly paced: Paced;
  lookedAt: number;
  received: number;
  sent: number;
  /** How long the client may still stay behind, in ms. */
  readonly credit: Record<PaceSide, number>;
}

const LOOK_MS = 1_000;

/**
 * Looks at all watched exchanges once a second, so that nothing is spent on a chunk. While we wait for a client its credit,
 * `grace` at most, goes down by the time that passes and up by the time that what it moved may take. `rate` is read at each
 * look: a reload changes it.
 */
export function createPaceWatch(rate: () => ListenerLimits['min_rate']): PaceWatch {
  const all = new Set<Watched>();
  let timer: NodeJS.Timeout | undefined;

  function look(): void {
    const wanted = rate();
    const now = performance.now();
    for (const one of all) {
      if (one.socket.destroyed) all.delete(one);
      else if (wanted !== false) judge(one, wanted, now);
    }
    if (all.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  }

  function judge(one: Watched, { per_second, grace }: Exclude<ListenerLimits['min_rate'], false>, now: number): void {
    const { socket, paced, credit } = one;
    const elapsed = now - one.lookedAt;
    const received = socket.bytesRead;
    const sent = socket.bytesWritten - socket.writableLength;
    const spend = (side: PaceSide, octets: number): boolean => {
      credit[side] = Math.min(grace, Math.min(grace, credit[side]) - elapsed + (octets * 1000) / per_second);
      return credit[side] < 0;
    };
    const slow = paced.awaitsBody() && spend('request', received - one.received) ? 'request'
      : socket.writableLength > 0 && spend('answer', sent - one.sent) ? 'answer' : undefined;
    one.lookedAt = now;
    one.received = received;
    one.sent = sent;
    if (slow === undefined) return;
    all.delete(one);
    paced.tooSlow(slow);
  }

  return {
    watch(socket, paced) {
      const one: Watched = {
        socket, paced, lookedAt: performance.now(), received: socket.bytesRead, sent: socket.bytesWritten - socket.writableLength,
        credit: { request: Infinity, answer: Infinity },
      };
      all.add(one);
      timer ??= setInterval(look, LOOK_MS).unref();
      return () => void all.delete(one);
    },
  };
}
