import { askOverConnections, newLoad, startBackend } from './clients-under-load.ts';
import { benchDirectory, spawnGateway, type SpawnedGateway } from './gateway.ts';
import type { BenchPki } from './pki.ts';

export interface ReloadOptions {
  /** Requests before the first reload; the load goes on until the last one. */
  readonly requests: number;
  readonly connections: number;
  readonly reloads: number;
}

export interface ReloadResult {
  readonly requests: number;
  /** Answered while reloads were going on. */
  readonly duringReloads: number;
  readonly reloads: number;
  /** What went wrong, one line a failed request. */
  readonly failures: readonly string[];
  readonly seconds: number;
}

/**
 * Keeps `connections` clients asking, and sends SIGHUP `reloads` times, each once the last one has been taken. Every reload changes
 * something: upstream deadlines (and with them the pool), routes, the order of the server certificates.
 */
export async function reloadUnderLoad({ requests, connections, reloads }: ReloadOptions): Promise<ReloadResult> {
  const directory = await benchDirectory();
  const backend = await startBackend(directory.pki);
  const gateway = await spawnGateway(directory.path, configuration(directory.pki, backend.port, 0)).catch(async (error: unknown) => {
    await backend.close();
    await directory.remove();
    throw error;
  });
  const load = newLoad(gateway.port, directory.pki, requests);
  try {
    const from = performance.now();
    const clients = askOverConnections(load, connections);
    await load.enough.promise;
    const before = load.answered;
    for (let reload = 1; reload <= reloads; reload++) {
      await gateway.configure(configuration(directory.pki, backend.port, reload));
      await reloaded(gateway, reload);
    }
    load.running = false;
    await clients;
    return { requests: load.answered, duringReloads: load.answered - before, reloads, failures: load.failures, seconds: (performance.now() - from) / 1000 };
  } finally {
    load.running = false;
    await gateway.stop();
    await backend.close();
    await directory.remove();
  }
}

async function reloaded(gateway: SpawnedGateway, count: number): Promise<void> {
  process.kill(gateway.process.pid, 'SIGHUP');
  await gateway.process.said(new RegExp(`(?:configuration (?:was not )?reloaded[^]*){${count}}`));
  if (gateway.process.output().includes('not reloaded')) throw new Error(`reload ${count} was refused:\n${gateway.process.output()}`);
}

function configuration({ path }: BenchPki, backendPort: number, turn: number): string {
  const certificates = ['server-ec', 'server-rsa'].map((name) => `{ certificate: ${path(`${name}.pem`)}, key: ${path(`${name}.key`)} }`);
  return `
state: ./state
threads: 2
listeners:
  - name: clinical
    address: 127.0.0.1:0
    tls: { certificates: [${(turn % 2 === 0 ? certificates : certificates.toReversed()).join(', ')}] }
    client_auth: { mode: required, trust: [${path('root.pem')}], intermediates: [${path('issuing.pem')}] }
revocation: { sources: [crl], crl: { files: [${path('issuing.crl')}, ${path('root.crl')}] } }
roles: [{ role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }]
routes:
  - { name: turn-${turn}, match: { path: /turn/${turn} }, allow: [doctor], upstream: records }
  - { name: records, match: { path: /records, methods: [GET, POST] }, allow: [doctor], upstream: records }
upstreams:
  records:
    endpoints: ["https://127.0.0.1:${backendPort}"]
    tls: { trust: ${path('backend-ca.pem')}, certificate: ${path('gateway.pem')}, key: ${path('gateway.key')}, server_name: records.internal }
    timeouts: { connect: 10s, response: 30s, idle: ${60 + (turn >> 1)}s }
`;
}

if (import.meta.main) {
  const result = await reloadUnderLoad({ requests: 10_000, connections: 64, reloads: 20 });
  process.stdout.write(`${JSON.stringify({ ...result, failures: result.failures.length, first: result.failures.slice(0, 5) }, undefined, 1)}\n`);
  process.exitCode = result.failures.length === 0 ? 0 : 1;
}
