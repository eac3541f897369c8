import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { authorizeStream } from '../src/policy/authorize-stream.ts';
import type { KnownAdmission } from '../src/policy/facts.ts';
import { compileRates, countersOf } from '../src/policy/limits.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, configuration, exchange, gatewayDirectory, openTls, readRecords } from './support/gateway.ts';
import { createAuthority, issueCertificate, testPki, writeLeaf, type Authority, type Issued, type TestPki } from './support/pki.ts';

const ROLES = `
  - role: doctor
    match: { subject: { OU: Doctors }, key: [ec-p256, rsa-3072] }
    also: [{ role: radiologist, match: { subject: { OU: Radiology } } }]
  - { role: workload, match: { san: { spiffe: "spiffe://wards.test/monitor/*" } }, id: "{san.spiffe}" }
  - { role: device, match: { san: { hardware_module: { type: 1.3.6.1.4.1.99999.5, serial: "0a*" } } }, id: "{san.hardware_module.serial}" }`;
const TOP = `
inherits: { doctor: [staff], radiologist: [imaging] }
trust_domains: { wards.test: { trust: wards.pem }, labs.test: { trust: labs.pem } }
metrics: { address: "127.0.0.1:0" }`;
const ROUTES = `
  - { name: imaging, match: { path: /imaging/* }, allow: [imaging], upstream: records }
  - { name: staff, match: { path: /staff/* }, allow: [staff], upstream: records, forward: { roles: true } }
  - { name: monitors, match: { path: /monitors/* }, allow: [workload, device], upstream: records, forward: { roles: true } }`;

let pki: TestPki;
let backend: Backend;
let gateway: Gateway;
let directory: string;
let radiologist: Issued;
let monitor: Issued;
let strayMonitor: Issued;
let pump: Issued;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  const [wards, labs] = await Promise.all([createAuthority({ name: 'Wards CA', issuer: pki.root }), createAuthority({ name: 'Labs CA', issuer: pki.root })]);
  const workload = (authority: Authority): Promise<Issued> => issueCertificate(authority, { subject: [['CN', 'monitor']], san: { uri: 'spiffe://wards.test/monitor/7', dns: 'monitor-7.test' } });
  [radiologist, monitor, strayMonitor, pump] = await Promise.all([
    pki.issueClient({ subject: [[['CN', 'Dr Röntgen'], ['OU', 'Radiology']], ['OU', 'doctors'], ['O', 'Hospital']] }),
    workload(wards), workload(labs),
    pki.issueClient({ subject: [['CN', 'pump']], san: { hardwareModuleName: { type: '1.3.6.1.4.1.99999.5', serial: '0a1b' } } }),
  ]);
  directory = await gatewayDirectory(pki);
  await Promise.all([
    writeFile(join(directory, 'wards.pem'), wards.certificate), writeFile(join(directory, 'labs.pem'), labs.certificate),
    ...Object.entries({ radiologist, monitor, stray: strayMonitor, pump }).flatMap(([name, leaf]) => writeLeaf(join(directory, name), leaf)),
    writeFile(join(directory, 'wardgate.yaml'), configuration(backend.port, { roles: ROLES, routes: ROUTES, top: TOP, revocation: '{ check: off }' })),
  ]);
  gateway = await createGateway({ config: join(directory, 'wardgate.yaml') });
});

afterAll(async () => {
  await gateway.stop(0);
  await backend.close();
});

const asks = (client: Issued, path: string, headers: Record<string, string> = {}) => ask(pki, gateway.listeners[0]?.port ?? 0, path, { client, headers: { host: 'localhost', ...headers } });
const seen = () => backend.seen.at(-1)?.headers ?? {};

describe('a client with several roles', () => {
  it('may use what any of them may, inherited ones included', async () => {
    expect((await asks(radiologist, '/imaging/1')).status).toBe(200);
    expect((await asks(radiologist, '/staff/1')).status).toBe(200);
    expect((await asks(pki.doctor, '/staff/1')).status).toBe(200);
    expect((await asks(pki.doctor, '/imaging/1')).json()).toMatchObject({ status: 403, code: 'role_denied' });
    expect((await asks(radiologist, '/monitors/1')).json()).toMatchObject({ status: 403, code: 'role_denied' });
  });

  it('is named to the upstream by the first, and by all where the route says so; its own copies never pass', async () => {
    await asks(radiologist, '/imaging/1', { 'x-client-roles': 'admin', 'x_client_roles': 'admin' });
    expect(seen()).toMatchObject({ 'x-client-role': 'doctor', 'x-client-id': 'Dr R%C3%B6ntgen' });
    expect(Object.keys(seen()).filter((name) => /roles/.test(name))).toEqual([]);
    await asks(radiologist, '/staff/1', { 'x-client-roles': 'admin' });
    expect(seen()).toMatchObject({ 'x-client-role': 'doctor', 'x-client-roles': 'doctor, radiologist, staff, imaging' });
  });

  it('is on record with all of them, and one of a single role with that alone', async () => {
    const [many, one] = [await asks(radiologist, '/imaging/1'), await asks(pump, '/monitors/1')];
    const records = await readRecords(join(directory, 'state/audit'));
    const recordOf = (id: unknown) => records.find((record) => record['request_id'] === id);
    expect(recordOf(many.headers['x-request-id'])).toMatchObject({ role: 'doctor', roles: ['doctor', 'radiologist', 'staff', 'imaging'], id: 'Dr Röntgen' });
    expect(recordOf(one.headers['x-request-id'])).toMatchObject({ role: 'device', id: '0a1b' });
    expect(recordOf(one.headers['x-request-id'])).not.toHaveProperty('roles');
    expect(seen()).toMatchObject({ 'x-client-roles': 'device' });
  });

  it('counts under the first in the metrics', async () => {
    await asks(radiologist, '/imaging/1');
    const text = await (await fetch(`http://127.0.0.1:${gateway.metrics?.port}/metrics`)).text();
    expect(text).toMatch(/wardgate_requests_total\{route="imaging",role="doctor",status="200"\} [1-9]/);
  });
});

describe('a role that is inherited, or not the first', () => {
  const identity = { role: 'doctor', id: 'Dr Li', roles: new Set(['doctor', 'radiologist', 'staff']) };
  const admission = { kind: 'known', identity, status: { kind: 'good' }, leaf: { sha256: 'ab' } } as unknown as KnownAdmission;

  it('opens a listener of streams', () => {
    const decide = (role: string) => authorizeStream({ allow: new Set([role]), unavailable: 'deny' }, { admission, address: '10.0.0.1' }, 0);
    expect([decide('staff').kind, decide('radiologist').kind]).toEqual(['permit', 'permit']);
    expect(decide('nurse')).toMatchObject({ kind: 'denial', reason: 'role_denied', detail: 'the listener does not allow any of the roles doctor, radiologist, staff' });
  });

  it('is under the limits of its role', () => {
    const limited = (role: string) => countersOf(compileRates('gateway', [{ per: 'certificate', rate: [{ text: '1/minute', requests: 1, window: 60_000 }], roles: [role], count: 'requests' }]), { admission, address: '10.0.0.1', route: 'r' }).length;
    expect([limited('staff'), limited('doctor'), limited('nurse')]).toEqual([1, 1, 0]);
  });
});

describe('a reload', () => {
  it('changes what open connections may do', async () => {
    const open = await openTls(pki, gateway.listeners[0]?.port ?? 0, { client: radiologist });
    const status = async (): Promise<string | undefined> =>
      /HTTP\/1\.1 (\d{3})/.exec(await exchange(open, 'GET /imaging/1 HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => /\r\n\r\n[^]+/.test(text)))?.[1];
    const write = (top: string) => writeFile(join(directory, 'wardgate.yaml'), configuration(backend.port, { roles: ROLES, routes: ROUTES, top, revocation: '{ check: off }' }));
    expect(await status()).toBe('200');
    await write(TOP.replace('radiologist: [imaging]', 'workload: [imaging]'));
    await gateway.reload();
    expect(await status()).toBe('403');
    await write(TOP);
    await gateway.reload();
    expect(await status()).toBe('200');
    open.destroy();
  });
});

describe('a SPIFFE id', () => {
  it('gives its role from a CA of its trust domain, and from no other', async () => {
    expect((await asks(monitor, '/monitors/1')).status).toBe(200);
    expect(seen()).toMatchObject({ 'x-client-role': 'workload', 'x-client-id': 'spiffe://wards.test/monitor/7' });
    expect((await asks(strayMonitor, '/monitors/1')).json()).toMatchObject({ status: 403, code: 'role_denied' });
  });
});

describe('wardgate explain', () => {
  const explain = async (name: string, path = '/imaging/1'): Promise<string> =>
    (await wardgate(['explain', '-c', join(directory, 'wardgate.yaml'), '--cert', join(directory, `${name}.pem`), '--request', `GET https://localhost${path}`])).stdout;

  it('names every role that is held, and why a further one is not', async () => {
    expect(await explain('radiologist')).toMatch(/roles +doctor \+ radiologist \+ staff \+ imaging, id Dr Röntgen/);
    const doctor = await explain('doctor');
    expect(doctor).toMatch(/roles +radiologist: subject OU is Doctors/);
    expect(doctor).toMatch(/the route does not allow any of the roles doctor, staff/);
  });

  it('lets no name steer the terminal', async () => {
    await Promise.all(writeLeaf(join(directory, 'turned'), await pki.issueClient({ subject: [['CN', 'a\u202eb'], ['OU', 'Doctors']] })));
    const text = await explain('turned', '/staff/1');
    expect(text).toMatch(/roles +doctor \+ staff, id a\\u\{202e\}b/);
    expect(text).not.toContain('\u202e');
  });

  it('says what each rule above missed: names, keys, hardware, trust domains', async () => {
    const stray = await explain('stray', '/monitors/1');
    expect(stray).toMatch(/roles +doctor: subject OU is absent/);
    expect(stray).toMatch(/roles +workload: san\.spiffe: the CA vouches for the trust domain labs\.test, not for wards\.test/);
    expect(stray).toMatch(/roles +device: san\.hardware_module is absent/);
    expect(stray).toMatch(/no role matches/);
  });
});
