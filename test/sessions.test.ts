import { writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGateway } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, configuration, exchange, gatewayDirectory, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { sClient } from './support/openssl.ts';
import { createAuthority, issueCertificate, issueCrl, testPki, writeLeaf, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
/** For what leaves it as it was. */
let shared: TestGateway;

beforeAll(async () => {
  pki = await testPki({ names: ['localhost', 'devices.localhost'] });
  backend = await startBackend(pki);
  shared = await startGateway(pki, backend.port);
});

afterAll(async () => {
  await shared.stop();
  await backend.close();
});

const get = (host: string, path = '/records'): string => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;

function as(gateway: TestGateway, who: string, name: string, version: string): string[] {
  return ['-CAfile', gateway.path('root.pem'), '-cert', gateway.path(`${who}.pem`), '-key', gateway.path(`${who}.key`), '-cert_chain', gateway.path(`${who}.pem`), '-servername', name, `-${version}`];
}

describe.each(['tls1_2', 'tls1_3'])('resumption over %s', (version) => {
  it('resumes an unrevoked client, on whichever thread it lands', async () => {
    const gateway = shared;
    const session = gateway.path('session.pem');
    const first = await sClient(gateway.port, [...as(gateway, 'doctor', 'localhost', version), '-sess_out', session], get('localhost'));
    expect(first).toMatchObject({ status: 200, resumed: false });
    for (let round = 0; round < 6; round++) {
      const again = await sClient(gateway.port, [...as(gateway, 'doctor', 'localhost', version), '-sess_in', session], get('localhost'));
      expect(again).toMatchObject({ status: 200, resumed: true });
    }
  });

  it('refuses a resumed session whose certificate was revoked since (TRAPS 1)', async () => {
    const gateway = shared;
    const session = gateway.path('session.pem');
    await sClient(gateway.port, [...as(gateway, 'doctor', 'localhost', version), '-sess_out', session], get('localhost'));
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: pki.doctor.sha256, reason: 'lost', who: 'test' });
    const again = await sClient(gateway.port, [...as(gateway, 'doctor', 'localhost', version), '-sess_in', session], get('localhost'));
    expect(again).toMatchObject({ status: 403, resumed: true });
    await gateway.gateway.reinstate({ kind: 'fingerprint', fingerprint: pki.doctor.sha256 }, 'test');
  });

  it('judges a session of one name by the trust of the name it is used under (TRAPS 2)', async () => {
    const devices = await createAuthority({ name: [['CN', 'Devices Root']] });
    const directory = await gatewayDirectory(pki);
    await writeFile(`${directory}/devices.pem`, devices.certificate);
    await Promise.all(writeLeaf(`${directory}/kiosk`, await issueCertificate(devices, { subject: [['CN', 'Kiosk'], ['OU', 'Devices']], san: { dns: 'kiosk.test' } })));
    await writeFile(`${directory}/wardgate.yaml`, configuration(backend.port, {
      clientAuth: '{ mode: optional, trust: [root.pem], intermediates: [issuing.pem], names: { devices.localhost: { trust: [devices.pem] } } }',
      revocation: '{ check: off }',
    }));
    const running = await createGateway({ config: `${directory}/wardgate.yaml` });
    const port = running.listeners[0]!.port;
    const held = { path: (name: string) => `${directory}/${name}` } as TestGateway;
    const session = `${directory}/session.pem`;
    const first = await sClient(port, [...as(held, 'doctor', 'localhost', version), '-sess_out', session], get('localhost'));
    expect(first.status).toBe(200);
    const crossed = await sClient(port, [...as(held, 'doctor', 'devices.localhost', version), '-sess_in', session], get('devices.localhost', '/echo/x'));
    expect(crossed.status).toBe(403);
    const own = await sClient(port, as(held, 'kiosk', 'devices.localhost', version), get('devices.localhost', '/echo/x'));
    expect(own.status).toBe(200);
    const stranger = await sClient(port, as(held, 'kiosk', 'localhost', version), get('localhost', '/echo/x'));
    expect(stranger.status).toBe(403);
    // A resumed TLS 1.2 session shows no server name: the Host field alone says which trust is meant.
    const nameless = await sClient(port, [...as(held, 'doctor', 'localhost', version).filter((arg) => arg !== '-servername' && arg !== 'localhost'), '-noservername', '-sess_in', session], get('devices.localhost', '/echo/x'));
    expect([403, 421]).toContain(nameless.status);
    await running.stop(0);
  });
});

describe('names', () => {
  it('closes a connection for a name that is not served', async () => {
    await expect(openTls(pki, shared.port, { servername: 'elsewhere.test' })).rejects.toThrow();
  });

  it('answers 421 when Host is another name than the connection\'s (TRAPS 7)', async () => {
    const reply = await ask(pki, shared.port, '/records', { client: pki.doctor, headers: { host: 'devices.localhost' } });
    expect(reply.json()).toMatchObject({ status: 421, code: 'misdirected' });
  });
});

describe('a revocation', () => {
  it('ends the open connections of the certificate and spares the others', async () => {
    const gateway = await startGateway(pki, backend.port);
    const doctor = await openTls(pki, gateway.port, { client: pki.doctor });
    const patient = await openTls(pki, gateway.port, { client: pki.patient });
    const keepAlive = 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n';
    expect(await exchange(doctor, keepAlive, (text) => text.endsWith('hello'))).toContain('200');
    const closed = once(doctor, 'close');
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: pki.doctor.sha256, reason: 'lost', who: 'test' });
    await closed;
    expect(await exchange(patient, keepAlive, (text) => text.endsWith('hello'))).toContain('200');
    patient.destroy();
    const refused = await ask(pki, gateway.port, '/records', { client: pki.doctor });
    expect(refused.status).toBe(403);
    const reasons = (await gateway.records()).map((record) => record['reason']);
    expect(reasons).toContain('revoked_denylist');
    expect(await gateway.gateway.reinstate({ kind: 'fingerprint', fingerprint: pki.doctor.sha256 }, 'test')).toBe(true);
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    await gateway.stop();
  });

  it('on a new CRL file takes effect without a reload', async () => {
    const gateway = await startGateway(pki, backend.port);
    const patient = await openTls(pki, gateway.port, { client: pki.patient });
    await exchange(patient, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'));
    const closed = once(patient, 'close');
    await writeFile(gateway.path('issuing.crl'), await issueCrl(pki.issuing, { number: 2, revoked: [{ serial: pki.patient.serialHex }] }));
    await closed;
    expect((await ask(pki, gateway.port, '/echo/x', { client: pki.patient })).json()).toMatchObject({ code: 'certificate_rejected' });
    await gateway.stop();
  });
});

describe('when the status is unknown', () => {
  it('refuses, unless the route says otherwise, and then tells the upstream and the record', async () => {
    const routes = `
  - { name: strict, match: { path: /strict }, allow: [doctor], upstream: records }
  - { name: lenient, match: { path: /lenient }, allow: [doctor], upstream: records, unavailable: allow }`;
    const gateway = await startGateway(pki, backend.port, { routes, revocation: '{ sources: [crl], crl: { files: [root.crl] } }' });
    expect((await ask(pki, gateway.port, '/strict', { client: pki.doctor })).json()).toMatchObject({ status: 403, code: 'certificate_rejected' });
    expect((await ask(pki, gateway.port, '/lenient', { client: pki.doctor })).status).toBe(200);
    expect(backend.seen.at(-1)?.headers['x-client-status']).toBe('degraded');
    const records = (await gateway.records()).filter((record) => record['event'] === 'request');
    expect(records.find((record) => record['route'] === 'strict')).toMatchObject({ reason: 'crl_missing' });
    expect(records.find((record) => record['route'] === 'lenient')).toMatchObject({ result: 'permitted', degraded: 'crl_missing' });
    await gateway.stop();
  });
});
