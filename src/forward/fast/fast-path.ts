import type { TLSSocket } from 'node:tls';
import type { Client } from '../client.ts';
import type { EndCause, Objection } from '../judgement.ts';
import { FastConnection, type FastPathOptions } from './connection.ts';
import { OutgoingMemory } from './memory.ts';

export interface FastPath {
  /** Takes an admitted connection. */
  serve(socket: TLSSocket, client: Client): void;
  closeIdle(): void;
  /** Puts what is under way on a connection to judgement. */
  judge(socket: TLSSocket, objection: Objection): void;
  /** Puts what is under way on a connection on record with why it is being ended. */
  ending(socket: TLSSocket, cause: EndCause): void;
  /** Resolves when every request taken so far has its record. */
  settled(): Promise<void>;
}

/** How late a deadline may be noticed. */
const WATCH_MS = 250;

/**
 * The fast path of one listener on one thread: HTTP/1.1 framed by ourselves, for the common shape of messages only. One timer
 * watches the deadlines of all its connections: a timer for each would be set anew with each request.
 */
export function createFastPath(options: Omit<FastPathOptions, 'busy' | 'memory' | 'clock'>): FastPath {
  const connections = new Map<TLSSocket, FastConnection>();
  const clock = { now: performance.now() };
  let busy = 0;
  let waiting: (() => void)[] = [];
  let watch: NodeJS.Timeout | undefined;
  const shared: FastPathOptions = {
    ...options,
    clock,
    memory: new OutgoingMemory(),
    handOver(socket, octets) {
      forget(socket);
      options.handOver(socket, octets);
    },
    busy(change) {
      busy += change;
      if (busy > 0) return;
      for (const resolve of waiting) resolve();
      waiting = [];
    },
  };

  function checkDeadlines(): void {
    clock.now = performance.now();
    for (const connection of connections.values()) connection.checkDeadlines(clock.now);
  }

  function forget(socket: TLSSocket): void {
    connections.delete(socket);
    if (connections.size > 0) return;
    clearInterval(watch);
    watch = undefined;
  }

  return {
    serve(socket, client) {
      // The timer stood still while there was nobody.
      if (watch === undefined) clock.now = performance.now();
      connections.set(socket, new FastConnection(socket, client, shared));
      watch ??= setInterval(checkDeadlines, WATCH_MS);
      socket.on('close', () => forget(socket));
    },
    closeIdle() {
      for (const connection of connections.values()) connection.closeIdle(performance.now());
    },
    judge: (socket, objection) => connections.get(socket)?.judge(objection),
    ending: (socket, cause) => connections.get(socket)?.ending(cause),
    settled: () => new Promise((resolve) => {
      if (busy === 0) resolve();
      else waiting.push(resolve);
    }),
  };
}
