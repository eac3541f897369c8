import { once } from 'node:events';
import { appendFile, readFile } from 'node:fs/promises';
import type { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
import { parseHours } from '../src/config/hours.ts';
import { endOfHours, withinHours } from '../src/policy/hours.ts';
import { compileSuspensions, suspensionOf, type SuspensionOrder, type Suspect } from '../src/policy/suspensions.ts';
import { parseNetwork } from '../src/policy/networks.ts';
import { wardgate } from './support/command.ts';
import { ask, configuration, exchange, openTls, startGateway, type GatewayParts, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2, replyOf } from './support/http2.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { redisInstalled, startRedis } from './support/redis.ts';
import { startSocketBackend, type SocketBackend } from './support/socket-backend.ts';
import { gone, issueDevice, openStream, startStreamBackend, startStreamGateway } from './support/stream-gateway.ts';

let pki: TestPki;
let backend: SocketBackend;
let port: number;
/** Serves the tests that ask it: what one has suspended is resumed after it. */
let common: TestGateway;
const started: TestGateway[] = [];

beforeAll(async () => {
  pki = await testPki();
  backend = await startSocketBackend(pki, (request, response) => {
    // An answer that never ends: work in flight.
    if (request.url?.endsWith('/endless') === true) response.write('begin');
    else response.end('hello');
  });
  ({ port } = backend);
  common = await startGateway(pki, port, { routes: ROUTES, top: INSIDE });
});

afterEach(async () => {
  await Promise.all(started.splice(0).map((gateway) => gateway.stop()));
  for (const scope of (await common.gateway.status()).suspensions) await common.gateway.resume(scope, 'test');
});

afterAll(async () => {
  await common.stop();
  backend.close();
});

const ROUTES = `
  - { name: public, match: { path: /public/* }, allow: [public], upstream: records }
  - { name: records, match: { path: /records/* }, allow: [doctor, patient], upstream: records, preflight: allow, limits: { rates: [{ per: certificate, rate: [1000/minute] }] } }
  - { name: echo, match: { path: /echo/* }, allow: [doctor, patient, device], upstream: records }
  - { name: limited, match: { path: /limited/* }, allow: [doctor], upstream: records, preflight: allow, limits: { rates: [{ per: certificate, rate: [2/minute], count: denials }, { per: certificate, rate: [5/minute] }] } }`;
const INSIDE = 'networks: { inside: [10.0.0.0/8] }';

/** A gateway of a test's own. */
async function start(parts: GatewayParts = {}): Promise<TestGateway> {
  const gateway = await startGateway(pki, port, { routes: ROUTES, top: INSIDE, ...parts });
  started.push(gateway);
  return gateway;
}

const order = { reason: 'wrong doses', who: 'test' };
const status = async (gateway: TestGateway, path: string, client = pki.doctor, more: object = {}): Promise<number> => (await ask(pki, gateway.port, path, { client, ...more })).status;
const inAMinute = (): string => new Date(Date.now() + 60_000).toISOString();

describe('a suspended route', () => {
  it('answers 503 on every thread from then on, while others serve, until it is resumed', async () => {
    const gateway = await start();
    expect(await status(gateway, '/records/1')).toBe(200);
    await gateway.gateway.suspend({ route: 'records', ...order });
    const replies = await Promise.all(Array.from({ length: 20 }, () => ask(pki, gateway.port, '/records/1', { client: pki.doctor })));
    expect(replies.map((reply) => reply.status)).toEqual(Array<number>(20).fill(503));
    expect(replies[0]?.json()).toMatchObject({ code: 'suspended', status: 503 });
    expect(replies[0]?.body.toString()).not.toContain('wrong doses');
    expect(replies[0]?.headers['retry-after']).toBeUndefined();
    expect(await status(gateway, '/echo/1')).toBe(200);
    expect(await gateway.gateway.resume({ route: 'records' }, 'test')).toBe(true);
    expect(await gateway.gateway.resume({ route: 'records' }, 'test')).toBe(false);
    expect(await status(gateway, '/records/1')).toBe(200);
    await expect.poll(async () => (await gateway.records()).filter((record) => record['reason'] === 'suspended')).toHaveLength(20);
    expect((await gateway.records()).filter((record) => record['event'] === 'suspension')).toMatchObject([
      { result: 'done', route: 'records', who: 'test', detail: 'suspended: wrong doses' }, { result: 'done', route: 'records', who: 'test', detail: 'resumed' },
    ]);
  });

  it('says over HTTP/1.1 and HTTP/2 when to come again where the end is known, and serves again by itself', async () => {
    const gateway = await start();
    await gateway.gateway.suspend({ route: 'echo', ...order, expires: inAMinute() });
    const reply = await ask(pki, gateway.port, '/echo/1', { client: pki.doctor });
    expect(reply.status).toBe(503);
    expect(Number(reply.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(Number(reply.headers['retry-after'])).toBeLessThanOrEqual(60);
    const session = await openHttp2(pki, gateway.port, { client: pki.doctor });
    expect((await askHttp2(session, '/echo/1')).headers['retry-after']).toMatch(/^\d\d?$/);
    await gateway.gateway.suspend({ route: 'echo', ...order, expires: new Date(Date.now() + 1_000).toISOString() });
    await expect.poll(() => status(gateway, '/echo/1'), { timeout: 50_000 }).toBe(200);
    await expect.poll(async () => (await gateway.records()).filter((record) => record['event'] === 'suspension'), { timeout: 50_000 }).toMatchObject([{ until: expect.any(String) as string }, { until: expect.any(String) as string }, { route: 'echo', detail: 'expired' }]);
    session.destroy();
  });

  it('tells nobody of it who may not use it: without a certificate 401, without the role 403', async () => {
    await common.gateway.suspend({ route: 'records', ...order });
    expect((await ask(pki, common.port, '/records/1')).status).toBe(401);
    expect((await ask(pki, common.port, '/records/1', { client: pki.device })).json()).toMatchObject({ code: 'role_denied' });
    expect((await ask(pki, common.port, '/records/1', { client: pki.revokedDoctor })).json()).toMatchObject({ code: 'certificate_rejected' });
    expect(await status(common, '/records/1')).toBe(503);
  });

  it('serves no preflight either, and counts nobody for being refused', async () => {
    await common.gateway.suspend({ route: 'limited', ...order });
    const headers = { origin: 'https://app.test', 'access-control-request-method': 'GET' };
    expect((await ask(pki, common.port, '/limited/1', { method: 'OPTIONS', headers })).status).toBe(503);
    for (let index = 0; index < 8; index++) expect(await status(common, '/limited/1')).toBe(503);
    await common.gateway.resume({ route: 'limited' }, 'test');
    expect(await status(common, '/limited/1')).toBe(200);
  });

  it('ends answers that are under way, those of the public too, and spares those of other routes', async () => {
    const gateway = await start();
    const open = async (path: string, client?: typeof pki.doctor) => {
      const socket = await openTls(pki, gateway.port, client === undefined ? {} : { client });
      await exchange(socket, `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`, (text) => text.includes('begin'));
      return socket;
    };
    const [suspended, spared, open_] = await Promise.all([open('/records/endless', pki.doctor), open('/echo/endless', pki.doctor), open('/public/endless')]);
    const ended = Promise.all([gone(suspended), gone(open_)]);
    await gateway.gateway.suspend({ route: 'records', ...order });
    await gateway.gateway.suspend({ route: 'public', ...order });
    await ended;
    expect(spared.destroyed).toBe(false);
    spared.destroy();
    await expect.poll(async () => (await gateway.records()).filter((record) => record['reason'] === 'suspended')).toHaveLength(2);
  });

  it('does not touch a connection whose request is over', async () => {
    const socket = await openTls(pki, common.port, { client: pki.doctor });
    const get = (path: string): Promise<string> => exchange(socket, `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`, (text) => text.endsWith('hello'));
    expect(await get('/records/1')).toContain('HTTP/1.1 200');
    expect(await get('/echo/1')).toContain('HTTP/1.1 200');
    await common.gateway.suspend({ route: 'records', ...order });
    await common.gateway.suspend({ route: 'public', ...order });
    expect(await get('/echo/2')).toContain('HTTP/1.1 200');
    socket.destroy();
  });

  it('ends on HTTP/2 its own streams and no others of the connection', async () => {
    const session = await openHttp2(pki, common.port, { client: pki.doctor });
    const open = async (path: string) => {
      const stream = session.request({ ':path': path, ':authority': 'localhost' });
      stream.on('error', () => undefined);
      await once(stream, 'response');
      return stream;
    };
    const suspended = await open('/records/endless');
    const spared = await open('/echo/endless');
    const reply = replyOf(suspended).catch(() => undefined);
    await common.gateway.suspend({ route: 'records', ...order });
    await reply;
    expect(suspended.rstCode).not.toBe(0);
    expect(spared.destroyed).toBe(false);
    expect((await askHttp2(session, '/records/1')).json()).toMatchObject({ code: 'suspended' });
    session.destroy();
  });

  it('ends its WebSockets', async () => {
    const doctor = await pki.issueClient({ subject: [['CN', 'Dr Li'], ['OU', 'Doctors']] });
    const options = { cert: doctor.chain, key: doctor.key, ca: pki.root.certificate, servername: 'localhost', headers: { host: 'localhost' } } as ClientOptions;
    const socket = new WebSocket(`wss://127.0.0.1:${common.port}/echo/ws`, [], options);
    socket.on('error', () => undefined);
    await once(socket, 'open');
    const closed = once(socket, 'close');
    await common.gateway.suspend({ route: 'echo', ...order });
    await closed;
    await expect.poll(async () => (await common.records()).filter((record) => record['reason'] === 'suspended' && record['fingerprint'] === doctor.sha256)).not.toHaveLength(0);
  });
});

describe('a suspension', () => {
  it('of a role or a network, or of what is both, is for those alone', async () => {
    await common.gateway.suspend({ role: 'patient', ...order });
    expect([await status(common, '/echo/1', pki.patient), await status(common, '/echo/1')]).toEqual([503, 200]);
    await common.gateway.resume({ role: 'patient' }, 'test');
    await common.gateway.suspend({ route: 'echo', network: '127.0.0.0/8', ...order });
    await common.gateway.suspend({ role: 'doctor', network: '10.1.0.0/16', ...order });
    expect([await status(common, '/echo/1'), await status(common, '/records/1')]).toEqual([503, 200]);
  });

  it('for clients outside spares those from networks.inside', async () => {
    const listenerExtra = '    proxy_protocol: { from: [127.0.0.1/32] }';
    const gateway = await start({ listenerExtra });
    await gateway.gateway.suspend({ route: 'echo', outside: true, ...order });
    const from = async (address: string): Promise<string> => {
      const { connect } = await import('node:net');
      const transport = connect(gateway.port, '127.0.0.1');
      transport.write(`PROXY TCP4 ${address} 127.0.0.1 4000 443\r\n`);
      const socket = await openTls(pki, gateway.port, { client: pki.doctor, socket: transport });
      const text = await exchange(socket, 'GET /echo/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
      return text.slice(9, 12);
    };
    expect([await from('10.2.3.4'), await from('192.0.2.7')]).toEqual(['200', '503']);
  });

  it('of a role reaches streams without HTTP, open ones too', async () => {
    const backend = await startStreamBackend(pki, (socket) => socket.pipe(socket));
    const gateway = await startStreamGateway(pki, backend.port);
    started.push(gateway);
    const device = await issueDevice(pki, 'device-1');
    const open = await openStream(pki, gateway, device);
    open.on('error', () => undefined);
    open.write('hello');
    await once(open, 'data');
    const ended = gone(open);
    await gateway.gateway.suspend({ role: 'device', ...order });
    await ended;
    const again = await openStream(pki, gateway, device);
    again.on('error', () => undefined);
    again.write('hello');
    await gone(again);
    await expect.poll(async () => (await gateway.records()).filter((record) => record['event'] === 'connection' && record['reason'] === 'suspended')).toHaveLength(2);
    backend.close();
  });

  it('holds on a thread that replaces another', async () => {
    const threads: Worker[] = [];
    const born = (worker: Worker): void => void (worker.threadName?.startsWith('wardgate-') === true && threads.push(worker));
    process.on('worker', born);
    const gateway = await start({ threads: 1 });
    await gateway.gateway.suspend({ route: 'echo', ...order });
    const died = once(threads[0] as Worker, 'exit');
    await (threads[0] as Worker).terminate();
    await died;
    await expect.poll(() => threads.length).toBe(2);
    await expect.poll(() => status(gateway, '/echo/1').catch(() => 0)).toBe(503);
    expect(await status(gateway, '/records/1')).toBe(200);
    process.off('worker', born);
  });

  it('holds over a restart', async () => {
    const gateway = await start({ threads: 1 });
    await gateway.gateway.suspend({ route: 'echo', ...order });
    await gateway.gateway.stop(0);
    started.splice(started.indexOf(gateway), 1);
    const { createGateway } = await import('../src/gateway.ts');
    const again = await createGateway({ config: gateway.path('wardgate.yaml') });
    expect((await ask(pki, again.listeners[0]?.port ?? 0, '/echo/1', { client: pki.doctor })).status).toBe(503);
    expect((await again.status()).suspensions).toMatchObject([{ route: 'echo', reason: 'wrong doses', who: 'test' }]);
    await again.stop(0);
  });

  it('that cannot be read stops the start', async () => {
    const gateway = await start({ threads: 1 });
    await gateway.gateway.suspend({ route: 'echo', ...order });
    await gateway.gateway.stop(0);
    await appendFile(gateway.path('state/suspensions.jsonl'), 'garbage\n');
    const { createGateway } = await import('../src/gateway.ts');
    await expect(createGateway({ config: gateway.path('wardgate.yaml') })).rejects.toThrow(/suspensions\.jsonl:2: not a suspension/);
  });

  it('of what is not configured is refused: a slip of the pen must not pass for a closed door', async () => {
    const gateway = await start({ threads: 1, top: '' });
    await expect(gateway.gateway.suspend({ route: 'record', ...order })).rejects.toThrow('no route named "record"; known: public, records, echo');
    await expect(gateway.gateway.suspend({ listener: 'plain', ...order })).rejects.toThrow('no listener named "plain"; known: clinical');
    await expect(gateway.gateway.suspend({ role: 'nurse', ...order })).rejects.toThrow('no role named "nurse"');
    await expect(gateway.gateway.suspend({ outside: true, ...order })).rejects.toThrow('networks.inside is not configured');
  });
});

describe.skipIf(!redisInstalled)('a suspension with replicas', () => {
  it('reaches them, and its end does', async () => {
    const redis = await startRedis();
    const top = `store: { redis: "redis://127.0.0.1:${redis.port}" }`;
    const [one, other] = await Promise.all([start({ top }), start({ top })]) as [TestGateway, TestGateway];
    await one.gateway.suspend({ route: 'echo', ...order, expires: inAMinute() });
    await expect.poll(() => status(other, '/echo/1'), { timeout: 50_000 }).toBe(503);
    await other.gateway.resume({ route: 'echo' }, 'test');
    await expect.poll(() => status(one, '/echo/1'), { timeout: 50_000 }).toBe(200);
    await Promise.all(started.splice(0).map((gateway) => gateway.stop()));
    await redis.kill();
  });
});

describe('maintenance of a route', () => {
  const scheduled = (suspended: string): string => `
  - { name: echo, match: { path: /echo/* }, allow: [doctor, patient], upstream: records, suspended: ${suspended} }`;
  const at = (offset: number): string => `${new Date(Date.now() + offset).toISOString().slice(0, 19)}Z`;

  it('is 503 with the time of its end, for those whom it is for, on record from start to stop', async () => {
    const gateway = await start({ routes: scheduled(`[{ from: "${at(-60_000)}", to: "${at(60_000)}", roles: [doctor], reason: new disks }]`) });
    const reply = await ask(pki, gateway.port, '/echo/1', { client: pki.doctor });
    expect(reply.json()).toMatchObject({ code: 'suspended' });
    expect(Number(reply.headers['retry-after'])).toBeLessThanOrEqual(60);
    expect(await status(gateway, '/echo/1', pki.patient)).toBe(200);
    expect((await gateway.gateway.status()).maintenance).toMatchObject([{ route: 'echo', reason: 'new disks' }]);
    await gateway.configure(configuration(port, { routes: scheduled(`[{ from: "${at(-60_000)}", to: "${at(2_000)}", roles: [doctor], reason: new disks }]`) }));
    await gateway.gateway.reload();
    await expect.poll(() => status(gateway, '/echo/1'), { timeout: 50_000 }).toBe(200);
    await expect.poll(async () => (await gateway.records()).filter((record) => record['event'] === 'suspension'), { timeout: 50_000 })
      .toMatchObject([{ route: 'echo', detail: 'maintenance: new disks' }, { route: 'echo', detail: 'maintenance over: new disks' }]);
  });

  it('ends what is under way when it begins', async () => {
    const gateway = await start({ routes: scheduled('[]') });
    const socket = await openTls(pki, gateway.port, { client: pki.doctor });
    const ended = gone(socket);
    await exchange(socket, 'GET /echo/endless HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.includes('begin'));
    await gateway.configure(configuration(port, { routes: scheduled(`[{ from: "${at(4_000)}", to: "${at(600_000)}", reason: new disks }]`) }));
    await gateway.gateway.reload();
    await ended;
    expect(await status(gateway, '/echo/1')).toBe(503);
  });

  it('by the week is in force by the clocks of its zone', async () => {
    const gateway = await start({ routes: scheduled('[{ hours: "daily 00:00-24:00", zone: Asia/Shanghai, reason: closed }]') });
    const reply = await ask(pki, gateway.port, '/echo/1', { client: pki.doctor });
    expect(reply.status).toBe(503);
    expect(Number(reply.headers['retry-after'])).toBeLessThanOrEqual(86_400);
    await gateway.configure(configuration(port, { routes: scheduled('[]'), top: '' }));
    await gateway.gateway.reload();
    expect(await status(gateway, '/echo/1')).toBe(200);
  });

  it.each([
    ['[{ hours: "Sun 02:00", reason: x }]', 'expected hours such as'],
    ['[{ reason: x }]', 'expected hours, or from and a later to'],
    ['[{ from: "2026-12-24T22:00:00Z", to: "2026-12-24T21:00:00Z", reason: x }]', 'expected hours, or from and a later to'],
    ['[{ from: "2026-02-30T22:00:00+01:00", to: "2026-12-24T21:00:00Z", reason: x }]', 'expected a moment with its offset'],
    ['[{ from: "2026-12-24 22:00", to: "2026-12-24T21:00:00Z", reason: x }]', 'expected a moment with its offset'],
    ['[{ hours: daily 00:00-24:00, outside: true, reason: x }]', 'networks.inside is not configured'],
    ['[{ hours: daily 00:00-24:00, roles: [nurse], reason: x }]', 'no role named "nurse"'],
  ])('written as %s is refused', async (suspended, message) => {
    await expect(start({ routes: scheduled(suspended), top: '' })).rejects.toThrow(message);
  });

  const hours = (text: string, zone: string) => ({ zone, windows: parseHours(text) ?? [] });

  it.each([
    ['Sun 01:00-04:00', 'Europe/Berlin', '2026-10-25T00:30:00Z', '2026-10-25T03:00:00Z'],
    ['Sun 01:00-04:00', 'Europe/Berlin', '2026-03-29T00:30:00Z', '2026-03-29T02:00:00Z'],
    ['daily 22:00-06:00', 'Asia/Shanghai', '2026-05-01T15:00:00Z', '2026-05-01T22:00:00Z'],
    ['daily 00:00-24:00', 'UTC', '2026-05-01T15:20:40Z', '2026-05-02T00:00:00Z'],
  ])('%s in %s ends by the clock, also when that is set: at %s until %s', (text, zone, now, end) => {
    expect(endOfHours(hours(text, zone), Date.parse(now))).toBe(Date.parse(end));
    expect(withinHours(hours(text, zone), Date.parse(end) - 1)).toBe(true);
  });
});

describe('suspensions, compared', () => {
  const doctor: Suspect = { route: 'echo', listener: 'clinical', identity: { role: 'doctor', id: 'x', roles: new Set(['doctor', 'staff']) }, address: '192.0.2.1' };
  const inside = [parseNetwork('10.0.0.0/8')];
  const judge = (orders: readonly Omit<SuspensionOrder, 'reason'>[], suspect = doctor) =>
    suspensionOf(compileSuspensions(orders.map((one) => ({ ...one, reason: 'x' }))), suspect, inside, Date.parse('2026-01-01T00:00:00Z'));

  it.each([
    [{ route: 'echo' }, true], [{ route: 'other' }, false], [{ listener: 'clinical' }, true], [{ listener: 'other' }, false], [{ role: 'staff' }, true], [{ role: 'patient' }, false],
    [{ network: '192.0.2.0/24' }, true], [{ network: '10.0.0.0/8' }, false], [{ outside: true }, true], [{ route: 'echo', role: 'patient' }, false], [{ route: 'echo', role: 'doctor', outside: true }, true],
    [{ route: 'echo', expires: '2026-01-01T00:00:00Z' }, false], [{ route: 'echo', expires: '2026-01-01T00:00:01Z' }, true],
  ] as const)('%j is for a doctor from outside: %s', (order_, expected) => {
    expect(judge([order_]) !== undefined).toBe(expected);
  });

  it('last as long as the longest of them', () => {
    const short = { route: 'echo', expires: '2026-01-02T00:00:00Z' };
    const long = { role: 'doctor', expires: '2026-01-03T00:00:00Z' };
    expect(judge([short, long])?.until).toBe(Date.parse(long.expires));
    expect(judge([long, short])?.until).toBe(Date.parse(long.expires));
    expect(judge([short, { listener: 'clinical' }, long])?.until).toBeUndefined();
  });
});

describe('wardgate suspend', () => {
  it('says whom it would hit, and changes nothing', async () => {
    const gateway = await start();
    const config = ['-c', gateway.path('wardgate.yaml')];
    const socket = await openTls(pki, gateway.port, { client: pki.doctor });
    await exchange(socket, 'GET /records/endless HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.includes('begin'));
    const device = await openTls(pki, gateway.port, { client: pki.device });
    await exchange(device, 'GET /echo/1 HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'));
    const elsewhere = await openTls(pki, gateway.port, { client: pki.doctor });
    await exchange(elsewhere, 'GET /echo/1 HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'));
    const json = await wardgate(['suspend', ...config, '--route', 'records', '--reason', 'x', '--dry-run', '--json']);
    expect(JSON.parse(json.stdout)).toMatchObject({
      scope: { route: 'records' }, running: true, routes: [{ route: 'records', allow: ['doctor', 'patient'] }], connections: 1, may_use: 2, under_way: 1,
      clients: [{ role: 'doctor', id: 'Dr Wang', address: '127.0.0.1', connections: 1 }],
    });
    const text = await wardgate(['suspend', ...config, '--role', 'device', '--reason', 'x', '--dry-run']);
    expect(text.stdout).toContain('nothing was changed');
    expect(text.stdout).toContain('device kiosk-7.devices.hospital.test, 127.0.0.1: 1');
    expect((await gateway.gateway.status()).suspensions).toEqual([]);
    expect(socket.destroyed).toBe(false);
    socket.destroy();
    device.destroy();
    elsewhere.destroy();
  }, 120_000);

  it('suspends and resumes on the running gateway, and shows in status', async () => {
    const config = ['-c', common.path('wardgate.yaml')];
    const done = await wardgate(['suspend', ...config, '--route', 'echo', '--reason', 'wrong doses', '--for', '2h', '--who', 'nurse']);
    expect(done).toMatchObject({ code: 0, stdout: expect.stringMatching(/^suspended route echo, until .*, on the running gateway\n$/) as string });
    expect(await status(common, '/echo/1')).toBe(503);
    expect((await wardgate(['status', ...config])).stdout).toMatch(/suspended {5}route echo \(wrong doses, nurse, .*, until .*\)/);
    expect(await wardgate(['resume', ...config, '--route', 'echo'])).toMatchObject({ code: 0, stdout: 'resumed route echo\n' });
    expect(await wardgate(['resume', ...config, '--route', 'echo'])).toMatchObject({ code: 1, stdout: 'was not suspended: route echo\nnothing is\n' });
    await wardgate(['suspend', ...config, '--route', 'records', '--outside', '--reason', 'attack', '--who', 'nurse']);
    expect(await wardgate(['resume', ...config, '--route', 'records'])).toMatchObject({ code: 1, stdout: expect.stringMatching(/^was not suspended: route records\nsuspended is: route records, clients outside \(attack, nurse, \S+\)\n$/) as string });
    expect(await status(common, '/echo/1')).toBe(200);
    expect(await wardgate(['suspend', ...config, '--route', 'nosuch', '--reason', 'x'])).toMatchObject({ code: 1, stderr: expect.stringContaining('known: public, records, echo') as string });
  }, 120_000);

  it('works in the state of a gateway that does not run, and refuses what is not to be understood', async () => {
    const gateway = await start({ threads: 1 });
    await gateway.gateway.stop(0);
    const config = ['-c', gateway.path('wardgate.yaml')];
    expect(await wardgate(['suspend', ...config, '--route', 'echo', '--reason', 'x'])).toMatchObject({ code: 0, stdout: expect.stringContaining('not running') as string });
    expect(await readFile(gateway.path('state/suspensions.jsonl'), 'utf8')).toContain('"route":"echo"');
    expect((await wardgate(['explain', ...config, '--cert', gateway.path('doctor.pem'), '--request', 'GET https://localhost/echo/1'])).stdout).toContain('suspended: x');
    expect(await wardgate(['suspend', ...config, '--reason', 'x'])).toMatchObject({ code: 2 });
    expect(await wardgate(['suspend', ...config, '--route', 'echo', '--reason', 'x', '--for', 'ever'])).toMatchObject({ code: 2 });
    expect(await wardgate(['suspend', ...config, '--network', '10.1.0.1/8', '--reason', 'x'])).toMatchObject({ code: 2 });
    expect((await wardgate(['suspend', '--help'])).stdout).toContain('--dry-run');
  }, 120_000);
});
