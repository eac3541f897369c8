import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { status as Status, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { parseCertificate } from '../src/pki/certificate.ts';
import { listen } from './support/backend.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { collect, openGrpc, startGrpcBackend, type GrpcBackend, type GrpcEnd } from './support/grpc.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { answerOcsp, issueCrl, testPki, type CertificateOptions, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: ReturnType<typeof createSecureServer>;
let sockets: WebSocketServer;
let grpc: GrpcBackend;
let responder: Server;
let revokedByResponder: Set<string>;
let gateway: TestGateway;
let names = 0;
/** What the upstreams saw end: the path of an answer, the kind of a stream. */
let upstreamEnds: string[];

beforeAll(async () => {
  pki = await testPki();
  backend = createSecureServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    if (request.url !== '/echo/endless') return void response.end('hello');
    response.write('begin');
    response.once('close', () => upstreamEnds.push('answer'));
  });
  sockets = new WebSocketServer({ server: backend });
  sockets.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    socket.on('close', () => upstreamEnds.push('websocket'));
  });
  await listen(backend);
  grpc = await startGrpcBackend(pki, {
    download(call: ServerWritableStream<Buffer, Buffer>) {
      call.on('cancelled', () => upstreamEnds.push('download'));
      call.write(Buffer.from('begin'));
    },
    chat(call: ServerDuplexStream<Buffer, Buffer>) {
      call.on('cancelled', () => upstreamEnds.push('chat'));
      call.on('data', (message: Buffer) => call.write(message));
      call.on('end', () => call.end());
    },
  });
  revokedByResponder = new Set();
  responder = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => void answerOcsp(Buffer.concat(parts), {
      authority: pki.issuing, statusOf: (serialHex) => (revokedByResponder.has(serialHex) ? { kind: 'revoked', reason: 'keyCompromise' } : { kind: 'good' }),
    }).then((der) => response.end(der)));
  });
  responder.listen(0, '127.0.0.1');
  await once(responder, 'listening');
});

afterEach(() => gateway.stop());

afterAll(() => {
  grpc.close();
  backend.closeAllConnections();
  backend.close();
  responder.close();
});

const CRLS = '{ sources: [crl], skew: 0s, crl: { files: [issuing.crl, root.crl] } }';

async function begin(revocation = CRLS): Promise<void> {
  upstreamEnds = [];
  const tls = 'tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }';
  gateway = await startGateway(pki, 0, {
    revocation,
    routes: `
  - { name: echo, match: { path: /echo/* }, allow: [doctor, patient], upstream: records }
  - { name: grpc, match: { path: /wardgate.test.Records/* }, allow: [doctor, patient], upstream: calls }`,
    upstreams: `
  records: { endpoints: ["https://127.0.0.1:${(backend.address() as AddressInfo).port}"], ${tls} }
  calls: { endpoints: ["https://127.0.0.1:${grpc.port}"], protocol: h2, ${tls} }`,
  });
}

/** A doctor of its own for each test: what one revokes is no other's. */
const doctor = (more: Partial<CertificateOptions> = {}): Promise<Issued> => pki.issueClient({ subject: [['CN', `Dr ${++names}`], ['OU', 'Doctors']], ...more });

/** Everything that can be open at a time, each having carried something. */
interface Live {
  /** Still answers; false once it does not. */
  ask(): Promise<number | undefined>;
  readonly connection: Promise<unknown>;
  readonly answer: Promise<unknown>;
  readonly download: Promise<GrpcEnd>;
  readonly chat: Promise<GrpcEnd>;
  readonly webSocket: Promise<unknown>;
  stop(): void;
}

async function openAll(client: Issued): Promise<Live> {
  const [idle, busy] = await Promise.all([openHttp2(pki, gateway.port, { client }), openHttp2(pki, gateway.port, { client })]);
  for (const session of [idle, busy]) session.on('error', () => undefined);
  expect((await askHttp2(idle, '/echo/x')).status).toBe(200);
  const answer = busy.request({ ':path': '/echo/endless', ':authority': 'localhost' });
  answer.on('error', () => undefined);
  await once(answer, 'data');
  const calls = openGrpc(pki, gateway.port, client);
  const [download, chat] = [calls.download(Buffer.from('x')), calls.chat()];
  const [downloadEnd, chatEnd] = [collect(download).then(({ end }) => end), collect(chat).then(({ end }) => end)];
  chat.write(Buffer.from('hello'));
  await Promise.all([once(download, 'data'), once(chat, 'data')]);
  const options: ClientOptions & SecureContextOptions & { servername: string } = { servername: 'localhost', headers: { host: 'localhost' }, ca: pki.root.certificate, cert: client.chain, key: client.key };
  const webSocket = new WebSocket(`wss://127.0.0.1:${gateway.port}/echo/ws`, [], options);
  webSocket.on('error', () => undefined);
  await once(webSocket, 'open');
  webSocket.send('hello');
  await once(webSocket, 'message');
  return {
    ask: () => askHttp2(idle, '/echo/x').then(({ status }) => status, () => undefined),
    connection: once(idle, 'close'), answer: once(answer, 'close'), download: downloadEnd, chat: chatEnd, webSocket: once(webSocket, 'close'),
    stop() {
      idle.destroy();
      busy.destroy();
      calls.close();
      webSocket.terminate();
    },
  };
}

/** Waits until everything has ended on both sides, and for the records that say so. */
async function expectAllEnded(live: Live, reason: string): Promise<void> {
  await Promise.all([live.connection, live.answer, live.webSocket]);
  const ends = await Promise.all([live.download, live.chat]);
  expect(ends.every(({ code }) => code !== Status.OK)).toBe(true);
  await expect.poll(() => upstreamEnds.toSorted()).toEqual(['answer', 'chat', 'download', 'websocket']);
  // Two HTTP/2 connections, the one of gRPC and the one of the WebSocket.
  const cuts = async (): Promise<number> => (await gateway.records()).filter((record) => record['event'] === 'connection' && record['result'] === 'denied' && record['reason'] === reason).length;
  await expect.poll(cuts).toBe(4);
  await expect.poll(async () => (await gateway.records()).filter((record) => record['event'] === 'request' && record['result'] === 'failed').map((record) => record['path']).toSorted())
    .toEqual(['/echo/endless', '/wardgate.test.Records/Chat', '/wardgate.test.Records/Download']);
  await expect.poll(async () => (await gateway.records()).filter((record) => record['path'] === '/echo/ws' && record['event'] === 'connection').length).toBe(1);
  live.stop();
}

describe('HTTP/2 connections, answers, gRPC streams and WebSockets end', () => {
  it.each(['fingerprint', 'serial', 'key', 'issuer'] as const)('when their certificate is denied by %s', async (kind) => {
    await begin();
    const client = await doctor();
    const live = await openAll(client);
    const leaf = parseCertificate(client.der);
    const subject = {
      fingerprint: { kind: 'fingerprint', fingerprint: leaf.sha256 }, serial: { kind: 'serial', serial: leaf.serial, issuer: leaf.issuer.normalized, issuer_text: 'the issuing CA' },
      key: { kind: 'key', key: leaf.spkiSha256 }, issuer: { kind: 'issuer', issuer: leaf.issuer.normalized, issuer_text: 'the issuing CA' },
    }[kind];
    await gateway.gateway.deny({ ...subject, reason: 'stolen', who: 'test' } as never);
    await expectAllEnded(live, 'revoked_denylist');
  });

  it('when a new CRL revokes it', async () => {
    await begin();
    const client = await doctor();
    const live = await openAll(client);
    await writeFile(gateway.path('issuing.crl'), await issueCrl(pki.issuing, { number: 7, revoked: [{ serial: client.serialHex, reason: 'keyCompromise' }] }));
    await expectAllEnded(live, 'revoked_crl');
  });

  it('when a new CRL revokes its issuer', async () => {
    await begin();
    const live = await openAll(await doctor());
    await writeFile(gateway.path('root.crl'), await issueCrl(pki.root, { number: 7, revoked: [{ serial: parseCertificate(pki.issuing.der).serial, reason: 'cACompromise' }] }));
    await expectAllEnded(live, 'revoked_crl');
  });

  it('when the CRL that they stand on runs out', async () => {
    await begin();
    await writeFile(gateway.path('issuing.crl'), await issueCrl(pki.issuing, { number: 8, nextUpdate: new Date(Date.now() + 4_000) }));
    await gateway.gateway.reload();
    const live = await openAll(await doctor());
    await Promise.all([live.answer, live.download, live.chat, live.webSocket]);
    expect([403, undefined]).toContain(await live.ask());
    expect((await gateway.records()).filter((record) => record['reason'] === 'crl_expired').length).toBeGreaterThan(0);
    live.stop();
  });

  it('when the responder says that it is revoked', async () => {
    await begin(`{ check: leaf, sources: [ocsp], ocsp: { responder: "http://127.0.0.1:${(responder.address() as AddressInfo).port}/", max_age: 2s } }`);
    const client = await doctor();
    const live = await openAll(client);
    revokedByResponder.add(client.serialHex);
    await expectAllEnded(live, 'revoked_ocsp');
  });

  it('when their certificate expires', async () => {
    await begin();
    const live = await openAll(await doctor({ notAfter: new Date(Date.now() + 4_000) }));
    await expectAllEnded(live, 'expired');
  });

  it('when a reload no longer trusts their CA', async () => {
    await begin();
    const live = await openAll(await doctor());
    const yaml = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    await gateway.configure(yaml.replace('trust: [root.pem], intermediates: [issuing.pem]', 'trust: [backend-ca.pem]'));
    await gateway.gateway.reload();
    await expectAllEnded(live, 'untrusted_issuer');
  });
});

describe('answers, gRPC streams and WebSockets end, on both sides and on record, and the next request is denied', () => {
  it.each<readonly [string, string, number, number, (text: string) => string]>([
    ['gives their certificate no role', 'no_role', Status.PERMISSION_DENIED, 403, (text) => text.replace('OU: Doctors', 'OU: Surgeons')],
    ['no longer lets their role in', 'role_denied', Status.PERMISSION_DENIED, 403, (text) => text.replaceAll('allow: [doctor, patient]', 'allow: [patient]')],
    ['takes their route away', 'not_found', Status.UNIMPLEMENTED, 404, (text) => text.replace('path: /echo/*', 'path: /gone/*').replace('path: /wardgate.test.Records/*', 'path: /gone.Records/*')],
  ])('when a reload %s', async (_what, reason, code, http, change) => {
    await begin();
    const live = await openAll(await doctor());
    const yaml = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    expect(change(yaml)).not.toBe(yaml);
    await gateway.gateway.reload();
    expect(await live.ask()).toBe(200);
    await gateway.configure(change(yaml));
    await gateway.gateway.reload();
    const ends = await Promise.all([live.download, live.chat]);
    expect(ends.map((end) => end.code)).toEqual([code, code]);
    await live.webSocket;
    await live.answer;
    await expect.poll(() => upstreamEnds.toSorted()).toEqual(['answer', 'chat', 'download', 'websocket']);
    expect(await live.ask()).toBe(http);
    const failed = (await gateway.records()).filter((record) => String(record['path']).startsWith('/wardgate') && record['result'] === 'failed');
    expect(failed.map((record) => record['reason'])).toEqual([reason, reason]);
    live.stop();
  });

  it('of clients without a certificate as well', async () => {
    await begin();
    const yaml = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    const open = yaml.replaceAll('allow: [doctor, patient]', 'allow: [public]');
    await gateway.configure(open);
    await gateway.gateway.reload();
    const client = openGrpc(pki, gateway.port);
    const call = client.download(Buffer.from('x'));
    const ended = collect(call);
    await once(call, 'data');
    await gateway.configure(yaml);
    await gateway.gateway.reload();
    expect((await ended).end.code).toBe(Status.UNAUTHENTICATED);
    client.close();
  });
});

describe('others', () => {
  it('on the same thread are not touched when one is revoked', async () => {
    await begin();
    const [lost, kept] = [await doctor(), await doctor()];
    const [lostLive, keptLive] = [await openAll(lost), await openAll(kept)];
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: lost.sha256, reason: 'stolen', who: 'test' });
    await lostLive.connection;
    expect(await keptLive.ask()).toBe(200);
    lostLive.stop();
    keptLive.stop();
  });
});
