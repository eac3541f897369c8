import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Http1Exchange } from './exchange.ts';

/**
 * The answers of all connections of one listener: one after the other on each, however many requests a client sends without waiting.
 * It would otherwise have upstreams asked for as many at a time, and us keep all the answers that it does not take.
 */
export interface Order {
  /** The answers of a connection that are not whole yet, or have not left it yet. */
  unsent(socket: Socket): ReadonlySet<ServerResponse>;
  /** Resolves when the answer has left that was begun last on a connection that has any under way; undefined where none is. */
  turn(socket: Socket): Promise<void> | undefined;
  /** Keeps an answer and the work on it, which never fails unseen: it would take the thread, and with it everybody's connections. */
  track(socket: Socket, response: ServerResponse, work: Promise<void>): void;
  /** The request of a connection that was begun last. */
  newest(socket: Socket): Http1Exchange | undefined;
  begin(exchange: Http1Exchange): void;
  /** Whether a fault in what a connection sends can be answered: its answer must not land in or before another request's. */
  canAnswer(socket: Socket): boolean;
  /** Resolves when every request taken so far has its record. */
  settled(): Promise<void>;
}

export function createOrder(): Order {
  const running = new Set<Promise<void>>();
  const unsent = new WeakMap<Socket, Set<ServerResponse>>();
  const newest = new WeakMap<Socket, Http1Exchange>();
  /** Resolves when the answer of a connection that was begun last has left it. */
  const answered = new WeakMap<Socket, Promise<void>>();

  return {
    unsent: (socket) => unsent.get(socket) ?? NONE,
    turn: (socket) => ((unsent.get(socket)?.size ?? 0) === 0 ? undefined : answered.get(socket)),
    track(socket, response, work) {
      const open = unsent.get(socket) ?? new Set();
      unsent.set(socket, open.add(response));
      // Not when it is ended: the connection is its own until its last octet has left.
      response.once('close', () => open.delete(response));
      const done = work.catch(() => void socket.destroy()).then(() => {
        running.delete(done);
      });
      running.add(done);
      answered.set(socket, done.then(() => leaving(response, socket)));
    },
    newest: (socket) => newest.get(socket),
    begin: (exchange) => void newest.set(exchange.request.socket, exchange),
    canAnswer(socket) {
      // What is whole and has been handed to the connection goes first by itself.
      const open = [...unsent.get(socket) ?? []].filter((response) => !response.writableEnded || response.socket === null);
      return open.length === 0 || (open.length === 1 && open[0]?.headersSent === false && !open[0].req.complete);
    },
    async settled() {
      while (running.size > 0) await Promise.all(running);
    },
  };
}

const NONE: ReadonlySet<ServerResponse> = new Set();

/** Resolves once an answer that is whole has left its connection, or never will. */
export function leaving(response: ServerResponse, socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (response.closed || socket.destroyed) return resolve();
    const done = (): void => {
      response.off('close', done);
      socket.off('close', done);
      resolve();
    };
    response.on('close', done);
    socket.on('close', done);
  });
}
