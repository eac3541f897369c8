import type { ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { startHttp2Backend } from './support/http2-backend.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
/** What the upstream answers with. */
let answer: (response: ServerResponse, url: string) => void = (response) => response.end();

const ROUTE = (upstream: string, path: string, more = ''): string => `
  - { name: ${upstream}, match: { path: ${path} }, allow: [doctor, patient], upstream: ${upstream}, patient: { body: fhir, id: "urn:patient:*"${more} } }`;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request, response) => answer(response, request.url ?? ''));
  gateway = await startGateway(pki, backend.port, { routes: ROUTE('records', '/fhir/*') });
});

afterEach(() => {
  answer = (response) => response.end();
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

const JSON_TYPE = { 'content-type': 'application/fhir+json' };
const observation = (patient: string, padding = 0): string => JSON.stringify({ resourceType: 'Observation', id: 'o', subject: { reference: `Patient/${patient}` }, note: [{ text: 'x'.repeat(padding) }] });
const OPEN = '{"resourceType":"Bundle","type":"searchset","entry":[';
const bundle = (...entries: readonly string[]): string => `${OPEN}${entries.map((entry) => `{"resource":${entry}}`).join(',')}]}`;

/** Sends text piece by piece, as fast as it is taken. */
async function stream(response: ServerResponse, pieces: Iterable<string>, headers: Record<string, string> = JSON_TYPE): Promise<void> {
  response.writeHead(200, headers);
  const closed = new Promise<void>((resolve) => void response.once('close', resolve));
  for (const piece of pieces) {
    if (response.destroyed) return;
    if (!response.write(piece)) await Promise.race([new Promise<void>((resolve) => void response.once('drain', resolve)), closed]);
  }
  response.end();
}

interface Told {
  readonly status: number;
  readonly octets: number;
  readonly text: string;
  /** Whether it ended as a whole answer does. */
  readonly whole: boolean;
}

const get = {
  'HTTP/1.1': (path: string): Promise<Told> => new Promise((resolve, reject) => {
    const asked = httpsRequest({ host: '127.0.0.1', port: gateway.port, path, servername: 'localhost', headers: { host: 'localhost' }, ca: pki.root.certificate, agent: false, cert: pki.patient.chain, key: pki.patient.key }, (response) => {
      let octets = 0;
      let text = '';
      response.on('data', (chunk: Buffer) => {
        octets += chunk.length;
        if (text.length < 1_000_000) text += chunk.toString();
      });
      response.on('error', () => undefined);
      response.on('close', () => resolve({ status: response.statusCode ?? 0, octets, text, whole: response.complete }));
    });
    asked.on('error', reject);
    asked.end();
  }),
  'HTTP/2': async (path: string): Promise<Told> => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    return new Promise((resolve) => {
      const asked = session.request({ ':path': path, ':authority': 'localhost' });
      let [status, octets, text] = [0, 0, ''];
      asked.on('response', (head) => {
        status = Number(head[':status']);
      });
      asked.on('data', (chunk: Buffer) => {
        octets += chunk.length;
        if (text.length < 1_000_000) text += chunk.toString();
      });
      asked.on('error', () => undefined);
      asked.on('close', () => {
        session.destroy();
        resolve({ status, octets, text, whole: asked.rstCode === 0 });
      });
    });
  },
} as const;

/** The records of one path. */
async function recordsOf(path: string): Promise<readonly Record<string, unknown>[]> {
  return (await gateway.records()).filter((record) => record['path'] === path);
}

let next = 0;
/** A path of a resource that nothing else asks for. */
const fresh = (): string => `/fhir/Observation/x${++next}`;

describe.each(['HTTP/1.1', 'HTTP/2'] as const)('an answer over %s', (version) => {
  it('passes octet for octet, with its head', async () => {
    const text = ` ${bundle(observation('1001'), observation('1001'))} \n`;
    answer = (response) => response.writeHead(200, { ...JSON_TYPE, etag: 'W/"3"', 'content-length': Buffer.byteLength(text) }).end(text);
    const path = fresh();
    expect(await get[version](path)).toEqual({ status: 200, octets: text.length, text, whole: true });
    await expect.poll(() => recordsOf(path)).toMatchObject([{ result: 'permitted', status: 200, bytes_out: text.length, patient: '1001' }]);
  });

  it.each<[string, number, Record<string, string>, string | Buffer]>([
    ['XML', 200, { 'content-type': 'application/fhir+xml' }, '<Observation/>'],
    ['no type', 200, {}, observation('1001')],
    ['another type', 200, { 'content-type': 'text/html' }, observation('1001')],
    ['JSON lines', 200, { 'content-type': 'application/fhir+ndjson' }, `${observation('1001')}\n`],
    ['another edition', 200, { 'content-type': 'application/fhir+json; fhirVersion=3.0' }, observation('1001')],
    ['a compressed body', 200, { ...JSON_TYPE, 'content-encoding': 'gzip' }, gzipSync(observation('1001'))],
    ['a part of itself', 206, { ...JSON_TYPE, 'content-range': 'bytes 0-9/10' }, observation('1001')],
    ['a page of an error', 502, { 'content-type': 'text/html' }, '<h1>Patient 1002</h1>'],
    ['a way to another patient', 201, { ...JSON_TYPE, location: 'https://localhost/fhir/Patient/1002/_history/1' }, observation('1001')],
    ['a link to another patient', 200, { ...JSON_TYPE, link: '<https://localhost/fhir/Observation?_count=5>; rel="self", <https://localhost/fhir/Patient/1002>; rel="related"' }, observation('1001')],
    ['another\'s resource', 200, JSON_TYPE, observation('1002')],
    ['another\'s resource as an error', 409, JSON_TYPE, observation('1002')],
    ['another\'s resource behind one\'s own', 200, JSON_TYPE, bundle(observation('1001'), observation('1002'))],
    ['a Bundle that is cut', 200, JSON_TYPE, bundle(observation('1001')).slice(0, -1)],
    ['no FHIR at all', 200, JSON_TYPE, '{"patients":["1002"]}'],
  ])('with %s is refused before any of it is sent', async (_, status, headers, body) => {
    answer = (response) => response.writeHead(status, headers).end(body);
    const path = fresh();
    const told = await get[version](path);
    expect(told.status).toBe(403);
    expect(told.text).not.toContain('1002');
    await expect.poll(() => recordsOf(path)).toMatchObject([{ result: 'denied', status: 403, patient: '1001', reason: expect.stringMatching(/^patient_/) as string, detail: expect.any(String) as string }]);
  });

  it.each<[string, number, Record<string, string>, string]>([
    ['nothing', 204, {}, ''], ['nothing new', 200, { 'content-length': '0' }, ''], ['an outcome', 404, JSON_TYPE, '{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}'],
    ['one\'s own as plain JSON', 200, { 'content-type': 'application/json;charset=UTF-8' }, observation('1001')],
  ])('of %s passes', async (_, status, headers, body) => {
    answer = (response) => response.writeHead(status, headers).end(body === '' ? undefined : body);
    expect(await get[version](fresh())).toMatchObject({ status, text: body, whole: true });
  });

  it('that was asked for without whom it is about does not pass for what the patient had a part in', async () => {
    answer = (response) => response.writeHead(200, JSON_TYPE).end('{"resourceType":"Observation","id":"o","performer":[{"reference":"Patient/1001"}]}');
    expect((await get[version](fresh())).status).toBe(200);
    for (const query of ['_elements=performer,value', '_summary=true', '_summary=text']) expect((await get[version](`${fresh()}?${query}`)).status).toBe(403);
    expect((await get[version]('/fhir/Observation?patient=1001&_elements=performer')).status).toBe(403);
  });

  it('that turns out to be another\'s when it has begun is cut, and never ends cleanly', async () => {
    answer = (response) => void stream(response, (function* pieces() {
      yield OPEN;
      for (let index = 0; index < 30; index++) yield `{"resource":${observation('1001', 50_000)}},`;
      yield `{"resource":${observation('1002')}}`;
      yield ']}';
    }()));
    const path = fresh();
    const told = await get[version](path);
    expect(told).toMatchObject({ status: 200, whole: false });
    expect(told.octets).toBeGreaterThan(256 * 1024);
    expect(told.text).not.toContain('Patient/1002');
    await expect.poll(() => recordsOf(path)).toMatchObject([{ result: 'denied', status: 200, reason: 'patient_mismatch', detail: 'entry 30: Observation/o is about another patient' }]);
  });

  it('with one resource that is too large is refused', async () => {
    answer = (response) => response.writeHead(200, JSON_TYPE).end(bundle(observation('1001', 2_000_000)));
    expect((await get[version](fresh())).status).toBe(403);
  });

  it('that dies within its beginning is a failure of the upstream', async () => {
    answer = (response) => {
      response.writeHead(200, JSON_TYPE);
      response.write(OPEN);
      setImmediate(() => response.destroy());
    };
    const path = fresh();
    expect((await get[version](path)).status).toBe(502);
    await expect.poll(() => recordsOf(path)).toMatchObject([{ result: 'failed', reason: 'upstream_unavailable' }]);
  });

  it('of 200 MB passes in less memory than that', async () => {
    const entry = `{"resource":${observation('1001', 100_000)}},`;
    const entries = Math.ceil(200_000_000 / entry.length);
    let highest = 0;
    const before = process.memoryUsage().rss;
    answer = (response) => void stream(response, (function* pieces() {
      yield OPEN;
      for (let index = 0; index < entries; index++) {
        highest = Math.max(highest, process.memoryUsage().rss - before);
        yield entry;
      }
      yield `{"resource":${observation('1001')}}]}`;
    }()));
    const path = fresh();
    const told = await get[version](path);
    expect(told).toMatchObject({ status: 200, whole: true, octets: OPEN.length + entries * entry.length + observation('1001').length + 15 });
    await expect.poll(() => recordsOf(path)).toMatchObject([{ result: 'permitted', bytes_out: told.octets }]);
    // Backend, gateway and client share this process: an answer that one of them kept would show in full.
    if (process.env['SHOW_MEMORY'] !== undefined) console.log(version, Math.round(highest / 1e6), 'MB');
    expect(highest).toBeLessThan(190_000_000);
  });
});

it('what the upstream is asked has no conditions, no ranges and no compression in it', async () => {
  answer = (response) => response.writeHead(200, JSON_TYPE).end('{"resourceType":"Patient","id":"1001"}');
  const { status } = await ask(pki, gateway.port, '/fhir/Patient/1001', { client: pki.patient, headers: { range: 'bytes=0-5', 'if-range': 'x', 'if-none-match': 'W/"1"', 'if-modified-since': 'Mon, 01 Jan 2026 00:00:00 GMT', 'accept-encoding': 'gzip' } });
  expect(status).toBe(200);
  const headers = backend.seen.at(-1)?.headers ?? {};
  expect(headers['accept-encoding']).toBe('identity');
  for (const name of ['range', 'if-range', 'if-none-match', 'if-modified-since']) expect(headers[name]).toBeUndefined();
});

it.each([
  [undefined, 'application/fhir+json'], ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'application/fhir+json'], ['application/fhir+xml, application/fhir+json;q=0.5', 'application/fhir+json;q=0.5'], ['application/json', 'application/json'],
])('a client that accepts %j has its upstream asked for %j', async (accept, wanted) => {
  answer = (response) => response.writeHead(200, JSON_TYPE).end('{"resourceType":"Patient","id":"1001"}');
  expect((await ask(pki, gateway.port, '/fhir/Patient/1001', { client: pki.patient, headers: accept === undefined ? {} : { accept } })).status).toBe(200);
  expect(backend.seen.at(-1)?.headers['accept']).toBe(wanted);
});

it('a body that comes in pieces reaches the upstream whole and framed', async () => {
  answer = (response) => response.writeHead(201, { ...JSON_TYPE, location: '/fhir/Observation/1' }).end();
  const socket = await openTls(pki, gateway.port, { client: pki.patient });
  const body = observation('1001');
  const text = await exchange(socket, `POST /fhir/Observation HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n${[...body.match(/.{1,20}/g) ?? []].map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join('')}0\r\n\r\n`, (all) => all.includes('201'));
  socket.destroy();
  expect(text).toContain('HTTP/1.1 201');
  expect(backend.seen.at(-1)).toMatchObject({ url: '/fhir/Observation', headers: { 'content-length': String(body.length) } });
  expect(backend.seen.at(-1)?.body.toString()).toBe(body);
});

it('a body that is larger than a resource may be is 413 and goes nowhere', async () => {
  const seen = backend.seen.length;
  const body = observation('1001', 2_000_000);
  expect((await ask(pki, gateway.port, '/fhir/Observation', { method: 'POST', client: pki.patient, headers: JSON_TYPE, body })).status).toBe(413);
  const session = await openHttp2(pki, gateway.port, { client: pki.patient });
  expect((await askHttp2(session, '/fhir/Observation', { method: 'POST', headers: JSON_TYPE, body })).status).toBe(413);
  session.destroy();
  expect(backend.seen.length).toBe(seen);
});

it('a client that leaves within its body leaves nothing behind but its record', async () => {
  const seen = backend.seen.length;
  const socket = await openTls(pki, gateway.port, { client: pki.patient });
  // The body is waited for once that is asked for; a socket that is destroyed may never have sent what it was given.
  await exchange(socket, 'POST /fhir/Communication HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/fhir+json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n', (all) => all.includes('100 Continue'));
  socket.write('{"resourceType"');
  socket.destroy();
  await expect.poll(() => recordsOf('/fhir/Communication')).toMatchObject([{ result: 'failed', status: 499 }]);
  expect(backend.seen.length).toBe(seen);
});

it.each(['HTTP/1.1', 'HTTP/2'] as const)('a client that leaves while its answer is held back ends that, too: %s', async (version) => {
  const { promise: asked, resolve: arrived } = Promise.withResolvers<void>();
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  answer = (response) => {
    response.writeHead(200, JSON_TYPE);
    response.write(OPEN);
    response.on('close', end);
    arrived();
  };
  const path = fresh();
  if (version === 'HTTP/1.1') {
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await asked;
    socket.destroy();
  } else {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    session.request({ ':path': path, ':authority': 'localhost' }).on('error', () => undefined);
    await asked;
    session.destroy();
  }
  await ended;
  await expect.poll(() => recordsOf(path)).toMatchObject([{ result: 'failed', status: 499 }]);
});

it('guessing costs: what turns out to be another\'s counts as denied', async () => {
  answer = (response) => response.writeHead(200, JSON_TYPE).end(observation('1002'));
  const strict = await startGateway(pki, backend.port, { routes: `${ROUTE('records', '/fhir/*').replace(/ }$/, '')}, limits: { rates: [{ per: certificate, rate: [3/hour], count: denials }] } }` });
  try {
    const statuses: number[] = [];
    for (let index = 0; index < 5; index++) statuses.push((await ask(pki, strict.port, `/fhir/Observation/${index}`, { client: pki.patient })).status);
    expect(statuses).toEqual([403, 403, 403, 429, 429]);
  } finally {
    await strict.stop();
  }
});

it('a WebSocket is refused, whose messages nobody judges', async () => {
  const socket = await openTls(pki, gateway.port, { client: pki.patient });
  const text = await exchange(socket, 'GET /fhir/Patient/1001 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n', (all) => all.includes('role_denied'));
  socket.destroy();
  expect(text).toContain('HTTP/1.1 403');
  const session = await openHttp2(pki, gateway.port, { client: pki.patient });
  await new Promise<void>((resolve) => (session.remoteSettings.enableConnectProtocol === true ? resolve() : void session.once('remoteSettings', () => resolve())));
  const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':path': '/fhir/Patient/1001', ':authority': 'localhost', 'sec-websocket-version': '13' }, { endStream: false });
  const status = await new Promise((resolve) => void stream.on('response', (head) => resolve(head[':status'])).on('error', () => undefined));
  expect(status).toBe(403);
  session.destroy();
});

it('answers of upstreams that speak HTTP/2 are judged alike', async () => {
  const upstream = await startHttp2Backend(pki, (stream, headers) => {
    const own = headers[':path'] === '/fhir/Observation/1';
    stream.respond({ ':status': 200, ...JSON_TYPE });
    stream.end(bundle(observation('1001', 300_000), observation('1001', 300_000), observation(own ? '1001' : '1002')));
  });
  const other = await startGateway(pki, upstream.port, {
    routes: ROUTE('records', '/fhir/*'),
    upstreams: `
  records:
    endpoints: ["https://127.0.0.1:${upstream.port}"]
    protocol: h2
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }`,
  });
  try {
    const { status, body } = await ask(pki, other.port, '/fhir/Observation/1', { client: pki.patient });
    expect([status, body.length]).toEqual([200, bundle(observation('1001', 300_000), observation('1001', 300_000), observation('1001')).length]);
    const session = await openHttp2(pki, other.port, { client: pki.patient });
    expect((await askHttp2(session, '/fhir/Observation/1')).status).toBe(200);
    // Refused where that shows before the first octets leave, cut where it does not.
    const second = await askHttp2(session, '/fhir/Observation/2');
    expect(second.status === 403 || second.code !== 0).toBe(true);
    expect(second.body.toString()).not.toContain('Patient/1002');
    session.destroy();
    const third = await ask(pki, other.port, '/fhir/Observation/2', { client: pki.patient }).catch(() => undefined);
    expect(third?.status ?? 403).toBe(403);
    await expect.poll(async () => (await other.records()).filter(({ result }) => result === 'denied')).toMatchObject([{ reason: 'patient_mismatch' }, { reason: 'patient_mismatch' }]);
  } finally {
    await other.stop();
    await upstream.close();
  }
});
