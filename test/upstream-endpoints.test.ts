import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { status } from '../src/cli/status.ts';
import type { Backend } from './support/backend.ts';
import { askMany, metric, startEndpoints, startUpstreams, tally, upstreamStatus, upstreamYaml, type UpstreamGateway } from './support/endpoints.ts';
import { ask } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backends: readonly Backend[];
let gateway: UpstreamGateway;
/** Holds the answers of backend 0 back for as long as the test wants. */
let hold: (() => void)[] | undefined;
let onHold: () => void = () => undefined;

beforeAll(async () => {
  pki = await testPki();
  backends = await startEndpoints(pki, 3, (request, response, number) => {
    const answer = (): void => void response.end(String(number));
    if (hold === undefined || number !== 0 || request.url?.startsWith('/least') !== true) return answer();
    hold.push(answer);
    onHold();
  });
  const [a = 0, b = 0, c = 0] = backends.map(({ port }) => port);
  gateway = await startUpstreams(pki, {
    turns: upstreamYaml([a, b, c]),
    weights: upstreamYaml([{ port: a, weight: 3 }, { port: b, weight: 1 }]),
    least: upstreamYaml([a, b], 'balance: least_connections'),
    clients: upstreamYaml([a, b, c], 'balance: hash'),
  });
});

afterAll(async () => {
  await gateway.stop();
  await Promise.all(backends.map((backend) => backend.close()));
});

describe('the endpoints of an upstream', () => {
  it('serve in their turn', async () => {
    const counts = tally(await askMany(pki, gateway, '/turns/x', 60));
    // Each thread goes round by itself.
    for (const number of ['0', '1', '2']) expect(Math.abs((counts[number] ?? 0) - 20)).toBeLessThanOrEqual(2);
  });

  it('serve by their weights', async () => {
    const counts = tally(await askMany(pki, gateway, '/weights/x', 80));
    expect(Math.abs((counts['0'] ?? 0) - 60)).toBeLessThanOrEqual(2);
    expect((counts['0'] ?? 0) + (counts['1'] ?? 0)).toBe(80);
  });

  it('serve where the fewest requests are under way, on all threads together', async () => {
    hold = [];
    const held: Promise<unknown>[] = [];
    while (hold.length === 0) {
      const arrived = new Promise<void>((resolve) => {
        onHold = resolve;
      });
      const asked = ask(pki, gateway.port, '/least/x', { client: pki.patient });
      held.push(asked);
      await Promise.race([asked, arrived]);
    }
    const counts = tally(await askMany(pki, gateway, '/least/x', 20, { width: 1 }));
    expect(counts).toEqual({ 1: 20 });
    for (const answer of hold) answer();
    hold = undefined;
    await Promise.all(held);
  });

  it('serve each client where it was served before', async () => {
    const clients = await Promise.all(Array.from({ length: 12 }, (_, index) => pki.issueClient({ subject: [['CN', `Patient ${index}`], ['OU', 'Patients'], ['O', 'Hospital']], san: { uri: `urn:patient:${index}` } })));
    const served = await Promise.all(clients.map(async (client) => {
      const replies = await Promise.all(Array.from({ length: 4 }, () => ask(pki, gateway.port, '/clients/x', { client })));
      return new Set(replies.map(({ body }) => body.toString()));
    }));
    expect(served.map(({ size }) => size)).toEqual(served.map(() => 1));
    expect(new Set(served.flatMap((where) => [...where])).size).toBeGreaterThan(1);
  });

  it('are on record with each request, and counted once a gateway', async () => {
    const answered = () => metric(gateway, 'wardgate_upstream_requests_total', { upstream: 'turns', endpoint: `https://127.0.0.1:${backends[1]?.port}`, result: 'answered' });
    await expect.poll(async () => (await upstreamStatus(gateway, 'turns')).active).toBe(0);
    const before = await answered();
    const replies = await askMany(pki, gateway, '/turns/recorded', 12);
    const records = (await gateway.records()).filter(({ path }) => path === '/turns/recorded');
    const where = records.map(({ endpoint }) => String(backends.findIndex(({ port }) => endpoint === `https://127.0.0.1:${port}`))).sort();
    expect(where).toEqual(replies.map(({ body }) => body.toString()).sort());
    // Counted when the exchange is over, which a client may hear of before.
    await expect.poll(async () => await answered() - before).toBe(where.filter((number) => number === '1').length);
  });

  it('have nothing under way when everything is answered', async () => {
    await askMany(pki, gateway, '/turns/x', 10, { method: 'POST', body: 'x' });
    await expect.poll(async () => (await upstreamStatus(gateway, 'turns')).active).toBe(0);
    expect((await upstreamStatus(gateway, 'turns')).endpoints.flatMap(({ addresses }) => addresses.map(({ state, active }) => ({ state, active })))).toEqual(Array.from({ length: 3 }, () => ({ state: 'sound', active: 0 })));
    expect(await metric(gateway, 'wardgate_upstream_up', { upstream: 'turns', endpoint: `https://127.0.0.1:${backends[0]?.port}` })).toBe(1);
  });
});

describe('wardgate status', () => {
  it('shows each endpoint with its addresses', async () => {
    let text = '';
    expect(await status({ config: gateway.path('wardgate.yaml') }, (part) => (text += part))).toBe(0);
    const lines = text.split('\n');
    const at = lines.indexOf('upstream      weights: 0 under way');
    expect(lines.slice(at + 1, at + 3)).toEqual([`  endpoint    https://127.0.0.1:${backends[0]?.port}: up`, '    address   127.0.0.1: sound, 0 under way']);
  });
});

describe('a reload', () => {
  it('keeps what is known of an upstream that has not changed, and its connections', async () => {
    const [a = 0, b = 0] = backends.map(({ port }) => port);
    const counted = async (): Promise<number> => {
      const { endpoints } = await upstreamStatus(gateway, 'turns');
      return endpoints.reduce((sum, { counts }) => sum + counts.answered, 0);
    };
    await askMany(pki, gateway, '/turns/x', 3);
    await expect.poll(async () => (await upstreamStatus(gateway, 'turns')).active).toBe(0);
    const before = await counted();
    expect(before).toBeGreaterThan(0);
    await gateway.replace({ turns: upstreamYaml(backends.map(({ port }) => port)), weights: upstreamYaml([a, b]) });
    expect(await counted()).toBe(before);
    const counts = tally(await askMany(pki, gateway, '/weights/x', 40));
    expect(Math.abs((counts['0'] ?? 0) - 20)).toBeLessThanOrEqual(2);
  });
});
