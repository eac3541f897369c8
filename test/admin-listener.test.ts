import { once } from 'node:events';
import { constants as http2 } from 'node:http2';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CALLS } from '../src/admin/calls.ts';
import { explain } from '../src/cli/explain.ts';
import { revoke } from '../src/cli/revoke.ts';
import { loadSnapshot } from '../src/config/snapshot.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, configuration, listener, openTls, startGateway, type AskOptions, type Reply, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { inOtherForm, testPki, type Issued, type TestPki } from './support/pki.ts';

const REQUIRED = '{ mode: required, trust: [root.pem], intermediates: [issuing.pem] }';
const ADMIN = `
admin:
  listener: ops
  roles:
    - { role: operator, match: { subject: { OU: Operators } }, id: "{subject.CN}" }
    - { role: read_only, match: { subject: { OU: Watch } } }`;
/** A role of clients that is called like one of admin.roles opens nothing there. */
const ROLES = '[{ role: operator, match: { subject: { OU: Doctors } } }]';
const ROUTES = '[{ name: records, match: { path: /records }, allow: [operator], upstream: records }]';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let port: number;
let chen: Issued;
let watch: Issued;

beforeAll(async () => {
  pki = await testPki();
  const person = (name: string, unit: string) => pki.issueClient({ subject: [['CN', name], ['OU', unit], ['O', 'Hospital']], eku: ['clientAuth'] });
  [chen, watch, backend] = await Promise.all([person('Chen Jing', 'Operators'), person('Night Watch', 'Watch'), startBackend(pki)]);
  gateway = await startGateway(pki, backend.port, { listeners: listener('clinical') + listener('ops', { clientAuth: REQUIRED }), roles: ROLES, routes: ROUTES, top: ADMIN, threads: 1 });
  port = gateway.gateway.listeners[1]?.port ?? 0;
});

afterAll(async () => {
  await gateway?.stop();
  await backend?.close();
});

function call(client: Issued | undefined, method: string, path: string, body?: object, headers: Record<string, string> = {}): Promise<Reply> {
  const options: AskOptions = { method, ...(client === undefined ? {} : { client }), headers: { host: `localhost:${port}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers } };
  return ask(pki, port, path, body === undefined ? options : { ...options, body: JSON.stringify(body) });
}

const fingerprint = 'ab'.repeat(32);
const denial = { kind: 'fingerprint', fingerprint, reason: 'laptop stolen' };
const records = async (event: string) => (await gateway.records()).filter((record) => record['event'] === event);

describe('the operators\' listener', () => {
  it('answers an operator, and on record the certificate has asked', async () => {
    const reply = await call(chen, 'GET', '/v1/status');
    expect(reply.status).toBe(200);
    expect(reply.json()).toMatchObject({ pid: process.pid, threads: 1 });
    expect(reply.headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'cross-origin-resource-policy': 'same-origin' });
    expect(reply.headers['access-control-allow-origin']).toBeUndefined();
    expect((await records('request')).at(-1)).toMatchObject({ result: 'permitted', listener: 'ops', route: 'wardgate-admin', role: 'operator', id: 'Chen Jing', path: '/v1/status', status: 200 });
    expect((await call(chen, 'GET', '/v1/openapi.json')).json()).toMatchObject({ openapi: '3.1.1' });
  });

  it('serves nobody without a certificate, with a client\'s, or with a role of clients that is only called alike', async () => {
    expect((await call(undefined, 'GET', '/v1/status')).status).toBe(401);
    for (const client of [pki.doctor, pki.patient]) expect((await call(client, 'GET', '/v1/status')).status).toBe(403);
    expect((await ask(pki, gateway.port, '/v1/status', { client: chen })).status).not.toBe(200);
  });

  it('forwards nothing', async () => {
    expect((await call(chen, 'GET', '/records')).status).toBe(404);
    expect(backend.seen).toEqual([]);
  });

  it('answers what its description says, where something is not configured, too', async () => {
    const rows = CALLS.filter(({ method, local, path }) => method === 'GET' && local !== true && path !== '/v1/explain');
    const replies = await Promise.all(rows.map(async (row) => ({ row, reply: await call(chen, 'GET', row.path) })));
    expect(replies.filter(({ reply }) => reply.status !== 200).map(({ row, reply }) => [row.path, reply.status])).toEqual([['/v1/alarms', 409], ['/v1/factor/list', 409]]);
    for (const { row, reply } of replies) if (reply.status === 200) expect(row.output.safeParse(reply.json()).error?.issues, row.path).toBeUndefined();
  });

  it('has a change made on behalf of the certificate, with its reason, and refuses it to whoever may only look', async () => {
    const refused = await call(watch, 'POST', '/v1/deny', denial);
    expect([refused.status, refused.json()]).toEqual([403, expect.objectContaining({ code: 'role_denied', request_id: expect.any(String) })]);
    expect((await records('request')).at(-1)).toMatchObject({ result: 'denied', reason: 'role_denied', id: 'Night Watch' });
    expect((await call(chen, 'POST', '/v1/deny', { ...denial, who: 'somebody else' })).status).toBe(400);
    expect((await call(chen, 'POST', '/v1/deny', denial)).json()).toEqual({ denied: true });
    expect((await records('revocation')).at(-1)).toMatchObject({ who: 'Chen Jing', fingerprint, detail: 'denied: laptop stolen' });
    expect((await call(chen, 'POST', '/v1/reinstate', { kind: 'fingerprint', fingerprint, reason: 'found again' })).json()).toEqual({ reinstated: true });
    expect((await records('administration')).at(-1)).toMatchObject({ who: 'Chen Jing', detail: 'POST /v1/reinstate: found again', listener: 'ops', request_id: expect.any(String) });
  });

  it('makes no change for another site\'s page, whatever certificate the browser lends it (CSRF)', async () => {
    const before = (await records('revocation')).length;
    for (const headers of [{ origin: 'https://evil.test' }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { 'content-type': 'text/plain' }, { 'content-type': 'application/x-www-form-urlencoded' }, { origin: 'null' }]) {
      expect((await call(chen, 'POST', '/v1/deny', denial, headers)).status).toBe(400);
    }
    expect((await call(chen, 'GET', '/v1/status', undefined, { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'script' })).status).toBe(400);
    expect((await call(chen, 'OPTIONS', '/v1/deny', undefined, { origin: 'https://evil.test', 'access-control-request-method': 'POST' })).headers['access-control-allow-origin']).toBeUndefined();
    expect((await records('revocation')).length).toBe(before);
    expect((await call(chen, 'POST', '/v1/concerned', { role: 'operator' }, { origin: `https://localhost:${port}`, 'sec-fetch-site': 'same-origin' })).status).toBe(200);
  });

  it('takes no more than 64 KiB, and says what is wrong with what it cannot read', async () => {
    expect((await call(chen, 'POST', '/v1/deny', { ...denial, reason: 'x'.repeat(70_000) })).status).toBe(413);
    expect((await call(chen, 'POST', '/v1/deny', { kind: 'fingerprint' })).json()).toMatchObject({ code: 'bad_request', status: 400, detail: expect.stringContaining('fingerprint') });
  });

  it('is not suspended with the clients\' listeners: who suspends must be able to resume', async () => {
    expect((await call(chen, 'POST', '/v1/suspend', { network: '127.0.0.0/8', reason: 'attack' })).json()).toEqual({ suspended: true });
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(503);
    expect((await call(chen, 'POST', '/v1/resume', { network: '127.0.0.0/8', reason: 'over' })).json()).toEqual({ resumed: true });
  });

  it('ends an operator\'s connection when the certificate is revoked, like any other', async () => {
    const leaver = await pki.issueClient({ subject: [['CN', 'Leaver'], ['OU', 'Operators']], eku: ['clientAuth'] });
    const socket = await openTls(pki, port, { client: leaver });
    socket.write('GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n');
    await once(socket, 'data');
    const closed = once(socket, 'close');
    socket.resume();
    expect((await call(chen, 'POST', '/v1/deny', { kind: 'identity', id: 'Leaver', reason: 'left' })).status).toBe(200);
    await closed;
    expect((await call(leaver, 'GET', '/v1/status')).status).toBe(403);
  });

  it('asks first who would cut off the own certificate, names the operators that others cut off, and does both where it is meant', async () => {
    const owner = await pki.issueClient({ subject: [['CN', 'Owner'], ['OU', 'Operators']], eku: ['clientAuth'] });
    const own = { kind: 'fingerprint', fingerprint: owner.sha256, reason: 'my own laptop' };
    const before = (await records('revocation')).length;
    expect((await call(owner, 'POST', '/v1/foresee', { kind: 'identity', id: 'Owner' })).json()).toMatchObject({ warnings: [expect.stringContaining('you would lose the admin listener')] });
    const isolation = { network: '127.0.0.0/8', reason: 'attack' };
    for (const [path, body] of [['/v1/deny', own], ['/v1/deny', { ...own, fingerprint: inOtherForm(pki, owner).sha256 }], ['/v1/isolate', isolation]] as const) {
      expect((await call(owner, 'POST', path, body)).json()).toMatchObject({ status: 409, code: 'own_certificate', detail: expect.stringContaining('"own": true') });
    }
    expect((await records('revocation')).length).toBe(before);
    expect((await call(chen, 'POST', '/v1/foresee', { kind: 'identity', id: 'Owner' })).json()).toMatchObject({ warnings: ['operators are among them, who would lose the admin listener: Owner'] });
    const printed: string[] = [];
    await revoke({ config: gateway.path('wardgate.yaml'), fingerprint: owner.sha256, reason: 'x', who: 'root' }, (text) => printed.push(text));
    expect(printed).toEqual([expect.stringMatching(/^denied .*\nWARNING        operators are among them, who would lose the admin listener: Owner$/)]);
    expect((await call(chen, 'POST', '/v1/reinstate', own)).status).toBe(200);
    // Its connection may end before its answer does.
    await call(owner, 'POST', '/v1/deny', { ...own, own: true }).catch(() => undefined);
    expect((await call(owner, 'GET', '/v1/status')).status).toBe(403);
  });

  it('serves the console\'s files and no others, each so that nothing foreign runs in them', async () => {
    const page = await call(chen, 'GET', '/');
    expect([page.status, page.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
    expect(page.headers['content-security-policy']).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self';.*frame-ancestors 'none'; require-trusted-types-for 'script'/);
    expect(page.body.toString()).not.toMatch(/<style|<script(?! src)|\son[a-z]+=/);
    expect((await call(chen, 'GET', '/console/uplot.js')).status).toBe(200);
    for (const path of ['/console/../api.ts', '/console/', '/console/words.ts', '/console/%2e%2e/call.ts']) expect([400, 404]).toContain((await call(chen, 'GET', path)).status);
  });

  it('shows records masked, newest first, with what it was itself asked left out, and holds the chain', async () => {
    await ask(pki, gateway.port, '/records/zhang-san', { client: pki.patient });
    const { records: shown, chain } = (await call(watch, 'GET', '/v1/records?result=denied')).json() as { records: Record<string, string>[]; chain: unknown };
    expect(shown[0]).toMatchObject({ reason: 'not_found', listener: 'clinical', subject: expect.stringMatching(/^CN=~/) });
    expect(JSON.stringify(shown)).not.toContain('zhang-san');
    expect(chain).toMatchObject({ lines: expect.any(Number), checkpoint: { number: expect.any(Number), signed: true }, failing: [] });
    const all = (await call(watch, 'GET', '/v1/records')).json()['records'] as Record<string, string>[];
    expect(all.filter(({ route, result }) => route === 'wardgate-admin' && result === 'permitted')).toEqual([]);
    const holding = async (text: string): Promise<number> => ((await call(watch, 'GET', `/v1/records?find=${encodeURIComponent(text)}`)).json()['records'] as unknown[]).filter((record) => (record as { listener?: string }).listener === 'clinical').length;
    expect(await holding('zhang-san')).toBe(1);
    // By parts of it whoever may look would spell out what is masked, letter by letter.
    expect(await Promise.all(['zhang-s', 'zhang', 'hang-san', '/records/z'].map(holding))).toEqual([0, 0, 0, 0]);
    expect(await holding('not_fou')).toBeGreaterThan(0);
  });

  it('explains a denial from its record as the gateway would decide now, and says so where it does not know the certificate', async () => {
    const { headers } = await ask(pki, gateway.port, '/records', { client: pki.unmapped });
    const explained = (await call(watch, 'GET', `/v1/explain?request_id=${String(headers['x-request-id'])}`)).json();
    expect(explained).toMatchObject({ record: { reason: 'no_role' }, certificate: 'known', now: { result: 'denied', reason: 'no_role', steps: expect.arrayContaining([expect.objectContaining({ rule: 'path', outcome: 'pass' }), expect.objectContaining({ rule: 'role', outcome: 'deny' })]) } });
    const anonymous = await ask(pki, gateway.port, '/records');
    expect((await call(watch, 'GET', `/v1/explain?request_id=${String(anonymous.headers['x-request-id'])}`)).json()).toMatchObject({ certificate: 'none', now: { result: 'denied', reason: 'no_certificate' } });
    expect((await call(watch, 'GET', '/v1/explain?request_id=nobody')).status).toBe(400);
    await gateway.gateway.reload();
    expect((await call(watch, 'GET', `/v1/explain?request_id=${String(headers['x-request-id'])}`)).json()).toMatchObject({ certificate: 'unknown' });
  });

  it('tells what happens as it happens, for as long as the certificate is good', async () => {
    const viewer = await pki.issueClient({ subject: [['CN', 'Viewer'], ['OU', 'Watch']], eku: ['clientAuth'] });
    const socket = await openTls(pki, port, { client: viewer });
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const closed = once(socket, 'close');
    const live = 'GET /v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n';
    socket.write(live);
    await expect.poll(() => text).toMatch(/content-type: text\/event-stream[\s\S]*event: history\ndata: \[/);
    await expect.poll(() => /\ndata: (\{.*"connections":.*\})/.exec(text)?.[1]).toContain('"role":"read_only"');
    // Of one certificate four, whichever form of its signature is shown, so that there are some for others.
    const status = async (client: Issued): Promise<string> => {
      const further = await openTls(pki, port, { client });
      further.write(live);
      return String((await once(further, 'data'))[0]).slice(9, 12);
    };
    expect([await status(viewer), await status(viewer), await status(viewer), await status(inOtherForm(pki, viewer)), await status(chen)]).toEqual(['200', '200', '200', '503', '200']);
    expect((await call(chen, 'POST', '/v1/deny', { kind: 'identity', id: 'Viewer', reason: 'left' })).status).toBe(200);
    await closed;
  });

  it('keeps no place for a stream whose client has left before it began', async () => {
    const hasty = await pki.issueClient({ subject: [['CN', 'Hasty'], ['OU', 'Watch']], eku: ['clientAuth'] });
    const live = 'GET /v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n';
    for (let times = 0; times < 36; times += 1) {
      const socket = await openTls(pki, port, { client: hasty });
      socket.write(live);
      // Some of them while it is asked what they are told first.
      await new Promise((leave) => (times % 3 === 0 ? setImmediate(leave) : setTimeout(leave, times % 4)));
      socket.destroy();
    }
    const open = async (): Promise<readonly string[]> => {
      const sockets = await Promise.all(Array.from({ length: 4 }, () => openTls(pki, port, { client: hasty })));
      const answers = await Promise.all(sockets.map(async (socket) => {
        socket.write(live);
        return String((await once(socket, 'data') as [Buffer])[0]).slice(9, 12);
      }));
      for (const socket of sockets) socket.destroy();
      return answers;
    };
    await expect.poll(open).toEqual(['200', '200', '200', '200']);
  });

  it('has calls that take long sixty times a minute for one certificate, and the others go on', async () => {
    const many = await pki.issueClient({ subject: [['CN', 'Many'], ['OU', 'Watch']], eku: ['clientAuth'] });
    const replies: Reply[] = [];
    while (replies.length < 61) replies.push(await call(many, 'GET', '/v1/records?result=done'));
    const late = replies.filter(({ status }) => status !== 200);
    expect(late.map(({ status, headers }) => [status, Number(headers['retry-after']) > 0])).toEqual([[429, true]]);
    expect([(await call(many, 'POST', '/v1/trust/preview', {})).status, (await call(many, 'GET', '/v1/records')).status, (await call(watch, 'GET', '/v1/records?result=done')).status]).toEqual([429, 200, 200]);
  });

  it('says what is wrong, the worst first, and who is asking', async () => {
    const overview = (await call(watch, 'GET', '/v1/overview')).json();
    expect(overview).toMatchObject({ caller: { who: 'Night Watch', role: 'read_only' }, problems: [], denied: expect.any(Number), connections: expect.any(Number) });
    const clients = (await call(watch, 'GET', '/v1/clients')).json()['clients'] as Record<string, unknown>[];
    expect(clients).toContainEqual(expect.objectContaining({ id: 'Night Watch', fingerprint: watch.sha256, connections: 1 }));
    expect((await call(watch, 'GET', `/v1/connections?fingerprint=${watch.sha256}`)).json()).toMatchObject({ connections: [{ listener: 'ops', role: 'read_only' }] });
    expect((await call(watch, 'GET', '/v1/revocation?find=left')).json()).toMatchObject({ sources: [{ kind: 'file', source: 'issuing.crl', entries: 1 }, { source: 'root.crl' }], deny_list: [{ id: 'Viewer', reason: 'left' }, { id: 'Leaver' }] });
    expect((await call(watch, 'GET', '/v1/upstreams')).json()).toMatchObject({ upstreams: [{ upstream: 'records', endpoints: [{ up: true }] }] });
  });

  it('is explained by the command with the roles that count there', async () => {
    await writeFile(gateway.path('chen.pem'), chen.chain);
    const told: string[] = [];
    const ask = { config: gateway.path('wardgate.yaml'), json: true, listener: 'ops', request: 'GET https://localhost/v1/status', address: '10.0.0.1' };
    expect(await explain({ ...ask, cert: gateway.path('chen.pem') }, (text) => told.push(text))).toBe(0);
    expect(await explain({ ...ask, cert: gateway.path('doctor.pem') }, (text) => told.push(text))).toBe(3);
    expect(told.map((text) => JSON.parse(text) as unknown)).toMatchObject([{ result: 'permitted' }, { result: 'denied', reason: 'no_role' }]);
  });

  it('takes other rights with a reload, from what is looked at over HTTP/2 as well, and gives none meanwhile', async () => {
    const session = await openHttp2(pki, port, { client: watch });
    const live = session.request({ ':path': '/v1/live', ':authority': `localhost:${port}` });
    await once(live.resume(), 'response');
    const ended = once(live, 'close');
    await gateway.configure(configuration(backend.port, { listeners: listener('clinical') + listener('ops', { clientAuth: REQUIRED }), roles: ROLES, routes: ROUTES, top: ADMIN.replace('OU: Watch', 'OU: Nobody'), threads: 1 }));
    expect((await call(chen, 'POST', '/v1/reload', { reason: 'the watch has ended' })).json()).toEqual({ reloaded: true });
    expect((await call(watch, 'GET', '/v1/status')).status).toBe(403);
    expect((await records('administration')).at(-1)).toMatchObject({ detail: 'POST /v1/reload: the watch has ended' });
    await ended;
    expect(live.rstCode).toBe(http2.NGHTTP2_CANCEL);
    session.destroy();
  });

  it('takes over no connection of clients when a listener becomes the operators\' by a reload: what they are called there may be a role here', async () => {
    const swapped = (top: string) => configuration(backend.port, { listeners: listener('clinical', { clientAuth: REQUIRED }) + listener('ops', { clientAuth: REQUIRED }), roles: ROLES, routes: ROUTES, top, threads: 1 });
    await gateway.configure(swapped(ADMIN));
    await gateway.gateway.reload();
    const socket = await openTls(pki, gateway.port, { client: pki.doctor });
    socket.write('GET /records HTTP/1.1\r\nhost: localhost\r\n\r\n');
    await once(socket, 'data');
    const closed = once(socket, 'close');
    socket.resume();
    await gateway.configure(swapped(ADMIN.replace('listener: ops', 'listener: clinical')));
    await gateway.gateway.reload();
    await closed;
    expect((await ask(pki, gateway.port, '/v1/status', { client: pki.doctor })).status).toBe(403);
    expect((await ask(pki, gateway.port, '/v1/status', { client: chen })).status).toBe(200);
    expect((await ask(pki, port, '/v1/status', { client: chen })).status).not.toBe(200);
    await gateway.configure(swapped(ADMIN));
    await gateway.gateway.reload();
  });

  it('says that the audit cannot be written, by HTTP/1.1 and HTTP/2, while clients are refused for it', async () => {
    for (const file of await readdir(gateway.path('state/audit'))) await rm(gateway.path(`state/audit/${file}`));
    const session = await openHttp2(pki, port, { client: chen });
    const problems = { problems: [{ severity: 'bad', code: 'audit_failing' }] };
    // The first finds out when its answer has come, and is cut.
    await ask(pki, gateway.port, '/records', { client: pki.doctor }).catch(() => undefined);
    for (let round = 0; round < 2; round++) {
      expect((await call(chen, 'GET', '/v1/overview')).json()).toMatchObject(problems);
      expect(JSON.parse((await askHttp2(session, '/v1/overview')).body.toString())).toMatchObject(problems);
      expect((await call(chen, 'GET', '/')).status).toBe(200);
    }
    session.destroy();
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(503);
  });

  it('gives back no right that cannot be put on record', async () => {
    const other = { kind: 'fingerprint', fingerprint: 'cd'.repeat(32) } as const;
    await gateway.gateway.deny({ ...other, reason: 'laptop stolen', who: 'test' }).catch(() => undefined);
    expect((await call(chen, 'POST', '/v1/reinstate', { ...other, reason: 'found' })).status).toBe(500);
    expect((await gateway.gateway.status()).deny_list).toContainEqual(expect.objectContaining(other));
  });

  it.each([
    ['admin: { listener: opps, roles: [{ role: operator, match: { subject: { OU: X } } }] }', /no listener named "opps"; known: clinical, ops/],
    ['admin: { listener: clinical, roles: [{ role: operator, match: { subject: { OU: X } } }] }', /mode: expected required/],
    ['admin: { listener: ops }', /admin\.listener: .*as it is nobody may/],
    ['admin: { roles: [{ role: operator, match: { subject: { OU: X } } }] }', /admin\.roles: expected the listener/],
    ['admin: { listener: ops, roles: [{ role: root, match: { subject: { OU: X } } }] }', /expected read_only or operator/],
  ])('is not configured in a way that would open it, or serve nobody: %s', async (top, fault) => {
    await gateway.configure(configuration(backend.port, { listeners: listener('clinical') + listener('ops', { clientAuth: REQUIRED }), roles: ROLES, routes: ROUTES, top, threads: 1 }));
    const loaded = await loadSnapshot(gateway.path('wardgate.yaml'), { now: Date.now() });
    expect(loaded.kind === 'invalid' ? loaded.issues.map(({ path, message }) => `${path}: ${message}`).join('\n') : 'good').toMatch(fault);
  });
});
