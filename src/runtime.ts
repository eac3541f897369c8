import { resolve } from 'node:path';
import type { HstsConfig, HttpsListenerConfig, TcpListenerConfig, TlsListenerConfig, UpstreamConfig } from './config/schema.ts';
import type { Snapshot } from './config/snapshot.ts';
import type { Desk, Service } from './forward/client.ts';
import { openKeyRegistry } from './forward/seal/registry.ts';
import { createTokenDesk, issuersOf } from './forward/token-desk.ts';
import type { KeyRegister } from './forward/token-keys.ts';
import { createUpstream, type Upstream } from './forward/upstream/pool.ts';
import type { UpstreamShares } from './forward/upstream/watch.ts';
import { createWebhookDesk } from './forward/webhooks/desk.ts';
import { compileFront } from './fronts.ts';
import type { DeviceView } from './identity/devices.ts';
import { NO_TRANSFERS, type TransferView } from './identity/people.ts';
import { operatorsConfig } from './policy/admin-route.ts';
import type { StreamPolicy } from './policy/authorize-stream.ts';
import { compileBindings, type DevicePolicy } from './policy/devices.ts';
import { compileRates } from './policy/limits.ts';
import { parseNetwork } from './policy/networks.ts';
import { compileAdminRoutes, compileRoutes } from './policy/routes.ts';
import { compileSenders } from './policy/senders.ts';
import type { Suspension } from './policy/suspensions.ts';
import { endsTls, type ListenerRuntime } from './protocol.ts';
import type { RevocationDesk } from './revocation/view.ts';
import type { DenyTable } from './store/deny-table.ts';
import { createAdmissionOffice } from './tls/admission.ts';
import { createContexts, type StapleSource } from './tls/contexts.ts';
import type { TicketSecret } from './tls/tickets.ts';
import { trustDigest } from './tls/trust-digest.ts';
import { openCollector, type Collector, type SpanResult } from './tracing/collector.ts';

/** Everything a snapshot became on one thread. */
export interface Runtime {
  readonly snapshot: Snapshot;
  readonly listeners: ReadonlyMap<string, ListenerRuntime>;
  readonly upstreams: ReadonlyMap<string, Upstream>;
  /** Where spans go; absent where tracing is not configured. */
  readonly collector: Collector | undefined;
}

/** What a thread has whatever the configuration is. */
export interface ThreadGround {
  /** The thread's place among the others. */
  readonly place: number;
  readonly deny: DenyTable;
  readonly revocation: RevocationDesk;
  /** Where requests ask for what exists once a gateway. */
  readonly desk: Desk;
  /** The inventory, whichever is in force. */
  readonly devices: DeviceView;
  /** What is suspended by order at the moment. */
  readonly suspensions: () => readonly Suspension[];
  /** Who has come to other roles, as of now. */
  readonly transfers: () => TransferView;
  /** The OCSP answers for server certificates, as of now. */
  readonly staple: StapleSource;
  /** Grants for emergencies that were withdrawn before their time. */
  readonly withdrawn: () => ReadonlySet<string>;
  /** The keys of issuers of tokens, as of now. */
  readonly keys: KeyRegister;
  /** Has an issuer asked for its keys again; see `TokenDeskOptions`. */
  readonly refreshKeys: (source: string) => Promise<number>;
  readonly now: () => number;
  /** Milliseconds on a clock that all threads share. */
  readonly clock: () => number;
}

/** What a runtime is made from. */
export interface RuntimeParts {
  readonly snapshot: Snapshot;
  /** For listeners without a secret of their own. */
  readonly ticketSecret: TicketSecret;
  readonly shares: UpstreamShares;
  /** The runtime in force: what has not changed is taken over from it. */
  readonly before: Runtime | undefined;
  readonly collector: Collector | undefined;
}

const NOBODY: ReadonlySet<string> = new Set();

/** Builds the runtime of a snapshot, beside the one in force. */
export function buildRuntime(
  { place, deny, revocation, desk, devices, suspensions, withdrawn, transfers, staple, keys, refreshKeys, now, clock }: ThreadGround,
  { snapshot, ticketSecret, shares, before, collector }: RuntimeParts,
): Runtime {
  const { config } = snapshot;
  const tracer = collector?.tracer;
  const upstreams = new Map(Object.entries(config.upstreams).map(([name, upstream]) => [name, keepOrCreateUpstream(name, upstream)]));
  const { unavailable } = config.revocation;
  const rates = compileRates('gateway', config.limits.rates);
  const bindings = compileBindings(config.roles);
  const bound = bindings.size === 0 ? {} : { devices: { register: devices, bindings } };
  const aliases = new Map(Object.entries(config.aliases));
  const inside = (config.networks.inside ?? []).map(parseNetwork);
  const tokens = createTokenDesk({ issuers: issuersOf(snapshot), keys, refresh: refreshKeys, now });
  const webhooks = createWebhookDesk({ webhooks: config.webhooks, secrets: snapshot.webhooks, zone: config.devices?.timezone ?? 'UTC', tell: desk.tell, now });
  const policy = { routes: compileRoutes(config.routes, rates, snapshot.authorities, config), unavailable, rates, aliases, inside, ...bound };
  const directories = new Set(config.routes.flatMap(({ encrypt }) => encrypt?.keys ?? []));
  const registries = new Map([...directories].map((keys) => [keys, openKeyRegistry(resolve(snapshot.directory, keys))]));
  const routeHosts = [...config.routes.flatMap((route) => route.match.host ?? []), ...aliases.keys()];
  return { snapshot, listeners: new Map(config.listeners.filter(endsTls).map((listener) => [listener.name, listenerRuntime(listener)])), upstreams, collector };

  function listenerRuntime(listener: TlsListenerConfig): ListenerRuntime {
    const material = snapshot.listeners[listener.name];
    if (material === undefined) throw new Error(`listeners: no material for ${listener.name}`);
    const forOperators = listener.name === config.admin.listener;
    const learnt = before?.listeners.get(listener.name)?.office.learnt();
    const common = {
      operators: forOperators,
      contexts: createContexts(listener, material, listener.protocol === 'https' && !forOperators ? routeHosts : [], { secret: material.ticketSecret === undefined ? ticketSecret : { octets: material.ticketSecret, since: 0 }, trust: (realm) => trustDigest(snapshot, listener, realm) }, aliases, staple),
      office: createAdmissionOffice({
        config: forOperators ? operatorsConfig(config) : config, realms: material.realms, authorities: snapshot.authorities, aliases, deny, revocation: revocation.view(config.revocation),
        transfers: forOperators ? () => NO_TRANSFERS : transfers, now, fetchFrom: listener.client_auth.fetch_intermediates?.from ?? [],
        ...(learnt === undefined ? {} : { learnt }),
      }),
    };
    if (listener.protocol === 'https' && forOperators) return { ...common, config: listener, service: operatorsService(listener) };
    const front = listener.protocol === 'https' ? compileFront(listener, config, snapshot.authorities) : undefined;
    return listener.protocol === 'https'
      ? { ...common, ...(front === undefined ? {} : { front }), config: listener, service: { listener, hsts: hstsValue(listener.hsts), policy, desk, tokens, upstreams, registries, webhooks, unrecorded: config.audit.failing === 'serve', suspensions, withdrawn, ...(tracer === undefined ? {} : { tracer }) } }
      : { ...common, config: listener, policy: { ...streamPolicy(listener, unavailable), inside, ...bound }, suspensions, upstream: upstreams.get(listener.upstream) as Upstream };
  }

  /**
   * Nothing is forwarded, no order suspends it and no limit of the clients counts on it: what is done in an emergency must not lock out those who do it.
   * It answers while the audit cannot be written, too, since there it is said; changes demand their records by themselves.
   */
  function operatorsService(listener: HttpsListenerConfig): Service {
    return {
      listener, hsts: hstsValue(listener.hsts), policy: { routes: compileAdminRoutes(), unavailable, rates: [] }, desk, tokens, upstreams: new Map(), registries: new Map(), webhooks, unrecorded: true,
      suspensions: () => [], withdrawn: () => NOBODY, ...(tracer === undefined ? {} : { tracer }),
    };
  }

  /** One that has not changed goes on: a reload must not cost its warm connections, nor what is known of its endpoints. */
  function keepOrCreateUpstream(name: string, upstream: UpstreamConfig): Upstream {
    const [material, share] = [snapshot.upstreams[name], shares[name]];
    if (material === undefined || share === undefined) throw new Error(`upstreams: no material for ${name}`);
    const old = before?.upstreams.get(name);
    return old?.id === share.id ? old : createUpstream({ name, config: upstream, material, share, thread: place, threads: config.threads, clock });
  }
}

/**
 * The collector of a snapshot's spans. It goes on while nothing about it has changed: what waits on its way must not be lost to a
 * reload. `count` is told what became of spans.
 */
export function keepOrOpenCollector(snapshot: Snapshot, before: Runtime | undefined, count: (result: SpanResult, spans: number) => void): Promise<Collector | undefined> {
  const { config: { tracing }, tracing: material } = snapshot;
  if (tracing === undefined || material === undefined) return Promise.resolve(undefined);
  const old = before?.collector;
  const same = before !== undefined && JSON.stringify([before.snapshot.config.tracing, before.snapshot.tracing]) === JSON.stringify([tracing, material]);
  return old !== undefined && same ? Promise.resolve(old) : openCollector(tracing, material, count);
}

/** What a listener's clients are bound to; undefined where none of them is. */
export function devicesOf(runtime: ListenerRuntime): DevicePolicy | undefined {
  return 'service' in runtime ? runtime.service.policy.devices : runtime.policy.devices;
}

/** The same listener, by which nothing more is let in. */
export function withoutRights(runtime: ListenerRuntime): ListenerRuntime {
  return 'service' in runtime
    ? { ...runtime, service: { ...runtime.service, policy: { ...runtime.service.policy, routes: compileRoutes([]) } } }
    : { ...runtime, policy: { ...runtime.policy, allow: new Set() } };
}

function streamPolicy({ allow, senders }: TcpListenerConfig, unavailable: StreamPolicy['unavailable']): StreamPolicy {
  return { allow: new Set(allow), unavailable, ...(senders === undefined ? {} : { senders: compileSenders(senders) }) };
}

function hstsValue(hsts: HstsConfig): string | undefined {
  if (hsts === false) return undefined;
  const { max_age, include_subdomains, preload } = hsts;
  return `max-age=${Math.floor(max_age / 1000)}${include_subdomains ? '; includeSubDomains' : ''}${preload ? '; preload' : ''}`;
}
