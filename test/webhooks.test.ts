import { createHmac, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import { connect as connectHttp2 } from 'node:http2';
import type { SecureContextOptions } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { createGateway, type DenySubject } from '../src/gateway.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import { formatName } from '../src/pki/name.ts';
import { pemBlocks } from '../src/pki/pem.ts';
import { createWebhooks, type WebhooksOptions } from '../src/webhooks.ts';
import { listen } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, exchange, openTls, startGateway, type GatewayParts, type Reply, type TestGateway } from './support/gateway.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';
import { redisInstalled, startRedis } from './support/redis.ts';

const OLD_SECRET = 'a'.repeat(16) + 'old-secret-of-hr-system';
const SECRET = 'b'.repeat(16) + 'new-secret-of-hr-system';
const CMDB_SECRET = 'c'.repeat(16) + 'secret-of-the-cmdb-system';

let pki: TestPki;
let gateway: TestGateway;
let sockets: WebSocketServer;
let upstreamPort: number;
let close: () => void;

const PARTS: GatewayParts = {
  files: { 'hr.secret': `${SECRET}\n`, 'hr-old.secret': OLD_SECRET, 'cmdb.secret': `${CMDB_SECRET}\r\n` },
  roles: `
  - { role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }
  - { role: nurse, match: { subject: { OU: Nurses } }, id: "{subject.CN}" }
  - { role: staff, match: { subject: { OU: Consultants } }, id: "{subject.CN}", also: [doctor] }
  - { role: patient, match: { san: { uri: "urn:patient:*" } }, id: "{san.uri}" }
  - { role: device, match: { subject: { OU: Devices } }, id: "{san.dns}", bind: device }
  - { role: pump, match: { subject: { OU: Pumps } }, id: "{subject.CN}", bind: device }
  - { role: hr-system, match: { subject: { CN: HR } } }`,
  routes: `
  - { name: hr, match: { path: /hooks/hr }, allow: [public], webhook: hr }
  - { name: hr-tls, match: { path: /hooks/hr-tls, methods: [POST] }, allow: [hr-system], webhook: hr-tls }
  - { name: cmdb, match: { path: /hooks/cmdb, methods: [POST] }, allow: [public], webhook: cmdb }
  - { name: chart, match: { path: "/patients/:id" }, allow: [patient], upstream: records, patient: { path: id, id: "urn:patient:*" } }
  - { name: staff, match: { path: /staff }, allow: [staff], upstream: records }
  - { name: ward, match: { path: /ward/* }, allow: [nurse], upstream: records }
  - { name: records, match: { path: /records }, allow: [doctor], upstream: records }
  - { name: echo, match: { path: /echo/* }, allow: [doctor, nurse, patient, device, pump], upstream: records }`,
  top: `
devices: {}
webhooks:
  hr: { kind: hr, secrets: [hr.secret, hr-old.secret], roles: [doctor, nurse] }
  hr-tls: { kind: hr, roles: [doctor, nurse] }
  cmdb: { kind: cmdb, secrets: cmdb.secret }
metrics: { address: "127.0.0.1:0" }`,
};

beforeAll(async () => {
  pki = await testPki();
  const server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (_request, response) => response.end('hello'));
  sockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => sockets.handleUpgrade(request, socket, head, (webSocket) => webSocket.on('message', (data, binary) => webSocket.send(data, { binary }))));
  upstreamPort = await listen(server);
  close = () => server.close();
  gateway = await startGateway(pki, upstreamPort, PARTS);
});

afterAll(async () => {
  for (const client of sockets.clients) client.terminate();
  await gateway.stop();
  close();
});

interface Sending {
  readonly secret?: string;
  /** Seconds from now. */
  readonly offset?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly path?: string;
  readonly client?: Issued;
  readonly port?: number;
  /** Sent in the place of what was signed. */
  readonly sent?: string;
  readonly method?: string;
}

function signature(body: string, timestamp: string, secret: string): string {
  return `sha256=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`;
}

function send(event: object | string, { secret = SECRET, offset = 0, headers = {}, path = '/hooks/hr', client, port = gateway.port, sent, method = 'POST' }: Sending = {}): Promise<Reply> {
  const body = typeof event === 'string' ? event : JSON.stringify(event);
  const timestamp = String(Math.floor(Date.now() / 1_000) + offset);
  const signed = { 'content-type': 'application/json', 'wardgate-timestamp': timestamp, 'wardgate-signature': signature(body, timestamp, secret) };
  return ask(pki, port, path, { method, headers: { ...signed, ...headers }, body: sent ?? body, ...(client === undefined ? {} : { client }) });
}

const cmdb = (event: object, more: Sending = {}): Promise<Reply> => send(event, { secret: CMDB_SECRET, path: '/hooks/cmdb', ...more });
let tick = Date.now() - 3_600_000;
/** Each event is later than the one before. */
const told = (event: string, more: object = {}) => ({ id: randomUUID(), event, at: new Date(tick += 1_000).toISOString(), reason: 'a test', ...more });
const echo = async (client: Issued, port = gateway.port): Promise<readonly unknown[]> => {
  const reply = await ask(pki, port, '/echo/x', { client });
  return reply.status === 200 ? [200] : [reply.status, reply.json()['code']];
};
const person = (name: string, unit = 'Doctors'): Promise<Issued> => pki.issueClient({ subject: [['CN', name], ['OU', unit]] });

function certificateOf(issued: Issued): { readonly issuer: string; readonly serial: string; readonly key: string } {
  const { issuer, serial, spkiSha256 } = parseCertificate(issued.der);
  return { issuer: formatName(issuer), serial, key: spkiSha256 };
}

function openWebSocket(client: Issued, path = '/echo/ws'): WebSocket {
  const options: ClientOptions & SecureContextOptions & { servername: string } = {
    servername: 'localhost', headers: { host: 'localhost' }, ca: pki.root.certificate, cert: client.chain, key: client.key,
  };
  return new WebSocket(`wss://127.0.0.1:${gateway.port}${path}`, [], options);
}

describe('an event', () => {
  it.each<[string, Sending, number]>([
    ['signed with another secret', { secret: 'x'.repeat(40) }, 401],
    ['signed with the secret of another webhook', { secret: CMDB_SECRET }, 401],
    ['without a signature', { headers: { 'wardgate-signature': '' } }, 401],
    ['with half a signature', { headers: { 'wardgate-signature': 'sha256=abcd' } }, 401],
    ['with its signature in another form', { headers: { 'wardgate-signature': 'md5=00' } }, 401],
    ['whose time is no time', { headers: { 'wardgate-timestamp': 'now' } }, 401],
    ['whose time is not the one that was signed', { headers: { 'wardgate-timestamp': String(Math.floor(Date.now() / 1_000) + 200) } }, 401],
    ['that is stale', { offset: -301 }, 401],
    ['from the future', { offset: 330 }, 401],
    ['that was changed on its way', { sent: '{"id":"x","event":"leave","at":"2026-11-22T09:00:00Z","person":"Dr Wang"}' }, 401],
  ])('%s is refused, and nothing is told', async (_name, sending, status) => {
    const reply = await send(told('leave', { person: 'Dr Wang' }), sending);
    expect([reply.status, reply.json()['code'], reply.json()['detail']]).toEqual([status, 'invalid_token', undefined]);
    expect(await echo(pki.doctor)).toEqual([200]);
    const id = reply.json()['request_id'];
    await expect.poll(async () => (await gateway.records()).find((record) => record['request_id'] === id))
      .toMatchObject({ result: 'denied', reason: /stale|future/.test(_name) ? 'webhook_stale' : 'webhook_signature', route: 'hr', status });
  });

  it('is taken with the old secret as well while the two change, and with several signatures', async () => {
    expect((await send(told('return', { person: 'nobody' }), { secret: OLD_SECRET })).status).toBe(200);
    const event = JSON.stringify(told('return', { person: 'nobody' }));
    const timestamp = String(Math.floor(Date.now() / 1_000));
    const both = `${signature(event, timestamp, 'x'.repeat(40))}, ${signature(event, timestamp, SECRET)}`;
    expect((await send(event, { headers: { 'wardgate-timestamp': timestamp, 'wardgate-signature': both } })).status).toBe(200);
  });

  it.each<[string, object | string, Sending, string]>([
    ['that is not JSON', 'leave Dr Wang', {}, 'expected JSON in UTF-8'],
    ['that is no mapping', '[]', {}, 'expected'],
    ['of another system', { id: 'x', event: 'scrap', at: '2026-11-22T09:00:00Z', device: 'y' }, {}, 'event: expected leave, return or transfer'],
    ['with a key too many', { id: 'x', event: 'leave', at: '2026-11-22T09:00:00Z', person: 'y', everybody: true }, {}, 'everybody: unknown key'],
    ['without a person', { id: 'x', event: 'leave', at: '2026-11-22T09:00:00Z' }, {}, 'person: required'],
    ['without its time zone', { id: 'x', event: 'leave', at: '2026-11-22T09:00:00', person: 'y' }, {}, 'at: expected a time'],
    ['of before anything could be told', { id: 'x', event: 'leave', at: '0000-01-01T00:00:00+23:59', person: 'y' }, {}, 'at: expected a time'],
    ['of a year of five digits', { id: 'x', event: 'leave', at: '9999-12-31T23:59:59-23:59', person: 'y' }, {}, 'at: expected a time'],
    ['that has yet to happen', { id: 'x', event: 'leave', at: '2099-01-01T00:00:00Z', person: 'y' }, {}, 'at: expected a time that is not ahead of now'],
    ['that gives a role it may not give', { id: 'x', event: 'transfer', at: '2026-11-22T09:00:00Z', person: 'y', roles: ['device'] }, {}, 'roles: "device" is none of the roles'],
    ['that is not posted', { id: 'x', event: 'leave', at: '2026-11-22T09:00:00Z', person: 'y' }, { method: 'PUT' }, 'expected POST'],
  ])('%s is refused, and its sender told why', async (_name, event, sending, detail) => {
    const reply = await send(event, sending);
    expect([reply.status, reply.json()['code']]).toEqual([400, 'bad_request']);
    expect(reply.json()['detail']).toContain(detail);
  });

  it('that is too large is not read', async () => {
    const reply = await send({ ...told('leave', { person: 'y' }), reason: 'x'.repeat(70_000) });
    expect([reply.status, reply.json()['code']]).toEqual([413, 'body_too_large']);
  });

  it('is taken by HTTP/2 as well', async () => {
    const nurse = await person('Nurse H2', 'Nurses');
    expect(await echo(nurse)).toEqual([200]);
    const body = JSON.stringify(told('leave', { person: 'Nurse H2' }));
    const timestamp = String(Math.floor(Date.now() / 1_000));
    const session = connectHttp2(`https://localhost:${gateway.port}`, { ca: pki.root.certificate });
    const stream = session.request({ ':method': 'POST', ':path': '/hooks/hr', 'wardgate-timestamp': timestamp, 'wardgate-signature': signature(body, timestamp, SECRET) });
    stream.end(body);
    let text = '';
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    await once(stream, 'end');
    session.close();
    expect(JSON.parse(text)).toMatchObject({ result: 'applied' });
    expect(await echo(nurse)).toEqual([403, 'certificate_rejected']);
  });

  it('that comes as a WebSocket is malformed, by anybody, and no upstream seems to have failed', async () => {
    const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
    const socket = await openTls(pki, gateway.port);
    expect(await exchange(socket, `GET /hooks/hr HTTP/1.1\r\nHost: localhost\r\n${upgrade}\r\n`)).toMatch(/^HTTP\/1\.1 400 /);
    const session = connectHttp2(`https://localhost:${gateway.port}`, { ca: pki.root.certificate });
    await once(session, 'remoteSettings');
    const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/hooks/hr', ':authority': 'localhost', 'sec-websocket-version': '13' });
    expect((await once(stream, 'response'))[0]).toMatchObject({ ':status': 400 });
    session.destroy();
    await expect.poll(async () => (await gateway.records()).filter(({ detail }) => detail === 'a WebSocket to what the gateway answers itself').map(({ reason, status }) => [reason, status]))
      .toEqual([['bad_request', 400], ['bad_request', 400]]);
  });
});

describe('a webhook with certificates', () => {
  it('takes events of a client with the role, and of nobody else', async () => {
    const hr = await pki.issueClient({ subject: [['CN', 'HR']] });
    const event = told('leave', { person: 'Dr Tls' });
    const doctor = await person('Dr Tls');
    expect((await send(event, { path: '/hooks/hr-tls', client: pki.doctor })).json()).toMatchObject({ status: 403, code: 'role_denied' });
    expect((await send(event, { path: '/hooks/hr-tls' })).json()).toMatchObject({ status: 401, code: 'certificate_required' });
    expect(await echo(doctor)).toEqual([200]);
    expect((await send(event, { path: '/hooks/hr-tls', client: hr, headers: { 'wardgate-signature': 'none' } })).json()).toEqual({ id: event.id, result: 'applied' });
    expect(await echo(doctor)).toEqual([403, 'certificate_rejected']);
  });
});

describe('leaving', () => {
  it('revokes every certificate of the person, seen or not, and ends what is open', async () => {
    const [one, other] = await Promise.all([person('Dr Gone'), person('Dr Gone')]);
    const kept = await openTls(pki, gateway.port, { client: one });
    await exchange(kept, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'));
    const stream = openWebSocket(one);
    await once(stream, 'open');
    const ended = Promise.all([once(kept, 'close'), once(stream, 'close')]);
    const event = told('leave', { person: ['dr  gone', 'E-4711'] });
    expect((await send(event)).json()).toEqual({ id: event.id, result: 'applied' });
    await ended;
    expect(await echo(one)).toEqual([403, 'certificate_rejected']);
    expect(await echo(other)).toEqual([403, 'certificate_rejected']);
    expect(await echo(await person('Dr Gone'))).toEqual([403, 'certificate_rejected']);
    const records = await gateway.records();
    expect(records.find((record) => record['event'] === 'webhook' && String(record['detail']).includes(event.id))).toMatchObject({ result: 'done', who: 'webhook hr', detail: `leave ${event.id} applied: dr  gone, E-4711: a test` });
    expect(records).toContainEqual(expect.objectContaining({ event: 'revocation', who: 'webhook hr', id: 'dr  gone', detail: 'denied: a test' }));
  });

  it('is undone by returning, and a late event changes nothing', async () => {
    const doctor = await person('Dr Back');
    const [left, back] = [told('leave', { person: 'Dr Back' }), told('return', { person: 'Dr Back' })];
    const later = told('leave', { person: 'Dr Back' });
    expect((await send(left)).json()).toMatchObject({ result: 'applied' });
    expect(await echo(doctor)).toEqual([403, 'certificate_rejected']);
    expect((await send(back)).json()).toMatchObject({ result: 'applied' });
    expect(await echo(doctor)).toEqual([200]);
    expect((await send({ ...left, id: randomUUID() })).json()).toMatchObject({ result: 'superseded' });
    expect(await echo(doctor)).toEqual([200]);
    expect((await send(later)).json()).toMatchObject({ result: 'applied' });
    expect(await echo(doctor)).toEqual([403, 'certificate_rejected']);
  });

  it('that arrives after the return it came before changes nothing', async () => {
    const doctor = await person('Dr Order');
    const [left, back] = [told('leave', { person: 'Dr Order' }), told('return', { person: 'Dr Order' })];
    expect((await send(back)).json()).toMatchObject({ result: 'applied' });
    expect((await send(left)).json()).toMatchObject({ result: 'superseded' });
    expect(await echo(doctor)).toEqual([200]);
  });

  it('is not undone by a return from before it, which is told so', async () => {
    const doctor = await person('Dr Late');
    const [back, left] = [told('return', { person: 'Dr Late' }), told('leave', { person: 'Dr Late' })];
    expect((await send(left)).json()).toMatchObject({ result: 'applied' });
    expect((await send(back)).json()).toMatchObject({ result: 'superseded' });
    expect(await echo(doctor)).toEqual([403, 'certificate_rejected']);
  });

  it('can be undone by hand, and revoking by id by hand is another thing', async () => {
    const doctor = await person('Dr Hand');
    const config = ['-c', gateway.path('wardgate.yaml')];
    await send(told('leave', { person: 'Dr Hand' }));
    expect(await echo(doctor)).toEqual([403, 'certificate_rejected']);
    expect((await wardgate(['reinstate', ...config, '--id', 'Dr Hand'])).code).toBe(0);
    expect(await echo(doctor)).toEqual([200]);
    expect((await wardgate(['revoke', ...config, '--id', 'DR HAND', '--reason', 'test', '--expires', '1h'])).stdout).toContain('every certificate of the id DR HAND');
    expect(await echo(doctor)).toEqual([403, 'certificate_rejected']);
    // A denial by hand that ends by itself must not take the place of one that does not.
    expect((await send({ ...told('leave', { person: 'Dr Hand' }), at: new Date(Date.now() + 1_000).toISOString() })).json()).toMatchObject({ result: 'applied' });
    const { deny_list: denied } = await gateway.gateway.status();
    expect(denied.filter((entry) => 'id' in entry && entry.id.toLowerCase() === 'dr hand').map(({ kind }) => kind)).toEqual(['identity', 'departed']);
  });
});

describe('a transfer', () => {
  it('changes what a person may do on every thread, at once on what is open, until they return', async () => {
    const doctor = await person('Dr Move');
    const stream = openWebSocket(doctor);
    await once(stream, 'open');
    const records = async () => (await ask(pki, gateway.port, '/records', { client: doctor })).status;
    const ward = async () => (await ask(pki, gateway.port, '/ward/x', { client: doctor })).status;
    expect([await records(), await ward()]).toEqual([200, 403]);
    expect((await send(told('transfer', { person: 'Dr Move', roles: ['nurse'] }))).json()).toMatchObject({ result: 'applied' });
    for (let times = 0; times < 6; times++) expect([await records(), await ward()]).toEqual([403, 200]);
    expect((await gateway.records()).findLast((record) => record['path'] === '/ward/x' && record['result'] === 'permitted')).toMatchObject({ role: 'nurse', id: 'Dr Move' });
    stream.send('a nurse may, too');
    expect(String((await once(stream, 'message'))[0])).toBe('a nurse may, too');
    stream.terminate();
    expect((await send(told('return', { person: 'Dr Move' }))).json()).toMatchObject({ result: 'applied' });
    expect([await records(), await ward()]).toEqual([200, 403]);
  });

  it('ends streams that the new role does not allow', async () => {
    const nurse = await person('Nurse Move', 'Nurses');
    const stream = openWebSocket(nurse, '/ward/ws');
    await once(stream, 'open');
    const closed = once(stream, 'close');
    await send(told('transfer', { person: 'Nurse Move', roles: ['doctor'] }));
    await closed;
  });

  it('leaves whoever has further roles none but those it gives', async () => {
    const both = await person('Dr Both', 'Consultants');
    const statusOf = async (path: string) => (await ask(pki, gateway.port, path, { client: both })).status;
    expect([await statusOf('/records'), await statusOf('/staff')]).toEqual([200, 200]);
    await send(told('transfer', { person: 'Dr Both', roles: ['nurse'] }));
    expect([await statusOf('/records'), await statusOf('/staff'), await statusOf('/ward/x')]).toEqual([403, 403, 200]);
  });

  it('means nobody whose certificate gives another role than those the webhook deals with', async () => {
    expect((await send(told('transfer', { person: 'urn:patient:1001', roles: ['doctor'] }))).json()).toMatchObject({ result: 'applied' });
    expect((await ask(pki, gateway.port, '/records', { client: pki.patient })).status).toBe(403);
    expect(await echo(pki.patient)).toEqual([200]);
  });
});

describe('a device', () => {
  const pump = (name: string): Promise<Issued> => person(name, 'Pumps');

  it('is registered, changed, removed and scrapped, each in force at once', async () => {
    const [one, other] = await Promise.all([pump('pump-1'), pump('pump-1')]);
    expect(await echo(one)).toEqual([403, 'role_denied']);
    expect((await cmdb(told('register', { device: { id: 'pump-1', networks: '127.0.0.0/8' } }))).json()).toMatchObject({ result: 'applied' });
    expect(await echo(one)).toEqual([200]);
    expect((await cmdb(told('update', { device: { id: 'pump-1', networks: '10.0.0.0/8' } }))).json()).toMatchObject({ result: 'applied' });
    expect(await echo(one)).toEqual([403, 'role_denied']);
    expect((await cmdb(told('remove', { device: 'pump-1' }))).json()).toMatchObject({ result: 'applied' });
    expect(await echo(one)).toEqual([403, 'role_denied']);
    await cmdb(told('register', { device: { id: 'pump-1', fingerprint: one.sha256 } }));
    expect([await echo(one), await echo(other)]).toEqual([[200], [403, 'role_denied']]);
    const stream = openWebSocket(one);
    await once(stream, 'open');
    const closed = once(stream, 'close');
    expect((await cmdb(told('scrap', { device: 'pump-1' }))).json()).toMatchObject({ result: 'applied' });
    await closed;
    expect([await echo(one), await echo(other)]).toEqual([[403, 'certificate_rejected'], [403, 'certificate_rejected']]);
    const { deny_list: denied } = await gateway.gateway.status();
    expect(denied.filter(({ who }) => who === 'webhook cmdb')).toMatchObject([{ kind: 'fingerprint', fingerprint: one.sha256 }, { kind: 'departed', id: 'pump-1' }]);
    expect((await cmdb(told('scrap', { device: 'pump-1' }))).json()).toMatchObject({ result: 'applied' });
    expect((await cmdb({ ...told('scrap', { device: 'pump-1' }), at: '2026-01-01T00:00:00Z' })).json()).toMatchObject({ result: 'superseded' });
  });

  it('that is scrapped stays so, whatever is told of it late or later', async () => {
    const before = told('update', { device: { id: 'pump-2' } });
    await cmdb(told('register', { device: { id: 'pump-2' } }));
    const early = { ...told('scrap', { device: 'pump-2' }), at: '2026-01-01T00:00:00Z' };
    expect((await cmdb(early)).json()).toMatchObject({ result: 'applied' });
    for (const event of [before, told('update', { device: { id: 'PUMP-2' } })]) {
      const reply = await cmdb(event);
      expect([reply.status, reply.json()['code']]).toEqual([409, 'conflict']);
    }
    expect(await echo(await pump('pump-2'))).toEqual([403, 'certificate_rejected']);
  });

  it('is told as strictly as an inventory is written', async () => {
    const reply = await cmdb(told('register', { device: { id: 'pump-3', networks: '10.0.0.1/8' } }));
    expect(reply.json()).toMatchObject({ status: 400, detail: expect.stringContaining('device.networks: expected a network') });
  });
});

describe('what a webhook may not tell of', () => {
  it('is patients and devices, for HR', async () => {
    const pump = await person('pump-hr', 'Pumps');
    await cmdb(told('register', { device: { id: 'pump-hr' } }));
    expect((await send(told('leave', { person: ['urn:patient:1001', 'pump-hr'] }))).json()).toMatchObject({ result: 'applied' });
    expect([await echo(pki.patient), await echo(pump)]).toEqual([[200], [200]]);
    await send(told('return', { person: ['urn:patient:1001', 'pump-hr'] }));
  });

  it('is persons, for a CMDB', async () => {
    expect((await cmdb(told('scrap', { device: 'Dr Wang' }))).json()).toMatchObject({ result: 'applied' });
    expect(await echo(pki.doctor)).toEqual([200]);
  });

  it('does not keep a leaver in who has the id of a device, nor the device out', async () => {
    const [doctor, pump] = await Promise.all([person('pump-both'), person('pump-both', 'Pumps')]);
    await cmdb(told('register', { device: { id: 'pump-both' } }));
    const kept = await openTls(pki, gateway.port, { client: doctor });
    await exchange(kept, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'));
    const ended = once(kept, 'close');
    await send(told('leave', { person: 'pump-both' }));
    await ended;
    expect([await echo(doctor), await echo(pump)]).toEqual([[403, 'certificate_rejected'], [200]]);
  });

  it('is the other\'s: nobody returns from being scrapped', async () => {
    const pump = await person('pump-return', 'Pumps');
    await cmdb(told('scrap', { device: 'pump-return' }));
    expect(await echo(pump)).toEqual([403, 'certificate_rejected']);
    await send(told('return', { person: 'pump-return' }));
    expect(await echo(pump)).toEqual([403, 'certificate_rejected']);
    expect(await gateway.gateway.reinstate({ kind: 'identity', id: 'pump-return' }, 'a test')).toBe(true);
    // The device is scrapped all the same.
    expect(await echo(pump)).toEqual([403, 'role_denied']);
  });

  it('ends everything that it is to end, and nobody is kept in by what cannot be kept of another: the disk is full', async () => {
    const ended: unknown[] = [];
    const full = (what: unknown): Promise<never> => {
      ended.push(what);
      return Promise.reject(new Error('ENOSPC'));
    };
    const append = (): never => {
      throw new Error('ENOSPC');
    };
    const options = {
      config: () => ({ webhooks: {} }), denials: { deny: ({ fingerprint }: { fingerprint: string }) => full(fingerprint), take: ({ id }: { id: string }) => full(id) }, denyList: { denies: () => false },
      devices: { last: () => undefined, isNews: () => true, latest: () => [], append }, events: { claim: () => Promise.resolve('free') }, now: () => Date.now(), count: () => undefined, failed: () => undefined,
      deviceOf: (id: string) => ({ id, fingerprints: ['one', 'two'], keys: [], serials: [], users: [] }),
    };
    const webhooks = createWebhooks(options as unknown as WebhooksOptions);
    const take = (event: object): Promise<unknown> => webhooks.take({ webhook: 'x', event, requestId: 'x' } as unknown as Parameters<typeof webhooks.take>[0]);
    await expect(take(told('leave', { persons: ['Dr One', 'Dr Two'] }))).rejects.toThrow('ENOSPC');
    await expect(take(told('scrap', { device: 'pump' }))).rejects.toThrow('ENOSPC');
    expect(ended).toEqual(['Dr One', 'Dr Two', 'one', 'two', 'pump']);
  });

  it('is certificates that are no device\'s, whatever is registered with them', async () => {
    const doctor = await person('Dr Innocent');
    const { issuer, serial, key } = certificateOf(doctor);
    const root = parseCertificate(pemBlocks(pki.root.certificate, 'CERTIFICATE')[0]?.der ?? new Uint8Array());
    const devices = [{ fingerprint: doctor.sha256 }, { key }, { serial, issuer }, { key: root.spkiSha256 }, { fingerprint: root.sha256 }];
    for (const [index, registered] of devices.entries()) {
      expect((await cmdb(told('register', { device: { id: `innocent-${index}`, ...registered } }))).json()).toMatchObject({ result: 'applied' });
      expect((await cmdb(told('scrap', { device: `innocent-${index}` }))).json()).toMatchObject({ result: 'applied' });
      expect(await echo(doctor)).toEqual([200]);
    }
  });

  it.each(['fingerprint', 'key', 'serial'] as const)('is not a device\'s own certificate, by its %s', async (by) => {
    const pump = await person(`pump-by-${by}`, 'Pumps');
    const { issuer, serial, key } = certificateOf(pump);
    await cmdb(told('register', { device: { id: `asset-${by}`, ...{ fingerprint: { fingerprint: pump.sha256 }, key: { key }, serial: { serial, issuer } }[by] } }));
    expect(await echo(pump)).toEqual([200]);
    await cmdb(told('scrap', { device: `asset-${by}` }));
    expect(await echo(pump)).toEqual([403, 'certificate_rejected']);
    // Back by hand, and scrapped in the inventory all the same.
    const normalized = parseCertificate(pump.der).issuer.normalized;
    const subject = { fingerprint: { kind: by, fingerprint: pump.sha256 }, key: { kind: by, key }, serial: { kind: by, serial, issuer: normalized, issuer_text: issuer } }[by] as DenySubject;
    expect(await gateway.gateway.reinstate(subject, 'a test')).toBe(true);
    expect(await echo(pump)).toEqual([403, 'role_denied']);
  });

  it('does not depend on the roles that somebody was transferred to', async () => {
    const doctor = await person('Dr Transferred');
    await send(told('transfer', { person: 'Dr Transferred', roles: ['nurse'] }));
    await send(told('leave', { person: 'Dr Transferred' }));
    expect(await echo(doctor)).toEqual([403, 'certificate_rejected']);
  });
});

describe('a deny list of before', () => {
  const line = (more: object) => `${JSON.stringify({ op: 'deny', kind: 'departed', reason: 'a test', at: '2026-01-01T00:00:00.000Z', ...more })}\n`;

  async function restarted(list: string): Promise<{ readonly kept: TestGateway; readonly again: Awaited<ReturnType<typeof createGateway>>; readonly port: number }> {
    const kept = await startGateway(pki, upstreamPort, PARTS);
    await kept.gateway.stop(0);
    await writeFile(kept.path('state/denylist.jsonl'), list);
    const again = await createGateway({ config: kept.path('wardgate.yaml') });
    return { kept, again, port: again.listeners[0]?.port ?? 0 };
  }

  it('holds for everybody, and who left by it may return', async () => {
    const { kept, again, port } = await restarted(line({ id: 'Dr Gone', who: 'webhook hr' }) + line({ id: 'pump-old', who: 'webhook cmdb' }));
    const [gone, doctor] = await Promise.all([person('Dr Gone'), person('pump-old')]);
    expect([await echo(gone, port), await echo(doctor, port)]).toEqual([[403, 'certificate_rejected'], [403, 'certificate_rejected']]);
    await send(told('return', { person: ['Dr Gone', 'pump-old'] }), { port });
    expect([await echo(gone, port), await echo(doctor, port)]).toEqual([[200], [403, 'certificate_rejected']]);
    await again.stop(0);
    await rm(kept.directory, { recursive: true, force: true });
  });

  it('that one kind of system has filled its share of has room for the other, and for hands', async () => {
    const { kept, again, port } = await restarted(Array.from({ length: 36_864 }, (_, index) => line({ id: `invented-${index}`, who: 'webhook hr', told_by: 'hr' })).join(''));
    const event = told('leave', { person: 'Dr Late' });
    const reply = await send(event, { port });
    expect([reply.status, reply.json()['code']]).toEqual([503, 'overloaded']);
    expect(await (await fetch(`http://127.0.0.1:${again.metrics?.port}/metrics`)).text()).toContain('wardgate_webhook_events_total{webhook="hr",result="failed"} 1');
    expect((await cmdb(told('scrap', { device: 'pump-late' }), { port })).json()).toMatchObject({ result: 'applied' });
    await again.deny({ kind: 'identity', id: 'Dr Late', reason: 'a test', who: 'a test' });
    expect(await echo(await person('Dr Late'), port)).toEqual([403, 'certificate_rejected']);
    // What is given back makes room.
    expect((await send(told('return', { person: 'invented-7' }), { port })).json()).toMatchObject({ result: 'applied' });
    expect((await send(event, { port })).json()).toMatchObject({ result: 'applied' });
    await again.stop(0);
    await rm(kept.directory, { recursive: true, force: true });
  });
});

describe('the same event again', () => {
  it('is a duplicate, also when it is signed anew, and another under its id is a conflict', async () => {
    const event = told('leave', { person: 'Dr Twice' });
    expect((await send(event)).json()).toEqual({ id: event.id, result: 'applied' });
    expect((await send(event)).json()).toEqual({ id: event.id, result: 'duplicate' });
    expect((await send(event, { offset: -60 })).json()).toEqual({ id: event.id, result: 'duplicate' });
    const other = await send({ ...event, person: 'Dr Else' });
    expect([other.status, other.json()['code']]).toEqual([409, 'conflict']);
    expect(await echo(await person('Dr Else'))).toEqual([200]);
    const text = await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
    expect(text).toMatch(/wardgate_webhook_events_total\{webhook="hr",result="duplicate"\} 2/);
    expect(text).toMatch(/wardgate_webhook_events_total\{webhook="hr",result="conflict"\} 1/);
  });

  it('by two connections at once is applied once', async () => {
    const event = told('leave', { person: 'Dr Race' });
    const results = await Promise.all(Array.from({ length: 8 }, async () => (await send(event)).json()['result']));
    expect(results.toSorted()).toEqual(['applied', ...Array.from({ length: 7 }, () => 'duplicate')]);
  });
});

describe('what was told', () => {
  it('is known after a restart: persons, roles, devices, and the events themselves', async () => {
    const kept = await startGateway(pki, upstreamPort, PARTS);
    const { port } = kept;
    const [gone, moved, pump] = await Promise.all([person('Dr Gone'), person('Dr Moved'), person('pump-9', 'Pumps')]);
    const left = told('leave', { person: 'Dr Gone' });
    await send(left, { port });
    await send(told('transfer', { person: 'Dr Moved', roles: ['nurse'] }), { port });
    await cmdb(told('register', { device: { id: 'pump-9' } }), { port });
    await kept.gateway.stop(0);
    const again = await createGateway({ config: kept.path('wardgate.yaml') });
    const at = again.listeners[0]?.port ?? 0;
    expect(await echo(gone, at)).toEqual([403, 'certificate_rejected']);
    expect((await ask(pki, at, '/ward/x', { client: moved })).status).toBe(200);
    expect(await echo(pump, at)).toEqual([200]);
    expect((await send(left, { port: at })).json()).toMatchObject({ result: 'duplicate' });
    await again.stop(0);
    await rm(kept.directory, { recursive: true, force: true });
  });

  it('keeps no secret in the state directory', async () => {
    const names = ['webhook-events.jsonl', 'transfers.jsonl', 'devices.jsonl', 'denylist.jsonl'];
    const texts = await Promise.all(names.map((name) => readFile(gateway.path(`state/${name}`), 'utf8')));
    expect(texts.some((text) => text.includes(SECRET) || text.includes(CMDB_SECRET))).toBe(false);
  });
});

describe('check', () => {
  it('refuses two webhooks that have a secret in common, in whatever file: each would take events that were captured on their way to the other', async () => {
    const yaml = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    // The same but for its line end.
    await writeFile(gateway.path('copy.secret'), SECRET, { mode: 0o600 });
    await writeFile(gateway.path('shared.yaml'), yaml.replace('secrets: cmdb.secret', 'secrets: [cmdb.secret, copy.secret]'));
    const run = await wardgate(['check', '-c', gateway.path('shared.yaml')]);
    expect([run.code, run.stdout]).toEqual([1, expect.stringMatching(/^\S+shared\.yaml:\d+:\d+: webhooks\.cmdb\.secrets: "copy\.secret" holds a secret of the webhook hr, too: each would take what was signed for the other\n$/)]);
  });
});

describe('explain', () => {
  it('tells of transfers, and of devices that were told', async () => {
    const write = async (name: string, issued: Issued): Promise<string> => {
      await writeFile(gateway.path(name), issued.chain);
      return gateway.path(name);
    };
    const [doctor, pump] = await Promise.all([person('Dr Explained'), person('pump-explained', 'Pumps')]);
    await send(told('transfer', { person: 'Dr Explained', roles: ['nurse'] }));
    await cmdb(told('register', { device: { id: 'pump-explained', location: 'Ward 4' } }));
    const asked = async (file: string, path: string) => wardgate(['explain', '-c', gateway.path('wardgate.yaml'), '--cert', file, '--request', `GET https://localhost${path}`]);
    const [one, other] = await Promise.all([asked(await write('explained.pem', doctor), '/ward/x'), asked(await write('pump.pem', pump), '/echo/x')]);
    expect([one.code, other.code]).toEqual([0, 0]);
    expect(one.stdout).toContain('nurse, since a webhook told so');
    expect(other.stdout).toContain('pump-explained, Ward 4');
  });
});

if (!redisInstalled) console.log('skipped: what replicas are told in webhooks.test.ts needs redis-server');

describe.skipIf(!redisInstalled)('gateways that share a store', () => {
  it('all know within seconds what one of them was told, and that it was', async () => {
    const redis = await startRedis();
    const top = `${PARTS.top ?? ''}\nstore: { redis: "redis://127.0.0.1:${redis.port}" }`;
    const [one, other] = await Promise.all([startGateway(pki, upstreamPort, { ...PARTS, top }), startGateway(pki, upstreamPort, { ...PARTS, top })]);
    for (const { gateway: either } of [one, other]) await expect.poll(async () => (await either.status()).store?.synchronized_at).toBeDefined();
    const [gone, moved, pump] = await Promise.all([person('Dr Gone'), person('Dr Moved'), person('pump-9', 'Pumps')]);
    const left = told('leave', { person: 'Dr Gone' });
    const started = Date.now();
    await send(left, { port: one.port });
    await send(told('transfer', { person: 'Dr Moved', roles: ['nurse'] }), { port: one.port });
    await cmdb(told('register', { device: { id: 'pump-9' } }), { port: one.port });
    await expect.poll(() => echo(gone, other.port)).toEqual([403, 'certificate_rejected']);
    await expect.poll(async () => (await ask(pki, other.port, '/ward/x', { client: moved })).status).toBe(200);
    await expect.poll(() => echo(pump, other.port)).toEqual([200]);
    expect(Date.now() - started).toBeLessThan(10_000);
    // Sent again to the other one, as a sender does that had no answer.
    expect((await send(left, { port: other.port })).json()).toMatchObject({ result: 'duplicate' });
    expect((await send({ ...left, person: 'Dr Else' }, { port: other.port })).status).toBe(409);
    // Different events under one id, to both at the same moment: one of them is taken, wherever it came.
    const race = async (index: number): Promise<readonly unknown[]> => {
      const event = told('leave', { person: `Dr Left ${index}` });
      const replies = await Promise.all([send(event, { port: one.port }), send({ ...event, person: `Dr Right ${index}` }, { port: other.port })]);
      return replies.map((reply) => reply.json()['result'] ?? reply.json()['code']).toSorted();
    };
    for (const results of await Promise.all(Array.from({ length: 8 }, (_, index) => race(index)))) expect(results).toEqual(['applied', 'conflict']);
    // An id under which nothing was done is free for the event as it should have been.
    const wrong = told('transfer', { person: 'Dr Moved', roles: ['staff'] });
    expect((await send(wrong, { port: one.port })).status).toBe(400);
    expect((await send({ ...wrong, roles: ['doctor'] }, { port: other.port })).json()).toMatchObject({ result: 'applied' });
    await cmdb(told('scrap', { device: 'pump-9' }), { port: other.port });
    await expect.poll(() => echo(pump, one.port)).toEqual([403, 'certificate_rejected']);
    await send(told('return', { person: ['Dr Gone', 'Dr Moved'] }), { port: other.port });
    await expect.poll(() => echo(gone, one.port)).toEqual([200]);
    await expect.poll(async () => (await ask(pki, one.port, '/ward/x', { client: moved })).status).toBe(403);
    expect((await other.records()).find(({ event, detail }) => event === 'webhook' && String(detail).startsWith('transfer Dr Moved, as another gateway was told'))).toMatchObject({ who: 'webhook hr' });
    await Promise.all([one.stop(), other.stop()]);
    await redis.kill();
  });
});
