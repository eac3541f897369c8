import { createHash, createPrivateKey, createPublicKey, generateKeyPair, sign, constants } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { PublicKeyInfo } from 'pkijs';
import { context, integer, nullValue, oid, sequence } from './der.ts';

/** `ec` is P-256 and `rsa` is 2048 bits; `rsa1024` exists for tests that must see it refused. */
export type KeyType = 'ec' | 'ec384' | 'ec521' | 'rsa' | 'rsa1024' | 'rsa3072' | 'rsa4096' | 'ed25519' | 'ed448';
export type SignatureHash = 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512';

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

const generate = promisify(generateKeyPair) as unknown as (type: string, options: object) => Promise<KeyPair>;
const signAsync = promisify(sign) as (hash: string | null, data: Uint8Array, key: object) => Promise<Buffer>;

/** A fresh key pair from the operating system's random source. */
export function generateKey(type: KeyType): Promise<KeyPair> {
  if (type === 'ec') return generate('ec', { namedCurve: 'P-256' });
  if (type === 'ec384') return generate('ec', { namedCurve: 'P-384' });
  if (type === 'ec521') return generate('ec', { namedCurve: 'P-521' });
  if (type === 'ed25519' || type === 'ed448') return generate(type, {});
  return generate('rsa', { modulusLength: type === 'rsa' ? 2048 : Number(type.slice(3)), publicExponent: 0x10001 });
}

/** The pair of an existing private key: PEM (PKCS#8, PKCS#1, SEC1) or a KeyObject. */
export function keyPairOf(key: string | KeyObject): KeyPair {
  const privateKey = typeof key === 'string' ? createPrivateKey(key) : key;
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

export function spkiOf(key: KeyObject): Buffer {
  return (key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' });
}

/** The subjectPublicKey bits of a SubjectPublicKeyInfo: what key identifiers and OCSP key hashes are taken over. */
export function publicKeyBits(spki: Uint8Array): Uint8Array {
  return PublicKeyInfo.fromBER(spki).subjectPublicKey.valueBlock.valueHexView;
}

/** SHA-1 of the public key bits: RFC 5280 §4.2.1.2 method 1, and the OCSP key hash. */
export function keyIdentifierOf(spki: Uint8Array): Buffer {
  return createHash('sha1').update(publicKeyBits(spki)).digest();
}

/** How a key signs: the AlgorithmIdentifier that says so, and the act. */
export interface Signer {
  readonly algorithm: Buffer;
  sign(data: Uint8Array): Promise<Buffer>;
}

const hashOids: Readonly<Record<SignatureHash, string>> = {
  sha1: '1.3.14.3.2.26', sha224: '2.16.840.1.101.3.4.2.4', sha256: '2.16.840.1.101.3.4.2.1', sha384: '2.16.840.1.101.3.4.2.2', sha512: '2.16.840.1.101.3.4.2.3',
};
const rsaOids: Readonly<Record<SignatureHash, string>> = {
  sha1: '1.2.840.113549.1.1.5', sha224: '1.2.840.113549.1.1.14', sha256: '1.2.840.113549.1.1.11', sha384: '1.2.840.113549.1.1.12', sha512: '1.2.840.113549.1.1.13',
};
const ecdsaOids: Readonly<Record<SignatureHash, string>> = {
  sha1: '1.2.840.10045.4.1', sha224: '1.2.840.10045.4.3.1', sha256: '1.2.840.10045.4.3.2', sha384: '1.2.840.10045.4.3.3', sha512: '1.2.840.10045.4.3.4',
};
const hashLength: Readonly<Record<SignatureHash, number>> = { sha1: 20, sha224: 28, sha256: 32, sha384: 48, sha512: 64 };

/**
 * The signer of a private key. The default hash is SHA-256, SHA-384 for P-384 and SHA-512 for P-521 (RFC 5758, RFC 8603).
 * `pss` signs with RSASSA-PSS (RFC 4055) and is for RSA keys only. Edwards curves take no hash (RFC 8410).
 */
export function signerOf(key: KeyObject, options: { hash?: SignatureHash | undefined; pss?: boolean | undefined } = {}): Signer {
  const kind = key.asymmetricKeyType;
  if (kind === 'ed25519' || kind === 'ed448') {
    return { algorithm: sequence(oid(kind === 'ed25519' ? '1.3.101.112' : '1.3.101.113')), sign: (data) => signAsync(null, data, key) };
  }
  const hash = options.hash ?? defaultHash(key);
  if (kind === 'ec') return { algorithm: sequence(oid(ecdsaOids[hash])), sign: (data) => signAsync(hash, data, key) };
  if (kind !== 'rsa') throw new TypeError(`key: ${kind ?? 'unknown'} cannot sign; expected rsa, ec, ed25519 or ed448`);
  if (options.pss === true) {
    const pss = { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: hashLength[hash] };
    return { algorithm: pssAlgorithm(hash), sign: (data) => signAsync(hash, data, pss) };
  }
  return { algorithm: sequence(oid(rsaOids[hash]), nullValue()), sign: (data) => signAsync(hash, data, key) };
}

function defaultHash(key: KeyObject): SignatureHash {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (curve === 'secp384r1') return 'sha384';
  if (curve === 'secp521r1') return 'sha512';
  return 'sha256';
}

function pssAlgorithm(hash: SignatureHash): Buffer {
  const digest = sequence(oid(hashOids[hash]), nullValue());
  const mask = sequence(oid('1.2.840.113549.1.1.8'), digest);
  return sequence(oid('1.2.840.113549.1.1.10'), sequence(context(0, digest), context(1, mask), context(2, integer(hashLength[hash]))));
}
