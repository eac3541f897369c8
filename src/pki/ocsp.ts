import { createHash, timingSafeEqual } from 'node:crypto';
import { DEFAULT_ALGORITHMS } from './algorithms.ts';
import type { AlgorithmProfile } from './algorithms.ts';
import { readableCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { serialOctets } from './crl.ts';
import { PkiError, readSingle, sameBytes, TAG } from './der.ts';
import type { Extension } from './extensions.ts';
import { sameName } from './name.ts';
import { parseOcspResponse, type BasicResponse, type CertId, type ResponderId, type SingleResponse } from './ocsp-response.ts';
import { verifySignature } from './signature.ts';

/** Online certificate status (RFC 6960, RFC 9654): requests, and answers that are believed only when they prove themselves. */

const NONCE = '1.3.6.1.5.5.7.48.1.2';
const OCSP_SIGNING = '1.3.6.1.5.5.7.3.9';

// Extensions of answers whose meaning changes nothing for us: CRL references, acceptable responses, archive cutoff, service
// locator, extended revoked (RFC 6960 section 4.4), and of entries reasonCode and invalidityDate (RFC 5280 section 5.3).
const HARMLESS: ReadonlySet<string> = new Set([
  NONCE, '1.3.6.1.5.5.7.48.1.3', '1.3.6.1.5.5.7.48.1.4', '1.3.6.1.5.5.7.48.1.6', '1.3.6.1.5.5.7.48.1.7', '1.3.6.1.5.5.7.48.1.9', '2.5.29.21', '2.5.29.24',
]);

const HASHES: Readonly<Record<string, string>> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};

/** A nonce of RFC 9654 section 2.1: 32 octets are what every responder must take. */
export const NONCE_OCTETS = 32;

/**
 * An OCSPRequest about one certificate, DER. The CertID is of SHA-1, as everyone's: many responders index by it and know no
 * other. Nothing rests on it; the answer is matched against the issuer itself.
 */
export function buildOcspRequest(certificate: Certificate, issuer: Certificate, nonce?: Uint8Array): Uint8Array {
  const sha1 = sequence(element(TAG.oid, Buffer.from('2b0e03021a', 'hex')), element(TAG.null));
  const certId = sequence(
    sha1,
    element(TAG.octetString, digest('sha1', issuer.subject.der)),
    element(TAG.octetString, digest('sha1', issuer.publicKeyBits)),
    element(TAG.integer, serialOctets(certificate.serial)),
  );
  const request = sequence(sequence(certId));
  return sequence(sequence(request, ...(nonce === undefined ? [] : [element(0xa2, sequence(nonceExtension(nonce)))])));
}

function nonceExtension(nonce: Uint8Array): Buffer {
  const oid = element(TAG.oid, Buffer.from('2b0601050507300102', 'hex'));
  return sequence(oid, element(TAG.octetString, element(TAG.octetString, nonce)));
}

function sequence(...parts: readonly Uint8Array[]): Buffer {
  return element(TAG.sequence, ...parts);
}

function element(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  // Requests stay far below 64 KiB: a serial, two hashes and a nonce.
  const length = content.length < 0x80 ? [content.length] : content.length < 0x100 ? [0x81, content.length] : [0x82, content.length >> 8, content.length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...length), content]);
}

/** What was asked, and the rules an answer is judged by. Times are milliseconds. */
export interface OcspQuestion {
  readonly certificate: Certificate;
  /** The certificate that issued it, from its validated path. */
  readonly issuer: Certificate;
  /** The nonce that was sent, if one was. */
  readonly nonce?: Uint8Array;
  /** Refuse an answer that does not repeat the nonce. Default false: responders that sign in advance cannot. A wrong one is always refused. */
  readonly nonceRequired?: boolean;
  /** When the answer came, since the epoch; for one kept since then, too. */
  readonly now: number;
  /** Difference allowed between our clock and the responder's. */
  readonly skew: number;
  /**
   * How long an answer is believed at most after it came. One without nextUpdate says that newer is always to be had (RFC 6960
   * section 4.2.2.1): it is also believed no longer than this after its thisUpdate.
   */
  readonly maxAge: number;
  /**
   * What is known otherwise of a delegate's own certificate. A revoked delegate is refused; one of unknown status needs
   * id-pkix-ocsp-nocheck, with which its CA vouches for it until it expires (RFC 6960 section 4.2.2.2.1).
   */
  readonly delegateStatus?: (delegate: Certificate, issuer: Certificate) => 'good' | 'revoked' | 'unknown';
  readonly algorithms?: AlgorithmProfile;
}

/** An answer once it has proved itself; everything else is `unavailable`, with the reason in words. */
export type OcspAnswer =
  | { readonly kind: 'good'; readonly thisUpdate: number; readonly nextUpdate?: number; readonly validUntil: number }
  | {
      readonly kind: 'revoked';
      readonly thisUpdate: number;
      readonly nextUpdate?: number;
      /** Possibly past: revocation outlives the answer, only a certificateHold may have been lifted since. */
      readonly validUntil: number;
      readonly revokedAt: number;
      /** CRLReason, 0 when absent. */
      readonly code: number;
    }
  | { readonly kind: 'unavailable'; readonly detail: string };

/**
 * Reads an OCSPResponse and judges it: signed by the issuer itself or by a delegate it issued for that (RFC 6960 section 4.2.2.2),
 * about this certificate of this issuer by both hashes and the serial, in its time, with our nonce. Never throws.
 */
export function judgeOcspResponse(der: Uint8Array, question: OcspQuestion): OcspAnswer {
  try {
    return judge(der, question);
  } catch (error) {
    if (error instanceof PkiError) return unavailable(error.message);
    throw error;
  }
}

function unavailable(detail: string): OcspAnswer & { kind: 'unavailable' } {
  return { kind: 'unavailable', detail };
}

function judge(der: Uint8Array, question: OcspQuestion): OcspAnswer {
  const outer = parseOcspResponse(der);
  if (outer.kind === 'failure') return unavailable(`the responder answered ${outer.status}`);
  const { basic } = outer;
  const authority = authenticate(basic, question);
  if (authority.kind === 'unavailable') return authority;
  const critical = [...basic.extensions, ...basic.responses.flatMap(({ extensions }) => extensions)]
    .find((extension) => extension.critical && !HARMLESS.has(extension.oid));
  if (critical !== undefined) return unavailable(`unknown critical extension ${critical.oid}`);
  const nonce = refuseNonce(basic.extensions, question);
  if (nonce !== undefined) return unavailable(nonce);
  if (basic.producedAt > question.now + question.skew) return unavailable('producedAt is in the future');
  const about = basic.responses.filter((response) => isAbout(response.certId, question));
  if (about.length === 0) return unavailable('the answer is about another certificate');
  return mostSevere(about.map((response) => inTime(response, authority.notAfter, question)));
}

/** Of several answers about one certificate the gravest counts: revoked, then unavailable, then the good one that ends first. */
function mostSevere(answers: readonly OcspAnswer[]): OcspAnswer {
  const bad = answers.find(({ kind }) => kind === 'revoked') ?? answers.find(({ kind }) => kind === 'unavailable');
  return bad ?? answers.reduce((first, answer) => (first.kind === 'good' && answer.kind === 'good' && answer.validUntil < first.validUntil ? answer : first));
}

type Authority = { readonly kind: 'authentic'; readonly notAfter: number } | { readonly kind: 'unavailable'; readonly detail: string };

function authenticate(basic: BasicResponse, question: OcspQuestion): Authority {
  const { issuer, algorithms = DEFAULT_ALGORITHMS } = question;
  const signedBy = (spki: Uint8Array): ReturnType<typeof verifySignature> =>
    verifySignature({ tbs: basic.tbs, algorithm: basic.signatureAlgorithm, signature: basic.signature, spki }, algorithms);
  let detail = 'it is not signed by the issuer, nor by a certificate that came with it';
  if (isResponder(basic.responderId, issuer)) {
    const verdict = signedBy(issuer.spki);
    if (verdict.kind === 'valid') return { kind: 'authentic', notAfter: issuer.notAfter };
    detail = `signature of the issuer: ${verdict.detail}`;
  }
  for (const der of basic.certificates) {
    // What else a responder sends along need not be readable: only who signed matters.
    const delegate = readableCertificate(der);
    if (delegate === undefined || !isResponder(basic.responderId, delegate)) continue;
    const refusal = refuseDelegate(delegate, question);
    if (refusal !== undefined) {
      detail = `delegated responder: ${refusal}`;
      continue;
    }
    const verdict = signedBy(delegate.spki);
    if (verdict.kind === 'valid') return { kind: 'authentic', notAfter: delegate.notAfter };
    detail = `signature of the delegated responder: ${verdict.detail}`;
  }
  return unavailable(detail);
}

/** Why a certificate may not answer for the issuer (RFC 6960 section 4.2.2.2); undefined when it may. */
function refuseDelegate(delegate: Certificate, question: OcspQuestion): string | undefined {
  const { issuer, now, skew, algorithms = DEFAULT_ALGORITHMS } = question;
  if (!sameName(delegate.issuer, issuer.subject)) return 'issued by another CA';
  const { tbs, signatureAlgorithm: algorithm, signature } = delegate;
  const verdict = verifySignature({ tbs, algorithm, signature, spki: issuer.spki }, algorithms);
  if (verdict.kind !== 'valid') return `not issued by the certificate's own issuer: ${verdict.detail}`;
  // anyExtendedKeyUsage is not enough: any certificate of the CA could then answer for all others.
  if (delegate.extendedKeyUsage?.includes(OCSP_SIGNING) !== true) return 'without the extended key usage OCSPSigning';
  if (delegate.keyUsage !== undefined && !delegate.keyUsage.has('digitalSignature')) return 'its key usage excludes signing';
  const [unknown] = delegate.unknownCriticalExtensions;
  if (unknown !== undefined) return `unknown critical extension ${unknown}`;
  if (now + skew < delegate.notBefore) return 'not yet valid';
  if (now - skew > delegate.notAfter) return 'expired';
  const status = question.delegateStatus?.(delegate, issuer) ?? 'unknown';
  if (status === 'revoked') return 'revoked';
  if (status === 'unknown' && !delegate.ocspNoCheck) return 'its own status is unknown and it lacks id-pkix-ocsp-nocheck';
  return undefined;
}

function isResponder(id: ResponderId, certificate: Certificate): boolean {
  return id.kind === 'name' ? sameName(id.name, certificate.subject) : sameBytes(id.keyHash, digest('sha1', certificate.publicKeyBits));
}

function refuseNonce(extensions: readonly Extension[], { nonce, nonceRequired = false }: OcspQuestion): string | undefined {
  if (nonce === undefined) return undefined;
  const echoed = extensions.find((extension) => extension.oid === NONCE);
  if (echoed === undefined) return nonceRequired ? 'the answer lacks our nonce' : undefined;
  const { content } = readSingle(echoed.value, TAG.octetString, 'ocsp nonce');
  const same = content.length === nonce.length && timingSafeEqual(content, nonce);
  return same ? undefined : 'the answer carries another nonce: it is a replay';
}

function isAbout(certId: CertId, { certificate, issuer }: OcspQuestion): boolean {
  const hash = HASHES[certId.hashOid];
  if (hash === undefined || certId.serial !== certificate.serial) return false;
  return sameBytes(certId.issuerNameHash, digest(hash, issuer.subject.der)) && sameBytes(certId.issuerKeyHash, digest(hash, issuer.publicKeyBits));
}

function inTime(response: SingleResponse, signerNotAfter: number, { now, skew, maxAge }: OcspQuestion): OcspAnswer {
  const { status, thisUpdate, nextUpdate } = response;
  if (status.kind === 'unknown') return unavailable('the responder does not know the certificate');
  const times = { thisUpdate, ...(nextUpdate === undefined ? {} : { nextUpdate }) };
  const ages = nextUpdate === undefined ? Math.min(thisUpdate, now) + maxAge : now + maxAge;
  const validUntil = Math.min((nextUpdate ?? Infinity) + skew, ages, signerNotAfter + skew);
  // What is revoked stays so: an old statement of it is as true as a fresh one, but for a hold.
  if (status.kind === 'revoked') return { kind: 'revoked', ...times, validUntil, revokedAt: status.revokedAt, code: status.code };
  if (thisUpdate > now + skew) return unavailable('thisUpdate is in the future');
  if (nextUpdate !== undefined && nextUpdate < thisUpdate) return unavailable('nextUpdate is before thisUpdate');
  if (nextUpdate !== undefined && now >= nextUpdate + skew) return unavailable(`the answer expired ${new Date(nextUpdate).toISOString()}`);
  if (nextUpdate === undefined && now >= thisUpdate + maxAge) return unavailable(`the answer is of ${new Date(thisUpdate).toISOString()}, without nextUpdate and older than max_age`);
  return { kind: 'good', ...times, validUntil };
}

function digest(hash: string, bytes: Uint8Array): Buffer {
  return createHash(hash).update(bytes).digest();
}
