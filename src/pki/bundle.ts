import { parseCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { decodeOid, DerCursor, malformed, readAll, readSingle, TAG } from './der.ts';
import { pemBlocks } from './pem.ts';

const SIGNED_DATA = '1.2.840.113549.1.7.2';
const CONTEXT_0 = 0xa0;

/**
 * The certificates of a file in any of the forms that RFC 5280 section 4.2.2.1 has issuers published in: one as DER, a certs-only
 * CMS message (RFC 5751 section 3.7), or PEM of both. Those that cannot be read are left out. Throws a PkiError when none is left.
 */
export function readBundle(bytes: Uint8Array, most: number): readonly Certificate[] {
  const certificates = certificatesIn(bytes).slice(0, most).flatMap(readable);
  if (certificates.length === 0) throw malformed('no certificate that can be read');
  return certificates;
}

function certificatesIn(bytes: Uint8Array): readonly Uint8Array[] {
  if (bytes[0] === TAG.sequence) return certificatesOf(bytes);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  return pemBlocks(text).flatMap(({ label, der }) => (label === 'CERTIFICATE' ? [der] : label === 'PKCS7' || label === 'CMS' ? certificatesOf(der) : []));
}

function certificatesOf(der: Uint8Array): readonly Uint8Array[] {
  const inner = new DerCursor(readSingle(der, TAG.sequence, 'certificates').content, 'certificates');
  // A certificate begins with a SEQUENCE, a CMS message with its type.
  return inner.tag === TAG.oid ? messageCertificates(inner) : [der];
}

/** Whoever signed the message, if anybody did: certificates prove themselves, by the path that they are on. */
function messageCertificates(message: DerCursor): readonly Uint8Array[] {
  const type = decodeOid(message.expect(TAG.oid).content, 'CMS');
  if (type !== SIGNED_DATA) throw malformed(`CMS: content of type ${type}`);
  const signed = message.enter(CONTEXT_0).enter(TAG.sequence, 'CMS');
  signed.expect(TAG.integer);
  signed.expect(TAG.set);
  signed.expect(TAG.sequence);
  const certificates = signed.optional(CONTEXT_0);
  if (certificates === undefined) return [];
  return readAll(certificates.content, 'CMS').filter(({ tag }) => tag === TAG.sequence).map((element) => element.der);
}

function readable(der: Uint8Array): readonly Certificate[] {
  try {
    return [parseCertificate(der)];
  } catch {
    return [];
  }
}
