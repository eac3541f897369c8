import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { diagnose } from '../src/cli/diagnose/command.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, configuration, exchange, openTls, startGateway, type GatewayParts, type TestGateway } from './support/gateway.ts';
import { inOtherForm, testPki, type Issued, type TestPki } from './support/pki.ts';

const HOST = 'Host: localhost\r\n';
const METRICS = 'metrics: { address: 127.0.0.1:0 }';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway | undefined;
const sockets: Socket[] = [];

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await gateway?.stop();
  gateway = undefined;
});

afterAll(() => backend.close());

async function start(parts: GatewayParts): Promise<TestGateway> {
  gateway = await startGateway(pki, backend.port, { ...parts, top: `${METRICS}\n${parts.top ?? ''}` });
  return gateway;
}

async function metrics({ gateway: { metrics: at } }: TestGateway): Promise<string> {
  return (await fetch(`http://127.0.0.1:${at?.port}/metrics`)).text();
}

/** How many connections were turned away because of a limit. */
async function refused(of: TestGateway, limit: string, listener = 'clinical'): Promise<number> {
  return Number(new RegExp(`wardgate_connections_refused_total\\{listener="${listener}",limit="${limit}"\\} (\\d+)`).exec(await metrics(of))?.[1] ?? 0);
}

/** Opens connections; those among them that answer a request. */
async function serving(port: number, count: number, client: Issued = pki.doctor, from = '127.0.0.1'): Promise<readonly TLSSocket[]> {
  const opened = await Promise.all(Array.from({ length: count }, async () => {
    const socket = await openTls(pki, port, { client, localAddress: from } as object).catch(() => undefined);
    if (socket === undefined) return undefined;
    sockets.push(socket);
    return await answers(socket) ? socket : undefined;
  }));
  return opened.filter((socket) => socket !== undefined);
}

/** How many answer when all of before have closed: what an attempt that came too early has open would be in the way of the next. */
async function servingAnew(port: number, count: number): Promise<number> {
  for (const socket of sockets.splice(0)) socket.destroy();
  return (await serving(port, count)).length;
}

async function answers(socket: TLSSocket): Promise<boolean> {
  return (await exchange(socket, `GET /echo/x HTTP/1.1\r\n${HOST}\r\n`, (text) => text.endsWith('hello'))).startsWith('HTTP/1.1 200 ');
}

const limits = (text: string): GatewayParts => ({ listenerExtra: `    limits: ${text}` });

describe('the connections of a listener', () => {
  it('are as many as its limit says on all threads together, and as many again once they have closed', async () => {
    const { port } = await start(limits('{ connections: 3 }'));
    const first = await serving(port, 12);
    expect(first).toHaveLength(3);
    expect(await refused(gateway!, 'listener')).toBe(9);
    for (const socket of first) expect(await answers(socket)).toBe(true);
    await expect.poll(() => servingAnew(port, 5)).toBe(3);
  });

  it('that are turned away are on record by their first, and not one by one: a flood must not fill the disk', async () => {
    const { port } = await start(limits('{ connections: 1 }'));
    const began = performance.now();
    await serving(port, 40);
    const turnedAway = async () => (await gateway!.records()).filter((record) => record['reason'] === 'connection_limit');
    // A connection is closed before that is on record.
    await expect.poll(async () => (await turnedAway()).length).toBeGreaterThan(0);
    const records = await turnedAway();
    // The first of each thread, and what came every ten seconds on a machine that took longer.
    expect(records.length).toBeLessThanOrEqual(2 * Math.ceil((performance.now() - began) / 10_000));
    expect(records[0]).toMatchObject({ event: 'connection', result: 'denied', listener: 'clinical', address: '127.0.0.1' });
  });

  it('follow a limit that a reload changes', async () => {
    const { port } = await start(limits('{ connections: 2 }'));
    expect(await serving(port, 4)).toHaveLength(2);
    await gateway!.configure(configuration(backend.port, { ...limits('{ connections: 5 }'), top: METRICS }));
    await gateway!.gateway.reload();
    expect(await serving(port, 6)).toHaveLength(3);
  });
});

describe('the connections of the whole gateway', () => {
  const tls = '{ certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }';
  const auth = '{ mode: optional, trust: [root.pem], intermediates: [issuing.pem] }';
  const listeners = `
  - { name: one, address: 127.0.0.1:0, tls: ${tls}, client_auth: ${auth} }
  - { name: two, address: 127.0.0.1:0, tls: ${tls}, client_auth: ${auth} }
  - { name: plain, address: 127.0.0.1:0, protocol: redirect }`;

  it('are limited over all listeners, the plain one too', async () => {
    const { gateway: { listeners: [one, two, plain] } } = await start({ listeners, top: 'limits: { connections: 4 }' });
    expect(await serving(one!.port, 3)).toHaveLength(3);
    expect(await serving(two!.port, 3)).toHaveLength(1);
    expect(await refused(gateway!, 'gateway', 'two')).toBe(2);
    const socket = connectTcp(plain!.port, '127.0.0.1');
    sockets.push(socket);
    socket.on('error', () => undefined).resume();
    await once(socket, 'close');
    expect(await refused(gateway!, 'gateway', 'plain')).toBe(1);
    for (const other of sockets) other.destroy();
    await expect.poll(async () => (await serving(two!.port, 1)).length).toBe(1);
  });

  it('leave places for operators, who are told that all are taken', async () => {
    const ops = '\n  - { name: ops, address: 127.0.0.1:0, tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }, client_auth: { mode: required, trust: [root.pem], intermediates: [issuing.pem] } }';
    const admin = 'admin: { listener: ops, roles: [{ role: read_only, match: { subject: { OU: Doctors } } }] }';
    const { gateway: { listeners: [one, , , own], metrics: at } } = await start({ listeners: listeners + ops, top: `limits: { connections: 4 }\n${admin}` });
    expect(await serving(one!.port, 5)).toHaveLength(4);
    await expect.poll(async () => (await fetch(`http://127.0.0.1:${at?.port}/readyz`)).text()).toContain('connections: 4 of 4');
    const overview = (await ask(pki, own!.port, '/v1/overview', { client: pki.doctor })).json();
    expect(overview).toMatchObject({ problems: [{ code: 'pressure', detail: 'connections: 4 of 4; further ones are closed as they come' }] });
    // Whoever is turned away sees nothing of its TLS: nothing is claimed of that.
    let found = '';
    await diagnose({ config: gateway!.path('wardgate.yaml'), json: true }, (text) => (found += text), () => undefined);
    const { findings } = JSON.parse(found) as { readonly findings: readonly { readonly about: string; readonly detail: string }[] };
    expect(findings.filter(({ about }) => about.startsWith('listener')).map(({ about, detail }) => `${about} ${detail}`)).toEqual([expect.stringContaining('listeners were not looked at from outside')]);
    expect(findings.find(({ about }) => about === 'gateway')?.detail).toContain('connections: 4 of 4');
  });
});

describe('the gateway\'s own limit', () => {
  it('is not changed by a reload: the memory that counts is sized by it', async () => {
    await start({ top: 'limits: { connections: 4 }' });
    await gateway!.configure(configuration(backend.port, { top: `${METRICS}\nlimits: { connections: 5 }` }));
    await expect(gateway!.gateway.reload()).rejects.toThrow('limits.connections: cannot change without a restart');
  });
});

describe('the connections of an address', () => {
  it('are limited, and another address is not concerned', async () => {
    const { port } = await start(limits('{ connections_per_address: 2 }'));
    expect(await serving(port, 6, pki.doctor, '127.0.0.2')).toHaveLength(2);
    expect(await serving(port, 2, pki.doctor, '127.0.0.3')).toHaveLength(2);
    expect(await refused(gateway!, 'address')).toBe(4);
  });

  it('are those of the address that a balancer tells, not of the balancer', async () => {
    const { port } = await start({ listenerExtra: '    proxy_protocol: { from: [127.0.0.1/32] }\n    limits: { connections_per_address: 2 }' });
    const through = async (address: string): Promise<boolean> => {
      const socket = connectTcp(port, '127.0.0.1');
      sockets.push(socket);
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      socket.write(`PROXY TCP4 ${address} 192.0.2.1 4000 443\r\n`);
      const secure = connectTls({ socket, servername: 'localhost', ca: pki.root.certificate, cert: pki.doctor.chain, key: pki.doctor.key });
      const opened = await new Promise<boolean>((done) => {
        secure.on('error', () => done(false)).once('secureConnect', () => done(true));
      });
      return opened && await answers(secure);
    };
    const outcomes: boolean[] = [];
    for (const address of ['192.0.2.7', '192.0.2.7', '192.0.2.7', '192.0.2.8', '192.0.2.8']) outcomes.push(await through(address));
    expect(outcomes).toEqual([true, true, false, true, true]);
    await expect.poll(async () => (await gateway!.records()).find((record) => record['reason'] === 'connection_limit')).toMatchObject({ address: '192.0.2.7' });
  });
});

describe('the connections of a certificate', () => {
  it('are limited wherever they come from, each refusal is on record, and other certificates are not concerned', async () => {
    const { port } = await start(limits('{ connections_per_certificate: 2 }'));
    const first = await serving(port, 5);
    expect(first).toHaveLength(2);
    expect(await serving(port, 1, inOtherForm(pki, pki.doctor), '127.0.0.9')).toHaveLength(0);
    expect(await serving(port, 2, pki.patient)).toHaveLength(2);
    expect(await refused(gateway!, 'certificate')).toBe(4);
    const records = (await gateway!.records()).filter((record) => record['reason'] === 'connection_limit');
    expect(records).toHaveLength(4);
    expect(records.filter(({ fingerprint }) => fingerprint === pki.doctor.sha256)).toHaveLength(3);
    for (const record of records) expect(record).toMatchObject({ event: 'connection', result: 'denied' });
    first[0]?.destroy();
    await expect.poll(async () => (await serving(port, 1)).length).toBe(1);
  });
});

describe('the counts of connections', () => {
  it('lose nothing and keep nothing, however connections end', async () => {
    const { port } = await start(limits('{ connections: 20, connections_per_address: 20, connections_per_certificate: 20, handshake_time: 1s, header_time: 1s }'));
    const raw = async (octets: string | Buffer, end: (socket: Socket) => void): Promise<void> => {
      const socket = connectTcp(port, '127.0.0.1').on('error', () => undefined);
      sockets.push(socket);
      await once(socket, 'connect');
      socket.write(octets);
      end(socket.resume());
      await once(socket, 'close');
    };
    const secure = async (octets: string, end: (socket: TLSSocket) => void): Promise<void> => {
      const socket = await openTls(pki, port, { client: pki.doctor });
      sockets.push(socket);
      socket.write(octets);
      end(socket.resume());
      if (!socket.closed) await once(socket, 'close');
    };
    const request = `POST /echo/x HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nhal`;
    for (let round = 0; round < 3; round++) {
      await Promise.all([
        raw('', (socket) => socket.destroy()), raw('', (socket) => socket.resetAndDestroy()), raw('garbage', () => undefined), raw('\x16\x03\x01', () => undefined),
        raw('\x16\x03\x01', (socket) => socket.end()), secure('', (socket) => socket.destroy()), secure(request, (socket) => socket.destroy()),
        secure(request, (socket) => socket.end()), secure('GARBAGE\r\n\r\n', () => undefined), secure('GET /echo/x', () => undefined),
        openTls(pki, port, { servername: 'nowhere.test' }).catch(() => undefined),
        // What an HTTP/2 session says to this, and its end, once kept its connection for good: a race, so several.
        ...Array.from({ length: 4 }, () => openTls(pki, port, { client: pki.doctor, ALPNProtocols: ['h2'] }).then((socket) => {
          sockets.push(socket.on('error', () => undefined));
          socket.write(request, () => socket.destroy());
        }).catch(() => undefined)),
        ask(pki, port, '/echo/x', { client: pki.revokedDoctor }), ask(pki, port, '/echo/x', { client: pki.doctor }),
      ]);
    }
    await expect.poll(async () => (await gateway!.gateway.status()).connections).toBe(0);
    // Every place is there: twenty come in, and one more does not.
    await expect.poll(() => servingAnew(port, 20)).toBe(20);
    expect(await serving(port, 1)).toHaveLength(0);
  });

  it('do not outlive a thread that dies', async () => {
    const workers = new Set<Worker>();
    // One that has taken too long to start is replaced by the gateway itself.
    const born = (worker: Worker): void => void workers.add(worker.once('exit', () => workers.delete(worker)));
    process.on('worker', born);
    const { port } = await start(limits('{ connections: 6, connections_per_address: 6, connections_per_certificate: 6 }'));
    await expect.poll(() => workers.size).toBe(2);
    for (let round = 0; round < 2; round++) {
      await expect.poll(() => servingAnew(port, 6)).toBe(6);
      expect(await serving(port, 2)).toHaveLength(0);
      const before = [...workers];
      await Promise.all(before.map((worker) => worker.terminate()));
      await expect.poll(() => [workers.size, before.some((worker) => workers.has(worker))]).toEqual([2, false]);
    }
    process.off('worker', born);
    await expect.poll(() => servingAnew(port, 8)).toBe(6);
  });
});

describe('memory above the mark', () => {
  it('sheds new connections, lets open ones go on, says so, and ends with it', async () => {
    const { port } = await start({});
    const open = await serving(port, 40);
    const configure = async (mark: string): Promise<void> => {
      await gateway!.configure(configuration(backend.port, { top: `${METRICS}\nlimits: { memory: { shed_above: ${mark} } }` }));
      await gateway!.gateway.reload();
    };
    const ready = async (): Promise<{ readonly status: number; readonly text: string }> => {
      const reply = await fetch(`http://127.0.0.1:${gateway!.gateway.metrics?.port}/readyz`);
      return { status: reply.status, text: await reply.text() };
    };
    await configure('1MiB');
    expect(await ready()).toMatchObject({ status: 503, text: expect.stringMatching(/^memory: \d+ MiB of 1 MiB, at most \d+ connections$/m) });
    const came = await serving(port, 60);
    expect(came.length).toBeLessThan(40);
    expect(await refused(gateway!, 'memory')).toBeGreaterThanOrEqual(20);
    for (const socket of open) expect(await answers(socket)).toBe(true);
    await expect.poll(async () => (await gateway!.records()).find((record) => record['event'] === 'connection')).toMatchObject({ result: 'denied', reason: 'overloaded' });
    await configure('100%');
    expect(await serving(port, 10)).toHaveLength(10);
    expect((await ready()).status).toBe(200);
  });
});
