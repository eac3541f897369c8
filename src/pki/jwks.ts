import { createHash, createPublicKey, type JsonWebKeyInput, type KeyObject } from 'node:crypto';
import type { TokenAlgorithm } from '../config/schema.ts';

/** A public key of a JSON Web Key Set. Structured-cloneable. */
export interface TokenKey {
  /** What a token names it by; absent when the set does not say. */
  readonly kid?: string;
  /** SHA-256 of its SubjectPublicKeyInfo, lowercase hex: the same key under another name is the same key. */
  readonly sha256: string;
  /** DER of a SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** The algorithms that it may verify: those of its kind, or the one that the set says. */
  readonly algorithms: readonly TokenAlgorithm[];
}

/** What a key set turned out to hold; `ignored` says which of its keys are not used, and why. */
export type KeySetReading =
  | { readonly kind: 'set'; readonly keys: readonly TokenKey[]; readonly ignored: readonly string[] }
  | { readonly kind: 'fault'; readonly detail: string };

/** Octets of a key set. */
export const LARGEST_KEY_SET = 256 * 1024;

const MOST_KEYS = 64;
const LONGEST_KID = 256;
const LEAST_RSA_BITS = 2048;
/** A longer one costs so much to verify with that tokens could be used to keep the gateway busy. */
const MOST_RSA_BITS = 8192;
/** SP 800-56B section 6.2.1: smaller exponents forgive mistakes in padding that nobody should make, and larger ones cost. */
const LEAST_EXPONENT = 65_537n;
const MOST_EXPONENT = 1n << 32n;
/** Of RFC 7518 section 6.2.2 and 6.3.2, and RFC 8037 section 2. */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'] as const;

const BY_CURVE: ReadonlyMap<string, readonly TokenAlgorithm[]> = new Map([['EC P-256', ['ES256']], ['EC P-384', ['ES384']], ['OKP Ed25519', ['EdDSA', 'Ed25519']]]);
const BY_RSA: readonly TokenAlgorithm[] = ['PS256', 'PS384', 'RS256', 'RS384'];

/**
 * Reads a JSON Web Key Set (RFC 7517). A key that cannot be used, or must not be, is left out and the others stay (section 5): symmetric ones,
 * those for encryption, of other curves, weak ones, and any that is published with its private half.
 */
export function readKeySet(bytes: Uint8Array): KeySetReading {
  if (bytes.length > LARGEST_KEY_SET) return fault(`longer than ${LARGEST_KEY_SET} octets`);
  const set = parseObject(bytes);
  const listed = set?.['keys'];
  if (!Array.isArray(listed)) return fault('no JSON Web Key Set: expected { "keys": […] }');
  if (listed.length > MOST_KEYS) return fault(`more than ${MOST_KEYS} keys`);
  const read = listed.map((one: unknown, index) => readKey(one, index));
  return { kind: 'set', keys: read.filter((one) => typeof one !== 'string'), ignored: read.filter((one) => typeof one === 'string') };
}

/** The key, ready to verify with. */
export function publicKeyOf({ spki }: TokenKey): KeyObject {
  return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
}

/** The key, or why it is left out. */
function readKey(value: unknown, index: number): TokenKey | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return `keys[${index}] is no object`;
  const jwk = value as Readonly<Record<string, unknown>>;
  const { kid, kty, crv, alg, use, key_ops: operations } = jwk;
  const left = (why: string): string => `keys[${index}] ${why}`;
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > LONGEST_KID)) return left('has a kid that is no short text');
  const possible = kty === 'RSA' ? BY_RSA : typeof kty === 'string' && typeof crv === 'string' ? BY_CURVE.get(`${kty} ${crv}`) : undefined;
  if (possible === undefined) return left('is of a kind that is not used here: expected EC P-256 or P-384, Ed25519 or RSA');
  if (PRIVATE_MEMBERS.some((member) => member in jwk)) return left('is published with its private half');
  if (use !== undefined && use !== 'sig') return left('is not for signatures');
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return left('is not for signatures');
  // RFC 9864: two names for one algorithm.
  const algorithms = alg === undefined ? possible : possible.filter((one) => one === alg || (kty === 'OKP' && possible.includes(alg as TokenAlgorithm)));
  if (algorithms.length === 0) return left('is for an algorithm that is not used here');
  try {
    // Only what makes the key: nothing else of the object is looked at.
    const key = createPublicKey({ key: { kty, crv, x: jwk['x'], y: jwk['y'], n: jwk['n'], e: jwk['e'] } as JsonWebKeyInput['key'], format: 'jwk' });
    const weakness = weaknessOf(key);
    if (weakness !== undefined) return left(weakness);
    const spki = new Uint8Array(key.export({ type: 'spki', format: 'der' }));
    return { ...(kid === undefined ? {} : { kid }), sha256: createHash('sha256').update(spki).digest('hex'), spki, algorithms };
  } catch {
    return left('cannot be read');
  }
}

function weaknessOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string | undefined {
  if (asymmetricKeyType !== 'rsa') return undefined;
  const { modulusLength = 0, publicExponent = 0n } = asymmetricKeyDetails ?? {};
  if (modulusLength < LEAST_RSA_BITS || modulusLength > MOST_RSA_BITS) return `is an RSA key of ${modulusLength} bits; expected ${LEAST_RSA_BITS} to ${MOST_RSA_BITS}`;
  return publicExponent < LEAST_EXPONENT || publicExponent > MOST_EXPONENT ? 'is an RSA key with an exponent that is not used here' : undefined;
}

function parseObject(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return typeof value === 'object' && value !== null ? value as Readonly<Record<string, unknown>> : undefined;
  } catch {
    return undefined;
  }
}

function fault(detail: string): KeySetReading {
  return { kind: 'fault', detail };
}
