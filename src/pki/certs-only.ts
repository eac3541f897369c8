import { decodeOid, decodeSmallInteger, DerCursor, malformed, readAll, readSingle, TAG } from './der.ts';

const SIGNED_DATA = '1.2.840.113549.1.7.2';
/** More certificates than any CA's chain has. */
const MOST = 32;

/**
 * The certificates (DER) of a certs-only CMS message (RFC 5652 section 5, RFC 5272 section 4.1): what `.p7c` files and EST answers are. Throws a
 * PkiError. Whoever signs such a message signs nothing: what the certificates are worth is for path validation. A reader of strict DER: CMS
 * allows BER, which EST servers in the field do not use.
 */
export function parseCertsOnly(der: Uint8Array): readonly Uint8Array[] {
  const what = 'certs-only message';
  const outer = new DerCursor(readSingle(der, TAG.sequence, what).content, what);
  const type = decodeOid(outer.expect(TAG.oid).content, what);
  if (type !== SIGNED_DATA) throw malformed(`${what}: content type ${type}`);
  const data = new DerCursor(readSingle(outer.expect(0xa0).content, TAG.sequence, what).content, what);
  outer.end();
  decodeSmallInteger(data.expect(TAG.integer).content, what);
  data.expect(TAG.set);
  data.expect(TAG.sequence);
  const certificates = readAll(data.optional(0xa0)?.content ?? new Uint8Array(), what);
  data.optional(0xa1);
  data.expect(TAG.set);
  data.end();
  if (certificates.length > MOST) throw malformed(`${what}: ${certificates.length} certificates`);
  return certificates.map(({ tag, der: certificate }) => {
    if (tag !== TAG.sequence) throw malformed(`${what}: a certificate of another kind than X.509`);
    return certificate;
  });
}
