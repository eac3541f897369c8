import { hash, randomFillSync } from 'node:crypto';

/**
 * How many connections each key has (an address, a certificate, a listener, the gateway), counted once a gateway in shared
 * memory. Every thread writes its own part only and reads all of them: a thread that dies takes its part along, which
 * the main thread then clears, so no count outlives its connections.
 */
export interface ConnectionCounts {
  readonly buffer: SharedArrayBuffer;
  readonly header: Int32Array;
  /** The parts of all threads, one after the other. A tag says whose count a slot holds; a slot at 0 is anybody's. */
  readonly tags: Int32Array;
  readonly counts: Int32Array;
  readonly threads: number;
  /** Buckets of one thread's part. */
  readonly buckets: number;
  readonly seed: string;
}

/** Where a key is counted: in one of two buckets, under a tag. */
export interface CountKey {
  readonly tag: number;
  readonly near: number;
  readonly far: number;
}

const HEADER_WORDS = 16;
const THREADS = 0;
const CEILING = 1;
const MOST = 2;
const DESCRIPTORS = 3;
const SEED = 4;
const SEED_WORDS = 4;
/** Slots of a bucket: with two buckets to choose from and at most half of all slots in use, none ever fills up. */
const WAYS = 8;
const LARGEST = 2 ** 31 - 1;
/** The most keys that one connection is counted under and that are its own: its address and its certificate. */
const KEYS = 2;

/** Counts of at most `most` connections on `threads` threads, in memory that becomes resident only where it is used. */
export function createConnectionCounts(threads: number, most: number): ConnectionCounts {
  const buckets = 2 ** Math.ceil(Math.log2(Math.max(16, (2 * KEYS * most) / WAYS)));
  const buffer = new SharedArrayBuffer(4 * (HEADER_WORDS + 2 * threads * buckets * WAYS));
  const header = new Int32Array(buffer, 0, HEADER_WORDS);
  header[THREADS] = threads;
  header[CEILING] = most;
  header[MOST] = most;
  header[DESCRIPTORS] = LARGEST;
  // Secret: nobody can choose addresses that crowd one bucket.
  header.set(randomFillSync(new Int32Array(SEED_WORDS)), SEED);
  return openConnectionCounts(buffer);
}

/** The same counts seen from another thread. */
export function openConnectionCounts(buffer: SharedArrayBuffer): ConnectionCounts {
  const header = new Int32Array(buffer, 0, HEADER_WORDS);
  const threads = header[THREADS] as number;
  const slots = (buffer.byteLength / 4 - HEADER_WORDS) / 2;
  return {
    buffer, header, threads,
    tags: new Int32Array(buffer, 4 * HEADER_WORDS, slots),
    counts: new Int32Array(buffer, 4 * (HEADER_WORDS + slots), slots),
    buckets: slots / threads / WAYS,
    seed: header.slice(SEED, SEED + SEED_WORDS).join(' '),
  };
}

/** The key of what a text names; `kind` keeps the name spaces apart. */
export function countKey({ seed, buckets }: ConnectionCounts, kind: 'gateway' | 'listener' | 'address' | 'certificate', text: string): CountKey {
  const digest = hash('sha256', `${seed}\0${kind}\0${text}`, 'buffer');
  const near = digest.readUInt32LE(4) % buckets;
  return { tag: digest.readInt32LE(0), near, far: (near + 1 + (digest.readUInt32LE(8) % (buckets - 1))) % buckets };
}

/**
 * Takes a place under a key for thread number `thread` if there are fewer than `most`; says whether it did. Never more than
 * `most` are taken: of two threads that reach for the last place at once one gets it, or neither.
 */
export function takePlace(table: ConnectionCounts, thread: number, key: CountKey, most: number): boolean {
  const slot = slotFor(table, thread, key);
  if (slot === -1) return false;
  // The tag before the count: a reader that sees the count sees whose it is.
  Atomics.store(table.tags, slot, key.tag);
  Atomics.add(table.counts, slot, 1);
  if (placesTaken(table, key) <= most) return true;
  Atomics.sub(table.counts, slot, 1);
  return false;
}

/** Gives back a place that this thread took. */
export function leavePlace(table: ConnectionCounts, thread: number, key: CountKey): void {
  const slot = heldSlot(table, thread, key);
  if (slot !== -1) Atomics.sub(table.counts, slot, 1);
}

/** How many places are taken under a key, on all threads. */
export function placesTaken(table: ConnectionCounts, key: CountKey): number {
  let taken = 0;
  for (let thread = 0; thread < table.threads; thread++) {
    const slot = heldSlot(table, thread, key);
    if (slot !== -1) taken += Atomics.load(table.counts, slot);
  }
  return taken;
}

/** Clears what a thread left behind. Main thread only, once that thread is gone and before another has its number. */
export function clearThread(table: ConnectionCounts, thread: number): void {
  const slots = table.buckets * WAYS;
  for (let slot = thread * slots; slot < (thread + 1) * slots; slot++) Atomics.store(table.counts, slot, 0);
}

/** How many connections the whole gateway may have at the moment. */
export function connectionCeiling(table: ConnectionCounts): number {
  return Atomics.load(table.header, CEILING);
}

/** The most that number can be: what the configuration and the file descriptors allow. */
export function mostConnections(table: ConnectionCounts): number {
  return table.header[MOST] as number;
}

/** Sets how many the gateway may have at the moment. Main thread only. */
export function setConnectionCeiling(table: ConnectionCounts, ceiling: number): void {
  Atomics.store(table.header, CEILING, ceiling);
}

/** The first file descriptor that no client's connection may have. */
export function firstReservedDescriptor(table: ConnectionCounts): number {
  return Atomics.load(table.header, DESCRIPTORS);
}

/** Sets that. Main thread only. */
export function setDescriptorMark(table: ConnectionCounts, mark: number): void {
  Atomics.store(table.header, DESCRIPTORS, Math.min(mark, LARGEST));
}

/** The slot that counts a key on a thread; -1 when its count is 0. */
function heldSlot(table: ConnectionCounts, thread: number, key: CountKey): number {
  const held = findInBucket(table, bucketStart(table, thread, key.near), key.tag);
  return held === -1 ? findInBucket(table, bucketStart(table, thread, key.far), key.tag) : held;
}

/** The slot to count a key in: its own, else a free one of the emptier bucket; -1 when both are full. */
function slotFor(table: ConnectionCounts, thread: number, key: CountKey): number {
  const held = heldSlot(table, thread, key);
  if (held !== -1) return held;
  const near = freeInBucket(table, bucketStart(table, thread, key.near));
  const far = freeInBucket(table, bucketStart(table, thread, key.far));
  return near.free >= far.free ? near.slot : far.slot;
}

function bucketStart({ buckets }: ConnectionCounts, thread: number, bucket: number): number {
  return (thread * buckets + bucket) * WAYS;
}

function findInBucket({ tags, counts }: ConnectionCounts, start: number, tag: number): number {
  for (let slot = start; slot < start + WAYS; slot++) if (Atomics.load(tags, slot) === tag && Atomics.load(counts, slot) > 0) return slot;
  return -1;
}

function freeInBucket({ counts }: ConnectionCounts, start: number): { readonly slot: number; readonly free: number } {
  let found = -1;
  let free = 0;
  for (let slot = start; slot < start + WAYS; slot++) {
    if (Atomics.load(counts, slot) > 0) continue;
    found = slot;
    free++;
  }
  return { slot: found, free };
}
