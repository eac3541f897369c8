import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callGateway } from '../src/cli/call.ts';
import type { AlarmReport } from '../src/audit/alarms/desk.ts';
import type { GatewayStatus } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { startHook, startMailServer, type Hook, type MailServer } from './support/alarm-receivers.ts';
import { wardgate, wardgateRun, type RunningCommand } from './support/command.ts';
import { ask, configuration, gatewayDirectory, readRecords } from './support/gateway.ts';
import { startReceiver, type Receiver } from './support/receiver.ts';
import { testPki, type TestPki } from './support/pki.ts';

const SECRET = 'a secret of more than thirty-two octets';
const TLS = '{ trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: localhost }';

let pki: TestPki;
let backend: Backend;
let directory: string;
let mail: MailServer;
let syslog: Receiver;
let hook: Hook;
let hookPort: number;
let running: RunningCommand;

const config = (): string => join(directory, 'wardgate.yaml');
const alarms = async (): Promise<readonly AlarmReport[]> => (await callGateway(join(directory, 'state/admin.sock'), 'GET', '/v1/alarms') as { alarms: readonly AlarmReport[] }).alarms;

beforeAll(async () => {
  pki = await testPki();
  [backend, directory, mail, hook, syslog] = await Promise.all([startBackend(pki), gatewayDirectory(pki), startMailServer(pki), startHook(pki, SECRET), startReceiver(pki)]);
  ({ port: hookPort } = hook);
  // It is away when the alarm comes.
  await hook.close();
  await writeFile(join(directory, 'hook.secret'), SECRET, { mode: 0o600 });
  await writeFile(config(), configuration(backend.port, {
    threads: 1,
    // Nobody answers there; the CRLs do.
    revocation: '{ sources: [ocsp, crl], ocsp: { responder: "http://127.0.0.1:1/" }, crl: { files: [issuing.crl, root.crl] } }',
    top: `
metrics: { address: "127.0.0.1:0" }
alarms:
  rules: { many_denials: { denials: 5, window: 10m } }
  channels:
    - { name: duty, kind: mail, server: "127.0.0.1:${mail.port}", from: wardgate@hospital.test, to: [duty@hospital.test], tls: ${TLS} }
    - { name: watch, kind: syslog, receiver: "127.0.0.1:${syslog.port}", tls: ${TLS} }
    - { name: siem, kind: webhook, url: "https://127.0.0.1:${hookPort}/alarms", secret_file: hook.secret, tls: ${TLS} }`,
  }));
  running = await wardgateRun(config());
});

afterAll(async () => {
  if (running.child.exitCode === null) await running.stop();
  await Promise.all([hook.close(), mail.close(), syslog.close()]);
  backend.close();
  await rm(directory, { recursive: true, force: true });
});

async function deny(times: number): Promise<void> {
  for (let time = 0; time < times; time++) expect((await ask(pki, running.port, '/records', { client: pki.patient })).status).toBe(403);
}

async function pending(): Promise<readonly (readonly [string, number])[]> {
  const status = await callGateway(join(directory, 'state/admin.sock'), 'GET', '/v1/status') as GatewayStatus;
  return status.alarms?.channels.map(({ name, pending: waiting }) => [name, waiting] as const) ?? [];
}

describe('alarms of a gateway', () => {
  test('a burst of denials is told by mail, and by webhook when that is back after a kill -9: not lost, not doubled', async () => {
    await deny(6);
    await expect.poll(() => mail.mails.length).toBe(1);
    await expect.poll(() => syslog.messages.length).toBe(1);
    await expect.poll(async () => (await alarms())[0]?.count).toBe(2);
    // What it has done with is kept before it is killed.
    await expect.poll(() => pending()).toEqual([['duty', 0], ['watch', 0], ['siem', 1]]);
    const gone = once(running.child, 'close');
    process.kill(running.pid, 'SIGKILL');
    await gone;
    hook = await startHook(pki, SECRET, hookPort);
    running = await wardgateRun(config());
    await expect.poll(() => hook.posts.length).toBe(1);
    await deny(1);
    await expect.poll(async () => (await alarms())[0]?.count).toBe(3);
    const [alarm, ...others] = await alarms();
    expect(others).toEqual([]);
    expect(alarm).toMatchObject({ rule: 'many_denials', subject: `certificate ${pki.patient.sha256}` });
    expect(hook.posts).toMatchObject([{ signed: 'good', client: 'wardgate', body: { alarms: [{ kind: 'raised', id: alarm?.id, rule: 'many_denials' }] } }]);
    expect(mail.mails).toMatchObject([{ to: ['duty@hospital.test'], secure: true }]);
    expect(mail.mails[0]?.text).toContain(alarm?.id);
    for (const { segment, seq, hash } of [...alarm?.records ?? [], ...alarm?.recent ?? []]) {
      const line = (await readFile(join(directory, 'state/audit', segment), 'utf8')).split('\n')[seq] ?? '';
      expect(line).toContain(hash);
      expect(JSON.parse(line)).toMatchObject({ result: 'denied', fingerprint: pki.patient.sha256 });
    }
    expect(syslog.messages).toEqual([expect.stringMatching(/^<113>1 \S+ \S+ wardgate \d+ alarm - many_denials: a certificate was denied 5 times.*\{"kind":"raised"/)]);
    const told = `${mail.mails[0]?.text}${JSON.stringify(hook.posts)}${syslog.messages.join('')}`;
    expect(told).not.toMatch(/1001|Patient \d/);
    // Whoever has those of two neighbours can prove a guess at what is masked.
    for (const { hash = 'none' } of [...alarm?.records ?? [], ...alarm?.recent ?? []]) expect(told).not.toContain(hash);
  });

  test('status and metrics say what is open', async () => {
    const status = await wardgate(['status', '-c', config()]);
    expect(status.stdout).toMatch(/^alarms +1 open$/m);
    const port = /^listening metrics \S+:(\d+)$/m.exec(running.stdout())?.[1];
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(metrics).toContain('wardgate_alarms_open{rule="many_denials"} 1');
    expect(metrics).toContain('wardgate_alarm_deliveries_total{channel="siem",result="delivered"} 1');
  });

  test('a reload that changes rules keeps what is open, and goes on with it', async () => {
    await writeFile(config(), (await readFile(config(), 'utf8')).replace('window: 10m }', 'window: 10m }, two_places: off'));
    expect((await wardgate(['reload', '-c', config()])).code).toBe(0);
    await deny(1);
    await expect.poll(async () => (await alarms().catch(() => []))[0]?.count).toBe(4);
    expect(await pending()).toEqual([['duty', 0], ['watch', 0], ['siem', 0]]);
  });

  test('a responder that fails is on record', async () => {
    expect(await readRecords(join(directory, 'state/audit'))).toContainEqual(expect.objectContaining({ event: 'responder', result: 'failed', endpoint: 'http://127.0.0.1:1/' }));
  });

  test('it is open until it is acknowledged, which is on record', async () => {
    const [alarm] = await alarms();
    const id = alarm?.id ?? '';
    const shown = await wardgate(['alarm', 'show', id, '-c', config()]);
    expect(shown.stdout).toMatch(/many_denials, OPEN[\s\S]*record +\S+ request denied, role_denied, role patient/);
    expect(await wardgate(['alarm', 'acknowledge', id, '--who', 'Dr Chen', '--note', 'a kiosk', '-c', config()])).toMatchObject({ code: 0, stdout: `acknowledged ${id}\n` });
    expect(await wardgate(['alarm', 'acknowledge', id, '--who', 'Dr Chen', '--note', 'a kiosk', '-c', config()])).toMatchObject({ code: 1 });
    const [again] = await once(request({ socketPath: join(directory, 'state/admin.sock'), method: 'POST', path: '/v1/alarms/acknowledge' }).end(JSON.stringify({ id, who: 'Dr Li', note: 'mine' })), 'response') as [IncomingMessage];
    expect(again.resume().statusCode).toBe(409);
    expect((await wardgate(['alarm', 'list', '-c', config()])).stdout).toBe('none\n');
    expect(await readRecords(join(directory, 'state/audit'))).toContainEqual(expect.objectContaining({ event: 'alarm', result: 'done', who: 'Dr Chen', detail: `acknowledged many_denials ${id}: "a kiosk"` }));
    await expect.poll(async () => (await alarms())[0]?.count).toBe(4);
    // What comes after it is counted anew, and one alone is no alarm.
    await deny(1);
    expect(await alarms()).toMatchObject([{ count: 4, acknowledged: { who: 'Dr Chen' } }]);
    expect([mail.mails.length, hook.posts.length, syslog.messages.length]).toEqual([1, 1, 1]);
    await running.stop();
    const kept = await wardgate(['alarm', 'list', '--all', '--json', '-c', config()]);
    expect(JSON.parse(kept.stdout)).toMatchObject({ running: false, alarms: [{ id, count: 4, acknowledged: { note: 'a kiosk' } }] });
  });
});
