import { hash } from 'node:crypto';

/**
 * How the lines of a segment hang together. Each ends with its sequence number and its hash, `,"seq":7,"hash":"…"}`; that is the
 * SHA-256 (base64url) of the octets of the file from the hash of the line before to its own number. So verifying needs
 * nothing but the file, and both writing and reading hash what lies in one piece already.
 */
export interface Link {
  readonly seq: number;
  readonly hash: string;
}

/** How far a segment goes: its last line, and the octets up to that line's end. */
export interface Position extends Link {
  readonly octets: number;
}

/** What the first line of a segment is chained to. */
const NOTHING = 'A'.repeat(43);
const HASH_FIELD = ',"hash":"';
const SEQ_FIELD = ',"seq":';
const LINE_END = '"}\n';
const HASH_OCTETS = NOTHING.length;
/** A hash and the end of its line: what the next line's hash begins with. */
export const LEAD_OCTETS = HASH_OCTETS + LINE_END.length;
/** What a line is longer than the record in it, at most. */
export const LINK_OCTETS = SEQ_FIELD.length + 16 + HASH_FIELD.length + HASH_OCTETS + LINE_END.length;
const BRACE = 0x7d;
const ZERO = 0x30;
const COMMA = 0x2c;

/** Before the first line. */
export const START: Position = { seq: -1, hash: NOTHING, octets: 0 };

/** The octets that a line after this one is hashed with. */
export function leadOf({ hash: before }: Link): Buffer {
  return Buffer.from(before + LINE_END, 'latin1');
}

/** SHA-256 as hashes stand in the files. */
export function digest(octets: Uint8Array | string): string {
  return hash('sha256', octets, 'base64url');
}

/**
 * Closes a line: `octets` hold the lead of the line before and then, from `start` on, a JSON object that ends at `end`. Its closing
 * brace gives way to number, hash and line feed. There must be room for LINK_OCTETS.
 */
export function closeLine(octets: Buffer, start: number, end: number, seq: number): { readonly hash: string; readonly end: number } {
  let at = end - 1;
  at += octets.write(SEQ_FIELD + seq, at, 'latin1');
  const own = hash('sha256', octets.subarray(start - LEAD_OCTETS, at), 'base64url');
  at += octets.write(HASH_FIELD + own + LINE_END, at, 'latin1');
  return { hash: own, end: at };
}

/** The number and hash that a line says of itself, and where the hashed octets end; undefined: it has none. `start` to `end` without the line feed. */
export function statedLink(octets: Buffer, start: number, end: number): Link & { readonly hashed: number } | undefined {
  const hashAt = end - 2 - HASH_OCTETS;
  const hashed = hashAt - HASH_FIELD.length;
  if (hashed - start < SEQ_FIELD.length + 2 || octets[end - 1] !== BRACE || octets[end - 2] !== 0x22) return undefined;
  if (octets.toString('latin1', hashed, hashAt) !== HASH_FIELD) return undefined;
  let seq = 0;
  let scale = 1;
  let at = hashed - 1;
  for (; at > start && octets[at] !== 0x3a; at--, scale *= 10) {
    const digit = (octets[at] as number) - ZERO;
    if (digit < 0 || digit > 9 || scale > 1e15) return undefined;
    seq += digit * scale;
  }
  const field = at + 1 - SEQ_FIELD.length;
  // Numbers are written in one way.
  if (scale === 1 || (scale > 1 && seq < scale / 10 && scale !== 10) || field <= start || octets[field] !== COMMA) return undefined;
  if (octets.toString('latin1', field, at + 1) !== SEQ_FIELD) return undefined;
  return { seq, hash: octets.toString('latin1', hashAt, hashAt + HASH_OCTETS), hashed };
}

/** Whether a line is the one after `before`: `octets` hold the lead of that one right before `start`. */
export function follows(octets: Buffer, start: number, stated: Link & { readonly hashed: number }, before: Link): boolean {
  return stated.seq === before.seq + 1 && hash('sha256', octets.subarray(start - LEAD_OCTETS, stated.hashed), 'base64url') === stated.hash;
}
