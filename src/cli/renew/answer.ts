import { readBundle } from '../../pki/bundle.ts';
import { PkiError, type Certificate } from '../../pki/certificate.ts';
import { sameAlternativeNames } from '../../pki/certification-request.ts';
import { sameBytes } from '../../pki/der.ts';
import { formatName, sameName } from '../../pki/name.ts';
import { createPool, validatePath } from '../../pki/path.ts';

/** What a new certificate is held to. */
export interface Expectation {
  /** The certificate that it takes the place of. */
  readonly old: Certificate;
  /** SubjectPublicKeyInfo of the key that was made for it. */
  readonly spki: Uint8Array;
  /** What the CA says its certificates are (`cacerts`). */
  readonly authorities: readonly Certificate[];
  readonly now: number;
}

export type Judged =
  | {
      readonly kind: 'good';
      readonly certificate: Certificate;
      /** The leaf and what stands between it and the anchor. */
      readonly chain: readonly Certificate[];
    }
  | { readonly kind: 'bad'; readonly detail: string };

/** A CA's clock may be ahead of the device's by so much. */
const SKEW = 5 * 60_000;
/** More certificates than any CA's chain has. */
const MOST = 32;

/** The certificates of an EST answer (RFC 7030 section 4.1.3, RFC 8951 section 3): base64 of a certs-only message, with any white space. Throws a PkiError. */
export function readCertificates(body: string): readonly Certificate[] {
  const base64 = body.replace(/[\t\r\n ]/g, '');
  const der = Buffer.from(base64, 'base64');
  if (der.length === 0 || der.toString('base64') !== base64) throw new PkiError('malformed', 'the answer is not base64');
  return readBundle(der, MOST);
}

/**
 * Judges what came as the new certificate: of our key, for the same names, with a path to the CA's own certificates as a client's, and valid longer than
 * the one before. Anything else would lock the device out, or make it somebody else.
 */
export function judgeAnswer(answered: readonly Certificate[], { old, spki, authorities, now }: Expectation): Judged {
  const certificate = answered.find((one) => sameBytes(one.spki, spki));
  if (certificate === undefined) return bad('no certificate of the answer is of the new key');
  if (!sameName(certificate.subject, old.subject)) return bad(`the new certificate is another's: ${formatName(certificate.subject)}; expected ${formatName(old.subject)}`);
  if (!sameAlternativeNames(certificate.extensions, old.extensions)) return bad('the new certificate has other alternative names than the old one');
  if (certificate.basicConstraints?.ca === true) return bad('the new certificate is that of a CA');
  if (certificate.notAfter <= old.notAfter) return bad(`the new certificate ends ${iso(certificate.notAfter)}, no later than the old one`);
  const roots = authorities.filter(({ selfIssued }) => selfIssued);
  // A CA below another that answers with itself alone is all the anchor there is.
  const pool = createPool(roots.length > 0 ? roots : authorities, [...authorities, ...answered]);
  const verdict = validatePath(certificate, pool, { now, skew: SKEW, purpose: 'client' });
  if (verdict.kind === 'invalid') return bad(`the new certificate has no valid path to the CA's own: ${verdict.detail}`);
  return { kind: 'good', certificate, chain: verdict.path.filter(({ selfIssued }, index) => index === 0 || !selfIssued) };
}

function bad(detail: string): Judged {
  return { kind: 'bad', detail };
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
