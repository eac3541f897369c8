import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeBodies } from './bodies.ts';
import { buildLoadGenerator } from './load.ts';
import { measure, type Bench, type Measurement } from './measure.ts';
import { PEERS, startBackend, type RunningPeer } from './peers.ts';
import { writeBenchPki } from './pki.ts';
import { findProgram, residentMiB } from './process.ts';
import { BASELINE, markdown, type Report } from './report.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

const USAGE = `Compares wardgate with nginx, HAProxy and Caddy: CPU per request and per handshake, in interleaved rounds.

  npm run bench -- [--quick] [--rounds N] [--peers a,b] [--scenarios a,b] [--results DIRECTORY]

Servers:   ${PEERS.map((peer) => peer.name).join(' ')}
Scenarios: ${SCENARIOS.map((scenario) => scenario.name).join(' ')}
`;

/** Seconds from the start by which the last round must be able to end. */
const BUDGET_S = { quick: 80, full: 570 } as const;
const ROUNDS = { quick: 3, full: 7 } as const;
/** Before anything counts: a runtime that compiles as it runs needs some thousand requests to get there. */
const WARM_UP = { requests: { quick: 4_000, full: 30_000 }, handshakes: { quick: 60, full: 500 }, bodies: { quick: 8, full: 16 } } as const;

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false }, rounds: { type: 'string' }, peers: { type: 'string' }, scenarios: { type: 'string' },
    results: { type: 'string', default: fileURLToPath(new URL('./results', import.meta.url)) }, help: { type: 'boolean', default: false },
  },
});

for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15]] as const) process.once(signal, () => process.exit(128 + number));
if (values.help) process.stdout.write(USAGE);
else process.exitCode = await run(values.quick ? 'quick' : 'full');

async function run(size: 'quick' | 'full'): Promise<number> {
  const scenarios = chosen(SCENARIOS, values.scenarios);
  const wanted = chosen(PEERS, values.peers);
  const rounds = Number(values.rounds ?? ROUNDS[size]);
  const missing = wanted.filter((peer) => peer.version() === undefined).map((peer) => peer.name);
  for (const name of missing) say(`${name} is not installed and is left out (Debian: apt-get install ${name})`);
  if (missing.includes(BASELINE)) say(`without ${BASELINE} there is no backend and no baseline: nothing to compare`);
  if (findProgram('nginx') === undefined) return 1;

  const directory = await mkdtemp(join(tmpdir(), 'wardgate-bench-'));
  const started: RunningPeer[] = [];
  try {
    const bench = await prepare(directory);
    started.push(bench.backend);
    const peers: { readonly name: string; readonly running: RunningPeer }[] = [];
    for (const peer of wanted.filter(({ name }) => !missing.includes(name))) {
      const running = await peer.start({ pki: bench.pki, directory: await subdirectory(directory, peer.name), backendPort: bench.backend.port, core: bench.cores.server });
      started.push(running);
      peers.push({ name: peer.name, running });
      await warmUp(bench, peers.at(-1) as typeof peers[number], scenarios, size);
    }
    const { measurements, faults, done } = await measureAll(bench, peers, scenarios, rounds, size);
    await write({
      at: new Date().toISOString(), revision: revision(), quick: size === 'quick', rounds: done, machine: machine(), pinned: bench.cores.server !== undefined,
      versions: Object.fromEntries(wanted.filter(({ name }) => !missing.includes(name)).map((peer) => [peer.name, peer.version() as string])),
      missing, scenarios, measurements, faults, peakMiB: Object.fromEntries(peers.map(({ name, running }) => [name, residentMiB(running.process.pid).peak])),
    });
    return faults.length === 0 ? 0 : 1;
  } finally {
    await Promise.all(started.map((one) => one.process.stop()));
    await rm(directory, { recursive: true, force: true });
  }
}

async function prepare(directory: string): Promise<Bench> {
  const pin = findProgram('taskset') !== undefined && availableParallelism() >= 2;
  const cores = pin ? { server: 0, load: 1 } : { server: undefined, load: undefined };
  if (!pin) say('nothing is pinned: that takes two cores and taskset');
  const program = await buildLoadGenerator(directory);
  const pki = await writeBenchPki(join(directory, 'pki'));
  const bodies = await writeBodies(join(directory, 'bodies'));
  const backend = await startBackend({ pki, bodies, directory: await subdirectory(directory, 'backend'), core: cores.load });
  return { program, pki, bodies, backend, cores, machineCores: cpus().length };
}

async function warmUp(bench: Bench, peer: { name: string; running: RunningPeer }, scenarios: readonly Scenario[], size: 'quick' | 'full'): Promise<void> {
  for (const scenario of scenarios) {
    const { fault } = await measure(bench, peer, scenario, 0, WARM_UP[scenario.body === undefined ? scenario.mode : 'bodies'][size]);
    if (fault !== undefined) say(`${peer.name} ${scenario.name}: ${fault}`);
  }
  say(`${peer.name} is warm`);
}

/** Round by round, scenario by scenario, server by server, the order of the servers turning: what drifts, drifts for all. */
async function measureAll(bench: Bench, peers: readonly { name: string; running: RunningPeer }[], scenarios: readonly Scenario[], rounds: number, size: 'quick' | 'full') {
  const measurements: Measurement[] = [];
  const faults: string[] = [];
  const from = performance.now();
  let done = 0;
  for (let round = 1; round <= rounds; round++) {
    const oneRound = done === 0 ? 0 : (performance.now() - from) / done;
    if (performance.now() + oneRound > BUDGET_S[size] * 1000) {
      say(`no time for another round within ${BUDGET_S[size]} s: ended after ${done}`);
      break;
    }
    for (const scenario of scenarios) {
      const said: string[] = [];
      for (let turn = 0; turn < peers.length; turn++) {
        const peer = peers[(turn + round) % peers.length] as typeof peers[number];
        const { fault, ...measurement } = await measure(bench, peer, scenario, round, scenario[size]);
        if (fault === undefined) measurements.push(measurement);
        else faults.push(`${peer.name}, ${scenario.name}, round ${round}: ${fault}`);
        said.push(`${peer.name} ${fault === undefined ? `${measurement.cpuMicros.toFixed(0)} µs` : 'FAILED'}`);
      }
      say(`round ${round} of ${rounds}, ${scenario.name}: ${said.toSorted().join(', ')}`);
    }
    done = round;
  }
  for (const fault of faults) say(`not counted: ${fault}`);
  return { measurements, faults, done };
}

async function write(report: Report): Promise<void> {
  await mkdir(values.results, { recursive: true });
  const stem = join(values.results, `${report.at.slice(0, 16).replace(':', '')}${report.quick ? '-quick' : ''}`);
  const text = markdown(report);
  await writeFile(`${stem}.json`, `${JSON.stringify(report, undefined, 1)}\n`);
  await writeFile(`${stem}.md`, text);
  process.stdout.write(`\n${text}\n`);
  say(`written to ${stem}.md and .json`);
}

function chosen<Item extends { readonly name: string }>(all: readonly Item[], names: string | undefined): readonly Item[] {
  if (names === undefined) return all;
  return names.split(',').map((name) => {
    const item = all.find((one) => one.name === name);
    if (item === undefined) throw new Error(`there is no ${name}; known: ${all.map((one) => one.name).join(', ')}`);
    return item;
  });
}

async function subdirectory(directory: string, name: string): Promise<string> {
  const path = join(directory, name);
  await mkdir(path, { mode: 0o700 });
  return path;
}

function machine(): string {
  return `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}, Linux ${release()}`;
}

function revision(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', cwd: fileURLToPath(new URL('.', import.meta.url)), stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
