import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadSnapshot } from '../src/config/snapshot.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, configuration, listener, openTls, startGateway, type AskOptions, type Reply, type TestGateway } from './support/gateway.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

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

  it('takes other rights with a reload, and gives none meanwhile', async () => {
    await gateway.configure(configuration(backend.port, { listeners: listener('clinical') + listener('ops', { clientAuth: REQUIRED }), roles: ROLES, routes: ROUTES, top: ADMIN.replace('OU: Watch', 'OU: Nobody'), threads: 1 }));
    expect((await call(chen, 'POST', '/v1/reload', { reason: 'the watch has ended' })).json()).toEqual({ reloaded: true });
    expect((await call(watch, 'GET', '/v1/status')).status).toBe(403);
    expect((await records('administration')).at(-1)).toMatchObject({ detail: 'POST /v1/reload: the watch has ended' });
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
