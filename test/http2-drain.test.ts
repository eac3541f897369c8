import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { Metadata, status as Status, type sendUnaryData, type ServerUnaryCall, type ServerWritableStream } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { collect, GRPC_ROUTES, openGrpc, startGrpcBackend, unary, type GrpcBackend } from './support/grpc.ts';
import { ERROR, openFrames, request, TYPE } from './support/h2.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { http2Upstream } from './support/http2-backend.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let held: ServerResponse[];

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (asked, response) => {
    if (asked.url === '/echo/hold') held.push(response);
    else if (asked.url === '/echo/endless') response.write('begin');
    else response.end('hello');
  });
});

beforeEach(async () => {
  held = [];
  gateway = await startGateway(pki, backend.port);
});

afterEach(() => gateway.stop());

afterAll(() => backend.close());

describe('a gateway that drains', () => {
  it('names the last request that it takes, answers all up to it and none after it, and lets go', async () => {
    const raw = await openFrames(pki, gateway.port);
    for (const id of [1, 3, 5]) raw.headers(id, request('/echo/hold'));
    await expect.poll(() => held.length).toBe(3);
    const stopped = gateway.gateway.stop(10_000);
    expect(await raw.goaway()).toEqual({ code: ERROR.none, last: 5 });
    raw.headers(7, request('/echo/x'));
    for (const response of held) response.end('late');
    for (const id of [1, 3, 5]) expect(await raw.status(id)).toBe(200);
    await raw.ended;
    expect(raw.frames.some(({ stream, type }) => stream === 7 && type === TYPE.headers)).toBe(false);
    await stopped;
  });

  it('loses no request of a client that asks all the time: it is answered, or the client knows that it was not taken', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    let last = Infinity;
    session.on('goaway', (_code, id) => {
      last = id;
    });
    const outcomes: string[] = [];
    const asking = (async () => {
      while (!session.closed && !session.destroyed) {
        const stream = session.request({ ':path': '/echo/x', ':authority': 'localhost' });
        let answered = false;
        stream.on('error', () => undefined);
        stream.on('response', () => {
          answered = true;
        });
        stream.on('close', () => outcomes.push(answered ? 'answered' : stream.id === undefined || stream.id > last || stream.rstCode === ERROR.refused ? 'not taken' : `lost ${stream.id} of ${last}: ${stream.rstCode}`));
        stream.resume();
        await new Promise((done) => setImmediate(done));
      }
    })();
    await expect.poll(() => outcomes.filter((one) => one === 'answered').length).toBeGreaterThan(20);
    await Promise.all([gateway.gateway.stop(10_000), asking]);
    expect(outcomes.filter((one) => one !== 'answered' && one !== 'not taken')).toEqual([]);
  });

  it('cuts what does not end in time, and records it', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const stream = session.request({ ':path': '/echo/endless', ':authority': 'localhost' });
    stream.on('error', () => undefined);
    await once(stream, 'data');
    const started = Date.now();
    await Promise.all([gateway.gateway.stop(1_000), once(session, 'close')]);
    expect(Date.now() - started).toBeLessThan(9_000);
    expect((await gateway.records()).find((record) => record['path'] === '/echo/endless')).toMatchObject({ result: 'failed' });
  });

  it('closes connections that have nothing to do at once', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    await askHttp2(session, '/echo/x');
    const started = Date.now();
    await Promise.all([gateway.gateway.stop(10_000), once(session, 'close')]);
    expect(Date.now() - started).toBeLessThan(8_000);
  });
});

describe('a listener that a reload takes away', () => {
  it('lets answers finish, takes nothing new, and is gone', async () => {
    const raw = await openFrames(pki, gateway.port);
    raw.headers(1, request('/echo/hold'));
    await expect.poll(() => held.length).toBe(1);
    const yaml = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    await gateway.configure(yaml.replace('name: clinical', 'name: other'));
    await gateway.gateway.reload();
    expect(await raw.goaway()).toEqual({ code: ERROR.none, last: 1 });
    held[0]?.end('late');
    expect(await raw.status(1)).toBe(200);
    await raw.ended;
  });
});

describe('a reload that switches HTTP/2 off', () => {
  it('leaves open connections, and offers it to no further one', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const yaml = await readFile(gateway.path('wardgate.yaml'), 'utf8');
    await gateway.configure(yaml.replace('    client_auth:', '    http2: { enabled: false }\n    client_auth:'));
    await gateway.gateway.reload();
    expect((await askHttp2(session, '/echo/x')).status).toBe(200);
    await expect(openHttp2(pki, gateway.port, { client: pki.patient })).rejects.toThrow();
    session.destroy();
  });
});

describe('gRPC clients of a gateway that drains', () => {
  let grpc: GrpcBackend;

  beforeAll(async () => {
    grpc = await startGrpcBackend(pki, {
      unary: (call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) => answer(null, call.request),
      download: (call: ServerWritableStream<Buffer, Buffer>) => {
        call.write(Buffer.from('begin'));
        setTimeout(() => {
          call.write(Buffer.from('end'));
          call.end();
        }, 500);
      },
    });
  });

  afterAll(() => grpc.close());

  it('go on at another one, without a single call that fails', async () => {
    const parts = { routes: GRPC_ROUTES, upstreams: http2Upstream(grpc.port) };
    const [first, second] = await Promise.all([startGateway(pki, 0, parts), startGateway(pki, 0, parts)]);
    const client = openGrpc(pki, first.port, pki.patient, {}, `ipv4:127.0.0.1:${first.port},127.0.0.1:${second.port}`);
    const ends: string[] = [];
    let running = true;
    const callers = Array.from({ length: 8 }, async () => {
      while (running) {
        const { end } = await unary(client, Buffer.from('x'), new Metadata(), { deadline: Date.now() + 10_000 });
        ends.push(`${end.code} ${end.details}`);
      }
    });
    await expect.poll(() => ends.length).toBeGreaterThan(50);
    await first.gateway.stop(10_000);
    const before = ends.length;
    await expect.poll(() => ends.length).toBeGreaterThan(before + 50);
    running = false;
    await Promise.all(callers);
    expect(ends.filter((end) => end !== '0 OK')).toEqual([]);
    client.close();
    await Promise.all([first.stop(), second.stop()]);
  });

  it('hear streams to their end', async () => {
    const through = await startGateway(pki, 0, { routes: GRPC_ROUTES, upstreams: http2Upstream(grpc.port) });
    const client = openGrpc(pki, through.port, pki.patient);
    const call = client.download(Buffer.from('x'));
    const ended = collect(call);
    await once(call, 'data');
    await through.gateway.stop(10_000);
    expect((await ended).end.code).toBe(Status.OK);
    client.close();
    await through.stop();
  });
});
