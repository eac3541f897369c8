import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Session } from 'node:inspector/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { compileIsolations, isolationOf } from '../src/policy/isolations.ts';
import { SILENT } from '../src/log.ts';
import { openSuspensions, parseSuspensionChange, scopeText } from '../src/store/suspensions.ts';
import { createSuspensions } from '../src/suspensions.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, exchange, listener, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { issueCertificate, testPki, type Issued, type TestPki } from './support/pki.ts';
import { redisInstalled, startRedis } from './support/redis.ts';
import { startStreamBackend, type StreamBackend } from './support/stream-gateway.ts';
import { openBefore } from './support/timing.ts';

/** What is promised: in force on every thread. */
const BAR_MS = 5_000;
const KIOSK = 'kiosk-7.devices.hospital.test';

let pki: TestPki;
let backend: Backend;
let streams: StreamBackend;
let gateway: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  streams = await startStreamBackend(pki, (socket) => socket.on('data', (chunk: Buffer) => socket.write(chunk)));
  gateway = await startGateway(pki, backend.port, {
    files: { 'devices.csv': `id,state,hardware,fingerprint,users,networks,hours\n${KIOSK},active,,,,,\nws-4,active,,,Dr Wang,,\nws-5,active,,,Somebody,,\n` },
    listeners: `${listener('clinical')}${listener('balanced', { listenerExtra: '    proxy_protocol: { from: [127.0.0.0/8] }' })}
  - name: mllp
    address: 127.0.0.1:0
    protocol: tcp
    tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }
    client_auth: { trust: [root.pem], intermediates: [issuing.pem] }
    allow: [device]
    upstream: peer
  - { name: plain, address: "127.0.0.1:0", protocol: redirect, redirect_port: 443 }`,
    upstreams: `
  records: { endpoints: ["https://127.0.0.1:${backend.port}"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal } }
  peer: { endpoints: ["tls://127.0.0.1:${streams.port}"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal } }`,
    top: 'devices: { inventory: devices.csv }\nmetrics: { address: "127.0.0.1:0" }',
  });
});

afterAll(async () => {
  await gateway.stop();
  streams.close();
  await backend.close();
});

const portOf = (name: string): number => gateway.gateway.listeners.find((one) => one.name === name)?.port ?? 0;
const config = (): readonly string[] => ['-c', gateway.path('wardgate.yaml')];
const REASON = ['--reason', 'attack on the log-in', '--who', 'Chen'];
const GET = 'GET /echo/1 HTTP/1.1\r\nHost: localhost\r\n\r\n';
const ended = (text: string): boolean => text.endsWith('hello');

async function isolate(...args: string[]): Promise<string> {
  const run = await wardgate(['isolate', ...config(), ...args]);
  expect(run).toMatchObject({ code: 0, stderr: '' });
  return run.stdout;
}

/** One that has been served, and is kept alive. */
async function served(client: Issued, localAddress = '127.0.0.1'): Promise<TLSSocket> {
  const socket = await openTls(pki, gateway.port, { client, localAddress } as never);
  expect(await exchange(socket, GET, ended)).toContain('HTTP/1.1 200');
  return socket;
}

/** A handshake and a request behind a PROXY header; the empty text where it was closed. */
async function behind(header: string, client = pki.doctor): Promise<{ readonly text: string; readonly socket: TLSSocket }> {
  const raw = connect({ port: portOf('balanced'), host: '127.0.0.1' });
  await once(raw, 'connect');
  raw.write(header);
  const socket = connectTls({ socket: raw, servername: 'localhost', ca: pki.root.certificate, cert: client.chain, key: client.key });
  socket.on('error', () => undefined);
  return { text: await exchange(socket, GET, ended), socket };
}

const closed = (socket: TLSSocket): Promise<unknown> => (socket.destroyed ? Promise.resolve() : once(socket, 'close'));
const refused = (localAddress: string, client = pki.doctor): Promise<void> => expect(ask(pki, gateway.port, '/echo/1', { client, localAddress, timeout: 5_000 } as never)).rejects.toThrow();

describe('an isolated address', () => {
  it('is foreseen, loses its open connections on every thread within 5 s, is closed as it comes, and is let in again', async () => {
    const [spared, ...hit] = await Promise.all([served(pki.doctor), ...Array.from({ length: 12 }, () => served(pki.doctor, '127.0.0.2'))]) as [TLSSocket, ...TLSSocket[]];
    const foreseen = await isolate('--address', '127.0.0.2', '--dry-run');
    expect(foreseen).toContain('would hit: network 127.0.0.2; nothing was changed');
    expect(foreseen).toContain('connections    12 of 13 open, 0 requests and streams under way');
    expect(foreseen).toContain('client         doctor Dr Wang, 127.0.0.2: 12');
    expect(hit.some((socket) => socket.destroyed)).toBe(false);
    const over = Promise.all(hit.map(closed));
    const began = performance.now();
    expect(await isolate('--address', '::ffff:127.0.0.2', '--for', '2h', ...REASON)).toMatch(/^isolated network 127\.0\.0\.2, until .*, on the running gateway\n$/);
    await over;
    expect(performance.now() - began).toBeLessThan(BAR_MS);
    await Promise.all(Array.from({ length: 12 }, () => refused('127.0.0.2')));
    const plain = connect({ port: portOf('plain'), host: '127.0.0.1', localAddress: '127.0.0.2' });
    plain.on('error', () => undefined);
    plain.resume();
    await once(plain, 'close');
    expect(await exchange(spared, GET, ended)).toContain('HTTP/1.1 200');
    spared.destroy();
    expect(await isolate('list')).toContain('network 127.0.0.2 (attack on the log-in, Chen, ');
    expect((await wardgate(['explain', ...config(), '--cert', gateway.path('doctor.pem'), '--address', '127.0.0.2'])).stdout).toContain('denied: isolated');
    const records = await gateway.records();
    expect(records.filter((record) => record['event'] === 'suspension')).toMatchObject([{ network: '127.0.0.2', who: 'Chen', detail: 'isolated: attack on the log-in', until: expect.any(String) as string }]);
    expect(records.filter((record) => record['reason'] === 'isolated' && record['fingerprint'] !== undefined)).toHaveLength(12);
    // Twelve more came, and the first of each thread and listener is on record at once, the others with the next.
    expect(records.filter((record) => record['reason'] === 'isolated' && record['fingerprint'] === undefined).length).toBeLessThan(5);
    expect(await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text()).toMatch(/wardgate_connections_refused_total\{listener="clinical",limit="isolated"\} 12/);
    expect(await isolate('--address', '127.0.0.2/32', '--lift', '--reason', 'over')).toBe('let in again: network 127.0.0.2/32\n');
    expect((await ask(pki, gateway.port, '/echo/1', { client: pki.doctor, localAddress: '127.0.0.2' } as never)).status).toBe(200);
    expect((await wardgate(['isolate', ...config(), '--address', '127.0.0.2', '--lift'])).code).toBe(1);
  });

  it('is the client\'s and not the balancer\'s, in whatever form the balancer writes it; the balancer\'s own connections are spared', async () => {
    const open = await behind('PROXY TCP6 2001:db8::7 ::1 256 443\r\n');
    expect(open.text).toContain('HTTP/1.1 200');
    const over = closed(open.socket);
    await isolate('--address', '2001:DB8:0:0::/64', ...REASON);
    await over;
    expect((await behind('PROXY TCP6 2001:db8::8 ::1 256 443\r\n')).text).toBe('');
    await isolate('--address', '192.0.2.0/24', ...REASON);
    expect((await behind('PROXY TCP6 ::ffff:192.0.2.12 ::ffff:10.0.0.1 256 443\r\n')).text).toBe('');
    expect((await behind('PROXY TCP4 192.0.2.7 10.0.0.1 256 443\r\n')).text).toBe('');
    expect(await isolate('--address', '127.0.0.0/8', '--dry-run')).toMatch(/WARNING {8}balancers of listener balanced come from 127\.0\.0\.0\/8/);
    await isolate('--address', '127.0.0.0/8', '--for', '1h', ...REASON);
    const [other, looking] = await Promise.all([behind('PROXY TCP4 198.51.100.7 10.0.0.1 256 443\r\n'), behind('PROXY UNKNOWN\r\n')]);
    expect([other.text, looking.text].map((text) => text.slice(0, 12))).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200']);
    // Two sweeps later they are still there.
    await refused('127.0.0.1');
    await gateway.gateway.suspend({ isolate: true, network: '203.0.113.0/24', reason: 'x', who: 'test' });
    expect([other.socket.destroyed, looking.socket.destroyed]).toEqual([false, false]);
    other.socket.destroy();
    looking.socket.destroy();
    for (const network of ['2001:db8::/64', '192.0.2.0/24', '127.0.0.0/8', '203.0.113.0/24']) await isolate('--address', network, '--lift');
  });

  it('that is not one is refused, and so is an order without a reason', async () => {
    expect(await wardgate(['isolate', ...config(), '--address', '10.1.2.3/8', ...REASON])).toMatchObject({ code: 2, stderr: expect.stringContaining('without bits beyond its prefix') as string });
    expect(await wardgate(['isolate', ...config(), '--address', '10.1.2.3'])).toMatchObject({ code: 2, stderr: expect.stringContaining('--reason') as string });
    expect(await wardgate(['isolate', ...config(), '--address', '10.1.2.3', '--device', 'x', ...REASON])).toMatchObject({ code: 2 });
  });
});

describe('an isolated device', () => {
  it('is cut off with whoever works at it, streams too, whatever its certificate; the inventory is as it was when it is lifted', async () => {
    const [kiosk, doctor, patient] = await Promise.all([served(pki.device), served(pki.doctor), served(pki.patient)]);
    const stream = await openTls(pki, portOf('mllp'), { client: pki.device, ALPNProtocols: undefined } as never);
    stream.write('ping');
    await once(stream, 'data');
    expect(await isolate('--device', KIOSK.toUpperCase(), '--dry-run')).toContain(`client         device ${KIOSK}, 127.0.0.1: 2`);
    const over = Promise.all([kiosk, stream].map(closed));
    const began = performance.now();
    await isolate('--device', KIOSK, ...REASON);
    await over;
    expect(performance.now() - began).toBeLessThan(BAR_MS);
    await Promise.all(Array.from({ length: 6 }, () => refused('127.0.0.1', pki.device)));
    const gone = closed(doctor);
    await isolate('--device', 'ws-4', ...REASON);
    await gone;
    await refused('127.0.0.1');
    expect(await exchange(patient, GET, ended)).toContain('HTTP/1.1 200');
    patient.destroy();
    await isolate('--device', KIOSK, '--lift');
    await isolate('--device', 'ws-4', '--lift');
    expect((await ask(pki, gateway.port, '/echo/1', { client: pki.device })).status).toBe(200);
    expect((await ask(pki, gateway.port, '/echo/1', { client: pki.doctor })).status).toBe(200);
  });

  it('that the inventory does not have is refused: a slip of the pen must not pass for a closed door', async () => {
    expect(await wardgate(['isolate', ...config(), '--device', 'kiosk-8', ...REASON])).toMatchObject({ code: 1, stderr: expect.stringContaining('no device named "kiosk-8"') as string });
  });
});

describe('an isolated certificate', () => {
  it('is foreseen with whoever was let in lately, is on the deny list for its time, and its connections end', async () => {
    const socket = await served(pki.patient);
    for (const command of ['isolate', 'revoke']) {
      const { stdout } = await wardgate([command, ...config(), '--cert', gateway.path('patient.pem'), '--dry-run', ...REASON]);
      expect(stdout).toContain('connections    1 of ');
      expect(stdout).toMatch(/let in lately {2}patient urn:patient:1001, certificate [0-9a-f]{16}…/);
      expect(stdout).toContain(`what was done  wardgate impact --fingerprint ${pki.patient.sha256}`);
    }
    const issuer = JSON.parse(await isolate('--whole-issuer', 'CN=Hospital Issuing CA,O=Hospital', '--dry-run', '--json')) as { connections: number; warnings: string[] };
    expect(issuer.connections).toBeGreaterThan(0);
    const over = closed(socket);
    await isolate('--cert', gateway.path('patient.pem'), '--for', '2h', ...REASON);
    await over;
    expect(await isolate('--cert', gateway.path('patient.pem'), '--for', '2h', ...REASON)).toMatch(/, until 20.*Z, on the running gateway\n$/);
    const { denied } = JSON.parse(await isolate('list', '--json')) as { denied: readonly object[] };
    expect(denied).toMatchObject([{ kind: 'fingerprint', fingerprint: pki.patient.sha256, expires: expect.any(String) as string }]);
    await isolate('--cert', gateway.path('patient.pem'), '--lift');
    expect((await ask(pki, gateway.port, '/echo/1', { client: pki.patient })).status).toBe(200);
  });

  it('or address that is cut off for longer already stays so: an isolation for an hour must not let in again what was revoked for good', async () => {
    for (const [first, subject] of [['revoke', ['--cert', gateway.path('patient.pem')]], ['isolate', ['--address', '127.0.0.7']]] as const) {
      expect((await wardgate([first, ...config(), ...subject, ...REASON])).code).toBe(0);
      expect(await wardgate(['isolate', ...config(), ...subject, '--for', '1h', ...REASON])).toMatchObject({ code: 1, stderr: expect.stringMatching(/already, without an end \(attack on the log-in, Chen\): lift that first/) as string });
      await isolate(...subject, '--lift');
      await isolate(...subject, '--for', '1h', ...REASON);
      await isolate(...subject, '--for', '2h', ...REASON);
      await isolate(...subject, '--lift');
    }
    await expect(gateway.gateway.deny({ kind: 'identity', id: 'x', reason: 'x', who: 'test', expires: '2026-01-01T00:00:00.000Z' })).rejects.toThrow('is past');
  });
});

it('what others have written steers no terminal: in the list, where an order is refused for it, and where nothing is resumed', async () => {
  const written = 'a\u001b[2J\nb';
  await gateway.gateway.suspend({ isolate: true, network: '127.0.0.8', reason: written, who: written });
  await gateway.gateway.suspend({ network: '127.0.0.8', reason: written, who: written });
  const told = await Promise.all([['isolate', 'list'], ['isolate', '--address', '127.0.0.8', '--for', '1h', ...REASON], ['resume', '--network', '127.0.0.9']].map((args) => wardgate([...args, ...config()])));
  for (const { stdout, stderr } of told) {
    expect(`${stdout}${stderr}`).not.toContain('\u001b');
    expect(`${stdout}${stderr}`).toContain('\\u{1b}[2J');
  }
  await isolate('--address', '127.0.0.8', '--lift');
  expect((await wardgate(['resume', '--network', '127.0.0.8', ...config()])).code).toBe(0);
});

it('a certificate without a name, as those of SPIFFE are, is revoked and reinstated like any other', async () => {
  const nameless = await issueCertificate(pki.issuing, { subject: [], san: { uri: 'spiffe://hospital.test/kiosk' } });
  const file = join(gateway.directory, 'nameless.pem');
  await writeFile(file, nameless.certificate);
  for (const command of ['revoke', 'reinstate']) expect(await wardgate([command, ...config(), '--cert', file, ...REASON])).toMatchObject({ code: 0, stdout: expect.stringContaining(nameless.sha256) as string });
});

/** Has one data-plane thread stand still for good. */
async function hangThread(): Promise<void> {
  const inspector = new Session();
  inspector.connect();
  const found = Promise.withResolvers<string>();
  inspector.on('NodeWorker.attachedToWorker', ({ params }) => void (/ wardgate-\d+$/.test(params.workerInfo.title) && found.resolve(params.sessionId)));
  await inspector.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
  const expression = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)';
  await inspector.post('NodeWorker.sendMessageToWorker', { sessionId: await found.promise, message: JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } }) });
  inspector.disconnect();
}

describe('an isolation', () => {
  it('is in force within 5 s where a thread hangs: that one is ended with its connections, and the others serve on', async () => {
    const hit = await Promise.all(Array.from({ length: 8 }, () => served(pki.doctor, '127.0.0.9')));
    await hangThread();
    const over = Promise.all(hit.map(closed));
    const began = performance.now();
    await isolate('--address', '127.0.0.9', ...REASON);
    await over;
    expect(performance.now() - began).toBeLessThan(BAR_MS);
    await expect.poll(() => Promise.all(Array.from({ length: 8 }, () => ask(pki, gateway.port, '/echo/1', { client: pki.doctor, agent: false }).then((answer) => answer.status, () => 0)))).toEqual(Array(8).fill(200));
    await Promise.all(Array.from({ length: 8 }, () => refused('127.0.0.9')));
  });

  it('ends by itself, and is in force again after a start, or ordered while nothing runs', async () => {
    await isolate('--address', '127.0.0.3', ...REASON);
    let tries = 0;
    const network = await openBefore(2_000, async (end) => {
      const one = `127.0.1.${++tries}`;
      await gateway.gateway.suspend({ isolate: true, network: one, reason: 'x', who: 'test', expires: end().toISOString() });
      await refused(one);
      return one;
    });
    await expect.poll(() => ask(pki, gateway.port, '/echo/1', { client: pki.doctor, localAddress: network } as never).then(({ status }) => status, () => 0)).toBe(200);
    await expect.poll(async () => (await gateway.records()).filter((record) => record['network'] === network && record['detail'] === 'expired')).toHaveLength(1);
    await gateway.gateway.stop(0);
    expect(await isolate('--address', '127.0.0.5', ...REASON)).toContain('in the state of the gateway, which is not running');
    await isolate('--address', '127.0.0.6', '--for', '1s', ...REASON);
    expect(await isolate('list')).toContain('127.0.0.5');
    const again: Gateway = await createGateway({ config: gateway.path('wardgate.yaml') });
    const port = again.listeners[0]?.port ?? 0;
    try {
      const from = (localAddress: string): Promise<number> => ask(pki, port, '/echo/1', { client: pki.doctor, localAddress } as never).then(({ status }) => status, () => 0);
      expect(await Promise.all(['127.0.0.1', '127.0.0.3', '127.0.0.5'].map(from))).toEqual([200, 0, 0]);
      await expect.poll(() => from('127.0.0.6')).toBe(200);
    } finally {
      await again.stop(0);
    }
  });

  it('that ended only by a clock that was ahead is told to every thread again', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'wardgate-isolated-'));
    const list = openSuspensions(directory);
    const began = Date.now();
    let at = began;
    const told: (readonly string[])[] = [];
    const suspensions = createSuspensions({
      list, config: () => ({ routes: [], listeners: [], roles: [], inherits: {}, networks: {} }) as never, registered: () => undefined, pauses: () => [], audit: { append: () => Promise.resolve() } as never, log: SILENT,
      publish: async (entries) => void told.push(entries.map(({ network }) => network ?? '')), announce: () => Promise.resolve(), now: () => at,
    });
    await suspensions.suspend({ isolate: true, network: '10.0.0.0/8', reason: 'x', who: 'test', expires: new Date(began + 60_000).toISOString() });
    for (const now of [began + 61_000, began]) {
      at = now;
      suspensions.look();
    }
    expect(told).toEqual([['10.0.0.0/8'], [], ['10.0.0.0/8']]);
    list.close();
    await rm(directory, { recursive: true });
  });

  it('of one scope is the same however it is written, and no line of the journal isolates more than it names', () => {
    const scope = { isolate: true, network: '2001:db8::/32' } as const;
    expect(scopeText(scope)).toBe(scopeText({ isolate: true, network: '2001:DB8:0::/32' }));
    expect(scopeText(scope)).not.toBe(scopeText({ network: '2001:db8::/32' }));
    const line = { op: 'suspend', who: 'x', reason: 'x', at: '2026-11-22T12:00:00.000Z' };
    expect(parseSuspensionChange(JSON.stringify({ ...line, isolate: true, network: '10.0.0.0/8' }))).toBeDefined();
    for (const bad of [{ isolate: true }, { isolate: true, network: '10.0.0.0/8', role: 'doctor' }, { isolate: false, network: '10.0.0.0/8' }, { isolate: true, route: 'records' }, { device: 'x' }, { isolate: true, device: 7 }]) {
      expect(parseSuspensionChange(JSON.stringify({ ...line, ...bad }))).toBeUndefined();
    }
    const [one] = compileIsolations([{ isolate: true, device: 'Kiosk-7', reason: 'x', expires: '2026-11-22T12:00:00Z' }, { network: '10.0.0.0/8', reason: 'y' }]);
    const at = Date.parse('2026-11-22T11:59:59Z');
    expect(isolationOf([one!], { address: '10.0.0.1', ids: ['kiosk-7'] }, at)).toBe(one);
    expect(isolationOf([one!], { address: '10.0.0.1', ids: ['kiosk-7'] }, at + 1_000)).toBeUndefined();
    expect(isolationOf([one!], { address: '10.0.0.1' }, at)).toBeUndefined();
  });
});

describe.skipIf(!redisInstalled)('an isolation with replicas', () => {
  it('reaches them, and ends what is open there', async () => {
    const redis = await startRedis();
    const parts = { threads: 1, top: `store: { redis: "redis://127.0.0.1:${redis.port}" }` };
    const [one, other] = await Promise.all([startGateway(pki, backend.port, parts), startGateway(pki, backend.port, parts)]);
    const socket = await openTls(pki, other.port, { client: pki.doctor, localAddress: '127.0.0.2' } as never);
    expect(await exchange(socket, GET, ended)).toContain('HTTP/1.1 200');
    const over = closed(socket);
    await one.gateway.suspend({ isolate: true, network: '127.0.0.2', reason: 'x', who: 'test' });
    await over;
    await Promise.all([one.stop(), other.stop()]);
    await redis.kill();
  });
});
