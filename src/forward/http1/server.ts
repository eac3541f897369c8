import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { ListenerLimits } from '../../config/schema.ts';
import { FIRST_REQUEST_MS } from '../http-options.ts';
import { isWebSocket } from './message.ts';

/** What comes on connections. None of these may throw. */
export interface Http1Events {
  /** `fault`: what makes it one that is not served. */
  request(request: IncomingMessage, response: ServerResponse, fault?: string): void;
  connect(request: IncomingMessage, socket: Duplex): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Octets that are no HTTP, or are late; once a connection. */
  faulty(socket: Duplex, error: NodeJS.ErrnoException): void;
}

export interface Http1Server {
  /** Takes a connection. */
  serve(socket: Socket): void;
  closeIdle(): void;
  /** Limits for connections from now on. */
  limit(limits: ListenerLimits): void;
}

/** Node's server for HTTP/1.1, which never listens itself, without what it does otherwise than we want it. */
export function openHttp1Server(limits: ListenerLimits, events: Http1Events): Http1Server {
  /** Connections on which octets came that are no HTTP. */
  const faulty = new WeakSet<Duplex>();
  /** When connections came that have not asked anything yet: to Node they are idle. */
  const fresh = new Map<Duplex, number>();
  const server = createServer({
    maxHeaderSize: limits.header_size,
    insecureHTTPParser: false,
    // We answer these ourselves, with a record.
    requireHostHeader: false,
    // Node refuses to start with a shorter time for the whole than for its beginning.
    headersTimeout: Math.min(limits.header_time, limits.request_time),
    requestTimeout: limits.request_time,
    keepAliveTimeout: limits.idle_time,
    connectionsCheckingInterval: 1_000,
    // An upgrade to anything but a WebSocket is not taken: h2c would carry requests past the policy.
    shouldUpgradeCallback: (request) => isWebSocket(request),
  });
  // Node's own limit of a thousand fields looks like one of size, and other versions drop what is beyond it; ours says what it is.
  server.maxHeadersCount = 0;
  server.on('request', (request, response) => {
    fresh.delete(request.socket);
    events.request(request, response);
  });
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => events.request(request, response));
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => events.request(request, response, 'an expectation other than 100-continue'));
  // Behind a request that has a body, Node gives not the connection but a stream of its own over it, which fails by itself where the client has ended its side.
  server.on('connect', (request, socket) => {
    socket.on('error', noop);
    events.connect(request, socket);
  });
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', noop);
    events.upgrade(request, socket, head);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
    // The parser refuses whatever comes after what it has refused.
    if (faulty.has(socket)) return;
    faulty.add(socket);
    events.faulty(socket, error);
  });
  // A server that never listens itself starts its header and request clocks at this event.
  server.emit('listening');

  return {
    serve(socket) {
      fresh.set(socket, performance.now());
      socket.on('close', () => fresh.delete(socket));
      server.emit('connection', socket);
      // Node reads TLS sockets past their stream, and takes what was decrypted already when it told them to pause for a fault of
      // the client (HPE_PAUSED). A listener, once there was one, has it read the stream.
      socket.on('data', noop);
      socket.off('data', noop);
    },
    closeIdle() {
      const latest = performance.now() - FIRST_REQUEST_MS;
      for (const [socket, since] of fresh) if (since < latest) fresh.delete(socket);
      // Node closes all or none.
      if (fresh.size === 0) server.closeIdleConnections();
    },
    limit(changed) {
      (server as { maxHeaderSize?: number }).maxHeaderSize = changed.header_size;
      server.headersTimeout = Math.min(changed.header_time, changed.request_time);
      server.requestTimeout = changed.request_time;
      server.keepAliveTimeout = changed.idle_time;
    },
  };
}

function noop(): void {
  // Its being there is what counts.
}
