import type { Server } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { EstDesk } from './ca/est/desk.ts';
import { createEstHttp, type Standing } from './ca/est/http.ts';
import type { Log } from './log.ts';
import { readBundle } from './pki/bundle.ts';
import type { Certificate } from './pki/certificate.ts';
import { createPool } from './pki/path.ts';
import { addressGroup, unmapped } from './policy/networks.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Where gateways reach EST, and which of them are believed. */
export interface EstPlace {
  readonly address: Address;
  /** PEM: the server's chain, its key, and the anchors (with intermediates) of the gateways' certificates. */
  readonly certificate: string;
  readonly key: string;
  readonly trust: string;
  /** Certificates that stand between those anchors and gateways, beside those in `trust`; none of them is an anchor. */
  readonly intermediates?: readonly Certificate[];
  /** DNS names or SHA-256 fingerprints of the certificates of gateways that may name devices. */
  readonly gateways: readonly string[];
  /** Files and URLs of the CRLs about these certificates; absent: nothing is heard of what another CA revokes. */
  readonly crls?: readonly string[];
}

const MOST_CERTIFICATES = 100;
const MOST_CONNECTIONS = 1024;

/** Of one address, or /64 of IPv6: whoever holds all that it may have open leaves room for others. */
const MOST_FROM_ONE = 256;
/** For one answer, to those who read slowly or not at all. */
const ANSWER_DEADLINE = 30_000;

/** Times and sizes of servers for strangers, ms and octets. Node looks for what is late every half minute unless told otherwise. */
export const LIMITS = { requestTimeout: 10_000, headersTimeout: 5000, keepAliveTimeout: 15_000, maxHeaderSize: 32 * 1024, connectionsCheckingInterval: 1000 };

/** CAs of gateways: those that sign themselves are anchors, where there are any. Throws a PkiError. */
export function gatewayTrust(trust: string): { readonly anchors: readonly Certificate[]; readonly intermediates: readonly Certificate[] } {
  const all = readBundle(Buffer.from(trust), MOST_CERTIFICATES);
  const roots = all.filter(({ selfIssued }) => selfIssued);
  return { anchors: roots.length > 0 ? roots : all, intermediates: all };
}

/** A server of EST in front of a desk, not yet bound. `standing`: of a gateway's certificate on its path; absent: nobody has taken any back. */
export function estServer({ certificate, key, trust, intermediates: more = [], gateways }: EstPlace, desk: EstDesk, log: Log, now: () => number, standing?: (path: readonly Certificate[]) => Standing): Server {
  const { anchors, intermediates } = gatewayTrust(trust);
  const handler = createEstHttp({
    desk, now, ...(standing === undefined ? {} : { standing }), trust: createPool(anchors, [...intermediates, ...more]), gateways: new Set(gateways.map((one) => one.toLowerCase())),
    said: (facts) => (facts.status < 300 ? log.info(facts, 'est') : log.warn(facts, 'est refused')),
  });
  return createServer({ ...LIMITS, handshakeTimeout: 5000, cert: certificate, key, ca: trust, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2' }, handler).on('tlsClientError', () => undefined);
}

/** Binds; rejects with the system's error. */
export function bind(server: Server, { host, port }: Address): Promise<Address> {
  server.maxConnections = MOST_CONNECTIONS;
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('connection', limitByAddress());
  server.on('request', (_request, response) => {
    const timer = setTimeout(() => response.destroy(), ANSWER_DEADLINE);
    response.once('close', () => clearTimeout(timer));
  });
  return new Promise((done, failed) => {
    server.once('error', failed);
    server.listen({ host, port }, () => {
      server.off('error', failed);
      server.on('error', () => undefined);
      done({ host, port: (server.address() as AddressInfo).port });
    });
  });
}

/** Ends what is beyond the share of an address, or of a network of IPv6, which is what one client has there. */
export function limitByAddress(): (socket: Pick<Socket, 'remoteAddress' | 'destroy' | 'once'>) => void {
  const open = new Map<string, number>();
  return (socket) => {
    const address = addressGroup(unmapped(socket.remoteAddress ?? ''));
    const before = open.get(address) ?? 0;
    if (before >= MOST_FROM_ONE) return void socket.destroy();
    open.set(address, before + 1);
    socket.once('close', () => {
      const left = (open.get(address) ?? 1) - 1;
      if (left === 0) open.delete(address);
      else open.set(address, left);
    });
  };
}

/** Ends what is open, too. */
export function close(server: Server): Promise<void> {
  return new Promise((done) => {
    if (!server.listening) return done();
    server.close(() => done());
    server.closeAllConnections();
  });
}
