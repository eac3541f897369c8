import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { connect } from 'node:net';
import { connect as connectTls, type SecureContextOptions } from 'node:tls';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { networkFault } from '../src/config/addresses.ts';
import { TOLD_DEVICES } from '../src/store/told-devices.ts';
import { createDeviceMaker, deviceSchema } from '../src/config/device.ts';
import { inNetworks, parseNetwork, unmapped } from '../src/policy/networks.ts';
import { listen } from './support/backend.ts';
import { ask, exchange, listener, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

const KIOSK = 'kiosk-7.devices.hospital.test';
const INVENTORY = 'id,networks\n';
/** Valid, and in a spelling that not every reader of addresses knows. */
const DOTTED = '64:ff9b::10.0.0.0/120';

let pki: TestPki;
let gateway: TestGateway;
let sockets: WebSocketServer;
let close: () => void;
const errors: string[] = [];

beforeAll(async () => {
  pki = await testPki();
  const server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (_request, response) => response.end('hello'));
  sockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => sockets.handleUpgrade(request, socket, head, () => undefined));
  const port = await listen(server);
  close = () => server.close();
  gateway = await startGateway(pki, port, {
    threads: 1,
    log: { info: () => undefined, warn: () => undefined, error: (_fields, message) => void errors.push(message) },
    files: { 'devices.csv': `${INVENTORY}${KIOSK},127.0.0.1\n` },
    listeners: listener('clinical') + listener('balanced', { listenerExtra: '    proxy_protocol: { from: [127.0.0.0/8] }' }),
    roles: `
  - { role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }
  - { role: device, match: { subject: { OU: Devices } }, id: "{san.dns}", bind: device }`,
    routes: '[{ name: echo, match: { path: /echo/* }, allow: [doctor, device], upstream: records }]',
    top: 'devices: { inventory: devices.csv }',
  });
});

afterAll(async () => {
  for (const client of sockets.clients) client.terminate();
  await gateway.stop();
  close();
});

const statusOf = async (client: Issued): Promise<number> => (await ask(pki, gateway.port, '/echo/x', { client })).status;

/** The status that a doctor gets from behind a balancer who says this of their address. */
async function behind(line: string): Promise<string> {
  const raw = connect({ port: gateway.gateway.listeners.find(({ name }) => name === 'balanced')?.port ?? 0, host: '127.0.0.1' });
  await once(raw, 'connect');
  raw.write(`PROXY ${line} 256 443\r\n`);
  const socket = connectTls({ socket: raw, servername: 'localhost', ca: pki.root.certificate, cert: pki.doctor.chain, key: pki.doctor.key });
  socket.on('error', () => undefined);
  const text = await exchange(socket, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  socket.destroy();
  return text.slice(9, 12);
}

describe('a network in an unusual spelling', () => {
  it('is one that addresses can be compared with wherever the configuration takes it', () => {
    const dotted = fc.tuple(fc.constantFrom('::', '64:ff9b::', '::ffff:0:', '1:2:3:4:5:6:', 'fe80::1:', '::ffff:', '0:0:0:0:0:FFFF:'), fc.ipV4()).map((parts) => parts.join(''));
    fc.assert(fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), dotted), fc.constantFrom('', '/32', '/128'), (address, prefix) => {
      const text = `${address}${prefix}`;
      fc.pre(networkFault(text) === undefined);
      expect(inNetworks(address, [parseNetwork(text)])).toBe(true);
    }));
    expect(inNetworks('64:ff9b::a00:7', [parseNetwork(DOTTED)])).toBe(true);
    expect(inNetworks('64:ff9b::a00:107', [parseNetwork(DOTTED)])).toBe(false);
  });

  it('ends no thread when it is suspended', async () => {
    await gateway.gateway.suspend({ network: DOTTED, reason: 'test', who: 'test' });
    expect(await statusOf(pki.doctor)).toBe(200);
    expect(await gateway.gateway.resume({ network: DOTTED }, 'test')).toBe(true);
    expect(errors).toEqual([]);
  });

  it('ends no thread when a device is told to belong there whose WebSocket is open, but the WebSocket', async () => {
    const socket = new WebSocket(`wss://127.0.0.1:${gateway.port}/echo/socket`, {
      ca: pki.root.certificate, cert: pki.device.chain, key: pki.device.key, servername: 'localhost', headers: { host: 'localhost' },
    } as ClientOptions & SecureContextOptions);
    socket.on('error', () => undefined);
    await once(socket, 'open');
    const closed = once(socket, 'close');
    await writeFile(gateway.path('devices.csv'), `${INVENTORY}${KIOSK},${DOTTED}\n`);
    await closed;
    expect(await statusOf(pki.device)).toBe(403);
    expect(await statusOf(pki.doctor)).toBe(200);
    expect((await gateway.records()).filter(({ status }) => status === 403)).toMatchObject([{ reason: 'device_moved' }]);
    expect(errors).toEqual([]);
  });
});

describe('a client whose balancer spells an IPv4 address as IPv6', () => {
  it.each(['::ffff:b02:304', '::FFFF:0b02:0304', '0:0:0:0:0:ffff:11.2.3.4', '0:0:0:0:0:ffff:b02:304', '::ffff:11.2.3.4', '0::ffff:11.2.3.4'])('is the IPv4 address: %s', (address) => {
    expect(unmapped(address)).toBe('11.2.3.4');
    expect(inNetworks(address, [parseNetwork('11.0.0.0/8')])).toBe(true);
  });

  it('does not escape the suspension of its network', async () => {
    await gateway.gateway.suspend({ network: '11.0.0.0/8', reason: 'test', who: 'test' });
    expect(await behind('TCP4 11.2.3.4 10.0.0.1')).toBe('503');
    expect(await behind('TCP6 ::ffff:b02:304 ::1')).toBe('503');
    expect(await behind('TCP6 0:0:0:0:0:ffff:11.2.3.4 ::1')).toBe('503');
    expect(await behind('TCP6 ::ffff:c02:304 ::1')).toBe('200');
    await gateway.gateway.resume({ network: '11.0.0.0/8' }, 'test');
  });

  it('is no IPv4 client when it only looks like one', () => {
    for (const address of ['::11.2.3.4', '64:ff9b::11.2.3.4', '::ffff:0:11.2.3.4', '::fffe:11.2.3.4', '1::ffff:b02:304']) {
      expect(unmapped(address)).toBe(address);
      expect(inNetworks(address, [parseNetwork('11.0.0.0/8')])).toBe(false);
    }
  });
});

describe('a device that a store or a file of the state tells of', () => {
  const device = createDeviceMaker('Europe/Berlin')(deviceSchema.parse({
    id: KIOSK, hardware: 'SN-42', fingerprint: 'ab'.repeat(32), serial: '0a', issuer: 'CN=Devices CA', users: 'Dr Wang', networks: [DOTTED, '10.0.0.0/8'], hours: 'Mon-Fri 07:00-19:00', owner: 'Ward 4',
  }));
  const parse = (more: object, op = 'put') => TOLD_DEVICES.parse(JSON.stringify({ op, device: { ...device, ...more }, who: 'webhook cmdb', reason: 'test', at: '2026-11-22T12:00:00.000Z' }));

  it('is taken as a CMDB has told it', () => {
    expect(parse({})).toMatchObject({ device });
    expect(parse({ state: 'scrapped' }, 'scrap')).toMatchObject({ device: { state: 'scrapped' } });
  });

  it.each([
    { networks: ['everywhere'] }, { networks: ['10.0.0.0/33'] }, { networks: '10.0.0.0/8' }, { networks: [7] }, { hours: { zone: 'Mars/Olympus', windows: [] } }, { hours: { zone: 'UTC' } },
    { hours: { zone: 'UTC', windows: [null] } }, { hours: null }, { users: [7] }, { fingerprints: [null] }, { serials: ['0a'] }, { hardware: 42 }, { state: 'free' }, { id: 7 },
  ])('is no device that would end a thread: %j', (more) => {
    expect(parse(more)).toBeUndefined();
  });
});
