import { killUnderLoad } from '../test/support/kill-under-load.ts';

/**
 * Kills a gateway with SIGKILL under load, starts it again on the same state, and so on: every 2xx that a client had whole must have its
 * record, and the audit must be whole after each start.
 *
 *   node scripts/kill-audit.ts [ROUNDS] [write|fsync] [SIZE]        default 100, write, 256MiB: the size at which segments are closed
 */
const [rounds = '100', durability = 'write', rotate = '256MiB'] = process.argv.slice(2);
let number = 0;
let bad = 0;
let torn = 0;
let completed = 0;
await killUnderLoad(Number(rounds), {
  durability: durability === 'fsync' ? 'fsync' : 'write',
  rotate,
  done(round) {
    number += 1;
    completed += round.completed;
    torn += round.torn ? 1 : 0;
    if (round.lost.length > 0 || !round.verdict.whole) {
      bad += 1;
      console.log(`round ${number}: ${round.lost.length} records lost, ${JSON.stringify(round.verdict)}`);
    }
    if (number % 10 === 0) console.log(`${number} kills, ${completed} whole 2xx, ${round.verdict.records} records verified, ${round.segments} segments, ${torn} half lines cut off, ${bad} bad`);
  },
});
process.exitCode = bad === 0 ? 0 : 1;
