import type { Transform } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { StreamPermit } from '../policy/decision.ts';
import type { Failed, Trail, Turn, TurnResult, Upstream } from './upstream/pool.ts';

export interface StreamEnd {
  /** Octets to the client and from it. */
  readonly bytesOut: number;
  readonly bytesIn: number;
  readonly fault?: string;
}

/** A stream of any protocol (DICOM, MLLP) between a client and, from `connect` on, an upstream. */
export interface TcpStream {
  /** Has what the client sends pass through a gate, and begins to read it. */
  gate(gate: Transform): void;
  /** Opens the upstream side. `key` says whose stream it is, `preface` goes in front of TLS; undefined once it is open. */
  connect(permit: StreamPermit, upstream: Upstream, key: string, preface?: Buffer): Promise<Failed | { readonly kind: 'client_left' } | undefined>;
  /** Lets octets pass, both ways. */
  join(): void;
  /** Ends both sides at once: neither may take what it has for the whole. */
  cut(fault: string): void;
  /** Says a last word to the client, which hears it, and ends the stream. */
  dismiss(word: Buffer): void;
  /** Where `connect` led, once it has led anywhere. */
  readonly trail: Trail;
  /** Resolves when both sides have ended. */
  readonly ended: Promise<StreamEnd>;
}

/** How long a side that has been told everything may take to hear it. */
const LINGER_MS = 2_000;

/**
 * Takes a client's connection. Octets flow under back-pressure, and each side may close its half: a sender that has said all
 * still hears the answer. A side that is gone leaves the other time to hear what it said last. `idle` is how many milliseconds
 * both directions may be silent.
 */
export function takeStream(socket: TLSSocket, idle: number): TcpStream {
  let other: TLSSocket | undefined;
  let gate: Transform | undefined;
  let bytesOut = 0;
  let bytesIn = 0;
  let fault: string | undefined;
  let resolveEnded: (end: StreamEnd) => void;
  const ended = new Promise<StreamEnd>((resolve) => {
    resolveEnded = resolve;
  });
  const open = new Set<TLSSocket>([socket]);
  const timer = setTimeout(() => cut('idle for too long'), idle);
  watch(socket, 'the client\'s connection failed');
  if (socket.destroyed) closed(socket);

  function watch(side: TLSSocket, failure: string): void {
    side.on('error', (error: NodeJS.ErrnoException) => cut(`${failure}: ${error.code ?? error.message}`));
    side.once('close', () => closed(side));
  }

  function closed(side: TLSSocket): void {
    open.delete(side);
    const [rest] = open;
    if (rest === undefined) {
      clearTimeout(timer);
      gate?.destroy();
      return resolveEnded({ bytesOut, bytesIn, ...(fault === undefined ? {} : { fault }) });
    }
    // Who has said all may go: the other side is being told it, and its end. Anyone else was torn away.
    if (!side.readableEnded) fault ??= 'the connection was ended';
    if (fault !== undefined) return void rest.destroy();
    if (rest.writableFinished) linger(rest);
    else rest.once('finish', () => linger(rest));
  }

  /** Nobody listens to a side any more: what it says is thrown away, so that closing does not reset what it has yet to hear. */
  function linger(side: TLSSocket): void {
    side.unpipe();
    side.resume();
    const end = setTimeout(() => side.destroy(), LINGER_MS);
    side.once('close', () => clearTimeout(end));
  }

  function cut(reason: string): void {
    fault ??= reason;
    gate?.destroy();
    for (const side of [...open]) side.destroy();
  }

  function read(to: Transform | TLSSocket): void {
    socket.on('data', (chunk: Buffer) => {
      bytesIn += chunk.length;
      timer.refresh();
    });
    socket.pipe(to);
  }

  function resultOf(side: TLSSocket, failed: boolean): TurnResult {
    if (failed) return 'failed';
    return bytesOut > 0 || side.readableEnded ? 'answered' : 'abandoned';
  }

  function attend(side: TLSSocket, turn: Turn): void {
    other = side;
    open.add(side);
    // Acknowledgements are small, and waited for.
    side.setNoDelay(true);
    let failed = false;
    side.once('error', () => {
      failed = true;
    });
    side.once('close', () => turn.done(resultOf(side, failed)));
    watch(side, 'the upstream\'s connection failed');
    if (side.destroyed) {
      turn.done('failed');
      cut('the upstream\'s connection failed');
      closed(side);
    }
  }

  const trail: Trail = { endpoint: undefined, attempts: [] };
  return {
    ended,
    trail,
    cut,
    gate(through) {
      gate = through;
      gate.on('error', () => cut('the gate failed'));
      read(gate);
    },
    async connect(_permit, upstream, key, preface) {
      const opened = await upstream.connect(key, { preface });
      Object.assign(trail, opened.trail);
      if (opened.kind === 'failed') return opened;
      if (open.size > 0) {
        opened.turn.answering();
        attend(opened.socket, opened.turn);
        return undefined;
      }
      opened.socket.destroy();
      opened.turn.done('abandoned');
      return { kind: 'client_left' };
    },
    join() {
      const upstream = other;
      if (upstream === undefined || open.size < 2) return;
      timer.refresh();
      upstream.on('data', (chunk: Buffer) => {
        bytesOut += chunk.length;
        timer.refresh();
      });
      if (gate === undefined) read(upstream);
      else gate.pipe(upstream);
      upstream.pipe(socket);
    },
    dismiss(word) {
      fault ??= 'dismissed';
      socket.end(word);
      linger(socket);
      other?.destroy();
    },
  };
}
