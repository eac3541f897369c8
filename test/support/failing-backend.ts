import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import type { Issued, TestPki } from './pki.ts';

/**
 * What a backend does: `well` answers with its name. `killed`: nobody listens. `frozen`: connections open and nothing more.
 * `hung`: requests are read and not answered. `resetting`: each is answered with a reset. `garbage`: with what is no HTTP.
 * `dripping`: with three octets, one a second. `stalling`: with half an answer. `swapped`: with a certificate that is not its own.
 */
export type Ailment = 'well' | 'killed' | 'frozen' | 'hung' | 'resetting' | 'garbage' | 'dripping' | 'stalling' | 'swapped';

export interface FailingBackend {
  readonly port: number;
  /** Requests that were read, by method. */
  readonly received: readonly string[];
  /** TLS handshakes that were done, and those of them that resumed a session. */
  readonly handshakes: () => number;
  readonly resumed: () => number;
  /** Open connections. */
  readonly connections: () => number;
  /** Makes it ill, or well again, under way or not. */
  become(ailment: Ailment): Promise<void>;
  close(): Promise<void>;
}

export interface FailingOptions {
  /** Shown once it is swapped. */
  readonly swapped?: Issued;
  readonly certificate?: Issued;
  /** Absent: 127.0.0.1. */
  readonly address?: string;
  /** Absent: one of the system's choice. */
  readonly port?: number;
}

/** A backend that can fall ill in every way that matters. It speaks HTTP/1.1, and takes a request to end with its head and the length that it names. */
export async function startFailingBackend(pki: TestPki, name: string, { swapped = pki.backendServer, certificate = pki.backendServer, address = '127.0.0.1', port: wanted = 0 }: FailingOptions = {}): Promise<FailingBackend> {
  let ailment: Ailment = 'well';
  let handshakes = 0;
  let resumed = 0;
  const sockets = new Set<Socket>();
  const received: string[] = [];
  const credentials = (issued: Issued) => ({ cert: issued.chain, key: issued.key, ca: pki.backendCa.certificate });
  const tls = createTlsServer({ ...credentials(certificate), requestCert: true, rejectUnauthorized: true }, (socket) => {
    handshakes++;
    if (socket.isSessionReused()) resumed++;
    socket.on('error', () => undefined);
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      for (let length = messageLength(text); length !== undefined; length = messageLength(text)) {
        received.push(text.slice(0, text.indexOf(' ')));
        text = text.slice(length);
        answer(socket);
      }
    });
  });
  tls.on('tlsClientError', () => undefined);
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    if (ailment !== 'frozen') tls.emit('connection', socket);
  });

  function answer(socket: TLSSocket): void {
    switch (ailment) {
      case 'well':
      case 'swapped': return void socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\n\r\n${name}`);
      case 'killed':
      // The TLS socket has no handle of its own that could be reset.
      case 'resetting': return void [...sockets].find(({ remotePort }) => remotePort === socket.remotePort)?.resetAndDestroy();
      case 'garbage': return void socket.write('220 mail.hospital.test ESMTP ready\r\n\r\n');
      case 'stalling': return void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it');
      case 'dripping': return drip(socket);
      default:
    }
  }

  function listen(port: number): Promise<number> {
    return new Promise((done, failed) => {
      server.once('error', failed);
      server.listen(port, address, () => {
        server.off('error', failed);
        done((server.address() as { port: number }).port);
      });
    });
  }

  function drop(): void {
    for (const socket of sockets) socket.resetAndDestroy();
  }

  const port = await listen(wanted);
  return {
    port, received,
    handshakes: () => handshakes,
    resumed: () => resumed,
    connections: () => sockets.size,
    async become(next) {
      const before = ailment;
      ailment = next;
      if (next === 'killed') {
        drop();
        await new Promise((done) => server.close(done));
      } else if (before === 'killed') await listen(port);
      if (next === 'frozen' || before === 'frozen') drop();
      if ((next === 'swapped') !== (before === 'swapped')) {
        tls.setSecureContext(credentials(next === 'swapped' ? swapped : certificate));
        drop();
      }
    },
    close: () => new Promise((done) => {
      drop();
      server.close(() => done());
    }),
  };
}

/** Octets of the message that a text begins with; undefined when it is not whole. */
function messageLength(text: string): number | undefined {
  const head = text.indexOf('\r\n\r\n');
  if (head === -1) return undefined;
  if (/^transfer-encoding:/im.test(text.slice(0, head))) {
    const end = text.indexOf('0\r\n\r\n', head);
    return end === -1 ? undefined : end + 5;
  }
  const length = head + 4 + Number(/^content-length: *(\d+)/im.exec(text.slice(0, head))?.[1] ?? 0);
  return text.length < length ? undefined : length;
}

function drip(socket: TLSSocket): void {
  socket.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n');
  let left = 3;
  const timer = setInterval(() => {
    socket.write('.');
    if (--left === 0) clearInterval(timer);
  }, 1_000);
  socket.on('close', () => clearInterval(timer));
}
