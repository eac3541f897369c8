import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, configuration, gatewayDirectory, openTls, readRecords, startGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { createAuthority, issueCertificate, testPki, writeLeaf, type Authority, type Issued, type TestPki } from './support/pki.ts';

const API = 'api.demo.wardgate.test';
const EMERGENCY = 'emergency.hospital.test';
const ROUTES = `
  - { name: records, match: { host: ${API}, path: /records }, allow: [doctor], upstream: records }
  - { name: echo, match: { host: "*.demo.wardgate.test", path: /echo/* }, allow: [patient, device], upstream: records }
  - { name: other, match: { host: localhost }, allow: [public], upstream: records }`;

let pki: TestPki;
let backend: Backend;
let directory: string;
let gateway: Gateway;
let emergencyServer: Issued;
let devicesCa: Authority;
let device: Issued;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  directory = await gatewayDirectory(pki);
  emergencyServer = await issueCertificate(pki.issuing, { subject: [['CN', EMERGENCY]], san: { dns: EMERGENCY }, eku: ['serverAuth'] });
  devicesCa = await createAuthority({ name: [['CN', 'Devices CA']] });
  device = await issueCertificate(devicesCa, { subject: [['CN', 'kiosk'], ['OU', 'Devices']], san: { dns: 'kiosk.test' } });
  await Promise.all([...writeLeaf(join(directory, 'emergency'), emergencyServer), writeFile(join(directory, 'devices.pem'), devicesCa.certificate)]);
  await writeFile(join(directory, 'wardgate.yaml'), configuration(backend.port, {
    listeners: `
  - name: clinical
    address: 127.0.0.1:0
    tls:
      certificates:
        - { certificate: server-ec.pem, key: server-ec.key }
        - { certificate: emergency.pem, key: emergency.key }
    client_auth: { mode: optional, trust: [root.pem], intermediates: [issuing.pem], names: { ${API}: { trust: [root.pem, devices.pem] } } }`,
    routes: ROUTES, revocation: '{ check: off }', top: `aliases: { ${EMERGENCY}: ${API} }`,
  }));
  gateway = await createGateway({ config: join(directory, 'wardgate.yaml') });
});

afterAll(async () => {
  await gateway.stop(0);
  await backend.close();
});

const port = (): number => gateway.listeners[0]?.port ?? 0;
const at = (host: string, path: string, client?: Issued, servername = host) => ask(pki, port(), path, { ...(client === undefined ? {} : { client }), servername, headers: { host } });

describe('a second name for an emergency', () => {
  it('has the routes of the first, its refusals included, and none else', async () => {
    for (const host of [API, EMERGENCY]) {
      expect((await at(host, '/records', pki.doctor)).status).toBe(200);
      expect((await at(host, '/records', pki.patient)).json()).toMatchObject({ code: 'role_denied' });
      expect((await at(host, '/records')).json()).toMatchObject({ code: 'certificate_required' });
      expect((await at(host, '/echo/1', pki.patient)).status).toBe(200);
      expect((await at(host, '/other', pki.doctor)).json()).toMatchObject({ code: 'not_found' });
    }
  });

  it('shows its own certificate', async () => {
    const socket = await openTls(pki, port(), { servername: EMERGENCY });
    expect(socket.getPeerX509Certificate()?.subjectAltName).toBe(`DNS:${EMERGENCY}`);
    socket.destroy();
  });

  it('takes the clients of the CAs that the first name takes', async () => {
    expect((await at(API, '/echo/1', device)).status).toBe(200);
    expect((await at(EMERGENCY, '/echo/1', device)).status).toBe(200);
    expect((await at('localhost', '/other', device)).json()).toMatchObject({ code: 'certificate_rejected' });
  });

  it('is a name of its own for connections: what was made for the other is misdirected', async () => {
    expect((await at(EMERGENCY, '/records', pki.doctor, API)).status).toBe(421);
    expect((await at(API, '/records', pki.doctor, EMERGENCY)).status).toBe(421);
  });

  it('serves HTTP/2, and tells the upstream and the record the name that was asked for', async () => {
    const session = await openHttp2(pki, port(), { client: pki.doctor, servername: EMERGENCY });
    expect((await askHttp2(session, '/records', { headers: { ':authority': EMERGENCY } })).status).toBe(200);
    session.destroy();
    expect(backend.seen.at(-1)?.headers).toMatchObject({ host: EMERGENCY, 'x-forwarded-host': EMERGENCY });
    await expect.poll(async () => (await readRecords(join(directory, 'state/audit'))).some((record) => record['host'] === EMERGENCY && record['route'] === 'records' && record['result'] === 'permitted')).toBe(true);
  });

  it('of a suspended route is suspended, too', async () => {
    await gateway.suspend({ route: 'records', reason: 'x', who: 'test' });
    expect((await at(EMERGENCY, '/records', pki.doctor)).status).toBe(503);
    await gateway.resume({ route: 'records' }, 'test');
    expect((await at(EMERGENCY, '/records', pki.doctor)).status).toBe(200);
  });

  it('is explained like the first', async () => {
    const run = (host: string) => wardgate(['explain', '-c', join(directory, 'wardgate.yaml'), '--cert', join(directory, 'doctor.pem'), '--request', `GET https://${host}/records`]);
    for (const host of [API, EMERGENCY]) expect(await run(host)).toMatchObject({ code: 0, stdout: expect.stringMatching(/pass {2}route +records/) as string });
    expect((await run('unknown.hospital.test')).stdout).toContain('misdirected');
  });

  it.each([
    [`{ ${API}: localhost }`, 'a route of its own is for'],
    [`{ a.test: b.test, b.test: ${API} }`, 'is an alias itself'],
    ['{ "*.test": a.test }', 'expected a host name'],
  ])('written as %s is refused', async (aliases, message) => {
    await expect(startGateway(pki, backend.port, { routes: ROUTES, top: `aliases: ${aliases}` })).rejects.toThrow(message);
  });
});
