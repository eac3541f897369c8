import type { Route } from './routes.ts';

/**
 * The routes of a configuration, arranged so that the first match costs the same with one route and with a thousand: by
 * host, then by segment, then by method. Every place keeps the lowest order number only, since the first match wins.
 */
export interface RouteIndex {
  readonly hosts: ReadonlyMap<string, Node>;
  /** By what follows the first label: ".hospital.test" for "*.hospital.test". */
  readonly wildcards: ReadonlyMap<string, Node>;
  readonly anyHost: Node;
  /** Those of which something may be broken in an emergency. */
  readonly breakable: readonly Route[];
}

/** A place in the tree of segments. */
interface Node {
  /** The lowest order number here or deeper: what cannot beat a match that was found already is not looked at. */
  first: number;
  readonly literals: Map<string, Node>;
  parameter: Node | undefined;
  /** Routes whose path ends here. */
  readonly here: Methods;
  /** Routes for everything below here. */
  readonly below: Methods;
}

/** The first route for each method, and the first for all of them. */
interface Methods {
  readonly named: Map<string, Route>;
  any: Route | undefined;
}

/** Arranges routes that are in the order of their numbers. */
export function indexRoutes(routes: readonly Route[]): RouteIndex {
  const hosts = new Map<string, Node>();
  const wildcards = new Map<string, Node>();
  const anyHost = emptyNode();
  for (const route of routes) {
    if (route.hosts === undefined) insert(anyHost, route);
    for (const host of route.hosts ?? []) insert(host.startsWith('*.') ? nodeOf(wildcards, host.slice(1)) : nodeOf(hosts, host), route);
  }
  return { hosts, wildcards, anyHost, breakable: routes.filter(({ glass }) => glass !== undefined && glass.page !== true) };
}

/** Whether a route serves a host, whatever the path. */
export function servesHost({ hosts }: Route, host: string): boolean {
  const dot = host.indexOf('.');
  return hosts === undefined || hosts.includes(host) || (dot > 0 && hosts.includes(`*${host.slice(dot)}`));
}

/**
 * The route with the lowest order number for this host, path and method. Where literal and parameter segments overlap both
 * ways are followed, at most once through each place of the tree.
 */
export function firstRoute(index: RouteIndex, host: string, segments: readonly string[], method: string): Route | undefined {
  const dot = host.indexOf('.');
  let found = search(index.hosts.get(host), segments, 0, method, undefined);
  if (dot > 0 && index.wildcards.size > 0) found = search(index.wildcards.get(host.slice(dot)), segments, 0, method, found);
  return search(index.anyHost, segments, 0, method, found);
}

function search(node: Node | undefined, segments: readonly string[], depth: number, method: string, found: Route | undefined): Route | undefined {
  if (node === undefined || (found !== undefined && node.first > found.order)) return found;
  if (depth === segments.length) return earlier(found, node.here, method);
  const segment = segments[depth] as string;
  const literal = node.literals.get(segment);
  const parameter = segment === '' ? undefined : node.parameter;
  const best = earlier(found, node.below, method);
  if (literal === undefined || parameter === undefined) return search(literal ?? parameter, segments, depth + 1, method, best);
  const [near, far] = literal.first < parameter.first ? [literal, parameter] : [parameter, literal];
  return search(far, segments, depth + 1, method, search(near, segments, depth + 1, method, best));
}

function earlier(found: Route | undefined, { named, any }: Methods, method: string): Route | undefined {
  // TRACE shows its sender what the gateway adds on the way (RFC 9110 section 9.3.8): a route has to name it.
  let best = method === 'TRACE' ? found : first(found, any);
  if (named.size === 0) return best;
  best = first(best, named.get(method));
  return method === 'HEAD' ? first(best, named.get('GET')) : best;
}

function first(one: Route | undefined, other: Route | undefined): Route | undefined {
  return one === undefined || (other !== undefined && other.order < one.order) ? other : one;
}

function insert(root: Node, route: Route): void {
  let node = reach(root, route);
  for (const segment of route.pattern) {
    if (segment.kind === 'literal') node = reach(nodeOf(node.literals, segment.value), route);
    else node = reach(node.parameter ??= emptyNode(), route);
  }
  const methods = route.below ? node.below : node.here;
  if (route.methods === undefined) methods.any ??= route;
  for (const method of route.methods ?? []) if (!methods.named.has(method)) methods.named.set(method, route);
}

function reach(node: Node, { order }: Route): Node {
  node.first = Math.min(node.first, order);
  return node;
}

function nodeOf(nodes: Map<string, Node>, key: string): Node {
  const known = nodes.get(key);
  if (known !== undefined) return known;
  const node = emptyNode();
  nodes.set(key, node);
  return node;
}

function emptyNode(): Node {
  return {
    first: Infinity, literals: new Map(), parameter: undefined,
    here: { named: new Map(), any: undefined }, below: { named: new Map(), any: undefined },
  };
}
