import type { X509Certificate } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect as connectTcp, isIP } from 'node:net';
import { checkServerIdentity, connect, getCACertificates, type SecureVersion, type TLSSocket } from 'node:tls';
import { formatAddress } from '../../config/addresses.ts';
import { LOCAL_HEADER } from '../../forward/upstream/proxy-header.ts';
import { parseCertificate, type Certificate } from '../../pki/certificate.ts';
import { outputOf } from './programs.ts';

/** How long any one look may take. */
const PATIENCE_MS = 5_000;

export interface Target {
  readonly host: string;
  readonly port: number;
  /** What is asked for by SNI and expected in the certificate; may be an address. */
  readonly name: string;
  /** A PROXY header has to come first, without an address: who looks speaks for itself. */
  readonly proxied?: boolean;
}

/** What the look may know beside the machine's own CAs. PEM. */
export interface Credentials {
  readonly trust?: string;
  readonly certificate?: string;
  readonly key?: string;
}

/** The addresses of a name, or why there are none. */
export async function addressesOf(name: string): Promise<readonly string[] | Error> {
  if (isIP(name) !== 0) return [name];
  try {
    return await within(lookup(name, { all: true }).then((found) => found.map(({ address }) => address)), 'the look-up');
  } catch (error) {
    return error as Error;
  }
}

/** Undefined when something listens there. */
export async function connectFailure({ host, port }: Pick<Target, 'host' | 'port'>): Promise<Error | undefined> {
  const socket = connectTcp({ host, port });
  try {
    await within(once(socket, 'connect'), 'the connection');
    return undefined;
  } catch (error) {
    return error as Error;
  } finally {
    socket.destroy();
  }
}

/** What a TLS server has shown. */
export interface Shown {
  readonly version: string;
  readonly cipher: string;
  /** Why its certificate does not verify for the name, as OpenSSL or Node calls it; undefined when it does. */
  readonly fault: string | undefined;
  /** The leaf, then what vouches for it as far as it goes. */
  readonly chain: readonly Certificate[];
  /** The OCSP answer that came with it, DER. */
  readonly staple: Buffer | undefined;
}

/** Shakes hands, and tells what was shown; an error when no handshake came about. Nothing is sent or read over the connection. */
export async function handshake(target: Target, credentials: Credentials, version?: SecureVersion): Promise<Shown | Error> {
  const verified = await shake(target, credentials, version, true);
  if (!(verified instanceof Error)) return verified;
  // why: what is wrong with a certificate can only be told when it has been seen. Nothing is trusted for it: the verdict is the first one's.
  const seen = await shake(target, credentials, version, false);
  return seen instanceof Error ? seen : { ...seen, fault: (verified as NodeJS.ErrnoException).code ?? verified.message };
}

const FAULTS: Readonly<Record<string, string>> = {
  ERR_TLS_CERT_ALTNAME_INVALID: 'it is for other names', CERT_HAS_EXPIRED: 'it has ended', CERT_NOT_YET_VALID: 'it is not valid yet',
  SELF_SIGNED_CERT_IN_CHAIN: 'its root is none of those trusted', UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'who issued it is not known', UNABLE_TO_GET_ISSUER_CERT: 'who issued it is not known',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'it came without its intermediates', DEPTH_ZERO_SELF_SIGNED_CERT: 'it vouches for itself',
};

/** What is wrong with a certificate, in words. */
export function faultText(fault: string): string {
  return FAULTS[fault] ?? fault;
}

async function shake(target: Target, { trust, certificate, key }: Credentials, version: SecureVersion | undefined, rejectUnauthorized: boolean): Promise<Shown | Error> {
  let staple: Buffer | undefined;
  const raw = connectTcp({ host: target.host, port: target.port });
  if (target.proxied === true) raw.write(LOCAL_HEADER);
  const socket: TLSSocket = connect({
    socket: raw, ALPNProtocols: ['http/1.1'], requestOCSP: true, rejectUnauthorized,
    ...(isIP(target.name) === 0 ? { servername: target.name } : {}),
    ca: trust === undefined ? [...getCACertificates('default'), ...getCACertificates('system')] : trust,
    ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }),
    // Versions that nobody should take are tried with all that would let them pass.
    ...(version === undefined ? {} : { minVersion: version, maxVersion: version, ...(version === 'TLSv1.1' ? { ciphers: 'DEFAULT:@SECLEVEL=0' } : {}) }),
    checkServerIdentity: (_host, shown) => checkServerIdentity(target.name, shown),
  });
  // What comes after the verdict, or for both sockets, concerns nobody.
  socket.on('error', () => undefined);
  raw.on('error', (error) => socket.destroy(error));
  socket.on('OCSPResponse', (answer: Buffer | null) => {
    staple = answer ?? undefined;
  });
  try {
    await within(once(socket, 'secureConnect'), 'the handshake');
    return { version: socket.getProtocol() ?? 'unknown', cipher: socket.getCipher().standardName, staple, chain: chainOf(socket.getPeerX509Certificate()), fault: undefined };
  } catch (error) {
    return error as Error;
  } finally {
    socket.destroy();
    raw.destroy();
  }
}

function chainOf(leaf: X509Certificate | undefined): readonly Certificate[] {
  const chain: Certificate[] = [];
  for (let one = leaf; one !== undefined && chain.length < 10; one = one.issuerCertificate) {
    const read = parseCertificate(one.raw);
    if (chain.some(({ sha256 }) => sha256 === read.sha256)) break;
    chain.push(read);
  }
  return chain;
}

/** The CAs whose certificates a server asks for; undefined when there is no openssl on this machine to ask with. */
export async function acceptedAuthorities({ host, port, name }: Target): Promise<readonly string[] | undefined> {
  const text = await outputOf('openssl', ['s_client', '-connect', formatAddress({ host, port }), ...(isIP(name) === 0 ? ['-servername', name] : [])], true);
  if (text === undefined) return undefined;
  const [, list] = /^Acceptable client certificate CA names\n((?:(?!Requested|Shared|Peer|Client|Server|---).+\n)*)/m.exec(text) ?? [];
  return list === undefined ? [] : list.trim().split('\n');
}

/** Rejects when it takes too long. */
export async function within<T>(promise: Promise<T>, what: string, patience = PATIENCE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, failed) => {
    timer = setTimeout(() => failed(new Error(`${what} took longer than ${patience / 1_000} s`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
