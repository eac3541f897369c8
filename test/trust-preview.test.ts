import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { StandingReport, TrustPreview } from '../src/trust-change.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, configuration, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { createAuthority, issueCertificate, testPki, type Authority, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
let kiosks: Authority;
let kiosk: Issued;
let backend: Backend;
let served: TestGateway;
let doctor: TLSSocket;
let device: TLSSocket;

const answers = (socket: TLSSocket): Promise<string> => exchange(socket, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.includes('\r\n\r\n'));

beforeAll(async () => {
  pki = await testPki();
  kiosks = await createAuthority({ name: [['CN', 'Kiosks Root']] });
  const floor = await createAuthority({ name: [['CN', 'Third Floor CA']], issuer: kiosks });
  kiosk = await issueCertificate(floor, { subject: [['CN', 'Kiosk'], ['OU', 'Devices']], san: { dns: 'kiosk.test' } });
  const spare = await issueCertificate(kiosks, { subject: [['CN', 'Spare kiosk'], ['OU', 'Devices']], san: { dns: 'spare.test' } });
  backend = await startBackend(pki);
  served = await startGateway(pki, backend.port, { clientAuth: '{ mode: optional, trust: root.pem, intermediates: [issuing.pem] }', revocation: '{ check: off }' });
  await mkdir(served.path('anchors'));
  await writeFile(served.path('anchors/hospital.pem'), pki.root.certificate);
  await writeFile(served.path('anchors/kiosks.pem'), kiosks.certificate);
  await writeFile(served.path('next.yaml'), await readFile(served.path('wardgate.yaml')));
  await served.configure(configuration(backend.port, { clientAuth: '{ mode: optional, trust: anchors, intermediates: [issuing.pem] }', revocation: '{ check: off }' }));
  await served.gateway.reload();
  expect((await ask(pki, served.port, '/echo/x', { client: spare })).status).toBe(200);
  [doctor, device] = await Promise.all([openTls(pki, served.port, { client: pki.doctor }), openTls(pki, served.port, { client: kiosk })]);
  expect(await Promise.all([answers(doctor), answers(device)])).toEqual([expect.stringMatching(/^HTTP\/1.1 200 /), expect.stringMatching(/^HTTP\/1.1 200 /)]);
});

afterAll(async () => {
  doctor.destroy();
  await served.stop();
  await backend.close();
});

const trust = (...args: readonly string[]) => wardgate(['trust', ...args, '-c', served.path('wardgate.yaml')]);

describe('wardgate trust', () => {
  it('lists the anchors in force with what stands on each', async () => {
    const { code, stdout } = await trust('list', '--json');
    const { anchors } = JSON.parse(stdout) as { anchors: readonly StandingReport[] };
    expect(code).toBe(0);
    expect(anchors).toEqual([
      expect.objectContaining({ listener: 'clinical', name: '', subject: 'CN=Hospital Root,O=Hospital', from: 'anchors', connections: 1, certificates: 1 }),
      expect.objectContaining({ subject: 'CN=Kiosks Root', connections: 1, certificates: 2 }),
    ]);
    expect((await trust('list')).stdout).toMatch(/^clinical: CN=Kiosks Root, until \d{4}-\d\d-\d\d, [0-9a-f]{16}, from anchors\n {2}1 open connection, 2 certificates seen lately$/m);
  });

  it('shows that nothing would change, where files and what is in force are the same', async () => {
    expect(await trust('preview')).toMatchObject({ code: 0, stdout: 'no anchor would come or go, and nobody would be cut off\n' });
  });

  it.each([['by a file', () => served.path('anchors/kiosks.pem')], ['by the beginning of its fingerprint', () => kiosks.sha256.slice(0, 12)]])('shows whom the loss of an anchor, named %s, would cut off, and changes nothing', async (_, name) => {
    const { code, stdout } = await trust('preview', '--without', name(), '--json');
    const found = JSON.parse(stdout) as TrustPreview & { on_record: { refused: readonly unknown[]; unknown: number } };
    expect(code).toBe(3);
    expect(found).toMatchObject({
      comes: [], goes: [{ listener: 'clinical', subject: 'CN=Kiosks Root', fingerprint: kiosks.sha256 }],
      concerned: { connections: 1, under_way: 0, roles: { device: 1 }, clients: [{ role: 'device', id: 'kiosk.test', connections: 1 }] },
    });
    expect(found.on_record.refused).toHaveLength(2);
    expect(found.on_record).toMatchObject({ unknown: 0, left: 0, refused: expect.arrayContaining([
      // Its issuing CA is configured nowhere: it came with the handshake.
      expect.objectContaining({ fingerprint: kiosk.sha256, role: 'device', id: 'kiosk.test' }),
      expect.objectContaining({ id: 'spare.test' }),
    ]) });
    expect([await answers(doctor), await answers(device)]).toEqual([expect.stringMatching(/^HTTP\/1.1 200 /), expect.stringMatching(/^HTTP\/1.1 200 /)]);
  });

  it('says it in words', async () => {
    const { stdout } = await trust('preview', '--without', kiosks.sha256);
    expect(stdout.split('\n')).toEqual([
      expect.stringMatching(/^goes {3}clinical: CN=Kiosks Root, until /),
      'cut off now: 1 open connection, 0 requests and streams under way; roles: device 1',
      '  device kiosk.test, 127.0.0.1: 1',
      expect.stringMatching(/^on record since .*: 2 certificates would be refused$/),
      expect.stringMatching(/^ {2}CN=Kiosk,OU=Devices on clinical \(device kiosk\.test\): \d requests?, last /),
      expect.stringContaining('Spare kiosk'),
      '',
    ]);
  });

  it('says that a configuration without any anchor would be refused', async () => {
    const anchors = (JSON.parse((await trust('list', '--json')).stdout) as { anchors: { fingerprint: string }[] }).anchors;
    const all = [...new Set(anchors.map(({ fingerprint }) => fingerprint))].flatMap((fingerprint) => ['--without', fingerprint]);
    expect(await trust('preview', ...all)).toMatchObject({ code: 3, stdout: expect.stringMatching(/\nREFUSED: clinical would have no anchor left; a configuration like that is not taken/) });
  });

  it('shows what another configuration would change', async () => {
    const { code, stdout, stderr } = await trust('preview', '--candidate', served.path('next.yaml'), '--json');
    expect([code, stderr]).toEqual([3, '']);
    expect(JSON.parse(stdout)).toMatchObject({ comes: [], goes: [{ fingerprint: kiosks.sha256 }], concerned: { connections: 1 } });
  });

  it('refuses an anchor that nobody trusts, a configuration that cannot be taken, and a time that is none', async () => {
    expect(await trust('preview', '--without', 'abcdef0123')).toMatchObject({ code: 1, stderr: expect.stringContaining('no trust anchor of a listener has the fingerprint abcdef0123') });
    await writeFile(served.path('broken.yaml'), 'listeners: []');
    expect(await trust('preview', '--candidate', served.path('broken.yaml'))).toMatchObject({ code: 1, stderr: expect.stringContaining('broken.yaml:1:') });
    expect((await trust('preview', '--since', 'long')).code).toBe(2);
  });

  it('has on record whom the loss of an anchor did cut off, and that one came', async () => {
    const ended = new Promise((done) => device.on('close', done));
    await rm(served.path('anchors/kiosks.pem'));
    await ended;
    const details = async (): Promise<readonly unknown[]> => (await served.records()).filter(({ event }) => event === 'configuration').map(({ detail }) => detail);
    await vi.waitFor(async () => expect(await details()).toContainEqual(expect.stringMatching(
      /^no longer trusted: CN=Kiosks Root \([0-9a-f]{16}\) on clinical; ends 1 open connection with 0 requests and streams under way: device kiosk\.test$/,
    )), { timeout: 20_000 });
    expect(await answers(doctor)).toMatch(/^HTTP\/1.1 200 /);
    await writeFile(served.path('anchors/kiosks.pem'), kiosks.certificate);
    await vi.waitFor(async () => expect(await details()).toContainEqual(expect.stringMatching(/^trusted from now on: CN=Kiosks Root \([0-9a-f]{16}\) on clinical$/)), { timeout: 20_000 });
  });
});
