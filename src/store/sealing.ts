import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';

/** Seals what is kept of second factors, on disk and in a shared store. */
export interface Keyring {
  /** Seals under the first key. `place` is where it is kept: what is sealed for one place does not open at another. */
  seal(text: string, place: string): Buffer;
  /** Opens what was sealed under any of the keys; throws a SealError. */
  open(sealed: Uint8Array, place: string): string;
  /** Whether it is sealed under the first key. */
  isCurrent(sealed: Uint8Array): boolean;
}

/** Sealed under a key that is not configured, for another place, or changed since. */
export class SealError extends Error {
  readonly code = 'seal_broken';
}

const ID_OCTETS = 4;
const NONCE_OCTETS = 12;
const TAG_OCTETS = 16;

interface Key {
  readonly id: Buffer;
  readonly key: Buffer;
}

/**
 * A keyring of the bytes of key files, the one to seal under first. AES-256-GCM under keys derived with HKDF-SHA-256, each value with
 * a random nonce, its place as associated data. A sealed value is key id, nonce, ciphertext, tag.
 */
export function createKeyring(secrets: readonly Uint8Array[]): Keyring {
  const keys = secrets.map(deriveKey);
  const [first] = keys;
  if (first === undefined) throw new TypeError('a keyring without a key');
  return {
    seal(text, place) {
      const nonce = randomBytes(NONCE_OCTETS);
      const cipher = createCipheriv('aes-256-gcm', first.key, nonce, { authTagLength: TAG_OCTETS }).setAAD(Buffer.from(place));
      return Buffer.concat([first.id, nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    },
    open(sealed, place) {
      const octets = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
      const found = keys.find(({ id }) => id.equals(octets.subarray(0, ID_OCTETS)));
      if (found === undefined) throw new SealError(`${place}: sealed under a key that is not configured`);
      const end = octets.length - TAG_OCTETS;
      const start = ID_OCTETS + NONCE_OCTETS;
      if (end < start) throw new SealError(`${place}: not a sealed value`);
      try {
        const decipher = createDecipheriv('aes-256-gcm', found.key, octets.subarray(ID_OCTETS, start), { authTagLength: TAG_OCTETS })
          .setAAD(Buffer.from(place)).setAuthTag(octets.subarray(end));
        return decipher.update(octets.subarray(start, end)).toString('utf8') + decipher.final('utf8');
      } catch (error) {
        throw new SealError(`${place}: the sealed value was changed, or is from another place`, { cause: error });
      }
    },
    isCurrent: (sealed) => first.id.equals(sealed.subarray(0, ID_OCTETS)),
  };
}

function deriveKey(secret: Uint8Array): Key {
  const key = Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(0), 'wardgate second factor: sealing', 32));
  return { key, id: createHash('sha256').update(key).digest().subarray(0, ID_OCTETS) };
}
