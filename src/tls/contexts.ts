import { createHash } from 'node:crypto';
import { constants } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import type { HttpsListenerConfig } from '../config/schema.ts';
import type { ListenerMaterial, Realm, ServerCertificate } from '../config/snapshot.ts';
import { coversHost } from '../policy/host.ts';
import { profileOptions } from './profiles.ts';

/** The TLS side of one listener, complete: swapped as a whole at a reload. */
export interface ListenerContexts {
  /** For connections without SNI, and for names without an own entry. */
  readonly defaults: SecureContextOptions;
  /** The context for a lower-case server name; undefined when the name is not ours. */
  select(name: string): SecureContext | undefined;
  /** Whether a request may be for this name: configured, or covered by a certificate. */
  knows(name: string): boolean;
}

/**
 * Builds the contexts of a listener: one for all names without client CAs of their own, one for each realm. Certificates
 * of every key type go into each, since a default context of one type refuses clients of the other before SNI is looked at.
 * `routeHosts` are names that routes serve.
 */
export function createContexts(config: HttpsListenerConfig, material: ListenerMaterial, routeHosts: readonly string[]): ListenerContexts {
  const patterns = [...material.certificates.flatMap((certificate) => certificate.names), ...routeHosts];
  const realms = new Map(material.realms.map((realm) => [realm.name, realm]));
  const fallback = realms.get('') as Realm;
  const cache = new Map<string, SecureContext>();
  const knows = (name: string): boolean => realms.has(name) || patterns.some((pattern) => coversHost(pattern, name));
  const contextFor = (name: string): SecureContext => {
    const realm = realms.get(name) ?? fallback;
    const chosen = certificatesFor(material.certificates, name);
    const key = JSON.stringify([realm.name, chosen.map((certificate) => certificate.file)]);
    let context = cache.get(key);
    if (context === undefined) {
      context = createSecureContext(contextOptions(config, chosen, realm));
      cache.set(key, context);
    }
    return context;
  };
  // Made now, not at the first client: a bad combination must fail the load.
  for (const name of realms.keys()) contextFor(name);
  return {
    defaults: contextOptions(config, certificatesFor(material.certificates, ''), fallback),
    select: (name) => (knows(name) ? contextFor(name) : undefined),
    knows,
  };
}

function contextOptions(config: HttpsListenerConfig, certificates: readonly ServerCertificate[], realm: Realm): SecureContextOptions {
  const profile = profileOptions(config.tls.profile);
  return {
    ...profile,
    secureOptions: (profile.secureOptions ?? 0) | (config.tls.session_resumption ? 0 : constants.SSL_OP_NO_TICKET),
    cert: certificates.map((certificate) => certificate.certificate),
    key: certificates.map((certificate) => certificate.key),
    // For the CertificateRequest's list of names, and for the witness; the verdict is ours.
    ca: realm.anchors.map((der) => pem(der)),
    sessionIdContext: sessionIdContext(config.name),
  };
}

/** For each key type the first certificate that names `name`, else (for names no certificate covers) the first of the type. */
function certificatesFor(all: readonly ServerCertificate[], name: string): readonly ServerCertificate[] {
  const covering = all.filter((certificate) => certificate.names.some((pattern) => coversHost(pattern, name)));
  const candidates = covering.length > 0 ? covering : all;
  const types = new Map<string, ServerCertificate>();
  for (const certificate of candidates) if (!types.has(certificate.keyType)) types.set(certificate.keyType, certificate);
  return [...types.values()];
}

/** Node's default hashes the command line: two processes of one gateway, or two threads, must agree on it. */
export function sessionIdContext(listener: string): string {
  return createHash('sha256').update(`wardgate ${listener}`).digest('hex').slice(0, 32);
}

function pem(der: Uint8Array): string {
  const text = Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
}
