import type { Config } from '../config/schema.ts';
import { authorityKey, parseCertificate, type Certificate } from '../pki/certificate.ts';

/** Which trust domain a CA vouches for, by the CA's name and key. */
export type TrustDomains = ReadonlyMap<string, string>;

export const NO_TRUST_DOMAINS: TrustDomains = new Map();

/** Binds CAs to the trust domains of a configuration; `authorities` has the certificates (DER) of each file that it names. */
export function bindTrustDomains(domains: Config['trust_domains'], authorities: Readonly<Record<string, readonly Uint8Array[]>>): TrustDomains {
  return new Map(Object.entries(domains).flatMap(([name, { trust }]) =>
    trust.flatMap((file) => (authorities[file] ?? []).map((der) => [authorityKey(parseCertificate(der)), name] as const))));
}

/**
 * The trust domain that a validated path (leaf first) may speak for: that of the nearest bound CA above the leaf, so that a CA that is
 * bound to one domain cannot vouch for another, though both have a root in common.
 */
export function vouchedDomain(path: readonly Certificate[], domains: TrustDomains): string | undefined {
  for (const authority of path.slice(1)) {
    const domain = domains.get(authorityKey(authority));
    if (domain !== undefined) return domain;
  }
  return undefined;
}
