import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { parseCertificate } from '../src/pki/certificate.ts';
import type { Certificate } from '../src/pki/certificate.ts';
import { createOcspClient } from '../src/revocation/ocsp-client.ts';
import type { OcspClient, OcspClientOptions } from '../src/revocation/ocsp-client.ts';
import { isLocalAddress, refuseUrl } from '../src/revocation/named-urls.ts';
import { answerOcsp, createAuthority, issueCertificate, ocspNoCheck, readOcspRequest } from './support/pki.ts';
import type { Authority, CertificateOptions, Issued, OcspAnswerOptions } from './support/pki.ts';

const HOUR = 3_600_000;

let ca: Authority;
let otherCa: Authority;
let client: Issued;
const closers: (() => void)[] = [];

beforeAll(async () => {
  ca = await createAuthority({ name: 'Status CA' });
  otherCa = await createAuthority({ name: 'Another CA' });
  client = await issueCertificate(ca, { subject: [['CN', 'Dr Wang']] });
});

afterEach(() => {
  for (const close of closers.splice(0)) close();
});

const parse = (issued: Issued): Certificate => parseCertificate(issued.der);

function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<string> {
  closers.push(() => {
    server.close();
    if ('closeAllConnections' in server) server.closeAllConnections();
  });
  server.listen(0, '127.0.0.1');
  return once(server, 'listening').then(() => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** A responder whose behaviour can be changed between requests, and that counts them. */
interface Responder {
  readonly url: string;
  requests: number;
  options: Partial<OcspAnswerOptions>;
  /** Answers instead of the OCSP answer. */
  instead: RequestListener | undefined;
  /** Waits for this before it answers. */
  hold: Promise<void> | undefined;
  lastRequest: { readonly method: string; readonly body: Buffer } | undefined;
}

async function startResponder(options: Partial<OcspAnswerOptions> = {}): Promise<Responder> {
  const responder = { url: '', requests: 0, options, instead: undefined, hold: undefined, lastRequest: undefined } as Responder & { url: string };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    responder.requests += 1;
    const sent = await bodyOf(request);
    const body = request.method === 'GET' ? Buffer.from(decodeURIComponent(request.url!.slice(1)), 'base64') : sent;
    responder.lastRequest = { method: request.method!, body };
    await responder.hold;
    if (responder.instead !== undefined) {
      responder.instead(request, response);
      return;
    }
    const der = await answerOcsp(body, { authority: ca, statusOf: () => ({ kind: 'good' }), ...responder.options });
    response.writeHead(200, { 'content-type': 'application/ocsp-response' }).end(der);
  };
  responder.url = await listen(createServer((request, response) => {
    answer(request, response).catch((error: Error) => response.destroy(error));
  }));
  return responder;
}

function createClient(responder: string | undefined, options: Partial<OcspClientOptions> = {}, config: Partial<OcspClientOptions['config']> = {}): OcspClient {
  const made = createOcspClient({
    config: { ...(responder === undefined ? {} : { responder }), from_certificate: true, timeout: 2_000, max_age: 600_000, method: 'POST', ...config },
    skew: 60_000, now: () => Date.now(), ...options,
  });
  closers.push(() => made.close());
  return made;
}

/** A clock that goes on when it is told to: a busy machine took longer over a refresh than an answer had left. */
function setClock(): { readonly now: () => number; readonly advance: (ms: number) => void } {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  onTestFinished(() => void vi.useRealTimers());
  let now = Date.now();
  return {
    now: () => now,
    advance(ms) {
      now += ms;
      vi.advanceTimersByTime(ms);
    },
  };
}

const unavailable = (detail: RegExp): object => ({ kind: 'unavailable', source: 'ocsp', reason: 'ocsp_unavailable', detail: expect.stringMatching(detail) });

describe('the OCSP client', () => {
  let responder: Responder;

  beforeEach(async () => {
    responder = await startResponder();
  });

  const ask = (client_: OcspClient, about = client) => client_.status(parse(about), parse(ca));

  it('asks the responder once and remembers the answer', async () => {
    const ocsp = createClient(responder.url);
    expect(await ask(ocsp)).toMatchObject({ kind: 'good', source: 'ocsp' });
    expect(await ask(ocsp)).toMatchObject({ kind: 'good' });
    expect(responder.requests).toBe(1);
    expect(ocsp.size()).toBe(1);
    expect(ocsp.cached(parse(client), parse(ca))).toMatchObject({ kind: 'good' });
  });

  it('says revoked, when and why', async () => {
    const at = Date.UTC(2026, 0, 1);
    responder.options = { statusOf: () => ({ kind: 'revoked', at, reason: 'keyCompromise' }) };
    expect(await ask(createClient(responder.url))).toMatchObject({ kind: 'revoked', reason: 'keyCompromise', revokedAt: at });
  });

  it('asks once for a certificate however many wait', async () => {
    const ocsp = createClient(responder.url);
    let release = (): void => undefined;
    responder.hold = new Promise((resolve) => {
      release = resolve;
    });
    const waiting = Array.from({ length: 20 }, () => ask(ocsp));
    release();
    expect((await Promise.all(waiting)).every(({ kind }) => kind === 'good')).toBe(true);
    expect(responder.requests).toBe(1);
  });

  it('does not make one certificate wait for the answer about another', async () => {
    const other = await issueCertificate(ca, { subject: [['CN', 'Other']] });
    const ocsp = createClient(responder.url);
    await ask(ocsp, other);
    responder.hold = new Promise(() => undefined);
    void ask(ocsp);
    expect(await ask(ocsp, other)).toMatchObject({ kind: 'good' });
  });

  it('asks again when max_age has passed, and hears of the revocation', async () => {
    let now = Date.now();
    const ocsp = createClient(responder.url, { now: () => now });
    expect((await ask(ocsp)).kind).toBe('good');
    now += 600_001;
    responder.options = { thisUpdate: now, producedAt: now, statusOf: () => ({ kind: 'revoked' }) };
    expect((await ask(ocsp)).kind).toBe('revoked');
    expect(responder.requests).toBe(2);
  });

  it('takes an answer that was signed in advance, and counts max_age from its arrival', async () => {
    let now = Date.now();
    const ocsp = createClient(responder.url, { now: () => now });
    responder.options = { nonce: 'omit', thisUpdate: now - 6 * HOUR, nextUpdate: now + 18 * HOUR };
    expect(await ask(ocsp)).toMatchObject({ kind: 'good', validUntil: now + 600_000 });
    now += 600_000;
    expect(ocsp.cached(parse(client), parse(ca))).toBeUndefined();
  });

  it('does not let an older good answer undo a revocation', async () => {
    let now = Date.now();
    const ocsp = createClient(responder.url, { now: () => now });
    responder.options = { nonce: 'omit', thisUpdate: now - HOUR, nextUpdate: now + HOUR, statusOf: () => ({ kind: 'revoked' }) };
    await ask(ocsp);
    now += 700_000;
    responder.options = { nonce: 'omit', thisUpdate: now - 2 * HOUR, nextUpdate: now + HOUR };
    expect((await ask(ocsp)).kind).toBe('revoked');
  });

  it('tells of a revocation that a refresh brings, before the good answer has ended', async () => {
    const { now, advance } = setClock();
    const changed = vi.fn<NonNullable<OcspClientOptions['changed']>>();
    const ocsp = createClient(responder.url, { now, changed }, { max_age: 2_000 });
    expect(await ask(ocsp)).toMatchObject({ kind: 'good' });
    responder.options = { statusOf: () => ({ kind: 'revoked', reason: 'keyCompromise' }) };
    advance(1_990);
    await expect.poll(() => changed.mock.calls.length).toBe(1);
    expect(changed.mock.calls[0]?.[2]).toMatchObject({ kind: 'revoked', reason: 'keyCompromise' });
  });

  it('goes on saying revoked when the responder is gone', async () => {
    let now = Date.now();
    const ocsp = createClient(responder.url, { now: () => now });
    responder.options = { statusOf: () => ({ kind: 'revoked', reason: 'superseded' }) };
    await ask(ocsp);
    now += 2 * HOUR;
    responder.instead = (_, response) => response.destroy();
    expect(await ask(ocsp)).toMatchObject({ kind: 'revoked', reason: 'superseded' });
  });

  it('says until when a certificate was good once the responder is gone', async () => {
    let now = Date.now();
    const ocsp = createClient(responder.url, { now: () => now });
    const answer = await ask(ocsp);
    now += 2 * HOUR;
    responder.instead = (_, response) => response.destroy();
    expect(await ask(ocsp)).toMatchObject({ kind: 'unavailable', lastGoodAt: answer.kind === 'good' ? answer.validUntil : NaN });
  });

  it('leaves a responder alone for a moment after it failed', async () => {
    let now = Date.now();
    responder.instead = (_, response) => response.writeHead(500).end();
    const ocsp = createClient(responder.url, { now: () => now });
    expect(await ask(ocsp)).toMatchObject(unavailable(/HTTP status 500/));
    expect(await ask(ocsp)).toMatchObject(unavailable(/HTTP status 500/));
    expect(responder.requests).toBe(1);
    now += 10_000;
    responder.instead = undefined;
    expect(await ask(ocsp)).toMatchObject({ kind: 'good' });
  });

  it('refreshes an answer before it expires while the old one serves', async () => {
    const { now, advance } = setClock();
    const ocsp = createClient(responder.url, { now }, { max_age: 2_000 });
    const first = await ask(ocsp);
    advance(1_990);
    expect(ocsp.cached(parse(client), parse(ca))).toEqual(first);
    await expect.poll(() => ocsp.cached(parse(client), parse(ca))?.at).toBeGreaterThan(first.at);
    expect(first.kind === 'good' && now() < first.validUntil).toBe(true);
    expect(responder.requests).toBe(2);
  });

  it('tries the responders in turn', async () => {
    const broken = await startResponder();
    broken.instead = (_, response) => response.writeHead(200).end('garbage');
    const about = await issueCertificate(ca, { subject: [['CN', 'Two responders']], ocsp: [broken.url, responder.url] });
    const ocsp = createClient(undefined, { allowLocal: true });
    expect(await ask(ocsp, about)).toMatchObject({ kind: 'good' });
    expect([broken.requests, responder.requests]).toEqual([1, 1]);
  });

  it('does not let a responder that hangs use up the time of the next', async () => {
    const hanging = await startResponder();
    hanging.hold = new Promise(() => undefined);
    const about = await issueCertificate(ca, { subject: [['CN', 'Two responders']], ocsp: [hanging.url, responder.url] });
    const ocsp = createClient(undefined, { allowLocal: true }, { timeout: 1_000 });
    expect(await ask(ocsp, about)).toMatchObject({ kind: 'good' });
  });

  it('asks with GET where that is configured, without a nonce', async () => {
    const ocsp = createClient(responder.url, {}, { method: 'GET' });
    expect(await ask(ocsp)).toMatchObject({ kind: 'good' });
    expect(responder.lastRequest?.method).toBe('GET');
    expect(readOcspRequest(responder.lastRequest!.body)).not.toHaveProperty('nonce');
  });

  it('answers who waits when it is closed', async () => {
    responder.hold = new Promise(() => undefined);
    const ocsp = createClient(responder.url);
    const waiting = ask(ocsp);
    ocsp.close();
    expect(await waiting).toMatchObject(unavailable(/closed|destroyed/));
  });
});

// The first reason to fear a responder: whatever it does, the worst that comes of it is an unknown status.
describe('a hostile responder', () => {
  async function outcome(responder: Responder, options: Partial<OcspClientOptions> = {}, config: Partial<OcspClientOptions['config']> = {}) {
    return createClient(responder.url, options, config).status(parse(client), parse(ca));
  }

  const delegate = (options: Partial<CertificateOptions> = {}, authority = ca): Promise<Issued> =>
    issueCertificate(authority, { subject: [['CN', 'Responder']], eku: ['OCSPSigning'], extensions: [ocspNoCheck()], ...options });

  it('that signs with the wrong key', async () => {
    const wrong = await createAuthority({ name: 'Status CA' });
    expect(await outcome(await startResponder({ authority: wrong, anyIssuer: true, responderId: 'name' }))).toMatchObject(unavailable(/signature/));
  });

  it('that answers about the wrong certificate', async () => {
    const editCertId = (certId: Buffer): Buffer => {
      const edited = Buffer.from(certId);
      edited[edited.length - 1] = edited.at(-1)! ^ 1;
      return edited;
    };
    expect(await outcome(await startResponder({ editCertId }))).toMatchObject(unavailable(/another certificate/));
  });

  it('that replays a good answer after the revocation', async () => {
    const responder = await startResponder();
    const recorded = await answerOcsp(await recordRequest(responder), { authority: ca, statusOf: () => ({ kind: 'good' }) });
    responder.instead = (_, response) => response.writeHead(200).end(recorded);
    expect(await outcome(responder)).toMatchObject(unavailable(/replay/));
  });

  async function recordRequest(responder: Responder): Promise<Buffer> {
    await outcome(responder);
    return responder.lastRequest!.body;
  }

  it('that replays an answer without a nonce and without an end, once that is older than max_age', async () => {
    const responder = await startResponder({ nonce: 'omit', thisUpdate: Date.now() - 11 * 60_000, nextUpdate: null });
    expect(await outcome(responder)).toMatchObject(unavailable(/max_age/));
  });

  it("that answers with tomorrow's thisUpdate", async () => {
    const responder = await startResponder({ thisUpdate: Date.now() + 24 * HOUR, nextUpdate: Date.now() + 48 * HOUR });
    expect(await outcome(responder)).toMatchObject(unavailable(/future/));
  });

  it('that answers with an expired answer', async () => {
    const responder = await startResponder({ thisUpdate: Date.now() - 2 * HOUR, nextUpdate: Date.now() - HOUR });
    expect(await outcome(responder)).toMatchObject(unavailable(/expired/));
  });

  it('that answers through a delegate without the extended key usage', async () => {
    expect(await outcome(await startResponder({ delegate: await delegate({ eku: ['serverAuth'] }) }))).toMatchObject(unavailable(/OCSPSigning/));
  });

  it('that answers through a delegate of another CA', async () => {
    expect(await outcome(await startResponder({ delegate: await delegate({}, otherCa) }))).toMatchObject(unavailable(/another CA/));
  });

  it('that answers through a revoked delegate', async () => {
    const responder = await startResponder({ delegate: await delegate() });
    expect(await outcome(responder, { delegateStatus: () => 'revoked' })).toMatchObject(unavailable(/revoked/));
  });

  it('that says tryLater', async () => {
    expect(await outcome(await startResponder({ failure: 'tryLater' }))).toMatchObject(unavailable(/tryLater/));
  });

  it('that sends 10 MB', async () => {
    const responder = await startResponder();
    let sent = 0;
    responder.instead = (_, response) => {
      response.writeHead(200);
      const pump = (): void => {
        while (sent < 10 * 1024 * 1024 && !response.destroyed) {
          sent += 65_536;
          if (!response.write(Buffer.alloc(65_536))) {
            response.once('drain', pump);
            return;
          }
        }
        response.end();
      };
      pump();
    };
    expect(await outcome(responder)).toMatchObject(unavailable(/longer than 65536/));
  });

  it('that announces 10 MB and sends nothing', async () => {
    const responder = await startResponder();
    responder.instead = (_, response) => {
      response.writeHead(200, { 'content-length': 10 * 1024 * 1024 });
      response.flushHeaders();
    };
    expect(await outcome(responder, {}, { timeout: 300 })).toMatchObject(unavailable(/within 300 ms/));
  });

  it('that sends one byte a second', async () => {
    const responder = await startResponder();
    const timers: NodeJS.Timeout[] = [];
    closers.push(() => timers.forEach((timer) => clearInterval(timer)));
    responder.instead = (_, response) => {
      response.writeHead(200);
      response.write('0');
      timers.push(setInterval(() => response.write('0'), 50));
    };
    const started = performance.now();
    expect(await outcome(responder, {}, { timeout: 500 })).toMatchObject(unavailable(/within 500 ms/));
    expect(performance.now() - started).toBeLessThan(8_000);
  });

  it('that accepts the connection and says nothing', async () => {
    const sockets = new Set<Socket>();
    const url = await listen(createTcpServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
    }));
    closers.push(() => sockets.forEach((socket) => socket.destroy()));
    const ocsp = createClient(url, {}, { timeout: 300 });
    expect(await ocsp.status(parse(client), parse(ca))).toMatchObject(unavailable(/within 300 ms/));
  });

  it('that sends garbage', async () => {
    const responder = await startResponder();
    responder.instead = (_, response) => response.writeHead(200, { 'content-type': 'application/ocsp-response' }).end('0\u0082garbage');
    expect(await outcome(responder)).toMatchObject(unavailable(/ocsp/));
  });

  it('that sends garbage instead of HTTP', async () => {
    const url = await listen(createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('\u0000\u0001\u0002 not HTTP at all\r\n\r\n');
    }));
    expect((await createClient(url).status(parse(client), parse(ca))).kind).toBe('unavailable');
  });

  it('that sends an empty answer, or closes at once', async () => {
    const responder = await startResponder();
    responder.instead = (_, response) => response.writeHead(200).end();
    expect((await outcome(responder)).kind).toBe('unavailable');
    responder.instead = (_, response) => response.destroy();
    expect((await outcome(responder)).kind).toBe('unavailable');
  });

  it('that redirects to another', async () => {
    const honest = await startResponder();
    const responder = await startResponder();
    responder.instead = (_, response) => response.writeHead(307, { location: honest.url }).end();
    expect(await outcome(responder)).toMatchObject(unavailable(/HTTP status 307/));
    expect(honest.requests).toBe(0);
  });

  it('that is not there', async () => {
    const responder = await startResponder();
    for (const close of closers.splice(0)) close();
    expect(await outcome(responder)).toMatchObject(unavailable(/ECONNREFUSED|refused/));
  });
});

// TRAPS 17: the certificate chooses these URLs.
describe('a responder that a certificate names', () => {
  it('is asked when none is configured, and not on this host', async () => {
    const responder = await startResponder();
    const about = await issueCertificate(ca, { subject: [['CN', 'Named']], ocsp: responder.url });
    expect(await createClient(undefined, { allowLocal: true }).status(parse(about), parse(ca))).toMatchObject({ kind: 'good' });
    expect(await createClient(undefined).status(parse(about), parse(ca))).toMatchObject(unavailable(/a local address/));
    expect(responder.requests).toBe(1);
  });

  it('is not asked through a name that resolves to this host', async () => {
    const responder = await startResponder();
    const about = await issueCertificate(ca, { subject: [['CN', 'Named']], ocsp: responder.url.replace('127.0.0.1', 'localhost') });
    expect(await createClient(undefined).status(parse(about), parse(ca))).toMatchObject(unavailable(/resolves to a local address/));
    expect(responder.requests).toBe(0);
  });

  it('is not asked when the configuration says so', async () => {
    const responder = await startResponder();
    const about = await issueCertificate(ca, { subject: [['CN', 'Named']], ocsp: responder.url });
    const ocsp = createClient(undefined, { allowLocal: true }, { from_certificate: false });
    expect(await ocsp.status(parse(about), parse(ca))).toMatchObject({ ...unavailable(/no responder is known/), absent: true });
  });

  it.each([
    'ldap://pki.test/cn=ca', 'file:///etc/passwd', 'http://127.0.0.1/', 'http://[::1]/', 'http://0x7f000001/', 'http://2130706433/', 'http://127.1/',
    'http://169.254.169.254/latest/meta-data', 'http://[fe80::1]/', 'http://[::ffff:127.0.0.1]/', 'http://0.0.0.0/', 'http://user:password@pki.test/', 'not a url',
  ])('is refused as %s', (url) => {
    expect(refuseUrl(url, false)).toBeTypeOf('string');
  });

  it.each(['http://ocsp.hospital.test/', 'https://ocsp.hospital.test:8443/status', 'http://10.1.2.3/', 'http://[2001:db8::1]/'])('may be %s', (url) => {
    expect(refuseUrl(url, false)).toBeUndefined();
  });

  it.each([['127.0.0.1', true], ['::1', true], ['::ffff:127.0.0.1', true], ['64:ff9b::7f00:1', true], ['10.0.0.1', false], ['2001:db8::1', false], ['nonsense', true]])(
    'knows whether %s is local: %s', (address, local) => {
      expect(isLocalAddress(address)).toBe(local);
    },
  );
});
