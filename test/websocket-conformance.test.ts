import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { connect, type TLSSocket } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { listen } from './support/backend.ts';
import { openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { AS_EXPECTED, caseTable, marked } from './support/protocol-tables.ts';
import { RawWebSocket, shownFrame, WEBSOCKET_ACCEPT, WEBSOCKET_CASES, WEBSOCKET_KEY, webSocketCaseName, wsFrame, OP } from './support/websocket-cases.ts';

let pki: TestPki;
let gateway: TestGateway;
let server: ReturnType<typeof createServer>;
let sockets: WebSocketServer;
/** Octets that the server got behind the handshake, connection by connection. */
let arrived: Buffer[][];
const shown = new Map<string, string>();

beforeAll(async () => {
  pki = await testPki();
  arrived = [];
  server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true });
  sockets = new WebSocketServer({ noServer: true, maxPayload: 64 * 1024 * 1024 });
  server.on('upgrade', (request, socket, head) => {
    const parts: Buffer[] = [Buffer.from(head)];
    arrived.push(parts);
    // A copy: ws takes the mask off in place.
    socket.on('data', (chunk: Buffer) => parts.push(Buffer.from(chunk)));
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('error', () => undefined);
      webSocket.on('message', (data, binary) => webSocket.send(data, { binary }));
    });
  });
  await listen(server);
  gateway = await startGateway(pki, (server.address() as AddressInfo).port);
});

afterAll(async () => {
  for (const client of sockets.clients) client.terminate();
  await gateway.stop();
  server.close();
});

const handshake = `GET /echo/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${WEBSOCKET_KEY}\r\n\r\n`;

async function shake(socket: TLSSocket): Promise<RawWebSocket> {
  socket.write(handshake);
  let text = Buffer.alloc(0);
  while (!text.includes('\r\n\r\n')) text = Buffer.concat([text, (await once(socket, 'data'))[0] as Buffer]);
  const end = text.indexOf('\r\n\r\n') + 4;
  expect(text.toString('latin1')).toContain(`sec-websocket-accept: ${WEBSOCKET_ACCEPT}`.slice(23));
  return new RawWebSocket(socket, text.subarray(end));
}

const through = async (): Promise<RawWebSocket> => shake(await openTls(pki, gateway.port, { client: pki.patient }));

async function direct(): Promise<RawWebSocket> {
  const socket = connect({
    host: '127.0.0.1', port: (server.address() as AddressInfo).port, ca: pki.backendCa.certificate, cert: pki.gatewayClient.chain, key: pki.gatewayClient.key, servername: 'records.internal',
  });
  await once(socket, 'secureConnect');
  return shake(socket);
}

/** Plays a case: every octet that came back, and the frames that they are. */
async function play(webSocket: RawWebSocket, pieces: readonly Buffer[]): Promise<{ readonly octets: Buffer; readonly frames: string[] }> {
  for (const piece of pieces) {
    webSocket.write(piece);
    if (piece.length === 1) await new Promise((done) => setImmediate(done));
  }
  await webSocket.ended();
  return { octets: webSocket.octets, frames: webSocket.frames.map(shownFrame) };
}

describe('RFC 6455, case by case, through the gateway', () => {
  it.each(WEBSOCKET_CASES.map((test) => [webSocketCaseName(test), test] as const))('%s', async (name, test) => {
    const sent = Buffer.concat(test.send);
    const [ours, theirs] = [await play(await through(), test.send), await play(await direct(), test.send)];
    shown.set(name, ours.frames.join(', '));
    expect(ours.frames).toEqual(test.expect);
    // What comes back is what the server says to the same octets without us; what reached it is what was sent.
    expect(ours.octets.equals(theirs.octets)).toBe(true);
    const [byUs] = arrived.splice(0, arrived.length);
    const got = Buffer.concat(byUs ?? []);
    expect(got.equals(sent.subarray(0, got.length))).toBe(true);
  });

  it('stand in the document as they are played', () => {
    const document = readFileSync(new URL('../docs/conformance.md', import.meta.url), 'utf8');
    const cases = WEBSOCKET_CASES.map((test) => {
      const name = webSocketCaseName(test);
      return { name, allowed: [AS_EXPECTED], shown: shown.get(name) === test.expect.join(', ') ? AS_EXPECTED : 'otherwise' };
    });
    expect(marked(document, 'websocket')).toBe(caseTable(cases));
  });
});

describe('a WebSocket through the gateway', () => {
  it('carries 10,000 small messages in their order', async () => {
    const webSocket = await through();
    for (let index = 0; index < 10_000; index++) webSocket.write(wsFrame(OP.text, `message ${index}`));
    const frames = await webSocket.wait(10_000, 40_000);
    expect(frames.map(({ payload }) => payload.toString())).toEqual(Array.from({ length: 10_000 }, (_, index) => `message ${index}`));
    webSocket.socket.destroy();
  });

  it('carries a message of 8 MiB both ways', async () => {
    const webSocket = await through();
    const message = randomBytes(8 * 1024 * 1024);
    webSocket.write(wsFrame(OP.binary, message));
    const [frame] = await webSocket.wait(1, 50_000);
    expect(frame?.payload.equals(message)).toBe(true);
    webSocket.socket.destroy();
  });
});
