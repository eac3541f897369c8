import { bitStringOctets, decodeOid, decodeSmallInteger, DerCursor, malformed, readSingle, TAG } from './der.ts';

/** As much of an AlgorithmIdentifier as deciding needs. */
export interface AlgorithmReference {
  readonly oid: string;
  /** DER of the parameters; absent where there are none. */
  readonly parameters?: Uint8Array;
}

export type HashName = 'md5' | 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512' | 'sha512-256' | 'sha3-256' | 'sha3-384' | 'sha3-512' | 'sm3';

export type SignatureScheme =
  | { readonly family: 'rsa' | 'ecdsa' | 'dsa' | 'sm2'; readonly hash: HashName }
  | { readonly family: 'rsa-pss'; readonly hash: HashName; readonly saltLength: number }
  | { readonly family: 'ed25519' | 'ed448' };

export type PublicKeyKind =
  | { readonly family: 'rsa' | 'rsa-pss'; readonly bits: number; readonly exponent: number }
  | { readonly family: 'ec'; readonly curve: string }
  | { readonly family: 'ed25519' | 'ed448' }
  | { readonly family: 'dsa' }
  | { readonly family: 'other'; readonly oid: string };

/** Which signatures and keys count. A key or signature outside is refused, however right it is. */
export interface AlgorithmProfile {
  readonly hashes: ReadonlySet<HashName>;
  readonly minRsaBits: number;
  /** Verification time grows with the square of it, and a stranger chooses his key. */
  readonly maxRsaBits: number;
  /** As named in `PublicKeyKind`: `P-256`, … */
  readonly curves: ReadonlySet<string>;
  readonly dsa: boolean;
}

/** RSA from 2048 bits, P-256, P-384, P-521, SM2, Ed25519 and Ed448, with SHA-2 from 256 bits, SHA-3 or SM3. */
export const DEFAULT_ALGORITHMS: AlgorithmProfile = {
  hashes: new Set<HashName>(['sha256', 'sha384', 'sha512', 'sha512-256', 'sha3-256', 'sha3-384', 'sha3-512', 'sm3']),
  minRsaBits: 2048,
  maxRsaBits: 8192,
  curves: new Set(['P-256', 'P-384', 'P-521', 'SM2']),
  dsa: false,
};

const HASHES: Readonly<Record<string, HashName>> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.4': 'sha224',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
  '2.16.840.1.101.3.4.2.6': 'sha512-256',
  '2.16.840.1.101.3.4.2.8': 'sha3-256',
  '2.16.840.1.101.3.4.2.9': 'sha3-384',
  '2.16.840.1.101.3.4.2.10': 'sha3-512',
};

type PlainScheme = Extract<SignatureScheme, { readonly family: 'rsa' | 'ecdsa' | 'dsa' | 'sm2' }>;

const SCHEMES: Readonly<Record<string, PlainScheme>> = {
  '1.2.840.113549.1.1.4': { family: 'rsa', hash: 'md5' },
  '1.2.840.113549.1.1.5': { family: 'rsa', hash: 'sha1' },
  '1.2.840.113549.1.1.14': { family: 'rsa', hash: 'sha224' },
  '1.2.840.113549.1.1.11': { family: 'rsa', hash: 'sha256' },
  '1.2.840.113549.1.1.12': { family: 'rsa', hash: 'sha384' },
  '1.2.840.113549.1.1.13': { family: 'rsa', hash: 'sha512' },
  '1.2.840.10045.4.1': { family: 'ecdsa', hash: 'sha1' },
  '1.2.840.10045.4.3.1': { family: 'ecdsa', hash: 'sha224' },
  '1.2.840.10045.4.3.2': { family: 'ecdsa', hash: 'sha256' },
  '1.2.840.10045.4.3.3': { family: 'ecdsa', hash: 'sha384' },
  '1.2.840.10045.4.3.4': { family: 'ecdsa', hash: 'sha512' },
  '2.16.840.1.101.3.4.3.10': { family: 'ecdsa', hash: 'sha3-256' },
  '2.16.840.1.101.3.4.3.11': { family: 'ecdsa', hash: 'sha3-384' },
  '2.16.840.1.101.3.4.3.12': { family: 'ecdsa', hash: 'sha3-512' },
  '1.2.840.10040.4.3': { family: 'dsa', hash: 'sha1' },
  '2.16.840.1.101.3.4.3.2': { family: 'dsa', hash: 'sha256' },
  '1.2.156.10197.1.501': { family: 'sm2', hash: 'sm3' },
};

const EDWARDS: Readonly<Record<string, 'ed25519' | 'ed448'>> = { '1.3.101.112': 'ed25519', '1.3.101.113': 'ed448' };

const CURVES: Readonly<Record<string, string>> = {
  '1.2.840.10045.3.1.1': 'P-192',
  '1.3.132.0.33': 'P-224',
  '1.2.840.10045.3.1.7': 'P-256',
  '1.3.132.0.34': 'P-384',
  '1.3.132.0.35': 'P-521',
  '1.2.156.10197.1.301': 'SM2',
};

const RSA_PSS = '1.2.840.113549.1.1.10';
const MGF1 = '1.2.840.113549.1.1.8';

/** What a signature's AlgorithmIdentifier asks for, or undefined if we do not know it. Throws a PkiError on malformed parameters. */
export function signatureScheme(algorithm: AlgorithmReference): SignatureScheme | undefined {
  const { oid, parameters } = algorithm;
  if (oid === RSA_PSS) return pssScheme(parameters);
  const edwards = EDWARDS[oid];
  if (edwards !== undefined) return parameters === undefined ? { family: edwards } : undefined;
  const scheme = SCHEMES[oid];
  // RFC 4055 wants NULL with RSA, RFC 5758 nothing with ECDSA and DSA; issuers mix the two up, and neither says anything.
  return scheme !== undefined && (parameters === undefined || isNull(parameters)) ? scheme : undefined;
}

function isNull(parameters: Uint8Array): boolean {
  return parameters.length === 2 && parameters[0] === TAG.null && parameters[1] === 0;
}

// RFC 4055 section 3.1. Defaults are SHA-1 with a salt of 20 octets, which no profile of ours allows.
function pssScheme(parameters: Uint8Array | undefined): SignatureScheme | undefined {
  const what = 'RSASSA-PSS parameters';
  if (parameters === undefined) return undefined;
  const cursor = new DerCursor(readSingle(parameters, TAG.sequence, what).content, what);
  const hash = hashOf(cursor.optional(0xa0)?.content, what);
  const mask = maskHashOf(cursor.optional(0xa1)?.content, what);
  const salt = cursor.optional(0xa2);
  const trailer = cursor.optional(0xa3);
  cursor.end();
  const saltLength = salt === undefined ? 20 : decodeSmallInteger(readSingle(salt.content, TAG.integer, what).content, what);
  const trailerField = trailer === undefined ? 1 : decodeSmallInteger(readSingle(trailer.content, TAG.integer, what).content, what);
  // Node takes one hash for both; every issuer in use does too (RFC 4055 section 3.1 recommends it).
  if (hash === undefined || mask !== hash || trailerField !== 1 || saltLength > 512) return undefined;
  return { family: 'rsa-pss', hash, saltLength };
}

function hashOf(content: Uint8Array | undefined, what: string): HashName | undefined {
  if (content === undefined) return 'sha1';
  const cursor = new DerCursor(readSingle(content, TAG.sequence, what).content, what);
  return HASHES[decodeOid(cursor.expect(TAG.oid).content, what)];
}

function maskHashOf(content: Uint8Array | undefined, what: string): HashName | undefined {
  if (content === undefined) return 'sha1';
  const cursor = new DerCursor(readSingle(content, TAG.sequence, what).content, what);
  if (decodeOid(cursor.expect(TAG.oid).content, what) !== MGF1) return undefined;
  return hashOf(cursor.next().der, what);
}

/** What key a SubjectPublicKeyInfo holds. Throws a PkiError if it is malformed. */
export function publicKeyKind(spki: Uint8Array): PublicKeyKind {
  const what = 'public key';
  const cursor = new DerCursor(readSingle(spki, TAG.sequence, what).content, what);
  const algorithm = cursor.enter(TAG.sequence);
  const oid = decodeOid(algorithm.expect(TAG.oid).content, what);
  const key = bitStringOctets(cursor.expect(TAG.bitString).content, what).octets;
  if (oid === '1.2.840.113549.1.1.1') return { family: 'rsa', ...rsaSize(key) };
  if (oid === RSA_PSS) return { family: 'rsa-pss', ...rsaSize(key) };
  if (oid === '1.2.840.10045.2.1') return { family: 'ec', curve: curveName(algorithm) };
  const edwards = EDWARDS[oid];
  if (edwards !== undefined) return { family: edwards };
  return oid === '1.2.840.10040.4.1' ? { family: 'dsa' } : { family: 'other', oid };
}

function rsaSize(key: Uint8Array): { bits: number; exponent: number } {
  const cursor = new DerCursor(readSingle(key, TAG.sequence, 'RSA key').content, 'RSA key');
  const modulus = cursor.expect(TAG.integer).content;
  const exponent = decodeSmallInteger(cursor.expect(TAG.integer).content, 'RSA exponent');
  cursor.end();
  const significant = modulus[0] === 0 ? modulus.subarray(1) : modulus;
  const top = significant[0];
  if (top === undefined || top === 0) throw malformed('RSA key: modulus');
  return { bits: significant.length * 8 - (Math.clz32(top) - 24), exponent };
}

// Explicit parameters allow a curve whose generator the attacker chose (CVE-2020-0601): a name or nothing.
function curveName(algorithm: DerCursor): string {
  const name = algorithm.optional(TAG.oid);
  if (name === undefined) return 'explicit parameters';
  const oid = decodeOid(name.content, 'public key');
  return CURVES[oid] ?? oid;
}

/** Why a profile refuses a key, or undefined if it takes it. Throws a PkiError if the key is malformed. */
export function keyRefusal(spki: Uint8Array, profile: AlgorithmProfile): string | undefined {
  const key = publicKeyKind(spki);
  switch (key.family) {
    case 'rsa':
    case 'rsa-pss':
      if (key.bits < profile.minRsaBits || key.bits > profile.maxRsaBits) return `RSA key of ${key.bits} bits`;
      // An exponent of 1 would make every message its own signature.
      return key.exponent >= 3 && key.exponent % 2 === 1 ? undefined : `RSA key with exponent ${key.exponent}`;
    case 'ec':
      return profile.curves.has(key.curve) ? undefined : `EC key on ${key.curve}`;
    case 'ed25519':
    case 'ed448':
      return undefined;
    case 'dsa':
      return profile.dsa ? undefined : 'DSA key';
    case 'other':
      return `key of unknown algorithm ${key.oid}`;
  }
}

/** Why a profile refuses a signature algorithm, or undefined if it takes it. Throws a PkiError on malformed parameters. */
export function algorithmRefusal(algorithm: AlgorithmReference, profile: AlgorithmProfile): string | undefined {
  const scheme = signatureScheme(algorithm);
  if (scheme === undefined) return `unknown signature algorithm ${algorithm.oid}`;
  if (scheme.family === 'dsa' && !profile.dsa) return 'signature algorithm dsa';
  if ('hash' in scheme && !profile.hashes.has(scheme.hash)) return `signature algorithm ${scheme.family} with ${scheme.hash}`;
  return undefined;
}
