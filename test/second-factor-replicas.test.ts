import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
import { invite } from '../src/cli/factor.ts';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { createAuthenticator, type Options } from './support/authenticator.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { browserOver, codeAt, type Browser } from './support/factor.ts';
import { ask, configuration, gatewayDirectory, readRecords, type Reply } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { redisInstalled, startRedis, type RedisServer } from './support/redis.ts';
import { startSocketBackend, type SocketBackend } from './support/socket-backend.ts';

if (!redisInstalled) console.log('skipped: second-factor-replicas.test.ts needs redis-server');

describe.skipIf(!redisInstalled)('replicas with second factors', () => {
  const key = randomBytes(32);
  let pki: TestPki;
  let backend: Backend;
  let sockets: SocketBackend;
  let redis: RedisServer;
  let replicas: readonly { readonly gateway: Gateway; readonly directory: string; readonly port: number }[];

  beforeAll(async () => {
    pki = await testPki();
    backend = await startBackend(pki);
    sockets = await startSocketBackend(pki, (_request, response) => void response.end());
    const upstream = (port: number): string => `{ endpoints: ["https://127.0.0.1:${port}"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal } }`;
    redis = await startRedis();
    replicas = await Promise.all([0, 1].map(async () => {
      const directory = await gatewayDirectory(pki);
      await writeFile(`${directory}/factors.key`, key, { mode: 0o600 });
      await writeFile(`${directory}/wardgate.yaml`, configuration(backend.port, {
        routes: '[{ name: mine, match: { path: "/mine/*" }, allow: [patient], upstream: records, require: { second_factor: [totp, webauthn] } }, { name: any, match: { path: "/any/*" }, allow: [patient], upstream: records }, { name: socket, match: { path: "/socket/*" }, allow: [patient], upstream: sockets, require: { second_factor: totp } }]',
        upstreams: `{ records: ${upstream(backend.port)}, sockets: ${upstream(sockets.port)} }`,
        top: `second_factor: { key_file: factors.key }\nstore: { redis: "redis://127.0.0.1:${redis.port}" }`,
      }));
      const gateway = await createGateway({ config: `${directory}/wardgate.yaml` });
      return { gateway, directory, port: gateway.listeners[0]?.port ?? 0 };
    }));
    for (const { gateway } of replicas) await vi.waitFor(async () => expect((await gateway.status()).store?.connected).toBe(true), { timeout: 20_000 });
  });

  afterAll(async () => {
    for (const { gateway, directory } of replicas) {
      await gateway.stop(0);
      await rm(directory, { recursive: true, force: true });
    }
    await redis.kill();
    await backend.close();
    sockets.close();
  });

  const at = (index: number): typeof replicas[number] => replicas[index] as typeof replicas[number];
  const browserAt = (index: number): Browser => browserOver('localhost', async (method, target, fields, body) => {
    const reply = await ask(pki, at(index).port, target, { client: pki.patient, method, body, headers: Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, field) => [fields[field * 2] as string, fields[field * 2 + 1] as string])) });
    return { status: reply.status, fields: reply.rawHeaders, body: reply.body.toString() };
  });
  const token = (index: number, code: string): Promise<Reply> => ask(pki, at(index).port, '/.wardgate/token', { client: pki.patient, method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ code }) });
  const mine = (index: number, cookie: string | undefined): Promise<Reply> => ask(pki, at(index).port, '/mine/x', { client: pki.patient, headers: { cookie: `__Host-wardgate-session=${cookie}` } });

  it('are one: invited at one, enrolled at the other, signed in and out at either, and each code is good at one of them', async () => {
    let printed = '';
    await invite({ config: `${at(0).directory}/wardgate.yaml`, json: true, role: 'patient', id: 'urn:patient:1001', who: 'test', expires: '1d' }, (text) => {
      printed += text;
    });
    const [one, other] = [browserAt(0), browserAt(1)];
    // A form of one, answered at the other.
    await one.get('enrol');
    other.cookie = one.cookie;
    await other.submit('enrol', { invitation: (JSON.parse(printed) as { code: string }).code });
    const confirm = await other.get('enrol/confirm');
    const secret = /<code>([A-Z2-7 ]+)<\/code>/.exec(confirm.body)?.[1]?.replaceAll(' ', '') as string;
    await other.submit('enrol/confirm', { code: codeAt(secret, Date.now()) });
    expect((await mine(0, other.cookie)).status).toBe(200);
    expect((await mine(1, other.cookie)).status).toBe(200);
    const code = codeAt(secret, Date.now() + 30_000);
    const answers = await Promise.all([0, 1, 0, 1].map((index) => token(index, code)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401, 401]);
    one.cookie = other.cookie;
    await one.submit('session', {}, 'logout');
    expect((await mine(1, other.cookie)).status).toBe(401);
    const reasons = (await Promise.all(replicas.map(({ directory }) => readRecords(`${directory}/state/audit`)))).flat().flatMap(({ event, route, reason }) => (event === 'second_factor' || route === 'mine' ? reason ?? [] : []));
    expect(reasons.sort()).toEqual(['code_reused', 'code_reused', 'code_reused', 'session_ended']);
  });

  it('share challenges, keys and their counters: asked at one, answered at the other, once', async () => {
    const call = (index: number, page: string, input: object): Promise<Reply> => ask(pki, at(index).port, `/.wardgate/${page}`, { client: pki.patient, method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(input) });
    const options = async (index: number, input: object = {}): Promise<Options> => (await call(index, 'webauthn/options', input)).json() as unknown as Options;
    const printed: string[] = [];
    await invite({ config: `${at(1).directory}/wardgate.yaml`, json: true, role: 'patient', id: 'urn:patient:1001', who: 'test', expires: '1d' }, (text) => printed.push(text));
    const key = createAuthenticator('https://localhost');
    const made = key.create(await options(0, { for: 'enrol', invitation: (JSON.parse(printed.join('')) as { code: string }).code }));
    expect((await call(1, 'webauthn/enrol', { webauthn: made })).status).toBe(201);
    const answer = key.get(await options(0));
    const answers = await Promise.all([0, 1, 0, 1].map((index) => call(index, 'token', { webauthn: answer })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401, 401]);
    const token = answers.find(({ status }) => status === 200)?.json()['access_token'];
    for (const index of [0, 1]) expect((await ask(pki, at(index).port, '/mine/x', { client: pki.patient, headers: { authorization: `Bearer ${String(token)}` } })).status).toBe(200);
    // The counter that one of them saw is known to the other; a second challenge does not help a copy.
    expect((await call(1, 'token', { webauthn: key.get(await options(1), { counter: key.counter }) })).status).toBe(401);
    const oversize = await call(0, 'token', { webauthn: { ...answer, response: { ...answer.response, signature: 'A'.repeat(20_000) } } });
    expect([oversize.status, oversize.json()['code']]).toEqual([413, 'body_too_large']);
    const reasons = (await Promise.all(replicas.map(({ directory }) => readRecords(`${directory}/state/audit`)))).flat().flatMap(({ event, factor, reason }) => (event === 'second_factor' && factor === 'webauthn' ? reason ?? [] : []));
    expect(reasons.sort()).toEqual(['webauthn_counter', 'webauthn_replayed', 'webauthn_replayed', 'webauthn_replayed']);
  });

  it('end at one what was let in on a session that is ended at the other', async () => {
    const printed: string[] = [];
    await invite({ config: `${at(1).directory}/wardgate.yaml`, json: true, role: 'patient', id: 'urn:patient:1001', who: 'test', expires: '1d' }, (text) => printed.push(text));
    const visitor = browserAt(1);
    await visitor.submit('enrol', { invitation: (JSON.parse(printed.join('')) as { code: string }).code });
    const secret = /<code>([A-Z2-7 ]+)<\/code>/.exec((await visitor.get('enrol/confirm')).body)?.[1]?.replaceAll(' ', '') as string;
    await visitor.submit('enrol/confirm', { code: codeAt(secret, Date.now()) });
    const socket = new WebSocket(`wss://127.0.0.1:${at(0).port}/socket/x`, [], {
      servername: 'localhost', headers: { host: 'localhost', cookie: `__Host-wardgate-session=${visitor.cookie}` }, ca: pki.root.certificate, cert: pki.patient.chain, key: pki.patient.key,
    } as ClientOptions);
    const closed = once(socket, 'close');
    await once(socket, 'open');
    await visitor.submit('session', {}, 'logout');
    await closed;
    await expect.poll(async () => (await readRecords(`${at(0).directory}/state/audit`)).filter(({ event, result }) => event === 'connection' && result === 'denied').map(({ reason, detail }) => [reason, detail])).toEqual([['session_ended', 'signed out']]);
  });

  it('let nobody in who needs a factor while what they share is away, everybody else as ever, and remember who is enrolled when it comes back empty', async () => {
    await redis.kill();
    for (const { gateway } of replicas) await expect.poll(async () => (await gateway.status()).store?.connected).toBe(false);
    const refused = await mine(0, `wgs_${'a'.repeat(43)}`);
    expect([refused.status, refused.json()['code']]).toEqual([401, 'step_up_required']);
    expect((await readRecords(`${at(0).directory}/state/audit`)).filter(({ reason }) => reason === 'factors_unavailable')).toHaveLength(1);
    expect((await ask(pki, at(0).port, '/.wardgate/', { client: pki.patient })).status).toBe(503);
    expect((await ask(pki, at(0).port, '/any/x', { client: pki.patient })).status).toBe(200);
    redis = await startRedis(redis.port);
    for (const { gateway } of replicas) await expect.poll(async () => (await gateway.status()).store?.connected).toBe(true);
    await expect.poll(async () => (await ask(pki, at(0).port, '/.wardgate/', { client: pki.patient })).body.toString()).toContain('Use my security key or passkey');
    await expect.poll(async () => (await ask(pki, at(1).port, '/.wardgate/', { client: pki.patient })).body.toString()).toContain('Use my security key or passkey');
  });
});
