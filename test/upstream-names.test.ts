import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startDns, type DnsServer } from './support/dns.ts';
import { askMany, metric, startUpstreams, tally, TLS, upstreamStatus, type UpstreamGateway } from './support/endpoints.ts';
import { startFailingBackend, type FailingBackend } from './support/failing-backend.ts';
import { ask, exchange, openTls } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let dns: DnsServer;
let gateway: UpstreamGateway;
/** On one port, each on an address of its own. */
const backends: FailingBackend[] = [];
const ADDRESSES = ['127.0.0.1', '127.0.0.2', '127.0.0.3'] as const;
const [first, second, third] = ADDRESSES;
const NAME = 'records.test';

function named(name: string, keys = ''): string {
  return `{ endpoints: ["https://${name}:${backends[0]?.port}"], tls: ${TLS}, slow_start: 0s, timeouts: { connect: 2s }, resolve: { servers: ["127.0.0.1:${dns.port}"], interval: 200ms, timeout: 300ms ${keys} } }`;
}

beforeAll(async () => {
  pki = await testPki();
  dns = await startDns();
  for (const address of ADDRESSES) backends.push(await startFailingBackend(pki, address, { address, port: backends[0]?.port ?? 0 }));
  dns.set(NAME, [first]);
  gateway = await startUpstreams(pki, { records: named(NAME) });
});

afterEach(() => dns.become('well'));

afterAll(async () => {
  await gateway.stop();
  await Promise.all(backends.map((backend) => backend.close()));
  await dns.close();
});

const serving = async (count = 16): Promise<readonly string[]> => Object.keys(tally(await askMany(pki, gateway, '/records/x', count))).sort();
const addresses = async (): Promise<readonly string[]> => (await upstreamStatus(gateway, 'records')).endpoints[0]?.addresses.map(({ address }) => address).sort() ?? [];

describe('the name of an endpoint', () => {
  it('is looked up before the gateway serves, and stands for its address; the certificate is still compared with the configured name', async () => {
    expect(await serving()).toEqual([first]);
    const records = await gateway.records();
    expect(records.find(({ path }) => path === '/records/x')).toMatchObject({ status: 200, endpoint: `https://${NAME}:${backends[0]?.port} ${first}` });
  });

  it('stands for all its addresses, new ones as soon as they are known, gone ones no longer', async () => {
    dns.set(NAME, [first, second, third]);
    await expect.poll(addresses).toEqual([first, second, third]);
    expect(await serving(30)).toEqual([first, second, third]);
    dns.set(NAME, [third]);
    await expect.poll(addresses).toEqual([third]);
    expect(await serving()).toEqual([third]);
    // Kept connections to what is gone are closed.
    await expect.poll(() => backends[0]?.connections()).toBe(0);
    dns.set(NAME, [first]);
    await expect.poll(() => serving()).toEqual([first]);
  });

  it('lets requests finish at an address that is gone', async () => {
    await backends[0]?.become('dripping');
    const before = backends[0]?.received.length ?? 0;
    const answer = ask(pki, gateway.port, '/records/slow', { client: pki.patient });
    await expect.poll(() => backends[0]?.received.length).toBe(before + 1);
    dns.set(NAME, [second]);
    await expect.poll(addresses).toEqual([second]);
    expect(await serving()).toEqual([second]);
    expect((await answer).body.toString()).toBe('...');
    expect(backends[0]?.received.length).toBe(before + 1);
    await backends[0]?.become('well');
    await expect.poll(() => backends[0]?.connections()).toBe(0);
  });

  it.each(['servfail', 'silent'] as const)('keeps its last addresses while its look-up fails (%s), and the failures are counted', async (manner) => {
    const label = { upstream: 'records', endpoint: `https://${NAME}:${backends[0]?.port}`, result: 'failed' };
    const before = await metric(gateway, 'wardgate_upstream_lookups_total', label);
    dns.become(manner);
    await expect.poll(() => metric(gateway, 'wardgate_upstream_lookups_total', label)).toBeGreaterThan(before + 1);
    expect(await serving()).toEqual([second]);
    const { lookups } = (await upstreamStatus(gateway, 'records')).endpoints[0] ?? {};
    expect(lookups?.error).toMatch(manner === 'servfail' ? /ESERVFAIL/ : /ETIMEOUT|no answer/);
    dns.become('well');
    await expect.poll(async () => (await upstreamStatus(gateway, 'records')).endpoints[0]?.lookups?.error).toBe(undefined);
  });

  it('is given up when it could not be looked up for too long, and answers then say nothing of it', async () => {
    await gateway.replace({ records: named(NAME, ', keep: 500ms') });
    expect(await serving()).toEqual([second]);
    dns.set(NAME, []);
    await expect.poll(addresses).toEqual([]);
    const reply = await ask(pki, gateway.port, '/records/nowhere', { client: pki.patient });
    expect(reply.json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
    expect(reply.body.toString()).not.toContain(NAME);
    expect((await gateway.records()).find(({ path }) => path === '/records/nowhere')).toMatchObject({ reason: 'upstream_unavailable', detail: expect.stringContaining(`ENOTFOUND ${NAME}`) });
    dns.set(NAME, [first]);
    await expect.poll(() => serving()).toEqual([first]);
  });

  it('does not keep the gateway from starting, or from taking another configuration, when it does not exist', async () => {
    const started = performance.now();
    await gateway.replace({ records: named('nowhere.test') });
    expect(performance.now() - started).toBeLessThan(10_000);
    expect((await ask(pki, gateway.port, '/records/x', { client: pki.patient })).status).toBe(502);
    dns.set('nowhere.test', [third]);
    await expect.poll(() => serving()).toEqual([third]);
  });

  it('of both kinds of addresses is used by the kind that is preferred, or by both', async () => {
    dns.set('both.test', ['::1', first]);
    await gateway.replace({ records: named('both.test') });
    expect(await addresses()).toEqual([first]);
    await gateway.replace({ records: named('both.test', ', prefer: ipv6') });
    expect(await addresses()).toEqual(['::1']);
    await gateway.replace({ records: named('both.test', ', prefer: both') });
    expect(await addresses()).toEqual(['127.0.0.1', '::1']);
    // Nobody listens on the other one: whatever goes there is served elsewhere.
    expect(await serving()).toEqual([first]);
    dns.set('only.test', ['::1']);
    await gateway.replace({ records: named('only.test') });
    expect(await addresses()).toEqual(['::1']);
  });

  it('goes through the system where no servers are named; the certificate must be for the name, not for the address', async () => {
    const own = TLS.replace(', server_name: records.internal', '');
    await gateway.replace({ records: `{ endpoints: ["https://localhost:${backends[0]?.port}"], tls: ${own} }` });
    expect(await addresses()).toEqual([first]);
    expect(await serving()).toEqual([first]);
    // The certificate names 127.0.0.1, and that is where this name leads.
    dns.set('elsewhere.test', [first]);
    await gateway.replace({ records: named('elsewhere.test').replace(TLS, own) });
    const before = backends[0]?.received.length;
    expect((await ask(pki, gateway.port, '/records/other-name', { client: pki.patient })).status).toBe(502);
    expect((await gateway.records()).find(({ path }) => path === '/records/other-name')?.['detail']).toMatch(/^ERR_TLS_CERT_ALTNAME_INVALID: .*elsewhere\.test/);
    expect(backends[0]?.received.length).toBe(before);
  });
});

describe('an address that a client is bound to', () => {
  it('is its own again after it was away, and no other client moved', async () => {
    dns.set('hash.test', [...ADDRESSES]);
    await gateway.replace({ records: named('hash.test').replace('slow_start', 'balance: hash, slow_start') });
    const clients = await Promise.all(Array.from({ length: 30 }, (_, index) => pki.issueClient({ subject: [['CN', `Patient ${index}`], ['OU', 'Patients'], ['O', 'Hospital']], san: { uri: `urn:patient:${index}` } })));
    const homes = (): Promise<readonly string[]> => Promise.all(clients.map(async (client) => (await ask(pki, gateway.port, '/records/x', { client })).body.toString()));
    const before = await homes();
    expect(new Set(before).size).toBe(3);
    dns.set('hash.test', [first, third]);
    await expect.poll(addresses).toEqual([first, third]);
    const meanwhile = await homes();
    expect(meanwhile.map((home, index) => (before[index] === second ? home !== second : home === before[index]))).toEqual(clients.map(() => true));
    dns.set('hash.test', [...ADDRESSES]);
    await expect.poll(addresses).toEqual([...ADDRESSES]);
    expect(await homes()).toEqual(before);
  });
});

describe('streams', () => {
  it('pass over an endpoint that cannot be reached: a WebSocket', async () => {
    dns.set('two.test', [first, second]);
    await gateway.replace({ records: named('two.test') });
    await backends[0]?.become('killed');
    // Neither is a WebSocket server: what matters is who was asked.
    const texts = await Promise.all(Array.from({ length: 6 }, async () => exchange(await openTls(pki, gateway.port, { client: pki.patient }), [
      'GET /records/socket HTTP/1.1', 'Host: localhost', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', '', '',
    ].join('\r\n'))));
    for (const text of texts) expect(text).toMatch(new RegExp(`^HTTP/1\\.1 200 [^]*${second}$`));
    const tried = (await gateway.records()).filter(({ path, attempts }) => path === '/records/socket' && attempts !== undefined);
    expect(tried.length).toBeGreaterThan(0);
    await backends[0]?.become('well');
  });
});
