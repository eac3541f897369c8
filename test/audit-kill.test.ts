import { describe, expect, it } from 'vitest';
import { killUnderLoad } from './support/kill-under-load.ts';

describe('a gateway that is killed under load, again and again', () => {
  it.each(['write', 'fsync'] as const)('has on record every 2xx that a client had whole, and an audit that is whole after each start, however small its segments are, with durability %s', async (durability) => {
    // So many records are more than a segment for each of the two threads, however they share them.
    const rounds = await killUnderLoad(durability === 'write' ? 5 : 2, { least: 50, durability, rotate: '8KiB' });
    // Three writers a start, and what was rotated.
    expect(rounds.at(-1)?.segments).toBeGreaterThan(3 * (rounds.length + 1));
    for (const { completed, lost, verdict } of rounds) {
      expect(completed).toBeGreaterThan(0);
      expect(lost).toEqual([]);
      expect(verdict.bad).toBeUndefined();
    }
  }, 120_000);
});
