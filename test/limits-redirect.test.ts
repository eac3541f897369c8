import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const HOST = 'Host: api.hospital.test\r\n';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let port: number;
const sockets: Socket[] = [];

const TLS = `
  - { name: clinical, address: 127.0.0.1:0, tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }, client_auth: { mode: optional, trust: [root.pem], intermediates: [issuing.pem] } }`;

async function start(limits: string, more = ''): Promise<void> {
  gateway = await startGateway(pki, backend.port, {
    listeners: `${TLS}\n  - { name: plain, address: 127.0.0.1:0, protocol: redirect, limits: ${limits}${more} }`, top: 'metrics: { address: 127.0.0.1:0 }',
  });
  port = gateway.gateway.listeners[1]!.port;
}

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  await start('{ header_time: 1s, header_size: 4KiB, header_fields: 20, connections: 30, connections_per_address: 25 }');
});

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

/** What the plain port says to these octets until it closes. */
async function say(octets: string): Promise<string> {
  const socket = await dial();
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  socket.write(octets, 'latin1');
  if (!socket.closed) await once(socket, 'close');
  return text;
}

async function dial(from = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from });
  socket.on('error', () => undefined);
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

async function metric(pattern: RegExp): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
  return Number(pattern.exec(text)?.[1] ?? 0);
}

describe('the plain port answers 308 with the same place on https', () => {
  it.each([
    ['a path', `GET /records HTTP/1.1\r\n${HOST}\r\n`, 'https://api.hospital.test/records'],
    ['a query', `GET /records?a=b&c=%20 HTTP/1.1\r\n${HOST}\r\n`, 'https://api.hospital.test/records?a=b&c=%20'],
    ['a port, which it leaves out', 'GET / HTTP/1.1\r\nHost: api.hospital.test:8080\r\n\r\n', 'https://api.hospital.test/'],
    ['an IPv6 address', 'GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n', 'https://[2001:db8::1]/'],
    ['HTTP/1.0 with a Host', 'GET /records HTTP/1.0\r\nHost: api.hospital.test\r\n\r\n', 'https://api.hospital.test/records'],
    ['HEAD', `HEAD /records HTTP/1.1\r\n${HOST}\r\n`, 'https://api.hospital.test/records'],
    ['a body that it does not wait for', `POST /upload HTTP/1.1\r\n${HOST}Content-Length: 100000\r\n\r\n`, 'https://api.hospital.test/upload'],
    ['a body that would come on request, without asking for it', `POST /upload HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`, 'https://api.hospital.test/upload'],
    ['an upgrade, which it does not make', `GET /ws HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`, 'https://api.hospital.test/ws'],
    ['HTTP/2 offered in clear', `GET / HTTP/1.1\r\n${HOST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`, 'https://api.hospital.test/'],
  ])('to %s', async (_name, octets, location) => {
    const text = await say(octets);
    expect(text).toMatch(/^HTTP\/1\.1 308 /);
    expect(/^location: (.*)\r$/im.exec(text)?.[1]).toBe(location);
    expect(text).toMatch(/^connection: close\r$/im);
    // HSTS over plain HTTP is to be ignored (RFC 6797 section 7.2), and anybody on the way could add it.
    expect(text).not.toMatch(/strict-transport-security/i);
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
  });
});

describe('the plain port sends nobody anywhere for', () => {
  it.each([
    ['no Host', 'GET / HTTP/1.1\r\n\r\n'],
    ['HTTP/1.0 without Host', 'GET / HTTP/1.0\r\n\r\n'],
    ['an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n'],
    ['two Hosts', `GET / HTTP/1.1\r\n${HOST}Host: evil.test\r\n\r\n`],
    ['a Host with user information', 'GET / HTTP/1.1\r\nHost: api.hospital.test@evil.test\r\n\r\n'],
    ['a Host with a path', 'GET / HTTP/1.1\r\nHost: evil.test/api.hospital.test\r\n\r\n'],
    ['a Host with a query', 'GET / HTTP/1.1\r\nHost: evil.test?api.hospital.test\r\n\r\n'],
    ['a Host with a percent-encoding', 'GET / HTTP/1.1\r\nHost: evil%2etest\r\n\r\n'],
    ['a Host with an impossible port', 'GET / HTTP/1.1\r\nHost: api.hospital.test:99999\r\n\r\n'],
    ['absolute-form', `GET http://evil.test/ HTTP/1.1\r\n${HOST}\r\n`],
    ['a path that would be another host', `GET //evil.test/ HTTP/1.1\r\n${HOST}\r\n`],
    ['a backslash', `GET /\\evil.test/ HTTP/1.1\r\n${HOST}\r\n`],
    ['a fragment', `GET /a#b HTTP/1.1\r\n${HOST}\r\n`],
    ['an asterisk', `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`],
    ['a tunnel', `CONNECT evil.test:443 HTTP/1.1\r\n${HOST}\r\n`],
    ['octets above ASCII', `GET /\xff\xfe HTTP/1.1\r\n${HOST}\r\n`],
    ['a control character in the path', `GET /a\x01b HTTP/1.1\r\n${HOST}\r\n`],
    ['a bare line feed in the path', `GET /a\nX-Injected: 1 HTTP/1.1\r\n${HOST}\r\n`],
    ['a carriage return in the path', `GET /a\rb HTTP/1.1\r\n${HOST}\r\n`],
    ['an encoded line end in the path', `GET /a%0d%0aX-Injected:%201 HTTP/1.1\r\n${HOST}\r\n`],
    ['a folded Host', 'GET / HTTP/1.1\r\nHost: api\r\n .evil.test\r\n\r\n'],
    ['both framings', `POST / HTTP/1.1\r\n${HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    ['HTTP/2 with prior knowledge', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['HTTP/0.9', 'GET /\r\n\r\n'],
    ['a header that is too large', `GET / HTTP/1.1\r\n${HOST}X: ${'x'.repeat(5_000)}\r\n\r\n`],
    ['too many fields', `GET / HTTP/1.1\r\n${HOST}${'X: y\r\n'.repeat(30)}\r\n`],
    ['nothing at all', ''],
    ['half a request', `GET / HTTP/1.1\r\n${HOST}`],
  ])('%s', async (_name, octets) => {
    const text = await say(octets);
    expect(text).toMatch(/^(HTTP\/1\.1 4\d\d [^]*)?$/);
    expect(text).not.toMatch(/location|injected|evil/i);
    expect(text.match(/HTTP\/1\.1/g)?.length ?? 0).toBeLessThanOrEqual(1);
  });
});

describe('the plain port', () => {
  it('answers one request a connection, whatever is sent behind it', async () => {
    const text = await say(`GET /1 HTTP/1.1\r\n${HOST}\r\nGET /2 HTTP/1.1\r\n${HOST}\r\n`.repeat(50));
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(text).toContain('https://api.hospital.test/1\r');
  });

  it('ends clients that send their request octet by octet', async () => {
    const socket = await dial();
    const started = performance.now();
    const timer = setInterval(() => socket.write('x'), 100);
    socket.resume().write('GET / HTTP/1.1\r\nX: ');
    await once(socket, 'close');
    clearInterval(timer);
    expect(performance.now() - started).toBeLessThan(15_000);
  });

  it('counts what it answers and whom it turns away, and lets the others in again when they have gone', async () => {
    const before = await metric(/wardgate_redirects_total\{listener="plain",status="308"\} (\d+)/);
    await say(`GET / HTTP/1.1\r\n${HOST}\r\n`);
    expect(await metric(/wardgate_redirects_total\{listener="plain",status="308"\} (\d+)/)).toBe(before + 1);
    const idle = await Promise.all(Array.from({ length: 28 }, () => dial('127.0.0.7')));
    await expect.poll(async () => metric(/wardgate_connections_refused_total\{listener="plain",limit="address"\} (\d+)/)).toBe(3);
    expect(await say(`GET / HTTP/1.1\r\n${HOST}\r\n`)).toMatch(/^HTTP\/1\.1 308 /);
    for (const socket of idle) socket.destroy();
    await expect.poll(async () => (await Promise.all(Array.from({ length: 20 }, () => say(`GET / HTTP/1.1\r\n${HOST}\r\n`)))).filter((text) => text.startsWith('HTTP/1.1 308 ')).length).toBe(20);
  });

  it('forwards nothing, and leaves the other listener alone', async () => {
    expect(backend.seen).toHaveLength(0);
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
  });
});
