/**
 * What all threads know together of one upstream, in shared memory: which addresses work, how many requests each has under
 * way, and what became of them. A slot stands for one address of one endpoint; the main thread gives slots out. Times are
 * monotonic milliseconds in 32 bits, compared by their difference: whatever lies back further than a tick is put in order
 * by `settle`, long before the 24 days after which they would turn over.
 */
export interface UpstreamTable {
  readonly buffer: SharedArrayBuffer;
  readonly words: Int32Array;
  readonly counts: Float64Array;
  readonly threads: number;
  readonly endpoints: number;
}

/** Addresses that one upstream can have at a time, all its endpoints together. */
export const SLOTS = 128;

/** How failing addresses are left out, and how they come back; times in ms. */
export interface EjectionRules {
  readonly failures: number;
  readonly time: number;
  readonly longest: number;
  readonly slowStart: number;
  /** How long a trial may go unreported before another is let through. */
  readonly trial: number;
}

/** What is counted of each endpoint, and of the upstream as a whole, by each thread for itself. */
const ENDPOINT_COUNTS = ['answered', 'failed', 'timeout', 'unverified', 'abandoned', 'stale', 'ejected'] as const;
const UPSTREAM_COUNTS = ['retried', 'retry_refused', 'requests_refused', 'connections_refused'] as const;
export type EndpointCount = (typeof ENDPOINT_COUNTS)[number];
export type UpstreamCount = (typeof UPSTREAM_COUNTS)[number];

/** A slot that is in use without reservation: neither looked at badly nor failing, nor on its way back. */
const SOUND = 0;
/** Where passive observation has an address. */
const PHASE = 3;
const OUT = 1;
const TRIAL = 2;
const RAMP = 3;
/** Set by the main thread while health checks fail. */
const DOWN = 4;
/** It would be out if others were not out already. */
const FAILING = 8;

const LINE = 16;
const HEADER_WORDS = 2 * LINE;
const ALL_ACTIVE = 0;

// Within a slot.
const STATE = 0;
const FAILURES = 1;
const EJECTIONS = 2;
/** While out: when that ends. On trial: until when nobody else is let through, 0 when somebody may. On the ramp: when it began. */
const MARK = 3;
const FAILED_AT = 4;
const ACTIVE = 5;
const TRIED = 6;

const COUNTS = 8;
/** Doublings of the time out: 2^10 of any time is beyond the longest. */
const MOST_DOUBLINGS = 10;
/** The share of an address at the beginning of its slow start. */
const FIRST_SHARE = 0.1;

/** A table in which everything is sound and nothing has happened. */
export function createTable(threads: number, endpoints: number): UpstreamTable {
  const words = HEADER_WORDS + SLOTS * LINE + threads * SLOTS;
  return openTable(new SharedArrayBuffer(4 * words + 8 * COUNTS * threads * (endpoints + 1)), threads, endpoints);
}

/** The same table seen from another thread. */
export function openTable(buffer: SharedArrayBuffer, threads: number, endpoints: number): UpstreamTable {
  const words = HEADER_WORDS + SLOTS * LINE + threads * SLOTS;
  return { buffer, words: new Int32Array(buffer, 0, words), counts: new Float64Array(buffer, 4 * words, COUNTS * threads * (endpoints + 1)), threads, endpoints };
}

function at(slot: number, word: number): number {
  return HEADER_WORDS + slot * LINE + word;
}

/**
 * The share of its weight that an address gets now, from 0 (not at all) to 1. Whoever is given anything while it is on trial
 * must `enter` it with success before using it.
 */
export function shareOf({ words }: UpstreamTable, slot: number, rules: EjectionRules, clock: () => number): number {
  const state = Atomics.load(words, at(slot, STATE));
  if (state === SOUND) return 1;
  if ((state & DOWN) !== 0) return 0;
  const since = (clock() - Atomics.load(words, at(slot, MARK))) | 0;
  switch (state & PHASE) {
    case OUT: return since < 0 ? 0 : 1;
    case TRIAL: return Atomics.load(words, at(slot, TRIED)) !== 0 && since < rules.trial ? 0 : 1;
    default: return since >= rules.slowStart || since < 0 ? 1 : Math.max(FIRST_SHARE, since / rules.slowStart);
  }
}

/** Whether an address is only in use because too few others are left. */
export function isFailing({ words }: UpstreamTable, slot: number): boolean {
  return (Atomics.load(words, at(slot, STATE)) & FAILING) !== 0;
}

/** How an address was entered: `trial` while it is not known to work again. */
export type Entry = 'sound' | 'trial' | 'refused';

/** Takes an address that `shareOf` gave a share: of those that want to try one that was out, one a time gets it. */
export function enter({ words }: UpstreamTable, slot: number, rules: EjectionRules, clock: () => number): Entry {
  const state = Atomics.load(words, at(slot, STATE));
  const phase = state & PHASE;
  if (phase === SOUND || phase === RAMP) return 'sound';
  const now = clock();
  if (phase === OUT) {
    if (Atomics.compareExchange(words, at(slot, STATE), state, (state & DOWN) | TRIAL) !== state) return 'refused';
    Atomics.store(words, at(slot, MARK), now);
    Atomics.store(words, at(slot, TRIED), 1);
    return 'trial';
  }
  if (Atomics.compareExchange(words, at(slot, TRIED), 0, 1) === 0) {
    Atomics.store(words, at(slot, MARK), now);
    return 'trial';
  }
  // Whoever tries it has not been heard of: its thread may be gone.
  const mark = Atomics.load(words, at(slot, MARK));
  if (((now - mark) | 0) < rules.trial) return 'refused';
  return Atomics.compareExchange(words, at(slot, MARK), mark, now) === mark ? 'trial' : 'refused';
}

/** A request that was let through although its address was out has shown that it works. */
export function passTrial(table: UpstreamTable, slot: number, slowStart: number, now: number): void {
  const { words } = table;
  const state = Atomics.load(words, at(slot, STATE));
  const phase = state & PHASE;
  noteSuccess(table, slot);
  if (phase !== TRIAL && phase !== OUT) return;
  Atomics.store(words, at(slot, TRIED), 0);
  Atomics.store(words, at(slot, MARK), now);
  Atomics.compareExchange(words, at(slot, STATE), state, (state & DOWN) | (slowStart > 0 ? RAMP : SOUND));
}

/** A trial that showed nothing: the next one may try. */
export function endTrial({ words }: UpstreamTable, slot: number): void {
  Atomics.store(words, at(slot, TRIED), 0);
}

/** An answer came: failures do not add up over it. */
export function noteSuccess({ words }: UpstreamTable, slot: number): void {
  if (Atomics.load(words, at(slot, FAILURES)) === 0) return;
  Atomics.store(words, at(slot, FAILURES), 0);
  Atomics.and(words, at(slot, STATE), ~FAILING);
}

/**
 * A failure. True when it puts the address out: after so many in a row, after one on trial, at once where `conclusive`; but
 * not when `most` of `slots` are out already. `spread` (0 to 1) keeps what failed together from coming back together.
 */
export function noteFailure(table: UpstreamTable, slot: number, rules: EjectionRules, failure: {
  readonly trial: boolean; readonly conclusive: boolean; readonly slots: readonly number[]; readonly most: number; readonly now: number; readonly spread: number;
}): boolean {
  const { words } = table;
  Atomics.store(words, at(slot, FAILED_AT), failure.now);
  const failures = Atomics.add(words, at(slot, FAILURES), 1) + 1;
  const state = Atomics.load(words, at(slot, STATE));
  const phase = state & PHASE;
  // What was under way when it was put out may still fail: that says nothing about the trial.
  if (phase === OUT || (phase === TRIAL && !failure.trial)) return false;
  if (phase !== TRIAL && !failure.conclusive && failures < rules.failures) return false;
  if (phase !== TRIAL && countOut(table, failure.slots) >= failure.most) {
    Atomics.or(words, at(slot, STATE), FAILING);
    return false;
  }
  const doublings = Math.min(MOST_DOUBLINGS, Atomics.load(words, at(slot, EJECTIONS)));
  const time = Math.min(rules.longest, rules.time * 2 ** doublings) * (0.9 + 0.2 * failure.spread);
  if (Atomics.compareExchange(words, at(slot, STATE), state, (state & DOWN) | OUT) !== state) return false;
  Atomics.store(words, at(slot, MARK), (failure.now + time) | 0);
  Atomics.add(words, at(slot, EJECTIONS), 1);
  Atomics.store(words, at(slot, FAILURES), 0);
  Atomics.store(words, at(slot, TRIED), 0);
  if (phase === TRIAL || countOut(table, failure.slots) <= failure.most) return true;
  // Two threads at once put out one each, and that is one too many.
  Atomics.compareExchange(words, at(slot, STATE), (state & DOWN) | OUT, state);
  return false;
}

function countOut({ words }: UpstreamTable, slots: readonly number[]): number {
  let out = 0;
  for (const slot of slots) {
    const phase = Atomics.load(words, at(slot, STATE)) & PHASE;
    if (phase === OUT || phase === TRIAL) out++;
  }
  return out;
}

/** Which of two addresses failed longer ago, for when there is none that works: negative when it is the first. */
export function compareFailure({ words }: UpstreamTable, slot: number, other: number): number {
  return (Atomics.load(words, at(slot, FAILED_AT)) - Atomics.load(words, at(other, FAILED_AT))) | 0;
}

/** Requests and streams under way on an address, on all threads. */
export function activeOn({ words }: UpstreamTable, slot: number): number {
  return Atomics.load(words, at(slot, ACTIVE));
}

/** The same for the whole upstream. */
export function activeOnAll({ words }: UpstreamTable): number {
  return Atomics.load(words, ALL_ACTIVE);
}

/** Counts a request of a thread in; false, and not counted, when the upstream has `most` under way. */
export function beginOnAll({ words }: UpstreamTable, most: number): boolean {
  if (Atomics.add(words, ALL_ACTIVE, 1) < most) return true;
  Atomics.sub(words, ALL_ACTIVE, 1);
  return false;
}

/** Takes back what `beginOnAll` counted. */
export function endOnAll({ words }: UpstreamTable): void {
  Atomics.sub(words, ALL_ACTIVE, 1);
}

/** The same for one address, noted under the thread as well: what a thread leaves behind when it dies can be taken back. */
export function beginOn({ words }: UpstreamTable, thread: number, slot: number, most: number): boolean {
  if (Atomics.add(words, at(slot, ACTIVE), 1) >= most) {
    Atomics.sub(words, at(slot, ACTIVE), 1);
    return false;
  }
  const own = ownWord(thread, slot);
  words[own] = (words[own] as number) + 1;
  return true;
}

/** The end of a request on an address. */
export function endOn({ words }: UpstreamTable, thread: number, slot: number): void {
  const own = ownWord(thread, slot);
  words[own] = (words[own] as number) - 1;
  Atomics.sub(words, at(slot, ACTIVE), 1);
  Atomics.sub(words, ALL_ACTIVE, 1);
}

function ownWord(thread: number, slot: number): number {
  return HEADER_WORDS + SLOTS * LINE + thread * SLOTS + slot;
}

/** Takes back what a thread that is gone had under way. */
export function forgetThread({ words }: UpstreamTable, thread: number): void {
  for (let slot = 0; slot < SLOTS; slot++) {
    const own = Atomics.exchange(words, ownWord(thread, slot), 0);
    Atomics.sub(words, at(slot, ACTIVE), own);
    Atomics.sub(words, ALL_ACTIVE, own);
  }
}

/** Counts one of a thread; `endpoint` is its number in the configuration. Each thread writes its own cells only. */
export function count({ counts, endpoints }: UpstreamTable, thread: number, endpoint: number, what: EndpointCount): void {
  const cell = (thread * (endpoints + 1) + endpoint + 1) * COUNTS + ENDPOINT_COUNTS.indexOf(what);
  counts[cell] = (counts[cell] as number) + 1;
}

export function countOnAll({ counts, endpoints }: UpstreamTable, thread: number, what: UpstreamCount): void {
  const cell = thread * (endpoints + 1) * COUNTS + UPSTREAM_COUNTS.indexOf(what);
  counts[cell] = (counts[cell] as number) + 1;
}

/** What all threads have counted of an endpoint. */
export function countsOf({ counts, endpoints, threads }: UpstreamTable, endpoint: number): Readonly<Record<EndpointCount, number>> {
  return sums(ENDPOINT_COUNTS, (index) => sumOver(threads, (thread) => counts[(thread * (endpoints + 1) + endpoint + 1) * COUNTS + index]));
}

export function countsOfAll({ counts, endpoints, threads }: UpstreamTable): Readonly<Record<UpstreamCount, number>> {
  return sums(UPSTREAM_COUNTS, (index) => sumOver(threads, (thread) => counts[thread * (endpoints + 1) * COUNTS + index]));
}

function sums<Name extends string>(names: readonly Name[], sum: (index: number) => number): Record<Name, number> {
  return Object.fromEntries(names.map((name, index) => [name, sum(index)])) as Record<Name, number>;
}

function sumOver(threads: number, value: (thread: number) => number | undefined): number {
  let sum = 0;
  for (let thread = 0; thread < threads; thread++) sum += value(thread) ?? 0;
  return sum;
}

/** Where an address stands. */
export interface Standing {
  /** `failing`: as many failures in a row as put an address out, and no other is left to take its place. */
  readonly state: 'sound' | 'failing' | 'down' | 'out' | 'trial' | 'slow_start';
  readonly active: number;
  /** Ms until it may be tried again, while it is out. */
  readonly left?: number;
}

export function standing({ words }: UpstreamTable, slot: number, now: number): Standing {
  const state = Atomics.load(words, at(slot, STATE));
  const active = Atomics.load(words, at(slot, ACTIVE));
  if ((state & DOWN) !== 0) return { state: 'down', active };
  switch (state & PHASE) {
    case OUT: return { state: 'out', active, left: Math.max(0, (Atomics.load(words, at(slot, MARK)) - now) | 0) };
    case TRIAL: return { state: 'trial', active };
    case RAMP: return { state: 'slow_start', active };
    default: return { state: (state & FAILING) === 0 ? 'sound' : 'failing', active };
  }
}

/** What a health check found. Main thread only. One that comes back begins with a small share. */
export function setDown({ words }: UpstreamTable, slot: number, down: boolean, slowStart: number, now: number): void {
  if (down) {
    Atomics.or(words, at(slot, STATE), DOWN);
    return;
  }
  if ((Atomics.and(words, at(slot, STATE), ~DOWN) & PHASE) !== SOUND || slowStart === 0) return;
  Atomics.store(words, at(slot, MARK), now);
  Atomics.compareExchange(words, at(slot, STATE), SOUND, RAMP);
}

/** A health check that failed, for the order of those that failed. Main thread only. */
export function noteBadLook({ words }: UpstreamTable, slot: number, now: number): void {
  Atomics.store(words, at(slot, FAILED_AT), now);
}

/** Makes a slot ready for an address; `since` (ms) begins its slow start. Main thread only, on a slot that nobody uses. */
export function clearSlot({ words }: UpstreamTable, slot: number, since?: number): void {
  for (const word of [STATE, FAILURES, EJECTIONS, MARK, FAILED_AT, TRIED]) Atomics.store(words, at(slot, word), 0);
  if (since === undefined) return;
  Atomics.store(words, at(slot, MARK), since);
  Atomics.store(words, at(slot, STATE), RAMP);
}

/** Takes over how an address stands from another table, not what is under way there. Main thread only. */
export function copySlot(from: UpstreamTable, slot: number, to: UpstreamTable, target: number): void {
  for (const word of [STATE, FAILURES, EJECTIONS, MARK, FAILED_AT]) Atomics.store(to.words, at(target, word), Atomics.load(from.words, at(slot, word)));
}

/**
 * Puts an address in order whose time is up: from the slow start to the full share, from out to the next trial, and back to
 * the first time out after as long a time without a failure as the longest. Main thread, every second or so.
 */
export function settle({ words }: UpstreamTable, slot: number, rules: EjectionRules, now: number): void {
  const state = Atomics.load(words, at(slot, STATE));
  const since = (now - Atomics.load(words, at(slot, MARK))) | 0;
  if ((state & PHASE) === RAMP && since >= rules.slowStart) Atomics.compareExchange(words, at(slot, STATE), state, state & DOWN);
  if ((state & PHASE) === TRIAL && since >= rules.trial && Atomics.load(words, at(slot, TRIED)) === 0) Atomics.store(words, at(slot, MARK), now);
  if ((state & PHASE) === OUT && since >= 0) {
    if (Atomics.compareExchange(words, at(slot, STATE), state, (state & DOWN) | TRIAL) === state) Atomics.store(words, at(slot, MARK), now);
  }
  const calm = (now - Atomics.load(words, at(slot, FAILED_AT))) | 0;
  if ((state & PHASE) === SOUND && (calm < 0 || calm > rules.longest) && Atomics.load(words, at(slot, EJECTIONS)) !== 0) Atomics.store(words, at(slot, EJECTIONS), 0);
}
