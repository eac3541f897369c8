import { createServer, type Server } from 'node:https';
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TestPki, Issued } from './pki.ts';

/** A request as the upstream saw it. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
}

export interface Backend {
  readonly port: number;
  readonly seen: Seen[];
  close(): Promise<void>;
}

/** An upstream over TLS that demands the gateway's certificate and keeps what it was asked. */
export async function startBackend(
  pki: TestPki,
  answer: (request: IncomingMessage, response: ServerResponse, body: Buffer) => void = (_request, response) => response.end('hello'),
  certificate: Issued = pki.backendServer,
): Promise<Backend> {
  const seen: Seen[] = [];
  const server: Server = createServer({
    cert: certificate.chain, key: certificate.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true,
  }, (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const body = Buffer.concat(parts);
      seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, rawHeaders: request.rawHeaders, body });
      answer(request, response, body);
    });
  });
  return { port: await listen(server), seen, close: () => closeServer(server) };
}

export interface RawBackend {
  readonly port: number;
  /** Every octet each connection received, in the order of the connections. */
  readonly received: () => readonly string[];
  close(): Promise<void>;
}

/**
 * An upstream that keeps the octets it receives as they are and answers through `onData`: it repairs and hides nothing,
 * so it shows what a lenient one would make of them.
 */
export async function startRawBackend(pki: TestPki, onData: (socket: TLSSocket, text: string) => void): Promise<RawBackend> {
  const connections: string[] = [];
  const sockets = new Set<TLSSocket>();
  const server: TlsServer = createTlsServer({
    cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true, noDelay: true,
  }, (socket) => {
    const index = connections.push('') - 1;
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (chunk: Buffer) => {
      connections[index] += chunk.toString('latin1');
      onData(socket, connections[index] as string);
    });
  });
  const port = await listen(server);
  return {
    port,
    received: () => connections,
    close: () => new Promise((done) => {
      for (const socket of sockets) socket.destroy();
      server.close(() => done());
    }),
  };
}

export function listen(server: Server | TlsServer): Promise<number> {
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done((server.address() as { port: number }).port)));
}

function closeServer(server: Server): Promise<void> {
  return new Promise((done) => {
    server.close(() => done());
    server.closeAllConnections();
  });
}
