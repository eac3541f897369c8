import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
import type { AuditWriter } from '../src/audit/writer.ts';
import { createBreakGlass } from '../src/break-glass.ts';
import { authorize } from '../src/policy/authorize.ts';
import { compileGlass, grantNeeded, readPlea } from '../src/policy/break-glass.ts';
import { upstreamHead, type UpstreamHead } from '../src/forward/fast/upstream-request.ts';
import { createGateway } from '../src/gateway.ts';
import { SILENT } from '../src/log.ts';
import type { GrantChange, GrantReport } from '../src/store/grants.ts';
import { COUNTED } from '../src/policy/facts.ts';
import { parseHost } from '../src/policy/host.ts';
import { compileRoutes } from '../src/policy/routes.ts';
import { parseTarget } from '../src/policy/target.ts';
import { secretOf, startFhirBackend } from './support/fhir.ts';
import { wardgate } from './support/command.ts';
import { ask, startGateway, type GatewayParts, type Reply, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';
import { redisInstalled, startRedis } from './support/redis.ts';
import { startSocketBackend, type SocketBackend } from './support/socket-backend.ts';

let pki: TestPki;
/** Of each test alone: whatever others did on the gateway that they share concerns other certificates. */
let nurse: Issued;
/** Serves all tests but those of a start, a stop, or what a gateway counts. */
let common: TestGateway;
let backend: SocketBackend;
let port: number;
const seen: { readonly url: string; readonly headers: NodeJS.Dict<string | string[]> }[] = [];
const started: TestGateway[] = [];

beforeAll(async () => {
  pki = await testPki();
  backend = await startSocketBackend(pki, (request, response) => {
    seen.push({ url: request.url ?? '', headers: request.headers });
    response.end('hello');
  });
  ({ port } = backend);
  common = await startGateway(pki, port, { routes: ROUTES, roles: ROLES });
});

beforeEach(async () => {
  nurse = await issueNurse();
});

afterEach(async () => {
  await Promise.all(started.splice(0).map((gateway) => gateway.stop()));
});

afterAll(async () => {
  await common.stop();
  backend.close();
});

const issueNurse = (): Promise<Issued> => pki.issueClient({ subject: [['CN', 'Nurse Li'], ['OU', 'Nurses'], ['O', 'Hospital']] });

const ROLES = `
  - { role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }
  - { role: nurse, match: { subject: { OU: Nurses } }, id: "{subject.CN}" }
  - { role: patient, match: { san: { uri: "urn:patient:*" } }, id: "{san.uri}" }`;

const glass = (more = ''): string => `break_glass: { roles: [nurse, doctor], reasons: [emergency, mass-casualty]${more} }`;
const ROUTES = `
  - { name: records, match: { path: /records/:id }, allow: [doctor], upstream: records, patient: { path: id }, ${glass()} }
  - { name: brief, match: { path: /brief/:id }, allow: [doctor], upstream: records, patient: { path: id }, ${glass(', for: 3s')} }
  - { name: notes, match: { path: /notes }, allow: [doctor], upstream: records, ${glass()} }
  - { name: asked, match: { path: /asked }, allow: [doctor], upstream: records, patient: { query: id }, ${glass()} }
  - { name: limited, match: { path: /limited/:id }, allow: [doctor], upstream: records, patient: { path: id }, limits: { rate: [2/minute] }, ${glass()} }
  - { name: stopped, match: { path: /stopped/:id }, allow: [doctor], upstream: records, patient: { path: id }, ${glass()} }
  - { name: beds, match: { path: /beds }, allow: [doctor], upstream: records, ${glass(', patient: optional')} }
  - { name: near, match: { path: /near/* }, allow: [doctor], upstream: records, require: { networks: [10.0.0.0/8] }, ${glass(', patient: optional, breaks: [networks]')} }
  - { name: ward, match: { path: /ward }, allow: [doctor], upstream: records, require: { networks: [127.0.0.2/32] }, ${glass(', patient: optional, breaks: [role, networks]')} }
  - { name: closed, match: { path: /closed }, allow: [doctor], upstream: records }`;

/** A gateway of a test's own. */
async function start(parts: GatewayParts = {}): Promise<TestGateway> {
  const gateway = await startGateway(pki, port, { routes: ROUTES, roles: ROLES, ...parts });
  started.push(gateway);
  return gateway;
}

const plea = (more: Readonly<Record<string, string>> = {}): Record<string, string> => ({ 'wardgate-emergency-reason': 'emergency', 'wardgate-emergency-text': 'unconscious, allergies needed', ...more });
const call = (gateway: TestGateway, path: string, headers: Readonly<Record<string, string>> = {}, client = nurse): Promise<Reply> => ask(pki, gateway.port, path, { client, headers: { host: 'localhost', ...headers } });
const grantsOf = ({ gateway }: TestGateway, client = nurse): readonly GrantReport[] => gateway.grants().filter(({ certificate }) => certificate === client.sha256);
const recordsOf = async (gateway: TestGateway) => (await gateway.records()).filter((record) => record['fingerprint'] === nurse.sha256);
const glassRecords = async (gateway: TestGateway) => (await recordsOf(gateway)).filter((record) => record['event'] === 'break_glass');
const grantIds = ({ gateway }: TestGateway): readonly string[] => gateway.grants().map(({ id }) => id);

describe('an emergency', () => {
  it('lets somebody through who says why, for one patient, marked to the upstream and on record from start to stop', async () => {
    expect((await call(common, '/brief/1001')).json()).toMatchObject({ code: 'role_denied' });
    const reply = await call(common, '/brief/1001', plea());
    expect(reply.status).toBe(200);
    expect(seen.at(-1)?.headers['x-client-status']).toBe('break-glass');
    expect(Object.keys(seen.at(-1)?.headers ?? {}).filter((name) => name.startsWith('wardgate-'))).toEqual([]);
    const [grant] = grantsOf(common);
    expect(grant).toMatchObject({ route: 'brief', reason: 'emergency', text: 'unconscious, allergies needed', patient: '1001', role: 'nurse', who: 'Nurse Li', certificate: nurse.sha256, breaks: ['role'] });
    // Within its time, and again not after it.
    await expect.poll(async () => (await call(common, '/brief/1001')).status, { timeout: 50_000 }).toBe(403);
    await expect.poll(() => glassRecords(common), { timeout: 50_000 }).toMatchObject([
      { result: 'done', detail: 'opened: role', alarm: 'break_glass', role: 'nurse', id: 'Nurse Li', patient: '1001', break_glass: { id: grant?.id, reason: 'emergency', text: 'unconscious, allergies needed', patient: '1001' } },
      { result: 'done', detail: 'expired', break_glass: { id: grant?.id } },
    ]);
    const served = (await recordsOf(common)).filter((record) => record['event'] === 'request' && record['result'] === 'permitted');
    expect(served[0]).toMatchObject({ break_glass: { id: grant?.id, reason: 'emergency', patient: '1001' }, patient: '1001', route: 'brief' });
  });

  it('needs to be told once: its grant is good for the same certificate, route and patient on every thread, and for no other', async () => {
    expect((await call(common, '/records/1001', plea())).status).toBe(200);
    const replies = await Promise.all(Array.from({ length: 10 }, () => call(common, '/records/1001')));
    expect(replies.map(({ status }) => status)).toEqual(Array<number>(10).fill(200));
    expect((await call(common, '/records/1001', plea({ 'wardgate-emergency-text': 'still' }))).status).toBe(200);
    expect(grantsOf(common)).toHaveLength(1);
    expect((await call(common, '/records/1002')).status).toBe(403);
    expect((await call(common, '/notes')).status).toBe(403);
    const other = await issueNurse();
    expect((await call(common, '/records/1001', {}, other)).status).toBe(403);
    expect((await call(common, '/records/1002', plea())).status).toBe(200);
    expect(grantsOf(common)).toHaveLength(2);
  });

  it('over HTTP/2 is the same', async () => {
    const session = await openHttp2(pki, common.port, { client: nurse });
    expect((await askHttp2(session, '/records/7')).status).toBe(403);
    expect((await askHttp2(session, '/records/7', { headers: plea() })).status).toBe(200);
    expect((await askHttp2(session, '/records/7')).status).toBe(200);
    expect((await askHttp2(session, '/records/8')).status).toBe(403);
    await expect.poll(async () => (await recordsOf(common)).filter((record) => record['break_glass'] !== undefined && record['event'] === 'request')).toHaveLength(2);
    session.destroy();
  });

  it('told to two threads at once opens one grant', async () => {
    const replies = await Promise.all(Array.from({ length: 12 }, () => call(common, '/records/1001', plea())));
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]));
    expect(grantsOf(common)).toHaveLength(1);
  });

  it('of no patient is one where the route can do without', async () => {
    expect((await call(common, '/beds', plea())).status).toBe(200);
    expect((await call(common, '/beds')).status).toBe(200);
    expect(grantsOf(common)[0]?.patient).toBeUndefined();
  });

  it('names its patient with every request where the route cannot tell', async () => {
    expect((await call(common, '/notes', plea())).status).toBe(403);
    expect((await call(common, '/notes', plea({ 'wardgate-emergency-patient': '1001' }))).status).toBe(200);
    expect((await call(common, '/notes')).status).toBe(403);
    expect((await call(common, '/notes', plea({ 'wardgate-emergency-patient': '1001' }))).status).toBe(200);
    await expect.poll(async () => (await recordsOf(common)).map((record) => record['detail'])).toContainEqual(expect.stringContaining('wardgate-emergency-patient is missing'));
  });

  it('breaks networks where the route says so, and nothing that it does not say', async () => {
    expect((await call(common, '/near/x', plea(), pki.doctor)).status).toBe(200);
    expect((await call(common, '/near/x', plea())).status).toBe(403);
    expect(grantsOf(common, pki.doctor)).toMatchObject([{ breaks: ['networks'], role: 'doctor' }]);
  });

  it.each([
    ['without a certificate', {}, undefined, 401],
    ['with a revoked one', {}, 'revoked', 403],
    ['with a role that may not', {}, 'patient', 403],
    ['without a role', {}, 'unmapped', 403],
    ['for a reason that is none', { 'wardgate-emergency-reason': 'curiosity' }, 'nurse', 403],
    ['for another patient than that of the request', { 'wardgate-emergency-patient': '1002' }, 'nurse', 403],
    ['without a text', { 'wardgate-emergency-text': ' ' }, 'nurse', 403],
    ['with a text that ends a line', { 'wardgate-emergency-text': 'a%0Ab' }, 'nurse', 403],
  ] as const)('told %s opens nothing', async (_, headers, who, expected) => {
    const known = grantIds(common);
    const client = { revoked: pki.revokedDoctor, patient: pki.patient, unmapped: pki.unmapped, nurse }[who as string];
    const reply = await ask(pki, common.port, '/records/1001', { ...(client === undefined ? {} : { client }), headers: { host: 'localhost', ...plea(headers) } });
    expect(reply.status).toBe(expected);
    expect(grantIds(common)).toEqual(known);
  });

  it('is not stretched to what it did not say: from elsewhere the next grant needs a reason of its own', async () => {
    const from = (localAddress: string, headers = {}) => ask(pki, common.port, '/ward', { client: nurse, localAddress, headers });
    expect((await from('127.0.0.2', plea())).status).toBe(200);
    expect((await from('127.0.0.2')).status).toBe(200);
    expect((await from('127.0.0.1')).status).toBe(403);
    expect((await from('127.0.0.1', plea())).status).toBe(200);
    expect(grantsOf(common).map(({ breaks, address }) => [breaks, address])).toEqual([[['role'], '127.0.0.2'], [['role', 'networks'], '127.0.0.1']]);
    expect((await from('127.0.0.2')).status).toBe(200);
  });

  it('for one patient serves no request that a server may read to name another', async () => {
    const said = plea({ 'wardgate-emergency-patient': '1001' });
    expect((await call(common, '/asked?id=1001', said)).status).toBe(200);
    for (const query of ['id=1002', 'id=1002&id=1001', 'ID=1002', 'x=1;id=1002', 'id[]=1002', 'id=1001&i%64=1002']) expect((await call(common, `/asked?${query}`, said)).status, query).toBe(403);
    expect(grantsOf(common).map(({ patient }) => patient)).toEqual(['1001']);
    await expect.poll(async () => (await recordsOf(common)).find(({ detail }) => String(detail).includes('several parameters'))).toMatchObject({ reason: 'role_denied', detail: expect.stringContaining('no emergency: ') as string });
  });

  it('for one patient of a FHIR interface reaches nothing of another there', async () => {
    const fhir = await startFhirBackend(pki, ['1001', '1002']);
    const routes = `
  - { name: fhir, match: { path: /fhir/* }, allow: [doctor], upstream: records, patient: { body: fhir }, ${glass()} }`;
    const gateway = await startGateway(pki, fhir.port, { routes, roles: ROLES });
    started.push(gateway);
    const named = plea({ 'wardgate-emergency-patient': '1001' });
    const own = await call(gateway, '/fhir/Observation?patient=1001', named);
    expect(own.status).toBe(200);
    expect(own.body.toString()).toContain(secretOf('1001'));
    // All patients; another's, by a read, a search, a batch and an id that does not tell whose it is.
    for (const path of ['/fhir/Patient', '/fhir/Observation', '/fhir/Patient/1002', '/fhir/Observation?patient=1002', '/fhir/Patient?_has:Observation:patient:code=x']) {
      const reply = await call(gateway, path, named);
      expect([path, reply.status]).toEqual([path, 403]);
      expect(reply.body.toString()).not.toContain(secretOf('1002'));
    }
    const body = JSON.stringify({ resourceType: 'Bundle', type: 'batch', entry: [{ request: { method: 'GET', url: 'Patient/1002' } }] });
    const batch = await ask(pki, gateway.port, '/fhir/', { client: nurse, method: 'POST', body, headers: { host: 'localhost', 'content-type': 'application/fhir+json', ...named } });
    expect(batch.status).toBe(403);
    expect((await call(gateway, '/fhir/Patient', {}, pki.doctor)).status).toBe(200);
    await fhir.close();
  });

  it('of one client cannot use up what others need: who has a thousand to be reviewed gets no more', async () => {
    const reports: GrantReport[] = [];
    const all = (): readonly GrantReport[] => reports;
    const list = { reports: all, unclosed: all, unreviewed: all, report: () => undefined, changes: () => [], isNews: () => true, close: () => undefined, settle: () => undefined, apply: (change: GrantChange) => void (change.op === 'open' && reports.push(change)) };
    const desk = createBreakGlass({
      list, audit: { append: () => Promise.resolve() } as unknown as AuditWriter, publish: () => Promise.resolve(), announce: () => Promise.resolve(), alarm: () => undefined, now: Date.now, log: SILENT,
    });
    const client = { certificate: nurse.sha256, serial: '1', issuer: 'CN=x', role: 'nurse', who: 'Nurse Li', address: '10.0.0.1', listener: 'clinical', request_id: '1' };
    const find = (patient: number, who = 'Nurse Li') => desk.find({ route: 'records', lasts: 60_000, breaks: ['role'], plea: { reason: 'emergency', text: 'x' }, patient: String(patient), factors: undefined, client: { ...client, who } });
    for (let patient = 0; patient < 1_000; patient++) expect((await find(patient)).kind).toBe('open');
    expect(await find(1_000)).toEqual({ kind: 'refused', detail: '1000 grants of this client have not been reviewed' });
    expect((await find(999)).kind).toBe('open');
    expect((await find(1_000, 'Nurse Wang')).kind).toBe('open');
  });

  it('opens nothing that is suspended, and no route without the rule', async () => {
    expect((await call(common, '/closed', plea())).status).toBe(403);
    await common.gateway.suspend({ route: 'stopped', reason: 'x', who: 'test' });
    expect((await call(common, '/stopped/1001', plea())).status).toBe(503);
    expect(grantsOf(common)).toEqual([]);
  });

  it('opens nothing for who may anyhow, and what they say of it reaches no upstream', async () => {
    const known = grantIds(common);
    expect((await call(common, '/records/1001', plea(), pki.doctor)).status).toBe(200);
    expect(Object.keys(seen.at(-1)?.headers ?? {}).filter((name) => name.startsWith('wardgate-'))).toEqual([]);
    expect(seen.at(-1)?.headers['x-client-status']).toBeUndefined();
    expect(grantIds(common)).toEqual(known);
  });

  it('does not stretch a limit of rate', async () => {
    expect([(await call(common, '/limited/1', plea())).status, (await call(common, '/limited/1')).status, (await call(common, '/limited/2', plea())).status]).toEqual([200, 200, 429]);
    expect(grantsOf(common)).toHaveLength(1);
  });

  it('does not do without a second factor', () => {
    const config = {
      name: 'r', match: { path: '/r' }, allow: ['doctor'], upstream: 'records', limits: { rates: [] }, require: { second_factor: ['totp'] },
      break_glass: { roles: ['nurse'], reasons: ['emergency'], for: 1_000, patient: 'optional', breaks: ['role'] },
    };
    const policy = { routes: compileRoutes([config as never]), unavailable: 'deny' as const, rates: [] };
    const facts = {
      method: 'GET', target: parseTarget('/r'), host: parseHost('localhost'), directed: true, clientAuth: 'required' as const, address: '127.0.0.1', preflight: undefined,
      admission: { kind: 'known', leaf: {}, path: [], policies: [], identity: { role: 'nurse', id: 'x', roles: new Set(['nurse']) }, status: { kind: 'good' }, statements: [], epoch: 0, validUntil: Infinity } as never,
      fields: Object.entries(plea()).flat(),
    };
    expect(authorize(policy, facts, 0)).toMatchObject({ kind: 'query', session: true, grant: { plea: { reason: 'emergency' } } });
    const grant = { kind: 'open', grant: { id: 'g', route: 'r', breaks: ['role'], reason: 'emergency', text: 'x', until: 1 } } as const;
    expect(authorize(policy, { ...facts, findings: { ...COUNTED, grant } }, 0)).toMatchObject({ kind: 'denial', code: 'step_up_required' });
  });

  it('raises an alarm, and its log names neither patient nor text', async () => {
    const lines: unknown[] = [];
    const log = { debug: () => undefined, info: () => undefined, error: () => undefined, warn: (...line: unknown[]) => void lines.push(line) };
    const gateway = await start({ log: log as never, top: 'metrics: { address: "127.0.0.1:0" }' });
    await call(gateway, '/records/424242', plea());
    expect(JSON.stringify(lines)).toContain('"alarm":"break_glass"');
    expect(JSON.stringify(lines)).not.toMatch(/424242|allergies/);
    const metrics = await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
    expect(metrics).toContain('wardgate_alarms_total{rule="break_glass"} 1');
    expect(metrics).toContain('wardgate_break_glass_open 1');
    expect(metrics).toContain('wardgate_break_glass_unreviewed 1');
  });
});

describe('a grant', () => {
  const webSocket = async (path: string): Promise<WebSocket> => {
    const options = { cert: nurse.chain, key: nurse.key, ca: pki.root.certificate, servername: 'localhost', headers: { host: 'localhost', ...plea() } } as ClientOptions;
    const socket = new WebSocket(`wss://127.0.0.1:${common.port}${path}`, [], options);
    socket.on('error', () => undefined);
    await once(socket, 'open');
    return socket;
  };

  it('ends with its time, and with it the streams that stand on it', async () => {
    const socket = await webSocket('/brief/1001');
    await once(socket, 'close');
    expect((await call(common, '/brief/1001')).status).toBe(403);
    await expect.poll(async () => (await recordsOf(common)).filter((record) => record['reason'] === 'break_glass_ended')).not.toHaveLength(0);
  });

  it('ends when somebody withdraws it, and with it the streams that stand on it', async () => {
    const socket = await webSocket('/records/1001');
    const closed = once(socket, 'close');
    const id = grantsOf(common)[0]?.id ?? '';
    await common.gateway.withdraw(id, 'security', 'stolen');
    await closed;
    expect((await call(common, '/records/1001')).status).toBe(403);
    await expect(common.gateway.withdraw(id, 'security', 'again')).rejects.toThrow('is not open any more');
    await expect.poll(() => glassRecords(common)).toMatchObject([{ detail: 'opened: role' }, { detail: 'withdrawn: stolen', who: 'security' }]);
  });

  it('holds over a restart, and its end is on record all the same', async () => {
    const gateway = await start();
    await call(gateway, '/brief/1001', plea());
    await gateway.gateway.stop(0);
    const again = await createGateway({ config: gateway.path('wardgate.yaml') });
    const reply = await ask(pki, again.listeners[0]?.port ?? 0, '/brief/1001', { client: nurse });
    expect([200, 403]).toContain(reply.status);
    await expect.poll(() => again.grants()[0]?.closed, { timeout: 50_000 }).toBeDefined();
    await expect.poll(() => glassRecords(gateway)).toMatchObject([{ detail: 'opened: role' }, { detail: 'expired' }]);
    await again.stop(0);
  });

  it('is reviewed once, by somebody with something to say, after its end', async () => {
    const gateway = await start();
    await call(gateway, '/records/1001', plea());
    const id = gateway.gateway.grants()[0]?.id ?? '';
    await expect(gateway.gateway.review(id, 'Dr Chen', 'fine')).rejects.toThrow('is open until');
    await expect(gateway.gateway.review('nosuch', 'Dr Chen', 'fine')).rejects.toThrow('no grant "nosuch"');
    await gateway.gateway.withdraw(id, 'Dr Chen', 'over');
    expect((await gateway.gateway.status()).break_glass).toEqual({ open: 0, unreviewed: 1 });
    await gateway.gateway.review(id, 'Dr Chen', 'fine');
    await expect(gateway.gateway.review(id, 'Dr Chen', 'again')).rejects.toThrow('was reviewed by Dr Chen');
    expect((await gateway.gateway.status()).break_glass).toEqual({ open: 0, unreviewed: 0 });
    expect((await glassRecords(gateway)).at(-1)).toMatchObject({ detail: 'reviewed: fine', who: 'Dr Chen', break_glass: { id } });
  });

  it('whose file cannot be read stops the start: what is to be reviewed is not forgotten', async () => {
    const gateway = await start();
    await call(gateway, '/records/1001', plea());
    await gateway.gateway.stop(0);
    const { appendFile } = await import('node:fs/promises');
    await appendFile(gateway.path('state/break-glass.jsonl'), '{}\n');
    await expect(createGateway({ config: gateway.path('wardgate.yaml') })).rejects.toThrow(/break-glass\.jsonl:2: not a grant/);
  });

  it('that cannot be kept is none', async () => {
    const gateway = await start();
    const { chmod, rm, mkdir } = await import('node:fs/promises');
    // Whatever the process may do, nothing is written to a file that is not there any more: the audit knows.
    await rm(gateway.path('state/audit'), { recursive: true });
    await mkdir(gateway.path('state/audit'));
    await chmod(gateway.path('state/audit'), 0o700);
    expect((await call(gateway, '/records/1001', plea())).status).not.toBe(200);
  });

  it('shows in the queue of what is to be reviewed until it has been', async () => {
    const gateway = await start();
    const config = ['-c', gateway.path('wardgate.yaml')];
    await call(gateway, '/records/1001', plea({ 'wardgate-emergency-text': 'D%C3%BCrre, 50%25' }));
    const id = gateway.gateway.grants()[0]?.id ?? '';
    const list = await wardgate(['break-glass', 'list', ...config, '--unreviewed']);
    expect(list.stdout).toContain(`${id}  OPEN, NOT REVIEWED`);
    expect(list.stdout).toContain('because     emergency: "Dürre, 50%"');
    expect((await wardgate(['status', ...config])).stdout).toContain('break-glass   1 open, 1 to be reviewed');
    expect((await wardgate(['break-glass', 'review', id, ...config, '--who', 'Chen', '--note', 'x'])).code).toBe(1);
    expect(await wardgate(['break-glass', 'withdraw', id, ...config, '--who', 'Chen', '--note', 'over'])).toMatchObject({ code: 0, stdout: `withdrawn ${id}\n` });
    expect(await wardgate(['break-glass', 'review', id, ...config, '--who', 'Chen', '--note', 'justified'])).toMatchObject({ code: 0, stdout: `reviewed ${id}\n` });
    expect((await wardgate(['break-glass', 'list', ...config, '--unreviewed'])).stdout).toBe('none\n');
    await gateway.gateway.stop(0);
    const later = await wardgate(['break-glass', 'list', ...config, '--json']);
    expect(JSON.parse(later.stdout)).toMatchObject({ running: false, grants: [{ id, closed: { who: 'Chen', note: 'over' }, review: { who: 'Chen', note: 'justified' } }] });
    expect(await readFile(gateway.path('state/break-glass.jsonl'), 'utf8')).toContain(id);
  }, 180_000);
});

describe.skipIf(!redisInstalled)('a grant with replicas', () => {
  it('is good on them, to be seen on them, and ends on them', async () => {
    const redis = await startRedis();
    const top = `store: { redis: "redis://127.0.0.1:${redis.port}" }`;
    const [one, other] = await Promise.all([start({ top }), start({ top })]) as [TestGateway, TestGateway];
    await call(one, '/records/1001', plea());
    await expect.poll(async () => (await call(other, '/records/1001')).status, { timeout: 50_000 }).toBe(200);
    const id = other.gateway.grants()[0]?.id ?? '';
    await other.gateway.withdraw(id, 'security', 'stolen');
    await expect.poll(async () => (await call(one, '/records/1001')).status, { timeout: 50_000 }).toBe(403);
    await one.gateway.review(id, 'Chen', 'fine');
    await expect.poll(() => other.gateway.grants()[0]?.review?.who, { timeout: 50_000 }).toBe('Chen');
    await Promise.all(started.splice(0).map((gateway) => gateway.stop()));
    await redis.kill();
  });
});

describe('what is said of an emergency', () => {
  const rule = compileGlass({ roles: ['nurse'], reasons: ['emergency'], for: 1_000, patient: 'required', breaks: ['role'] });
  const fields = (reason: string, text: string, ...more: string[]): string[] => ['Wardgate-Emergency-Reason', reason, 'wardgate-emergency-TEXT', text, ...more];

  it.each([
    [fields('emergency', 'unconscious'), { kind: 'plea', plea: { reason: 'emergency', text: 'unconscious' } }],
    [fields('emergency', '%E6%98%8F%E8%BF%B7', 'Wardgate-Emergency-Patient', '1'), { kind: 'plea', plea: { text: '昏迷', patient: '1' } }],
    [['accept', '*/*'], { kind: 'none' }],
    [['wardgate-emergency-reason', 'emergency'], { kind: 'malformed' }],
    [fields('emergency', '100%'), { kind: 'malformed' }],
    [fields('emergency', 'ünclear'), { kind: 'malformed' }],
    [fields('emergency', '%e2%80%a8'), { kind: 'malformed' }],
    [fields('emergency', 'seen by %E2%80%AEgnaW rD'), { kind: 'malformed' }],
    [fields('emergency', 'x'.repeat(501)), { kind: 'malformed' }],
    [fields('emergency', 'a', 'wardgate-emergency-text', 'b'), { kind: 'malformed' }],
  ] as const)('%j is read', (said, expected) => {
    expect(readPlea(said, rule)).toMatchObject(expected);
  });

  it('is for the patient of the request, or for none', () => {
    expect(grantNeeded(rule, 'r', ['role'], fields('emergency', 'x', 'wardgate-emergency-patient', '2'), '1')).toMatchObject({ kind: 'none', detail: expect.stringContaining('is not the patient') as string });
    expect(grantNeeded(rule, 'r', ['role'], fields('emergency', 'x'), '1')).toMatchObject({ kind: 'ask', question: { patient: '1' } });
    expect(grantNeeded(rule, 'r', ['role'], [], '1')).toMatchObject({ kind: 'ask' });
    expect(grantNeeded(rule, 'r', ['role'], [], undefined)).toEqual({ kind: 'none' });
  });
});

describe('break_glass of a route', () => {
  it.each([
    ['{ roles: [nobody], reasons: [a] }', 'no role named "nobody"'],
    ['{ roles: [nurse], reasons: [] }', 'expected a list of reasons'],
    ['{ roles: [nurse], reasons: [a], breaks: [revocation] }', 'expected role, networks or hours'],
    ['{ roles: [nurse], reasons: [a], breaks: [] }', 'expected a list of role, networks and hours'],
  ])('written as %s is refused', async (written, message) => {
    const routes = `\n  - { name: r, match: { path: /r }, allow: [doctor], upstream: records, break_glass: ${written} }`;
    await expect(start({ routes })).rejects.toThrow(message);
  });

  it('is explained', async () => {
    const told = await wardgate(['explain', '-c', common.path('wardgate.yaml'), '--cert', common.path('patient.pem'), '--request', 'GET https://localhost/records/1']);
    expect(told.stdout).not.toContain('break glass');
    const { writeLeaf } = await import('./support/pki.ts');
    await Promise.all(writeLeaf(common.path('nurse'), nurse));
    const own = await wardgate(['explain', '-c', common.path('wardgate.yaml'), '--cert', common.path('nurse.pem'), '--request', 'GET https://localhost/records/1']);
    expect(own).toMatchObject({ code: 3 });
    expect(own.stdout).toContain('break glass  may be broken for emergency, mass-casualty');
  });

  it('is told to the upstream of each request by itself: the same head before, in and after it', () => {
    const fields = ['host', 'localhost'];
    const head = { octets: Buffer.alloc(0), asked: { method: 'GET', written: '/near/x', fields }, host: 'localhost', fields, bodyLength: 0, close: false };
    const exchange = { id: 'a'.repeat(36), client: { address: '10.0.0.1' }, admission: { kind: 'anonymous' }, span: undefined };
    const upstream = { config: { forward: {} } };
    const route = { config: { require: {}, forward: {} } };
    let last: UpstreamHead | undefined;
    const told = (breakGlass?: object): string => {
      last = upstreamHead(last, head as never, exchange as never, { route, degraded: undefined, breakGlass } as never, upstream as never);
      return last.octets.toString();
    };
    expect([told(), told({ id: '1' }), told(), told()].map((text) => text.includes('x-client-status: break-glass'))).toEqual([false, true, false, false]);
  });
});
