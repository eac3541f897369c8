import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { ClientHttp2Session } from 'node:http2';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, configuration, exchange, gatewayDirectory, openTls, readRecords } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { sClient, type ClientRun } from './support/openssl.ts';
import { createAuthority, issueCertificate, testPki, writeLeaf, type Authority, type Issued, type TestPki } from './support/pki.ts';

const ROUTES = `
  - { name: wards, match: { path: /wards/* }, allow: [doctor, device], upstream: records, require: { trust: [root.pem] } }
  - { name: machines, match: { path: /machines/* }, allow: [doctor, device], upstream: records, require: { trust: devices.pem } }
  - { name: lobby, match: { path: /lobby/* }, allow: [public], upstream: records, require: { trust: [devices.pem, root.pem] } }
  - { name: echo, match: { path: /echo/* }, allow: [doctor, device], upstream: records }`;

let pki: TestPki;
let devices: Authority;
let kiosk: Issued;
let backend: Backend;
/** Doctors' CA by default, devices' CA for one name. */
let byName: Served;
/** Both CAs for every name, told apart by routes. */
let byRoute: Served;

interface Served {
  readonly gateway: Gateway;
  readonly port: number;
  path(name: string): string;
}

async function serve(clientAuth: string): Promise<Served> {
  const directory = await gatewayDirectory(pki);
  const path = (name: string): string => join(directory, name);
  await writeFile(path('devices.pem'), devices.certificate);
  await Promise.all(writeLeaf(path('kiosk'), kiosk));
  await writeFile(path('wardgate.yaml'), configuration(backend.port, { clientAuth, routes: ROUTES, revocation: '{ check: off }' }));
  const gateway = await createGateway({ config: path('wardgate.yaml') });
  return { gateway, path, port: gateway.listeners[0]?.port ?? 0 };
}

beforeAll(async () => {
  pki = await testPki({ names: ['localhost', 'devices.localhost'] });
  devices = await createAuthority({ name: [['CN', 'Devices Root']] });
  kiosk = await issueCertificate(devices, { subject: [['CN', 'Kiosk'], ['OU', 'Devices']], san: { dns: 'kiosk.test' } });
  backend = await startBackend(pki);
  byName = await serve('{ mode: optional, trust: [root.pem], intermediates: [issuing.pem], names: { Devices.LOCALHOST: { trust: [devices.pem] } } }');
  byRoute = await serve('{ mode: optional, trust: [root.pem, devices.pem], intermediates: [issuing.pem] }');
});

afterAll(async () => {
  await Promise.all([byName.gateway.stop(0), byRoute.gateway.stop(0)]);
  await backend.close();
});

const get = (host: string, more = 'Connection: close\r\n'): string => `GET /echo/x HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;

describe.each(['tls1_2', 'tls1_3'])('different CAs for different names, over %s', (version) => {
  /** What comes of a client that connects for `name` and asks for `host`. */
  function come(who: 'doctor' | 'kiosk', name: string | undefined, host: string, session: readonly string[] = []): Promise<ClientRun> {
    const sni = name === undefined ? ['-noservername'] : ['-servername', name];
    const files = ['-CAfile', byName.path('root.pem'), '-cert', byName.path(`${who}.pem`), '-key', byName.path(`${who}.key`), '-cert_chain', byName.path(`${who}.pem`)];
    return sClient(byName.port, [...files, ...sni, `-${version}`, ...session], get(host));
  }

  it('lets each client in under its own name, however that is spelt, and nowhere else', async () => {
    expect((await come('doctor', 'localhost', 'localhost')).status).toBe(200);
    expect((await come('kiosk', 'DEVICES.localhost', 'Devices.Localhost')).status).toBe(200);
    expect((await come('doctor', 'devices.localhost', 'devices.localhost')).status).toBe(403);
    expect((await come('kiosk', 'localhost', 'localhost')).status).toBe(403);
  });

  it('asks for the certificates of the CAs of the name', async () => {
    const names = async (name: string): Promise<string> => /Acceptable client certificate CA names\n([\s\S]*?)(?:Requested|Client Certificate)/.exec((await come('doctor', name, name)).output)?.[1] ?? '';
    expect(await names('localhost')).toMatch(/Hospital Root/);
    expect(await names('devices.localhost')).toMatch(/Devices Root/);
    expect(await names('devices.localhost')).not.toMatch(/Hospital Root/);
  });

  it('answers 421 where the request is for another name than the connection, whoever asks', async () => {
    expect((await come('doctor', 'localhost', 'devices.localhost')).status).toBe(421);
    expect((await come('kiosk', 'devices.localhost', 'localhost')).status).toBe(421);
  });

  it('does not resume a session of one name under another, and judges it by the other', async () => {
    const session = byName.path(`crossing-${version}.pem`);
    expect(await come('doctor', 'localhost', 'localhost', ['-sess_out', session])).toMatchObject({ status: 200, resumed: false });
    expect(await come('doctor', 'localhost', 'localhost', ['-sess_in', session])).toMatchObject({ status: 200, resumed: true });
    expect(await come('doctor', 'devices.localhost', 'devices.localhost', ['-sess_in', session])).toMatchObject({ status: 403, resumed: false });
    const own = byName.path(`own-${version}.pem`);
    expect(await come('kiosk', 'devices.localhost', 'devices.localhost', ['-sess_out', own])).toMatchObject({ status: 200, resumed: false });
    expect(await come('kiosk', 'localhost', 'localhost', ['-sess_in', own])).toMatchObject({ status: 403, resumed: false });
    // A session that goes on under its name is no way to another.
    const across = await come('kiosk', 'devices.localhost', 'localhost', ['-sess_in', own]);
    expect([across.resumed, [403, 421].includes(across.status ?? 0)]).toEqual([true, true]);
  });

  it('goes by the Host field without a server name, and judges each request by the CAs of its own', async () => {
    expect((await come('doctor', undefined, 'localhost')).status).toBe(200);
    expect((await come('doctor', undefined, 'devices.localhost')).status).toBe(403);
    expect((await come('kiosk', undefined, 'devices.localhost')).status).toBe(200);
    expect((await come('kiosk', undefined, 'localhost')).status).toBe(403);
    expect((await come('doctor', undefined, 'elsewhere.test')).status).toBe(421);
    const open = await openTls(pki, byName.port, { client: kiosk, servername: '', maxVersion: version === 'tls1_2' ? 'TLSv1.2' : 'TLSv1.3' });
    const both = await exchange(open, `${get('devices.localhost', '')}${get('localhost')}`);
    expect([...both.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status)).toEqual(['200', '403']);
  });
});

describe('by HTTP/2', () => {
  const opened: ClientHttp2Session[] = [];
  const open = async (client: Issued, servername: string): Promise<ClientHttp2Session> => {
    const session = await openHttp2(pki, byName.port, { client, servername });
    opened.push(session);
    return session;
  };

  afterAll(() => opened.forEach((session) => session.destroy()));

  it('a connection for one name is no connection for another that its certificate covers (RFC 9113 section 9.1.1)', async () => {
    const doctor = await open(pki.doctor, 'localhost');
    expect(doctor.originSet ?? []).not.toContain('https://devices.localhost');
    expect((await askHttp2(doctor, '/echo/x')).status).toBe(200);
    expect((await askHttp2(doctor, '/echo/x', { headers: { ':authority': 'devices.localhost' } })).json()).toMatchObject({ status: 421, code: 'misdirected' });
    expect((await askHttp2(doctor, '/echo/x')).status).toBe(200);
    const device = await open(kiosk, 'devices.localhost');
    expect((await askHttp2(device, '/echo/x', { headers: { ':authority': 'devices.localhost' } })).status).toBe(200);
    expect((await askHttp2(device, '/echo/x')).status).toBe(421);
  });
});

describe('by HTTP/2 without a server name', () => {
  it('each request is judged by the CAs of its own authority', async () => {
    const socket = await openTls(pki, byName.port, { client: pki.doctor, servername: '', ALPNProtocols: ['h2'] });
    const session = await openHttp2(pki, byName.port, { createConnection: () => socket });
    // The last one, which is refused for its certificate, is the last of the connection.
    const statuses = [];
    for (const authority of ['localhost', 'elsewhere.test', 'localhost', 'devices.localhost']) statuses.push((await askHttp2(session, '/echo/x', { headers: { ':authority': authority } })).status);
    expect(statuses).toEqual([200, 421, 200, 403]);
    session.destroy();
  });
});

describe('a reload', () => {
  it('that takes a CA from a name ends what was let in by it, and spares the other names', async () => {
    const auth = (names: string): string => `{ mode: optional, trust: [root.pem], intermediates: [issuing.pem], names: { devices.localhost: { trust: [${names}] } } }`;
    const served = await serve(auth('devices.pem, root.pem'));
    const come = (client: Issued, name: string) => ask(pki, served.port, '/echo/x', { client, servername: name, headers: { host: name } });
    const open = await Promise.all([openTls(pki, served.port, { client: kiosk, servername: 'devices.localhost' }), openTls(pki, served.port, { client: pki.doctor })]);
    expect(await exchange(open[0], get('devices.localhost', ''), (text) => text.endsWith('hello'))).toContain(' 200 ');
    expect(await exchange(open[1], get('localhost', ''), (text) => text.endsWith('hello'))).toContain(' 200 ');
    const ended = once(open[0], 'close');
    await writeFile(served.path('wardgate.yaml'), configuration(backend.port, { clientAuth: auth('root.pem'), routes: ROUTES, revocation: '{ check: off }' }));
    await served.gateway.reload();
    await ended;
    expect(await exchange(open[1], get('localhost', ''), (text) => text.endsWith('hello'))).toContain(' 200 ');
    open[1].destroy();
    expect([(await come(kiosk, 'devices.localhost')).status, (await come(pki.doctor, 'devices.localhost')).status]).toEqual([403, 200]);
    await served.gateway.stop(0);
  });
});

describe('different CAs for different routes', () => {
  const status = async (client: Issued | undefined, path: string): Promise<number> => (await ask(pki, byRoute.port, path, client === undefined ? {} : { client })).status;

  it('let each client use what its CA is for, whatever its role is', async () => {
    expect(await Promise.all([status(pki.doctor, '/wards/1'), status(pki.doctor, '/machines/1'), status(kiosk, '/wards/1'), status(kiosk, '/machines/1')])).toEqual([200, 403, 403, 200]);
    expect(await Promise.all([status(pki.doctor, '/echo/1'), status(kiosk, '/echo/1')])).toEqual([200, 200]);
    const records = await readRecords(byRoute.path('state/audit'));
    expect(records.filter((record) => record['reason'] === 'issuer_denied').map((record) => [record['route'], record['role'], record['status']]).sort()).toEqual([['machines', 'doctor', 403], ['wards', 'device', 403]]);
  });

  it('mean the CA and not its name: another CA that calls itself the same is another', async () => {
    const namesake = await createAuthority({ name: [['CN', 'Devices Root']], issuer: pki.root });
    const impostor = await issueCertificate(namesake, { subject: [['CN', 'Kiosk'], ['OU', 'Devices']], san: { dns: 'kiosk.test' } });
    expect(await Promise.all([status(impostor, '/machines/1'), status(impostor, '/wards/1')])).toEqual([403, 200]);
  });

  it('are explained', async () => {
    const run = await wardgate(['explain', '-c', byRoute.path('wardgate.yaml'), '--cert', byRoute.path('kiosk.pem'), '--request', 'GET https://localhost/wards/1']);
    expect([run.code, run.stdout]).toEqual([3, expect.stringMatching(/deny +issuer +issuer_denied: no CA on the path is one of those that the route trusts/)]);
  });

  it('ask for a certificate on public routes too', async () => {
    expect(await Promise.all([status(undefined, '/lobby/1'), status(kiosk, '/lobby/1'), status(pki.doctor, '/lobby/1')])).toEqual([401, 200, 200]);
  });
});
