import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  clearThread, connectionCeiling, countKey, createConnectionCounts, leavePlace, openConnectionCounts, placesTaken, setConnectionCeiling, setDescriptorMark, takePlace,
} from '../src/store/connection-counts.ts';
import { descriptorLimit, descriptorMark } from '../src/store/descriptors.ts';
import { nextShedding, NOT_SHEDDING, type Shedding } from '../src/store/ceiling.ts';
import { createDoor } from '../src/tls/door.ts';

describe('counts of connections', () => {
  it('are what a map of numbers says, whatever is taken and left on whichever thread', () => {
    const step = fc.record({ thread: fc.nat(2), text: fc.constantFrom('a', 'b', 'c', 'd'), take: fc.boolean() });
    fc.assert(fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 1, max: 6 }), (steps, most) => {
      const counts = createConnectionCounts(3, 100);
      const held = new Map<string, number>();
      const total = (text: string): number => [0, 1, 2].reduce((sum, thread) => sum + (held.get(`${thread} ${text}`) ?? 0), 0);
      for (const { thread, text, take } of steps) {
        const key = countKey(counts, 'address', text);
        const name = `${thread} ${text}`;
        const mine = held.get(name) ?? 0;
        if (take) {
          const room = total(text) < most;
          expect(takePlace(counts, thread, key, most)).toBe(room);
          if (room) held.set(name, mine + 1);
        } else if (mine > 0) {
          leavePlace(counts, thread, key);
          held.set(name, mine - 1);
        }
        expect(placesTaken(counts, key)).toBe(total(text));
      }
    }));
  });

  it('never pass their limit, and come back to nothing, on threads that take and leave at once', async () => {
    const most = 7;
    const counts = createConnectionCounts(4, 100);
    const held = new Int32Array(new SharedArrayBuffer(12));
    const workers = [0, 1, 2, 3].map((thread) => new Worker(new URL('support/count-worker.ts', import.meta.url), { workerData: { buffer: counts.buffer, thread, rounds: 100_000, most, held } }));
    await Promise.all(workers.map((worker) => once(worker, 'exit')));
    const [left, highest, taken] = held;
    expect(taken).toBeGreaterThan(10_000);
    expect(highest).toBeLessThanOrEqual(most);
    expect(left).toBe(0);
    expect(placesTaken(counts, countKey(counts, 'gateway', ''))).toBe(0);
  });

  it('of a thread that died are gone once it is cleared, and those of the others stay', () => {
    const counts = createConnectionCounts(2, 100);
    const key = countKey(counts, 'certificate', 'x');
    for (const thread of [0, 0, 1]) expect(takePlace(counts, thread, key, 3)).toBe(true);
    expect(takePlace(counts, 1, key, 3)).toBe(false);
    clearThread(counts, 0);
    expect(placesTaken(counts, key)).toBe(1);
    expect(takePlace(counts, 0, key, 3)).toBe(true);
  });

  it('have room for as many addresses and certificates as there may be connections, on one thread too', () => {
    const most = 20_000;
    const counts = createConnectionCounts(2, most);
    for (let index = 0; index < most; index++) {
      expect(takePlace(counts, 0, countKey(counts, 'address', `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`), 1)).toBe(true);
      expect(takePlace(counts, 0, countKey(counts, 'certificate', String(index)), 1)).toBe(true);
    }
  });

  it('take no more room after fifty thousand addresses that came and went', () => {
    const counts = createConnectionCounts(1, 1_000);
    const open: string[] = [];
    for (let index = 0; index < 50_000; index++) {
      if (open.length === 1_000) leavePlace(counts, 0, countKey(counts, 'address', open.shift() as string));
      const text = String(index);
      expect(takePlace(counts, 0, countKey(counts, 'address', text), 1)).toBe(true);
      open.push(text);
    }
    for (const text of open) expect(placesTaken(counts, countKey(counts, 'address', text))).toBe(1);
  });
});

describe('a door', () => {
  const doorFor = (limits: { connections: number; connections_per_address?: number; connections_per_certificate?: number }, most = 100) => {
    const counts = createConnectionCounts(2, most);
    return { counts, doors: [0, 1].map((thread) => createDoor({ counts: openConnectionCounts(counts.buffer), thread, listener: 'a', limits: () => limits })) };
  };
  const enter = (door: ReturnType<typeof createDoor> | undefined) => {
    const entered = door?.enter(0);
    if (entered?.kind !== 'entered') throw new Error('no place');
    return entered.places;
  };

  it('counts whoever has one IPv6 /64 as one address, and IPv4 in either form as one', () => {
    const { doors } = doorFor({ connections: 100, connections_per_address: 1 });
    const places = enter(doors[0]);
    expect(places.address('2001:db8:0:1::1')).toBe(true);
    expect(enter(doors[1]).address('2001:db8:0:1:ffff::2')).toBe(false);
    expect(enter(doors[1]).address('2001:db8:0:2::1')).toBe(true);
    expect(enter(doors[0]).address('10.0.0.1')).toBe(true);
    expect(enter(doors[1]).address('10.0.0.2')).toBe(true);
    expect(enter(doors[1]).address('10.0.0.1')).toBe(false);
    places.leave();
    expect(enter(doors[1]).address('2001:db8:0:1:ffff::2')).toBe(true);
  });

  it('gives back what it took when one limit of several is reached', () => {
    const { counts, doors } = doorFor({ connections: 2 });
    const places = [enter(doors[0]), enter(doors[1])];
    for (let round = 0; round < 10; round++) expect(doors[0]?.enter(0)).toEqual({ kind: 'full', limit: 'listener' });
    expect(placesTaken(counts, countKey(counts, 'gateway', ''))).toBe(2);
    for (const one of places) one.leave();
    for (const one of places) one.leave();
    expect(placesTaken(counts, countKey(counts, 'gateway', ''))).toBe(0);
  });

  it('says whether it is the gateway that is full, or its memory', () => {
    const { counts, doors } = doorFor({ connections: 100 }, 3);
    setConnectionCeiling(counts, 1);
    enter(doors[0]);
    expect(doors[1]?.enter(0)).toEqual({ kind: 'full', limit: 'memory' });
    setConnectionCeiling(counts, 3);
    expect(connectionCeiling(counts)).toBe(3);
    enter(doors[0]);
    enter(doors[1]);
    expect(doors[1]?.enter(0)).toEqual({ kind: 'full', limit: 'gateway' });
  });
});

it('what is kept for operators where clients have every place is not for one address that says nothing', () => {
  const counts = createConnectionCounts(1, 1);
  const door = (listener: string, reserve: number) => createDoor({ counts, thread: 0, listener, limits: () => ({ connections: 100 }), reserve });
  const [clients, operators] = [door('a', 0), door('ops', 32)];
  clients.enter(0);
  const comes = (address: string): boolean => {
    const entered = operators.enter(0);
    if (entered.kind === 'full') return false;
    if (entered.places.address(address)) return true;
    entered.places.leave();
    return false;
  };
  expect(Array.from({ length: 40 }, () => comes('10.0.0.1')).filter(Boolean)).toHaveLength(8);
  expect(comes('10.0.0.2')).toBe(true);
});

describe('file descriptors', () => {
  it('are kept back for what is not a client: the system gives out the lowest, so its number tells', () => {
    const counts = createConnectionCounts(1, 100);
    const door = createDoor({ counts, thread: 0, listener: 'a', limits: () => ({ connections: 100 }) });
    setDescriptorMark(counts, descriptorMark(1_000));
    expect(door.enter(899)).toMatchObject({ kind: 'entered' });
    expect(door.enter(900)).toEqual({ kind: 'full', limit: 'descriptors' });
    // Operators have some of those.
    const operators = createDoor({ counts, thread: 0, listener: 'ops', limits: () => ({ connections: 100 }), reserve: 32 });
    expect(operators.enter(915)).toMatchObject({ kind: 'entered' });
    expect(operators.enter(916)).toEqual({ kind: 'full', limit: 'descriptors' });
  });

  it.each([[100, 68], [1_024, 921], [65_536, 64_512], [20, 0], [Infinity, Infinity]])('of %d, from %d on', (limit, mark) => {
    expect(descriptorMark(limit)).toBe(mark);
  });

  it('are as many as proc(5) says', () => {
    expect(descriptorLimit('Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 4096                 files     \n')).toBe(1_024);
    expect(descriptorLimit('Max open files            unlimited            unlimited            files     \n')).toBe(Infinity);
    expect(descriptorLimit(undefined)).toBe(Infinity);
  });
});

describe('the ceiling while memory is short', () => {
  const mark = 1_000_000;
  const read = (before: Shedding, resident: number, open: number): Shedding => nextShedding(before, { resident, mark, open, most: 5_000 });

  it('is what is open when memory passes the mark', () => {
    expect(read(NOT_SHEDDING, mark, 400)).toBe(NOT_SHEDDING);
    expect(read(NOT_SHEDDING, mark + 1, 400).ceiling).toBe(400);
  });

  it('falls as memory grows all the same, below what is open', () => {
    const first = read(NOT_SHEDDING, mark * 1.05, 400);
    const second = read(first, mark * 1.08, 400);
    expect(second.ceiling).toBe(360);
    expect(read(second, mark * 1.1, 380).ceiling).toBe(324);
  });

  it('stays until memory is well below the mark', () => {
    const first = read(NOT_SHEDDING, mark * 1.05, 400);
    expect(read(first, mark * 0.96, 100).ceiling).toBeGreaterThan(0);
    expect(read(first, mark * 0.94, 100)).toEqual(NOT_SHEDDING);
  });

  it('lets people in again, slowly, when a process keeps memory that it does not need any more', () => {
    let shedding = read(NOT_SHEDDING, mark * 1.2, 0);
    expect(shedding.ceiling).toBe(0);
    for (let round = 0; round < 40; round++) shedding = read(shedding, mark * 1.2, shedding.ceiling ?? 0);
    expect(shedding.ceiling).toBe(40);
    for (let round = 0; round < 4_000; round++) shedding = read(shedding, mark * 1.2, 0);
    expect(shedding.ceiling).toBe(5_000);
  });
});
