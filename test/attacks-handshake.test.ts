import { once } from 'node:events';
import { connect as connectTcp, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readClientHello } from '../src/tls/client-hello.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { sClient } from './support/openssl.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { shortest } from './support/timing.ts';

const OTHER_NAME = 'api.demo.wardgate.test';

/** A handshake record around some octets. */
function record(content: Uint8Array): Buffer {
  const head = Buffer.from([22, 3, 1, 0, 0]);
  head.writeUInt16BE(content.length, 3);
  return Buffer.concat([head, content]);
}

/** The octets of a record cut into several records, at the given places. */
function cutRecord(whole: Buffer, ...places: readonly number[]): Buffer[] {
  const message = whole.subarray(5);
  return [0, ...places].map((from, index) => record(message.subarray(from, places[index] ?? message.length)));
}

function inParts(whole: Buffer, count: number): Buffer[] {
  return cutRecord(whole, ...Array.from({ length: count - 1 }, (_, index) => Math.floor(((whole.length - 5) * (index + 1)) / count)));
}

/** A ClientHello of 65,520 octets that comes an octet, or nothing, at a time. */
function tinyRecords(payload: 0 | 1): Buffer {
  const head = [1, 0, 0xff, 0xf0].map((octet) => record(Buffer.from([octet])));
  return Buffer.concat([...head, ...Array.from({ length: 10_000 }, () => record(Buffer.alloc(payload)))]);
}

function listen(server: Server): Promise<number> {
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done((server.address() as AddressInfo).port)));
}

/** Collects from a connection until it has sent a whole record. */
function firstRecord(socket: Socket): Promise<Buffer> {
  return new Promise((done) => {
    let octets = Buffer.alloc(0);
    socket.on('data', function take(chunk: Buffer) {
      octets = Buffer.concat([octets, chunk]);
      if (octets.length < 5 || octets.length < 5 + octets.readUInt16BE(3)) return;
      socket.off('data', take);
      socket.pause();
      done(octets);
    });
  });
}

/** What a client begins its handshake with: one record, as it came. */
async function helloOf(start: (port: number) => void): Promise<Buffer> {
  const server = createServer();
  const port = await listen(server);
  const arrived = once(server, 'connection') as Promise<[Socket]>;
  start(port);
  const [socket] = await arrived;
  socket.on('error', () => undefined);
  const hello = await firstRecord(socket);
  socket.destroy();
  server.close();
  return hello;
}

const CLIENTS = {
  node: (port: number): void => void connect({ host: '127.0.0.1', port, servername: OTHER_NAME }).on('error', () => undefined),
  openssl: (port: number): void => void sClient(port, ['-servername', OTHER_NAME], ''),
} as const;

describe('reading a ClientHello', () => {
  it.each([
    ['one octet', 1],
    ['none', 0],
  ] as const)('costs next to nothing when it comes in thousands of records of %s', (_what, payload) => {
    const octets = tinyRecords(payload);
    expect(shortest(() => expect(readClientHello(octets)).toEqual({ kind: 'other' }))).toBeLessThan(100);
  });

  it('does not go on without end: neither in one record nor in announced length', () => {
    const endless = Buffer.concat([Buffer.from([22, 3, 1, 0xff, 0xff, 1, 0, 0x3f, 0xff]), Buffer.alloc(20_000)]);
    expect(readClientHello(endless)).toEqual({ kind: 'other' });
    expect(readClientHello(record(Buffer.from([1, 0xff, 0xff, 0xff])))).toEqual({ kind: 'other' });
  });

  it.each(['node', 'openssl'] as const)('of %s finds the name in one record, in two to four, and in one that begins with an octet alone', async (client) => {
    const hello = await helloOf(CLIENTS[client]);
    const named = { kind: 'hello', serverName: OTHER_NAME, tickets: [] };
    expect(readClientHello(hello)).toEqual(named);
    for (const parts of [inParts(hello, 2), inParts(hello, 3), inParts(hello, 4), cutRecord(hello, 1), cutRecord(hello, 1, 2, 3)]) {
      expect(readClientHello(Buffer.concat(parts))).toEqual(named);
    }
  });

  it.each([['tickets', 41], ['groups', 10], ['an extension that goes on past the end', 0xfafa]])('whose list of %s is malformed goes to the name all the same, not to the default', async (_what, type) => {
    const hello = await helloOf(CLIENTS.openssl);
    const broken = Buffer.from([type >> 8, type & 0xff, 0, type === 0xfafa ? 0xff : 4, 0xff, 0xff, 0xff, 0xff]);
    const body = hello.subarray(9);
    // Version, random, session id, suites, compression: behind them stands how long the extensions are.
    let at = 34;
    at += 1 + body.readUInt8(at);
    at += 2 + body.readUInt16BE(at);
    at += 1 + body.readUInt8(at);
    const extensions = Buffer.concat([body.subarray(at + 2), broken]);
    const longer = Buffer.concat([body.subarray(0, at), Buffer.from([extensions.length >> 8, extensions.length & 0xff]), extensions]);
    const message = Buffer.concat([Buffer.from([1, 0, longer.length >> 8, longer.length & 0xff]), longer]);
    expect(readClientHello(record(message))).toMatchObject({ kind: 'hello', serverName: OTHER_NAME, tickets: [] });
  });

  it.each(['node', 'openssl'] as const)('of %s waits for every octet of it, however it is cut', async (client) => {
    const hello = await helloOf(CLIENTS[client]);
    for (const octets of [hello, Buffer.concat(inParts(hello, 4))]) {
      for (let length = 0; length < octets.length; length++) expect(readClientHello(octets.subarray(0, length))).toEqual({ kind: 'incomplete' });
    }
  });
});

describe('a listener with several names', () => {
  let pki: TestPki;
  let backend: Backend;
  let gateway: TestGateway;

  beforeAll(async () => {
    pki = await testPki();
    backend = await startBackend(pki);
    gateway = await startGateway(pki, backend.port, {
      clientAuth: `{ mode: optional, trust: [root.pem], intermediates: [issuing.pem], names: { ${OTHER_NAME}: { trust: [backend-ca.pem] } } }`,
    });
  });

  afterAll(async () => {
    await gateway.stop();
    await backend.close();
  });

  /** A way to the gateway on which the client's first record is cut; each piece leaves in a segment of its own. */
  async function cutting(cut: (hello: Buffer) => readonly Buffer[]): Promise<{ port: number; close(): void }> {
    const server = createServer(async (client) => {
      const hello = await firstRecord(client);
      const onward = connectTcp({ port: gateway.port, host: '127.0.0.1', noDelay: true });
      for (const socket of [client, onward]) socket.on('error', () => undefined);
      for (const piece of cut(hello)) await new Promise((done) => onward.write(piece, done));
      client.pipe(onward).pipe(client);
    });
    return { port: await listen(server), close: () => void server.close() };
  }

  it.each([
    ['two records', (hello: Buffer) => inParts(hello, 2)],
    ['four records at once', (hello: Buffer) => [Buffer.concat(inParts(hello, 4))]],
    ['four records', (hello: Buffer) => inParts(hello, 4)],
    ['records that begin with an octet alone', (hello: Buffer) => cutRecord(hello, 1)],
    ['segments of seven octets', (hello: Buffer) => Array.from({ length: Math.ceil(hello.length / 7) }, (_, index) => hello.subarray(index * 7, index * 7 + 7))],
  ])('serves each of them to a client whose hello comes in %s', async (_what, cut) => {
    const way = await cutting(cut);
    const asked = async (name: string): Promise<string> => {
      const run = await sClient(way.port, ['-servername', name], `GET /public/x HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`);
      expect(run.status).toBe(200);
      return /Acceptable client certificate CA names\n.*CN ?= ?(.*)/.exec(run.output)?.[1] ?? '';
    };
    expect(await asked(OTHER_NAME)).toBe('Backend Root');
    expect(await asked('localhost')).toBe('Hospital Root');
    expect((await ask(pki, way.port, '/records', { client: pki.doctor })).status).toBe(200);
    way.close();
  });

  it.each([1, 0] as const)('answers others while hellos come in thousands of records of %i octets', async (payload) => {
    const octets = tinyRecords(payload);
    const attackers = await Promise.all(Array.from({ length: 8 }, async () => {
      const socket = connectTcp(gateway.port, '127.0.0.1');
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      await new Promise((done) => socket.write(octets, done));
      return socket;
    }));
    const started = performance.now();
    for (let round = 0; round < 4; round++) expect((await ask(pki, gateway.port, '/public/x')).status).toBe(200);
    expect(performance.now() - started).toBeLessThan(8_000);
    for (const socket of attackers) socket.destroy();
  });
});
