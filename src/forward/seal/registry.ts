import { createHash, createPublicKey } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { parseCertificate } from '../../pki/certificate.ts';
import { encryptionKey, type EncryptionKey } from '../../pki/encryption-key.ts';
import { pemBlocks } from '../../pki/pem.ts';

/** Keys that people have registered, apart from their certificates. */
export interface KeyRegistry {
  /** The key of somebody by their id; read again when it was last looked at a while ago. Never rejects. */
  find(id: string): Promise<EncryptionKey>;
}

/** How long a change of a file may go unnoticed. */
const FRESH_MS = 5_000;
const REMEMBERED = 10_000;
const LARGEST = 64 * 1024;
/** File names have 255 octets at most. */
const LONGEST_NAME = 200;

/** The name of somebody's file without its ending: percent-encoded, so that no id leads out of the directory; a hash of what would be too long. */
export function keyFileName(id: string): string {
  const name = encodeURIComponent(id);
  return name.length <= LONGEST_NAME ? name : createHash('sha256').update(id).digest('hex');
}

/** A directory of public keys: `ID.pem` (public key or certificate) or `ID.jwk`. */
export function openKeyRegistry(directory: string): KeyRegistry {
  const known = new LRUCache<string, Promise<EncryptionKey>>({ max: REMEMBERED, ttl: FRESH_MS });
  return {
    find(id) {
      let found = known.get(id);
      if (found === undefined) {
        found = read(directory, id).catch((error: Error): EncryptionKey => ({ kind: 'unusable', detail: `the registered key cannot be read: ${error.message}` })).then((key) => {
          // Whoever registers one is served at once.
          if (key.kind === 'unusable') known.delete(id);
          return key;
        });
        known.set(id, found);
      }
      return found;
    },
  };
}

async function read(directory: string, id: string): Promise<EncryptionKey> {
  const name = keyFileName(id);
  const pem = await contents(join(directory, `${name}.pem`));
  if (pem !== undefined) return fromPem(pem);
  const jwk = await contents(join(directory, `${name}.jwk`));
  return jwk === undefined ? { kind: 'unusable', detail: `no key is registered: neither ${name}.pem nor ${name}.jwk is there` } : fromJwk(jwk);
}

async function contents(path: string): Promise<string | undefined> {
  let file;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { size } = await file.stat();
    if (size > LARGEST) throw new Error(`${path} has ${size} octets`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

function fromPem(text: string): EncryptionKey {
  // Whoever left it there gave it away.
  if (text.includes('PRIVATE KEY')) return { kind: 'unusable', detail: 'the file holds a private key' };
  const [certificate] = pemBlocks(text, 'CERTIFICATE');
  if (certificate !== undefined) return encryptionKey(parseCertificate(certificate.der).spki);
  const [key] = pemBlocks(text, 'PUBLIC KEY');
  return key === undefined ? { kind: 'unusable', detail: 'the file holds no public key' } : encryptionKey(key.der);
}

function fromJwk(text: string): EncryptionKey {
  const jwk = JSON.parse(text) as Readonly<Record<string, unknown>>;
  if (jwk['d'] !== undefined || jwk['k'] !== undefined) return { kind: 'unusable', detail: 'the file holds a private key' };
  if (jwk['use'] !== undefined && jwk['use'] !== 'enc') return { kind: 'unusable', detail: 'the key is not for encryption' };
  return encryptionKey(createPublicKey({ key: jwk as never, format: 'jwk' }).export({ format: 'der', type: 'spki' }));
}
