import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startRawBackend, type RawBackend } from './support/backend.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { block, ERROR, FLAG, frame, openFrames, request, TYPE, uint32, type Fields } from './support/h2.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { http2Upstream, startHttp2Backend, type Http2Backend } from './support/http2-backend.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: RawBackend;
let http2Backend: Http2Backend;
let gateway: TestGateway;
/** In front of an upstream that speaks HTTP/2. */
let http2Gateway: TestGateway;
/** What became of requests at the upstream that speaks HTTP/2. */
const ends: string[] = [];
/** Trailers that it got. */
const trailers: (readonly string[])[] = [];
/** Connections of the other one that were cut. */
const cut = new Set<string>();
const answered = new WeakSet<TLSSocket>();

const LIMITS = '    limits: { header_time: 1s, request_time: 2s, min_rate: { per_second: 256B, grace: 2s } }\n';

beforeAll(async () => {
  pki = await testPki();
  backend = await startRawBackend(pki, (socket, text) => {
    const path = /^(?:GET|POST) (\S+)/m.exec(text)?.[1] ?? '';
    if (answered.has(socket)) return;
    if (path === '/echo/half' && !text.includes('half')) return;
    answered.add(socket);
    socket.once('close', () => cut.add(path));
    switch (path) {
      case '/echo/205': return void socket.write('HTTP/1.1 205 Reset Content\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n');
      case '/echo/half': return void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
      case '/echo/trailers': return void socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nconstructor: mine\r\nx-t: 1\r\nx-t: 2\r\n\r\n');
      case '/echo/unusual': return void socket.write('HTTP/1.1 200 OK\r\ntrailer: x-a\r\ncontent-length: 10\r\n\r\nhello');
      case '/echo/interim': return drip(socket, 'HTTP/1.1 103 Early Hints\r\n\r\n');
      case '/echo/drip':
        socket.write('HTTP/1.1 200 OK\r\nx-a: ');
        return drip(socket, 'a');
    }
  });
  http2Backend = await startHttp2Backend(pki, (stream, headers) => {
    let early = headers[':path'] === '/echo/half';
    stream.on('data', () => {
      if (!early) return;
      early = false;
      stream.respond({ ':status': 200 });
      stream.end('ok');
    });
    stream.on('trailers', (_headers, _flags, raw) => trailers.push(raw as unknown as string[]));
    stream.on('end', () => {
      if (!stream.closed) ends.push('ended');
      if (stream.headersSent || stream.closed) return;
      stream.respond({ ':status': 200 });
      stream.end('ok');
    });
    stream.on('close', () => ends.push(`closed ${stream.rstCode}`));
  });
  const records = `
  records:
    endpoints: ["https://127.0.0.1:${backend.port}"]
    timeouts: { response: 2s, idle: 2s }
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }`;
  gateway = await startGateway(pki, backend.port, { threads: 1, upstreams: records, listenerExtra: LIMITS });
  http2Gateway = await startGateway(pki, http2Backend.port, { threads: 1, upstreams: http2Upstream(http2Backend.port) });
});

afterAll(async () => {
  await Promise.all([gateway.stop(), http2Gateway.stop()]);
  await Promise.all([backend.close(), http2Backend.close()]);
});

function drip(socket: TLSSocket, octets: string): void {
  socket.write(octets);
  const timer = setInterval(() => void socket.write(octets), 500);
  socket.once('close', () => clearInterval(timer));
}

async function recordOf(path: string): Promise<Record<string, unknown> | undefined> {
  return (await gateway.records()).find((record) => record['path'] === path);
}

describe('the record', () => {
  it('comes before a 205, whose stream Node would end along with its head', async () => {
    const raw = await openFrames(pki, gateway.port, pki.patient);
    raw.headers(1, request('/echo/205'));
    const first = await raw.wait(({ stream, type }) => stream === 1 && (type === TYPE.headers || type === TYPE.rstStream));
    expect(first?.type).toBe(TYPE.rstStream);
    await expect.poll(() => recordOf('/echo/205')).toMatchObject({ result: 'failed', reason: 'upstream_timeout' });
    raw.destroy();
  });
});

describe('half a request body, after the upstream\'s early answer', () => {
  it.each([
    ['waits', undefined], ['resets without an error', ERROR.none], ['resets', ERROR.cancel],
  ])('never ends cleanly at an upstream when the client %s', async (_what, code) => {
    for (const port of [gateway.port, http2Gateway.port]) {
      cut.clear();
      ends.length = 0;
      const raw = await openFrames(pki, port, pki.patient);
      raw.write(frame(TYPE.headers, FLAG.endHeaders, 1, block(request('/echo/half', [], 'POST'))), frame(TYPE.data, 0, 1, Buffer.from('half of it')));
      await raw.wait(({ type, flags }) => type === TYPE.data && (flags & FLAG.endStream) !== 0);
      if (code !== undefined) raw.send(TYPE.rstStream, 0, 1, uint32(code));
      if (port === gateway.port) {
        await expect.poll(() => cut.has('/echo/half')).toBe(true);
        expect(backend.received().at(-1)?.split('\r\n\r\n')[1]).toBe('a\r\nhalf of it\r\n');
      } else {
        await expect.poll(() => ends.length).toBeGreaterThan(0);
        expect(ends).toEqual([`closed ${ERROR.cancel}`]);
      }
      raw.destroy();
    }
  });
});

describe('the label of gRPC', () => {
  it.each([
    ['GET', false], ['POST', true],
  ])('lifts no limit of time from a %s to an upstream that speaks HTTP/1.1', async (method, slow) => {
    const label: Fields = [['content-type', 'application/grpc'], ['te', 'trailers'], ['grpc-timeout', '9999H']];
    const raw = await openFrames(pki, gateway.port, pki.patient);
    raw.headers(1, request('/echo/silent', label, method), FLAG.endHeaders | (slow ? 0 : FLAG.endStream));
    const timer = setInterval(() => slow && raw.send(TYPE.data, 0, 1, Buffer.from('x')), 500);
    expect(await raw.wait(({ stream }) => stream === 1)).toBeDefined();
    clearInterval(timer);
    raw.destroy();
  });

  it('lifts none from a request to an upstream that speaks HTTP/2 without what else makes a call', async () => {
    const other = await startGateway(pki, http2Backend.port, { threads: 1, upstreams: http2Upstream(http2Backend.port), listenerExtra: LIMITS });
    const raw = await openFrames(pki, other.port, pki.patient);
    raw.headers(1, request('/echo/silent', [['content-type', 'application/grpc']], 'POST'), FLAG.endHeaders);
    expect(await raw.status(1)).toBe(408);
    raw.destroy();
    await other.stop();
  });
});

describe('trailers', () => {
  it('may be called like what every object has, and come more than once, in answers', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const reply = await askHttp2(session, '/echo/trailers');
    expect([reply.code, reply.trailers?.['constructor'], reply.trailers?.['x-t']]).toEqual([0, 'mine', '1, 2']);
    session.destroy();
  });

  it('come more than once in requests to upstreams that speak HTTP/2, but none that repeats a field of the head', async () => {
    const raw = await openFrames(pki, http2Gateway.port, pki.patient);
    raw.write(
      frame(TYPE.headers, FLAG.endHeaders, 1, block(request('/echo/x', [['trailer', 'x-ok'], ['x-patient', '1001']], 'POST'))), frame(TYPE.data, 0, 1, Buffer.from('body')),
      // What a route has judged by in the head: a server that takes trailers for fields would read another.
      frame(TYPE.headers, FLAG.endHeaders | FLAG.endStream, 1, block([['x-patient', '1002'], ['x_patient', '1002'], ['constructor', 'a'], ['__proto__', 'b'], ['x-ok', 'a'], ['x-ok', 'b'], ['etag', '"a"'], ['etag', '"b"']])),
    );
    expect(await raw.wait(({ stream, type }) => stream === 1 && type === TYPE.headers)).toBeDefined();
    expect(trailers.at(-1)).toEqual(['constructor', 'a', '__proto__', 'b', 'x-ok', 'a', 'x-ok', 'b', 'etag', '"a"', 'etag', '"b"']);
    raw.destroy();
  });
});

describe('an upstream that is waited for', () => {
  it.each(['interim', 'drip'])('is late when the head of its answer never comes to an end (%s)', async (path) => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    expect((await askHttp2(session, `/echo/${path}`)).status).toBe(504);
    await expect.poll(() => recordOf(`/echo/${path}`)).toMatchObject({ result: 'failed', reason: 'upstream_timeout' });
    session.destroy();
  });

  it('is late when the body of an answer of an unusual shape stands still', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const stream = session.request({ ':path': '/echo/unusual', ':authority': 'localhost' });
    stream.on('error', () => undefined).resume();
    await new Promise((done) => stream.once('close', done));
    expect(stream.rstCode).not.toBe(0);
    await expect.poll(() => recordOf('/echo/unusual')).toMatchObject({ result: 'failed', status: 200, reason: 'upstream_timeout' });
    session.destroy();
  });
});
