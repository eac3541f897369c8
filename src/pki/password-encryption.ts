import { createDecipheriv, createHash, createHmac, pbkdf2Sync, scryptSync } from 'node:crypto';
import { Integer, Null, ObjectIdentifier, OctetString, Sequence, type BaseBlock } from 'asn1js';
import { decryptRc2Cbc } from './rc2.ts';

/** Why something that is protected by a passphrase cannot be had. Messages hold nothing of what is inside. */
export type ProtectionErrorCode = 'malformed' | 'unsupported' | 'passphrase';

export class ProtectionError extends Error {
  readonly code: ProtectionErrorCode;

  constructor(code: ProtectionErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ProtectionError';
    this.code = code;
  }
}

/** An algorithm and its parameters, as ASN.1. */
export interface Algorithm {
  readonly oid: string;
  readonly parameters: BaseBlock | undefined;
}

const OID = {
  pbes2: '1.2.840.113549.1.5.13',
  pbmac1: '1.2.840.113549.1.5.14',
  pbkdf2: '1.2.840.113549.1.5.12',
  scrypt: '1.3.6.1.4.1.11591.4.11',
} as const;

const CIPHERS: Readonly<Record<string, { readonly name: string; readonly length: number }>> = {
  '2.16.840.1.101.3.4.1.2': { name: 'aes-128-cbc', length: 16 },
  '2.16.840.1.101.3.4.1.22': { name: 'aes-192-cbc', length: 24 },
  '2.16.840.1.101.3.4.1.42': { name: 'aes-256-cbc', length: 32 },
  '1.2.840.113549.3.7': { name: 'des-ede3-cbc', length: 24 },
};

/** Password-based encryption of PKCS#12 itself (RFC 7292 appendix C), all of it with SHA-1. */
const OLD_FORMS: Readonly<Record<string, { readonly called: string; readonly length: number }>> = {
  '1.2.840.113549.1.12.1.3': { called: 'triple DES', length: 24 },
  '1.2.840.113549.1.12.1.4': { called: 'triple DES of two keys', length: 16 },
  '1.2.840.113549.1.12.1.5': { called: 'RC2', length: 16 },
  '1.2.840.113549.1.12.1.6': { called: 'RC2 of 40 bits', length: 5 },
};

const PRFS: Readonly<Record<string, string>> = {
  '1.2.840.113549.2.7': 'sha1', '1.2.840.113549.2.8': 'sha224', '1.2.840.113549.2.9': 'sha256', '1.2.840.113549.2.10': 'sha384', '1.2.840.113549.2.11': 'sha512',
};

const DIGESTS: Readonly<Record<string, { readonly name: string; readonly length: number; readonly block: number }>> = {
  '1.3.14.3.2.26': { name: 'sha1', length: 20, block: 64 },
  '2.16.840.1.101.3.4.2.1': { name: 'sha256', length: 32, block: 64 },
  '2.16.840.1.101.3.4.2.2': { name: 'sha384', length: 48, block: 128 },
  '2.16.840.1.101.3.4.2.3': { name: 'sha512', length: 64, block: 128 },
};

/** What a derivation may cost at most, all of a file's together, in rounds of PBKDF2: more than any program writes, and seconds of work. Whatever waits for the key waits for it. */
const MOST_ROUNDS = 10_000_000;
/** Of those, what a round of the old derivation costs, which is done here and not in OpenSSL. */
const OLD_ROUND = 10;
const MOST_SCRYPT_BYTES = 256 * 1024 ** 2;
/** Octets of a key that somebody names the length of himself: a MAC's. */
const LONGEST_KEY = 128;

/** Takes so many rounds off what a file may cost; throws a ProtectionError when it asks for more. */
export type Spend = (rounds: number) => void;

/** What one file may cost. */
export function derivationBudget(): Spend {
  let left = MOST_ROUNDS;
  return (rounds) => {
    left -= rounds;
    if (!(left >= 0)) throw new ProtectionError('unsupported', `it asks for more than ${MOST_ROUNDS} rounds of derivation`);
  };
}

/** Old encryption, by the name it is called; `undefined` for what is up to date. */
export function weakness({ oid, parameters }: Algorithm): string | undefined {
  const old = OLD_FORMS[oid]?.called;
  if (old !== undefined || oid !== OID.pbes2) return old;
  return CIPHERS[pbes2Parts(parameters).scheme.oid]?.name === 'des-ede3-cbc' ? 'triple DES' : undefined;
}

/** Decrypts what is encrypted under a passphrase: PBES2 (RFC 8018) or a form of PKCS#12. Throws a ProtectionError. */
export function decrypt(algorithm: Algorithm, data: Uint8Array, passphrase: string, spend: Spend): Buffer {
  if (algorithm.oid === OID.pbes2) return decryptPbes2(algorithm.parameters, data, passphrase, spend);
  const old = OLD_FORMS[algorithm.oid];
  if (old === undefined) throw new ProtectionError('unsupported', `it is encrypted by ${algorithm.oid}`);
  const [salt, iterations] = pbeParameters(algorithm.parameters);
  const sha1 = DIGESTS['1.3.14.3.2.26'];
  if (sha1 === undefined) throw new Error('no SHA-1');
  const derived = (purpose: number, length: number): Buffer => pkcs12Key({ digest: sha1, purpose, passphrase, salt, iterations, length }, spend);
  const [key, iv] = [derived(1, old.length), derived(2, 8)];
  if (old.called.startsWith('RC2')) return unpadded(decryptRc2Cbc(key, iv, data));
  return decipher('des-ede3-cbc', old.length === 16 ? Buffer.concat([key, key.subarray(0, 8)]) : key, iv, data);
}

/** The MAC of a PKCS#12 file: by its own derivation, or PBMAC1 (RFC 9579). `undefined` for an algorithm nobody here knows. */
export function macOf(algorithm: Algorithm, salt: Uint8Array, iterations: number, data: Uint8Array, passphrase: string, spend: Spend): Buffer | undefined {
  if (algorithm.oid === OID.pbmac1) {
    const [kdf, scheme] = children(algorithm.parameters).map(algorithmOf);
    const prf = PRFS[scheme?.oid ?? ''];
    if (kdf === undefined || prf === undefined) return undefined;
    return createHmac(prf, deriveKey(kdf, passphrase, 0, spend)).update(data).digest();
  }
  const digest = DIGESTS[algorithm.oid];
  if (digest === undefined) return undefined;
  return createHmac(digest.name, pkcs12Key({ digest, purpose: 3, passphrase, salt, iterations, length: digest.length }, spend)).update(data).digest();
}

function decryptPbes2(parameters: BaseBlock | undefined, data: Uint8Array, passphrase: string, spend: Spend): Buffer {
  const { kdf, scheme } = pbes2Parts(parameters);
  const cipher = CIPHERS[scheme.oid];
  if (cipher === undefined) throw new ProtectionError('unsupported', `it is encrypted by ${scheme.oid}`);
  return decipher(cipher.name, deriveKey(kdf, passphrase, cipher.length, spend), octets(scheme.parameters), data);
}

function pbes2Parts(parameters: BaseBlock | undefined): { readonly kdf: Algorithm; readonly scheme: Algorithm } {
  const [kdf, scheme] = children(parameters).map(algorithmOf);
  if (kdf === undefined || scheme === undefined) throw damaged();
  return { kdf, scheme };
}

/** What PBES2 asks for, done by nobody yet: throws a ProtectionError where that is too much. For keys that OpenSSL opens, which knows no bound. */
export function refuseCostly({ oid, parameters }: Algorithm): void {
  if (oid === OID.pbes2) derivationOf(pbes2Parts(parameters).kdf, 1, derivationBudget());
}

/** `length` 0: as long as the parameters say. */
function deriveKey(kdf: Algorithm, passphrase: string, length: number, spend: Spend): Buffer {
  return derivationOf(kdf, length, spend)(passphrase);
}

/** A derivation that has been paid for. */
function derivationOf({ oid, parameters }: Algorithm, length: number, spend: Spend): (passphrase: string) => Buffer {
  const fields = children(parameters);
  const salt = octets(fields[0]);
  if (oid === OID.scrypt) {
    const [N, r, p, own] = fields.slice(1).map(number);
    if (N === undefined || r === undefined || p === undefined) throw damaged();
    const size = sizeOf(length, own);
    if (!(128 * N * r <= MOST_SCRYPT_BYTES)) throw new ProtectionError('unsupported', 'its scrypt parameters ask for too much');
    spend(N * r * p);
    return (passphrase) => scryptSync(passphrase, salt, size, { N, r, p, maxmem: 2 * MOST_SCRYPT_BYTES });
  }
  if (oid !== OID.pbkdf2) throw new ProtectionError('unsupported', `its key is derived by ${oid}`);
  const iterations = counted(number(fields[1]));
  const own = fields[2] instanceof Integer ? number(fields[2]) : undefined;
  const size = sizeOf(length, own);
  const named = fields.slice(2).find((field) => field instanceof Sequence);
  const prf = named === undefined ? 'sha1' : PRFS[algorithmOf(named).oid];
  if (prf === undefined) throw new ProtectionError('unsupported', 'its key is derived by an unknown function');
  // SHA-1, the shortest, gives 20 octets a time.
  spend(iterations * Math.ceil(size / 20));
  return (passphrase) => pbkdf2Sync(passphrase, salt, iterations, size, prf);
}

function sizeOf(length: number, own: number | undefined): number {
  const size = length === 0 ? own ?? 0 : length;
  if (!Number.isInteger(size) || size < 1 || size > LONGEST_KEY) throw damaged();
  return size;
}

interface Derivation {
  readonly digest: { readonly name: string; readonly length: number; readonly block: number };
  /** 1: a key, 2: an initialisation vector, 3: a key for a MAC. */
  readonly purpose: number;
  readonly passphrase: string;
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly length: number;
}

/** RFC 7292 appendix B.2. */
function pkcs12Key({ digest, purpose, passphrase, salt, iterations, length }: Derivation, spend: Spend): Buffer {
  const { name, block } = digest;
  const rounds = counted(iterations);
  spend(rounds * OLD_ROUND * Math.ceil(length / digest.length));
  const stretched = (bytes: Uint8Array): Buffer => Buffer.alloc(Math.ceil(bytes.length / block) * block, bytes);
  const text = Buffer.from(`${passphrase}\0`, 'utf16le').swap16();
  const input = Buffer.concat([salt.length === 0 ? Buffer.alloc(0) : stretched(salt), stretched(text)]);
  const diversifier = Buffer.alloc(block, purpose);
  const out: Buffer[] = [];
  for (let made = 0; made < length; made += digest.length) {
    let hash = createHash(name).update(diversifier).update(input).digest();
    for (let round = 1; round < rounds; round++) hash = createHash(name).update(hash).digest();
    out.push(hash);
    const added = BigInt(`0x${Buffer.alloc(block, hash).toString('hex')}`) + 1n;
    for (let at = 0; at < input.length; at += block) {
      const sum = (BigInt(`0x${input.subarray(at, at + block).toString('hex')}`) + added) & ((1n << BigInt(8 * block)) - 1n);
      input.write(sum.toString(16).padStart(2 * block, '0'), at, 'hex');
    }
  }
  return Buffer.concat(out).subarray(0, length);
}

function pbeParameters(parameters: BaseBlock | undefined): readonly [salt: Uint8Array, iterations: number] {
  const [salt, iterations] = children(parameters);
  return [octets(salt), number(iterations)];
}

function decipher(name: string, key: Uint8Array, iv: Uint8Array, data: Uint8Array): Buffer {
  try {
    const opened = createDecipheriv(name, key, iv);
    return Buffer.concat([opened.update(data), opened.final()]);
  } catch (cause) {
    throw new ProtectionError('passphrase', 'the passphrase does not open it', { cause });
  }
}

function unpadded(data: Buffer): Buffer {
  const padding = data.at(-1) ?? 0;
  if (padding < 1 || padding > 8 || !data.subarray(-padding).every((octet) => octet === padding)) throw new ProtectionError('passphrase', 'the passphrase does not open it');
  return data.subarray(0, -padding);
}

function counted(iterations: number): number {
  if (!Number.isInteger(iterations) || iterations < 1) throw damaged();
  return iterations;
}

/** An AlgorithmIdentifier. */
export function algorithmOf(block: BaseBlock | undefined): Algorithm {
  const [oid, parameters] = children(block);
  return { oid: objectIdentifier(oid), parameters: parameters instanceof Null ? undefined : parameters };
}

/** What is in a SEQUENCE, a SET or an explicit tag. */
export function children(block: BaseBlock | undefined): readonly BaseBlock[] {
  const value: unknown = (block?.valueBlock as { value?: unknown } | undefined)?.value;
  if (!Array.isArray(value)) throw damaged();
  return value as readonly BaseBlock[];
}

export function octets(block: BaseBlock | undefined): Uint8Array {
  if (!(block instanceof OctetString)) throw damaged();
  return new Uint8Array(block.getValue());
}

export function number(block: BaseBlock | undefined): number {
  if (!(block instanceof Integer)) throw damaged();
  return Number(block.toBigInt());
}

export function objectIdentifier(block: BaseBlock | undefined): string {
  if (!(block instanceof ObjectIdentifier)) throw damaged();
  return block.valueBlock.toString();
}

export function damaged(cause?: unknown): ProtectionError {
  return new ProtectionError('malformed', 'it is damaged, or something else', { cause });
}
