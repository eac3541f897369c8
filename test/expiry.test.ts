import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bySoonest, createBook } from '../src/audit/expiry/book.ts';
import { openExpiry, type Expiry, type ExpirySetup } from '../src/audit/expiry/open.ts';
import type { Entry, Watched } from '../src/audit/expiry/watched.ts';
import { announcementOf } from '../src/audit/expiry/words.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { startHook, type Hook } from './support/alarm-receivers.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { processorTime } from './support/timing.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.parse('2026-11-22T09:30:00Z');
const TIERS = [90 * DAY, 30 * DAY, 7 * DAY];

interface Line {
  readonly tier: string;
  readonly use: string;
  readonly name: string;
  readonly id?: string;
  readonly not_after: string;
}

interface Told {
  readonly at: number;
  readonly id: string;
  readonly lines: readonly Line[];
  readonly more: number;
}

let directory: string;
let pki: TestPki;
let hook: Hook;
let now: number;
let expiry: Expiry;

const posts = (): readonly Told[] => hook.posts.map(({ body }) => {
  const { id, expiring, more } = body as unknown as { id: string; expiring: readonly Line[]; more: number };
  return { at: 0, id, lines: expiring, more };
});

function server(name: string, left: number, life = 365 * DAY, use: Watched['use'] = 'server'): Watched {
  return { key: `${use} ${name}`, use, name, places: [`listener ${name}`], serial: '01', from: now + left - life, until: now + left };
}

function used(id: string, left: number, { life = 365 * DAY, role = 'doctor', serial = '1' }: { life?: number; role?: string; serial?: string } = {}): { record: AuditRecord } {
  const until = now + left;
  return {
    record: {
      time: new Date(now).toISOString(), event: 'request', result: 'permitted', fingerprint: `${id} ${serial}`, serial, issuer: 'CN=Hospital', subject: `CN=${id}`, role, id,
      not_before: new Date(until - life).toISOString(), not_after: new Date(until).toISOString(),
    },
  };
}

function setup(parts: Partial<ExpirySetup> = {}): ExpirySetup {
  const tls = { trust: pki.backendCa.certificate, certificate: pki.gatewayClient.chain, key: pki.gatewayClient.key, serverName: 'localhost' };
  return {
    file: join(directory, 'expiry.db'), tiers: TIERS.map((before) => ({ before, channels: ['hook'] })), at: 8 * 60, timezone: 'UTC', except: [],
    channels: [{ kind: 'webhook', name: 'hook', timeout: 5_000, url: `https://127.0.0.1:${hook.port}/`, secret: Buffer.from('a secret of more than thirty-two octets'), tls }], ...parts,
  };
}

function open(parts: Partial<ExpirySetup> = {}): Expiry {
  return openExpiry(setup(parts), { mask: (record) => record, host: 'gateway', now: () => now, warn: () => undefined });
}

/** What a run of the clock tells, by the hour it was told in. */
async function run(hours: number, each: () => void = () => undefined): Promise<readonly Told[]> {
  const told: Told[] = [];
  let seen = hook.posts.length;
  for (let hour = 0; hour < hours; hour++) {
    each();
    expiry.look();
    await settled();
    told.push(...posts().slice(seen).map((post) => ({ ...post, at: now })));
    seen = hook.posts.length;
    now += HOUR;
  }
  return told;
}

async function settled(): Promise<void> {
  await expect.poll(() => expiry.standing().channels.every(({ pending }) => pending === 0), { interval: 1 }).toBe(true);
}

function tiersOf(told: readonly Told[], name: string): readonly string[] {
  return told.flatMap(({ lines }) => lines.filter((line) => line.name === name).map(({ tier }) => tier));
}

beforeEach(async () => {
  pki ??= await testPki();
  [directory, hook] = await Promise.all([mkdtemp(join(tmpdir(), 'wardgate-expiry-')), startHook(pki, 'a secret of more than thirty-two octets')]);
  now = START;
  expiry = open();
});

afterEach(async () => {
  await expiry.close(100);
  await hook.close();
  await rm(directory, { recursive: true, force: true });
});

describe('warnings of what ends', () => {
  test("name the listener's certificate before clients' that end in the same second", () => {
    const due = (['user', 'server', 'user'] as const).map((use, index) => ({ entry: { ...server(`n${index}`, DAY, 365 * DAY, use), told: new Map() } as unknown as Entry, before: 7 * DAY }));
    expect(announcementOf(due.toSorted(bySoonest), 0, 'gate', now).body).toMatchObject({ text: expect.stringContaining('first: server certificate') });
  });

  test.each([[5 * MINUTE, '5 min'], [90 * MINUTE, '1 h'], [3 * DAY, '3 days']])('say of what ends in %i ms that it ends in %s', (left, words) => {
    const entry = { ...server('clinical', left), told: new Map() } as unknown as Entry;
    expect(announcementOf([{ entry, before: 7 * DAY }], 0, 'gate', now).text).toContain(` UTC (in ${words}); server certificate clinical`);
  });

  test('each tier is told once over 120 days, the last and the end daily, in the morning, until it is replaced', async () => {
    expiry.hold([server('clinical', 100 * DAY), server('pacs', 200 * DAY)]);
    const told = await run(102 * 24);
    expect(tiersOf(told, 'clinical')).toEqual(['90d', '30d', ...Array<string>(7).fill('7d'), 'ended', 'ended', 'ended']);
    expect(tiersOf(told, 'pacs')).toEqual([]);
    const late = told.filter(({ lines }) => lines.some(({ tier }) => tier !== 'ended')).map(({ at }) => new Date(at).getUTCHours());
    expect(new Set(late)).toEqual(new Set([8]));
    expiry.hold([server('replaced', 365 * DAY), server('pacs', 97 * DAY)]);
    expect(tiersOf(await run(18 * 24), 'clinical')).toEqual([]);
  });

  test('what lives a day is told of at a quarter, a twelfth and a fiftieth of it, at once; what is renewed in time never', async () => {
    expiry.hold([server('short', 24 * HOUR, 24 * HOUR)]);
    const shortLived: Told[] = [];
    for (let minute = 0; minute < 24 * 60 + 20; minute += 10) {
      const before = hook.posts.length;
      expiry.look();
      await settled();
      shortLived.push(...posts().slice(before).map((post) => ({ ...post, at: now })));
      now += 10 * MINUTE;
    }
    expect(tiersOf(shortLived, 'short')).toEqual(['90d', '30d', '7d', 'ended']);
    expect(shortLived.map(({ at }) => (START + 24 * HOUR - at) / MINUTE)).toEqual([360, 120, 20, -10]);
    expect(await run(48, () => expiry.hold([server('short', 9 * HOUR, 24 * HOUR)]))).toEqual([]);
  });

  test('a weekly CRL that is replaced 12 hours before its end is never told of, one that is not is', async () => {
    const week = 7.5 * DAY;
    const crl = (until: number): Watched => ({ key: `crl ${until}`, use: 'crl', name: 'CN=CA', places: ['clients.crl'], from: until - week, until });
    let until = START + week;
    expect(await run(40 * 24, () => {
      if (until - now <= 12 * HOUR) until += 7 * DAY;
      expiry.hold([crl(until)]);
    })).toEqual([]);
    const told = await run(9 * 24, () => expiry.hold([crl(until)]));
    expect(tiersOf(told, 'CN=CA').slice(0, 4)).toEqual(['90d', '30d', '7d', 'ended']);
  });

  test('a gateway that was off over two tiers tells of the one it is in, once', async () => {
    expiry.hold([server('clinical', 100 * DAY)]);
    await run(48);
    await expiry.close(100);
    now += 75 * DAY;
    expiry = open();
    expiry.hold([{ ...server('clinical', 0), from: START - 265 * DAY, until: START + 100 * DAY }]);
    expect(tiersOf(await run(5 * 24), 'clinical')).toEqual(['30d']);
  });

  test('a restart tells of nothing again', async () => {
    const one = server('clinical', 20 * DAY);
    expiry.hold([one]);
    expect(await run(30)).toHaveLength(1);
    await expiry.close(100);
    expiry = open();
    expiry.hold([one]);
    expect(await run(48)).toEqual([]);
  });

  test('a clock that jumps far ahead and back silences nothing for good', async () => {
    const one = server('clinical', 100 * DAY);
    expiry.hold([one]);
    await run(1);
    now = START + 400 * DAY;
    expect(tiersOf(await run(1), 'clinical')).toEqual(['ended']);
    now = START;
    const told = await run(100 * 24);
    expect(tiersOf(told, 'clinical')).toEqual(['90d', '30d', ...Array<string>(7).fill('7d')]);
  });

  test('a thousand certificates make one message, which names the first 200 and counts the rest', async () => {
    expiry.hold(Array.from({ length: 1_000 }, (_, index) => server(`s${index}`, 20 * DAY + index * MINUTE)));
    const told = await run(24);
    expect(told.map(({ lines, more }) => [lines.length, more])).toEqual([[200, 800]]);
    expect(told[0]?.lines[0]?.name).toBe('s0');
  });

  test('each tier has its own channels, by mail or webhook as they are; nobody else is told', async () => {
    await expiry.close(100);
    expiry = open({ tiers: [{ before: 90 * DAY, channels: [] }, { before: 30 * DAY, channels: ['hook'] }, { before: 7 * DAY, channels: [] }] });
    expiry.hold([server('clinical', 95 * DAY)]);
    expect(tiersOf(await run(95 * 24), 'clinical')).toEqual(['30d']);
    expect(expiry.list(Infinity, 10).entries[0]?.told).toMatchObject({ tier: '7d', channels: [] });
  });

  test('a channel that was away gets one message with all that waited, less what was replaced meanwhile', async () => {
    hook.status = 503;
    expiry.hold([server('a', 29 * DAY), server('b', 29 * DAY)]);
    expiry.look();
    await expect.poll(() => expiry.standing().channels[0]?.failed).toBe(1);
    now += 10 * DAY;
    expiry.hold([server('a', 19 * DAY), server('c', 25 * DAY)]);
    expiry.look();
    await expect.poll(() => expiry.standing().channels[0]?.failed).toBe(2);
    const before = hook.posts.length;
    hook.status = 204;
    now += HOUR;
    expiry.look();
    await settled();
    expect(posts().slice(before).map(({ lines }) => lines.map(({ name }) => name))).toEqual([['a', 'c']]);
  });

  test('what was sent and not noted before a kill is sent again under the same id: at least once, and known by it', async () => {
    // The receiver takes it, and its answer is lost.
    hook.status = 500;
    expiry.hold([server('clinical', 20 * DAY)]);
    expiry.look();
    await expect.poll(() => expiry.standing().channels[0]?.failed).toBe(1);
    await expiry.close(100);
    hook.status = 204;
    expiry = open();
    expiry.hold([server('clinical', 20 * DAY)]);
    await run(24);
    expect(posts().map(({ id }) => id)).toEqual([posts()[0]?.id, posts()[0]?.id]);
  });
});

describe('certificates of clients', () => {
  beforeEach(() => expiry.hold([]));

  test('are told of as they are seen in use, with role and id, and no more once they have ended', async () => {
    expiry.take([used('chen', 31 * DAY)]);
    const told = await run(35 * 24);
    expect(tiersOf(told, 'CN=chen')).toEqual(['90d', '30d', ...Array<string>(7).fill('7d')]);
    expect(told[0]?.lines[0]).toMatchObject({ use: 'user', role: 'doctor', id: 'chen', serial: '1' });
  });

  test('nobody is told of the old one once its renewal is in use and it is not, and again when it is', async () => {
    expiry.take([used('chen', 29 * DAY)]);
    expect(tiersOf(await run(24), 'CN=chen')).toEqual(['30d']);
    now += 23 * DAY;
    expiry.take([used('chen', 365 * DAY, { serial: '2' })]);
    expect(await run(30)).toEqual([]);
    const end = START + 29 * DAY - now;
    expiry.take([used('chen', end), used('chen', 360 * DAY, { serial: '2' })]);
    expect(tiersOf(await run(20), 'CN=chen')).toEqual(['7d']);
  });

  test('a refused one, one without a role and one of a role that is left out are not', async () => {
    await expiry.close(100);
    expiry = open({ except: ['patient'] });
    expiry.hold([]);
    const { record } = used('stranger', 5 * DAY);
    const { role: _, ...without } = used('nobody', 5 * DAY).record;
    expiry.take([{ record: { ...record, result: 'denied' } }, { record: without }, used('zhang', 5 * DAY, { role: 'patient' })]);
    expect(await run(48)).toEqual([]);
    expect(expiry.list(Infinity, 10).entries.map(({ id, quiet }) => [id, quiet])).toEqual([['zhang', true]]);
  });

  test('100,000 are remembered and no more, those that were not used for longest being forgotten', () => {
    const book = createBook({ tiers: TIERS, except: new Set() });
    const at = (index: number): number => START + index;
    for (let index = 0; index <= 100_000; index++) {
      if (index === 50_000) book.used({ fingerprint: 'f0', at: START + 2 * HOUR });
      book.add({ key: `f${index}`, use: 'user', name: 'CN=x', places: [], from: START, until: START + 400 * DAY, user: { role: 'doctor', owner: `o${index}`, first: at(index), seen: at(index) } });
    }
    expect([...book.entries()]).toHaveLength(100_000);
    expect([book.get('f0')?.key, book.get('f1')]).toEqual(['f0', undefined]);
    expect(processorTime(() => expect(book.due(START + 395 * DAY, true)).toHaveLength(100_000))).toBeLessThan(2_000);
  });
});
