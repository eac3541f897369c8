import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startRawBackend, type RawBackend } from './support/backend.ts';
import { exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const HOST = 'Host: localhost\r\n';
const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\n${HOST}${more}\r\n`;
const statuses = (text: string): string[] => [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status as string);

let pki: TestPki;
let upstream: RawBackend;
let gateway: TestGateway;
/** What the upstream answers to the last request of a connection, by path; octets as latin1. */
const answers = new Map<string, (socket: TLSSocket) => void>();
/** How often a path was asked, over all connections. */
const asked = new Map<string, number>();

/** Where the request ends that begins at `from`, if it has come; some are answered before. */
function endOf(text: string, from: number): number | undefined {
  const blank = text.indexOf('\r\n\r\n', from);
  if (blank === -1) return undefined;
  const head = text.slice(from, blank);
  const body = blank + 4;
  if (head.startsWith('POST /echo/early')) return body;
  if (/transfer-encoding: chunked/i.test(head)) return text.endsWith('\r\n0\r\n\r\n') ? text.length : undefined;
  const end = body + Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
  return text.length >= end ? end : undefined;
}

const plain = (body: string): string => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const answer = (path: string, octets: string): void => void answers.set(path, (socket) => void socket.write(octets, 'latin1'));

beforeAll(async () => {
  pki = await testPki();
  const read = new WeakMap<TLSSocket, number>();
  upstream = await startRawBackend(pki, (socket, text) => {
    for (let from = read.get(socket) ?? 0, end = endOf(text, from); end !== undefined; from = end, end = endOf(text, from)) {
      read.set(socket, end);
      const path = text.slice(from, end).split(' ')[1] ?? '';
      asked.set(path, (asked.get(path) ?? 0) + 1);
      const given = answers.get(path);
      if (given === undefined) socket.write(plain(path));
      else given(socket);
    }
  });
  gateway = await startGateway(pki, upstream.port, {
    threads: 1,
    listenerExtra: '    limits: { idle_time: 2s, header_time: 1s, request_time: 2s }',
    top: 'metrics: { address: 127.0.0.1:0 }',
    routes: `
  - { name: small, match: { path: /echo/small }, allow: [patient], upstream: records, limits: { body: 10B } }
  - { name: general, match: { path: /echo/general }, allow: [patient], upstream: patient }
  - { name: echo, match: { path: /echo/* }, allow: [patient], upstream: records, phi: true }
  - { name: records, match: { path: /records }, allow: [doctor], upstream: records }`,
    upstreams: `
  records:
    endpoints: ["https://127.0.0.1:${upstream.port}"]
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }
    timeouts: { response: 1s, idle: 1s }
  patient:
    endpoints: ["https://127.0.0.1:${upstream.port}"]
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }`,
  });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

/** Connections that have left the fast path so far. */
async function left(): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
  return Number(/^wardgate_fast_path_left_total (\d+)$/m.exec(text)?.[1] ?? 0);
}

async function send(octets: string, enough?: (text: string) => boolean): Promise<string> {
  const socket = await openTls(pki, gateway.port, { client: pki.patient });
  const text = await exchange(socket, octets, enough);
  socket.destroy();
  return text;
}

async function recordsOf(path: string): Promise<readonly Record<string, unknown>[]> {
  return (await gateway.records()).filter((record) => record['path'] === path);
}

describe('on the fast path', () => {
  it('requests sent at once are answered in their order, each with its own record', async () => {
    const before = await left();
    const paths = Array.from({ length: 20 }, (_, index) => `/echo/pipelined-${index}`);
    const text = await send(paths.map((path) => get(path)).join(''), (so_far) => so_far.endsWith('/echo/pipelined-19'));
    expect(text.match(/\/echo\/pipelined-\d+/g)).toEqual(paths);
    const ids = [...text.matchAll(/x-request-id: (\S+)/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(20);
    for (const [index, path] of paths.entries()) expect(await recordsOf(path)).toMatchObject([{ result: 'permitted', status: 200, request_id: ids[index], bytes_out: path.length }]);
    expect(await left()).toBe(before);
  });

  it('a refused request is answered with its problem, and the connection goes on', async () => {
    const before = await left();
    const text = await send(get('/records') + get('/nowhere') + get('/echo/after'), (so_far) => so_far.endsWith('/echo/after'));
    expect(statuses(text)).toEqual(['403', '404', '200']);
    expect(text).toContain('"code":"role_denied"');
    expect(await recordsOf('/records')).toMatchObject([{ result: 'denied', reason: 'role_denied', route: 'records', status: 403 }]);
    expect(await left()).toBe(before);
  });

  it('a body reaches the upstream octet by octet, however it was cut on the way', async () => {
    const body = Array.from({ length: 300 }, (_, index) => String.fromCharCode(index % 256)).join('');
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const all = exchange(socket, `POST /echo/posted HTTP/1.1\r\n${HOST}Content-Length: 300\r\n\r\n${body.slice(0, 7)}`, (text) => text.endsWith('/echo/posted'));
    for (const [from, to] of [[7, 8], [8, 150], [150, 300]] as const) {
      await new Promise((resolve) => socket.write(body.slice(from, to), 'latin1', resolve));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(statuses(await all)).toEqual(['200']);
    await expect.poll(() => upstream.received().some((text) => text.endsWith(body))).toBe(true);
    expect(await recordsOf('/echo/posted')).toMatchObject([{ bytes_in: 300 }]);
    socket.destroy();
  });

  it('a body and the next request in one piece are told apart', async () => {
    const text = await send(`POST /echo/first HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello${get('/echo/second')}`, (so_far) => so_far.endsWith('/echo/second'));
    expect(statuses(text)).toEqual(['200', '200']);
    expect(upstream.received().join('')).toMatch(/POST \/echo\/first [^]*\r\n\r\nhello(?:GET \/echo\/second|$)/);
  });

  it('a body larger than its route allows is refused before the upstream hears of it', async () => {
    const text = await send(`POST /echo/small HTTP/1.1\r\n${HOST}Content-Length: 11\r\n\r\nhello`);
    expect(text).toMatch(/^HTTP\/1\.1 413 [^]*connection: close[^]*"code":"body_too_large"/);
    expect(asked.get('/echo/small')).toBeUndefined();
  });

  it('a body that does not come in time is answered with 408', async () => {
    expect(await send(`POST /echo/late HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhel`)).toMatch(/^HTTP\/1\.1 408 [^]*"code":"request_timeout"/);
  });

  it.each([
    ['of known length', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', 'content-length: 5'],
    ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n', 'transfer-encoding: chunked'],
    ['in chunks with a trailer', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 9\r\n\r\n', 'X-Sum: 9\r\n\r\n'],
    ['without a body', 'HTTP/1.1 204 No Content\r\nETag: "5"\r\n\r\n', 'ETag: "5"'],
    ['that ends with its connection', 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello', 'hello'],
    ['behind an interim one', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello', 'hello'],
    ['of HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello', 'hello'],
    ['with a folded field', 'HTTP/1.1 200 OK\r\nX-Field: a\r\n b\r\nContent-Length: 5\r\n\r\nhello', ''],
  ])('an answer %s is passed on, in one piece and octet by octet', async (what, octets, expected) => {
    const before = await left();
    const ends = !/length|chunked|204/i.test(octets);
    for (const [way, write] of [['whole', (socket: TLSSocket, then: () => void) => void socket.write(octets, then)], ['slowly', slowly(octets)]] as const) {
      const path = `/echo/answer-${way}-${what.replaceAll(' ', '-').replace('/', '')}`;
      answers.set(path, (socket) => {
        write(socket, () => void (ends && socket.end()));
      });
      const text = await send(get(path) + get('/echo/next'), (so_far) => so_far.endsWith('/echo/next'));
      expect(statuses(text), way).toEqual(octets.includes('folded') || octets.includes('\r\n b') ? ['502', '200'] : [octets.includes('204') ? '204' : '200', '200']);
      expect(text.replace(/1\r\n(.)\r\n/g, '$1').toLowerCase()).toContain(expected.toLowerCase());
      expect(text).toMatch(/x-request-id: [0-9a-f-]{36}/);
      expect(await recordsOf(path)).toHaveLength(1);
    }
    expect(await left()).toBe(before);
  });

  it('answers to HEAD have no body, whatever their length says', async () => {
    answers.set('/echo/headed', (socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'));
    const text = await send(`HEAD /echo/headed HTTP/1.1\r\n${HOST}\r\n${get('/echo/next')}`, (so_far) => so_far.endsWith('/echo/next'));
    expect(statuses(text)).toEqual(['200', '200']);
    expect(text).toContain('Content-Length: 5');
  });

  it('octets behind an answer are nobody\'s answer', async () => {
    answer('/echo/more', `${plain('hello')}${plain('poison')}`);
    const text = await send(get('/echo/more') + get('/echo/next'), (so_far) => so_far.endsWith('/echo/next'));
    expect(text).not.toContain('poison');
    answers.set('/echo/later', (socket) => {
      socket.write(plain('hello'));
      setTimeout(() => socket.write(plain('poison')), 20);
    });
    const first = await openTls(pki, gateway.port, { client: pki.patient });
    await exchange(first, get('/echo/later'), (so_far) => so_far.endsWith('hello'));
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(await exchange(first, get('/echo/next'), (so_far) => so_far.endsWith('/echo/next'))).not.toContain('poison');
    first.destroy();
  });

  it('a pooled connection that the upstream has closed costs no request', async () => {
    const closing: TLSSocket[] = [];
    answers.set('/echo/closing', (socket) => {
      closing.push(socket);
      socket.write(plain('hello'));
    });
    const client = await openTls(pki, gateway.port, { client: pki.patient });
    await exchange(client, get('/echo/closing'), (so_far) => so_far.endsWith('hello'));
    closing[0]?.destroy();
    const text = await exchange(client, get('/echo/again'), (so_far) => so_far.endsWith('/echo/again'));
    expect(statuses(text)).toEqual(['200']);
    client.destroy();
  });

  it('an upstream that closes without an answer is a 502, one that says nothing a 504, and both are on record', async () => {
    answers.set('/echo/closed', (socket) => void socket.destroy());
    answers.set('/echo/silent', () => undefined);
    const text = await send(get('/echo/closed') + get('/echo/silent') + get('/echo/next'), (so_far) => so_far.endsWith('/echo/next'));
    expect(statuses(text)).toEqual(['502', '504', '200']);
    expect(await recordsOf('/echo/closed')).toMatchObject([{ result: 'failed', reason: 'upstream_unavailable', status: 502 }]);
    expect(await recordsOf('/echo/silent')).toMatchObject([{ result: 'failed', reason: 'upstream_timeout', status: 504 }]);
  });

  it.each([
    ['interim answers', () => 'HTTP/1.1 103 Early Hints\r\n\r\n'],
    ['single octets of one', (count: number) => 'HTTP/1.1 200 OK\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaa'.charAt(count)],
  ])('an upstream that only ever sends %s is a 504 in time', async (what, next) => {
    const path = `/echo/dribble-${what.replaceAll(' ', '-')}`;
    answers.set(path, (socket) => {
      let count = 0;
      const timer = setInterval(() => socket.write(next(count++)), 200);
      socket.on('close', () => clearInterval(timer));
    });
    const started = performance.now();
    expect(statuses(await send(get(path), (text) => text.includes('upstream_timeout')))).toEqual(['504']);
    expect(performance.now() - started).toBeLessThan(15_000);
  });

  it.each([
    ['of known length', 'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello'],
    ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'],
  ])('an answer %s that is cut never looks whole', async (what, octets) => {
    for (const [how, end] of [['closed', (socket: TLSSocket) => void socket.destroy()], ['stalled', () => undefined]] as const) {
      const path = `/echo/cut-${how}-${what.replaceAll(' ', '-')}`;
      answers.set(path, (socket) => socket.write(octets, () => end(socket)));
      const text = await send(get(path) + get('/echo/next'));
      expect(text).toMatch(/^HTTP\/1\.1 200 [^]*hello/);
      expect(text).not.toMatch(/0\r\n\r\n$|\/echo\/next/);
      await expect.poll(() => recordsOf(path)).toMatchObject([{ result: 'failed', status: 200, reason: how === 'stalled' ? 'upstream_timeout' : 'upstream_unavailable' }]);
    }
  });

  it('chunks that are none end the answer', async () => {
    answer('/echo/no-chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n');
    expect(await send(get('/echo/no-chunks'))).not.toMatch(/0\r\n\r\n$/);
    await expect.poll(() => recordsOf('/echo/no-chunks')).toMatchObject([{ result: 'failed', reason: 'upstream_unavailable' }]);
  });

  it('a client that leaves ends the upstream\'s work, and is on record', async () => {
    for (const [path, octets] of [['/echo/left-before', ''], ['/echo/left-within', 'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello']] as const) {
      const cancelled = new Promise<void>((resolve) => {
        answers.set(path, (socket) => {
          socket.write(octets);
          socket.once('close', () => resolve());
        });
      });
      const client = await openTls(pki, gateway.port, { client: pki.patient });
      client.write(get(path));
      if (octets === '') await expect.poll(() => asked.get(path)).toBe(1);
      else await once(client, 'data');
      client.destroy();
      await cancelled;
      await expect.poll(() => recordsOf(path)).toMatchObject([{ result: 'failed', status: octets === '' ? 499 : 200 }]);
    }
  });

  it('an upstream that answers before it has the body ends the connection after its answer', async () => {
    answer('/echo/early', plain('early'));
    const text = await send(`POST /echo/early HTTP/1.1\r\n${HOST}Content-Length: 500\r\n\r\nhello`);
    expect(text).toMatch(/^HTTP\/1\.1 200 [^]*connection: close\r\n\r\nearly$/);
  });

  it('Connection: close is heard, and said', async () => {
    expect(await send(get('/echo/last', 'Connection: close\r\n'))).toMatch(/connection: close\r\n\r\n\/echo\/last$/);
  });

  it('a connection on which nothing is asked is closed in time', async () => {
    const started = performance.now();
    const client = await openTls(pki, gateway.port, { client: pki.patient });
    client.resume();
    await once(client, 'close');
    expect(performance.now() - started).toBeLessThan(15_000);
  });
});

describe('what the fast path does not recognise', () => {
  it.each([
    ['a chunked body of 3 MB', (body: string) => `POST /echo/general HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`],
    ['TE', () => get('/echo/general', 'TE: trailers\r\n')],
    ['a head in two pieces', () => `GET /echo/general HTTP/1.1\r\n${HOST}X-Long: ${'a'.repeat(60)}\r\n\r\n`],
  ])('goes to the general path in mid-connection, octets untouched: %s', async (what, octets) => {
    const body = 'x1'.repeat(1_500_000);
    const client = await openTls(pki, gateway.port, { client: pki.patient });
    await exchange(client, get('/echo/before'), (text) => text.endsWith('/echo/before'));
    const before = await left();
    const whole = octets(body);
    let all: Promise<string>;
    if (what.includes('pieces')) {
      all = exchange(client, whole.slice(0, 40), (text) => text.endsWith('/echo/after'));
      await expect.poll(left).toBe(before + 1);
      client.write(whole.slice(40) + get('/echo/after'));
    } else all = exchange(client, whole + get('/echo/after'), (text) => text.endsWith('/echo/after'));
    expect(statuses(await all)).toEqual(['200', '200']);
    expect(await left()).toBe(before + 1);
    if (what.includes('chunked')) {
      const sent = upstream.received().find((text) => text.includes('POST /echo/general')) ?? '';
      const from = sent.indexOf('\r\n\r\n', sent.indexOf('POST /echo/general')) + 4;
      expect(unchunked(sent.slice(from)) === body).toBe(true);
    }
    client.destroy();
  });
});

function unchunked(octets: string): string {
  let body = '';
  for (let at = 0; ;) {
    const line = octets.indexOf('\r\n', at);
    const size = Number.parseInt(octets.slice(at, line), 16);
    if (!(size > 0)) return body;
    body += octets.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
  }
}

function slowly(octets: string): (socket: TLSSocket, then: () => void) => void {
  return (socket, then) => {
    let at = 0;
    const next = (): void => {
      if (at === octets.length) then();
      else socket.write(octets.charAt(at++), () => setImmediate(next));
    };
    next();
  };
}
