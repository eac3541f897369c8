import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Form, SyslogSetup } from '../src/audit/sinks/setup.ts';
import { receiverSetup, startFeeding, type Feeding } from './support/feeding.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { startReceiver, type Receiver, type ReceiverOptions } from './support/receiver.ts';
import { rsyslogInstalled, startRsyslog, type Rsyslog } from './support/rsyslog.ts';

let pki: TestPki;
let feeding: Feeding;
const receivers: Receiver[] = [];

beforeAll(async () => {
  pki = await testPki();
});

beforeEach(async () => {
  feeding = await startFeeding();
});

afterEach(async () => {
  await feeding.stop();
  await Promise.all(receivers.splice(0).map((receiver) => receiver.close()));
});

async function receive(options: ReceiverOptions = {}): Promise<Receiver> {
  const receiver = await startReceiver(pki, options);
  receivers.push(receiver);
  return receiver;
}

function syslog(port: number, parts: Partial<Omit<SyslogSetup, 'receiver'>> & { readonly receiver?: Partial<SyslogSetup['receiver']> } = {}): SyslogSetup {
  return { kind: 'syslog', name: 'siem', history: false, form: 'json', every: 200, acknowledged: 'close', ...parts, receiver: receiverSetup(pki, port, parts.receiver) };
}

function idsOf(messages: readonly string[]): readonly string[] {
  return messages.map((message) => (JSON.parse(message.slice(message.indexOf('{'))) as { request_id: string }).request_id);
}

/** Each of them came once at least, those that came first in their order. */
function expectWhole(messages: readonly string[], ids: readonly string[]): void {
  expect([...new Set(idsOf(messages))]).toEqual(ids);
}

const safe = (records: number): (() => Promise<void>) => async () => {
  await expect.poll(() => feeding.report()).toMatchObject({ delivered: records, lag: { records: 0 } });
};

describe('a syslog sink', () => {
  test('sends a record within two seconds, framed by its octets, and counts it as received once the receiver has closed in order behind it', async () => {
    const receiver = await receive();
    feeding.add(syslog(receiver.port));
    const times: number[] = [];
    // On a busy machine any one of them may take its time; were they held up, none would be quicker.
    do {
      const before = performance.now();
      const [id] = await feeding.record(1, { detail: 'ärztliche Überweisung' });
      await expect.poll(() => idsOf(receiver.messages)).toContain(id);
      times.push(performance.now() - before);
    } while (times.length < 4 && Math.min(...times) >= 2_000);
    expect(Math.min(...times)).toBeLessThan(2_000);
    expect(receiver.messages[0]).toMatch(/^<110>1 20\d\d-\d\d-\d\dT[\d:.]+Z gateway\.test wardgate 1 audit - \{/);
    await safe(times.length)();
    // The next one is made behind that.
    await expect.poll(() => receiver.connections()).toBe(times.length + 1);
  });

  test('sends denials with the severity of a warning', async () => {
    const receiver = await receive();
    feeding.add(syslog(receiver.port));
    await feeding.record(1, { result: 'denied' });
    await expect.poll(() => receiver.messages[0]).toMatch(/^<108>1 /);
  });

  test('repeats what a cut connection may have lost, and nothing that was received before', async () => {
    let left = 3;
    const receiver = await receive({ each: () => --left !== 0 });
    feeding.add(syslog(receiver.port));
    const first = await feeding.record(2);
    await safe(2)();
    const second = await feeding.record(5);
    await safe(7)();
    expectWhole(receiver.messages, [...first, ...second]);
    expect(idsOf(receiver.messages).filter((id) => first.includes(id))).toEqual(first);
    expect(feeding.report()?.repeated).toBe(5);
  });

  test('sends what a receiver missed that was away', async () => {
    const gone = await startReceiver(pki);
    await gone.close();
    feeding.add(syslog(gone.port));
    const ids = await feeding.record(3);
    await expect.poll(() => feeding.report()?.failing).toMatch(/ECONNREFUSED/);
    const receiver = await receive({ port: gone.port });
    await safe(3)();
    expect(idsOf(receiver.messages)).toEqual(ids);
  });

  test('repeats what a receiver took that never closes its side: it may never have read it', async () => {
    const receiver = await receive({ stubborn: true });
    feeding.add(syslog(receiver.port, { receiver: { timeout: 300 } }));
    await feeding.record(1);
    await expect.poll(() => feeding.report()?.failing).toMatch(/did not close the connection within 300 ms/);
    expect(feeding.report()).toMatchObject({ delivered: 0, lag: { records: 1 } });
  });

  test('gives up a receiver that reads nothing, in bounded memory, and repeats all of it once it reads', async () => {
    const receiver = await receive();
    receiver.deafen();
    feeding.add(syslog(receiver.port, { receiver: { timeout: 1_000 } }));
    const ids = await feeding.record(2_000, { upstream: 'x'.repeat(8_000) });
    await expect.poll(() => feeding.report()?.failing).toMatch(/a write was not taken within 1000 ms/);
    receiver.hear();
    await safe(2_000)();
    expectWhole(receiver.messages, ids);
  });

  test.each([
    ['whose certificate is of another CA', () => ({ tls: { cert: pki.serverEc.chain, key: pki.serverEc.key } }), /certificate/],
    ['that will not have the gateway\'s certificate', () => ({ tls: { ca: pki.root.certificate } }), /alert|ECONNRESET|closed|cut/],
  ] as const)('delivers nothing to a receiver %s', async (_, options, error) => {
    const receiver = await receive(options());
    feeding.add(syslog(receiver.port));
    await feeding.record(1);
    await expect.poll(() => feeding.report()?.failing).toMatch(error);
    expect(feeding.report()?.delivered).toBe(0);
    expect(receiver.messages).toEqual([]);
  });

  test('delivers nothing to a receiver of another name', async () => {
    const receiver = await receive();
    feeding.add(syslog(receiver.port, { receiver: { serverName: 'siem.hospital.test' } }));
    await feeding.record(1);
    await expect.poll(() => feeding.report()?.failing).toMatch(/does not match certificate's altnames/);
  });

  test('with acknowledged: written keeps one connection, and still loses nothing to a receiver that will not have its certificate', async () => {
    const refusing = await startReceiver(pki, { tls: { ca: pki.root.certificate } });
    feeding.add(syslog(refusing.port, { acknowledged: 'written' }));
    const ids = await feeding.record(2);
    await expect.poll(() => feeding.report()?.failures).toBeGreaterThan(0);
    await refusing.close();
    const receiver = await receive({ port: refusing.port });
    await safe(2)();
    const more = await feeding.record(1);
    await safe(3)();
    expect(idsOf(receiver.messages)).toEqual([...ids, ...more]);
    expect(receiver.connections()).toBe(1);
  });

  test('acknowledges what is under way before a stop', async () => {
    const receiver = await receive();
    feeding.add(syslog(receiver.port, { every: 60_000 }));
    const ids = await feeding.record(3);
    await expect.poll(() => receiver.messages.length).toBe(3);
    expect(feeding.report()?.delivered).toBe(0);
    await feeding.feed.close(2_000);
    expect(idsOf(receiver.messages)).toEqual(ids);
    expect(feeding.report()?.delivered).toBe(3);
  });
});

if (!rsyslogInstalled) console.log('skipped: a part of sinks-syslog.test.ts needs rsyslog and rsyslog-openssl');

describe.skipIf(!rsyslogInstalled)('a real rsyslogd by TLS', () => {
  let directory: string;
  let rsyslog: Rsyslog;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'wardgate-rsyslog-'));
    writeFileSync(join(directory, 'ca.pem'), pki.backendCa.certificate);
    writeFileSync(join(directory, 'server.pem'), pki.backendServer.chain);
    writeFileSync(join(directory, 'server.key'), pki.backendServer.key, { mode: 0o600 });
    rsyslog = await startRsyslog(directory);
  });

  afterAll(async () => {
    await rsyslog.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  test.each([['json', 'audit'], ['cef', 'CEF'], ['dicom', 'IHE+RFC-3881']] as const satisfies readonly (readonly [Form, string])[])('reads %s as it was sent', async (form, id) => {
    const before = rsyslog.parsed().length;
    feeding.add(syslog(rsyslog.port, { form }));
    await feeding.record(3, { detail: 'überwiesen' });
    await safe(3)();
    await expect.poll(() => rsyslog.parsed().slice(before).map((message) => message.id)).toEqual([id, id, id]);
  });

  test('gets everything over a restart in the middle', async () => {
    const before = rsyslog.messages().length;
    feeding.add(syslog(rsyslog.port));
    const first = await feeding.record(400);
    await expect.poll(() => rsyslog.messages().length).toBeGreaterThan(before);
    const second = feeding.record(400);
    await rsyslog.stop();
    const third = await feeding.record(400);
    await rsyslog.start();
    await safe(1_200)();
    await expect.poll(() => new Set(idsOf(rsyslog.messages().slice(before))).size).toBe(1_200);
    expect(new Set(idsOf(rsyslog.messages().slice(before)))).toEqual(new Set([...first, ...await second, ...third]));
  });
});
