import { spawn } from 'node:child_process';
import { createServer } from 'node:https';
import { connect, type TLSSocket } from 'node:tls';
import { listen, type Bound } from '../src/demo/listen.ts';
import { sClient } from '../test/support/openssl.ts';
import type { BenchDirectory } from './gateway.ts';
import type { BenchPki } from './pki.ts';

const BODY = 'x'.repeat(1024);
/** One connection in eight is closed after each answer, so that handshakes too meet what is done to the gateway; every second one posts, which nobody may repeat. */
const RECONNECTING = 8;

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
const POST = `POST /records HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;

/** One client: asks, reads the answer to its last octet, asks again, until the load ends. */
async function keepAsking(load: LoadState, request: string, reconnecting: boolean): Promise<void> {
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

/** A load that has not begun: `wanted` is how many answers are waited for. */
export function newLoad(port: number, pki: BenchPki, wanted = Infinity): LoadState {
  return { port, pki, answered: 0, failures: [], running: true, enough: Promise.withResolvers<void>(), wanted };
}

/** Starts Node clients with certificates; resolves when the load has ended and the last has its answer. */
export async function askOverConnections(load: LoadState, connections: number): Promise<Client> {
  await Promise.all(Array.from({ length: connections }, (_, index) => keepAsking(load, index % 2 === 0 ? GET : POST, Math.floor(index / 2) % RECONNECTING === 0)));
  return { client: `${connections} Node clients with certificates`, requests: load.answered, failures: load.failures };
}

/** Starts those that verify what they are shown in their own way: `openssl s_client` in a loop and, where it is wanted, `wrk` over 16 connections that are kept and over 4 that are not. */
export function askWithOthers(directory: BenchDirectory, load: LoadState, wrk: boolean): Promise<readonly Client[]> {
  return Promise.all([
    askWithOpenssl(directory, load),
    ...(wrk ? [runWrk('wrk, connections kept', load.port, load, 16, []), runWrk('wrk, a connection a request', load.port, load, 4, ['-H', 'Connection: close'])] : []),
  ]);
}

/** Prints what became of every client, and has the process fail when a request has. */
export function report(clients: readonly Client[], seconds: number): void {
  console.log(`${seconds.toFixed(0)} s`);
  for (const { client, requests, failures } of clients) console.log(`${client}: ${requests} requests, ${failures.length === 0 ? 'none failed' : `FAILED: ${failures.slice(0, 5).join(' | ')}`}`);
  process.exitCode = clients.every(({ failures }) => failures.length === 0) ? 0 : 1;
}

/** A kind of client: how many requests were answered, and what went wrong. */
export interface Client {
  readonly client: string;
  readonly requests: number;
  readonly failures: readonly string[];
}

/** Asks as the doctor, each time over a connection of its own. */
async function askWithOpenssl({ pki: { path } }: BenchDirectory, load: LoadState): Promise<Client> {
  const args = ['-servername', 'localhost', '-CAfile', path('root.pem'), '-verify_return_error', '-cert', path('doctor.pem'), '-cert_chain', path('issuing.pem'), '-key', path('doctor.key')];
  const failures: string[] = [];
  let requests = 0;
  while (load.running) {
    const { status, output } = await sClient(load.port, args, GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
    if (status === 200) requests++;
    else failures.push(output.slice(-400));
  }
  return { client: 'openssl s_client in a loop', requests, failures };
}

/** `wrk` shows no certificate: it asks on the route that needs none. */
function runWrk(client: string, port: number, load: LoadState, connections: number, args: readonly string[]): Promise<Client> {
  return new Promise((done, failed) => {
    const child = spawn('wrk', ['-t', '1', '-c', String(connections), '-d', '600s', '--timeout', '5s', '-H', 'Host: localhost', ...args, `https://localhost:${port}/public/news`], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.on('error', failed);
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    // It stops, and says how it was, when it is interrupted.
    const look = setInterval(() => load.running || child.kill('SIGINT'), 100);
    child.on('close', () => {
      clearInterval(look);
      const failures = [/Socket errors: .*/, /Non-2xx or 3xx responses: .*/].flatMap((pattern) => pattern.exec(output) ?? []);
      done({ client, requests: Number(/(\d+) requests in/.exec(output)?.[1] ?? 0), failures });
    });
  });
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
