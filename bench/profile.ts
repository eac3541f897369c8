import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeBodies } from './bodies.ts';
import { measureIdle } from './idle.ts';
import { buildLoadGenerator } from './load.ts';
import { measure, type Bench } from './measure.ts';
import { startBackend, type RunningPeer } from './peers.ts';
import { writeBenchPki } from './pki.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';
import { GROWING, wardgate } from './wardgate.ts';

const USAGE = `Where the data-plane thread's time goes: self time by function and by file, and time with callees, under one scenario's load.

  npm run build && node bench/profile.ts [--scenario kept-alive] [--count N] [--rules '1000 routes'] [--top 30]

Scenarios: ${SCENARIOS.map(({ name }) => name).join(' ')}
Rules, for the scenarios of the gateway alone: ${GROWING.map(({ name }) => name).join(', ')}
--count is how many requests, handshakes or connections are profiled; as many come before, to warm up (idle: never).
`;

/** As V8 writes it (.cpuprofile): times in µs of the monotonic clock. */
interface CpuProfile {
  readonly startTime: number;
  readonly nodes: readonly { readonly id: number; readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }; readonly children?: readonly number[] }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const { values } = parseArgs({
  options: {
    scenario: { type: 'string', default: 'kept-alive' }, count: { type: 'string' }, rules: { type: 'string', default: '1000 routes' }, top: { type: 'string', default: '30' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) process.stdout.write(USAGE);
else await run(named(SCENARIOS, values.scenario), Number(values.top));

async function run(scenario: Scenario, top: number): Promise<void> {
  const peer = scenario.servers === 'peers' ? wardgate : named(GROWING, values.rules);
  const count = Number(values.count ?? (scenario.kind === 'load' ? 2 * scenario.full : scenario.quick));
  const directory = await mkdtemp(join(tmpdir(), 'wardgate-profile-'));
  const profiles = join(directory, 'profiles');
  for (const name of ['backend', 'wardgate', 'profiles']) await mkdir(join(directory, name));
  process.env['BENCH_NODE_FLAGS'] = `--cpu-prof --cpu-prof-interval=250 --cpu-prof-dir=${profiles}`;
  const pki = await writeBenchPki(join(directory, 'pki'));
  const bodies = await writeBodies(join(directory, 'bodies'));
  const backend = await startBackend({ pki, bodies, directory: join(directory, 'backend'), core: 1 });
  try {
    const bench: Bench = { program: await buildLoadGenerator(directory), pki, bodies, backend, cores: { server: 0, load: 1 }, machineCores: cpus().length };
    const running = await peer.start({
      pki, directory: join(directory, 'wardgate'), backendPort: backend.port, backendHttp2Port: backend.http2Port, core: 0, ...(scenario.kind === 'idle' ? { connections: count } : {}),
    });
    const { from, to, said } = await load(bench, { name: peer.name, running }, scenario, count);
    await running.process.stop();
    process.stdout.write(`${scenario.title}: ${said}\n`);
    for (const file of await readdir(profiles)) report(JSON.parse(await readFile(join(profiles, file), 'utf8')) as CpuProfile, from, to, top);
  } finally {
    await backend.process.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Puts the load on it; `from` and `to` are the moments between which the profile counts, in µs of the monotonic clock. */
async function load(bench: Bench, server: { name: string; running: RunningPeer }, scenario: Scenario, count: number): Promise<{ from: number; to: number; said: string }> {
  if (scenario.kind === 'load') await measure(bench, server, scenario, 0, count);
  const from = Number(process.hrtime.bigint() / 1000n);
  if (scenario.kind === 'load') {
    const { cpuMicros, fault } = await measure(bench, server, scenario, 1, count);
    return { from, to: Number(process.hrtime.bigint() / 1000n), said: `${cpuMicros.toFixed(0)} µs each while profiled${fault === undefined ? '' : `, ${fault}`}` };
  }
  const { openMicros, fault } = await measureIdle(bench, server, scenario.name, count);
  return { from, to: Number(process.hrtime.bigint() / 1000n), said: `${openMicros.toFixed(0)} µs to open each while profiled${fault === undefined ? '' : `, ${fault}`}` };
}

function named<Item extends { readonly name: string }>(all: readonly Item[], name: string): Item {
  const found = all.find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no ${name}; known: ${all.map((one) => one.name).join(', ')}`);
  return found;
}

/** Prints a thread's profile between two moments; threads that did little then are left out. */
function report(profile: CpuProfile, from: number, to: number, top: number): void {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const parents = new Map(profile.nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node.id] as const)));
  const self = new Map<string, number>();
  const whole = new Map<string, number>();
  const files = new Map<string, number>();
  let at = profile.startTime;
  let busy = 0;
  for (const [index, sample] of profile.samples.entries()) {
    const took = profile.timeDeltas[index] ?? 0;
    at += took;
    const frame = nodes.get(sample)?.callFrame;
    if (at < from || at > to || frame === undefined || frame.functionName === '(idle)') continue;
    busy += took;
    add(self, placeOf(frame), took);
    add(files, fileOf(frame) || '(native and V8)', took);
    const stack = new Set<string>();
    for (let id: number | undefined = sample; id !== undefined; id = parents.get(id)) stack.add(placeOf((nodes.get(id) as CpuProfile['nodes'][number]).callFrame));
    for (const place of stack) add(whole, place, took);
  }
  if (busy < (to - from) / 10) return;
  for (const [title, sums] of [['self time', self], ['self time by file', files], ['with callees', whole]] as const) {
    process.stdout.write(`\n${title}\n`);
    for (const [place, took] of [...sums].sort((a, b) => b[1] - a[1]).slice(0, top)) process.stdout.write(`${((took / busy) * 100).toFixed(1).padStart(6)} %  ${place}\n`);
  }
}

type Frame = CpuProfile['nodes'][number]['callFrame'];

function fileOf({ url }: Frame): string {
  return url.replace(/^.*\/(?=node_modules\/|dist\/)/, '');
}

function placeOf(frame: Frame): string {
  const file = fileOf(frame);
  return `${frame.functionName || '(anonymous)'}${file === '' ? '' : ` ${file}:${frame.lineNumber + 1}`}`;
}

function add(sums: Map<string, number>, key: string, value: number): void {
  sums.set(key, (sums.get(key) ?? 0) + value);
}
