import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { parseCertificate } from '../src/pki/certificate.ts';
import type { Asked, Exchange } from '../src/forward/exchange.ts';
import { openCollector, type SpanResult } from '../src/tracing/collector.ts';
import { parseConfig } from '../src/config/load.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { startCollector, type CollectedSpan, type TestCollector } from './support/collector.ts';
import { ask, configuration, exchange, openTls, startGateway, type GatewayParts, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let collector: TestCollector;
/** Shared by the tests that only put other settings in force. */
let shared: TestGateway;
/** The one that the test asks. */
let gateway: TestGateway;

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request, response) => {
    if (request.url === '/echo/broken') return void response.writeHead(500).end('oh');
    response.end('hello');
  });
  shared = await startGateway(pki, backend.port);
});

beforeEach(async () => {
  collector = await startCollector(pki);
  gateway = shared;
});

afterEach(async () => {
  if (gateway !== shared) await gateway.stop();
  await collector.close();
});

afterAll(async () => {
  await shared.stop();
  await backend.close();
});

const tracing = (more = ''): string => `tracing: { endpoint: "${collector.url}", trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key${more} }`;

/** Puts the tracing in force. */
async function begin(more = '', listenerExtra = '', upstreamPort = backend.port): Promise<void> {
  await gateway.configure(configuration(upstreamPort, { top: tracing(more), listenerExtra }));
  await gateway.gateway.reload();
}

/** Starts a gateway that the test may stop, or whose counts it reads. */
async function beginAlone({ top = tracing(), ...parts }: GatewayParts = {}): Promise<void> {
  gateway = await startGateway(pki, backend.port, { threads: 1, top, ...parts });
}

async function spans(count: number): Promise<readonly CollectedSpan[]> {
  await expect.poll(() => collector.spans.length).toBeGreaterThanOrEqual(count);
  return collector.spans;
}

const traceparentSeen = (): string => String(backend.seen.at(-1)?.headers['traceparent']);

/** The ways a request can go through the gateway. */
const WAYS = [
  ['the fast path', '', '1.1'], ['the general path', '    http1: { fast_path: false }', '1.1'], ['HTTP/2', '', '2'],
] as const;

async function askBy(version: string, path: string, traceparent: string | undefined, more: Record<string, string> = {}): Promise<number> {
  const headers = { ...more, ...(traceparent === undefined ? {} : { traceparent }) };
  if (version === '1.1') return (await ask(pki, gateway.port, path, { client: pki.doctor, headers })).status;
  const session = await openHttp2(pki, gateway.port, { client: pki.doctor });
  const { status } = await askHttp2(session, path, { headers } as never);
  session.destroy();
  return status;
}

describe.each(WAYS)('a request by %s', (_way, listenerExtra, version) => {
  it('becomes a server span below the client\'s and above the upstream\'s, which begins a trace where the client has none that is valid', async () => {
    await begin('', listenerExtra);
    expect(await askBy(version, '/echo/patient-7?name=Wang', `00-${TRACE}-${PARENT}-01`, { tracestate: 'vendor=1' })).toBe(200);
    const [span] = await spans(1);
    expect(span).toMatchObject({
      name: 'GET /echo/*', kind: 2, traceId: TRACE, parentSpanId: PARENT, service: 'wardgate',
      attributes: {
        'http.request.method': 'GET', 'http.route': '/echo/*', 'http.response.status_code': 200, 'url.scheme': 'https', 'server.address': 'localhost',
        'network.protocol.name': 'http', 'network.protocol.version': version, 'wardgate.route': 'echo', 'wardgate.upstream': 'records', 'wardgate.role': 'doctor',
        'wardgate.decision': 'permitted', 'wardgate.listener': 'clinical', 'wardgate.request_id': backend.seen.at(-1)?.headers['x-request-id'],
        'tls.protocol.name': 'tls', 'tls.protocol.version': '1.3', 'tls.resumed': false, 'tls.client.hash.sha256': parseCertificate(pki.doctor.der).sha256.toUpperCase(),
      },
    });
    expect(traceparentSeen()).toBe(`00-${TRACE}-${span?.spanId}-01`);
    expect(backend.seen.at(-1)?.headers['tracestate']).toBe('vendor=1');
    expect(span?.nanoseconds).toBeGreaterThan(0);
    // Persons, patients and their addresses stay here unless they are asked for.
    expect(JSON.stringify(span)).not.toMatch(/Wang|patient-7|127\.0\.0\.1/);

    collector.spans.length = 0;
    await askBy(version, '/echo/a', undefined, { tracestate: 'vendor=1' });
    expect(backend.seen.at(-1)?.headers['tracestate']).toBeUndefined();
    const first = traceparentSeen();
    await askBy(version, '/echo/b', `00-${TRACE}-0000000000000000-01`);
    const second = traceparentSeen();
    for (const seen of [first, second]) expect(seen).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    const all = await spans(2);
    expect(all.map((span) => `00-${span.traceId}-${span.spanId}-01`).toSorted()).toEqual([first, second].toSorted());
    for (const span of all) expect(span.parentSpanId ?? '').toBe('');
    expect(all.some((span) => span.traceId === TRACE)).toBe(false);
  });

  it('honours the client\'s sampled flag, whatever the share of our own', async () => {
    await beginAlone({ top: tracing(', sample: 0'), listenerExtra });
    await askBy(version, '/echo/own', undefined);
    expect(traceparentSeen()).toMatch(/-00$/);
    await askBy(version, '/echo/unsampled', `00-${TRACE}-${PARENT}-00`);
    expect(traceparentSeen()).toMatch(new RegExp(`^00-${TRACE}-(?!${PARENT})[0-9a-f]{16}-00$`));
    await askBy(version, '/echo/sampled', `00-${TRACE}-${PARENT}-01`);
    expect(traceparentSeen()).toMatch(/-01$/);
    await gateway.gateway.stop();
    expect(collector.spans).toMatchObject([{ traceId: TRACE, parentSpanId: PARENT }]);
  });
});

describe('a span', () => {
  it('tells of denials, failures and their reasons', async () => {
    await begin();
    expect(await askBy('1.1', '/records', undefined)).toBe(200);
    expect((await ask(pki, gateway.port, '/records', { client: pki.patient })).status).toBe(403);
    expect((await ask(pki, gateway.port, '/echo/x')).status).toBe(401);
    expect((await ask(pki, gateway.port, '/nowhere', { client: pki.doctor })).status).toBe(404);
    expect((await ask(pki, gateway.port, '/echo/broken', { client: pki.doctor })).status).toBe(500);
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor, method: 'PROPFIND' })).status).toBe(404);
    const told = (await spans(6)).map(({ name, status, attributes: at }) => [name, at['http.response.status_code'], at['wardgate.decision'], at['wardgate.reason'], status.code ?? 0]);
    expect(told.toSorted()).toEqual([
      ['GET /echo/*', 401, 'denied', 'no_certificate', 0], ['GET /echo/*', 500, 'permitted', undefined, 2], ['GET /records', 200, 'permitted', undefined, 0],
      ['GET /records', 403, 'denied', 'role_denied', 0], ['GET', 404, 'denied', 'not_found', 0], ['HTTP', 404, 'denied', 'not_found', 0],
    ]);
    expect(collector.spans.find(({ name }) => name === 'HTTP')?.attributes).toMatchObject({ 'http.request.method': '_OTHER', 'http.request.method_original': 'PROPFIND' });
    // An identity number as host or method is nobody's name for our service, and does not leave.
    expect((await ask(pki, gateway.port, '/echo/x', { client: pki.doctor, headers: { host: '110101199003074477.test' } })).status).toBe(421);
    expect((await ask(pki, gateway.port, '/echo/x', { client: pki.doctor, method: 'M-SEARCH', headers: { host: '110101199003074477' } })).status).toBe(421);
    expect(JSON.stringify(await spans(8))).not.toContain('110101199003074477');
    expect(collector.spans.find(({ attributes }) => attributes['http.response.status_code'] === 500)?.attributes['error.type']).toBe('500');
    expect(collector.spans.find(({ attributes }) => attributes['http.response.status_code'] === 401)?.attributes['tls.client.hash.sha256']).toBeUndefined();
  });

  it('of an upstream that is away is an error with its reason', async () => {
    await begin('', '', 1);
    expect(await askBy('1.1', '/echo/x', undefined)).toBe(502);
    expect((await spans(1))[0]).toMatchObject({ status: { code: 2 }, attributes: { 'error.type': 'upstream_unavailable', 'wardgate.decision': 'failed', 'wardgate.reason': 'upstream_unavailable' } });
  });

  it('of a WebSocket ends when it is open', async () => {
    const sockets = new WebSocketServer({ noServer: true });
    const { createServer: createHttps } = await import('node:https');
    const server = createHttps({ cert: pki.backendServer.chain, key: pki.backendServer.key });
    server.on('upgrade', (request, socket, head) => sockets.handleUpgrade(request, socket, head, (open) => open.send(String(request.headers['traceparent']))));
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    await begin('', '', (server.address() as { port: number }).port);
    const client = new WebSocket(`wss://localhost:${gateway.port}/echo/socket`, { ca: pki.root.certificate, cert: pki.doctor.chain, key: pki.doctor.key, headers: { host: 'localhost' } });
    const told = await new Promise<string>((done) => client.on('message', (data) => done(String(data))));
    const [span] = await spans(1);
    expect(span).toMatchObject({ attributes: { 'http.response.status_code': 101 } });
    expect(told).toBe(`00-${span?.traceId}-${span?.spanId}-01`);
    client.terminate();
    server.closeAllConnections();
    server.close();
  });

  it('names persons, addresses and paths when the configuration says so', async () => {
    await begin(', include: [client_subject, client_address, url_path], service_name: north');
    await askBy('1.1', '/echo/patient-7?name=secret', undefined);
    const [span] = await spans(1);
    expect(span).toMatchObject({ service: 'north', attributes: { 'tls.client.subject': 'CN=Dr Wang,OU=Doctors,O=Hospital', 'client.address': '127.0.0.1', 'url.path': '/echo/patient-7' } });
    expect(JSON.stringify(collector.spans)).not.toContain('secret');
  });
});

describe('the collector', () => {
  it('is told over verified TLS, with our certificate and the Authorization header of the file', async () => {
    await writeFile(gateway.path('token'), 'Bearer abc\n', { mode: 0o600 });
    await begin(', authorization_file: token');
    await askBy('1.1', '/echo/x', undefined);
    await spans(1);
    expect(collector.requests[0]).toMatchObject({ url: '/v1/traces', headers: { authorization: 'Bearer abc', 'content-type': 'application/json' }, subject: expect.stringContaining('CN=wardgate') });
  });

  it('with a certificate of another CA is told nothing', async () => {
    await beginAlone({ top: tracing().replace('backend-ca.pem', 'root.pem') });
    await askBy('1.1', '/echo/x', undefined);
    await gateway.gateway.stop();
    expect(collector.requests).toEqual([]);
  });

  it('gets what waits when the gateway stops, and when a reload takes the tracing away', async () => {
    await beginAlone({ threads: 2 });
    await askBy('1.1', '/echo/x', undefined);
    await gateway.configure(configuration(backend.port));
    await gateway.gateway.reload();
    await spans(1);
    await askBy('1.1', '/echo/x', `00-${TRACE}-${PARENT}-01`);
    expect(traceparentSeen()).toBe(`00-${TRACE}-${PARENT}-01`);
    await begin();
    await askBy('1.1', '/echo/x', undefined);
    await gateway.gateway.stop();
    expect(collector.spans.length).toBe(2);
  });

  it('goes on through a reload that changes nothing about it', async () => {
    await beginAlone();
    for (let round = 0; round < 5; round++) {
      await askBy('1.1', '/echo/x', undefined);
      await gateway.gateway.reload();
    }
    await gateway.gateway.stop();
    expect(collector.spans.length).toBe(5);
  });

  it('that hangs holds up neither requests nor the end', async () => {
    await beginAlone();
    collector.instead = () => undefined;
    const socket = await openTls(pki, gateway.port, { client: pki.doctor });
    const started = performance.now();
    for (let round = 0; round < 9; round++) expect(await exchange(socket, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'))).toContain(' 200 ');
    expect(performance.now() - started).toBeLessThan(15_000);
    await expect.poll(() => collector.requests.length).toBeGreaterThan(0);
    socket.destroy();
    const stopping = performance.now();
    await gateway.gateway.stop();
    expect(performance.now() - stopping).toBeLessThan(15_000);
  });
});

describe('the way to the collector', () => {
  const asked: Asked = { method: 'GET', target: { kind: 'malformed', detail: '' }, host: { kind: 'malformed', detail: '' }, preflight: undefined, written: '/', fields: [], version: '1.1' };
  const done = { asked, decision: undefined, admission: { kind: 'anonymous' }, client: { listener: 'a', address: '::1', tls: 'TLSv1.3', resumed: false }, id: '1' } as unknown as Exchange;
  const config = (endpoint: string) => ({ endpoint, sample: 1, service_name: 'wardgate', include: [] });

  it('drops and counts what a collector that is away does not take, and takes no more memory than 2,048 spans need', async () => {
    const counts: Record<SpanResult, number> = { exported: 0, failed: 0, dropped: 0 };
    const silent: Server = createServer((socket: Socket) => void socket.on('error', () => undefined));
    await new Promise<void>((open) => silent.listen(0, '127.0.0.1', open));
    const { port } = silent.address() as { port: number };
    const { tracer, close } = await openCollector(config(`http://127.0.0.1:${port}/v1/traces`), {}, (result, spans) => (counts[result] += spans));
    for (let index = 0; index < 10_000; index++) tracer.open(asked).end(done, 200);
    expect(counts).toEqual({ exported: 0, failed: 0, dropped: 10_000 - 2_048 });
    const started = performance.now();
    await close(200);
    expect(performance.now() - started).toBeLessThan(10_000);
    silent.close();
  });

  it('counts what is refused and what arrives', async () => {
    const counts: Record<SpanResult, number> = { exported: 0, failed: 0, dropped: 0 };
    const plain = await startCollector(pki, true);
    const { tracer, close } = await openCollector(config(plain.url), {}, (result, spans) => (counts[result] += spans));
    for (let index = 0; index < 300; index++) tracer.open(asked).end(done, 200);
    await expect.poll(() => counts.exported).toBe(300);
    plain.instead = (_request, response) => void response.writeHead(400).end();
    for (let index = 0; index < 10; index++) tracer.open(asked).end(done, 200);
    await expect.poll(() => counts.failed).toBe(10);
    expect(new Set(plain.spans.map(({ spanId }) => spanId)).size).toBe(300);
    await close(1_000);
    await plain.close();
  });

  it('is on the metrics', async () => {
    await beginAlone({ top: `${tracing()}\nmetrics: { address: "127.0.0.1:0" }` });
    await askBy('1.1', '/echo/x', undefined);
    await spans(1);
    const scrape = async (): Promise<string> => (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
    await expect.poll(scrape).toContain('wardgate_spans_total{result="exported"} 1');
  });
});

describe('without the setting', () => {
  it('no package of OpenTelemetry is loaded: the one file that imports them does so when it is called', () => {
    const source = join(import.meta.dirname, '..', 'src');
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
    const imports = files.flatMap((file) => readFileSync(join(source, file), 'utf8').split('\n').filter((line) => line.includes('\'@opentelemetry/')).map((line) => ({ file, line: line.trim() })));
    expect(imports.filter(({ line }) => !line.startsWith('import type ') && !/^(?:export type|\/\/)/.test(line)).every(({ file, line }) => file === join('tracing', 'collector.ts') && line.startsWith('import(\''))).toBe(true);
    expect(imports.length).toBeGreaterThan(0);
  });
});

describe('the configuration', () => {
  const faults = (text: string): readonly string[] => {
    const parsed = parseConfig(`${configuration(1)}\n${text}`, 'x.yaml', { cores: 1 });
    return parsed.kind === 'invalid' ? parsed.issues.map(({ path, message }) => `${path}: ${message}`) : [];
  };

  it.each([
    ['{ endpoint: "http://collector.hospital.test/v1/traces" }', /encrypted/], ['{ endpoint: "https://collector.hospital.test/v1/traces" }', /tracing\.trust/],
    ['{ endpoint: "https://u:p@c/v1/traces", trust: a.pem }', /without credentials/], ['{ endpoint: "https://c/v1/traces", trust: a.pem, sample: 2 }', /from 0 to 1/],
    ['{ endpoint: "https://c/v1/traces", trust: a.pem, certificate: b.pem }', /private key beside it, in key/], ['{ endpoint: "https://c/v1/traces", trust: a.pem, include: [subject] }', /client_subject/],
    ['{ endpoint: ftp://c }', /expected a URL/],
  ])('%s is refused', (value, message) => {
    expect(faults(`tracing: ${value}`).join('\n')).toMatch(message);
  });

  it('of a collector on this host may do without TLS', () => {
    for (const host of ['127.0.0.1', 'localhost', '[::1]']) expect(faults(`tracing: { endpoint: "http://${host}:4318/v1/traces" }`)).toEqual([]);
  });
});
