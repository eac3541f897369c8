import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as later } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TestGateway } from './support/gateway.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';
import { frame } from './support/senders.ts';
import { connectionRecords, gone, issueDevice, openResettable, openStream, startStreamBackend, startStreamGateway, type StreamBackend } from './support/stream-gateway.ts';

let pki: TestPki;
let lab: Issued;

beforeAll(async () => {
  pki = await testPki();
  lab = await issueDevice(pki, 'lab-1');
});

const SENDERS = 'senders: { mllp: [ { id: "*", application: "LAB*", facility: "*" } ] }';

/** All that a connection says, read as fast as it comes, or a piece at a time with rests between. */
async function hearAll(socket: TLSSocket, slowly: boolean): Promise<Buffer> {
  const parts: Buffer[] = [];
  if (!slowly) {
    socket.on('data', (part: Buffer) => parts.push(part));
    await gone(socket);
    return Buffer.concat(parts);
  }
  let open = true;
  void gone(socket).then(() => (open = false));
  socket.pause();
  while (open) {
    await later(5);
    for (let part = socket.read() as Buffer | null; part !== null; part = socket.read() as Buffer | null) parts.push(part);
  }
  return Buffer.concat(parts);
}

async function sayAll(socket: TLSSocket, octets: Buffer, piece: number, rest: number): Promise<void> {
  for (let at = 0; at < octets.length; at += piece) {
    if (!socket.write(octets.subarray(at, at + piece))) await once(socket, 'drain');
    if (rest > 0) await later(rest);
  }
  socket.end();
}

/** Binary bodies of HL7 that stay clear of the two octets that frame them, and, without an S in either case, of what may be a header: seven megabytes hold one by chance now and then. */
function body(length: number): Buffer {
  return Buffer.concat([Buffer.from('OBX|1|ED|'), randomBytes(length).map((octet) => (octet === 0x0b || octet === 0x1c || octet === 0x0a || octet === 0x0d || octet === 0x53 || octet === 0x73 ? 0x2e : octet)), Buffer.from('\r')]);
}

describe.each([['any protocol', ''], ['HL7 whose every message is looked at', SENDERS]])('streams of %s', (_what, listener) => {
  it('reach fast and slow readers side by side, each octet of each, over both threads', async () => {
    // Answers each octet with its complement, so that one direction cannot pass for the other.
    const backend = await startStreamBackend(pki, (socket) => {
      socket.on('data', (chunk: Buffer) => {
        if (!socket.write(chunk.map((octet) => octet ^ 0xff))) socket.pause();
      });
      socket.on('drain', () => socket.resume());
      socket.on('end', () => socket.end());
    });
    const gateway = await startStreamGateway(pki, backend.port, { listener });
    const talks = await Promise.all(Array.from({ length: 12 }, async (_, index) => {
      const client = await openStream(pki, gateway, lab);
      const sent = Buffer.concat(Array.from({ length: 5 }, (_one, message) => frame(`LAB${index}`, `F${message}`, body(60_000 + 40_000 * (index % 4)))));
      const heard = hearAll(client, index % 2 === 1);
      await sayAll(client, sent, index % 3 === 0 ? 1_000 : 70_000, index % 3 === 0 ? 1 : 0);
      return { index, sent, heard: await heard };
    }));
    for (const { sent, heard, index } of talks) expect(heard.equals(sent.map((octet) => octet ^ 0xff) as Buffer), `client ${index}`).toBe(true);
    await expect.poll(async () => (await connectionRecords(gateway)).filter((record) => record['result'] === 'done').map((record) => [record['bytes_in'], record['bytes_out']]).toSorted())
      .toEqual(talks.map(({ sent }) => [sent.length, sent.length]).toSorted());
    const files = (await readdir(gateway.path('state/audit'))).filter((name) => /-t\d\.jsonl$/.test(name));
    const served = await Promise.all(files.map(async (name) => (await readFile(gateway.path(`state/audit/${name}`), 'utf8')).includes('"connection"')));
    expect(served).toEqual([true, true]);
    if (listener !== '') expect((await connectionRecords(gateway)).filter((record) => record['result'] === 'done').every((record) => record['messages'] === 5)).toBe(true);
    await gateway.stop();
    backend.close();
  }, 60_000);
});

describe('a stream', () => {
  let backend: StreamBackend;
  let gateway: TestGateway;
  let serve: (socket: TLSSocket) => void = () => undefined;

  beforeAll(async () => {
    backend = await startStreamBackend(pki, (socket) => serve(socket));
    gateway = await startStreamGateway(pki, backend.port, { listener: 'limits: { idle_time: 3s }' });
  });

  afterAll(async () => {
    await gateway.stop();
    backend.close();
  });

  const latest = async (): Promise<unknown> => (await connectionRecords(gateway)).at(-1);

  it('of a server that speaks first reaches the client', async () => {
    serve = (socket) => socket.end('220 ready\r\n');
    const client = await openStream(pki, gateway, lab);
    expect((await hearAll(client, false)).toString()).toBe('220 ready\r\n');
    client.destroy();
  });

  it('that the upstream ends still reaches a slow client to its last octet', async () => {
    const sent = randomBytes(4_000_000);
    serve = (socket) => {
      socket.resume();
      socket.end(sent);
      // Both halves, and at once: not waiting for the client to end its own.
      socket.once('finish', () => socket.destroySoon());
    };
    const client = await openStream(pki, gateway, lab);
    const heard = await hearAll(client, true);
    expect(heard.equals(sent)).toBe(true);
    client.end();
    await expect.poll(latest).toMatchObject({ result: 'done', bytes_out: sent.length });
  });

  it('that the client ends still reaches a slow upstream to its last octet, and the answer the client', async () => {
    const sent = randomBytes(4_000_000);
    let received: Promise<Buffer> = Promise.resolve(Buffer.alloc(0));
    serve = (socket) => {
      received = hearAll(socket, true);
      void received.then((all) => socket.end(String(all.length)));
    };
    const client = await openStream(pki, gateway, lab);
    const heard = hearAll(client, false);
    client.end(sent);
    expect((await heard).toString()).toBe(String(sent.length));
    expect((await received).equals(sent)).toBe(true);
  });

  it('whose reader stands still takes no more than buffers hold, and is ended', async () => {
    let written = 0;
    serve = (socket) => {
      socket.resume();
      const chunk = Buffer.alloc(64 * 1024, 1);
      const pump = (): void => {
        while (!socket.destroyed && socket.write(chunk)) written += chunk.length;
      };
      socket.on('drain', pump);
      pump();
    };
    const client = await openStream(pki, gateway, lab);
    client.pause();
    client.on('error', () => undefined);
    await expect.poll(latest).toMatchObject({ result: 'failed', detail: 'idle for too long' });
    expect(written).toBeLessThan(20_000_000);
    client.destroy();
  });

  it('whose upstream dies is ended, and is on record as failed', async () => {
    serve = (socket) => void socket.once('data', () => backend.raw.at(-1)?.resetAndDestroy());
    const client = await openStream(pki, gateway, lab);
    client.write('hello');
    await gone(client);
    await expect.poll(latest).toMatchObject({ result: 'failed', detail: expect.stringMatching(/^the upstream's connection failed: E/), bytes_in: 5 });
  });

  it('whose client dies is ended, and is on record as failed', async () => {
    serve = (socket) => void socket.resume();
    const { socket, raw } = await openResettable(pki, gateway, lab);
    socket.write('adieu');
    await expect.poll(() => backend.received(-1).toString()).toBe('adieu');
    const upstream = gone(backend.accepted.at(-1) as TLSSocket);
    raw.resetAndDestroy();
    await upstream;
    await expect.poll(latest).toMatchObject({ result: 'failed', detail: 'the client\'s connection failed: ECONNRESET', bytes_in: 5 });
  });

  it('whose upstream takes the connection and leaves at once is ended', async () => {
    serve = (socket) => socket.destroy();
    const client = await openStream(pki, gateway, lab);
    await gone(client);
    client.destroy();
    await expect.poll(async () => (await connectionRecords(gateway)).slice(-2).map((record) => record['result'])).toEqual(['permitted', expect.stringMatching(/done|failed/)]);
  });

  it('still open when the gateway stops is on record', async () => {
    serve = (socket) => void socket.resume();
    const stopping = await startStreamGateway(pki, backend.port);
    const client = await openStream(pki, stopping, lab);
    client.on('error', () => undefined);
    client.write('still');
    await expect.poll(() => backend.received(-1).toString()).toBe('still');
    await stopping.gateway.stop(0);
    expect((await connectionRecords(stopping)).at(-1)).toMatchObject({ result: 'failed', detail: 'the gateway stopped', bytes_in: 5, duration_ms: expect.any(Number) });
    await stopping.stop().catch(() => undefined);
  });
});

describe('an upstream', () => {
  it.each([
    ['that nobody listens on', 'endpoints: ["tls://127.0.0.1:1"]', 'records.internal', 'upstream_unavailable'],
    ['with a certificate for another name', undefined, 'elsewhere.internal', 'upstream_unavailable'],
  ])('%s fails the stream, and the record says so', async (_what, endpoints, name, reason) => {
    const backend = await startStreamBackend(pki, (socket) => void socket.resume());
    const gateway = await startStreamGateway(pki, backend.port);
    const yaml = `endpoints: ["tls://127.0.0.1:${backend.port}"]`;
    const text = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    await gateway.configure(text.replace(yaml, endpoints ?? yaml).replace('server_name: records.internal', `server_name: ${name}`));
    await gateway.gateway.reload();
    const client = await openStream(pki, gateway, lab);
    await gone(client);
    await expect.poll(() => connectionRecords(gateway)).toMatchObject([{ result: 'failed', reason, id: 'lab-1' }]);
    expect(backend.received(-1).length).toBe(0);
    client.destroy();
    await gateway.stop();
    backend.close();
  });
});
