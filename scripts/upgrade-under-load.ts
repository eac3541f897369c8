import { upgradeUnderLoad } from '../bench/upgrade-under-load.ts';

/**
 * Replaces a gateway by itself again and again while clients ask without a pause: no request may fail. Takes about three seconds an upgrade.
 *
 *   node scripts/upgrade-under-load.ts [UPGRADES] [CLIENTS]        default 5 upgrades, 8 clients of each kind
 */
const [upgrades = '5', each = '8'] = process.argv.slice(2);
const { loads, pids } = await upgradeUnderLoad({ upgrades: Number(upgrades), each: Number(each), say: (text) => console.log(text) });
console.log(`processes: ${pids.join(', ')}`);
let failed = 0;
for (const { client, requests, failures, longest } of loads) {
  console.log(`${client}: ${requests} requests, ${failures.length === 0 ? 'none failed' : `${failures.length} FAILED: ${[...new Set(failures)].slice(0, 5).join(' | ')}`}; the longest took ${longest.toFixed(0)} ms`);
  failed += failures.length;
}
process.exitCode = failed === 0 ? 0 : 1;
