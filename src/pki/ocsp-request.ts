import { parseAlgorithm } from './certificate.ts';
import { decodeSerial, DerCursor, malformed, readAll, readSingle, TAG } from './der.ts';
import { parseExtensions } from './extensions.ts';

/** Which certificate is meant (RFC 6960 section 4.1.1): by its issuer's name and key, hashed, and its serial number. */
export interface CertId {
  /** As it came: the answer repeats it. */
  readonly der: Uint8Array;
  readonly hashOid: string;
  readonly issuerNameHash: Uint8Array;
  readonly issuerKeyHash: Uint8Array;
  /** Lowercase hex without leading zero octets. */
  readonly serial: string;
}

export interface OcspRequest {
  readonly certIds: readonly CertId[];
  /** The octets of the nonce. */
  readonly nonce?: Uint8Array;
}

/** What a responder reads at most: a request of one certificate with a nonce has some 120 octets. */
export const MAX_OCSP_REQUEST_OCTETS = 8 * 1024;
/** Certificates in one request. RFC 5019 section 2.1.1 has clients ask for one. */
const MOST = 16;
/** RFC 9654 section 2.1: a nonce of no octets or of more than 128 is answered malformedRequest. */
const LONGEST_NONCE = 128;

const NONCE = '1.3.6.1.5.5.7.48.1.2';

/**
 * Reads an OCSPRequest (RFC 6960 section 4.1.1) as a responder does, strictly: DER, nothing after it, up to 16 certificates. Who asks and whether they
 * signed it does not matter to what is answered. Throws a PkiError.
 */
export function parseOcspRequest(der: Uint8Array): OcspRequest {
  const what = 'ocsp request';
  if (der.length > MAX_OCSP_REQUEST_OCTETS) throw malformed(`${what}: ${der.length} octets`);
  const outer = new DerCursor(readSingle(der, TAG.sequence, what).content, what);
  const tbs = outer.enter(TAG.sequence);
  outer.optional(0xa0);
  outer.end();
  // Version 1 is the default, which DER leaves out; there is no other.
  if (tbs.optional(0xa0) !== undefined) throw malformed(`${what}: a version that is none`);
  tbs.optional(0xa1);
  const certIds = readAll(tbs.expect(TAG.sequence).content, what).map(({ tag, content }) => {
    if (tag !== TAG.sequence) throw malformed(`${what}: an entry is not a SEQUENCE`);
    const entry = new DerCursor(content, what);
    const certId = parseCertId(entry.expect(TAG.sequence).der);
    entry.optional(0xa0);
    entry.end();
    return certId;
  });
  if (certIds.length === 0 || certIds.length > MOST) throw malformed(`${what}: ${certIds.length} certificates`);
  const wrapped = tbs.optional(0xa2);
  tbs.end();
  const extensions = wrapped === undefined ? [] : parseExtensions(readSingle(wrapped.content, TAG.sequence, what).content, what);
  const found = extensions.find(({ oid }) => oid === NONCE);
  if (found === undefined) return { certIds };
  const nonce = readSingle(found.value, TAG.octetString, 'ocsp nonce').content;
  if (nonce.length === 0 || nonce.length > LONGEST_NONCE) throw malformed(`ocsp nonce: ${nonce.length} octets`);
  return { certIds, nonce };
}

function parseCertId(der: Uint8Array): CertId {
  const what = 'ocsp certID';
  const cursor = new DerCursor(readSingle(der, TAG.sequence, what).content, what);
  const { oid: hashOid } = parseAlgorithm(cursor.expect(TAG.sequence).der);
  const issuerNameHash = cursor.expect(TAG.octetString).content;
  const issuerKeyHash = cursor.expect(TAG.octetString).content;
  const serial = decodeSerial(cursor.expect(TAG.integer).content, what);
  cursor.end();
  return { der, hashOid, issuerNameHash, issuerKeyHash, serial };
}
