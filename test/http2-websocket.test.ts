import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { constants, type ClientHttp2Session, type ClientHttp2Stream, type OutgoingHttpHeaders } from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocketServer, type WebSocket } from 'ws';
import { listen } from './support/backend.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { openHttp2, replyOf } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';
import { OP, RawWebSocket, shownFrame, WEBSOCKET_CASES, webSocketCaseName, wsFrame } from './support/websocket-cases.ts';

let pki: TestPki;
let gateway: TestGateway;
let server: ReturnType<typeof createServer>;
let sockets: WebSocketServer;
let upgrades: { readonly url: string; readonly method: string; readonly headers: NodeJS.Dict<string | string[]> }[];
let session: ClientHttp2Session;

beforeAll(async () => {
  pki = await testPki();
  upgrades = [];
  server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (_request, response) => {
    response.writeHead(426).end('no websocket here');
  });
  sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered][0] ?? false });
  server.on('upgrade', (request, socket, head) => {
    upgrades.push({ url: request.url ?? '', method: request.method ?? '', headers: request.headers });
    if (request.url === '/echo/decline') return void socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
    if (request.url === '/echo/die') return void socket.destroy();
    if (request.url === '/echo/forge') return void socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: forged\r\n\r\n');
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('error', () => undefined);
      webSocket.on('message', (data, binary) => webSocket.send(data, { binary }));
    });
  });
  await listen(server);
  gateway = await startGateway(pki, (server.address() as AddressInfo).port);
  session = await openSession(pki.patient);
});

afterAll(async () => {
  session.destroy();
  for (const client of sockets.clients) client.terminate();
  await gateway.stop();
  server.close();
});

/** A session that knows whether the gateway serves the extended CONNECT. */
async function openSession(client: Issued | undefined): Promise<ClientHttp2Session> {
  const opened = await openHttp2(pki, gateway.port, { ...(client === undefined ? {} : { client }) });
  opened.on('error', () => undefined);
  if (opened.remoteSettings?.enableConnectProtocol !== true) await once(opened, 'remoteSettings');
  return opened;
}

function ask(path: string, on = session, headers: OutgoingHttpHeaders = {}): ClientHttp2Stream {
  const stream = on.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':authority': 'localhost', ':path': path, 'sec-websocket-version': '13', ...headers }, { endStream: false });
  stream.on('error', () => undefined);
  return stream;
}

async function open(path: string, on = session, headers: OutgoingHttpHeaders = {}): Promise<RawWebSocket> {
  const stream = ask(path, on, headers);
  const [head] = await once(stream, 'response') as [Record<string, unknown>];
  expect(head[':status']).toBe(200);
  return new RawWebSocket(stream, Buffer.alloc(0));
}

describe('a WebSocket over HTTP/2 (RFC 8441)', () => {
  it('is offered, reaches the upstream as an upgrade with our identity, and is on record from beginning to end', async () => {
    expect(session.remoteSettings?.enableConnectProtocol).toBe(true);
    const stream = ask('/echo/ws?x=1', session, { 'sec-websocket-protocol': 'hl7', 'x-client-role': 'doctor', origin: 'https://localhost' });
    const [head] = await once(stream, 'response') as [Record<string, unknown>];
    expect(head).toMatchObject({ ':status': 200, 'sec-websocket-protocol': 'hl7', 'strict-transport-security': expect.any(String) });
    expect(Object.keys(head).filter((name) => /accept|upgrade|connection/.test(name))).toEqual([]);
    expect(upgrades.at(-1)).toMatchObject({ method: 'GET', url: '/echo/ws?x=1', headers: { upgrade: 'websocket', 'x-client-role': 'patient', 'sec-websocket-version': '13', origin: 'https://localhost' } });
    const webSocket = new RawWebSocket(stream, Buffer.alloc(0));
    webSocket.write(wsFrame(OP.text, 'hello'));
    expect((await webSocket.wait(1))[0]?.payload.toString()).toBe('hello');
    webSocket.write(wsFrame(OP.close));
    await webSocket.ended();
    await expect.poll(async () => (await gateway.records()).filter((record) => record['path'] === '/echo/ws')).toMatchObject([
      { event: 'request', result: 'permitted', status: 200, method: 'GET', route: 'echo', role: 'patient' }, { event: 'connection', result: 'done', bytes_in: expect.any(Number), bytes_out: expect.any(Number) },
    ]);
  });

  it.each(WEBSOCKET_CASES.map((test) => [webSocketCaseName(test), test] as const))('%s', async (_name, test) => {
    const webSocket = await open('/echo/ws');
    for (const piece of test.send) {
      webSocket.write(piece);
      if (piece.length === 1) await new Promise((done) => setImmediate(done));
    }
    await webSocket.ended();
    expect(webSocket.frames.map(shownFrame)).toEqual(test.expect);
  });

  it('shares its connection with others and with requests', async () => {
    const opened = await Promise.all(Array.from({ length: 10 }, () => open('/echo/ws')));
    opened.forEach((webSocket, index) => webSocket.write(wsFrame(OP.text, `message of ${index}`)));
    const frames = await Promise.all(opened.map((webSocket) => webSocket.wait(1)));
    expect(frames.map(([frame]) => frame?.payload.toString())).toEqual(Array.from({ length: 10 }, (_, index) => `message of ${index}`));
    for (const { socket } of opened) socket.destroy();
  });

  it('is refused to the wrong role before the upstream hears of it', async () => {
    const before = upgrades.length;
    expect((await replyOf(ask('/records'))).json()).toMatchObject({ status: 403, code: 'role_denied' });
    expect(upgrades.length).toBe(before);
  });

  it('that the upstream declines becomes an ordinary answer, one to an upstream that dies or answers wrongly 502', async () => {
    const declined = await replyOf(ask('/echo/decline'));
    expect([declined.status, declined.body.toString()]).toEqual([403, 'no']);
    expect((await replyOf(ask('/echo/die'))).status).toBe(502);
    expect((await replyOf(ask('/echo/forge'))).status).toBe(502);
  });

  it('of another protocol is refused', async () => {
    const stream = session.request({ ':method': 'CONNECT', ':protocol': 'connect-udp', ':scheme': 'https', ':authority': 'localhost', ':path': '/echo/ws' }, { endStream: false });
    stream.on('error', () => undefined);
    expect((await replyOf(stream)).json()).toMatchObject({ status: 400, code: 'bad_request' });
  });

  it('ends on both sides when the client resets it, and when the upstream does', async () => {
    const first = await open('/echo/ws');
    const [upstreamSide] = [...sockets.clients].slice(-1) as [WebSocket];
    const closed = once(upstreamSide, 'close');
    (first.socket as ClientHttp2Stream).close(constants.NGHTTP2_CANCEL);
    await closed;
    const second = await open('/echo/ws');
    const [other] = [...sockets.clients].slice(-1) as [WebSocket];
    other.terminate();
    await second.ended();
    expect(session.destroyed).toBe(false);
  });

  it('ends when its certificate is revoked, and when a reload takes its role, its route or its CA away, and stays through one that does not', async () => {
    const doctor = await pki.issueClient({ subject: [['CN', 'Dr Short'], ['OU', 'Doctors']] });
    const revoked = await openSession(doctor);
    const cut = await open('/echo/ws', revoked);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: doctor.sha256, reason: 'lost', who: 'test' });
    await cut.ended();
    const yaml = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    for (const [reason, change] of [
      ['role_denied', (text: string) => text.replace('match: { path: /echo/* }, allow: [doctor, patient, device]', 'match: { path: /echo/* }, allow: [device]')],
      ['no_role', (text: string) => text.replace('- { role: patient, match: { san: { uri: "urn:patient:*" } }', '- { role: patient, match: { san: { uri: "urn:nobody:*" } }')],
      ['not_found', (text: string) => text.replace('path: /echo/*', 'path: /gone/*')],
      ['untrusted_issuer', (text: string) => text.replace('trust: [root.pem], intermediates: [issuing.pem]', 'trust: [backend-ca.pem]')],
    ] as const) {
      await gateway.configure(yaml);
      await gateway.gateway.reload();
      const own = await openSession(pki.patient);
      const webSocket = await open(`/echo/${reason}`, own);
      await gateway.gateway.reload();
      webSocket.write(wsFrame(OP.text, 'still here'));
      expect((await webSocket.wait(1))[0]?.payload.toString()).toBe('still here');
      await gateway.configure(change(yaml));
      await gateway.gateway.reload();
      await webSocket.ended();
      await expect.poll(async () => (await gateway.records()).some((record) => record['event'] === 'connection' && record['reason'] === reason)).toBe(true);
      own.destroy();
    }
    await gateway.configure(yaml);
    await gateway.gateway.reload();
  });
});
