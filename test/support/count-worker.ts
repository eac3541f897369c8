import { workerData } from 'node:worker_threads';
import { countKey, leavePlace, openConnectionCounts, takePlace } from '../../src/store/connection-counts.ts';

// Takes and leaves places of one key at random: `held` is how many are held now, the most there ever were, and how often one was taken.
const { buffer, thread, rounds, most, held } = workerData as { buffer: SharedArrayBuffer; thread: number; rounds: number; most: number; held: Int32Array };
const counts = openConnectionCounts(buffer);
const key = countKey(counts, 'gateway', '');
let mine = 0;
let seed = thread + 1;
for (let round = 0; round < rounds; round++) {
  seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
  if ((seed >> 8) % 2 === 0 && mine > 0) {
    leave();
  } else if (takePlace(counts, thread, key, most)) {
    mine++;
    const now = Atomics.add(held, 0, 1) + 1;
    if (now > Atomics.load(held, 1)) Atomics.store(held, 1, now);
    Atomics.add(held, 2, 1);
  }
}
while (mine > 0) leave();

/** Told before it is given back: what is told is never more than what is taken. */
function leave(): void {
  Atomics.sub(held, 0, 1);
  leavePlace(counts, thread, key);
  mine--;
}
