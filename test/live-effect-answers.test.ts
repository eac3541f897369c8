import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { ClientHttp2Session } from 'node:http2';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { openHttp2 } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

/** How an answer came to its end for its client. */
interface End {
  readonly status: number | undefined;
  readonly body: string;
  readonly whole: boolean;
}

/** An answer under way. */
interface Open {
  /** Resolves when its first octets have come. */
  begun(): Promise<void>;
  readonly end: Promise<End>;
}

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
/** The configuration that each test begins with. */
let original: string;
/** The upstream's side of what is under way, by path. */
const open = new Map<string, ServerResponse>();
const sessions: ClientHttp2Session[] = [];
let tests = 0;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request, response) => {
    const path = request.url as string;
    open.set(path, response);
    if (path.startsWith('/echo/waiting')) return;
    // One that the fast path does not read by itself.
    if (path.startsWith('/echo/trailed')) response.setHeader('trailer', 'x-sum');
    if (path.startsWith('/echo/sized')) response.setHeader('content-length', '1000');
    response.write('begin');
  });
  gateway = await startGateway(pki, backend.port, { threads: 1 });
  original = await readFile(gateway.path('wardgate.yaml'), 'utf8');
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

beforeEach(() => {
  tests += 1;
});

afterEach(async () => {
  for (const session of sessions.splice(0)) session.destroy();
  if (await readFile(gateway.path('wardgate.yaml'), 'utf8') === original) return;
  await gateway.configure(original);
  await gateway.gateway.reload();
});

/** A path that no other test asks for. */
const echo = (kind: 'chunked' | 'trailed' | 'sized' | 'waiting'): string => `/echo/${kind}/${tests}`;

async function hasBegun(parts: readonly Buffer[]): Promise<void> {
  await expect.poll(() => parts.length, { timeout: 20_000 }).toBeGreaterThan(0);
}

function askByHttp1(path: string, client?: Issued): Open {
  const request = httpsRequest({
    host: '127.0.0.1', port: gateway.port, path, servername: 'localhost', headers: { host: 'localhost' }, agent: false, ca: pki.root.certificate,
    ...(client === undefined ? {} : { cert: client.chain, key: client.key }),
  });
  const parts: Buffer[] = [];
  const end = new Promise<End>((done) => {
    request.on('error', () => done({ status: undefined, body: '', whole: false }));
    request.on('response', (response: IncomingMessage) => {
      response.on('error', () => undefined);
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('close', () => done({ status: response.statusCode, body: String(Buffer.concat(parts)), whole: response.complete }));
    });
  });
  request.end();
  return { begun: () => hasBegun(parts), end };
}

function askByHttp2(path: string, client?: Issued): Open {
  const parts: Buffer[] = [];
  const end = openHttp2(pki, gateway.port, client === undefined ? {} : { client }).then((session) => new Promise<End>((done) => {
    sessions.push(session);
    session.on('error', () => undefined);
    const stream = session.request({ ':path': path, ':authority': 'localhost' });
    let status: number | undefined;
    let ended = false;
    stream.on('response', (headers) => {
      status = Number(headers[':status']);
    });
    stream.on('error', () => undefined);
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('end', () => {
      ended = true;
    });
    stream.on('close', () => done({ status, body: String(Buffer.concat(parts)), whole: ended && stream.rstCode === 0 }));
  }));
  return { begun: () => hasBegun(parts), end };
}

const WAYS = [['HTTP/1.1', askByHttp1], ['HTTP/2', askByHttp2]] as const;

/** Reloads with another configuration. */
async function change(edit: (yaml: string) => string): Promise<void> {
  const before = await readFile(gateway.path('wardgate.yaml'), 'utf8');
  expect(edit(before)).not.toBe(before);
  await gateway.configure(edit(before));
  await gateway.gateway.reload();
}

/** All records of requests for a path, once there is one. */
async function recordsOf(path: string): Promise<readonly Record<string, unknown>[]> {
  const find = async (): Promise<Record<string, unknown>[]> => (await gateway.records()).filter((record) => record['path'] === path && record['event'] === 'request');
  await expect.poll(async () => (await find()).length, { timeout: 20_000 }).toBeGreaterThan(0);
  return find();
}

const TAKEN = [
  ['their certificate has no role any more', 'no_role', 403, (yaml: string) => yaml.replace('OU: Doctors', 'OU: Surgeons')],
  ['their role is not let in any more', 'role_denied', 403, (yaml: string) => yaml.replace('allow: [doctor, patient, device]', 'allow: [patient]')],
  ['their route is gone', 'not_found', 404, (yaml: string) => yaml.replace('path: /echo/*', 'path: /gone/*')],
] as const;

describe.each(WAYS)('answers over %s that never end', (_name, ask) => {
  it.each(TAKEN)('are cut after a reload when %s, with its reason on record and no other', async (_what, reason, _status, edit) => {
    const paths = [echo('chunked'), echo('trailed'), echo('sized')];
    const asked = paths.map((path) => ask(path, pki.doctor));
    await Promise.all(asked.map(({ begun }) => begun()));
    const closed = Promise.all(paths.map((path) => once(open.get(path) as ServerResponse, 'close')));
    await change(edit);
    for (const { end } of asked) expect(await end).toMatchObject({ status: 200, body: 'begin', whole: false });
    await closed;
    for (const path of paths) expect(await recordsOf(path)).toMatchObject([{ result: 'failed', status: 200, reason, role: 'doctor' }]);
  });

  it('are cut when nobody needs a certificate any more but their client has none', async () => {
    await change((yaml) => yaml.replace('allow: [doctor, patient, device]', 'allow: [public]'));
    const asked = ask(echo('chunked'));
    await asked.begun();
    await change((yaml) => yaml.replace('match: { path: /echo/* }, allow: [public]', 'match: { path: /echo/* }, allow: [doctor]'));
    expect(await asked.end).toMatchObject({ status: 200, whole: false });
    expect(await recordsOf(echo('chunked'))).toMatchObject([{ result: 'failed', reason: 'no_certificate' }]);
  });

  it('are on record with the reason for which their connection was ended', async () => {
    const client = await pki.issueClient({ subject: [['CN', 'Dr Gone'], ['OU', 'Doctors']] });
    const [chunked, waiting] = [ask(echo('chunked'), client), ask(echo('waiting'), client)];
    await chunked.begun();
    await expect.poll(() => open.has(echo('waiting')), { timeout: 20_000 }).toBe(true);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: client.sha256, reason: 'stolen', who: 'test' });
    expect([(await chunked.end).whole, (await waiting.end).whole]).toEqual([false, false]);
    expect(await recordsOf(echo('chunked'))).toMatchObject([{ result: 'failed', status: 200, reason: 'revoked_denylist' }]);
    expect(await recordsOf(echo('waiting'))).toMatchObject([{ result: 'failed', reason: 'revoked_denylist' }]);
  });

  it('go on through a reload that takes nothing away, and so do requests that wait for theirs', async () => {
    const paths = [echo('chunked'), echo('trailed'), echo('waiting')];
    const asked = paths.map((path) => ask(path, pki.doctor));
    await Promise.all(asked.slice(0, 2).map(({ begun }) => begun()));
    await expect.poll(() => open.has(echo('waiting')), { timeout: 20_000 }).toBe(true);
    await change((yaml) => yaml.replace('path: /records', 'path: /other'));
    // Judged by now: what is denied by the new rules has been.
    expect((await ask('/records', pki.doctor).end).status).toBe(404);
    for (const path of paths) open.get(path)?.end('end');
    for (const { end } of asked) {
      const { status, body, whole } = await end;
      expect([status, body.endsWith('end'), whole]).toEqual([200, true, true]);
    }
    for (const path of paths) expect(await recordsOf(path)).toMatchObject([{ result: 'permitted', status: 200 }]);
  });
});

describe.each(WAYS)('a request over %s whose answer is waited for', (_name, ask) => {
  it.each(TAKEN)('is denied after a reload when %s', async (_what, reason, status, edit) => {
    const asked = ask(echo('waiting'), pki.doctor);
    await expect.poll(() => open.has(echo('waiting')), { timeout: 20_000 }).toBe(true);
    const closed = once(open.get(echo('waiting')) as ServerResponse, 'close');
    await change(edit);
    expect(await asked.end).toMatchObject({ status, whole: true });
    await closed;
    expect(await recordsOf(echo('waiting'))).toMatchObject([{ result: 'denied', status, reason }]);
  });
});

describe('an answer to HTTP/1.0, which ends with its connection,', () => {
  it.each([
    ['a reload', () => change(TAKEN[1][3])],
    ['a revocation', (client: Issued) => gateway.gateway.deny({ kind: 'fingerprint', fingerprint: client.sha256, reason: 'stolen', who: 'test' })],
  ] as const)('is cut by %s with an error, not with the end that a whole one has', async (_what, act) => {
    const client = await pki.issueClient({ subject: [['CN', 'Dr Old'], ['OU', 'Doctors']] });
    const socket = await openTls(pki, gateway.port, { client });
    const ended: string[] = [];
    socket.on('end', () => ended.push('end'));
    socket.on('error', (error: NodeJS.ErrnoException) => ended.push(error.code ?? error.message));
    await exchange(socket, `GET ${echo('chunked')} HTTP/1.0\r\nHost: localhost\r\n\r\n`, (text) => text.endsWith('begin'));
    const closed = once(socket, 'close').catch(() => undefined);
    await act(client);
    await closed;
    expect(ended).toEqual(['ECONNRESET']);
  });
});
