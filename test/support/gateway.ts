import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createSecureContext, type ConnectionOptions, type SecureContext, type TLSSocket } from 'node:tls';
import { readLines, type Stretch } from '../../src/audit/lines.ts';
import { readSegment, segmentNames } from '../../src/audit/segment-file.ts';
import { createGateway, type Gateway, type Log } from '../../src/gateway.ts';
import { issueCrl, type Issued, type TestPki, writePki } from './pki.ts';

export interface TestGateway {
  readonly gateway: Gateway;
  readonly directory: string;
  readonly port: number;
  /** Path of a file in the gateway's directory. */
  path(name: string): string;
  /** All audit records so far, in the order of their files. */
  records(): Promise<readonly Record<string, unknown>[]>;
  /** Writes another configuration over the old one. */
  configure(yaml: string): Promise<void>;
  stop(): Promise<void>;
}

/** Names the parts of the default configuration that a test changes. */
export interface GatewayParts {
  /** Data-plane threads; 2 unless a test needs every request to share one. */
  readonly threads?: number;
  readonly listeners?: string;
  readonly clientAuth?: string;
  readonly listenerExtra?: string;
  readonly revocation?: string;
  readonly roles?: string;
  readonly routes?: string;
  readonly upstreams?: string;
  readonly top?: string;
  /** Further files in the gateway's directory, by their names. */
  readonly files?: Readonly<Record<string, string>>;
  readonly log?: Log;
}

export const ROLES = `
  - { role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }
  - { role: patient, match: { san: { uri: "urn:patient:*" } }, id: "{san.uri}" }
  - { role: device, match: { subject: { OU: Devices } }, id: "{san.dns}" }`;

export const ROUTES = `
  - { name: public, match: { path: /public/* }, allow: [public], upstream: records }
  - { name: records, match: { path: /records, methods: [GET] }, allow: [doctor], upstream: records, phi: true }
  - { name: echo, match: { path: /echo/* }, allow: [doctor, patient, device], upstream: records }
  - { name: any, match: { path: /any/* }, allow: [patient], upstream: records }`;

/** Every test of HTTP/1.1 runs a second time without the fast path (vitest.config.ts). */
export const generalPathOnly = process.env['WARDGATE_TEST_FAST_PATH'] === 'off';
const HTTP1 = generalPathOnly ? '    http1: { fast_path: false }\n' : '';

/** The YAML of one listener. */
export function listener(name: string, parts: Pick<GatewayParts, 'clientAuth' | 'listenerExtra'> = {}): string {
  return `
  - name: ${name}
    address: 127.0.0.1:0
    tls:
      certificates:
        - { certificate: server-ec.pem, key: server-ec.key }
        - { certificate: server-rsa.pem, key: server-rsa.key }
    client_auth: ${parts.clientAuth ?? '{ mode: optional, trust: [root.pem], intermediates: [issuing.pem] }'}
${HTTP1}${parts.listenerExtra ?? ''}`;
}

/** The configuration of a gateway with one listener in front of one upstream. */
export function configuration(upstreamPort: number, parts: GatewayParts = {}): string {
  return `
threads: ${parts.threads ?? 2}
listeners:
${parts.listeners ?? listener('clinical', parts)}
revocation: ${parts.revocation ?? '{ sources: [crl], crl: { files: [issuing.crl, root.crl] } }'}
roles: ${parts.roles ?? ROLES}
routes: ${parts.routes ?? ROUTES}
upstreams: ${parts.upstreams ?? `
  records:
    endpoints: ["https://127.0.0.1:${upstreamPort}"]
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }`}
${parts.top ?? ''}
`;
}

/** Writes the PKI, CRLs (the revoked doctor on the issuing CA's) and a configuration into a new directory. */
export async function gatewayDirectory(pki: TestPki): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'wardgate-test-'));
  await writePki(pki, directory);
  await writeFile(join(directory, 'issuing.crl'), await issueCrl(pki.issuing, { revoked: [{ serial: pki.revokedDoctor.serialHex, reason: 'keyCompromise' }] }));
  await writeFile(join(directory, 'root.crl'), await issueCrl(pki.root, {}));
  return directory;
}

/** Starts a gateway in front of an upstream on `upstreamPort`. */
export async function startGateway(pki: TestPki, upstreamPort: number, parts: GatewayParts = {}): Promise<TestGateway> {
  const directory = await gatewayDirectory(pki);
  const path = (name: string): string => join(directory, name);
  const configure = (yaml: string): Promise<void> => writeFile(path('wardgate.yaml'), yaml);
  await Promise.all(Object.entries(parts.files ?? {}).map(([name, text]) => writeFile(path(name), text, { mode: 0o600 })));
  await configure(configuration(upstreamPort, parts));
  const gateway = await createGateway({ config: path('wardgate.yaml'), ...(parts.log === undefined ? {} : { log: parts.log }) });
  return {
    gateway, directory, path, configure,
    port: gateway.listeners[0]?.port ?? 0,
    records: () => readRecords(path('state/audit')),
    async stop() {
      await gateway.stop(0);
      await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    },
  };
}

/** Every record of an audit directory, the headers of its segments aside; of one that is being written at the moment, what is there is not yet a record. */
export async function readRecords(directory: string): Promise<readonly Record<string, unknown>[]> {
  const texts = segmentNames(directory).map((name) => readSegment(directory, name, textOf) ?? '');
  const lines = texts.flatMap((text) => text.split('\n').slice(0, -1).map((line) => JSON.parse(line) as Record<string, unknown>));
  return lines.filter((line) => line['event'] !== 'segment');
}

function textOf(stretch: Stretch): string {
  const lines: string[] = [];
  readLines(stretch, Buffer.alloc(0), (octets, start, end) => lines.push(octets.toString('utf8', start, end + 1)) > 0);
  return lines.join('');
}

export interface Reply {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly rawHeaders: readonly string[];
  readonly body: Buffer;
  /** The body as JSON. */
  json(): Record<string, unknown>;
}

export type AskOptions = Omit<RequestOptions, 'path'> & { readonly body?: string | Buffer; readonly client?: Issued };

/** Asks the gateway over a connection of its own, as `localhost`, verifying its certificate. */
export function ask(pki: TestPki, port: number, path: string, options: AskOptions = {}): Promise<Reply> {
  const { body, client, ...rest } = options;
  return new Promise((done, failed) => {
    const outgoing = httpsRequest({
      host: '127.0.0.1', port, path, servername: 'localhost', headers: { host: 'localhost', ...(rest.headers as object) }, agent: false, ...identityOf(pki, client, rest), ...without(rest, 'headers'),
    }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', failed);
      response.on('end', () => {
        const whole = Buffer.concat(parts);
        done({ status: response.statusCode ?? 0, headers: response.headers, rawHeaders: response.rawHeaders, body: whole, json: () => JSON.parse(whole.toString()) as Record<string, unknown> });
      });
    });
    outgoing.on('error', failed);
    outgoing.end(body);
  });
}

const contexts = new WeakMap<TestPki, Map<Issued | undefined, SecureContext>>();

/** What a client trusts and shows. Read once for all its connections, unless one of them wants a context of its own: reading it costs as much as a handshake. */
function identityOf(pki: TestPki, client: Issued | undefined, options: object): ConnectionOptions {
  const identity = { ca: pki.root.certificate, ...(client === undefined ? {} : { cert: client.chain, key: client.key }) };
  if (Object.keys(options).some((name) => !OF_A_CONNECTION.has(name))) return identity;
  const known = contexts.get(pki) ?? new Map<Issued | undefined, SecureContext>();
  const context = known.get(client) ?? createSecureContext(identity);
  contexts.set(pki, known.set(client, context));
  return { secureContext: context };
}

/** Options that say nothing of the context. */
const OF_A_CONNECTION: ReadonlySet<string> = new Set(['headers', 'method', 'session', 'servername', 'host', 'localAddress', 'ALPNProtocols', 'timeout', 'signal']);

function without<T extends object>(value: T, key: string): T {
  return Object.fromEntries(Object.entries(value).filter(([name]) => name !== key)) as T;
}

/** A TLS connection to the gateway whose handshake is done. */
export function openTls(pki: TestPki, port: number, options: ConnectionOptions & { client?: Issued; localAddress?: string } = {}): Promise<TLSSocket> {
  const { client, ...rest } = options;
  return new Promise((done, failed) => {
    const socket = connect({
      host: '127.0.0.1', port, servername: 'localhost', ALPNProtocols: ['http/1.1'], ...identityOf(pki, client, rest), ...rest,
    }, () => done(socket));
    // What is written apart leaves apart, and at once: otherwise each write waits until the one before is acknowledged, up to 40 ms.
    socket.setNoDelay(true);
    socket.on('error', failed);
  });
}

/** Sends octets and collects what comes back until the connection ends or `enough` says so. */
export function exchange(socket: Socket, octets: string, enough: (text: string) => boolean = () => false): Promise<string> {
  return new Promise((done) => {
    let text = '';
    const finish = (): void => {
      socket.off('data', take).off('error', finish).off('close', finish);
      done(text);
    };
    const take = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      if (enough(text)) finish();
    };
    socket.on('data', take).on('error', finish).on('close', finish);
    socket.write(octets, 'latin1');
  });
}
