import { createCipheriv } from 'node:crypto';
import { once } from 'node:events';
import type { ClientHttp2Session } from 'node:http2';
import { createServer } from 'node:https';
import { createServer as createTlsServer } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { request as httpsRequest } from 'node:https';
import type { SecureContextOptions } from 'node:tls';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createWebSocketStream, WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { listen } from './support/backend.ts';
import { openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { openGrpc, startGrpcBackend, type GrpcBackend } from './support/grpc.ts';
import { openHttp2 } from './support/http2.ts';
import { startHttp2Backend, type Http2Backend } from './support/http2-backend.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { readFrame } from './support/websocket-cases.ts';

// Reused buffers, shared windows, one thread: whatever a proxy mixes up shows as one reader's octets in another's answer.

const OCTETS = 6 * 1024 * 1024;
const PIECE = 64 * 1024;
const READERS = [{ seed: 1, slow: false }, { seed: 2, slow: true }, { seed: 3, slow: false }, { seed: 4, slow: true }];

let pki: TestPki;
let gateway: TestGateway;
let http1: ReturnType<typeof createServer>;
let tcp: ReturnType<typeof createTlsServer>;
let http2: Http2Backend;
let grpc: GrpcBackend;
let session: ClientHttp2Session;

const contents = new Map<string, Buffer>();

/** Octets that no other protocol and reader has: AES in counter mode over zeros, under a key of their own. */
function contentOf(protocol: string, seed: number): Buffer {
  const name = `${protocol}/${seed}`;
  let octets = contents.get(name);
  if (octets === undefined) {
    octets = createCipheriv('aes-128-ctr', Buffer.from(name.padEnd(16, '.').slice(0, 16)), Buffer.alloc(16)).update(Buffer.alloc(OCTETS));
    contents.set(name, octets);
  }
  return octets;
}

/** Writes everything in pieces, as fast as it is taken. */
async function send(stream: { write(piece: Buffer): boolean; once(event: 'drain', listener: () => void): unknown; readonly destroyed?: boolean }, octets: Buffer): Promise<void> {
  for (let at = 0; at < octets.length && stream.destroyed !== true; at += PIECE) {
    if (!stream.write(octets.subarray(at, at + PIECE))) await new Promise<void>((done) => stream.once('drain', done));
  }
}

/** Compares every octet as it comes; a slow reader rests after each piece. */
async function compare(stream: Readable, expected: Buffer, slow: boolean): Promise<number> {
  let at = 0;
  for await (const chunk of stream) {
    const piece = chunk as Buffer;
    if (!piece.equals(expected.subarray(at, at + piece.length))) throw new Error(`other octets than expected between ${at} and ${at + piece.length}`);
    at += piece.length;
    if (slow) await new Promise((done) => setTimeout(done, 3));
    if (at === expected.length) return at;
  }
  return at;
}

beforeAll(async () => {
  pki = await testPki();
  const tls = { cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true };
  http1 = createServer(tls, (request, response) => {
    const [, , protocol = '', seed = ''] = (request.url ?? '').split('/');
    // With and without a known length: the two ways of framing.
    if (Number(seed) % 2 === 0) response.setHeader('content-length', OCTETS);
    void send(response, contentOf(protocol, Number(seed))).then(() => response.end());
  });
  const sockets = new WebSocketServer({ server: http1 });
  sockets.on('connection', (socket, request) => {
    const stream = createWebSocketStream(socket);
    stream.on('error', () => undefined);
    void send(stream, contentOf('websocket', Number(request.url?.split('/').at(-1))));
  });
  await listen(http1);
  tcp = createTlsServer(tls, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (seed: Buffer) => void send(socket, contentOf('tcp', Number(seed.toString()))).then(() => socket.end()));
  });
  await listen(tcp);
  http2 = await startHttp2Backend(pki, (stream, headers) => {
    stream.respond({ ':status': 200 });
    const [, , protocol = '', seed = ''] = String(headers[':path']).split('/');
    void send(stream, contentOf(protocol, Number(seed))).then(() => stream.end());
  });
  grpc = await startGrpcBackend(pki, {
    download: (call: ServerWritableStream<Buffer, Buffer>) => void send(call, contentOf('grpc', Number(call.request.toString()))).then(() => call.end()),
  });
  const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port;
  const trust = 'tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }';
  gateway = await startGateway(pki, 0, {
    listeners: `
  - name: clinical
    address: 127.0.0.1:0
    tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }
    client_auth: { trust: [root.pem], intermediates: [issuing.pem] }
  - name: general
    address: 127.0.0.1:0
    http1: { fast_path: false }
    tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }
    client_auth: { trust: [root.pem], intermediates: [issuing.pem] }
  - { name: stream, address: "127.0.0.1:0", protocol: tcp, tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] },
      client_auth: { trust: [root.pem], intermediates: [issuing.pem] }, allow: [patient], upstream: peer }`,
    routes: `
  - { name: grpc, match: { path: /wardgate.test.Records/* }, allow: [patient], upstream: calls }
  - { name: modern, match: { path: /modern/* }, allow: [patient], upstream: modern }
  - { name: records, match: { path: /* }, allow: [patient], upstream: records }`,
    upstreams: `
  records: { endpoints: ["https://127.0.0.1:${portOf(http1)}"], ${trust} }
  modern: { endpoints: ["https://127.0.0.1:${http2.port}"], protocol: h2, ${trust} }
  calls: { endpoints: ["https://127.0.0.1:${grpc.port}"], protocol: h2, ${trust} }
  peer: { endpoints: ["tls://127.0.0.1:${portOf(tcp)}"], ${trust} }`,
  });
  session = await openHttp2(pki, gateway.port, { client: pki.patient });
  if (session.remoteSettings?.enableConnectProtocol !== true) await once(session, 'remoteSettings');
});

afterAll(async () => {
  session.destroy();
  await gateway.stop();
  http1.closeAllConnections();
  http1.close();
  tcp.close();
  await http2.close();
  grpc.close();
});

const port = (listener: string): number => gateway.gateway.listeners.find(({ name }) => name === listener)?.port ?? 0;

function byHttp1(listener: string, path: string): Promise<Readable> {
  return new Promise((done, failed) => {
    const outgoing = httpsRequest({
      host: '127.0.0.1', port: port(listener), path, servername: 'localhost', headers: { host: 'localhost' }, ca: pki.root.certificate, cert: pki.patient.chain, key: pki.patient.key, agent: false,
    }, done);
    outgoing.on('error', failed);
    outgoing.end();
  });
}

// Four streams of one connection.
const byHttp2 = (path: string): Promise<Readable> => Promise.resolve(session.request({ ':path': path, ':authority': 'localhost' }));

async function byWebSocket(seed: number): Promise<Readable> {
  const options: ClientOptions & SecureContextOptions & { servername: string } = {
    servername: 'localhost', headers: { host: 'localhost' }, ca: pki.root.certificate, cert: pki.patient.chain, key: pki.patient.key, allowSynchronousEvents: false,
  };
  const socket = new WebSocket(`wss://127.0.0.1:${gateway.port}/websocket/${seed}`, [], options);
  const stream = createWebSocketStream(socket);
  await once(socket, 'open');
  return stream;
}

/** The payloads of a WebSocket's frames, which is a stream of the connection that everything else of HTTP/2 is on (RFC 8441). */
async function byWebSocketOverHttp2(seed: number): Promise<Readable> {
  const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':authority': 'localhost', ':path': `/websocket/${seed}`, 'sec-websocket-version': '13' }, { endStream: false });
  await once(stream, 'response');
  return Readable.from((async function* payloads() {
    let rest: Buffer = Buffer.alloc(0);
    for await (const chunk of stream) {
      rest = Buffer.concat([rest, chunk as Buffer]);
      for (let found = readFrame(rest); found !== undefined; found = readFrame(rest)) {
        rest = rest.subarray(found.length);
        yield found.frame.payload;
      }
    }
  })());
}

async function byTcp(seed: number): Promise<Readable> {
  const socket = await openTls(pki, port('stream'), { client: pki.patient, ALPNProtocols: undefined } as never);
  socket.write(String(seed));
  return socket;
}

const PROTOCOLS: readonly (readonly [name: string, open: (seed: number) => Promise<Readable>])[] = [
  ['http1', (seed) => byHttp1('clinical', `/x/http1/${seed}`)],
  ['http1-general', (seed) => byHttp1('general', `/x/http1-general/${seed}`)],
  ['http1-to-http2', (seed) => byHttp1('clinical', `/modern/http1-to-http2/${seed}`)],
  ['http2', (seed) => byHttp2(`/x/http2/${seed}`)],
  ['http2-to-http2', (seed) => byHttp2(`/modern/http2-to-http2/${seed}`)],
  ['grpc', (seed) => {
    const client = openGrpc(pki, gateway.port, pki.patient);
    const call = client.download(Buffer.from(String(seed)));
    call.once('end', () => client.close());
    return Promise.resolve(call);
  }],
  ['websocket', byWebSocket],
  ['websocket-over-http2', byWebSocketOverHttp2],
  ['tcp', byTcp],
];

async function readAll(protocol: string, open: (seed: number) => Promise<Readable>): Promise<number[]> {
  return Promise.all(READERS.map(async ({ seed, slow }) => {
    const stream = await open(seed);
    const compared = await compare(stream, contentOf(protocol === 'websocket-over-http2' ? 'websocket' : protocol, seed), slow);
    stream.destroy();
    return compared;
  }));
}

it.each(PROTOCOLS)('four fast and slow readers of different content get theirs, octet by octet: %s', async (protocol, open) => {
  expect(await readAll(protocol, open)).toEqual(READERS.map(() => OCTETS));
});

it('four fast and slow readers by every protocol at once get theirs, octet by octet', async () => {
  const compared = await Promise.all(PROTOCOLS.map(([protocol, open]) => readAll(protocol, open)));
  expect(compared.flat()).toEqual(PROTOCOLS.flatMap(() => READERS.map(() => OCTETS)));
}, 60_000);
