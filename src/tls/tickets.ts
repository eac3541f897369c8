import { hkdfSync, randomBytes } from 'node:crypto';

/** Node's ticket key: 16 octets of name, 16 of HMAC key, 16 of AES key. */
const TICKET_KEY_LENGTH = 48;

/**
 * A ticket key: derived from the shared secret (HKDF-SHA-256, RFC 5869) so that every replica with the same
 * secret makes the same one, bound to its purpose so that a ticket of one listener or name is noise to another.
 */
export function deriveTicketKey(secret: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, 'wardgate', `session tickets ${purpose}`, TICKET_KEY_LENGTH));
}

/** A secret for a gateway that was given none: its tickets end with the process. */
export function randomTicketSecret(): Uint8Array {
  return randomBytes(32);
}
