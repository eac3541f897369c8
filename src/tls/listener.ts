import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Socket } from 'node:net';
import type { HttpsListenerConfig } from '../config/schema.ts';
import type { ListenerContexts } from './contexts.ts';
import { openConnection, type Connection } from './connection.ts';

/** How a handshake ended that brought no connection, for the metrics. */
export type HandshakeFailure = 'protocol_version' | 'no_shared_cipher' | 'misdirected' | 'timeout' | 'reset' | 'alert' | 'overloaded' | 'other';

export interface TlsListenerOptions {
  readonly config: HttpsListenerConfig;
  readonly contexts: ListenerContexts;
  readonly ticketKey: Buffer;
  readonly alpn: readonly string[];
  /** Takes a connection after its handshake, before any of its bytes are read. */
  readonly accept: (connection: Connection) => void;
  readonly failed: (failure: HandshakeFailure, address: string) => void;
  readonly durations: (seconds: number) => void;
}

export interface TlsListener {
  /** Binds (SO_REUSEPORT: each thread binds the same port); resolves with the port. */
  listen(host: string, port: number): Promise<number>;
  /** Swaps certificates, client CAs and ticket key for handshakes from now on. */
  replace(contexts: ListenerContexts, ticketKey: Buffer): void;
  /** Stops accepting; open connections go on. */
  close(): void;
}

/**
 * A TLS server that asks for client certificates and refuses none by itself: the verdict comes after the handshake and is
 * ours, on full and resumed connections alike.
 */
export function createTlsListener(options: TlsListenerOptions): TlsListener {
  const { config } = options;
  let { contexts } = options;
  const starts = new Map<string, number>();
  const server: Server = createServer({
    ...contexts.defaults,
    requestCert: true,
    // why: OpenSSL's verdict hides the cause from both sides and is skipped on resumption; admission decides on every connection.
    rejectUnauthorized: false,
    ticketKeys: options.ticketKey,
    handshakeTimeout: config.limits.handshake_time,
    ALPNProtocols: [...options.alpn],
    SNICallback: (name, callback) => {
      // Nothing may be thrown here: it would take the process (CVE-2026-21637).
      try {
        const context = contexts.select(name.toLowerCase());
        if (context === undefined) callback(new Error(UNKNOWN_NAME));
        else callback(null, context);
      } catch (error) {
        callback(error as Error);
      }
    },
  });
  server.maxConnections = config.limits.connections;
  server.on('connection', (socket: Socket) => {
    const key = addressKey(socket);
    starts.set(key, performance.now());
    socket.on('error', noop);
    socket.on('close', () => starts.delete(key));
    socket.setNoDelay(true);
  });
  server.on('drop', (dropped) => options.failed('overloaded', dropped?.remoteAddress ?? ''));
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.on('error', noop);
    const key = addressKey(socket);
    const started = starts.get(key);
    starts.delete(key);
    if (started !== undefined) options.durations((performance.now() - started) / 1000);
    options.accept(openConnection(socket, config.name));
  });
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    options.failed(classify(error), socket.remoteAddress ?? '');
  });

  return {
    listen: (host, port) => new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, reusePort: true, backlog: 4096 }, () => {
        server.off('error', reject);
        server.on('error', noop);
        resolve((server.address() as { port: number }).port);
      });
    }),
    replace(next, ticketKey) {
      contexts = next;
      server.setSecureContext({ ...next.defaults, ticketKeys: ticketKey } as never);
      // setSecureContext makes a new context, with ticket keys of its own.
      server.setTicketKeys(ticketKey);
    },
    close: () => {
      server.close();
    },
  };
}

const UNKNOWN_NAME = 'wardgate: unknown server name';

function noop(): void {
  // A socket without an error handler ends the process; what matters shows when it closes.
}

function addressKey(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`;
}

function classify(error: NodeJS.ErrnoException): HandshakeFailure {
  if (error.message === UNKNOWN_NAME) return 'misdirected';
  switch (error.code) {
    case 'ERR_SSL_UNSUPPORTED_PROTOCOL':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_VERSION_TOO_LOW':
      return 'protocol_version';
    case 'ERR_SSL_NO_SHARED_CIPHER':
    case 'ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM':
    case 'ERR_SSL_NO_SHARED_SIGNATURE_ALGORITHMS':
      return 'no_shared_cipher';
    case 'ERR_TLS_HANDSHAKE_TIMEOUT':
      return 'timeout';
    case 'ECONNRESET':
    case 'EPIPE':
      return 'reset';
    default:
      return error.code?.startsWith('ERR_SSL_TLSV1_ALERT') || error.code?.startsWith('ERR_SSL_SSLV3_ALERT') ? 'alert' : 'other';
  }
}
