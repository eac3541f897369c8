import { decodeBoolean, decodeNamedBits, decodeOid, decodeSerial, decodeSmallInteger, DerCursor, malformed, readAll, readSingle, TAG, toHex } from './der.ts';
import type { DerElement } from './der.ts';
import { parseConstraintBase, parseGeneralName, parseGeneralNames } from './general-name.ts';
import type { GeneralName } from './general-name.ts';
import { parseRdn } from './name.ts';
import type { NameAttribute } from './name.ts';

export interface Extension {
  readonly oid: string;
  readonly critical: boolean;
  /** What the OCTET STRING holds: the DER of the extension's own value. */
  readonly value: Uint8Array;
}

export const EXTENSION = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  issuerAltName: '2.5.29.18',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  crlDistributionPoints: '2.5.29.31',
  certificatePolicies: '2.5.29.32',
  policyMappings: '2.5.29.33',
  authorityKeyIdentifier: '2.5.29.35',
  policyConstraints: '2.5.29.36',
  extendedKeyUsage: '2.5.29.37',
  freshestCrl: '2.5.29.46',
  inhibitAnyPolicy: '2.5.29.54',
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
  subjectInfoAccess: '1.3.6.1.5.5.7.1.11',
  ocspNoCheck: '1.3.6.1.5.5.7.48.1.5',
} as const;

const KEY_USAGES = [
  'digitalSignature',
  'contentCommitment',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;

export type KeyUsage = (typeof KEY_USAGES)[number];

export interface BasicConstraints {
  readonly ca: boolean;
  readonly pathLen?: number;
}

export interface AuthorityKeyIdentifier {
  readonly keyIdentifier?: string;
  readonly issuer?: readonly GeneralName[];
  readonly serial?: string;
}

/** RFC 5280 section 4.2.1.13; also the name of an issuing distribution point. */
export type DistributionPointName =
  | { readonly kind: 'full'; readonly names: readonly GeneralName[] }
  | { readonly kind: 'relative'; readonly rdn: readonly NameAttribute[] };

export interface DistributionPoint {
  readonly name?: DistributionPointName;
  /** Bit positions of ReasonFlags (1 keyCompromise … 8 aACompromise); absent: all reasons. */
  readonly reasons?: ReadonlySet<number>;
  readonly crlIssuer: readonly GeneralName[];
}

export interface GeneralSubtree {
  readonly base: GeneralName;
}

export interface NameConstraints {
  readonly permitted: readonly GeneralSubtree[];
  readonly excluded: readonly GeneralSubtree[];
}

export interface PolicyMapping {
  readonly issuerDomain: string;
  readonly subjectDomain: string;
}

export interface PolicyConstraints {
  readonly requireExplicitPolicy?: number;
  readonly inhibitPolicyMapping?: number;
}

export interface InformationAccess {
  readonly method: string;
  readonly location: GeneralName;
}

/** Reads `Extensions ::= SEQUENCE SIZE (1..MAX) OF Extension` from its contents; an OID that occurs twice is refused. */
export function parseExtensions(content: Uint8Array, what: string): Extension[] {
  const extensions = readAll(content, what).map((element) => parseExtension(element, what));
  if (extensions.length === 0) throw malformed(`${what}: empty list of extensions`);
  refuseDuplicates(extensions);
  return extensions;
}

/** RFC 5280 section 4.2: a certificate must not hold two instances of an extension; readers disagree on which one counts. */
function refuseDuplicates(extensions: readonly Extension[]): void {
  const seen = new Set<string>();
  for (const { oid } of extensions) {
    if (seen.has(oid)) throw malformed(`extension ${oid} occurs twice`);
    seen.add(oid);
  }
}

function parseExtension(element: DerElement, what: string): Extension {
  if (element.tag !== TAG.sequence) throw malformed(`${what}: an extension is not a SEQUENCE`);
  const cursor = new DerCursor(element.content, what);
  const oid = decodeOid(cursor.expect(TAG.oid).content, what);
  // DER leaves FALSE out. Issuers that write it mean the same, and refusing them would protect nobody.
  const critical = cursor.optional(TAG.boolean);
  const value = cursor.expect(TAG.octetString).content;
  cursor.end();
  return { oid, critical: critical !== undefined && decodeBoolean(critical.content, what), value };
}

function sequenceOf(value: Uint8Array, what: string): DerCursor {
  return new DerCursor(readSingle(value, TAG.sequence, what).content, what);
}

function nonEmptySequence(value: Uint8Array, what: string): DerElement[] {
  const elements = readAll(readSingle(value, TAG.sequence, what).content, what);
  if (elements.length === 0) throw malformed(`${what}: empty`);
  return elements;
}

export function parseBasicConstraints(value: Uint8Array): BasicConstraints {
  const what = 'basicConstraints';
  const cursor = sequenceOf(value, what);
  const flag = cursor.optional(TAG.boolean);
  const length = cursor.optional(TAG.integer);
  cursor.end();
  const ca = flag !== undefined && decodeBoolean(flag.content, what);
  if (length === undefined) return { ca };
  return { ca, pathLen: decodeSmallInteger(length.content, what) };
}

export function parseKeyUsage(value: Uint8Array): ReadonlySet<KeyUsage> {
  const bits = decodeNamedBits(readSingle(value, TAG.bitString, 'keyUsage').content, 'keyUsage');
  return new Set(bits.flatMap((bit) => KEY_USAGES[bit] ?? []));
}

export function parseExtendedKeyUsage(value: Uint8Array): string[] {
  return nonEmptySequence(value, 'extKeyUsage').map((element) => expectOid(element, 'extKeyUsage'));
}

function expectOid(element: DerElement, what: string): string {
  if (element.tag !== TAG.oid) throw malformed(`${what}: expected an OBJECT IDENTIFIER`);
  return decodeOid(element.content, what);
}

export function parseSubjectAltName(value: Uint8Array): GeneralName[] {
  return parseGeneralNames(readSingle(value, TAG.sequence, 'subjectAltName').content, 'subjectAltName');
}

export function parseKeyIdentifier(value: Uint8Array): string {
  return toHex(readSingle(value, TAG.octetString, 'subjectKeyIdentifier').content);
}

export function parseAuthorityKeyIdentifier(value: Uint8Array): AuthorityKeyIdentifier {
  const what = 'authorityKeyIdentifier';
  const cursor = sequenceOf(value, what);
  const key = cursor.optional(0x80);
  const issuer = cursor.optional(0xa1);
  const serial = cursor.optional(0x82);
  cursor.end();
  return {
    ...(key !== undefined && { keyIdentifier: toHex(key.content) }),
    ...(issuer !== undefined && { issuer: parseGeneralNames(issuer.content, what) }),
    ...(serial !== undefined && { serial: decodeSerial(serial.content, what) }),
  };
}

/** Certificate policies: their OIDs, and the OIDs of the qualifiers. A policy that occurs twice is refused (section 4.2.1.4). */
export function parseCertificatePolicies(value: Uint8Array): { readonly policies: readonly string[]; readonly qualifiers: readonly string[] } {
  const what = 'certificatePolicies';
  const qualifiers: string[] = [];
  const policies = nonEmptySequence(value, what).map((element) => {
    const cursor = sequenceOf(element.der, what);
    const policy = decodeOid(cursor.expect(TAG.oid).content, what);
    const list = cursor.optional(TAG.sequence);
    cursor.end();
    if (list !== undefined) qualifiers.push(...nonEmptySequence(list.der, what).map(qualifierOid));
    return policy;
  });
  if (new Set(policies).size !== policies.length) throw malformed(`${what}: a policy occurs twice`);
  return { policies, qualifiers };
}

function qualifierOid(element: DerElement): string {
  const cursor = sequenceOf(element.der, 'certificatePolicies');
  const oid = decodeOid(cursor.expect(TAG.oid).content, 'certificatePolicies');
  cursor.next();
  cursor.end();
  return oid;
}

export function parsePolicyMappings(value: Uint8Array): PolicyMapping[] {
  return nonEmptySequence(value, 'policyMappings').map((element) => {
    const cursor = sequenceOf(element.der, 'policyMappings');
    const issuerDomain = expectOid(cursor.next(), 'policyMappings');
    const subjectDomain = expectOid(cursor.next(), 'policyMappings');
    cursor.end();
    return { issuerDomain, subjectDomain };
  });
}

export function parsePolicyConstraints(value: Uint8Array): PolicyConstraints {
  const what = 'policyConstraints';
  const cursor = sequenceOf(value, what);
  const explicit = cursor.optional(0x80);
  const mapping = cursor.optional(0x81);
  cursor.end();
  // RFC 5280 section 4.2.1.11: must not be an empty sequence.
  if (explicit === undefined && mapping === undefined) throw malformed(`${what}: empty`);
  return {
    ...(explicit !== undefined && { requireExplicitPolicy: decodeSmallInteger(explicit.content, what) }),
    ...(mapping !== undefined && { inhibitPolicyMapping: decodeSmallInteger(mapping.content, what) }),
  };
}

export function parseInhibitAnyPolicy(value: Uint8Array): number {
  return decodeSmallInteger(readSingle(value, TAG.integer, 'inhibitAnyPolicy').content, 'inhibitAnyPolicy');
}

export function parseNameConstraints(value: Uint8Array): NameConstraints {
  const what = 'nameConstraints';
  const cursor = sequenceOf(value, what);
  const permitted = cursor.optional(0xa0);
  const excluded = cursor.optional(0xa1);
  cursor.end();
  // RFC 5280 section 4.2.1.10: must not be an empty sequence; each list holds at least one subtree.
  if (permitted === undefined && excluded === undefined) throw malformed(`${what}: empty`);
  return { permitted: parseSubtrees(permitted, what), excluded: parseSubtrees(excluded, what) };
}

function parseSubtrees(list: DerElement | undefined, what: string): GeneralSubtree[] {
  if (list === undefined) return [];
  const subtrees = readAll(list.content, what).map((element) => {
    const cursor = sequenceOf(element.der, what);
    const base = parseConstraintBase(cursor.next(), what);
    // Section 4.2.1.10: minimum is zero, which DER leaves out, and maximum absent; nothing else is defined.
    cursor.end();
    return { base };
  });
  if (subtrees.length === 0) throw malformed(`${what}: empty list of subtrees`);
  return subtrees;
}

export function parseDistributionPoints(value: Uint8Array, what: string): DistributionPoint[] {
  return nonEmptySequence(value, what).map((element) => {
    const cursor = sequenceOf(element.der, what);
    const name = cursor.optional(0xa0);
    const reasons = cursor.optional(0x81);
    const issuer = cursor.optional(0xa2);
    cursor.end();
    return {
      ...(name !== undefined && { name: parseDistributionPointName(name.content, what) }),
      ...(reasons !== undefined && { reasons: new Set(decodeNamedBits(reasons.content, what)) }),
      crlIssuer: issuer === undefined ? [] : parseGeneralNames(issuer.content, what),
    };
  });
}

/** The CHOICE inside `[0]` of a distribution point or an issuing distribution point; throws a PkiError. */
export function parseDistributionPointName(content: Uint8Array, what: string): DistributionPointName {
  const cursor = new DerCursor(content, what);
  const element = cursor.next();
  cursor.end();
  if (element.tag === 0xa0) return { kind: 'full', names: parseGeneralNames(element.content, what) };
  if (element.tag === 0xa1) return { kind: 'relative', rdn: parseRdn(TAG.set, element.content) };
  throw malformed(`${what}: no such form of distribution point name`);
}

export function parseInformationAccess(value: Uint8Array, what: string): InformationAccess[] {
  return nonEmptySequence(value, what).map((element) => {
    const cursor = sequenceOf(element.der, what);
    const method = decodeOid(cursor.expect(TAG.oid).content, what);
    const location = parseGeneralName(cursor.next(), what);
    cursor.end();
    return { method, location };
  });
}
