import { DEFAULT_ALGORITHMS } from './algorithms.ts';
import type { AlgorithmProfile } from './algorithms.ts';
import { parseAlgorithm, parsePublicKeyInfo } from './certificate.ts';
import type { AlgorithmIdentifier, Extension } from './certificate.ts';
import { bitStringOctets, checkDer, decodeOid, decodeSmallInteger, DerCursor, malformed, readAll, readSingle, TAG, toHex } from './der.ts';
import { EXTENSION, parseExtensions, parseSubjectAltName } from './extensions.ts';
import { parseName } from './name.ts';
import type { Name } from './name.ts';
import type { GeneralName } from './general-name.ts';
import { verifySignature } from './signature.ts';

/** A request for a certificate (PKCS#10, RFC 2986), read once. Byte fields are views of `der`. */
export interface CertificationRequest {
  readonly der: Uint8Array;
  readonly subject: Name;
  /** SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly subjectAltNames: readonly GeneralName[];
  /** What the request would have in the certificate (RFC 2985 section 5.4.2). */
  readonly extensions: readonly Extension[];
  /** OIDs of the attributes, that of the extensions included. */
  readonly attributes: readonly string[];
  readonly info: Uint8Array;
  readonly signatureAlgorithm: AlgorithmIdentifier;
  readonly signature: Uint8Array;
}

/** One has a key, a name and a few alternative names; a post-quantum key and its signature take some KiB. */
export const MAX_REQUEST_OCTETS = 32 * 1024;

const EXTENSION_REQUEST = '1.2.840.113549.1.9.14';

/** Reads one request, strictly: DER only, nothing after it, no attribute twice. Throws a PkiError. Whether it is signed is for `verifyRequest`. */
export function parseRequest(der: Uint8Array): CertificationRequest {
  const what = 'certification request';
  if (der.length > MAX_REQUEST_OCTETS) throw malformed(`${what}: ${der.length} octets`);
  const bytes = Uint8Array.from(der);
  checkDer(bytes, what);
  const outer = new DerCursor(readSingle(bytes, TAG.sequence, what).content, what);
  const info = outer.expect(TAG.sequence);
  const signatureAlgorithm = parseAlgorithm(outer.expect(TAG.sequence).der);
  const { octets: signature, unused } = bitStringOctets(outer.expect(TAG.bitString).content, what);
  if (unused !== 0) throw malformed(`${what}: the signature is not whole octets`);
  outer.end();

  const cursor = new DerCursor(info.content, what);
  const version = decodeSmallInteger(cursor.expect(TAG.integer).content, what);
  if (version !== 0) throw malformed(`${what}: version ${version + 1}`);
  const subject = parseName(cursor.expect(TAG.sequence).der);
  const spki = cursor.expect(TAG.sequence).der;
  parsePublicKeyInfo(spki);
  // RFC 2986 has the attributes always there; some requesters leave an empty set out, and mean the same.
  const attributes = parseAttributes(cursor.optional(0xa0)?.content ?? new Uint8Array(), what);
  cursor.end();
  const requested = attributes.get(EXTENSION_REQUEST);
  const extensions = requested === undefined ? [] : parseExtensions(readSingle(requested, TAG.sequence, what).content, what);
  const names = extensions.find(({ oid }) => oid === EXTENSION.subjectAltName);
  return {
    der: bytes, subject, spki, subjectAltNames: names === undefined ? [] : parseSubjectAltName(names.value), extensions, attributes: [...attributes.keys()],
    info: info.der, signatureAlgorithm, signature,
  };
}

/** The one value of each attribute, by its OID. */
function parseAttributes(content: Uint8Array, what: string): ReadonlyMap<string, Uint8Array> {
  const attributes = new Map<string, Uint8Array>();
  for (const element of readAll(content, what)) {
    if (element.tag !== TAG.sequence) throw malformed(`${what}: an attribute is not a SEQUENCE`);
    const cursor = new DerCursor(element.content, what);
    const oid = decodeOid(cursor.expect(TAG.oid).content, what);
    const values = readAll(cursor.expect(TAG.set).content, what);
    cursor.end();
    const [value] = values;
    // Two of one kind could be read as one by one reader and as the other by the next.
    if (value === undefined || values.length > 1) throw malformed(`${what}: attribute ${oid} has ${values.length} values`);
    if (attributes.has(oid)) throw malformed(`${what}: attribute ${oid} occurs twice`);
    attributes.set(oid, value.der);
  }
  return attributes;
}

/** Why the request does not prove that its sender holds the key (RFC 2986 section 4.2), or the key or algorithm is none that we take; undefined when all is well. */
export function requestFault(request: CertificationRequest, algorithms: AlgorithmProfile = DEFAULT_ALGORITHMS): string | undefined {
  const { info: tbs, signatureAlgorithm: algorithm, signature, spki } = request;
  const verdict = verifySignature({ tbs, algorithm, signature, spki }, algorithms);
  return verdict.kind === 'valid' ? undefined : verdict.detail;
}

/** Whether the same alternative names stand in both, in any order: each is compared octet for octet. */
export function sameAlternativeNames(left: readonly Extension[], right: readonly Extension[]): boolean {
  const [a, b] = [encodedNames(left), encodedNames(right)];
  return a.length === b.length && a.every((name, index) => name === b[index]);
}

function encodedNames(extensions: readonly Extension[]): readonly string[] {
  const found = extensions.find(({ oid }) => oid === EXTENSION.subjectAltName);
  if (found === undefined) return [];
  return readAll(readSingle(found.value, TAG.sequence, 'subjectAltName').content, 'subjectAltName').map(({ der }) => toHex(der)).toSorted();
}

