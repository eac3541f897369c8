import type { AlgorithmReference } from '../pki/algorithms.ts';
import type { Certificate } from '../pki/certificate.ts';
import type { IssuingDistributionPoint } from '../pki/crl.ts';
import type { CrlIndex } from './crl-index.ts';

/**
 * A CRL that was read: what it speaks about, who signed it, and its entries in shared memory. Structured-cloneable, and
 * cheap to post. Times are milliseconds since the epoch.
 */
export interface CrlHandle {
  /** Where it came from: a file's path or a URL. */
  readonly source: string;
  /** Of its DER, lowercase hex. */
  readonly sha256: string;
  /** RFC 4514 text of its issuer. */
  readonly issuer: string;
  /** `Name.normalized` of its issuer. */
  readonly issuerName: string;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly crlNumber?: bigint;
  /** Present on a delta CRL: the number of the complete CRL that it adds to. */
  readonly baseCrlNumber?: bigint;
  readonly authorityKeyId?: string;
  readonly scope?: IssuingDistributionPoint;
  /** `Name.normalized` of the issuers of its entries; an entry's issuer number is a position in it. */
  readonly entryIssuers: readonly string[];
  readonly index: CrlIndex;
  readonly proof: CrlProof;
}

/** How we know who signed a CRL. */
export type CrlProof =
  | {
      readonly kind: 'verified';
      /** SHA-256 of the SubjectPublicKeyInfo that verified it, lowercase hex. */
      readonly key: string;
      /** Paths, each to a trust anchor, of certificates for that key under the name of the CRL's issuer. */
      readonly signers: readonly CrlSigner[];
    }
  | {
      /** No certificate of its issuer is known yet: an intermediate that a handshake brings may verify it. */
      readonly kind: 'unverified';
      readonly tbs: Uint8Array<SharedArrayBuffer>;
      readonly algorithm: AlgorithmReference;
      readonly signature: Uint8Array;
      /** One octet: not 0 once a certificate that a client brought has verified it, on any thread. */
      readonly late: Uint8Array<SharedArrayBuffer>;
    };

export interface CrlSigner {
  /** The signer's certificate first, the anchor last. */
  readonly path: readonly Certificate[];
  readonly validUntil: number;
}

/** Of the CRLs with the same issuer, scope and signing key only the newest counts. */
export function newestOfEach(handles: readonly CrlHandle[]): readonly CrlHandle[] {
  const newest = new Map<string, CrlHandle>();
  for (const handle of handles) {
    const kind = crlKind(handle);
    const known = newest.get(kind);
    if (known === undefined || isNewer(handle, known)) newest.set(kind, handle);
  }
  return [...newest.values()];
}

/** Equal for two CRLs of which the newer replaces the older. An unverified one could be anybody's, and replaces nothing. */
export function crlKind(handle: CrlHandle): string {
  const signer = handle.proof.kind === 'verified' ? handle.proof.key : handle.sha256;
  const scope = handle.scope === undefined ? '' : Buffer.from(handle.scope.der).toString('hex');
  return JSON.stringify([handle.issuerName, signer, scope, handle.baseCrlNumber !== undefined]);
}

type Dated = Pick<CrlHandle, 'crlNumber' | 'thisUpdate'>;

/** Whether a CRL is newer than another of its kind: by number (RFC 5280 section 5.2.3), else by date. */
export function isNewer(crl: Dated, than: Dated): boolean {
  if (crl.crlNumber !== undefined && than.crlNumber !== undefined && crl.crlNumber !== than.crlNumber) {
    return crl.crlNumber > than.crlNumber;
  }
  return crl.thisUpdate > than.thisUpdate;
}

/** Whether anybody is known who signed it, be it by a client that brought the certificate. */
export function isProven({ proof }: CrlHandle): boolean {
  return proof.kind === 'verified' || proof.late[0] !== 0;
}

/** Whether a CA that is known signed it. */
export function isVerified({ proof }: CrlHandle): boolean {
  return proof.kind === 'verified';
}

/** Of one source. */
const MAX_OTHERS = 64;

/**
 * What a source gave before that is no earlier form of what it gives now. It stays: whoever is in the way of a download must not have a CRL
 * forgotten by laying another CA's in its place.
 */
export function othersOf(before: readonly CrlHandle[], now: readonly CrlHandle[]): readonly CrlHandle[] {
  const kinds = new Set(now.map(crlKind));
  return before.filter((handle) => isVerified(handle) && !kinds.has(crlKind(handle))).slice(0, MAX_OTHERS);
}
