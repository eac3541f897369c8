import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';

/** What a ClientHello offers; numbers are those of the registries. No key share is ever sent. */
export interface Offer {
  readonly versions: readonly number[];
  readonly suites: readonly number[];
  readonly groups: readonly number[];
  readonly serverName?: string;
}

/** How a server answers one: with what it would go on with, or with an alert. */
export type Answer =
  | { readonly kind: 'chosen'; readonly version: number; readonly suite: number; readonly group: number | undefined }
  | { readonly kind: 'alert'; readonly code: number }
  | { readonly kind: 'closed' };

/** The registry's numbers of groups: curves, finite fields, hybrid and pure ML-KEM, and the drafts before them. */
export const ALL_GROUPS: readonly number[] = [
  ...range(1, 41), ...range(0x100, 0x104), ...range(0x11eb, 0x11ee), 0x200, 0x201, 0x202, 0x6399,
];

export const ALERT = { handshakeFailure: 40, illegalParameter: 47, protocolVersion: 70 } as const;
export const VERSION = { tls11: 0x0302, tls12: 0x0303, tls13: 0x0304 } as const;

const SIGNATURES = [0x0807, 0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0809, 0x080a, 0x080b, 0x0401, 0x0501, 0x0601];
/** The random of a HelloRetryRequest (RFC 8446 section 4.1.3). */
const RETRY = Buffer.from('cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c', 'hex');

/**
 * Sends one ClientHello without a key share and reads what the server chooses: by TLS 1.3 it names a group in a
 * HelloRetryRequest, by TLS 1.2 in its ServerKeyExchange. So groups are scanned that no library at hand can compute.
 */
export function offer(port: number, offered: Offer): Promise<Answer> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1', () => void socket.write(record(22, clientHello(offered))));
    let octets: Buffer = Buffer.alloc(0);
    const end = (answer: Answer): void => {
      socket.destroy();
      done(answer);
    };
    socket.setTimeout(20_000, () => end({ kind: 'closed' }));
    socket.on('error', () => end({ kind: 'closed' }));
    socket.on('close', () => end({ kind: 'closed' }));
    socket.on('data', (chunk: Buffer) => {
      octets = Buffer.concat([octets, chunk]);
      const answer = readAnswer(octets);
      if (answer !== undefined) end(answer);
    });
  });
}

/** What the ClientHello at the start of `octets` offers; fails where it is not whole. */
export function readOffer(octets: Buffer): Offer & { readonly shares: readonly number[] } {
  const hello = messages(octets).find(({ type }) => type === 1)?.body;
  if (hello === undefined) throw new Error('no whole ClientHello');
  let at = 34;
  at += 1 + hello.readUInt8(at);
  const suites = numbers(hello.subarray(at + 2, at + 2 + hello.readUInt16BE(at)));
  at += 2 + hello.readUInt16BE(at);
  at += 1 + hello.readUInt8(at);
  const known = extensions(hello.subarray(at + 2));
  const shares: number[] = [];
  const list = known.get(51)?.subarray(2) ?? Buffer.alloc(0);
  for (let from = 0; from < list.length; from += 4 + list.readUInt16BE(from + 2)) shares.push(list.readUInt16BE(from));
  return { versions: numbers(known.get(43)?.subarray(1) ?? Buffer.from([3, 3])), suites, groups: numbers(known.get(10)?.subarray(2) ?? Buffer.alloc(0)), shares };
}

function clientHello({ versions, suites, groups, serverName }: Offer): Buffer {
  const list = (values: readonly number[]): Buffer => sized(2, Buffer.concat(values.map((value) => uint(2, value))));
  const modern = versions.includes(VERSION.tls13);
  const body = Buffer.concat([
    uint(2, Math.min(VERSION.tls12, Math.max(...versions))), randomBytes(32), sized(1, randomBytes(32)), list(suites), sized(1, Buffer.from([0])),
    sized(2, Buffer.concat([
      ...(serverName === undefined ? [] : [extension(0, sized(2, Buffer.concat([Buffer.from([0]), sized(2, Buffer.from(serverName))])))]),
      extension(10, list(groups)), extension(11, Buffer.from([1, 0])), extension(13, list(SIGNATURES)),
      ...(modern ? [extension(43, sized(1, Buffer.concat(versions.map((value) => uint(2, value))))), extension(51, uint(2, 0))] : []),
    ])),
  ]);
  return Buffer.concat([Buffer.from([1]), sized(3, body)]);
}

function readAnswer(octets: Buffer): Answer | undefined {
  if (octets[0] === 21 && octets.length >= 7) return { kind: 'alert', code: octets.readUInt8(6) };
  const seen = messages(octets);
  const hello = seen.find(({ type }) => type === 2)?.body;
  if (hello === undefined) return undefined;
  const at = 35 + hello.readUInt8(34);
  const suite = hello.readUInt16BE(at);
  const known = extensions(hello.subarray(at + 5));
  if (hello.subarray(2, 34).equals(RETRY)) return { kind: 'chosen', version: VERSION.tls13, suite, group: known.get(51)?.readUInt16BE(0) };
  const exchange = seen.find(({ type }) => type === 12)?.body;
  if (exchange === undefined) return undefined;
  // 3 is a named curve; a group of DHE begins with the size of its prime.
  return { kind: 'chosen', version: hello.readUInt16BE(0), suite, group: exchange[0] === 3 ? exchange.readUInt16BE(1) : undefined };
}

/** The whole handshake messages in records. */
function messages(octets: Buffer): { readonly type: number; readonly body: Buffer }[] {
  const parts: Buffer[] = [];
  for (let at = 0; at + 5 <= octets.length && octets[at] === 22; at += 5 + octets.readUInt16BE(at + 3)) parts.push(octets.subarray(at + 5, at + 5 + octets.readUInt16BE(at + 3)));
  const joined = Buffer.concat(parts);
  const found = [];
  for (let at = 0; at + 4 <= joined.length; at += 4 + joined.readUIntBE(at + 1, 3)) {
    const end = at + 4 + joined.readUIntBE(at + 1, 3);
    if (end > joined.length) break;
    found.push({ type: joined.readUInt8(at), body: joined.subarray(at + 4, end) });
  }
  return found;
}

function extensions(octets: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= octets.length; at += 4 + octets.readUInt16BE(at + 2)) found.set(octets.readUInt16BE(at), octets.subarray(at + 4, at + 4 + octets.readUInt16BE(at + 2)));
  return found;
}

function numbers(octets: Buffer): number[] {
  return range(0, octets.length >> 1).map((index) => octets.readUInt16BE(2 * index));
}

function extension(type: number, content: Buffer): Buffer {
  return Buffer.concat([uint(2, type), sized(2, content)]);
}

function record(type: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, 3, 1]), sized(2, content)]);
}

function sized(size: number, content: Buffer): Buffer {
  return Buffer.concat([uint(size, content.length), content]);
}

function uint(size: number, value: number): Buffer {
  const octets = Buffer.alloc(size);
  octets.writeUIntBE(value, 0, size);
  return octets;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}
