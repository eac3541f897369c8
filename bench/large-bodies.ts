import { createHash, randomBytes } from 'node:crypto';
import { createServer, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { listen, type Bound } from '../src/demo/listen.ts';
import { benchDirectory, spawnGateway } from './gateway.ts';
import type { BenchPki } from './pki.ts';
import { residentMiB } from './process.ts';

const MIB = 1 << 20;

export interface Transfer {
  readonly direction: 'up' | 'down';
  /** What the far end received, in octets. */
  readonly octets: number;
  /** Whether the far end received what was sent, by SHA-256. */
  readonly intact: boolean;
  readonly seconds: number;
  /** Resident size of the gateway before, and the largest seen during the transfer, in MiB. */
  readonly beforeMiB: number;
  readonly peakMiB: number;
}

/**
 * Sends a body of `octets` up through a gateway of its own, then one down, watching its memory. The receiving end stops for a moment
 * after every 8 MiB, so that it is slower than the sender and only back-pressure keeps the octets out of the gateway.
 */
export async function largeBodies(octets: number): Promise<readonly Transfer[]> {
  const directory = await benchDirectory();
  const backend = await startBackend(directory.pki);
  try {
    const gateway = await spawnGateway(directory.path, configuration(directory.pki, backend.port));
    try {
      const ask = { port: gateway.port, pki: directory.pki, pid: gateway.process.pid };
      // First small ones: code is compiled and buffers are allocated once.
      for (const direction of ['up', 'down'] as const) await transfer(ask, direction, Math.min(octets, 64 * MIB));
      return [await transfer(ask, 'up', octets), await transfer(ask, 'down', octets)];
    } finally {
      await gateway.stop();
    }
  } finally {
    await backend.close();
    await directory.remove();
  }
}

interface Ask {
  readonly port: number;
  readonly pki: BenchPki;
  readonly pid: number;
}

async function transfer(ask: Ask, direction: 'up' | 'down', octets: number): Promise<Transfer> {
  const beforeMiB = residentMiB(ask.pid).now;
  let peakMiB = beforeMiB;
  const watch = setInterval(() => {
    peakMiB = Math.max(peakMiB, residentMiB(ask.pid).now);
  }, 20);
  const from = performance.now();
  try {
    const { received, sent } = direction === 'up' ? await upload(ask, octets) : await download(ask, octets);
    return { direction, octets: received.octets, intact: received.sha256 === sent.sha256 && received.octets === octets, seconds: (performance.now() - from) / 1000, beforeMiB, peakMiB };
  } finally {
    clearInterval(watch);
  }
}

interface Sum {
  readonly octets: number;
  readonly sha256: string;
}

async function upload(ask: Ask, octets: number): Promise<{ received: Sum; sent: Sum }> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const outgoing = open(ask, 'POST', '/bodies', { 'content-length': octets });
  outgoing.on('response', resolve).on('error', reject);
  const body = source(octets);
  const [answer] = await Promise.all([promise, pipeline(Readable.from(body.chunks(), { objectMode: false }), outgoing)]);
  if (answer.statusCode !== 200) throw new Error(`answered ${answer.statusCode}`);
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) text += chunk as string;
  return { received: JSON.parse(text) as Sum, sent: body.sum() };
}

async function download(ask: Ask, octets: number): Promise<{ received: Sum; sent: Sum }> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  open(ask, 'GET', `/bodies?octets=${octets}`, {}).on('response', resolve).on('error', reject).end();
  const answer = await promise;
  if (answer.statusCode !== 200) throw new Error(`answered ${answer.statusCode}`);
  const received = await drainSlowly(answer);
  const expected = source(octets);
  for await (const chunk of expected.chunks()) void chunk;
  return { received, sent: expected.sum() };
}

function open({ port, pki }: Ask, method: string, path: string, headers: Record<string, number>) {
  return httpsRequest({
    host: '127.0.0.1', port, method, path, headers: { host: 'localhost', ...headers }, agent: false, servername: 'localhost',
    ca: pki.pki.root.certificate, cert: pki.pki.doctor.chain, key: pki.pki.doctor.key,
  });
}

const BLOCK = randomBytes(MIB + 7);

/** A body of so many octets: the same block again and again, of an odd length, so that a lost or doubled piece shows in the sum. */
function source(octets: number): { chunks(): AsyncGenerator<Buffer>; sum(): Sum } {
  const hash = createHash('sha256');
  return {
    async *chunks() {
      for (let left = octets; left > 0; left -= BLOCK.length) {
        const chunk = BLOCK.subarray(0, left);
        hash.update(chunk);
        yield chunk;
      }
    },
    sum: () => ({ octets, sha256: hash.digest('hex') }),
  };
}

const PAUSE_EVERY = 8 * MIB;
const PAUSE_MS = 10;

async function drainSlowly(body: AsyncIterable<Buffer>): Promise<Sum> {
  const hash = createHash('sha256');
  let octets = 0;
  let next = PAUSE_EVERY;
  for await (const chunk of body) {
    hash.update(chunk);
    octets += chunk.length;
    if (octets < next) continue;
    next += PAUSE_EVERY;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  return { octets, sha256: hash.digest('hex') };
}

function startBackend({ pki }: BenchPki): Promise<Bound> {
  return listen(createServer({
    cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true,
  }, (request, response) => {
    const wanted = Number(new URL(request.url ?? '/', 'https://records.internal').searchParams.get('octets') ?? 0);
    if (request.method === 'GET') {
      response.setHeader('content-length', wanted);
      pipeline(Readable.from(source(wanted).chunks(), { objectMode: false }), response).catch(() => response.destroy());
    } else {
      drainSlowly(request).then((sum) => response.end(JSON.stringify(sum)), () => response.destroy());
    }
  }), 0);
}

function configuration({ path }: BenchPki, backendPort: number): string {
  return `
state: ./state
threads: 1
listeners:
  - name: clinical
    address: 127.0.0.1:0
    tls: { certificates: [{ certificate: ${path('server-ec.pem')}, key: ${path('server-ec.key')} }] }
    client_auth: { mode: required, trust: [${path('root.pem')}], intermediates: [${path('issuing.pem')}] }
revocation: { sources: [crl], crl: { files: [${path('issuing.crl')}, ${path('root.crl')}] } }
roles: [{ role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }]
routes: [{ name: bodies, match: { path: /bodies, methods: [GET, POST] }, allow: [doctor], upstream: records }]
upstreams:
  records:
    endpoints: ["https://127.0.0.1:${backendPort}"]
    tls: { trust: ${path('backend-ca.pem')}, certificate: ${path('gateway.pem')}, key: ${path('gateway.key')}, server_name: records.internal }
`;
}

if (import.meta.main) {
  const transfers = await largeBodies(Number(process.argv[2] ?? 1024) * MIB);
  for (const one of transfers) {
    const { direction, octets, intact, seconds, beforeMiB, peakMiB } = one;
    process.stdout.write(`${direction}: ${octets / MIB} MiB ${intact ? 'intact' : 'NOT INTACT'} in ${seconds.toFixed(1)} s; gateway ${beforeMiB.toFixed(0)} MiB before, ${peakMiB.toFixed(0)} MiB at most\n`);
  }
  process.exitCode = transfers.every((one) => one.intact) ? 0 : 1;
}
