import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeBodies } from './bodies.ts';
import { buildLoadGenerator } from './load.ts';
import { measure, type Bench } from './measure.ts';
import { PEERS, startBackend } from './peers.ts';
import { writeBenchPki } from './pki.ts';
import { SCENARIOS } from './scenarios.ts';

const USAGE = `Where the data-plane thread's time goes: self time by function and by file, and time with callees, under one scenario's load.

  npm run build && node bench/profile.ts [--scenario kept-alive] [--count N] [--top 30]
`;

/** As V8 writes it (.cpuprofile): times in µs of the monotonic clock. */
interface CpuProfile {
  readonly startTime: number;
  readonly nodes: readonly { readonly id: number; readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }; readonly children?: readonly number[] }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const { values } = parseArgs({
  options: { scenario: { type: 'string', default: 'kept-alive' }, count: { type: 'string', default: '40000' }, top: { type: 'string', default: '30' }, help: { type: 'boolean', default: false } },
});
if (values.help) process.stdout.write(USAGE);
else await run(Number(values.count), Number(values.top));

async function run(count: number, top: number): Promise<void> {
  const scenario = SCENARIOS.find((one) => one.name === values.scenario);
  const wardgate = PEERS[0];
  if (scenario === undefined || wardgate === undefined) throw new Error(`there is no scenario ${values.scenario}; known: ${SCENARIOS.map((one) => one.name).join(', ')}`);
  const directory = await mkdtemp(join(tmpdir(), 'wardgate-profile-'));
  const profiles = join(directory, 'profiles');
  for (const name of ['backend', 'wardgate', 'profiles']) await mkdir(join(directory, name));
  process.env['BENCH_NODE_FLAGS'] = `--cpu-prof --cpu-prof-interval=250 --cpu-prof-dir=${profiles}`;
  const pki = await writeBenchPki(join(directory, 'pki'));
  const bodies = await writeBodies(join(directory, 'bodies'));
  const backend = await startBackend({ pki, bodies, directory: join(directory, 'backend'), core: 1 });
  try {
    const bench: Bench = { program: await buildLoadGenerator(directory), pki, bodies, backend, cores: { server: 0, load: 1 }, machineCores: 2 };
    const running = await wardgate.start({ pki, directory: join(directory, 'wardgate'), backendPort: backend.port, core: 0 });
    await measure(bench, { name: 'wardgate', running }, scenario, 0, count);
    const from = Number(process.hrtime.bigint() / 1000n);
    const { cpuMicros, fault } = await measure(bench, { name: 'wardgate', running }, scenario, 1, count);
    const to = Number(process.hrtime.bigint() / 1000n);
    await running.process.stop();
    process.stdout.write(`${scenario.title}: ${cpuMicros.toFixed(0)} µs each while profiled${fault === undefined ? '' : `, ${fault}`}\n`);
    for (const file of await readdir(profiles)) report(JSON.parse(await readFile(join(profiles, file), 'utf8')) as CpuProfile, from, to, top);
  } finally {
    await backend.process.stop();
    await rm(directory, { recursive: true, force: true });
  }
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
