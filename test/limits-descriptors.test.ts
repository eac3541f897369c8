import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { rm, utimes, writeFile } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgateRun, type RunningCommand } from './support/command.ts';
import { ask, configuration, exchange, gatewayDirectory, listener, openTls } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let directory: string;
let running: RunningCommand | undefined;
const sockets: Socket[] = [];

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  directory = await gatewayDirectory(pki);
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await running?.stop();
  running = undefined;
});

afterAll(async () => {
  await backend.close();
  await rm(directory, { recursive: true, force: true });
});

const OPERATORS = 'admin: { listener: ops, roles: [{ role: read_only, match: { subject: { OU: Doctors } } }] }';

async function start(through: readonly string[] = []): Promise<RunningCommand> {
  const config = join(directory, 'wardgate.yaml');
  await writeFile(config, configuration(backend.port, { listeners: listener('clinical') + listener('ops', { clientAuth: '{ mode: required, trust: [root.pem], intermediates: [issuing.pem] }' }), top: `metrics: { address: 127.0.0.1:0 }\n${OPERATORS}` }));
  running = await wardgateRun(config, {}, through);
  return running;
}

async function serves(socket: TLSSocket): Promise<boolean> {
  return (await exchange(socket, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'))).startsWith('HTTP/1.1 200 ');
}

/** Asks on each connection, one request after the other, until told to stop; gives back how many were served on each, and what was not. */
function keepAsking(kept: readonly TLSSocket[]): { readonly served: readonly number[]; end(): Promise<readonly string[]> } {
  const served = kept.map(() => 0);
  const failed: string[] = [];
  let going = true;
  const load = kept.map(async (socket, index) => {
    while (going && failed.length === 0) {
      const answer = await exchange(socket, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'));
      if (answer.startsWith('HTTP/1.1 200 ')) served[index] = (served[index] ?? 0) + 1;
      else failed.push(answer);
    }
  });
  return {
    served,
    async end() {
      going = false;
      await Promise.all(load);
      return failed;
    },
  };
}

async function open({ port }: RunningCommand): Promise<TLSSocket> {
  const socket = await openTls(pki, port, { client: pki.doctor });
  socket.on('error', () => undefined);
  sockets.push(socket);
  return socket;
}

/** Opens connections that say nothing; what is left of them is for the gateway to say. */
async function crowd({ port }: RunningCommand, count: number): Promise<() => readonly Socket[]> {
  const all = await Promise.all(Array.from({ length: count }, async () => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined).resume();
    sockets.push(socket);
    await Promise.race([once(socket, 'connect'), once(socket, 'close')]).catch(() => undefined);
    return socket;
  }));
  return () => all.filter((socket) => !socket.closed);
}

const descriptors = ({ pid }: RunningCommand): number => readdirSync(`/proc/${pid}/fd`).length;

/** Seconds of processor time that a process has taken. */
function processorTime({ pid }: RunningCommand): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Sets how many file descriptors the process may have, beyond those that it has. */
function allow(gateway: RunningCommand, more: number): void {
  execFileSync('prlimit', ['--pid', String(gateway.pid), `--nofile=${descriptors(gateway) + more}:`]);
}

const shortages = 'wardgate_descriptor_shortages_total';
const turnedAway = 'wardgate_connections_refused_total{listener="clinical",limit="descriptors"}';

/** Starts a gateway with eight connections that have been served, on both threads, and one for its metrics. */
async function startServing(): Promise<{ gateway: RunningCommand; kept: readonly TLSSocket[]; read: (name: string) => Promise<number> }> {
  const gateway = await start();
  const kept = await Promise.all(Array.from({ length: 8 }, () => open(gateway)));
  for (const socket of kept) expect(await serves(socket)).toBe(true);
  const port = Number(/^listening metrics \S+:(\d+)$/m.exec(gateway.stdout())?.[1]);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const read = (name: string): Promise<number> => metric(port, agent, name);
  await read(shortages);
  return { gateway, kept, read };
}

async function servesAnother(gateway: RunningCommand): Promise<boolean> {
  const socket = await open(gateway).catch(() => undefined);
  return socket !== undefined && await serves(socket);
}

describe('a gateway with few file descriptors left', () => {
  it('closes new connections as they come, goes on with the open ones at no cost, and takes new ones when there are more', async () => {
    const { gateway, kept, read } = await startServing();
    allow(gateway, 20);
    await expect.poll(async () => {
      (await crowd(gateway, 1))();
      return read(turnedAway);
    }).toBeGreaterThan(0);
    const [began, spent] = [performance.now(), processorTime(gateway)];
    const stayed = await crowd(gateway, 200);
    await expect.poll(() => stayed().length).toBe(0);
    expect(await read(turnedAway)).toBeGreaterThan(200);
    expect(await read(shortages)).toBe(0);
    // Who is to do something about it gets in.
    const operators = Number(/^listening ops \S+:(\d+)$/m.exec(gateway.stdout())?.[1]);
    expect((await ask(pki, operators, '/v1/overview', { client: pki.doctor, agent: false })).status).toBe(200);
    // At once: each needs a connection of its own to the upstream.
    expect(await Promise.all(kept.map(serves))).toEqual(kept.map(() => true));
    expect((processorTime(gateway) - spent) / ((performance.now() - began) / 1000)).toBeLessThan(0.8);
    allow(gateway, 10_000);
    await expect.poll(() => servesAnother(gateway)).toBe(true);
  });

  it('is not what a crowd of silent clients makes of it: half of the descriptors are kept for what it has to do itself', async () => {
    const gateway = await start(['prlimit', '--nofile=400:400']);
    expect(gateway.stderr()).toContain('limits.connections is more than half of the file descriptors');
    const kept = await Promise.all(Array.from({ length: 20 }, () => open(gateway)));
    const stayed = await crowd(gateway, 500);
    await expect.poll(() => stayed().length).toBe(180);
    expect(await Promise.all(kept.map(serves))).toEqual(kept.map(() => true));
  });
});

describe('a gateway with no file descriptor left', () => {
  it('goes on with its open connections under load, tells of it, survives what fails, and recovers', async () => {
    const { gateway, kept, read } = await startServing();
    const load = keepAsking(kept);
    const everyoneServed = async (times: number): Promise<void> => {
      const since = [...load.served];
      await expect.poll(() => load.served.every((count, index) => count >= (since[index] ?? 0) + times)).toBe(true);
    };
    await everyoneServed(5);
    allow(gateway, -5);
    await expect.poll(() => read(shortages)).toBeGreaterThan(3);
    // Who comes now is not served, and holds nobody up.
    await crowd(gateway, 20);
    await everyoneServed(20);
    expect(gateway.stderr()).toContain('no file descriptor is left');
    // What needs a file fails, and is tried again.
    await utimes(join(directory, 'issuing.crl'), new Date(), new Date());
    process.kill(gateway.pid, 'SIGHUP');
    await expect.poll(() => gateway.stderr()).toContain('the configuration was not reloaded');
    await everyoneServed(20);
    allow(gateway, 10_000);
    await expect.poll(() => servesAnother(gateway)).toBe(true);
    await expect.poll(() => gateway.stderr()).toContain('file descriptors are to be had again');
    process.kill(gateway.pid, 'SIGHUP');
    await expect.poll(() => gateway.stderr()).toContain('configuration reloaded');
    await everyoneServed(20);
    expect(await load.end()).toEqual([]);
  });
});

function metric(port: number, agent: Agent, name: string): Promise<number> {
  return new Promise((done, failed) => {
    get({ port, host: '127.0.0.1', path: '/metrics', agent }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => done(Number(text.split('\n').find((line) => line.startsWith(`${name} `))?.slice(name.length + 1) ?? 0)));
    }).on('error', failed);
  });
}
