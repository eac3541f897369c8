import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { block, ERROR, FLAG, frame, integer, literal, openFrames, openRaw, PREFACE, request, SETTING, settings, TYPE, uint32, type RawHttp2 } from './support/h2.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let asked = 0;

const LIMITS = `
    limits: { idle_time: 3s, header_time: 2s, request_time: 3s }
    http2: { streams: 10, resets: 20/minute, stall_time: 2s }`;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request_, response) => {
    asked += 1;
    if (request_.url === '/echo/hang') return;
    if (request_.url === '/echo/large') return void response.end(Buffer.alloc(4 * 1024 * 1024, 1));
    response.end('hello');
  });
  gateway = await startGateway(pki, backend.port, { listenerExtra: LIMITS });
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

/** Sends until the other side has had enough, or `rounds` are over. */
async function flood(raw: RawHttp2, octets: Buffer, rounds: number): Promise<void> {
  for (let round = 0; round < rounds && !raw.closed && !raw.socket.destroyed; round++) {
    raw.write(octets);
    await new Promise((done) => setImmediate(done));
  }
}

function repeated(octets: Buffer, count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, () => octets));
}

/** Whether the gateway still serves others. */
async function serves(): Promise<boolean> {
  const session = await openHttp2(pki, gateway.port, { client: pki.doctor });
  const { status } = await askHttp2(session, '/echo/x');
  session.destroy();
  return status === 200;
}

async function expelled(raw: RawHttp2, detail: RegExp): Promise<void> {
  await raw.ended;
  // What was still on its way to us may have cost the connection its last words.
  expect((await raw.goaway(0))?.code).not.toBe(ERROR.none);
  await expect.poll(async () => (await gateway.records()).some((record) => record['event'] === 'connection' && record['result'] === 'denied' && detail.test(String(record['detail'])))).toBe(true);
  expect(await serves()).toBe(true);
}

describe('an HTTP/2 connection', () => {
  it('is told how many requests it may have under way, and further ones are refused', async () => {
    const raw = await openFrames(pki, gateway.port);
    const told = raw.frames.find(({ type }) => type === TYPE.settings)?.payload as Buffer;
    expect(told.includes(settings([SETTING.maxConcurrentStreams, 10]))).toBe(true);
    for (let index = 0; index < 11; index++) raw.headers(1 + 2 * index, request('/echo/hang'));
    // A stream error would do; nghttp2 takes it for one of the connection once the limit was acknowledged.
    expect((await raw.goaway())?.code).toBe(ERROR.protocol);
    await raw.ended;
  });

  it('that resets what it asks is ended, and the upstream is spared (CVE-2023-44487)', async () => {
    const raw = await openFrames(pki, gateway.port);
    const before = asked;
    const pairs: Buffer[] = [];
    for (let id = 1; id < 400; id += 2) pairs.push(frame(TYPE.headers, FLAG.endHeaders | FLAG.endStream, id, block(request('/echo/hang'))), frame(TYPE.rstStream, 0, id, uint32(ERROR.cancel)));
    raw.write(...pairs);
    await expelled(raw, /resets|ERR_HTTP2/);
    expect(asked - before).toBeLessThan(30);
  });

  it('that resets one request after the other, slowly enough to be seen, is ended too', async () => {
    const raw = await openFrames(pki, gateway.port);
    for (let id = 1; id < 200 && !raw.closed; id += 2) {
      raw.headers(id, request('/echo/hang'));
      await new Promise((done) => setTimeout(done, 5));
      raw.send(TYPE.rstStream, 0, id, uint32(ERROR.cancel));
    }
    await expelled(raw, /resets/);
  });

  it.each([
    ['a window update of nothing', (id: number) => frame(TYPE.windowUpdate, 0, id, uint32(0))],
    ['a window beyond 2^31-1', (id: number) => frame(TYPE.windowUpdate, 0, id, uint32(0x7fffffff))],
    ['data after its end', (id: number) => frame(TYPE.data, 0, id, Buffer.from('x'))],
    ['headers after its end', (id: number) => frame(TYPE.headers, FLAG.endHeaders | FLAG.endStream, id, block([['x', 'y']]))],
    ['a priority of the wrong length', (id: number) => frame(TYPE.priority, 0, id, Buffer.alloc(4))],
    ['a dependency on itself', (id: number) => frame(TYPE.priority, 0, id, Buffer.concat([uint32(id), Buffer.from([1])]))],
  ])('that makes us reset what it asks, by %s, is ended (CVE-2025-8671)', async (_what, provoke) => {
    const raw = await openFrames(pki, gateway.port);
    const before = asked;
    for (let id = 1; id < 400 && !raw.closed; id += 2) {
      raw.headers(id, request('/echo/hang'));
      raw.write(provoke(id));
      if (id % 20 === 1) await new Promise((done) => setTimeout(done, 10));
    }
    // Some of these are errors of the whole connection: that is as good an end.
    const end = await raw.goaway(1_000);
    if (end === undefined) await expect.poll(async () => raw.closed || await raw.alive()).toBe(true);
    else await raw.ended;
    // Whatever it is: no more work is under way or was begun than the limits allow.
    expect(asked - before).toBeLessThan(35);
    raw.destroy();
    expect(await serves()).toBe(true);
  });

  it('whose header section never ends is ended (CVE-2024-28182)', async () => {
    const raw = await openFrames(pki, gateway.port);
    raw.send(TYPE.headers, FLAG.endStream, 1, block(request('/echo/x')));
    await flood(raw, repeated(frame(TYPE.continuation, 0, 1, literal('x-a', 'b')), 100), 50);
    expect((await raw.goaway())?.code).toBeGreaterThan(0);
    await raw.ended;
    expect(await serves()).toBe(true);
  });

  it('whose header section unpacks to more than it may has the request refused (HPACK bomb)', async () => {
    const raw = await openFrames(pki, gateway.port);
    const before = asked;
    // One entry of 4 KiB in the dynamic table, and a thousand references to it of an octet each.
    const bomb = Buffer.concat([block(request('/echo/x')), literal('x-bomb', 'x'.repeat(4_000), true), repeated(integer(62, 7, 0x80), 1_000)]);
    raw.write(frame(TYPE.headers, FLAG.endHeaders | FLAG.endStream, 1, bomb));
    const answer = await raw.wait(({ stream, type }) => stream === 1 || type === TYPE.goaway);
    expect(answer?.type === TYPE.headers ? await raw.status(1) : answer?.payload.readUInt32BE(answer.type === TYPE.goaway ? 4 : 0)).toBeOneOf([431, ERROR.calm]);
    expect(asked).toBe(before);
    raw.destroy();
  });

  it('that sends settings without end is ended (CVE-2019-9515)', async () => {
    const raw = await openFrames(pki, gateway.port);
    await flood(raw, repeated(frame(TYPE.settings, 0, 0, settings([SETTING.initialWindowSize, 65_535])), 200), 200);
    await expelled(raw, /control/);
  });

  it('that sends pings without end is ended (CVE-2019-9512)', async () => {
    const raw = await openFrames(pki, gateway.port);
    await flood(raw, repeated(frame(TYPE.ping, 0, 0, Buffer.alloc(8)), 200), 200);
    await expelled(raw, /control/);
  });

  it('that sends pings and reads no answer is ended', async () => {
    const raw = await openFrames(pki, gateway.port);
    raw.socket.pause();
    await flood(raw, repeated(frame(TYPE.ping, 0, 0, Buffer.alloc(8)), 500), 200);
    raw.socket.resume();
    await raw.ended;
    expect(await serves()).toBe(true);
  });

  it.each([
    ['priorities (CVE-2019-9513)', repeated(frame(TYPE.priority, 0, 3, Buffer.concat([uint32(0), Buffer.from([16])])), 500)],
    ['window updates', repeated(frame(TYPE.windowUpdate, 0, 0, uint32(1)), 500)],
    ['frames of unknown types', repeated(frame(0xbe, 0, 0, Buffer.alloc(20)), 500)],
  ])('that sends %s without end is ended', async (_what, octets) => {
    const raw = await openFrames(pki, gateway.port);
    const giveUp = Date.now() + 5_000;
    while (!raw.closed && Date.now() < giveUp) {
      raw.write(octets);
      await new Promise((done) => setTimeout(done, 5));
    }
    await expelled(raw, /control/);
  });

  it('that sends empty pieces of a body without end is ended (CVE-2019-9518)', async () => {
    const raw = await openFrames(pki, gateway.port);
    raw.headers(1, request('/echo/x', [], 'POST'), FLAG.endHeaders);
    const giveUp = Date.now() + 5_000;
    while (!raw.closed && Date.now() < giveUp) {
      raw.write(repeated(frame(TYPE.data, 0, 1), 100));
      await new Promise((done) => setTimeout(done, 5));
    }
    await raw.ended;
    expect(await serves()).toBe(true);
  });

  it('that sends padding and next to nothing else is ended', async () => {
    const raw = await openFrames(pki, gateway.port);
    raw.headers(1, request('/echo/x', [], 'POST'), FLAG.endHeaders);
    const giveUp = Date.now() + 5_000;
    while (!raw.closed && Date.now() < giveUp) {
      raw.write(repeated(frame(TYPE.data, FLAG.padded, 1, Buffer.concat([Buffer.from([200]), Buffer.from('x'), Buffer.alloc(200)])), 40));
      await new Promise((done) => setTimeout(done, 5));
    }
    await raw.ended;
    expect(await serves()).toBe(true);
  });
});

// Each of these waits for seconds, on a connection of its own.
describe.concurrent('an HTTP/2 connection', () => {
  it('that takes nothing of its answer has it cut, and keeps the others (CVE-2019-9517)', async ({ expect }) => {
    const raw = await openFrames(pki, gateway.port, undefined, settings([SETTING.headerTableSize, 0], [SETTING.initialWindowSize, 0]));
    raw.headers(1, request('/echo/large'));
    expect(await raw.status(1)).toBe(200);
    expect(await raw.reset(1)).toBe(ERROR.cancel);
    await expect.poll(async () => (await gateway.records()).find((record) => record['path'] === '/echo/large')).toMatchObject({ result: 'failed', detail: 'the client takes nothing of its answer' });
    expect(await raw.alive()).toBe(true);
    raw.destroy();
  });

  it('that takes nothing of a short answer has it cut as well', async () => {
    const raw = await openFrames(pki, gateway.port, undefined, settings([SETTING.headerTableSize, 0], [SETTING.initialWindowSize, 0]));
    raw.headers(1, request('/echo/x'));
    expect(await raw.status(1)).toBe(200);
    expect(await raw.reset(1)).toBe(ERROR.cancel);
    raw.destroy();
  });

  it('that asks nothing is asked to leave, and closed', async () => {
    const raw = await openFrames(pki, gateway.port);
    expect(await raw.goaway()).toEqual({ code: ERROR.none, last: 0 });
    await raw.ended;
  });

  it.each([
    ['says nothing', Buffer.alloc(0)],
    ['says half its preface', PREFACE.subarray(0, 10)],
    ['says its preface alone', PREFACE],
  ])('that %s is closed in the time for a header', async (_what, octets) => {
    const raw = await openRaw(pki, gateway.port);
    raw.write(octets);
    const started = Date.now();
    await raw.ended;
    expect(Date.now() - started).toBeLessThan(15_000);
  });

  it('whose header section stands still is closed as an idle one', async () => {
    const raw = await openFrames(pki, gateway.port);
    raw.send(TYPE.headers, FLAG.endStream, 1, block(request('/echo/x')));
    await raw.ended;
  });

  it('whose body does not arrive in time has the request ended', async ({ expect }) => {
    const raw = await openFrames(pki, gateway.port);
    raw.headers(1, request('/echo/x', [], 'POST'), FLAG.endHeaders);
    raw.send(TYPE.data, 0, 1, Buffer.from('half'));
    const end = await raw.wait(({ type, stream }) => stream === 1 && type !== TYPE.windowUpdate);
    expect(end?.type).toBeOneOf([TYPE.rstStream, TYPE.headers]);
    await expect.poll(async () => (await gateway.records()).some((record) => record['detail'] === 'the request did not arrive in time')).toBe(true);
    raw.destroy();
  });
});

describe('requests of an HTTP/2 connection', () => {
  it('may have so many fields and are refused with 431 beyond', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    const fields = (count: number): Record<string, string> => Object.fromEntries(Array.from({ length: count }, (_, index) => [`x-${index}`, 'y']));
    expect((await askHttp2(session, '/echo/x', { headers: fields(99) })).status).toBe(200);
    expect((await askHttp2(session, '/echo/x', { headers: fields(100) })).json()).toMatchObject({ status: 431, code: 'headers_too_large' });
    session.destroy();
  });

  it('may be so many, and the client is asked to leave with the last', async () => {
    const other = await startGateway(pki, backend.port, { listenerExtra: '    limits: { requests_per_connection: 3 }' });
    const raw = await openFrames(pki, other.port);
    for (const id of [1, 3, 5]) {
      raw.headers(id, request('/echo/x'));
      expect(await raw.status(id)).toBe(200);
    }
    expect(await raw.goaway()).toEqual({ code: ERROR.none, last: 5 });
    await raw.ended;
    await other.stop();
  });

  it('whose clients are slower than the least rate are cut, each by itself', async () => {
    const other = await startGateway(pki, backend.port, { listenerExtra: '    limits: { min_rate: { per_second: 10KiB, grace: 1s } }' });
    const raw = await openFrames(pki, other.port, undefined, settings([SETTING.headerTableSize, 0], [SETTING.initialWindowSize, 1_000]));
    raw.headers(1, request('/echo/large'));
    raw.headers(3, request('/echo/x', [], 'POST'), FLAG.endHeaders);
    raw.send(TYPE.data, 0, 3, Buffer.from('slow'));
    raw.headers(5, request('/echo/x'));
    expect(await raw.status(5)).toBe(200);
    expect(await raw.reset(1)).toBe(ERROR.cancel);
    expect(await raw.status(3)).toBe(408);
    const details = async () => (await other.records()).filter((record) => record['reason'] === 'too_slow').map((record) => record['detail']).toSorted();
    await expect.poll(details).toEqual(['the body came too slowly', 'the client took the answer too slowly']);
    raw.destroy();
    await other.stop();
  });
});

describe('a connection that says', () => {
  it.each([
    ['no HTTP/2 at all', Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    ['a frame longer than allowed', Buffer.concat([PREFACE, frame(TYPE.settings, 0, 0), frame(TYPE.data, 0, 1, Buffer.alloc(0), 0xffffff)])],
    ['a header block that cannot be read (CVE-2025-59465)', Buffer.concat([PREFACE, frame(TYPE.settings, 0, 0), frame(TYPE.headers, 5, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))])],
    ['data on stream 0', Buffer.concat([PREFACE, frame(TYPE.settings, 0, 0), frame(TYPE.data, 0, 0, Buffer.from('x'))])],
    ['a promise', Buffer.concat([PREFACE, frame(TYPE.settings, 0, 0), frame(TYPE.pushPromise, 4, 1, Buffer.concat([uint32(2), block(request('/'))]))])],
  ])('%s ends it and nothing else', async (_what, octets) => {
    const raw = await openRaw(pki, gateway.port);
    raw.write(octets);
    await raw.ended;
    expect(await serves()).toBe(true);
  });

  it('what no client would say, in 300 ways, ends at worst itself', async () => {
    // A generator of its own, so that a failure can be played again.
    let state = 20_261_122;
    const below = (most: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % most;
    };
    const octets = (length: number): Buffer => Buffer.from(Array.from({ length }, () => below(256)));
    for (let round = 0; round < 300; round++) {
      const raw = await openFrames(pki, gateway.port);
      for (let count = 1 + below(12); count > 0; count--) {
        const id = below(4) === 0 ? below(2 ** 31) : below(8);
        const payload = below(3) === 0 ? block(request('/echo/x', [], below(2) === 0 ? 'GET' : 'POST')) : octets(below(60));
        raw.write(frame(below(12), below(256), id, payload, below(10) === 0 ? below(20_000) : payload.length));
      }
      if (round % 3 === 0) await raw.alive();
      if (round % 2 === 0) raw.abort();
      else raw.destroy();
    }
    expect(await serves()).toBe(true);
  });

  it('anything may be reset at any moment', async () => {
    for (let round = 0; round < 20; round++) {
      const raw = await openFrames(pki, gateway.port);
      raw.headers(1, request('/echo/large'));
      raw.headers(3, request('/echo/x', [], 'POST'), FLAG.endHeaders);
      raw.send(TYPE.data, 0, 3, Buffer.alloc(1_000));
      if (round % 2 === 0) await raw.status(1);
      raw.abort();
    }
    expect(await serves()).toBe(true);
  });

  it('takes its octets one by one', async () => {
    const raw = await openRaw(pki, gateway.port);
    const octets = Buffer.concat([PREFACE, frame(TYPE.settings, 0, 0), frame(TYPE.headers, FLAG.endHeaders | FLAG.endStream, 1, block(request('/echo/x')))]);
    for (const octet of octets) {
      raw.write(Buffer.from([octet]));
      await new Promise((done) => setImmediate(done));
    }
    expect(await raw.status(1)).toBe(200);
    raw.destroy();
  });
});
