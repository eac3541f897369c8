import { rename, writeFile } from 'node:fs/promises';
import { connect } from 'node:tls';
import { callGateway } from '../src/cli/call.ts';
import { createAuthority, issueCertificate, type Authority, type Issued } from '../test/support/pki.ts';
import { askOverConnections, askWithOthers, newLoad, startBackend, type Client } from './clients-under-load.ts';
import { benchDirectory, spawnGateway, type BenchDirectory } from './gateway.ts';

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
  readonly clients: readonly Client[];
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
  const load = newLoad(port, directory.pki);
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
    const asking = askOverConnections(load, connections);
    const others = askWithOthers(directory, load, wrk);
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
    return { steps, clients: [await asking, ...await others], seconds: (performance.now() - from) / 1000 };
  } finally {
    load.running = false;
    await gateway.stop();
    await backend.close();
    await directory.remove();
  }
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
