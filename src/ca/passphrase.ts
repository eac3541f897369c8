import { randomBytes } from 'node:crypto';

const ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';

/** A passphrase that is shown once and typed by a person: 25 letters of 31 are 123 bits, read aloud without doubt. */
export function newPassphrase(): string {
  return Array.from({ length: 5 }, () => Array.from({ length: 5 }, letter).join('')).join('-');
}

/** Octets beyond the last multiple of 31 are thrown away: they would favour some letters. */
function letter(): string {
  for (;;) {
    const [octet = 255] = randomBytes(1);
    if (octet < 248) return ALPHABET.charAt(octet % ALPHABET.length);
  }
}
