import { outage } from '../test/support/sink-outage.ts';

/**
 * Puts a gateway under load while the receivers of its records are cut, deaf, failing and away in turn, kills it with SIGKILL again and again, and
 * compares what is on record with what every sink got: nothing may be lost, and nothing come again that its position said was safe.
 *
 *   node scripts/sink-outage.ts [KILLS] [MS]        default 20 kills, 4000 ms of load before each
 */
const [kills = '20', load = '4000'] = process.argv.slice(2);
const results = await outage({ kills: Number(kills), load: Number(load), outages: true, say: (text) => console.log(text) });
let bad = 0;
for (const [sink, { records, received, repeated, lost, made_up: madeUp, repeated_acknowledged: acknowledged }] of Object.entries(results)) {
  console.log(`${sink}: ${records} records, ${received} received, ${repeated} of them repeats, ${lost.length} lost, ${madeUp.length} made up, ${acknowledged.length} repeated though acknowledged`);
  bad += lost.length + madeUp.length + acknowledged.length;
}
process.exitCode = bad === 0 ? 0 : 1;
