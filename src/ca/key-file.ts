import { createCipheriv, createPrivateKey, randomBytes, scrypt } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { privacyFault } from '../config/files.ts';
import { integer, octetString, oid, pem, sequence } from './der.ts';
import { OfficeError } from './office-error.ts';

/** What a guess at a passphrase costs (RFC 7914): N doubles time and memory, p multiplies time. */
export interface ScryptCost {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** 16 MiB and about a quarter of a second. OpenSSL refuses to read what needs more than 32 MiB, so what is added is time (OWASP: N=2^14, p=5 at least). */
export const KEY_COST: ScryptCost = { N: 2 ** 14, r: 8, p: 8 };

const PASSPHRASE_OCTETS = 12;

/** A PKCS#8 private key under a passphrase (RFC 5958, PBES2 of RFC 8018 with scrypt and AES-256-CBC), PEM; `openssl pkey` reads it. */
export async function encryptKey(key: KeyObject, passphrase: string, cost: ScryptCost = KEY_COST): Promise<string> {
  if (Buffer.byteLength(passphrase) < PASSPHRASE_OCTETS) throw new OfficeError('invalid', `the passphrase is too short: expected ${PASSPHRASE_OCTETS} octets or more`);
  const salt = randomBytes(16);
  const vector = randomBytes(16);
  const derived = await derive(passphrase, salt, cost);
  const cipher = createCipheriv('aes-256-cbc', derived, vector);
  const plain = key.export({ type: 'pkcs8', format: 'der' });
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()]);
  plain.fill(0);
  derived.fill(0);
  const derivation = sequence(oid('1.3.6.1.4.1.11591.4.11'), sequence(octetString(salt), integer(cost.N), integer(cost.r), integer(cost.p), integer(32)));
  const encryption = sequence(oid('2.16.840.1.101.3.4.1.42'), octetString(vector));
  return pem('ENCRYPTED PRIVATE KEY', sequence(sequence(oid('1.2.840.113549.1.5.13'), sequence(derivation, encryption)), octetString(encrypted)));
}

function derive(passphrase: string, salt: Buffer, { N, r, p }: ScryptCost): Promise<Buffer> {
  return new Promise((done, failed) => scrypt(passphrase, salt, 32, { N, r, p, maxmem: 64 * 1024 * 1024 }, (error, key) => (error === null ? done(key) : failed(error))));
}

/** Reads a key file that `encryptKey` made. Throws an OfficeError: others can read it, or the passphrase is another. */
export function readKeyFile(file: string, passphrase: string): KeyObject {
  refuseOpenFile(file);
  const text = readFileSync(file, 'utf8');
  if (!text.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----')) throw new OfficeError('tampered', `${file}: the key is not encrypted; this CA only ever writes encrypted ones`);
  try {
    return createPrivateKey({ key: text, passphrase });
  } catch (error) {
    throw new OfficeError('wrong_passphrase', `${file}: the passphrase does not open it`, { cause: error });
  }
}

/** Throws when others than its owner, and at most our own group, can read a secret file. */
export function refuseOpenFile(file: string): void {
  const { mode, gid } = statSync(file);
  const fault = privacyFault(mode & 0o7777, gid, process.getegid?.() ?? gid, file);
  if (fault !== undefined) throw new OfficeError('open_to_others', fault);
}
