import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { connect, type TLSSocket } from 'node:tls';

/**
 * The clients of `bench/revocation.ts`, in a process of their own so that nothing else delays them: one kept-alive connection on each
 * data-plane thread of a gateway, asking back to back, and on request the connections of somebody about to be revoked.
 *
 *   revocation-probe.ts PORT PKI-DIRECTORY AUDIT-DIRECTORY THREADS      talks over the IPC channel
 */

/** `idle`: the doctors do not ask meanwhile. */
export type ProbeAsk = { readonly kind: 'begin'; readonly leaver?: string; readonly idle?: boolean } | { readonly kind: 'end' };

export type ProbeAnswer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'running' }
  /** Every connection of the leaver is gone and a new one is refused; ms since 1970. */
  | { readonly kind: 'cut'; readonly at: number }
  | { readonly kind: 'report'; readonly report: ProbeReport };

/** Milliseconds. `own` is the longest that this process itself was late. */
export interface ProbeReport {
  readonly requests: number;
  readonly max: number;
  readonly p99: number;
  readonly own: number;
}

const LEAVER_PAUSE_MS = 5;

const [port, pki, audit, threads] = process.argv.slice(2) as [string, string, string, string];
const ca = readFileSync(join(pki, 'root.pem'));
let asked = 0;
let watching = false;
let latencies: number[] = [];
let loops: Promise<void>[] = [];
const delay = monitorEventLoopDelay({ resolution: 1 });

const doctors = await oneOnEachThread('doctor');
send({ kind: 'ready' });
process.on('message', (ask: ProbeAsk) => void (ask.kind === 'begin' ? begin(ask.leaver, ask.idle) : end()));

function send(answer: ProbeAnswer): void {
  process.send?.(answer);
}

async function begin(leaver: string | undefined, idle = false): Promise<void> {
  const leaving = leaver === undefined ? [] : await oneOnEachThread(leaver);
  latencies = [];
  watching = true;
  delay.reset();
  delay.enable();
  loops = idle ? [] : doctors.map(keepAsking);
  if (leaver !== undefined) void untilCut(leaving, leaver).then(() => send({ kind: 'cut', at: Date.now() }));
  send({ kind: 'running' });
}

async function end(): Promise<void> {
  watching = false;
  await Promise.all(loops);
  delay.disable();
  const sorted = latencies.toSorted((a, b) => a - b);
  send({ kind: 'report', report: { requests: sorted.length, max: sorted.at(-1) ?? 0, p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0, own: delay.max / 1e6 } });
}

async function keepAsking(socket: TLSSocket): Promise<void> {
  while (watching) {
    const from = performance.now();
    if (!await ask(socket, '/records/1')) throw new Error('a connection of the doctor was refused');
    latencies.push(performance.now() - from);
  }
}

async function untilCut(sockets: readonly TLSSocket[], name: string): Promise<void> {
  await Promise.all(sockets.map(async (socket) => {
    while (await ask(socket, '/records/2')) await new Promise((resolve) => setTimeout(resolve, LEAVER_PAUSE_MS));
    socket.destroy();
  }));
  const again = await open(name).catch(() => undefined);
  if (again !== undefined && await ask(again, '/records/3')) throw new Error('a revoked certificate was admitted anew');
  again?.destroy();
}

/** Which thread a connection is on shows in the audit: each writes a file of its own. */
async function oneOnEachThread(name: string): Promise<TLSSocket[]> {
  const found = new Map<string, TLSSocket>();
  while (found.size < Number(threads)) {
    const socket = await open(name);
    const path = `/records/${name}-${asked++}`;
    if (!await ask(socket, path)) throw new Error(`${name} was refused`);
    const file = readdirSync(audit).find((one) => readFileSync(join(audit, one), 'utf8').includes(`"${path}"`));
    if (file === undefined) throw new Error(`no record of ${path}`);
    if (found.has(file)) socket.destroy();
    else found.set(file, socket);
  }
  return [...found.values()];
}

function open(name: string): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1', port: Number(port), servername: 'localhost', ca, cert: readFileSync(join(pki, `${name}.pem`)), key: readFileSync(join(pki, `${name}.key`)),
      ALPNProtocols: ['http/1.1'],
    }, () => resolve(socket));
    socket.setNoDelay(true);
    socket.on('error', reject);
  });
}

/** Whether a request was answered with 200; false when it was refused or the connection ended. */
function ask(socket: TLSSocket, path: string): Promise<boolean> {
  if (socket.destroyed) return Promise.resolve(false);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  let text = '';
  const read = (chunk: Buffer): void => {
    text += chunk.toString('latin1');
    const head = text.indexOf('\r\n\r\n');
    const length = /\r\ncontent-length: (\d+)/i.exec(text)?.[1];
    if (head !== -1 && length !== undefined && text.length >= head + 4 + Number(length)) resolve(text.startsWith('HTTP/1.1 200 '));
  };
  const ended = (): void => resolve(false);
  socket.on('data', read).on('close', ended).on('end', ended).on('error', ended);
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  return promise.finally(() => socket.off('data', read).off('close', ended).off('end', ended).off('error', ended));
}
