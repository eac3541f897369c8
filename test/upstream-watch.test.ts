import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parseConfig } from '../src/config/load.ts';
import type { Config } from '../src/config/schema.ts';
import { sharedClock } from '../src/forward/upstream/clock.ts';
import { createUpstream, type Turn, type Upstream, type UpstreamShare } from '../src/forward/upstream/pool.ts';
import { SLOTS } from '../src/forward/upstream/table.ts';
import { createUpstreamWatch, type UpstreamWatch } from '../src/forward/upstream/watch.ts';
import { startDns, type DnsServer } from './support/dns.ts';
import { createAuthority } from './support/pki.ts';

let trust: string;
let dns: DnsServer;
let watch: UpstreamWatch;
const published: UpstreamShare[] = [];
const warned: string[] = [];
const clock = sharedClock();
const THREADS = 2;

beforeAll(async () => {
  trust = (await createAuthority({ name: 'Backend CA' })).certificate;
  dns = await startDns();
});

afterEach(() => {
  watch.close();
  published.length = 0;
  warned.length = 0;
});

afterAll(() => dns.close());

function open(): void {
  watch = createUpstreamWatch({
    threads: THREADS, clock,
    publish(share) {
      published.push(share);
      return Promise.resolve();
    },
    log: { info: () => undefined, warn: (_fields, message) => void warned.push(message) },
  });
}

function configOf(upstream: string): Config {
  const parsed = parseConfig(`listeners: [{ name: plain, address: 127.0.0.1:8080, protocol: redirect }]\nupstreams: { records: ${upstream} }`, 'test.yaml', { cores: 1 });
  if (parsed.kind === 'invalid') throw new Error(parsed.issues.map(({ message }) => message).join('; '));
  return parsed.config;
}

async function adopt(upstream: string): Promise<{ readonly config: Config; readonly share: UpstreamShare }> {
  const config = configOf(upstream);
  const shares = await watch.prepare({ config, upstreams: { records: { trust } } });
  watch.adopt();
  return { config, share: shares['records'] as UpstreamShare };
}

/** The upstream as a thread sees it. */
function onThread(thread: number, { config, share }: { readonly config: Config; readonly share: UpstreamShare }): Upstream {
  return createUpstream({ name: 'records', config: config.upstreams['records'] as Config['upstreams'][string], material: { trust }, share, thread, threads: THREADS, clock });
}

function turnOf(upstream: Upstream): Turn {
  const turn = upstream.choose('x');
  if (turn.kind === 'failed') throw new Error(turn.detail);
  return turn;
}

const active = (): number | undefined => watch.report()[0]?.active;
const named = (name: string): string => `{ endpoints: ["https://${name}:9443"], tls: { trust: t }, resolve: { servers: ["127.0.0.1:${dns.port}"], interval: 10ms, prefer: both } }`;
const TWO = '{ endpoints: ["https://10.0.0.5:9443", "https://10.0.0.6:9443"], tls: { trust: t }, ejection: { failures: 1 } }';

describe('what a thread had under way', () => {
  it('is no longer counted when the thread is gone, and what others have still is', async () => {
    open();
    const adopted = await adopt(TWO);
    const [one, other] = [onThread(0, adopted), onThread(1, adopted)];
    for (let round = 0; round < 3; round++) turnOf(one);
    const kept = turnOf(other);
    expect(active()).toBe(4);
    watch.forgetThread(0);
    expect(active()).toBe(1);
    kept.done('answered');
    expect(active()).toBe(0);
  });
});

describe('another configuration', () => {
  it('leaves what has not changed as it is, and keeps how addresses stand in what has', async () => {
    open();
    const adopted = await adopt(TWO);
    const upstream = onThread(0, adopted);
    const turn = turnOf(upstream);
    turn.done('failed');
    const states = (): readonly (string | undefined)[] => watch.report()[0]?.endpoints.map(({ addresses }) => addresses[0]?.state) ?? [];
    expect(states().toSorted()).toEqual(['out', 'sound']);
    const before = states();
    expect((await adopt(TWO)).share.id).toBe(adopted.share.id);
    expect(states()).toEqual(before);
    const changed = await adopt(TWO.replace('failures: 1', 'failures: 2'));
    expect(changed.share.id).not.toBe(adopted.share.id);
    expect(states()).toEqual(before);
    // Counted anew: these requests were another upstream's.
    expect(watch.report()[0]?.endpoints.map(({ counts }) => counts.failed)).toEqual([0, 0]);
  });

  it('that is not taken leaves everything as it was', async () => {
    open();
    const adopted = await adopt(TWO);
    await watch.prepare({ config: configOf(TWO.replace('10.0.0.6', '10.0.0.7')), upstreams: { records: { trust } } });
    watch.discard();
    expect(watch.shares()['records']).toEqual(adopted.share);
  });
});

describe('a slot', () => {
  it('is another address\'s only when every thread has let go of it and nothing is under way there', async () => {
    open();
    dns.set('moving.test', ['10.0.0.1']);
    const adopted = await adopt(named('moving.test'));
    const upstream = onThread(0, adopted);
    const turn = turnOf(upstream);
    const [{ slot = -1 } = {}] = adopted.share.targets;
    const move = async (to: string): Promise<UpstreamShare> => {
      dns.set('moving.test', [to]);
      await expect.poll(() => published.at(-1)?.targets.map(({ address }) => address), { interval: 5 }).toEqual([to]);
      return published.at(-1) as UpstreamShare;
    };
    for (let round = 2; round < 6; round++) expect((await move(`10.0.0.${round}`)).targets[0]?.slot).not.toBe(slot);
    turn.done('answered');
    expect(turn.endpoint.url.host).toBe('moving.test:9443');
    await expect.poll(async () => {
      const to = `10.0.1.${published.length % 200}`;
      return (await move(to)).targets[0]?.slot;
    }, { interval: 5 }).toBe(slot);
  });

  it('is not lost for good however often a name moves', async () => {
    open();
    dns.set('restless.test', ['10.0.0.1']);
    await adopt(named('restless.test'));
    let moves = 0;
    while (moves < SLOTS + 10) {
      const before = published.length;
      dns.set('restless.test', [`10.1.${moves >> 8}.${moves & 255}`]);
      await expect.poll(() => published.length, { interval: 2 }).toBeGreaterThan(before);
      moves++;
    }
    await expect.poll(() => published.at(-1)?.targets.length).toBe(1);
    expect(warned).toEqual([]);
  });

  it('that there is none of leaves an address out, with a line in the log', async () => {
    open();
    const names = Array.from({ length: 5 }, (_, index) => `many-${index}.test`);
    for (const [index, name] of names.entries()) dns.set(name, Array.from({ length: 32 }, (_, address) => `10.2.${index}.${address + 1}`));
    const endpoints = names.map((name) => `"https://${name}:9443"`).join(', ');
    const { share } = await adopt(named('x').replace('"https://x:9443"', endpoints));
    expect(share.targets).toHaveLength(SLOTS);
    expect(warned[0]).toContain(`more than ${SLOTS} addresses`);
  });
});
