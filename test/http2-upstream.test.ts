import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants, sensitiveHeaders, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { resetStream } from '../src/forward/http2/reset.ts';
import { sensitiveOf } from '../src/forward/http2/sensitive.ts';
import { startBackend } from './support/backend.ts';
import { ask, configuration, startGateway, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2, replyOf } from './support/http2.ts';
import { echo, http2Upstream, startHttp2Backend, type Http2Backend } from './support/http2-backend.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Http2Backend;
let gateway: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  backend = await startHttp2Backend(pki, (stream, headers) => {
    if (headers[':path'] === '/echo/trailers') {
      stream.respond({ ':status': 200, 'content-type': 'text/plain' }, { waitForTrailers: true });
      stream.once('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'abc', 'x-client-id': 'forged' }));
      return void stream.end('hello');
    }
    if (headers[':path'] === '/echo/fields') {
      stream.respond({ ':status': 200, 'set-cookie': ['a=1', 'b=2'], 'strict-transport-security': 'max-age=1', 'content-length': '5' });
      return void stream.end('hello');
    }
    if (headers[':path'] === '/echo/reset') {
      stream.respond({ ':status': 200 });
      stream.write('half', () => resetStream(stream, constants.NGHTTP2_NO_ERROR));
      return;
    }
    if (headers[':path'] === '/echo/reset-sized') {
      stream.respond({ ':status': 200, 'content-length': '8' });
      stream.write('half', () => resetStream(stream, constants.NGHTTP2_NO_ERROR));
      return;
    }
    if (headers[':path'] === '/echo/reset-error') {
      stream.respond({ ':status': 200 });
      stream.write('half', () => resetStream(stream, constants.NGHTTP2_ENHANCE_YOUR_CALM));
      return;
    }
    if (headers[':path'] === '/echo/reset-at-once') {
      stream.respond({ ':status': 200 });
      return resetStream(stream, constants.NGHTTP2_INTERNAL_ERROR);
    }
    if (headers[':path'] === '/echo/early') {
      stream.respond({ ':status': 413 });
      stream.end('too large', () => stream.close(constants.NGHTTP2_NO_ERROR));
      return;
    }
    if (headers[':path'] === '/echo/after-trailers') {
      // No body, and an end that comes with the head.
      stream.on('trailers', (fields: IncomingHttpHeaders) => stream.respond({ ':status': 200, 'x-heard': fields['x-sum'] ?? '' }, { endStream: true }));
      return void stream.resume();
    }
    if (headers[':path'] === '/echo/before-trailers') {
      stream.respond({ ':status': 200 }, { endStream: true });
      return void stream.resume();
    }
    if (headers[':path'] === '/echo/x' && headers[':method'] === 'GET') {
      stream.respond({ ':status': 200 });
      return void stream.end('hello');
    }
    echo(stream);
  });
  gateway = await startGateway(pki, 0, { upstreams: http2Upstream(backend.port) });
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

/** Puts the gateway in front of another upstream until the end of the test. */
async function putBefore(port: number, more = ''): Promise<void> {
  const reload = async (upstreams: string): Promise<void> => {
    await gateway.configure(configuration(0, { upstreams }));
    await gateway.gateway.reload();
  };
  onTestFinished(() => reload(http2Upstream(backend.port)));
  await reload(http2Upstream(port, more));
}

const digest = (octets: Buffer): string => createHash('sha256').update(octets).digest('hex');

/** A request with a body and a trailer, from a client that waits for its answer. */
async function askWithTrailers(path: string): Promise<{ status: number; heard: unknown }> {
  const session = await openHttp2(pki, gateway.port, { client: pki.patient });
  const stream = session.request({ ':method': 'POST', ':path': path, ':authority': 'localhost', trailer: 'x-sum' }, { waitForTrailers: true });
  stream.once('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'abc' }));
  stream.end('hello');
  const { status, headers } = await replyOf(stream);
  session.destroy();
  return { status, heard: headers['x-heard'] };
}

function trailedByHttp1(path: string): Promise<{ status: number; heard: unknown }> {
  return new Promise((done, failed) => {
    const request = httpsRequest({
      host: '127.0.0.1', port: gateway.port, path, method: 'POST', servername: 'localhost', agent: false, ca: pki.root.certificate, cert: pki.patient.chain, key: pki.patient.key,
      headers: { host: 'localhost', trailer: 'x-sum', 'transfer-encoding': 'chunked' },
    }, (response) => {
      response.on('error', failed);
      response.on('end', () => done({ status: response.statusCode ?? 0, heard: response.headers['x-heard'] }));
      response.resume();
    });
    request.on('error', failed);
    request.addTrailers({ 'x-sum': 'abc' });
    request.end('hello');
  });
}

describe('an upstream that speaks HTTP/2', () => {
  it('gets requests of HTTP/2 clients over one connection a thread, with our identity and no field of HTTP/1.1', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const before = backend.sessions.length;
    const replies = await Promise.all(Array.from({ length: 50 }, () => askHttp2(session, '/echo/x?y=1', { method: 'POST', headers: { 'x-client-role': 'doctor', te: 'trailers' }, body: 'hello' })));
    expect(replies.map(({ status, body }) => `${status} ${body}`)).toEqual(Array.from({ length: 50 }, () => '200 hello'));
    expect(backend.sessions.length - before).toBeLessThanOrEqual(1);
    expect(backend.seen.at(-1)?.headers).toMatchObject({ ':method': 'POST', ':path': '/echo/x?y=1', ':authority': 'localhost', ':scheme': 'https', 'x-client-role': 'patient', 'x-forwarded-proto': 'https', te: 'trailers' });
    expect(Object.keys(backend.seen.at(-1)?.headers ?? {}).filter((name) => ['host', 'connection', 'transfer-encoding'].includes(name))).toEqual([]);
    session.destroy();
  });

  it('gets requests of HTTP/1.1 clients', async () => {
    const body = randomBytes(3_000_000);
    const reply = await ask(pki, gateway.port, '/echo/upload?z', { client: pki.patient, method: 'POST', body });
    expect([reply.status, digest(reply.body)]).toEqual([200, digest(body)]);
    const sized = await ask(pki, gateway.port, '/echo/upload', { client: pki.patient, method: 'PUT', headers: { 'content-length': '4', connection: 'close, x-own', 'x-own': 'dropped' }, body: 'four' });
    expect(sized.body.toString()).toBe('four');
    expect(backend.seen.at(-1)?.headers).toMatchObject({ 'content-length': '4', 'x-client-role': 'patient' });
    expect(backend.seen.at(-1)?.headers).not.toHaveProperty('x-own');
    expect((await ask(pki, gateway.port, '/echo/x', { client: pki.patient })).body.toString()).toBe('hello');
  });

  it('has its trailers and repeated fields passed on, to clients of either version', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const reply = await askHttp2(session, '/echo/trailers');
    expect([reply.status, reply.body.toString(), { ...reply.trailers }]).toMatchObject([200, 'hello', { 'x-sum': 'abc' }]);
    expect(reply.trailers).not.toHaveProperty('x-client-id');
    for (const { headers } of [await askHttp2(session, '/echo/fields'), await ask(pki, gateway.port, '/echo/fields', { client: pki.patient })]) {
      expect(headers['set-cookie']).toEqual(['a=1', 'b=2']);
      expect(headers['strict-transport-security']).toBe('max-age=31536000; includeSubDomains; preload');
    }
    session.destroy();
  });

  it('and its clients have fields that neither wants in a compression table passed on like that (RFC 7541 section 7.1.3)', async () => {
    const other = await startHttp2Backend(pki, (stream) => {
      stream.respond({ ':status': 200, 'x-secret': 'answer', [sensitiveHeaders]: ['x-secret'] } as never);
      stream.end();
    });
    await putBefore(other.port);
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const { headers } = await askHttp2(session, '/echo/x', { headers: { authorization: 'Bearer x', [sensitiveHeaders]: ['authorization'] } as never });
    expect(sensitiveOf(other.seen[0]?.headers ?? {})).toEqual(['authorization']);
    expect(sensitiveOf(headers)).toEqual(['x-secret']);
    session.destroy();
    await other.close();
  });

  it.each([['HTTP/2', '/echo/after-trailers'], ['HTTP/1.1', '/echo/after-trailers'], ['HTTP/2', '/echo/before-trailers'], ['HTTP/1.1', '/echo/before-trailers']])('that ends its answer with the head, to a request with trailers over %s, is heard: %s', async (version, path) => {
    for (let time = 0; time < 10; time++) {
      const heard = version === 'HTTP/2' ? await askWithTrailers(path) : await trailedByHttp1(path);
      expect(heard).toEqual({ status: 200, heard: path === '/echo/after-trailers' ? 'abc' : undefined });
    }
    await expect.poll(async () => (await gateway.records()).filter((record) => record['path'] === path && record['result'] === 'permitted').length).toBeGreaterThanOrEqual(10);
  });

  it.each(['HTTP/2', 'HTTP/1.1'])('that resets an answer along with its head has not answered: a client over %s does not wait for the rest', async (version) => {
    for (let time = 0; time < 10; time++) {
      const session = await openHttp2(pki, gateway.port, { client: pki.patient });
      const answered = version === 'HTTP/2' ? askHttp2(session, '/echo/reset-at-once').then(({ status, code }) => status === 502 || code !== 0, () => true)
        : ask(pki, gateway.port, '/echo/reset-at-once', { client: pki.patient }).then(({ status }) => status === 502, () => true);
      expect(await answered).toBe(true);
      session.destroy();
    }
  });

  it('streams 8 MiB both ways on eight streams at once, unchanged', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    await Promise.all(Array.from({ length: 8 }, async () => {
      const body = randomBytes(8 * 1024 * 1024);
      const reply = await askHttp2(session, '/echo/upload', { method: 'POST', body });
      expect([reply.status, digest(reply.body)]).toEqual([200, digest(body)]);
    }));
    session.destroy();
  });

  it('that resets an answer in the middle never makes half of it look whole', async () => {
    for (const [rule, path, code] of [
      ['', '/echo/reset-sized', constants.NGHTTP2_INTERNAL_ERROR], ['', '/echo/reset-error', constants.NGHTTP2_ENHANCE_YOUR_CALM], ['\n    unframed: refuse', '/echo/reset', constants.NGHTTP2_INTERNAL_ERROR],
    ] as const) {
      if (rule !== '') await putBefore(backend.port, rule);
      const session = await openHttp2(pki, gateway.port, { client: pki.patient });
      expect((await askHttp2(session, path)).code).toBe(code);
      await expect(ask(pki, gateway.port, path, { client: pki.patient })).rejects.toThrow();
      await expect.poll(async () => (await gateway.records()).filter((record) => record['path'] === path)).toMatchObject([{ result: 'failed', reason: 'upstream_unavailable' }, { result: 'failed', reason: 'upstream_unavailable' }]);
      session.destroy();
    }
  });

  it('that ends an answer by a reset without an error, as Node\'s servers do, has sent all of it', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    expect(await askHttp2(session, '/echo/reset')).toMatchObject({ status: 200, code: 0, body: Buffer.from('half') });
    expect((await ask(pki, gateway.port, '/echo/reset', { client: pki.patient })).body.toString()).toBe('half');
    session.destroy();
  });

  it('that answers before it has read the request is heard', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const stream = session.request({ ':method': 'POST', ':path': '/echo/early', ':authority': 'localhost' });
    stream.write(Buffer.alloc(100_000));
    const reply = await replyOf(stream);
    expect([reply.status, reply.body.toString(), reply.code]).toEqual([413, 'too large', 0]);
    session.destroy();
  });

  it('hears that the client has left, and keeps its connection', async () => {
    let upstreamStream: ServerHttp2Stream | undefined;
    const other = await startHttp2Backend(pki, (stream) => {
      upstreamStream = stream;
      stream.respond({ ':status': 200 });
      stream.write('begin');
      stream.resume();
    });
    await putBefore(other.port);
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const stream = session.request({ ':path': '/echo/x', ':authority': 'localhost' });
    await once(stream, 'data');
    const closed = once(upstreamStream as ServerHttp2Stream, 'close');
    stream.close(constants.NGHTTP2_CANCEL);
    await closed;
    expect(upstreamStream?.rstCode).toBe(constants.NGHTTP2_CANCEL);
    expect(other.sessions[0]?.destroyed).toBe(false);
    session.destroy();
    await other.close();
  });

  it('never gets a body that was cut as a whole one', async () => {
    let ended = 0;
    const codes: number[] = [];
    const other = await startHttp2Backend(pki, (stream) => {
      stream.on('data', () => undefined);
      stream.on('end', () => {
        if (!stream.aborted) ended += 1;
      });
      stream.on('close', () => codes.push(stream.rstCode));
    });
    await putBefore(other.port);
    for (const code of [constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR]) {
      const session = await openHttp2(pki, gateway.port, { client: pki.patient });
      const stream = session.request({ ':method': 'POST', ':path': '/echo/x', ':authority': 'localhost' });
      stream.on('error', () => undefined);
      stream.write('half a body');
      await expect.poll(() => other.seen.length).toBe(codes.length + 1);
      resetStream(stream, code);
      const before = codes.length;
      await expect.poll(() => codes.length).toBe(before + 1);
      session.destroy();
    }
    expect([ended, codes]).toEqual([0, [constants.NGHTTP2_CANCEL, constants.NGHTTP2_CANCEL]]);
    await other.close();
  });
});

describe('connections to upstreams that speak HTTP/2', () => {
  it('are as many as the streams that each allows ask for', async () => {
    const waiting: ServerHttp2Stream[] = [];
    const other = await startHttp2Backend(pki, (stream, headers) => {
      if (headers[':path'] === '/echo/first') return void (stream.respond({ ':status': 200 }), stream.end());
      waiting.push(stream);
    }, { settings: { maxConcurrentStreams: 2 } });
    await putBefore(other.port);
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    // The limit is known only once a connection has said so.
    await askHttp2(session, '/echo/first');
    const replies = Promise.all(Array.from({ length: 6 }, () => askHttp2(session, '/echo/x')));
    await expect.poll(() => waiting.length).toBe(6);
    expect(other.sessions.length).toBeGreaterThanOrEqual(3);
    for (const stream of waiting) {
      stream.respond({ ':status': 200 });
      stream.end('hello');
    }
    expect((await replies).every(({ status }) => status === 200)).toBe(true);
    session.destroy();
    await other.close();
  });

  it('are replaced when the upstream says GOAWAY, and no request is lost', async () => {
    const other = await startHttp2Backend(pki, (stream) => {
      stream.respond({ ':status': 200 });
      stream.end('hello');
    });
    await putBefore(other.port);
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    for (let round = 0; round < 20; round++) {
      const replies = Array.from({ length: 10 }, () => askHttp2(session, '/echo/x'));
      if (round % 4 === 3) for (const one of other.sessions) if (!one.closed) one.close();
      for (const reply of await Promise.all(replies)) expect(reply.status).toBe(200);
    }
    expect(other.sessions.length).toBeGreaterThan(3);
    session.destroy();
    await other.close();
  });

  it('have requests that the upstream refused to process sent again, whatever their method', async () => {
    let refused = 0;
    const other = await startHttp2Backend(pki, (stream) => {
      if (refused++ === 0) return stream.close(constants.NGHTTP2_REFUSED_STREAM);
      stream.respond({ ':status': 200 });
      stream.end('hello');
    });
    await putBefore(other.port);
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    expect((await askHttp2(session, '/echo/x', { method: 'POST' })).status).toBe(200);
    expect(refused).toBe(2);
    session.destroy();
    await other.close();
  });

  it('have no request sent again that the upstream may have processed', async () => {
    let asked = 0;
    const other = await startHttp2Backend(pki, (stream) => {
      asked += 1;
      stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    });
    await putBefore(other.port);
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    expect((await askHttp2(session, '/echo/x', { method: 'POST' })).json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
    expect(asked).toBe(1);
    session.destroy();
    await other.close();
  });

  it('are not made to what does not speak HTTP/2', async () => {
    const http1 = await startBackend(pki);
    await putBefore(http1.port);
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    expect((await askHttp2(session, '/echo/http1')).json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
    expect((await gateway.records()).find((record) => record['path'] === '/echo/http1')?.['detail']).toMatch(/ALPN|NO_APPLICATION_PROTOCOL/i);
    expect(http1.seen).toHaveLength(0);
    session.destroy();
    await http1.close();
  });

  it('that are silent end the request with 504, those that cannot be made with 502', async () => {
    const other = await startHttp2Backend(pki, () => undefined);
    await putBefore(other.port, '\n    timeouts: { response: 1s, connect: 1s }');
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    expect((await askHttp2(session, '/echo/x')).json()).toMatchObject({ status: 504, code: 'upstream_timeout' });
    expect((await ask(pki, gateway.port, '/echo/x', { client: pki.patient })).json()).toMatchObject({ status: 504, code: 'upstream_timeout' });
    await other.close();
    expect((await askHttp2(session, '/echo/x')).json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
    session.destroy();
  });

  it('are closed when a reload takes their upstream away', async () => {
    const other = await startHttp2Backend(pki, echo);
    await putBefore(other.port);
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    await askHttp2(session, '/echo/x', { method: 'POST', body: 'x' });
    const [first] = other.sessions;
    const closed = once(first as NonNullable<typeof first>, 'close');
    await putBefore(other.port, '\n    timeouts: { response: 9s }');
    await closed;
    session.destroy();
    await other.close();
  });
});
