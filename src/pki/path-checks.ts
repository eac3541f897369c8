import { keyRefusal } from './algorithms.ts';
import type { AlgorithmProfile } from './algorithms.ts';
import type { Certificate, KeyUsage } from './certificate.ts';
import { PkiError } from './der.ts';
import { EXTENSION } from './extensions.ts';
import { formatName } from './name.ts';
import { nameConstraintFault } from './name-constraints.ts';
import { processPolicies } from './policy-graph.ts';
import type { PolicyInputs } from './policy-graph.ts';

export type Purpose = 'client' | 'server' | 'any' | 'ocsp-delegate';

export type PathReason = 'untrusted_issuer' | 'expired' | 'not_yet_valid' | 'signature_invalid' | 'constraint_violated' | 'eku_invalid' | 'policy_missing';

export interface PathFault {
  readonly reason: PathReason;
  readonly detail: string;
}

interface CheckOptions {
  readonly now: number;
  readonly skew?: number;
  readonly purpose: Purpose;
  readonly keyUsage?: KeyUsage;
  readonly algorithms: AlgorithmProfile;
  readonly policies?: PolicyInputs;
  readonly serials?: 'positive' | 'any';
}

export type PathOutcome = { readonly kind: 'valid'; readonly validUntil: number; readonly policies: readonly string[] } | ({ readonly kind: 'invalid' } & PathFault);

type Path = readonly Certificate[];

/** What RFC 5280 section 6.1 asks of a path (leaf first, anchor last) whose names chain and whose signatures hold. */
export function checkPath(path: Path, options: CheckOptions): PathOutcome {
  const fault =
    timeFault(path, options) ??
    constraint(extensionFault(path) ?? certificateFormFault(path, options) ?? keyFault(path, options.algorithms)) ??
    constraint(authorityFault(path) ?? pathLengthFault(path) ?? nameConstraintFault(path)) ??
    usageFault(path, options);
  if (fault !== undefined) return { kind: 'invalid', ...fault };
  const policy = processPolicies(path, options.policies ?? {});
  if (policy.kind === 'missing') return { kind: 'invalid', reason: 'policy_missing', detail: policy.detail };
  return { kind: 'valid', validUntil: Math.min(...path.map(endOf)), policies: policy.policies };
}

function constraint(detail: string | undefined): PathFault | undefined {
  return detail === undefined ? undefined : { reason: 'constraint_violated', detail };
}

// notAfter is the last second of the period, and the period includes it (section 4.1.2.5).
function endOf({ notAfter }: Certificate): number {
  return notAfter + 1000;
}

function timeFault(path: Path, { now, skew = 0 }: CheckOptions): PathFault | undefined {
  for (const certificate of path) {
    if (now >= endOf(certificate)) return { reason: 'expired', detail: `${formatName(certificate.subject)} expired at ${isoTime(certificate.notAfter)}` };
    if (now < certificate.notBefore - skew) {
      return { reason: 'not_yet_valid', detail: `${formatName(certificate.subject)} is valid from ${isoTime(certificate.notBefore)}` };
    }
  }
  return undefined;
}

function isoTime(at: number): string {
  return new Date(at).toISOString();
}

function extensionFault(path: Path): string | undefined {
  for (const certificate of path) {
    const { subject, unknownCriticalExtensions } = certificate;
    if (unknownCriticalExtensions.length > 0) return `${formatName(subject)}: critical extension not processed: ${unknownCriticalExtensions.join(', ')}`;
    if (isNamedLoosely(certificate)) return `${formatName(subject)}: no subject, and alternative names that may be skipped`;
  }
  return undefined;
}

/**
 * Section 4.2.1.6: where the subject is empty the alternative names are critical, or other readers see nobody. That other
 * extensions are critical is asked of issuers only: PKITS 4.8.6 wants constraints that are not accepted, and processed.
 */
function isNamedLoosely({ subject, extensions }: Certificate): boolean {
  return subject.rdns.length === 0 && extensions.some(({ oid, critical }) => oid === EXTENSION.subjectAltName && !critical);
}

// An anchor is believed for its name and key; its serial number identifies nothing.
function certificateFormFault(path: Path, { serials = 'positive' }: CheckOptions): string | undefined {
  for (const { serial, issuer, subject } of path.slice(0, Math.max(1, path.length - 1))) {
    if (issuer.rdns.length === 0) return `${formatName(subject)}: no issuer name`;
    if (serials === 'positive' && !/^(?!00$)[0-9a-f]{2,40}$/.test(serial)) return `${formatName(subject)}: serial number ${serial}`;
  }
  return undefined;
}

function keyFault(path: Path, algorithms: AlgorithmProfile): string | undefined {
  for (const { spki, subject } of path) {
    const refusal = readKeyRefusal(spki, algorithms);
    if (refusal !== undefined) return `${formatName(subject)}: ${refusal}`;
  }
  return undefined;
}

function readKeyRefusal(spki: Uint8Array, algorithms: AlgorithmProfile): string | undefined {
  try {
    return keyRefusal(spki, algorithms);
  } catch (error) {
    if (error instanceof PkiError) return error.message;
    throw error;
  }
}

// Section 6.1.4 k and n, and what section 4.2.1.9 and 4.2.1.10 forbid to others than CAs.
function authorityFault(path: Path): string | undefined {
  const [leaf, ...issuers] = path as readonly [Certificate, ...Certificate[]];
  for (const issuer of issuers) {
    const fault = issuerFault(issuer, issuer === path[path.length - 1]);
    if (fault !== undefined) return `${formatName(issuer.subject)}: ${fault}`;
  }
  if (leaf.basicConstraints?.ca === true) return undefined;
  if (leaf.nameConstraints !== undefined) return `${formatName(leaf.subject)}: name constraints in a certificate that is not a CA's`;
  return leaf.keyUsage?.has('keyCertSign') === true ? `${formatName(leaf.subject)}: keyCertSign in a certificate that is not a CA's` : undefined;
}

function issuerFault(issuer: Certificate, isAnchor: boolean): string | undefined {
  if (issuer.subject.rdns.length === 0) return 'a CA without a name';
  // Section 6.1.4 k leaves other ways to know a CA of version 1 or 2: being configured as a self-signed anchor is ours.
  const outOfBand = isAnchor && issuer.version < 3 && issuer.selfIssued;
  if (issuer.basicConstraints?.ca !== true && !outOfBand) return 'not a CA';
  return issuer.keyUsage !== undefined && !issuer.keyUsage.has('keyCertSign') ? 'key usage does not allow it to sign certificates' : undefined;
}

// Section 6.1.4 l and m; the anchor's own limit counts (RFC 5937 section 3.2).
function pathLengthFault(path: Path): string | undefined {
  let left = Number.POSITIVE_INFINITY;
  for (let index = path.length - 1; index > 0; index -= 1) {
    const issuer = path[index] as Certificate;
    if (index < path.length - 1 && !issuer.selfIssued) {
      if (left <= 0) return `${formatName(issuer.subject)}: path length constraint of a CA above allows no CA here`;
      left -= 1;
    }
    left = Math.min(left, issuer.basicConstraints?.pathLen ?? left);
  }
  return undefined;
}

const PURPOSES: Readonly<Record<Exclude<Purpose, 'any'>, { readonly oid: string; readonly keyUsages: readonly KeyUsage[] }>> = {
  // TLS 1.3 wants digitalSignature of whoever authenticates (RFC 8446 section 4.4.2.2), as do the TLS 1.2 suites we offer.
  client: { oid: '1.3.6.1.5.5.7.3.2', keyUsages: ['digitalSignature'] },
  server: { oid: '1.3.6.1.5.5.7.3.1', keyUsages: ['digitalSignature', 'keyEncipherment', 'keyAgreement'] },
  'ocsp-delegate': { oid: '1.3.6.1.5.5.7.3.9', keyUsages: ['digitalSignature', 'contentCommitment'] },
};

const ANY_EXTENDED_KEY_USAGE = '2.5.29.37.0';

function usageFault(path: Path, { purpose, keyUsage }: CheckOptions): PathFault | undefined {
  const [leaf, ...issuers] = path as readonly [Certificate, ...Certificate[]];
  if (keyUsage !== undefined && leaf.keyUsage?.has(keyUsage) === false) return constraint(`${formatName(leaf.subject)}: key usage lacks ${keyUsage}`);
  if (purpose === 'any') return undefined;
  const { oid, keyUsages } = PURPOSES[purpose];
  if (leaf.keyUsage !== undefined && !keyUsages.some((usage) => leaf.keyUsage?.has(usage))) {
    return constraint(`${formatName(leaf.subject)}: key usage has none of ${keyUsages.join(', ')}`);
  }
  if (!leafMayServe(leaf, purpose, oid)) return { reason: 'eku_invalid', detail: `${formatName(leaf.subject)}: extended key usage lacks ${oid}` };
  // A CA that is limited to some purposes lends them only; a responder is the CA's own voice and needs no such permission.
  const limited = purpose === 'ocsp-delegate' ? undefined : issuers.find(({ extendedKeyUsage: allowed }) => allowed !== undefined && !allowed.includes(oid) && !allowed.includes(ANY_EXTENDED_KEY_USAGE));
  return limited === undefined ? undefined : { reason: 'eku_invalid', detail: `${formatName(limited.subject)}: extended key usage of this CA lacks ${oid}` };
}

/** No extension is no limit, but for responders, who must be named as such; anyExtendedKeyUsage alone names no purpose. */
function leafMayServe({ extendedKeyUsage }: Certificate, purpose: Purpose, oid: string): boolean {
  return extendedKeyUsage === undefined ? purpose !== 'ocsp-delegate' : extendedKeyUsage.includes(oid);
}

