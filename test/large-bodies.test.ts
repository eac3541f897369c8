import { expect, it } from 'vitest';
import { largeBodies } from '../bench/large-bodies.ts';

const MIB = 1 << 20;

it('streams 256 MiB up and down to slower receivers, every octet, with flat memory', { timeout: 60_000 }, async () => {
  for (const transfer of await largeBodies(256 * MIB)) {
    expect(transfer).toMatchObject({ octets: 256 * MIB, intact: true });
    // A quarter of the body: what is held must not depend on how much there is.
    expect(transfer.peakMiB - transfer.beforeMiB, transfer.direction).toBeLessThan(64);
  }
});
