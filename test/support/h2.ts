import { connect, type Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { openTls } from './gateway.ts';
import type { Issued, TestPki } from './pki.ts';

export const TYPE = { data: 0, headers: 1, priority: 2, rstStream: 3, settings: 4, pushPromise: 5, ping: 6, goaway: 7, windowUpdate: 8, continuation: 9 } as const;
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;
export const ERROR = {
  none: 0, protocol: 1, internal: 2, flowControl: 3, settingsTimeout: 4, streamClosed: 5, frameSize: 6, refused: 7, cancel: 8, compression: 9, connect: 10, calm: 11,
} as const;
export const SETTING = { headerTableSize: 1, enablePush: 2, maxConcurrentStreams: 3, initialWindowSize: 4, maxFrameSize: 5, maxHeaderListSize: 6, enableConnect: 8 } as const;

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** One frame as octets; `length` may lie. */
export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0), length = payload.length): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream >>> 0, 5);
  return Buffer.concat([head, payload]);
}

export function uint32(...values: readonly number[]): Buffer {
  const octets = Buffer.alloc(4 * values.length);
  values.forEach((value, index) => octets.writeUInt32BE(value >>> 0, 4 * index));
  return octets;
}

export function settings(...pairs: readonly (readonly [id: number, value: number])[]): Buffer {
  const octets = Buffer.alloc(6 * pairs.length);
  pairs.forEach(([id, value], index) => {
    octets.writeUInt16BE(id, 6 * index);
    octets.writeUInt32BE(value >>> 0, 6 * index + 2);
  });
  return octets;
}

/** An HPACK integer with a prefix of so many bits (RFC 7541 section 5.1). */
export function integer(value: number, prefix: number, first: number): Buffer {
  const most = 2 ** prefix - 1;
  if (value < most) return Buffer.from([first | value]);
  const octets = [first | most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) octets.push((rest % 128) | 128);
  return Buffer.from([...octets, rest]);
}

function text(value: string): Buffer {
  const octets = Buffer.from(value, 'latin1');
  return Buffer.concat([integer(octets.length, 7, 0), octets]);
}

/** A field as a literal without indexing, or with it. */
export function literal(name: string, value: string, indexing = false): Buffer {
  return Buffer.concat([Buffer.from([indexing ? 0x40 : 0x00]), text(name), text(value)]);
}

export type Fields = readonly (readonly [name: string, value: string])[];

/** A header block without compression. */
export function block(fields: Fields): Buffer {
  return Buffer.concat(fields.map(([name, value]) => literal(name, value)));
}

/** The fields of a request. */
export function request(path: string, more: Fields = [], method = 'GET'): Fields {
  return [[':method', method], [':scheme', 'https'], [':path', path], [':authority', 'localhost'], ...more];
}

/** An HTTP/2 client that sends what it is told, frame by frame, and keeps what comes. */
export class RawHttp2 {
  readonly socket: TLSSocket;
  readonly frames: Frame[] = [];
  /** Resolves when the connection has ended, however. */
  readonly ended: Promise<void>;
  closed = false;
  #octets: Buffer = Buffer.alloc(0);
  #wake: (() => void)[] = [];

  readonly #transport: Socket;

  constructor(socket: TLSSocket, transport: Socket) {
    this.socket = socket;
    this.#transport = transport;
    socket.on('error', () => undefined);
    this.ended = new Promise((done) => socket.once('close', () => {
      this.closed = true;
      this.#notify();
      done();
    }));
    socket.on('end', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
  }

  #received(chunk: Buffer): void {
    this.#octets = Buffer.concat([this.#octets, chunk]);
    while (this.#octets.length >= 9) {
      const length = this.#octets.readUIntBE(0, 3);
      if (this.#octets.length < 9 + length) break;
      this.frames.push({
        type: this.#octets[3] as number, flags: this.#octets[4] as number, stream: this.#octets.readUInt32BE(5) & 0x7fffffff, payload: Buffer.from(this.#octets.subarray(9, 9 + length)),
      });
      this.#octets = this.#octets.subarray(9 + length);
    }
    this.#notify();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const one of wake) one();
  }

  write(...octets: readonly Buffer[]): void {
    if (!this.socket.destroyed) this.socket.write(Buffer.concat(octets));
  }

  send(type: number, flags: number, stream: number, payload?: Buffer): void {
    this.write(frame(type, flags, stream, payload));
  }

  headers(stream: number, fields: Fields, flags: number = FLAG.endHeaders | FLAG.endStream): void {
    this.send(TYPE.headers, flags, stream, block(fields));
  }

  /** Waits for a frame; undefined when the connection ended, or nothing came in `ms`. */
  async wait(wanted: (frame: Frame) => boolean, ms = 20_000): Promise<Frame | undefined> {
    const deadline = Date.now() + ms;
    for (;;) {
      const found = this.frames.find(wanted);
      if (found !== undefined || this.closed || Date.now() >= deadline) return found;
      await new Promise<void>((done) => {
        const timer = setTimeout(done, deadline - Date.now());
        this.#wake.push(() => {
          clearTimeout(timer);
          done();
        });
      });
    }
  }

  /** The status of a stream's answer; undefined when none came. */
  async status(stream: number, ms?: number): Promise<number | undefined> {
    const answer = await this.wait(({ type, stream: id }) => id === stream && (type === TYPE.headers || type === TYPE.rstStream), ms);
    return answer?.type === TYPE.headers ? statusOf(answer.payload) : undefined;
  }

  /** The code a stream was reset with. */
  async reset(stream: number, ms?: number): Promise<number | undefined> {
    return (await this.wait(({ type, stream: id }) => type === TYPE.rstStream && id === stream, ms))?.payload.readUInt32BE(0);
  }

  /** The code and last stream of the GOAWAY that came last. */
  async goaway(ms?: number): Promise<{ readonly code: number; readonly last: number } | undefined> {
    await this.wait(({ type }) => type === TYPE.goaway, ms);
    const last = this.frames.findLast(({ type }) => type === TYPE.goaway);
    return last === undefined ? undefined : { code: last.payload.readUInt32BE(4), last: last.payload.readUInt32BE(0) & 0x7fffffff };
  }

  /** Whether the other side still answers on this connection. */
  async alive(): Promise<boolean> {
    const mark = Buffer.from(Math.random().toString(36).padEnd(10, 'x').slice(2, 10));
    this.send(TYPE.ping, 0, 0, mark);
    return await this.wait(({ type, flags, payload }) => type === TYPE.ping && (flags & FLAG.ack) !== 0 && payload.equals(mark)) !== undefined;
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Ends the connection by a TCP reset. */
  abort(): void {
    this.#transport.resetAndDestroy();
  }
}

/** A connection to the gateway on which nothing has been said. */
export async function openRaw(pki: TestPki, port: number, client: Issued | undefined = pki.patient, more: ConnectionOptions = {}): Promise<RawHttp2> {
  const transport = connect(port, '127.0.0.1');
  transport.setNoDelay(true);
  const socket = await openTls(pki, port, { ...(client === undefined ? {} : { client }), ALPNProtocols: ['h2'], socket: transport, ...more });
  return new RawHttp2(socket, transport);
}

/** A connection whose settings have been exchanged. */
export async function openFrames(pki: TestPki, port: number, client?: Issued, own: Buffer = settings([SETTING.headerTableSize, 0]), more: ConnectionOptions = {}): Promise<RawHttp2> {
  const raw = await openRaw(pki, port, client, more);
  raw.write(PREFACE, frame(TYPE.settings, 0, 0, own));
  await raw.wait(({ type, flags }) => type === TYPE.settings && flags === 0);
  raw.send(TYPE.settings, FLAG.ack, 0);
  return raw;
}

/** The status in a header block that begins with it, as nghttp2's do: indexed, or its digits, compressed or not. */
function statusOf(octets: Buffer): number {
  let at = 0;
  while (((octets[at] as number) & 0xe0) === 0x20) at += 1;
  const first = octets[at] as number;
  const known = [200, 204, 206, 304, 400, 404, 500][(first & 0x7f) - 8];
  if ((first & 0x80) !== 0 && known !== undefined) return known;
  // A literal whose name is entry 8 of the static table: with, without and never indexed.
  const compressed = ((octets[at + 1] as number) & 0x80) !== 0;
  const value = octets.subarray(at + 2, at + 2 + ((octets[at + 1] as number) & 0x7f));
  return Number(compressed ? digits(value) : value.toString('latin1'));
}

/** Digits in HPACK's Huffman code (RFC 7541 appendix B): 0 to 2 have five bits, the others six. */
function digits(octets: Buffer): string {
  let bits = [...octets].map((octet) => octet.toString(2).padStart(8, '0')).join('');
  let out = '';
  while (out.length < 3) {
    const short = Number.parseInt(bits.slice(0, 5), 2);
    const long = Number.parseInt(bits.slice(0, 6), 2);
    out += short <= 2 ? String(short) : String(long - 0b011001 + 3);
    bits = bits.slice(short <= 2 ? 5 : 6);
  }
  return out;
}
