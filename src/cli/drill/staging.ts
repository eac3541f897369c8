import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Server as NetServer } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import type { AuditRecord } from '../../audit/record.ts';
import { segmentNames } from '../../audit/segment-file.ts';
import { answerOcsp, createAuthority, issueCertificate, issueCrl, readOcspRequest, type Authority, type CertificateOptions, type Issued } from '../../ca/issue.ts';
import { asksAbout } from '../../ca/ocsp.ts';
import { parseConfig } from '../../config/load.ts';
import { ConfigurationError, createGateway, type Gateway } from '../../gateway.ts';
import { stagedPlan, type Cast, type StagedPlan } from './staged-config.ts';

/** A gateway like yours, with CAs, clients, responder and upstreams of its own. */
export interface Staging {
  readonly plan: StagedPlan;
  /** What the real configuration says, for what a drill reports. */
  readonly config: Extract<ReturnType<typeof parseConfig>, { kind: 'ok' }>['config'];
  readonly root: Authority;
  readonly authorities: ReadonlyMap<string, Authority>;
  /** PEM of what the staging gateway is verified by. */
  readonly trust: string;
  gateway(): Gateway;
  /** Of the first listener of a protocol; undefined where there is none. */
  port(protocol: 'https' | 'tcp'): number | undefined;
  issue(cast: Cast, more?: Partial<CertificateOptions>): Promise<Issued>;
  /** What the upstreams were asked: the headers of each request. */
  readonly asked: readonly NodeJS.Dict<string | string[]>[];
  path(name: string): string;
  /** Outside of what the gateway has, and gone with it when the drill is over. */
  beside(name: string): string;
  /** Writes the CRLs of every CA anew. */
  writeCrls(revoked: readonly string[], times?: { readonly thisUpdate: number; readonly nextUpdate: number }): Promise<void>;
  stopResponder(): void;
  /** What the staging gateway put on record about a certificate, the latest last. */
  records(fingerprint?: string): Promise<readonly AuditRecord[]>;
  /** Stops it and starts it again from what is in its directory by then; `between` happens while it is off. */
  restart(between: () => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

/** Starts a staging gateway from a configuration. Nothing real is touched: it listens on loopback, and everything that it writes is in `scratch`, which the caller removes. */
export async function startStaging(file: string, scratch: string): Promise<Staging> {
  const text = await readFile(file, 'utf8');
  const parsed = parseConfig(text, file);
  if (parsed.kind === 'invalid') throw new ConfigurationError(parsed.issues);
  await using undo = new AsyncDisposableStack();
  const beside = (name: string): string => join(scratch, name);
  const path = (name: string): string => join(beside('gateway'), name);
  mkdirSync(path('.'), { mode: 0o700 });
  const root = await createAuthority({ name: 'Wardgate Drill Root' });
  const server = await issueCertificate(root, { subject: [['CN', 'localhost']], san: { dns: ['localhost'] }, eku: ['serverAuth'] });
  const asked: NodeJS.Dict<string | string[]>[] = [];
  const authorities = new Map<string, Authority>();
  const revoked = new Set<string>();

  const standIn = createHttpsServer({ key: server.key, cert: server.certificate }, (request, response) => {
    asked.push(request.headers);
    request.resume();
    response.end('drill');
  });
  standIn.on('upgrade', (_request, socket) => {
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n');
  });
  const streams = createTlsServer({ key: server.key, cert: server.certificate }, (socket) => void socket.on('error', () => undefined).pipe(socket));
  const responder = createHttpServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part)).on('error', () => undefined).on('end', () => {
      void ocspAnswer(request.method === 'GET' ? Buffer.from(decodeURIComponent((request.url ?? '').split('/').at(-1) ?? ''), 'base64') : Buffer.concat(parts)).then((der) => response.end(der), () => response.destroy());
    });
  });
  const ports = { https: await listening(standIn, undo), stream: await listening(streams, undo), responder: await listening(responder, undo) };

  async function ocspAnswer(request: Buffer): Promise<Buffer> {
    const read = readOcspRequest(request);
    const authority = [root, ...authorities.values()].find((one) => asksAbout(read, one)) ?? root;
    return answerOcsp(request, { authority, statusOf: (serial) => (revoked.has(serial) ? { kind: 'revoked' } : { kind: 'good' }) });
  }

  const plan = stagedPlan(text, parsed.config, ports);
  const write = (name: string, content: string | Buffer): void => writeFileSync(path(name), content, { mode: 0o600 });
  for (const { name, subject } of plan.authorities) authorities.set(name, await createAuthority({ name: subject, issuer: root, policies: ['2.5.29.32.0'] }));
  const shown = await issueCertificate(root, { subject: [['CN', 'Wardgate Drill']], san: { dns: plan.names }, eku: ['serverAuth'] });
  write('server.pem', shown.chain);
  write('server.key', shown.key);
  write('root.pem', root.certificate);
  for (const [name, authority] of authorities) write(`${name}.pem`, authority.certificate);
  const writeCrls: Staging['writeCrls'] = async (serials, times = { thisUpdate: Date.now() - 60_000, nextUpdate: Date.now() + 86_400_000 }) => {
    for (const serial of serials) revoked.add(serial);
    for (const [name, authority] of [['root', root] as const, ...authorities]) write(`${name}.crl`, await issueCrl(authority, { revoked: [...revoked].map((serial) => ({ serial })), ...times, number: Date.now() }));
  };
  await writeCrls([]);
  write('wardgate.yaml', JSON.stringify(plan.raw, undefined, 2));
  let gateway = await createGateway({ config: path('wardgate.yaml') });
  undo.defer(() => gateway.stop(0));
  const kept = undo.move();
  const listeners = plan.raw['listeners'] as readonly { readonly name: string; readonly protocol?: string }[];

  return {
    plan, config: parsed.config, root, authorities, trust: root.certificate, asked, path, beside, writeCrls,
    gateway: () => gateway,
    port(protocol) {
      const name = listeners.find((listener) => (listener.protocol ?? 'https') === protocol)?.name;
      return gateway.listeners.find((bound) => bound.name === name)?.port;
    },
    async issue({ authority, certificate }, more = {}) {
      return issueCertificate(authorities.get(authority) as Authority, { ...certificate, notAfter: Date.now() + 86_400_000, ...more });
    },
    stopResponder() {
      responder.close();
      responder.closeAllConnections();
    },
    async records(fingerprint) {
      const found = segmentNames(path('state/audit')).map((name) => readFile(path(`state/audit/${name}`), 'utf8').catch(() => ''));
      const all = (await Promise.all(found)).flatMap((segment) => segment.split('\n').slice(0, -1).map((line) => JSON.parse(line) as AuditRecord));
      return all.filter((record) => fingerprint === undefined || record.fingerprint === fingerprint).sort((left, right) => (left.time < right.time ? -1 : 1));
    },
    async restart(between) {
      await gateway.stop(0);
      await between();
      gateway = await createGateway({ config: path('wardgate.yaml') });
    },
    close: () => kept.disposeAsync(),
  };
}

async function listening(server: NetServer | Server, undo: AsyncDisposableStack): Promise<number> {
  server.on('error', () => undefined);
  await new Promise<void>((done, failed) => void server.once('error', failed).listen(0, '127.0.0.1', done));
  undo.defer(() => {
    server.close();
    if ('closeAllConnections' in server) server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}
