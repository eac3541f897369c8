import { once } from 'node:events';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import type { AlternativeNames } from '../src/ca/names.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { listen } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';
import { startStreamBackend, type StreamBackend } from './support/stream-gateway.ts';

const MODULE = '1.3.6.1.4.1.99999.7';
const KIOSK = 'kiosk-7.devices.hospital.test';
const HEADER = 'id,state,hardware,fingerprint,users,networks,hours\n';
/** Another day of the week than this one, wherever the test runs. */
const NOT_TODAY = `${['Wed', 'Thu', 'Fri', 'Sat', 'Sun', 'Mon', 'Tue'][new Date().getUTCDay()]} 00:00-24:00`;
const BASE = `${HEADER}${KIOSK},active,,,,127.0.0.1,
pump-1,active,SN-1,,,,
pump-2,active,SN-2,,,,
pump-3,lost,,,,,
pump-4,active,,${'ab'.repeat(32)},,,
pump-5,active,,,,,${NOT_TODAY}
ws-4,active,,,Dr Wang;Dr Li,127.0.0.2;127.0.0.3,
`;

let pki: TestPki;
let gateway: TestGateway;
let sockets: WebSocketServer;
let streams: StreamBackend;
let close: () => void;
const said: { level: string; fields: Record<string, unknown>; message: string }[] = [];
const keep = (level: string) => (fields: object, message: string): void => void said.push({ level, fields: { ...fields }, message });

beforeAll(async () => {
  pki = await testPki();
  const server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    // An answer that never ends: work in flight.
    if (request.url === '/echo/endless') response.write('begin');
    else response.end('hello');
  });
  sockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => sockets.handleUpgrade(request, socket, head, (webSocket) => webSocket.on('message', (data, binary) => webSocket.send(data, { binary }))));
  const port = await listen(server);
  close = () => server.close();
  streams = await startStreamBackend(pki, (socket) => socket.on('data', (chunk: Buffer) => socket.write(chunk)));
  gateway = await startGateway(pki, port, {
    files: { 'devices.csv': BASE },
    log: { info: keep('info'), warn: keep('warn'), error: keep('error') },
    listeners: `
  - name: clinical
    address: 127.0.0.1:0
    tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }
    client_auth: { mode: optional, trust: [root.pem], intermediates: [issuing.pem] }
  - name: mllp
    address: 127.0.0.1:0
    protocol: tcp
    tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }
    client_auth: { trust: [root.pem], intermediates: [issuing.pem] }
    allow: [device]
    upstream: lab`,
    roles: `
  - { role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}", bind: workstation }
  - { role: patient, match: { san: { uri: "urn:patient:*" } }, id: "{san.uri}" }
  - { role: device, match: { subject: { OU: Devices } }, id: "{san.dns}", bind: device }
  - { role: device, match: { subject: { OU: Pumps } }, id: "{subject.CN}", bind: { to: device } }`,
    upstreams: `
  records:
    endpoints: ["https://127.0.0.1:${port}"]
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }
  lab:
    endpoints: ["tls://127.0.0.1:${streams.port}"]
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }`,
    top: 'devices: { inventory: devices.csv }\nmetrics: { address: "127.0.0.1:0" }',
  });
});

afterAll(async () => {
  for (const client of sockets.clients) client.terminate();
  await gateway.stop();
  streams.close();
  close();
});

const pump = (name: string, san?: AlternativeNames): Promise<Issued> => pki.issueClient({ subject: [['CN', name], ['OU', 'Pumps']], ...(san === undefined ? {} : { san }) });
const hardware = (serial: string) => ({ hardwareModuleName: { type: MODULE, serial: Buffer.from(serial).toString('hex') } });
const from = (client: Issued, localAddress = '127.0.0.1') => ask(pki, gateway.port, '/echo/x', { client, localAddress });
const permittedTo = async (who: string): Promise<Record<string, unknown> | undefined> => (await gateway.records()).find(({ event, result, id }) => event === 'request' && result === 'permitted' && id === who);

/** What the last answer was, with what is on record of it. */
async function denied(client: Issued, localAddress?: string): Promise<Record<string, unknown> | undefined> {
  const reply = await from(client, localAddress);
  expect([reply.status, reply.json()['code']]).toEqual([403, 'role_denied']);
  const id = reply.json()['request_id'];
  return (await gateway.records()).find((record) => record['request_id'] === id);
}

/** Puts another inventory in place of the one before, at once, and waits until it is said to be there. */
async function inventory(text: string, outcome = 'the inventory was read again'): Promise<void> {
  const before = said.length;
  await writeFile(gateway.path('devices.new'), text);
  await rename(gateway.path('devices.new'), gateway.path('devices.csv'));
  await expect.poll(() => said.slice(before).map(({ message }) => message)).toContain(outcome);
}

/** A WebSocket that is open. */
async function webSocketOf(client: Issued): Promise<WebSocket> {
  const options: ClientOptions & SecureContextOptions & { servername: string } = {
    servername: 'localhost', headers: { host: 'localhost' }, ca: pki.root.certificate, cert: client.chain, key: client.key,
  };
  const socket = new WebSocket(`wss://127.0.0.1:${gateway.port}/echo/ws`, [], options);
  await once(socket, 'open');
  return socket;
}

const openStream = (client: Issued): Promise<TLSSocket> =>
  openTls(pki, gateway.gateway.listeners[1]?.port ?? 0, { client, ALPNProtocols: undefined } as never);

describe('a role that is bound to devices', () => {
  it('is served for a registered device, which is on record', async () => {
    expect((await from(pki.device)).status).toBe(200);
    expect(await permittedTo(KIOSK)).toMatchObject({ role: 'device', device: KIOSK, address: '127.0.0.1' });
    expect((await from(await pump('pump-1', hardware('SN-1')))).status).toBe(200);
  });

  it.each<[string, string, AlternativeNames | undefined, string, string]>([
    ['that nobody registered', 'pump-9', undefined, 'device_unregistered', 'unregistered_device'],
    ['with the certificate of other hardware', 'pump-2', hardware('SN-99'), 'device_mismatch', 'mismatched_device'],
    ['with another certificate than the one registered', 'pump-4', undefined, 'device_mismatch', 'mismatched_device'],
    ['that is lost', 'pump-3', undefined, 'device_inactive', 'inactive_device'],
    ['outside its hours', 'pump-5', undefined, 'outside_hours', 'off_hours'],
  ])('refuses a device %s, with an alarm', async (_name, id, san, reason, alarm) => {
    const record = await denied(await pump(id, san));
    expect(record).toMatchObject({ result: 'denied', reason, alarm, id, route: 'echo' });
    expect(record).not.toHaveProperty('device');
  });

  it('refuses a device that was carried elsewhere', async () => {
    expect(await denied(pki.device, '127.0.0.9')).toMatchObject({ reason: 'device_moved', alarm: 'moved_device', address: '127.0.0.9', detail: `${KIOSK} belongs to 127.0.0.1, and asks from 127.0.0.9` });
  });

  it('refuses a doctor anywhere but at a registered workstation', async () => {
    expect((await from(pki.doctor, '127.0.0.2')).status).toBe(200);
    expect(await permittedTo('Dr Wang')).toMatchObject({ role: 'doctor', device: 'ws-4', address: '127.0.0.2' });
    expect((await from(pki.doctor, '127.0.0.3')).status).toBe(200);
    expect(await denied(pki.doctor)).toMatchObject({ reason: 'device_moved', alarm: 'moved_device' });
    const other = await pki.issueClient({ subject: [['CN', 'Dr Other'], ['OU', 'Doctors']] });
    expect(await denied(other, '127.0.0.2')).toMatchObject({ reason: 'device_unregistered', alarm: 'unregistered_device' });
  });

  it('leaves roles alone that are not bound', async () => {
    expect((await from(pki.patient, '127.0.0.77')).status).toBe(200);
  });

  it('decides every request of a connection anew', async () => {
    const socket = await openTls(pki, gateway.port, { client: await pump('pump-6') });
    const get = 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n';
    expect(await exchange(socket, get, (text) => text.includes('}'))).toContain(' 403 ');
    await inventory(`${BASE}pump-6,active,,,,,\n`);
    expect(await exchange(socket, get, (text) => text.endsWith('hello'))).toContain(' 200 ');
    await inventory(BASE);
    expect(await exchange(socket, get, (text) => text.includes('}'))).toContain(' 403 ');
    socket.destroy();
  });

  it('raises an alarm once for a certificate and rule, however often and on whichever thread it asks', async () => {
    const stranger = await pump('stranger');
    for (let times = 0; times < 12; times++) await denied(stranger);
    const raised = (): unknown[] => said.filter(({ level, fields }) => level === 'warn' && fields['certificate'] === stranger.sha256);
    await expect.poll(raised).toMatchObject([{ fields: { alarm: 'unregistered_device', address: '127.0.0.1', listener: 'clinical' } }]);
    await denied(stranger);
    expect(raised()).toHaveLength(1);
    const text = await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
    const count = /wardgate_alarms_total\{rule="unregistered_device"\} (\d+)/.exec(text)?.[1];
    expect(Number(count)).toBe(new Set(said.filter(({ fields }) => fields['alarm'] === 'unregistered_device').map(({ fields }) => fields['certificate'])).size);
    expect(text).toContain('wardgate_devices{state="active"} 6');
    expect(text).toContain('wardgate_devices{state="lost"} 1');
  });
});

describe('streams of devices', () => {
  it('on a TCP listener are let in and refused by the inventory', async () => {
    const socket = await openStream(pki.device);
    expect(await exchange(socket, 'ping', (text) => text === 'ping')).toBe('ping');
    await expect.poll(async () => (await gateway.records()).filter(({ listener, result }) => listener === 'mllp' && result === 'permitted')).toMatchObject([{ device: KIOSK }]);
    socket.destroy();
    const stranger = await openStream(await pump('pump-9'));
    await once(stranger, 'close');
    await expect.poll(async () => (await gateway.records()).filter(({ listener, result }) => listener === 'mllp' && result === 'denied'))
      .toMatchObject([{ reason: 'device_unregistered', alarm: 'unregistered_device' }]);
  });

  it('end when the device is taken from the inventory, and others stay', async () => {
    await inventory(`${BASE}pump-7,active,,,,,\npump-8,active,,,,,\n`);
    const [seven, eight] = await Promise.all([pump('pump-7'), pump('pump-8')]);
    const gone = [await webSocketOf(seven), await openStream(seven)] as const;
    const stays = await webSocketOf(eight);
    expect(await exchange(gone[1], 'ping', (text) => text === 'ping')).toBe('ping');
    const ended = Promise.all([once(gone[0], 'close'), once(gone[1], 'close')]);
    await inventory(`${BASE}pump-8,active,,,,,\n`);
    await ended;
    const ends = async () => (await gateway.records()).filter(({ event, reason, id, subject }) => event === 'connection' && reason === 'device_unregistered' && (id === 'pump-7' || subject === 'CN=pump-7,OU=Pumps'));
    await expect.poll(ends).toMatchObject([{ alarm: 'unregistered_device' }, { alarm: 'unregistered_device' }]);
    stays.send('still here');
    expect(String((await once(stays, 'message'))[0])).toBe('still here');
    stays.terminate();
  });

  it('end with requests that are under way, whatever of their answers has left', async () => {
    await inventory(`${BASE}pump-7,active,,,,,\n`);
    const socket = await openTls(pki, gateway.port, { client: await pump('pump-7') });
    await exchange(socket, 'GET /echo/endless HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.includes('begin'));
    const closed = once(socket, 'close');
    await inventory(`${BASE}pump-7,lost,,,,,\n`);
    await closed;
    await expect.poll(async () => (await gateway.records()).filter(({ path }) => path === '/echo/endless')).toMatchObject([{ reason: 'device_inactive', alarm: 'inactive_device' }]);
  });

  it('end when it is lost', async () => {
    await inventory(`${BASE}pump-7,active,,,,,\n`);
    const socket = await webSocketOf(await pump('pump-7'));
    const closed = once(socket, 'close');
    await inventory(`${BASE}pump-7,lost,,,,,\n`);
    await closed;
  });
});

describe('an inventory that changes', () => {
  it('leaves the old one in force while the new one cannot be taken, and says why', async () => {
    const before = said.length;
    await inventory(`${HEADER}${KIOSK},gone,,,,,\n`, 'the changed inventory cannot be taken; the old one stays in force');
    expect(said.slice(before).find(({ level }) => level === 'error')?.fields).toEqual({ issues: ['devices.csv:2:31: [0].state: expected active, inactive, lost, scrapped; got "gone"'] });
    expect((await from(pki.device)).status).toBe(200);
    await inventory(`${HEADER}${KIOSK},lost,,,,,\n`);
    expect(await denied(pki.device)).toMatchObject({ reason: 'device_inactive' });
    await inventory(BASE);
    expect((await from(pki.device)).status).toBe(200);
  });

  it('is taken whole when it has 20,000 devices', async () => {
    const many = Array.from({ length: 20_000 }, (_, index) => `meter-${index},active,,,,127.0.0.0/8,\n`).join('');
    await inventory(`${BASE}${many}`);
    expect((await from(await pump('meter-19999'))).status).toBe(200);
    expect((await from(await pump('meter-0'))).status).toBe(200);
    await denied(await pump('meter-20000'));
    await inventory(BASE);
  });
});

describe('the commands', () => {
  it('explain which entry decides', async () => {
    await writeFile(gateway.path('device.pem'), pki.device.chain);
    const asked = (...more: string[]) => wardgate(['explain', '-c', gateway.path('wardgate.yaml'), '--cert', gateway.path('device.pem'), ...more]);
    const request = ['--request', 'GET https://localhost/echo/x'];
    const [good, moved, stream] = await Promise.all([asked(...request, '--address', '127.0.0.1'), asked(...request, '--address', '10.9.9.9'), asked('--listener', 'mllp', '--address', '10.9.9.9')]);
    expect([good.code, moved.code, stream.code]).toEqual([0, 3, 3]);
    expect(good.stdout).toMatch(/pass {2}device {7}kiosk-7\.devices\.hospital\.test, networks 127\.0\.0\.1\n/);
    expect(moved.stdout).toMatch(/deny {2}device {7}device_moved: .*asks from 10\.9\.9\.9\ndenied: device_moved/);
    expect(stream.stdout).toMatch(/deny {2}device {7}device_moved/);
  });

  it('check the inventory with the configuration', async () => {
    await writeFile(gateway.path('bad.csv'), `${HEADER}a,active,,,,10.0.0.1/8,\n`);
    const yaml = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    await writeFile(gateway.path('bad.yaml'), yaml.replace('inventory: devices.csv', 'inventory: bad.csv'));
    const run = await wardgate(['check', '-c', gateway.path('bad.yaml')]);
    expect([run.code, run.stdout]).toEqual([1, 'bad.csv:2:13: [0].networks[0]: expected a network without bits beyond its prefix, such as 10.1.0.0/16; got "10.0.0.1/8"\n']);
    const good = await wardgate(['check', '-c', gateway.path('wardgate.yaml')]);
    expect([good.code, good.stdout]).toEqual([0, expect.stringContaining('7 devices')]);
  });
});
