import { mkdtemp, rm } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Channel, ChannelSetup, ChannelTls, Told } from '../src/audit/alarms/channels/channel.ts';
import { openChannel } from '../src/audit/alarms/channels/open.ts';
import { createDeliveries } from '../src/audit/alarms/deliveries.ts';
import { AlarmError, createDesk, type AlarmReport } from '../src/audit/alarms/desk.ts';
import type { Raised } from '../src/audit/alarms/engine.ts';
import type { Standing } from '../src/audit/alarms/rule.ts';
import { openAlarms, type Alarms } from '../src/audit/alarms/open.ts';
import { startHook, startMailServer } from './support/alarm-receivers.ts';
import { alarmsConfig, NETWORKS, request, standing } from './support/alarms.ts';
import { HOUR, MINUTE } from './support/hospital.ts';
import { testPki, type TestPki } from './support/pki.ts';

const NOON = Date.parse('2026-11-02T12:00:00.000Z');
const SECRET = 'a secret of more than thirty-two octets';
let pki: TestPki;
let directory: string;
let tls: ChannelTls;

beforeAll(async () => {
  pki = await testPki();
  directory = await mkdtemp(join(tmpdir(), 'wardgate-alarms-'));
  tls = { trust: pki.backendCa.certificate, certificate: pki.gatewayClient.chain, key: pki.gatewayClient.key, serverName: 'localhost' };
});

afterAll(() => rm(directory, { recursive: true, force: true }));

function found(id: string, fields: Partial<Raised> = {}): Raised {
  const at = fields.at ?? new Date(NOON).toISOString();
  return { id, rule: 'many_denials', subject: 'certificate aa', text: 'a certificate was denied 20 times', at, records: [{ time: at, segment: 't0.jsonl', seq: 7, hash: 'h', summary: 'request denied' }], ...fields };
}

const desk = (channels: Parameters<typeof createDesk>[0]['channels'] = [{ name: 'mail' }]) => createDesk({ channels, remind: 4 * HOUR, keep: 24 * HOUR });

describe('the desk', () => {
  test('what is found again while an alarm is open counts up, adds its records and tells nobody again', () => {
    const made = desk();
    expect(made.take([found('one'), found('one'), found('two')], NOON).length).toBe(1);
    expect(made.reports()).toMatchObject([{ id: 'one', count: 3, records: [{ seq: 7 }], recent: [{ seq: 7 }, { seq: 7 }] }]);
    expect(made.due('mail', NOON, 100).length).toBe(1);
    expect(made.open()).toEqual({ many_denials: 1 });
  });

  test('an acknowledged alarm stays so while the same goes on, and what begins anew is another', () => {
    const made = desk();
    made.take([found('one')], NOON);
    expect(made.acknowledge('one', 'Chen', 'a broken kiosk', NOON).acknowledged).toMatchObject({ who: 'Chen', note: 'a broken kiosk' });
    expect(made.take([found('one')], NOON)).toEqual([]);
    expect(made.open()).toEqual({ many_denials: 0 });
    expect(made.take([found('two')], NOON).length).toBe(1);
    expect(() => made.acknowledge('one', 'Chen', 'again', NOON)).toThrow(AlarmError);
    expect(() => made.acknowledge('three', 'Chen', 'none', NOON)).toThrow('no alarm "three"');
  });

  test('channels are reminded of what nobody acknowledges; one with `after` hears only of that', () => {
    const made = desk([{ name: 'mail' }, { name: 'boss', after: HOUR }, { name: 'other', rules: ['two_places'] }]);
    made.take([found('one'), found('two', { subject: 'certificate bb' })], NOON);
    made.acknowledge('two', 'Chen', 'known', NOON + MINUTE);
    expect(made.due('boss', NOON + 59 * MINUTE, 10)).toEqual([]);
    expect(made.due('boss', NOON + HOUR, 10).map(({ alarm }) => alarm)).toEqual(['one']);
    expect(made.due('other', NOON + HOUR, 10)).toEqual([]);
    made.told(made.due('mail', NOON, 10));
    made.look(NOON + 3 * HOUR);
    expect(made.due('mail', NOON + 3 * HOUR, 10)).toEqual([]);
    made.look(NOON + 4 * HOUR);
    expect(made.due('mail', NOON + 4 * HOUR, 10)).toMatchObject([{ alarm: 'one', kind: 'reminder' }]);
    made.acknowledge('one', 'Chen', 'looked', NOON + 4 * HOUR);
    expect(made.due('mail', NOON + 5 * HOUR, 10)).toEqual([]);
  });

  test('a thousand open alarms of one rule are enough: what comes beyond is one more', () => {
    const made = desk();
    const many = Array.from({ length: 1_500 }, (_, index) => found(`id${index}`, { subject: `address ${index}` }));
    made.take(many, NOON);
    expect(made.reports().length).toBe(1_001);
    expect(made.reports().at(-1)).toMatchObject({ subject: 'many others', count: 500 });
  });

  test('alarms that were acknowledged long ago are forgotten, open ones never', () => {
    const made = desk();
    made.take([found('one'), found('two', { subject: 'certificate bb' })], NOON);
    made.acknowledge('one', 'Chen', 'known', NOON);
    made.look(NOON + 1_000 * HOUR);
    expect(made.reports().map(({ id }) => id)).toEqual(['two']);
    expect(made.changes()).toContainEqual({ kind: 'alarm', key: 'one' });
  });
});

describe('deliveries', () => {
  function fake(refuse: () => boolean): { readonly channel: Channel; readonly sent: { readonly told: readonly Told[]; readonly id: string }[] } {
    const sent: { told: readonly Told[]; id: string }[] = [];
    return {
      sent,
      channel: {
        name: 'mail', pace: 30_000, most: 100, close: () => undefined, announce: () => Promise.resolve(),
        send(told, id) {
          sent.push({ told, id });
          return refuse() ? Promise.reject(new Error('away')) : Promise.resolve();
        },
      },
    };
  }

  test('what staff noted stays in the house, although the alarm waits until then', async () => {
    const made = desk();
    const { channel, sent } = fake(() => false);
    const [one] = made.take([found('one')], NOON);
    made.acknowledge(one?.id ?? '', 'Chen', 'call Zhang San', NOON);
    createDeliveries({ desk: made, channels: [channel], commit: () => undefined, now: () => NOON, count: () => undefined, warn: () => undefined }).look();
    await expect.poll(() => sent.map(({ told }) => told.map(({ alarm }) => alarm.acknowledged))).toEqual([[{ at: new Date(NOON).toISOString(), who: 'Chen', note: '***' }]]);
  });

  test('a channel that was away gets what waited in few deliveries, and the same attempt under the same id', async () => {
    let at = NOON;
    let away = true;
    const made = desk();
    const { channel, sent } = fake(() => away);
    const deliveries = createDeliveries({ desk: made, channels: [channel], commit: () => undefined, now: () => at, count: () => undefined, warn: () => undefined });
    const pass = async (ms: number): Promise<void> => {
      at += ms;
      deliveries.look();
      await new Promise((resolve) => setImmediate(resolve));
    };
    made.take(Array.from({ length: 60 }, (_, index) => found(`id${index}`, { subject: `address ${index}` })), at);
    await pass(0);
    await pass(500);
    expect(sent.length).toBe(1);
    await pass(500);
    expect(sent.length).toBe(2);
    expect(sent[1]?.id).toBe(sent[0]?.id);
    for (let minute = 0; minute < 60; minute++) await pass(MINUTE);
    expect(sent.length).toBeLessThan(25);
    away = false;
    await pass(10 * MINUTE);
    const before = sent.length;
    expect(sent.at(-1)?.told.length).toBe(60);
    made.take([found('late', { subject: 'late' })], at);
    await pass(1_000);
    expect(sent.length).toBe(before);
    await pass(30_000);
    expect(sent.length).toBe(before + 1);
    await deliveries.close(0);
  });
});

describe('what is kept', () => {
  const warnings: string[] = [];
  const opened: AlarmReport[] = [];
  const running = new Set<Alarms>();
  const DENIALS = Array.from({ length: 25 }, (_, index) => standing(request(NOON + index * 1_000, { result: 'denied', reason: 'role_denied' }), 'kept.jsonl'));

  afterEach(async () => {
    for (const one of running) await one.close(0);
    running.clear();
    opened.length = 0;
  });

  function start(name: string, channels: readonly ChannelSetup[] = [], now = (): number => NOON - HOUR, began = now()): Alarms {
    const { channels: _, ...config } = alarmsConfig();
    const made = openAlarms({ state: join(directory, name), config, networks: NETWORKS, channels }, { mask: (record) => record, host: 'gate', began, now, warn: (detail) => warnings.push(detail), raised: (alarm) => opened.push(alarm) });
    running.add(made);
    return made;
  }

  async function restart(name: string, before: Alarms, channels: readonly ChannelSetup[] = [], now?: () => number): Promise<Alarms> {
    running.delete(before);
    await before.close(0);
    return start(name, channels, now);
  }

  test('a record that somebody has put into the directory, and that none of ours could be, blinds nobody to those behind it', async () => {
    const alarms = start('planted');
    const planted = standing({ ...request(NOON), address: 5 } as never, 'planted.jsonl');
    await alarms.take([planted, ...DENIALS]);
    expect(alarms.reports()).toMatchObject([{ rule: 'many_denials' }]);
    expect(warnings).toContainEqual(expect.stringMatching(/cannot look at record \d+ of planted\.jsonl/));
    warnings.length = 0;
  });

  test('a restart between loses no alarm and doubles none, wherever it comes', async () => {
    for (const cut of [5, 19, 20, 22]) {
      const name = `cut${cut}`;
      let alarms = start(name);
      await alarms.take(DENIALS.slice(0, cut));
      alarms = await restart(name, alarms);
      // The feed hands out again what it had no time to say was taken.
      await alarms.take(DENIALS.slice(Math.max(0, cut - 5)));
      expect(alarms.reports(), name).toMatchObject([{ rule: 'many_denials', count: 6 }]);
    }
    expect(opened.length).toBe(4);
    expect(new Set(opened.map(({ id }) => id)).size).toBe(1);
  });

  const denials = (count: number, from: number): readonly Standing[] => Array.from({ length: count }, (_, index) => standing(request(from + index * 1_000, { result: 'denied', reason: 'role_denied' }), 'later.jsonl'));

  test('a fresh burst after an acknowledgement is a new alarm with a notice, once the rule is met by what came after it, also over a restart', async () => {
    let at = NOON + MINUTE;
    let alarms = start('acknowledged', [], () => at, NOON - HOUR);
    await alarms.take(denials(25, NOON));
    const first = alarms.reports()[0]?.id ?? '';
    alarms.acknowledge(first, 'Chen', 'a broken kiosk');
    alarms = await restart('acknowledged', alarms, [], () => at);
    // What was on its way when somebody acknowledged is of what he saw; a few more are not a burst, though the window still holds the first.
    await alarms.take([...denials(1, at - 1_000), ...denials(19, at + 1_000)]);
    expect(alarms.reports()).toMatchObject([{ id: first, count: 6 }]);
    await alarms.take(denials(3, at + 20_000));
    expect(alarms.reports()).toMatchObject([{ id: first, count: 6 }, { rule: 'many_denials', count: 3 }]);
    expect(opened.length).toBe(2);
    const second = alarms.reports()[1]?.id ?? '';
    at += 5 * MINUTE;
    alarms.acknowledge(second, 'Chen', 'again');
    await alarms.take(denials(20, at + 4 * MINUTE));
    expect(alarms.reports().map(({ acknowledged }) => acknowledged === undefined)).toEqual([false, false, true]);
    expect(opened.length).toBe(3);
  });

  test('after an acknowledgement of many others, the next of them is news again', () => {
    const made = desk();
    made.take(Array.from({ length: 1_001 }, (_, index) => found(`id${index}`, { subject: `address ${index}` })), NOON);
    const rest = made.reports().at(-1)?.id ?? '';
    made.acknowledge(rest, 'Chen', 'a scan', NOON + 1_000);
    const late = { subject: 'address 1000', at: new Date(NOON + 2_000).toISOString() };
    expect(made.take([found('id1000', late)], NOON + 2_000)).toMatchObject([{ subject: 'many others' }]);
    expect(made.reports().length).toBe(1_002);
  });

  test('while nothing can be written nothing is taken, and the same records come again', async () => {
    const alarms = start('busy');
    const other = new DatabaseSync(join(directory, 'busy', 'alarms.db'));
    other.exec('BEGIN IMMEDIATE');
    await expect(alarms.take(DENIALS)).rejects.toThrow();
    expect(alarms.reports()).toEqual([]);
    other.exec('ROLLBACK');
    other.close();
    await alarms.take(DENIALS);
    expect(alarms.reports()).toMatchObject([{ count: 6 }]);
    expect(opened.length).toBe(1);
  });

  test('what was recorded before there were alarms teaches, and is no news', async () => {
    const alarms = start('history', [], () => NOON + HOUR);
    await alarms.take(DENIALS);
    expect(alarms.reports()).toEqual([]);
  });

  test('a notification that could not be sent survives a restart and is sent once', async () => {
    const hook = await startHook(pki, SECRET);
    const { port } = hook;
    await hook.close();
    const setup: ChannelSetup = { kind: 'webhook', name: 'siem', url: `https://localhost:${port}/alarms`, secret: Buffer.from(SECRET), timeout: 5_000, tls };
    let alarms = start('unsent', [setup]);
    await alarms.take(DENIALS);
    await expect.poll(() => alarms.standing().channels).toEqual([{ name: 'siem', pending: 1, delivered: 0, failed: 1 }]);
    alarms = await restart('unsent', alarms, [setup]);
    const back = await startHook(pki, SECRET, port);
    await expect.poll(() => alarms.standing().channels[0]?.pending).toBe(0);
    alarms = await restart('unsent', alarms, [setup]);
    await alarms.take(DENIALS);
    expect(back.posts).toMatchObject([{ signed: 'good', client: 'wardgate', body: { gateway: 'gate', alarms: [{ kind: 'raised', rule: 'many_denials', records: [{ segment: 'kept.jsonl' }, {}, {}, {}, {}] }] } }]);
    await back.close();
  });
});

describe('channels', () => {
  const told: readonly Told[] = [{ kind: 'raised', alarm: { ...desk().take([found('one')], NOON)[0] as AlarmReport } }];
  const now = (): number => Date.now();

  test.each(['starttls', 'implicit'] as const)('mail goes by %s, logged in, with its records', async (kind) => {
    const login = { user: 'wardgate', password: 'correct horse' };
    const server = await startMailServer(pki, { tls: kind, login });
    const channel = openChannel({ kind: 'mail', name: 'mail', host: '127.0.0.1', port: server.port, implicit: kind === 'implicit', from: 'wardgate@hospital.test', to: ['it@hospital.test', 'duty@hospital.test'], login, timeout: 5_000, tls }, 'gate', now);
    await channel.send(told, 'id');
    await channel.send(told, 'id');
    channel.close();
    await server.close();
    expect(server.mails).toMatchObject([{ from: 'wardgate@hospital.test', to: ['it@hospital.test', 'duty@hospital.test'], secure: true }, {}]);
    expect(server.mails[0]?.messageId).toBe(server.mails[1]?.messageId);
    expect(server.mails[0]?.text).toMatch(/Subject: Wardgate alarm, many_denials[\s\S]*gateway +gate[\s\S]*t0\.jsonl number 7 hash h/);
  });

  test('nothing is said to a mail server without TLS, of another CA or of another name', async () => {
    const bare = await startMailServer(pki, { tls: 'none' });
    const good = await startMailServer(pki);
    const send = (port: number, own: Partial<ChannelTls>, more: { readonly timeout?: number; readonly implicit?: boolean } = {}): Promise<void> => openChannel({ kind: 'mail', name: 'mail', host: '127.0.0.1', port, implicit: false, from: 'a@b.test', to: ['c@b.test'], timeout: 5_000, ...more, tls: { ...tls, ...own } }, 'gate', now).send(told, 'id');
    await expect(send(bare.port, {})).rejects.toThrow();
    await expect(send(good.port, { trust: pki.root.certificate })).rejects.toThrow();
    await expect(send(good.port, { serverName: 'mail.hospital.test' })).rejects.toThrow();
    const implicit = await startMailServer(pki, { tls: 'implicit' });
    await expect(send(implicit.port, {}, { timeout: 1_000 })).rejects.toThrow('Greeting never received; is the port one for encryption: implicit?');
    await expect(send(good.port, {}, { implicit: true })).rejects.toThrow('is the port one for encryption: starttls?');
    await implicit.close();
    good.refuse = 451;
    await expect(send(good.port, {})).rejects.toThrow();
    expect([...bare.mails, ...good.mails]).toEqual([]);
    await Promise.all([bare.close(), good.close()]);
  });

  test('a webhook that answers an error, or is not who it should be, has taken nothing', async () => {
    const hook = await startHook(pki, SECRET);
    const open = (own: Partial<ChannelTls> = {}): Channel => openChannel({ kind: 'webhook', name: 'siem', url: `https://localhost:${hook.port}/`, secret: Buffer.from(SECRET), timeout: 5_000, tls: { ...tls, ...own } }, 'gate', now);
    hook.status = 500;
    await expect(open().send(told, 'id')).rejects.toThrow('answered 500');
    await expect(open({ trust: pki.root.certificate }).send(told, 'id')).rejects.toThrow();
    await expect(open({ serverName: 'siem.hospital.test' }).send(told, 'id')).rejects.toThrow();
    expect(hook.posts.length).toBe(1);
    hook.status = 200;
    await open().send(told, 'id');
    expect(hook.posts[1]?.body.id).toBe(hook.posts[0]?.body.id);
    await hook.close();
  });
});
