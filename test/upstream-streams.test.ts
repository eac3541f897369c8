import { createHash, randomBytes } from 'node:crypto';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startRawBackend, type RawBackend } from './support/backend.ts';
import { startUpstreams, TLS, upstreamStatus, upstreamYaml, type UpstreamGateway } from './support/endpoints.ts';
import { startFailingBackend, type FailingBackend } from './support/failing-backend.ts';
import { generalPathOnly, openTls } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let dead: FailingBackend;
let raw: RawBackend;
let echo: { readonly port: number; close(): void };
let gateway: UpstreamGateway;
/** What the raw backend does with a request, by its path. */
const answers = new Map<string, (socket: TLSSocket) => void>();

beforeAll(async () => {
  pki = await testPki();
  dead = await startFailingBackend(pki, 'dead');
  await dead.become('killed');
  const read = new WeakMap<TLSSocket, number>();
  raw = await startRawBackend(pki, (socket, all) => {
    const text = all.slice(read.get(socket) ?? 0);
    if (!text.includes('\r\n\r\n')) return;
    read.set(socket, all.length);
    const [, path = ''] = /^\S+ (\S+) HTTP/.exec(text) ?? [];
    if (path.startsWith('/tunnel/')) acceptWebSocket(socket, text);
    else answers.get(path)?.(socket);
  });
  echo = await startEcho(pki);
  const server = '{ certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }';
  const auth = '{ trust: [root.pem], intermediates: [issuing.pem] }';
  const upstreams = {
    tunnel: upstreamYaml([dead.port, raw.port], 'timeouts: { tunnel: 2s }'),
    body: upstreamYaml([raw.port], 'timeouts: { idle: 2s, response: 20s }'),
    pacs: `{ endpoints: ["tls://127.0.0.1:${dead.port}", "tls://127.0.0.1:${echo.port}"], tls: ${TLS} }`,
    'pacs-down': `{ endpoints: ["tls://127.0.0.1:${dead.port}"], tls: ${TLS} }`,
  };
  gateway = await startUpstreams(pki, upstreams, {
    routes: ['tunnel', 'body'].map((name) => `\n  - { name: ${name}, match: { path: /${name}/* }, allow: [patient], upstream: ${name} }`).join(''),
    listeners: `
  - { name: clinical, address: "127.0.0.1:0", tls: ${server}, client_auth: ${auth}, http1: { fast_path: ${!generalPathOnly} } }
  - { name: dicom, address: "127.0.0.1:0", protocol: tcp, allow: [device], upstream: pacs, tls: ${server}, client_auth: ${auth} }
  - { name: dicom-down, address: "127.0.0.1:0", protocol: tcp, allow: [device], upstream: pacs-down, tls: ${server}, client_auth: ${auth} }`,
  });
});

afterAll(async () => {
  await gateway.stop();
  await Promise.all([dead.close(), raw.close(), echo.close()]);
});

function acceptWebSocket(socket: TLSSocket, text: string): void {
  const key = /^sec-websocket-key: *(\S+)/im.exec(text)?.[1] ?? '';
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on('data', (chunk: Buffer) => socket.write(chunk));
}

async function startEcho(of: TestPki): Promise<typeof echo> {
  const server = createTlsServer({ cert: of.backendServer.chain, key: of.backendServer.key, ca: of.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.pipe(socket);
  });
  const port = await new Promise<number>((done) => server.listen(0, '127.0.0.1', () => done((server.address() as { port: number }).port)));
  return { port, close: () => void server.close() };
}

const portOf = (name: string): number => gateway.gateway.listeners.find((listener) => listener.name === name)?.port ?? 0;
const recordsOf = async (field: string, value: string): Promise<readonly Record<string, unknown>[]> => (await gateway.records()).filter((record) => record[field] === value);

/** Opens a WebSocket; resolves with its socket once it is open. */
async function openWebSocket(path: string): Promise<TLSSocket> {
  const socket = await openTls(pki, portOf('clinical'), { client: pki.patient });
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`);
  await new Promise<void>((done, failed) => {
    socket.once('data', (chunk: Buffer) => (chunk.toString().startsWith('HTTP/1.1 101') ? done() : failed(new Error(chunk.toString()))));
    socket.once('close', () => failed(new Error('closed')));
  });
  return socket;
}

const closed = (socket: TLSSocket): Promise<void> => new Promise((done) => {
  socket.on('error', () => undefined);
  socket.on('close', () => done());
});

describe('a WebSocket', () => {
  it('passes over an endpoint that is dead, and holds its place for as long as it is open', async () => {
    const sockets = await Promise.all([1, 2, 3, 4].map((number) => openWebSocket(`/tunnel/${number}`)));
    expect((await upstreamStatus(gateway, 'tunnel')).active).toBe(4);
    for (const socket of sockets) socket.destroy();
    await expect.poll(async () => (await upstreamStatus(gateway, 'tunnel')).active).toBe(0);
    const records = (await recordsOf('route', 'tunnel')).filter(({ status }) => status === 101);
    expect(records.map(({ endpoint }) => endpoint)).toEqual(records.map(() => `https://127.0.0.1:${raw.port}`));
    expect(records.some(({ attempts }) => String(attempts).includes('ECONNREFUSED'))).toBe(true);
  });

  it('is ended when both sides were silent for too long, and not before', async () => {
    const socket = await openWebSocket('/tunnel/silent');
    const over = closed(socket);
    for (let round = 0; round < 4; round++) {
      socket.write('x');
      await new Promise((done) => setTimeout(done, 700));
    }
    expect(socket.destroyed).toBe(false);
    await over;
    await expect.poll(async () => (await recordsOf('path', '/tunnel/silent')).find(({ event }) => event === 'connection')).toMatchObject({ result: 'failed', detail: 'idle for too long', bytes_out: 4 });
  });
});

describe('a TCP stream', () => {
  it('passes over an endpoint that is dead, with the attempt on record', async () => {
    const said = await Promise.all(Array.from({ length: 4 }, async (_, number) => {
      const socket = await openTls(pki, portOf('dicom'), { client: pki.device, ALPNProtocols: [] });
      socket.end(`association ${number}`);
      return new Promise<string>((done) => {
        let text = '';
        socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
        socket.on('close', () => done(text));
      });
    }));
    expect(said).toEqual([0, 1, 2, 3].map((number) => `association ${number}`));
    const permitted = (await recordsOf('listener', 'dicom')).filter(({ result }) => result === 'permitted');
    expect(permitted).toHaveLength(4);
    for (const record of permitted) expect(record['endpoint']).toBe(`tls://127.0.0.1:${echo.port}`);
    expect(permitted.some(({ attempts }) => String(attempts).startsWith(`tls://127.0.0.1:${dead.port}: ECONNREFUSED`))).toBe(true);
    await expect.poll(async () => (await upstreamStatus(gateway, 'pacs')).active).toBe(0);
  });

  it('that finds nobody is ended, and on record', async () => {
    const socket = await openTls(pki, portOf('dicom-down'), { client: pki.device, ALPNProtocols: [] });
    await closed(socket);
    await expect.poll(() => recordsOf('listener', 'dicom-down')).toMatchObject([{ result: 'failed', reason: 'upstream_unavailable', endpoint: `tls://127.0.0.1:${dead.port}` }]);
  });
});

describe('a body that stands still', () => {
  const HEAD = 'Host: localhost\r\n\r\n';

  it('is ended when the upstream sends nothing more', async () => {
    answers.set('/body/stalled', (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'));
    const socket = await openTls(pki, portOf('clinical'), { client: pki.patient });
    socket.write(`GET /body/stalled HTTP/1.1\r\n${HEAD}`);
    socket.resume();
    await closed(socket);
    await expect.poll(() => recordsOf('path', '/body/stalled')).toMatchObject([{ result: 'failed', reason: 'upstream_timeout', detail: 'the upstream\'s answer stood still for too long' }]);
    expect((await upstreamStatus(gateway, 'body')).endpoints[0]?.counts.timeout).toBe(1);
  });

  it('goes on while the upstream sends an octet now and then', async () => {
    answers.set('/body/dripping', (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
      let left = 5;
      const timer = setInterval(() => {
        socket.write('.');
        if (--left === 0) clearInterval(timer);
      }, 600);
    });
    const socket = await openTls(pki, portOf('clinical'), { client: pki.patient });
    socket.write(`GET /body/dripping HTTP/1.1\r\n${HEAD}`);
    const text = await new Promise<string>((done) => {
      let all = '';
      socket.on('data', (chunk: Buffer) => {
        all += chunk.toString();
        if (all.endsWith('.....')) done(all);
      });
      socket.on('close', () => done(all));
    });
    expect(text).toMatch(/^HTTP\/1\.1 200 [^]*\r\n\r\n\.{5}$/);
    socket.destroy();
  });

  it('is the client\'s doing when it is the client that does not read, and counts against no endpoint', async () => {
    const before = (await upstreamStatus(gateway, 'body')).endpoints[0]?.counts;
    answers.set('/body/unread', (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n');
      const more = (): void => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536)));
        socket.once('drain', more);
      };
      more();
    });
    const socket = await openTls(pki, portOf('clinical'), { client: pki.patient });
    socket.write(`GET /body/unread HTTP/1.1\r\n${HEAD}`);
    socket.pause();
    await expect.poll(() => recordsOf('path', '/body/unread')).toMatchObject([{ result: 'failed', status: 200, detail: 'the client stopped reading its answer' }]);
    const [record] = await recordsOf('path', '/body/unread');
    expect(record).not.toHaveProperty('reason');
    const after = (await upstreamStatus(gateway, 'body')).endpoints[0]?.counts;
    expect([after?.timeout, after?.failed, after?.abandoned]).toEqual([before?.timeout, before?.failed, (before?.abandoned ?? 0) + 1]);
    socket.destroy();
  });
});
