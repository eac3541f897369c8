import { Agent } from 'node:https';
import type { ClientHttp2Session } from 'node:http2';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startFailingBackend, type Ailment, type FailingBackend } from './failing-backend.ts';
import { startUpstreams, upstreamStatus, upstreamYaml, type UpstreamGateway } from './endpoints.ts';
import { ask, generalPathOnly } from './gateway.ts';
import { askHttp2, openHttp2 } from './http2.ts';
import { createAuthority, issueCertificate, testPki, type TestPki } from './pki.ts';

/** What a client got: its status, or 0 when the answer was cut. */
interface Got {
  readonly method: string;
  readonly status: number;
  readonly body: string;
  readonly requestId: string | undefined;
  readonly milliseconds: number;
}

/** How clients ask. */
export interface Mode {
  readonly name: string;
  open(pki: TestPki, gateway: UpstreamGateway): Promise<{ ask(path: string, method: string): Promise<Got>; close(): void }>;
}

/** One request a connection. */
export const HTTP1: Mode = {
  name: generalPathOnly ? 'HTTP/1.1, general path' : 'HTTP/1.1',
  open: (pki, gateway) => Promise.resolve({
    ask: (path, method) => timed(method, () => ask(pki, gateway.port, path, { client: pki.patient, method, ...(method === 'POST' ? { body: 'measurement' } : {}) })),
    close: () => undefined,
  }),
};

/** One request after the other on each of a few connections. */
export const HTTP1_KEPT: Mode = {
  name: 'HTTP/1.1, kept alive',
  open(pki, gateway) {
    const agent = new Agent({ keepAlive: true });
    return Promise.resolve({
      ask: (path, method) => timed(method, () => ask(pki, gateway.port, path, { client: pki.patient, agent, method, ...(method === 'POST' ? { body: 'measurement' } : {}) })),
      close: () => agent.destroy(),
    });
  },
};

/** All requests on a few connections. */
export const HTTP2: Mode = {
  name: 'HTTP/2',
  async open(pki, gateway) {
    const sessions: ClientHttp2Session[] = await Promise.all(Array.from({ length: 4 }, () => openHttp2(pki, gateway.port, { client: pki.patient })));
    let next = 0;
    return {
      ask: (path, method) => timed(method, async () => {
        const reply = await askHttp2(sessions[next++ % sessions.length] as ClientHttp2Session, path, { method, ...(method === 'POST' ? { body: 'measurement' } : {}) });
        if (reply.code !== 0) throw new Error(`the stream was reset with ${reply.code}`);
        return reply;
      }),
      close: () => sessions.forEach((session) => session.destroy()),
    };
  },
};

async function timed(method: string, work: () => Promise<{ status: number; body: Buffer; headers: NodeJS.Dict<string | string[]> }>): Promise<Got> {
  const started = performance.now();
  try {
    const { status, body, headers } = await work();
    return { method, status, body: body.toString(), requestId: headers['x-request-id'] as string, milliseconds: performance.now() - started };
  } catch {
    return { method, status: 0, body: '', requestId: undefined, milliseconds: performance.now() - started };
  }
}

/** Each has an upstream of its own, one endpoint of which falls ill and one of which stays well. */
const AILMENTS = ['killed', 'frozen', 'hung', 'resetting', 'garbage', 'dripping', 'stalling', 'swapped'] as const satisfies readonly Ailment[];
const RULES = 'ejection: { failures: 3, time: 1m }, retries: { budget: 100% }, slow_start: 0s';

/** Short only where they are what is waited for: elsewhere a busy machine is no ailment. */
const TIMEOUTS: { readonly [name in Ailment]?: string } = {
  frozen: 'connect: 1s', hung: 'response: 2s', stalling: 'idle: 2s', dripping: 'response: 2s, idle: 2s',
};

/** Between a client's requests: those that wait for a deadline need company, not all that two cores can do until then. */
const PAUSE_MS = 15;

/** Has a backend fall ill in every way while clients ask by `mode`: which requests fail, and why, and that no other does. */
export function describeFailures(mode: Mode, { upstream }: { readonly upstream?: 'h2' } = {}): void {
  describe(`${mode.name}: a backend ${upstream === 'h2' ? 'that speaks HTTP/2 ' : ''}falls ill under load`, () => {
    let pki: TestPki;
    let gateway: UpstreamGateway;
    const ill = new Map<Ailment, FailingBackend>();
    const well: FailingBackend[] = [];
    let client: Awaited<ReturnType<Mode['open']>>;

    beforeAll(async () => {
      pki = await testPki();
      const protocol = upstream === undefined ? {} : { protocol: upstream };
      const rules = (name: Ailment): string => [...(upstream === undefined ? [] : [`protocol: ${upstream}`]), `timeouts: { ${TIMEOUTS[name] ?? ''} }`, RULES].join(', ');
      const stranger = await createAuthority({ name: 'Somebody else' });
      const swapped = await issueCertificate(stranger, { subject: [['CN', 'records.internal']], san: { dns: 'records.internal' }, eku: ['serverAuth'] });
      for (const ailment of AILMENTS) ill.set(ailment, await startFailingBackend(pki, 'ill', { ...protocol, swapped }));
      for (const name of ['well', 'other']) well.push(await startFailingBackend(pki, name, protocol));
      const [good, other] = well as [FailingBackend, FailingBackend];
      gateway = await startUpstreams(pki, {
        ...Object.fromEntries([...ill].map(([ailment, { port }]) => [ailment, upstreamYaml([port, good.port], rules(ailment))])),
        other: upstreamYaml([other.port], rules('well')),
      });
      client = await mode.open(pki, gateway);
    });

    afterAll(async () => {
      client.close();
      await gateway.stop();
      await Promise.all([...ill.values(), ...well].map((backend) => backend.close()));
    });

    /**
     * Asks at a steady rate, GET and POST, the upstream that falls ill and another one, before, during and after the onset, until
     * the ill endpoint is out or `enough` says so.
     */
    async function load(ailment: Ailment, during: number): Promise<{ readonly ours: readonly Got[]; readonly others: readonly Got[]; readonly records: readonly Record<string, unknown>[] }> {
      const backend = ill.get(ailment) as FailingBackend;
      const ours: Got[] = [];
      const others: Got[] = [];
      let going = true;
      const worker = async (path: string, into: Got[], method: (round: number) => string): Promise<void> => {
        for (let round = 0; going; round++) {
          into.push(await client.ask(path, method(round)));
          await setTimeout(PAUSE_MS);
        }
      };
      const workers = [
        // One of them posts, whenever that is: three posts that fail would put the endpoint out before anybody was served elsewhere.
        ...Array.from({ length: 4 }, (_, index) => worker(`/${ailment}/x`, ours, (round) => ((round + index) % 4 === 3 ? 'POST' : 'GET'))),
        worker('/other/x', others, (round) => (round % 2 === 0 ? 'POST' : 'GET')),
      ];
      await expect.poll(() => ours.filter(({ body }) => body === 'ill').length).toBeGreaterThan(4);
      await backend.become(ailment);
      const onset = ours.length;
      await expect.poll(() => ours.length - onset, { timeout: 30_000 }).toBeGreaterThan(during);
      going = false;
      await Promise.all(workers);
      return { ours, others, records: await gateway.records() };
    }

    function recordOf(records: readonly Record<string, unknown>[], { requestId }: Got): Record<string, unknown> | undefined {
      return records.find((record) => record['request_id'] === requestId);
    }

    const endpoint = (ailment: Ailment): string => `https://127.0.0.1:${ill.get(ailment)?.port}`;
    const failures = (got: readonly Got[]): readonly Got[] => got.filter(({ status }) => status !== 200);

    async function expectNothingLeft(ailment: Ailment): Promise<void> {
      await expect.poll(async () => (await upstreamStatus(gateway, ailment)).active).toBe(0);
    }

    async function expectOut(ailment: Ailment): Promise<void> {
      const { endpoints } = await upstreamStatus(gateway, ailment);
      expect(endpoints.map(({ up, addresses }) => [up, addresses[0]?.state])).toEqual([[false, 'out'], [true, 'sound']]);
    }

    it.each(['killed', 'resetting', 'garbage'] as const)('%s: requests that change nothing are served elsewhere, and only POSTs that may have arrived fail', async (ailment) => {
      const { ours, others, records } = await load(ailment, 60);
      expect(failures(others)).toEqual([]);
      for (const failed of failures(ours)) {
        expect(failed).toMatchObject({ method: 'POST', status: 502 });
        expect(recordOf(records, failed)).toMatchObject({ result: 'failed', reason: 'upstream_unavailable', endpoint: endpoint(ailment), method: 'POST' });
      }
      // Three in a row put it out; what is under way at that moment may fail besides.
      expect(failures(ours).length).toBeLessThanOrEqual(8);
      const elsewhere = records.filter((record) => record['path'] === `/${ailment}/x` && record['attempts'] !== undefined);
      expect(elsewhere.length).toBeGreaterThan(0);
      for (const record of elsewhere) {
        expect(record['attempts']).toEqual([expect.stringContaining(endpoint(ailment))]);
        expect(record).toMatchObject({ result: 'permitted', status: 200, endpoint: `https://127.0.0.1:${well[0]?.port}` });
      }
      await expectOut(ailment);
      await expectNothingLeft(ailment);
    });

    it('frozen: nothing has been sent, so that every request is served elsewhere, POSTs too', async () => {
      const { ours, others, records } = await load('frozen', 40);
      expect(failures(others)).toEqual([]);
      // A request that was under way when the connection broke may have arrived.
      for (const failed of failures(ours)) expect(recordOf(records, failed)).toMatchObject({ method: 'POST', status: 502, reason: 'upstream_unavailable', endpoint: endpoint('frozen') });
      expect(failures(ours).length).toBeLessThanOrEqual(4);
      const elsewhere = records.filter((record) => record['path'] === '/frozen/x' && String((record['attempts'] as string[] | undefined)?.[0]).includes('no connection in time'));
      expect(elsewhere.length).toBeGreaterThan(0);
      for (const record of elsewhere) expect(record).toMatchObject({ status: 200 });
      await expectOut('frozen');
      await expectNothingLeft('frozen');
    });

    it('hung: requests that it has are answered 504 after the deadline, and are not repeated; the next go elsewhere', async () => {
      const { ours, others, records } = await load('hung', 40);
      expect(failures(others)).toEqual([]);
      expect(failures(ours).length).toBeGreaterThanOrEqual(3);
      expect(failures(ours).length).toBeLessThanOrEqual(8);
      for (const failed of failures(ours)) {
        expect(failed.status).toBe(504);
        expect(failed.milliseconds).toBeGreaterThan(500);
        expect(failed.milliseconds).toBeLessThan(10_000);
        expect(recordOf(records, failed)).toMatchObject({ result: 'failed', reason: 'upstream_timeout', endpoint: endpoint('hung') });
        expect(recordOf(records, failed)).not.toHaveProperty('attempts');
      }
      await expectOut('hung');
      await expectNothingLeft('hung');
    });

    it('dripping, an octet a second: slow, and alive; every request is served', async () => {
      const { ours, others } = await load('dripping', 5);
      expect(failures([...ours, ...others])).toEqual([]);
      expect(ours.filter(({ body }) => body === '...').length).toBeGreaterThan(0);
      const { endpoints } = await upstreamStatus(gateway, 'dripping');
      expect(endpoints.map(({ up }) => up)).toEqual([true, true]);
      await expectNothingLeft('dripping');
    });

    it('stalling in mid-answer: the answer is cut, never whole, and on record as the upstream\'s', async () => {
      const { ours, others } = await load('stalling', 40);
      expect(failures(others)).toEqual([]);
      expect(failures(ours).length).toBeGreaterThanOrEqual(3);
      expect(failures(ours).every(({ status }) => status === 0)).toBe(true);
      const cut = async () => (await gateway.records()).filter((record) => record['path'] === '/stalling/x' && record['result'] === 'failed');
      // An answer is cut before that is on record.
      await expect.poll(async () => (await cut()).length).toBe(failures(ours).length);
      for (const record of await cut()) expect(record).toMatchObject({ status: 200, reason: 'upstream_timeout', endpoint: endpoint('stalling') });
      await expectOut('stalling');
      await expectNothingLeft('stalling');
    });

    it('swapped for another\'s certificate: nothing is ever sent to it, it is out at once, and every request is served elsewhere', async () => {
      const backend = ill.get('swapped') as FailingBackend;
      const { ours, others, records } = await load('swapped', 40);
      expect(failures(others)).toEqual([]);
      for (const failed of failures(ours)) expect(recordOf(records, failed)).toMatchObject({ method: 'POST', status: 502, reason: 'upstream_unavailable', endpoint: endpoint('swapped') });
      expect(failures(ours).length).toBeLessThanOrEqual(4);
      await expectOut('swapped');
      await expectNothingLeft('swapped');
      const { endpoints } = await upstreamStatus(gateway, 'swapped');
      expect(endpoints[0]?.counts.unverified).toBeGreaterThan(0);
      const before = backend.received.length;
      await Promise.all(Array.from({ length: 8 }, () => client.ask('/swapped/x', 'GET')));
      expect(backend.received.length).toBe(before);
    });
  });
}
