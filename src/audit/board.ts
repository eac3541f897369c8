import { hash } from 'node:crypto';

/**
 * How far each open segment may be read, in memory that the writers share with who reads. What lies behind that in a file has been
 * promised to nobody and may be cut off again. Two words a segment: which it is (a digest of its name), and its safe octets.
 */
export interface SafeBoard {
  readonly buffer: SharedArrayBuffer;
  /** Goes up with every segment that is opened. */
  generation(): number;
  /** Octets of this segment that are safe; undefined: nobody writes it any more, all of it is there to stay. */
  safeOctets(segment: string): number | undefined;
  /** The thread that was this writer is gone, and the ends of its segments are settled. */
  clear(writer: number): void;
}

/** One open segment on the board. */
export interface BoardPlace {
  /** All that a batch costs. */
  safe(octets: number): void;
  /** Its file is closed. */
  ended(): void;
}

/** The first word counts segments. */
const HEADER_WORDS = 1;
/** Segments that one writer has open at a time: the one that it writes, and those before it that the disk has not taken whole. */
const PLACES = 4;
const WORDS = 2;
const NOBODY = 0n;
const NO_PLACE: BoardPlace = { safe: () => undefined, ended: () => undefined };

/** A board for so many writers: the main thread's is number 0. */
export function createSafeBoard(writers: number): SafeBoard {
  return openSafeBoard(new SharedArrayBuffer(8 * (HEADER_WORDS + WORDS * PLACES * writers)));
}

/** The same board, seen from another thread. */
export function openSafeBoard(buffer: SharedArrayBuffer): SafeBoard {
  const words = new BigInt64Array(buffer);

  /** A place changes hands in three steps: both words must be of the same segment. */
  function octetsAt(place: number, key: bigint): number | undefined {
    while (Atomics.load(words, place) === key) {
      const octets = Atomics.load(words, place + 1);
      if (Atomics.load(words, place) === key) return Number(octets);
    }
    return undefined;
  }

  return {
    buffer,
    generation: () => Number(Atomics.load(words, 0)),
    safeOctets(segment) {
      const key = keyOf(segment);
      for (let place = HEADER_WORDS; place < words.length; place += WORDS) {
        const octets = octetsAt(place, key);
        if (octets !== undefined) return octets;
      }
      return undefined;
    },
    clear(writer) {
      for (const place of placesOf(writer)) Atomics.store(words, place, NOBODY);
    },
  };
}

/**
 * Puts a segment on the board, before its file is made: who lists the directory must find it here. Only its writer's thread may.
 * Without a board nobody follows.
 */
export function putOnBoard(buffer: SharedArrayBuffer | undefined, writer: number, segment: string): BoardPlace {
  if (buffer === undefined) return NO_PLACE;
  const words = new BigInt64Array(buffer);
  const key = keyOf(segment);
  const places = placesOf(writer);
  const place = places.find((one) => Atomics.load(words, one) === NOBODY);
  if (place === undefined) throw new Error(`${places.length} audit segments before ${segment} are not whole on the disk`);
  // Never the new name with the octets of an old one.
  Atomics.store(words, place + 1, 0n);
  Atomics.store(words, place, key);
  Atomics.add(words, 0, 1n);
  return {
    safe: (octets) => void Atomics.store(words, place + 1, BigInt(octets)),
    ended: () => void Atomics.compareExchange(words, place, key, NOBODY),
  };
}

function placesOf(writer: number): readonly number[] {
  return Array.from({ length: PLACES }, (_, index) => HEADER_WORDS + WORDS * (PLACES * writer + index));
}

function keyOf(segment: string): bigint {
  return hash('sha256', segment, 'buffer').readBigInt64LE(0);
}
