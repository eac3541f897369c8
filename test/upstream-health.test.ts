import type { ServerHttp2Stream } from 'node:http2';
import { createServer, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { askMany, metric, startUpstreams, tally, TLS, upstreamStatus, upstreamYaml, type UpstreamGateway } from './support/endpoints.ts';
import { startFailingBackend, type FailingBackend } from './support/failing-backend.ts';
import { startHttp2Backend, type Http2Backend } from './support/http2-backend.ts';
import { createAuthority, issueCertificate, testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let gateway: UpstreamGateway;
/** What each backend answers to /health, and to everything else. */
const statuses = [200, 200];
const backends: Backend[] = [];
let failing: FailingBackend;
let streams: { readonly port: number; readonly connections: () => number; close(): Promise<void> };
let http2: Http2Backend;
let http2Status = 200;
const logged: { level: string; message: string; [field: string]: unknown }[] = [];
const OFTEN = 'interval: 600ms, timeout: 550ms, healthy: 2, unhealthy: 2';
/** On a busy machine two looks in a row take longer than their time now and then. */
const SURELY = OFTEN.replace('unhealthy: 2', 'unhealthy: 5');

beforeAll(async () => {
  pki = await testPki();
  for (const number of [0, 1]) {
    backends.push(await startBackend(pki, (request, response) => {
      if (request.url !== '/health?deep=1') return void response.end(String(number));
      response.writeHead(statuses[number] as number).end('how it is');
    }));
  }
  const stranger = await createAuthority({ name: 'Somebody else' });
  failing = await startFailingBackend(pki, 'failing', { swapped: await issueCertificate(stranger, { subject: [['CN', 'records.internal']], san: { dns: 'records.internal' }, eku: ['serverAuth'] }) });
  streams = await startStreams(pki);
  http2 = await startHttp2Backend(pki, (stream: ServerHttp2Stream) => {
    stream.respond({ ':status': http2Status });
    stream.end('how it is');
  });
  const [first, second] = backends.map(({ port }) => port) as [number, number];
  const note = (level: string) => (fields: object, message: string): void => void logged.push({ ...fields, level, message });
  gateway = await startUpstreams(pki, {
    looked: upstreamYaml([first, second], `slow_start: 0s, health: { path: "/health?deep=1", host: a.hospital.test, status: [200, 300-304], ${SURELY} }`),
    connected: upstreamYaml([failing.port], `health: { ${OFTEN} }`),
    h2: upstreamYaml([http2.port], `protocol: h2, health: { path: /health, ${OFTEN} }`),
    'not-h2': upstreamYaml([first], `protocol: h2, health: { ${OFTEN} }`),
    pacs: `{ endpoints: ["tls://127.0.0.1:${streams.port}"], tls: ${TLS}, health: { ${OFTEN} } }`,
  }, { routes: '[{ name: looked, match: { path: /looked/* }, allow: [patient], upstream: looked }]', log: { info: note('info'), warn: note('warn'), error: note('error') } });
});

afterAll(async () => {
  await gateway.stop();
  await Promise.all([...backends, failing, streams, http2].map((backend) => backend.close()));
});

async function startStreams(of: TestPki): Promise<typeof streams> {
  let connections = 0;
  const server = createServer({ cert: of.backendServer.chain, key: of.backendServer.key, ca: of.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (socket: TLSSocket) => {
    connections++;
    socket.on('error', () => undefined);
  });
  const port = await new Promise<number>((done) => server.listen(0, '127.0.0.1', () => done((server.address() as { port: number }).port)));
  return { port, connections: () => connections, close: () => new Promise((done) => server.close(() => done())) };
}

const ups = async (name: string): Promise<readonly boolean[]> => (await upstreamStatus(gateway, name)).endpoints.map(({ up }) => up);
const details = async (name: string): Promise<readonly (string | undefined)[]> => (await upstreamStatus(gateway, name)).endpoints.map(({ addresses }) => addresses[0]?.detail);

describe('health checks', () => {
  it('ask what the configuration says, with our certificate, once for all threads', async () => {
    const looks = (): number => backends[0]?.seen.filter(({ url }) => url === '/health?deep=1').length ?? 0;
    await expect.poll(looks).toBeGreaterThan(1);
    const seen = backends[0]?.seen.find(({ url }) => url === '/health?deep=1');
    expect(seen).toMatchObject({ method: 'GET', headers: { host: 'a.hospital.test', 'user-agent': 'wardgate-health' } });
    const [before, started] = [looks(), performance.now()];
    await expect.poll(looks).toBeGreaterThanOrEqual(before + 5);
    // Two threads would have come to five in half the time.
    expect(performance.now() - started).toBeGreaterThan(5 * 540 - 600);
  });

  it('take an endpoint out that answers otherwise than it should, and bring it back', async () => {
    await expect.poll(() => ups('looked')).toEqual([true, true]);
    statuses[1] = 503;
    await expect.poll(() => ups('looked')).toEqual([true, false]);
    await expect.poll(() => details('looked')).toEqual([undefined, 'status 503']);
    const label = { upstream: 'looked', endpoint: `https://127.0.0.1:${backends[1]?.port}` };
    expect(await metric(gateway, 'wardgate_upstream_up', label)).toBe(0);
    expect(tally(await askMany(pki, gateway, '/looked/x', 10))).toEqual({ 0: 10 });
    statuses[1] = 302;
    await expect.poll(() => ups('looked')).toEqual([true, true]);
    expect(await metric(gateway, 'wardgate_upstream_up', label)).toBe(1);
    expect(Object.keys(tally(await askMany(pki, gateway, '/looked/x', 10))).sort()).toEqual(['0', '1']);
    await expect.poll(() => logged.filter(({ endpoint }) => endpoint === label.endpoint).map(({ level, message, detail }) => [level, message, detail])).toEqual([
      ['warn', 'an upstream endpoint fails its health checks and is left out', 'status 503'], ['info', 'an upstream endpoint serves again', undefined],
    ]);
  });

  it.each([
    ['killed', /ECONNREFUSED/], ['frozen', /no answer within 550 ms/], ['swapped', /self.signed|SELF_SIGNED|UNABLE_TO_VERIFY|unable to/i],
  ] as const)('without a path find an endpoint that is %s', async (ailment, detail) => {
    await expect.poll(() => ups('connected')).toEqual([true]);
    await failing.become(ailment);
    await expect.poll(() => ups('connected')).toEqual([false]);
    expect((await details('connected'))[0]).toMatch(detail);
    await failing.become('well');
    await expect.poll(() => ups('connected')).toEqual([true]);
    expect(failing.received).toEqual([]);
  });

  it('of tls:// endpoints are connections', async () => {
    await expect.poll(() => streams.connections()).toBeGreaterThan(1);
    await expect.poll(() => ups('pacs')).toEqual([true]);
    await streams.close();
    await expect.poll(() => ups('pacs')).toEqual([false]);
  });

  it('speak the HTTP version that the upstream is asked in', async () => {
    await expect.poll(() => http2.seen.length).toBeGreaterThan(1);
    expect(http2.seen[0]?.headers).toMatchObject({ ':method': 'GET', ':path': '/health', ':authority': `records.internal:${http2.port}` });
    await expect.poll(() => ups('h2')).toEqual([true]);
    http2Status = 500;
    await expect.poll(() => details('h2')).toEqual(['status 500']);
    await expect.poll(() => ups('not-h2')).toEqual([false]);
    expect((await details('not-h2'))[0]).toMatch(/HTTP\/2|no_application_protocol|alert/i);
  });

  it('decide by the first look alone when the gateway starts', async () => {
    await failing.become('killed');
    await gateway.replace({ looked: upstreamYaml([failing.port], 'health: { interval: 1m, timeout: 1s }') });
    await expect.poll(() => ups('looked')).toEqual([false]);
    await failing.become('well');
  });
});
