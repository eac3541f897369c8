import { hkdfSync, randomBytes } from 'node:crypto';

/** Node's ticket key: 16 octets of name, 16 of HMAC key, 16 of AES key. */
const TICKET_KEY_LENGTH = 48;
/** The octets that a ticket begins with, by which its key is known again. */
export const TICKET_NAME_LENGTH = 16;

/** How long a session may be resumed after its full handshake, in ms: what OpenSSL has by default, and less than half of a usual epoch (RFC 9325 section 3.4). */
const LONGEST_SESSION_MS = 2 * 3_600_000;
/** How far the clocks of replicas may differ without costing a resumption. */
const CLOCKS_MS = 60_000;

/** What ticket keys are derived from. Structured-cloneable. */
export interface TicketSecret {
  readonly octets: Uint8Array;
  /** When it was made, in ms since the epoch: there are no tickets of before. 0 for one that replicas share, and that was there before. */
  readonly since: number;
}

/** The ticket keys of one set of certificates and client CAs, one for each epoch. */
export interface TicketKeys {
  readonly secret: TicketSecret;
  /** How long an epoch is, in ms. */
  readonly rotate: number;
  /** Whom they are for and what is trusted there: other text, other keys. */
  readonly purpose: string;
}

/** Which epochs count at a moment: tickets are made with the key of `current`, and those of `others` are taken as well. */
export interface TicketWindow {
  readonly current: number;
  readonly others: readonly number[];
  /** The window holds from here on (inclusive) to there (exclusive), in ms since the epoch. */
  readonly from: number;
  readonly until: number;
}

/** A secret for a gateway that was given none: its tickets end with the process. */
export function randomTicketSecret(now: number): TicketSecret {
  return { octets: randomBytes(32), since: now };
}

/** How long sessions live under keys of such epochs, in ms. */
export function sessionLifetime(rotate: number): number {
  return Math.min(rotate, LONGEST_SESSION_MS);
}

/**
 * The epochs that count at `now`. Epochs are numbered from 1970 on, so that all threads and replicas are in the same one. The one before counts for as
 * long as its last session lives; the one after, where replicas share the secret, shortly before it begins: a clock elsewhere may be ahead of ours.
 */
export function ticketWindow({ rotate, secret: { since } }: Pick<TicketKeys, 'rotate' | 'secret'>, now: number): TicketWindow {
  const current = Math.floor(now / rotate);
  const begin = current * rotate;
  const end = begin + rotate;
  const beforeEnds = since >= begin ? begin : begin + sessionLifetime(rotate);
  const afterBegins = since > 0 ? end : end - Math.min(CLOCKS_MS, rotate / 2);
  const edges = [begin, beforeEnds, afterBegins, end];
  return {
    current,
    others: [...(now < beforeEnds ? [current - 1] : []), ...(now >= afterBegins ? [current + 1] : [])],
    from: Math.max(...edges.filter((edge) => edge <= now)),
    until: Math.min(...edges.filter((edge) => edge > now)),
  };
}

/**
 * The ticket key of an epoch: derived from the secret (HKDF-SHA-256, RFC 5869) so that every thread, and every replica with the same secret, makes the
 * same one, bound to its purpose so that a ticket of one listener or name, or of before trust changed, is noise to another.
 */
export function deriveTicketKey({ secret, rotate, purpose }: TicketKeys, epoch: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret.octets, `wardgate session tickets ${rotate} ${epoch}`, purpose, TICKET_KEY_LENGTH));
}

/** Octets to write over a key that is over. */
export function noTicketKey(): Buffer {
  return randomBytes(TICKET_KEY_LENGTH);
}
