import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { cookiesNamed } from '../src/forward/session-token.ts';
import { startRawBackend, type RawBackend } from './support/backend.ts';
import { exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

const HOST = 'Host: localhost\r\n';
const HSTS = 'max-age=31536000; includeSubDomains; preload';

/** The upstream's side of one request: what it has received so far, and its connection. */
interface Side {
  readonly socket: TLSSocket;
  readonly text: () => string;
}

let pki: TestPki;
let upstream: RawBackend;
let gateway: TestGateway;
/** What the upstream answers with, whole and at once, or does instead. */
let answer: string | ((side: Side) => void);
/** Every connection of the upstream on which something came. */
let sides: Side[];

const ROUTES = `
  - { name: records, match: { path: /records/* }, allow: [doctor], upstream: records, phi: true }
  - { name: pages, match: { path: /pages/* }, allow: [public], upstream: records, responses: { upgrade_insecure_requests: true } }
  - { name: small, match: { path: /small/* }, allow: [public], upstream: records, limits: { body: 10B } }
  - { name: strict, match: { path: /strict/* }, allow: [public], upstream: strict }
  - { name: nobody, match: { path: /nobody/* }, allow: [public], upstream: nobody }
  - { name: plain, match: { path: /plain/* }, allow: [public], upstream: records }`;

beforeAll(async () => {
  pki = await testPki();
  upstream = await startRawBackend(pki, (socket, text) => {
    if (!sides.some((side) => side.socket === socket)) sides.push({ socket, text: () => text });
    else sides = sides.map((side) => (side.socket === socket ? { socket, text: () => text } : side));
    if (typeof answer !== 'string') return answer({ socket, text: () => text });
    if (text.endsWith('\r\n\r\n')) socket.write(answer);
  });
  const to = (port: number, more = ''): string => `{ endpoints: ["https://127.0.0.1:${port}"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }${more} }`;
  gateway = await startGateway(pki, upstream.port, {
    routes: ROUTES, listenerExtra: '    limits: { header_size: 4KiB, header_time: 1s }',
    upstreams: `{ records: ${to(upstream.port)}, strict: ${to(upstream.port, ', unframed: refuse')}, nobody: ${to(1)} }`,
  });
});

beforeEach(() => {
  sides = [];
  answer = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello';
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

async function open(client: Issued | undefined = pki.doctor): Promise<TLSSocket> {
  const socket = await openTls(pki, gateway.port, client === undefined ? {} : { client });
  socket.on('error', () => undefined);
  return socket;
}

/** The TCP connection below the upstream's side of TLS: what is beneath cannot be reset through it. */
function transportOf(socket: TLSSocket): Socket {
  return (socket as unknown as { readonly _parent?: Socket | null })._parent ?? fail();
}

function fail(): never {
  throw new Error('no connection below TLS');
}

interface Heard {
  readonly text: string;
  readonly head: string;
  readonly body: string;
  /** The values of a field, one for each time it came. */
  values(name: string): readonly string[];
}

/** Sends a request on a connection of its own and takes the answer until `enough`, or the end. */
async function ask(octets: string, enough = (text: string): boolean => text.endsWith('hello') || text.endsWith('}\n')): Promise<Heard> {
  const socket = await open();
  const text = await exchange(socket, octets, enough);
  socket.destroy();
  return heard(text);
}

function heard(text: string): Heard {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  return {
    text, head, body: rest.join('\r\n\r\n'),
    values: (name) => head.split('\r\n').slice(1).flatMap((line) => (line.toLowerCase().startsWith(`${name}:`) ? [line.slice(name.length + 1).trim()] : [])),
  };
}

const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\n${HOST}${more}\r\n`;

async function recordOf(path: string): Promise<Record<string, unknown> | undefined> {
  return (await gateway.records()).findLast((record) => record['path'] === path);
}

describe('Strict-Transport-Security', () => {
  it.each([
    ['an answer', get('/plain/x')], ['a denied request', get('/nowhere')], ['a malformed request', `GET /\x01 HTTP/1.1\r\n${HOST}\r\n`], ['garbage', 'garbage\r\n\r\n'],
    ['a header that is too large', get('/plain/x', `X: ${'x'.repeat(5_000)}\r\n`)], ['a header that does not come', `GET /plain/x HTTP/1.1\r\n${HOST}`],
    ['a body that is too large', `POST /small/x HTTP/1.1\r\n${HOST}Content-Length: 100\r\n\r\n`], ['an upstream that is away', get('/nobody/x')],
    ['HTTP/1.0', `GET /plain/x HTTP/1.0\r\n${HOST}\r\n`], ['HEAD', `HEAD /nowhere HTTP/1.1\r\n${HOST}\r\n`], ['a misdirected request', 'GET /plain/x HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n'],
  ])('comes once with %s, and not as the upstream wants it', async (_name, octets) => {
    answer = `HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\nstrict-transport-security: max-age=1\r\nContent-Length: 5\r\n\r\nhello`;
    const { head, values } = await ask(octets, (text) => text.endsWith('hello') || text.endsWith('}\n') || (octets.startsWith('HEAD') && text.endsWith('\r\n\r\n')));
    expect(head).toMatch(/^HTTP\/1\.1 \d{3} /);
    expect(values('strict-transport-security')).toEqual([HSTS]);
  });

  it('comes once with a WebSocket', async () => {
    answer = ({ socket, text }) => {
      const key = /sec-websocket-key: (.*)\r/i.exec(text())?.[1] ?? '';
      const proof = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${proof}\r\nStrict-Transport-Security: max-age=0\r\n\r\n`);
    };
    const { head, values } = await ask(get('/plain/ws', 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'), (text) => text.endsWith('\r\n\r\n'));
    expect(head).toMatch(/^HTTP\/1\.1 101 /);
    expect(values('strict-transport-security')).toEqual([HSTS]);
  });
});

describe('answers that carry health data', () => {
  const STORAGE = 'Cache-Control: public, max-age=600\r\ncache-control: immutable\r\nExpires: Thu, 01 Dec 2099 16:00:00 GMT\r\nPragma: cache\r\nAge: 5\r\nCDN-Cache-Control: max-age=600\r\nSurrogate-Control: max-age=600\r\n';

  it.each(['200 OK', '404 Not Found', '500 Oops'])('may be stored by nobody, whatever the upstream says: %s', async (status) => {
    answer = `HTTP/1.1 ${status}\r\n${STORAGE}Vary: Accept\r\nETag: "1"\r\nContent-Length: 5\r\n\r\nhello`;
    const { values } = await ask(get('/records/7'));
    expect(values('cache-control')).toEqual(['no-store']);
    for (const name of ['expires', 'pragma', 'age', 'cdn-cache-control', 'surrogate-control']) expect([name, values(name)]).toEqual([name, []]);
    expect([values('vary'), values('etag')]).toEqual([['Accept'], ['"1"']]);
  });

  it('are the only ones: others are the upstream\'s to say', async () => {
    answer = `HTTP/1.1 200 OK\r\n${STORAGE}Content-Length: 5\r\n\r\nhello`;
    const { values } = await ask(get('/plain/x'));
    expect(values('cache-control')).toEqual(['public, max-age=600', 'immutable']);
    expect(values('cdn-cache-control')).toEqual(['max-age=600']);
  });
});

describe('upgrade-insecure-requests', () => {
  it('is added to the answers of a route that asks for it, beside every policy of the upstream', async () => {
    answer = `HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Security-Policy: default-src 'self'\r\ncontent-security-policy: img-src *, frame-ancestors 'none'\r\nContent-Length: 5\r\n\r\nhello`;
    expect((await ask(get('/pages/x'))).values('content-security-policy')).toEqual(["default-src 'self'", "img-src *, frame-ancestors 'none'", 'upgrade-insecure-requests']);
  });

  it('is added where the upstream has no policy, and on no other route', async () => {
    expect((await ask(get('/pages/x'))).values('content-security-policy')).toEqual(['upgrade-insecure-requests']);
    expect((await ask(get('/plain/x'))).values('content-security-policy')).toEqual([]);
  });

  it('follows each request on one connection', async () => {
    const socket = await open();
    const seen: number[] = [];
    for (const path of ['/pages/x', '/plain/x', '/pages/x', '/plain/x']) seen.push(heard(await exchange(socket, get(path), (text) => text.endsWith('hello'))).values('content-security-policy').length);
    expect(seen).toEqual([1, 0, 1, 0]);
    socket.destroy();
  });
});

/** The last request that the upstream has received: it keeps its connections. */
function lastRequest(): string {
  const text = sides.at(-1)?.text() ?? '';
  return text.slice(text.lastIndexOf('GET '));
}

describe('fields that end at the gateway', () => {
  const HOP = 'Connection: x-one, keep-alive\r\nX-One: 1\r\nCONNECTION: X-Two\r\nX-Two: 2\r\nKeep-Alive: timeout=999\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n'
    + 'Proxy-Authenticate: Basic\r\nProxy-Authorization: Basic Zm9v\r\nProxy-Authentication-Info: x\r\nTrailer: X-Late\r\nX-Kept: kept\r\n';
  const GONE = ['x-one', 'x-two', 'proxy-connection', 'te', 'proxy-authenticate', 'proxy-authorization', 'proxy-authentication-info', 'trailer'];

  it('do not reach the client', async () => {
    answer = `HTTP/1.1 200 OK\r\n${HOP}Upgrade: h2c\r\nAlt-Svc: h3=":443"\r\nProxy-Status: internal-7; error=dns_error\r\nContent-Length: 5\r\n\r\nhello`;
    const { values } = await ask(get('/plain/x'));
    for (const name of [...GONE, 'upgrade', 'alt-svc', 'proxy-status']) expect([name, values(name)]).toEqual([name, []]);
    expect(values('keep-alive').join()).not.toContain('999');
    expect(values('x-kept')).toEqual(['kept']);
    expect(values('content-length')).toEqual(['5']);
  });

  it('do not reach the upstream', async () => {
    await ask(get('/plain/x', HOP));
    const { values } = heard(lastRequest());
    for (const name of [...GONE, 'upgrade']) expect([name, values(name)]).toEqual([name, []]);
    expect(values('keep-alive').join()).not.toContain('999');
    expect(values('x-kept')).toEqual(['kept']);
  });

  it('are refused where leaving them out would change the message', async () => {
    for (const name of ['Host', 'Content-Length', 'Transfer-Encoding']) {
      expect((await ask(get('/plain/x', `Connection: ${name}\r\n`))).head).toMatch(/^HTTP\/1\.1 400 /);
    }
    expect(sides).toEqual([]);
  });

  it('stay out of trailers as well', async () => {
    answer = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Late: yes\r\nSet-Cookie: a=b\r\nStrict-Transport-Security: max-age=0\r\nX-Client-Role: admin\r\n\r\n';
    const { body } = await ask(get('/plain/x'), (text) => /\r\n0\r\n[^]*\r\n\r\n$/.test(text));
    expect(body).toMatch(/x-late: yes/i);
    expect(body).not.toMatch(/set-cookie|strict-transport|x-client-role/i);
  });
});

describe('a cookie of the gateway\'s own', () => {
  const cookie = (value: string): string => `Set-Cookie: ${value}\r\n`;
  const theirs = ['__Host-wardgate-session=wgs_x; Path=/; Secure', '__host-Wardgate-Form = x', '=__Host-wardgate-session=x; Secure', '__Host-wardgate-session', 'a=1, __Host-wardgate-session=x'];
  const forged = `sEt-CoOkIe:__Host-wardgate-session=x\r\n${theirs.map(cookie).join('')}`;
  const kept = cookie('mine=1; Path=/') + cookie('__Host-other=2; Secure; Path=/');

  it.each([
    ['the short way', 'Content-Length: 5\r\n\r\nhello'], ['the general way', 'Transfer-Encoding: chunked\r\n\r\n5;a="b"\r\nhello\r\n0\r\n\r\n'],
  ])('is set by no upstream, in no spelling, %s by HTTP/1.1', async (_name, rest) => {
    answer = `HTTP/1.1 200 OK\r\n${forged}${kept}${rest}`;
    expect((await ask(get('/plain/x'), (text) => /hello(?:\r\n0\r\n\r\n)?$/.test(text))).values('set-cookie')).toEqual(['mine=1; Path=/', '__Host-other=2; Secure; Path=/']);
  });

  it('is set by no upstream by HTTP/2', async () => {
    answer = `HTTP/1.1 200 OK\r\n${forged}${kept}Content-Length: 5\r\n\r\nhello`;
    const session = await openHttp2(pki, gateway.port, { client: pki.doctor });
    expect((await askHttp2(session, '/plain/x')).headers['set-cookie']).toEqual(['mine=1; Path=/', '__Host-other=2; Secure; Path=/']);
    session.destroy();
  });

  it('is set by no upstream with a WebSocket', async () => {
    const proof = createHash('sha1').update('AAAAAAAAAAAAAAAAAAAAAA==258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');
    answer = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${proof}\r\n${forged}${kept}\r\n`;
    const reply = await ask(get('/plain/x', 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'), (text) => text.includes('\r\n\r\n'));
    expect(reply.head).toContain(' 101 ');
    expect(reply.values('set-cookie')).toEqual(['mine=1; Path=/', '__Host-other=2; Secure; Path=/']);
  });

  it('is not taken for one where its name begins with what no browser takes away', () => {
    expect(cookiesNamed('__Host-wardgate-form', 'a=1;\t__Host-wardgate-form=x ; \u00a0__Host-wardgate-form=y;\ufeff__Host-wardgate-form=z')).toEqual(['x']);
  });
});

describe('an answer with status 205, which has no content (RFC 9110 section 15.3.6),', () => {
  it.each([
    ['as it should be', 'Content-Length: 0\r\n\r\n'], ['that has content all the same', 'Content-Length: 5\r\n\r\nhello'],
    ['that is chunked', 'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n'], ['that is chunked and has content', 'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'],
  ])('reaches clients without any, and its connection goes on: one %s', async (_what, rest) => {
    answer = `HTTP/1.1 205 Reset Content\r\n${rest}`;
    const socket = await open();
    const { head, values } = heard(await exchange(socket, get('/plain/reset'), (text) => text.endsWith('\r\n\r\n')));
    expect(head).toMatch(/^HTTP\/1\.1 205 /);
    expect([values('content-length'), values('transfer-encoding')]).toEqual([['0'], []]);
    answer = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello';
    expect(await exchange(socket, get('/plain/next'), (text) => text.endsWith('hello'))).toMatch(/^HTTP\/1\.1 200 /);
    socket.destroy();
    expect(await recordOf('/plain/reset')).toMatchObject({ result: 'permitted', status: 205, bytes_out: 0 });
  });
});

describe('a client that leaves', () => {
  const leave: readonly (readonly [string, (socket: TLSSocket, transport: Socket) => void])[] = [
    ['by closing', (socket) => socket.end()],
    ['without a word', (socket) => socket.destroy()],
    ['by a reset', (_socket, transport) => transport.resetAndDestroy()],
  ];

  const phases: readonly (readonly [string, string, string, (side: Side) => void])[] = [
    ['within its request', '/plain/request', `POST /plain/request HTTP/1.1\r\n${HOST}Content-Length: 100000\r\n\r\n${'x'.repeat(1_000)}`, () => undefined],
    ['within its chunked request', '/plain/chunked', `POST /plain/chunked HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n10000\r\n${'x'.repeat(1_000)}`, () => undefined],
    ['before the answer', '/plain/before', get('/plain/before'), () => undefined],
    ['within the answer', '/plain/within', get('/plain/within'), ({ socket, text }) => {
      if (text().endsWith('\r\n\r\n')) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(1_000)}`);
    }],
    ['within a chunked answer', '/plain/stream', get('/plain/stream'), ({ socket, text }) => {
      if (text().endsWith('\r\n\r\n')) socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3E8\r\n${'x'.repeat(1_000)}\r\n`);
    }],
    ['within an answer that ends with its connection', '/plain/unframed', get('/plain/unframed'), ({ socket, text }) => {
      if (text().endsWith('\r\n\r\n')) socket.write(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(1_000)}`);
    }],
  ];

  it.each(phases.flatMap((phase) => leave.map((way) => [...phase, ...way] as const)))('%s: its upstream is let go, and it is on record (%s)', async (_phase, path, octets, behave, _way, go) => {
    answer = behave;
    const transport = connectTcp(gateway.port, '127.0.0.1').on('error', () => undefined);
    const socket = connectTls({ socket: transport, servername: 'localhost', ca: pki.root.certificate, cert: pki.doctor.chain, key: pki.doctor.key }).on('error', () => undefined);
    await once(socket, 'secureConnect');
    let taken = 0;
    socket.on('data', (chunk: Buffer) => (taken += chunk.length));
    socket.write(octets);
    await expect.poll(() => sides.length).toBe(1);
    if (behave !== phases[0]?.[3] && octets.startsWith('GET') && path !== '/plain/before') await expect.poll(() => taken).toBeGreaterThan(1_000);
    if (octets.startsWith('POST')) await expect.poll(() => sides[0]?.text().length ?? 0).toBeGreaterThan(1_000);
    const closed = new Promise((done) => sides[0]?.socket.once('close', done));
    go(socket, transport);
    await closed;
    await expect.poll(async () => (await recordOf(path))?.['result']).toBe('failed');
    // What the upstream has of the body must not look whole to it either.
    if (path === '/plain/chunked') expect(sides[0]?.text()).not.toMatch(/\r\n0\r\n\r\n$/);
    await expect.poll(async () => (await gateway.gateway.status()).connections).toBe(0);
  });
});

describe('an upstream that dies within its answer', () => {
  const die: readonly (readonly [string, (socket: TLSSocket) => void])[] = [
    ['closing in order', (socket) => socket.end()],
    ['closing without a word', (socket) => socket.destroy()],
    ['resetting', (socket) => transportOf(socket).resetAndDestroy()],
  ];
  const framings: readonly (readonly [string, string])[] = [
    ['of a known length', `Content-Length: 100000\r\n\r\n${'x'.repeat(1_000)}`],
    ['in chunks', `Transfer-Encoding: chunked\r\n\r\n3E8\r\n${'x'.repeat(1_000)}\r\n`],
    ['in half a chunk', `Transfer-Encoding: chunked\r\n\r\n2000\r\n${'x'.repeat(1_000)}`],
    ['with half of the last chunk', `Transfer-Encoding: chunked\r\n\r\n3E8\r\n${'x'.repeat(1_000)}\r\n0\r\n`],
  ];

  /** How a connection ended for its client, and what it had received. */
  async function watch(octets: string): Promise<{ readonly text: string; readonly end: string }> {
    const socket = await openTls(pki, gateway.port, { client: pki.doctor });
    let text = '';
    let end = 'end';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    socket.on('error', (error: NodeJS.ErrnoException) => (end = error.code ?? 'error'));
    socket.write(octets);
    await once(socket, 'close').catch(() => undefined);
    return { text, end };
  }

  const dying = (framing: string, go: (socket: TLSSocket) => void) => ({ socket, text }: Side): void => {
    if (!text().endsWith('\r\n\r\n')) return;
    socket.write(`HTTP/1.1 200 OK\r\n${framing}`, () => setTimeout(() => go(socket), 50));
  };

  it.each(framings.flatMap(([name, framing]) => die.map(([how, go]) => [name, how, framing, go] as const)))('%s, %s, leaves no whole answer', async (_name, _how, framing, go) => {
    answer = dying(framing, go);
    const { text } = await watch(get('/plain/dies'));
    expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(isWhole(text)).toBe(false);
    await expect.poll(() => recordOf('/plain/dies')).toMatchObject({ result: 'failed', status: 200, reason: 'upstream_unavailable' });
  });

  it.each(framings.slice(1).flatMap(([name, framing]) => die.map(([how, go]) => [name, how, framing, go] as const)))(
    '%s, %s, is an error to a client of HTTP/1.0, to which the end of its connection is the end of an answer', async (_name, _how, framing, go) => {
      answer = dying(framing, go);
      const { text, end } = await watch(`GET /plain/old HTTP/1.0\r\n${HOST}\r\n`);
      expect(text).toMatch(/^HTTP\/1\.1 200 /);
      expect(text).not.toMatch(/transfer-encoding/i);
      expect(end).toBe('ECONNRESET');
    });

  it('by a reset, of an answer that ends with its connection, leaves no whole answer either', async () => {
    answer = dying(`\r\n${'x'.repeat(1_000)}`, (socket) => transportOf(socket).resetAndDestroy());
    expect(isWhole((await watch(get('/plain/dies'))).text)).toBe(false);
    expect((await watch(`GET /plain/old HTTP/1.0\r\n${HOST}\r\n`)).end).toBe('ECONNRESET');
  });

  it('leaves the others alone', async () => {
    const other = await open();
    answer = dying(framings[0]?.[1] ?? '', (socket) => socket.destroy());
    await watch(get('/plain/dies'));
    answer = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello';
    expect(await exchange(other, get('/plain/x'), (text) => text.endsWith('hello'))).toMatch(/^HTTP\/1\.1 200 /);
    other.destroy();
  });
});

/** Whether an answer of HTTP/1.1 is whole by its own framing. */
function isWhole(text: string): boolean {
  const { values, body } = heard(text);
  const [length] = values('content-length');
  if (length !== undefined) return body.length >= Number(length);
  return values('transfer-encoding').length > 0 ? /(^|\r\n)0\r\n(.*\r\n)*\r\n$/.test(body) : true;
}

describe('an answer that ends with its connection', () => {
  const unframed = ({ socket, text }: Side): void => {
    if (text().endsWith('\r\n\r\n')) socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello');
  };

  it('passes where that is allowed, whole', async () => {
    answer = unframed;
    const { text, body } = await ask(get('/plain/x'), (so_far) => so_far.endsWith('0\r\n\r\n'));
    expect(isWhole(text)).toBe(true);
    expect(body).toBe('5\r\nhello\r\n0\r\n\r\n');
    expect((await ask(`GET /plain/x HTTP/1.0\r\n${HOST}\r\n`, () => false)).body).toBe('hello');
  });

  it('is refused where it is not: nobody could tell its end from its being cut', async () => {
    answer = unframed;
    expect((await ask(get('/strict/x'))).text).toMatch(/^HTTP\/1\.1 502 [^]*upstream_unavailable/);
    expect(await recordOf('/strict/x')).toMatchObject({ result: 'failed', reason: 'upstream_unavailable', detail: expect.stringContaining('only the end of its connection') });
    answer = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello';
    expect((await ask(get('/strict/x'))).body).toBe('hello');
    answer = 'HTTP/1.1 204 No Content\r\n\r\n';
    expect((await ask(get('/strict/x'), (text) => text.endsWith('\r\n\r\n'))).head).toMatch(/^HTTP\/1\.1 204 /);
  });
});
