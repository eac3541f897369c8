import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createEstDesk } from './ca/est/desk.ts';
import { createEstHttp } from './ca/est/http.ts';
import { createCrlDesk } from './ca/publish/crl-desk.ts';
import { createPublication } from './ca/publish/http.ts';
import { createOcspDesk } from './ca/publish/ocsp-desk.ts';
import type { Office } from './ca/office.ts';
import type { Log } from './log.ts';
import { readBundle } from './pki/bundle.ts';
import { createPool } from './pki/path.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface CaServerOptions {
  /** Opened with its passphrase; `stop` does not close it. */
  readonly office: Office;
  /** Plain HTTP: CRLs, OCSP, certificates. */
  readonly publish: Address;
  /** EST over TLS, for gateways. */
  readonly est?: EstOptions;
  /** A new CRL at least so often, ms; default a day. */
  readonly crlEvery?: number;
  /** How long an OCSP answer holds, ms; default an hour. */
  readonly ocspValidity?: number;
  readonly log: Log;
  /** ms since the epoch; default the clock. */
  readonly now?: () => number;
}

export interface EstOptions {
  readonly address: Address;
  /** PEM: the server's chain, its key, and the anchors (with intermediates) of the gateways' certificates. */
  readonly certificate: string;
  readonly key: string;
  readonly trust: string;
  /** DNS names or SHA-256 fingerprints of the certificates of gateways that may name devices. */
  readonly gateways: readonly string[];
  /** What may be left of a certificate's lifetime when it is renewed; default a third. */
  readonly window?: number;
}

export interface CaServer {
  readonly publish: Address;
  readonly est?: Address;
  stop(): Promise<void>;
}

const DAY = 86_400_000;
/** A revocation is on the CRL within this and the time that signing takes. */
const LOOK = 1000;
const RESPONDER_VALIDITY = 7 * DAY;
const LIVE_RATE = 200;
const MOST_CERTIFICATES = 100;
const LIMITS = { requestTimeout: 10_000, headersTimeout: 5000, keepAliveTimeout: 15_000, maxHeaderSize: 32 * 1024 };
const MOST_CONNECTIONS = 1024;

/**
 * Serves what a CA publishes, and EST to gateways, from a process that holds the issuing key so that no gateway has to. Rejects when something cannot be bound or
 * signed; from then on what fails is logged and tried again, and what was signed goes on being served until it ends.
 */
export async function startCaServer(options: CaServerOptions): Promise<CaServer> {
  const { office, log, now = () => Date.now() } = options;
  const crl = createCrlDesk({ source: office, now, every: options.crlEvery ?? DAY });
  const ocsp = createOcspDesk({ source: office, now, validity: options.ocspValidity ?? 3_600_000, responderValidity: RESPONDER_VALIDITY, liveRate: LIVE_RATE });
  const look = async (): Promise<void> => {
    const lists = await crl.refresh();
    const answers = await ocsp.refresh();
    if (lists + answers > 0) log.info({ crls: lists, ocsp_answers: answers }, 'signed');
  };
  await look();

  const publication = createPublication({ source: office, crl, ocsp, now, at: office.policy.publish, rootCrl: () => fileOf(join(office.directory, 'root.crl')) });
  const servers: Server[] = [];
  try {
    const published = createServer(LIMITS, publication);
    servers.push(published);
    const publishedAt = await bind(published, options.publish);
    const estServer = options.est === undefined ? undefined : estOf(options.est, office, log, now);
    if (estServer !== undefined) servers.push(estServer);
    const estAt = estServer === undefined || options.est === undefined ? undefined : await bind(estServer, options.est.address);
    const stopLooking = every(LOOK, look, log);
    return {
      publish: publishedAt, ...(estAt === undefined ? {} : { est: estAt }),
      async stop() {
        await Promise.all([stopLooking(), ...servers.map(close)]);
      },
    };
  } catch (error) {
    await Promise.all(servers.map(close));
    throw error;
  }
}

function estOf({ certificate, key, trust, gateways, window = 1 / 3 }: EstOptions, office: Office, log: Log, now: () => number): Server {
  const desk = createEstDesk({ source: office, now, window, perHour: 10 });
  const anchors = readBundle(Buffer.from(trust), MOST_CERTIFICATES);
  const roots = anchors.filter(({ selfIssued }) => selfIssued);
  const handler = createEstHttp({
    desk, now, trust: createPool(roots.length > 0 ? roots : anchors, anchors), gateways: new Set(gateways.map((one) => one.toLowerCase())),
    said: (facts) => (facts.status < 300 ? log.info(facts, 'est') : log.warn(facts, 'est refused')),
  });
  return createTlsServer({ ...LIMITS, handshakeTimeout: 5000, cert: certificate, key, ca: trust, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2' }, handler).on('tlsClientError', () => undefined);
}

/** Runs `work` again and again, never twice at a time; what it throws is logged once until it changes. Returns how to end it. */
function every(ms: number, work: () => Promise<void>, log: Log): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  let busy = false;
  let said = '';
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    running = work().then(() => {
      said = '';
    }, (error: Error) => {
      if (error.message !== said) log.error({ error: error.message }, 'cannot sign what is published; what was signed is served until it ends');
      said = error.message;
    }).finally(() => {
      busy = false;
    });
  }, ms);
  return () => {
    clearInterval(timer);
    return running;
  };
}

function bind(server: Server, { host, port }: Address): Promise<Address> {
  server.maxConnections = MOST_CONNECTIONS;
  server.on('clientError', (_error, socket) => socket.destroy());
  return new Promise((done, failed) => {
    server.once('error', failed);
    server.listen({ host, port }, () => {
      server.off('error', failed);
      server.on('error', () => undefined);
      done({ host, port: (server.address() as AddressInfo).port });
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((done) => {
    if (!server.listening) return done();
    server.close(() => done());
    server.closeAllConnections();
  });
}

function fileOf(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}
