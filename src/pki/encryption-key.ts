import { createPublicKey, type KeyObject } from 'node:crypto';

/** How a content encryption key is wrapped for a public key (RFC 7518 section 4.1). */
export type WrappingAlgorithm = 'ECDH-ES+A256KW' | 'RSA-OAEP-256';

export type EncryptionKey =
  | { readonly kind: 'key'; readonly key: KeyObject; readonly algorithm: WrappingAlgorithm }
  | { readonly kind: 'unusable'; readonly detail: string };

/** RFC 7518 section 4.3: 2048 bits or more; beyond the other bound a key is made to cost us. */
const RSA_BITS = [2048, 8192] as const;
/** RFC 7518 section 6.2.1.1. */
const CURVES: ReadonlySet<string> = new Set(['prime256v1', 'secp384r1', 'secp521r1']);

/** Whether something can be encrypted to a public key (DER of its SubjectPublicKeyInfo), and how. */
export function encryptionKey(spki: Uint8Array): EncryptionKey {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch {
    return unusable('a key that cannot be read');
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: { modulusLength = 0, publicExponent = 0n, namedCurve = 'given by its parameters' } = {} } = key;
  switch (type) {
    case 'rsa':
      if (modulusLength < RSA_BITS[0] || modulusLength > RSA_BITS[1]) return unusable(`an RSA key of ${modulusLength} bits`);
      return publicExponent < 3n ? unusable('an RSA key with an exponent below 3') : { kind: 'key', key, algorithm: 'RSA-OAEP-256' };
    case 'ec': return CURVES.has(namedCurve) ? { kind: 'key', key, algorithm: 'ECDH-ES+A256KW' } : unusable(`an EC key on the curve ${namedCurve}`);
    case 'x25519': return { kind: 'key', key, algorithm: 'ECDH-ES+A256KW' };
    // Ed25519 and RSA-PSS keys are for signatures only.
    default: return unusable(`a key of the type ${type ?? 'unknown'}`);
  }
}

function unusable(detail: string): EncryptionKey {
  return { kind: 'unusable', detail };
}
