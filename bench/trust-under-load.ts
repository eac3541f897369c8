import { once } from 'node:events';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { connect, type TLSSocket } from 'node:tls';
import { createAuthority, issueCertificate, issueCrl, type Issued } from '../test/support/pki.ts';
import { askOverConnections, askWithOthers, GET, newLoad, startBackend, type Client } from './clients-under-load.ts';
import { benchDirectory, spawnGateway, type BenchDirectory } from './gateway.ts';

export interface TrustOptions {
  /** Clients of a CA that stays, asking without a pause; one in eight connects anew for each answer. */
  readonly connections: number;
  /** Clients of a CA that goes and comes, with a connection each. */
  readonly concerned: number;
  /** How often that CA goes and comes again. */
  readonly changes: number;
  /** Whether `wrk` asks as well: over 16 connections that are kept, and over 4 that are not. */
  readonly wrk: boolean;
  readonly say?: (text: string) => void;
}

export interface TrustResult {
  /** From the change of the file, in ms: until the last connection of those concerned had ended, and until they were served again. */
  readonly changes: readonly { readonly ended: number; readonly served: number }[];
  /** The share of clients that resumed: before a change, right after it, and when they came once more. */
  readonly resumed: readonly { readonly before: number; readonly after: number; readonly later: number }[];
  readonly clients: readonly Client[];
  readonly seconds: number;
}

const WAIT_MS = 20_000;
const RETURNING = 16;

/** Takes a CA out of a directory of trust and puts it in again, under load of clients that it does not concern, and of some that it does. */
export async function trustUnderLoad({ connections, concerned, changes, wrk, say = () => undefined }: TrustOptions): Promise<TrustResult> {
  const directory = await benchDirectory();
  const { path } = directory.pki;
  const kiosks = await createAuthority({ name: [['CN', 'Kiosks Root']] });
  const [backend, kiosk] = await Promise.all([
    startBackend(directory.pki), issueCertificate(kiosks, { subject: [['CN', 'Kiosk'], ['OU', 'Doctors']] }),
    writeFile(path('kiosks.crl'), await issueCrl(kiosks, {})), mkdir(path('anchors')),
  ]);
  await writeFile(path('anchors/hospital.pem'), directory.pki.pki.root.certificate);
  await put(path('anchors/kiosks.pem'), kiosks.certificate);
  const gateway = await spawnGateway(directory.path, configuration(directory, backend.port)).catch(async (error: unknown) => {
    await backend.close();
    await directory.remove();
    throw error;
  });
  const load = newLoad(gateway.port, directory.pki);
  const { root, doctor } = directory.pki.pki;
  const visit = (client: Issued, session?: Buffer): Promise<Visit> => visitOnce(gateway.port, root.certificate, client, session);
  const sessions: (Buffer | undefined)[] = Array.from({ length: RETURNING }, () => undefined);
  /** All come, each with its session; the share that resumed. */
  async function come(): Promise<number> {
    const visits = await Promise.all(sessions.map((session) => visit(doctor, session)));
    visits.forEach(({ session, status }, index) => {
      if (status !== 200) load.failures.push(`a client that came back was answered ${status}`);
      sessions[index] = session ?? sessions[index];
    });
    return visits.filter(({ resumed }) => resumed).length / visits.length;
  }
  const done: { ended: number; served: number }[] = [];
  const resumed: { before: number; after: number; later: number }[] = [];
  const from = performance.now();
  try {
    const asking = askOverConnections(load, connections);
    const others = askWithOthers(directory, load, wrk);
    for (let change = 1; change <= changes; change++) {
      const held = await Promise.all(Array.from({ length: concerned }, () => hold(gateway.port, root.certificate, kiosk)));
      await come();
      const before = await come();
      const going = performance.now();
      const closed = Promise.all(held.map((socket) => ended(socket)));
      await rm(path('anchors/kiosks.pem'));
      await closed;
      const endedAfter = performance.now() - going;
      resumed.push({ before, after: await come(), later: await come() });
      const refused = await visit(kiosk);
      if (refused.status !== 403) load.failures.push(`a client of the CA that had gone was answered ${refused.status}`);
      const coming = performance.now();
      await put(path('anchors/kiosks.pem'), kiosks.certificate);
      // Each thread: several in a row.
      for (let good = 0; good < 8; good = (await visit(kiosk)).status === 200 ? good + 1 : 0) if (performance.now() - coming > WAIT_MS) throw new Error('the CA that came again was not trusted');
      done.push({ ended: Math.round(endedAfter), served: Math.round(performance.now() - coming) });
      say(`${change}: ${concerned} connections ended after ${done.at(-1)?.ended} ms, served again after ${done.at(-1)?.served} ms; resumed ${JSON.stringify(resumed.at(-1))}`);
    }
    load.running = false;
    return { changes: done, resumed, clients: [await asking, ...await others], seconds: (performance.now() - from) / 1000 };
  } finally {
    load.running = false;
    await gateway.stop();
    await backend.close();
    await directory.remove();
  }
}

interface Visit {
  readonly resumed: boolean;
  readonly session: Buffer | undefined;
  readonly status: number;
}

/** One request over a connection of its own. */
async function visitOnce(port: number, ca: string, client: Issued, session?: Buffer): Promise<Visit> {
  const socket = open(port, ca, client, session);
  let latest: Buffer | undefined;
  socket.on('session', (given: Buffer) => {
    latest = given;
  });
  await once(socket, 'secureConnect');
  const resumed = socket.isSessionReused();
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  socket.write(GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
  await ended(socket);
  return { resumed, session: latest, status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0) };
}

/** A connection that has been served, and stays open. */
async function hold(port: number, ca: string, client: Issued): Promise<TLSSocket> {
  const socket = open(port, ca, client);
  await once(socket, 'secureConnect');
  socket.write(GET);
  await once(socket, 'data', { signal: AbortSignal.timeout(WAIT_MS) });
  socket.resume();
  return socket;
}

function open(port: number, ca: string, client: Issued, session?: Buffer): TLSSocket {
  const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca, cert: client.chain, key: client.key, ALPNProtocols: ['http/1.1'], ...(session === undefined ? {} : { session }) });
  socket.on('error', () => undefined);
  return socket;
}

async function ended(socket: TLSSocket): Promise<void> {
  if (!socket.closed) await once(socket, 'close', { signal: AbortSignal.timeout(WAIT_MS) });
}

async function put(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
}

function configuration({ pki: { path } }: BenchDirectory, backendPort: number): string {
  return `
state: ./state
threads: 2
listeners:
  - name: clinical
    address: 127.0.0.1:0
    tls: { certificates: [{ certificate: ${path('server-ec.pem')}, key: ${path('server-ec.key')} }] }
    client_auth: { mode: optional, trust: ${path('anchors')}, intermediates: [${path('issuing.pem')}] }
revocation: { sources: [crl], crl: { files: [${path('issuing.crl')}, ${path('root.crl')}, ${path('kiosks.crl')}] } }
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
