import { DEFAULT_ALGORITHMS, publicKeyKind, signatureScheme } from '../algorithms.ts';
import type { PublicKeyKind, SignatureScheme } from '../algorithms.ts';
import type { Certificate } from '../certificate.ts';
import { DerCursor, PkiError, readSingle, TAG, toHex } from '../der.ts';
import { rsaWeakness } from './rsa-weakness.ts';
import type { CertificateUse, Finding } from './rules.ts';

const NEW_KEY = 'issue it anew with a new key: P-256, or RSA of 3072 bits';

/** Key type, size, exponent and known weaknesses of generation. */
export function keyFindings(certificate: Certificate): readonly Finding[] {
  const kind = read(() => publicKeyKind(certificate.spki));
  if (kind === undefined) return [weak('the public key cannot be read, or has an exponent beyond all use')];
  switch (kind.family) {
    case 'rsa':
    case 'rsa-pss': return rsaFindings(certificate, kind);
    case 'ec': return kind.curve === 'SM2' || DEFAULT_ALGORITHMS.curves.has(kind.curve) ? [] : [weak(`EC on ${kind.curve}; expected P-256, P-384 or P-521 (Baseline Requirements section 6.1.5)`)];
    case 'dsa': return [weak('DSA; expected RSA, P-256, P-384, P-521 or Ed25519 (FIPS 186-5 has no DSA any more)')];
    case 'other': return [{ rule: 'key-size', severity: 'warning', detail: `a key of algorithm ${kind.oid}, which this version cannot judge`, remedy: 'expect the gateway to refuse it, and see for yourself what it is' }];
    case 'ed25519':
    case 'ed448': return [];
  }
}

function rsaFindings({ publicKeyBits }: Certificate, { bits, exponent }: Extract<PublicKeyKind, { readonly bits: number }>): readonly Finding[] {
  if (bits < DEFAULT_ALGORITHMS.minRsaBits) return [weak(`RSA of ${bits} bits; expected 2048 or more (RFC 9325 section 4.5, NIST SP 800-57 part 1)`)];
  if (exponent < 3 || exponent % 2 === 0) return [weak(`RSA with the public exponent ${exponent}, which protects nothing; expected 65537`)];
  const tooLarge = bits > DEFAULT_ALGORITHMS.maxRsaBits;
  // What is too large is refused anyway, and would take long to look at.
  const modulus = tooLarge ? undefined : modulusOf(publicKeyBits);
  const weakness = modulus === undefined ? undefined : rsaWeakness(modulus);
  return [
    ...(weakness === undefined ? [] : [weak(`RSA whose private key can be computed: ${weakness}`)]),
    ...(exponent >= 65_537 ? [] : [finding('warning', `RSA with the public exponent ${exponent}; expected 65537 or more (FIPS 186-5 section A.1.1)`, NEW_KEY)]),
    ...(!tooLarge ? [] : [finding('warning', `RSA of ${bits} bits; expected at most ${DEFAULT_ALGORITHMS.maxRsaBits}, beyond which the gateway refuses keys: verifying costs too much`, NEW_KEY)]),
    ...(bits % 8 === 0 ? [] : [finding('warning', `RSA of ${bits} bits, which is no whole number of octets (Baseline Requirements section 6.1.5); some software refuses it`, NEW_KEY)]),
    ...(bits >= 3072 ? [] : [finding('note', `RSA of ${bits} bits, a strength of 112 bits; 3072 are asked for what has to last beyond 2030 (NIST SP 800-57 part 1, table 4)`, 'take P-256 or RSA of 3072 bits with the next certificate')]),
  ];
}

function finding(severity: 'warning' | 'note', detail: string, remedy: string): Finding {
  return { rule: 'key-size', severity, detail, remedy };
}

function weak(detail: string): Finding {
  return { rule: 'weak-key', severity: 'error', detail, remedy: NEW_KEY };
}

function modulusOf(bits: Uint8Array): bigint | undefined {
  return read(() => BigInt(`0x${toHex(new DerCursor(readSingle(bits, TAG.sequence, 'RSA key').content, 'RSA key').expect(TAG.integer).content)}`));
}

/** The hash of the issuer's signature. That of a root protects nothing: it is trusted as it stands. */
export function signatureFindings(certificate: Certificate, use: CertificateUse): readonly Finding[] {
  const scheme = read(() => signatureScheme(certificate.signatureAlgorithm));
  const remedy = 'have it issued anew with SHA-256';
  if (scheme === undefined) return [{ rule: 'weak-signature', severity: 'warning', detail: `signed with ${certificate.signatureAlgorithm.oid}, which this version does not know`, remedy }];
  if (!('hash' in scheme) || scheme.family !== 'dsa' && DEFAULT_ALGORITHMS.hashes.has(scheme.hash)) return [];
  const detail = `signed with ${nameOf(scheme)}; expected SHA-256 or better (RFC 9325 section 4.5, Baseline Requirements section 7.1.3.2)`;
  return [{ rule: 'weak-signature', severity: use === 'ca' && certificate.selfIssued ? 'note' : 'error', detail, remedy }];
}

function nameOf(scheme: Extract<SignatureScheme, { readonly hash: string }>): string {
  return `${scheme.family.toUpperCase()} and ${scheme.hash.toUpperCase().replace(/^SHA(?=\d)/, 'SHA-')}`;
}

/** Parameters may be malformed where the certificate as a whole is not. */
function read<T>(reader: () => T): T | undefined {
  try {
    return reader();
  } catch (error) {
    if (error instanceof PkiError) return undefined;
    throw error;
  }
}
