import { parseAlgorithm } from './certificate.ts';
import type { AlgorithmIdentifier } from './certificate.ts';
import { bitStringOctets, decodeOid, decodeSerial, decodeTime, DerCursor, malformed, readAll, readSingle, TAG, toHex } from './der.ts';
import type { DerElement } from './der.ts';
import { parseExtensions } from './extensions.ts';
import type { Extension } from './extensions.ts';
import { parseName } from './name.ts';

/** The form of OCSP answers (RFC 6960 section 4.2.1); what they are worth says ocsp.ts. */

const OCSP_BASIC = '1.3.6.1.5.5.7.48.1.1';

const FAILURES: Readonly<Record<number, string>> = { 1: 'malformedRequest', 2: 'internalError', 3: 'tryLater', 5: 'sigRequired', 6: 'unauthorized' };

export interface CertId {
  readonly hashOid: string;
  readonly issuerNameHash: Uint8Array;
  readonly issuerKeyHash: Uint8Array;
  readonly serial: string;
}

type CertStatus = { readonly kind: 'good' } | { readonly kind: 'unknown' } | { readonly kind: 'revoked'; readonly revokedAt: number; readonly code: number };

export interface SingleResponse {
  readonly certId: CertId;
  readonly status: CertStatus;
  readonly thisUpdate: number;
  readonly nextUpdate?: number;
  readonly extensions: readonly Extension[];
}

export type ResponderId = { readonly kind: 'name'; readonly name: ReturnType<typeof parseName> } | { readonly kind: 'key'; readonly keyHash: Uint8Array };

export interface BasicResponse {
  readonly tbs: Uint8Array;
  readonly responderId: ResponderId;
  readonly producedAt: number;
  readonly responses: readonly SingleResponse[];
  readonly extensions: readonly Extension[];
  readonly signatureAlgorithm: AlgorithmIdentifier;
  readonly signature: Uint8Array;
  /** DER */
  readonly certificates: readonly Uint8Array[];
}

type OcspResponse = { readonly kind: 'basic'; readonly basic: BasicResponse } | { readonly kind: 'failure'; readonly status: string };

// A responder answers with its own certificate and perhaps its chain; more is somebody wasting our time.
const MAX_CERTIFICATES = 8;

/** Reads the form of an OCSPResponse, strictly and without judging it; throws a PkiError. */
export function parseOcspResponse(der: Uint8Array): OcspResponse {
  const outer = new DerCursor(readSingle(der, TAG.sequence, 'ocsp').content, 'ocsp');
  const { content: code } = outer.expect(TAG.enumerated);
  if (code.length !== 1) throw malformed('ocsp: responseStatus is not one octet');
  const bytes = outer.optional(0xa0);
  outer.end();
  if (code[0] !== 0) return { kind: 'failure', status: FAILURES[code[0]!] ?? `status ${code[0]}` };
  if (bytes === undefined) throw malformed('ocsp: successful, but without an answer');
  const wrapper = new DerCursor(readSingle(bytes.content, TAG.sequence, 'ocsp').content, 'ocsp');
  const type = decodeOid(wrapper.expect(TAG.oid).content, 'ocsp');
  if (type !== OCSP_BASIC) throw malformed(`ocsp: unknown type of answer ${type}`);
  const response = wrapper.expect(TAG.octetString).content;
  wrapper.end();
  return { kind: 'basic', basic: parseBasic(response) };
}

function parseBasic(der: Uint8Array): BasicResponse {
  const basic = new DerCursor(readSingle(der, TAG.sequence, 'ocsp').content, 'ocsp');
  const tbs = basic.expect(TAG.sequence);
  const signatureAlgorithm = parseAlgorithm(basic.expect(TAG.sequence).der);
  const signature = bitStringOctets(basic.expect(TAG.bitString).content, 'ocsp signature');
  const wrapped = basic.optional(0xa0);
  basic.end();
  if (signature.unused !== 0) throw malformed('ocsp: signature is not whole octets');
  const certificates = wrapped === undefined ? [] : readAll(readSingle(wrapped.content, TAG.sequence, 'ocsp certificates').content, 'ocsp certificates');
  if (certificates.length > MAX_CERTIFICATES) throw malformed(`ocsp: ${certificates.length} certificates`);
  return { tbs: tbs.der, ...parseResponseData(tbs.content), signatureAlgorithm, signature: signature.octets, certificates: certificates.map((each) => each.der) };
}

function parseResponseData(content: Uint8Array): Pick<BasicResponse, 'responderId' | 'producedAt' | 'responses' | 'extensions'> {
  const data = new DerCursor(content, 'ocsp');
  // Version 1 is the default and never encoded in DER; there is no other.
  if (data.tag === 0xa0) throw malformed('ocsp: unknown version');
  const responderId = parseResponderId(data.next());
  const producedAt = generalizedTime(data, 'ocsp producedAt');
  const responses = readAll(data.expect(TAG.sequence).content, 'ocsp responses').map(parseSingle);
  const extensions = optionalExtensions(data.optional(0xa1));
  data.end();
  return { responderId, producedAt, responses, extensions };
}

function parseResponderId({ tag, content }: DerElement): ResponderId {
  if (tag === 0xa1) return { kind: 'name', name: parseName(readSingle(content, TAG.sequence, 'ocsp responderID').der) };
  if (tag === 0xa2) return { kind: 'key', keyHash: readSingle(content, TAG.octetString, 'ocsp responderID').content };
  throw malformed('ocsp: responderID is neither a name nor a key');
}

function parseSingle({ tag, content }: DerElement): SingleResponse {
  if (tag !== TAG.sequence) throw malformed('ocsp: a response is not a SEQUENCE');
  const single = new DerCursor(content, 'ocsp response');
  const certId = parseCertId(single.expect(TAG.sequence).content);
  const status = parseStatus(single.next());
  const thisUpdate = generalizedTime(single, 'ocsp thisUpdate');
  const next = single.optional(0xa0);
  const nextUpdate = next === undefined ? undefined : decodeTime(readSingle(next.content, TAG.generalizedTime, 'ocsp nextUpdate'), 'ocsp nextUpdate');
  const extensions = optionalExtensions(single.optional(0xa1));
  single.end();
  return { certId, status, thisUpdate, ...(nextUpdate === undefined ? {} : { nextUpdate }), extensions };
}

function parseCertId(content: Uint8Array): CertId {
  const id = new DerCursor(content, 'ocsp certID');
  const hashOid = parseAlgorithm(id.expect(TAG.sequence).der).oid;
  const issuerNameHash = id.expect(TAG.octetString).content;
  const issuerKeyHash = id.expect(TAG.octetString).content;
  const serial = decodeSerial(id.expect(TAG.integer).content, 'ocsp certID');
  id.end();
  return { hashOid, issuerNameHash, issuerKeyHash, serial };
}

function parseStatus({ tag, content }: DerElement): CertStatus {
  switch (tag) {
    case 0x80:
    case 0x82:
      if (content.length !== 0) throw malformed('ocsp: certStatus with contents');
      return { kind: tag === 0x80 ? 'good' : 'unknown' };
    case 0xa1: {
      const revoked = new DerCursor(content, 'ocsp revoked');
      const revokedAt = generalizedTime(revoked, 'ocsp revocationTime');
      const reason = revoked.optional(0xa0);
      revoked.end();
      const code = reason === undefined ? 0 : readSingle(reason.content, TAG.enumerated, 'ocsp revocationReason').content[0] ?? 0;
      return { kind: 'revoked', revokedAt, code };
    }
    default:
      throw malformed(`ocsp: no such certStatus: ${toHex(Uint8Array.of(tag))}`);
  }
}

function generalizedTime(cursor: DerCursor, what: string): number {
  return decodeTime(cursor.expect(TAG.generalizedTime), what);
}

function optionalExtensions(wrapper: DerElement | undefined): readonly Extension[] {
  if (wrapper === undefined) return [];
  return parseExtensions(readSingle(wrapper.content, TAG.sequence, 'ocsp extensions').content, 'ocsp');
}
