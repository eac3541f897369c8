import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listen } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
let upstream: Server;
let accepted: TLSSocket[];
let gateway: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  accepted = [];
  // An MLLP peer of the tests' own: it acknowledges every frame, and says goodbye when the other half closes.
  upstream = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true, allowHalfOpen: true } as never, (socket: TLSSocket) => {
    accepted.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => socket.write(chunk));
    socket.on('end', () => socket.end('bye'));
  });
  const port = await listen(upstream);
  gateway = await startGateway(pki, port, {
    listeners: `
  - name: mllp
    address: 127.0.0.1:0
    protocol: tcp
    tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }
    client_auth: { trust: [root.pem], intermediates: [issuing.pem] }
    allow: [device]
    upstream: lab
    limits: { idle_time: 2s }`,
    routes: '[]',
    upstreams: `
  lab:
    endpoints: ["tls://127.0.0.1:${port}"]
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }`,
  });
});

afterAll(async () => {
  await gateway.stop();
  upstream.close();
});

/** A client that hears the other half after it has closed its own only when `halves` says so. */
const open = (client?: Issued, halves = false): Promise<TLSSocket> =>
  openTls(pki, gateway.port, { ...(client === undefined ? {} : { client }), ALPNProtocols: undefined, allowHalfOpen: halves } as never);

describe('a TCP listener', () => {
  it('carries every octet both ways, and each half closes by itself', async () => {
    const socket = await open(pki.device, true);
    const sent = Buffer.concat([Buffer.from('\x0bMSH|^~\\&|'), randomBytes(3_000_000), Buffer.from('\x1c\r')]);
    const received: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => received.push(chunk));
    socket.end(sent);
    await once(socket, 'end');
    expect(Buffer.concat(received).equals(Buffer.concat([sent, Buffer.from('bye')]))).toBe(true);
    await expect.poll(async () => (await gateway.records()).filter((record) => record['event'] === 'connection' && record['role'] === 'device').map((record) => record['result'])).toEqual(['permitted', 'done']);
    const done = (await gateway.records()).find((record) => record['result'] === 'done' && record['event'] === 'connection');
    expect(done).toMatchObject({ bytes_in: sent.length, bytes_out: sent.length + 3, listener: 'mllp', upstream: 'lab', id: 'kiosk-7.devices.hospital.test' });
  });

  it.each<readonly [string, () => Issued | undefined, string]>([
    ['the wrong role', () => pki.doctor, 'role_denied'], ['a revoked certificate', () => pki.revokedDoctor, 'revoked_crl'],
    ['no role', () => pki.unmapped, 'no_role'], ['no certificate', () => undefined, 'no_certificate'],
  ])('ends a connection with %s, and the upstream hears nothing', async (_what, client, reason) => {
    const before: number = accepted.length;
    const socket: TLSSocket = await open(client());
    const closed = once(socket, 'close');
    socket.resume();
    socket.on('error', () => undefined);
    socket.write('\x0bMSH|');
    await closed;
    expect(accepted.length).toBe(before);
    await expect.poll(async () => (await gateway.records()).filter((record) => record['event'] === 'connection').map((record) => record['reason'])).toContain(reason);
  });

  it('ends open streams of a certificate that is revoked, on both sides', async () => {
    const client = await pki.issueClient({ subject: [['CN', 'Kiosk 8'], ['OU', 'Devices']], san: { dns: 'kiosk-8.test' } });
    const socket = await open(client);
    socket.write('hello');
    await once(socket, 'data');
    const ends = Promise.all([once(socket, 'close'), once(accepted.at(-1) as TLSSocket, 'close')]);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: client.sha256, reason: 'scrapped', who: 'test' });
    await ends;
  });

  it('ends a stream that is silent for too long', async () => {
    const socket = await open(pki.device);
    socket.write('hello');
    await once(socket, 'data');
    socket.on('error', () => undefined);
    await once(socket, 'close');
    await expect.poll(async () => (await gateway.records()).some((record) => record['detail'] === 'idle for too long')).toBe(true);
  });

  it('ends the client\'s side when the upstream dies', async () => {
    const socket = await open(pki.device);
    socket.write('hello');
    await once(socket, 'data');
    socket.on('error', () => undefined);
    const closed = once(socket, 'close');
    accepted.at(-1)?.destroy();
    await closed;
  });
});

describe('wardgate explain', () => {
  it('tells of a stream what it tells of a request', async () => {
    const config = gateway.path('wardgate.yaml');
    const permitted = await wardgate(['explain', '-c', config, '--listener', 'mllp', '--cert', gateway.path('device.pem')]);
    expect(permitted).toMatchObject({ code: 0 });
    expect(permitted.stdout).toMatch(/permitted\n$/);
    const denied = await wardgate(['explain', '-c', config, '--listener', 'mllp', '--cert', gateway.path('doctor.pem'), '--json']);
    expect(denied.code).toBe(3);
    expect(JSON.parse(denied.stdout)).toMatchObject({ result: 'denied', reason: 'role_denied', listener: 'mllp' });
  });
});
