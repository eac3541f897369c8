import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { listen } from './support/backend.ts';
import { exchange, listener, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const HOST = 'Host: localhost\r\n';
const LARGE = 64 * 2 ** 20;
/** Small enough to be an upstream's last octets as a whole. */
const PAGE = Buffer.alloc(16_000, 'x');

/** Each has a listener of its own, so that no test waits for another's time to pass. */
const LIMITS = {
  slow: '{ min_rate: { per_second: 1KiB, grace: 1s } }',
  chunked: '{ min_rate: { per_second: 1KiB, grace: 1s } }',
  steady: '{ min_rate: { per_second: 1KiB, grace: 3s } }',
  large: '{ min_rate: { per_second: 1KiB, grace: 1s } }',
  page: '{ min_rate: { per_second: 1KiB, grace: 1s }, pipelined_requests: 10000 }',
  pace: '{ min_rate: { per_second: 1MiB, grace: 2s } }',
  idle: '{ min_rate: { per_second: 1KiB, grace: 1s } }',
  fields: '{ header_fields: 20 }',
  many: '{ header_fields: 10000, header_size: 256KiB }',
  order: '{}',
  pipelined: '{ pipelined_requests: 10 }',
  three: '{ requests_per_connection: 3 }',
  two: '{ requests_per_connection: 2 }',
  four: '{ requests_per_connection: 4 }',
  one: '{ requests_per_connection: 1 }',
  times: '{ header_time: 1s, request_time: 1s, header_size: 2KiB, body: 1KiB }',
  closing: '{ idle_time: 1s }',
  declined: '{ idle_time: 1s }',
} as const;
type Name = keyof typeof LIMITS;

let pki: TestPki;
let upstream: Server;
/** What the upstream was asked, and whether it was cut off in it. */
const seen: { readonly path: string; readonly fields: number; body: number; cut: boolean }[] = [];
let gateway: TestGateway;
const sockets: TLSSocket[] = [];

beforeAll(async () => {
  pki = await testPki();
  upstream = createServer({
    cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true, maxHeaderSize: 1 << 20,
  }, (request, response) => {
    const one = { path: request.url ?? '', fields: request.rawHeaders.length / 2, body: 0, cut: false };
    seen.push(one);
    request.on('data', (chunk: Buffer) => (one.body += chunk.length));
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    response.on('close', () => (one.cut = !response.writableFinished));
    request.on('end', () => {
      if (one.path === '/echo/page/x') return response.end(PAGE);
      if (one.path !== '/echo/large/x' && one.path !== '/echo/pace/x') return response.end('hello');
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
  gateway = await startGateway(pki, await listen(upstream), {
    listeners: Object.entries(LIMITS).map(([name, limits]) => listener(name, { listenerExtra: `    limits: ${limits}` })).join(''), top: 'metrics: { address: 127.0.0.1:0 }',
  });
});

afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await gateway.stop();
  upstream.close();
  upstream.closeAllConnections();
});

function portOf(name: Name): number {
  return gateway.gateway.listeners.find((one) => one.name === name)?.port ?? 0;
}

async function open(name: Name, options: object = {}): Promise<TLSSocket> {
  const socket = await openTls(pki, portOf(name), { client: pki.patient, ...options });
  socket.on('error', () => undefined);
  sockets.push(socket);
  return socket;
}

/** The sum of a listener's values of a metric whose other labels are as given. */
async function metric(name: Name, metricName: string, labels = ''): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${metricName}{listener="${name}"`) && line.includes(labels));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

const cut = (name: Name, limit: string): Promise<number> => metric(name, 'wardgate_requests_cut_total', `limit="${limit}"`);
const connections = (name: Name): Promise<number> => metric(name, 'wardgate_connections_open');

/** What the upstream was asked by way of a listener: every path says through which. */
function asked(name: Name): typeof seen {
  return seen.filter(({ path }) => path.startsWith(`/echo/${name}/`));
}

async function recordsOf(name: Name): Promise<readonly Record<string, unknown>[]> {
  return (await gateway.records()).filter((record) => record['listener'] === name);
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

describe.concurrent('the least rate', () => {
  it('cuts a body off that comes more slowly, tells why, and lets go of the upstream', async ({ expect }) => {
    const socket = await open('slow');
    const answer = exchange(socket, `POST /echo/slow/x HTTP/1.1\r\n${HOST}Content-Length: 100000\r\n\r\n`);
    trickle(socket, 100_000, 10, 100);
    expect(await answer).toMatch(/^HTTP\/1\.1 408 [^]*"code":"request_timeout"/);
    await expect.poll(() => asked('slow')[0]?.cut).toBe(true);
    expect((await recordsOf('slow')).filter((record) => record['event'] === 'request')).toMatchObject([{ result: 'failed', reason: 'too_slow', detail: 'the body came too slowly', status: 408 }]);
    expect(await cut('slow', 'min_rate')).toBe(1);
  });

  it('cuts a chunked body off as well', async ({ expect }) => {
    const socket = await open('chunked');
    const answer = exchange(socket, `POST /echo/chunked/x HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n186A0\r\n`);
    trickle(socket, 100_000, 10, 100);
    expect(await answer).toMatch(/^HTTP\/1\.1 408 /);
    await expect.poll(() => asked('chunked')[0]?.cut).toBe(true);
  });

  it('lets a body pass that keeps it, pauses within the grace included', async ({ expect }) => {
    const socket = await open('steady');
    const answer = exchange(socket, `POST /echo/steady/x HTTP/1.1\r\n${HOST}Content-Length: 12000\r\n\r\n`, whole);
    trickle(socket, 12_000, 2_000, 1_000);
    expect(await answer).toMatch(/^HTTP\/1\.1 200 /);
    expect(asked('steady')).toMatchObject([{ body: 12_000, cut: false }]);
  });

  it('cuts off a client that does not take its answer, and lets go of the upstream', async ({ expect }) => {
    const socket = await open('large');
    socket.pause();
    socket.write(get('/echo/large/x'));
    await expect.poll(() => asked('large')[0]?.cut).toBe(true);
    await expect.poll(() => connections('large')).toBe(0);
    await expect.poll(async () => (await recordsOf('large')).filter((record) => record['event'] === 'request')).toMatchObject([{ result: 'failed', reason: 'too_slow', detail: 'the client took the answer too slowly', status: 200 }]);
    expect(await cut('large', 'min_rate')).toBe(1);
  });

  it('cuts off a client that takes nothing of many small answers it asked for, of which no more are fetched than fit on their way', async ({ expect }) => {
    const socket = await open('page');
    socket.pause();
    socket.write(get('/echo/page/x').repeat(3_000));
    await expect.poll(() => asked('page').length).toBeGreaterThan(50);
    await expect.poll(() => connections('page')).toBe(0);
    // 48 MB were asked for. What the kernel takes for a client that reads nothing is some megabytes.
    expect(asked('page').length * PAGE.length).toBeLessThan(24 * 2 ** 20);
    expect(await cut('page', 'min_rate')).toBeGreaterThan(0);
  });

  it('lets a client take its time that keeps it', async ({ expect }) => {
    const socket = await open('pace');
    let taken = 0;
    socket.write(get('/echo/pace/x'));
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
    await expect.poll(() => taken).toBeGreaterThan(LARGE);
    clearInterval(timer);
    expect(asked('pace')).toMatchObject([{ cut: false }]);
    expect(await cut('pace', 'min_rate')).toBe(0);
  });

  it('concerns neither connections without a request nor WebSockets', async ({ expect }) => {
    const idle = await open('idle');
    expect(await exchange(idle, get('/echo/idle/x'), whole)).toMatch(/ 200 /);
    const stream = await open('idle');
    await exchange(stream, `GET /echo/idle/x HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`, (text) => text.endsWith('\r\n\r\n'));
    await passed(3_500);
    expect(await exchange(idle, get('/echo/idle/x'), whole)).toMatch(/ 200 /);
    expect(await exchange(stream, 'still', (text) => text === 'still')).toBe('still');
  });
});

describe.concurrent('the fields of a header', () => {
  const request = (name: Name, fields: number, last = HOST): string => `GET /echo/${name}/x HTTP/1.1\r\n${Array.from({ length: fields - 1 }, (_, index) => `a${index}: b\r\n`).join('')}${last}\r\n`;

  it('are counted, and one too many is refused before anything else is decided', async ({ expect }) => {
    const socket = await open('fields');
    expect(await exchange(socket, request('fields', 20), whole)).toMatch(/^HTTP\/1\.1 200 /);
    expect(await exchange(socket, request('fields', 21), (text) => text.endsWith('}\n'))).toMatch(/^HTTP\/1\.1 431 [^]*"code":"headers_too_large"/);
    expect(await exchange(socket, request('fields', 20), whole)).toMatch(/^HTTP\/1\.1 200 /);
    expect(asked('fields')).toHaveLength(2);
    expect(await cut('fields', 'header_fields')).toBe(1);
    expect((await recordsOf('fields')).find((record) => record['status'] === 431)).toMatchObject({ result: 'denied', reason: 'headers_too_large', detail: '21 header fields' });
  });

  it('are all looked at where many are allowed: none is dropped without a word', async ({ expect }) => {
    const socket = await open('many');
    expect(await exchange(socket, request('many', 5_000), whole)).toMatch(/^HTTP\/1\.1 200 /);
    expect(asked('many')[0]?.fields).toBeGreaterThan(5_000);
    expect(await exchange(socket, request('many', 5_000, `${HOST}Host: elsewhere\r\n`), (text) => text.endsWith('}\n'))).toMatch(/^HTTP\/1\.1 400 /);
  });
});

describe.concurrent('requests without waiting for answers', () => {
  it('are asked of the upstream one after the other, and answered in their order', async ({ expect }) => {
    const socket = await open('order');
    const text = await exchange(socket, Array.from({ length: 40 }, (_, index) => get(`/echo/order/${index}`)).join(''), (so_far) => so_far.split('hello').length > 40);
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(40);
    expect(asked('order').map(({ path }) => path)).toEqual(Array.from({ length: 40 }, (_, index) => `/echo/order/${index}`));
  });

  it('are limited where they are held as requests: a chunk that is full of them takes a thousand times its room', async ({ expect }) => {
    const socket = await open('pipelined');
    // Two blanks before a value: nothing for the fast path, which holds octets.
    await exchange(socket, `GET /echo/pipelined/x HTTP/1.1\r\n${HOST}X:  y\r\n\r\n`.repeat(500));
    expect(asked('pipelined').length).toBeLessThan(11);
    expect(await cut('pipelined', 'pipelined_requests')).toBe(1);
    // Its connection ends before the record is written.
    await expect.poll(async () => (await recordsOf('pipelined')).find((record) => record['event'] === 'connection')).toMatchObject({ result: 'denied', reason: 'connection_limit' });
  });
});

describe.concurrent('the requests of a connection', () => {
  it('are limited: the last answer says so, and the connection ends', async ({ expect }) => {
    const socket = await open('three');
    for (let round = 0; round < 2; round++) expect(await exchange(socket, get('/echo/three/x'), whole)).not.toMatch(/connection: close/i);
    const closed = once(socket, 'close');
    expect(await exchange(socket, get('/echo/three/x'), whole)).toMatch(/^HTTP\/1\.1 200 [^]*connection: close/i);
    await closed;
    expect(await cut('three', 'requests_per_connection')).toBe(1);
  });

  it('that come behind the last without waiting are not served (RFC 9112 section 9.6)', async ({ expect }) => {
    const socket = await open('two');
    const text = await exchange(socket, get('/echo/two/1') + get('/echo/two/2') + get('/echo/two/3').repeat(5));
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
    expect(asked('two').map(({ path }) => path)).toEqual(['/echo/two/1', '/echo/two/2']);
  });

  it('count alike on whichever path they are served', async ({ expect }) => {
    const socket = await open('four');
    // A field with two blanks is nothing for the fast path.
    for (const request of [get('/echo/four/1'), get('/echo/four/2'), `GET /echo/four/3 HTTP/1.1\r\n${HOST}X:  y\r\n\r\n`]) await exchange(socket, request, whole);
    const closed = once(socket, 'close');
    expect(await exchange(socket, get('/echo/four/4'), whole)).toMatch(/connection: close/i);
    await closed;
  });

  it('are denials too', async ({ expect }) => {
    const socket = await open('one');
    expect(await exchange(socket, get('/nowhere'))).toMatch(/^HTTP\/1\.1 404 [^]*connection: close/i);
  });
});

describe.concurrent('times and sizes that run out', () => {
  it('are counted, each by its limit, and on record by their reason', async ({ expect }) => {
    const outcomes = await Promise.all([
      'GET /echo/times/x HTTP/1.1\r\nHost: loc', `POST /echo/times/x HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nhal`,
      `GET /echo/times/x HTTP/1.1\r\n${HOST}X: ${'x'.repeat(4_000)}\r\n\r\n`, `POST /echo/times/x HTTP/1.1\r\n${HOST}Content-Length: 2000\r\n\r\n`,
    ].map(async (octets) => /^HTTP\/1\.1 (\d+)/.exec(await exchange(await open('times'), octets))?.[1]));
    expect(outcomes).toEqual(['408', '408', '431', '413']);
    for (const limit of ['header_time', 'request_time', 'header_size', 'body']) expect([limit, await cut('times', limit)]).toEqual([limit, 1]);
    const reasons = (await recordsOf('times')).filter((record) => record['result'] !== 'permitted' && record['event'] === 'request').map((record) => record['reason']);
    expect(reasons).toEqual(expect.arrayContaining(['request_timeout', 'headers_too_large', 'body_too_large']));
  });
});

describe.concurrent('a client that has its last answer and does not close', () => {
  const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

  it.for([['', 'closing', 'Connection: close\r\n'], [', an upgrade that was declined', 'declined', UPGRADE]] as const)('is disconnected%s', async ([, name, fields], { expect }) => {
    const socket = await open(name, { allowHalfOpen: true });
    // No such route: the answer is ours, whatever the upstream makes of upgrades.
    await exchange(socket, `GET /nowhere HTTP/1.1\r\n${HOST}${fields}\r\n`, (text) => text.endsWith('}\n'));
    await expect.poll(() => connections(name)).toBe(0);
  });
});
