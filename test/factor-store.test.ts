import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openRedis } from '../src/store/redis.ts';
import { CellsError, openLocalCells, type LocalCells } from '../src/store/cells.ts';
import { openEnrolments } from '../src/store/enrolments.ts';
import { createKeyring, SealError } from '../src/store/sealing.ts';
import { createSharedCells } from '../src/store/shared-cells.ts';
import { codeAt, enrol, PATIENT, testFactor, type TestFactor } from './support/factor.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { redisInstalled, startRedis, type RedisServer } from './support/redis.ts';

if (!redisInstalled) console.log('skipped: parts of factor-store.test.ts need redis-server');

const KEY = randomBytes(32);
const SUBJECT = { role: 'patient', id: 'urn:patient:1001' };
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'wardgate-cells-'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

function open(keys: readonly Uint8Array[] = [KEY], options: Partial<Parameters<typeof openLocalCells>[0]> = {}): LocalCells {
  return openLocalCells({ file: join(directory, 'cells.db'), keyring: createKeyring(keys), now: () => 1_000, durable: true, most: 100, ...options });
}

const put = (cells: Pick<LocalCells, 'update'>, name: string, value: string, lifetime?: number) => cells.update(name, () => ({ result: undefined, value, ...(lifetime === undefined ? {} : { lifetime }) }));
const read = (cells: Pick<LocalCells, 'update'>, name: string) => cells.update(name, (held) => ({ result: held }));

describe('sealing', () => {
  it('opens only with its key, at its place, unchanged', () => {
    const ring = createKeyring([KEY]);
    const sealed = ring.seal('秘密', 'a');
    expect(ring.open(sealed, 'a')).toBe('秘密');
    expect(() => ring.open(sealed, 'b')).toThrow(SealError);
    expect(() => createKeyring([randomBytes(32)]).open(sealed, 'a')).toThrow('not configured');
    for (let index = 0; index < sealed.length; index++) {
      const changed = Buffer.from(sealed);
      changed[index] = (changed[index] as number) ^ 1;
      expect(() => ring.open(changed, 'a')).toThrow(SealError);
    }
    for (let length = 0; length < sealed.length; length++) expect(() => ring.open(sealed.subarray(0, length), 'a')).toThrow(SealError);
    expect(ring.seal('秘密', 'a').equals(sealed)).toBe(false);
  });
});

describe('cells on disk', () => {
  it('keep what they hold, sealed, in files of one owner', async () => {
    const cells = open();
    await put(cells, 'enrolment:1', 'urn:patient:1001 and a secret');
    cells.close();
    const again = open();
    expect(await read(again, 'enrolment:1')).toBe('urn:patient:1001 and a secret');
    for (const file of readdirSync(directory)) {
      expect(statSync(join(directory, file)).mode & 0o777).toBe(0o600);
      expect(readFileSync(join(directory, file)).includes('urn:patient')).toBe(false);
    }
    again.close();
  });

  it('are changed in one step: of a hundred at once each sees the one before', async () => {
    const cells = open();
    await Promise.all(Array.from({ length: 100 }, () => cells.update('count', (held) => ({ result: undefined, value: String(Number(held ?? 0) + 1) }))));
    expect(await read(cells, 'count')).toBe('100');
    cells.close();
  });

  it('are gone at their time, and make room', async () => {
    let now = 1_000;
    const cells = open([KEY], { now: () => now, most: 2 });
    await put(cells, 'a', '1', 500);
    await put(cells, 'b', '1');
    await expect(put(cells, 'c', '1')).rejects.toMatchObject({ code: 'cells_full' });
    now = 1_500;
    expect(await read(cells, 'a')).toBeUndefined();
    cells.close();
    const again = open([KEY], { now: () => now, most: 2 });
    await put(again, 'c', '1');
    expect(again.size).toBe(2);
    again.close();
  });

  it('are sealed anew when the key changes, and stop the start when it is lost', async () => {
    const cells = open();
    await put(cells, 'a', 'secret');
    cells.close();
    const next = randomBytes(32);
    expect(() => open([next])).toThrow('sealed under a key that is not configured');
    open([next, KEY]).close();
    const last = open([next]);
    expect(await read(last, 'a')).toBe('secret');
    last.close();
  });

  it('say that they are away, and change nothing, when their value was changed by others', async () => {
    const cells = open();
    await put(cells, 'a', 'secret');
    await put(cells, 'b', 'other');
    cells.close();
    const { DatabaseSync } = await import('node:sqlite');
    const database = new DatabaseSync(join(directory, 'cells.db'));
    database.exec("UPDATE cells SET value = (SELECT value FROM cells WHERE name = 'b') WHERE name = 'a'");
    database.close();
    const again = open();
    await expect(read(again, 'a')).rejects.toThrow(CellsError);
    again.close();
  });
});

describe.skipIf(!redisInstalled)('cells that replicas share', () => {
  let redis: RedisServer;
  const closers: (() => void)[] = [];

  beforeAll(async () => {
    redis = await startRedis();
  });

  afterEach(() => {
    for (const close of closers.splice(0)) close();
  });

  afterAll(() => redis.kill());

  async function connect(prefix = directory.slice(-6)) {
    const connection = openRedis({ url: `redis://127.0.0.1:${redis.port}`, prefix }, () => undefined);
    closers.push(() => connection.disconnect());
    if (connection.status !== 'ready') await once(connection, 'ready');
    return { redis: connection, prefix };
  }

  async function cells(keys: readonly Uint8Array[] = [KEY]) {
    return createSharedCells({ ...await connect(), keyring: createKeyring(keys) });
  }

  it('are changed in one step, whoever changes them', async () => {
    const [one, other] = [await cells(), await cells()];
    await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? one : other).update('count', (held) => ({ result: undefined, value: String(Number(held ?? 0) + 1), lifetime: 60_000 }))));
    expect(await read(one, 'count')).toBe('20');
  });

  it('are sealed there, end at their time, and are sealed anew under a new key without living longer', async () => {
    const shared = await connect();
    const old = createSharedCells({ ...shared, keyring: createKeyring([KEY]) });
    await put(old, 'session:1', 'urn:patient:1001', 60_000);
    const key = `${shared.prefix}:factor:session:1`;
    expect(await shared.redis.get(key)).not.toContain('urn');
    const next = randomBytes(32);
    const both = createSharedCells({ ...shared, keyring: createKeyring([next, KEY]) });
    expect(await read(both, 'session:1')).toBe('urn:patient:1001');
    expect(await shared.redis.pttl(key)).toBeLessThanOrEqual(60_000);
    expect(await shared.redis.pttl(key)).toBeGreaterThan(0);
    expect(await read(createSharedCells({ ...shared, keyring: createKeyring([next]) }), 'session:1')).toBe('urn:patient:1001');
    await expect(read(old, 'session:1')).rejects.toThrow(CellsError);
  });

  it('are away with the store, at once', async () => {
    const own = await startRedis();
    const connection = openRedis({ url: `redis://127.0.0.1:${own.port}`, prefix: 'x' }, () => undefined);
    await once(connection, 'ready');
    const shared = createSharedCells({ redis: connection, prefix: 'x', keyring: createKeyring([KEY]) });
    await put(shared, 'a', '1');
    await own.kill();
    await expect(read(shared, 'a')).rejects.toMatchObject({ code: 'cells_away' });
    connection.disconnect();
  });

  it('hold enrolments of which each gateway keeps a copy: an emptied store gets them back, a later version wins', async () => {
    const shared = await connect();
    const keyring = createKeyring([KEY]);
    const gateway = (name: string) => {
      const local = open([KEY], { file: join(directory, name) });
      closers.push(() => local.close());
      return openEnrolments({ local, shared: createSharedCells({ ...shared, keyring }), now: () => 1_000 });
    };
    const [one, other] = [gateway('one.db'), gateway('other.db')];
    await one.change(SUBJECT, () => ({ result: undefined, enrolment: { phone: '+861' } }));
    expect(await other.get(SUBJECT)).toMatchObject({ phone: '+861', version: 1 });
    await other.change(SUBJECT, (held) => ({ result: held, enrolment: { phone: '+862' } }));
    expect(await one.get(SUBJECT)).toMatchObject({ phone: '+862', version: 2 });
    await one.change(SUBJECT, () => ({ result: undefined, enrolment: {} }));
    await shared.redis.flushdb();
    // The other comes first, with what was forgotten meanwhile.
    await other.synchronize();
    await one.synchronize();
    expect(await other.get(SUBJECT)).not.toHaveProperty('phone');
    // Nobody asked this one for it, and it knows all the same.
    await one.change({ role: 'patient', id: 'urn:patient:2' }, () => ({ result: undefined, enrolment: { phone: '+863' } }));
    expect((await other.list()).map(({ version }) => version).sort()).toEqual([1, 3]);
    await shared.redis.flushdb();
    await other.synchronize();
    expect((await other.get({ role: 'patient', id: 'urn:patient:2' }))?.phone).toBe('+863');
  });

  it('let a session that was opened at one gateway pass at the other, and a code be used at one of them alone', async () => {
    const parts = async () => ({ keys: [KEY], shared: await connect('replicas') });
    const gateways = [testFactor(await parts()), testFactor(await parts())] as const;
    closers.push(() => gateways.forEach((one) => one.close()));
    const [one, other] = gateways;
    const browser = one.browser();
    const { secret, codes } = await enrol(one, browser);
    expect(await other.factor.find(browser.cookie, PATIENT)).toMatchObject({ kind: 'valid', factors: ['totp'] });
    for (const gateway of gateways) gateway.now += 60_000;
    const tries = await Promise.all([...gateways, ...gateways].map((gateway) => gateway.browser().json('POST', 'token', { code: codeAt(secret, gateway.now) })));
    expect(tries.map(({ status }) => status).sort()).toEqual([200, 401, 401, 401]);
    expect([...one.reasons(), ...other.reasons()]).toEqual(['code_reused', 'code_reused', 'code_reused']);
    const recovered = await Promise.all(gateways.map((gateway) => gateway.browser().json('POST', 'token', { recovery_code: codes[3] })));
    expect(recovered.map(({ status }) => status).sort()).toEqual([200, 401]);
    // Whatever one of them counts, the other knows.
    for (let attempt = 0; attempt < 5; attempt++) await one.browser().json('POST', 'token', { code: '000000' });
    for (const gateway of gateways) gateway.now += 30_000;
    expect((await other.browser().json('POST', 'token', { code: codeAt(secret, other.now) })).status).toBe(429);
    await other.factor.factors.reset(PATIENT.subject, 'test');
    expect(await one.factor.find(browser.cookie, PATIENT)).toMatchObject({ reason: 'session_ended' });
  });

  it('end a session at one of them that is opened while the other forgets what it stands on', async () => {
    const parts = async () => ({ keys: [KEY], shared: await connect('racing') });
    const other = testFactor(await parts());
    let race = false;
    const one = testFactor({
      ...await parts(), record: async () => {
        // Between the right code and the session that it opens.
        if (race) await other.factor.factors.reset(PATIENT.subject, 'test');
      },
    });
    closers.push(() => [one, other].forEach((gateway) => gateway.close()));
    const { secret } = await enrol(one, one.browser());
    for (const gateway of [one, other]) gateway.now += 60_000;
    race = true;
    const raced = await one.browser().json('POST', 'token', { code: codeAt(secret, one.now) });
    expect(raced.status).toBe(401);
  });
});

describe('codes by SMS', () => {
  let pki: TestPki;
  let server: Server;
  let gateway: TestFactor;
  const calls: { readonly headers: NodeJS.Dict<string | string[]>; readonly body: string }[] = [];
  const answer = { status: 202 };
  const secret = randomBytes(32);

  beforeAll(async () => {
    pki = await testPki();
    server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key }, (request, response) => {
      let body = '';
      request.on('data', (part: Buffer) => {
        body += part.toString();
      });
      request.on('end', () => {
        calls.push({ headers: request.headers, body });
        response.writeHead(answer.status, { location: '/elsewhere' }).end();
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });

  beforeEach(() => {
    calls.length = 0;
    answer.status = 202;
    gateway = withWebhook(pki.backendCa.certificate);
  });

  function withWebhook(trust: string): TestFactor {
    const { port } = server.address() as AddressInfo;
    return testFactor({ sms: { url: `https://localhost:${port}/send`, trust, secret, template: 'Code: {code}', timeout: 5_000 } });
  }

  afterEach(() => gateway.close());
  afterAll(() => void server.close());

  const codeOf = (call = calls.at(-1)): string => /Code: (\d{6})$/.exec((JSON.parse(call?.body ?? '{}') as { text: string }).text)?.[1] as string;
  const register = (one = gateway) => one.factor.factors.registerPhone(PATIENT.subject, '+8613800138000', 'H 4711-a', 'reception');

  it('go out signed, and let somebody in together with the card number alone', async () => {
    await register();
    const browser = gateway.browser();
    const page = await browser.submit('', {}, 'sms/send');
    expect(page.body).toContain('ends in 000');
    const { createHmac } = await import('node:crypto');
    const [{ headers, body }] = calls as [typeof calls[number]];
    expect(JSON.parse(body)).toEqual({ to: '+8613800138000', text: `Code: ${codeOf()}`, language: 'en' });
    expect(headers['webhook-signature']).toBe(`v1,${createHmac('sha256', secret).update(`${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`).digest('base64')}`);
    const wrongCard = await browser.submit('sms?sent=1', { code: codeOf(), card: 'H4712A' }, 'sms');
    expect(wrongCard.status).toBe(403);
    expect(wrongCard.body).toContain('The code or the card number is not right.');
    const done = await browser.submit('sms?sent=1', { code: codeOf(), card: 'h4711a' }, 'sms');
    expect(done.body).toContain('You are signed in');
    expect(await gateway.factor.find(browser.cookie, PATIENT)).toMatchObject({ kind: 'valid', factors: ['sms'] });
    expect((await gateway.browser().submit('sms?sent=1', { code: codeOf(), card: 'h4711a' }, 'sms')).status).toBe(403);
    expect(gateway.reasons()).toEqual(['code_wrong', 'code_expired']);
    const text = JSON.stringify(gateway.records);
    for (const hidden of ['+8613800138000', codeOf(), 'H4711A', 'H 4711-a']) expect(text).not.toContain(hidden);
  });

  it('that were sent to a lost phone are worth nothing once another is registered, nor is a session that such a one opened', async () => {
    await register();
    const thief = gateway.browser();
    await thief.submit('sms', {}, 'sms/send');
    const other = () => gateway.factor.factors.registerPhone(PATIENT.subject, '+8613800138001', 'H 4711-a', 'reception');
    await other();
    expect((await thief.submit('sms?sent=1', { code: codeOf(), card: 'h4711a' }, 'sms')).status).toBe(403);
    gateway.now += 60_000;
    await thief.submit('sms', {}, 'sms/send');
    expect((await thief.submit('sms?sent=1', { code: codeOf(), card: 'h4711a' }, 'sms')).body).toContain('You are signed in');
    await register();
    expect(await gateway.factor.find(thief.cookie, PATIENT)).toMatchObject({ kind: 'refused', reason: 'session_ended' });
  });

  it('are sent once a minute', async () => {
    await register();
    const browser = gateway.browser();
    await browser.submit('sms', {}, 'sms/send');
    const again = await browser.submit('sms?sent=1', {}, 'sms/send');
    expect(again.status).toBe(429);
    expect(calls).toHaveLength(1);
    expect(gateway.reasons()).toEqual(['sms_too_soon']);
  });

  it.each([['an error', 500], ['a redirect', 302]])('are said not to have gone out when the webhook answers with %s, and it is asked once', async (_, status) => {
    await register();
    answer.status = status;
    const page = await gateway.browser().submit('sms', {}, 'sms/send');
    expect(page.status).toBe(502);
    expect(page.body).toContain('The message could not be sent.');
    expect(calls).toHaveLength(1);
    expect(gateway.reasons()).toEqual(['sms_not_sent']);
  });

  it('go to nobody who is not verified', async () => {
    const other = withWebhook(pki.root.certificate);
    await register(other);
    expect((await other.browser().submit('sms', {}, 'sms/send')).status).toBe(502);
    expect(calls).toHaveLength(0);
    other.close();
  });

  it('go to nobody who is not registered for them', async () => {
    const browser = gateway.browser();
    const form = /name="form" value="([^"]+)"/.exec((await browser.get('enrol')).body)?.[1] as string;
    expect((await browser.post('sms/send', { form })).status).toBe(403);
    expect(gateway.reasons()).toEqual(['not_enrolled']);
    expect(calls).toHaveLength(0);
  });
});
