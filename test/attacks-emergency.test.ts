import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
import type { AuditRecord } from '../src/audit/record.ts';
import type { AuditWriter } from '../src/audit/writer.ts';
import { createBreakGlass } from '../src/break-glass.ts';
import { SILENT } from '../src/log.ts';
import { readSaid } from '../src/policy/break-glass.ts';
import { openGrants } from '../src/store/grants.ts';
import { ask, startGateway, type Reply, type TestGateway } from './support/gateway.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';
import { startSocketBackend, type SocketBackend } from './support/socket-backend.ts';

const SECRET = 'b'.repeat(16) + 'new-secret-of-hr-system';
let pki: TestPki;
let doctor: Issued;
let backend: SocketBackend;
let gateway: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  doctor = await pki.issueClient({ subject: [['CN', 'Dr Moved'], ['OU', 'Doctors']] });
  backend = await startSocketBackend(pki, (_request, response) => response.end('hello'));
  gateway = await startGateway(pki, backend.port, {
    files: { 'hr.secret': SECRET },
    roles: `
  - { role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }
  - { role: nurse, match: { subject: { OU: Nurses } }, id: "{subject.CN}" }`,
    routes: `
  - { name: hr, match: { path: /hooks/hr }, allow: [public], webhook: hr }
  - { name: far, match: { path: /far }, allow: [doctor], upstream: records, require: { networks: [10.0.0.0/8] }, break_glass: { roles: [doctor, nurse], reasons: [emergency], patient: optional, breaks: [role, networks] } }`,
    top: `
webhooks:
  hr: { kind: hr, secrets: hr.secret, roles: [doctor, nurse] }`,
  });
});

afterAll(async () => {
  await gateway?.stop();
  backend.close();
});

async function tell(event: string, more: object): Promise<Reply> {
  const body = JSON.stringify({ id: randomUUID(), event, at: new Date().toISOString(), ...more });
  const time = String(Math.floor(Date.now() / 1000));
  const signature = `sha256=${createHmac('sha256', SECRET).update(`${time}.${body}`).digest('hex')}`;
  return ask(pki, gateway.port, '/hooks/hr', { method: 'POST', body, headers: { 'content-type': 'application/json', 'wardgate-timestamp': time, 'wardgate-signature': signature } });
}

describe('a stream under a grant', () => {
  it('that breaks networks ends when its client loses the role by which the route let it in: nobody has said why that should be broken', async () => {
    const plea = { 'wardgate-emergency-reason': 'emergency', 'wardgate-emergency-text': 'x' };
    const options = { cert: doctor.chain, key: doctor.key, ca: pki.root.certificate, servername: 'localhost', headers: { host: 'localhost', ...plea } } as ClientOptions;
    const socket = new WebSocket(`wss://127.0.0.1:${gateway.port}/far`, [], options);
    socket.on('error', () => undefined);
    await once(socket, 'open');
    expect(gateway.gateway.grants()).toMatchObject([{ breaks: ['networks'] }]);
    const closed = once(socket, 'close');
    expect((await tell('transfer', { person: 'Dr Moved', roles: ['nurse'] })).status).toBe(200);
    await closed;
    expect((await ask(pki, gateway.port, '/far', { client: doctor })).status).toBe(403);
  });
});

describe('a grant for an emergency', () => {
  it('is for no patient whose name looks like another\'s', () => {
    for (const patient of ['1001\u200b', '10\u00ad01', '10\ufeff01', '1001\u2060', '1001\u3164', '1001\u{e0031}']) expect(readSaid('patient', patient), JSON.stringify(patient)).toBeUndefined();
    expect(readSaid('text', 'نمی\u200cخواهم')).toBe('نمی\u200cخواهم');
  });

  it('whose beginning could not be put on record serves nothing, also when the audit is back, and waits for its review', async () => {
    const state = await mkdtemp(join(tmpdir(), 'wardgate-grants-'));
    let full = true;
    const desk = createBreakGlass({
      list: openGrants(state), audit: { append: () => (full ? Promise.reject(new Error('ENOSPC')) : Promise.resolve()) } as unknown as AuditWriter, publish: () => Promise.resolve(), alarm: () => undefined,
      now: Date.now, log: SILENT, announce: () => Promise.resolve(),
    });
    const client = { certificate: 'aa', serial: '1', issuer: 'CN=x', role: 'nurse', who: 'Nurse Li', address: '10.0.0.1', listener: 'clinical', request_id: '1' };
    const question = { route: 'notes', lasts: 60_000, breaks: ['role'], factors: undefined, client, patient: '1001' } as const;
    expect(await desk.find({ ...question, plea: { reason: 'emergency', text: 'x', patient: '1001' } })).toMatchObject({ kind: 'refused' });
    full = false;
    expect(await desk.find(question)).toEqual({ kind: 'none' });
    expect(desk.reports()).toMatchObject([{ closed: { note: 'its beginning could not be put on record' } }]);
    expect(desk.counts()).toEqual({ open: 0, unreviewed: 1 });
    await rm(state, { recursive: true, force: true });
  });

  it('whose end or review comes in a second in which the audit is full has it on record all the same, also after a restart', async () => {
    const state = await mkdtemp(join(tmpdir(), 'wardgate-grants-'));
    const details: unknown[] = [];
    let full = false;
    let at = Date.now();
    const start = () => {
      const list = openGrants(state);
      const append = (record: AuditRecord): Promise<void> => (full ? Promise.reject(new Error('ENOSPC')) : Promise.resolve(void details.push(`${record.break_glass?.patient} ${record.detail}`)));
      const desk = createBreakGlass({ list, audit: { append } as unknown as AuditWriter, publish: () => Promise.resolve(), alarm: () => undefined, now: () => at, log: SILENT, announce: () => Promise.resolve() });
      return { list, desk };
    };
    const one = start();
    const client = { certificate: 'aa', serial: '1', issuer: 'CN=x', role: 'nurse', who: 'Nurse Li', address: '10.0.0.1', listener: 'clinical', request_id: '1' };
    for (const patient of ['1', '2', '3']) {
      await one.desk.find({ route: 'notes', lasts: 60_000, breaks: ['role'], factors: undefined, client, patient, plea: { reason: 'emergency', text: 'x', patient } });
    }
    const [first, second] = one.desk.reports().map(({ id }) => id) as [string, string];
    details.length = 0;
    full = true;
    // Ended at once, for that must not wait for a disk.
    await expect(one.desk.withdraw(first, 'Dr Chen', 'y')).rejects.toThrow('is withdrawn, which goes on record as soon as it can: ENOSPC');
    expect(one.desk.withdrawn()).toEqual([first]);
    at += 61_000;
    one.desk.look();
    await expect(one.desk.review(first, 'Dr Chen', 'z')).rejects.toThrow('ENOSPC');
    expect(one.desk.reports().map(({ closed, review }) => [closed === undefined, review])).toEqual([[false, undefined], [true, undefined], [true, undefined]]);
    expect(details).toEqual([]);
    full = false;
    one.desk.look();
    one.desk.look();
    await expect.poll(() => details.toSorted()).toEqual(['1 withdrawn: y', '2 expired', '3 expired']);
    await one.desk.review(first, 'Dr Chen', 'z');
    expect(details.at(-1)).toBe('1 reviewed: z');
    details.length = 0;
    one.desk.look();
    await expect(Promise.all([one.desk.review(second, 'Dr Chen', 'z'), one.desk.review(second, 'Dr Wu', 'z')])).rejects.toThrow('is being reviewed');
    expect(details).toEqual(['2 reviewed: z']);
    // Killed before it could be: who starts next finds it.
    await one.desk.find({ route: 'notes', lasts: 60_000, breaks: ['role'], factors: undefined, client, patient: '4', plea: { reason: 'emergency', text: 'x', patient: '4' } });
    full = true;
    at += 61_000;
    one.desk.look();
    await new Promise((resolve) => setImmediate(resolve));
    one.list.close();
    full = false;
    details.length = 0;
    const next = start();
    at += 10_000;
    next.desk.look();
    await expect.poll(() => details).toEqual(['4 expired']);
    next.list.close();
    await rm(state, { recursive: true, force: true });
  });

  it('says for good what was said when it was opened, and once ended stays so, whatever the shared store holds', async () => {
    const state = await mkdtemp(join(tmpdir(), 'wardgate-grants-'));
    const list = openGrants(state);
    const client = { certificate: 'aa', serial: '1', issuer: 'CN=x', role: 'nurse', who: 'Nurse Li', address: '10.0.0.1', listener: 'clinical', request_id: '1' };
    const said = { op: 'open', id: 'g', at: '2026-11-22T09:00:00.000Z', until: '2026-11-22T09:30:00.000Z', route: 'notes', breaks: ['role'], ...client, reason: 'emergency', text: 'x', patient: '1001' } as const;
    for (const change of [said, { op: 'close', id: 'g', at: '2026-11-22T09:10:00.000Z' } as const]) list.apply(change);
    expect(list.isNews({ ...said, at: '2026-11-22T09:20:00.000Z', patient: '1002' })).toBe(false);
    expect(list.isNews({ op: 'review', id: 'g', at: '2026-11-22T09:20:00.000Z', who: 'x', note: 'y' })).toBe(true);
    list.close();
    await rm(state, { recursive: true, force: true });
  });

  it('stays good where its client opens one that breaks less, with the other and after it', async () => {
    const state = await mkdtemp(join(tmpdir(), 'wardgate-grants-'));
    const desk = createBreakGlass({
      list: openGrants(state), audit: { append: () => Promise.resolve() } as unknown as AuditWriter, publish: () => Promise.resolve(), alarm: () => undefined, now: Date.now, log: SILENT, announce: () => Promise.resolve(),
    });
    const client = { certificate: 'aa', serial: '1', issuer: 'CN=x', role: 'nurse', who: 'Nurse Li', address: '10.0.0.1', listener: 'clinical', request_id: '1' };
    const question = { route: 'notes', lasts: 60_000, factors: undefined, client, patient: '1001' } as const;
    const plea = { reason: 'emergency', text: 'x', patient: '1001' };
    const more = await desk.find({ ...question, breaks: ['role', 'networks'], plea });
    await desk.find({ ...question, breaks: ['role'], plea, page: true });
    expect(await desk.find({ ...question, breaks: ['role', 'networks'] })).toEqual(more);
    const [, less] = desk.reports();
    await desk.withdraw(less?.id ?? '', 'x', 'y');
    expect(await desk.find({ ...question, breaks: ['role'] })).toEqual(more);
    await rm(state, { recursive: true, force: true });
  });
});
