import { createServer } from 'node:https';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SecureContextOptions } from 'node:tls';
import { WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { listen } from './support/backend.ts';
import { ask, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
let gateway: TestGateway;
let sockets: WebSocketServer;
let upgrades: { url: string; headers: NodeJS.Dict<string | string[]> }[];
let close: () => void;

beforeAll(async () => {
  pki = await testPki();
  upgrades = [];
  const server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (_request, response) => {
    response.writeHead(426, { 'strict-transport-security': 'max-age=1' }).end('no websocket here');
  });
  sockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => {
    upgrades.push({ url: request.url ?? '', headers: request.headers });
    if (request.url === '/echo/decline') return void socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
    if (request.url === '/echo/die') return void socket.destroy();
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('message', (data, binary) => webSocket.send(data, { binary }));
    });
  });
  const port = await listen(server);
  gateway = await startGateway(pki, port);
  close = () => server.close();
});

afterAll(async () => {
  for (const client of sockets.clients) client.terminate();
  await gateway.stop();
  close();
});

function open(path: string, client?: Issued): WebSocket {
  const options: ClientOptions & SecureContextOptions & { servername: string } = {
    servername: 'localhost', headers: { host: 'localhost', 'x-client-role': 'doctor' }, ca: pki.root.certificate,
    ...(client === undefined ? {} : { cert: client.chain, key: client.key }),
  };
  return new WebSocket(`wss://127.0.0.1:${gateway.port}${path}`, [], options);
}

describe('a WebSocket', () => {
  it('passes through with our identity and every octet', async () => {
    const socket = open('/echo/ws?x=1', pki.patient);
    await once(socket, 'open');
    expect(upgrades.at(-1)).toMatchObject({ url: '/echo/ws?x=1', headers: { 'x-client-role': 'patient', 'x-client-id': 'urn:patient:1001' } });
    for (const size of [1, 1000, 100_000, 3_000_000]) {
      const sent = randomBytes(size);
      socket.send(sent);
      const [received] = await once(socket, 'message') as [Buffer];
      expect(received.equals(sent)).toBe(true);
    }
    socket.close();
    await once(socket, 'close');
    const records = (await gateway.records()).filter((record) => record['status'] === 101);
    expect(records.at(-1)).toMatchObject({ result: 'permitted', route: 'echo', role: 'patient' });
    await expect.poll(async () => (await gateway.records()).find((record) => record['event'] === 'connection' && record['request_id'] === records.at(-1)?.['request_id']))
      .toMatchObject({ result: 'done', route: 'echo', role: 'patient', bytes_in: expect.any(Number), bytes_out: expect.any(Number) });
  });

  it('is refused to the wrong role, before the upstream hears of it', async () => {
    const before = upgrades.length;
    const socket = open('/records', pki.patient);
    const [error] = await once(socket, 'error') as [Error];
    expect(error.message).toContain('403');
    expect(upgrades.length).toBe(before);
  });

  it('that the upstream declines becomes an ordinary answer', async () => {
    const [error] = await once(open('/echo/decline', pki.patient), 'error') as [Error];
    expect(error.message).toContain('403');
  });

  it('to an upstream that dies becomes 502', async () => {
    const [error] = await once(open('/echo/die', pki.patient), 'error') as [Error];
    expect(error.message).toContain('502');
  });

  it('is ended when its certificate is revoked', async () => {
    const other = await pki.issueClient({ subject: [['CN', 'Dr Short'], ['OU', 'Doctors']] });
    const socket = open('/echo/ws', other);
    await once(socket, 'open');
    const closed = once(socket, 'close');
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: other.sha256, reason: 'lost', who: 'test' });
    await closed;
  });

  it('ends on both sides when the client vanishes', async () => {
    const socket = open('/echo/ws', pki.patient);
    await once(socket, 'open');
    const [upstreamSide] = [...sockets.clients].slice(-1);
    socket.terminate();
    await once(upstreamSide as WebSocket, 'close');
  });
});

describe('an upgrade to anything else', () => {
  it('is answered as if it had not been asked: h2c carries nothing past the policy', async () => {
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const text = await exchange(socket, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n', (so_far) => so_far.includes('\r\n\r\n'));
    expect(text).toMatch(/^HTTP\/1\.1 426 /);
    expect(upgrades.some(({ headers }) => headers['upgrade'] === 'h2c')).toBe(false);
    socket.destroy();
  });

  it('keeps one HSTS on answers of upstreams that set their own', async () => {
    const reply = await ask(pki, gateway.port, '/echo/x', { client: pki.patient });
    expect(reply.headers['strict-transport-security']).toBe('max-age=31536000; includeSubDomains; preload');
  });
});

describe('an open WebSocket', () => {
  it('ends when a reload takes its route, its role or its CA away, and stays through one that does not', async () => {
    const yaml = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    for (const change of [
      (text: string) => text.replace('match: { path: /echo/* }, allow: [doctor, patient, device]', 'match: { path: /echo/* }, allow: [device]'),
      (text: string) => text.replace('- { role: patient, match: { san: { uri: "urn:patient:*" } }', '- { role: patient, match: { san: { uri: "urn:nobody:*" } }'),
      (text: string) => text.replace('trust: [root.pem], intermediates: [issuing.pem]', 'trust: [backend-ca.pem]'),
    ]) {
      await gateway.configure(yaml);
      await gateway.gateway.reload();
      const socket = open('/echo/ws', pki.patient);
      await once(socket, 'open');
      await gateway.gateway.reload();
      socket.send('still here');
      expect(String((await once(socket, 'message'))[0])).toBe('still here');
      const closed = once(socket, 'close');
      await gateway.configure(change(yaml));
      await gateway.gateway.reload();
      await closed;
    }
    await gateway.configure(yaml);
    await gateway.gateway.reload();
  });
});
