import { parse } from 'yaml';
import type { CertificateOptions } from '../../ca/issue.ts';
import type { Config } from '../../config/schema.ts';

/** A part of the configuration as it is written. */
export type Raw = Record<string, unknown>;

/** A role, and the certificate that would have it. */
export interface Cast {
  readonly role: string;
  /** Which of the drill's CAs issues it: that which carries the names that the role asks of an issuer. */
  readonly authority: string;
  readonly certificate: Pick<CertificateOptions, 'subject' | 'san' | 'eku' | 'policies' | 'keyType'>;
}

/** A CA of the drill: in place of those that the configuration trusts. */
export interface CastAuthority {
  readonly name: string;
  readonly subject: readonly (readonly [string, string])[];
}

/** A request that a role may make by the real routes. */
export interface Visit {
  readonly route: string;
  readonly role: string;
  readonly host: string;
  readonly path: string;
  readonly method: string;
}

export interface StagedPlan {
  readonly raw: Raw;
  readonly casts: readonly Cast[];
  readonly authorities: readonly CastAuthority[];
  readonly visits: readonly Visit[];
  /** Names that the staging gateway's own certificate has. */
  readonly names: readonly string[];
  /** What a drill does not rehearse, in words. */
  readonly leftOut: readonly string[];
}

export interface StagedPorts {
  readonly https: number;
  readonly stream: number;
  readonly responder: number;
}

/** Whatever speaks to somebody, or is somebody's, is left out. */
const DROPPED = ['second_factor', 'tokens', 'webhooks', 'store', 'tracing', 'alarms', 'expiry', 'backup', 'devices', 'metrics', 'admin', 'audit', 'trust_domains', 'state', 'networks'];
const ROUTE_DROPPED = ['require', 'encrypt', 'break_glass', 'suspended', 'patient', 'webhook'];
const DEFAULT_CA = 'issuing';

/**
 * The configuration of a staging gateway: listeners, routes, roles, limits and revocation policy are those of `text`; certificates, CAs, responder
 * and upstreams are the drill's own, and nothing of it reaches anything real. `config` is the same, parsed.
 */
export function stagedPlan(text: string, config: Config, ports: StagedPorts): StagedPlan {
  const raw = parse(text) as Raw;
  const authorities = new Map<string, CastAuthority>([[DEFAULT_CA, { name: DEFAULT_CA, subject: [['CN', 'Wardgate Drill CA']] }]]);
  const named = new Map<string, string>();
  const leftOut = DROPPED.filter((key) => raw[key] !== undefined && !['state', 'audit', 'admin', 'metrics'].includes(key)).map((key) => `${key} is left out`);
  const casts: Cast[] = [];
  const roles = listOf(raw['roles']).map((entry) => {
    const { bind, ...role } = entry;
    const match = { ...(role['match'] as Raw) };
    const authority = authorityFor(match, authorities, named);
    if (match['trust'] !== undefined) match['trust'] = [`${authority}.pem`];
    const cast = castOf(String(role['role']), match, authority, String(role['id'] ?? ''));
    if (typeof cast === 'string') leftOut.push(cast);
    else casts.push(cast);
    if (bind !== undefined) leftOut.push(`the device of role ${String(role['role'])} is not asked for`);
    const also = listOf(role['also']).map((one) => (typeof one === 'object' && (one['match'] as Raw | undefined)?.['trust'] !== undefined ? { ...one, match: { ...(one['match'] as Raw), trust: ['root.pem'] } } : one));
    return { ...role, match, ...(role['also'] === undefined ? {} : { also }) };
  });
  const routes = listOf(raw['routes']).filter(({ webhook }) => webhook === undefined).map((route) => without(route, ROUTE_DROPPED));
  for (const route of listOf(raw['routes'])) if (route['require'] !== undefined) leftOut.push(`route ${String(route['name'])}: what it requires beyond the role`);
  const names = namesOf(config);
  return {
    raw: {
      ...without(raw, DROPPED), state: './state', threads: 2, roles, routes, revocation: revocationOf(raw['revocation'] as Raw | undefined, config, [...authorities.keys()], ports.responder),
      listeners: listOf(raw['listeners']).filter(({ protocol, name }) => protocol !== 'redirect' && name !== config.admin.listener).map((listener) => listenerOf(listener, [...authorities.keys()])),
      upstreams: Object.fromEntries(Object.entries(config.upstreams).map(([name, { endpoints }]) => {
        const stream = endpoints.some(({ protocol }) => protocol === 'tls');
        return [name, { endpoints: [stream ? `tls://127.0.0.1:${ports.stream}` : `https://127.0.0.1:${ports.https}`], tls: { trust: 'root.pem', server_name: 'localhost' } }];
      })),
    },
    casts, authorities: [...authorities.values()], names, leftOut,
    visits: config.routes.flatMap(({ name, match, allow, webhook }) => (webhook === undefined ? allow.filter((role) => role !== 'public').map((role) => ({
      route: name, role, host: hostOf(match.host), path: pathOf(match.path), method: match.methods?.[0] ?? 'GET',
    })) : [])),
  };
}

function listOf(value: unknown): readonly Raw[] {
  return Array.isArray(value) ? value as readonly Raw[] : [];
}

function without(value: Raw, keys: readonly string[]): Raw {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key)));
}

/** The first of what a pattern allows, with something in place of what may be anything. */
function fit(pattern: unknown): string {
  return String(Array.isArray(pattern) ? pattern[0] : pattern).replaceAll('*', 'drill');
}

function authorityFor({ issuer, trust }: Raw, authorities: Map<string, CastAuthority>, names: Map<string, string>): string {
  if (issuer === undefined && trust === undefined) return DEFAULT_CA;
  const key = JSON.stringify([issuer, trust]);
  const known = names.get(key);
  if (known !== undefined) return known;
  const name = `issuing-${authorities.size}`;
  names.set(key, name);
  const named = Object.entries((issuer ?? {}) as Raw).map(([type, pattern]) => [type, fit(pattern)] as const);
  authorities.set(name, { name, subject: named.some(([type]) => type === 'CN') ? named : [['CN', `Wardgate Drill ${name}`], ...named] });
  return name;
}

const SANS = ['dns', 'email', 'uri', 'ip', 'upn'] as const;
const KEY_TYPES: Readonly<Record<string, 'ec' | 'ec384' | 'rsa3072'>> = { 'ec-p256': 'ec', 'ec-p384': 'ec384' };

/** The certificate that a role asks for; in words where the drill cannot make one. */
function castOf(role: string, match: Raw, authority: string, id: string): Cast | string {
  const wanted = (match['san'] ?? {}) as Raw;
  const strange = Object.keys(wanted).find((kind) => !SANS.some((one) => one === kind));
  if (strange !== undefined) return `role ${role}: certificates with san.${strange} are not made here`;
  const subject = Object.entries((match['subject'] ?? {}) as Raw).map(([type, pattern]) => [type, fit(pattern)] as const);
  const san: Record<string, string> = Object.fromEntries(Object.entries(wanted).map(([kind, pattern]) => [kind, kind === 'ip' ? fit(pattern).replaceAll('drill', '1') : fit(pattern)]));
  const [, asked] = /\{san\.([a-z_]+)/.exec(id) ?? [];
  if (asked !== undefined && san[asked] === undefined) san[asked] = asked === 'uri' ? `urn:drill:${role}` : asked === 'ip' ? '192.0.2.1' : asked === 'dns' ? `${role}.drill.test` : `${role}@drill.test`;
  const [key] = (match['key'] ?? []) as readonly string[];
  return {
    role, authority,
    certificate: {
      subject: subject.some(([type]) => type === 'CN') ? subject : [['CN', `Drill ${role}`], ...subject],
      ...(Object.keys(san).length === 0 ? {} : { san }),
      eku: ['clientAuth', ...((match['eku'] ?? []) as readonly string[]).slice(0, 1).filter((oid) => oid !== '1.3.6.1.5.5.7.3.2')],
      ...(match['policy'] === undefined ? {} : { policies: (match['policy'] as readonly string[]).slice(0, 1) }),
      keyType: key === undefined ? 'ec' : key.startsWith('rsa') ? 'rsa3072' : KEY_TYPES[key] ?? 'ec',
    },
  };
}

function listenerOf(listener: Raw, authorities: readonly string[]): Raw {
  const { tls, client_auth: clientAuth } = listener as { readonly tls: Raw; readonly client_auth: Raw };
  const { session_tickets: tickets, ...kept } = without(tls, ['roots']) as { readonly session_tickets?: Raw } & Raw;
  const intermediates = authorities.map((name) => `${name}.pem`);
  const names = Object.fromEntries(Object.keys((clientAuth['names'] ?? {}) as Raw).map((name) => [name, { trust: ['root.pem'], intermediates }]));
  return {
    ...without(listener, ['proxy_protocol', 'senders']), address: '127.0.0.1:0',
    tls: { ...kept, stapling: false, certificates: [{ certificate: 'server.pem', key: 'server.key' }], ...(tickets === undefined ? {} : { session_tickets: without(tickets, ['secret_file']) }) },
    client_auth: { ...without(clientAuth, ['fetch_intermediates']), trust: ['root.pem'], intermediates, names },
  };
}

function revocationOf(raw: Raw = {}, { revocation }: Config, authorities: readonly string[], responder: number): Raw {
  return {
    ...without(raw, ['proxy', 'crl', 'ocsp']), allow_local: true,
    crl: { ...without((raw['crl'] ?? {}) as Raw, ['urls']), files: revocation.sources.includes('crl') ? ['root', ...authorities].map((name) => `${name}.crl`) : [], from_certificate: false },
    ocsp: { ...((raw['ocsp'] ?? {}) as Raw), responder: `http://127.0.0.1:${responder}`, from_certificate: false },
  };
}

function namesOf({ routes, aliases, listeners }: Config): readonly string[] {
  const hosts = routes.flatMap(({ match }) => match.host ?? []);
  const own = listeners.flatMap((listener) => ('client_auth' in listener ? Object.keys(listener.client_auth.names) : []));
  return [...new Set(['localhost', ...hosts, ...Object.keys(aliases), ...own])];
}

function hostOf(host: string | readonly string[] | undefined): string {
  return host === undefined ? 'localhost' : fit(host);
}

function pathOf(pattern: string): string {
  return pattern.replaceAll(/:[A-Za-z_]+/g, 'drill').replace(/\*$/, 'drill');
}
