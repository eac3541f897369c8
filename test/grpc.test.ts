import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Metadata, status as Status, type ServerDuplexStream, type ServerReadableStream, type ServerUnaryCall, type ServerWritableStream, type sendUnaryData, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, startRawBackend } from './support/backend.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { collect, GRPC_ROUTES, openGrpc, startGrpcBackend, unary, type GrpcBackend, type GrpcClient, type GrpcEnd } from './support/grpc.ts';
import { http2Upstream } from './support/http2-backend.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: GrpcBackend;
let gateway: TestGateway;
let client: GrpcClient;
/** What the server saw of the calls that were broken off. */
let cancelled: string[];
let begun = 0;
/** Messages that the server got rid of in a download that is read slowly. */
let written = 0;

type Unary = ServerUnaryCall<Buffer, Buffer>;

beforeAll(async () => {
  pki = await testPki();
  cancelled = [];
  backend = await startGrpcBackend(pki, {
    unary(call: Unary, answer: sendUnaryData<Buffer>) {
      const asked = call.request.toString();
      if (asked === 'identity') return answer(null, Buffer.from(String(call.metadata.get('x-client-id'))));
      if (asked === 'metadata') {
        const head = new Metadata();
        head.set('x-head', 'head');
        head.set('x-octets-bin', call.metadata.get('x-octets-bin')[0] as Buffer);
        call.sendMetadata(head);
        const trailer = new Metadata();
        trailer.set('x-trailer', String(call.metadata.get('x-text')[0]));
        trailer.set('x-trailer-bin', Buffer.from([0, 1, 255]));
        return answer(null, Buffer.from('ok'), trailer);
      }
      if (asked === 'refuse') {
        const metadata = new Metadata();
        metadata.set('grpc-status-details-bin', Buffer.from([8, 5, 18, 2, 0x68, 0x69]));
        return answer({ code: Status.FAILED_PRECONDITION, details: 'nicht möglich – 不行 %', metadata } as ServiceError);
      }
      if (asked === 'never') return void call.on('cancelled', () => cancelled.push('unary'));
      answer(null, call.request);
    },
    download(call: ServerWritableStream<Buffer, Buffer>) {
      const asked = call.request.toString();
      call.on('cancelled', () => cancelled.push('download'));
      if (asked === 'endless') return void call.write(Buffer.from('begin'));
      if (asked === 'flood') {
        const message = Buffer.alloc(64 * 1024, 1);
        const more = (): void => {
          while (written < 2_000 && !call.cancelled) {
            written += 1;
            if (!call.write(message)) return void call.once('drain', more);
          }
          call.end();
        };
        return more();
      }
      for (let index = 0; index < Number(asked); index++) call.write(Buffer.from(`message ${index}`));
      call.end();
    },
    upload(call: ServerReadableStream<Buffer, Buffer>, answer: sendUnaryData<Buffer>) {
      begun += 1;
      let octets = 0;
      call.on('data', (message: Buffer) => {
        octets += message.length;
      });
      call.on('cancelled', () => cancelled.push('upload'));
      call.on('end', () => answer(null, Buffer.from(String(octets))));
    },
    chat(call: ServerDuplexStream<Buffer, Buffer>) {
      call.on('cancelled', () => cancelled.push('chat'));
      call.on('data', (message: Buffer) => {
        if (message.toString() === 'break') return void call.emit('error', { code: Status.DATA_LOSS, details: 'broken' });
        call.write(message);
      });
      call.on('end', () => call.end());
    },
  });
  gateway = await startGateway(pki, 0, { routes: GRPC_ROUTES, upstreams: http2Upstream(backend.port) });
  client = openGrpc(pki, gateway.port, pki.patient);
});

afterAll(async () => {
  client.close();
  await gateway.stop();
  backend.close();
});

describe('a gRPC call', () => {
  it('of each kind passes with our identity, and is on record', async () => {
    expect((await unary(client, Buffer.from('identity'))).value?.toString()).toBe('urn:patient:1001');
    const download = await collect(client.download(Buffer.from('100')));
    expect([download.messages.length, download.messages.at(-1)?.toString(), download.end.code]).toEqual([100, 'message 99', Status.OK]);
    const upload = await new Promise((done) => {
      const call = client.upload(new Metadata(), {}, (error, answer) => done(error ?? String(answer)));
      for (let index = 0; index < 100; index++) call.write(Buffer.alloc(1_000));
      call.end();
    });
    expect(upload).toBe('100000');
    const chat = client.chat();
    const said: string[] = [];
    const chatted = new Promise<GrpcEnd>((done) => chat.on('status', done));
    chat.on('data', (message: Buffer) => {
      said.push(message.toString());
      if (said.length < 20) chat.write(Buffer.from(`turn ${said.length}`));
      else chat.end();
    });
    chat.write(Buffer.from('turn 0'));
    expect((await chatted).code).toBe(Status.OK);
    expect(said).toEqual(Array.from({ length: 20 }, (_, index) => `turn ${index}`));
    const records = (await gateway.records()).filter((record) => record['event'] === 'request');
    expect(records).toHaveLength(4);
    expect(records.every((record) => record['result'] === 'permitted' && record['role'] === 'patient' && record['status'] === 200)).toBe(true);
  });

  it('carries metadata of both kinds both ways, in head and trailers', async () => {
    const metadata = new Metadata();
    const octets = randomBytes(200);
    metadata.set('x-text', 'text');
    metadata.set('x-octets-bin', octets);
    metadata.set('x-client-role', 'doctor');
    const call = client.unary(Buffer.from('metadata'), metadata, {}, () => undefined);
    const [[head], [end]] = await Promise.all([once(call, 'metadata'), once(call, 'status')]) as [[Metadata], [GrpcEnd]];
    expect([head.get('x-head'), (head.get('x-octets-bin')[0] as Buffer).equals(octets)]).toEqual([['head'], true]);
    expect([end.metadata.get('x-trailer'), end.metadata.get('x-trailer-bin')]).toEqual([['text'], [Buffer.from([0, 1, 255])]]);
  });

  it('brings the server\'s status, message and details unchanged', async () => {
    const { end } = await unary(client, Buffer.from('refuse'));
    expect(end).toMatchObject({ code: Status.FAILED_PRECONDITION, details: 'nicht möglich – 不行 %' });
    expect(end.metadata.get('grpc-status-details-bin')).toEqual([Buffer.from([8, 5, 18, 2, 0x68, 0x69])]);
    const chat = client.chat();
    const ended = collect(chat);
    chat.write(Buffer.from('break'));
    expect((await ended).end).toMatchObject({ code: Status.DATA_LOSS, details: 'broken' });
  });

  it('carries messages of 32 MiB', async () => {
    const message = randomBytes(32 * 1024 * 1024);
    const { value } = await unary(client, message);
    expect(value?.equals(message)).toBe(true);
  });

  it('that passes its deadline is cancelled at the server', async () => {
    cancelled = [];
    const { end } = await unary(client, Buffer.from('never'), new Metadata(), { deadline: Date.now() + 300 });
    expect(end.code).toBe(Status.DEADLINE_EXCEEDED);
    await expect.poll(() => cancelled).toEqual(['unary']);
  });

  it.each(['download', 'upload', 'chat'] as const)('(%s) that the client cancels is cancelled at the server', async (kind) => {
    cancelled = [];
    begun = 0;
    const call = kind === 'download' ? client.download(Buffer.from('endless')) : kind === 'chat' ? client.chat() : client.upload(new Metadata(), {}, () => undefined);
    call.on('error', () => undefined);
    const ended = new Promise<GrpcEnd>((done) => call.on('status', done));
    if ('write' in call) call.write(Buffer.from('hello'));
    if (kind === 'upload') await expect.poll(() => begun).toBe(1);
    else await once(call, 'data');
    call.cancel();
    expect((await ended).code).toBe(Status.CANCELLED);
    await expect.poll(() => cancelled).toEqual([kind]);
  });

  it('whose client reads slowly holds the server back', async () => {
    written = 0;
    const call = client.download(Buffer.from('flood'));
    call.on('error', () => undefined);
    await once(call, 'readable');
    let settled = -1;
    // Standing still means: everything on the way is full.
    await expect.poll(() => {
      const before = settled;
      settled = written;
      return settled === before;
    }, { interval: 300 }).toBe(true);
    expect(written).toBeLessThan(400);
    const { messages, end } = await collect(call);
    expect([messages.length, end.code]).toEqual([2_000, Status.OK]);
  });
});

describe('a gRPC call that is denied', () => {
  it.each([
    ['without a certificate', undefined, '/unary', Status.UNAUTHENTICATED, 'certificate_required', 401],
    ['with a revoked certificate', 'revokedDoctor', '/unary', Status.PERMISSION_DENIED, 'certificate_rejected', 403],
    ['with the wrong role', 'device', '/unary', Status.PERMISSION_DENIED, 'role_denied', 403],
  ] as const)('%s ends with the status that gRPC has for it', async (_what, who, _path, code, details, http) => {
    const other = openGrpc(pki, gateway.port, who === undefined ? undefined : pki[who]);
    const { end } = await unary(other, Buffer.from('x'));
    expect(end).toMatchObject({ code, details });
    const [id] = end.metadata.get('x-request-id');
    expect((await gateway.records()).find((record) => record['request_id'] === id)).toMatchObject({ result: 'denied', status: http });
    other.close();
  });

  it('for want of a route is unimplemented, for a body over the limit exhausted', async () => {
    const other = await startGateway(pki, 0, { upstreams: http2Upstream(backend.port), routes: `
  - { name: unary, match: { path: /wardgate.test.Records/Unary }, allow: [patient], upstream: records, limits: { body: 1KiB } }` });
    const through = openGrpc(pki, other.port, pki.patient);
    expect((await collect(through.download(Buffer.from('1')))).end).toMatchObject({ code: Status.UNIMPLEMENTED, details: 'not_found' });
    expect((await unary(through, Buffer.alloc(2_000))).end).toMatchObject({ code: Status.RESOURCE_EXHAUSTED, details: 'body_too_large' });
    expect((await unary(through, Buffer.alloc(1_000))).end.code).toBe(Status.OK);
    through.close();
    await other.stop();
  });
});

describe('a gRPC call to an upstream that fails', () => {
  it('is unavailable when it cannot be reached, and when it dies in mid-stream', async () => {
    const short = await startGrpcBackend(pki, { download: (call: ServerWritableStream<Buffer, Buffer>) => void call.write(Buffer.from('begin')) });
    const other = await startGateway(pki, 0, { routes: GRPC_ROUTES, upstreams: http2Upstream(short.port) });
    const through = openGrpc(pki, other.port, pki.patient);
    const call = through.download(Buffer.from('x'));
    const ended = collect(call);
    await once(call, 'data');
    short.close();
    expect((await ended).end.code).toBe(Status.UNAVAILABLE);
    expect((await unary(through, Buffer.from('x'))).end).toMatchObject({ code: Status.UNAVAILABLE, details: 'upstream_unavailable' });
    through.close();
    await other.stop();
  });

  it('is past its deadline when the upstream is silent for longer than it may be', async () => {
    const silent = await startGrpcBackend(pki, { unary: () => undefined });
    const other = await startGateway(pki, 0, { routes: GRPC_ROUTES, upstreams: http2Upstream(silent.port, '\n    timeouts: { response: 1s }') });
    const through = openGrpc(pki, other.port, pki.patient);
    expect((await unary(through, Buffer.from('x'))).end).toMatchObject({ code: Status.DEADLINE_EXCEEDED, details: 'upstream_timeout' });
    through.close();
    await other.stop();
    silent.close();
  });

  it('that speaks HTTP/1.1 and knows no gRPC ends with the status of its answer', async () => {
    const http1 = await startBackend(pki, (_request, response) => response.writeHead(404).end('what?'));
    const other = await startGateway(pki, http1.port, { routes: GRPC_ROUTES });
    const through = openGrpc(pki, other.port, pki.patient);
    expect((await unary(through, Buffer.from('x'))).end.code).toBe(Status.UNIMPLEMENTED);
    through.close();
    await other.stop();
    await http1.close();
    const garbage = await startRawBackend(pki, (socket) => void socket.end('SSH-2.0-x\r\n'));
    const next = await startGateway(pki, garbage.port, { routes: GRPC_ROUTES });
    const last = openGrpc(pki, next.port, pki.patient);
    expect((await unary(last, Buffer.from('x'))).end.code).toBe(Status.UNAVAILABLE);
    last.close();
    await next.stop();
    await garbage.close();
  });
});
