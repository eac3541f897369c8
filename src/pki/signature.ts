import { constants, createPublicKey, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { algorithmRefusal, keyRefusal, publicKeyKind, signatureScheme } from './algorithms.ts';
import type { AlgorithmProfile, AlgorithmReference, PublicKeyKind, SignatureScheme } from './algorithms.ts';
import { PkiError } from './der.ts';
import { verifySm2 } from './sm2.ts';

export interface SignedData {
  /** The octets that were signed, as they stand: a tbsCertificate, tbsCertList or tbsResponseData with its header. */
  readonly tbs: Uint8Array;
  readonly algorithm: AlgorithmReference;
  /** Contents of the BIT STRING without its count of unused bits. */
  readonly signature: Uint8Array;
  /** SubjectPublicKeyInfo of the signer. */
  readonly spki: Uint8Array;
}

export type SignatureVerdict =
  | { readonly kind: 'valid' }
  /** The key did not make this signature, or one of the two makes no sense. */
  | { readonly kind: 'invalid'; readonly detail: string }
  /** Not looked at: the profile does not allow the algorithm or the key. */
  | { readonly kind: 'not_allowed'; readonly detail: string };

/** Verifies the signature of a certificate, CRL, OCSP answer or request, under a profile. Synchronous; never throws. */
export function verifySignature(signed: SignedData, profile: AlgorithmProfile): SignatureVerdict {
  try {
    const refusal = algorithmRefusal(signed.algorithm, profile) ?? keyRefusal(signed.spki, profile);
    if (refusal !== undefined) return { kind: 'not_allowed', detail: refusal };
    const scheme = signatureScheme(signed.algorithm) as SignatureScheme;
    const key = publicKeyKind(signed.spki);
    if (!fits(scheme, key)) return { kind: 'invalid', detail: `${scheme.family} signature and ${key.family} key` };
    return matches(signed, scheme) ? { kind: 'valid' } : { kind: 'invalid', detail: 'signature does not match' };
  } catch (error) {
    // OpenSSL refuses points off the curve and the like with errors of its own.
    const detail = error instanceof PkiError ? error.message : 'key or signature cannot be read';
    return { kind: 'invalid', detail };
  }
}

function fits(scheme: SignatureScheme, key: PublicKeyKind): boolean {
  switch (scheme.family) {
    case 'rsa':
      return key.family === 'rsa';
    case 'rsa-pss':
      return key.family === 'rsa' || key.family === 'rsa-pss';
    case 'ecdsa':
      return key.family === 'ec' && key.curve !== 'SM2';
    case 'sm2':
      return key.family === 'ec' && key.curve === 'SM2';
    default:
      return key.family === scheme.family;
  }
}

function matches({ tbs, signature, spki }: SignedData, scheme: SignatureScheme): boolean {
  const key = createPublicKey({ key: Buffer.from(spki.buffer, spki.byteOffset, spki.byteLength), format: 'der', type: 'spki' });
  if (scheme.family === 'sm2' && verifySm2(tbs, signature, spki)) return true;
  if (!('hash' in scheme)) return verify(null, tbs, key, signature);
  return verify(scheme.hash, tbs, scheme.family === 'rsa-pss' ? pssKey(key, scheme.saltLength) : key, signature);
}

function pssKey(key: KeyObject, saltLength: number): { key: KeyObject; padding: number; saltLength: number } {
  return { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength };
}
