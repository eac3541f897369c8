import { BmpString, ObjectIdentifier, UniversalString } from 'asn1js';

/** The string types of X.520 DirectoryString, plus IA5String which e-mail addresses and domain components use. */
export type StringKind = 'utf8' | 'printable' | 'teletex' | 'ia5' | 'bmp' | 'universal';

const universalTag = { utf8: 0x0c, printable: 0x13, teletex: 0x14, ia5: 0x16 } as const;

/** One DER element: `tag` is the whole identifier octet (e.g. 0x30 for SEQUENCE), the parts are its contents in order. */
export function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.of(tag), lengthOctets(length), ...parts]);
}

function lengthOctets(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length);
  const octets: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return Buffer.of(0x80 | octets.length, ...octets);
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => tlv(0x30, ...parts);

/** SET OF with its elements in DER order (X.690 §11.6). */
export function setOf(...parts: readonly Uint8Array[]): Buffer {
  return tlv(0x31, ...parts.toSorted(Buffer.compare));
}

export const octetString = (bytes: Uint8Array): Buffer => tlv(0x04, bytes);

export const nullValue = (): Buffer => tlv(0x05);

export const boolean = (value: boolean): Buffer => tlv(0x01, Buffer.of(value ? 0xff : 0));

/** `[n]` constructed around complete elements (EXPLICIT), or around the contents of one (IMPLICIT, constructed type). */
export const context = (tag: number, ...parts: readonly Uint8Array[]): Buffer => tlv(0xa0 | tag, ...parts);

/** `[n] IMPLICIT` of a primitive type: the bytes are its contents. */
export const contextPrimitive = (tag: number, bytes: Uint8Array): Buffer => tlv(0x80 | tag, bytes);

/** A non-negative INTEGER, from a number or from hexadecimal digits. */
export function integer(value: number | bigint | string): Buffer {
  return tlv(0x02, integerContents(value));
}

export const enumerated = (value: number): Buffer => tlv(0x0a, integerContents(value));

export function integerContents(value: number | bigint | string): Buffer {
  const hex = typeof value === 'string' ? value : value.toString(16);
  const even = hex.length % 2 === 0 ? hex : `0${hex}`;
  const bytes = Buffer.from(even, 'hex');
  if (bytes.length * 2 !== even.length || bytes.length === 0) throw new TypeError(`integer: "${hex}" is not hexadecimal`);
  const first = bytes.findIndex((octet) => octet !== 0);
  const significant = first === -1 ? bytes.subarray(-1) : bytes.subarray(first);
  // X.690 §8.3.3: the leading bit is the sign, so a set one costs an octet of zeros.
  return (significant[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), significant]) : significant;
}

/** BIT STRING of whole octets. */
export const bitString = (bytes: Uint8Array): Buffer => tlv(0x03, Buffer.of(0), bytes);

/** A named-bit list (X.690 §11.2.2: trailing zero bits are not encoded). Bit 0 is the most significant of the first octet. */
export function namedBits(bits: readonly number[], tag = 0x03): Buffer {
  if (bits.length === 0) return tlv(tag, Buffer.of(0));
  const highest = Math.max(...bits);
  const octets = Buffer.alloc(Math.floor(highest / 8) + 1);
  for (const bit of bits) octets.writeUInt8(octets.readUInt8(bit >> 3) | (0x80 >> (bit & 7)), bit >> 3);
  return tlv(tag, Buffer.of(7 - (highest & 7)), octets);
}

export function oid(dotted: string): Buffer {
  const bytes = Buffer.from(new ObjectIdentifier({ value: dotted }).toBER());
  if (bytes.length < 3) throw new TypeError(`oid: "${dotted}" is not an object identifier`);
  return bytes;
}

export function text(value: string, kind: StringKind = 'utf8'): Buffer {
  if (kind === 'bmp') return Buffer.from(new BmpString({ value }).toBER());
  if (kind === 'universal') return Buffer.from(new UniversalString({ value }).toBER());
  return tlv(universalTag[kind], Buffer.from(value, kind === 'utf8' ? 'utf8' : 'latin1'));
}

/** UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5); milliseconds are cut off. */
export function time(at: Date | number): Buffer {
  const digits = new Date(at).toISOString().replace(/[-:T]|\.\d+/g, '');
  const year = Number(digits.slice(0, 4));
  return year >= 1950 && year < 2050 ? tlv(0x17, Buffer.from(digits.slice(2))) : generalizedTime(at);
}

export function generalizedTime(at: Date | number): Buffer {
  return tlv(0x18, Buffer.from(new Date(at).toISOString().replace(/[-:T]|\.\d+/g, '')));
}

/** PEM (RFC 7468) of one DER element. */
export function pem(label: string, der: Uint8Array): string {
  const lines = Buffer.from(der).toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
