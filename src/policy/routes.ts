import type { Config, RouteConfig } from '../config/schema.ts';
import { authoritiesOf, type Authorities, type AuthorityFiles } from '../identity/authorities.ts';
import { ADMIN_ROUTE_CONFIG } from './admin-route.ts';
import { compileGlass, type GlassRule } from './break-glass.ts';
import { compileRates, type RateConfig, type RateRule } from './limits.ts';
import { parseNetwork, type Network } from './networks.ts';
import { compilePatient, type PatientRule } from './patient.ts';
import { ownRoutes } from './own-routes.ts';
import { firstRoute, indexRoutes, type RouteIndex } from './route-index.ts';
import type { Maintenance } from './suspensions.ts';
import { compileToken, type TokenRule } from './token.ts';

/** A route made ready for matching. */
export interface Route {
  readonly config: RouteConfig;
  readonly name: string;
  /** Its place in the configuration, from 0: of several that match, the lowest serves. */
  readonly order: number;
  readonly methods: ReadonlySet<string> | undefined;
  readonly hosts: readonly string[] | undefined;
  readonly pattern: readonly Segment[];
  /** `/a/*`: everything below /a, "/a/" included; "/a" itself is another path. */
  readonly below: boolean;
  readonly allow: ReadonlySet<string>;
  readonly networks: readonly Network[] | undefined;
  /** The CAs of which one must vouch for the client, by name and key; undefined: any that its listener trusts. */
  readonly authorities: Authorities | undefined;
  /** Its own limits, then those of the whole gateway. */
  readonly rates: readonly RateRule[];
  /** The second factors of which it requires one. */
  readonly factors: readonly ('totp' | 'sms' | 'webauthn')[] | undefined;
  /** The token that it requires. */
  readonly token: TokenRule | undefined;
  /** Where its requests name the patient they concern. */
  readonly patient: PatientRule | undefined;
  /** Whether the gateway answers by itself. */
  readonly own: boolean;
  /** Whether more is done with its requests or answers than passing their octets on: none of it is for the fast path. */
  readonly general: boolean;
  /** Who gets through in an emergency; undefined: nobody. */
  readonly glass: GlassRule | undefined;
  /** When it serves nobody, or not those named. */
  readonly maintenance: readonly Maintenance[];
}

export type Segment = { readonly kind: 'literal'; readonly value: string } | { readonly kind: 'parameter'; readonly name: string };

export interface RouteMatch {
  readonly route: Route;
  readonly parameters: Readonly<Record<string, string>>;
}

const NO_ISSUERS = { tokens: {}, inherits: {} };

/** Octets of an event. */
const LARGEST_EVENT = 64 * 1024;

/**
 * Compiles the configured routes, in their order: the first match wins. `rates` are limits that count on all of them together,
 * `files` has the CA certificates of those that a route names, `issuers` those whose tokens they require.
 */
export function compileRoutes(
  configs: readonly RouteConfig[], rates: readonly RateRule[] = [], files: AuthorityFiles = {}, issuers: Pick<Config, 'tokens' | 'inherits'> = NO_ISSUERS,
): RouteIndex {
  const own = ownRoutes(configs);
  return indexRoutes([...own, ...configs].map((config, order) => compileRoute(config, order, order < own.length, { rates, files, issuers })));
}

/** Everything on the operators' listener is the gateway's own: no route of the configuration is asked. */
export function compileAdminRoutes(): RouteIndex {
  return indexRoutes([compileRoute(ADMIN_ROUTE_CONFIG, 0, true, { rates: [], files: {}, issuers: NO_ISSUERS })]);
}

interface RouteGround {
  readonly rates: readonly RateRule[];
  readonly files: AuthorityFiles;
  readonly issuers: Pick<Config, 'tokens' | 'inherits'>;
}

function compileRoute(config: RouteConfig, order: number, page: boolean, { rates, files, issuers }: RouteGround): Route {
  const below = config.match.path.endsWith('/*');
  const written = below ? config.match.path.slice(0, -2) : config.match.path;
  const pattern = written === '' ? [] : written.slice(1).split('/').map(compileSegment);
  return {
    config: config.webhook === undefined ? config : { ...config, limits: { ...config.limits, body: Math.min(config.limits.body ?? LARGEST_EVENT, LARGEST_EVENT) } },
    name: config.name,
    order,
    methods: config.match.methods === undefined ? undefined : new Set(config.match.methods),
    hosts: config.match.host?.map((host) => host.toLowerCase()),
    pattern,
    below,
    allow: new Set(config.allow),
    networks: config.require.networks?.map(parseNetwork),
    authorities: config.require.trust === undefined ? undefined : authoritiesOf(config.require.trust, files),
    rates: [...compileRates(`route/${config.name}`, ratesOf(config)), ...rates],
    factors: config.require.second_factor,
    token: compileToken(config, issuers),
    patient: config.patient === undefined ? undefined : compilePatient(config.patient, pattern.length),
    own: page || config.webhook !== undefined,
    general: page || config.webhook !== undefined || config.encrypt !== undefined,
    glass: config.break_glass === undefined ? undefined : { ...compileGlass(config.break_glass), ...(page ? { page: true } : {}) },
    maintenance: (config.suspended ?? []).map(({ when, outside, roles, reason }) => ({ when, outside, roles: roles === undefined ? undefined : new Set(roles), reason })),
  };
}

function ratesOf({ limits: { rate, rates } }: RouteConfig): readonly RateConfig[] {
  return [...(rate === undefined ? [] : [{ per: 'certificate', rate, count: 'requests' } as const]), ...rates];
}

function compileSegment(text: string): Segment {
  return text.startsWith(':') ? { kind: 'parameter', name: text.slice(1) } : { kind: 'literal', value: text };
}

/**
 * The first route for this host, path and method. `segments` are the decoded ones of the target; a HEAD request matches
 * where GET does.
 */
export function matchRoute(
  routes: RouteIndex,
  host: string,
  segments: readonly string[],
  method: string,
): RouteMatch | undefined {
  const route = firstRoute(routes, host, segments, method);
  return route === undefined ? undefined : { route, parameters: parametersOf(route, segments) };
}

const NO_PARAMETERS: Readonly<Record<string, string>> = Object.freeze({});

function parametersOf({ pattern }: Route, segments: readonly string[]): Readonly<Record<string, string>> {
  let parameters: Record<string, string> | undefined;
  for (let index = 0; index < pattern.length; index++) {
    const wanted = pattern[index] as Segment;
    if (wanted.kind === 'parameter') (parameters ??= {})[wanted.name] = segments[index] as string;
  }
  return parameters ?? NO_PARAMETERS;
}
