import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants, type ClientHttp2Session } from 'node:http2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resetStream } from '../src/forward/http2/reset.ts';
import { startBackend, startRawBackend, type Backend } from './support/backend.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { FLAG, openFrames, request, SETTING, settings, TYPE, uint32, type Fields } from './support/h2.ts';
import { askHttp2, openHttp2, replyOf } from './support/http2.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let session: ClientHttp2Session;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (asked, response, body) => {
    if (asked.url === '/echo/headers') {
      response.setHeader('connection', 'x-hop');
      response.setHeader('x-hop', 'internal');
      response.setHeader('X-Mixed-Case', 'kept');
      response.setHeader('strict-transport-security', 'max-age=1');
      response.setHeader('set-cookie', ['a=1', 'b=2']);
    }
    if (asked.url === '/echo/trailers') {
      response.writeHead(200, { trailer: 'x-sum' });
      response.addTrailers({ 'x-sum': 'abc', 'x-client-role': 'doctor', 'content-type': 'text/evil' });
    }
    if (asked.url === '/echo/sized') return void response.end(Buffer.alloc(5_000, 1));
    if (asked.url === '/echo/nothing') return void response.writeHead(204).end();
    if (asked.url === '/echo/reset-form') return void response.writeHead(205, { 'content-length': '5' }).end('hello');
    if (asked.url === '/echo/unchanged') return void response.writeHead(304, { 'content-length': '5' }).end();
    response.end(body.length > 0 ? body : 'hello');
  });
  gateway = await startGateway(pki, backend.port);
  session = await openHttp2(pki, gateway.port, { client: pki.patient });
});

afterAll(async () => {
  session.destroy();
  await gateway.stop();
  await backend.close();
});

describe('a request by HTTP/2', () => {
  it('is chosen by ALPN, decided and forwarded with our identity', async () => {
    expect(session.alpnProtocol).toBe('h2');
    const reply = await askHttp2(session, '/echo/x?y=1');
    expect([reply.status, reply.body.toString(), reply.code]).toEqual([200, 'hello', 0]);
    const seen = backend.seen.at(-1);
    expect(seen).toMatchObject({ method: 'GET', url: '/echo/x?y=1', headers: { host: 'localhost', 'x-client-role': 'patient', 'x-client-id': 'urn:patient:1001', 'x-forwarded-proto': 'https' } });
    expect(seen?.headers['x-request-id']).toBe(reply.headers['x-request-id']);
    expect(reply.headers['strict-transport-security']).toBe('max-age=31536000; includeSubDomains; preload');
    const records = await gateway.records();
    expect(records.find((record) => record['request_id'] === reply.headers['x-request-id'])).toMatchObject({ result: 'permitted', route: 'echo', role: 'patient', status: 200, bytes_out: 5, host: 'localhost' });
  });

  it('with an empty body is forwarded although its body ends before the upstream\'s connection is open', async () => {
    const fresh = await startGateway(pki, backend.port, { threads: 1 });
    const first = await openHttp2(pki, fresh.port, { client: pki.patient });
    expect((await askHttp2(first, '/echo/x', { method: 'POST', body: '' })).status).toBe(200);
    first.destroy();
    await fresh.stop();
  });

  it('has its record on file before its answer ends', async () => {
    for (let round = 0; round < 20; round++) {
      const reply = await askHttp2(session, '/echo/x', { method: 'POST', body: 'x'.repeat(round) });
      const records = await gateway.records();
      expect(records.some((record) => record['request_id'] === reply.headers['x-request-id'])).toBe(true);
    }
  });

  it('shows the upstream nothing that the client says of itself, in any spelling (TRAPS 10)', async () => {
    await askHttp2(session, '/echo/x', { headers: {
      'client-cert': ':Zm9yZ2Vk:', client_cert: 'x', 'x-client-role': 'doctor', x_client_role: 'doctor', 'x-client.role': 'doctor', 'x-forwarded-for': '1.2.3.4', forwarded: 'for=1.2.3.4',
      'x-request-id': 'mine', 'x-original-url': '/records', 'x-kept': 'kept',
    } });
    const headers = backend.seen.at(-1)?.headers ?? {};
    expect(headers).toMatchObject({ 'x-client-role': 'patient', 'x-forwarded-for': '127.0.0.1', 'x-kept': 'kept' });
    expect(Object.keys(headers).filter((name) => /_|\.|forwarded$|original|^:/.test(name))).toEqual([]);
    expect(headers['client-cert']).not.toContain('Zm9yZ2Vk');
    expect(headers['x-request-id']).not.toBe('mine');
  });

  it('joins cookie crumbs into one field (RFC 9113 section 8.2.3)', async () => {
    await askHttp2(session, '/echo/x', { headers: { cookie: ['a=1', 'b=2', 'c=3'] } });
    expect(backend.seen.at(-1)?.headers['cookie']).toBe('a=1; b=2; c=3');
  });

  it('gets the answer\'s fields in lower case, hop-by-hop ones and the upstream\'s HSTS dropped, several of a name kept', async () => {
    const { headers } = await askHttp2(session, '/echo/headers');
    expect(headers).toMatchObject({ 'x-mixed-case': 'kept', 'set-cookie': ['a=1', 'b=2'], 'strict-transport-security': 'max-age=31536000; includeSubDomains; preload' });
    expect(headers).not.toHaveProperty('x-hop');
    expect(headers).not.toHaveProperty('connection');
  });

  it('has its answer ended by END_STREAM, however slowly it is read', async () => {
    const raw = await openFrames(pki, gateway.port, undefined, settings([SETTING.headerTableSize, 0], [SETTING.initialWindowSize, 100]));
    raw.headers(1, request('/echo/sized'));
    const received = (): number => raw.frames.reduce((sum, { type, payload }) => sum + (type === TYPE.data ? payload.length : 0), 0);
    for (let octets = 100; octets <= 5_000; octets += 100) {
      await raw.wait(() => received() >= octets);
      raw.send(TYPE.windowUpdate, 0, 1, uint32(100));
    }
    const last = await raw.wait(({ flags, type }) => type === TYPE.rstStream || (type === TYPE.data && (flags & FLAG.endStream) !== 0));
    expect([last?.type, received()]).toEqual([TYPE.data, 5_000]);
    raw.destroy();
  });

  it('is answered with 205 without content and without a length that promises some (RFC 9110 section 15.3.6)', async () => {
    const { status, headers, body, code } = await askHttp2(session, '/echo/reset-form');
    expect([status, headers['content-length'], body.length, code]).toEqual([205, '0', 0, 0]);
  });

  it('gets trailers, but none that could pass for a field of ours', async () => {
    const reply = await askHttp2(session, '/echo/trailers');
    expect(reply.trailers).toEqual(expect.objectContaining({ 'x-sum': 'abc' }));
    expect(Object.keys(reply.trailers ?? {})).toEqual(['x-sum']);
  });

  it.each([
    ['HEAD', '/echo/x', 200], ['GET', '/echo/nothing', 204], ['GET', '/echo/unchanged', 304],
  ])('%s %s ends without a body', async (method, path, status) => {
    const reply = await askHttp2(session, path, { method });
    expect([reply.status, reply.body.length, reply.code]).toEqual([status, 0, 0]);
  });

  it('carries bodies of every framing', async () => {
    for (const [method, body] of [['POST', 'with a body'], ['PUT', ''], ['DELETE', 'with a body'], ['PATCH', 'x']] as const) {
      const reply = await askHttp2(session, '/echo/x', { method, body });
      expect([reply.status, reply.body.toString()]).toEqual([200, body === '' ? 'hello' : body]);
      expect(backend.seen.at(-1)?.body.toString()).toBe(body);
    }
    const sized = await askHttp2(session, '/echo/x', { method: 'POST', headers: { 'content-length': '4' }, body: 'four' });
    expect(sized.status).toBe(200);
    expect(backend.seen.at(-1)?.headers).toMatchObject({ 'content-length': '4' });
    await askHttp2(session, '/echo/x', { method: 'POST' });
    expect(backend.seen.at(-1)?.headers).toMatchObject({ 'content-length': '0' });
    expect(backend.seen.at(-1)?.headers).not.toHaveProperty('transfer-encoding');
  });

  it('streams 8 MiB up and down unchanged, on eight streams at once', async () => {
    const digest = (octets: Buffer): string => createHash('sha256').update(octets).digest('hex');
    await Promise.all(Array.from({ length: 8 }, async () => {
      const body = randomBytes(8 * 1024 * 1024);
      const reply = await askHttp2(session, '/echo/x', { method: 'POST', body });
      expect([reply.status, digest(reply.body)]).toEqual([200, digest(body)]);
    }));
  });

  it('is asked for its body only after it was authorized', async () => {
    const stream = session.request({ ':method': 'POST', ':path': '/echo/x', ':authority': 'localhost', expect: '100-continue' });
    await once(stream, 'continue');
    stream.end('hello');
    expect((await replyOf(stream)).body.toString()).toBe('hello');
    const refused = await askHttp2(session, '/records', { method: 'POST', headers: { expect: '100-continue' } });
    expect(refused.status).toBe(404);
  });
});

describe('a denial by HTTP/2', () => {
  it.each([
    ['a path that no route has', '/nowhere', {}, 404, 'not_found'],
    ['the wrong role', '/records', {}, 403, 'role_denied'],
    ['a dot segment', '/any/../records', {}, 400, 'bad_request'],
    ['an encoded dot segment', '/any/%2e%2e/records', {}, 400, 'bad_request'],
    ['another host than the connection\'s', '/echo/x', { ':authority': 'api.demo.wardgate.test' }, 421, 'misdirected'],
    ['host that differs from :authority', '/echo/x', { host: 'api.demo.wardgate.test' }, 400, 'bad_request'],
    ['another scheme', '/echo/x', { ':scheme': 'http' }, 400, 'bad_request'],
    ['an unknown method', '/echo/x', { ':method': 'FROB' }, 400, 'bad_request'],
    ['a lower-case method', '/echo/x', { ':method': 'get' }, 400, 'bad_request'],
    ['an underscored content_length', '/echo/x', { content_length: '5' }, 400, 'bad_request'],
    ['an unknown expectation', '/echo/x', { expect: '200-maybe' }, 400, 'bad_request'],
  ])('for %s is a problem with its status, and leaves the others alone', async (_what, path, headers, status, code) => {
    const before = backend.seen.length;
    const reply = await askHttp2(session, path, { headers });
    expect(reply.status).toBe(status);
    expect(reply.json()).toMatchObject({ status, code, request_id: reply.headers['x-request-id'] });
    expect(reply.headers['content-type']).toBe('application/problem+json');
    expect(backend.seen.length).toBe(before);
    expect((await gateway.records()).find((record) => record['request_id'] === reply.headers['x-request-id'])).toMatchObject({ result: 'denied', status });
    expect((await askHttp2(session, '/echo/x')).status).toBe(200);
  });

  it('serves no TRACE where no route names it, which would show a client what the gateway says of it', async () => {
    const before = backend.seen.length;
    const reply = await replyOf(session.request({ ':method': 'TRACE', ':path': '/echo/x', ':authority': 'localhost' }));
    expect([reply.status, backend.seen.length]).toEqual([404, before]);
  });

  it('answers a CONNECT with 400', async () => {
    const stream = session.request({ ':method': 'CONNECT', ':authority': 'localhost:443' });
    expect((await replyOf(stream)).status).toBe(400);
  });

  it('of a body does not wait for it, and resets what is still coming without an error', async () => {
    const stream = session.request({ ':method': 'POST', ':path': '/records', ':authority': 'localhost' });
    stream.write(Buffer.alloc(1024));
    const reply = await replyOf(stream);
    expect([reply.status, reply.code]).toEqual([404, 0]);
  });

  it('for a refused certificate is 403, and asks the client to leave', async () => {
    const other = await openHttp2(pki, gateway.port, { client: pki.revokedDoctor });
    const left = once(other, 'goaway');
    const reply = await askHttp2(other, '/echo/x');
    expect(reply.json()).toMatchObject({ status: 403, code: 'certificate_rejected' });
    await left;
    if (!other.closed) await once(other, 'close');
  });

  it('for no certificate is 401 on routes that need one, and public ones are served', async () => {
    const other = await openHttp2(pki, gateway.port);
    expect((await askHttp2(other, '/echo/x')).json()).toMatchObject({ status: 401, code: 'certificate_required' });
    expect((await askHttp2(other, '/public/x')).status).toBe(200);
    other.destroy();
  });

  it('of a body over the route\'s limit comes while it is sent', async () => {
    const limited = await startGateway(pki, backend.port, { routes: `
  - { name: echo, match: { path: /echo/* }, allow: [patient], upstream: records, limits: { body: 64KiB } }` });
    const other = await openHttp2(pki, limited.port, { client: pki.patient });
    expect((await askHttp2(other, '/echo/x', { method: 'POST', headers: { 'content-length': String(1 << 20) }, body: Buffer.alloc(1 << 20) }).catch(() => undefined))?.status ?? 413).toBe(413);
    expect((await askHttp2(other, '/echo/x', { method: 'POST', body: Buffer.alloc(1 << 20) })).status).toBe(413);
    expect((await askHttp2(other, '/echo/x', { method: 'POST', body: Buffer.alloc(65_536) })).status).toBe(200);
    other.destroy();
    await limited.stop();
  });

  it('of a header section over the limit is 431', async () => {
    const reply = await askHttp2(session, '/echo/x', { headers: { 'x-long': 'x'.repeat(17_000) } });
    expect(reply.json()).toMatchObject({ status: 431, code: 'headers_too_large' });
  });
});

describe('one HTTP/2 connection for several names', () => {
  it('is judged under the trust of each name, where it was made for none', async () => {
    const other = await startGateway(pki, backend.port, {
      clientAuth: '{ mode: optional, trust: [root.pem], intermediates: [issuing.pem], names: { api.demo.wardgate.test: { trust: [backend-ca.pem] } } }',
    });
    const raw = await openFrames(pki, other.port, undefined, undefined, { servername: '' });
    const to = (name: string): Fields => request('/echo/x').map(([field, value]) => [field, field === ':authority' ? name : value] as const);
    raw.headers(1, to('localhost'));
    raw.headers(3, to('api.demo.wardgate.test'));
    raw.headers(5, to('localhost'));
    expect([await raw.status(1), await raw.status(3), await raw.status(5)]).toEqual([200, 403, 200]);
    raw.destroy();
    await other.stop();
  });

  it('serves no other name than the one it was made for: what browsers would share is misdirected', async () => {
    const raw = await openFrames(pki, gateway.port);
    raw.headers(1, request('/echo/x').map(([field, value]) => [field, field === ':authority' ? 'api.demo.wardgate.test' : value] as const));
    expect(await raw.status(1)).toBe(421);
    raw.destroy();
  });
});

describe('upstreams that fail under an HTTP/2 request', () => {
  async function through(answer: (socket: import('node:tls').TLSSocket, text: string) => void): Promise<{ reply: Awaited<ReturnType<typeof askHttp2>>; record: Record<string, unknown> | undefined }> {
    const upstream = await startRawBackend(pki, answer);
    const other = await startGateway(pki, upstream.port, { upstreams: `
  records:
    endpoints: ["https://127.0.0.1:${upstream.port}"]
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }
    timeouts: { connect: 1s, response: 1s }` });
    const client = await openHttp2(pki, other.port, { client: pki.doctor });
    const reply = await askHttp2(client, '/records');
    await expect.poll(async () => (await other.records()).some((record) => record['event'] === 'request')).toBe(true);
    const record = (await other.records()).find((one) => one['event'] === 'request');
    client.destroy();
    await other.stop();
    await upstream.close();
    return { reply, record };
  }

  it('that cut a body of known length reset the stream', async () => {
    const { reply, record } = await through((socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', () => socket.destroy()));
    expect([reply.status, reply.code]).toEqual([200, constants.NGHTTP2_INTERNAL_ERROR]);
    expect(record).toMatchObject({ result: 'failed', reason: 'upstream_unavailable' });
  });

  it('that cut a chunked body reset the stream', async () => {
    const { reply } = await through((socket) => void socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', () => socket.destroy()));
    expect(reply.code).toBe(constants.NGHTTP2_INTERNAL_ERROR);
  });

  it('that say nothing are 504', async () => {
    const { reply } = await through(() => undefined);
    expect(reply.json()).toMatchObject({ status: 504, code: 'upstream_timeout' });
  });

  it('that send garbage are 502', async () => {
    const { reply } = await through((socket) => void socket.write('no http at all\r\n\r\n'));
    expect(reply.json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
  });

  it('that switch protocols uninvited are 502', async () => {
    const { reply } = await through((socket) => void socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n'));
    expect(reply.json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
  });
});

describe('a client that leaves', () => {
  it('ends the upstream\'s work, and its record says so', async () => {
    let closed: (() => void) | undefined;
    const cut = new Promise<void>((done) => {
      closed = done;
    });
    const upstream = await startRawBackend(pki, (socket) => {
      socket.once('close', () => closed?.());
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n');
    });
    const other = await startGateway(pki, upstream.port);
    const client = await openHttp2(pki, other.port, { client: pki.patient });
    const stream = client.request({ ':path': '/echo/x', ':authority': 'localhost' });
    await once(stream, 'data');
    stream.close(constants.NGHTTP2_CANCEL);
    await cut;
    await expect.poll(async () => (await other.records()).find((record) => record['path'] === '/echo/x')).toMatchObject({ result: 'failed', detail: 'the client left within the answer' });
    client.destroy();
    await other.stop();
    await upstream.close();
  });

  it('in the middle of its body never makes it look whole to the upstream', async () => {
    let text = '';
    let closed: (() => void) | undefined;
    const cut = new Promise<void>((done) => {
      closed = done;
    });
    const upstream = await startRawBackend(pki, (socket, so_far) => {
      text = so_far;
      socket.once('close', () => closed?.());
    });
    const other = await startGateway(pki, upstream.port);
    for (const code of [constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR]) {
      text = '';
      const client = await openHttp2(pki, other.port, { client: pki.patient });
      const stream = client.request({ ':method': 'POST', ':path': '/echo/x', ':authority': 'localhost' });
      stream.on('error', () => undefined);
      stream.write('half a body');
      await expect.poll(() => text).toContain('half a body');
      resetStream(stream, code);
      await cut;
      expect(text).not.toContain('\r\n0\r\n');
      client.destroy();
    }
    await other.stop();
    await upstream.close();
  });
});
