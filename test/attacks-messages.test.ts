import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, startRawBackend, type Backend, type RawBackend } from './support/backend.ts';
import { ask, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const HOST = 'Host: localhost\r\n';
/** For the general path, which reads on while it waits for an answer. */
const UNUSUAL = 'TE: trailers\r\n';

let pki: TestPki;

beforeAll(async () => {
  pki = await testPki();
});

describe('behind an answer under way', () => {
  let upstream: RawBackend;
  let gateway: TestGateway;
  /** Ends the answer that the upstream has begun, or begins and ends it. */
  let finish: () => void;
  /** Resolves once the upstream holds a slow request. */
  let asked: Promise<void>;
  let onAsked: () => void;

  beforeAll(async () => {
    upstream = await startRawBackend(pki, (socket, text) => {
      if (!text.includes('\r\n\r\n')) return;
      if (text.endsWith('hello')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext');
      else if (text.includes('/echo/begun')) {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n${'A'.repeat(20)}`);
        finish = () => void socket.write('A'.repeat(380));
      } else if (text.includes('/echo/slow')) {
        finish = () => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow');
        onAsked();
      }
    });
    gateway = await startGateway(pki, upstream.port);
  });

  afterAll(async () => {
    await gateway.stop();
    await upstream.close();
  });

  const anew = (): void => {
    finish = () => undefined;
    asked = new Promise((done) => {
      onAsked = done;
    });
  };

  const malformed = async (): Promise<number> => (await gateway.records()).filter((record) => record['reason'] === 'bad_request').length;

  it('garbage puts no second answer into it', async () => {
    anew();
    const before = await malformed();
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const all = exchange(socket, `GET /echo/begun HTTP/1.1\r\n${HOST}${UNUSUAL}\r\n`);
    await once(socket, 'data');
    socket.write('GARBAGE\r\n\r\n');
    await expect.poll(malformed).toBe(before + 1);
    finish();
    const [head, body] = (await all).split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 200 /);
    expect(body).toMatch(/^A+$/);
  });

  it('and behind a request that waits for one, garbage is not answered in its stead', async () => {
    anew();
    const before = await malformed();
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const all = exchange(socket, `GET /echo/slow HTTP/1.1\r\n${HOST}${UNUSUAL}\r\nGARBAGE\r\n\r\n`);
    await expect.poll(malformed).toBe(before + 1);
    finish();
    expect(await all).toMatch(/^(HTTP\/1\.1 200 [\s\S]*slow)?$/);
  });

  it('a request that expects 100 Continue does not get it into an answer', async () => {
    anew();
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const all = exchange(socket, `GET /echo/slow HTTP/1.1\r\n${HOST}${UNUSUAL}\r\nPOST /echo/next HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello`, (text) => text.includes('next'));
    await asked;
    finish();
    const text = await all;
    expect(upstream.received().some((received) => received.endsWith('\r\n\r\nhello'))).toBe(true);
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1])).toEqual(['200', '100', '200']);
    expect(text).toMatch(/\r\n\r\nslowHTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 [^]*\r\n\r\nnext$/);
    socket.destroy();
  });
});

describe('a body that grows over its limit after the upstream has answered', () => {
  it('ends the upstream\'s connection, and is on record as too large', async () => {
    let upstreamSide: TLSSocket | undefined;
    const upstream = await startRawBackend(pki, (socket) => {
      if (upstreamSide === undefined) socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n');
      upstreamSide = socket;
    });
    const gateway = await startGateway(pki, upstream.port, { routes: '\n  - { name: upload, match: { path: /upload }, allow: [patient], upstream: records, limits: { body: 1KiB } }' });
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    await exchange(socket, `POST /upload HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`, (text) => text.includes('early'));
    const cut = once(upstreamSide as unknown as TLSSocket, 'close');
    const all = exchange(socket, `10000\r\n${'x'.repeat(65_536)}\r\n`.repeat(32));
    await cut;
    expect(await all).not.toContain('0\r\n\r\n');
    await expect.poll(async () => (await gateway.records()).filter((record) => record['path'] === '/upload')).toMatchObject([{ result: 'failed', reason: 'body_too_large' }]);
    expect(upstream.received().join('').length).toBeLessThan(256 * 1024);
    await gateway.stop();
    await upstream.close();
  });
});

describe('what an upstream could read otherwise than we', () => {
  let backend: Backend;
  let gateway: TestGateway;

  beforeAll(async () => {
    backend = await startBackend(pki);
    gateway = await startGateway(pki, backend.port);
  });

  afterAll(async () => {
    await gateway.stop();
    await backend.close();
  });

  it('is a Transfer-Encoding in HTTP/1.0, which is refused with 400', async () => {
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const text = await exchange(socket, `POST /echo/old HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toContain('"code":"bad_request"');
    expect(backend.seen).toHaveLength(0);
  });

  it('is an id with blanks at its ends, which stays another id than the one without', async () => {
    const ids: unknown[] = [];
    for (const name of ['Dr Wang', ' Dr Wang', 'Dr Wang ', '  Dr Wang  ']) {
      const client = await pki.issueClient({ subject: [['CN', name], ['OU', 'Doctors']] });
      expect((await ask(pki, gateway.port, '/echo/id', { client })).status).toBe(200);
      ids.push(backend.seen.at(-1)?.headers['x-client-id']);
    }
    expect(ids).toEqual(['Dr Wang', '%20Dr Wang', 'Dr Wang%20', '%20%20Dr Wang%20%20']);
  });
});

describe('a request with a body behind a large answer that its client takes slowly', () => {
  it('is served on the general path, too, and not taken for a fault of the client', async () => {
    const backend = await startBackend(pki, (request, response) => void response.end(request.url === '/echo/big' ? Buffer.alloc(12_000_000, 'x') : 'second'));
    const gateway = await startGateway(pki, backend.port, { threads: 1 });
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    socket.pause();
    socket.write(`POST /echo/big HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`);
    await expect.poll(() => backend.seen.length).toBe(1);
    // Its end only: putting megabytes together piece by piece takes longer than all the rest.
    const second = new Promise<string>((done) => {
      let end = '';
      socket.on('data', (octets: Buffer) => {
        end = (end + octets.toString('latin1')).slice(-700);
        if (/second$|HTTP\/1\.1 400/.test(end)) done(end);
      });
      socket.once('close', () => done(end));
    });
    socket.write(`POST /echo/second HTTP/1.1\r\n${HOST}Content-Length: 60000\r\n\r\n${'b'.repeat(60_000)}`);
    socket.pause();
    // Longer than the sockets between us hold, so that Node is waiting for us when the body comes.
    await expect.poll(() => socket.readableLength).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 300));
    socket.resume();
    expect(await second).toMatch(/second$/);
    socket.destroy();
    await gateway.stop();
    await backend.close();
  });
});
