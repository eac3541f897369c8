import { spawn } from 'node:child_process';
import { rename, writeFile } from 'node:fs/promises';
import { connect } from 'node:tls';
import { callGateway } from '../src/cli/call.ts';
import { sClient } from '../test/support/openssl.ts';
import { createAuthority, issueCertificate, type Authority, type Issued } from '../test/support/pki.ts';
import { benchDirectory, spawnGateway, type BenchDirectory } from './gateway.ts';
import { GET, keepAsking, POST, startBackend, type LoadState } from './reload-under-load.ts';

export interface ReplaceOptions {
  /** Clients with certificates that ask without a pause, half of them posting; one in eight connects anew for each answer. */
  readonly connections: number;
  /** Server certificates replaced on disk, one after the other. */
  readonly replacements: number;
  /** Whether `wrk` asks as well: over 16 connections that are kept, and over 4 that are not. */
  readonly wrk: boolean;
  /** Whether one expires as well, which takes ten seconds. */
  readonly expiry: boolean;
  readonly say?: (text: string) => void;
}

export interface ReplaceResult {
  /** What was done, and how long it took to be so for every new connection, in ms. */
  readonly steps: readonly { readonly step: string; readonly milliseconds: number }[];
  /** By client: how many requests were answered, and what went wrong. */
  readonly clients: readonly { readonly client: string; readonly requests: number; readonly failures: readonly string[] }[];
  readonly seconds: number;
}

const PROBES = 8;
const WAIT_MS = 60_000;

/**
 * Replaces a server certificate again and again, lets it expire, revokes it, and changes which CAs clients are trusted by, while clients
 * ask that verify what they are shown: Node with client certificates, `openssl s_client` in a loop, and `wrk`.
 */
export async function replaceUnderLoad({ connections, replacements, wrk, expiry, say = () => undefined }: ReplaceOptions): Promise<ReplaceResult> {
  const directory = await benchDirectory();
  const { pki } = directory.pki;
  const [backend, second] = await Promise.all([startBackend(directory.pki), createAuthority({ name: 'Second Issuing CA', issuer: pki.root })]);
  const standby = await issueServer(second);
  await put(directory, 'standby', standby);
  const gateway = await spawnGateway(directory.path, configuration(directory, backend.port)).catch(async (error: unknown) => {
    await backend.close();
    await directory.remove();
    throw error;
  });
  const { port } = gateway;
  const steps: { step: string; milliseconds: number }[] = [];
  const load: LoadState = { port, pki: directory.pki, answered: 0, failures: [], running: true, enough: Promise.withResolvers<void>(), wanted: Infinity };
  const socket = `${directory.path}/state/admin.sock`;
  const from = performance.now();

  async function timed(step: string, serial: string, since = Date.now()): Promise<void> {
    const deadline = Date.now() + WAIT_MS;
    while (!(await shown(port, pki.root)).every((found) => found === serial)) {
      if (Date.now() > deadline) throw new Error(`${step}: not within ${WAIT_MS / 1000} s`);
    }
    const milliseconds = Date.now() - since;
    steps.push({ step, milliseconds });
    say(`${step}: ${milliseconds} ms`);
  }

  async function replaceBy(step: string, certificate: Issued): Promise<Issued> {
    const since = Date.now();
    await put(directory, 'server-ec', certificate);
    await timed(step, certificate.serialHex, since);
    return certificate;
  }

  try {
    const asking = Array.from({ length: connections }, (_, index) => keepAsking(load, index % 2 === 0 ? GET : POST, Math.floor(index / 2) % 8 === 0));
    const others = [askWithOpenssl(directory, load), ...(wrk ? [runWrk('wrk, connections kept', port, load, 16, []), runWrk('wrk, a connection a request', port, load, 4, ['-H', 'Connection: close'])] : [])];
    for (let turn = 1; turn <= replacements; turn++) await replaceBy(`replaced on disk (${turn})`, await issueServer(pki.issuing));
    if (expiry) {
      const expiring = await issueServer(pki.issuing, Date.now() + 8_000);
      await replaceBy('replaced by one that is about to expire', expiring);
      await timed('expired, another CA\'s takes over (counted from its end)', standby.serialHex, expiring.notAfter + 1_000);
    }
    const good = await replaceBy('replaced by a good one, which serves again', await issueServer(pki.issuing));
    const subject = { kind: 'fingerprint', fingerprint: good.sha256 };
    const denied = Date.now();
    await callGateway(socket, 'POST', '/v1/deny', { ...subject, reason: 'exercise', who: 'exercise' });
    await timed('revoked, another CA\'s takes over', standby.serialHex, denied);
    const reinstated = Date.now();
    await callGateway(socket, 'POST', '/v1/reinstate', { ...subject, who: 'exercise' });
    await timed('reinstated, serves again', good.serialHex, reinstated);
    for (const [step, text] of [['a CA of clients added', pki.root.certificate + pki.backendCa.certificate], ['and removed', pki.root.certificate]] as const) {
      const since = Date.now();
      await replaceFile(directory.pki.path('root.pem'), text);
      await callGateway(socket, 'POST', '/v1/certificates/reload', { who: 'exercise' });
      steps.push({ step, milliseconds: Date.now() - since });
      say(`${step}: ${Date.now() - since} ms`);
    }
    load.running = false;
    const [openssl, ...wrks] = await Promise.all(others);
    await Promise.all(asking);
    return {
      steps, seconds: (performance.now() - from) / 1000,
      clients: [{ client: `${connections} Node clients with certificates`, requests: load.answered, failures: load.failures }, ...(openssl === undefined ? [] : [openssl]), ...wrks],
    };
  } finally {
    load.running = false;
    await gateway.stop();
    await backend.close();
    await directory.remove();
  }
}

/** A kind of client: how many requests were answered, and what went wrong. */
export type Client = ReplaceResult['clients'][number];

/** Asks as the doctor, each time over a connection of its own. */
export async function askWithOpenssl({ pki: { path } }: BenchDirectory, load: LoadState): Promise<Client> {
  const args = ['-servername', 'localhost', '-CAfile', path('root.pem'), '-verify_return_error', '-cert', path('doctor.pem'), '-cert_chain', path('issuing.pem'), '-key', path('doctor.key')];
  const failures: string[] = [];
  let requests = 0;
  while (load.running) {
    const { status, output } = await sClient(load.port, args, GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
    if (status === 200) requests++;
    else failures.push(output.slice(-400));
  }
  return { client: 'openssl s_client in a loop', requests, failures };
}

/** `wrk` shows no certificate: it asks on the route that needs none. */
export function runWrk(client: string, port: number, load: LoadState, connections: number, args: readonly string[]): Promise<Client> {
  return new Promise((done, failed) => {
    const child = spawn('wrk', ['-t', '1', '-c', String(connections), '-d', '600s', '--timeout', '5s', '-H', 'Host: localhost', ...args, `https://localhost:${port}/public/news`], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.on('error', failed);
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    // It stops, and says how it was, when it is interrupted.
    const look = setInterval(() => load.running || child.kill('SIGINT'), 100);
    child.on('close', () => {
      clearInterval(look);
      const failures = [/Socket errors: .*/, /Non-2xx or 3xx responses: .*/].flatMap((pattern) => pattern.exec(output) ?? []);
      done({ client, requests: Number(/(\d+) requests in/.exec(output)?.[1] ?? 0), failures });
    });
  });
}

/** The serial numbers that new connections are shown, which are verified. */
function shown(port: number, root: Authority): Promise<readonly string[]> {
  return Promise.all(Array.from({ length: PROBES }, () => new Promise<string>((done) => {
    const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca: root.certificate, sigalgs: 'ECDSA+SHA256' }, () => {
      done(socket.getPeerCertificate().serialNumber.toLowerCase());
      socket.destroy();
    });
    socket.on('error', (error) => done(error.message));
  })));
}

function issueServer(authority: Authority, notAfter?: number): Promise<Issued> {
  return issueCertificate(authority, { subject: [['CN', 'localhost']], san: { dns: ['localhost'], ip: ['127.0.0.1'] }, eku: ['serverAuth'], ...(notAfter === undefined ? {} : { notAfter }) });
}

/** Key first: a certificate and a key that do not belong together are waited out. */
async function put({ pki: { path } }: BenchDirectory, name: string, { key, chain }: Issued): Promise<void> {
  await replaceFile(path(`${name}.key`), key);
  await replaceFile(path(`${name}.pem`), chain);
}

async function replaceFile(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

function configuration({ pki: { path } }: BenchDirectory, backendPort: number): string {
  const pair = (name: string): string => `{ certificate: ${path(`${name}.pem`)}, key: ${path(`${name}.key`)} }`;
  return `
state: ./state
threads: 2
listeners:
  - name: clinical
    address: 127.0.0.1:0
    tls: { certificates: [${pair('server-ec')}, ${pair('standby')}], roots: [${path('root.pem')}] }
    client_auth: { mode: optional, trust: [${path('root.pem')}], intermediates: [${path('issuing.pem')}] }
revocation: { sources: [crl], crl: { files: [${path('issuing.crl')}, ${path('root.crl')}] } }
roles: [{ role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }]
routes:
  - { name: public, match: { path: /public/* }, allow: [public], upstream: records }
  - { name: records, match: { path: /records, methods: [GET, POST] }, allow: [doctor], upstream: records }
upstreams:
  records:
    endpoints: ["https://127.0.0.1:${backendPort}"]
    tls: { trust: ${path('backend-ca.pem')}, certificate: ${path('gateway.pem')}, key: ${path('gateway.key')}, server_name: records.internal }
`;
}
