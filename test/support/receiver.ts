import { createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import type { TestPki } from './pki.ts';
import { freePort } from './programs.ts';

/** A receiver of syslog over TLS that a test can have misbehave. */
export interface Receiver {
  readonly port: number;
  /** Messages of all connections, each without its frame. */
  readonly messages: string[];
  /** Octets that have come. */
  octets(): number;
  connections(): number;
  /** From now on reads nothing. */
  deafen(): void;
  hear(): void;
  /** Cuts the connections that there are. */
  cut(): void;
  close(): Promise<void>;
}

export interface ReceiverOptions {
  readonly port?: number;
  readonly tls?: TlsOptions;
  /** Told of each message and the number of its connection; false cuts that at once. */
  readonly each?: (message: string, connection: number) => boolean | void;
  /** Whether it closes its side when the other has. */
  readonly stubborn?: boolean;
}

/** Starts one with the backend's certificate that wants a certificate of the backend's CA. */
export async function startReceiver(pki: TestPki, { port, tls = {}, each, stubborn = false }: ReceiverOptions = {}): Promise<Receiver> {
  const messages: string[] = [];
  const sockets = new Set<TLSSocket>();
  let octets = 0;
  let made = 0;
  let deaf = false;
  const server = createServer({
    cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true, allowHalfOpen: stubborn, ...tls,
  }, (socket) => {
    const own = ++made;
    let rest = Buffer.alloc(0);
    socket.on('data', (part: Buffer) => {
      octets += part.length;
      rest = Buffer.concat([rest, part]);
      for (;;) {
        const blank = rest.indexOf(32);
        const length = Number(rest.toString('latin1', 0, blank));
        if (blank < 1 || rest.length < blank + 1 + length) return;
        const message = rest.toString('utf8', blank + 1, blank + 1 + length);
        rest = rest.subarray(blank + 1 + length);
        messages.push(message);
        if (each?.(message, own) === false) return void socket.destroy();
      }
    });
    if (deaf) socket.pause();
  });
  server.on('tlsClientError', () => undefined);
  server.on('connection', (socket) => socket.on('error', () => undefined));
  server.on('secureConnection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  // Another may begin where one was closed.
  const at = port ?? await freePort();
  await new Promise<void>((done) => server.listen(at, '127.0.0.1', done));
  return {
    port: at, messages,
    octets: () => octets,
    connections: () => made,
    deafen() {
      deaf = true;
      for (const socket of sockets) socket.pause();
    },
    hear() {
      deaf = false;
      for (const socket of sockets) socket.resume();
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}
