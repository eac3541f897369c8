import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { connect, createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, configuration, exchange, listener, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { freePort } from './support/programs.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
const held: ServerResponse[] = [];
// Nobody else may have their ports while they are drained.
const listeners = await Promise.all(['clinical', 'other'].map(async (name) => listener(name).replace('127.0.0.1:0', `127.0.0.1:${await freePort()}`)));
const parts = { listeners: listeners.join(''), top: 'metrics: { address: "127.0.0.1:0" }' };

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request, response) => {
    if (request.url === '/echo/hold') held.push(response);
    else response.end('hello');
  });
  gateway = await startGateway(pki, backend.port, parts);
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

const drain = (...args: string[]) => wardgate(['drain', '-c', gateway.path('wardgate.yaml'), '--who', 'Chen', ...args]);
const ready = async (): Promise<number> => (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/readyz`)).status;
const refused = (port: number): Promise<boolean> => new Promise((done) => {
  const socket = connect(port, '127.0.0.1').on('connect', () => done(false)).on('error', (error: NodeJS.ErrnoException) => done(error.code === 'ECONNREFUSED')).on('close', () => socket.destroy());
});
const GET = 'GET /echo/1 HTTP/1.1\r\nHost: localhost\r\n\r\n';

describe('a drain', () => {
  it('takes nothing new on any thread, says so at /readyz, lets what is under way finish, and is undone', async () => {
    const [idle, busy] = await Promise.all([openTls(pki, gateway.port, { client: pki.doctor }), openTls(pki, gateway.port, { client: pki.doctor })]);
    await exchange(idle, GET, (text) => text.endsWith('hello'));
    const answer = exchange(busy, 'GET /echo/hold HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.includes('\r\n\r\n'));
    const http2 = await openHttp2(pki, gateway.port, { client: pki.doctor });
    expect((await askHttp2(http2, '/echo/1')).status).toBe(200);
    await expect.poll(() => held.length).toBe(1);
    expect((await drain('--dry-run')).stdout).toBe('would take nothing new: clinical, other; nothing was changed\nconnections    3 open, 1 requests and streams under way, which would finish\n');
    expect(await ready()).toBe(200);
    const began = performance.now();
    const away = Promise.all([once(idle, 'close'), once(http2, 'goaway')]);
    expect(await drain('--for', '10ms', '--reason', 'moving')).toMatchObject({ code: 1, stdout: expect.stringMatching(/^still open on clinical, other: \d connections?, 1 requests and streams under way/) as string });
    await away;
    expect(performance.now() - began).toBeLessThan(5_000);
    await expect.poll(() => refused(gateway.port)).toBe(true);
    expect((await Promise.all(Array.from({ length: 8 }, () => refused(gateway.port)))).every(Boolean)).toBe(true);
    expect(await ready()).toBe(503);
    const waiting = drain();
    held.splice(0).forEach((response) => response.end('late'));
    expect(await answer).toContain('HTTP/1.1 200');
    expect(await answer).toMatch(/connection: close/i);
    expect(await waiting).toMatchObject({ code: 0, stdout: 'drained: clinical, other; nothing new is taken until wardgate drain --undo\n' });
    expect((await wardgate(['status', '-c', gateway.path('wardgate.yaml')])).stdout).toMatch(/^DRAINING {6}every listener for clients takes nothing new \(Chen, 2/m);
    expect((await drain('--undo', '--reason', 'stays')).stdout).toBe('takes new connections again\n');
    expect(await ready()).toBe(200);
    expect((await Promise.all(Array.from({ length: 8 }, () => ask(pki, gateway.port, '/echo/1', { client: pki.doctor })))).map(({ status }) => status)).toEqual(Array<number>(8).fill(200));
    expect((await drain('--undo')).code).toBe(1);
    expect((await gateway.records()).filter((record) => record['event'] === 'administration')).toMatchObject([{ who: 'Chen', detail: 'POST /v1/drain: moving' }, { detail: 'POST /v1/drain: none given' }, { detail: 'POST /v1/drain/undo: stays' }, {}]);
  });

  it('stays one when a port cannot be had again', async () => {
    expect((await drain()).code).toBe(0);
    const thief = createServer();
    await new Promise<void>((done) => void thief.listen(gateway.port, '127.0.0.1', done));
    expect(await drain('--undo')).toMatchObject({ code: 1, stderr: expect.stringContaining('not every listener could be opened again') as string });
    expect(await ready()).toBe(503);
    await new Promise((done) => void thief.close(done));
    expect((await drain('--undo')).code).toBe(0);
    expect([await ready(), (await ask(pki, gateway.port, '/echo/1', { client: pki.doctor })).status]).toEqual([200, 200]);
  });

  it('of one listener leaves the other, and the gateway ready; a reload keeps it', async () => {
    expect((await drain('--listener', 'clinical')).code).toBe(0);
    const other = gateway.gateway.listeners.find(({ name }) => name === 'other')?.port ?? 0;
    expect(await Promise.all([refused(gateway.port), refused(other), ready()])).toEqual([true, false, 200]);
    await gateway.configure(`${configuration(backend.port, parts)}\nnetworks: { inside: [10.0.0.0/8] }\n`);
    await gateway.gateway.reload();
    expect(await refused(gateway.port)).toBe(true);
    expect((await ask(pki, other, '/echo/1', { client: pki.doctor })).status).toBe(200);
    expect((await gateway.records()).some(({ detail }) => detail === 'POST /v1/drain (listener clinical): none given')).toBe(true);
    expect(await drain('--listener', 'clinic')).toMatchObject({ code: 1, stderr: expect.stringContaining('no listener named "clinic"; known: clinical, other') as string });
    expect((await drain('--undo')).code).toBe(0);
    expect((await ask(pki, gateway.port, '/echo/1', { client: pki.doctor })).status).toBe(200);
  });
});
