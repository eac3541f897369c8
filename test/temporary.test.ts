import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createProcessMetrics } from '../src/admin/metrics.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { loadSnapshot } from '../src/config/snapshot.ts';
import { callGateway } from '../src/cli/call.ts';
import { shownBy } from '../src/cli/temporary/place.ts';
import type { GatewayStatus } from '../src/gateway.ts';
import { SILENT } from '../src/log.ts';
import type { CaEntry } from '../src/ca/office.ts';
import { noteIssuing, noteTemporary, readIssuing, readTemporaries } from '../src/store/temporaries.ts';
import { watchTemporaries } from '../src/temporary-watch.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { testCa, type TestCa } from './support/ca.ts';
import { wardgate, type CommandRun } from './support/command.ts';
import { listener, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const DAY = 86_400_000;

let pki: TestPki;
let ca: TestCa;
let backend: Backend;
let gateway: TestGateway;
let approver: readonly string[];

const ofCa = (): readonly string[] => ['-c', gateway.path('wardgate.yaml'), '--dir', ca.directory, '--passphrase-file', ca.path('ca.pass'), '--who', 'Operator Li', '--reason', 'the old one has run out', '--json'];
const server = (...more: readonly string[]): Promise<CommandRun> => wardgate(['temporary', 'server', ...ofCa(), '--listener', 'clinical', '--certificate', 'server-ec.pem', '--name', 'localhost', ...more]);
const shown = (): ReturnType<typeof shownBy> => shownBy({ host: '127.0.0.1', port: gateway.port, name: 'localhost', ca: ca.office.root + pki.root.certificate, keyType: 'ec' });
const status = async (): Promise<GatewayStatus> => await callGateway(gateway.gateway.adminSocket, 'GET', '/v1/status') as GatewayStatus;

beforeAll(async () => {
  pki = await testPki();
  const officer = await pki.issueClient({ subject: [['CN', 'Officer Zhao'], ['OU', 'Security']] });
  ca = await testCa(['doctor:Dr Regular'], { policy: (text) => `${text}approvers: [{ role: security, fingerprint: ${officer.sha256} }]\n` });
  await Promise.all([ca.write('ca.pass', ca.passphrase), ca.write('officer.pem', officer.chain), ca.write('officer.key', officer.key)]);
  approver = ['--approver-cert', ca.path('officer.pem'), '--approver-key', ca.path('officer.key')];
  backend = await startBackend(pki);
  gateway = await startGateway(pki, backend.port, { threads: 2, listeners: `${listener('clinical')}\n  - { name: away, address: "127.0.0.1:0", protocol: redirect }`, top: 'metrics: { address: "127.0.0.1:0" }' });
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
  ca.remove();
});

describe('a temporary certificate of a listener', () => {
  test('is in force within seconds by one command, on every thread, without a restart, and on record', async () => {
    const before = await status();
    const began = performance.now();
    const { code, stdout, stderr } = await server(...approver);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(performance.now() - began).toBeLessThan(30_000);
    const done = JSON.parse(stdout) as { serial: string; sha256: string; not_after: string; live: boolean; kept: readonly string[] };
    expect(done.live).toBe(true);
    expect(Date.parse(done.not_after)).toBeLessThan(Date.now() + 7 * DAY);
    for (let times = 0; times < 8; times++) expect(await shown()).toEqual({ kind: 'shown', sha256: done.sha256 });
    expect((await status()).pid).toBe(before.pid);
    expect((statSync(gateway.path('server-ec.key')).mode & 0o777).toString(8)).toBe('600');
    expect(new X509Certificate(readFileSync(done.kept[1] ?? '')).fingerprint256.replaceAll(':', '').toLowerCase()).toBe(pki.serverEc.sha256);
    expect((await gateway.records()).filter(({ event }) => event === 'evidence').map(({ who, detail }) => [who, detail])).toEqual([['Operator Li', expect.stringContaining(`listener clinical, until ${done.not_after}, serial ${done.serial}`)]]);
    expect(ca.office.entry(done.serial)).toMatchObject({ state: 'confirmed', temporary: true });
    expect(ca.office.events(ca.office.entry(done.serial).request).map(({ step, who }) => `${step} ${who}`)).toEqual(expect.arrayContaining(['approve Officer Zhao', 'confirm Operator Li']));
  });

  test('is flagged by status, check and list until another one is there', async () => {
    const [{ serial = '' } = {}] = readTemporaries(gateway.path('state'));
    expect((await status()).temporary).toMatchObject([{ use: 'server', listener: 'clinical', serial }]);
    expect((await wardgate(['check', '-c', gateway.path('wardgate.yaml')])).stdout).toContain('listeners[0].tls.certificates[0]: warning: is a temporary certificate');
    expect((await wardgate(['temporary', 'list', '-c', gateway.path('wardgate.yaml')])).stdout).toMatch(new RegExp(`^${serial}  listener clinical, until .* UTC, Operator Li \\(approved by Officer Zhao\\): the old one has run out`));
    expect((await wardgate(['status', '-c', gateway.path('wardgate.yaml')])).stdout).toContain(`TEMPORARY   listener clinical, serial ${serial}`);
  });

  test('nobody approves what he has asked for, and nothing is issued without an approval; one that comes later goes on from there', async () => {
    const self = await server(...approver, '--who', 'Officer Zhao');
    expect(self).toMatchObject({ code: 1, stderr: expect.stringContaining('somebody else has to approve it') });
    const asked = await server();
    expect(asked.code).toBe(1);
    const { request, missing } = JSON.parse(asked.stdout) as { request: string; missing: readonly string[] };
    expect(missing).toEqual(['an approval by registrar or security']);
    const before = readFileSync(gateway.path('server-ec.pem'), 'utf8');
    const again = await server('--request', request, ...approver);
    expect(again).toMatchObject({ code: 0, stderr: '' });
    expect(readFileSync(gateway.path('server-ec.pem'), 'utf8')).not.toBe(before);
    expect(readdirSync(gateway.path('state/temporary')).filter((name) => name.endsWith('.key'))).toEqual([]);
  });

  test('one that the gateway cannot take leaves the old one in its place', async () => {
    const before = await shown();
    const rsa = await readFile(gateway.path('server-rsa.pem'));
    await writeFile(gateway.path('server-rsa.pem'), 'half a certificate');
    const { code, stderr } = await server(...approver);
    await writeFile(gateway.path('server-rsa.pem'), rsa);
    expect(code).toBe(1);
    expect(stderr).toContain('has its old one again: ');
    expect(await shown()).toEqual(before);
    expect(ca.office.entries().at(-1)).toMatchObject({ state: 'revoked' });
  });

  test('an RSA one is replaced by an RSA one, and seen by who takes no other', async () => {
    const { code, stdout } = await wardgate(['temporary', 'server', ...ofCa(), '--listener', 'clinical', '--certificate', 'server-rsa.pem', '--name', 'localhost', ...approver]);
    expect(code).toBe(0);
    expect(new X509Certificate(readFileSync(gateway.path('server-rsa.pem'))).publicKey.asymmetricKeyType).toBe('rsa');
    expect(JSON.parse(stdout)).toMatchObject({ live: true });
  });

  test('where there is no CA, or no such listener, it says what to do', async () => {
    expect((await wardgate(['temporary', 'server', ...ofCa(), '--dir', gateway.path('state'), '--listener', 'clinical', '--certificate', 'server-ec.pem', '--name', 'localhost'])).stderr).toContain('wardgate ca init makes one');
    expect((await server('--listener', 'away')).stderr).toContain('no listener "away" that has certificates; there are clinical');
    expect((await wardgate(['temporary', 'server', ...ofCa(), '--listener', 'clinical'])).stderr).toContain('--certificate: which of those of listener clinical? server-ec.pem, server-rsa.pem');
    expect((await server('--dry-run')).stdout).toContain('would ask the CA for a certificate for localhost');
  });
});

test('a temporary certificate of a person is PKCS#12 for a week, flagged until somebody says that a regular one is in use', async () => {
  const out = ca.path('chen.p12');
  const { code, stdout } = await wardgate(['temporary', 'client', ...ofCa(), '--profile', 'doctor', '--name', 'Dr Chen', '--out', out, ...approver]);
  expect(code).toBe(0);
  const { passphrase, serial } = JSON.parse(stdout) as { passphrase: string; serial: string };
  const subject = execFileSync('sh', ['-c', `openssl pkcs12 -in "$1" -passin env:PASS -nokeys -clcerts | openssl x509 -noout -subject -enddate`, 'sh', out], { encoding: 'utf8', env: { ...process.env, PASS: passphrase } });
  expect(subject).toMatch(/CN ?= ?Dr Chen/);
  const serials = async (): Promise<readonly string[]> => (await status()).temporary.map((one) => one.serial);
  expect(await serials()).toContain(serial);
  expect((await wardgate(['temporary', 'replaced', serial, '-c', gateway.path('wardgate.yaml'), '--note', 'card 4711', '--who', 'Operator Li'])).code).toBe(0);
  expect(await serials()).not.toContain(serial);
  expect((await gateway.records()).map(({ detail }) => detail)).toContain(`the temporary certificate ${serial} is replaced: card 4711`);
});

test('a gateway says so every day while one is in use, and no longer when another one is shown', async () => {
  const state = gateway.path('state');
  const loaded = await loadSnapshot(gateway.path('wardgate.yaml'), { now: Date.now() });
  if (loaded.kind !== 'ok') throw new Error('a good configuration');
  const clock = { now: Date.now() };
  const told: AuditRecord[] = [];
  const metrics = createProcessMetrics();
  const gone = { ...readTemporaries(state).at(-1) as ReturnType<typeof readTemporaries>[number], sha256: 'ab'.repeat(32), serial: 'ab', use: 'server' as const, listener: 'clinical' };
  const { replaced: _, ...left } = gone;
  noteTemporary(state, left);
  const watch = watchTemporaries({ state, snapshot: () => loaded.snapshot, audit: { append: async (record) => void told.push(record) }, raise: () => undefined, metrics, now: () => clock.now, log: SILENT });
  await watch.look();
  expect(readTemporaries(state).find(({ serial }) => serial === 'ab')?.replaced).toMatchObject({ who: 'the gateway', how: 'the listener shows another certificate' });
  const flagged = watch.report().length;
  expect((await metrics.registry.getSingleMetric('wardgate_temporary_certificates')?.get())?.values).toMatchObject([{ value: flagged, labels: { use: 'server' } }, { value: 0 }]);
  expect(told).toEqual([]);
  for (const [days, times] of [[1, 1], [1, 1], [2, 2], [9, 3]] as const) {
    clock.now = Date.now() + days * DAY;
    await watch.look();
    expect(told).toHaveLength(times * flagged);
  }
  expect(told[0]).toMatchObject({ event: 'alarm', alarm: 'temporary_certificate', detail: expect.stringContaining('listener clinical is not replaced yet') });
  expect(flagged).toBe(2);
  await watch.close();
});

test('a temporary certificate whose command was killed before anybody had its key is revoked by the next one', async () => {
  const client = (name: string): Promise<CommandRun> => wardgate(['temporary', 'client', ...ofCa(), '--profile', 'doctor', '--name', name, '--out', ca.path(`${name}.p12`), ...approver]);
  const made = JSON.parse((await client('lost')).stdout) as { serial: string };
  const { request } = ca.office.entry(made.serial);
  expect(readIssuing(gateway.path('state'))).toEqual([]);
  // As it stands while the command is at work, and of a process that is no more.
  const { pid } = spawnSync('true');
  noteIssuing(gateway.path('state'), { request, pid });
  // Whoever has taken the gateway's user over would have others revoked, or files removed.
  const regular = ca.first.get('Dr Regular')?.entry as CaEntry;
  noteIssuing(gateway.path('state'), { request: regular.request, pid });
  writeFileSync(gateway.path('state/temporary/x.issuing'), JSON.stringify({ request: '../../x', pid }));
  writeFileSync(gateway.path('x.issuing'), '');
  const { code, stderr } = await client('next');
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining(`${made.serial} of lost is revoked: the command that had it issued was ended`) });
  expect([made.serial, regular.serial].map((serial) => ca.office.entry(serial).state)).toEqual(['revoked', regular.state]);
  expect(existsSync(gateway.path('x.issuing'))).toBe(true);
  expect(readIssuing(gateway.path('state'))).toEqual([]);
  expect((await gateway.records()).map(({ detail }) => detail)).toContainEqual(expect.stringContaining(`revoked the temporary certificate ${made.serial}`));
});
