import type { Fault, Path } from './issue.ts';
import { printable, show } from './issue.ts';
import { lookUp } from './schema-faults.ts';
import { parseDuration, parseEndpoint, type Endpoint } from './values.ts';

/**
 * What one key's rule cannot see: names that refer to other sections, names given twice, settings that contradict each
 * other. It reads the plain values and not the parsed configuration, so that these faults show beside all others.
 */
export function referenceFaults(value: unknown): readonly Fault[] {
  return [
    ...namesTaken(value, 'listeners'),
    ...namesTaken(value, 'routes'),
    ...addressesTaken(value),
    ...items(value, ['roles']).flatMap((_, index) => roleFaults(value, ['roles', index])),
    ...inheritanceFaults(value),
    ...bindFaults(value),
    ...items(value, ['listeners']).flatMap((_, index) => listenerFaults(value, ['listeners', index])),
    ...items(value, ['routes']).flatMap((_, index) => routeFaults(value, ['routes', index])),
    ...keys(value, ['upstreams']).flatMap((name) => upstreamFaults(value, ['upstreams', name])),
    ...rateFaults(value, ['limits', 'rates']),
    ...aliasFaults(value),
    ...webhookFaults(value),
    ...keys(value, ['tokens']).flatMap((name) => issuerFaults(value, ['tokens', name])),
    ...tracingFaults(value),
    ...secondFactorFaults(value),
    ...nobodyToAsk(value),
  ];
}

function namesTaken(value: unknown, section: 'listeners' | 'routes'): Fault[] {
  const first = new Map<unknown, number>();
  return items(value, [section]).flatMap((item, index) => {
    const name = lookUp(item, ['name']);
    const earlier = first.get(name);
    if (typeof name !== 'string') return [];
    if (earlier !== undefined) return [{ path: [section, index, 'name'], message: `the name ${show(name)} is taken by ${section}[${earlier}]` }];
    first.set(name, index);
    return [];
  });
}

function addressesTaken(value: unknown): Fault[] {
  const listeners = items(value, ['listeners']).map((_, index): Path => ['listeners', index]);
  const first = new Map<string, Path>();
  return [...listeners, ['metrics']].flatMap((owner): Fault[] => {
    const path = [...owner, 'address'];
    const address = lookUp(value, path);
    if (typeof address !== 'string' || address.endsWith(':0')) return [];
    const earlier = first.get(address);
    if (earlier !== undefined) return [{ path, message: `the address ${show(address)} is taken by ${earlier.length === 2 ? `listeners[${earlier[1]}]` : 'metrics'}` }];
    first.set(address, owner);
    return [];
  });
}

function roleFaults(value: unknown, path: Path): Fault[] {
  const also = items(value, [...path, 'also']).map((_, index): Path => [...path, 'also', index]);
  return [
    ...reservedRole(value, [...path, 'role']),
    ...also.flatMap((further) => reservedRole(value, typeof lookUp(value, further) === 'string' ? further : [...further, 'role'])),
    ...[path, ...also].flatMap((owner) => unknownTrustDomains(value, [...owner, 'match', 'san', 'spiffe'])),
  ];
}

function reservedRole(value: unknown, path: Path, at?: 'key'): Fault[] {
  if ((at === 'key' ? path.at(-1) : lookUp(value, path)) !== 'public') return [];
  return [{ path, ...(at === undefined ? {} : { at }), message: '"public" stands for no certificate at all and cannot be given by a certificate' }];
}

function unknownTrustDomains(value: unknown, path: Path): Fault[] {
  const known = keys(value, ['trust_domains']);
  return texts(value, path).flatMap(({ text, place }) => {
    const domain = /^spiffe:\/\/([^/]*)/.exec(text)?.[1];
    return domain === undefined || known.includes(domain) ? [] : [{ path: place, message: `no trust domain named ${show(domain)} in trust_domains; ${listKnown(known)}` }];
  });
}

/** The roles that entries give, by themselves or beside another, and those of scopes. */
function givenRoles(value: unknown): readonly string[] {
  const scoped = keys(value, ['tokens']).flatMap((name) => keys(value, ['tokens', name, 'roles']).flatMap((scope) => texts(value, ['tokens', name, 'roles', scope]).map(({ text }) => text)));
  const given = items(value, ['roles']).flatMap((role) => [lookUp(role, ['role']), ...items(role, ['also']).map((one) => (typeof one === 'string' ? one : lookUp(one, ['role'])))]);
  return [...given, ...scoped].filter((role) => typeof role === 'string');
}

function inheritedRoles(value: unknown, role: string): readonly string[] {
  return items(value, ['inherits', role]).filter((one) => typeof one === 'string');
}

function inheritanceFaults(value: unknown): Fault[] {
  const heirs = keys(value, ['inherits']);
  const known = new Set([...givenRoles(value), ...heirs.flatMap((role) => inheritedRoles(value, role))]);
  return heirs.flatMap((role): Fault[] => {
    const path = ['inherits', role];
    const stranger: Fault[] = known.has(role) ? [] : [{ path, at: 'key', message: `no role named ${show(role)}; ${listKnown([...known])}` }];
    const circle = circleFrom(value, role);
    return [
      ...reservedRole(value, path, 'key'), ...stranger,
      ...inheritedRoles(value, role).flatMap((_, index) => reservedRole(value, [...path, index])),
      ...(circle === undefined ? [] : [{ path, at: 'key' as const, message: `a role that inherits itself: ${circle.map((one) => show(one)).join(' -> ')}` }]),
    ];
  });
}

/** A way from a role by what it inherits back to itself. */
function circleFrom(value: unknown, role: string): readonly string[] | undefined {
  const cameFrom = new Map<string, string>();
  const open = [role];
  for (let next = open.shift(); next !== undefined; next = open.shift()) {
    for (const inherited of inheritedRoles(value, next)) {
      if (inherited === role) return wayTo(next, role, cameFrom);
      if (cameFrom.has(inherited)) continue;
      cameFrom.set(inherited, next);
      open.push(inherited);
    }
  }
  return undefined;
}

function wayTo(last: string, role: string, cameFrom: ReadonlyMap<string, string>): readonly string[] {
  const way = [role];
  for (let step: string | undefined = last; step !== undefined && step !== role; step = cameFrom.get(step)) way.unshift(step);
  return [role, ...way];
}

/** A role that is bound in one entry and free in another would be either, by the order of the entries. */
function bindFaults(value: unknown): Fault[] {
  const first = new Map<unknown, { readonly index: number; readonly bind: string }>();
  const nowhere = lookUp(value, ['devices']) === undefined;
  return items(value, ['roles']).flatMap((entry, index): Fault[] => {
    const [role, bind] = [lookUp(entry, ['role']), lookUp(entry, ['bind'])];
    if (bind !== undefined && nowhere) return [{ path: ['roles', index, 'bind'], message: 'expected the registered devices, in devices' }];
    const known = first.get(role);
    if (known === undefined) first.set(role, { index, bind: bindText(bind) });
    else if (known.bind !== bindText(bind)) return [{ path: bind === undefined ? ['roles', index] : ['roles', index, 'bind'], message: `expected the same bind as in roles[${known.index}], which gives the same role` }];
    return [];
  });
}

function bindText(bind: unknown): string {
  const to = typeof bind === 'string' ? bind : lookUp(bind, ['to']);
  return bind === undefined ? '' : `${String(to)} ${String(lookUp(bind, ['hardware']) ?? 'optional')}`;
}

function listenerFaults(value: unknown, path: Path): Fault[] {
  const names = keys(value, [...path, 'client_auth', 'names']);
  const spelt = names.filter((name, index) => names.findIndex((other) => other.toLowerCase() === name.toLowerCase()) < index);
  const twice = spelt.map((name): Fault => ({ path: [...path, 'client_auth', 'names', name], at: 'key', message: 'this name is given twice: host names are the same in capitals' }));
  const front = unknownTrustDomains(value, [...path, 'client_auth', 'forwarded', 'by', 'san', 'spiffe']);
  if (lookUp(value, [...path, 'protocol']) !== 'tcp') return [...twice, ...front];
  return [...twice, ...front, ...unknownRoles(value, [...path, 'allow'], []), ...upstreamReference(value, path, 'tls')];
}

function routeFaults(value: unknown, path: Path): Fault[] {
  return [
    ...unknownRoles(value, [...path, 'allow'], ['public']), ...rateFaults(value, [...path, 'limits', 'rates']), ...upstreamReference(value, path, 'https'),
    ...patientFaults(value, path),
    ...unknownRoles(value, [...path, 'break_glass', 'roles'], []),
    ...encryptFaults(value, path),
    ...items(value, [...path, 'suspended']).flatMap((_, index) => maintenanceFaults(value, [...path, 'suspended', index])),
    ...webhookRouteFaults(value, path),
    ...tokenFaults(value, path),
  ];
}

function issuerFaults(value: unknown, path: Path): Fault[] {
  const jwks = [...path, 'jwks'];
  const given = (key: string): boolean => lookUp(value, [...jwks, key]) !== undefined;
  const aimless = ['trust', 'refresh', 'max_age', 'min_interval', 'timeout'].filter((key) => given('file') && given(key)).map((key): Fault => ({ path: [...jwks, key], at: 'key', message: 'has no meaning with a file' }));
  const [refresh, maxAge] = [durationAt(value, [...jwks, 'refresh']) ?? 300_000, durationAt(value, [...jwks, 'max_age']) ?? 3_600_000];
  return [
    ...(given('url') && !given('trust') ? [{ path: [...jwks, 'url'], message: 'expected the CA certificates that verify it, in jwks.trust' }] : []),
    ...aimless,
    ...(refresh < maxAge || given('file') ? [] : [{ path: [...jwks, given('max_age') ? 'max_age' : 'refresh'], message: 'expected keys to be fetched again before they are no longer believed' }]),
    ...keys(value, [...path, 'roles']).flatMap((scope) => texts(value, [...path, 'roles', scope]).flatMap(({ place }) => reservedRole(value, place))),
  ];
}

/** A token that nobody could have. */
function tokenFaults(value: unknown, route: Path): Fault[] {
  const path = [...route, 'require', 'token'];
  const from = lookUp(value, [...path, 'from']);
  if (lookUp(value, path) === undefined) return [];
  const known = keys(value, ['tokens']);
  return [
    ...(typeof from === 'string' && !known.includes(from) ? [{ path: [...path, 'from'], message: `no issuer named ${show(from)} in tokens; ${listKnown(known)}` }] : []),
    ...(items(value, [...route, 'allow']).includes('public') ? [{ path, at: 'key' as const, message: 'a token is bound to a certificate, and public clients have none' }] : []),
  ];
}

/** A route has an upstream or a webhook; events need POST, a certificate or a signature, and nothing that is about answers of upstreams. */
function webhookRouteFaults(value: unknown, path: Path): Fault[] {
  const [upstream, webhook] = [lookUp(value, [...path, 'upstream']), lookUp(value, [...path, 'webhook'])];
  if (webhook === undefined) return upstream === undefined && lookUp(value, path) !== undefined ? [{ path: [...path, 'upstream'], message: 'required, but missing: expected the name of an upstream, or a webhook' }] : [];
  if (upstream !== undefined) return [{ path: [...path, 'webhook'], message: 'expected an upstream or a webhook, not both' }];
  if (typeof webhook !== 'string') return [];
  const known = keys(value, ['webhooks']);
  if (!known.includes(webhook)) return [{ path: [...path, 'webhook'], message: `no webhook named ${show(webhook)}; ${listKnown(known)}` }];
  const open = items(value, [...path, 'allow']).includes('public') && lookUp(value, ['webhooks', webhook, 'secrets']) === undefined;
  return [
    ...(open ? [{ path: [...path, 'allow'], message: `expected roles: the webhook ${show(webhook)} has no secrets, so that anybody could tell its events` }] : []),
    ...(['patient', 'forward', 'encrypt'] as const).filter((key) => lookUp(value, [...path, key]) !== undefined).map((key): Fault => ({ path: [...path, key], at: 'key', message: 'has no meaning with a webhook' })),
  ];
}

function webhookFaults(value: unknown): Fault[] {
  return keys(value, ['webhooks']).flatMap((name): Fault[] => {
    const path = ['webhooks', name];
    const kind = lookUp(value, [...path, 'kind']);
    if (kind === 'cmdb' && lookUp(value, [...path, 'roles']) !== undefined) return [{ path: [...path, 'roles'], at: 'key', message: 'has no meaning with kind: cmdb' }];
    if (kind === 'cmdb' && lookUp(value, ['devices']) === undefined) return [{ path, at: 'key', message: 'expected the section devices, in which what it tells is kept' }];
    return [...unknownRoles(value, [...path, 'roles'], []), ...unknownRoles(value, [...path, 'within'], [])];
  });
}

function encryptFaults(value: unknown, path: Path): Fault[] {
  if (lookUp(value, [...path, 'encrypt']) === undefined) return [];
  const open = items(value, [...path, 'allow']).includes('public');
  return [
    ...(open ? [{ path: [...path, 'encrypt'], message: 'a route that is public has nobody to encrypt to' }] : []),
    ...(lookUp(value, [...path, 'preflight']) === 'allow' ? [{ path: [...path, 'preflight'], message: 'a preflight carries no certificate, and its answer could not be encrypted' }] : []),
  ];
}

function patientFaults(value: unknown, path: Path): Fault[] {
  const where = [...path, 'patient'];
  if (lookUp(value, where) === undefined) return [];
  return [
    ...unknownRoles(value, [...where, 'bound'], []),
    ...(items(value, [...path, 'allow']).includes('public') ? [{ path: where, message: 'a route that is public cannot tell whose requests concern whom' }] : []),
  ];
}

function maintenanceFaults(value: unknown, path: Path): Fault[] {
  const blind = lookUp(value, [...path, 'outside']) === true && items(value, ['networks', 'inside']).length === 0;
  return [
    ...unknownRoles(value, [...path, 'roles'], []),
    ...(blind ? [{ path: [...path, 'outside'], message: 'networks.inside is not configured: everybody would be outside' }] : []),
  ];
}

/** A name stands for one other, and has no routes and no client CAs of its own. */
function aliasFaults(value: unknown): Fault[] {
  const aliases = keys(value, ['aliases']);
  const names = items(value, ['routes']).flatMap((route) => {
    const host = lookUp(route, ['match', 'host']);
    return Array.isArray(host) ? host : [host];
  });
  const routed = new Set(names.flatMap((host) => (typeof host === 'string' ? [host.toLowerCase()] : [])));
  const trusted = new Set(items(value, ['listeners']).flatMap((_, index) => keys(value, ['listeners', index, 'client_auth', 'names'])).map((name) => name.toLowerCase()));
  return aliases.flatMap((alias): Fault[] => {
    const path: Path = ['aliases', alias];
    const target = lookUp(value, path);
    if (typeof target !== 'string') return [];
    const own = alias.toLowerCase();
    if (routed.has(own)) return [{ path, at: 'key', message: `a route of its own is for ${show(alias)}: an alias has the routes of ${show(target)}` }];
    if (trusted.has(own)) return [{ path, at: 'key', message: `client_auth.names has CAs of its own for ${show(alias)}: an alias has those of ${show(target)}` }];
    if (aliases.some((other) => other.toLowerCase() === target.toLowerCase())) return [{ path, message: `${show(target)} is an alias itself` }];
    return [];
  });
}

function unknownRoles(value: unknown, path: Path, reserved: readonly string[]): Fault[] {
  const inherited = keys(value, ['inherits']).flatMap((role) => inheritedRoles(value, role));
  const known = [...new Set([...givenRoles(value), ...inherited, ...reserved])];
  return items(value, path).flatMap((role, index) => {
    if (typeof role !== 'string' || known.includes(role)) return [];
    return [{ path: [...path, index], message: `no role named ${show(role)}; ${listKnown(known)}` }];
  });
}

function rateFaults(value: unknown, path: Path): Fault[] {
  return items(value, path).flatMap((_, index) => unknownRoles(value, [...path, index, 'roles'], []));
}

function upstreamReference(value: unknown, path: Path, protocol: 'https' | 'tls'): Fault[] {
  const name = lookUp(value, [...path, 'upstream']);
  if (typeof name !== 'string') return [];
  const known = keys(value, ['upstreams']);
  if (!known.includes(name)) return [{ path: [...path, 'upstream'], message: `no upstream named ${show(name)}; ${listKnown(known)}` }];
  const other = endpoints(value, ['upstreams', name]).find((endpoint) => endpoint.protocol !== protocol);
  if (other === undefined) return [];
  const message = protocol === 'https'
    ? `the upstream ${show(name)} has the endpoint ${show(other.text)}; tls:// is for tcp listeners, routes need https://`
    : `the upstream ${show(name)} has the endpoint ${show(other.text)}; tcp listeners need tls://`;
  return [{ path: [...path, 'upstream'], message }];
}

function upstreamFaults(value: unknown, path: Path): Fault[] {
  const protocols = new Set(endpoints(value, path).map((endpoint) => endpoint.protocol));
  const mixed: Fault[] = protocols.size < 2 ? [] : [{ path: [...path, 'endpoints'], message: 'expected endpoints of one kind, all https:// or all tls://' }];
  return [...mixed, ...halfPairs(value, [...path, 'tls'], 'tls.'), ...sharedHeader(value, path, protocols), ...endpointsTaken(value, path), ...healthFaults(value, path, protocols), ...ejectionFaults(value, path)];
}

/** A certificate without its key, or a key without its certificate. */
function halfPairs(value: unknown, path: Path, prefix = ''): Fault[] {
  const certificate = lookUp(value, [...path, 'certificate']);
  const key = lookUp(value, [...path, 'key']);
  if (certificate !== undefined && key === undefined) return [{ path: [...path, 'certificate'], message: `expected its private key beside it, in ${prefix}key` }];
  if (certificate === undefined && key !== undefined) return [{ path: [...path, 'key'], message: `expected its certificate beside it, in ${prefix}certificate` }];
  return [];
}

function tracingFaults(value: unknown): Fault[] {
  const endpoint = lookUp(value, ['tracing', 'endpoint']);
  const blind = typeof endpoint === 'string' && endpoint.toLowerCase().startsWith('https:') && lookUp(value, ['tracing', 'trust']) === undefined;
  return [...halfPairs(value, ['tracing']), ...(blind ? [{ path: ['tracing', 'endpoint'], message: 'expected the CA certificates that verify it, in tracing.trust' }] : [])];
}

function secondFactorFaults(value: unknown): Fault[] {
  const section = ['second_factor'];
  const [lifetime, idle] = [durationAt(value, [...section, 'session', 'lifetime']) ?? 3_600_000, durationAt(value, [...section, 'session', 'idle']) ?? 900_000];
  const key = lookUp(value, [...section, 'session', 'idle']) === undefined ? 'lifetime' : 'idle';
  const endless: Fault[] = idle <= lifetime ? [] : [{ path: [...section, 'session', key], message: 'expected an idle time that is no longer than the lifetime' }];
  return [...endless, ...halfPairs(value, [...section, 'sms'], 'sms.'), ...items(value, ['routes']).flatMap((_, index) => factorFaults(value, ['routes', index]))];
}

/** A second factor that a route requires and nobody could show. */
function factorFaults(value: unknown, route: Path): Fault[] {
  const path = [...route, 'require', 'second_factor'];
  const wanted = lookUp(value, path);
  if (wanted === undefined) return [];
  const sms = wanted === 'sms' || items(value, path).includes('sms');
  const unsent: Fault[] = sms && lookUp(value, ['second_factor', 'sms']) === undefined ? [{ path, message: 'expected a section second_factor.sms, with the webhook that sends messages' }] : [];
  const open: Fault[] = items(value, [...route, 'allow']).includes('public') ? [{ path, message: 'a session is bound to a certificate, and public clients have none' }] : [];
  const apart: Fault[] = lookUp(value, ['store', 'redis']) !== undefined && lookUp(value, ['second_factor', 'key_file']) === undefined
    ? [{ path, message: 'gateways that share a store need one second_factor.key_file: what one of them seals the others must be able to open' }] : [];
  return [...unsent, ...open, ...apart];
}

function sharedHeader(value: unknown, upstream: Path, protocols: ReadonlySet<string>): Fault[] {
  if (lookUp(value, [...upstream, 'proxy_protocol']) === undefined || !protocols.has('https')) return [];
  return [{ path: [...upstream, 'proxy_protocol'], at: 'key', message: 'a PROXY header names one client, and connections for routes carry requests of many: for tls:// endpoints only' }];
}

function endpointsTaken(value: unknown, upstream: Path): Fault[] {
  const first = new Map<string, number>();
  return items(value, [...upstream, 'endpoints']).flatMap((item, index): Fault[] => {
    const endpoint = endpointOf(item);
    if (endpoint === undefined) return [];
    const where = `${endpoint.host}:${endpoint.port}`;
    const earlier = first.get(where);
    if (earlier !== undefined) return [{ path: [...upstream, 'endpoints', index], message: `the same server as endpoints[${earlier}]; a larger share is a weight` }];
    first.set(where, index);
    return [];
  });
}

function healthFaults(value: unknown, upstream: Path, protocols: ReadonlySet<string>): Fault[] {
  const health = [...upstream, 'health'];
  const given = (key: string): boolean => lookUp(value, [...health, key]) !== undefined;
  if (given('path') && protocols.has('tls')) return [{ path: [...health, 'path'], message: 'tls:// endpoints have no paths: a verified connection is what is looked for' }];
  const aimless = (['host', 'status'] as const).filter((key) => given(key) && !given('path'))
    .map((key): Fault => ({ path: [...health, key], message: 'has no meaning without health.path' }));
  const [interval, timeout] = [durationAt(value, [...health, 'interval']) ?? 10_000, durationAt(value, [...health, 'timeout']) ?? 2_000];
  if (timeout <= interval) return aimless;
  const key = given('timeout') ? 'timeout' : 'interval';
  return [...aimless, { path: [...health, key], message: 'expected a timeout that is no longer than the interval' }];
}

function ejectionFaults(value: unknown, upstream: Path): Fault[] {
  const ejection = [...upstream, 'ejection'];
  const [time, longest] = [durationAt(value, [...ejection, 'time']) ?? 30_000, durationAt(value, [...ejection, 'longest']) ?? 300_000];
  if (time <= longest) return [];
  const key = lookUp(value, [...ejection, 'time']) === undefined ? 'longest' : 'time';
  return [{ path: [...ejection, key], message: 'expected a time that is no longer than the longest' }];
}

function durationAt(value: unknown, path: Path): number | undefined {
  const found = lookUp(value, path);
  return typeof found === 'string' ? parseDuration(found) : undefined;
}

function endpoints(value: unknown, upstream: Path): readonly Endpoint[] {
  return items(value, [...upstream, 'endpoints']).map(endpointOf).filter((endpoint) => endpoint !== undefined);
}

/** An endpoint as it is written: a URL, or one with its weight. */
function endpointOf(item: unknown): Endpoint | undefined {
  const url = typeof item === 'string' ? item : lookUp(item, ['url']);
  return typeof url === 'string' ? parseEndpoint(url) : undefined;
}

function nobodyToAsk(value: unknown): Fault[] {
  const ocsp = ['revocation', 'ocsp'];
  const silent = lookUp(value, [...ocsp, 'from_certificate']) === false && lookUp(value, [...ocsp, 'responder']) === undefined;
  const sources = lookUp(value, ['revocation', 'sources']);
  const wanted = sources === undefined || (Array.isArray(sources) && sources.includes('ocsp'));
  if (!silent || !wanted || lookUp(value, ['revocation', 'check']) === 'off') return [];
  return [{ path: [...ocsp, 'from_certificate'], message: 'no responder is left to ask: name one in revocation.ocsp.responder, or take ocsp out of revocation.sources' }];
}

function listKnown(names: readonly string[]): string {
  return `known: ${names.length === 0 ? 'none' : printable(names.join(', '))}`;
}

/** The texts at a key that holds one or a list of them, each with its place. */
function texts(value: unknown, path: Path): readonly { readonly text: string; readonly place: Path }[] {
  const found = lookUp(value, path);
  const places = Array.isArray(found) ? found.map((text: unknown, index) => ({ text, place: [...path, index] })) : [{ text: found, place: path }];
  return places.flatMap(({ text, place }) => (typeof text === 'string' ? [{ text, place }] : []));
}

function items(value: unknown, path: Path): readonly unknown[] {
  const found = lookUp(value, path);
  return Array.isArray(found) ? found : [];
}

function keys(value: unknown, path: Path): readonly string[] {
  const found = lookUp(value, path);
  return typeof found === 'object' && found !== null && !Array.isArray(found) ? Object.keys(found) : [];
}
