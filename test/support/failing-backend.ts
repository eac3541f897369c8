import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { FLAG, frame, PREFACE, settings, SETTING, TYPE, uint32 } from './h2.ts';
import type { Issued, TestPki } from './pki.ts';
import { freePort } from './programs.ts';

/**
 * What a backend does: `well` answers with its name. `killed`: nobody listens. `frozen`: connections open and nothing more.
 * `hung`: requests are read and not answered. `resetting`: each is answered with a reset of the connection. `garbage`: with what is no HTTP.
 * `dripping`: with three octets, one a second. `stalling`: with half an answer. `swapped`: with a certificate that is not its own.
 */
export type Ailment = 'well' | 'killed' | 'frozen' | 'hung' | 'resetting' | 'garbage' | 'dripping' | 'stalling' | 'swapped';

export interface FailingBackend {
  readonly port: number;
  /** Requests that were read, by method; by protocol where that is HTTP/2. */
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
  /** Absent: HTTP/1.1. */
  readonly protocol?: 'h2';
  /** Shown once it is swapped. */
  readonly swapped?: Issued;
  readonly certificate?: Issued;
  /** Absent: 127.0.0.1. */
  readonly address?: string;
  /** Absent: a free one. */
  readonly port?: number;
}

/** What a backend says to a request. */
interface Conversation {
  answer(body: string): void;
  garbage(): void;
  /** The head of an answer and a half of its body. */
  half(): void;
  /** The head of an answer of three octets, and how to say each. */
  drip(): (left: number) => void;
}

/** A backend that can fall ill in every way that matters. By HTTP/1.1 it takes a request to end with its head and the length that it names. */
export async function startFailingBackend(pki: TestPki, name: string, { protocol, swapped = pki.backendServer, certificate = pki.backendServer, address = '127.0.0.1', port: wanted }: FailingOptions = {}): Promise<FailingBackend> {
  let ailment: Ailment = 'well';
  let handshakes = 0;
  let resumed = 0;
  const sockets = new Set<Socket>();
  const received: string[] = [];
  const credentials = (issued: Issued) => ({ cert: issued.chain, key: issued.key, ca: pki.backendCa.certificate });
  const tls = createTlsServer({ ...credentials(certificate), requestCert: true, rejectUnauthorized: true, ...(protocol === undefined ? {} : { ALPNProtocols: [protocol] }) }, (socket) => {
    handshakes++;
    if (socket.isSessionReused()) resumed++;
    socket.on('error', () => undefined);
    const take = (request: string, conversation: Conversation): void => {
      received.push(request);
      answer(socket, conversation);
    };
    if (protocol === 'h2') converseByHttp2(socket, take);
    else converseByHttp1(socket, take);
  });
  tls.on('tlsClientError', () => undefined);
  const server: Server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    if (ailment !== 'frozen') tls.emit('connection', socket);
  });

  function answer(socket: TLSSocket, conversation: Conversation): void {
    switch (ailment) {
      case 'well':
      case 'swapped': return conversation.answer(name);
      case 'killed':
      // The TLS socket has no handle of its own that could be reset.
      case 'resetting': return void [...sockets].find(({ remotePort }) => remotePort === socket.remotePort)?.resetAndDestroy();
      case 'garbage': return conversation.garbage();
      case 'stalling': return conversation.half();
      case 'dripping': return everySecond(socket, conversation.drip());
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

  // Nobody else may have it while it is killed.
  const port = await listen(wanted ?? await freePort(address));
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

const GARBAGE = '220 mail.hospital.test ESMTP ready\r\n\r\n';

function converseByHttp1(socket: TLSSocket, take: (request: string, conversation: Conversation) => void): void {
  const head = (length: number): string => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;
  const conversation: Conversation = {
    answer: (body) => void socket.write(`${head(body.length)}${body}`),
    garbage: () => void socket.write(GARBAGE),
    half: () => void socket.write(`${head(100)}half of it`),
    drip() {
      socket.write(head(3));
      return () => void socket.write('.');
    },
  };
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    for (let length = messageLength(text); length !== undefined; length = messageLength(text)) {
      const method = text.slice(0, text.indexOf(' '));
      text = text.slice(length);
      take(method, conversation);
    }
  });
}

/** Frame by frame, as far as a gateway's requests go: what it sends is taken to be right, and its header sections are not read. */
function converseByHttp2(socket: TLSSocket, take: (request: string, conversation: Conversation) => void): void {
  socket.setMaxListeners(0);
  const write = (...frames: readonly Buffer[]): void => void socket.write(Buffer.concat(frames));
  // `:status: 200` is entry 8 of the static table (RFC 7541 appendix A).
  const head = (stream: number): Buffer => frame(TYPE.headers, FLAG.endHeaders, stream, Buffer.of(0x88));
  const data = (stream: number, body: string, ends: boolean): Buffer => frame(TYPE.data, ends ? FLAG.endStream : 0, stream, Buffer.from(body));
  const conversation = (stream: number): Conversation => ({
    answer: (body) => write(head(stream), data(stream, body, true)),
    garbage: () => void socket.write(GARBAGE),
    half: () => write(head(stream), data(stream, 'half of it', false)),
    drip() {
      write(head(stream));
      return (left) => write(data(stream, '.', left === 0));
    },
  });
  let octets = Buffer.alloc(0);
  let begun = false;
  socket.on('data', (chunk: Buffer) => {
    octets = Buffer.concat([octets, chunk]);
    if (!begun) {
      if (octets.length < PREFACE.length) return;
      begun = true;
      octets = octets.subarray(PREFACE.length);
      // Room for whatever the tests send.
      write(frame(TYPE.settings, 0, 0, settings([SETTING.maxConcurrentStreams, 100])), frame(TYPE.windowUpdate, 0, 0, uint32(2 ** 30)));
    }
    while (octets.length >= 9 && octets.length >= 9 + octets.readUIntBE(0, 3)) {
      const [end, type, flags, stream] = [9 + octets.readUIntBE(0, 3), octets[3] as number, octets[4] as number, octets.readUInt32BE(5)];
      const payload = octets.subarray(9, end);
      octets = octets.subarray(end);
      if (type === TYPE.settings && (flags & FLAG.ack) === 0) write(frame(TYPE.settings, FLAG.ack, 0));
      else if (type === TYPE.ping && (flags & FLAG.ack) === 0) write(frame(TYPE.ping, FLAG.ack, 0, payload));
      else if ((type === TYPE.headers || type === TYPE.data) && (flags & FLAG.endStream) !== 0) take('h2', conversation(stream));
    }
  });
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

function everySecond(socket: TLSSocket, say: (left: number) => void): void {
  let left = 3;
  const timer = setInterval(() => {
    say(--left);
    if (left === 0) clearInterval(timer);
  }, 1_000);
  socket.on('close', () => clearInterval(timer));
}
