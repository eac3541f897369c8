import { fuzz, type Report } from '../test/support/http1-differential.ts';
import { seedsOfAttacks } from '../test/smuggling/seeds.ts';

/**
 * Holds the fast path's readers of HTTP/1.1 to node:http's: for every input both see the same messages, or the fast path
 * hands it over or refuses it.
 *
 *   node scripts/fuzz-http1.ts [INPUTS] [SEED] [FROM]        default 10000000 inputs, a new seed, from the first
 *
 * A disagreement prints the smallest input that shows it with the seed and the number, and exits 1; `INPUTS 1`, the seed and
 * the number run that one again.
 */

const [inputs = '10000000', seedText = String(Date.now() % 1_000_000_000), fromText = '0'] = process.argv.slice(2);
const seed = Number(seedText);
const from = Number(fromText);
const end = from + Number(inputs);
const STEP = 100_000;

console.log(`seed ${seed}, inputs ${from} to ${end}`);
const seeds = seedsOfAttacks();
const started = performance.now();
let disagreements = 0;
const taken = { requests: 0, answer: 0 };
for (let at = from; at < end; at += STEP) {
  const report: Report = fuzz(seed, at, Math.min(end, at + STEP), seeds);
  for (const { number, what, input, detail } of report.found) console.log(`number ${number}, ${what}, ${input.kind}${input.kind === 'answer' && input.head ? ' to HEAD' : ''}: ${detail}\n  ${JSON.stringify(input.octets)}`);
  disagreements += report.found.length;
  taken.requests += report.taken.requests;
  taken.answer += report.taken.answer;
  const done = Math.min(end, at + STEP) - from;
  const perSecond = Math.round(done / ((performance.now() - started) / 1000));
  console.log(`${done} inputs, ${perSecond} a second, the fast path took ${taken.requests} of requests and ${taken.answer} of answers, ${disagreements} disagreements`);
  if (disagreements > 0) process.exit(1);
}
