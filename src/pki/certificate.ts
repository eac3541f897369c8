import { createHash } from 'node:crypto';
import { bitStringOctets, checkDer, decodeOid, decodeSerial, decodeSmallInteger, decodeTime, DerCursor, malformed, PkiError, readSingle, sameBytes, TAG } from './der.ts';
import {
  EXTENSION,
  parseAuthorityKeyIdentifier,
  parseBasicConstraints,
  parseCertificatePolicies,
  parseDistributionPoints,
  parseExtendedKeyUsage,
  parseExtensions,
  parseInformationAccess,
  parseInhibitAnyPolicy,
  parseKeyIdentifier,
  parseKeyUsage,
  parseNameConstraints,
  parsePolicyConstraints,
  parsePolicyMappings,
  parseSubjectAltName,
} from './extensions.ts';
import type {
  AuthorityKeyIdentifier,
  BasicConstraints,
  DistributionPoint,
  Extension,
  InformationAccess,
  KeyUsage,
  NameConstraints,
  PolicyConstraints,
  PolicyMapping,
} from './extensions.ts';
import type { GeneralName } from './general-name.ts';
import { parseName, sameName } from './name.ts';
import type { Name } from './name.ts';

export { PkiError } from './der.ts';
export type { AuthorityKeyIdentifier, BasicConstraints, DistributionPoint, Extension, KeyUsage, NameConstraints } from './extensions.ts';
export type { GeneralName } from './general-name.ts';

export interface AlgorithmIdentifier {
  readonly oid: string;
  /** DER of the parameters; absent where there are none. */
  readonly parameters?: Uint8Array;
  readonly der: Uint8Array;
}

/** An X.509 certificate, read once. Byte fields are views of `der`; times are milliseconds since the epoch. */
export interface Certificate {
  readonly der: Uint8Array;
  /** Of the whole certificate, lowercase hex. */
  readonly sha256: string;
  /** Lowercase hex without leading zero octets; a negative one starts with `-`. */
  readonly serial: string;
  readonly version: 1 | 2 | 3;
  readonly issuer: Name;
  readonly subject: Name;
  readonly selfIssued: boolean;
  readonly notBefore: number;
  readonly notAfter: number;
  /** SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly spkiSha256: string;
  /** Contents of the subjectPublicKey BIT STRING: what OCSP hashes as issuerKeyHash. */
  readonly publicKeyBits: Uint8Array;
  readonly publicKeyAlgorithm: AlgorithmIdentifier;
  readonly tbs: Uint8Array;
  readonly signatureAlgorithm: AlgorithmIdentifier;
  readonly signature: Uint8Array;
  readonly basicConstraints?: BasicConstraints;
  readonly keyUsage?: ReadonlySet<KeyUsage>;
  readonly extendedKeyUsage?: readonly string[];
  /** Certificate policy OIDs, `2.5.29.32.0` (anyPolicy) included; empty where there is no such extension. */
  readonly policies: readonly string[];
  readonly policyMappings: readonly PolicyMapping[];
  readonly policyConstraints?: PolicyConstraints;
  readonly inhibitAnyPolicy?: number;
  readonly nameConstraints?: NameConstraints;
  readonly subjectAltNames: readonly GeneralName[];
  /** Lowercase hex. */
  readonly subjectKeyIdentifier?: string;
  readonly authorityKeyIdentifier?: AuthorityKeyIdentifier;
  readonly crlDistributionPoints: readonly DistributionPoint[];
  /** Where delta CRLs are (section 4.2.1.15). */
  readonly freshestCrl: readonly DistributionPoint[];
  readonly ocspResponders: readonly string[];
  readonly caIssuers: readonly string[];
  /** id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1). */
  readonly ocspNoCheck: boolean;
  /** OIDs of critical extensions that we do not process, and of those that section 4.2 forbids to be critical. */
  readonly unknownCriticalExtensions: readonly string[];
  readonly extensions: readonly Extension[];
}

/** A client's certificate has a few KiB; one with post-quantum keys and signatures a few tens. */
const MAX_CERTIFICATE_OCTETS = 64 * 1024;

/**
 * Reads one certificate (RFC 5280 section 4.1), strictly: DER only, nothing after it, no extension twice, extensions in
 * version 3 only, the same algorithm inside and outside the signature, and every extension we know well formed. Throws a
 * PkiError with code `malformed`. Whether to trust it is for `validatePath`. The reader is our own and linear in the octets:
 * strangers choose what it reads (docs/decisions/0009-certificate-reader.md).
 */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > MAX_CERTIFICATE_OCTETS) throw malformed(`certificate: ${der.length} octets`);
  const bytes = Uint8Array.from(der);
  checkDer(bytes, 'certificate');
  const outer = new DerCursor(readSingle(bytes, TAG.sequence, 'certificate').content, 'certificate');
  const tbs = outer.expect(TAG.sequence);
  const signatureAlgorithm = parseAlgorithm(outer.expect(TAG.sequence).der);
  const signature = wholeOctets(outer.expect(TAG.bitString).content, 'signature');
  outer.end();
  const { innerAlgorithm, ...fields } = parseTbs(tbs.content);
  if (!sameBytes(innerAlgorithm, signatureAlgorithm.der)) throw malformed('certificate: signature algorithms inside and outside differ');
  return { der: bytes, sha256: sha256(bytes), tbs: tbs.der, signatureAlgorithm, signature, ...fields, ...extensionFields(fields.extensions) };
}

/** The same where it need not be one: undefined when it cannot be read. */
export function readableCertificate(der: Uint8Array): Certificate | undefined {
  try {
    return parseCertificate(der);
  } catch (error) {
    if (error instanceof PkiError) return undefined;
    throw error;
  }
}

/** A CA as what is bound to it stays bound to: by its name and key, whichever certificate it shows. */
export function authorityKey({ subject, spkiSha256 }: Pick<Certificate, 'subject' | 'spkiSha256'>): string {
  return `${spkiSha256} ${subject.normalized}`;
}

type TbsFields = Pick<
  Certificate,
  'version' | 'serial' | 'issuer' | 'subject' | 'selfIssued' | 'notBefore' | 'notAfter' | 'spki' | 'spkiSha256' | 'publicKeyAlgorithm' | 'publicKeyBits' | 'extensions'
>;

function parseTbs(content: Uint8Array): TbsFields & { readonly innerAlgorithm: Uint8Array } {
  const cursor = new DerCursor(content, 'certificate');
  const version = parseVersion(cursor);
  const serial = decodeSerial(cursor.expect(TAG.integer).content, 'serial number');
  const innerAlgorithm = cursor.expect(TAG.sequence).der;
  const issuer = parseName(cursor.expect(TAG.sequence).der);
  const validity = cursor.enter(TAG.sequence, 'validity');
  const notBefore = decodeTime(validity.next(), 'notBefore');
  const notAfter = decodeTime(validity.next(), 'notAfter');
  validity.end();
  const subject = parseName(cursor.expect(TAG.sequence).der);
  const spki = cursor.expect(TAG.sequence).der;
  skipUniqueIdentifiers(cursor, version);
  const extensions = parseExtensionList(cursor, version);
  cursor.end();
  return {
    version,
    serial,
    innerAlgorithm,
    issuer,
    subject,
    selfIssued: sameName(issuer, subject),
    notBefore,
    notAfter,
    spki,
    spkiSha256: sha256(spki),
    ...parsePublicKeyInfo(spki),
    extensions,
  };
}

function parseVersion(cursor: DerCursor): 1 | 2 | 3 {
  const element = cursor.optional(0xa0);
  // Version 1 is the default, which DER leaves out.
  if (element === undefined) return 1;
  const version = decodeSmallInteger(readSingle(element.content, TAG.integer, 'version').content, 'version') + 1;
  if (version !== 2 && version !== 3) throw malformed(`certificate: version ${version}`);
  return version;
}

function skipUniqueIdentifiers(cursor: DerCursor, version: number): void {
  for (const tag of [0x81, 0x82]) {
    if (cursor.optional(tag) !== undefined && version === 1) throw malformed('certificate: unique identifier in version 1');
  }
}

function parseExtensionList(cursor: DerCursor, version: number): readonly Extension[] {
  const wrapper = cursor.optional(0xa3);
  if (wrapper === undefined) return [];
  if (version !== 3) throw malformed(`certificate: extensions in version ${version}`);
  return parseExtensions(readSingle(wrapper.content, TAG.sequence, 'extensions').content, 'certificate');
}

/** Reads an AlgorithmIdentifier from its DER; throws a PkiError. */
export function parseAlgorithm(der: Uint8Array): AlgorithmIdentifier {
  const cursor = new DerCursor(readSingle(der, TAG.sequence, 'algorithm').content, 'algorithm');
  const oid = decodeOid(cursor.expect(TAG.oid).content, 'algorithm');
  if (cursor.finished) return { oid, der };
  const parameters = cursor.next().der;
  cursor.end();
  return { oid, parameters, der };
}

/** Splits a SubjectPublicKeyInfo into its algorithm and the key's octets; throws a PkiError. */
export function parsePublicKeyInfo(spki: Uint8Array): { readonly publicKeyAlgorithm: AlgorithmIdentifier; readonly publicKeyBits: Uint8Array } {
  const cursor = new DerCursor(readSingle(spki, TAG.sequence, 'public key').content, 'public key');
  const publicKeyAlgorithm = parseAlgorithm(cursor.expect(TAG.sequence).der);
  const publicKeyBits = wholeOctets(cursor.expect(TAG.bitString).content, 'public key');
  cursor.end();
  return { publicKeyAlgorithm, publicKeyBits };
}

function wholeOctets(content: Uint8Array, what: string): Uint8Array {
  const { octets, unused } = bitStringOctets(content, what);
  if (unused !== 0) throw malformed(`${what}: not whole octets`);
  return octets;
}

type ExtensionFields = Omit<Certificate, keyof TbsFields | 'der' | 'sha256' | 'tbs' | 'signatureAlgorithm' | 'signature'>;

function extensionFields(extensions: readonly Extension[]): ExtensionFields {
  const read = <T>(oid: string, parse: (value: Uint8Array, what: string) => T): T | undefined => {
    const extension = extensions.find((candidate) => candidate.oid === oid);
    return extension === undefined ? undefined : parse(extension.value, oid);
  };
  const basicConstraints = read(EXTENSION.basicConstraints, parseBasicConstraints);
  const keyUsage = read(EXTENSION.keyUsage, parseKeyUsage);
  const extendedKeyUsage = read(EXTENSION.extendedKeyUsage, parseExtendedKeyUsage);
  const certificatePolicies = read(EXTENSION.certificatePolicies, parseCertificatePolicies);
  const policyConstraints = read(EXTENSION.policyConstraints, parsePolicyConstraints);
  const inhibitAnyPolicy = read(EXTENSION.inhibitAnyPolicy, parseInhibitAnyPolicy);
  const nameConstraints = read(EXTENSION.nameConstraints, parseNameConstraints);
  const subjectKeyIdentifier = read(EXTENSION.subjectKeyIdentifier, parseKeyIdentifier);
  const authorityKeyIdentifier = read(EXTENSION.authorityKeyIdentifier, parseAuthorityKeyIdentifier);
  const access = read(EXTENSION.authorityInfoAccess, parseInformationAccess) ?? [];
  return {
    ...(basicConstraints !== undefined && { basicConstraints }),
    ...(keyUsage !== undefined && { keyUsage }),
    ...(extendedKeyUsage !== undefined && { extendedKeyUsage }),
    policies: certificatePolicies?.policies ?? [],
    policyMappings: read(EXTENSION.policyMappings, parsePolicyMappings) ?? [],
    ...(policyConstraints !== undefined && { policyConstraints }),
    ...(inhibitAnyPolicy !== undefined && { inhibitAnyPolicy }),
    ...(nameConstraints !== undefined && { nameConstraints }),
    subjectAltNames: read(EXTENSION.subjectAltName, parseSubjectAltName) ?? [],
    ...(subjectKeyIdentifier !== undefined && { subjectKeyIdentifier }),
    ...(authorityKeyIdentifier !== undefined && { authorityKeyIdentifier }),
    crlDistributionPoints: read(EXTENSION.crlDistributionPoints, parseDistributionPoints) ?? [],
    freshestCrl: read(EXTENSION.freshestCrl, parseDistributionPoints) ?? [],
    ocspResponders: accessUris(access, '1.3.6.1.5.5.7.48.1'),
    caIssuers: accessUris(access, '1.3.6.1.5.5.7.48.2'),
    ocspNoCheck: extensions.some(({ oid }) => oid === EXTENSION.ocspNoCheck),
    unknownCriticalExtensions: unprocessedCritical(extensions, certificatePolicies?.qualifiers ?? []),
  };
}

function accessUris(access: readonly InformationAccess[], method: string): readonly string[] {
  return access.flatMap((entry) => (entry.method === method && entry.location.kind === 'uri' ? [entry.location.value] : []));
}

const PROCESSED: ReadonlySet<string> = new Set([
  EXTENSION.keyUsage,
  EXTENSION.subjectAltName,
  EXTENSION.basicConstraints,
  EXTENSION.nameConstraints,
  EXTENSION.crlDistributionPoints,
  EXTENSION.certificatePolicies,
  EXTENSION.policyMappings,
  EXTENSION.policyConstraints,
  EXTENSION.extendedKeyUsage,
  EXTENSION.inhibitAnyPolicy,
  EXTENSION.ocspNoCheck,
]);

// id-qt-cps and id-qt-unotice; a critical policies extension with any other qualifier cannot be honoured (section 4.2.1.4).
const QUALIFIERS: ReadonlySet<string> = new Set(['1.3.6.1.5.5.7.2.1', '1.3.6.1.5.5.7.2.2']);

function unprocessedCritical(extensions: readonly Extension[], qualifiers: readonly string[]): readonly string[] {
  const unknownQualifier = qualifiers.some((oid) => !QUALIFIERS.has(oid));
  return extensions
    .filter(({ oid, critical }) => critical && (!PROCESSED.has(oid) || (oid === EXTENSION.certificatePolicies && unknownQualifier)))
    .map(({ oid }) => oid);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
