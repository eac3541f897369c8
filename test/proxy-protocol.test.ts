import { connect } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readProxyHeader } from '../src/tls/proxy-protocol.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, exchange, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;

beforeAll(async () => {
  pki = await testPki({ names: ['localhost', 'devices.localhost'] });
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

const version2 = (command: number, family: number, body: readonly number[]): Buffer =>
  Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x20 | command, family, body.length >> 8, body.length & 255, ...body]);
const IPV4 = version2(1, 0x11, [192, 0, 2, 9, 10, 0, 0, 1, 1, 0, 1, 187]);
const IPV6 = version2(1, 0x21, [0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), 7, ...Array(16).fill(0), 1, 0, 1, 187]);

/** A handshake and a request behind a PROXY header that comes octet by octet. */
async function behind(gateway: TestGateway, header: Buffer | string): Promise<string> {
  const raw = connect({ port: gateway.port, host: '127.0.0.1', noDelay: true });
  await once(raw, 'connect');
  for (const octet of Buffer.from(header as string)) raw.write(Buffer.of(octet));
  const socket: TLSSocket = connectTls({ socket: raw, servername: 'localhost', ca: pki.root.certificate, cert: pki.doctor.chain, key: pki.doctor.key });
  socket.on('error', () => undefined);
  const text = await exchange(socket, 'GET /records HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  socket.destroy();
  return text;
}

describe.each([
  ['one name', '{ mode: optional, trust: [root.pem], intermediates: [issuing.pem] }'],
  ['names with CAs of their own', '{ mode: optional, trust: [root.pem], intermediates: [issuing.pem], names: { devices.localhost: { trust: [backend-ca.pem] } } }'],
])('behind a balancer, on a listener with %s', (_what, clientAuth) => {
  let gateway: TestGateway;

  beforeAll(async () => {
    gateway = await startGateway(pki, backend.port, { clientAuth, listenerExtra: '    proxy_protocol: { from: [127.0.0.0/8] }' });
  });

  afterAll(() => gateway.stop());

  it.each([
    ['version 1, IPv4', 'PROXY TCP4 192.0.2.7 10.0.0.1 256 443\r\n', '192.0.2.7'],
    ['version 1, IPv6', 'PROXY TCP6 2001:db8::7 ::1 256 443\r\n', '2001:db8::7'],
    ['version 2, IPv4', IPV4, '192.0.2.9'],
    ['version 1, IPv6 in another spelling', 'PROXY TCP6 2001:DB8:0:0::0007 ::1 256 443\r\n', '2001:db8::7'],
    ['version 2, IPv6', IPV6, '2001:db8::7'],
    ['version 2, IPv4 written as IPv6', version2(1, 0x21, [...Array.from({ length: 10 }, () => 0), 255, 255, 192, 0, 2, 11, ...Array.from({ length: 16 }, () => 0), 1, 0, 1, 187]), '192.0.2.11'],
    ['version 1, IPv4 written as IPv6', 'PROXY TCP6 ::ffff:192.0.2.12 ::ffff:10.0.0.1 256 443\r\n', '192.0.2.12'],
    ['version 1, UNKNOWN', 'PROXY UNKNOWN\r\n', '127.0.0.1'],
    ['version 2, LOCAL', version2(0, 0, []), '127.0.0.1'],
  ])('the client\'s address is right: %s', async (_form, header, address) => {
    expect(await behind(gateway, header)).toMatch(/^HTTP\/1\.1 200 /);
    expect(backend.seen.at(-1)?.headers['x-forwarded-for']).toBe(address);
    expect((await gateway.records()).filter((record) => record['event'] === 'request').map((record) => record['address'])).toContain(address);
  });

  it('a connection without the header, or with a broken one, is closed', async () => {
    await expect(ask(pki, gateway.port, '/records', { client: pki.doctor })).rejects.toThrow();
    for (const header of ['PROXY TCP4 evil 10.0.0.1 1 2\r\n', `PROXY ${'x'.repeat(200)}`, version2(2, 0x11, []), version2(1, 0x11, [1, 2])]) {
      expect(await behind(gateway, header)).toBe('');
    }
  });
});

describe('from anywhere else', () => {
  it('a PROXY header is not believed, and plain TLS is served', async () => {
    const gateway = await startGateway(pki, backend.port, { listenerExtra: '    proxy_protocol: { from: [10.0.0.0/8] }' });
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    expect(await behind(gateway, 'PROXY TCP4 192.0.2.7 10.0.0.1 256 443\r\n')).toBe('');
    await gateway.stop();
  });
});

describe('the header', () => {
  it('is read to its last octet and not before', () => {
    for (const header of [IPV4, IPV6, Buffer.from('PROXY TCP4 192.0.2.7 10.0.0.1 256 443\r\n')]) {
      for (let length = 0; length < header.length; length++) expect(readProxyHeader(header.subarray(0, length)).kind).toBe('incomplete');
      expect(readProxyHeader(Buffer.concat([header, Buffer.from('\x16\x03\x01')]))).toMatchObject({ kind: 'header', length: header.length });
    }
  });
});
