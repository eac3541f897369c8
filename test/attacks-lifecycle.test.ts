import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import { readdir, rm } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listen } from './support/backend.ts';
import { ask, configuration, exchange, openTls, startGateway, type GatewayParts, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const HOST = 'Host: localhost\r\n';

let pki: TestPki;
let upstream: Server;
let port: number;
/** Requests that the upstream has, by their path. */
let asked: string[];
/** The answers that the upstream has begun and not ended. */
let begun: { write(text: string): unknown }[];

beforeAll(async () => {
  pki = await testPki();
  upstream = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    asked.push(request.url ?? '');
    request.resume();
    if (request.url === '/echo/silent') return;
    if (request.url !== '/echo/endless') return void response.end('hello');
    begun.push(response);
    response.writeHead(200, { 'content-length': 100 });
    response.write('begun');
  });
  upstream.on('upgrade', (request, socket: Duplex) => {
    const proof = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.on('error', () => undefined);
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${proof}\r\n\r\n`);
  });
  port = await listen(upstream);
});

beforeEach(() => {
  asked = [];
  begun = [];
});

afterAll(() => {
  upstream.close();
  upstream.closeAllConnections();
});

async function recordsOf(gateway: TestGateway, path: string): Promise<readonly Record<string, unknown>[]> {
  return (await gateway.records()).filter((record) => record['path'] === path);
}

describe('a listener that a reload removes', () => {
  const listener = (name: string): string => `
  - { name: ${name}, address: 127.0.0.1:0, tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }, client_auth: { mode: optional, trust: [root.pem], intermediates: [issuing.pem] } }`;
  const first = { listeners: listener('kept') + listener('removed') };

  async function withConnection(test: (gateway: TestGateway, socket: TLSSocket, remove: () => Promise<void>) => Promise<void>): Promise<void> {
    const gateway = await startGateway(pki, port, first);
    const socket = await openTls(pki, gateway.gateway.listeners[1]!.port, { client: pki.doctor });
    await test(gateway, socket, async () => {
      await gateway.configure(configuration(port, { listeners: listener('kept') }));
      await gateway.gateway.reload();
    });
    socket.destroy();
    await gateway.stop();
  }

  it('takes its open WebSockets with it', () => withConnection(async (gateway, socket, remove) => {
    await exchange(socket, `GET /echo/ws HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`, (text) => text.endsWith('\r\n\r\n'));
    const closed = once(socket, 'close');
    await remove();
    await closed;
    await expect.poll(async () => (await gateway.gateway.status()).connections).toBe(0);
  }));

  it('denies a request that was half sent by then', () => withConnection(async (_gateway, socket, remove) => {
    expect(await exchange(socket, `GET /records HTTP/1.1\r\n${HOST}\r\n`, (text) => text.endsWith('hello'))).toMatch(/^HTTP\/1\.1 200 /);
    const answered = exchange(socket, 'GET /records HTTP/1.1\r\nHost: local', (text) => text.endsWith('}\n') || text.endsWith('hello'));
    await remove();
    socket.write('host\r\n\r\n');
    expect(await answered).toMatch(/^(HTTP\/1\.1 40[34] [^]*)?$/);
    expect(asked).toEqual(['/records']);
  }));

  it('lets an answer under way go on, within reach of revocation', () => withConnection(async (gateway, socket, remove) => {
    await exchange(socket, `GET /echo/endless HTTP/1.1\r\n${HOST}\r\n`, (text) => text.endsWith('begun'));
    await remove();
    const more = exchange(socket, '', (text) => text.endsWith('more'));
    begun[0]?.write('more');
    expect(await more).toBe('more');
    const closed = once(socket, 'close');
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: pki.doctor.sha256, reason: 'lost', who: 'test' });
    await closed;
  }));
});

describe('a stop that does not wait', () => {
  it.each(['/echo/silent', '/echo/endless'])('leaves a record of every request that the upstream has (%s)', async (path) => {
    const gateway = await startGateway(pki, port);
    for (let count = 0; count < 6; count++) {
      const socket = await openTls(pki, gateway.port, { client: pki.patient });
      socket.on('error', () => undefined);
      socket.write(`POST ${path} HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nhi`);
    }
    await expect.poll(() => asked).toHaveLength(6);
    await gateway.gateway.stop(100);
    const records = await recordsOf(gateway, path);
    expect(records.map((record) => record['result'])).toEqual(Array.from({ length: 6 }, () => 'failed'));
    await gateway.stop();
  });
});

describe('limits that a reload changes', () => {
  it('hold on every connection from then on', async () => {
    const gateway = await startGateway(pki, port);
    const large = { client: pki.patient, headers: { 'x-large': 'x'.repeat(6_000) } };
    expect((await ask(pki, gateway.port, '/echo/x', large)).status).toBe(200);
    const limits = (text: string): GatewayParts => ({ listenerExtra: `    limits: ${text}` });
    await gateway.configure(configuration(port, limits('{ header_size: 2KiB, header_time: 1s }')));
    await gateway.gateway.reload();
    for (let round = 0; round < 6; round++) expect((await ask(pki, gateway.port, '/echo/x', large)).status).toBe(431);
    const slow = await openTls(pki, gateway.port, { client: pki.patient });
    expect(await exchange(slow, 'GET /echo/x HTTP/1.1\r\nHost: loc')).toMatch(/^HTTP\/1\.1 408 /);
    await expect.poll(async () => (await gateway.gateway.status()).connections).toBe(0);
    await gateway.configure(configuration(port, limits('{ connections: 2 }')));
    await gateway.gateway.reload();
    // One a thread: of many, each more than that is closed.
    const outcomes = await Promise.allSettled(Array.from({ length: 12 }, () => openTls(pki, gateway.port)));
    const opened = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    expect(opened.length).toBeLessThanOrEqual(2);
    for (const socket of opened) socket.destroy();
    await gateway.stop();
  });
});

describe('audit files that are removed under a running gateway', () => {
  it('end its 2xx, for good', async () => {
    const gateway = await startGateway(pki, port);
    const request = async (): Promise<number> => (await ask(pki, gateway.port, '/echo/x', { client: pki.patient }).catch(() => ({ status: 0 }))).status;
    expect(await request()).toBe(200);
    for (const file of await readdir(gateway.path('state/audit'))) await rm(gateway.path(`state/audit/${file}`));
    // Both threads must have noticed: a run of refusals longer than chance gives one of them.
    const started = performance.now();
    for (let refused = 0; refused < 12;) {
      refused = await request() === 200 ? 0 : refused + 1;
      expect(performance.now() - started).toBeLessThan(15_000);
    }
    const until = performance.now() + 2_500;
    while (performance.now() < until) expect(await request()).not.toBe(200);
    expect((await gateway.gateway.status()).audit.failing).not.toEqual([]);
    await gateway.stop();
  });
});

describe('a revocation while a thread is dying', () => {
  it('is in force within three seconds', async () => {
    const workers: Worker[] = [];
    const born = (worker: Worker): void => void workers.push(worker);
    process.on('worker', born);
    const gateway = await startGateway(pki, port);
    await expect.poll(() => workers.length).toBeGreaterThanOrEqual(2);
    process.off('worker', born);
    expect((await ask(pki, gateway.port, '/echo/x', { client: pki.patient })).status).toBe(200);
    const ended = Promise.all(workers.map((worker) => worker.terminate()));
    const started = performance.now();
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: pki.patient.sha256, reason: 'lost', who: 'test' });
    expect(performance.now() - started).toBeLessThan(3_000);
    await ended;
    const again = performance.now();
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: pki.device.sha256, reason: 'lost', who: 'test' });
    expect(performance.now() - again).toBeLessThan(3_000);
    const status = async (client: typeof pki.patient): Promise<number> => (await ask(pki, gateway.port, '/echo/x', { client }).catch(() => ({ status: 0 }))).status;
    await expect.poll(() => status(pki.doctor)).toBe(200);
    expect(await status(pki.patient)).toBe(403);
    expect(await status(pki.device)).toBe(403);
    await gateway.stop();
  });
});
