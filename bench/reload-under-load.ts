import { createServer } from 'node:https';
import { connect, type TLSSocket } from 'node:tls';
import { listen, type Bound } from '../src/demo/listen.ts';
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

const BODY = 'x'.repeat(1024);
/** One connection in eight is closed after each answer, so that handshakes too meet a reload; every second one posts, which nobody may repeat. */
const RECONNECTING = 8;

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
  const load: LoadState = { port: gateway.port, pki: directory.pki, answered: 0, failures: [], running: true, enough: Promise.withResolvers<void>(), wanted: requests };
  try {
    const from = performance.now();
    const clients = Array.from({ length: connections }, (_, index) => keepAsking(load, index % 2 === 0 ? GET : POST, Math.floor(index / 2) % RECONNECTING === 0));
    await load.enough.promise;
    const before = load.answered;
    for (let reload = 1; reload <= reloads; reload++) {
      await gateway.configure(configuration(directory.pki, backend.port, reload));
      await reloaded(gateway, reload);
    }
    load.running = false;
    await Promise.all(clients);
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

/** What clients share while they ask. */
export interface LoadState {
  readonly port: number;
  readonly pki: BenchPki;
  readonly failures: string[];
  readonly wanted: number;
  readonly enough: PromiseWithResolvers<void>;
  answered: number;
  running: boolean;
}

export const GET = 'GET /records HTTP/1.1\r\nHost: localhost\r\n\r\n';
export const POST = `POST /records HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;

/** One client: asks, reads the answer to its last octet, asks again, until the load ends. */
export async function keepAsking(load: LoadState, request: string, reconnecting: boolean): Promise<void> {
  let socket: TLSSocket | undefined;
  while (load.running) {
    try {
      socket ??= await open(load);
      const answer = await askOnce(socket, request);
      if (!answer.startsWith('HTTP/1.1 200 ') || !answer.endsWith(`\r\n\r\n${BODY}`)) throw new Error(`answered ${answer.slice(0, 400)}`);
      load.answered++;
      if (load.answered === load.wanted) load.enough.resolve();
      if (!reconnecting && !/\r\nconnection: close\r\n/i.test(answer)) continue;
    } catch (error) {
      load.failures.push((error as Error).message);
      // Enough to tell; a gateway that has died must not be asked for ever.
      if (load.failures.length > 100) load.running = false;
    }
    socket?.destroy();
    socket = undefined;
  }
  socket?.destroy();
  load.enough.resolve();
}

function open({ port, pki }: LoadState): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1', port, servername: 'localhost', ca: pki.pki.root.certificate, cert: pki.pki.doctor.chain, key: pki.pki.doctor.key, ALPNProtocols: ['http/1.1'],
    }, () => resolve(socket));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed in its handshake')));
  });
}

function askOnce(socket: TLSSocket, request: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = '';
  const read = (chunk: Buffer): void => {
    text += chunk.toString('latin1');
    const head = text.indexOf('\r\n\r\n');
    const length = /\r\ncontent-length: (\d+)/i.exec(text)?.[1];
    if (head !== -1 && length !== undefined && text.length >= head + 4 + Number(length)) resolve(text);
  };
  const ended = (): void => reject(new Error(`the connection ended after ${text.length} octets of an answer`));
  const failed = (error: Error): void => reject(error);
  socket.on('data', read).on('close', ended).on('error', failed);
  socket.write(request);
  return promise.finally(() => socket.off('data', read).off('close', ended).off('error', failed));
}

/** Answers everything at once with 1 KiB. */
export function startBackend({ pki }: BenchPki): Promise<Bound> {
  const server = createServer({
    cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true,
  }, (request, response) => {
    request.resume();
    response.setHeader('content-length', BODY.length);
    response.end(BODY);
  });
  // Node ends idle connections after five seconds, at times as a post is on its way that nobody may repeat: a 502 of the backend's own making.
  server.keepAliveTimeout = 120_000;
  return listen(server, 0);
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
