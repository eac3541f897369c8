import { beforeEach, describe, expect, it } from 'vitest';
import {
  activeOn, activeOnAll, beginOn, beginOnAll, clearSlot, compareFailure, count, countsOf, createTable, endOn, enter, forgetThread, isFailing, noteFailure, noteSuccess, openTable,
  passTrial, setDown, settle, shareOf, standing, type EjectionRules, type UpstreamTable,
} from '../src/forward/upstream/table.ts';

const rules: EjectionRules = { failures: 3, time: 1_000, longest: 5_000, slowStart: 1_000, trial: 500 };
const SLOTS = [0, 1, 2];
let table: UpstreamTable;
let now: number;

beforeEach(() => {
  table = createTable(2, 3);
  now = 100_000;
});

const clock = (): number => now;
const share = (slot: number): number => shareOf(table, slot, rules, clock);
const state = (slot: number): string => standing(table, slot, now).state;
const fail = (slot: number, more: { conclusive?: boolean; trial?: boolean; most?: number } = {}): boolean =>
  noteFailure(table, slot, rules, { trial: false, conclusive: false, slots: SLOTS, most: 2, now, spread: 0.5, ...more });
const putOut = (slot: number): void => void fail(slot, { conclusive: true });

describe('an address that fails', () => {
  it('is out after so many failures in a row, for a time', () => {
    expect([fail(0), fail(0)]).toEqual([false, false]);
    expect(share(0)).toBe(1);
    expect(fail(0)).toBe(true);
    expect(share(0)).toBe(0);
    now += 999;
    expect(share(0)).toBe(0);
    expect(standing(table, 0, now)).toEqual({ state: 'out', active: 0, left: 1 });
  });

  it('is not out when an answer came in between', () => {
    fail(0);
    fail(0);
    noteSuccess(table, 0);
    expect(fail(0)).toBe(false);
  });

  it('is out at once when its certificate does not verify', () => {
    expect(fail(0, { conclusive: true })).toBe(true);
  });

  it('stays when as many are out as may be, and is said to fail', () => {
    putOut(0);
    putOut(1);
    for (let round = 0; round < 5; round++) expect(fail(2, { conclusive: true })).toBe(false);
    expect(share(2)).toBe(1);
    expect([state(2), isFailing(table, 2)]).toEqual(['failing', true]);
    noteSuccess(table, 2);
    expect([state(2), isFailing(table, 2)]).toEqual(['sound', false]);
  });

  it('is tried by one at a time when its time is over', () => {
    putOut(0);
    now += 1_000;
    expect(share(0)).toBe(1);
    expect(enter(table, 0, rules, clock)).toBe('trial');
    expect(share(0)).toBe(0);
    expect(enter(table, 0, rules, clock)).toBe('refused');
    expect(state(0)).toBe('trial');
  });

  it('is tried again when whoever tried it is not heard of', () => {
    putOut(0);
    now += 1_000;
    enter(table, 0, rules, clock);
    now += 500;
    expect(share(0)).toBe(1);
    expect(enter(table, 0, rules, clock)).toBe('trial');
    expect(enter(table, 0, rules, clock)).toBe('refused');
  });

  it('comes back with a growing share once it has passed', () => {
    putOut(0);
    now += 1_000;
    enter(table, 0, rules, clock);
    passTrial(table, 0, rules.slowStart, now);
    expect(state(0)).toBe('slow_start');
    expect(share(0)).toBe(0.1);
    now += 500;
    expect(share(0)).toBe(0.5);
    now += 500;
    expect(share(0)).toBe(1);
    settle(table, 0, rules, now);
    expect(state(0)).toBe('sound');
  });

  it('is out twice as long each time, up to the longest, and after calm as long as the first time', () => {
    const times = [1_000, 2_000, 4_000, 5_000, 5_000].map((expected) => {
      fail(0, { conclusive: true, trial: true });
      const { left } = standing(table, 0, now);
      now += expected;
      enter(table, 0, rules, clock);
      return left;
    });
    expect(times).toEqual([1_000, 2_000, 4_000, 5_000, 5_000]);
    passTrial(table, 0, 0, now);
    now += 5_001;
    settle(table, 0, rules, now);
    putOut(0);
    expect(standing(table, 0, now).left).toBe(1_000);
  });

  it('is not put out again by what was under way before', () => {
    putOut(0);
    now += 1_000;
    enter(table, 0, rules, clock);
    expect(fail(0, { conclusive: true })).toBe(false);
    expect(state(0)).toBe('trial');
  });

  it('does not all come back at the same moment as others', () => {
    noteFailure(table, 0, rules, { trial: false, conclusive: true, slots: SLOTS, most: 2, now, spread: 0 });
    noteFailure(table, 1, rules, { trial: false, conclusive: true, slots: SLOTS, most: 2, now, spread: 1 });
    expect([0, 1].map((slot) => standing(table, slot, now).left)).toEqual([900, 1_100]);
  });

  it('is known by when it failed last', () => {
    fail(1);
    now += 10;
    fail(0);
    expect(compareFailure(table, 1, 0)).toBeLessThan(0);
  });
});

describe('an address whose health checks fail', () => {
  it('has nothing, whatever else is known of it, and comes back with a growing share', () => {
    setDown(table, 0, true, 1_000, now);
    expect(share(0)).toBe(0);
    expect(state(0)).toBe('down');
    setDown(table, 0, false, 1_000, now);
    expect(share(0)).toBe(0.1);
  });

  it('is still out by itself when they pass again', () => {
    putOut(0);
    setDown(table, 0, true, 1_000, now);
    setDown(table, 0, false, 1_000, now);
    expect(state(0)).toBe('out');
  });

  it('stays down when its time out is over', () => {
    putOut(0);
    setDown(table, 0, true, 1_000, now);
    now += 2_000;
    settle(table, 0, rules, now);
    expect(share(0)).toBe(0);
  });
});

describe('what is under way', () => {
  it('is counted over all threads, up to a limit', () => {
    expect([beginOnAll(table, 2), beginOnAll(table, 2), beginOnAll(table, 2)]).toEqual([true, true, false]);
    expect([beginOn(table, 0, 1, 2), beginOn(table, 1, 1, 2), beginOn(table, 1, 1, 2)]).toEqual([true, true, false]);
    expect([activeOn(table, 1), activeOnAll(table)]).toEqual([2, 2]);
    endOn(table, 0, 1);
    expect([activeOn(table, 1), activeOnAll(table)]).toEqual([1, 1]);
  });

  it('goes with its thread when that is gone', () => {
    for (let round = 0; round < 3; round++) {
      beginOnAll(table, 10);
      beginOn(table, round % 2, 1, 10);
    }
    forgetThread(table, 0);
    expect([activeOn(table, 1), activeOnAll(table)]).toEqual([1, 1]);
    forgetThread(table, 0);
    expect([activeOn(table, 1), activeOnAll(table)]).toEqual([1, 1]);
  });

  it('is one table for all who open its memory', () => {
    const other = openTable(table.buffer, 2, 3);
    beginOnAll(other, 1);
    expect(beginOnAll(table, 1)).toBe(false);
    count(other, 1, 2, 'timeout');
    count(table, 0, 2, 'timeout');
    expect(countsOf(table, 2)).toMatchObject({ timeout: 2, answered: 0 });
    expect(countsOf(table, 1)).toMatchObject({ timeout: 0 });
  });
});

describe('a clock of 32 bits', () => {
  it('may turn over in the middle of a time out', () => {
    now = 2 ** 31 - 500;
    putOut(0);
    now = (now + 999) | 0;
    expect(share(0)).toBe(0);
    now = (now + 1) | 0;
    expect(share(0)).toBe(1);
  });

  it('begins anew for a slot that is used again', () => {
    putOut(0);
    clearSlot(table, 0);
    expect(share(0)).toBe(1);
    clearSlot(table, 0, now);
    expect(share(0)).toBe(0.1);
  });
});
