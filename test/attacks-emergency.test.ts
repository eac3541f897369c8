import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
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
