import type { Config } from '../config/schema.ts';
import { authorityKey, parseCertificate, type Certificate } from '../pki/certificate.ts';

/** The CA certificates (DER) that something is bound to, by the file that the configuration names. */
export type AuthorityFiles = Readonly<Record<string, readonly Uint8Array[]>>;

/** The CAs of one or several files, by name and key: one that renewed its certificate is the same CA. */
export type Authorities = ReadonlySet<string>;

/** Reads the CAs of files; of a file that was not read there are none. */
export function authoritiesOf(names: readonly string[], files: AuthorityFiles): Authorities {
  return new Set(names.flatMap((name) => (files[name] ?? []).map((der) => authorityKey(parseCertificate(der)))));
}

/** Whether one of the CAs is on a validated path (leaf first): above the leaf, which vouches for nobody. */
export function isVouchedBy(path: readonly Certificate[], authorities: Authorities): boolean {
  return path.slice(1).some((authority) => authorities.has(authorityKey(authority)));
}

/** Which trust domain a CA vouches for. */
export type TrustDomains = ReadonlyMap<string, string>;

/** What rules on certificates refer to beside the certificate. */
export interface Bindings {
  readonly domains: TrustDomains;
  readonly files: AuthorityFiles;
}

/** Binds CAs to the trust domains of a configuration. */
export function bindAuthorities({ trust_domains: domains }: Pick<Config, 'trust_domains'>, files: AuthorityFiles): Bindings {
  return { files, domains: new Map(Object.entries(domains).flatMap(([name, { trust }]) => [...authoritiesOf(trust, files)].map((key) => [key, name] as const))) };
}

/**
 * The trust domain that a validated path may speak for: that of the nearest bound CA above the leaf, so that a CA that is bound to
 * one domain cannot vouch for another, though both have a root in common.
 */
export function vouchedDomain(path: readonly Certificate[], domains: TrustDomains): string | undefined {
  for (const authority of path.slice(1)) {
    const domain = domains.get(authorityKey(authority));
    if (domain !== undefined) return domain;
  }
  return undefined;
}
