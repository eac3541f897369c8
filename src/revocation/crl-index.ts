import { randomBytes } from 'node:crypto';

/**
 * The entries of one CRL as an open-addressing hash table in shared memory: 16 bytes a slot, four fifths full, so 20 bytes an
 * entry whatever the length of its serial. A plain object over a SharedArrayBuffer: posting it to a thread shares the
 * table and copies nothing. Built once, then only read.
 *
 * A slot holds no serial but 92 bits of a keyed hash of (issuer, serial); the slot's own position comes from 32 further bits
 * of it. What that means for exactness:
 * - a listed serial is always found: equal inputs hash alike, so no revoked certificate is ever missed;
 * - an unlisted serial is taken for a listed one with probability below 2^-85 a lookup (a probe compares some dozen slots
 *   on 92 bits). A hundred thousand lookups a second for the age of the universe expect none;
 * - nobody can arrange one: the hash is SipHash's round function on a 128-bit state that starts from 128 random bits drawn
 *   for this table, never shown outside, so a CA that picks its serials maliciously learns nothing to pick them by. Even
 *   then the error would refuse a certificate, not admit one.
 * Storing 20-octet serials themselves would need 32 bytes an entry and more, without making a lookup any safer.
 */
export interface CrlIndex {
  /** Slots of four words: hash, hash, revocation date in seconds since 1970, hash (28 bits) and reason code + 1 (4 bits). */
  readonly table: Uint32Array<SharedArrayBuffer>;
  readonly key: Uint32Array;
  /** Distinct (issuer, serial) pairs in the table. */
  readonly entries: number;
}

/** What a CRL says about a serial it lists. `code` is the CRLReason; `at` milliseconds since the epoch. */
export interface CrlHit {
  readonly code: number;
  readonly at: number;
}

/** Collects entries for an index; `finish` may be called once, after at most the announced number of entries. */
export interface CrlIndexBuilder {
  add(bytes: Uint8Array, offset: number, length: number, issuer: number, seconds: number, code: number): void;
  finish(): CrlIndex;
}

const SLOT_WORDS = 4;
const LOAD_FACTOR = 0.8;
const REASON_BITS = 0xf;
const HOLD = 6;
/**
 * The GNU allocator maps what is longer than 32 MiB on its own, and gives it back when it is freed; shorter pieces come, once such a one was
 * freed, from its heap, which it keeps. The part of the mapping behind the table is never touched and so takes no memory.
 */
const MAPPED = (32 << 20) + 4096;
const LARGE = 2 << 20;
const REMOVE_FROM_CRL = 8;

/** Starts an index for `count` entries. Allocates 20 bytes an entry of shared memory at once (address space may be more). */
export function createCrlIndex(count: number): CrlIndexBuilder {
  // One slot more than needed: a probe for an absent serial ends at an empty slot.
  const slots = Math.ceil(count / LOAD_FACTOR) + 1;
  const length = slots * SLOT_WORDS;
  const octets = length * 4;
  const table = new Uint32Array(new SharedArrayBuffer(octets < LARGE ? octets : Math.max(octets, MAPPED)), 0, length);
  const key = new Uint32Array(SLOT_WORDS);
  key.set(new Uint32Array(new Uint8Array(randomBytes(16)).buffer));
  let entries = 0;
  return {
    add(bytes, offset, length, issuer, seconds, code) {
      const slot = probe(table, key, bytes, offset, length, issuer, true);
      const state = table[slot + 3]!;
      const known = state & REASON_BITS;
      if (known !== 0 && severity(known - 1) >= severity(code)) return;
      if (known === 0) {
        entries += 1;
        if (entries > count) throw new RangeError(`crl index: more than the announced ${count} entries`);
      }
      table[slot + 2] = Math.min(Math.max(seconds, 0), 0xffffffff);
      table[slot + 3] = (state & ~REASON_BITS) | (code + 1);
    },
    finish: () => ({ table, key, entries }),
  };
}

/**
 * Looks a serial up: the content octets of the certificate's serialNumber exactly as encoded (00ff and ff are different
 * numbers), and the issuer's number within the CRL (0 for the CRL's own issuer). Undefined when it is not listed.
 */
export function lookupCrl(index: CrlIndex, serial: Uint8Array, issuer = 0): CrlHit | undefined {
  const slot = probe(index.table, index.key, serial, 0, serial.length, issuer, false);
  const reason = index.table[slot + 3]! & REASON_BITS;
  if (reason === 0) return undefined;
  return { code: reason - 1, at: index.table[slot + 2]! * 1000 };
}

// A serial listed twice keeps its gravest reason: a hold can be lifted and a removal lifts, all others are final.
function severity(code: number): number {
  if (code === REMOVE_FROM_CRL) return 0;
  return code === HOLD ? 1 : 2;
}

/**
 * The word offset of the slot that holds (issuer, serial), or of the empty slot where it would be; `claim` writes the hash
 * into that empty slot. Hash and search are one function so that nothing is allocated, a million times over.
 */
function probe(
  table: Uint32Array,
  key: Uint32Array,
  bytes: Uint8Array,
  offset: number,
  length: number,
  issuer: number,
  claim: boolean,
): number {
  let v0 = key[0]!;
  let v1 = key[1]!;
  let v2 = key[2]!;
  let v3 = key[3]!;
  // The first word carries issuer and length, so zero-padding the last word cannot make two inputs alike.
  let word = (issuer << 8) | (length & 0xff);
  const end = offset + length;
  let at = offset;
  for (;;) {
    v3 ^= word;
    for (let round = 0; round < 2; round += 1) {
      v0 = (v0 + v1) | 0; v1 = (v1 << 5) | (v1 >>> 27); v1 ^= v0; v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0; v3 = (v3 << 8) | (v3 >>> 24); v3 ^= v2;
      v0 = (v0 + v3) | 0; v3 = (v3 << 7) | (v3 >>> 25); v3 ^= v0;
      v2 = (v2 + v1) | 0; v1 = (v1 << 13) | (v1 >>> 19); v1 ^= v2; v2 = (v2 << 16) | (v2 >>> 16);
    }
    v0 ^= word;
    if (at >= end) break;
    word = bytes[at]!;
    if (at + 1 < end) word |= bytes[at + 1]! << 8;
    if (at + 2 < end) word |= bytes[at + 2]! << 16;
    if (at + 3 < end) word |= bytes[at + 3]! << 24;
    at += 4;
  }
  v2 ^= 0xff;
  for (let round = 0; round < 4; round += 1) {
    v0 = (v0 + v1) | 0; v1 = (v1 << 5) | (v1 >>> 27); v1 ^= v0; v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0; v3 = (v3 << 8) | (v3 >>> 24); v3 ^= v2;
    v0 = (v0 + v3) | 0; v3 = (v3 << 7) | (v3 >>> 25); v3 ^= v0;
    v2 = (v2 + v1) | 0; v1 = (v1 << 13) | (v1 >>> 19); v1 ^= v2; v2 = (v2 << 16) | (v2 >>> 16);
  }
  v0 >>>= 0;
  v1 >>>= 0;
  const tag = v2 & ~REASON_BITS;
  const slots = table.length / SLOT_WORDS;
  let slot = Math.floor(((v3 >>> 0) / 0x100000000) * slots) * SLOT_WORDS;
  for (;;) {
    const state = table[slot + 3]!;
    if ((state & REASON_BITS) === 0) break;
    if (table[slot] === v0 && table[slot + 1] === v1 && (state & ~REASON_BITS) === tag) return slot;
    slot += SLOT_WORDS;
    if (slot === table.length) slot = 0;
  }
  if (claim) {
    table[slot] = v0;
    table[slot + 1] = v1;
    table[slot + 3] = tag;
  }
  return slot;
}
