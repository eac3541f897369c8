import { createPublicKey, X509Certificate, type KeyObject } from 'node:crypto';
import { spkiOf } from '../../ca/keys.ts';
import { parseCertificate, PkiError } from '../../pki/certificate.ts';
import { sameBytes } from '../../pki/der.ts';
import { createPool, validatePath } from '../../pki/path.ts';
import { pemBlocks } from '../../pki/pem.ts';

export type JudgedChain =
  | { readonly kind: 'good'; /** PEM: the leaf, and what stands above it. */ readonly chain: string }
  | { readonly kind: 'bad'; readonly detail: string };

/** A CA's clock may be ahead of ours by so much. */
const SKEW = 5 * 60_000;
const MOST = 10;

/**
 * Judges what an ACME CA has answered: a server's certificate of our key, for all of the names, valid now, first in a chain that holds together up to its last
 * certificate. Whether clients trust that one is theirs to say.
 */
export function judgeChain(answered: string, key: KeyObject, names: readonly string[], now: number): JudgedChain {
  try {
    const blocks = pemBlocks(answered);
    const certificates = blocks.map(({ der }) => parseCertificate(der));
    const [leaf, ...above] = certificates;
    if (leaf === undefined || blocks.some(({ label }) => label !== 'CERTIFICATE') || blocks.length > MOST) return bad('is no chain of certificates');
    if (!sameBytes(leaf.spki, spkiOf(createPublicKey(key)))) return bad('does not begin with a certificate of our key');
    if (leaf.basicConstraints?.ca === true) return bad('is the certificate of a CA');
    const missing = names.find((name) => new X509Certificate(leaf.der).checkHost(name, { subject: 'never', wildcards: false }) === undefined);
    if (missing !== undefined) return bad(`is not for ${missing}`);
    const anchor = above.at(-1) ?? leaf;
    const verdict = validatePath(leaf, createPool([anchor], above), { now, skew: SKEW, purpose: 'server' });
    if (verdict.kind === 'invalid') return bad(`does not hold together: ${verdict.detail}`);
    return { kind: 'good', chain: certificates.map(({ der }) => new X509Certificate(der).toString()).join('') };
  } catch (error) {
    if (!(error instanceof PkiError)) throw error;
    return bad(`cannot be read: ${error.message}`);
  }
}

function bad(detail: string): JudgedChain {
  return { kind: 'bad', detail: `the CA's answer ${detail}` };
}
