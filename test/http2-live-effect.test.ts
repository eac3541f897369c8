import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { status as Status, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { parseCertificate } from '../src/pki/certificate.ts';
import { listen } from './support/backend.ts';
import { configuration, startGateway, type GatewayParts, type TestGateway } from './support/gateway.ts';
import { collect, openGrpc, startGrpcBackend, type GrpcBackend, type GrpcEnd } from './support/grpc.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { answerOcsp, issueCrl, testPki, type CertificateOptions, type CrlOptions, type Issued, type TestPki } from './support/pki.ts';
import { openBefore } from './support/timing.ts';

let pki: TestPki;
let backend: ReturnType<typeof createSecureServer>;
let sockets: WebSocketServer;
let grpc: GrpcBackend;
let responder: Server;
let revokedByResponder: Set<string>;
let gateway: TestGateway;
/** The configuration that each test begins with. */
let yaml: string;
let names = 0;
let crlNumber = 6;
/** What the upstreams saw end, by the Client-Cert that came with it: an answer, or the kind of a stream. */
const upstreamEnds = new Map<unknown, string[]>();

function ended(by: unknown, what: string): void {
  upstreamEnds.set(by, [...upstreamEnds.get(by) ?? [], what]);
}

beforeAll(async () => {
  pki = await testPki();
  backend = createSecureServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    if (request.url !== '/echo/endless') return void response.end('hello');
    response.write('begin');
    response.once('close', () => ended(request.headers['client-cert'], 'answer'));
  });
  sockets = new WebSocketServer({ server: backend });
  sockets.on('connection', (socket, request) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    socket.on('close', () => ended(request.headers['client-cert'], 'websocket'));
  });
  await listen(backend);
  grpc = await startGrpcBackend(pki, {
    download(call: ServerWritableStream<Buffer, Buffer>) {
      call.on('cancelled', () => ended(call.metadata.get('client-cert')[0], 'download'));
      call.write(Buffer.from('begin'));
    },
    chat(call: ServerDuplexStream<Buffer, Buffer>) {
      call.on('cancelled', () => ended(call.metadata.get('client-cert')[0], 'chat'));
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
  gateway = await startGateway(pki, 0, parts(CRLS));
  yaml = configuration(0, parts(CRLS));
});

afterAll(async () => {
  await gateway.stop();
  grpc.close();
  backend.closeAllConnections();
  backend.close();
  responder.close();
});

const CRLS = '{ sources: [crl], skew: 0s, crl: { files: [issuing.crl, root.crl] } }';

function parts(revocation: string): GatewayParts {
  const tls = 'tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }';
  return {
    revocation,
    routes: `
  - { name: echo, match: { path: /echo/* }, allow: [doctor, patient], upstream: records }
  - { name: grpc, match: { path: /wardgate.test.Records/* }, allow: [doctor, patient], upstream: calls }`,
    upstreams: `
  records: { endpoints: ["https://127.0.0.1:${(backend.address() as AddressInfo).port}"], ${tls} }
  calls: { endpoints: ["https://127.0.0.1:${grpc.port}"], protocol: h2, ${tls} }`,
  };
}

/** Puts another configuration in force until the end of the test. */
async function reload(text: string): Promise<void> {
  onTestFinished(() => configure(yaml));
  await configure(text);
}

async function configure(text: string): Promise<void> {
  await gateway.configure(text);
  await gateway.gateway.reload();
}

/** Puts a newer CRL in place, and at the end of the test one that revokes nothing. */
async function publish(file: 'issuing.crl' | 'root.crl', options: CrlOptions): Promise<void> {
  const write = async (what: CrlOptions): Promise<void> => writeFile(gateway.path(file), await issueCrl(file === 'root.crl' ? pki.root : pki.issuing, { number: ++crlNumber, ...what }));
  onTestFinished(async () => {
    await write({});
    await gateway.gateway.reload();
  });
  await write(options);
}

/** A doctor of its own for each test: what one revokes is no other's. */
const doctor = (more: Partial<CertificateOptions> = {}): Promise<Issued> => pki.issueClient({ subject: [['CN', `Dr ${++names}`], ['OU', 'Doctors']], ...more });

/** Everything that can be open at a time, each having carried something. */
interface Live {
  readonly client: Issued;
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
    client,
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

/** The records about a client's certificate. */
async function recordsOf({ serialHex }: Issued): Promise<readonly Record<string, unknown>[]> {
  return (await gateway.records()).filter((record) => record['serial'] === serialHex);
}

/** Waits until the upstreams have heard the end of everything that this client had open. */
async function expectUpstreamsEnded({ client }: Live): Promise<void> {
  await expect.poll(() => upstreamEnds.get(`:${client.der.toString('base64')}:`)?.toSorted()).toEqual(['answer', 'chat', 'download', 'websocket']);
}

/** Waits until everything has ended on both sides, and for the records that say so. */
async function expectAllEnded(live: Live, reason: string): Promise<void> {
  await Promise.all([live.connection, live.answer, live.webSocket]);
  const ends = await Promise.all([live.download, live.chat]);
  expect(ends.every(({ code }) => code !== Status.OK)).toBe(true);
  await expectUpstreamsEnded(live);
  // Two HTTP/2 connections, the one of gRPC and the one of the WebSocket.
  const cuts = async (): Promise<number> => (await recordsOf(live.client)).filter((record) => record['event'] === 'connection' && record['result'] === 'denied' && record['reason'] === reason).length;
  await expect.poll(cuts).toBe(4);
  await expect.poll(async () => (await recordsOf(live.client)).filter((record) => record['event'] === 'request' && record['result'] === 'failed').map((record) => record['path']).toSorted())
    .toEqual(['/echo/endless', '/wardgate.test.Records/Chat', '/wardgate.test.Records/Download']);
  await expect.poll(async () => (await recordsOf(live.client)).filter((record) => record['path'] === '/echo/ws' && record['event'] === 'connection').length).toBe(1);
  live.stop();
}

describe('HTTP/2 connections, answers, gRPC streams and WebSockets end', () => {
  it.each(['fingerprint', 'serial', 'key', 'issuer'] as const)('when their certificate is denied by %s', async (kind) => {
    const client = await doctor();
    const live = await openAll(client);
    const leaf = parseCertificate(client.der);
    const subject = {
      fingerprint: { kind: 'fingerprint', fingerprint: leaf.sha256 }, serial: { kind: 'serial', serial: leaf.serial, issuer: leaf.issuer.normalized, issuer_text: 'the issuing CA' },
      key: { kind: 'key', key: leaf.spkiSha256 }, issuer: { kind: 'issuer', issuer: leaf.issuer.normalized, issuer_text: 'the issuing CA' },
    }[kind];
    await gateway.gateway.deny({ ...subject, reason: 'stolen', who: 'test' } as never);
    onTestFinished(async () => void await gateway.gateway.reinstate(subject as never, 'test'));
    await expectAllEnded(live, 'revoked_denylist');
  });

  it('when a new CRL revokes it', async () => {
    const client = await doctor();
    const live = await openAll(client);
    await publish('issuing.crl', { revoked: [{ serial: client.serialHex, reason: 'keyCompromise' }] });
    await expectAllEnded(live, 'revoked_crl');
  });

  it('when a new CRL revokes its issuer', async () => {
    const live = await openAll(await doctor());
    await publish('root.crl', { revoked: [{ serial: parseCertificate(pki.issuing.der).serial, reason: 'cACompromise' }] });
    await expectAllEnded(live, 'revoked_crl');
  });

  it('when the CRL that they stand on runs out', async () => {
    const live = await openBefore(4_000, async (end) => {
      const client = await doctor();
      await publish('issuing.crl', { nextUpdate: end() });
      await gateway.gateway.reload();
      return openAll(client);
    });
    await Promise.all([live.answer, live.download, live.chat, live.webSocket]);
    expect([403, undefined]).toContain(await live.ask());
    expect((await recordsOf(live.client)).filter((record) => record['reason'] === 'crl_expired').length).toBeGreaterThan(0);
    live.stop();
  });

  it('when the responder says that it is revoked', async () => {
    await reload(configuration(0, parts(`{ check: leaf, sources: [ocsp], ocsp: { responder: "http://127.0.0.1:${(responder.address() as AddressInfo).port}/", max_age: 2s } }`)));
    const client = await doctor();
    const live = await openAll(client);
    revokedByResponder.add(client.serialHex);
    await expectAllEnded(live, 'revoked_ocsp');
  });

  it('when their certificate expires', async () => {
    const live = await openBefore(4_000, async (end) => openAll(await doctor({ notAfter: end() })));
    await expectAllEnded(live, 'expired');
  });

  it('when a reload no longer trusts their CA', async () => {
    const live = await openAll(await doctor());
    await reload(yaml.replace('trust: [root.pem], intermediates: [issuing.pem]', 'trust: [backend-ca.pem]'));
    await expectAllEnded(live, 'untrusted_issuer');
  });
});

describe('answers, gRPC streams and WebSockets end, on both sides and on record, and the next request is denied', () => {
  it.each<readonly [string, string, number, number, (text: string) => string]>([
    ['gives their certificate no role', 'no_role', Status.PERMISSION_DENIED, 403, (text) => text.replace('OU: Doctors', 'OU: Surgeons')],
    ['no longer lets their role in', 'role_denied', Status.PERMISSION_DENIED, 403, (text) => text.replaceAll('allow: [doctor, patient]', 'allow: [patient]')],
    ['takes their route away', 'not_found', Status.UNIMPLEMENTED, 404, (text) => text.replace('path: /echo/*', 'path: /gone/*').replace('path: /wardgate.test.Records/*', 'path: /gone.Records/*')],
  ])('when a reload %s', async (_what, reason, code, http, change) => {
    const live = await openAll(await doctor());
    expect(change(yaml)).not.toBe(yaml);
    await gateway.gateway.reload();
    expect(await live.ask()).toBe(200);
    await reload(change(yaml));
    const ends = await Promise.all([live.download, live.chat]);
    expect(ends.map((end) => end.code)).toEqual([code, code]);
    await live.webSocket;
    await live.answer;
    await expectUpstreamsEnded(live);
    expect(await live.ask()).toBe(http);
    const failed = (await recordsOf(live.client)).filter((record) => String(record['path']).startsWith('/wardgate') && record['result'] === 'failed');
    expect(failed.map((record) => record['reason'])).toEqual([reason, reason]);
    live.stop();
  });

  it('of clients without a certificate as well', async () => {
    await reload(yaml.replaceAll('allow: [doctor, patient]', 'allow: [public]'));
    const client = openGrpc(pki, gateway.port);
    const call = client.download(Buffer.from('x'));
    const over = collect(call);
    await once(call, 'data');
    await configure(yaml);
    expect((await over).end.code).toBe(Status.UNAUTHENTICATED);
    client.close();
  });
});

describe('others', () => {
  it('on the same thread are not touched when one is revoked', async () => {
    const [lost, kept] = [await doctor(), await doctor()];
    const [lostLive, keptLive] = [await openAll(lost), await openAll(kept)];
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: lost.sha256, reason: 'stolen', who: 'test' });
    await lostLive.connection;
    expect(await keptLive.ask()).toBe(200);
    lostLive.stop();
    keptLive.stop();
  });
});
