import { z } from 'zod';
import { admin } from './schema/admin.ts';
import { alarms } from './schema/alarms.ts';
import { audit } from './schema/audit.ts';
import { backup } from './schema/backup.ts';
import { devices } from './schema/devices.ts';
import { expiry } from './schema/expiry.ts';
import { limits } from './schema/limits.ts';
import { listener } from './schema/listener.ts';
import { metrics } from './schema/metrics.ts';
import { networks } from './schema/networks.ts';
import { revocation } from './schema/revocation.ts';
import { inherits, role } from './schema/role.ts';
import { route } from './schema/route.ts';
import { secondFactor } from './schema/second-factor.ts';
import { mapping, some, whole } from './schema/shapes.ts';
import { store } from './schema/store.ts';
import { tokens } from './schema/tokens.ts';
import { tracing } from './schema/tracing.ts';
import { trustDomains } from './schema/trust-domains.ts';
import { upstream } from './schema/upstream.ts';
import { webhooks } from './schema/webhooks.ts';
import { directoryPath, hostName, name } from './values.ts';

export type { TokenAlgorithm } from './schema/tokens.ts';
export type { Address, Endpoint } from './addresses.ts';
export type { Rate, StatusRange, Watermark } from './values.ts';

/** The configuration as it is written; defaults that depend on other keys are filled in by `completeConfig`. */
export const configSchema = mapping({
  state: directoryPath.describe('Directory of the deny list, caches and audit; created with mode 0700.').default('./state'),
  threads: whole(1, 256).describe('Threads that serve connections; absent: one for each core of the machine.').exactOptional(),
  limits,
  listeners: some(listener, 'expected a list of at least one listener').describe('Addresses that the gateway listens on.'),
  revocation,
  roles: z.array(role).describe('From certificate to role; the first match wins, no match is no role.').default([]),
  inherits: inherits.default({}),
  trust_domains: trustDomains.default({}),
  devices: devices.exactOptional(),
  webhooks: webhooks.default({}),
  tokens: tokens.default({}),
  routes: z.array(route).describe('What may be asked by whom; the first match wins, no match is 404.').default([]),
  networks,
  aliases: z.record(hostName, hostName, { error: 'expected a mapping of host names such as { emergency.hospital.test: api.hospital.test }' })
    .describe('Further names, each for one whose routes and client CAs hold under it as well: a second name for an emergency. Its certificate is chosen by the name that is asked for.').default({}),
  upstreams: z.record(name, upstream, { error: 'expected a mapping of names to upstreams' }).describe('Servers behind the gateway, by name.').default({}),
  audit,
  alarms: alarms.exactOptional(),
  backup: backup.exactOptional(),
  expiry: expiry.exactOptional(),
  second_factor: secondFactor,
  store: store.exactOptional(),
  admin,
  tracing: tracing.exactOptional(),
  metrics: metrics.exactOptional(),
});

type Immutable<T> = T extends string | number | boolean | null | undefined
  ? T
  : T extends readonly (infer Item)[]
    ? readonly Immutable<Item>[]
    : { readonly [Key in keyof T]: Immutable<T[Key]> };

type ParsedConfig = z.output<typeof configSchema>;

/**
 * The whole configuration. Names are the YAML's own keys; durations are milliseconds, sizes bytes, defaults filled
 * in; paths are still as written, relative to the configuration file.
 */
export type Config = Immutable<
  Omit<ParsedConfig, 'threads' | 'audit' | 'admin'> & { threads: number; audit: Omit<ParsedConfig['audit'], 'directory'> & { directory: string }; admin: Omit<ParsedConfig['admin'], 'socket'> & { socket: string } }
>;
export type ListenerConfig = Config['listeners'][number];
export type HttpsListenerConfig = Extract<ListenerConfig, { protocol: 'https' }>;
export type TcpListenerConfig = Extract<ListenerConfig, { protocol: 'tcp' }>;
/** The listeners that end TLS. */
export type TlsListenerConfig = HttpsListenerConfig | TcpListenerConfig;
export type RedirectListenerConfig = Extract<ListenerConfig, { protocol: 'redirect' }>;
export type SendersConfig = NonNullable<TcpListenerConfig['senders']>;
export type TlsConfig = HttpsListenerConfig['tls'];
export type TlsProfile = TlsConfig['profile'];
export type HstsConfig = HttpsListenerConfig['hsts'];
export type ListenerLimits = HttpsListenerConfig['limits'];
export type RevocationConfig = Config['revocation'];
export type UnavailableConfig = RevocationConfig['unavailable'];
export type RoleConfig = Config['roles'][number];
export type BindConfig = NonNullable<RoleConfig['bind']>;
export type DevicesConfig = NonNullable<Config['devices']>;
export type WebhookConfig = Config['webhooks'][string];
export type TokenConfig = Config['tokens'][string];
export type CertificateMatch = RoleConfig['match'];
export type RouteConfig = Config['routes'][number];
export type PatientConfig = NonNullable<RouteConfig['patient']>;
export type EncryptConfig = NonNullable<RouteConfig['encrypt']>;
export type BreakGlassConfig = NonNullable<RouteConfig['break_glass']>;
export type MaskingConfig = Config['audit']['masking'];
export type SinkConfig = Config['audit']['sinks'][number];
export type SyslogAnchorConfig = NonNullable<NonNullable<Config['audit']['anchor']>['syslog']>;
export type AlarmsConfig = NonNullable<Config['alarms']>;
export type AlarmChannelConfig = AlarmsConfig['channels'][number];
export type ExpiryConfig = NonNullable<Config['expiry']>;
export type StoreConfig = NonNullable<Config['store']>;
export type SecondFactorConfig = Config['second_factor'];
export type TracingConfig = NonNullable<Config['tracing']>;
export type UpstreamConfig = Config['upstreams'][string];
export type EndpointConfig = UpstreamConfig['endpoints'][number];
/** A certificate of the gateway's own and its key, as every section that has one names them. */
export type OwnPairConfig = Pick<UpstreamConfig['tls'], 'certificate' | 'key' | 'pkcs12' | 'passphrase_file' | 'passphrase_command'>;
export type HealthConfig = NonNullable<UpstreamConfig['health']>;

/** The file that a certificate of the gateway's own is in, as written. */
export function fileOf({ certificate, pkcs12 }: Pick<OwnPairConfig, 'certificate' | 'pkcs12'>): string {
  return certificate ?? pkcs12 ?? '';
}

/** Fills in the defaults that depend on other keys or on the machine; `cores` is the number of threads it can run. */
export function completeConfig(parsed: ParsedConfig, cores: number): Config {
  const state = parsed.state.replace(/\/+$/, '') || '/';
  const inState = (entry: string): string => (state === '/' ? `/${entry}` : `${state}/${entry}`);
  return {
    ...parsed,
    threads: parsed.threads ?? Math.max(1, cores),
    audit: { ...parsed.audit, directory: parsed.audit.directory ?? inState('audit') },
    admin: { ...parsed.admin, socket: parsed.admin.socket ?? inState('admin.sock') },
  };
}
