import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { listen } from './support/backend.ts';
import { exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const HOST = 'Host: localhost\r\n';
const LARGE = 64 * 2 ** 20;
/** Small enough to be an upstream's last octets as a whole. */
const PAGE = Buffer.alloc(16_000, 'x');

let pki: TestPki;
let upstream: Server;
let upstreamPort: number;
/** What the upstream was asked, and whether it was cut off in it. */
let asked: { readonly path: string; readonly fields: number; body: number; cut: boolean }[];
let gateway: TestGateway | undefined;
let sockets: TLSSocket[] = [];

beforeAll(async () => {
  pki = await testPki();
  upstream = createServer({
    cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true, maxHeaderSize: 1 << 20,
  }, (request, response) => {
    const one = { path: request.url ?? '', fields: request.rawHeaders.length / 2, body: 0, cut: false };
    asked.push(one);
    request.on('data', (chunk: Buffer) => (one.body += chunk.length));
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    response.on('close', () => (one.cut = !response.writableFinished));
    request.on('end', () => {
      if (one.path === '/echo/page') return response.end(PAGE);
      if (one.path !== '/echo/large') return response.end('hello');
      response.writeHead(200, { 'content-length': LARGE });
      const chunk = Buffer.alloc(1 << 20);
      let left = LARGE / chunk.length;
      const more = (): void => {
        while (left > 0 && !response.destroyed) if (left-- && !response.write(chunk)) return void response.once('drain', more);
        response.end();
      };
      more();
    });
  });
  upstream.maxHeadersCount = 0;
  upstream.on('upgrade', (request, socket: Duplex) => {
    const proof = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.on('error', () => undefined);
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${proof}\r\n\r\n`);
    socket.pipe(socket);
  });
  upstreamPort = await listen(upstream);
});

beforeEach(() => {
  asked = [];
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await gateway?.stop();
  gateway = undefined;
});

afterAll(() => {
  upstream.close();
  upstream.closeAllConnections();
});

async function start(limits: string): Promise<TestGateway> {
  gateway = await startGateway(pki, upstreamPort, { listenerExtra: `    limits: ${limits}`, top: 'metrics: { address: 127.0.0.1:0 }' });
  return gateway;
}

async function open(): Promise<TLSSocket> {
  const socket = await openTls(pki, gateway!.port, { client: pki.patient });
  socket.on('error', () => undefined);
  sockets.push(socket);
  return socket;
}

async function cut(limit: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gateway!.gateway.metrics?.port}/metrics`)).text();
  return Number(new RegExp(`wardgate_requests_cut_total\\{listener="clinical",limit="${limit}"\\} (\\d+)`).exec(text)?.[1] ?? 0);
}

async function recordsOf(path: string): Promise<readonly Record<string, unknown>[]> {
  return (await gateway!.records()).filter((record) => record['path'] === path);
}

const get = (path: string): string => `GET ${path} HTTP/1.1\r\n${HOST}\r\n`;
const whole = (text: string): boolean => text.endsWith('hello');
const passed = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Writes octets at a pace until there are no more or the connection is closed. */
function trickle(socket: TLSSocket, octets: number, piece: number, every: number): void {
  let left = octets;
  const timer = setInterval(() => {
    const size = Math.min(piece, left);
    left -= size;
    socket.write(Buffer.alloc(size, 'x'));
    if (left === 0) clearInterval(timer);
  }, every);
  socket.on('close', () => clearInterval(timer));
}

describe('the least rate', () => {
  it('cuts a body off that comes more slowly, tells why, and lets go of the upstream', async () => {
    await start('{ min_rate: { per_second: 1KiB, grace: 1s } }');
    const socket = await open();
    const answer = exchange(socket, `POST /echo/slow HTTP/1.1\r\n${HOST}Content-Length: 100000\r\n\r\n`);
    trickle(socket, 100_000, 10, 100);
    expect(await answer).toMatch(/^HTTP\/1\.1 408 [^]*"code":"request_timeout"/);
    await expect.poll(() => asked[0]?.cut).toBe(true);
    expect(await recordsOf('/echo/slow')).toMatchObject([{ result: 'failed', reason: 'too_slow', detail: 'the body came too slowly', status: 408 }]);
    expect(await cut('min_rate')).toBe(1);
  });

  it('cuts a chunked body off as well', async () => {
    await start('{ min_rate: { per_second: 1KiB, grace: 1s } }');
    const socket = await open();
    const answer = exchange(socket, `POST /echo/slow HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n186A0\r\n`);
    trickle(socket, 100_000, 10, 100);
    expect(await answer).toMatch(/^HTTP\/1\.1 408 /);
    await expect.poll(() => asked[0]?.cut).toBe(true);
  });

  it('lets a body pass that keeps it, pauses within the grace included', async () => {
    await start('{ min_rate: { per_second: 1KiB, grace: 3s } }');
    const socket = await open();
    const answer = exchange(socket, `POST /echo/steady HTTP/1.1\r\n${HOST}Content-Length: 12000\r\n\r\n`, whole);
    trickle(socket, 12_000, 2_000, 1_000);
    expect(await answer).toMatch(/^HTTP\/1\.1 200 /);
    expect(asked).toMatchObject([{ body: 12_000, cut: false }]);
  });

  it('cuts off a client that does not take its answer, and lets go of the upstream', async () => {
    await start('{ min_rate: { per_second: 1KiB, grace: 1s } }');
    const socket = await open();
    socket.pause();
    socket.write(get('/echo/large'));
    await expect.poll(() => asked[0]?.cut, { timeout: 10_000 }).toBe(true);
    await expect.poll(async () => (await gateway!.gateway.status()).connections).toBe(0);
    expect(await recordsOf('/echo/large')).toMatchObject([{ result: 'failed', reason: 'too_slow', detail: 'the client took the answer too slowly', status: 200 }]);
    expect(await cut('min_rate')).toBe(1);
  });

  it('cuts off a client that takes nothing of many small answers it asked for, of which no more are fetched than fit on their way', async () => {
    await start('{ min_rate: { per_second: 1KiB, grace: 1s }, pipelined_requests: 10000 }');
    const socket = await open();
    socket.pause();
    socket.write(get('/echo/page').repeat(3_000));
    await expect.poll(() => asked.length, { timeout: 10_000 }).toBeGreaterThan(50);
    await expect.poll(async () => (await gateway!.gateway.status()).connections, { timeout: 15_000 }).toBe(0);
    // 48 MB were asked for. What the kernel takes for a client that reads nothing is some megabytes.
    expect(asked.length * PAGE.length).toBeLessThan(24 * 2 ** 20);
    expect(await cut('min_rate')).toBeGreaterThan(0);
  }, 30_000);

  it('lets a client take its time that keeps it', async () => {
    await start('{ min_rate: { per_second: 1MiB, grace: 2s } }');
    const socket = await open();
    let taken = 0;
    socket.write(get('/echo/large'));
    let left = 0;
    socket.on('data', (chunk: Buffer) => {
      taken += chunk.length;
      left -= chunk.length;
      if (left < 0) socket.pause();
    });
    const timer = setInterval(() => {
      left = 4 * 2 ** 20;
      socket.resume();
    }, 200);
    await expect.poll(() => taken, { timeout: 20_000 }).toBeGreaterThan(LARGE);
    clearInterval(timer);
    expect(asked).toMatchObject([{ cut: false }]);
    expect(await cut('min_rate')).toBe(0);
  }, 30_000);

  it('concerns neither connections without a request nor WebSockets', async () => {
    await start('{ min_rate: { per_second: 1KiB, grace: 1s } }');
    const idle = await open();
    expect(await exchange(idle, get('/echo/x'), whole)).toMatch(/ 200 /);
    const stream = await open();
    await exchange(stream, `GET /echo/ws HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`, (text) => text.endsWith('\r\n\r\n'));
    await passed(3_500);
    expect(await exchange(idle, get('/echo/x'), whole)).toMatch(/ 200 /);
    expect(await exchange(stream, 'still', (text) => text === 'still')).toBe('still');
  });
});

describe('the fields of a header', () => {
  const request = (fields: number, last = HOST): string => `GET /echo/x HTTP/1.1\r\n${Array.from({ length: fields - 1 }, (_, index) => `a${index}: b\r\n`).join('')}${last}\r\n`;

  it('are counted, and one too many is refused before anything else is decided', async () => {
    await start('{ header_fields: 20 }');
    const socket = await open();
    expect(await exchange(socket, request(20), whole)).toMatch(/^HTTP\/1\.1 200 /);
    expect(await exchange(socket, request(21), (text) => text.endsWith('}\n'))).toMatch(/^HTTP\/1\.1 431 [^]*"code":"headers_too_large"/);
    expect(await exchange(socket, request(20), whole)).toMatch(/^HTTP\/1\.1 200 /);
    expect(asked).toHaveLength(2);
    expect(await cut('header_fields')).toBe(1);
    expect((await gateway!.records()).find((record) => record['status'] === 431)).toMatchObject({ result: 'denied', reason: 'headers_too_large', detail: '21 header fields' });
  });

  it('are all looked at where many are allowed: none is dropped without a word', async () => {
    await start('{ header_fields: 10000, header_size: 256KiB }');
    const socket = await open();
    expect(await exchange(socket, request(5_000), whole)).toMatch(/^HTTP\/1\.1 200 /);
    expect(asked[0]?.fields).toBeGreaterThan(5_000);
    expect(await exchange(socket, request(5_000, `${HOST}Host: elsewhere\r\n`), (text) => text.endsWith('}\n'))).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe('requests without waiting for answers', () => {
  it('are asked of the upstream one after the other, and answered in their order', async () => {
    await start('{}');
    const socket = await open();
    const text = await exchange(socket, Array.from({ length: 40 }, (_, index) => get(`/echo/${index}`)).join(''), (so_far) => so_far.split('hello').length > 40);
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(40);
    expect(asked.map(({ path }) => path)).toEqual(Array.from({ length: 40 }, (_, index) => `/echo/${index}`));
  });

  it('are limited where they are held as requests: a chunk that is full of them takes a thousand times its room', async () => {
    await start('{ pipelined_requests: 10 }');
    const socket = await open();
    // Two blanks before a value: nothing for the fast path, which holds octets.
    await exchange(socket, `GET /echo/x HTTP/1.1\r\n${HOST}X:  y\r\n\r\n`.repeat(500));
    expect(asked.length).toBeLessThan(11);
    expect(await cut('pipelined_requests')).toBe(1);
    expect((await gateway!.records()).find((record) => record['event'] === 'connection')).toMatchObject({ result: 'denied', reason: 'connection_limit' });
  });
});

describe('the requests of a connection', () => {
  it('are limited: the last answer says so, and the connection ends', async () => {
    await start('{ requests_per_connection: 3 }');
    const socket = await open();
    for (let round = 0; round < 2; round++) expect(await exchange(socket, get('/echo/x'), whole)).not.toMatch(/connection: close/i);
    const closed = once(socket, 'close');
    expect(await exchange(socket, get('/echo/x'), whole)).toMatch(/^HTTP\/1\.1 200 [^]*connection: close/i);
    await closed;
    expect(await cut('requests_per_connection')).toBe(1);
  });

  it('that come behind the last without waiting are not served (RFC 9112 section 9.6)', async () => {
    await start('{ requests_per_connection: 2 }');
    const socket = await open();
    const text = await exchange(socket, get('/echo/1') + get('/echo/2') + get('/echo/3').repeat(5));
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
    expect(asked.map(({ path }) => path)).toEqual(['/echo/1', '/echo/2']);
  });

  it('count alike on whichever path they are served', async () => {
    await start('{ requests_per_connection: 4 }');
    const socket = await open();
    // A field with two blanks is nothing for the fast path.
    for (const request of [get('/echo/1'), get('/echo/2'), `GET /echo/3 HTTP/1.1\r\n${HOST}X:  y\r\n\r\n`]) await exchange(socket, request, whole);
    expect(await exchange(socket, get('/echo/4'), whole)).toMatch(/connection: close/i);
    await once(socket, 'close');
  });

  it('are denials too', async () => {
    await start('{ requests_per_connection: 1 }');
    const socket = await open();
    expect(await exchange(socket, get('/nowhere'))).toMatch(/^HTTP\/1\.1 404 [^]*connection: close/i);
  });
});

describe('times and sizes that run out', () => {
  it('are counted, each by its limit, and on record by their reason', async () => {
    await start('{ header_time: 1s, request_time: 1s, header_size: 2KiB, body: 1KiB }');
    const outcomes = await Promise.all([
      'GET /echo/x HTTP/1.1\r\nHost: loc', `POST /echo/late HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nhal`,
      `GET /echo/x HTTP/1.1\r\n${HOST}X: ${'x'.repeat(4_000)}\r\n\r\n`, `POST /echo/big HTTP/1.1\r\n${HOST}Content-Length: 2000\r\n\r\n`,
    ].map(async (octets) => /^HTTP\/1\.1 (\d+)/.exec(await exchange(await open(), octets))?.[1]));
    expect(outcomes).toEqual(['408', '408', '431', '413']);
    for (const limit of ['header_time', 'request_time', 'header_size', 'body']) expect([limit, await cut(limit)]).toEqual([limit, 1]);
    const reasons = (await gateway!.records()).filter((record) => record['result'] !== 'permitted' && record['event'] === 'request').map((record) => record['reason']);
    expect(reasons).toEqual(expect.arrayContaining(['request_timeout', 'headers_too_large', 'body_too_large']));
  }, 15_000);
});

describe('a client that has its last answer and does not close', () => {
  const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

  it.each([['', 'Connection: close\r\n'], [', an upgrade that was declined', UPGRADE]])('is disconnected%s', async (_what, fields) => {
    await start('{ idle_time: 1s }');
    const socket = await openTls(pki, gateway!.port, { client: pki.patient, allowHalfOpen: true } as object);
    sockets.push(socket);
    socket.on('error', () => undefined);
    // No such route: the answer is ours, whatever the upstream makes of upgrades.
    await exchange(socket, `GET /nowhere HTTP/1.1\r\n${HOST}${fields}\r\n`, (text) => text.endsWith('}\n'));
    await expect.poll(async () => (await gateway!.gateway.status()).connections, { timeout: 10_000 }).toBe(0);
  });
});
