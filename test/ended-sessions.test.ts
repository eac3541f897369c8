import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { ClientHttp2Stream } from 'node:http2';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
import { invite, reset } from '../src/cli/factor.ts';
import { createAuthenticator, type Options } from './support/authenticator.ts';
import { browserOver, type Browser } from './support/factor.ts';
import { ask, openTls, startGateway, type Reply, type TestGateway } from './support/gateway.ts';
import { openHttp2 } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';
import { startSocketBackend, type SocketBackend } from './support/socket-backend.ts';

const SECRET = 'b'.repeat(16) + 'new-secret-of-hr-system';
let pki: TestPki;
let backend: SocketBackend;
let gateway: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  // An answer that goes on for as long as it is let.
  backend = await startSocketBackend(pki, (_request, response) => void response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n'));
  gateway = await startGateway(pki, backend.port, {
    files: { 'hr.secret': SECRET, 'f.key': randomBytes(32).toString('hex') },
    roles: `
  - { role: nurse, match: { subject: { OU: Nurses } }, id: "{subject.CN}" }
  - { role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }`,
    routes: `
  - { name: hr, match: { path: /hooks/hr }, allow: [public], webhook: hr }
  - { name: ward, match: { path: /ward }, allow: [nurse, doctor], upstream: records, require: { second_factor: webauthn } }`,
    top: `
second_factor: { key_file: f.key }
webhooks:
  hr: { kind: hr, secrets: hr.secret, roles: [doctor, nurse] }`,
  });
});

afterAll(async () => {
  await gateway?.stop();
  backend?.close();
});

/** A nurse with a security key, who has signed in. */
interface Nurse {
  readonly name: string;
  readonly client: Issued;
  readonly token: string;
  /** Signs in again: in place of the session of this token, where there is one. */
  signIn(before?: string): Promise<string>;
}

async function signedIn(name: string): Promise<Nurse> {
  const client = await pki.issueClient({ subject: [['CN', name], ['OU', 'Nurses']] });
  const call = (page: string, input: object, before?: string): Promise<Reply> => ask(pki, gateway.port, `/.wardgate/${page}`, {
    client, method: 'POST', body: JSON.stringify(input), headers: { 'content-type': 'application/json', ...(before === undefined ? {} : { authorization: `Bearer ${before}` }) },
  });
  const printed: string[] = [];
  await invite({ config: gateway.path('wardgate.yaml'), json: true, role: 'nurse', id: name, who: 'test', expires: '1d' }, (text) => void printed.push(text));
  const key = createAuthenticator('https://localhost');
  const invitation = (JSON.parse(printed.join('')) as { code: string }).code;
  await call('webauthn/enrol', { webauthn: key.create((await call('webauthn/options', { for: 'enrol', invitation })).json() as unknown as Options) });
  const signIn = async (before?: string): Promise<string> => {
    const options = (await call('webauthn/options', {}, before)).json() as unknown as Options;
    return String((await call('token', { webauthn: key.get(options) }, before)).json()['access_token']);
  };
  return { name, client, signIn, token: await signIn() };
}

async function openSocket({ client, token }: Nurse): Promise<{ readonly closed: Promise<unknown> }> {
  const socket = new WebSocket(`wss://127.0.0.1:${gateway.port}/ward`, [], {
    cert: client.chain, key: client.key, ca: pki.root.certificate, servername: 'localhost', headers: { host: 'localhost', authorization: `Bearer ${token}` },
  } as ClientOptions);
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  await once(socket, 'open');
  return { closed };
}

function browserOf({ client, token }: Nurse): Browser {
  const browser = browserOver('localhost', async (method, target, fields, body) => {
    const headers = Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, index) => [fields[index * 2] as string, fields[index * 2 + 1] as string]));
    const reply = await ask(pki, gateway.port, target, { client, method, headers, body });
    return { status: reply.status, fields: reply.rawHeaders, body: reply.body.toString() };
  });
  browser.cookie = token;
  return browser;
}

const forget = ({ name }: Nurse): Promise<unknown> => reset({ config: gateway.path('wardgate.yaml'), role: 'nurse', id: name, who: 'test' }, () => undefined);

/** Why what was let in was ended, on record. */
const reasonsOf = async ({ client }: Nurse) => (await gateway.records()).flatMap(({ serial, event, reason, detail }) => (serial === client.serialHex && reason !== undefined ? [[event, reason, detail]] : []));

describe('what was let in on a session that ends before its time', () => {
  it('ends with the reset of a stolen phone: a WebSocket', async () => {
    const nurse = await signedIn('Nurse Reset');
    const { closed } = await openSocket(nurse);
    const other = await signedIn('Nurse Other');
    const open = await openSocket(other);
    let others = false;
    void open.closed.then(() => (others = true));
    const since = performance.now();
    await forget(nurse);
    await closed;
    expect(performance.now() - since).toBeLessThan(10_000);
    await expect.poll(() => reasonsOf(nurse)).toEqual([['connection', 'session_ended', 'reset']]);
    expect(others).toBe(false);
  });

  it('ends with it also by HTTP/2, several on one connection: WebSockets and answers that go on', async () => {
    const nurse = await signedIn('Nurse Two');
    const session = await openHttp2(pki, gateway.port, { client: nurse.client });
    session.on('error', () => undefined);
    if (session.remoteSettings?.enableConnectProtocol !== true) await once(session, 'remoteSettings');
    const authorization = `Bearer ${nurse.token}`;
    const socket = { ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':authority': 'localhost', ':path': '/ward', 'sec-websocket-version': '13', authorization };
    const streams: ClientHttp2Stream[] = [session.request(socket, { endStream: false }), session.request(socket, { endStream: false }), session.request({ ':path': '/ward', ':authority': 'localhost', authorization })];
    for (const stream of streams) stream.on('error', () => undefined).resume();
    const closed = Promise.all(streams.map((stream) => once(stream, 'close')));
    for (const [head] of await Promise.all(streams.map((stream) => once(stream, 'response')))) expect((head as Record<string, unknown>)[':status']).toBe(200);
    await forget(nurse);
    await closed;
    await expect.poll(async () => (await reasonsOf(nurse)).map(([, reason]) => reason)).toEqual(['session_ended', 'session_ended', 'session_ended']);
    session.destroy();
  });

  it('ends with it also within an answer that goes on, by HTTP/1.1', async () => {
    const nurse = await signedIn('Nurse Long');
    const socket = await openTls(pki, gateway.port, { client: nurse.client });
    socket.on('error', () => undefined);
    const closed = once(socket, 'close');
    socket.write(`GET /ward HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${nurse.token}\r\n\r\n`);
    let text = '';
    socket.on('data', (octets: Buffer) => (text += octets.toString()));
    await expect.poll(() => text).toContain('data: 1');
    await forget(nurse);
    await closed;
    expect(text).not.toMatch(/\r\n0\r\n\r\n$/);
    await expect.poll(() => reasonsOf(nurse)).toEqual([['request', 'session_ended', 'reset']]);
  });

  it('ends when its client signs out', async () => {
    const nurse = await signedIn('Nurse Out');
    const { closed } = await openSocket(nurse);
    await browserOf(nurse).submit('session', {}, 'logout');
    await closed;
    await expect.poll(() => reasonsOf(nurse)).toEqual([['connection', 'session_ended', 'signed out']]);
  });

  it('ends when another session takes its place', async () => {
    const nurse = await signedIn('Nurse New');
    const { closed } = await openSocket(nurse);
    await nurse.signIn(nurse.token);
    await closed;
    await expect.poll(() => reasonsOf(nurse)).toEqual([['connection', 'session_ended', 'replaced']]);
  });

  it('ends when a transfer takes the role away that it was made for, though the new one may as well', async () => {
    const nurse = await signedIn('Nurse Moved');
    const { closed } = await openSocket(nurse);
    const body = JSON.stringify({ id: randomUUID(), event: 'transfer', at: new Date().toISOString(), person: nurse.name, roles: ['doctor'] });
    const time = String(Math.floor(Date.now() / 1000));
    const signature = `sha256=${createHmac('sha256', SECRET).update(`${time}.${body}`).digest('hex')}`;
    expect((await ask(pki, gateway.port, '/hooks/hr', { method: 'POST', body, headers: { 'content-type': 'application/json', 'wardgate-timestamp': time, 'wardgate-signature': signature } })).status).toBe(200);
    await closed;
    await expect.poll(async () => (await reasonsOf(nurse)).map(([event, reason]) => [event, reason])).toEqual([['connection', 'session_other_certificate']]);
  });
});
