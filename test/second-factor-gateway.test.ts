import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { invite, list, reset, status } from '../src/cli/factor.ts';
import { createGateway } from '../src/gateway.ts';
import { createAuthenticator, type Options } from './support/authenticator.ts';
import { listen, startBackend, type Backend } from './support/backend.ts';
import { wardgate, wardgateRun } from './support/command.ts';
import { browserOver, codeAt, fieldsOf, type Browser, type PageAnswer } from './support/factor.ts';
import { ask, configuration, exchange, gatewayDirectory, openTls, readRecords, startGateway, type AskOptions, type Reply, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

const ROUTES = `
  - { name: mine, match: { path: /mine/* }, allow: [patient], upstream: records, require: { second_factor: [totp, sms] } }
  - { name: rare, match: { path: /rare }, allow: [patient], upstream: records, limits: { rate: [2/hour] }, require: { second_factor: totp } }
  - { name: texted, match: { path: /texted }, allow: [patient], upstream: records, require: { second_factor: sms } }
  - { name: keyed, match: { path: /keyed }, allow: [patient], upstream: records, require: { second_factor: webauthn } }
  - { name: open, match: { path: /open }, allow: [patient, doctor], upstream: records }
  - { name: other, match: { path: /other }, allow: [doctor], upstream: records }
  - { name: all, match: { path: /* }, allow: [patient], upstream: records }`;
const TOP = 'second_factor: { key_file: factors.key, sms: { url: "https://127.0.0.1:1/", trust: backend-ca.pem, secret_file: sms.secret } }';
const PATIENT = { role: 'patient', id: 'urn:patient:1001' };
const NAVIGATION = { accept: 'text/html,application/xhtml+xml', 'sec-fetch-mode': 'navigate' };

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let stranger: Issued;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  stranger = await pki.issueClient({ subject: [['CN', 'Patient 2'], ['OU', 'Patients']], san: { uri: 'urn:patient:2' } });
  gateway = await start();
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

/** A gateway whose key files are there. */
async function start(): Promise<TestGateway> {
  const directory = await gatewayDirectory(pki);
  for (const name of ['factors.key', 'sms.secret']) await writeFile(`${directory}/${name}`, randomBytes(32), { mode: 0o600 });
  await writeFile(`${directory}/wardgate.yaml`, configuration(backend.port, { routes: ROUTES, top: TOP }));
  const started = await createGateway({ config: `${directory}/wardgate.yaml` });
  return {
    gateway: started, directory, port: started.listeners[0]?.port ?? 0, path: (name) => `${directory}/${name}`, records: () => readRecords(`${directory}/state/audit`),
    configure: (yaml) => writeFile(`${directory}/wardgate.yaml`, yaml),
    async stop() {
      await started.stop(0);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Every answer on a connection of its own: they spread over both threads. */
const get = (path: string, options: AskOptions = {}): Promise<Reply> => ask(pki, gateway.port, path, { client: pki.patient, ...options });
const post = (path: string, value: unknown, client = pki.patient): Promise<Reply> =>
  get(path, { client, method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) });
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const lastRecord = async (status: number) => (await gateway.records()).filter(({ event, status: of }) => event === 'request' && of === status).sort((one, other) => String(one['time']).localeCompare(String(other['time']))).at(-1);

function browser(client = pki.patient, port = gateway.port): Browser {
  return browserOver('localhost', async (method, target, fields, body): Promise<PageAnswer> => {
    const headers = Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, index) => [fields[index * 2] as string, fields[index * 2 + 1] as string]));
    const reply = await ask(pki, port, target, { client, method, headers, body });
    return { status: reply.status, fields: reply.rawHeaders, body: reply.body.toString() };
  });
}

interface Enrolled {
  readonly secret: string;
  readonly codes: readonly string[];
  /** The code after the one that the enrolment took: there is one such at a time. */
  code(): string;
}

/** Enrols whom the certificate stands for, by way of the command and the pages. */
async function enrol(visitor: Browser, subject = PATIENT, at = gateway): Promise<Enrolled> {
  let printed = '';
  await invite({ config: at.path('wardgate.yaml'), json: true, ...subject, who: 'test', expires: '1d' }, (text) => {
    printed += text;
  });
  await visitor.submit('enrol', { invitation: (JSON.parse(printed) as { code: string }).code });
  const confirm = await visitor.get('enrol/confirm');
  const secret = /<code>([A-Z2-7 ]+)<\/code>/.exec(confirm.body)?.[1]?.replaceAll(' ', '') as string;
  const done = await visitor.submit('enrol/confirm', { code: codeAt(secret, Date.now()) });
  return { secret, codes: [...done.body.matchAll(/<li>([0-9A-Z-]{19})<\/li>/g)].map(([, one]) => one as string), code: () => codeAt(secret, Date.now() + 30_000) };
}

describe('a route that requires a second factor', () => {
  it('answers programs with a problem and browsers with the form, over both versions of HTTP', async () => {
    const problem = await get('/mine/x');
    expect(problem.status).toBe(401);
    expect(problem.headers['content-type']).toBe('application/problem+json');
    expect(problem.headers['www-authenticate']).toBe('Bearer error="insufficient_user_authentication"');
    expect(problem.json()).toMatchObject({ code: 'step_up_required' });
    expect(await lastRecord(401)).toMatchObject({ route: 'mine', result: 'denied', reason: 'step_up_required', detail: 'no session that has shown totp or sms' });
    const page = await get('/mine/x?a=1', { headers: NAVIGATION });
    expect(page.status).toBe(401);
    expect(page.headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store', 'strict-transport-security': 'max-age=31536000; includeSubDomains; preload', 'x-request-id': expect.any(String) as string,
    });
    expect(page.body.toString()).toContain('return=%2Fmine%2Fx%3Fa%3D1');
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    expect((await askHttp2(session, '/mine/x')).headers).toMatchObject({ ':status': 401, 'content-type': 'application/problem+json' });
    const shown = await askHttp2(session, '/mine/x', { headers: NAVIGATION });
    expect(shown.headers).toMatchObject({ ':status': 401, 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
    expect(shown.body.toString()).toContain('<!doctype html>');
    // Not a navigation: a script of the page would show the form to nobody.
    expect((await askHttp2(session, '/mine/x', { headers: { accept: 'text/html', 'sec-fetch-mode': 'cors' } })).headers).toMatchObject({ 'content-type': 'application/problem+json' });
    session.close();
    expect(backend.seen).toHaveLength(0);
  });

  it('lets a browser in that has typed the code, and the session is good on every thread, for that certificate', async () => {
    const visitor = browser();
    const { codes } = await enrol(visitor);
    for (let count = 0; count < 8; count++) expect((await get('/mine/x', { headers: { cookie: `a=1; __Host-wardgate-session=${visitor.cookie}; b=2` } })).status).toBe(200);
    expect(backend.seen.map(({ headers }) => headers.cookie)).toEqual(Array.from({ length: 8 }, () => 'a=1; b=2'));
    const stolen = await get('/mine/x', { client: stranger, headers: { cookie: `__Host-wardgate-session=${visitor.cookie}` } });
    expect(stolen.json()).toMatchObject({ status: 401, code: 'step_up_required' });
    expect(await lastRecord(401)).toMatchObject({ reason: 'session_other_certificate', id: 'urn:patient:2', detail: `made with the certificate ${pki.patient.sha256}` });
    // The same patient with a certificate that was renewed: enrolled, and without a session.
    const renewed = await pki.issueClient({ subject: [['CN', 'Patient 1001'], ['OU', 'Patients']], san: { uri: 'urn:patient:1001' } });
    expect((await get('/mine/x', { client: renewed, headers: { cookie: `__Host-wardgate-session=${visitor.cookie}` } })).status).toBe(401);
    const again = await post('/.wardgate/token', { recovery_code: codes[0] }, renewed);
    expect(again.status).toBe(200);
    expect(again.json()['cnf']).toEqual({ 'x5t#S256': Buffer.from(renewed.sha256, 'hex').toString('base64url') });
    expect((await get('/mine/x', { client: renewed, ...bearer(String(again.json()['access_token'])) })).status).toBe(200);
  });

  it('takes one code once, whichever thread it comes to, also at the same time', async () => {
    const { code } = await enrol(browser());
    const one = code();
    const answers = await Promise.all(Array.from({ length: 6 }, () => post('/.wardgate/token', { code: one })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401, 401, 401, 401]);
    const refused = (await gateway.records()).filter(({ event, reason }) => event === 'second_factor' && reason === 'code_reused');
    expect(refused).toHaveLength(5);
    expect(refused[0]).toMatchObject({ ...PATIENT, factor: 'totp', result: 'denied', reason: 'code_reused', fingerprint: pki.patient.sha256, address: '127.0.0.1', listener: 'clinical' });
    await reset({ config: gateway.path('wardgate.yaml'), ...PATIENT, who: 'test' }, () => undefined);
  });

  it('makes no more than three hundred pages a minute for one certificate: they are made where every request is that must ask', async () => {
    const busy = await pki.issueClient({ subject: [['CN', 'Patient 3'], ['OU', 'Patients']], san: { uri: 'urn:patient:3' } });
    const session = await openHttp2(pki, gateway.port, { client: busy });
    const pages = await Promise.all(Array.from({ length: 160 }, () => askHttp2(session, '/.wardgate/')));
    expect(pages.map(({ status }) => status)).toEqual(Array<number>(160).fill(200));
    const shown = await Promise.all(Array.from({ length: 160 }, () => askHttp2(session, '/mine/x', { headers: NAVIGATION })));
    expect(shown.map(({ status }) => status)).toEqual(Array<number>(160).fill(401));
    expect(shown.filter(({ body }) => !body.includes('<code>step_up_required</code>'))).toHaveLength(140);
    expect((await askHttp2(session, '/.wardgate/')).headers).toMatchObject({ ':status': 429, 'retry-after': expect.any(String) as string });
    session.close();
    expect((await get('/.wardgate/', { client: stranger })).status).toBe(200);
  });

  it('does not let in who has shown another factor', async () => {
    const visitor = browser();
    await enrol(visitor);
    const cookie = { headers: { cookie: `__Host-wardgate-session=${visitor.cookie}` } };
    expect((await get('/mine/x', cookie)).status).toBe(200);
    expect((await get('/texted', cookie)).status).toBe(401);
    expect(await lastRecord(401)).toMatchObject({ route: 'texted', reason: 'step_up_required', detail: 'the session has not shown sms' });
  });

  it('counts before it looks at sessions', async () => {
    expect((await get('/rare')).status).toBe(401);
    expect((await get('/rare')).status).toBe(401);
    const third = await get('/rare', { headers: NAVIGATION });
    expect([third.status, third.body.toString()]).toEqual([429, expect.stringContaining('<code>rate_limited</code>')]);
  });

  it('holds for WebSockets, too', async () => {
    const upgrade = async (cookie: string): Promise<string> => {
      const socket: TLSSocket = await openTls(pki, gateway.port, { client: pki.patient });
      const text = await exchange(socket, `GET /mine/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n${cookie}\r\n`, (sofar) => sofar.includes('\r\n\r\n'));
      socket.destroy();
      return text.split('\r\n')[0] as string;
    };
    const visitor = browser();
    await enrol(visitor);
    expect(await upgrade('')).toContain(' 401 ');
    const before = backend.seen.length;
    // The backend speaks no WebSocket and answers as it does to anything.
    expect(await upgrade(`Cookie: __Host-wardgate-session=${visitor.cookie}\r\n`)).toContain(' 200 ');
    expect(backend.seen[before]?.headers).not.toHaveProperty('cookie');
  });
});

describe('a route that requires a security key', () => {
  const call = (page: string, value: unknown): Promise<Reply> => post(`/.wardgate/${page}`, value);
  const optionsFor = async (value: object): Promise<Options> => (await call('webauthn/options', value)).json() as unknown as Options;
  const printed = async (run: (print: (text: string) => void) => Promise<number>): Promise<[code: number, text: string]> => {
    const lines: string[] = [];
    return [await run((text) => lines.push(text)), lines.join('\n')];
  };

  it('takes a key that was enrolled by an app, and no other factor; staff sees and removes it by its name', async () => {
    const config = gateway.path('wardgate.yaml');
    const [, invited] = await printed((print) => invite({ config, json: true, ...PATIENT, who: 'test', expires: '1d' }, print));
    // The port that the listener has, and none: behind a balancer it is another than clients see.
    const key = createAuthenticator(`https://localhost:${gateway.port}`);
    const enrolled = await call('webauthn/enrol', { webauthn: key.create(await optionsFor({ for: 'enrol', invitation: (JSON.parse(invited) as { code: string }).code })), name: 'blue key' });
    expect(enrolled.status).toBe(201);
    const signed = await call('token', { webauthn: key.get(await optionsFor({}), { origin: 'https://localhost' }) });
    expect((await get('/keyed', bearer(String(signed.json()['access_token'])))).status).toBe(200);
    expect((await get('/texted', bearer(String(signed.json()['access_token'])))).status).toBe(401);
    expect(await lastRecord(401)).toMatchObject({ route: 'texted', reason: 'step_up_required', detail: 'the session has not shown sms' });
    const shown = await get('/keyed', { headers: NAVIGATION });
    expect([shown.status, shown.body.toString().includes('Use my security key or passkey')]).toEqual([401, true]);
    expect(shown.headers['content-security-policy']).toMatch(/^default-src 'none'; .*script-src 'nonce-/);
    expect((await get('/.wardgate/key.js')).headers['content-type']).toBe('text/javascript; charset=utf-8');
    const refused = await call('token', { webauthn: key.get(await optionsFor({}), { origin: 'https://localhost:1' }) });
    expect([refused.status, refused.json()['code']]).toEqual([401, 'step_up_required']);
    expect((await gateway.records()).filter(({ factor, result }) => factor === 'webauthn' && result === 'denied')).toMatchObject([{ ...PATIENT, reason: 'webauthn_origin', detail: 'security key: the key was used at "https://localhost:1"', fingerprint: pki.patient.sha256 }]);
    expect(await printed((print) => status({ config, ...PATIENT, who: 'test' }, print))).toEqual([0, expect.stringMatching(/one security key\n {2}"blue key": for localhost, since .*, last used .*, counter 2$/)]);
    expect(await printed((print) => list({ config }, print))).toEqual([0, expect.stringContaining('one security key')]);
    expect(await printed((print) => reset({ config, ...PATIENT, who: 'test', key: 'red key' }, print))).toEqual([1, 'knew no security key "red key" of patient urn:patient:1001; ended 0 sessions']);
    expect((await printed((print) => reset({ config, ...PATIENT, who: 'test', key: 'blue key' }, print)))[0]).toBe(0);
    expect((await get('/keyed', bearer(String(signed.json()['access_token'])))).status).toBe(401);
    expect((await call('webauthn/options', {})).status).toBe(401);
  });
});

describe('a WebSocket', () => {
  it('ends when the time of the session is over that it was let in with', async () => {
    const server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key });
    const sockets = new WebSocketServer({ server });
    const port = await listen(server);
    const own = await startGateway(pki, port, {
      routes: '[{ name: mine, match: { path: "/mine/*" }, allow: [patient], upstream: records, require: { second_factor: totp } }]', top: 'second_factor: { session: { lifetime: 4s, idle: 4s } }',
    });
    const visitor = browser(pki.patient, own.port);
    await enrol(visitor, PATIENT, own);
    const socket = new WebSocket(`wss://127.0.0.1:${own.port}/mine/ws`, [], {
      servername: 'localhost', headers: { host: 'localhost', cookie: `__Host-wardgate-session=${visitor.cookie}` }, ca: pki.root.certificate, cert: pki.patient.chain, key: pki.patient.key,
    } as ClientOptions);
    await once(socket, 'open');
    await once(socket, 'close');
    await expect.poll(async () => (await own.records()).filter(({ event }) => event === 'connection').map(({ reason }) => reason)).toContain('session_expired');
    sockets.close();
    server.close();
    await own.stop();
  });
});

describe('the credentials of sessions', () => {
  it('reach no upstream, on whichever route and by whichever version; those of others do', async () => {
    const token = `wgs_${'a'.repeat(43)}`;
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const before = backend.seen.length;
    for (const path of ['/open', '/all']) {
      await get(path, { headers: { cookie: `__Host-wardgate-session=${token}`, authorization: `bearer  ${token}` } });
      await get(path, { headers: { cookie: `a=${token}; __host-WARDGATE-session = ${token} ;b=1`, authorization: 'Bearer other' } });
      await askHttp2(session, path, { headers: { cookie: [`__Host-wardgate-session=${token}`, 'c=1'] as unknown as string, authorization: `Bearer ${token}` } });
    }
    session.close();
    const passed = backend.seen.slice(before).map(({ headers }) => [headers.cookie, headers.authorization]);
    expect(passed).toEqual([...Array.from({ length: 2 }, () => [[undefined, undefined], ['b=1', 'Bearer other'], ['c=1', undefined]])].flat());
  });

  it('reach no upstream in spellings that are not honoured either: short and general way, HTTP/2 and upgrades', async () => {
    const token = `wgs_${'a'.repeat(43)}`;
    const tabbed = [`Authorization: Bearer\t${token}`, `Authorization: DPoP ${token}`, `Authorization: ${token}`, `Authorization: Bearer "${token}"`, `Authorization: Basic ${Buffer.from(`x:${token}`).toString('base64')}`,
      `X-Token: ${token}`, `Authorization: BEARER WGS_${'a'.repeat(43)}`];
    const cookies = [`Cookie: a=1, __Host-wardgate-session=${token}`, `Cookie: "__Host-wardgate-session=${token}"`, `Cookie: b=2; session="${token}"`];
    const before = backend.seen.length;
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    for (const field of [...tabbed, ...cookies]) {
      const answered = (text: string): boolean => /\r\n\r\n[\s\S]/.test(text);
      await exchange(socket, `GET /open HTTP/1.1\r\nHost: localhost\r\n${field}\r\nX-Kept: 1\r\n\r\n`, answered);
      const other = await openTls(pki, gateway.port, { client: pki.patient });
      await exchange(other, `POST /open HTTP/1.1\r\nHost: localhost\r\n${field}\r\nX-Kept: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ${token}\r\n\r\n`, answered);
      other.destroy();
      const upgraded = await openTls(pki, gateway.port, { client: pki.patient });
      await exchange(upgraded, `GET /open HTTP/1.1\r\nHost: localhost\r\n${field}\r\nX-Kept: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`, answered);
      upgraded.destroy();
    }
    socket.destroy();
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    for (const field of [...tabbed, ...cookies]) {
      const [name = '', value = ''] = [field.slice(0, field.indexOf(':')).toLowerCase(), field.slice(field.indexOf(':') + 2)];
      await askHttp2(session, '/open', { headers: { [name]: value, 'x-kept': '1' } });
    }
    session.close();
    const passed = backend.seen.slice(before);
    expect(passed).toHaveLength(40);
    expect(passed.map(({ headers }) => headers['x-kept'])).toEqual(Array.from({ length: 40 }, () => '1'));
    expect(JSON.stringify(passed.map(({ headers }) => headers))).not.toMatch(/wgs_|wardgate-session|Basic/i);
    expect(passed.filter(({ headers }) => headers.cookie === 'b=2')).toHaveLength(4);
  });

  it('are told from what is only alike: tokens of others pass', async () => {
    const before = backend.seen.length;
    const alike = [`Bearer eyJhbGciOiJFUzI1NiJ9.e30.wgs_${'a'.repeat(82)}`, `Bearer xwgs_${'a'.repeat(43)}`, `Basic ${Buffer.from('wgs:wgs_').toString('base64')}`];
    for (const authorization of alike) await get('/open', { headers: { authorization, cookie: 'csrf=wgs_1; a=1' } });
    expect(backend.seen.slice(before).map(({ headers }) => [headers.authorization, headers.cookie])).toEqual(alike.map((one) => [one, 'csrf=wgs_1; a=1']));
  });

  it('stand in no record', async () => {
    const visitor = browser();
    await enrol(visitor);
    await get('/mine/x', { headers: { cookie: `__Host-wardgate-session=${visitor.cookie}` } });
    expect(JSON.stringify(await gateway.records())).not.toContain('wgs_');
  });
});

describe('the pages', () => {
  it('are for those whom a route lets use them, and reach no upstream', async () => {
    const before = backend.seen.length;
    expect((await get('/.wardgate/', { client: pki.doctor })).json()).toMatchObject({ status: 403, code: 'role_denied' });
    expect((await ask(pki, gateway.port, '/.wardgate/')).json()).toMatchObject({ status: 401, code: 'certificate_required' });
    expect((await get('/.wardgate/nothing')).status).toBe(404);
    expect((await get('/.wardgate/../open')).status).toBe(400);
    expect(backend.seen).toHaveLength(before);
  });

  it('take no more than a form', async () => {
    expect((await get('/.wardgate/verify', { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: `code=${'1'.repeat(20_000)}` })).json()).toMatchObject({ code: 'body_too_large' });
  });

  it('say in the record of the request what was refused, and count it where denials are counted', async () => {
    const counting = await startGateway(pki, backend.port, {
      routes: '[{ name: mine, match: { path: "/mine/*" }, allow: [patient], upstream: records, require: { second_factor: totp } }]', top: 'limits: { rates: [{ per: address, rate: [3/hour], count: denials }] }',
    });
    for (let count = 0; count < 5; count++) expect((await ask(pki, counting.port, '/mine/x', { client: pki.patient })).status).toBe(401);
    const session = await openHttp2(pki, counting.port, { client: pki.patient });
    const wrong = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"code":"000000"}' };
    expect((await ask(pki, counting.port, '/.wardgate/token', { client: pki.patient, ...wrong })).status).toBe(401);
    expect((await askHttp2(session, '/.wardgate/token', wrong)).headers[':status']).toBe(401);
    const records = (await counting.records()).filter(({ event, route }) => event === 'request' && route === 'wardgate');
    expect(records).toMatchObject(Array.from({ length: 2 }, () => ({ result: 'denied', reason: 'not_enrolled', status: 401, route: 'wardgate' })));
    await ask(pki, counting.port, '/.wardgate/token', { client: pki.patient, ...wrong });
    await expect.poll(async () => (await ask(pki, counting.port, '/.wardgate/token', { client: pki.patient, ...wrong })).status).toBe(429);
    session.close();
    await counting.stop();
  });

  it('have a record each, and answer HEAD without a body', async () => {
    const head = await get('/.wardgate/', { method: 'HEAD' });
    expect([head.status, head.body.length]).toEqual([200, 0]);
    expect(await lastRecord(200)).toMatchObject({ route: 'wardgate', method: 'HEAD', path: '/.wardgate/', result: 'permitted' });
  });

  it('work over HTTP/2', async () => {
    const { codes } = await enrol(browser());
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const reply = await askHttp2(session, '/.wardgate/token', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ recovery_code: codes[0] }) });
    expect(reply.headers).toMatchObject({ ':status': 200, 'cache-control': 'no-store', 'content-type': 'application/json' });
    const { access_token: token } = JSON.parse(reply.body.toString()) as { access_token: string };
    expect((await askHttp2(session, '/mine/x', { headers: { authorization: `Bearer ${token}` } })).headers[':status']).toBe(200);
    expect((await askHttp2(session, '/.wardgate/token', { method: 'DELETE', headers: { authorization: `Bearer ${token}` } })).headers[':status']).toBe(204);
    expect((await askHttp2(session, '/mine/x', { headers: { authorization: `Bearer ${token}` } })).headers[':status']).toBe(401);
    expect(await lastRecord(401)).toMatchObject({ reason: 'session_ended' });
    session.close();
  });

  it('lead back to where a browser came from, and out', async () => {
    const visitor = browser();
    const { code } = await enrol(visitor);
    visitor.cookie = undefined;
    const shown = await visitor.get('/mine/x?a=1', ['Accept', 'text/html']);
    expect(shown.status).toBe(401);
    const form = /name="form" value="([^"]+)"/.exec(shown.body)?.[1] as string;
    const back = /name="return" value="([^"]+)"/.exec(shown.body)?.[1] as string;
    const done = await visitor.post('verify', { form, return: back.replaceAll('&amp;', '&'), code: code() });
    expect([done.status, fieldsOf(done).get('location')]).toEqual([303, '/mine/x?a=1']);
    expect((await visitor.get('/mine/x?a=1', ['Accept', 'text/html'])).body).toBe('hello');
    const { cookie } = visitor;
    await visitor.submit('session', {}, 'logout');
    expect((await get('/mine/x', { headers: { cookie: `__Host-wardgate-session=${cookie}` } })).status).toBe(401);
  });

  it('are not there where no route needs them', async () => {
    const without = await startGateway(pki, backend.port);
    expect((await ask(pki, without.port, '/.wardgate/', { client: pki.patient })).status).toBe(404);
    await without.stop();
  });
});

describe('a gateway', () => {
  it('keeps enrolments and sessions over a restart, and makes a key of its own where none is configured', async () => {
    const directory = await gatewayDirectory(pki);
    const config = `${directory}/wardgate.yaml`;
    await writeFile(config, configuration(backend.port, { routes: '[{ name: mine, match: { path: "/mine/*" }, allow: [patient], upstream: records, require: { second_factor: totp } }]' }));
    const first = await wardgateRun(config);
    const mistyped = await wardgate(['factor', 'invite', '-c', config, '--role', 'pateint', '--id', PATIENT.id]);
    expect([mistyped.code, mistyped.stdout, mistyped.stderr]).toEqual([1, '', expect.stringContaining('no role named "pateint"; known: ')]);
    const invited = await wardgate(['factor', 'invite', '-c', config, '--json', '--role', 'patient', '--id', PATIENT.id]);
    const visit = (port: number): Browser => browserOver('localhost', async (method, target, fields, body) => {
      const reply = await ask(pki, port, target, { client: pki.patient, method, body, headers: Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, index) => [fields[index * 2] as string, fields[index * 2 + 1] as string])) });
      return { status: reply.status, fields: reply.rawHeaders, body: reply.body.toString() };
    });
    const visitor = visit(first.port);
    const confirm = await visitor.submit('enrol', { invitation: (JSON.parse(invited.stdout) as { code: string }).code });
    const secret = /<code>([A-Z2-7 ]+)<\/code>/.exec(confirm.body)?.[1]?.replaceAll(' ', '') as string;
    const used = codeAt(secret, Date.now());
    await visitor.submit('enrol/confirm', { code: used });
    first.child.kill('SIGKILL');
    await once(first.child, 'close');
    const second = await wardgateRun(config);
    expect((await ask(pki, second.port, '/mine/x', { client: pki.patient, headers: { cookie: `__Host-wardgate-session=${visitor.cookie}` } })).status).toBe(200);
    const replayed = await ask(pki, second.port, '/.wardgate/token', { client: pki.patient, method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ code: used }) });
    expect(replayed.json()).toEqual({
      type: 'urn:wardgate:problem:step_up_required', title: 'A second factor is required', status: 401, code: 'step_up_required', request_id: replayed.headers['x-request-id'],
    });
    const listed = await wardgate(['factor', 'list', '-c', config]);
    expect(listed.stdout).toMatch(/^patient urn:patient:1001: since .*, totp, 10 recovery codes left$/m);
    expect((await wardgate(['factor', 'reset', '-c', config, '--role', 'patient', '--id', PATIENT.id])).stdout).toMatch(/ended 1 session\n/);
    expect((await wardgate(['factor', 'reset', '-c', config, '--role', 'patient', '--id', PATIENT.id])).code).toBe(1);
    expect((await wardgate(['factor', 'phone', '-c', config, '--role', 'patient', '--id', PATIENT.id, '--phone', '0123', '--card', '1'])).code).toBe(2);
    expect(await wardgate(['factor', 'unlock', '-c', config, '--role', 'patient', '--id', PATIENT.id])).toMatchObject({ code: 1, stdout: 'knew no wrong codes of patient urn:patient:1001\n' });
    expect((await ask(pki, second.port, '/mine/x', { client: pki.patient, headers: { cookie: `__Host-wardgate-session=${visitor.cookie}` } })).status).toBe(401);
    await second.stop();
    expect((await wardgate(['factor', 'list', '-c', config])).code).toBe(1);
    await rm(directory, { recursive: true, force: true });
  });

  it('takes a route that requires a factor, and other times for sessions, with a reload', async () => {
    const changing = await startGateway(pki, backend.port);
    expect((await ask(pki, changing.port, '/echo/x', { client: pki.patient })).status).toBe(200);
    await changing.configure(configuration(backend.port, { routes: '[{ name: echo, match: { path: "/echo/*" }, allow: [patient], upstream: records, require: { second_factor: totp } }]' }));
    await changing.gateway.reload();
    expect((await ask(pki, changing.port, '/echo/x', { client: pki.patient })).status).toBe(401);
    expect((await ask(pki, changing.port, '/.wardgate/', { client: pki.patient })).status).toBe(200);
    await writeFile(changing.path('other.key'), randomBytes(32), { mode: 0o600 });
    await changing.configure(configuration(backend.port, { routes: '[{ name: echo, match: { path: "/echo/*" }, allow: [patient], upstream: records, require: { second_factor: totp } }]', top: 'second_factor: { key_file: other.key }' }));
    await expect(changing.gateway.reload()).rejects.toThrow('second_factor.key_file: cannot change without a restart');
    const empty: string[] = [];
    await list({ config: changing.path('wardgate.yaml') }, (text) => empty.push(text));
    expect(empty).toEqual(['nobody is enrolled']);
    await changing.stop();
  });
});
