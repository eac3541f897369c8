import type { Certificate } from '../pki/certificate.ts';

/** Which trust domain a CA vouches for, by the CA's name and key: a CA whose certificate was renewed is the same CA. */
export type TrustDomains = ReadonlyMap<string, string>;

export const NO_TRUST_DOMAINS: TrustDomains = new Map();

/** Binds the CA certificates of each trust domain to it. */
export function bindTrustDomains(domains: readonly { readonly name: string; readonly authorities: readonly Certificate[] }[]): TrustDomains {
  return new Map(domains.flatMap(({ name, authorities }) => authorities.map((authority) => [authorityKey(authority), name] as const)));
}

/**
 * The trust domain that a validated path (leaf first) may speak for: that of the nearest bound CA above the leaf, so that a CA that is
 * bound to one domain cannot vouch for another, though both have a root in common.
 */
export function vouchedDomain(path: readonly Certificate[], domains: TrustDomains): string | undefined {
  const nearest = path.slice(1).find((authority) => domains.has(authorityKey(authority)));
  return nearest === undefined ? undefined : domains.get(authorityKey(nearest));
}

/** A CA as those know it who bind something to it. */
export function authorityKey({ subject, spkiSha256 }: Pick<Certificate, 'subject' | 'spkiSha256'>): string {
  return `${spkiSha256} ${subject.normalized}`;
}
