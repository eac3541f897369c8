import type { KeyObject } from 'node:crypto';
import type { SignatureHash } from './keys.ts';

const day = 86_400_000;

/** The longest validity we give out, in ms: ten years to an authority, two to anything else. */
export const longestValidity = { authority: 3653 * day, leaf: 731 * day } as const;

export type RefusalCode = 'weak_key' | 'weak_hash' | 'validity_too_long' | 'validity_empty';

/** Thrown when a certificate is asked for that no one should be given. */
export class IssueRefused extends Error {
  readonly code: RefusalCode;

  constructor(code: RefusalCode, message: string) {
    super(message);
    this.name = 'IssueRefused';
    this.code = code;
  }
}

export interface Wish {
  readonly use: 'authority' | 'leaf';
  readonly key: KeyObject;
  readonly hash: SignatureHash | undefined;
  /** ms since epoch */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Throws `IssueRefused` for RSA below 2048 bits, SHA-1 (and SHA-224), and validities beyond `longestValidity`. */
export function refuseBeyondLimits(wish: Wish): void {
  const bits = wish.key.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < 2048) throw new IssueRefused('weak_key', `key: RSA of ${bits} bits; expected 2048 or more`);
  if (wish.hash === 'sha1' || wish.hash === 'sha224') throw new IssueRefused('weak_hash', `signature: ${wish.hash}; expected sha256, sha384 or sha512`);
  const validity = wish.notAfter - wish.notBefore;
  if (!(validity > 0)) throw new IssueRefused('validity_empty', 'validity: notAfter is not after notBefore');
  if (validity > longestValidity[wish.use]) {
    const days = Math.ceil(validity / day);
    throw new IssueRefused('validity_too_long', `validity: ${days} days; expected at most ${longestValidity[wish.use] / day} for ${wish.use === 'leaf' ? 'a leaf' : 'an authority'}`);
  }
}
