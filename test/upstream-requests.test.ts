import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { metric, startUpstreams, tally, askMany, upstreamStatus, upstreamYaml, type UpstreamGateway } from './support/endpoints.ts';
import { status } from '../src/cli/status.ts';
import { startFailingBackend, type FailingBackend } from './support/failing-backend.ts';
import { ask, exchange, openTls } from './support/gateway.ts';
import { issueCertificate, testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let gateway: UpstreamGateway;
const backends: FailingBackend[] = [];
const port = (index: number): number => backends[index]?.port ?? 0;
const url = (index: number): string => `https://127.0.0.1:${port(index)}`;
const QUICK = 'timeouts: { response: 3s, idle: 1s }, slow_start: 0s';
/** Nobody is ever left out: what is tried is what the test says. */
const NEVER_OUT = `${QUICK}, ejection: { most: 0% }`;

beforeAll(async () => {
  pki = await testPki();
  for (const name of ['0', '1', '2']) backends.push(await startFailingBackend(pki, name));
  const two = upstreamYaml([port(0), port(1)], NEVER_OUT);
  gateway = await startUpstreams(pki, {
    alone: upstreamYaml([port(0)], NEVER_OUT),
    two,
    'two-of-three': upstreamYaml([port(0), port(1), port(2)], `${NEVER_OUT}, retries: { attempts: 3, budget: 100% }`),
    'no-budget': upstreamYaml([port(0), port(1)], `${NEVER_OUT}, retries: { budget: 0% }`),
    'small-budget': upstreamYaml([port(0), port(1)], `${NEVER_OUT}, retries: { budget: 1% }`),
    'no-retries': upstreamYaml([port(0), port(1)], `${NEVER_OUT}, retries: { attempts: 1 }`),
    limited: upstreamYaml([port(0)], `${QUICK}, limits: { requests: 2 }`),
    'limited-each': upstreamYaml([port(0), port(1)], `${QUICK}, balance: hash, limits: { endpoint_requests: 1 }`),
    connections: upstreamYaml([port(0)], `${QUICK}, limits: { connections: 2 }`),
    refuse: upstreamYaml([port(0), port(1)], `${QUICK}, all_down: refuse, ejection: { failures: 1, most: 100% }, retries: { attempts: 1 }, health: { interval: 500ms, timeout: 400ms, healthy: 1, unhealthy: 1 }`),
    try: upstreamYaml([port(0), port(1)], `${QUICK}, retries: { attempts: 1 }, ejection: { time: 1m }`),
    trial: upstreamYaml([port(0), port(1)], `${QUICK}, retries: { budget: 100% }, ejection: { failures: 1, time: 1s, longest: 1s }`),
  });
});

afterAll(async () => {
  await gateway.stop();
  await Promise.all(backends.map((backend) => backend.close()));
});

async function recordsOf(path: string): Promise<readonly Record<string, unknown>[]> {
  return (await gateway.records()).filter((record) => record['path'] === path && record['event'] === 'request');
}

/** Does something while a backend is ill. */
async function ill<Result>(index: number, ailment: Parameters<FailingBackend['become']>[0], work: () => Promise<Result>): Promise<Result> {
  await backends[index]?.become(ailment);
  try {
    return await work();
  } finally {
    await backends[index]?.become('well');
  }
}

describe('a request of which nothing was sent', () => {
  it('is served elsewhere, whatever its method, with its body as it was', async () => {
    const replies = await ill(0, 'killed', () => askMany(pki, gateway, '/two/posted', 10, { method: 'POST', body: 'measurement '.repeat(10_000) }));
    expect(tally(replies)).toEqual({ 1: 10 });
    const moved = (await recordsOf('/two/posted')).filter(({ attempts }) => attempts !== undefined);
    expect(moved.length).toBeGreaterThan(0);
    for (const record of moved) {
      expect(record).toMatchObject({ result: 'permitted', endpoint: url(1), bytes_in: 120_000 });
      expect(record['attempts']).toEqual([expect.stringMatching(new RegExp(`^${url(0)}: ECONNREFUSED`))]);
    }
    expect(await metric(gateway, 'wardgate_upstream_retries_total', { upstream: 'two', result: 'made' })).toBe(moved.length);
  });

  it('of unknown length, too', async () => {
    const chunked = 'POST /two/chunked HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n';
    const texts = await ill(0, 'killed', () => Promise.all(Array.from({ length: 6 }, async () => exchange(await openTls(pki, gateway.port, { client: pki.patient }), chunked))));
    for (const text of texts) expect(text).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\n1$/);
  });

  it('fails when there is nowhere else, and is on record with what was asked', async () => {
    const reply = await ill(0, 'killed', () => ask(pki, gateway.port, '/alone/x', { client: pki.patient }));
    expect(reply.json()).toMatchObject({ status: 502, code: 'upstream_unavailable' });
    const [record] = await recordsOf('/alone/x');
    expect(record).toMatchObject({ endpoint: url(0), reason: 'upstream_unavailable' });
    expect(record).not.toHaveProperty('attempts');
    // Without a health check nobody else could say why.
    let text = '';
    await status({ config: gateway.path('wardgate.yaml') }, (part) => (text += part));
    expect(text).toMatch(new RegExp(`upstream      alone: .*\n  endpoint    ${url(0)}: up\n    address   127\\.0\\.0\\.1: \\w+, 0 under way, last error 20\\S+Z: ECONNREFUSED: `));
  });

  it('goes on until it is served, as often as it may', async () => {
    const replies = await ill(0, 'killed', () => ill(1, 'killed', () => askMany(pki, gateway, '/two-of-three/x', 9)));
    expect(tally(replies)).toEqual({ 2: 9 });
    const tries = (await recordsOf('/two-of-three/x')).map(({ attempts }) => (attempts as string[] | undefined)?.length ?? 0);
    expect(Math.max(...tries)).toBe(2);
  });

  it('is not tried again without attempts or without a budget', async () => {
    for (const name of ['no-retries', 'no-budget']) {
      const counts = tally(await ill(0, 'killed', () => askMany(pki, gateway, `/${name}/x`, 12)));
      expect(counts['502']).toBeGreaterThan(0);
      expect((counts['502'] ?? 0) + (counts['1'] ?? 0)).toBe(12);
    }
  });

  it('is not tried again beyond the budget: an outage must not double its own load', async () => {
    const counts = tally(await ill(0, 'killed', () => askMany(pki, gateway, '/small-budget/x', 80)));
    const made = await metric(gateway, 'wardgate_upstream_retries_total', { upstream: 'small-budget', result: 'made' });
    // Ten at hand on each of two threads.
    expect(made).toBeGreaterThan(0);
    expect(made).toBeLessThanOrEqual(21);
    expect(counts['502']).toBeGreaterThan(0);
    expect(await metric(gateway, 'wardgate_upstream_retries_total', { upstream: 'small-budget', result: 'refused' })).toBe(counts['502']);
  });
});

describe('a request that may have arrived', () => {
  it('is sent again when it changes nothing, and otherwise is not', async () => {
    const [gets, posts] = await ill(0, 'resetting', async () => [
      await askMany(pki, gateway, '/two-of-three/get', 12), await askMany(pki, gateway, '/two-of-three/post', 12, { method: 'POST', body: 'x' }),
    ] as const);
    expect(gets.map(({ status }) => status)).toEqual(gets.map(() => 200));
    const statuses = tally(posts);
    expect(statuses['502']).toBeGreaterThan(0);
    for (const record of await recordsOf('/two-of-three/post')) if (record['result'] === 'failed') expect(record).toMatchObject({ endpoint: url(0), reason: 'upstream_unavailable' });
  });

  it('is not sent again when it got no answer in time: its upstream may be busy with it', async () => {
    const before = backends[0]?.received.length ?? 0;
    const replies = await ill(0, 'hung', () => askMany(pki, gateway, '/two/hung', 6, { width: 6 }));
    const late = replies.filter(({ status }) => status === 504);
    expect(late.length).toBeGreaterThan(0);
    expect((backends[0]?.received.length ?? 0) - before).toBe(late.length);
    expect((await recordsOf('/two/hung')).filter(({ attempts }) => attempts !== undefined)).toEqual([]);
  });
});

describe('limits', () => {
  it('refuse what is too much at once on all threads together, with 503 and the limit on record', async () => {
    const replies = await ill(0, 'hung', () => askMany(pki, gateway, '/limited/x', 6, { width: 6 }));
    expect(tally(replies)).toEqual({ 504: 2, 503: 4 });
    expect(replies.find(({ status }) => status === 503)?.json()).toMatchObject({ code: 'overloaded' });
    const refused = (await recordsOf('/limited/x')).filter(({ status }) => status === 503);
    for (const record of refused) expect(record).toMatchObject({ result: 'failed', reason: 'overloaded', detail: 'the upstream limited has 2 requests under way, as many as it may' });
    expect(await metric(gateway, 'wardgate_upstream_refusals_total', { upstream: 'limited', limit: 'requests' })).toBe(4);
    await expect.poll(async () => (await upstreamStatus(gateway, 'limited')).active).toBe(0);
    expect(tally(await askMany(pki, gateway, '/limited/x', 2))).toEqual({ 0: 2 });
  });

  it('of one endpoint send what is too much elsewhere, and refuse it when all have enough', async () => {
    const replies = await ill(0, 'hung', () => ill(1, 'hung', () => askMany(pki, gateway, '/limited-each/x', 5, { width: 5 })));
    expect(tally(replies)).toEqual({ 504: 2, 503: 3 });
    const reached = (await recordsOf('/limited-each/x')).filter(({ status }) => status === 504).map(({ endpoint }) => endpoint);
    expect(new Set(reached)).toEqual(new Set([url(0), url(1)]));
  });

  it('of connections are shared among the threads; an idle connection gives way to none but its own', async () => {
    const replies = await ill(0, 'hung', () => askMany(pki, gateway, '/connections/x', 8, { width: 8 }));
    const counts = tally(replies);
    expect(counts['504']).toBeLessThanOrEqual(2);
    expect((counts['503'] ?? 0) + (counts['504'] ?? 0)).toBe(8);
    expect(await metric(gateway, 'wardgate_upstream_refusals_total', { upstream: 'connections', limit: 'connections' })).toBe(counts['503']);
    expect(tally(await askMany(pki, gateway, '/connections/x', 12, { width: 1 }))).toEqual({ 0: 12 });
  });
});

describe('when no endpoint works', () => {
  it('the one that failed longest ago is tried, and serves as soon as it is back, whichever it is', async () => {
    for (const back of [0, 1]) {
      await ill(1 - back, 'killed', async () => {
        await ill(back, 'killed', async () => {
          expect(tally(await askMany(pki, gateway, '/try/x', 16))).toEqual({ 502: 16 });
        });
        // One of them is out for a minute; the other is in use only because none is left.
        const counts = tally(await askMany(pki, gateway, '/try/x', 10, { width: 1 }));
        expect(counts[back]).toBeGreaterThanOrEqual(8);
        expect((counts[back] ?? 0) + (counts['502'] ?? 0)).toBe(10);
      });
    }
  });

  it('none is asked where that is wanted', async () => {
    await ill(0, 'killed', () => ill(1, 'killed', async () => {
      await expect.poll(async () => (await upstreamStatus(gateway, 'refuse')).endpoints.map(({ up }) => up)).toEqual([false, false]);
      const reply = await ask(pki, gateway.port, '/refuse/none', { client: pki.patient });
      expect(reply.json()).toMatchObject({ code: 'upstream_unavailable' });
      const [record] = await recordsOf('/refuse/none');
      expect(record?.['detail']).toBe('no endpoint of the upstream refuse is known to work');
      expect(record).not.toHaveProperty('endpoint');
    }));
    await expect.poll(async () => (await ask(pki, gateway.port, '/refuse/x', { client: pki.patient })).status).toBe(200);
  });
});

describe('an endpoint that was left out', () => {
  it('is tried by one request when its time is over, and harms no other while it is still hung', async () => {
    await ill(0, 'killed', async () => {
      await askMany(pki, gateway, '/trial/x', 4);
      // For a second, which may be over by now.
      expect((await upstreamStatus(gateway, 'trial')).endpoints[0]).toMatchObject({ counts: { ejected: 1 }, addresses: [{ state: expect.stringMatching(/^(out|trial)$/) as string }] });
    });
    await ill(0, 'hung', async () => {
      await expect.poll(async () => (await upstreamStatus(gateway, 'trial')).endpoints[0]?.addresses[0]?.state).toBe('trial');
      const before = backends[0]?.received.length ?? 0;
      const counts = tally(await askMany(pki, gateway, '/trial/x', 30, { width: 6 }));
      expect((backends[0]?.received.length ?? 0) - before).toBe(1);
      expect(counts).toEqual({ 504: 1, 1: 29 });
    });
    await expect.poll(async () => (await upstreamStatus(gateway, 'trial')).endpoints[0]?.addresses[0]?.state).toBe('trial');
    expect(tally(await askMany(pki, gateway, '/trial/x', 20))).toMatchObject({ 0: expect.any(Number) });
    expect((await upstreamStatus(gateway, 'trial')).endpoints[0]?.addresses[0]?.state).toBe('sound');
    expect((await upstreamStatus(gateway, 'trial')).endpoints[0]?.counts.ejected).toBeGreaterThanOrEqual(2);
  });
});

describe('sessions with upstreams', () => {
  it('are resumed with the same upstream, and never under another identity of ours (CVE-2026-58040, TRAPS 22)', async () => {
    const other = await issueCertificate(pki.backendCa, { subject: [['CN', 'wardgate two']], eku: ['clientAuth'] });
    const { writeFile } = await import('node:fs/promises');
    await writeFile(gateway.path('other.pem'), other.chain);
    await writeFile(gateway.path('other.key'), other.key, { mode: 0o600 });
    const backend = await startFailingBackend(pki, 'x');
    const own = upstreamYaml([backend.port], 'limits: { connections: 2 }');
    await gateway.replace({ own, strange: own.replace('gateway.pem', 'other.pem').replace('gateway.key', 'other.key') });
    // A new connection each time: what asks says that it closes.
    const askAnew = async (path: string): Promise<void> => {
      await askMany(pki, gateway, path, 8, { width: 1 });
      await backend.become('killed');
      await backend.become('well');
    };
    for (let round = 0; round < 3; round++) await askAnew('/own/x');
    expect(backend.resumed()).toBeGreaterThan(0);
    const resumed = backend.resumed();
    const before = backend.handshakes();
    await askMany(pki, gateway, '/strange/x', 8, { width: 1 });
    expect(backend.handshakes()).toBeGreaterThan(before);
    expect(backend.resumed()).toBe(resumed);
    await backend.close();
  });
});
