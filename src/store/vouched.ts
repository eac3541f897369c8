import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';

/** How gateways know a change in a shared store for one of theirs. */
export interface Vouching {
  /** A change in JSON as it goes into the store. `place`: where; what is vouched for there counts nowhere else. */
  vouch(json: string, place: string): string;
  /** The change in JSON; undefined where nobody with the key has put it there. */
  open(text: string, place: string): string | undefined;
}

const VOUCHED = /^(\{.*),"mac":"([0-9a-f]{64})"\}$/s;

/**
 * HMAC-SHA-256 as a last member: gateways that have no key yet read what others have vouched for, so that a key can come to one after the other. Without a key
 * everything in the store is believed that has the right form.
 */
export function createVouching(secret: Uint8Array | undefined): Vouching {
  const key = secret === undefined ? undefined : Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(0), 'wardgate shared lists', 32));
  const macOf = (json: string, place: string, by: Buffer): Buffer => createHmac('sha256', by).update(`${place}\n${json}`).digest();
  return {
    vouch: (json, place) => (key === undefined ? json : `${json.slice(0, -1)},"mac":"${macOf(json, place, key).toString('hex')}"}`),
    open(text, place) {
      const [, most, mac] = VOUCHED.exec(text) ?? [];
      if (most === undefined || mac === undefined) return key === undefined ? text : undefined;
      const json = `${most}}`;
      return key === undefined || timingSafeEqual(Buffer.from(mac, 'hex'), macOf(json, place, key)) ? json : undefined;
    },
  };
}
