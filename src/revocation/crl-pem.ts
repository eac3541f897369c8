import { malformed } from '../pki/der.ts';

const BEGIN = Buffer.from('-----BEGIN X509 CRL-----');
const END = Buffer.from('-----END X509 CRL-----');
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;
const PADDING = 0x3d;
// Beyond the 64 values of base64.
const BLANK = 64;
const INVALID = 65;

/**
 * The `X509 CRL` blocks of a PEM file (RFC 7468) as DER. From octets to octets: a list of a million entries is 50 MB of PEM, and as
 * strings, lines and joined lines it would take ten times that. Inside a block only canonical base64 and line ends are
 * allowed; other blocks and text between them are skipped. Throws a PkiError.
 */
export function crlPemBlocks(bytes: Uint8Array): readonly Uint8Array[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const blocks: Uint8Array[] = [];
  for (let begin = markerAt(text, BEGIN, 0); begin !== -1; begin = markerAt(text, BEGIN, begin)) {
    const start = begin + BEGIN.length;
    const end = markerAt(text, END, start);
    if (end === -1) throw malformed(`PEM: the block at octet ${begin} does not end`);
    blocks.push(decodeBase64(text, start, end));
    begin = end + END.length;
  }
  return blocks;
}

/** Where a boundary stands alone on a line, or -1. */
function markerAt(text: Buffer, marker: Buffer, from: number): number {
  for (let at = text.indexOf(marker, from); at !== -1; at = text.indexOf(marker, at + 1)) {
    if ((at === 0 || isLineEnd(text[at - 1])) && isBlankToLineEnd(text, at + marker.length)) return at;
  }
  return -1;
}

function isBlankToLineEnd(text: Buffer, from: number): boolean {
  let at = from;
  while (text[at] === SPACE || text[at] === TAB) at += 1;
  return at === text.length || isLineEnd(text[at]);
}

function isLineEnd(octet: number | undefined): boolean {
  return octet === LINE_FEED || octet === CARRIAGE_RETURN;
}

function decodeBase64(text: Uint8Array, start: number, end: number): Uint8Array {
  const values = base64Values();
  const decoded = new Uint8Array(Math.floor(((end - start) * 3) / 4));
  let length = 0;
  let bits = 0;
  let count = 0;
  let at = start;
  for (; at < end; at += 1) {
    const value = values[text[at]!]!;
    if (value === BLANK) continue;
    if (value === INVALID) break;
    bits = (bits << 6) | value;
    count += 1;
    if (count < 4) continue;
    decoded[length] = bits >> 16;
    decoded[length + 1] = bits >> 8;
    decoded[length + 2] = bits;
    length += 3;
    bits = 0;
    count = 0;
  }
  length += finishGroup(decoded, length, bits, count);
  checkPadding(text, values, at, end, count);
  if (length === 0) throw malformed('PEM: an empty block');
  return decoded.subarray(0, length);
}

/** Writes what a last, incomplete group of two or three characters holds; its unused bits must be zero. */
function finishGroup(decoded: Uint8Array, length: number, bits: number, count: number): number {
  if (count === 0) return 0;
  const unused = count === 2 ? 4 : 2;
  if (count === 1 || (bits & ((1 << unused) - 1)) !== 0) throw malformed('PEM: not canonical base64');
  const value = bits >> unused;
  if (count === 2) {
    decoded[length] = value;
    return 1;
  }
  decoded[length] = value >> 8;
  decoded[length + 1] = value;
  return 2;
}

/** From the first octet that is no base64: the padding that the last group needs, line ends, and nothing else. */
function checkPadding(text: Uint8Array, values: Uint8Array, from: number, end: number, count: number): void {
  let padding = 0;
  for (let at = from; at < end; at += 1) {
    if (text[at] === PADDING) padding += 1;
    else if (values[text[at]!] !== BLANK) throw malformed(`PEM: octet ${at} is not base64`);
  }
  if (padding !== (4 - count) % 4) throw malformed('PEM: not canonical base64');
}

function base64Values(): Uint8Array {
  const values = new Uint8Array(256).fill(INVALID);
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  for (let value = 0; value < alphabet.length; value += 1) values[alphabet.charCodeAt(value)] = value;
  for (const blank of [LINE_FEED, CARRIAGE_RETURN, SPACE, TAB]) values[blank] = BLANK;
  return values;
}
