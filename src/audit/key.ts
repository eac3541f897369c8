import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from '../store/whole-file.ts';
import { digest } from './chain.ts';

/** The key that a gateway signs the checkpoints of its audit with. */
export interface AuditKey {
  /** SPKI, PEM. */
  readonly publicPem: string;
  /** SHA-256 of its SubjectPublicKeyInfo, base64url: the gateway's name in its audit. */
  readonly name: string;
  /** Ed25519, base64url. */
  sign(octets: Uint8Array): string;
}

const FILE = 'audit.key';

/** The key in a state directory, undefined before the first start. Throws when the file holds none. */
export function readAuditKey(state: string): AuditKey | undefined {
  const file = join(state, FILE);
  let pem: Buffer;
  try {
    pem = readFileSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return keyOf(createPrivateKey(pem));
  } catch (error) {
    throw new Error(`${file}: expected an Ed25519 private key in PEM`, { cause: error });
  }
}

/** A new key, kept in the state directory (0600): whole or not at all. */
export function makeAuditKey(state: string): AuditKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  writeWhole(join(state, FILE), privateKey.export({ type: 'pkcs8', format: 'pem' }) as string);
  return keyOf(privateKey);
}

function keyOf(privateKey: KeyObject): AuditKey {
  if (privateKey.asymmetricKeyType !== 'ed25519') throw new Error('not an Ed25519 key');
  const publicKey = createPublicKey(privateKey);
  return {
    publicPem: publicKey.export({ type: 'spki', format: 'pem' }) as string,
    name: keyName(publicKey),
    sign: (octets) => sign(null, octets, privateKey).toString('base64url'),
  };
}

/** What stands for a public key in the audit. */
export function keyName(publicKey: KeyObject): string {
  return digest(publicKey.export({ type: 'spki', format: 'der' }));
}

/** Whether `signature` (base64url) is that of `octets`. */
export function isSigned(octets: Uint8Array, signature: string, publicKey: KeyObject): boolean {
  return verify(null, octets, publicKey, Buffer.from(signature, 'base64url'));
}

/** A public key from PEM. Throws when it is none of ours. */
export function readPublicKey(pem: string | Buffer): KeyObject {
  const key = createPublicKey(pem);
  if (key.asymmetricKeyType !== 'ed25519') throw new Error('expected an Ed25519 public key in PEM');
  return key;
}
