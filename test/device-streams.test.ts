import { putClocksRight, threadClock } from './support/thread-clock.ts';
import { once } from 'node:events';
import { rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { SecureContextOptions, TLSSocket } from 'node:tls';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { listen } from './support/backend.ts';
import { openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { collect, openGrpc, startGrpcBackend, type GrpcBackend } from './support/grpc.ts';
import { askHttp2, openHttp2, replyOf } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';
import { gone, issueDevice, startStreamBackend, type StreamBackend } from './support/stream-gateway.ts';

const HEADER = 'id,networks,hours\n';
const minuteOf = (at: number): string => new Date(at).toISOString().slice(11, 16);
/** From an hour ago until three or four minutes from now, by the clock of UTC. */
const SHIFT = `daily ${minuteOf(Date.now() - 3_600_000)}-${minuteOf(Date.now() + 240_000)}`;
const BASE = `${HEADER}by-shift.test,127.0.0.0/8,${SHIFT}\nalways.test,127.0.0.0/8,\nmoving.test,127.0.0.0/8,\n`;

let pki: TestPki;
let gateway: TestGateway;
let sockets: WebSocketServer;
let streams: StreamBackend;
let grpc: GrpcBackend;
const closers: (() => void)[] = [];
const said: string[] = [];
const keep = (_fields: object, message: string): void => void said.push(message);

beforeAll(async () => {
  pki = await testPki();
  const server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    if (request.url === '/echo/endless') response.write('begin');
    else response.end('hello');
  });
  sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })));
  const port = await listen(server);
  streams = await startStreamBackend(pki, (socket) => socket.on('data', (chunk: Buffer) => socket.write(chunk)));
  grpc = await startGrpcBackend(pki, { chat: (call: ServerDuplexStream<Buffer, Buffer>) => call.on('data', (message: Buffer) => call.write(message)) });
  closers.push(() => grpc.close(), () => streams.close(), () => server.closeAllConnections(), () => server.close());
  const tls = 'tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }';
  const listening = 'address: 127.0.0.1:0, tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }, client_auth: { trust: [root.pem], intermediates: [issuing.pem] }';
  gateway = await startGateway(pki, port, {
    files: { 'devices.csv': BASE }, log: { info: keep, warn: keep, error: keep },
    listeners: `
  - { name: clinical, ${listening} }
  - { name: mllp, ${listening}, protocol: tcp, allow: [device], upstream: lab }`,
    roles: `
  - { role: device, match: { subject: { OU: Devices } }, id: "{san.dns}", bind: device }`,
    routes: `
  - { name: echo, match: { path: /echo/* }, allow: [device], upstream: records }
  - { name: grpc, match: { path: /wardgate.test.Records/*, methods: [POST] }, allow: [device], upstream: calls }`,
    upstreams: `
  records: { endpoints: ["https://127.0.0.1:${port}"], ${tls} }
  lab: { endpoints: ["tls://127.0.0.1:${streams.port}"], ${tls} }
  calls: { endpoints: ["https://127.0.0.1:${grpc.port}"], protocol: h2, ${tls} }`,
    top: 'devices: { inventory: devices.csv }',
  });
});

afterAll(async () => {
  for (const client of sockets.clients) client.terminate();
  await gateway.stop();
  for (const close of closers) close();
  await putClocksRight();
});

/** Everything that lasts, opened by one device, each known to work. */
interface OpenStreams {
  /** Resolves when all of it has ended: the answer, the WebSocket, the call, the octets. */
  readonly ended: Promise<unknown>;
  /** Whether all of it still works. */
  echoes(): Promise<void>;
  close(): void;
}

async function openAll(client: Issued): Promise<OpenStreams> {
  const webSocket = new WebSocket(`wss://127.0.0.1:${gateway.port}/echo/ws`, [], {
    servername: 'localhost', headers: { host: 'localhost' }, ca: pki.root.certificate, cert: client.chain, key: client.key,
  } as ClientOptions & SecureContextOptions);
  webSocket.on('error', () => undefined);
  await once(webSocket, 'open');
  const session = await openHttp2(pki, gateway.port, { client });
  session.on('error', () => undefined);
  const answer = session.request({ ':path': '/echo/endless', ':authority': 'localhost' });
  const answered = replyOf(answer);
  await once(answer, 'data');
  const calls = openGrpc(pki, gateway.port, client);
  const call = calls.chat();
  const called = collect(call);
  const stream = await openRaw(client);
  const all = Promise.all([once(webSocket, 'close'), answered, called, gone(stream)]);
  const echoes = async (): Promise<void> => {
    const back = Promise.all([once(webSocket, 'message'), once(call, 'data'), once(stream, 'data')]);
    webSocket.send('still here');
    call.write(Buffer.from('still here'));
    stream.write('still here');
    expect((await back).map(([data]) => String(data))).toEqual(['still here', 'still here', 'still here']);
    expect(answer.closed).toBe(false);
  };
  await echoes();
  return {
    ended: all, echoes,
    close() {
      webSocket.terminate();
      session.destroy();
      calls.close();
      stream.destroy();
    },
  };
}

function openRaw(client: Issued, localAddress = '127.0.0.1'): Promise<TLSSocket> {
  return openTls(pki, gateway.gateway.listeners[1]?.port ?? 0, { client, localAddress, ALPNProtocols: undefined } as never);
}

const reasonsOf = async (id: string): Promise<readonly string[]> =>
  (await gateway.records()).filter((record) => (record['id'] === id || String(record['subject']).includes(id)) && record['reason'] !== undefined).map(({ reason }) => String(reason));

async function inventory(text: string): Promise<void> {
  const before = said.length;
  await writeFile(gateway.path('devices.new'), text);
  await rename(gateway.path('devices.new'), gateway.path('devices.csv'));
  await expect.poll(() => said.slice(before)).toContain('the inventory was read again');
}

describe('a device that is moved', () => {
  it('loses what it has open over WebSocket, HTTP/2, gRPC and raw TCP, and others keep it', async () => {
    const [moving, always] = await Promise.all([issueDevice(pki, 'moving.test'), issueDevice(pki, 'always.test')]);
    const [open, other] = [await openAll(moving), await openAll(always)];
    await inventory(BASE.replace('moving.test,127.0.0.0/8', 'moving.test,10.7.0.0/16'));
    await open.ended;
    await expect.poll(() => reasonsOf('moving.test')).toEqual(['device_moved', 'device_moved', 'device_moved', 'device_moved']);
    await other.echoes();
    open.close();
    other.close();
    await inventory(BASE);
  });

  it('is refused where it was carried to, over raw TCP and gRPC, before an upstream hears of it', async () => {
    await inventory(BASE.replace('moving.test,127.0.0.0/8', 'moving.test,127.0.0.1'));
    const moving = await issueDevice(pki, 'moving.test', { subject: [['CN', 'carried'], ['OU', 'Devices']] });
    const before = streams.accepted.length;
    const stream = await openRaw(moving, '127.0.0.9');
    stream.write('MSH|');
    await gone(stream);
    expect(streams.accepted.length).toBe(before);
    const session = await openHttp2(pki, gateway.port, { client: moving, localAddress: '127.0.0.9' } as never);
    const reply = await askHttp2(session, '/wardgate.test.Records/Chat', { method: 'POST', headers: { 'content-type': 'application/grpc', te: 'trailers' }, body: Buffer.alloc(5) });
    // PERMISSION_DENIED.
    expect([reply.status, reply.headers['grpc-status'] ?? reply.trailers?.['grpc-status']]).toEqual([403, '7']);
    session.destroy();
    await expect.poll(async () => (await gateway.records()).filter(({ address, reason }) => address === '127.0.0.9' && reason === 'device_moved').map(({ alarm }) => alarm)).toEqual(['moved_device', 'moved_device']);
    await inventory(BASE);
  });
});

describe('hours that end', () => {
  it('end what is open over WebSocket, HTTP/2, gRPC and raw TCP within about a second, and no other device\'s', async () => {
    const [byShift, always] = await Promise.all([issueDevice(pki, 'by-shift.test'), issueDevice(pki, 'always.test')]);
    const [open, other] = [await openAll(byShift), await openAll(always)];
    const idle = await openHttp2(pki, gateway.port, { client: byShift });
    expect((await askHttp2(idle, '/echo/x')).status).toBe(200);
    const started = performance.now();
    threadClock[0] = 300_000;
    await open.ended;
    // Once a second they are looked at; the rest is left to a busy machine.
    expect(performance.now() - started).toBeLessThan(6_000);
    await expect.poll(() => reasonsOf('by-shift.test')).toEqual(['outside_hours', 'outside_hours', 'outside_hours', 'outside_hours']);
    expect((await askHttp2(idle, '/echo/x')).status).toBe(403);
    await other.echoes();
    idle.destroy();
    open.close();
    other.close();
  });
});
