import { TICKET_NAME_LENGTH } from './tickets.ts';

/** What of a ClientHello decides which certificates and which ticket key serve it. */
export type ClientHello =
  | {
      readonly kind: 'hello';
      readonly serverName: string | undefined;
      /** The first octets of each ticket that it brings, in which Node and OpenSSL name its key, as latin1. */
      readonly tickets: readonly string[];
      /** Present when it asks for an OCSP answer (RFC 6066 section 8). */
      readonly status?: StatusRequest;
    }
  /** Not all of it is there yet. */
  | { readonly kind: 'incomplete' }
  /** Not TLS, or not well formed: the TLS library will say so to the client. */
  | { readonly kind: 'other' };

/** What a client that asks for an OCSP answer offers, by the registries' numbers: which of several certificates it can be served. */
export interface StatusRequest {
  readonly versions: readonly number[];
  readonly suites: readonly number[];
  readonly groups: readonly number[];
  readonly signatures: readonly number[];
  /** Whether it says apart which signatures certificates may bear. */
  readonly signaturesOfCertificates: boolean;
}

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const STATUS_REQUEST = 5;
const SUPPORTED_GROUPS = 10;
const SIGNATURE_ALGORITHMS = 13;
const SESSION_TICKET = 35;
const PRE_SHARED_KEY = 41;
const SUPPORTED_VERSIONS = 43;
const SIGNATURE_ALGORITHMS_CERT = 50;
const HOST_NAME = 0;
/** More than any client sends, hybrid key shares included; a hello that never ends must not be collected. */
const LARGEST = 16 * 1024;
/** Clients bring one or two. */
const MOST_TICKETS = 8;
/** A hello fits one record; one cut into more than a few is made to cost us. */
const MOST_RECORDS = 8;

const INCOMPLETE: ClientHello = { kind: 'incomplete' };
const OTHER: ClientHello = { kind: 'other' };

/** Reads the server name (RFC 6066 section 3), what tickets are brought and what decides on an OCSP answer from the first octets of a connection; `serverName` is lower case. */
export function readClientHello(octets: Buffer): ClientHello {
  const message = handshakeMessage(octets);
  if (!(message instanceof Uint8Array)) return message;
  const cursor = new Cursor(message);
  let serverName: string | undefined;
  try {
    cursor.skip(2 + 32);
    cursor.skip(cursor.uint8());
    const suites = cursor.take(cursor.uint16());
    cursor.skip(cursor.uint8());
    if (cursor.atEnd()) return { kind: 'hello', serverName: undefined, tickets: [] };
    const extensions = new Cursor(cursor.take(cursor.uint16()));
    const tickets: string[] = [];
    const offered = new Map<number, Buffer>();
    while (!extensions.atEnd()) {
      const type = extensions.uint16();
      const content = extensions.take(extensions.uint16());
      if (type === SERVER_NAME) serverName ??= hostName(content);
      // An empty one says that the client would like a ticket (RFC 5077 section 3.2).
      else if (type === SESSION_TICKET && content.length > 0) tickets.push(keyName(content));
      else if (type === PRE_SHARED_KEY) tickets.push(...identities(content));
      else if (!offered.has(type)) offered.set(type, content);
    }
    return { kind: 'hello', serverName, tickets, ...(offered.has(STATUS_REQUEST) ? { status: readStatusRequest(suites, offered) } : {}) };
  } catch {
    // What is wrong behind the name takes nobody to the certificates of another.
    return serverName === undefined ? OTHER : { kind: 'hello', serverName, tickets: [] };
  }
}

function readStatusRequest(suites: Buffer, extensions: ReadonlyMap<number, Buffer>): StatusRequest {
  const list = (type: number, from: 1 | 2): readonly number[] => numbers(extensions.get(type)?.subarray(from) ?? Buffer.alloc(0));
  return {
    versions: list(SUPPORTED_VERSIONS, 1), suites: numbers(suites), groups: list(SUPPORTED_GROUPS, 2), signatures: list(SIGNATURE_ALGORITHMS, 2),
    signaturesOfCertificates: extensions.has(SIGNATURE_ALGORITHMS_CERT),
  };
}

function numbers(octets: Buffer): readonly number[] {
  return Array.from({ length: octets.length >> 1 }, (_, index) => octets.readUInt16BE(2 * index));
}

/** The body of the ClientHello, put together from its records (RFC 8446 section 5.1): looked at once for each of them. */
function handshakeMessage(octets: Buffer): Buffer | ClientHello {
  const parts: Buffer[] = [];
  let length = 0;
  for (let at = 0; at < octets.length;) {
    if (octets[at] !== HANDSHAKE || parts.length === MOST_RECORDS) return OTHER;
    if (octets.length < at + 5) break;
    const size = octets.readUInt16BE(at + 3);
    if (size === 0) return OTHER;
    const part = octets.subarray(at + 5, at + 5 + size);
    parts.push(part);
    length += part.length;
    at += 5 + size;
  }
  if (length > LARGEST) return OTHER;
  if (length < 4) return INCOMPLETE;
  const joined = parts.length === 1 ? parts[0] as Buffer : Buffer.concat(parts);
  const size = joined.readUIntBE(1, 3);
  if (joined[0] !== CLIENT_HELLO || size > LARGEST) return OTHER;
  return length < 4 + size ? INCOMPLETE : joined.subarray(4, 4 + size);
}

function hostName(content: Buffer): string | undefined {
  const names = new Cursor(content);
  const list = new Cursor(names.take(names.uint16()));
  while (!list.atEnd()) {
    const type = list.uint8();
    const name = list.take(list.uint16());
    if (type === HOST_NAME) return name.toString('latin1').toLowerCase();
  }
  return undefined;
}

/** Of TLS 1.3 (RFC 8446 section 4.2.11): a list of tickets, each with its age. */
function identities(content: Buffer): readonly string[] {
  const outer = new Cursor(content);
  const list = new Cursor(outer.take(outer.uint16()));
  const names: string[] = [];
  while (!list.atEnd() && names.length < MOST_TICKETS) {
    names.push(keyName(list.take(list.uint16())));
    list.skip(4);
  }
  return names;
}

function keyName(ticket: Buffer): string {
  return ticket.toString('latin1', 0, TICKET_NAME_LENGTH);
}

/** Reads big-endian numbers and octets; throws RangeError past the end. */
class Cursor {
  readonly #octets: Buffer;
  #at = 0;

  constructor(octets: Buffer) {
    this.#octets = octets;
  }

  atEnd(): boolean {
    return this.#at >= this.#octets.length;
  }

  uint8(): number {
    return this.#octets.readUInt8(this.#move(1));
  }

  uint16(): number {
    return this.#octets.readUInt16BE(this.#move(2));
  }

  skip(count: number): void {
    this.#move(count);
  }

  take(count: number): Buffer {
    const from = this.#move(count);
    return this.#octets.subarray(from, from + count);
  }

  #move(count: number): number {
    const from = this.#at;
    if (from + count > this.#octets.length) throw new RangeError('past the end');
    this.#at += count;
    return from;
  }
}
