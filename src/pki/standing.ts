import type { Certificate } from './certificate.ts';
import { PkiError, readAll, readSingle, TAG } from './der.ts';
import { formatName } from './name.ts';
import { createPool, validatePath, type CertificatePool } from './path.ts';

/** How a certificate of our own stands: the first kind may be shown to clients, the others give way to one that may, the least bad last. */
export const CERTIFICATE_STATES = ['usable', 'no_staple', 'unverified', 'not_yet_valid', 'expired', 'revoked'] as const;

export type CertificateState = (typeof CERTIFICATE_STATES)[number];

export interface Standing {
  readonly state: CertificateState;
  /** Why it is not usable; empty when it is. */
  readonly detail: string;
}

export interface StandingOptions {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** How far a CA's clock may be ahead of ours, in ms. */
  readonly skew: number;
  /** How long before its end it counts as over, in ms: another has to be in place by then. Default 0. */
  readonly ahead?: number;
  /** What clients verify it to; none: it is followed as far as its own file goes. */
  readonly roots: readonly Certificate[];
  /** Why a certificate counts as revoked, undefined when nobody says so; the issuer is absent where it is not known. */
  readonly revoked: (certificate: Certificate, issuer: Certificate | undefined) => string | undefined;
  /** Whether there is an OCSP answer to show with it. */
  readonly stapled: boolean;
}

const TLS_FEATURE = '1.3.6.1.5.5.7.1.24';
const STATUS_REQUEST = 5;
const USABLE: Standing = { state: 'usable', detail: '' };

/** How the certificate stands that `chain` begins with; what follows are its intermediates as they are sent. */
export function standingOf(chain: readonly [Certificate, ...Certificate[]], { now, skew, ahead = 0, roots, revoked, stapled }: StandingOptions): Standing {
  const [leaf, ...rest] = chain;
  for (const { certificate, issuer } of linksOf(leaf, rest, roots)) {
    const detail = revoked(certificate, issuer);
    if (detail !== undefined) return { state: 'revoked', detail: certificate === leaf ? detail : `${formatName(certificate.subject)}: ${detail}` };
  }
  // The period includes its last second (RFC 5280 section 4.1.2.5).
  if (now + ahead >= leaf.notAfter + 1000) return { state: 'expired', detail: `its time is over at ${new Date(leaf.notAfter).toISOString()}` };
  if (now < leaf.notBefore - skew) return { state: 'not_yet_valid', detail: `valid from ${new Date(leaf.notBefore).toISOString()}` };
  const verdict = validatePath(leaf, poolOf(chain, roots), { now: now + ahead, skew, purpose: 'server', serials: 'any' });
  if (verdict.kind === 'invalid') return { state: 'unverified', detail: verdict.detail };
  if (mustStaple(leaf) && !stapled) return { state: 'no_staple', detail: 'it demands an OCSP answer (RFC 7633), and there is none to show' };
  return USABLE;
}

const pools = new WeakMap<readonly Certificate[], { readonly roots: readonly Certificate[]; readonly pool: CertificatePool }>();

/** The same for the same chain and roots: standings are looked at again and again, and a pool remembers the signatures among its members, the leaf's with them. */
function poolOf(chain: readonly [Certificate, ...Certificate[]], roots: readonly Certificate[]): CertificatePool {
  const known = pools.get(chain);
  if (known?.roots === roots) return known.pool;
  const [leaf, ...rest] = chain;
  const pool = createPool(roots.length > 0 ? roots : topsOf(leaf, rest), chain);
  pools.set(chain, { roots, pool });
  return pool;
}

/** Who issued the certificate: of its file, or of the roots. */
export function issuerIn(certificate: Certificate, others: readonly Certificate[]): Certificate | undefined {
  return others.find(({ subject, sha256 }) => subject.normalized === certificate.issuer.normalized && sha256 !== certificate.sha256);
}

/** Whether clients that know RFC 7633 refuse the certificate without an OCSP answer. */
export function mustStaple({ extensions }: Certificate): boolean {
  const extension = extensions.find(({ oid }) => oid === TLS_FEATURE);
  if (extension === undefined) return false;
  try {
    const features = readAll(readSingle(extension.value, TAG.sequence, 'TLS features').content, 'TLS features');
    return features.some(({ content }) => content.length === 1 && content[0] === STATUS_REQUEST);
  } catch (error) {
    if (error instanceof PkiError) return false;
    throw error;
  }
}

/** The leaf and its issuers by name, whatever else is wrong with them: revoked is revoked. A root is trusted for itself. */
function* linksOf(leaf: Certificate, rest: readonly Certificate[], roots: readonly Certificate[]): Generator<{ readonly certificate: Certificate; readonly issuer: Certificate | undefined }> {
  const seen = new Set<string>();
  for (let at: Certificate | undefined = leaf; at !== undefined && !roots.includes(at); ) {
    seen.add(at.sha256);
    const issuer = issuerIn(at, [...rest, ...roots].filter(({ sha256 }) => !seen.has(sha256)));
    yield { certificate: at, issuer };
    at = issuer;
  }
}

/** Where what is in a file ends: a certificate alone, or the highest of those that follow it. */
function topsOf(leaf: Certificate, rest: readonly Certificate[]): readonly Certificate[] {
  return rest.length === 0 ? [leaf] : rest.filter((certificate) => issuerIn(certificate, rest) === undefined);
}
