import { DEFAULT_ALGORITHMS } from '../pki/algorithms.ts';
import type { AlgorithmProfile } from '../pki/algorithms.ts';
import type { Certificate } from '../pki/certificate.ts';
import { directoryKey, distributionPointKeys, generalNameKey, serialOctets } from '../pki/crl.ts';
import type { IssuingDistributionPoint } from '../pki/crl.ts';
import type { DistributionPoint } from '../pki/extensions.ts';
import { formatName } from '../pki/name.ts';
import { verifySignature } from '../pki/signature.ts';
import { newestOfEach, type CrlHandle, type CrlSigner } from './crl-handle.ts';
import { lookupCrl } from './crl-index.ts';
import type { CrlHit } from './crl-index.ts';
import { certificatesToCheck, revocationReason } from './status.ts';
import type { RevokedStatement, Statement } from './status.ts';

export interface CrlOptions {
  /** Difference allowed between our clock and the CA's, in milliseconds. */
  readonly skew: number;
  /**
   * The anchor of the path that the certificate is on. Without it only CRLs signed with the issuer's own key count; with it
   * also those of a separate CRL issuer below the same anchor (RFC 5280 section 6.3.3 (f)).
   */
  readonly anchor?: Certificate;
  /** chain (default): a separate CRL issuer must itself be known good; leaf: it must not be known revoked. */
  readonly check?: 'leaf' | 'chain';
  /** Default `DEFAULT_ALGORITHMS`. */
  readonly algorithms?: AlgorithmProfile;
}

/**
 * What the CRLs at hand say about one certificate, by RFC 5280 section 6.3.3: distribution points and partitions, reasons,
 * indirect and delta CRLs. Good only when CRLs in force cover every reason and none lists it; revoked as soon as one does,
 * even one past its nextUpdate, since what is revoked stays so. `issuer` is the next certificate of the validated path.
 */
export function crlStatement(
  handles: readonly CrlHandle[],
  certificate: Certificate,
  issuer: Certificate,
  now: number,
  options: CrlOptions,
): Statement {
  return judge({ handles, now, options, trail: [] }, certificate, issuer);
}

interface Inquiry {
  readonly handles: readonly CrlHandle[];
  readonly now: number;
  readonly options: CrlOptions;
  /** SHA-256 of the CRL issuers' certificates whose status is being found out: a CRL may cover its own signer. */
  readonly trail: readonly string[];
}

// Bits 1 to 8 of ReasonFlags; bit 0 is unused (RFC 5280 section 4.2.1.13).
const ALL_REASONS = 0b1_1111_1110;
const REMOVE_FROM_CRL = 8;
const HOLD = 6;
const MAX_TRAIL = 8;

function judge(inquiry: Inquiry, certificate: Certificate, issuer: Certificate): Statement {
  const { now, options } = inquiry;
  const serial = serialOctets(certificate.serial);
  const problems: string[] = [];
  const inForce: Window[] = [];
  const expired: Window[] = [];
  let covered = 0;
  let coveredOnce = 0;
  let onHoldOnce: RevokedStatement | undefined;
  for (const { crl, reasons } of applicable(inquiry.handles, certificate)) {
    const refusal = refuseSigner(inquiry, crl, issuer);
    if (refusal !== undefined) {
      problems.push(`${describe(crl)}: ${refusal}`);
      continue;
    }
    if (crl.thisUpdate > now + options.skew) {
      problems.push(`${describe(crl)}: thisUpdate is in the future`);
      continue;
    }
    const { hit, by, window, current } = consult(inquiry, crl, certificate, serial);
    if (hit !== undefined) {
      const statement = revokedBy(by, hit, certificate, now, current);
      if (statement.provisional !== true) return statement;
      onHoldOnce ??= statement;
    }
    coveredOnce |= reasons;
    if (current) {
      covered |= reasons;
      inForce.push(window);
    } else {
      expired.push(window);
      problems.push(`${describe(by)}: expired ${isoTime(window.nextUpdate)}`);
    }
  }
  if (onHoldOnce !== undefined) return onHoldOnce;
  const said = { source: 'crl', at: now } as const;
  if (covered === ALL_REASONS) {
    const nextUpdate = Math.min(...inForce.map((window) => window.nextUpdate));
    return {
      ...said, kind: 'good', thisUpdate: Math.min(...inForce.map((window) => window.thisUpdate)), nextUpdate,
      validUntil: nextUpdate + options.skew, detail: `serial ${certificate.serial} is not on the CRL of its issuer`,
    };
  }
  if (expired.length === 0) {
    const detail = problems.join('; ') || noCrl(inquiry.handles, certificate, covered);
    return { ...said, kind: 'unavailable', reason: 'crl_missing', detail };
  }
  const nextUpdate = Math.min(...expired.map((window) => window.nextUpdate));
  return {
    ...said, kind: 'unavailable', reason: 'crl_expired', detail: problems.join('; '), nextUpdate,
    thisUpdate: Math.min(...expired.map((window) => window.thisUpdate)),
    ...(coveredOnce === ALL_REASONS ? { lastGoodAt: nextUpdate + options.skew } : {}),
  };
}

function noCrl(handles: readonly CrlHandle[], certificate: Certificate, covered: number): string {
  if (covered !== 0) return `the CRLs at hand cover only some reasons for revoking serial ${certificate.serial}`;
  const issuer = formatName(certificate.issuer);
  return handles.some((handle) => handle.issuerName === certificate.issuer.normalized)
    ? `no CRL of ${issuer} has serial ${certificate.serial} in its scope`
    : `no CRL of ${issuer}`;
}

interface Window {
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

/**
 * The complete CRLs that speak about a certificate and the reasons they speak for, the newest of each kind. After the
 * certificate's own distribution points comes the one that RFC 5280 section 6.3.3 supposes for CRLs at hand by other ways.
 */
function applicable(
  handles: readonly CrlHandle[],
  certificate: Certificate,
): readonly { readonly crl: CrlHandle; readonly reasons: number }[] {
  const points: readonly DistributionPoint[] = [
    ...certificate.crlDistributionPoints,
    { name: { kind: 'full', names: [{ kind: 'directory', name: certificate.issuer }] }, crlIssuer: [] },
  ];
  const found = new Map<CrlHandle, number>();
  for (const crl of handles) {
    if (crl.baseCrlNumber !== undefined || !inScope(crl, certificate)) continue;
    const reasons = points
      .filter((point) => matches(crl, point, certificate))
      .reduce((sum, point) => sum | reasonsOf(point), 0);
    if (reasons !== 0) found.set(crl, reasons & (crl.scope?.onlySomeReasons ?? ALL_REASONS));
  }
  return newestOfEach([...found.keys()]).map((crl) => ({ crl, reasons: found.get(crl)! }));
}

function inScope({ scope }: CrlHandle, certificate: Certificate): boolean {
  if (scope === undefined) return true;
  const isCa = certificate.basicConstraints?.ca === true;
  if (scope.onlyContainsAttributeCerts) return false;
  if (scope.onlyContainsUserCerts && isCa) return false;
  return !(scope.onlyContainsCACerts && !isCa);
}

// RFC 5280 section 6.3.3 (b).
function matches(crl: CrlHandle, point: DistributionPoint, certificate: Certificate): boolean {
  const crlIssuers = point.crlIssuer.map(generalNameKey);
  if (crlIssuers.length === 0) {
    if (crl.issuerName !== certificate.issuer.normalized) return false;
  } else if (crl.scope?.indirect !== true || !crlIssuers.includes(directoryKey({ normalized: crl.issuerName }))) {
    return false;
  }
  const wanted = crl.scope?.names;
  if (wanted === undefined) return true;
  const offered = point.name === undefined ? crlIssuers : distributionPointKeys(point.name, crlIssuerOf(point, certificate));
  return wanted.some((name) => offered.includes(name));
}

/** Whose name a relative distribution point name continues (RFC 5280 section 4.2.1.13). */
function crlIssuerOf(point: DistributionPoint, certificate: Certificate): Certificate['issuer'] {
  const directory = point.crlIssuer.find((name) => name.kind === 'directory');
  return directory?.kind === 'directory' ? directory.name : certificate.issuer;
}

function reasonsOf(point: DistributionPoint): number {
  if (point.reasons === undefined) return ALL_REASONS;
  return [...point.reasons].reduce((flags, bit) => flags | (1 << bit), 0) & ALL_REASONS;
}

interface Consulted {
  readonly hit: CrlHit | undefined;
  /** The CRL that the hit, or the window, is from. */
  readonly by: CrlHandle;
  readonly window: Window;
  readonly current: boolean;
}

/** A complete CRL together with its newest delta, if there is one (RFC 5280 sections 5.2.4 and 6.3.3 (c), (h) to (k)). */
function consult({ handles, now, options }: Inquiry, base: CrlHandle, certificate: Certificate, serial: Uint8Array): Consulted {
  const isCurrent = (crl: CrlHandle): boolean => now < crl.nextUpdate + options.skew;
  const inBase = find(base, certificate, serial);
  const delta = newestOfEach(handles.filter((handle) => addsTo(handle, base) && handle.thisUpdate <= now + options.skew))[0];
  if (delta === undefined) return { hit: inBase, by: base, window: base, current: isCurrent(base) };
  const inDelta = find(delta, certificate, serial);
  if (isCurrent(delta)) {
    // The two together are a complete CRL of the delta's date, whatever the base's own nextUpdate.
    const lifted = inDelta?.code === REMOVE_FROM_CRL;
    const hit = lifted ? undefined : inDelta ?? inBase;
    return { hit, by: inDelta === undefined && hit !== undefined ? base : delta, window: delta, current: true };
  }
  const revokedSince = inDelta !== undefined && inDelta.code !== REMOVE_FROM_CRL ? inDelta : undefined;
  return { hit: revokedSince ?? inBase, by: revokedSince === undefined ? base : delta, window: base, current: isCurrent(base) };
}

function addsTo(delta: CrlHandle, base: CrlHandle): boolean {
  return (
    delta.baseCrlNumber !== undefined && base.crlNumber !== undefined && delta.crlNumber !== undefined &&
    delta.baseCrlNumber <= base.crlNumber && base.crlNumber < delta.crlNumber &&
    delta.issuerName === base.issuerName &&
    delta.proof.kind === 'verified' && base.proof.kind === 'verified' && delta.proof.key === base.proof.key &&
    sameScope(delta.scope, base.scope) &&
    (base.authorityKeyId === undefined || base.authorityKeyId === delta.authorityKeyId)
  );
}

function sameScope(a: IssuingDistributionPoint | undefined, b: IssuingDistributionPoint | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.compare(a.der, b.der) === 0;
}

function find(crl: CrlHandle, certificate: Certificate, serial: Uint8Array): CrlHit | undefined {
  const issuer = crl.entryIssuers.indexOf(certificate.issuer.normalized);
  return issuer === -1 ? undefined : lookupCrl(crl.index, serial, issuer);
}

function revokedBy(crl: CrlHandle, hit: CrlHit, certificate: Certificate, now: number, current: boolean): RevokedStatement {
  // removeFromCRL has a meaning in delta CRLs only; a complete CRL that lists a serial revokes it.
  const code = hit.code === REMOVE_FROM_CRL ? 0 : hit.code;
  const reason = revocationReason(code);
  return {
    kind: 'revoked', source: 'crl', reason, revokedAt: hit.at, at: now, thisUpdate: crl.thisUpdate, nextUpdate: crl.nextUpdate,
    detail: `serial ${certificate.serial} revoked ${isoTime(hit.at)} (${reason}) by ${describe(crl)}`,
    ...(current || code !== HOLD ? {} : { provisional: true }),
  };
}

/**
 * Why a CRL cannot be relied on for a certificate of this issuer; undefined when it can: it is signed with the issuer's own
 * key, or by a certificate under the CRL issuer's name that is valid below the same anchor.
 */
function refuseSigner(inquiry: Inquiry, crl: CrlHandle, issuer: Certificate): string | undefined {
  if (crl.issuerName === issuer.subject.normalized && signedWith(crl, issuer, inquiry.options.algorithms ?? DEFAULT_ALGORITHMS)) {
    return maySignCrls(issuer) ? undefined : 'its issuer may not sign CRLs (key usage)';
  }
  if (crl.proof.kind === 'unverified') return 'no known certificate verifies its signature';
  const { anchor } = inquiry.options;
  const signers = crl.proof.signers.filter(({ path, validUntil }) =>
    anchor !== undefined && inquiry.now < validUntil && sameAnchor(path.at(-1), anchor));
  if (signers.length === 0) return 'its signer is not below the same trust anchor';
  const refusals = signers.map((signer) => refuseStatus(inquiry, signer));
  return refusals.includes(undefined) ? undefined : refusals[0];
}

/** Whether a certificate's key usage lets it sign CRLs (RFC 5280 section 4.2.1.3). */
export function maySignCrls(certificate: Certificate): boolean {
  return certificate.keyUsage === undefined || certificate.keyUsage.has('cRLSign');
}

// A renewed anchor is the same anchor: name and key are what path validation starts from (RFC 5280 section 6.1.1 (d)).
function sameAnchor(a: Certificate | undefined, b: Certificate): boolean {
  return a !== undefined && a.spkiSha256 === b.spkiSha256 && a.subject.normalized === b.subject.normalized;
}

const lateProofs = new WeakMap<CrlHandle, Map<string, boolean>>();

/** Whether the issuer's key signed the CRL. A CRL whose signer was not known when it was read is verified here, once a key. */
function signedWith(crl: CrlHandle, issuer: Certificate, algorithms: AlgorithmProfile): boolean {
  if (crl.proof.kind === 'verified') return crl.proof.key === issuer.spkiSha256;
  let verified = lateProofs.get(crl);
  if (verified === undefined) {
    verified = new Map();
    lateProofs.set(crl, verified);
  }
  let known = verified.get(issuer.spkiSha256);
  if (known === undefined) {
    known = verifySignature({ ...crl.proof, spki: issuer.spki }, algorithms).kind === 'valid';
    verified.set(issuer.spkiSha256, known);
    if (known && maySignCrls(issuer)) crl.proof.late[0] = 1;
  }
  return known;
}

/** Why a separate CRL issuer's own certificates cannot be relied on; undefined when none of them is revoked or in doubt. */
function refuseStatus(inquiry: Inquiry, { path }: CrlSigner): string | undefined {
  for (const { certificate, issuer } of certificatesToCheck(path, 'chain')) {
    // Round in a circle: the CRL that covers its own signer. RFC 5280 does not forbid it, and nothing else would ever end it.
    if (inquiry.trail.includes(certificate.sha256)) continue;
    if (inquiry.trail.length >= MAX_TRAIL) return 'too many CRL issuers stand on each other';
    const statement = judge({ ...inquiry, trail: [...inquiry.trail, certificate.sha256] }, certificate, issuer);
    if (statement.kind === 'revoked') return `its signer is revoked: ${statement.detail}`;
    if (statement.kind === 'unavailable' && inquiry.options.check !== 'leaf') {
      return `the status of its signer is unknown: ${statement.detail}`;
    }
  }
  return undefined;
}

function describe(crl: CrlHandle): string {
  const number = crl.crlNumber === undefined ? '' : ` number ${crl.crlNumber}`;
  return `${crl.baseCrlNumber === undefined ? 'CRL' : 'delta CRL'}${number} of ${crl.issuer} (${crl.source}, ${isoTime(crl.thisUpdate)})`;
}

function isoTime(at: number): string {
  return new Date(at).toISOString();
}
