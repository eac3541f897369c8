import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AuditWriter } from '../src/audit/writer.ts';
import { createBreakGlass } from '../src/break-glass.ts';
import { invite } from '../src/cli/factor.ts';
import { SILENT } from '../src/log.ts';
import { openGrants, type GrantChange } from '../src/store/grants.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { secretOf, startFhirBackend } from './support/fhir.ts';
import { browserOver, codeAt, type PageAnswer } from './support/factor.ts';
import { ask, startGateway, type AskOptions, type Reply, type TestGateway } from './support/gateway.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
let nurse: Issued;
let other: Issued;
let backend: Backend;
let fhir: Awaited<ReturnType<typeof startFhirBackend>>;
let gateway: TestGateway;
const cookies: string[] = [];
const messages: string[] = [];

const ROLES = `
  - { role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }
  - { role: nurse, match: { subject: { OU: Nurses } }, id: "{subject.CN}" }
  - { role: patient, match: { san: { uri: "urn:patient:*" } }, id: "{san.uri}" }`;

const glass = (more = ''): string => `break_glass: { roles: [nurse], reasons: [emergency, mass-casualty]${more} }`;
const ROUTES = `
  - { name: records, match: { path: /records/:id }, allow: [doctor], upstream: records, patient: { path: id }, ${glass()} }
  - { name: asked, match: { path: /asked }, allow: [doctor], upstream: records, patient: { query: id }, ${glass()} }
  - { name: notes, match: { path: /notes }, allow: [doctor], upstream: records, ${glass()} }
  - { name: beds, match: { path: /beds }, allow: [doctor], upstream: records, ${glass(', patient: optional')} }
  - { name: brief, match: { path: /brief/:id }, allow: [doctor], upstream: records, patient: { path: id }, ${glass(', for: 1s')} }
  - { name: near, match: { path: /near }, allow: [nurse], upstream: records, require: { networks: [127.0.0.2/32] }, ${glass(', patient: optional, breaks: [networks]')} }
  - { name: strict, match: { path: /strict }, allow: [doctor], upstream: records, require: { second_factor: totp }, ${glass(', patient: optional')} }
  - { name: texted, match: { path: /texted }, allow: [doctor], upstream: records, require: { second_factor: sms }, ${glass(', patient: optional')} }
  - { name: elsewhere, match: { host: other.hospital.test, path: /else }, allow: [doctor], upstream: records, ${glass(', patient: optional')} }
  - { name: own, match: { path: /own/:id }, allow: [doctor], upstream: records, patient: { path: id, bound: [patient], id: "urn:patient:*" }, break_glass: { roles: [patient], reasons: [emergency] } }
  - { name: closed, match: { path: /closed }, allow: [doctor], upstream: records }
  - { name: fhir, match: { path: /fhir/* }, allow: [doctor], upstream: fhir, patient: { body: fhir }, ${glass()} }`;

beforeAll(async () => {
  pki = await testPki();
  const subject: [string, string][] = [['CN', 'Nurse Li'], ['OU', 'Nurses'], ['O', 'Hospital']];
  nurse = await pki.issueClient({ subject });
  other = await pki.issueClient({ subject });
  backend = await startBackend(pki, (request, response) => {
    cookies.push(request.headers.cookie ?? '');
    response.end('hello');
  });
  fhir = await startFhirBackend(pki, ['1001', '1002']);
  const upstream = (name: string, port: number): string => `
  ${name}: { endpoints: ["https://127.0.0.1:${port}"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal } }`;
  const note = (fields: object, message: string): void => void messages.push(JSON.stringify([fields, message]));
  gateway = await startGateway(pki, backend.port, {
    routes: ROUTES, roles: ROLES, top: 'second_factor: { key_file: factors.key, sms: { url: "https://127.0.0.1:1/", trust: backend-ca.pem, secret_file: factors.key } }', files: { 'factors.key': randomBytes(32).toString('hex') },
    upstreams: `${upstream('records', backend.port)}${upstream('fhir', fhir.port)}`, log: { info: note, warn: note, error: note },
  });
});

// Each test has a certificate of its own, so that no grant of another is in its way.
beforeEach(async () => {
  nurse = await pki.issueClient({ subject: [['CN', 'Nurse Li'], ['OU', 'Nurses'], ['O', 'Hospital']] });
});

afterAll(async () => {
  await gateway?.stop();
  await backend.close();
  await fhir.close();
});

const call = (path: string, options: AskOptions = {}): Promise<Reply> => ask(pki, gateway.port, path, { client: nurse, ...options });
const granted = () => gateway.gateway.grants().filter(({ certificate }) => certificate === nurse.sha256);
const HTML = { accept: 'text/html,application/xhtml+xml', 'sec-fetch-mode': 'navigate' };
const FILLED = { do: 'open', route: 'records', reason: 'emergency', text: 'unconscious, allergies needed', patient: '1001' };

/** What a browser keeps of a visit to the page, and sends with its form. */
interface Visit {
  readonly page: string;
  readonly status: number;
  readonly cookie: string;
  readonly form: string;
}

async function visit(path = '/.wardgate/emergency', options: AskOptions = {}): Promise<Visit> {
  const reply = await call(path, { ...options, headers: HTML });
  const page = reply.body.toString();
  return { page, status: reply.status, cookie: String(reply.headers['set-cookie']?.[0]).split(';', 1)[0] as string, form: /name="form" value="([^"]+)"/.exec(page)?.[1] ?? '' };
}

const origin = (): string => `https://localhost:${gateway.port}`;

function submit({ cookie, form }: Pick<Visit, 'cookie' | 'form'>, filled: Readonly<Record<string, string>> = {}, options: AskOptions = {}): Promise<Reply> {
  return call('/.wardgate/emergency', {
    method: 'POST', body: new URLSearchParams({ form, ...FILLED, ...filled }).toString(), ...options,
    headers: { host: `localhost:${gateway.port}`, 'content-type': 'application/x-www-form-urlencoded', cookie, origin: origin(), 'sec-fetch-site': 'same-origin', ...options.headers as object },
  });
}

const open = async (filled: Readonly<Record<string, string>> = {}, options: AskOptions = {}): Promise<Reply> => submit(await visit(), filled, options);
const refusal = async () => (await gateway.records()).find(({ fingerprint, path, result }) => fingerprint === nurse.sha256 && path === '/.wardgate/emergency' && result === 'denied');

describe('the page on which an emergency is declared', () => {
  it('opens a grant for certificate, route and patient: what follows needs no headers, and nothing else gets through', async () => {
    expect((await call('/records/1001')).status).toBe(403);
    const done = await open();
    expect([done.status, done.headers.location]).toEqual([303, '/.wardgate/emergency?lang=en&done=opened']);
    expect(granted()).toMatchObject([{ route: 'records', reason: 'emergency', text: FILLED.text, patient: '1001', role: 'nurse', who: 'Nurse Li', breaks: ['role'], page: true }]);
    const replies = await Promise.all(Array.from({ length: 8 }, () => call('/records/1001')));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    expect((await call('/records/1002')).status).toBe(403);
    expect((await call('/notes')).status).toBe(403);
    expect((await call('/records/1001', { client: other })).status).toBe(403);
    const [grant] = granted();
    await expect.poll(async () => (await gateway.records()).filter(({ break_glass: about }) => (about as { id?: string } | undefined)?.id === grant?.id)).toMatchObject([
      { event: 'break_glass', detail: 'opened on the page: role', alarm: 'break_glass', patient: '1001', break_glass: { reason: 'emergency', text: FILLED.text } },
      ...Array.from({ length: 8 }, () => ({ event: 'request', route: 'records', result: 'permitted', patient: '1001' })),
    ]);
    expect(messages.filter((one) => one.includes(grant?.id ?? '?') && one.includes('alarm'))).toHaveLength(1);
  });

  it('stands in place of the refusal that somebody in a browser gets, filled in as far as the request tells, and leads back', async () => {
    const shown = await visit('/records/1001?tab=2');
    expect(shown.status).toBe(403);
    expect(shown.page).toContain('<title>Emergency access</title>');
    expect(shown.page).toContain('value="1001"');
    expect(shown.page).toContain('every emergency access is reviewed afterwards');
    const done = await submit(shown, { return: '/records/1001?tab=2' });
    expect(done.headers.location).toBe('/.wardgate/emergency?lang=en&return=%2Frecords%2F1001%3Ftab%3D2&done=opened');
    const opened = await visit(String(done.headers.location));
    expect(opened.page).toContain('<title>Emergency access is open</title>');
    expect(opened.page).toContain('href="/records/1001?tab=2"');
    expect(opened.page).toMatch(/30 minutes left, until \d\d:\d\d UTC/);
    // Programs are told what they always were.
    expect((await call('/records/1002', { headers: { accept: 'application/json' } })).json()).toMatchObject({ code: 'role_denied' });
    expect((await call('/closed', { headers: HTML })).body.toString()).toContain('<code>role_denied</code>');
  });

  it('ends what it opened at once by its button, and nothing of another certificate', async () => {
    await open();
    const [grant] = granted();
    const theirs = await visit('/.wardgate/emergency', { client: other });
    expect(theirs.page).not.toContain(grant?.id);
    expect((await submit(theirs, { do: 'end', id: grant?.id ?? '' }, { client: other })).status).toBe(303);
    expect((await call('/records/1001')).status).toBe(200);
    const done = await submit(await visit(), { do: 'end', id: grant?.id ?? '' });
    expect(done.headers.location).toBe('/.wardgate/emergency?lang=en&done=ended');
    expect((await call('/records/1001')).status).toBe(403);
    expect(granted()[0]?.closed).toMatchObject({ who: 'Nurse Li', note: 'ended on the page by whom it was for' });
    // A second time, as somebody who presses twice.
    expect((await submit(await visit(), { do: 'end', id: grant?.id ?? '' })).status).toBe(303);
  });

  it('is withdrawn by an operator like any other, and ends by itself', async () => {
    await open();
    await gateway.gateway.withdraw(granted()[0]?.id ?? '', 'security', 'workstation stolen');
    expect((await call('/records/1001')).status).toBe(403);
    await open({ route: 'brief' });
    expect(granted()).toHaveLength(2);
    await expect.poll(async () => (await call('/brief/1001')).status).toBe(403);
    await expect.poll(() => granted()[1]?.closed).toMatchObject({ at: expect.any(String) as string });
    expect((await visit()).page).not.toContain('Open now');
  });

  it('takes what does not tell whom it concerns for the one patient that was named there, where a route leaves that open', async () => {
    expect((await call('/notes')).status).toBe(403);
    await open({ route: 'notes' });
    expect((await call('/notes')).status).toBe(200);
    await expect.poll(async () => (await gateway.records()).find(({ path, fingerprint, result }) => path === '/notes' && fingerprint === nurse.sha256 && result === 'permitted')).toMatchObject({ break_glass: { patient: '1001' } });
    await open({ route: 'notes', patient: '1002' });
    expect((await call('/notes')).status).toBe(403);
    expect((await visit()).page).toContain('More than one patient is open for the same service');
    await submit(await visit(), { do: 'end', id: granted()[0]?.id ?? '' });
    expect((await call('/notes')).status).toBe(200);
    // A route that says where its requests name a patient: what leaves that out may be asking for all.
    await open({ route: 'asked' });
    expect((await call('/asked?id=1001')).status).toBe(200);
    expect((await call('/asked')).status).toBe(403);
  });

  it('opened by headers instead serves no request that names nobody: that stays for each to say', async () => {
    const said = { 'wardgate-emergency-reason': 'emergency', 'wardgate-emergency-text': 'x', 'wardgate-emergency-patient': '1001' };
    expect((await call('/notes', { headers: said })).status).toBe(200);
    expect((await call('/notes')).status).toBe(403);
    await open({ route: 'notes' });
    expect((await call('/notes')).status).toBe(200);
  });

  it('on a FHIR interface reaches what the named patient could be served, and nothing of another, asked for by name or not', async () => {
    await open({ route: 'fhir' });
    const mine = await call('/fhir/Observation?patient=1001');
    expect([mine.status, mine.body.toString().includes(secretOf('1001'))]).toEqual([200, true]);
    expect((await call('/fhir/Patient/1001')).status).toBe(200);
    for (const path of ['/fhir/Patient', '/fhir/Patient/1002', '/fhir/Observation?patient=1002', '/fhir/Observation/o-1002', '/fhir/Patient?_has:Observation:patient:code=x']) {
      const reply = await call(path);
      expect([path, reply.status === 200, reply.body.toString().includes(secretOf('1002'))]).toEqual([path, false, false]);
    }
  });

  it.each([
    ['without the token of its form', { form: 'x' }, {}, 403],
    ['from another site\'s page', {}, { origin: 'https://evil.test', 'sec-fetch-site': 'cross-site' }, 403],
    ['from another site\'s page that hides its name', {}, { origin: 'null' }, 403],
    ['without the cookie of its form', {}, { cookie: 'a=b' }, 403],
    ['as something else than a form', {}, { 'content-type': 'text/plain' }, 403],
    ['with 10 kB of text', { text: 'x'.repeat(10_240) }, {}, 400],
    ['with more than 500 characters of text', { text: '急'.repeat(501) }, {}, 400],
    ['without a text', { text: ' \r\n ' }, {}, 400],
    ['with a text that turns itself around', { text: 'a\u202eb' }, {}, 400],
    ['for a reason that is none', { reason: 'curiosity' }, {}, 400],
    ['without a patient', { patient: '' }, {}, 400],
    ['for a patient that FHIR could not name', { route: 'fhir', patient: '1001/../1002' }, {}, 400],
    ['for a route without break-glass', { route: 'closed' }, {}, 403],
    ['for a route of another host', { route: 'elsewhere' }, {}, 403],
    ['for its own page', { route: 'wardgate-emergency' }, {}, 403],
    ['for a route that asks for a second factor, without one', { route: 'strict' }, {}, 403],
  ] as const)('sent %s opens nothing, and says so', async (_, filled, headers, expected) => {
    const reply = await open(filled, { headers });
    expect(reply.status).toBe(expected);
    expect(reply.body.toString()).toContain('<title>Error: Emergency access</title>');
    expect(granted()).toEqual([]);
    expect(await refusal()).toMatchObject({ route: 'wardgate-emergency', reason: expect.stringMatching(/^(form_refused|role_denied|step_up_required|patient_missing)$/) as string });
  });

  it('with a body of more than a form\'s size is cut', async () => {
    expect((await open({ text: 'x'.repeat(20_000) })).status).toBe(413);
    expect(granted()).toEqual([]);
  });

  it('takes no form that was made for another certificate in the same browser', async () => {
    const theirs = await visit('/.wardgate/emergency', { client: other });
    expect((await submit(theirs)).status).toBe(403);
    expect(granted()).toEqual([]);
  });

  it('keeps to the spelling of the patient that was written: another one is another patient', async () => {
    await open({ patient: '１００１' });
    await open({ patient: '01001' });
    await open({ patient: '%31001' });
    expect(granted().map(({ patient }) => patient)).toEqual(['１００１', '01001', '%31001']);
    for (const path of ['/records/1001', '/records/1001%20', '/records/%31001']) expect([path, (await call(path)).status]).toEqual([path, 403]);
    expect((await call('/records/01001')).status).toBe(200);
    await open({ patient: ' 1001\r\n' });
    expect((await call('/records/1001')).status).toBe(200);
  });

  it('is not there for roles that may not, nor without a certificate, nor for a revoked one', async () => {
    for (const [client, status] of [[pki.doctor, 403], [pki.unmapped, 403], [pki.revokedDoctor, 403]] as const) {
      const refused = await call('/.wardgate/emergency', { client, headers: HTML });
      expect([refused.status, /<code>(role_denied|certificate_rejected)<\/code>/.test(refused.body.toString())]).toEqual([status, true]);
    }
    expect((await ask(pki, gateway.port, '/.wardgate/emergency', { headers: HTML })).status).toBe(401);
    const form = await visit();
    expect((await submit(form, {}, { client: pki.doctor })).status).toBe(403);
  });

  it('lets a patient who may name nobody but themselves', async () => {
    const patient = { client: pki.patient };
    const form = await visit('/.wardgate/emergency', patient);
    expect((await submit(form, { route: 'own', patient: '1002' }, patient)).status).toBe(400);
    expect((await submit(form, { route: 'own', patient: '1001' }, patient)).status).toBe(303);
    expect((await call('/own/1001', patient)).status).toBe(200);
    expect((await call('/own/1002', patient)).status).toBe(403);
  });

  it('is reached from a network that the route refuses, where that may be broken, and opens for that', async () => {
    expect((await call('/near')).status).toBe(403);
    expect((await open({ route: 'near', patient: '' })).status).toBe(303);
    expect(granted()).toMatchObject([{ breaks: ['networks'] }]);
    expect((await call('/near')).status).toBe(200);
    // From within there is nothing to open.
    const needless = await submit(await visit(), { route: 'near', patient: '' }, { localAddress: '127.0.0.2' });
    expect([needless.status, needless.body.toString().includes('No emergency access needed')]).toEqual([200, true]);
  });

  it('opens nothing that is suspended', async () => {
    await gateway.gateway.suspend({ route: 'beds', reason: 'test', who: 'test' });
    const reply = await open({ route: 'beds', patient: '' });
    expect([reply.status, reply.body.toString().includes('This service is stopped at the moment')]).toEqual([503, true]);
    await gateway.gateway.resume({ route: 'beds' }, 'test');
    expect((await open({ route: 'beds', patient: '' })).status).toBe(303);
    expect((await call('/beds')).status).toBe(200);
  });

  it('keeps its cookie from upstreams, from scripts and from other sites', async () => {
    const reply = await call('/.wardgate/emergency', { headers: HTML });
    expect(reply.headers['set-cookie']).toEqual([expect.stringMatching(/^__Host-wardgate-form=[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Strict$/)]);
    expect(reply.headers['content-security-policy']).toContain('default-src \'none\'');
    const shown = await visit();
    await submit(shown);
    await call('/records/1001', { headers: { cookie: `a=1; ${shown.cookie}; b=2` } });
    expect(cookies.at(-1)).toBe('a=1; b=2');
    // Several tabs of one browser share it.
    expect((await call('/.wardgate/emergency', { headers: { ...HTML, cookie: shown.cookie } })).headers['set-cookie']?.[0]).toContain(shown.cookie);
  });

  it('opens a route that asks for a second factor for who has shown one that it takes, and for nobody else', async () => {
    // Somebody of their own: enrolments belong to role and id.
    nurse = await pki.issueClient({ subject: [['CN', 'Nurse Wu'], ['OU', 'Nurses'], ['O', 'Hospital']] });
    const browser = browserOver('localhost', async (method, target, fields, body): Promise<PageAnswer> => {
      const headers = Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, index) => [fields[index * 2] as string, fields[index * 2 + 1] as string]));
      const reply = await call(target, { method, headers, body });
      return { status: reply.status, fields: reply.rawHeaders, body: reply.body.toString() };
    });
    const printed: string[] = [];
    await invite({ config: gateway.path('wardgate.yaml'), json: true, role: 'nurse', id: 'Nurse Wu', who: 'test', expires: '1d' }, (text) => printed.push(text));
    const confirm = await browser.submit('enrol', { invitation: (JSON.parse(printed.join('')) as { code: string }).code });
    const secret = /<code>([A-Z2-7 ]+)<\/code>/.exec(confirm.body)?.[1]?.replaceAll(' ', '') as string;
    const pending = browser.cookie;
    await browser.submit('enrol/confirm', { code: codeAt(secret, Date.now()) });
    const session = (token: string | undefined) => ({ headers: { authorization: `Bearer ${token}` } });
    const strict = { route: 'strict', patient: '' };
    expect((await open(strict, session(pending))).status).toBe(403);
    // It has shown a factor, which is not the one that this route takes.
    expect((await open({ ...strict, route: 'texted' }, session(browser.cookie))).status).toBe(403);
    expect(granted()).toEqual([]);
    expect((await open(strict, session(browser.cookie))).status).toBe(303);
    expect((await call('/strict', session(browser.cookie))).status).toBe(200);
    expect((await call('/strict')).status).toBe(401);
  });

  it('escapes what was written into it', async () => {
    const reply = await open({ text: '"><script>alert(1)</script>', reason: 'none' });
    expect(reply.body.toString()).not.toContain('<script>');
    await open({ text: '<b>x</b>' });
    expect((await visit()).page).toContain('&lt;b&gt;x&lt;/b&gt;');
  });
});

describe('a grant that was opened on the page', () => {
  it('serves what names nobody on the other gateways as well, and after a restart', async () => {
    const states = await Promise.all(['one', 'other'].map((name) => mkdtemp(join(tmpdir(), `wardgate-${name}-`))));
    const [one, two] = states as [string, string];
    const told: GrantChange[] = [];
    const open = (state: string) => createBreakGlass({
      list: openGrants(state), audit: { append: () => Promise.resolve() } as unknown as AuditWriter, publish: () => Promise.resolve(), alarm: () => undefined, now: Date.now, log: SILENT,
      announce: (change) => Promise.resolve(void told.push(change)),
    });
    const client = { certificate: nurse.sha256, serial: '1', issuer: 'CN=x', role: 'nurse', who: 'Nurse Li', address: '10.0.0.1', listener: 'clinical', request_id: '1' };
    const question = { route: 'notes', lasts: 60_000, breaks: ['role'], factors: undefined, client } as const;
    const [here, there] = [open(one), open(two)];
    const opened = await here.find({ ...question, plea: { reason: 'emergency', text: 'x', patient: '1001' }, patient: '1001', page: true });
    expect(opened).toMatchObject({ kind: 'open', grant: { patient: '1001' } });
    expect(await there.find({ ...question, unnamed: true })).toEqual({ kind: 'none' });
    for (const change of told) there.receive(change);
    expect(await there.find({ ...question, unnamed: true })).toEqual(opened);
    expect(await open(one).find({ ...question, unnamed: true })).toEqual(opened);
    // Ended on one of them it is ended on the other.
    const [change] = told as [GrantChange];
    await there.withdraw(change.id, 'Nurse Li', 'done');
    here.receive(told.at(-1) as GrantChange);
    expect(await here.find({ ...question, unnamed: true })).toEqual({ kind: 'none' });
    await Promise.all(states.map((state) => rm(state, { recursive: true, force: true })));
  });
});
