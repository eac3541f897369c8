import { describe, expect, it } from 'vitest';
import { byKey, hashOf, inTurn, leastLoaded } from '../src/forward/upstream/balance.ts';

const shares = (...values: number[]): Float64Array => Float64Array.from(values);

describe('each in its turn', () => {
  it('gives each its share, evenly spread', () => {
    const credits = new Float64Array(3);
    const order = Array.from({ length: 7 }, () => inTurn(shares(5, 1, 1), credits));
    expect(order).toEqual([0, 0, 1, 0, 2, 0, 0]);
  });

  it('is round robin with equal shares', () => {
    const credits = new Float64Array(3);
    expect(Array.from({ length: 6 }, () => inTurn(shares(2, 2, 2), credits))).toEqual([0, 1, 2, 0, 1, 2]);
  });

  it('does not flood one that was away', () => {
    const credits = new Float64Array(2);
    for (let round = 0; round < 100; round++) expect(inTurn(shares(1, 0), credits)).toBe(0);
    const after = Array.from({ length: 10 }, () => inTurn(shares(1, 1), credits));
    expect(after.filter((index) => index === 1)).toHaveLength(5);
  });

  it('gives a tenth of a share to one whose share is a tenth', () => {
    const credits = new Float64Array(2);
    const order = Array.from({ length: 110 }, () => inTurn(shares(1, 0.1), credits));
    expect(order.filter((index) => index === 1)).toHaveLength(10);
  });

  it('finds nothing where nobody may have anything', () => {
    expect(inTurn(shares(0, 0), new Float64Array(2))).toBe(-1);
    expect(inTurn(shares(), new Float64Array(0))).toBe(-1);
  });
});

describe('the least loaded', () => {
  it('is the one with the least under way for its share', () => {
    expect(leastLoaded(shares(1, 1, 1), shares(5, 2, 3), 0)).toBe(1);
    expect(leastLoaded(shares(4, 1), shares(4, 1), 0)).toBe(0);
    expect(leastLoaded(shares(0, 1), shares(0, 9), 0)).toBe(1);
  });

  it('is of equals the next one each time, so that not all begin with the first', () => {
    expect([0, 1, 2].map((start) => leastLoaded(shares(1, 1, 1), shares(0, 0, 0), start))).toEqual([0, 1, 2]);
  });

  it('does not send everything to one that has just come back', () => {
    expect(leastLoaded(shares(1, 0.1), shares(5, 0), 0)).toBe(0);
  });
});

describe('the same for the same key', () => {
  const names = ['https://10.0.0.1:9443', 'https://10.0.0.2:9443', 'https://10.0.0.3:9443', 'https://10.0.0.4:9443'];
  const seeds = Int32Array.from(names, hashOf);
  const keys = Array.from({ length: 4_000 }, (_, index) => `urn:patient:${index}`);
  const choose = (given: Float64Array): number[] => keys.map((key) => byKey(given, seeds, hashOf(key)));

  it('spreads clients by the shares', () => {
    const chosen = choose(shares(1, 1, 1, 5));
    const part = (index: number): number => chosen.filter((one) => one === index).length / keys.length;
    for (const index of [0, 1, 2]) expect(part(index)).toBeCloseTo(1 / 8, 1);
    expect(part(3)).toBeCloseTo(5 / 8, 1);
    expect(new Set(chosen)).toEqual(new Set([0, 1, 2, 3]));
  });

  it('moves nobody but the clients of the one that is gone, and spreads those', () => {
    const before = choose(shares(1, 1, 1, 1));
    const after = choose(shares(1, 1, 0, 1));
    const moved = before.filter((index, at) => index !== after[at]);
    expect(new Set(moved)).toEqual(new Set([2]));
    const where = after.filter((_, at) => before[at] === 2);
    for (const index of [0, 1, 3]) expect(where.filter((one) => one === index).length / where.length).toBeCloseTo(1 / 3, 1);
  });

  it('lets clients return little by little, and only its own', () => {
    const home = choose(shares(1, 1, 1, 1));
    const returning = choose(shares(1, 1, 0.1, 1));
    const back = returning.filter((index) => index === 2).length;
    expect(back).toBeGreaterThan(0);
    expect(back / home.filter((index) => index === 2).length).toBeLessThan(0.25);
    expect(returning.every((index, at) => index !== 2 || home[at] === 2)).toBe(true);
  });

  it('does not depend on the order or the company of the endpoints', () => {
    const backwards = Int32Array.from([...names].reverse(), hashOf);
    const forward = choose(shares(1, 1, 1, 1)).map((index) => names[index]);
    expect(keys.map((key) => [...names].reverse()[byKey(shares(1, 1, 1, 1), backwards, hashOf(key))])).toEqual(forward);
  });
});
