import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, configuration, exchange, listener, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type TestPki } from './support/pki.ts';

const GET = 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
const opened: Slow[] = [];

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, ({ url }, response) => void (url === '/echo/endless' ? response.write('hello') : response.end('hello')));
});

beforeEach(async () => {
  gateway = await startGateway(pki, backend.port, {
    threads: 1, listeners: `${listener('clinical')}${listener('balanced', { listenerExtra: '    proxy_protocol: { from: [127.0.0.1] }\n' })}${listener('general', { listenerExtra: '    http1: { fast_path: false }\n' })}\n  - { name: plain, address: "127.0.0.1:0", protocol: redirect, redirect_port: 443 }\n`,
  });
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((slow) => slow.close()));
  await gateway.stop();
});

afterAll(() => backend.close());

interface Slow {
  readonly port: number;
  /** Resolves when the first octets of a client have gone through. */
  readonly forwarded: Promise<void>;
  /** Resolves when the gateway has answered the first octets of a client, and so taken the connection; all that come after wait. */
  readonly waits: Promise<unknown>;
  release(): void;
  close(): Promise<void>;
}

/** A way to the gateway that keeps back what a client sends after its first octets, `before` them having gone ahead, until it is released. */
async function slowWay(to: number, before = ''): Promise<Slow> {
  const forwarded = Promise.withResolvers<void>();
  const waits = Promise.withResolvers<unknown>();
  const kept: (() => void)[] = [];
  let open = false;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const onward = connect(to, '127.0.0.1').on('error', () => client.destroy()).on('close', () => client.end());
    onward.write(before);
    for (const socket of [client, onward]) sockets.add(socket);
    onward.pipe(client);
    client.on('error', () => onward.destroy());
    client.once('data', (hello: Buffer) => {
      onward.write(hello);
      client.pause();
      const go = (): void => void client.pipe(onward);
      if (open) go();
      else kept.push(go);
      forwarded.resolve();
    });
    onward.once('data', waits.resolve);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const slow = {
    port: (server.address() as AddressInfo).port,
    forwarded: forwarded.promise,
    waits: waits.promise,
    release() {
      open = true;
      for (const go of kept.splice(0)) go();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
  opened.push(slow);
  return slow;
}

const portOf = (name: string): number => gateway.gateway.listeners.find((one) => one.name === name)?.port ?? 0;
/** Asks one request after the other on a connection. */
async function askUntilSentAway(socket: TLSSocket): Promise<'sent away' | 'hung up on'> {
  for (;;) {
    const answer = await exchange(socket, GET, (text) => text.endsWith('hello'));
    if (!answer.endsWith('hello')) return 'hung up on';
    if (/\r\nconnection: close\r\n/i.test(answer)) return 'sent away';
  }
}

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

describe('a gateway that stops', () => {
  /** Stops in the middle of what `slow` keeps back, which goes on while it stops. */
  async function stopWithin(slow: Slow, taken = slow.waits): Promise<{ readonly stopped: Promise<void> }> {
    await taken;
    const stopped = gateway.gateway.stop(5_000);
    await pause(200);
    slow.release();
    return { stopped };
  }

  it.each(['TLSv1.3', 'TLSv1.2'] as const)('answers the request of a client whose handshake was under way (%s)', async (version) => {
    const slow = await slowWay(gateway.port);
    const asked = ask(pki, slow.port, '/echo/x', { client: pki.doctor, maxVersion: version });
    const { stopped } = await stopWithin(slow);
    expect(await asked).toMatchObject({ status: 200, headers: { connection: 'close' } });
    await stopped;
  });

  it('that of one behind a balancer, too', async () => {
    const slow = await slowWay(portOf('balanced'), 'PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n');
    const asked = ask(pki, slow.port, '/echo/x', { client: pki.doctor });
    const { stopped } = await stopWithin(slow);
    expect((await asked).status).toBe(200);
    await stopped;
  });

  it('over HTTP/2, too', async () => {
    const slow = await slowWay(gateway.port);
    const asked = openHttp2(pki, slow.port, { client: pki.doctor }).then((session) => askHttp2(session, '/echo/x'));
    const { stopped } = await stopWithin(slow);
    expect((await asked).status).toBe(200);
    await stopped;
  });

  it.each(['clinical', 'general'])('that of one whose handshake was over, and that asks a little later (%s)', async (name) => {
    const socket = await openTls(pki, portOf(name), { client: pki.doctor });
    await expect.poll(async () => (await gateway.gateway.status()).connections).toBe(1);
    const stopped = gateway.gateway.stop(5_000);
    await pause(200);
    expect(await exchange(socket, GET)).toMatch(/^HTTP\/1.1 200 [^]*\r\nconnection: close\r\n/);
    await stopped;
  });

  it.each(['clinical', 'general'])('says so to who asks all the time before it ends their connection, in a drain too (%s)', async (name) => {
    for (const end of [() => wardgate(['drain', '-c', gateway.path('wardgate.yaml'), '--for', '5s']), () => gateway.gateway.stop(5_000)]) {
      const sockets = await Promise.all(Array.from({ length: 6 }, () => openTls(pki, portOf(name), { client: pki.doctor })));
      const asking = sockets.map(askUntilSentAway);
      const ended = end();
      expect(await Promise.all(asking)).toEqual(Array(6).fill('sent away'));
      await ended;
      await wardgate(['drain', '-c', gateway.path('wardgate.yaml'), '--undo']);
    }
  });

  it('says in the record that it was not the client who left an answer that does not end in time', async () => {
    const http2 = await openHttp2(pki, gateway.port, { client: pki.doctor });
    const stream = http2.request({ ':path': '/echo/endless', ':authority': 'localhost' }).on('error', () => undefined);
    const sockets = await Promise.all(['clinical', 'general'].map((name) => openTls(pki, portOf(name), { client: pki.doctor })));
    await Promise.all([once(stream, 'data'), ...sockets.map((socket) => exchange(socket, GET.replace('/echo/x', '/echo/endless'), (text) => text.includes('hello')))]);
    await gateway.gateway.stop(100);
    const failed = (await gateway.records()).filter(({ path }) => path === '/echo/endless');
    expect(failed.map(({ result, status, reason, detail }) => ({ result, status, reason, detail }))).toEqual(Array(3).fill({ result: 'failed', status: 200, reason: undefined, detail: 'the gateway stopped' }));
  });

  it('redirects one that is on its way', async () => {
    const slow = await slowWay(portOf('plain'));
    const socket = connect(slow.port, '127.0.0.1');
    socket.write('GET /x HTTP/1.1\r\n');
    // It says nothing before the whole request is there; but it takes connections in their order.
    const taken = slow.forwarded.then(() => fetch(`http://127.0.0.1:${portOf('plain')}/`, { redirect: 'manual' }));
    const { stopped } = await stopWithin(slow, taken);
    expect(await exchange(socket, 'Host: localhost\r\n\r\n')).toMatch(/^HTTP\/1.1 308 /);
    await stopped;
  });

  it('waits two seconds at most for those who say nothing', async () => {
    const sockets: Socket[] = ['clinical', 'balanced', 'plain'].map((name) => connect(portOf(name), '127.0.0.1').on('error', () => undefined));
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    sockets.push(...await Promise.all(['clinical', 'general'].map((name) => openTls(pki, portOf(name), { client: pki.doctor }))), await openTls(pki, gateway.port, { client: pki.doctor, ALPNProtocols: ['h2'] }));
    const started = performance.now();
    await gateway.gateway.stop(30_000);
    expect(performance.now() - started).toBeLessThan(4_000);
    for (const socket of sockets) socket.destroy();
  });
});

it('a listener that a reload takes away keeps those whose handshake was under way, and who ask nothing, no longer than others', async () => {
  const slow = await slowWay(portOf('general'));
  const opening = openTls(pki, slow.port, { client: pki.doctor });
  await slow.waits;
  await gateway.configure(configuration(backend.port, { threads: 1 }));
  await gateway.gateway.reload();
  slow.release();
  const socket = await opening;
  const began = performance.now();
  await once(socket.resume(), 'close');
  expect(performance.now() - began).toBeLessThan(5_000);
});
