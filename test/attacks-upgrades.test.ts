import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { connect as connectTcp, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createGateway, type Gateway, type Log } from '../src/gateway.ts';
import { startRawBackend, type RawBackend } from './support/backend.ts';
import { ask, configuration, exchange, gatewayDirectory, openTls, readRecords } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const HOST = 'Host: localhost\r\n';
/** For the general path, which reads on while it waits for an answer. */
const UNUSUAL = 'TE: trailers\r\n';
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

let pki: TestPki;
let upstream: RawBackend;
let directory: string;
let gateway: Gateway;
let port: number;
/** What the log says of threads that ended. */
let threadEnds: string[];

/** What the upstream does with a whole request, by its path; everything else is answered with "hello". */
const behaviours: Record<string, (socket: TLSSocket, head: string) => void> = {
  '/echo/declined': (socket) => void socket.write(answer('declined')),
  '/echo/ws': (socket, head) => void socket.write(switching(head)),
  '/echo/wrong-proof': (socket, head) => void socket.write(switching(head).replace(/accept: .*/i, 'Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=')),
  '/echo/no-proof': (socket, head) => void socket.write(switching(head).replace(/sec-websocket-accept: .*\r\n/i, '')),
  '/echo/other-protocol': (socket, head) => void socket.write(switching(head).replace('Upgrade: websocket', 'Upgrade: h2c')),
  '/echo/bare': (socket) => void socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n'),
  '/echo/status-099': (socket) => void socket.write('HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok'),
  '/echo/status-999': (socket) => void socket.write('HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok'),
  '/echo/silent': (socket) => void silent.push(socket),
  '/public/silent': (socket) => void silent.push(socket),
};
/** Upstream connections whose request is not answered. */
let silent: TLSSocket[];

function answer(body: string): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

function switching(head: string): string {
  const key = /sec-websocket-key: (.*)\r\n/i.exec(head)?.[1];
  const proof = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${proof}\r\n\r\n`;
}

beforeAll(async () => {
  pki = await testPki();
  silent = [];
  upstream = await startRawBackend(pki, (socket, text) => {
    if (!text.endsWith('\r\n\r\n')) return;
    const head = text.slice(text.lastIndexOf('\r\n\r\n', text.length - 5) + 1);
    const path = / (\/\S*) HTTP/.exec(head)?.[1] ?? '';
    (behaviours[path] ?? (() => void socket.write(answer('hello'))))(socket, head);
  });
  directory = await gatewayDirectory(pki);
  // One thread: whatever happens to it happens to everybody, and every request shares its pool.
  await writeFile(join(directory, 'wardgate.yaml'), configuration(upstream.port).replace('threads: 2', 'threads: 1'));
  threadEnds = [];
  const nothing = (): void => undefined;
  const log: Log = { info: nothing, warn: nothing, error: (_fields, message) => void threadEnds.push(message) };
  gateway = await createGateway({ config: join(directory, 'wardgate.yaml'), log });
  port = gateway.listeners[0]!.port;
});

afterEach(() => {
  for (const socket of silent.splice(0)) socket.destroy();
});

afterAll(async () => {
  await gateway.stop(0);
  await upstream.close();
  await rm(directory, { recursive: true, force: true });
});

const whole = (text: string): boolean => /\r\n\r\n[\s\S]/.test(text);

async function records(path: string): Promise<readonly Record<string, unknown>[]> {
  return (await readRecords(join(directory, 'state/audit'))).filter((record) => record['path'] === path);
}

async function upgrade(path: string, more = ''): Promise<string> {
  const socket = await openTls(pki, port, { client: pki.patient });
  const text = await exchange(socket, `GET ${path} HTTP/1.1\r\n${HOST}${UPGRADE}${more}\r\n`, whole);
  socket.destroy();
  return text;
}

describe('an upgrade that brings a body', () => {
  it.each([
    ['of announced length', 'Content-Length: 3000\r\n'],
    ['of no octets', 'Content-Length: 0\r\n'],
    ['in chunks', 'Transfer-Encoding: chunked\r\n'],
  ])('%s is refused before the upstream hears of it: the next request would be read as that body', async (_what, framing) => {
    const before = upstream.received().length;
    const text = await upgrade('/echo/framed', framing);
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toContain('"code":"bad_request"');
    expect(upstream.received().slice(before).join('')).not.toContain('/echo/framed');
    expect((await records('/echo/framed')).at(-1)).toMatchObject({ result: 'denied', reason: 'bad_request', status: 400 });
  });

  it.each(['', UNUSUAL])('and whose client leaves behind its refusal ends no thread (%#)', async (unusual) => {
    // Node answers through a stream of its own, which fails where it has more to say after the client's end.
    await Promise.all(Array.from({ length: 40 }, async (_, index) => {
      const socket = await openTls(pki, port, { client: pki.patient });
      const closed = once(socket.on('error', () => undefined).resume(), 'close');
      const sent = (octets: string): Promise<void> => new Promise((done) => void socket.write(octets, () => done()));
      const answered = once(socket, 'data');
      for (const octet of `GET /echo/x HTTP/1.1\r\n${HOST}${unusual}${UPGRADE}Content-Length: 50\r\n\r\n${'x'.repeat(index + 11)}`) await sent(octet);
      await answered;
      socket.end();
      await closed;
    }));
    expect((await ask(pki, port, '/echo/x', { client: pki.patient })).status).toBe(200);
    expect(threadEnds).toEqual([]);
  });
});

describe('an upgrade that the upstream declines', () => {
  it('leaves no connection on which another request could travel behind it', async () => {
    expect(await upgrade('/echo/declined')).toMatch(/^HTTP\/1\.1 200 [\s\S]*declined$/);
    for (let round = 0; round < 3; round++) expect((await ask(pki, port, '/echo/next', { client: pki.patient })).status).toBe(200);
    const behind = upstream.received().filter((received) => received.includes('/echo/declined')).map((received) => received.match(/ HTTP\/1\.1\r\n/g)?.length);
    expect(behind).toEqual([1]);
  });
});

describe('an upgrade behind a request that has no answer yet', () => {
  it.each([
    ['a client without a certificate', '/public/silent', false],
    ['a client with one', '/echo/silent', true],
  ])('from %s ends its own connection, and nobody else\'s', async (_who, path, known) => {
    const witness = await openTls(pki, port, { client: pki.doctor });
    const get = `GET /echo/x HTTP/1.1\r\n${HOST}\r\n`;
    expect(await exchange(witness, get, (text) => text.endsWith('hello'))).toMatch(/^HTTP\/1\.1 200 /);
    const attacker = await openTls(pki, port, known ? { client: pki.patient } : {});
    const text = await exchange(attacker, `GET ${path} HTTP/1.1\r\n${HOST}${UNUSUAL}\r\nGET /nowhere HTTP/1.1\r\n${HOST}${UPGRADE}\r\n`);
    expect(text).not.toContain('HTTP/1.1 101');
    expect(await exchange(witness, get, (so_far) => so_far.endsWith('hello'))).toMatch(/^HTTP\/1\.1 200 /);
    witness.destroy();
    expect(threadEnds).toEqual([]);
    const refusals = (await readRecords(join(directory, 'state/audit'))).filter((record) => record['detail'] === 'an upgrade behind an unanswered request');
    expect(refusals.at(-1)).toMatchObject({ event: 'request', result: 'denied', reason: 'bad_request', status: 400, method: 'GET' });
    await expect.poll(() => records(path)).toMatchObject([{ result: 'failed', status: 499 }]);
  });

  it('does not end the thread where every request is refused for want of a certificate', async () => {
    const witness = await openTls(pki, port, { client: pki.doctor });
    const attacker = await openTls(pki, port);
    await exchange(attacker, `GET /a HTTP/1.1\r\n${HOST}${UNUSUAL}\r\nGET /b HTTP/1.1\r\n${HOST}${UPGRADE}\r\n`);
    expect(await exchange(witness, `GET /echo/x HTTP/1.1\r\n${HOST}\r\n`, (text) => text.endsWith('hello'))).toMatch(/^HTTP\/1\.1 200 /);
    witness.destroy();
    expect(threadEnds).toEqual([]);
  });

  it('is still served when the answer before it is whole, however lately', async () => {
    const served = await Promise.all(Array.from({ length: 100 }, async () => {
      const socket = await openTls(pki, port, { client: pki.patient });
      await exchange(socket, `GET /echo/x HTTP/1.1\r\n${HOST}\r\n`, (text) => text.endsWith('hello'));
      const text = await exchange(socket, `GET /echo/ws HTTP/1.1\r\n${HOST}${UPGRADE}\r\n`, (so_far) => so_far.endsWith('\r\n\r\n'));
      socket.destroy();
      return text.slice(0, 12);
    }));
    expect(served.filter((status) => status !== 'HTTP/1.1 101')).toEqual([]);
  });
});

describe('an upstream that switches to what was not asked for', () => {
  it.each(['/echo/wrong-proof', '/echo/no-proof', '/echo/other-protocol', '/echo/bare'])('(%s) is 502 to the client of a WebSocket', async (path) => {
    const text = await upgrade(path);
    expect(text).toMatch(/^HTTP\/1\.1 502 /);
    expect((await records(path)).at(-1)).toMatchObject({ result: 'failed', reason: 'upstream_unavailable', status: 502 });
  });

  it.each(['/echo/ws', '/echo/bare'])('(%s) is 502 at once to an ordinary request', async (path) => {
    const before = (await records(path)).length;
    const started = performance.now();
    const reply = await ask(pki, port, path, { client: pki.patient });
    expect(reply.json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
    expect(performance.now() - started).toBeLessThan(10_000);
    expect((await records(path)).slice(before)).toMatchObject([{ result: 'failed', reason: 'upstream_unavailable', status: 502 }]);
  });
});

describe('an upstream that answers with a status that is none', () => {
  it.each(['/echo/status-099', '/echo/status-999'])('(%s) is 502 to an ordinary request and to an upgrade alike', async (path) => {
    expect((await ask(pki, port, path, { client: pki.patient })).json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
    expect(await upgrade(path)).toMatch(/^HTTP\/1\.1 502 /);
    expect(threadEnds).toEqual([]);
  });
});

describe('a client that leaves while its upgrade waits at the upstream', () => {
  it.each([
    ['resets', (_tls: TLSSocket, tcp: Socket): void => void tcp.resetAndDestroy()],
    ['closes', (_tls: TLSSocket, tcp: Socket): void => void tcp.destroy()],
    ['says goodbye', (tls: TLSSocket): void => void tls.end()],
  ])('and %s takes the upstream\'s connection with it and leaves a record', async (_how, leave) => {
    const before = (await records('/echo/silent')).length;
    const tcp = connectTcp(port, '127.0.0.1');
    const tls = await openTls(pki, port, { client: pki.patient, socket: tcp });
    tls.write(`GET /echo/silent HTTP/1.1\r\n${HOST}${UPGRADE}\r\n`);
    await expect.poll(() => silent.length).toBe(1);
    const closed = once(silent[0] as TLSSocket, 'close');
    leave(tls, tcp);
    await closed;
    await expect.poll(async () => (await records('/echo/silent')).slice(before)).toMatchObject([{ result: 'failed', status: 499 }]);
    await expect.poll(async () => (await gateway.status()).connections).toBe(0);
  });
});
