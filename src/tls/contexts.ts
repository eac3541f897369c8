import { constants, createHash, X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { serverOptions } from '../config/profile-options.ts';
import type { TlsListenerConfig } from '../config/schema.ts';
import type { ListenerMaterial, Realm, ServerCertificate } from '../config/snapshot.ts';
import { wildcardFor } from '../policy/host.ts';
import { certificatesFor } from './choice.ts';
import type { StatusRequest } from './client-hello.ts';
import { keyTypeFor, type CertificateKey } from './key-type.ts';
import { sessionLifetime, type TicketKeys, type TicketSecret } from './tickets.ts';

/**
 * One set of server certificates and client CAs. Node's SNICallback puts a single certificate of its context over the
 * server's own, so a name with an EC and an RSA certificate needs a server of its own: names are told apart before the
 * handshake, and each group is a TLS server.
 */
export interface ContextGroup {
  readonly options: SecureContextOptions;
  readonly tickets: TicketKeys;
  /**
   * The OCSP answer for its certificate, if there is one at the moment. Absent where there are several certificates: Node asks for an answer
   * before OpenSSL has chosen among them, and names the last of them whichever it will be.
   */
  readonly staple?: () => Buffer | undefined;
}

/** The OCSP answer at hand for a certificate, by its SHA-256, while it may be shown. */
export type StapleSource = (sha256: string) => Buffer | undefined;

/** The TLS side of one listener, complete: swapped as a whole at a reload. */
export interface ListenerContexts {
  /** The first serves connections without SNI. */
  readonly groups: readonly ContextGroup[];
  /** The index of the group for a lower-case server name; undefined when the name is not ours. */
  select(name: string): number | undefined;
  /** Whether the name decides on the group at all. */
  readonly byName: boolean;
  /** The group that serves a client of this one that asks for an OCSP answer: with a single certificate, where it is sure which. */
  stapled(group: number, client: StatusRequest): number;
  /** Whether a request may be for this name: configured, or covered by a certificate. */
  knows(name: string): boolean;
}

/** What ticket keys are derived from. */
export interface TicketGround {
  readonly secret: TicketSecret;
  /** All that is trusted in a realm, as text: sessions of before it changed are not resumed. */
  readonly trust: (realm: Realm) => string;
}

/**
 * Builds the groups of a listener. Certificates of every key type go into each. `routeHosts` are names that routes serve;
 * `aliases` are names for which
 * another one's client CAs hold. Each group has ticket keys of its own: a session of one never resumes in another.
 * `staple` has OCSP answers.
 */
export function createContexts(config: TlsListenerConfig, material: ListenerMaterial, routeHosts: readonly string[], { secret, trust }: TicketGround, aliases: ReadonlyMap<string, string> = new Map(), staple: StapleSource = () => undefined): ListenerContexts {
  const certificateNames = material.certificates.flatMap((certificate) => certificate.names);
  const realms = new Map(material.realms.map((realm) => [realm.name, realm]));
  const patterns = new Set([...certificateNames, ...routeHosts, ...realms.keys(), ...[...aliases].flatMap(([name, held]) => (realms.has(held) ? [name] : []))]);
  const groups: ContextGroup[] = [];
  const indexes = new Map<string, number>();
  /** The groups of single certificates beside a group of several, by their key types. */
  const alone = new Map<number, { readonly keys: readonly CertificateKey[]; readonly byType: ReadonlyMap<string, number> }>();

  function groupOf(name: string): number {
    const realm = realms.get(aliases.get(name) ?? name) ?? realms.get('') as Realm;
    const chosen = certificatesFor(material.certificates, name);
    const key = JSON.stringify([realm.name, chosen.map((certificate) => certificate.file)]);
    const known = indexes.get(key);
    if (known !== undefined) return known;
    const tickets = { secret, rotate: config.tls.session_tickets.rotate, purpose: digest(JSON.stringify([config.name, key, trust(realm)])) };
    const index = addGroup(chosen, realm, tickets);
    indexes.set(key, index);
    if (chosen.length > 1 && mayStaple(config.tls, chosen)) {
      // One of them may resume what another began: a session has no certificate.
      alone.set(index, { keys: chosen.map(keyOf), byType: new Map(chosen.map((certificate) => [certificate.keyType, addGroup([certificate], realm, tickets)])) });
    }
    return index;
  }

  function addGroup(chosen: readonly ServerCertificate[], realm: Realm, tickets: TicketKeys): number {
    const options = contextOptions(config, chosen, realm);
    // Made once here: what OpenSSL does not take must fail the load, not the first client.
    createSecureContext(options);
    const [only, ...others] = chosen;
    const single = only !== undefined && others.length === 0 && mayStaple(config.tls, chosen);
    return groups.push({ options, tickets, ...(single ? { staple: () => staple(only.sha256) } : {}) }) - 1;
  }

  const byPattern = new Map([...new Set(['', ...patterns])].map((pattern) => [pattern, groupOf(pattern.replace('*', 'wildcard'))]));
  const patternOf = (name: string): string | undefined => [name, wildcardFor(name)].find((pattern) => pattern !== undefined && byPattern.has(pattern));
  return {
    groups,
    byName: indexes.size > 1,
    stapled(group, client) {
      const singles = alone.get(group);
      const type = singles === undefined ? undefined : keyTypeFor(client, singles.keys, config.tls.profile);
      return (type === undefined ? undefined : singles?.byType.get(type)) ?? group;
    },
    select: (name) => byPattern.get(patternOf(name) ?? 'unknown'),
    knows: (name) => name !== '' && patternOf(name) !== undefined,
  };
}

function contextOptions(config: TlsListenerConfig, certificates: readonly ServerCertificate[], realm: Realm): SecureContextOptions {
  const profile = serverOptions(config.tls.profile);
  return {
    ...profile,
    secureOptions: profile.secureOptions | (config.tls.session_resumption ? 0 : constants.SSL_OP_NO_TICKET),
    cert: certificates.map((certificate) => certificate.certificate),
    key: certificates.map((certificate) => certificate.key),
    // For the CertificateRequest's list of names, and for the witness; the verdict is ours.
    ca: realm.anchors.map((der) => pem(der)),
    sessionIdContext: sessionIdContext(config.name),
    sessionTimeout: Math.floor(sessionLifetime(config.tls.session_tickets.rotate) / 1000),
  };
}

/** Whether there can be an OCSP answer for any of them. */
function mayStaple({ stapling }: TlsListenerConfig['tls'], certificates: readonly ServerCertificate[]): boolean {
  return stapling !== false && (stapling.responder !== undefined || certificates.some(({ ocsp }) => ocsp));
}

function keyOf({ keyType, certificate }: ServerCertificate): CertificateKey {
  const curve = keyType === 'ec' ? new X509Certificate(certificate).publicKey.asymmetricKeyDetails?.namedCurve : undefined;
  return { keyType, ...(curve === undefined ? {} : { curve }) };
}

/** Node's default hashes the command line: two processes of one gateway, or two threads, must agree on it. */
function sessionIdContext(listener: string): string {
  return digest(`wardgate ${listener}`).slice(0, 32);
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function pem(der: Uint8Array): string {
  // OpenSSL ends at an empty line, and takes what came before for all there is.
  const text = Buffer.from(der).toString('base64').replace(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
}
