import { once } from 'node:events';
import { createServer as createPlainServer } from 'node:http';
import { createServer } from 'node:https';
import { writeFile } from 'node:fs/promises';
import type { ClientHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { invite } from '../src/cli/factor.ts';
import { readClientCert } from '../src/forward/client-cert.ts';
import { listen } from './support/backend.ts';
import { browserOver, codeAt, type PageAnswer } from './support/factor.ts';
import { ask, configuration, exchange, openTls, startGateway, type GatewayParts, type Reply, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { answerOcsp, createAuthority, issueCertificate, issueCrl, readOcspRequest, testPki, type Issued, type TestPki } from './support/pki.ts';
import { SM2_LEAF, SM2_ROOT } from './support/sm2.ts';
import { AUDIENCE, claimsFor, ISSUER, signed, signingKey, type SigningKey } from './support/tokens.ts';
import { OP, RawWebSocket, wsFrame } from './support/websocket-cases.ts';
import { openBefore } from './support/timing.ts';

const BY = 'forwarded: { by: { san: { dns: tlcp-front.hospital.test }, issuer: { CN: Hospital Issuing CA } } }';
const AUTH = `{ mode: optional, trust: [root.pem], intermediates: [issuing.pem], ${BY} }`;
const ROUTES = `
  - { name: public, match: { path: /public/* }, allow: [public], upstream: records }
  - { name: records, match: { path: /records, methods: [GET] }, allow: [doctor], upstream: records, phi: true }
  - { name: echo, match: { path: /echo/* }, allow: [doctor, patient], upstream: records, forward: { client_cert_chain: true, xfcc: true } }
  - { name: devices, match: { path: /devices }, allow: [device], upstream: records }
  - { name: mine, match: { path: /mine }, allow: [patient], upstream: records, require: { second_factor: totp } }
  - { name: token, match: { path: /token }, allow: [patient], upstream: records, require: { token: { from: ehr } } }
  - { name: rare, match: { path: /rare }, allow: [patient], upstream: records, limits: { rate: [1/hour] } }
  - { name: all, match: { path: /* }, allow: [patient], upstream: records }`;

let pki: TestPki;
let server: ReturnType<typeof createServer>;
let sockets: WebSocketServer;
let gateway: TestGateway;
let front: Issued;
let other: Issued;
let key: SigningKey;
const seen: { readonly url: string; readonly headers: NodeJS.Dict<string | string[]> }[] = [];

beforeAll(async () => {
  pki = await testPki();
  front = await issueFront();
  other = await issuePatient('2');
  key = signingKey('ehr');
  server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    seen.push({ url: request.url ?? '', headers: request.headers });
    // An answer that never ends: work in flight.
    if (request.url?.startsWith('/echo/endless') === true) response.write('begin');
    else response.end('hello');
  });
  sockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => {
    seen.push({ url: request.url ?? '', headers: request.headers });
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('error', () => undefined);
      webSocket.on('message', (data, binary) => webSocket.send(data, { binary }));
    });
  });
  await listen(server);
  gateway = await start();
});

afterAll(async () => {
  for (const client of sockets.clients) client.terminate();
  await gateway.stop();
  server.closeAllConnections();
  server.close();
});

function start(parts: GatewayParts = {}): Promise<TestGateway> {
  return startGateway(pki, (server.address() as AddressInfo).port, {
    threads: 1, clientAuth: AUTH, routes: ROUTES, top: `tokens: { ehr: { issuer: "${ISSUER}", audience: "${AUDIENCE}", jwks: { file: keys.json } } }`,
    files: { 'keys.json': JSON.stringify({ keys: [key.jwk] }) }, ...parts,
  });
}

/** Its subject would have a role of its own. */
function issueFront(more: object = {}): Promise<Issued> {
  return pki.issueClient({ subject: [['CN', 'TLCP front'], ['OU', 'Devices'], ['O', 'Hospital']], san: { dns: 'tlcp-front.hospital.test' }, ...more });
}

function issuePatient(number: string, more: object = {}): Promise<Issued> {
  return pki.issueClient({ subject: [['CN', `Patient ${number}`], ['OU', 'Patients']], san: { uri: `urn:patient:${number}` }, ...more });
}

const pem = (base64: string): string => `-----BEGIN CERTIFICATE-----\n${base64.match(/.{1,64}/g)?.join('\n')}\n-----END CERTIFICATE-----\n`;

/** RFC 9440. */
function named({ certificate }: { readonly certificate: string }): string {
  return `:${certificate.replace(/-----[A-Z ]+-----|\s/g, '')}:`;
}

const by = (client: Issued, more: object = {}) => ({ headers: { 'client-cert': named(client), ...more } });
const get = (path: string, options: object = {}, at = gateway): Promise<Reply> => ask(pki, at.port, path, { client: front, ...options });
const request = (path: string, fields: readonly string[]): string => `${[`GET ${path} HTTP/1.1`, 'Host: localhost', ...fields].join('\r\n')}\r\n\r\n`;
const lastRecord = async (path: string, at = gateway) => (await at.records()).filter((record) => record['path'] === path).at(-1);
const deny = (client: { readonly sha256: string }, at = gateway): Promise<void> => at.gateway.deny({ kind: 'fingerprint', fingerprint: client.sha256, reason: 'lost', who: 'test' });

/** Requests one after the other on one connection, and the statuses of their answers. */
async function inTurn(socket: TLSSocket, requests: readonly string[]): Promise<number[]> {
  const statuses: number[] = [];
  for (const one of requests) {
    // One that is closed is never answered again.
    const text = socket.destroyed ? '' : await exchange(socket, one, (so) => /\r\n\r\n(?:hello|\{.*\})\s*$/s.test(so));
    statuses.push(Number(text.split(' ')[1] ?? 0));
  }
  return statuses;
}

describe('a front', () => {
  it('names its client: role, id and certificate are the client\'s, for the upstream and on record', async () => {
    expect((await get('/echo/named', by(pki.patient))).status).toBe(200);
    expect(seen.at(-1)?.headers).toMatchObject({
      'client-cert': named(pki.patient), 'x-client-role': 'patient', 'x-client-id': 'urn:patient:1001', 'client-cert-chain': expect.stringContaining(named(pki.issuing)), 'x-forwarded-client-cert': expect.stringContaining(`Hash=${pki.patient.sha256}`),
    });
    expect(await lastRecord('/echo/named')).toMatchObject({ result: 'permitted', fingerprint: pki.patient.sha256, id: 'urn:patient:1001', forwarded_by: front.sha256 });
  });

  it('names another client with every request of a connection, over HTTP/1.1, pipelined too, and its refused clients do not end it', async () => {
    const socket = await openTls(pki, gateway.port, { client: front });
    const as = (client: Issued, path: string) => request(path, [`Client-Cert: ${named(client)}`]);
    expect(await inTurn(socket, [
      as(pki.doctor, '/records'), as(pki.patient, '/records'), as(pki.revokedDoctor, '/records'), as(pki.doctor, '/records'), request('/records', []), as(pki.unmapped, '/records'), request('/public/x', []), as(other, '/echo/x'),
    ])).toEqual([200, 403, 403, 200, 401, 403, 200, 200]);
    expect(seen.at(-1)?.headers).toMatchObject({ 'x-client-id': 'urn:patient:2' });
    const text = await exchange(socket, [as(pki.patient, '/echo/p1'), as(other, '/echo/p2'), as(pki.doctor, '/echo/p3')].join(''), (so) => so.split('hello').length === 4);
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(3);
    expect(seen.slice(-3).map(({ url, headers }) => [url, headers['x-client-id']])).toEqual([['/echo/p1', 'urn:patient:1001'], ['/echo/p2', 'urn:patient:2'], ['/echo/p3', 'Dr Wang']]);
    socket.destroy();
    expect((await gateway.records()).filter((record) => String(record['path']).startsWith('/echo/p')).map((record) => record['id'])).toEqual(['urn:patient:1001', 'urn:patient:2', 'Dr Wang']);
    expect((await gateway.records()).filter((record) => record['reason'] === 'revoked_crl')).toMatchObject([{ fingerprint: pki.revokedDoctor.sha256, forwarded_by: front.sha256 }]);
  });

  it('names the client of each stream over HTTP/2, a refused one among them', async () => {
    const session = await openHttp2(pki, gateway.port, { client: front });
    const all = [pki.doctor, pki.patient, pki.revokedDoctor, other, pki.doctor];
    const replies = await Promise.all(all.map((client) => askHttp2(session, '/echo/h2', by(client))));
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 403, 200, 200]);
    // Not asked to go elsewhere.
    expect((await askHttp2(session, '/echo/h2', by(pki.patient))).status).toBe(200);
    expect((await askHttp2(session, '/echo/h2')).status).toBe(401);
    session.destroy();
    expect(seen.filter(({ url }) => url === '/echo/h2').map(({ headers }) => headers['x-client-id']).sort()).toEqual(['Dr Wang', 'Dr Wang', 'urn:patient:1001', 'urn:patient:1001', 'urn:patient:2']);
  });

  it('has no role here itself, whatever its own certificate would give it elsewhere', async () => {
    expect((await get('/devices')).status).toBe(401);
    expect(await lastRecord('/devices')).toMatchObject({ reason: 'no_certificate', forwarded_by: front.sha256 });
    expect(await lastRecord('/devices')).not.toHaveProperty('fingerprint');
    expect((await get('/public/front')).status).toBe(200);
    expect(seen.at(-1)?.headers).not.toHaveProperty('client-cert');
    expect((await get('/devices', { client: pki.device })).status).toBe(200);
  });

  it('brings intermediates in Client-Cert-Chain', async () => {
    const sub = await createAuthority({ name: [['CN', 'Ward CA']], issuer: pki.root, pathLen: 0 });
    const nurse = await issueCertificate(sub, { subject: [['CN', 'Dr Ward'], ['OU', 'Doctors']] });
    await writeFile(gateway.path('ward.crl'), await issueCrl(sub, {}));
    await gateway.configure(configuration((server.address() as AddressInfo).port, { threads: 1, clientAuth: AUTH, routes: ROUTES, top: `tokens: { ehr: { issuer: "${ISSUER}", audience: "${AUDIENCE}", jwks: { file: keys.json } } }`, revocation: '{ sources: [crl], crl: { files: [issuing.crl, root.crl, ward.crl] } }' }));
    await gateway.gateway.reload();
    expect((await get('/records', by(nurse))).status).toBe(403);
    expect((await lastRecord('/records'))?.['reason']).toBe('untrusted_issuer');
    expect((await get('/records', by(nurse, { 'client-cert-chain': `${named(pki.issuing)}, ${named(sub)}` }))).status).toBe(200);
    expect(seen.at(-1)?.headers).toMatchObject({ 'x-client-id': 'Dr Ward' });
  });

  it('has its clients counted each by itself', async () => {
    expect([(await get('/rare', by(pki.patient))).status, (await get('/rare', by(pki.patient))).status, (await get('/rare', by(other))).status]).toEqual([200, 429, 200]);
  });
});

describe('the header', () => {
  it('of anybody else counts nothing and does not pass, in any spelling', async () => {
    const forged = { 'client-cert': named(pki.doctor), 'client-cert-chain': named(pki.issuing), client_cert: named(pki.doctor), 'x-ssl-client-cert': named(pki.doctor) };
    expect((await get('/records', { client: pki.patient, headers: forged })).status).toBe(403);
    expect((await get('/echo/forged', { client: pki.patient, headers: forged })).status).toBe(200);
    expect(seen.at(-1)?.headers).toMatchObject({ 'x-client-role': 'patient', 'client-cert': named(pki.patient) });
    expect(Object.keys(seen.at(-1)?.headers ?? {}).filter((name) => /ssl|_/.test(name))).toEqual([]);
    expect(await lastRecord('/echo/forged')).not.toHaveProperty('forwarded_by');
    expect((await get('/records', { client: undefined, headers: forged })).status).toBe(401);
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    expect((await askHttp2(session, '/records', { headers: forged })).status).toBe(403);
    session.destroy();
  });

  it('of one with the front\'s name from another CA that clients are trusted by counts nothing', async () => {
    const sub = await createAuthority({ name: [['CN', 'Ward CA']], issuer: pki.root, pathLen: 0 });
    const impostor = await issueCertificate(sub, { subject: [['CN', 'Ward'], ['OU', 'Patients']], san: { dns: 'tlcp-front.hospital.test', uri: 'urn:patient:3' } });
    await writeFile(gateway.path('ward.crl'), await issueCrl(sub, {}));
    await gateway.gateway.reload();
    expect((await get('/records', { client: { ...impostor, chain: impostor.chain + sub.certificate }, ...by(pki.doctor) })).status).toBe(403);
    expect(await lastRecord('/records')).not.toHaveProperty('forwarded_by');
  });

  const leaf = () => named(pki.doctor);
  const raw: readonly (readonly [string, () => readonly string[]])[] = [
    ['twice', () => [`Client-Cert: ${leaf()}`, `client-cert: ${leaf()}`]],
    ['as a list', () => [`Client-Cert: ${leaf()}, ${leaf()}`]],
    ['in another spelling', () => [`Client_Cert: ${leaf()}`]],
    ['in another spelling beside its own', () => [`Client-Cert: ${named(pki.patient)}`, `Client.Cert: ${leaf()}`]],
    ['named by Connection', () => [`Client-Cert: ${leaf()}`, 'Connection: close, Client-Cert']],
    ['whose chain is named by Connection', () => [`Client-Cert: ${leaf()}`, 'Connection: close, client_cert_chain']],
    ['with a parameter', () => [`Client-Cert: ${leaf()};a=1`]],
    ['without colons', () => [`Client-Cert: ${leaf().slice(1, -1)}`]],
    ['of nothing', () => ['Client-Cert: ::']],
    ['that is empty', () => ['Client-Cert:']],
    ['without padding', () => ['Client-Cert: :AAA:']],
    ['with bits behind its end', () => ['Client-Cert: :AAB=:']],
    ['in the other alphabet', () => ['Client-Cert: :-_-_:']],
    ['with a blank within', () => [`Client-Cert: ${leaf().slice(0, 40)} ${leaf().slice(40)}`]],
    ['as PEM', () => [`Client-Cert: ${encodeURIComponent(pki.doctor.certificate)}`]],
    ['of more than a certificate may be', () => [`Client-Cert: :${'AAAA'.repeat(5_500)}:`]],
    ['with two chains', () => [`Client-Cert: ${leaf()}`, `Client-Cert-Chain: ${named(pki.issuing)}`, `Client-Cert-Chain: ${named(pki.issuing)}`]],
    ['with a chain of eleven', () => [`Client-Cert: ${leaf()}`, `Client-Cert-Chain: ${Array.from({ length: 11 }, () => ':AAAA:').join(', ')}`]],
    ['with a chain that ends in nothing', () => [`Client-Cert: ${leaf()}`, `Client-Cert-Chain: ${named(pki.issuing)},`]],
    ['absent, but its chain there', () => [`Client-Cert-Chain: ${named(pki.issuing)}`]],
  ];

  it.each(raw)('%s is a bad request', async (_, fields) => {
    const socket = await openTls(pki, gateway.port, { client: front });
    const text = await exchange(socket, request('/records', fields()), (so) => so.trimEnd().endsWith('}'));
    socket.destroy();
    expect(text.slice(0, 13)).toMatch(/^HTTP\/1.1 4(?:00|31)/);
    const flat = fields().flatMap((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]);
    expect(readClientCert(flat, 'client-cert').kind).toBe('malformed');
  });

  it('folded over two lines, or in a trailer, names nobody', async () => {
    const socket = await openTls(pki, gateway.port, { client: front });
    expect(await exchange(socket, request('/records', [`Client-Cert: ${leaf().slice(0, 60)}`, ` ${leaf().slice(60)}`]))).toMatch(/^HTTP\/1.1 400/);
    const late = await openTls(pki, gateway.port, { client: front });
    const text = await exchange(late, `POST /echo/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: Client-Cert\r\n\r\n0\r\nClient-Cert: ${leaf()}\r\n\r\n`, (so) => so.trimEnd().endsWith('}'));
    expect(text).toMatch(/^HTTP\/1.1 401/);
    late.destroy();
  });

  it('with octets that are no certificate, or of nobody\'s trust, is a certificate that is refused', async () => {
    const self = await createAuthority({ name: [['CN', 'Self']] });
    const stranger = await issueCertificate(self, { subject: [['CN', 'Dr Wang'], ['OU', 'Doctors']] });
    const server = pki.serverEc;
    expect((await get('/echo/none', { headers: { 'client-cert': ':AAAA:' } })).status).toBe(403);
    expect(await lastRecord('/echo/none')).toMatchObject({ reason: 'bad_request', forwarded_by: front.sha256 });
    expect([(await get('/public/x', by(stranger))).status, (await get('/public/x', by(server))).status]).toEqual([403, 403]);
  });

  it('on record, a malformed one says so', async () => {
    expect((await get('/echo/odd', { headers: { 'client-cert': 'x' } })).json()).toMatchObject({ code: 'bad_request' });
    expect(await lastRecord('/echo/odd')).toMatchObject({ reason: 'bad_request', detail: expect.stringContaining('client-cert'), forwarded_by: front.sha256 });
  });
});

describe('what is bound to a certificate', () => {
  it('is bound to that of the client: a session of another\'s is refused', async () => {
    const visitor = browserOver('localhost', async (method, target, fields, body): Promise<PageAnswer> => {
      const headers = Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, index) => [fields[index * 2] as string, fields[index * 2 + 1] as string]));
      const reply = await get(target, { method, body, headers: { ...headers, 'client-cert': named(pki.patient) } });
      return { status: reply.status, fields: reply.rawHeaders, body: reply.body.toString() };
    });
    let printed = '';
    await invite({ config: gateway.path('wardgate.yaml'), json: true, role: 'patient', id: 'urn:patient:1001', who: 'test', expires: '1d' }, (text) => {
      printed += text;
    });
    await visitor.submit('enrol', { invitation: (JSON.parse(printed) as { code: string }).code });
    const secret = /<code>([A-Z2-7 ]+)<\/code>/.exec((await visitor.get('enrol/confirm')).body)?.[1]?.replaceAll(' ', '') as string;
    await visitor.submit('enrol/confirm', { code: codeAt(secret, Date.now()) });
    const token = (await get('/.wardgate/token', { method: 'POST', headers: { 'client-cert': named(pki.patient), 'content-type': 'application/json' }, body: JSON.stringify({ code: codeAt(secret, Date.now() + 30_000) }) })).json()['access_token'] as string;
    expect(token).toEqual(expect.any(String));
    const headers = (client: Issued) => by(client, { authorization: `Bearer ${token}` });
    expect((await get('/mine', headers(pki.patient))).status).toBe(200);
    expect((await get('/mine', headers(other))).status).toBe(401);
    expect((await get('/mine', { headers: { authorization: `Bearer ${token}` } })).status).toBe(401);
    // Nor is it the front's, or another's who has it.
    expect((await get('/mine', { client: other, headers: { authorization: `Bearer ${token}` } })).status).toBe(401);
    // It is the certificate's, by whichever way that comes.
    expect((await get('/mine', { client: pki.patient, headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
  });

  it('is bound to that of the client: a token (RFC 8705) of another\'s is refused', async () => {
    const bearer = { authorization: `Bearer ${await signed(key, claimsFor(pki.patient))}` };
    expect([(await get('/token', by(pki.patient, bearer))).status, (await get('/token', by(other, bearer))).status]).toEqual([200, 401]);
    const ofFront = { authorization: `Bearer ${await signed(key, claimsFor(front))}` };
    expect((await get('/token', by(pki.patient, ofFront))).status).toBe(401);
    expect((await lastRecord('/token'))?.['reason']).toBe('token_other_certificate');
  });
});

describe('what takes a client\'s right away', () => {
  const begun = (stream: { once(event: 'data', listener: () => void): unknown }): Promise<void> => new Promise((done) => stream.once('data', () => done()));

  async function endless(session: ClientHttp2Session, client: Issued) {
    const stream = session.request({ ':path': '/echo/endless', ':authority': 'localhost', 'client-cert': named(client) });
    stream.on('error', () => undefined);
    await begun(stream);
    return stream;
  }

  it('ends its streams over HTTP/2 and no other of the connection', async () => {
    const gone = await issuePatient('30');
    const session = await openHttp2(pki, gateway.port, { client: front });
    const [lost, kept] = [await endless(session, gone), await endless(session, pki.patient)];
    await deny(gone);
    await expect.poll(() => lost.destroyed).toBe(true);
    expect(lost.rstCode).not.toBe(0);
    expect([kept.destroyed, session.destroyed, session.closed]).toEqual([false, false, false]);
    expect([(await askHttp2(session, '/echo/x', by(gone))).status, (await askHttp2(session, '/echo/x', by(pki.patient))).status]).toEqual([403, 200]);
    await expect.poll(() => lastRecord('/echo/endless')).toMatchObject({ fingerprint: gone.sha256, reason: 'revoked_denylist', forwarded_by: front.sha256 });
    session.destroy();
  });

  it('ends its WebSockets, over both versions, and no other\'s', async () => {
    const gone = await issuePatient('31');
    const upgrade = async (client: Issued): Promise<RawWebSocket> => {
      const socket = await openTls(pki, gateway.port, { client: front });
      const text = await exchange(socket, request('/echo/ws', [`Client-Cert: ${named(client)}`, 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']), (so) => so.includes('\r\n\r\n'));
      expect(text).toMatch(/^HTTP\/1.1 101/);
      return new RawWebSocket(socket, Buffer.alloc(0));
    };
    const session = await openHttp2(pki, gateway.port, { client: front });
    if (session.remoteSettings?.enableConnectProtocol !== true) await once(session, 'remoteSettings');
    const tunnel = async (client: Issued): Promise<RawWebSocket> => {
      const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':authority': 'localhost', ':path': '/echo/ws', 'sec-websocket-version': '13', 'client-cert': named(client) }, { endStream: false });
      stream.on('error', () => undefined);
      const [head] = await once(stream, 'response') as [Record<string, unknown>];
      expect(head[':status']).toBe(200);
      return new RawWebSocket(stream, Buffer.alloc(0));
    };
    const lost = [await upgrade(gone), await tunnel(gone)];
    expect(seen.at(-1)?.headers).toMatchObject({ 'x-client-id': 'urn:patient:31' });
    const kept = [await upgrade(pki.patient), await tunnel(pki.patient)];
    await deny(gone);
    await expect.poll(() => lost.map(({ closed }) => closed)).toEqual([true, true]);
    for (const webSocket of kept) {
      webSocket.socket.write(wsFrame(OP.text, 'still there'));
      await expect.poll(() => webSocket.octets.includes('still there')).toBe(true);
      webSocket.socket.destroy();
    }
    session.destroy();
    const ended = (await gateway.records()).filter((record) => record['reason'] === 'revoked_denylist' && record['event'] === 'connection');
    expect(ended).not.toEqual([]);
    for (const record of ended) expect(record).toMatchObject({ fingerprint: gone.sha256, forwarded_by: front.sha256 });
  });

  it('ends its answers over HTTP/1.1, on both paths, with their connections', async () => {
    const gone = await issuePatient('32');
    const open = async (client: Issued, fields: readonly string[] = []): Promise<TLSSocket> => {
      const socket = await openTls(pki, gateway.port, { client: front });
      await exchange(socket, request('/echo/endless', [`Client-Cert: ${named(client)}`, ...fields]), (text) => text.includes('begin'));
      return socket;
    };
    const lost = [await open(gone), await open(gone, ['TE: trailers'])];
    const kept = [await open(pki.patient), await open(pki.patient, ['TE: trailers'])];
    await deny(gone);
    await expect.poll(() => lost.map(({ destroyed }) => destroyed)).toEqual([true, true]);
    expect(kept.map(({ destroyed }) => destroyed)).toEqual([false, false]);
    for (const socket of kept) socket.destroy();
  });

  it('may be the end of its certificate: nobody tells of that', { timeout: 20_000 }, async () => {
    const brief = await start({ revocation: '{ sources: [crl], skew: 0s, crl: { files: [issuing.crl, root.crl] } }' });
    const session = await openHttp2(pki, brief.port, { client: front });
    const kept = await endless(session, pki.patient);
    const lost = await openBefore(3_000, async (end) => endless(session, await issuePatient('33', { notAfter: end() })));
    await expect.poll(() => lost.destroyed).toBe(true);
    expect(kept.destroyed).toBe(false);
    session.destroy();
    await brief.stop();
  });

  it('may be that it is isolated, which has no connection of its own to end', async () => {
    const isolated = await issuePatient('40');
    const session = await openHttp2(pki, gateway.port, { client: front });
    const [lost, kept] = [await endless(session, isolated), await endless(session, pki.patient)];
    await gateway.gateway.suspend({ device: 'urn:patient:40', isolate: true, reason: 'attack', who: 'test' });
    await expect.poll(() => lost.destroyed).toBe(true);
    expect((await askHttp2(session, '/echo/isolated', by(isolated))).status).toBe(403);
    expect(await lastRecord('/echo/isolated')).toMatchObject({ reason: 'isolated', fingerprint: isolated.sha256, forwarded_by: front.sha256 });
    expect([kept.destroyed, (await askHttp2(session, '/echo/x', by(pki.patient))).status]).toEqual([false, 200]);
    session.destroy();
  });

  it('may be that its front is revoked: all that came by it ends at once, and nothing more does', async () => {
    const theirs = await start();
    const own = await issueFront();
    const session = await openHttp2(pki, theirs.port, { client: own });
    session.on('error', () => undefined);
    const stream = await endless(session, pki.patient);
    const socket = await openTls(pki, theirs.port, { client: own });
    expect(await inTurn(socket, [request('/echo/x', [`Client-Cert: ${named(pki.patient)}`])])).toEqual([200]);
    await deny(own, theirs);
    await expect.poll(() => [stream.destroyed, socket.destroyed]).toEqual([true, true]);
    expect((await get('/echo/x', { client: own, ...by(pki.patient) }, theirs)).status).toBe(403);
    expect((await get('/public/x', { client: own }, theirs)).status).toBe(403);
    expect(await lastRecord('/echo/x', theirs)).toMatchObject({ reason: 'revoked_denylist', fingerprint: own.sha256 });
    await theirs.stop();
  });

  it('may be what a responder says, who has to be asked: of it at first, and again while it has something under way', { timeout: 30_000 }, async () => {
    const revoked = new Set<string>();
    const responder = createPlainServer(async (incoming, response) => {
      const parts: Buffer[] = [];
      for await (const part of incoming) parts.push(part as Buffer);
      const asked = Buffer.concat(parts);
      const serial = readOcspRequest(asked).certificates[0]?.serialHex ?? '';
      response.setHeader('content-type', 'application/ocsp-response');
      response.end(await answerOcsp(asked, { authority: pki.issuing, statusOf: () => (revoked.has(serial) ? { kind: 'revoked', at: Date.now() - 1_000 } : { kind: 'good' }) }));
    });
    await new Promise<void>((done) => responder.listen(0, '127.0.0.1', done));
    const told = await start({ revocation: `{ check: leaf, sources: [ocsp], allow_local: true, ocsp: { responder: "http://127.0.0.1:${(responder.address() as AddressInfo).port}", max_age: 2s } }` });
    const gone = await issuePatient('34');
    const session = await openHttp2(pki, told.port, { client: front });
    const [lost, kept] = await Promise.all([endless(session, gone), endless(session, pki.patient)]);
    revoked.add(gone.serialHex);
    await expect.poll(() => lost.destroyed).toBe(true);
    expect([kept.destroyed, session.destroyed]).toEqual([false, false]);
    expect(await Promise.all([gone, pki.patient].map(async (client) => (await askHttp2(session, '/echo/x', by(client))).status))).toEqual([403, 200]);
    session.destroy();
    await told.stop();
    responder.close();
  });

  it('may be that its front is none any more', async () => {
    const theirs = await start();
    const session = await openHttp2(pki, theirs.port, { client: front });
    session.on('error', () => undefined);
    const stream = await endless(session, pki.patient);
    await theirs.configure(configuration((server.address() as AddressInfo).port, { threads: 1, clientAuth: AUTH.replace('tlcp-front', 'another'), routes: ROUTES, top: `tokens: { ehr: { issuer: "${ISSUER}", audience: "${AUDIENCE}", jwks: { file: keys.json } } }` }));
    await theirs.gateway.reload();
    await expect.poll(() => stream.destroyed).toBe(true);
    expect((await get('/echo/x', by(pki.patient), theirs)).status).toBe(403);
    expect((await get('/devices', by(pki.patient), theirs)).status).toBe(200);
    await theirs.stop();
  });
});

describe('a listener that requires certificates', () => {
  it('requires one of the front\'s clients, public routes too; and where nobody can tell of the front, it is no better known than that; one with SM2 and SM3 gets its role', async () => {
    const strict = await start({ clientAuth: AUTH.replace('optional', 'required') });
    expect([(await get('/public/x', {}, strict)).status, (await get('/public/x', by(pki.patient), strict)).status]).toEqual([401, 200]);
    await strict.stop();
    const sub = await createAuthority({ name: [['CN', 'Front CA']], issuer: pki.issuing, pathLen: 0 }).catch(() => createAuthority({ name: [['CN', 'Front CA']], issuer: pki.root, pathLen: 0 }));
    const unsure = await issueCertificate(sub, { subject: [['CN', 'front']], san: { dns: 'tlcp-front.hospital.test' } });
    const routes = `
  - { name: sure, match: { path: /sure }, allow: [patient], upstream: records }
  - { name: unsure, match: { path: /unsure }, allow: [patient, doctor], upstream: records, unavailable: allow }`;
    const theirs = await start({ routes, top: '', clientAuth: '{ mode: optional, trust: [root.pem, front-ca.pem, sm2.pem], intermediates: [issuing.pem], forwarded: { by: { san: { dns: tlcp-front.hospital.test } } } }', files: { 'front-ca.pem': sub.certificate, 'sm2.pem': pem(SM2_ROOT) } });
    // No list of its CA is there.
    const as = { client: unsure, ...by(pki.patient) };
    const statuses = [(await get('/sure', as, theirs)).status, (await get('/unsure', as, theirs)).status];
    // What no client could show itself: Node's TLS has no TLCP.
    const sm2 = await get('/unsure', { headers: { 'client-cert': `:${SM2_LEAF}:` } }, theirs);
    await theirs.stop();
    expect([...statuses, sm2.status]).toEqual([403, 200, 200]);
    expect(seen.slice(-2).map(({ headers }) => [headers['x-client-role'], headers['x-client-id'], headers['x-client-status']])).toEqual([['patient', 'urn:patient:1001', 'degraded'], ['doctor', 'Dr Wang', 'degraded']]);
  });
});
