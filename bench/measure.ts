import { bodyFile } from './bodies.ts';
import type { BenchPki } from './pki.ts';
import type { RunningPeer } from './peers.ts';
import { runLoad, type LoadResult } from './load.ts';
import { cpuSeconds, machineCpuSeconds } from './process.ts';
import type { LoadScenario } from './scenarios.ts';

/** One measurement of one server. */
export interface Measurement {
  readonly peer: string;
  readonly scenario: string;
  readonly round: number;
  /** CPU time of the server for one request or handshake, in µs. */
  readonly cpuMicros: number;
  /** Requests or handshakes a second by the clock: bounded by the slowest part, the generator included. */
  readonly perSecond: number;
  /** Share of its core that the server used. */
  readonly busy: number;
  /** Share of the machine that neither server, generator nor backend used up: the neighbours' noise. */
  readonly noise: number;
  readonly load: LoadResult;
}

export interface Bench {
  readonly program: string;
  readonly pki: BenchPki;
  /** Directory of the backend's large bodies, where scenarios with bodies are measured. */
  readonly bodies?: string;
  readonly backend: RunningPeer;
  readonly cores: { readonly server: number | undefined; readonly load: number | undefined };
  readonly machineCores: number;
}

const DEADLINE_S = 30;

/** Runs one scenario against one server. `fault` says why the numbers do not count, when they do not. */
export async function measure(bench: Bench, peer: { name: string; running: RunningPeer }, scenario: LoadScenario, round: number, count: number): Promise<Measurement & { readonly fault?: string }> {
  const { pid } = peer.running.process;
  const expect = scenario.body === undefined || bench.bodies === undefined ? undefined : bodyFile(bench.bodies, scenario.body);
  const backendPid = bench.backend.process.pid;
  let measured: Measurement | undefined;
  await runLoad(bench.program, {
    ...scenario, count, port: peer.running.port, certificate: bench.pki.path('doctor.pem'), key: bench.pki.path('doctor.key'),
    expect, path: peer.running.path ?? scenario.path, deadline: DEADLINE_S, core: bench.cores.load,
  }, async (go) => {
    const before = { server: cpuSeconds(pid), backend: cpuSeconds(backendPid), machine: machineCpuSeconds() };
    const load = await go();
    const server = cpuSeconds(pid) - before.server;
    const others = machineCpuSeconds() - before.machine - server - (cpuSeconds(backendPid) - before.backend) - load.cpuSeconds;
    measured = {
      peer: peer.name, scenario: scenario.name, round, load,
      cpuMicros: (server / Math.max(1, load.finished)) * 1e6,
      perSecond: load.finished / load.seconds,
      busy: server / load.seconds,
      noise: Math.max(0, others) / load.seconds / bench.machineCores,
    };
  });
  const result = measured as unknown as Measurement;
  const fault = faultOf(scenario, count, result.load);
  return fault === undefined ? result : { ...result, fault };
}

/** A number counts only when what was measured is what its name says. */
function faultOf(scenario: LoadScenario, count: number, load: LoadResult): string | undefined {
  if (scenario.http === '2' && load.http === 'http/1.1') return 'negotiated http/1.1';
  if (load.finished !== count || load.failed > 0 || load.preludeFailed > 0) return `${load.finished} of ${count} done, ${load.failed + load.preludeFailed} failed: ${load.error}`;
  if (load.protocol !== `TLSv${scenario.tls}`) return `negotiated ${load.protocol}`;
  if (load.serverKey !== scenario.serverKey.toUpperCase()) return `the server showed its ${load.serverKey} certificate`;
  if (load.resumed !== (scenario.resume ? count : 0)) return `${load.resumed} of ${count} resumed`;
  if (scenario.http === '2' && load.streams < scenario.streams) return `the server allows ${load.streams} streams at a time`;
  return undefined;
}
