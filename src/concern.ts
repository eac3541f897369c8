import type { OpenListener } from './bound-listener.ts';
import type { Config } from './config/schema.ts';
import type { Identity } from './identity/roles.ts';
import type { Policy } from './policy/decision.ts';
import type { RequestFacts } from './policy/facts.ts';
import { matchRoute } from './policy/routes.ts';
import { compileSuspensions, fits, type Suspension, type SuspensionScope } from './policy/suspensions.ts';
import type { ListenerRuntime } from './protocol.ts';
import type { Concerned, ConcernedClient } from './thread-protocol.ts';
import type { Connection } from './tls/connection.ts';

/** How many clients are named; the others are only counted. */
const MOST_CLIENTS = 100;

/** Tells whom a suspension would concern among the open connections of a thread: of a route those that have used it. `allow` are the roles that may. */
export function createConcern(serving: () => readonly OpenListener[]): (scope: SuspensionScope, allow: readonly string[]) => Concerned {
  return ({ route, ...scope }, allow) => {
    const [suspension] = compileSuspensions([{ ...scope, reason: '' }]) as readonly [Suspension];
    let mayBe = 0;
    const found = serving().flatMap(({ runtime, connections }) => [...connections.values()].flatMap((connection): Concerned[] => {
      const identity = identityOf(connection);
      const { listener, address } = connection;
      if (!fits(suspension, { listener, identity, address }, insideOf(runtime))) return [];
      if (route !== undefined && mayUse(allow, runtime, identity)) mayBe++;
      if (route !== undefined && !connection.routes.has(route)) return [];
      return [{ connections: 1, under_way: underWay(route, runtime, connection), clients: [{ ...(identity === undefined ? {} : { role: identity.role, id: identity.id }), address, connections: 1 }] }];
    }));
    return { ...addUp(found), ...(route === undefined ? {} : { may_use: mayBe }) };
  };
}

/** What was found, together. */
export function addUp(found: readonly Concerned[]): Concerned {
  const clients = new Map<string, ConcernedClient>();
  for (const client of found.flatMap((one) => one.clients)) {
    const key = JSON.stringify([client.role, client.id, client.address]);
    const known = clients.get(key);
    if (known === undefined && clients.size >= MOST_CLIENTS) continue;
    clients.set(key, { ...client, connections: client.connections + (known?.connections ?? 0) });
  }
  const sum = (count: (one: Concerned) => number): number => found.reduce((all, one) => all + count(one), 0);
  const ofRoute = found.some((one) => one.may_use !== undefined);
  return { connections: sum((one) => one.connections), under_way: sum((one) => one.under_way), clients: [...clients.values()], ...(ofRoute ? { may_use: sum((one) => one.may_use ?? 0) } : {}) };
}

/** A route that a suspension would concern, and who may use it. */
export interface ConcernedRoute {
  readonly route: string;
  readonly allow: readonly string[];
}

/** The routes on which a suspension would be felt; listeners of streams have none. */
export function concernedRoutes({ route, role, listener }: SuspensionScope, { routes, listeners }: Pick<Config, 'routes' | 'listeners'>): readonly ConcernedRoute[] {
  if (listener !== undefined && listeners.find(({ name }) => name === listener)?.protocol !== 'https') return [];
  return routes
    .filter(({ name, allow }) => (route === undefined || name === route) && (role === undefined || allow.includes(role) || allow.includes('public')))
    .map(({ name, allow }) => ({ route: name, allow }));
}

function insideOf(runtime: ListenerRuntime): NonNullable<Policy['inside']> {
  return ('service' in runtime ? runtime.service.policy.inside : runtime.policy.inside) ?? [];
}

/** Who a connection's client is, where a role matched. */
export function identityOf({ admissions }: Connection): Identity | undefined {
  for (const held of admissions.values()) if (held.kind === 'known' && held.identity !== undefined) return held.identity;
  return undefined;
}

/** Whether somebody may use a route; streams use none. */
function mayUse(allow: readonly string[], runtime: ListenerRuntime, identity: Identity | undefined): boolean {
  if (!('service' in runtime)) return false;
  return allow.includes('public') || (identity !== undefined && allow.some((role) => identity.roles.has(role)));
}

/** Requests and streams that a connection has under way, of one route or of all. */
export function underWay(route: string | undefined, runtime: ListenerRuntime, connection: Connection): number {
  if (!('service' in runtime)) return 1;
  const routes = routesUnderWay(runtime, connection);
  return routes.filter((name) => route === undefined || name === route).length;
}

/** The route of each request and stream that a connection has under way; undefined for one that no route serves. Streams of other protocols have none. */
export function routesUnderWay(runtime: ListenerRuntime, { underWay: requests, stream }: Connection): readonly (string | undefined)[] {
  if (!('service' in runtime)) return [];
  const { policy } = runtime.service;
  return [...requests, ...(stream === undefined ? [] : [stream])].map((facts) => routeOf(policy, facts));
}

function routeOf({ routes, aliases }: Policy, { host, target, method }: RequestFacts): string | undefined {
  if (host.kind === 'malformed' || target.kind === 'malformed') return undefined;
  return matchRoute(routes, aliases?.get(host.name) ?? host.name, target.segments, method)?.route.name;
}
