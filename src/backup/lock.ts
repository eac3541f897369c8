import { createCipheriv, createDecipheriv, createPrivateKey, createPublicKey, diffieHellman, generateKeyPairSync, hkdfSync, randomBytes, scryptSync, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { BackupError } from './fault.ts';
import { joinShares, splitSecret } from './shamir.ts';

/** How much a passphrase costs to try (RFC 7914): 128 * N * r octets of memory, `p` times. */
export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** 128 MiB and a third of a second. */
const COST: ScryptCost = { N: 131_072, r: 8, p: 1 };
/** What a file may ask of whoever opens it: a hostile one must not take gigabytes or hours. */
const MOST_MEMORY = 512 * 1024 ** 2;
const MOST_PASSES = 4;

const KEY_OCTETS = 32;
const TAG_OCTETS = 16;
const X25519_SPKI = Buffer.from('302a300506032b656e032100', 'hex');
const X25519_PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex');

const base64 = (octets: number) => z.base64().refine((text) => Buffer.from(text, 'base64').length === octets).transform((text) => Buffer.from(text, 'base64'));
const scrypt = { N: z.int().min(2).max(2 ** 24), r: z.int().min(1).max(64), p: z.int().min(1), salt: base64(32), wrapped: base64(KEY_OCTETS + TAG_OCTETS) };
const passphraseLock = z.strictObject({ kind: z.literal('passphrase'), kdf: z.literal('scrypt'), ...scrypt });
const holdersLock = z.strictObject({
  kind: z.literal('holders'), need: z.int().min(1).max(255),
  shares: z.array(z.strictObject({ name: z.string().max(200), key: base64(32), ephemeral: base64(32), wrapped: base64(1 + KEY_OCTETS + TAG_OCTETS) })).min(1).max(64),
});
const keyFile = z.strictObject({ format: z.literal('wardgate-backup-key'), version: z.literal(1), name: z.string().max(200), public: base64(32), kdf: z.literal('scrypt'), ...scrypt });

/** How the key of a file is locked, as its header has it. */
export const lock = z.discriminatedUnion('kind', [passphraseLock, holdersLock]);
export type Lock = z.output<typeof lock>;

/** Somebody to whom a part of a key can be given. */
export interface Holder {
  readonly name: string;
  /** X25519, 32 octets. */
  readonly key: Buffer;
}

export interface OwnKey extends Holder {
  readonly privateKey: KeyObject;
}

/** What opens a lock. */
export type Secret = { readonly kind: 'passphrase'; readonly passphrase: string } | { readonly kind: 'keys'; readonly keys: readonly OwnKey[] };

/** Locks a key under a passphrase; the object is what stands in the header. */
export function lockWithPassphrase(key: Uint8Array, passphrase: string, cost: ScryptCost = COST): object {
  return { kind: 'passphrase', ...locked(key, passphrase, cost, 'wardgate backup v1 passphrase') };
}

/** Splits a key among holders, `need` of whom open it together; each part is encrypted to its holder alone. */
export function lockForHolders(key: Uint8Array, holders: readonly Holder[], need: number): object {
  const shares = splitSecret(key, holders.length, need);
  return {
    kind: 'holders', need,
    shares: holders.map((holder, index) => {
      const { publicKey, privateKey } = generateKeyPairSync('x25519');
      const ephemeral = rawPublic(publicKey);
      const { x, values } = shares[index] ?? { x: 0, values: new Uint8Array() };
      const wrapped = seal(shareKey(privateKey, holder.key, ephemeral, holder.key), Buffer.concat([Buffer.of(x), values]), 'wardgate backup v1 share');
      return { name: holder.name, key: holder.key.toString('base64'), ephemeral: ephemeral.toString('base64'), wrapped: wrapped.toString('base64') };
    }),
  };
}

/** Opens a lock. Throws a BackupError for a wrong secret, and for a lock that asks too much. */
export function unlock(of: Lock, secret: Secret): Buffer {
  if (of.kind === 'passphrase') {
    if (secret.kind !== 'passphrase') throw new BackupError('wrong_secret', 'this backup is locked with a passphrase, not with keys');
    return unlocked(of, secret.passphrase, 'wardgate backup v1 passphrase', 'the passphrase is wrong, or the backup is damaged');
  }
  const whose = of.shares.map(({ name }) => JSON.stringify(name)).join(', ');
  if (secret.kind !== 'keys') throw new BackupError('wrong_secret', `this backup is locked with keys: ${of.need} of those of ${whose}`);
  const own = secret.keys.flatMap((key) => {
    const share = of.shares.find((one) => one.key.equals(key.key));
    return share === undefined ? [] : [{ key, share }];
  });
  const distinct = [...new Map(own.map((pair) => [pair.share.key.toString('hex'), pair])).values()];
  if (distinct.length < of.need) throw new BackupError('too_few_keys', `${of.need} keys are needed, and ${distinct.length} of those given are of this backup, which is for ${whose}`);
  const parts = distinct.slice(0, of.need).map(({ key, share }) => {
    const part = open(shareKey(key.privateKey, share.ephemeral, share.ephemeral, share.key), share.wrapped, 'wardgate backup v1 share');
    if (part === undefined) throw new BackupError('damaged', `the part of ${JSON.stringify(share.name)} is damaged`);
    return { x: part[0] ?? 0, values: part.subarray(1) };
  });
  try {
    return Buffer.from(joinShares(parts));
  } catch (error) {
    throw new BackupError('damaged', 'the parts are not of one key', error);
  }
}

/** Makes a holder's key pair: the line to hand out, and the file to keep, encrypted with a passphrase. */
export function makeOwnKey(name: string, passphrase: string, cost: ScryptCost = COST): { readonly publicLine: string; readonly file: string; readonly holder: Holder } {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  const key = rawPublic(publicKey);
  const secret = privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(X25519_PKCS8.length);
  const kept = { format: 'wardgate-backup-key', version: 1, name, public: key.toString('base64'), ...locked(secret, passphrase, cost, keyLabel(key)) };
  return { publicLine: `wardgate-backup-key-1 ${key.toString('base64')} ${name}\n`, file: `${JSON.stringify(kept, undefined, 1)}\n`, holder: { name, key } };
}

/** Reads the line that a holder hands out. Throws a BackupError for anything else. */
export function readHolder(text: string, file: string): Holder {
  const [, encoded = '', name = ''] = /^wardgate-backup-key-1 ([A-Za-z0-9+/]{43}=) ([^\n]{1,200})\n?$/.exec(text) ?? [];
  if (name === '') throw new BackupError('unreadable', `${file}: expected the public key that wardgate backup keys new wrote`);
  return { name, key: Buffer.from(encoded, 'base64') };
}

/** Whose key a file of a private key is. Throws a BackupError for anything else. */
export function readKeyFile(text: string, file: string): { readonly name: string; open(passphrase: string): OwnKey } {
  let parsed: z.output<typeof keyFile>;
  try {
    parsed = keyFile.parse(JSON.parse(text));
  } catch (error) {
    throw new BackupError('unreadable', `${file}: expected the private key that wardgate backup keys new wrote`, error);
  }
  const { name, public: key } = parsed;
  return {
    name,
    open(passphrase) {
      const secret = unlocked(parsed, passphrase, keyLabel(key), `${file}: the passphrase is wrong, or the file is damaged`);
      const privateKey = createPrivateKey({ key: Buffer.concat([X25519_PKCS8, secret]), format: 'der', type: 'pkcs8' });
      return { name, key, privateKey };
    },
  };
}

/** SHA-256 would be longer than anybody compares: the first 16 hex digits of the key itself. */
export function keyMark(key: Buffer): string {
  return key.toString('hex').slice(0, 16);
}

function keyLabel(key: Buffer): string {
  return `wardgate backup v1 key ${key.toString('hex')}`;
}

function locked(key: Uint8Array, passphrase: string, cost: ScryptCost, label: string): object {
  const salt = randomBytes(32);
  return { kdf: 'scrypt', ...cost, salt: salt.toString('base64'), wrapped: seal(stretched(passphrase, salt, cost), key, label).toString('base64') };
}

function unlocked({ salt, wrapped, ...cost }: ScryptCost & { readonly salt: Buffer; readonly wrapped: Buffer }, passphrase: string, label: string, wrong: string): Buffer {
  const key = open(stretched(passphrase, salt, cost), wrapped, label);
  if (key === undefined) throw new BackupError('wrong_secret', wrong);
  return key;
}

function stretched(passphrase: string, salt: Buffer, { N, r, p }: ScryptCost): Buffer {
  const memory = 128 * N * r;
  if (memory > MOST_MEMORY || p > MOST_PASSES || (N & (N - 1)) !== 0) throw new BackupError('too_costly', `scrypt with N=${N}, r=${r}, p=${p} is more than is computed for any file`);
  // NFKC: the same passphrase typed on another keyboard.
  return scryptSync(passphrase.normalize('NFKC'), salt, KEY_OCTETS, { N, r, p, maxmem: 2 * memory + 1024 ** 2 });
}

/** HKDF (RFC 5869) over the X25519 secret (RFC 7748), bound to both public keys as in HPKE (RFC 9180 §4.1). */
function shareKey(own: KeyObject, theirs: Buffer, ephemeral: Buffer, recipient: Buffer): Buffer {
  let secret: Buffer;
  try {
    secret = diffieHellman({ privateKey: own, publicKey: createPublicKey({ key: Buffer.concat([X25519_SPKI, theirs]), format: 'der', type: 'spki' }) });
  } catch (error) {
    // Of small order: the secret would be nothing but zeros.
    throw new BackupError('damaged', 'a part has a public key that is none', error);
  }
  return Buffer.from(hkdfSync('sha256', secret, Buffer.concat([ephemeral, recipient]), 'wardgate backup v1 share', KEY_OCTETS));
}

function rawPublic(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' }).subarray(X25519_SPKI.length);
}

/** Each of these keys encrypts one thing: its nonce is zero. */
function seal(key: Buffer, plain: Uint8Array, label: string): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, Buffer.alloc(12)).setAAD(Buffer.from(label));
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function open(key: Buffer, sealed: Buffer, label: string): Buffer | undefined {
  const cut = sealed.length - TAG_OCTETS;
  const decipher = createDecipheriv('aes-256-gcm', key, Buffer.alloc(12), { authTagLength: TAG_OCTETS }).setAAD(Buffer.from(label)).setAuthTag(sealed.subarray(cut));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(0, cut)), decipher.final()]);
  } catch {
    return undefined;
  }
}
