import { connect, constants, type ClientHttp2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { connectFault, type ConnectFault } from './connect-fault.ts';
import type { UpstreamEndpoint } from './endpoint.ts';

/** One HTTP/2 connection to an upstream. */
export interface UpstreamSession {
  readonly session: ClientHttp2Session;
  /** Whether it has carried a request before. */
  readonly reused: boolean;
  /** Whether the upstream has said that it did not process a stream: it may be asked again, here or elsewhere (RFC 9113 section 8.7). */
  unprocessed(streamId: number | undefined, rstCode: number): boolean;
  /** Gives the place of one request back. */
  release(): void;
}

/** The HTTP/2 connections of one thread to one endpoint. */
export interface Http2Sessions {
  /** A connection with room for one request more, at once or when it is open. The function given back calls the wait off. */
  take(ready: (session: UpstreamSession) => void, failed: (fault: ConnectFault) => void): () => void;
}

interface Waiting {
  readonly ready: (session: UpstreamSession) => void;
  readonly failed: (fault: ConnectFault) => void;
}

/** One connection, from its dialling to its end. */
interface Line {
  session: ClientHttp2Session | undefined;
  /** Requests under way, and those that wait for it to open. */
  load: number;
  served: number;
  usable: boolean;
  idleSince: number;
  /** The last stream that the upstream will process: infinite until it says GOAWAY. */
  lastTaken: number;
  closing: NodeJS.Timeout | undefined;
  readonly waiting: Set<Waiting>;
}

/** Requests on one connection, whatever the upstream allows; and until it has said what it allows. */
const MOST_STREAMS = 256;
const FIRST_STREAMS = 100;
/** Octets of an answer that an upstream may send ahead of the client's reading: a stream's, and a connection's. */
const STREAM_WINDOW = 256 * 1024;
const CONNECTION_WINDOW = 4 * 1024 * 1024;
/** Octets of an answer's header section, as RFC 9113 counts them. */
const HEADER_LIST = 64 * 1024;
/** A connection that was silent for so long is asked for a sign of life along with the next request. */
const SILENT_MS = 10_000;
const SIGN_MS = 5_000;
/** Below this the TCP stack looks for dead peers by itself. */
const KEEP_ALIVE_MS = 30_000;

const pools = new WeakMap<UpstreamEndpoint, Http2Sessions>();

/** The connections to an endpoint: made with the first request for it. One that is not used is closed after `idleTime` ms. */
export function sessionsOf(endpoint: UpstreamEndpoint, idleTime: number): Http2Sessions {
  let pool = pools.get(endpoint);
  if (pool === undefined) {
    pool = createSessions(endpoint, idleTime);
    pools.set(endpoint, pool);
  }
  return pool;
}

function createSessions(endpoint: UpstreamEndpoint, idleTime: number): Http2Sessions {
  const lines = new Set<Line>();
  endpoint.whenDropped(() => {
    for (const line of lines) {
      if (endpoint.retired) line.usable = false;
      if (line.load > 0) continue;
      line.usable = false;
      line.session?.close();
    }
  });

  function take(ready: Waiting['ready'], failed: Waiting['failed']): () => void {
    const line = roomiest() ?? dial();
    const waiting: Waiting = { ready, failed };
    line.load += 1;
    if (line.session !== undefined) ready(give(line, line.session));
    else line.waiting.add(waiting);
    return () => {
      if (line.waiting.delete(waiting)) line.load -= 1;
    };
  }

  function roomiest(): Line | undefined {
    for (const line of lines) if (hasRoom(line)) return line;
    return undefined;
  }

  function hasRoom({ usable, load, session }: Line): boolean {
    if (!usable) return false;
    const allowed = session?.remoteSettings.maxConcurrentStreams ?? FIRST_STREAMS;
    return load < Math.min(allowed, MOST_STREAMS);
  }

  function give(line: Line, session: ClientHttp2Session): UpstreamSession {
    const reused = line.served > 0;
    line.served += 1;
    if (reused && performance.now() - line.idleSince > SILENT_MS && line.load === 1) askForSign(session);
    let held = true;
    return {
      session, reused,
      unprocessed: (id, rstCode) => rstCode === constants.NGHTTP2_REFUSED_STREAM || id === undefined || id > line.lastTaken,
      release() {
        if (!held) return;
        held = false;
        line.load -= 1;
        line.idleSince = performance.now();
        if (line.load > 0) return;
        if (!line.usable) session.close();
        else scheduleClose(line, session);
      },
    };
  }

  /** An address translator or a dead peer may have forgotten the connection without a word. */
  function askForSign(session: ClientHttp2Session): void {
    const timer = setTimeout(() => session.destroy(new Error('no sign of life')), SIGN_MS);
    session.once('close', () => clearTimeout(timer));
    session.ping(() => clearTimeout(timer));
  }

  function scheduleClose(line: Line, session: ClientHttp2Session): void {
    if (line.closing !== undefined) return void line.closing.refresh();
    const timer = setTimeout(() => {
      if (line.load > 0) return;
      line.usable = false;
      session.close();
    }, idleTime);
    line.closing = timer.unref();
    session.once('close', () => clearTimeout(timer));
  }

  function dial(): Line {
    const line: Line = { session: undefined, load: 0, served: 0, usable: true, idleSince: 0, lastTaken: Infinity, closing: undefined, waiting: new Set() };
    lines.add(line);
    const socket = endpoint.open({ ALPNProtocols: ['h2'] });
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    let fault: ConnectFault = { result: 'failed', code: 'upstream_unavailable', detail: 'the upstream closed the connection' };
    socket.on('error', (error: NodeJS.ErrnoException) => {
      fault = connectFault(socket, error);
    });
    socket.once('close', () => {
      line.usable = false;
      lines.delete(line);
      for (const waiting of line.waiting) waiting.failed(fault);
      line.waiting.clear();
    });
    socket.once('secureConnect', () => {
      // What speaks HTTP/1.1 would read our frames as a request line.
      if (socket.alpnProtocol !== 'h2') return void socket.destroy(new Error('the upstream does not speak HTTP/2 (ALPN h2)'));
      opened(line, socket);
    });
    return line;
  }

  function opened(line: Line, socket: TLSSocket): void {
    const session = connect(endpoint.url, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW, maxHeaderListSize: HEADER_LIST },
      // Requests that wait to be sent count against it; what they may hold is bounded by their own streams.
      maxSessionMemory: 1_000,
      maxHeaderListPairs: 512,
      maxReservedRemoteStreams: 0,
      peerMaxConcurrentStreams: FIRST_STREAMS,
      strictSingleValueFields: false,
    } as Parameters<typeof connect>[1]);
    session.on('error', noop);
    session.on('goaway', (_code, last) => {
      line.usable = false;
      line.lastTaken = last;
    });
    session.once('close', () => {
      line.usable = false;
    });
    line.session = session;
    session.once('connect', () => {
      session.setLocalWindowSize(CONNECTION_WINDOW);
      for (const waiting of [...line.waiting]) {
        line.waiting.delete(waiting);
        waiting.ready(give(line, session));
      }
    });
  }

  return { take };
}

function noop(): void {
  // A session without an error handler ends the process; what matters shows on its streams.
}
