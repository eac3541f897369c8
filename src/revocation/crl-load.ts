import { createHash } from 'node:crypto';
import type { AlgorithmProfile } from '../pki/algorithms.ts';
import { readableCertificate } from '../pki/certificate.ts';
import type { Certificate } from '../pki/certificate.ts';
import { scanCrl } from '../pki/crl.ts';
import type { Crl } from '../pki/crl.ts';
import { malformed, PkiError } from '../pki/der.ts';
import { formatName } from '../pki/name.ts';
import { createPool, validatePath } from '../pki/path.ts';
import type { CertificatePool } from '../pki/path.ts';
import { verifySignature } from '../pki/signature.ts';
import { createCrlIndex } from './crl-index.ts';
import type { CrlIndex, CrlIndexBuilder } from './crl-index.ts';
import { crlPemBlocks } from './crl-pem.ts';
import { maySignCrls } from './crl-statement.ts';
import type { CrlHandle, CrlProof, CrlSigner } from './crl-handle.ts';

/** The certificates that CRLs may be signed under: a realm's anchors and configured intermediates, DER. */
export interface CrlAuthorities {
  readonly anchors: readonly Uint8Array[];
  readonly intermediates: readonly Uint8Array[];
}

/** Why a file, or one CRL of it, is of no use, or of less use than it should be. */
export interface CrlProblem {
  readonly source: string;
  readonly reason:
    /** Not a CRL. */
    | 'malformed'
    /** A CRL that RFC 5280 says not to use, or that says nothing about how long it holds. */
    | 'unusable'
    /** No known certificate of its issuer verifies it; an intermediate that a handshake brings still may. */
    | 'unverified'
    /** Older than the one in use, which stays. */
    | 'older'
    /** It could not be read for reasons of our own, such as memory. */
    | 'failed';
  readonly detail: string;
  /** SHA-256 of the CRL that it is about, where that is held all the same. */
  readonly crl?: string;
}

export interface CrlContext {
  readonly realms: readonly CrlAuthorities[];
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly algorithms: AlgorithmProfile;
}

export type CrlOutcome =
  | { readonly kind: 'crl'; readonly handle: CrlHandle; readonly problem?: CrlProblem }
  | { readonly kind: 'refused'; readonly problem: CrlProblem };

/** Who may have signed a CRL, made ready once for any number of CRLs. */
export interface CrlSigners {
  readonly known: readonly Certificate[];
  readonly pools: readonly CertificatePool[];
  readonly now: number;
  readonly algorithms: AlgorithmProfile;
}

/** Reads the certificates of the realms; one that cannot be read is left out, as the configuration has refused it already. */
export function crlSigners({ realms, now, algorithms }: CrlContext): CrlSigners {
  const known = new Map<string, Certificate>();
  const read = (ders: readonly Uint8Array[]): Certificate[] =>
    ders.flatMap((der) => {
      const certificate = readableCertificate(der);
      if (certificate !== undefined) known.set(certificate.sha256, certificate);
      return certificate ?? [];
    });
  const pools = realms.map(({ anchors, intermediates }) => createPool(read(anchors), read(intermediates)));
  return { known: [...known.values()], pools, now, algorithms };
}

/** The CRLs of a file, DER: the file itself, or its `X509 CRL` blocks if it is PEM. Throws a PkiError if it is neither. */
export function crlBlocks(bytes: Uint8Array): readonly Uint8Array[] {
  // A CertificateList begins with the tag of a SEQUENCE, which is the digit 0 in text; PEM begins with a dash or a comment.
  if (bytes[0] === 0x30 && bytes[1] !== undefined && bytes[1] >= 0x80) return [bytes];
  const blocks = crlPemBlocks(bytes);
  if (blocks.length === 0) throw malformed('neither DER nor a PEM block "X509 CRL"');
  return blocks;
}

/** Reads, indexes and verifies one CRL. Takes about 400 ms for a million entries: not on a thread that serves. */
export function loadCrl(source: string, der: Uint8Array, signers: CrlSigners): CrlOutcome {
  try {
    const { crl, index } = scanAndIndex(der);
    const unusable = refuseUse(crl);
    if (unusable !== undefined) return refused(source, 'unusable', `CRL of ${formatName(crl.issuer)}: ${unusable}`);
    const { proof, detail } = prove(crl, signers);
    const handle = handleOf(source, der, crl, index, proof);
    if (detail === undefined) return { kind: 'crl', handle };
    return { kind: 'crl', handle, problem: { source, reason: 'unverified', detail: `CRL of ${handle.issuer}: ${detail}`, crl: handle.sha256 } };
  } catch (error) {
    if (error instanceof PkiError) return refused(source, 'malformed', error.message);
    throw error;
  }
}

function refused(source: string, reason: CrlProblem['reason'], detail: string): CrlOutcome {
  return { kind: 'refused', problem: { source, reason, detail } };
}

function scanAndIndex(der: Uint8Array): { crl: Crl; index: CrlIndex } {
  let builder: CrlIndexBuilder | undefined;
  const crl = scanCrl(der, {
    begin: (count) => {
      builder = createCrlIndex(count);
    },
    entry: (bytes, offset, length, issuer, seconds, code) => builder!.add(bytes, offset, length, issuer, seconds, code),
  });
  return { crl, index: builder!.finish() };
}

/** Why a well-formed CRL must not be used; undefined when it may. */
function refuseUse(crl: Crl): string | undefined {
  const [unknown] = crl.unknownCriticalExtensions;
  if (unknown !== undefined) return `unknown critical extension ${unknown}`;
  // RFC 5280 section 5.1.2.5 requires it, and without it nothing says when a list has become too old to believe.
  if (crl.nextUpdate === undefined) return 'no nextUpdate';
  if (crl.nextUpdate <= crl.thisUpdate) return 'nextUpdate is not after thisUpdate';
  const scope = crl.issuingDistributionPoint;
  // A certificateIssuer in a list that does not say it is indirect: its other entries may not be its issuer's either.
  if (crl.entryIssuers.length > 1 && scope?.indirect !== true) return 'entries of other issuers, but not an indirect CRL';
  if (crl.baseCrlNumber !== undefined && crl.crlNumber === undefined) return 'a delta CRL without a number';
  if (scope === undefined) return undefined;
  const kinds = [scope.onlyContainsUserCerts, scope.onlyContainsCACerts, scope.onlyContainsAttributeCerts];
  if (kinds.filter(Boolean).length > 1) return 'its scope contradicts itself';
  return undefined;
}

// Certificates under one name but with different keys are few (renewal, separate CRL keys); more would be an attack on our time.
const MAX_KEYS = 8;

function prove(crl: Crl, { known, pools, now, algorithms }: CrlSigners): { proof: CrlProof; detail?: string } {
  const candidates = known.filter((certificate) =>
    certificate.subject.normalized === crl.issuer.normalized && maySignCrls(certificate) && keyIdMatches(crl, certificate));
  const keys = new Map(candidates.map((certificate) => [certificate.spkiSha256, certificate.spki]));
  let detail = 'no known certificate of its issuer may sign it; it counts for chains that bring one: of clients, of the gateway itself, or by intermediates';
  for (const [key, spki] of [...keys].slice(0, MAX_KEYS)) {
    const { tbs, signatureAlgorithm: algorithm, signature } = crl;
    const verdict = verifySignature({ tbs, algorithm, signature, spki }, algorithms);
    if (verdict.kind === 'valid') {
      const paths = candidates.filter((certificate) => certificate.spkiSha256 === key).flatMap((certificate) => pathsOf(certificate, { pools, now, algorithms }));
      return { proof: { kind: 'verified', key, signers: paths } };
    }
    detail = verdict.detail;
  }
  return { proof: unverified(crl), detail };
}

// RFC 5280 section 5.2.1: a key identifier tells several keys of one issuer apart. Either side may lack it.
function keyIdMatches({ authorityKeyId }: Crl, { subjectKeyIdentifier }: Certificate): boolean {
  return authorityKeyId === undefined || subjectKeyIdentifier === undefined || authorityKeyId === subjectKeyIdentifier;
}

function pathsOf(signer: Certificate, { pools, now, algorithms }: Omit<CrlSigners, 'known'>): readonly CrlSigner[] {
  return pools.flatMap((pool) => {
    const result = validatePath(signer, pool, { now, purpose: 'any', keyUsage: 'cRLSign', algorithms });
    return result.kind === 'valid' ? [{ path: result.path, validUntil: result.validUntil }] : [];
  });
}

function unverified({ tbs, signature, signatureAlgorithm }: Crl): CrlProof {
  const shared = new Uint8Array(new SharedArrayBuffer(tbs.length));
  shared.set(tbs);
  const { oid, parameters } = signatureAlgorithm;
  const algorithm = parameters === undefined ? { oid } : { oid, parameters: Uint8Array.from(parameters) };
  return { kind: 'unverified', tbs: shared, algorithm, signature: Uint8Array.from(signature), late: new Uint8Array(new SharedArrayBuffer(1)) };
}

// Every byte array in a handle is a copy: posting a view would clone the whole file behind it.
function handleOf(source: string, der: Uint8Array, crl: Crl, index: CrlIndex, proof: CrlProof): CrlHandle {
  const { crlNumber, baseCrlNumber, authorityKeyId, issuingDistributionPoint: scope } = crl;
  return {
    source,
    sha256: createHash('sha256').update(der).digest('hex'),
    issuer: formatName(crl.issuer),
    issuerName: crl.issuer.normalized,
    thisUpdate: crl.thisUpdate,
    nextUpdate: crl.nextUpdate!,
    ...(crlNumber === undefined ? {} : { crlNumber }),
    ...(baseCrlNumber === undefined ? {} : { baseCrlNumber }),
    ...(authorityKeyId === undefined ? {} : { authorityKeyId }),
    ...(scope === undefined ? {} : { scope }),
    entryIssuers: crl.entryIssuers.map((name) => name.normalized),
    index,
    proof,
  };
}
