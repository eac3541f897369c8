import { readdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Evidence } from '../src/audit/evidence.ts';
import type { Stretch } from '../src/audit/lines.ts';
import { auditRun } from '../src/cli/audit-run/command.ts';
import { findingsOf } from '../src/cli/audit-run/findings.ts';
import { gather, type Gathered, type SeenCertificate } from '../src/cli/audit-run/gather.ts';
import { pageOf } from '../src/cli/audit-run/page.ts';
import { reportOf, type AuditReport } from '../src/cli/audit-run/report.ts';
import { textOf } from '../src/cli/audit-run/text.ts';
import type { Standing } from '../src/cli/audit-run/standing.ts';
import { Gauge } from 'prom-client';
import { measureCertificates } from '../src/admin/scrape.ts';
import { loadSnapshot } from '../src/config/snapshot.ts';
import { createGateway } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, ROLES, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const ROUTES = `
  - { name: welcome, match: { path: /public/* }, allow: [public], upstream: records }
  - { name: echo, match: { path: /echo/* }, allow: [doctor, patient, device], upstream: records, phi: true }`;
const ANCHORED = 'audit: { anchor: { file: anchors.ndjson } }';

let pki: TestPki;
let backend: Backend;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

/** One request of every role and on every route. */
async function aGoodDay(gateway: TestGateway): Promise<void> {
  for (const client of [pki.doctor, pki.patient, pki.device]) expect((await ask(pki, gateway.port, '/echo/1', { client })).status).toBe(200);
  expect((await ask(pki, gateway.port, '/public/1')).status).toBe(200);
}

async function run(gateway: TestGateway, more: { readonly page?: string; readonly to?: string; readonly from?: string } = {}): Promise<{ readonly code: number; readonly report: AuditReport }> {
  let text = '';
  const code = await auditRun({ config: gateway.path('wardgate.yaml'), json: true, ...more }, (line) => void (text += line), () => undefined);
  return { code, report: JSON.parse(text) as AuditReport };
}

/** Evidence of one segment. */
function evidenceOf(records: readonly object[]): Evidence {
  const octets = Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return { segments: ['s.jsonl'], read: (_: string, take: (stretch: Stretch) => unknown) => void take({ file: (into, offset, length, position) => octets.copy(into, offset, position, position + length), from: 0, to: octets.length }) } as unknown as Evidence;
}

it('counts a refused code once among the reasons, though its attempt and its request are both on record', () => {
  const about = { time: '2026-11-22T12:00:00.000Z', result: 'denied', reason: 'code_wrong' };
  const records = ['a', 'b', 'c'].flatMap((id) => [{ ...about, event: 'second_factor', request_id: id }, { ...about, event: 'request', route: 'wardgate', request_id: id }]);
  const alone = { ...about, event: 'second_factor', request_id: 'd' };
  const { events, reasons } = gather(evidenceOf([...records, alone]), { from: 0, to: Date.now() * 2 });
  expect(Object.fromEntries(reasons)).toEqual({ code_wrong: 4 });
  expect(Object.fromEntries(events)).toEqual({ second_factor: 4, request: 3 });
});

it('counts what was revoked by a command among events, and not as refused', () => {
  const { reasons } = gather(evidenceOf([{ time: '2026-11-22T12:00:00.000Z', event: 'revocation', result: 'done', reason: 'revoked_denylist' }, { time: '2026-11-22T12:00:00.000Z', event: 'request', result: 'failed', reason: 'upstream_down' }]), { from: 0, to: Date.now() * 2 });
  expect(Object.fromEntries(reasons)).toEqual({ upstream_down: 1 });
});

it('shows in the metrics when each certificate ends that the gateway has or trusts', async () => {
  const fixture = await startGateway(pki, backend.port);
  const loaded = await loadSnapshot(fixture.path('wardgate.yaml'), { now: Date.now() });
  await fixture.stop();
  if (loaded.kind === 'invalid') throw new Error('the fixture is good');
  const { snapshot } = loaded;
  const material = snapshot.upstreams['records'];
  if (material === undefined) throw new Error('the fixture has an upstream');
  const gauge = new Gauge({ name: 'ends', help: 'ends', labelNames: ['use', 'name'], registers: [] });
  measureCertificates({ certificateNotAfter: gauge }, { ...snapshot, sinks: { siem: material } });
  const shown = (await gauge.get()).values.map(({ labels, value }) => [`${labels['use']} ${labels['name']}`, value] as const);
  expect(shown.map(([name]) => name)).toEqual(expect.arrayContaining(['server', 'client', 'ca'].flatMap((use) => (use === 'server' ? [expect.stringMatching(/^server clinical:/)] : ['upstream records', 'sink siem'].map((owner) => expect.stringContaining(`${use} ${owner}:`)))) as string[]));
  expect(shown.map(([name]) => name).some((name) => name.startsWith('ca listener clinical:'))).toBe(true);
  for (const [, value] of shown) expect(value * 1000).toBeGreaterThan(Date.now());
});

const rules = ({ findings }: AuditReport): readonly string[] => findings.map(({ rule }) => rule);

describe('wardgate audit run', () => {
  it('finds nothing where nothing is wrong, beside a running gateway', async () => {
    const gateway = await startGateway(pki, backend.port, { routes: ROUTES, top: ANCHORED });
    await aGoodDay(gateway);
    const { code, report } = await run(gateway);
    expect(report.findings).toEqual([]);
    expect(code).toBe(0);
    expect(report.chain.whole).toBe(true);
    expect(report.gateway).toEqual({ name: hostname(), configuration: expect.stringMatching(/^[0-9a-f]{64}$/) as string, key: expect.stringMatching(/^[\w-]{43}$/) as string });
    for (const shown of [textOf(report), pageOf(report)]) expect(shown).toContain(report.gateway.key);
    expect(report.negotiated).toEqual([{ name: 'TLSv1.3 TLS_AES_256_GCM_SHA384', count: 4 }]);
    expect(report.certificates.states).toEqual([{ name: 'good', count: 3 }]);
    expect(report.routes).toEqual([
      { name: 'welcome', clients: 'anybody', phi: false, permitted: 1, denied: 0, without_certificate: 1 },
      { name: 'echo', clients: 'certificate', phi: true, permitted: 3, denied: 0, without_certificate: 0 },
    ]);
    expect(report.roles).toEqual([{ name: 'doctor', count: 1 }, { name: 'patient', count: 1 }, { name: 'device', count: 1 }]);
    await gateway.stop();
  });

  it('finds what was sown: an open route with health data, a role and a route of nobody, an expired certificate still about, one that ends, an edited record', async () => {
    const day = 86_400_000;
    const ended = await pki.issueClient({ subject: [['CN', 'Dr Gone'], ['OU', 'Doctors'], ['O', 'Hospital']], notBefore: Date.now() - 30 * day, notAfter: Date.now() - day });
    const ending = { ...pki, gatewayClient: await pki.issueClient({ subject: [['CN', 'wardgate']], notAfter: Date.now() + 5 * day }) };
    const gateway = await startGateway(ending, backend.port, {
      top: ANCHORED,
      roles: `${ROLES}\n  - { role: auditor, match: { subject: { OU: Auditors } }, id: "{subject.CN}" }`,
      routes: `${ROUTES}
  - { name: labels, match: { path: /labels/* }, allow: [public], upstream: records, phi: true }
  - { name: reports, match: { path: /reports/* }, allow: [auditor], upstream: records }`,
    });
    await ask(pki, gateway.port, '/labels/1', { client: pki.doctor });
    await ask(pki, gateway.port, '/public/1', { client: pki.patient });
    await ask(pki, gateway.port, '/public/1', { client: pki.device });
    expect((await ask(pki, gateway.port, '/echo/1', { client: ended })).status).toBe(403);
    await gateway.gateway.stop(0);
    const audit = gateway.path('state/audit');
    for (const name of (await readdir(audit)).filter((file) => /-t\d\.jsonl$/.test(file))) {
      await writeFile(join(audit, name), (await readFile(join(audit, name), 'utf8')).replace('"reason":"expired"', '"reason":"no_role"'));
    }
    const tampered = await run(gateway);
    expect(tampered.code).toBe(1);
    expect(rules(tampered.report)).toContain('chain_broken');
    for (const name of (await readdir(audit)).filter((file) => /-t\d\.jsonl$/.test(file))) {
      await writeFile(join(audit, name), (await readFile(join(audit, name), 'utf8')).replace('"reason":"no_role"', '"reason":"expired"'));
    }
    const { code, report } = await run(gateway, { page: gateway.path('audit.html') });
    expect(code).toBe(1);
    expect([...new Set(rules(report))].sort()).toEqual(['certificate_ending', 'expired_unrevoked', 'role_unused', 'route_unused', 'route_without_certificate']);
    expect(report.findings.map(({ detail }) => detail)).toEqual(expect.arrayContaining([
      expect.stringMatching(/^labels takes clients without a certificate, and is phi/), expect.stringMatching(/^auditor: /), expect.stringMatching(/^reports: /),
      expect.stringMatching(new RegExp(`^serial ${ended.serialHex} of CN=Hospital Issuing CA,O=Hospital ended on .* was last shown on`)), expect.stringMatching(/^client certificate for upstream records: CN=wardgate ends on/),
    ]));
    const page = await readFile(gateway.path('audit.html'), 'utf8');
    for (const text of ['expired_unrevoked', 'labels', 'TLS_AES_256_GCM_SHA384']) expect(page).toContain(text);
    expect(page).not.toContain('Dr Gone');
    expect(page).not.toContain('<script');

    const again = await createGateway({ config: gateway.path('wardgate.yaml') });
    await again.deny({ kind: 'fingerprint', fingerprint: ended.sha256, reason: 'left', who: 'test' });
    await again.stop(0);
    const revoked = await run(gateway);
    expect(rules(revoked.report)).not.toContain('expired_unrevoked');
    expect(revoked.report.outages).toEqual([expect.objectContaining({ clean: true })]);
  });

  it('looks at the period that was asked for, and prints text with exit status 1 for findings', async () => {
    const gateway = await startGateway(pki, backend.port, { routes: ROUTES });
    await aGoodDay(gateway);
    const { report } = await run(gateway, { to: '2026-01-01', from: '2025-07-01' });
    expect(report.records.in_period).toBe(0);
    expect([...new Set(rules(report))]).toEqual(['route_unused', 'role_unused']);
    const text = await wardgate(['audit', 'run', '-c', gateway.path('wardgate.yaml'), '--from', '2025-07-01', '--to', '2026-01-01']);
    expect(text.code).toBe(1);
    expect(text.stdout).toMatch(/^Audit of 2025-07-01 to 2026-01-01/);
    expect(text.stdout).toContain('role_unused: doctor');
    expect((await wardgate(['audit', 'run', '-c', gateway.path('wardgate.yaml'), '--from', 'yesterday'])).code).toBe(2);
    await gateway.stop();
  });
});

describe('findings', () => {
  const NOW = Date.parse('2026-11-22T00:00:00Z');
  const DAY = 86_400_000;
  const seen = (fingerprint: string, more: Partial<SeenCertificate> = {}): [string, SeenCertificate] => [fingerprint, {
    fingerprint, serial: '0a', issuer: 'CN=CA', role: 'doctor', id: 'Dr Wang', notAfter: NOW + 200 * DAY, first: NOW - DAY, last: NOW - DAY, permitted: 1, denied: 0, expiredAt: undefined, revoked: false, ...more,
  }];
  const gathered: Gathered = {
    records: 0, first: undefined, last: undefined, oldest: undefined, events: new Map(), reasons: new Map(), negotiated: new Map(), certificates: new Map(), roles: new Map(), routes: new Map(), degraded: 0, lost: [], outages: [],
    overflown: false,
  };
  const standing: Standing = {
    now: NOW, gateway: { name: 'gate', configuration: '0a' }, verdict: { whole: true, records: 0, segments: 0, checkpoints: 0, unanchored: 0, notes: [] } as unknown as Standing['verdict'], anchored: true, issues: [], routes: [], roles: [], material: [], isDenied: () => false, grants: [],
    alarms: [], retention: undefined,
  };
  const found = (more: Partial<Gathered>, other: Partial<Standing> = {}): readonly string[] => findingsOf({ ...gathered, ...more }, { ...standing, ...other }).map(({ rule }) => rule);

  it('counts one of a kind as one', () => {
    const one = reportOf({ ...gathered, records: 1 }, { ...standing, verdict: { ...standing.verdict, checkpoints: 1 }, grants: [{ id: 'g', at: new Date(NOW).toISOString(), until: new Date(NOW + DAY).toISOString() }] as unknown as Standing['grants'] }, { from: NOW - DAY, to: NOW + DAY });
    expect(one.notes).toContain('1 emergency waits for review');
    for (const text of [textOf(one), pageOf(one)]) expect(text).toMatch(/1 checkpoint\W[\s\S]*1 grant in/);
  });

  it('none where nothing is wrong', () => expect(found({ certificates: new Map([seen('a')]) })).toEqual([]));

  it.each([
    ['TLSv1.3 TLS_AES_256_GCM_SHA384', []], ['TLSv1.3 TLS_CHACHA20_POLY1305_SHA256', []], ['TLSv1.2 TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384', []], ['TLSv1.2 TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256', []], ['TLSv1.2', []],
    ['TLSv1.1 TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA', ['weak_protocol']], ['TLSv1.2 TLS_RSA_WITH_AES_256_GCM_SHA384', ['weak_cipher']], ['TLSv1.2 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256', ['weak_cipher']],
    ['TLSv1.2 TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA', ['weak_cipher']],
  ])('of what was negotiated: %s %j', (what, rules) => expect(found({ negotiated: new Map([[what, 3]]) })).toEqual(rules));

  it.each<[string, readonly [string, SeenCertificate][], readonly string[]]>([
    ['was not renewed', [seen('a', { notAfter: NOW - DAY })], ['expired_unrevoked']],
    ['was renewed, and is not shown any more', [seen('a', { notAfter: NOW - DAY }), seen('b')], []],
    ['was renewed, and is still shown', [seen('a', { notAfter: NOW - DAY, expiredAt: NOW - 1000 }), seen('b')], ['expired_unrevoked']],
    ['is revoked at its CA', [seen('a', { notAfter: NOW - DAY, revoked: true })], []],
    ['belongs to somebody whom no role knows', [seen('a', { id: undefined, notAfter: NOW - DAY })], ['expired_unrevoked']],
  ])('an expired certificate that %s', (_, certificates, rules) => expect(found({ certificates: new Map(certificates) })).toEqual(rules));

  it('an expired certificate on the deny list is done with', () => expect(found({ certificates: new Map([seen('a', { notAfter: NOW - DAY })]) }, { isDenied: () => true })).toEqual([]));

  it('alarms of more than a day, and emergencies of more than a week that nobody has looked into', () => {
    const alarm = (since: number) => ({ id: String(since), rule: 'burst', since });
    const grant = (at: number, review?: object) => ({ id: String(at), at: new Date(at).toISOString(), until: new Date(at).toISOString(), ...(review === undefined ? {} : { review }) }) as unknown as Standing['grants'][number];
    expect(found({}, { alarms: [alarm(NOW - 2 * DAY), alarm(NOW - 1000)], grants: [grant(NOW - 8 * DAY), grant(NOW - DAY), grant(NOW - 9 * DAY, { who: 'x' })] })).toEqual(['alarm_overdue', 'emergency_unreviewed']);
  });

  it('records that were lost', () => expect(found({ lost: [{ time: NOW, detail: '3 records could not be written' }] })).toEqual(['records_lost']));
});
