import { constants } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import type { TlsProfile } from '../config/schema.ts';

/** What a profile allows, in Node's terms. */
export type ProfileOptions = Pick<SecureContextOptions, 'minVersion' | 'maxVersion' | 'ciphers' | 'ecdhCurve' | 'sigalgs' | 'secureOptions' | 'honorCipherOrder'>;

const SUITES_13 = ['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];
const SUITES_12 = ['ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384'];
// Hybrid post-quantum first (draft-ietf-tls-ecdhe-mlkem), then what everyone has.
const GROUPS = 'X25519MLKEM768:X25519:P-256:P-384';
// No SHA-1, no RSA below PSS or PKCS#1 with SHA-256 (RFC 9155).
const SIGNATURES = [
  'ed25519', 'ecdsa_secp256r1_sha256', 'ecdsa_secp384r1_sha384', 'ecdsa_secp521r1_sha512',
  'rsa_pss_rsae_sha256', 'rsa_pss_rsae_sha384', 'rsa_pss_rsae_sha512', 'rsa_pss_pss_sha256', 'rsa_pss_pss_sha384',
  'rsa_pss_pss_sha512', 'rsa_pkcs1_sha256', 'rsa_pkcs1_sha384', 'rsa_pkcs1_sha512',
].join(':');

const COMMON = {
  sigalgs: SIGNATURES,
  honorCipherOrder: true,
  // RFC 9325: no compression, no renegotiation.
  secureOptions: constants.SSL_OP_NO_COMPRESSION | constants.SSL_OP_NO_RENEGOTIATION,
} as const;

/**
 * The TLS options of a profile. `bcp195` is RFC 9325 narrowed to four suites; `modern` is TLS 1.3 alone. The schema
 * admits others that this version does not serve yet: those never reach this function.
 */
export function profileOptions(profile: TlsProfile): ProfileOptions {
  switch (profile) {
    case 'modern':
      return { ...COMMON, minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3', ciphers: SUITES_13.join(':'), ecdhCurve: GROUPS };
    case 'bcp195':
      return { ...COMMON, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3', ciphers: [...SUITES_13, ...SUITES_12].join(':'), ecdhCurve: GROUPS };
    default:
      throw new RangeError(`the TLS profile ${profile} is not available in this version`);
  }
}
