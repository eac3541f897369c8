import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createHash, randomBytes } from 'node:crypto';
import { startBackend, startRawBackend, type Backend, type RawBackend } from './support/backend.ts';
import { ask, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { issueCertificate, testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request, response, body) => {
    if (request.url?.startsWith('/echo/headers')) {
      response.setHeader('connection', 'x-hop');
      response.setHeader('x-hop', 'internal');
      response.setHeader('strict-transport-security', 'max-age=1');
      response.setHeader('keep-alive', 'timeout=99');
      response.setHeader('set-cookie', ['a=1', 'b=2']);
    }
    response.end(body.length > 0 ? body : 'hello');
  });
  gateway = await startGateway(pki, backend.port);
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

const complete = (text: string): boolean => /\r\n\r\n[\s\S]/.test(text);

/** Sends raw octets as the patient, on a connection of its own, and gives back what came. */
async function raw(octets: string, client = pki.patient): Promise<string> {
  const socket = await openTls(pki, gateway.port, { client });
  const text = await exchange(socket, octets, complete);
  socket.destroy();
  return text;
}

describe('what the upstream sees of the client', () => {
  it('is only what the gateway says, whatever the client claims (TRAPS 10)', async () => {
    const before = backend.seen.length;
    const text = await raw([
      'GET /echo/identity HTTP/1.1', 'Host: localhost', 'Client-Cert: :Zm9yZ2Vk:', 'client_cert: :Zm9yZ2Vk:', 'CLIENT-CERT: x', 'X-Client-Role: doctor',
      'x_client_role: doctor', 'X-Client.Role: doctor', 'X-CLIENT-ID: Dr Evil', 'X-Forwarded-For: 1.2.3.4', 'Forwarded: for=1.2.3.4', 'X-Forwarded-Client-Cert: Hash=00', 'X_Forwarded_Client_Cert: Hash=00',
      'X-Request-Id: mine', 'X-Real-IP: 1.2.3.4', 'X-Original-URL: /records', 'X-HTTP-Method-Override: DELETE', 'Connection: x-client-role, client-cert, x-client-id, x-own', 'X-Own: dropped', 'X-Kept: kept', '', '',
    ].join('\r\n'));
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    const seen = backend.seen.slice(before);
    expect(seen).toHaveLength(1);
    const headers = seen[0]!.headers;
    expect(headers['client-cert']).toBe(`:${pki.patient.der.toString('base64')}:`);
    expect(headers['x-client-role']).toBe('patient');
    expect(headers['x-client-id']).toBe('urn:patient:1001');
    expect(headers['x-forwarded-for']).toBe('127.0.0.1');
    expect(headers['x-forwarded-proto']).toBe('https');
    expect(headers['x-forwarded-host']).toBe('localhost');
    expect(headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
    expect(headers['x-kept']).toBe('kept');
    const names = seen[0]!.rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
    for (const name of ['client_cert', 'x_client_role', 'x-client.role', 'forwarded', 'x-forwarded-client-cert', 'x_forwarded_client_cert', 'x-real-ip', 'x-original-url', 'x-http-method-override', 'x-own']) {
      expect(names).not.toContain(name);
    }
    expect(names.filter((name) => name === 'client-cert')).toHaveLength(1);
    expect(JSON.stringify(seen[0]!.rawHeaders)).not.toMatch(/doctor|Dr Evil|Zm9yZ2Vk|1\.2\.3\.4/);
  });

  it('keeps Host, passes a valid traceparent on, and starts one otherwise', async () => {
    const given = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    await ask(pki, gateway.port, '/echo/x', { client: pki.patient, headers: { traceparent: given } });
    expect(backend.seen.at(-1)?.headers['traceparent']).toBe(given);
    await ask(pki, gateway.port, '/echo/x', { client: pki.patient, headers: { traceparent: 'rubbish' } });
    expect(backend.seen.at(-1)?.headers['traceparent']).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
    expect(backend.seen.at(-1)?.headers['host']).toBe('localhost');
  });

  it('reuses upstream connections although clients close theirs (TRAPS 9)', async () => {
    for (let round = 0; round < 3; round++) {
      const reply = await ask(pki, gateway.port, '/echo/x', { client: pki.patient, headers: { connection: 'close' } });
      expect(reply.status).toBe(200);
      expect(backend.seen.at(-1)?.headers['connection']).not.toBe('close');
    }
  });
});

describe('what the client sees of the upstream', () => {
  it('has no hop-by-hop field, one HSTS, and every Set-Cookie', async () => {
    const reply = await ask(pki, gateway.port, '/echo/headers', { client: pki.patient });
    expect(reply.headers['x-hop']).toBeUndefined();
    expect(reply.headers['keep-alive'] ?? '').not.toContain('99');
    expect(reply.headers['strict-transport-security']).toBe('max-age=31536000; includeSubDomains; preload');
    expect(reply.headers['set-cookie']).toEqual(['a=1', 'b=2']);
  });

  it('is no-store on routes that carry health data', async () => {
    const reply = await ask(pki, gateway.port, '/records', { client: pki.doctor });
    expect(reply.headers['cache-control']).toBe('no-store');
  });
});

describe('paths', () => {
  it.each([
    '/any/../records', '/any/%2e%2e/records', '/any/.%2E/records', '/any/x/..\\..\\records', '//records', '/any//records', '/any/..%2frecords',
    '/any/%5c..%5crecords', '/any/x%00', '/any/..;/records', '/any/;/records', '/any/%252e%252e/records', '/any/x#y', '/./records',
    'http://localhost/records', 'https://localhost/records', 'localhost:443', '*', '/any/%zz', '/any/%ff', '/any/caf\u00e9',
  ])('refuses %s with 400 or 404 and asks the upstream nothing (TRAPS 9)', async (target) => {
    const before = backend.seen.length;
    const text = await raw(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 40[04] /);
    expect(text).toContain('application/problem+json');
    expect(backend.seen.length).toBe(before);
  });

  it.each(['/any/x', '/any/', '/any/a%20b', '/any/%E4%BD%A0', '/any/x?', '/any/x?a=%2e%2e/records', '/any/x?a=1&a=2&&b', '/any/a+b:c@d', '/any/%7Ex', '/any/x%3By'])('forwards %s byte for byte', async (target) => {
    const reply = await raw(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect(reply).toMatch(/^HTTP\/1\.1 200 /);
    expect(backend.seen.at(-1)?.url).toBe(target);
  });

  it('matches an encoded spelling of a guarded path as that path', async () => {
    const text = await raw('GET /%72ecords HTTP/1.1\r\nHost: localhost\r\n\r\n');
    expect(text).toMatch(/^HTTP\/1\.1 403 /);
  });
});

describe('messages two parsers could read differently (TRAPS 11)', () => {
  const head = 'POST /echo/x HTTP/1.1\r\nHost: localhost\r\n';
  it.each([
    ['Transfer-Encoding with Content-Length', `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['two Content-Lengths', `${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`],
    ['two equal Content-Lengths', `${head}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`],
    ['a Content-Length list', `${head}Content-Length: 5, 5\r\n\r\nhello`],
    ['a signed Content-Length', `${head}Content-Length: +5\r\n\r\nhello`],
    ['an underscored Content_Length', `${head}Content_Length: 5\r\n\r\n`],
    ['an underscored Transfer_Encoding', `${head}Transfer_Encoding: chunked\r\n\r\n`],
    ['two Transfer-Encodings', `${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['a coding before chunked', `${head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ['a vertical tab before chunked', `${head}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`],
    ['space before the colon', `${head}Content-Length : 5\r\n\r\nhello`],
    ['a folded line', `${head}X-A: 1\r\n folded\r\nContent-Length: 0\r\n\r\n`],
    ['a bare LF', 'GET /echo/x HTTP/1.1\nHost: localhost\n\n'],
    ['a bare LF after a field', 'GET /echo/x HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n'],
    ['a bare CR in a value', 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n'],
    ['NUL in a value', 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n'],
    ['a name that is no token', 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\nX(y): a\r\n\r\n'],
    ['an empty name', 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n: a\r\n\r\n'],
    ['no Host', 'GET /echo/x HTTP/1.1\r\n\r\n'],
    ['no Host in HTTP/1.0', 'GET /echo/x HTTP/1.0\r\n\r\n'],
    ['two Hosts', 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n'],
    ['user information in Host', 'GET /echo/x HTTP/1.1\r\nHost: a@localhost\r\n\r\n'],
    ['Connection that names Host', 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\nConnection: host\r\n\r\n'],
    ['Connection that names Content-Length', `${head}Content-Length: 5\r\nConnection: content-length\r\n\r\nhello`],
    ['Connection that takes the token from the upstream', 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a.b.c\r\nConnection: close, Authorization\r\n\r\n'],
    ['Connection that takes the type of the body from the upstream', `${head}Content-Length: 5\r\nContent-Type: text/plain\r\nConnection: content-type\r\n\r\nhello`],
    ['Connection that takes the coding of the body from the upstream', `${head}Content-Length: 5\r\nContent-Encoding: gzip\r\nConnection: content-encoding\r\n\r\nhello`],
    ['a chunk size that is no number', `${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n`],
    ['a chunk extension with a bare LF', `${head}Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n`],
    ['an unknown method', 'FROB /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['a lower-case method', 'get /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['HTTP/2.0 in a request line', 'GET /echo/x HTTP/2.0\r\nHost: localhost\r\n\r\n'],
    ['CONNECT', 'CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['an expectation other than 100-continue', `${head}Expect: 200-maybe\r\nContent-Length: 0\r\n\r\n`],
  ])('refuses %s with 400', async (_what, octets) => {
    const text = await raw(octets);
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text.toLowerCase()).toContain('strict-transport-security');
    expect(text).toContain('"code":"bad_request"');
    const smuggled = backend.seen.filter((seen) => seen.body.length === 0 && seen.method === 'POST');
    expect(smuggled).toHaveLength(0);
  });

  it.each(['', 'Expect: 100-continue\r\nContent-Length: 0\r\n'])('serves no TRACE where no route names it, which would show a client what the gateway says of it (%j)', async (fields) => {
    const before = backend.seen.length;
    const text = await raw(`TRACE /echo/x HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 404 [^]*"code":"not_found"/);
    expect(backend.seen.length).toBe(before);
    await expect.poll(async () => (await gateway.records()).find(({ method }) => method === 'TRACE')).toMatchObject({ result: 'denied', reason: 'not_found' });
  });

  it('passes a chunked DELETE with a request inside its body as one request with the same bytes (TRAPS 9)', async () => {
    let upstream: RawBackend | undefined;
    const inner = 'GET /records HTTP/1.1\r\nHost: x\r\nX-Client-Role: doctor\r\n\r\n';
    upstream = await startRawBackend(pki, (socket, text) => {
      if (text.endsWith('0\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const other = await startGateway(pki, upstream.port);
    const socket = await openTls(pki, other.port, { client: pki.patient });
    const text = await exchange(socket, `DELETE /echo/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`, complete);
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    const [received] = upstream.received();
    expect(upstream.received()).toHaveLength(1);
    expect(received).toMatch(/^DELETE \/echo\/x HTTP\/1\.1\r\n/);
    expect(received?.toLowerCase()).toContain('transfer-encoding: chunked');
    expect(received?.toLowerCase()).not.toContain('content-length');
    expect(received?.split('\r\n\r\n').slice(1).join('\r\n\r\n')).toBe(`${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`);
    socket.destroy();
    await other.stop();
    await upstream.close();
  });

  it('answers pipelined requests in order', async () => {
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const text = await exchange(socket, ['/echo/1', '/any/../x', '/echo/2'].map((path) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`).join(''), (so_far) => so_far.split('HTTP/1.1 ').length === 4 && so_far.endsWith('hello'));
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])).toEqual(['200', '400', '200']);
    socket.destroy();
  });
});

describe('bodies', () => {
  it('streams 8 MiB up and down unchanged', async () => {
    const body = randomBytes(8 * 1024 * 1024);
    const reply = await ask(pki, gateway.port, '/echo/x', { client: pki.patient, method: 'POST', body });
    expect(reply.status).toBe(200);
    expect(createHash('sha256').update(reply.body).digest('hex')).toBe(createHash('sha256').update(body).digest('hex'));
  });

  it('asks for the body only after it has authorized the request', async () => {
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const text = await exchange(socket, 'POST /records HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n', complete);
    expect(text).toMatch(/^HTTP\/1\.1 404 /);
    expect(text).not.toContain('100 Continue');
    socket.destroy();
    const allowed = await openTls(pki, gateway.port, { client: pki.patient });
    const first = await exchange(allowed, 'POST /echo/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n', (so_far) => so_far.includes('100 Continue'));
    expect(first).toMatch(/^HTTP\/1\.1 100 Continue/);
    expect(await exchange(allowed, 'hello', complete)).toContain('200 OK');
    allowed.destroy();
  });
});

describe('upstreams that fail', () => {
  async function through(make: () => Promise<{ port: number; close(): Promise<void> }>, extra = ''): Promise<{ reply: Awaited<ReturnType<typeof ask>> | Error; records: readonly Record<string, unknown>[] }> {
    const upstream = await make();
    const other = await startGateway(pki, upstream.port, { upstreams: `
  records:
    endpoints: ["https://127.0.0.1:${upstream.port}"]
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }
    timeouts: { connect: 1s, response: 1s }${extra}` });
    const reply = await ask(pki, other.port, '/records', { client: pki.doctor }).catch((error: Error) => error);
    await expect.poll(async () => (await other.records()).some((record) => record['event'] === 'request')).toBe(true);
    const records = (await other.records()).filter((record) => record['event'] === 'request');
    await other.stop();
    await upstream.close();
    return { reply, records };
  }

  const backendWith = async (options: Parameters<typeof issueCertificate>[1], authority = pki.backendCa) => startBackend(pki, undefined, await issueCertificate(authority, options));

  it.each([
    ['another CA', () => backendWith({ subject: [['CN', 'records.internal']], san: { dns: 'records.internal' }, eku: ['serverAuth'] }, pki.root), /SELF_SIGNED|UNABLE_TO/],
    ['another name', () => backendWith({ subject: [['CN', 'other.internal']], san: { dns: 'other.internal' }, eku: ['serverAuth'] }), /ALTNAME/],
    ['its name as a common name alone', () => backendWith({ subject: [['CN', 'records.internal']], eku: ['serverAuth'] }), /ALTNAME/],
    ['an expired certificate', () => backendWith({ subject: [['CN', 'records.internal']], san: { dns: 'records.internal' }, eku: ['serverAuth'], notBefore: new Date(Date.now() - 9e8), notAfter: new Date(Date.now() - 864e5) }), /EXPIRED/],
    ['nobody listening', async () => { const gone = await startBackend(pki); await gone.close(); return gone; }, /ECONNREFUSED/],
  ] as const)('answers 502 for %s, with the cause on record and none of it told', async (_what, make, cause) => {
    const { reply, records } = await through(async () => { const made = await make(); return { port: made.port, close: () => made.close().catch(() => undefined) }; });
    if (reply instanceof Error) throw reply;
    expect(reply.json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
    expect(reply.body.toString()).not.toMatch(/CERT|internal|ECONN|records/);
    expect(records).toHaveLength(1);
    expect(records[0]).toMatchObject({ result: 'failed', reason: 'upstream_unavailable', status: 502 });
    expect(records[0]?.['detail']).toMatch(cause);
  });

  it('answers 504 when the upstream says nothing', async () => {
    const { reply } = await through(() => startRawBackend(pki, () => undefined));
    expect((reply as Awaited<ReturnType<typeof ask>>).json()).toMatchObject({ status: 504, code: 'upstream_timeout' });
  });

  it('ends the client\'s connection when the upstream dies in mid-answer (TRAPS 9)', async () => {
    const { reply, records } = await through(() => startRawBackend(pki, (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', () => socket.destroy());
    }));
    expect(reply).toBeInstanceOf(Error);
    expect(records[0]).toMatchObject({ result: 'failed', reason: 'upstream_unavailable' });
  });

  it('never turns a chunked answer that was cut into a complete one', async () => {
    const { reply } = await through(() => startRawBackend(pki, (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', () => socket.destroy());
    }));
    expect(reply).toBeInstanceOf(Error);
  });

  it.each([
    ['both framings', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['garbage', 'no http at all\r\n\r\n'],
    ['a split header', 'HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: x\r\nContent-Length: 0\r\n\r\n'],
  ])('answers 502 to an upstream that sends %s', async (_what, octets) => {
    const { reply } = await through(() => startRawBackend(pki, (socket) => void socket.write(octets)));
    expect((reply as Awaited<ReturnType<typeof ask>>).json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
  });
});
