import { createHash } from 'node:crypto';

/**
 * The deny list as every thread sees it: a set of 32-byte keys in shared memory, and the epoch. One writer (the main
 * thread), any number of readers, no locks. A key is published by the atomic store of its slot's state after its bytes,
 * and the epoch moves after the key: whoever sees the new epoch sees the key.
 */
export interface DenyTable {
  readonly buffer: SharedArrayBuffer;
  readonly header: Int32Array;
  readonly states: Int32Array;
  readonly keys: Int32Array;
  readonly slots: number;
}

const HEADER_WORDS = 16;
const KEY_WORDS = 8;
const EPOCH = 0;
const COUNT = 1;
const FREE = 0;
const USED = 1;
const GONE = 2;
/** Slots of the table; filled to three quarters at most, so 98,304 keys in 4.7 MB that are only resident once used. */
const SLOTS = 1 << 17;

/** A table with no keys, at epoch 1. */
export function createDenyTable(): DenyTable {
  return openDenyTable(new SharedArrayBuffer(4 * (HEADER_WORDS + SLOTS * (1 + KEY_WORDS))), 1);
}

/** The same table seen from another thread. */
export function openDenyTable(buffer: SharedArrayBuffer, epoch?: number): DenyTable {
  const slots = (buffer.byteLength / 4 - HEADER_WORDS) / (1 + KEY_WORDS);
  const header = new Int32Array(buffer, 0, HEADER_WORDS);
  if (epoch !== undefined) Atomics.store(header, EPOCH, epoch);
  return {
    buffer,
    header,
    states: new Int32Array(buffer, 4 * HEADER_WORDS, slots),
    keys: new Int32Array(buffer, 4 * (HEADER_WORDS + slots), slots * KEY_WORDS),
    slots,
  };
}

/** The current epoch: an admission taken in an older one must be taken again. */
export function currentEpoch(table: DenyTable): number {
  return Atomics.load(table.header, EPOCH);
}

/** Makes every admission taken so far stale. Main thread only. */
export function advanceEpoch(table: DenyTable): number {
  return Atomics.add(table.header, EPOCH, 1) + 1;
}

/** The 32-byte key under which something is denied, as eight words. */
export type DenyKey = Int32Array;

/** What is denied; what another system has told is a kind of its own. */
export type DenyKind = 'fingerprint' | 'serial' | 'key' | 'issuer' | 'identity' | 'departed' | `${'fingerprint' | 'serial' | 'key' | 'departed'}-${'hr' | 'cmdb'}`;

/** `kind` keeps the name spaces apart: a fingerprint can never equal a subject key. */
export function denyKey(kind: DenyKind, text: string): DenyKey {
  const digest = createHash('sha256').update(`${kind}\0${text}`).digest();
  const words = new Int32Array(KEY_WORDS);
  for (let index = 0; index < KEY_WORDS; index++) words[index] = digest.readInt32LE(index * 4);
  return words;
}

/** Whether the key is in the table. */
export function isDenied(table: DenyTable, key: DenyKey): boolean {
  return find(table, key) !== -1;
}

/** How many keys fit. */
export function capacityOf(table: DenyTable): number {
  return table.slots * 0.75;
}

/** Whether another key fits; `kept` is the room that must stay free beside it. */
export function hasRoom(table: DenyTable, kept = 0): boolean {
  return Atomics.load(table.header, COUNT) < capacityOf(table) - kept;
}

/** Adds a key; false when the table is full. Main thread only; the caller advances the epoch. */
export function addDenied(table: DenyTable, key: DenyKey): boolean {
  if (find(table, key) !== -1) return true;
  if (!hasRoom(table)) return false;
  let slot = firstSlot(table, key);
  while (Atomics.load(table.states, slot) !== FREE) slot = (slot + 1) % table.slots;
  table.keys.set(key, slot * KEY_WORDS);
  Atomics.store(table.states, slot, USED);
  Atomics.add(table.header, COUNT, 1);
  return true;
}

/** Takes a key out. Main thread only; the caller advances the epoch. */
export function removeDenied(table: DenyTable, key: DenyKey): void {
  let slot = find(table, key);
  if (slot === -1) return;
  Atomics.store(table.states, slot, GONE);
  // Slots that no search has to pass any more are free again: nothing lies behind them.
  if (Atomics.load(table.states, (slot + 1) % table.slots) !== FREE) return;
  for (; Atomics.load(table.states, slot) === GONE; slot = (slot + table.slots - 1) % table.slots) {
    Atomics.store(table.states, slot, FREE);
    Atomics.sub(table.header, COUNT, 1);
  }
}

function firstSlot(table: DenyTable, key: DenyKey): number {
  return ((key[0] as number) >>> 0) % table.slots;
}

function find(table: DenyTable, key: DenyKey): number {
  let slot = firstSlot(table, key);
  for (let probes = 0; probes < table.slots; probes++) {
    const state = Atomics.load(table.states, slot);
    if (state === FREE) return -1;
    if (state === USED && sameKey(table, slot, key)) return slot;
    slot = (slot + 1) % table.slots;
  }
  return -1;
}

function sameKey(table: DenyTable, slot: number, key: DenyKey): boolean {
  const from = slot * KEY_WORDS;
  for (let index = 0; index < KEY_WORDS; index++) if (table.keys[from + index] !== key[index]) return false;
  return true;
}
