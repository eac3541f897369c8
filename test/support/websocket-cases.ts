import { hash, randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';

/** One frame of RFC 6455 section 5.2. */
export interface WsFrame {
  readonly fin: boolean;
  readonly rsv: number;
  readonly opcode: number;
  readonly payload: Buffer;
}

export const OP = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** A frame as octets; clients mask theirs. */
export function wsFrame(opcode: number, payload: Buffer | string = '', { fin = true, rsv = 0, masked = true } = {}): Buffer {
  const octets = Buffer.from(payload);
  const { length } = octets;
  const head = length < 126 ? Buffer.from([0, length]) : length < 65_536 ? Buffer.from([0, 126, length >> 8, length & 255]) : Buffer.alloc(10);
  if (length >= 65_536) {
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(length), 2);
  }
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  if (!masked) return Buffer.concat([head, octets]);
  head[1] = (head[1] as number) | 0x80;
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, octets.map((octet, index) => octet ^ (mask[index % 4] as number))]);
}

function closePayload(code: number, reason = ''): Buffer {
  return Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
}

/** A WebSocket whose frames are sent and read one by one. */
export class RawWebSocket {
  readonly frames: WsFrame[] = [];
  readonly socket: Duplex;
  /** Every octet that came behind the handshake. */
  octets: Buffer;
  #rest: Buffer;
  #wake: (() => void)[] = [];
  closed = false;

  constructor(socket: Duplex, first: Buffer) {
    this.socket = socket;
    this.octets = first;
    this.#rest = first;
    socket.on('data', (chunk: Buffer) => {
      this.octets = Buffer.concat([this.octets, chunk]);
      this.#rest = Buffer.concat([this.#rest, chunk]);
      this.#read();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.closed = true;
      this.#notify();
    });
    this.#read();
  }

  #read(): void {
    for (let frame = readFrame(this.#rest); frame !== undefined; frame = readFrame(this.#rest)) {
      this.frames.push(frame.frame);
      this.#rest = this.#rest.subarray(frame.length);
    }
    this.#notify();
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  write(...octets: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(octets));
  }

  /** Waits until this many frames have come, or the connection has ended; gives back what came. */
  async wait(count: number, ms = 20_000): Promise<readonly WsFrame[]> {
    const deadline = Date.now() + ms;
    while (this.frames.length < count && !this.closed && Date.now() < deadline) {
      await new Promise<void>((done) => {
        const timer = setTimeout(done, deadline - Date.now());
        this.#wake.push(() => {
          clearTimeout(timer);
          done();
        });
      });
    }
    return this.frames;
  }

  async ended(): Promise<void> {
    await this.wait(Infinity);
  }
}

/** The first frame of some octets, if all of it is there. */
export function readFrame(octets: Buffer): { readonly frame: WsFrame; readonly length: number } | undefined {
  if (octets.length < 2) return undefined;
  const [first = 0, second = 0] = octets;
  const short = second & 0x7f;
  const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
  if (octets.length < 2 + extended) return undefined;
  const length = extended === 0 ? short : extended === 2 ? octets.readUInt16BE(2) : Number(octets.readBigUInt64BE(2));
  const whole = 2 + extended + length;
  if (octets.length < whole) return undefined;
  return { frame: { fin: (first & 0x80) !== 0, rsv: (first >> 4) & 7, opcode: first & 15, payload: Buffer.from(octets.subarray(2 + extended, whole)) }, length: whole };
}

export const WEBSOCKET_KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
export const WEBSOCKET_ACCEPT = hash('sha1', `${WEBSOCKET_KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`, 'base64');

/** What a case sends, in the pieces in which it is written, and what the echoing server says to it. */
export interface WebSocketCase {
  readonly section: string;
  readonly what: string;
  readonly send: readonly Buffer[];
  /** Frames in their order: opcode and payload, or for a close its code. */
  readonly expect: readonly string[];
}

const text = (payload: string, options = {}): Buffer => wsFrame(OP.text, payload, options);
const echoed = (opcode: number, payload: Buffer | string): string => `${opcode} ${hash('sha1', Buffer.from(payload), 'hex').slice(0, 12)}`;
const closed = (code: number): string => `8 ${code}`;
const bye = wsFrame(OP.close, closePayload(1000));
const BYE = closed(1000);
const octets = (length: number): Buffer => Buffer.alloc(length, 0x2a);
/** One octet a write. */
const drops = (frame: Buffer): Buffer[] => [...frame].map((octet) => Buffer.from([octet]));

function list(section: string, cases: readonly (readonly [what: string, send: readonly Buffer[], expect: readonly string[]])[]): WebSocketCase[] {
  return cases.map(([what, send, expect]) => ({ section, what, send, expect }));
}

const lengths = [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 1_000_000];
const codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
const badCodes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000];
const wrongText = [
  ['a lone continuation octet', [0x80]], ['an octet that begins nothing', [0xff]], ['an overlong slash', [0xc0, 0xaf]], ['a surrogate', [0xed, 0xa0, 0x80]],
  ['beyond U+10FFFF', [0xf4, 0x90, 0x80, 0x80]], ['a character that is cut', [0xce]],
] as const;

export const WEBSOCKET_CASES: readonly WebSocketCase[] = [
  ...list('5.2 Base framing', [
    ...lengths.map((length) => [`text of ${length} octets`, [text(octets(length).toString()), bye], [echoed(OP.text, octets(length)), BYE]] as const),
    ...lengths.map((length) => [`binary of ${length} octets`, [wsFrame(OP.binary, octets(length)), bye], [echoed(OP.binary, octets(length)), BYE]] as const),
    ['a frame octet by octet', [...drops(text('drop by drop')), bye], [echoed(OP.text, 'drop by drop'), BYE]],
    ['many frames in one write', [Buffer.concat([...Array.from({ length: 50 }, (_, index) => text(`message ${index}`)), bye])], [...Array.from({ length: 50 }, (_, index) => echoed(OP.text, `message ${index}`)), BYE]],
    ...[1, 2, 4, 7].map((rsv) => [`reserved bits ${rsv}`, [text('x', { rsv })], [closed(1002)]] as const),
    ...[3, 4, 7, 11, 12, 15].map((opcode) => [`the reserved opcode ${opcode}`, [wsFrame(opcode, 'x')], [closed(1002)]] as const),
    ['a frame of a client without a mask', [text('x', { masked: false })], [closed(1002)]],
  ]),
  ...list('5.4 Fragmentation', [
    ['text in two', [text('frag', { fin: false }), wsFrame(OP.continuation, 'ment'), bye], [echoed(OP.text, 'fragment'), BYE]],
    ['binary in many, some of them empty', [wsFrame(OP.binary, 'a', { fin: false }), wsFrame(OP.continuation, '', { fin: false }), wsFrame(OP.continuation, 'b', { fin: false }), wsFrame(OP.continuation, ''), bye], [echoed(OP.binary, 'ab'), BYE]],
    ['a ping between fragments', [text('frag', { fin: false }), wsFrame(OP.ping, 'now'), wsFrame(OP.continuation, 'ment'), bye], [echoed(OP.pong, 'now'), echoed(OP.text, 'fragment'), BYE]],
    ['a continuation of nothing', [wsFrame(OP.continuation, 'x')], [closed(1002)]],
    ['another message between fragments', [text('frag', { fin: false }), text('x')], [closed(1002)]],
    ['a fragmented ping', [wsFrame(OP.ping, 'x', { fin: false })], [closed(1002)]],
    ['a character cut between fragments', [wsFrame(OP.text, Buffer.from([0xce]), { fin: false }), wsFrame(OP.continuation, Buffer.from([0xba])), bye], [echoed(OP.text, 'κ'), BYE]],
  ]),
  ...list('5.5 Control frames', [
    ['a ping', [wsFrame(OP.ping, 'payload'), bye], [echoed(OP.pong, 'payload'), BYE]],
    ['an empty ping', [wsFrame(OP.ping), bye], [echoed(OP.pong, ''), BYE]],
    ['a ping of 125 octets that are no text', [wsFrame(OP.ping, Buffer.alloc(125, 0xfe)), bye], [echoed(OP.pong, Buffer.alloc(125, 0xfe)), BYE]],
    ['a ping of 126 octets', [wsFrame(OP.ping, octets(126))], [closed(1002)]],
    ['ten pings', [...Array.from({ length: 10 }, (_, index) => wsFrame(OP.ping, `${index}`)), bye], [...Array.from({ length: 10 }, (_, index) => echoed(OP.pong, `${index}`)), BYE]],
    ['a pong that nobody asked for', [wsFrame(OP.pong, 'x'), text('y'), bye], [echoed(OP.text, 'y'), BYE]],
    ['a close without a code', [wsFrame(OP.close)], [closed(1005)]],
    ['a close of one octet', [wsFrame(OP.close, Buffer.from([3]))], [closed(1002)]],
    ['a close with a reason', [wsFrame(OP.close, closePayload(1000, 'over and out'))], [BYE]],
    ['a close whose reason is no UTF-8', [wsFrame(OP.close, Buffer.from([3, 232, 0xff]))], [closed(1007)]],
    ['a close of 126 octets', [wsFrame(OP.close, closePayload(1000, 'x'.repeat(124)))], [closed(1002)]],
    ['nothing behind a close is answered', [bye, text('x')], [BYE]],
  ]),
  ...list('7.4 Status codes', [
    ...codes.map((code) => [`the code ${code}`, [wsFrame(OP.close, closePayload(code))], [closed(code)]] as const),
    ...badCodes.map((code) => [`the code ${code}, which must not be sent`, [wsFrame(OP.close, closePayload(code))], [closed(1002)]] as const),
  ]),
  ...list('8.1 Text in UTF-8', [
    ['of every length of character', [text('aäκ中𝄞'), bye], [echoed(OP.text, 'aäκ中𝄞'), BYE]],
    ['with U+0000, U+FFFF and U+10FFFF', [text('\u0000\uffff\u{10ffff}'), bye], [echoed(OP.text, '\u0000\uffff\u{10ffff}'), BYE]],
    ...wrongText.map(([what, wrong]) => [what, [wsFrame(OP.text, Buffer.from(wrong))], [closed(1007)]] as const),
  ]),
];

/** What a frame shows, as cases expect it. */
export function shownFrame({ opcode, payload }: WsFrame): string {
  return opcode === OP.close ? closed(payload.length === 0 ? 1005 : payload.readUInt16BE(0)) : echoed(opcode, payload);
}

export function webSocketCaseName({ section, what }: WebSocketCase): string {
  return `${section}: ${what}`;
}
