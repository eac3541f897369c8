/** What can be wrong with bytes that claim to be PKI material; callers switch on `code`. */
export type PkiErrorCode = 'malformed';

/** The only error that readers in src/pki throw. */
export class PkiError extends Error {
  readonly code: PkiErrorCode;

  constructor(code: PkiErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'PkiError';
    this.code = code;
  }
}

export function malformed(message: string, cause?: unknown): PkiError {
  return new PkiError('malformed', message, cause === undefined ? undefined : { cause });
}

/** Universal and constructed identifier octets as they stand in the bytes. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  numericString: 0x12,
  printableString: 0x13,
  teletexString: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  visibleString: 0x1a,
  universalString: 0x1c,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One DER element: `tag` is its identifier octet, `der` the whole element, `content` what is inside; views, not copies. */
export interface DerElement {
  readonly tag: number;
  readonly der: Uint8Array;
  readonly content: Uint8Array;
}

/**
 * Reads a run of DER elements, forward only. Refuses what BER allows and DER does not: indefinite and non-minimal lengths,
 * elements past the end, high tag numbers (X.509 has none). Each element is checked when it is read.
 */
export class DerCursor {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get finished(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** The identifier octet of the next element, or undefined at the end. */
  get tag(): number | undefined {
    return this.#bytes[this.#at];
  }

  next(): DerElement {
    const start = this.#at;
    const tag = this.#octet(start);
    if ((tag & 0x1f) === 0x1f) throw malformed(`${this.#what}: high tag number at offset ${start}`);
    const first = this.#octet(start + 1);
    const octets = first < 0x80 ? 0 : first & 0x7f;
    const length = octets === 0 && first < 0x80 ? first : this.#longLength(start + 2, octets);
    const contentStart = start + 2 + octets;
    const end = contentStart + length;
    if (end > this.#bytes.length) throw malformed(`${this.#what}: element at offset ${start} runs past the end`);
    this.#at = end;
    return { tag, der: this.#bytes.subarray(start, end), content: this.#bytes.subarray(contentStart, end) };
  }

  /** The next element, which must carry this identifier octet. */
  expect(tag: number): DerElement {
    if (this.tag !== tag) throw malformed(`${this.#what}: expected tag 0x${tag.toString(16)}, found ${this.#found()}`);
    return this.next();
  }

  /** The next element if it carries this identifier octet. */
  optional(tag: number): DerElement | undefined {
    return this.tag === tag ? this.next() : undefined;
  }

  /** A cursor over the contents of the next element, which must carry this identifier octet. */
  enter(tag: number, what = this.#what): DerCursor {
    return new DerCursor(this.expect(tag).content, what);
  }

  end(): void {
    if (!this.finished) throw malformed(`${this.#what}: ${this.#bytes.length - this.#at} octets too many`);
  }

  #octet(at: number): number {
    const octet = this.#bytes[at];
    if (octet === undefined) throw malformed(`${this.#what}: ends early`);
    return octet;
  }

  #longLength(at: number, octets: number): number {
    if (octets === 0) throw malformed(`${this.#what}: indefinite length`);
    if (octets > 4) throw malformed(`${this.#what}: length of ${octets} octets`);
    let length = 0;
    for (let index = 0; index < octets; index += 1) length = length * 256 + this.#octet(at + index);
    if (length < 0x80 || length < 256 ** (octets - 1)) throw malformed(`${this.#what}: length is not minimal`);
    return length;
  }

  #found(): string {
    return this.tag === undefined ? 'the end' : `0x${this.tag.toString(16)}`;
  }
}

/** The one element that `bytes` are; anything after it is refused. */
export function readSingle(bytes: Uint8Array, tag: number, what: string): DerElement {
  const cursor = new DerCursor(bytes, what);
  const element = cursor.expect(tag);
  cursor.end();
  return element;
}

/** The elements of a SEQUENCE OF or SET OF contents. */
export function readAll(content: Uint8Array, what: string): DerElement[] {
  const cursor = new DerCursor(content, what);
  const elements: DerElement[] = [];
  while (!cursor.finished) elements.push(cursor.next());
  return elements;
}

const MAX_DEPTH = 32;

/**
 * Walks the whole tree and refuses anything that is not DER in form: lengths, booleans other than 00 and FF, padded
 * integers and object identifiers, unused bits that are set, strings in pieces. Depth is bounded at 32.
 */
export function checkDer(bytes: Uint8Array, what: string): void {
  const cursor = new DerCursor(bytes, what);
  checkElement(cursor.next(), what, 0);
  cursor.end();
}

function checkElement(element: DerElement, what: string, depth: number): void {
  if (depth > MAX_DEPTH) throw malformed(`${what}: nested deeper than ${MAX_DEPTH}`);
  const { tag, content } = element;
  if ((tag & 0x20) === 0) {
    checkPrimitive(tag, content, what);
    return;
  }
  // X.690 §10.2: in DER a string is never constructed from pieces; of the universal types only these two are.
  if (tag < 0x40 && tag !== TAG.sequence && tag !== TAG.set && tag !== 0x28 && tag !== 0x2b) {
    throw malformed(`${what}: constructed form of tag 0x${(tag & 0x1f).toString(16)}`);
  }
  const inner = new DerCursor(content, what);
  while (!inner.finished) checkElement(inner.next(), what, depth + 1);
}

function checkPrimitive(tag: number, content: Uint8Array, what: string): void {
  switch (tag) {
    case TAG.boolean:
      decodeBoolean(content, what);
      return;
    case TAG.integer:
    case TAG.enumerated:
      checkInteger(content, what);
      return;
    case TAG.bitString:
      bitStringOctets(content, what);
      return;
    case TAG.null:
      if (content.length !== 0) throw malformed(`${what}: NULL with contents`);
      return;
    case TAG.oid:
      decodeOid(content, what);
      return;
    case TAG.sequence & 0x1f:
    case TAG.set & 0x1f:
      throw malformed(`${what}: SEQUENCE or SET in primitive form`);
    case 0x00:
      throw malformed(`${what}: end-of-contents octets`);
    default:
  }
}

export function decodeBoolean(content: Uint8Array, what: string): boolean {
  if (content.length !== 1 || (content[0] !== 0x00 && content[0] !== 0xff)) throw malformed(`${what}: BOOLEAN is not 00 or FF`);
  return content[0] === 0xff;
}

function checkInteger(content: Uint8Array, what: string): void {
  const [first, second] = content;
  if (first === undefined) throw malformed(`${what}: INTEGER without contents`);
  if (second === undefined) return;
  if ((first === 0x00 && second < 0x80) || (first === 0xff && second >= 0x80)) throw malformed(`${what}: INTEGER is not minimal`);
}

/** A non-negative INTEGER up to 2^31 − 1, such as a version or a path length; larger values are clamped to that. */
export function decodeSmallInteger(content: Uint8Array, what: string): number {
  checkInteger(content, what);
  if ((content[0] as number) >= 0x80) throw malformed(`${what}: INTEGER is negative`);
  const significant = content[0] === 0 ? content.subarray(1) : content;
  if (significant.length > 4) return 0x7fffffff;
  return Math.min(0x7fffffff, significant.reduce((value, octet) => value * 256 + octet, 0));
}

/**
 * A serial number as lowercase hex without leading zero octets (`00` for zero). A negative one keeps a `-` before its two's
 * complement octets, so that −1 (FF) and 255 (00FF) stay different certificates.
 */
export function decodeSerial(content: Uint8Array, what: string): string {
  checkInteger(content, what);
  if ((content[0] as number) >= 0x80) return `-${toHex(content)}`;
  return toHex(content[0] === 0 && content.length > 1 ? content.subarray(1) : content);
}

/** The whole octets of a BIT STRING and how many bits of the last one are unused; set unused bits are refused. */
export function bitStringOctets(content: Uint8Array, what: string): { readonly octets: Uint8Array; readonly unused: number } {
  const unused = content[0];
  if (unused === undefined || unused > 7 || (unused > 0 && content.length === 1)) throw malformed(`${what}: BIT STRING header`);
  const last = content[content.length - 1] as number;
  if (unused > 0 && (last & ((1 << unused) - 1)) !== 0) throw malformed(`${what}: BIT STRING has unused bits set`);
  return { octets: content.subarray(1), unused };
}

/** The positions of the bits that are set in a named-bit list; bit 0 is the most significant of the first octet. */
export function decodeNamedBits(content: Uint8Array, what: string): number[] {
  const { octets } = bitStringOctets(content, what);
  const bits: number[] = [];
  octets.forEach((octet, index) => {
    for (let bit = 0; bit < 8; bit += 1) if ((octet & (0x80 >> bit)) !== 0) bits.push(index * 8 + bit);
  });
  return bits;
}

const MAX_OID_OCTETS = 128;

/** Dotted-decimal form of an OBJECT IDENTIFIER's contents. */
export function decodeOid(content: Uint8Array, what: string): string {
  if (content.length === 0 || content.length > MAX_OID_OCTETS) throw malformed(`${what}: OBJECT IDENTIFIER of ${content.length} octets`);
  if ((content[content.length - 1] as number) >= 0x80) throw malformed(`${what}: OBJECT IDENTIFIER ends early`);
  const arcs: (number | bigint)[] = [];
  let value = 0;
  let large: bigint | undefined;
  let fresh = true;
  for (const octet of content) {
    if (fresh && octet === 0x80) throw malformed(`${what}: OBJECT IDENTIFIER is not minimal`);
    fresh = octet < 0x80;
    // Arcs of UUIDs (2.25.…) have 128 bits: past 2^45 the sum goes on as a bigint.
    if (large !== undefined || value > 2 ** 45) large = ((large ?? BigInt(value)) << 7n) | BigInt(octet & 0x7f);
    else value = value * 128 + (octet & 0x7f);
    if (!fresh) continue;
    arcs.push(large ?? value);
    value = 0;
    large = undefined;
  }
  const first = arcs[0] as number | bigint;
  const root = first < 40 ? 0 : first < 80 ? 1 : 2;
  const second = typeof first === 'bigint' ? first - 80n : first - root * 40;
  return [root, second, ...arcs.slice(1)].join('.');
}

const UTC_TIME = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;
const GENERALIZED_TIME = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;

/**
 * Milliseconds since the epoch of a UTCTime or GeneralizedTime in the one form RFC 5280 section 4.1.2.5 allows: seconds
 * present, `Z`, no fraction. Dates that do not exist are refused.
 */
export function decodeTime(element: DerElement, what: string): number {
  const text = latin1(element.content);
  if (element.tag === TAG.utcTime) {
    const parts = UTC_TIME.exec(text);
    if (parts === null) throw malformed(`${what}: UTCTime ${JSON.stringify(text)}`);
    const year = Number(parts[1]);
    return instant(year < 50 ? 2000 + year : 1900 + year, parts, what);
  }
  if (element.tag === TAG.generalizedTime) {
    const parts = GENERALIZED_TIME.exec(text);
    if (parts === null) throw malformed(`${what}: GeneralizedTime ${JSON.stringify(text)}`);
    return instant(Number(parts[1]), parts, what);
  }
  throw malformed(`${what}: expected a time, found tag 0x${element.tag.toString(16)}`);
}

function instant(year: number, parts: readonly string[], what: string): number {
  const [month, day, hour, minute, second] = parts.slice(2).map(Number) as [number, number, number, number, number];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  const exists = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  if (!exists) throw malformed(`${what}: no such date: ${parts[0]}`);
  return date.getTime();
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const utf16 = new TextDecoder('utf-16be', { fatal: true, ignoreBOM: true });

/** Text of any ASN.1 string type that directory names and alternative names use, or undefined for another tag. */
export function decodeString(element: DerElement, what: string): string | undefined {
  switch (element.tag) {
    case TAG.utf8String:
      return decodeWith(utf8, element.content, what);
    case TAG.printableString:
    case TAG.ia5String:
    case TAG.numericString:
    case TAG.visibleString:
      return ascii(element.content, what);
    case TAG.teletexString:
      return latin1(element.content);
    case TAG.bmpString:
      return decodeWith(utf16, element.content, what);
    case TAG.universalString:
      return utf32(element.content, what);
    default:
      return undefined;
  }
}

/** Octets that must all be below 128 as text. */
export function ascii(content: Uint8Array, what: string): string {
  if (content.some((octet) => octet >= 0x80)) throw malformed(`${what}: octets outside ASCII`);
  return latin1(content);
}

function decodeWith(decoder: TextDecoder, content: Uint8Array, what: string): string {
  try {
    return decoder.decode(content);
  } catch (cause) {
    throw malformed(`${what}: invalid ${decoder.encoding}`, cause);
  }
}

function utf32(content: Uint8Array, what: string): string {
  if (content.length % 4 !== 0) throw malformed(`${what}: UniversalString of ${content.length} octets`);
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  let text = '';
  for (let at = 0; at < content.length; at += 4) {
    const point = view.getUint32(at);
    if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) throw malformed(`${what}: no such character`);
    text += String.fromCodePoint(point);
  }
  return text;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function latin1(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('latin1');
}

/** Lowercase hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('hex');
}

export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return asBuffer(left).equals(right);
}
