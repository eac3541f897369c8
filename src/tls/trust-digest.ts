import { createHash } from 'node:crypto';
import type { TlsListenerConfig } from '../config/schema.ts';
import type { Realm, Snapshot } from '../config/snapshot.ts';

/**
 * What the verdict about a client's certificate is made from under one name of a listener, as one digest: CAs, intermediates, how revocation is looked at,
 * roles and trust domains. The contents of files count and not their names, which may differ between replicas; CRLs and the deny list change all the time,
 * and are looked at on every connection.
 */
export function trustDigest({ config, authorities }: Pick<Snapshot, 'config' | 'authorities'>, { name, client_auth: { mode, fetch_intermediates } }: Pick<TlsListenerConfig, 'name' | 'client_auth'>, realm: Realm): string {
  const { crl: { files: _files, ...crl }, ...revocation } = config.revocation;
  const bound = (value: unknown): unknown => JSON.parse(JSON.stringify(value, (key, one: unknown) => (key === 'trust' && Array.isArray(one) ? one.map((file) => digests(authorities[String(file)] ?? [])) : one)));
  return digest(JSON.stringify([
    digests(realm.anchors), digests(realm.intermediates), mode, fetch_intermediates ?? null, { ...revocation, crl }, bound(config.roles), bound(config.trust_domains), name === config.admin.listener ? bound(config.admin) : null,
  ]));
}

/** In an order of their own: the same CAs in another order are the same trust. */
function digests(ders: readonly Uint8Array[]): readonly string[] {
  return ders.map(digest).sort();
}

function digest(octets: Uint8Array | string): string {
  return createHash('sha256').update(octets).digest('hex');
}
