import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildLoadGenerator } from './load.ts';
import { measure, type Bench } from './measure.ts';
import { startBackend } from './peers.ts';
import { writeBenchPki } from './pki.ts';
import { SCENARIOS, type LoadScenario } from './scenarios.ts';
import { EVERYDAY, wardgateWith } from './wardgate.ts';

const USAGE = `What audit.durability costs: latencies of kept-alive requests with write and with fsync, in turn, on one data-plane thread.

  npm run build && node bench/durability.ts [--rounds 3] [--count 4000] [--at DIRECTORY]

--at is where the audit lies (default: the temporary directory): the disk is what is measured.
`;

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '3' }, count: { type: 'string', default: '4000' }, at: { type: 'string', default: tmpdir() }, help: { type: 'boolean', default: false } } });
if (values.help) process.stdout.write(USAGE);
else await run(Number(values.rounds), Number(values.count), values.at);

async function run(rounds: number, count: number, at: string): Promise<void> {
  const scenario = SCENARIOS.find((one): one is LoadScenario => one.name === 'kept-alive' && one.kind === 'load') as LoadScenario;
  const directory = await mkdtemp(join(at, 'wardgate-durability-'));
  const pki = await writeBenchPki(join(directory, 'pki'));
  await mkdir(join(directory, 'backend'));
  const backend = await startBackend({ pki, directory: join(directory, 'backend'), core: 1 });
  console.log(`load of the machine at the start: ${loadavg().map((load) => load.toFixed(2)).join(' ')}`);
  console.log('connections  durability  requests/s  CPU µs  p50 µs  p99 µs  noise');
  try {
    const bench: Bench = { program: await buildLoadGenerator(directory), pki, backend, cores: { server: 0, load: 1 }, machineCores: cpus().length };
    for (let round = 0; round < rounds; round++) {
      for (const connections of [1, 64]) {
        for (const durability of ['write', 'fsync'] as const) {
          const own = join(directory, `${durability}-${connections}-${round}`);
          await mkdir(own);
          const running = await wardgateWith(durability, { ...EVERYDAY, audit: `{ durability: ${durability} }` }).start({ pki, directory: own, backendPort: backend.port, core: 0 });
          const requests = connections === 1 ? Math.ceil(count / 8) : count;
          const { perSecond, cpuMicros, load, noise, fault } = await measure(bench, { name: durability, running }, { ...scenario, connections, prelude: 20 }, round, requests);
          await running.process.stop();
          console.log([String(connections).padStart(11), durability.padEnd(10), perSecond.toFixed(0).padStart(10), cpuMicros.toFixed(0).padStart(6), load.p50.toFixed(0).padStart(6), load.p99.toFixed(0).padStart(6), `${(noise * 100).toFixed(0)} %`, fault ?? ''].join('  '));
        }
      }
    }
  } finally {
    await backend.process.stop();
    await rm(directory, { recursive: true, force: true });
  }
}
