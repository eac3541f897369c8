import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeBodies } from './bodies.ts';
import { measureIdle, type IdleMeasurement } from './idle.ts';
import { buildLoadGenerator } from './load.ts';
import { measure, type Bench, type Measurement } from './measure.ts';
import { PEERS, startBackend, type Peer, type Place, type RunningBackend, type RunningPeer } from './peers.ts';
import { writeBenchPki } from './pki.ts';
import { findProgram, openFilesLimit, residentMiB } from './process.ts';
import { BASELINES } from './ratios.ts';
import { markdown, type Report } from './report.ts';
import { SCENARIOS, type IdleScenario, type LoadScenario, type Scenario } from './scenarios.ts';
import { GROWING, wardgate } from './wardgate.ts';

const USAGE = `Compares wardgate with nginx, HAProxy and Caddy: CPU per request and per handshake, in interleaved rounds.

  npm run bench -- [--quick] [--rounds N] [--peers a,b] [--scenarios a,b] [--results DIRECTORY]

Servers:   ${PEERS.map((peer) => peer.name).join(' ')}
Scenarios: ${SCENARIOS.map((scenario) => scenario.name).join(' ')}
`;

type Size = 'quick' | 'full';

/** Seconds from the start by which the last scenario must be able to end. */
const BUDGET_S = { quick: 165, full: 570 } as const;
const ROUNDS = { quick: 3, full: 7 } as const;
/** Before anything counts: a runtime that compiles as it runs needs some thousand requests to get there. */
const WARM_UP = { requests: { quick: 4_000, full: 30_000 }, handshakes: { quick: 60, full: 300 }, bodies: { quick: 8, full: 16 }, others: { quick: 3_000, full: 8_000 } } as const;
/** Open files beside the idle connections. */
const SPARE_FILES = 1_024;

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false }, rounds: { type: 'string' }, peers: { type: 'string' }, scenarios: { type: 'string' },
    results: { type: 'string', default: fileURLToPath(new URL('./results', import.meta.url)) }, help: { type: 'boolean', default: false },
  },
});

/** The servers of each group of scenarios, and what of them runs throughout, by name. */
interface Field {
  readonly servers: Readonly<Record<Scenario['servers'], readonly Peer[]>>;
  readonly running: ReadonlyMap<string, RunningPeer>;
  /** Starts one more of a kind, where nothing runs that has a history. */
  fresh(peer: Peer, connections: number): Promise<RunningPeer>;
}

for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15]] as const) process.once(signal, () => process.exit(128 + number));
if (values.help) process.stdout.write(USAGE);
else process.exitCode = await run(values.quick ? 'quick' : 'full');

async function run(size: Size): Promise<number> {
  const scenarios = chosen(SCENARIOS, values.scenarios);
  const wanted = chosen(PEERS, values.peers);
  const rounds = Number(values.rounds ?? ROUNDS[size]);
  const missing = wanted.filter((peer) => peer.version() === undefined).map((peer) => peer.name);
  for (const name of missing) say(`${name} is not installed and is left out (Debian: apt-get install ${name})`);
  if (missing.includes(BASELINES.peers)) say(`without ${BASELINES.peers} there is no backend and no baseline: nothing to compare`);
  if (findProgram('nginx') === undefined) return 1;

  const directory = await mkdtemp(join(tmpdir(), 'wardgate-bench-'));
  const started: RunningPeer[] = [];
  try {
    const { bench, backend } = await prepare(directory);
    started.push(backend);
    const launch = async (peer: Peer, more: Partial<Place> = {}): Promise<RunningPeer> => {
      const running = await peer.start({
        pki: bench.pki, directory: await mkdtemp(join(directory, 'server-')), backendPort: backend.port, backendHttp2Port: backend.http2Port, core: bench.cores.server, ...more,
      });
      started.push(running);
      return running;
    };
    const present = wanted.filter(({ name }) => !missing.includes(name));
    const servers = { peers: present, routes: present.includes(wardgate) ? GROWING : [] };
    const running = new Map<string, RunningPeer>();
    for (const group of ['peers', 'routes'] as const) {
      const loads = scenarios.filter((one): one is LoadScenario => one.kind === 'load' && one.servers === group);
      for (const peer of loads.length === 0 ? [] : servers[group]) {
        running.set(peer.name, await launch(peer));
        await warmUp(bench, { name: peer.name, running: running.get(peer.name) as RunningPeer }, loads, size);
      }
    }
    const results = await measureAll(bench, { servers, running, fresh: (peer, connections) => launch(peer, { connections }) }, scenarios, rounds, size);
    await write({
      at: new Date().toISOString(), revision: revision(), quick: size === 'quick', rounds: results.done, machine: machine(), pinned: bench.cores.server !== undefined,
      versions: Object.fromEntries(present.map((peer) => [peer.name, peer.version() as string])), missing,
      servers: { peers: servers.peers.map(({ name }) => name), routes: servers.routes.map(({ name }) => name) },
      scenarios, measurements: results.measurements, idle: results.idle, faults: results.faults,
      peakMiB: Object.fromEntries([...running].map(([name, { process: { pid } }]) => [name, residentMiB(pid).peak])),
    });
    return results.faults.length === 0 ? 0 : 1;
  } finally {
    await Promise.all(started.map((one) => one.process.stop()));
    await rm(directory, { recursive: true, force: true });
  }
}

async function prepare(directory: string): Promise<{ bench: Bench; backend: RunningBackend }> {
  const pin = findProgram('taskset') !== undefined && availableParallelism() >= 2;
  const cores = pin ? { server: 0, load: 1 } : { server: undefined, load: undefined };
  if (!pin) say('nothing is pinned: that takes two cores and taskset');
  const program = await buildLoadGenerator(directory);
  const pki = await writeBenchPki(join(directory, 'pki'));
  const bodies = await writeBodies(join(directory, 'bodies'));
  const backend = await startBackend({ pki, bodies, directory: await mkdtemp(join(directory, 'backend-')), core: cores.load });
  return { bench: { program, pki, bodies, backend, cores, machineCores: cpus().length }, backend };
}

async function warmUp(bench: Bench, server: { name: string; running: RunningPeer }, scenarios: readonly LoadScenario[], size: Size): Promise<void> {
  for (const scenario of scenarios) {
    const { fault } = await measure(bench, server, scenario, 0, WARM_UP[warming(scenario)][size]);
    if (fault !== undefined) say(`${server.name} ${scenario.name}: ${fault}`);
  }
  say(`${server.name} is warm`);
}

function warming({ name, mode, body }: LoadScenario): keyof typeof WARM_UP {
  if (mode === 'handshakes') return 'handshakes';
  if (body !== undefined) return 'bodies';
  return name === 'kept-alive' ? 'requests' : 'others';
}

/**
 * Round by round, scenario by scenario, server by server, the order of the servers turning: what drifts, drifts for all. Ends where the
 * next scenario would take longer than there is time; what has been measured until then counts.
 */
async function measureAll(bench: Bench, field: Field, scenarios: readonly Scenario[], rounds: number, size: Size): Promise<Results> {
  const results: Results = { measurements: [], idle: [], faults: [], done: 0 };
  const took = new Map<string, number>();
  for (let round = 1; round <= rounds; round++) {
    for (const scenario of scenarios.filter(({ kind }) => kind === 'load' || round === 1)) {
      const from = performance.now();
      if (from + (took.get(scenario.name) ?? 0) > BUDGET_S[size] * 1000) {
        say(`no time left within ${BUDGET_S[size]} s: ended in round ${round}`);
        for (const { name } of scenarios) if (!took.has(name)) results.faults.push(`${name}: there was no time for it`);
        return results;
      }
      await measureOne(bench, field, scenario, { round, rounds, count: scenario[size] }, results);
      took.set(scenario.name, performance.now() - from);
    }
    results.done = round;
  }
  return results;
}

interface Results {
  readonly measurements: Measurement[];
  readonly idle: IdleMeasurement[];
  readonly faults: string[];
  /** Whole rounds. */
  done: number;
}

async function measureOne(bench: Bench, field: Field, scenario: Scenario, { round, rounds, count }: { round: number; rounds: number; count: number }, results: Results): Promise<void> {
  const peers = field.servers[scenario.servers];
  const said: string[] = [];
  for (let turn = 0; turn < peers.length; turn++) {
    const peer = peers[(turn + round) % peers.length] as Peer;
    const outcome = scenario.kind === 'load' ? await oneLoad(bench, field, peer, scenario, round, count) : await oneIdle(bench, field, peer, scenario, count);
    switch (outcome.kind) {
      case 'load':
        results.measurements.push(outcome.measurement);
        said.push(`${peer.name} ${outcome.measurement.cpuMicros.toFixed(0)} µs`);
        break;
      case 'idle':
        results.idle.push(outcome.measurement);
        said.push(`${peer.name} ${outcome.measurement.kibEach.toFixed(1)} KiB each`);
        break;
      case 'fault':
        results.faults.push(`${peer.name}, ${scenario.name}, round ${round}: ${outcome.why}`);
        said.push(`${peer.name} FAILED (${outcome.why})`);
    }
  }
  say(`round ${round} of ${rounds}, ${scenario.name}: ${said.toSorted().join(', ')}`);
}

type Outcome =
  | { readonly kind: 'load'; readonly measurement: Measurement }
  | { readonly kind: 'idle'; readonly measurement: IdleMeasurement }
  | { readonly kind: 'fault'; readonly why: string };

async function oneLoad(bench: Bench, { running }: Field, peer: Peer, scenario: LoadScenario, round: number, count: number): Promise<Outcome> {
  const { fault, ...measurement } = await measure(bench, { name: peer.name, running: running.get(peer.name) as RunningPeer }, scenario, round, count);
  return fault === undefined ? { kind: 'load', measurement } : { kind: 'fault', why: fault };
}

async function oneIdle(bench: Bench, field: Field, peer: Peer, scenario: IdleScenario, count: number): Promise<Outcome> {
  if (openFilesLimit() < count + SPARE_FILES) return { kind: 'fault', why: `${count} connections take ${count + SPARE_FILES} open files, and ${openFilesLimit()} are allowed (ulimit -Hn)` };
  const server = await field.fresh(peer, count);
  try {
    const { fault, ...measurement } = await measureIdle(bench, { name: peer.name, running: server }, scenario.name, count);
    return fault === undefined ? { kind: 'idle', measurement } : { kind: 'fault', why: fault };
  } finally {
    await server.process.stop();
  }
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
