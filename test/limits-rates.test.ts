import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { afterEach, afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countersOf, compileRates, denialCounters, rateLimitFields } from '../src/policy/limits.ts';
import { parseRate, type Rate } from '../src/config/values.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, startGateway, type GatewayParts, type Reply, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { inOtherForm, testPki, type TestPki } from './support/pki.ts';
import { redisInstalled, startRedis } from './support/redis.ts';

let pki: TestPki;
let backend: Backend;
/** Serves all tests of limits of a route, each of which has a route of its own: /NAME/*. */
let common: TestGateway;
const started: TestGateway[] = [];

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  const routes = Object.entries(LIMITS).map(([name, limits]) => `
  - { name: ${name}, match: { path: /${name}/* }, allow: ${name === 'unknown' ? '[public]' : '[doctor, patient, device]'}, upstream: records, preflight: allow, limits: ${limits} }`);
  common = await startGateway(pki, backend.port, { routes: routes.join('') });
});

afterEach(async () => {
  await Promise.all(started.splice(0).map((gateway) => gateway.stop()));
});

afterAll(async () => {
  await common.stop();
  await backend.close();
});

const LIMITS = {
  several: '{ rate: [10/minute, 50/hour, 200/day] }',
  'at-once': '{ rate: [10/minute] }',
  certificate: '{ rate: [2/minute] }',
  versions: '{ rate: [3/minute] }',
  told: '{ rate: [5/minute, 50/hour], rates: [{ per: route, rate: [100/minute] }, { per: address, rate: [70/minute] }] }',
  windows: '{ rate: [1/second, 9/minute] }',
  unknown: '{ rate: [2/minute] }',
  preflights: '{ rates: [{ per: address, rate: [1/minute] }] }',
  route: '{ rates: [{ per: route, rate: [2/minute] }] }',
  roles: '{ rates: [{ per: route, rate: [3/minute] }, { per: role, rate: [1/minute], roles: [patient] }] }',
  once: '{ rate: [1/minute] }',
};

/** A gateway of a test's own, for limits that are not those of a route alone. */
async function start(limits: string, parts: GatewayParts = {}): Promise<TestGateway> {
  const routes = `
  - { name: records, match: { path: /records }, allow: [doctor], upstream: records }
  - { name: echo, match: { path: /echo/* }, allow: [doctor, patient, device], upstream: records, preflight: allow, limits: ${limits} }`;
  const gateway = await startGateway(pki, backend.port, { routes, ...parts });
  started.push(gateway);
  return gateway;
}

/** As many requests one after the other, each on a connection of its own, which the threads share out among themselves. */
async function times(count: number, one: () => Promise<Reply>): Promise<readonly number[]> {
  const statuses: number[] = [];
  for (let index = 0; index < count; index++) statuses.push((await one()).status);
  return statuses;
}

describe('a limit of requests', () => {
  it('refuses the eleventh of a minute, and says when to come again', async () => {
    const call = () => ask(pki, common.port, '/several/x', { client: pki.patient });
    expect(await times(10, call)).toEqual(Array<number>(10).fill(200));
    const refused = await call();
    expect(refused.status).toBe(429);
    expect(refused.headers['content-type']).toBe('application/problem+json');
    expect(refused.json()).toMatchObject({ code: 'rate_limited' });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(60);
    await expect.poll(async () => (await common.records()).filter((record) => record['reason'] === 'rate_limited' && record['route'] === 'several')).toMatchObject([{ result: 'denied', status: 429, detail: expect.stringContaining('10/minute') as string }]);
  });

  it('holds for requests that come at once, on connections of all threads', async () => {
    const replies = await Promise.all(Array.from({ length: 40 }, () => ask(pki, common.port, '/at-once/x', { client: pki.patient })));
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(10);
    expect(replies.filter(({ status }) => status === 429)).toHaveLength(30);
    const served = (await readdir(common.path('state/audit'))).filter((file) => readFileSync(common.path(`state/audit/${file}`), 'utf8').includes('"route":"at-once"'));
    expect(served).toHaveLength(2);
  });

  it('counts by certificate, not by address', async () => {
    expect(await times(3, () => ask(pki, common.port, '/certificate/x', { client: pki.patient }))).toEqual([200, 200, 429]);
    expect((await ask(pki, common.port, '/certificate/x', { client: inOtherForm(pki, pki.patient) })).status).toBe(429);
    expect((await ask(pki, common.port, '/certificate/x', { client: pki.doctor })).status).toBe(200);
  });

  it('counts requests over HTTP/1.1 and HTTP/2 together', async () => {
    expect(await times(2, () => ask(pki, common.port, '/versions/x', { client: pki.patient }))).toEqual([200, 200]);
    const session = await openHttp2(pki, common.port, { client: pki.patient });
    const first = await askHttp2(session, '/versions/x');
    expect(first.status).toBe(200);
    expect(first.headers['ratelimit']).toMatch(/^"3\/minute";r=0;t=\d+$/);
    const second = await askHttp2(session, '/versions/x');
    expect(second.status).toBe(429);
    expect(Number(second.headers['retry-after'])).toBeGreaterThan(0);
    session.close();
  });

  it('is told to the client on every answer, for its own counts only', async () => {
    const { headers } = await ask(pki, common.port, '/told/x', { client: pki.patient });
    expect(headers['ratelimit-policy']).toBe('"5/minute";q=5;w=60, "50/hour";q=50;w=3600, "70/minute";q=70;w=60');
    expect(headers['ratelimit']).toMatch(/^"5\/minute";r=4;t=\d+, "50\/hour";r=49;t=\d+, "70\/minute";r=69;t=\d+$/);
  });

  it('does not count in the longer window what the shorter one refused', async () => {
    const left: number[] = [];
    const call = async (): Promise<number> => {
      const { status, headers } = await ask(pki, common.port, '/windows/x', { client: pki.patient });
      if (status === 200) left.push(Number(/"9\/minute";r=(\d)/.exec(String(headers['ratelimit']))?.[1]));
      return status;
    };
    expect(await call()).toBe(200);
    // How many of them are served is up to how long they take.
    expect(await Promise.all(Array.from({ length: 5 }, call))).toContain(429);
    expect((await ask(pki, common.port, '/windows/x', { client: pki.doctor })).status).toBe(200);
    await expect.poll(call, { interval: 300 }).toBe(200);
    expect(left.toSorted((one, other) => other - one)).toEqual(left.map((_, index) => 8 - index));
  });

  it('counts who comes without a certificate by address', async () => {
    expect(await times(3, () => ask(pki, common.port, '/unknown/x'))).toEqual([200, 200, 429]);
    expect((await ask(pki, common.port, '/unknown/x', { client: pki.patient })).status).toBe(200);
  });

  it('counts CORS preflights, too', async () => {
    const preflight = () => ask(pki, common.port, '/preflights/x', { method: 'OPTIONS', headers: { origin: 'https://app.test', 'access-control-request-method': 'GET' } });
    expect((await preflight()).status).not.toBe(429);
    expect((await preflight()).status).toBe(429);
  });

  it('of a route is not used up for clients with certificates by preflights, which anybody may send', async () => {
    const preflight = () => ask(pki, common.port, '/route/x', { method: 'OPTIONS', headers: { origin: 'https://app.test', 'access-control-request-method': 'GET' } });
    expect(await times(4, preflight)).toEqual([200, 200, 429, 429]);
    expect((await ask(pki, common.port, '/route/x', { client: pki.patient })).status).toBe(200);
  });

  it('can be that of all who have a role, of all who use a route, and of some roles only', async () => {
    const as = (client: TestPki['doctor']) => ask(pki, common.port, '/roles/x', { client });
    expect((await as(pki.patient)).status).toBe(200);
    expect((await as(pki.patient)).status).toBe(429);
    expect((await as(pki.doctor)).status).toBe(200);
    expect((await as(pki.device)).status).toBe(200);
    const refused = await as(pki.doctor);
    expect(refused.status).toBe(429);
    expect(refused.headers['ratelimit']).toBeUndefined();
  });

  it('counts over all routes where it is the gateway\'s', async () => {
    const gateway = await start('{}', { top: 'limits: { rates: [{ per: certificate, rate: [2/minute] }] }' });
    expect((await ask(pki, gateway.port, '/echo/x', { client: pki.doctor })).status).toBe(200);
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    expect((await ask(pki, gateway.port, '/echo/y', { client: pki.doctor })).status).toBe(429);
  });

  it('is not used up by requests that are refused for something else', async () => {
    expect(await times(3, () => ask(pki, common.port, '/nowhere', { client: pki.patient }))).toEqual([404, 404, 404]);
    expect((await ask(pki, common.port, '/once/x', { client: pki.patient })).status).toBe(200);
  });
});

describe('a limit of an address', () => {
  it('counts what is denied as well, so that guessing costs', async () => {
    const gateway = await start('{}', { top: 'limits: { rates: [{ per: address, rate: [4/minute] }] }' });
    expect(await times(4, () => ask(pki, gateway.port, '/records', { client: pki.patient }))).toEqual([403, 403, 403, 403]);
    await expect.poll(async () => (await ask(pki, gateway.port, '/echo/x', { client: pki.doctor })).status).toBe(429);
  });

  it('of denials stops who has too many of them, and nobody else before', async () => {
    const gateway = await start('{}', { top: 'limits: { rates: [{ per: address, rate: [3/minute], count: denials }] }' });
    const good = () => ask(pki, gateway.port, '/echo/x', { client: pki.doctor });
    expect(await times(6, good)).toEqual(Array<number>(6).fill(200));
    expect(await times(3, () => ask(pki, gateway.port, '/nowhere', { client: pki.patient }))).toEqual([404, 404, 404]);
    await expect.poll(async () => (await good()).status).toBe(429);
  });
});

describe.skipIf(!redisInstalled)('gateways that share a store', () => {
  it('count together, and each by itself while the store is away', async () => {
    const redis = await startRedis();
    const top = `store: { redis: "redis://127.0.0.1:${redis.port}" }`;
    const [one, other] = await Promise.all([start('{ rate: [4/hour] }', { top }), start('{ rate: [4/hour] }', { top })]);
    for (const gateway of [one, other]) await expect.poll(async () => (await gateway.gateway.status()).store?.connected).toBe(true);
    const call = (gateway: TestGateway) => ask(pki, gateway.port, '/echo/x', { client: pki.patient });
    expect(await times(2, () => call(one))).toEqual([200, 200]);
    expect(await times(3, () => call(other))).toEqual([200, 200, 429]);
    expect((await call(one)).status).toBe(429);
    await redis.kill();
    await expect.poll(async () => (await one.gateway.status()).store?.connected).toBe(false);
    expect(await times(5, () => call(one))).toEqual([200, 200, 200, 200, 429]);
  });
});

describe.skipIf(!redisInstalled)('a store that hangs', () => {
  it('is stood in for like one that is away, and holds up no more than one request at a time', async () => {
    const redis = await startRedis();
    const gateway = await start('{ rate: [8/minute, 50/hour, 200/day] }', { top: `store: { redis: "redis://127.0.0.1:${redis.port}" }` });
    await expect.poll(async () => (await gateway.gateway.status()).store?.connected, { timeout: 30_000 }).toBe(true);
    const call = () => ask(pki, gateway.port, '/echo/x', { client: pki.patient });
    expect((await call()).status).toBe(200);
    redis.halt();
    expect(await times(9, call)).toEqual([...Array<number>(8).fill(200), 429]);
    redis.resume();
    // Its own count of this minute is not used up.
    await expect.poll(async () => (await call()).status, { timeout: 30_000, interval: 500 }).toBe(200);
    await redis.kill();
  }, 90_000);
});

describe('counts', () => {
  const rates = (...texts: string[]): Rate[] => texts.map((text) => parseRate(text) as Rate);
  const counted = { admission: { kind: 'anonymous' }, address: '2001:db8::1', route: 'r' } as const;

  it('are those of a client before those that all share, the shortest window first', () => {
    const rules = compileRates('route/r', [
      { per: 'route', rate: rates('9/minute'), count: 'requests' },
      { per: 'address', rate: rates('200/day', '10/minute'), count: 'requests' },
    ]);
    expect(countersOf(rules, counted).map(({ per, windows }) => [per, windows.map(({ text }) => text)])).toEqual([['address', ['10/minute', '200/day']], ['route', ['9/minute']]]);
  });

  it('take a whole /64 for one address, and an IPv4 address by itself', () => {
    const rules = compileRates('gateway', [{ per: 'address', rate: rates('9/minute'), count: 'requests' }]);
    const key = (address: string) => countersOf(rules, { ...counted, address })[0]?.key;
    expect(key('2001:db8::1')).toBe(key('2001:db8::ffff:2'));
    expect(key('2001:db8::1')).not.toBe(key('2001:db8:0:1::1'));
    expect(key('10.0.0.1')).not.toBe(key('10.0.0.2'));
  });

  it('of denials are looked at by every request and added to by denied ones only', () => {
    const rules = compileRates('gateway', [{ per: 'address', rate: rates('9/minute'), count: 'denials' }, { per: 'address', rate: rates('9/hour'), count: 'requests' }]);
    expect(countersOf(rules, counted).map(({ adds }) => adds)).toEqual([false, true]);
    expect(denialCounters(rules, counted, false).map(({ rule }) => rule)).toEqual(['gateway#0', 'gateway#1']);
    expect(denialCounters(rules, counted, true).map(({ rule }) => rule)).toEqual(['gateway#0']);
  });

  it('of a role say nothing to a client, but when to come again', () => {
    const exceeded = { per: 'role', rate: '9/minute', limit: 9, window: 60_000, remaining: 0, resets: 1_200 } as const;
    expect(rateLimitFields({ kind: 'exceeded', rule: 'r', exceeded, standings: [exceeded] })).toEqual(['retry-after', '2']);
  });
});
