import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callGateway } from '../src/cli/call.ts';
import type { ExpiryReport } from '../src/expiry.ts';
import type { GatewayStatus } from '../src/gateway.ts';
import { startHook, startMailServer, type Hook, type MailServer } from './support/alarm-receivers.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate, wardgateRun, type RunningCommand } from './support/command.ts';
import { ask, configuration, gatewayDirectory, readRecords } from './support/gateway.ts';
import { issueCertificate, testPki, writeLeaf, type Issued, type TestPki } from './support/pki.ts';

const DAY = 86_400_000;
const SECRET = 'a secret of more than thirty-two octets';
const TLS = '{ trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: localhost }';

let pki: TestPki;
let backend: Backend;
let directory: string;
let pkiDesk: MailServer;
let head: MailServer;
let hook: Hook;
let running: RunningCommand;
let kiosk: Issued;

const config = (): string => join(directory, 'wardgate.yaml');
const socket = (): string => join(directory, 'state/admin.sock');
const report = async (): Promise<ExpiryReport> => await callGateway(socket(), 'GET', '/v1/expiry') as ExpiryReport;
const records = (): ReturnType<typeof readRecords> => readRecords(join(directory, 'state/audit'));

/** A certificate for the listener that ends in so many days. */
function serverUntil(days: number): Promise<Issued> {
  return issueCertificate(pki.issuing, { subject: [['CN', 'localhost']], san: { dns: ['localhost', 'api.demo.wardgate.test'], ip: ['127.0.0.1', '::1'] }, eku: ['serverAuth'], notBefore: Date.now() - 360 * DAY, notAfter: Date.now() + days * DAY });
}

beforeAll(async () => {
  pki = await testPki();
  [backend, directory, pkiDesk, head, hook] = await Promise.all([startBackend(pki), gatewayDirectory(pki), startMailServer(pki), startMailServer(pki), startHook(pki, SECRET)]);
  const [ec, client] = await Promise.all([
    serverUntil(5), pki.issueClient({ subject: [['CN', 'Kiosk 9'], ['OU', 'Devices']], san: { dns: 'kiosk-9.devices.hospital.test' }, notBefore: Date.now() - 360 * DAY, notAfter: Date.now() + 20 * DAY }),
  ]);
  kiosk = client;
  await Promise.all([...writeLeaf(join(directory, 'server-ec'), ec), ...writeLeaf(join(directory, 'server-rsa'), ec), writeFile(join(directory, 'hook.secret'), SECRET, { mode: 0o600 })]);
  await writeFile(config(), configuration(backend.port, {
    threads: 1,
    listeners: `
  - name: clinical
    address: 127.0.0.1:0
    tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }
    client_auth: { mode: optional, trust: [root.pem], intermediates: [issuing.pem] }`,
    routes: `
  - { name: records, match: { path: /records/* }, allow: [device], upstream: records }
  - { name: menus, match: { path: /menus/* }, allow: [device], upstream: records }`,
    top: `
metrics: { address: "127.0.0.1:0" }
audit: { masking: { plain_roles: [device] } }
alarms:
  channels:
    - { name: pki, kind: mail, rules: [expiry], server: "127.0.0.1:${pkiDesk.port}", from: wardgate@hospital.test, to: [pki@hospital.test], tls: ${TLS} }
    - { name: head, kind: mail, rules: [expiry], server: "127.0.0.1:${head.port}", from: wardgate@hospital.test, to: [head@hospital.test], tls: ${TLS} }
    - { name: sms, kind: webhook, rules: [expiry], url: "https://127.0.0.1:${hook.port}/sms", secret_file: hook.secret, tls: ${TLS} }
expiry:
  tiers:
    - { before: 90d, channels: [pki] }
    - { before: 30d, channels: [pki, sms] }
    - { before: 7d, channels: [pki, sms, head] }
  pause: [menus]`,
  }));
  running = await wardgateRun(config());
});

afterAll(async () => {
  if (running.child.exitCode === null) await running.stop();
  await Promise.all([hook.close(), pkiDesk.close(), head.close()]);
  backend.close();
  await rm(directory, { recursive: true, force: true });
});

describe('what ends, at a gateway', () => {
  test('the listener\'s certificate in its last week is told of on every channel of that tier, in one message', async () => {
    await expect.poll(() => [pkiDesk.mails.length, head.mails.length, hook.posts.length]).toEqual([1, 1, 1]);
    expect(head.mails[0]?.text).toMatch(/ends .*\(in 4 days\); server certificate CN=localhost; serial [0-9a-f]+; used by listener clinical/);
    expect(hook.posts).toMatchObject([{ signed: 'good', body: { text: expect.stringMatching(/server certificate listener clinical ends 20\d\d-\d\d-\d\d$/), expiring: expect.arrayContaining([expect.objectContaining({ tier: '7d', use: 'server' })]), more: 0 } }]);
    expect((await report()).certificates.find(({ use }) => use === 'server')).toMatchObject({ tier: '7d', places: ['listener clinical'], told: { tier: '7d', channels: ['pki', 'sms', 'head'], waiting: [] } });
  });

  test('a kiosk\'s certificate is listed as it is used, and after a kill -9 nobody is told twice', async () => {
    expect((await ask(pki, running.port, '/records/1', { client: kiosk })).status).toBe(200);
    await expect.poll(async () => (await report()).certificates.find(({ use }) => use === 'user')).toMatchObject({ role: 'device', id: 'kiosk-9.devices.hospital.test', tier: '30d', serial: kiosk.serialHex });
    const gone = once(running.child, 'close');
    process.kill(running.pid, 'SIGKILL');
    await gone;
    const alone = await wardgate(['expiry', '-c', config(), '--within', '60d', '--json']);
    const { running: isRunning, certificates } = JSON.parse(alone.stdout) as ExpiryReport & { running: boolean };
    expect([isRunning, certificates.filter(({ use }) => use !== 'crl')]).toMatchObject([false, [{ use: 'server', told: { tier: '7d' } }, { use: 'user', id: 'kiosk-9.devices.hospital.test' }]]);
    expect(certificates.filter(({ use }) => use === 'crl')).toHaveLength(2);
    running = await wardgateRun(config());
    await expect.poll(async () => (await report()).certificates.some(({ use, told }) => use === 'server' && told !== undefined)).toBe(true);
    expect([pkiDesk.mails.length, head.mails.length, hook.posts.length]).toEqual([1, 1, 1]);
  });

  test('status, metrics and the command say what ends', async () => {
    const port = /^listening metrics \S+:(\d+)$/m.exec(running.stdout())?.[1];
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(metrics).toContain('wardgate_certificates_ending{use="server",tier="7d"} 1');
    expect(metrics).toContain('wardgate_certificates_ending{use="user",tier="30d"} 1');
    expect(metrics).toMatch(/wardgate_certificate_not_after_timestamp_seconds\{use="intermediate",name="listener clinical: [^"]+"\} \d/);
    expect((await wardgate(['status', '-c', config()])).stdout).toMatch(/^ending +1 server: 7d$/m);
    const { stdout } = await wardgate(['expiry', '-c', config(), '--within', '60d']);
    expect(stdout).toMatch(/ 4 d {2}7d +server +CN=localhost\n +listener clinical; serial [0-9a-f]+; told in 7d \S+Z: pki, sms, head/);
    expect((await wardgate(['expiry', '-c', config(), '--within', 'soon'])).code).toBe(2);
    await expect(callGateway(socket(), 'GET', '/v1/expiry?most=99999')).rejects.toThrow('most: expected 10000 at most');
  });

  test('a route that is not core is paused, explained and on record, and serves by itself once the certificate is replaced', async () => {
    await expect.poll(async () => (await ask(pki, running.port, '/menus/1', { client: kiosk })).status).toBe(503);
    expect((await ask(pki, running.port, '/menus/1', { client: kiosk })).json()).toMatchObject({ code: 'suspended' });
    expect((await ask(pki, running.port, '/records/1', { client: kiosk })).status).toBe(200);
    await writeFile(join(directory, 'kiosk.pem'), kiosk.chain);
    const explained = await wardgate(['explain', '-c', config(), '--cert', join(directory, 'kiosk.pem'), '--request', 'GET https://localhost/menus/1']);
    expect([explained.code, explained.stdout]).toEqual([3, expect.stringMatching(/suspended: the certificate of listener clinical, serial [0-9a-f]+, ends on/)]);
    expect((await report()).paused).toMatchObject([{ route: 'menus', listener: 'clinical' }]);
    await Promise.all(writeLeaf(join(directory, 'server-ec'), await serverUntil(300)));
    await expect.poll(async () => (await ask(pki, running.port, '/menus/1', { client: kiosk })).status).toBe(200);
    const status = await callGateway(socket(), 'GET', '/v1/status') as GatewayStatus;
    expect(status.suspensions).toEqual([]);
    await expect.poll(async () => (await records()).filter(({ event }) => event === 'suspension').slice(-2)).toMatchObject([
      { route: 'menus', listener: 'clinical', who: 'expiry', detail: expect.stringMatching(/^paused: the certificate of listener clinical/) }, { route: 'menus', listener: 'clinical', who: 'expiry', detail: expect.stringMatching(/^resumed/) },
    ]);
    await expect.poll(async () => (await report()).certificates.find(({ use }) => use === 'server')?.tier).toBeUndefined();
  });
});
