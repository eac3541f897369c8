import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { connectFault, type ConnectFault } from './connect-fault.ts';
import type { Turn, TurnResult } from './upstream.ts';

/** Who reads from an upstream's connection while a request is on it. */
export interface SocketUser {
  /** The connection is open and verified: write to it. */
  opened(connection: UpstreamSocket): void;
  /** Octets that have come; the buffer is everybody's and holds them during this call only. False pauses the reading. */
  read(octets: Buffer): boolean;
  /** What was written last has left. */
  drained(): void;
  /** The connection is gone. */
  lost(fault: SocketFault): void;
}

export interface SocketFault extends ConnectFault {
  /** Whether it was open: something may have been sent. */
  readonly opened: boolean;
  /** The upstream has said that it says no more. */
  readonly ended: boolean;
}

/** Idle connections kept to one endpoint by one thread. */
const MOST_IDLE = 256;
const READ_OCTETS = 65_536;

/**
 * The bare TLS connections of one thread to one endpoint, for requests that frame their messages themselves. Everything is
 * read into one buffer: a buffer for each read would be most of the garbage of a request.
 */
export class SocketPool {
  readonly #open: (extra: ConnectionOptions) => TLSSocket;
  readonly #idle: UpstreamSocket[] = [];
  readonly #buffer = Buffer.allocUnsafeSlow(READ_OCTETS);
  readonly #idleTime: number;
  #watch: NodeJS.Timeout | undefined;
  #retired = false;

  /** `open` makes a connection, and ends it when that takes too long; one is kept unused for `idleTime` ms. */
  constructor(open: (extra: ConnectionOptions) => TLSSocket, idleTime: number) {
    this.#open = open;
    this.#idleTime = idleTime;
  }

  /** A connection for one request. One that is not open yet calls `user.opened` when it is. */
  take(user: SocketUser): UpstreamSocket {
    for (let socket = this.#idle.pop(); socket !== undefined; socket = this.#idle.pop()) {
      if (!socket.usable) continue;
      socket.reuse(user);
      return socket;
    }
    return this.fresh(user);
  }

  /** A connection that nobody has used yet. */
  fresh(user: SocketUser): UpstreamSocket {
    return new UpstreamSocket(this.#open, this.#buffer, user);
  }

  /** Takes a connection back whose answer is whole. */
  put(socket: UpstreamSocket): void {
    if (this.#retired || this.#idle.length >= MOST_IDLE || !socket.usable) return socket.destroy();
    socket.release();
    this.#idle.push(socket);
    this.#watch ??= setInterval(() => this.#closeIdle(performance.now() - this.#idleTime), this.#idleTime / 2).unref();
  }

  /** Closes idle connections. */
  drop(): void {
    this.#closeIdle(Infinity);
  }

  /** The same for good: busy ones are closed when they come back. */
  retire(): void {
    this.#retired = true;
    this.#closeIdle(Infinity);
  }

  /** Closes what has been idle since before `oldest` (ms, monotonic); the longest idle are first. */
  #closeIdle(oldest: number): void {
    let stale = 0;
    while (stale < this.#idle.length && (this.#idle[stale] as UpstreamSocket).idleSince < oldest) stale++;
    for (const socket of this.#idle.splice(0, stale)) socket.destroy();
    if (this.#idle.length > 0) return;
    clearInterval(this.#watch);
    this.#watch = undefined;
  }
}

/** Says how a turn went, and gives its connection back where another request may use it; one that may not is closed. */
export function endTurn(turn: Turn | undefined, connection: UpstreamSocket | undefined, result: TurnResult, reusable: boolean, detail?: string): void {
  if (connection !== undefined && reusable && turn !== undefined) turn.endpoint.sockets.put(connection);
  else connection?.destroy();
  turn?.done(result, detail);
}

/** One connection to an upstream. */
export class UpstreamSocket {
  readonly socket: TLSSocket;
  idleSince = 0;
  /** Whether it can be written to. */
  open = false;
  /** Whether it has carried an answer before. */
  reused = false;
  #user: SocketUser | undefined;
  #paused = false;
  #fault: ConnectFault = { result: 'failed', code: 'upstream_unavailable', detail: 'the upstream closed the connection' };
  #ended = false;

  constructor(open: (extra: ConnectionOptions) => TLSSocket, buffer: Buffer, user: SocketUser) {
    this.#user = user;
    const onread = { buffer, callback: (octets: number) => this.#read(octets === buffer.length ? buffer : buffer.subarray(0, octets)) };
    this.socket = open({ onread } as ConnectionOptions);
    this.socket.setNoDelay(true);
    this.socket.once('secureConnect', () => {
      this.open = true;
      this.#guard(() => this.#user?.opened(this));
    });
    this.socket.on('drain', () => this.#guard(() => this.#user?.drained()));
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#fault = connectFault(this.socket, error);
    });
    this.socket.on('end', () => {
      this.#ended = true;
      this.socket.destroy();
    });
    this.socket.on('close', () => {
      const user = this.#user;
      this.#user = undefined;
      this.#guard(() => user?.lost({ ...this.#fault, ended: this.#ended, opened: this.open }));
    });
  }

  /** Whether it can carry another request. */
  get usable(): boolean {
    return !this.socket.destroyed && this.socket.writable;
  }

  /** Gives it to the next user. */
  reuse(user: SocketUser): void {
    this.reused = true;
    this.#user = user;
  }

  release(): void {
    this.#user = undefined;
    // Its last octets can have come after it was told to pause.
    this.resume();
    this.idleSince = performance.now();
  }

  /** Ends it; its user hears nothing of it any more. */
  destroy(): void {
    this.#user = undefined;
    this.socket.destroy();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.socket.resume();
  }

  #read(octets: Buffer): boolean {
    // Nobody asked: whatever this is, it must not be taken for the next request's answer.
    if (this.#user === undefined) {
      this.socket.destroy();
      return true;
    }
    try {
      this.#paused = !this.#user.read(octets) || this.#paused;
    } catch (error) {
      this.#failed(error);
    }
    return !this.#paused;
  }

  /** A fault in what a user does costs that one connection: thrown any further, it would take the thread. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    this.#fault = { result: 'failed', code: 'upstream_unavailable', detail: `internal error: ${error instanceof Error ? error.stack ?? error.message : String(error)}` };
    this.socket.destroy();
  }
}
