import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DENIALS, openDenyList, type DenyChange } from '../src/store/deny-list.ts';
import { createDenyTable } from '../src/store/deny-table.ts';
import { openGrants } from '../src/store/grants.ts';
import type { Journal } from '../src/store/journal.ts';
import { openReplicas } from '../src/store/replicas.ts';
import { openSuspensions } from '../src/store/suspensions.ts';
import { openToldDevices } from '../src/store/told-devices.ts';
import { openToldEvents } from '../src/store/told-events.ts';
import { openTransfers, TRANSFERS, type TransferChange } from '../src/store/transfers.ts';
import { redisInstalled, startRedis, type RedisServer } from './support/redis.ts';

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function stateDirectory(): Promise<string> {
  const state = await mkdtemp(join(tmpdir(), 'wardgate-times-'));
  closers.push(() => rm(state, { recursive: true }));
  return state;
}

const moved = (id: string, at: string, role = 'nurse'): TransferChange => ({ op: 'transfer', id, roles: [role], within: ['doctor', 'nurse'], who: 'webhook hr', reason: 'a test', at });

describe('a journal', () => {
  const grant = { id: 'g', until: '2026-11-22T10:00:00.000Z', route: 'r', reason: 'emergency', text: '', certificate: 'ab', serial: '01', issuer: 'CN=x', role: 'nurse', who: 'w', address: 'a', listener: 'l', request_id: 'q', breaks: [] };
  it.each<[string, object, (state: string) => unknown]>([
    ['denylist.jsonl', { op: 'deny', kind: 'identity', id: 'Dr Wang', reason: 'x', who: 'y' }, (state) => openDenyList(state, createDenyTable())],
    ['suspensions.jsonl', { op: 'suspend', route: 'records', reason: 'x', who: 'y' }, openSuspensions],
    ['transfers.jsonl', { op: 'restore', id: 'Dr Wang', reason: 'x', who: 'y' }, openTransfers],
    ['devices.jsonl', { op: 'remove', id: 'pump-1', reason: 'x', who: 'y' }, openToldDevices],
    ['break-glass.jsonl', { op: 'open', ...grant }, openGrants],
    ['webhook-events.jsonl', { op: 'told', webhook: 'hr', id: '1', digest: 'ab' }, (state) => openToldEvents(state, Date.now())],
  ])('%s with a change of no time stops the start: as a text it would outrank whatever comes later', async (file, change, open) => {
    const state = await stateDirectory();
    for (const at of ['zzzz', '2026-11-22', '+010000-01-01T00:00:00.000Z', '2026-99-22T10:00:00.000Z', '2026-11-22T10:00:00.000+01:00']) {
      await writeFile(join(state, file), `${JSON.stringify({ ...change, at })}\n`);
      expect(() => open(state), at).toThrow(new RegExp(`${file.replace('.', '\\.')}:1: not a`));
    }
    await writeFile(join(state, file), `${JSON.stringify({ ...change, at: '2026-11-22T09:00:00.000Z' })}\n`);
    (open(state) as { close(): void }).close();
  });

  it('gives a change a time after the one before, but none further ahead than replicas believe', async () => {
    const journal = openTransfers(await stateDirectory());
    const now = Date.parse('2026-11-22T10:00:00.000Z');
    journal.append(moved('dr a', '2026-11-22T10:00:01.000Z'));
    journal.append(moved('dr b', '9999-12-31T23:59:59.999Z'));
    expect([journal.timeOf('dr a', now), journal.timeOf('dr b', now)]).toEqual(['2026-11-22T10:00:01.001Z', '2026-11-22T10:00:00.000Z']);
    journal.close();
  });
});

if (!redisInstalled) console.log('skipped: what comes from a store in replica-times.test.ts needs redis-server');

describe.skipIf(!redisInstalled)('a change from the shared store', () => {
  let redis: RedisServer;
  let store: Redis;
  let lists = 0;

  beforeAll(async () => {
    redis = await startRedis();
    store = new Redis(redis.port, '127.0.0.1');
  });

  afterAll(async () => {
    store.disconnect();
    await redis.kill();
  });

  interface Replica {
    readonly journal: Journal<TransferChange>;
    readonly file: string;
    readonly said: string[];
    change(change: TransferChange): Promise<void>;
    advance(ms: number): void;
  }

  /** A gateway's transfers among those of others with the same prefix. */
  async function replica(prefix: string, ahead = 0, key?: Uint8Array): Promise<Replica> {
    const state = await stateDirectory();
    const journal = openTransfers(state);
    const client = new Redis(redis.port, '127.0.0.1');
    const said: string[] = [];
    let offset = ahead;
    const replicas = openReplicas({ redis: client, prefix, key, now: () => Date.now() + offset, warn: (message) => void said.push(message) });
    closers.push(() => journal.close(), () => client.disconnect(), () => replicas.close());
    const announce = replicas.share({ ...TRANSFERS, name: 'transfers', receive: journal.append, isNews: journal.isNews, changes: journal.latest });
    return {
      journal, said, file: join(state, 'transfers.jsonl'),
      async change(change) {
        journal.append(change);
        await announce(change);
      },
      advance(ms) {
        offset += ms;
      },
    };
  }

  const inMinutes = (minutes: number): string => new Date(Date.now() + minutes * 60_000).toISOString();
  async function put(prefix: string, change: TransferChange & { mac?: string }): Promise<void> {
    await store.hset(`${prefix}:transfers`, change.id, JSON.stringify(change));
    await store.incr(`${prefix}:transfers:version`);
  }

  it.each(['zzzz', '9999-12-31T23:59:59.999Z', inMinutes(7)])('of the time %s is not taken, is told of once, and gives way to what happens now', async (at) => {
    const prefix = `times-${lists++}`;
    const [one, other] = [await replica(prefix), await replica(prefix)];
    await put(prefix, moved('dr wang', at));
    await expect.poll(() => other.said).toEqual([expect.stringMatching(/^the shared store holds (nothing of transfers|a change of transfers) in one of its places/)]);
    await one.change(moved('dr li', inMinutes(-1)));
    await expect.poll(() => other.journal.last('dr li')).toBeDefined();
    const right = moved('dr wang', one.journal.timeOf('dr wang', Date.now()), 'doctor');
    await one.change(right);
    await expect.poll(() => other.journal.last('dr wang')).toEqual(right);
    expect(other.said).toHaveLength(1);
    expect(await readFile(other.file, 'utf8')).not.toContain(at);
  });

  it('that ends access is taken at once from a gateway whose clock is hours ahead, and not from one that is days ahead', async () => {
    const prefix = `times-${lists++}`;
    const list = openDenyList(await stateDirectory(), createDenyTable());
    const client = new Redis(redis.port, '127.0.0.1');
    const replicas = openReplicas({ redis: client, prefix, now: () => Date.now(), warn: () => undefined });
    closers.push(() => list.close(), () => client.disconnect(), () => replicas.close());
    replicas.share({ ...DENIALS, name: 'deny', receive: list.apply, isNews: list.isNews, changes: list.changes });
    const denial = (fingerprint: string, minutes: number): DenyChange => ({ op: 'deny', kind: 'fingerprint', fingerprint: fingerprint.repeat(32), reason: 'stolen', who: 'test', at: inMinutes(minutes) });
    for (const change of [denial('bb', 48 * 60), denial('aa', 10 * 60)]) await store.hset(`${prefix}:deny`, DENIALS.subject(change), JSON.stringify(change));
    await store.incr(`${prefix}:deny:version`);
    await expect.poll(() => list.entries().map((entry) => 'fingerprint' in entry && entry.fingerprint)).toEqual(['aa'.repeat(32)]);
  });

  it('that nobody with the key has put there is not taken, nor one that was put elsewhere, and gives way to what is', async () => {
    const prefix = `times-${lists++}`;
    const key = randomBytes(32);
    const [one, other] = [await replica(prefix, 0, key), await replica(prefix, 0, key)];
    await one.change(moved('dr li', inMinutes(-1)));
    await expect.poll(() => other.journal.last('dr li')).toBeDefined();
    const vouched = JSON.parse(await store.hget(`${prefix}:transfers`, 'dr li') ?? '') as { mac: string; id: string };
    await put(prefix, { ...moved('dr wang', inMinutes(-1)), mac: vouched.mac });
    await put(prefix, moved('dr li', inMinutes(1), 'doctor'));
    // Either may be the one that finds the second of them, and puts its own back.
    await expect.poll(() => [one.said, other.said].map((said) => said.length > 0)).toEqual([true, true]);
    expect([...new Set([...one.said, ...other.said])]).toEqual(['the shared store holds nothing of transfers in one of its places that was put there with the key of store.key_file']);
    await expect.poll(async () => JSON.parse(await store.hget(`${prefix}:transfers`, 'dr li') ?? '') as unknown).toEqual(vouched);
    expect([other.journal.last('dr wang'), other.journal.last('dr li')]).toEqual([undefined, one.journal.last('dr li')]);
  });

  it('of who has another key is not taken, and two such gateways do not overwrite each other again and again', async () => {
    const prefix = `times-${lists++}`;
    const [one, other] = [await replica(prefix, 0, randomBytes(32)), await replica(prefix, 0, randomBytes(32))];
    await Promise.all([one.change(moved('dr li', inMinutes(-1))), other.change(moved('dr li', inMinutes(-2), 'doctor'))]);
    const version = async (): Promise<number> => Number(await store.get(`${prefix}:transfers:version`));
    await expect.poll(async () => {
      const before = await version();
      await new Promise((done) => setTimeout(done, 1_200));
      return await version() - before;
    }, { timeout: 15_000 }).toBe(0);
    expect([one.journal.last('dr li'), other.journal.last('dr li')]).toMatchObject([{ roles: ['nurse'] }, { roles: ['doctor'] }]);
  });

  it('that others vouch for is taken by a gateway that has no key yet', async () => {
    const prefix = `times-${lists++}`;
    const [with_, without] = [await replica(prefix, 0, randomBytes(32)), await replica(prefix)];
    await with_.change(moved('dr li', inMinutes(-1)));
    await expect.poll(() => without.journal.last('dr li')).toEqual(with_.journal.last('dr li'));
    expect(without.said).toEqual([]);
  });

  it('that was made by a clock a little ahead is taken, and what is made after it here is later', async () => {
    const prefix = `times-${lists++}`;
    const one = await replica(prefix);
    const change = moved('dr wang', inMinutes(4));
    await put(prefix, change);
    await expect.poll(() => one.journal.last('dr wang')).toEqual(change);
    expect(one.journal.timeOf('dr wang', Date.now()) > change.at).toBe(true);
    expect(one.said).toEqual([]);
  });

  it('that was made by a clock far ahead is taken when its time has come, and until then two gateways do not overwrite each other again and again', async () => {
    const prefix = `times-${lists++}`;
    const [right, fast] = [await replica(prefix), await replica(prefix, 20 * 60_000)];
    const [now, ahead] = [moved('dr wang', inMinutes(0), 'doctor'), moved('dr wang', inMinutes(20))];
    await right.change(now);
    await fast.change(ahead);
    await expect.poll(() => right.said).toHaveLength(1);
    const version = async (): Promise<number> => Number(await store.get(`${prefix}:transfers:version`));
    await expect.poll(async () => {
      const before = await version();
      await new Promise((done) => setTimeout(done, 1_200));
      return await version() - before;
    }).toBe(0);
    expect(await version()).toBeLessThan(7);
    expect(right.journal.last('dr wang')).toEqual(now);
    right.advance(16 * 60_000);
    await expect.poll(() => right.journal.last('dr wang')).toEqual(ahead);
    expect(right.said).toHaveLength(1);
  });
});
