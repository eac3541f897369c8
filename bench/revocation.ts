import { execFileSync, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { issueCrl, writeLeaf, type Issued } from '../test/support/pki.ts';
import { crlEntries, crlPem, SERIAL_OCTETS, usual } from './crl.ts';
import { buildLoadGenerator } from './load.ts';
import { measure, type Bench, type Measurement } from './measure.ts';
import { PEERS, startBackend, type RunningPeer } from './peers.ts';
import { writeBenchPki, type BenchPki } from './pki.ts';
import type { ProbeAnswer, ProbeAsk, ProbeReport } from './revocation-probe.ts';
import { findProgram, residentMiB, start, type Running } from './process.ts';
import { loadScenario } from './scenarios.ts';

/**
 * What a CRL with a million entries costs the built gateway, beside the same gateway with a thousand: time until it is in force, stall of
 * the data plane, memory, handshakes; and nginx with the same list. Build first.
 *
 *   node bench/revocation.ts [--entries 1000000] [--parts load,memory,handshakes] [--results DIR]
 */

const RELOADS = 5;
/** Of the six loads; during the others nobody but the revoked asks. */
const BUSY_LOADS = 3;
const SETTLED_MS = 5_000;
const QUIET_MS = 2_000;
const AFTER_MS = 2_500;
const STARTS = 3;
const ROUNDS = 7;
const HANDSHAKES = 1_000;
/** nginx with the large list takes 50 ms of CPU and more for each. */
const NGINX_ROUNDS = 3;
const NGINX_HANDSHAKES = 12;

const { values } = parseArgs({
  options: {
    entries: { type: 'string', default: '1000000' },
    parts: { type: 'string', default: 'load,memory,handshakes' },
    results: { type: 'string', default: fileURLToPath(new URL('results', import.meta.url)) },
  },
});

interface Setting {
  readonly directory: string;
  readonly pki: BenchPki;
  readonly entries: number;
  readonly backendPort: number;
  /** Certificates that no CRL of `crl(0, …)` lists; `crl(n, …)` lists the first n. */
  readonly leavers: readonly Issued[];
  /** Files of the large list, its number and listed leavers told by `version`; made once, then copied. */
  crl(version: number, form: 'der' | 'pem'): Promise<string>;
}

let gateways = 0;
process.exitCode = await run();

async function run(): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), 'wardgate-revocation-'));
  const running: RunningPeer[] = [];
  try {
    const pki = await writeBenchPki(join(directory, 'pki'));
    const backend = await startBackend({ pki, directory: await subdirectory(directory, 'backend'), core: undefined });
    running.push(backend);
    const setting = await prepare(directory, pki, Number(values.entries), backend.port);
    const parts = values.parts.split(',');
    const text = [
      head(setting),
      ...(parts.includes('load') ? [await loading(setting)] : []),
      ...(parts.includes('memory') ? [await memory(setting)] : []),
      ...(parts.includes('handshakes') ? [await handshakes(setting, backend)] : []),
    ].join('\n');
    await mkdir(values.results, { recursive: true });
    const file = join(values.results, `revocation-${new Date().toISOString().slice(0, 16).replace(':', '')}.md`);
    await writeFile(file, text);
    process.stdout.write(`\n${text}`);
    say(`written to ${file}`);
    return 0;
  } finally {
    await Promise.all(running.map((one) => one.process.stop()));
    await rm(directory, { recursive: true, force: true });
  }
}

async function prepare(directory: string, pki: BenchPki, entries: number, backendPort: number): Promise<Setting> {
  const leavers = await Promise.all(Array.from({ length: 1 + RELOADS }, (_, index) =>
    pki.pki.issueClient({ subject: [['CN', `Dr Leaver ${index}`], ['OU', 'Doctors'], ['O', 'Hospital']] })));
  await Promise.all(leavers.flatMap((leaver, index) => writeLeaf(pki.path(`leaver-${index}`), leaver)));
  const serials = randomBytes(entries * SERIAL_OCTETS);
  const made = new Map<string, string>();
  return {
    directory, pki, entries, backendPort, leavers,
    async crl(version, form) {
      const key = `large-${version}.${form}`;
      const known = made.get(key);
      if (known !== undefined) return known;
      const der = await issueCrl(pki.pki.issuing, { number: 10 + version, revoked: crlEntries(serials, leavers.slice(0, version).map(({ serialHex }) => serialHex), usual) });
      const file = pki.path(key);
      await writeFile(file, form === 'der' ? der : crlPem(der));
      made.set(key, file);
      return file;
    },
  };
}

interface RunningGateway {
  readonly port: number;
  readonly process: Running;
  readonly state: string;
  /** Milliseconds from its start until it listens. */
  readonly startedIn: number;
  /** Puts a copy of a file in the place of its CRL, as a rename; returns the time of the rename, ms since 1970. */
  put(file: string): Promise<number>;
  stop(): Promise<void>;
}

/** The built command with two threads, its issuing CA's CRL a copy of `crl`. */
async function startGateway({ directory, pki, backendPort }: Setting, crl: string): Promise<RunningGateway> {
  const own = await subdirectory(directory, `gateway-${gateways++}`);
  const path = (name: string): string => join(own, name);
  const put = async (file: string): Promise<number> => {
    await writeFile(path('new.crl'), await readFile(file));
    await rename(path('new.crl'), path('issuing.crl'));
    return Date.now();
  };
  await put(crl);
  await writeFile(path('wardgate.yaml'), configuration(pki, backendPort));
  const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
  const from = performance.now();
  const running = start(process.execPath, ['--disable-sigusr1', '--disable-warning=ExperimentalWarning', main, 'run', '-c', path('wardgate.yaml')]);
  const [, port] = await running.said(/^listening clinical 127\.0\.0\.1:(\d+)$/m);
  return { port: Number(port), process: running, state: path('state'), startedIn: performance.now() - from, put, stop: () => running.stop() };
}

function configuration({ path }: BenchPki, backendPort: number): string {
  return `
state: ./state
threads: 2
listeners:
  - name: clinical
    address: 127.0.0.1:0
    tls: { certificates: [{ certificate: ${path('server-ec.pem')}, key: ${path('server-ec.key')} }] }
    client_auth: { mode: required, trust: [${path('root.pem')}], intermediates: [${path('issuing.pem')}] }
revocation: { check: chain, sources: [crl], unavailable: deny, crl: { files: [issuing.crl, ${path('root.crl')}] } }
roles: [{ role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }]
routes: [{ name: records, match: { path: /records/*, methods: [GET] }, allow: [doctor], upstream: records, phi: true }]
upstreams:
  records:
    endpoints: ["https://127.0.0.1:${backendPort}"]
    tls: { trust: ${path('backend-ca.pem')}, certificate: ${path('gateway.pem')}, key: ${path('gateway.key')}, server_name: records.internal }
`;
}

/** Start-up, then the list appearing under a running gateway: in force when, and what those who are being served feel of it. */
async function loading(setting: Setting): Promise<string> {
  const { pki } = setting;
  const starts: Record<'small' | 'large', number[]> = { small: [], large: [] };
  for (let round = 0; round < STARTS; round++) {
    for (const [kind, file] of [['small', pki.path('issuing.crl')], ['large', await setting.crl(0, 'der')]] as const) {
      const gateway = await startGateway(setting, file);
      starts[kind].push(gateway.startedIn);
      await gateway.stop();
    }
  }
  say(`starts, small: ${all(starts.small)} ms; large: ${all(starts.large)} ms`);
  const rows: string[] = [];
  const inForce: string[] = [];
  for (const form of ['der', 'pem'] as const) {
    const idle: number[] = [];
    const gateway = await startGateway(setting, pki.path('issuing.crl'));
    const probe = await startProbe(setting, gateway);
    try {
      await probe.watch(QUIET_MS);
      for (let version = 1; version <= 2 * BUSY_LOADS; version++) {
        const file = await setting.crl(version, form);
        if (version > BUSY_LOADS) {
          const { cutAfter } = await probe.watchLoad(version - 1, true, () => gateway.put(file));
          idle.push(cutAfter);
          continue;
        }
        const quiet = await probe.watch(QUIET_MS);
        const { cutAfter, report } = await probe.watchLoad(version - 1, false, () => gateway.put(file));
        rows.push(`| ${form} | ${version} | ${ms(cutAfter)} | ${ms(report.max)} | ${ms(report.p99)} | ${report.requests} | ${ms(report.own)} | ${ms(quiet.max)} | ${ms(quiet.p99)} | ${ms(quiet.own)} |`);
        say(rows.at(-1) as string);
      }
    } finally {
      await probe.end();
      await gateway.stop();
    }
    inForce.push(`${form.toUpperCase()} ${all(idle)} ms`);
    say(inForce.at(-1) as string);
  }
  return `
## In force, and what is felt of it

Start until it listens, small list: ${all(starts.small)} ms; large: ${all(starts.large)} ms (DER; difference of medians ${ms(median(starts.large) - median(starts.small))} ms).

A changed list takes the old one's place by a rename. In force is from the rename until the connections of a certificate newly on it are cut on both threads and a new one of it is
refused. While nobody else asks: ${inForce.join('; ')}.

While a client on each of the two threads asks back to back over a kept-alive connection, so that both cores are busy: latencies of requests in ms, from half a second before the rename until ${AFTER_MS / 1000} s
past that, the collection of the old table included (load 1 takes a small list's place, the others a large one's); beside them ${QUIET_MS / 1000} s of the same just before, with nothing happening. "Own" is the longest that the measuring process itself was late.

| form | load | in force ms | longest request | p99 | requests | own | quiet: longest | p99 | own |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
${rows.join('\n')}
`;
}

interface Probe {
  watch(milliseconds: number): Promise<ProbeReport>;
  /** `change` returns when it was made; `cutAfter` counts from then. */
  watchLoad(leaver: number, idle: boolean, change: () => Promise<number>): Promise<{ cutAfter: number; report: ProbeReport }>;
  end(): Promise<void>;
}

/** The measuring clients, in a process of their own. */
async function startProbe({ pki }: Setting, { port, state }: RunningGateway): Promise<Probe> {
  const child = fork(fileURLToPath(new URL('./revocation-probe.ts', import.meta.url)), [String(port), pki.directory, join(state, 'audit'), '2']);
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('the probe ended')));
  ended.catch(() => undefined);
  const answer = async (kind: ProbeAnswer['kind']): Promise<ProbeAnswer> => {
    const [message] = await Promise.race([once(child, 'message'), ended]) as [ProbeAnswer];
    if (message.kind !== kind) throw new Error(`the probe said ${JSON.stringify(message)}`);
    return message;
  };
  const ask = (message: ProbeAsk): boolean => child.send(message);
  const report = async (): Promise<ProbeReport> => {
    ask({ kind: 'end' });
    return (await answer('report') as ProbeAnswer & { kind: 'report' }).report;
  };
  await answer('ready');
  return {
    async watch(milliseconds) {
      ask({ kind: 'begin' });
      await answer('running');
      await after(milliseconds);
      return report();
    },
    async watchLoad(leaver, idle, change) {
      ask({ kind: 'begin', leaver: `leaver-${leaver}`, idle });
      await answer('running');
      const cut = answer('cut');
      await after(500);
      const from = await change();
      const { at } = await cut as ProbeAnswer & { kind: 'cut' };
      await after(AFTER_MS);
      return { cutAfter: at - from, report: await report() };
    },
    async end() {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    },
  };
}

/** Resident memory, idle: with the small list, after the large one has come, after five more, and started with the large one. */
async function memory(setting: Setting): Promise<string> {
  const { pki } = setting;
  const rows: string[] = [];
  for (const form of ['der', 'pem'] as const) {
    const files = await Promise.all(Array.from({ length: 1 + RELOADS }, (_, version) => setting.crl(version, form)));
    const gateway = await startGateway(setting, pki.path('issuing.crl'));
    const { pid } = gateway.process;
    await after(SETTLED_MS);
    const small = residentMiB(pid).now;
    const grown: string[] = [];
    let peak = 0;
    for (const file of files) {
      await writeFile(`/proc/${pid}/clear_refs`, '5');
      const loads = gateway.process.output().split('CRLs read again').length;
      await gateway.put(file);
      await gateway.process.said(new RegExp(`(?:CRLs read again[^]*){${loads}}`));
      await after(SETTLED_MS);
      const { now, peak: highest } = residentMiB(pid);
      peak = Math.max(peak, highest - small);
      grown.push(mib(now - small));
    }
    await gateway.stop();
    const started = await startGateway(setting, files[0] as string);
    await after(SETTLED_MS);
    const atStart = residentMiB(started.process.pid);
    await started.stop();
    rows.push(`| ${form} | ${mib(small)} | ${grown.join(' | ')} | ${mib(peak)} | ${mib(atStart.now - small)} | ${mib(atStart.peak - small)} |`);
    say(rows.at(-1) as string);
  }
  return `
## Memory

Resident size of the process in MiB, all threads, idle, ${SETTLED_MS / 1000} s after each load. Everything but the first column is what it takes above that.

| form | small list | first load | ${Array.from({ length: RELOADS }, (_, index) => `reload ${index + 1}`).join(' | ')} | peak while loading | started with it | peak while starting |
| --- | ${'---: | '.repeat(RELOADS + 5)}
${rows.join('\n')}
`;
}

/** Full handshakes, EC, TLS 1.3, one core each: the gateway with and without the list, and nginx with it, in turn. */
async function handshakes(setting: Setting, backend: RunningPeer): Promise<string> {
  const { directory, pki } = setting;
  const pinned = findProgram('taskset') !== undefined && cpus().length >= 2;
  const cores = pinned ? { server: 0, load: 1 } : { server: undefined, load: undefined };
  const bench: Bench = { program: await buildLoadGenerator(directory), pki, backend, cores, machineCores: cpus().length };
  const large = await setting.crl(0, 'pem');
  await writeFile(pki.path('crls-large.pem'), Buffer.concat([await readFile(large), Buffer.from(crlPem(await issueCrl(pki.pki.root, {})))]));
  const withLarge: BenchPki = { ...pki, path: (name) => (name === 'issuing.crl' ? large : name === 'crls.pem' ? pki.path('crls-large.pem') : pki.path(name)) };
  const [wardgate, nginx] = PEERS as [typeof PEERS[number], typeof PEERS[number]];
  const servers: { name: string; running: RunningPeer }[] = [];
  try {
    for (const [name, peer, files] of [['wardgate, small list', wardgate, pki], ['wardgate, large list', wardgate, withLarge], ['nginx, small list', nginx, pki], ['nginx, large list', nginx, withLarge]] as const) {
      servers.push({ name, running: await peer.start({ pki: files, directory: await subdirectory(directory, name.replace(/\W+/g, '-')), backendPort: backend.port, core: cores.server }) });
    }
    const full = loadScenario('handshake-ec-1.3');
    const results = new Map<string, Measurement[]>(servers.map(({ name }) => [name, []]));
    const one = async (server: typeof servers[number], round: number, count: number, connections: number): Promise<void> => {
      const { fault, ...result } = await measure(bench, server, { ...full, connections }, round, count);
      if (fault !== undefined) say(`not counted: ${server.name}: ${fault}`);
      else if (round > 0) results.get(server.name)?.push(result);
      say(`${server.name}, round ${round}: ${result.perSecond.toFixed(1)} a second, ${result.cpuMicros.toFixed(0)} µs`);
    };
    const fast = servers.slice(0, 3);
    for (let round = 0; round <= ROUNDS; round++) {
      for (let turn = 0; turn < fast.length; turn++) await one(fast[(turn + round) % fast.length] as typeof servers[number], round, HANDSHAKES, full.connections);
      // Its first handshake sorts the list, and is not counted.
      if (round <= NGINX_ROUNDS) await one(servers[3] as typeof servers[number], round, round === 0 ? 1 : NGINX_HANDSHAKES, Math.min(2, round + 1));
    }
    const rate = (name: string, value: (one: Measurement) => number): number => median((results.get(name) ?? []).map(value));
    const rounds = (name: string): readonly Measurement[] => results.get(name) ?? [];
    const ratios = (value: (one: Measurement) => number): number[] => rounds('wardgate, large list').flatMap((measured) => {
      const beside = rounds('wardgate, small list').find(({ round }) => round === measured.round);
      return beside === undefined ? [] : [value(measured) / value(beside)];
    });
    const rows = servers.map(({ name, running }) =>
      `| ${name} | ${rate(name, ({ perSecond }) => perSecond).toFixed(1)} | ${range(rounds(name).map(({ perSecond }) => perSecond))} | ${rate(name, ({ cpuMicros }) => cpuMicros).toFixed(0)} | ${(1e6 / rate(name, ({ cpuMicros }) => cpuMicros)).toFixed(0)} | ${(rate(name, ({ noise }) => noise) * 100).toFixed(0)} % | ${rounds(name).length} | ${mib(residentMiB(running.process.pid).now)} | ${mib(residentMiB(running.process.pid).peak)} |`);
    return `
## Handshakes

Full, ECDSA P-256, TLS 1.3, client certificate; one thread or worker each on core 0, the load on core 1; ${HANDSHAKES} a round (nginx with the large list: ${NGINX_HANDSHAKES}, over two connections), rounds interleaved. nginx has
the same list, PEM, and the root's beside it (\`ssl_crl\`). Medians. Noise is CPU that neighbours on the machine took; where there is much of it, believe CPU and not the clock. Resident sizes of nginx
count what master and worker share twice.

| server | handshakes a second, by the clock | range | CPU each, µs | a core's worth a second | noise | rounds | resident MiB | peak MiB |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
${rows.join('\n')}

With the large list beside the small one, round by round: rate ${median(ratios(({ perSecond }) => perSecond)).toFixed(3)} (${range(ratios(({ perSecond }) => perSecond), 3)}), CPU ${median(ratios(({ cpuMicros }) => cpuMicros)).toFixed(3)} (${range(ratios(({ cpuMicros }) => cpuMicros), 3)}).
Beside nginx with the same list: ${(rate('nginx, large list', ({ cpuMicros }) => cpuMicros) / rate('wardgate, large list', ({ cpuMicros }) => cpuMicros)).toFixed(0)} times as many for the same CPU, ${(rate('wardgate, large list', ({ perSecond }) => perSecond) / rate('nginx, large list', ({ perSecond }) => perSecond)).toFixed(0)} times by the clock.
`;
  } finally {
    await Promise.all(servers.map(({ running }) => running.process.stop()));
  }
}

function head({ entries }: Setting): string {
  return `# A CRL with ${entries.toLocaleString('en')} entries, ${new Date().toISOString()}

Revision ${revision()}; ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}, Linux ${release()}, Node ${process.versions.node}; \`node bench/revocation.ts\`. Small list: 1,001 entries.
`;
}

function revision(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8', cwd: fileURLToPath(new URL('.', import.meta.url)), stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return 'unknown';
  }
}

async function subdirectory(directory: string, name: string): Promise<string> {
  const path = join(directory, name);
  await mkdir(path, { mode: 0o700 });
  return path;
}

function after(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
}

function range(numbers: readonly number[], digits = 1): string {
  return numbers.length === 0 ? '–' : `${Math.min(...numbers).toFixed(digits)}–${Math.max(...numbers).toFixed(digits)}`;
}

function ms(milliseconds: number): string {
  return milliseconds.toFixed(milliseconds < 100 ? 1 : 0);
}

function mib(octets: number): string {
  return octets.toFixed(1);
}

function all(numbers: readonly number[]): string {
  return numbers.map((number) => number.toFixed(0)).join(', ');
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}
