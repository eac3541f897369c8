import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { X509Certificate } from 'node:crypto';
import { unmapped } from '../policy/networks.ts';
import type { Admission, Alarm, Reason, RequestFacts } from '../policy/facts.ts';
import type { AdmissionOffice, Peer } from './admission.ts';
import type { Places } from './door.ts';

/** One TLS connection of a client, from the end of its handshake to its close. */
export interface Connection {
  readonly socket: TLSSocket;
  readonly listener: string;
  readonly address: string;
  readonly port: number;
  /** Lower-case server name of the handshake; undefined without SNI, and on a resumed TLS 1.2 session, which shows none. */
  readonly serverName: string | undefined;
  readonly tls: string;
  /** IANA name of the cipher suite. */
  readonly cipher: string;
  readonly resumed: boolean;
  readonly peer: Peer;
  readonly places: Places;
  /** Admissions by realm: a connection without SNI may serve names of several. */
  readonly admissions: Map<string, Admission>;
  /** What was let in and is under way: a request, or on HTTP/2 several. */
  readonly underWay: Set<RequestFacts>;
  /** Routes on which something was let in. */
  readonly routes: Set<string>;
  /** Set while the connection is a stream (WebSocket): what it was let in for, judged again whenever something changed. */
  stream?: RequestFacts;
  /** When the first of the sessions and tokens ends that streams of it were let in on, in ms since the epoch. */
  rightsUntil?: number;
  /** Set once something was let in on a session, which may end before its time. */
  onSession?: true;
  /** Set once it has brought requests of others, as a front does. */
  front?: true;
  /** Ends the connection for a cause: set by a protocol that puts the end on its own record. */
  ending?: (cause: { readonly reason: Reason; readonly detail: string; readonly alarm?: Alarm }) => void;
  /** Set when what is under way on it has to be judged again although its admissions stand: a request has taken one anew. */
  unjudged?: boolean;
  /** Requests that it has brought, as far as they count against a limit. */
  requests: number;
  /** Ends it so that its client sees an error and no end of anything (a TCP reset). */
  reset(): void;
}

/** Where a client comes from. */
export interface ClientAddress {
  readonly address: string;
  readonly port: number;
}

/** What is known of a connection before its handshake. */
export interface Arrived {
  readonly listener: string;
  readonly places: Places;
  /** The TCP connection below. */
  readonly transport: Socket;
  /** The client's, where a balancer in front has said it. */
  readonly from?: ClientAddress;
}

/** Wraps a socket whose handshake has ended. */
export function openConnection(socket: TLSSocket, { listener, places, transport, from = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 } }: Arrived): Connection {
  // No leaf, no identity: what the socket says of `authorized` is not looked at, it has been true without a certificate.
  const leaf = socket.getPeerX509Certificate();
  return {
    socket,
    listener,
    address: unmapped(from.address),
    port: from.port,
    serverName: typeof socket.servername === 'string' && socket.servername !== '' ? socket.servername.toLowerCase() : undefined,
    tls: socket.getProtocol() ?? 'unknown',
    cipher: socket.getCipher()?.standardName ?? 'unknown',
    resumed: socket.isSessionReused(),
    peer: { leaf: leaf?.raw, fault: faultOf(socket), intermediates: () => chainAbove(leaf) },
    places,
    admissions: new Map(),
    underWay: new Set(),
    routes: new Set(),
    requests: 0,
    reset() {
      // In this order: the reset is the last thing that happens to the connection, and both know that it is over.
      transport.resetAndDestroy();
      socket.destroy();
    },
  };
}

/** What of OpenSSL's verdict counts against a certificate whatever we find: it read or computed something that we did not. */
const FAULTS = new Set([
  'CERT_SIGNATURE_FAILURE', 'UNABLE_TO_DECRYPT_CERT_SIGNATURE', 'UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY', 'ERROR_IN_CERT_NOT_BEFORE_FIELD', 'ERROR_IN_CERT_NOT_AFTER_FIELD',
]);

function faultOf(socket: TLSSocket): string | undefined {
  const verdict = String(socket.authorizationError);
  return FAULTS.has(verdict) ? verdict : undefined;
}

/** A hostile chain may be long: more than this is not a path. */
const MOST_INTERMEDIATES = 10;

function chainAbove(leaf: X509Certificate | undefined): readonly Uint8Array[] {
  const ders: Uint8Array[] = [];
  for (let next = leaf?.issuerCertificate; next !== undefined && ders.length < MOST_INTERMEDIATES; next = next.issuerCertificate) {
    if (ders.some((der) => Buffer.compare(der, next?.raw as Uint8Array) === 0)) break;
    ders.push(next.raw);
  }
  return ders;
}

/**
 * The admission of a connection under a name, taken again when it no longer stands: the epoch has moved, or its time is up.
 * A promise only when a responder must be asked.
 */
export function currentAdmission(connection: Connection, office: AdmissionOffice, name: string): Admission | Promise<Admission> {
  const realm = office.realmOf(name);
  const held = connection.admissions.get(realm);
  if (held !== undefined && office.stands(held)) return held;
  const taken = office.admit(connection.peer, name);
  if (held !== undefined) connection.unjudged = true;
  if (!(taken instanceof Promise)) {
    connection.admissions.set(realm, taken);
    return taken;
  }
  return taken.then(async (admission) => {
    // A revocation may have come while the responder was asked: then the answer is older than what we know by now.
    const latest = office.stands(admission) ? admission : await office.admit(connection.peer, name);
    connection.admissions.set(realm, latest);
    return latest;
  });
}
