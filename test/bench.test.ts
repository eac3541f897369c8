import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createSecureServer, type Http2SecureServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { createServer, type Server } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { verdicts } from '../bench/bars.ts';
import { buildLoadGenerator, runLoad, type Load, type LoadResult } from '../bench/load.ts';
import type { Measurement } from '../bench/measure.ts';
import { testPki, writePki, type PkiFiles, type TestPki } from './support/pki.ts';

const directory = await mkdtemp(join(tmpdir(), 'wardgate-bench-test-'));
const program = await buildLoadGenerator(directory).catch((error: Error) => {
  console.log(`skipped: the load generator's tests: ${error.message.split('\n', 1)[0]}`);
  return undefined;
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe.skipIf(program === undefined)('the load generator', () => {
  const body = Buffer.alloc(100_000, 'content that counts, ');
  const server = { current: undefined as Server | Http2SecureServer | undefined };
  let pki: TestPki;
  let files: PkiFiles;
  let expected: string;

  beforeAll(async () => {
    pki = await testPki();
    files = await writePki(pki, join(directory, 'pki'));
    expected = join(directory, 'body');
    await writeFile(expected, body);
  });
  afterEach(() => new Promise<void>((done) => {
    const current = server.current;
    if (current === undefined) return done();
    current.close(() => done());
    if ('closeAllConnections' in current) current.closeAllConnections();
  }));

  const credentials = () => ({ cert: pki.serverEc.chain, key: pki.serverEc.key, ca: [pki.root.certificate, pki.issuing.certificate], requestCert: true, rejectUnauthorized: true });

  async function listening<Some extends Server | Http2SecureServer>(one: Some): Promise<Some> {
    server.current = one;
    await new Promise<void>((done) => one.listen(0, '127.0.0.1', () => done()));
    return one;
  }

  async function load(wanted: Partial<Load>, between?: (result: LoadResult) => void): Promise<LoadResult> {
    const { port } = (server.current as Server).address() as { port: number };
    let result: LoadResult | undefined;
    await runLoad(program as string, {
      mode: 'requests', port, connections: 4, count: 20, tls: '1.3', serverKey: 'ec', resume: false, certificate: files.path('doctor.pem'), key: files.path('doctor.key'),
      path: '/records', expect: undefined, prelude: 1, http: '1.1', streams: 1, deadline: 5, core: undefined, ...wanted,
    }, async (go) => {
      result = await go();
      if (between === undefined) return;
      between(result);
      result = await go();
    });
    return result as LoadResult;
  }

  const answering = (content: Buffer) => listening(createServer(credentials(), (_, response) => response.end(content)));

  it('counts answers that are the expected body, octet by octet', async () => {
    await answering(body);
    expect(await load({ expect: expected })).toMatchObject({ finished: 20, failed: 0, preludeFailed: 0, protocol: 'TLSv1.3', serverKey: 'EC' });
  });

  it('counts no answer in which one octet differs', async () => {
    const other = Buffer.from(body);
    other[77_777] = (other[77_777] as number) ^ 1;
    await answering(other);
    expect(await load({ expect: expected })).toMatchObject({ finished: 0, error: 'another body than expected ' });
  });

  it('counts no answer of another length', async () => {
    await answering(body.subarray(1));
    expect(await load({ expect: expected })).toMatchObject({ finished: 0, error: 'another length than expected ' });
  });

  it('keeps so many HTTP/2 streams under way on a connection, and counts their bodies like others', async () => {
    let most = 0;
    const open = new Set<unknown>();
    const one = await listening(createSecureServer(credentials()));
    one.on('stream', (stream: ServerHttp2Stream) => {
      open.add(stream);
      most = Math.max(most, open.size);
      stream.on('close', () => open.delete(stream));
      setImmediate(() => answer(stream, body));
    });
    const result = await load({ http: '2', connections: 1, streams: 30, count: 200, expect: expected });
    expect(result).toMatchObject({ finished: 200, failed: 0, preludeFailed: 0, http: 'h2', streams: 30 });
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(30);
  });

  it('counts no HTTP/2 answer with another status or another body', async () => {
    const one = await listening(createSecureServer(credentials()));
    one.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      answer(stream, body.subarray(1), headers[':path'] === '/gone' ? 404 : 200);
    });
    expect(await load({ http: '2', connections: 1, streams: 2, path: '/gone' })).toMatchObject({ finished: 0, error: 'status 404 ' });
    expect(await load({ http: '2', connections: 1, streams: 2, expect: expected })).toMatchObject({ finished: 0, error: 'another body than expected ' });
  });

  it('counts no HTTP/2 answer that is cut short in good order', async () => {
    const one = await listening(createSecureServer(credentials()));
    one.on('stream', (stream: ServerHttp2Stream) => answer(stream, body.subarray(0, 1000)));
    expect(await load({ http: '2', connections: 1, streams: 2, length: 1024 })).toMatchObject({ finished: 0, error: 'another length than expected ' });
  });

  it('says when a server allows fewer HTTP/2 streams, or has no dynamic table', async () => {
    const one = await listening(createSecureServer({ ...credentials(), settings: { maxConcurrentStreams: 5, headerTableSize: 0 } }));
    one.on('stream', (stream: ServerHttp2Stream) => answer(stream, Buffer.from('ok')));
    expect(await load({ http: '2', connections: 1, streams: 30 })).toMatchObject({ finished: 20, failed: 0, preludeFailed: 0, streams: 5 });
  });

  it('says when a server speaks no HTTP/2', async () => {
    await answering(body);
    expect(await load({ http: '2', streams: 10 })).toMatchObject({ finished: 0, http: 'http/1.1', error: 'negotiated http/1.1 ' });
  });

  it('opens idle connections, asks on each again, and says how many were closed meanwhile', async () => {
    const sockets: TLSSocket[] = [];
    const one = await answering(body);
    one.on('secureConnection', (socket: TLSSocket) => sockets.push(socket));
    const again = await load({ mode: 'idle', connections: 50, count: 50 }, (opened) => {
      expect(opened).toMatchObject({ finished: 50, failed: 0, open: 50 });
      for (const socket of sockets.slice(0, 3)) socket.destroy();
    });
    expect(again).toMatchObject({ finished: 47, open: 47 });
  });
});

describe('a bar', () => {
  const bar = { scenario: 'kept-alive', of: 'wardgate', to: 'nginx', atMost: 1 };
  const measured = (peer: string, round: number, cpuMicros: number): Measurement => ({
    peer, round, cpuMicros, scenario: 'kept-alive', perSecond: 0, busy: 0, noise: 0, load: {} as LoadResult,
  });

  it('is held to the median of the ratios of each round, not to the ratio of medians', () => {
    const all = [
      measured('nginx', 1, 10), measured('wardgate', 1, 9), measured('nginx', 2, 50), measured('wardgate', 2, 40), measured('nginx', 3, 20), measured('wardgate', 3, 30),
    ];
    expect(verdicts(all, [bar])).toEqual([{ bar, ratio: { min: 0.8, median: 0.9, max: 1.5 }, kind: 'met' }]);
  });

  it('is missed by a ratio above it', () => {
    expect(verdicts([measured('nginx', 1, 10), measured('wardgate', 1, 11)], [bar])[0]?.kind).toBe('missed');
  });

  it('is not measured where a round has only one of the two', () => {
    expect(verdicts([measured('nginx', 1, 10), measured('wardgate', 2, 9)], [bar])).toEqual([{ bar, ratio: undefined, kind: 'not measured' }]);
  });
});

function answer(stream: ServerHttp2Stream, body: Buffer, status = 200): void {
  stream.on('error', () => undefined);
  stream.respond({ ':status': status });
  stream.end(body);
}
