import type { Fault, Path } from './issue.ts';
import { show } from './issue.ts';
import { adminFaults } from './references/admin.ts';
import { alarmFaults } from './references/alarms.ts';
import { halfPairs, pairFaults } from './references/key-pairs.ts';
import { expiryFaults } from './references/expiry.ts';
import { keySiteFaults } from './references/key-sites.ts';
import { durationAt, items, keys, listKnown, texts } from './references/plain-values.ts';
import { sinkFaults } from './references/sinks.ts';
import { bindFaults, inheritanceFaults, reservedRole, roleFaults, unknownRoles, unknownTrustDomains } from './references/roles.ts';
import { upstreamFaults, upstreamReference } from './references/upstreams.ts';
import { lookUp } from './schema-faults.ts';

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
    ...unknownRoles(value, ['audit', 'masking', 'plain_roles'], []),
    ...bindFaults(value),
    ...items(value, ['listeners']).flatMap((_, index) => listenerFaults(value, ['listeners', index])),
    ...items(value, ['routes']).flatMap((_, index) => routeFaults(value, ['routes', index])),
    ...keys(value, ['upstreams']).flatMap((name) => upstreamFaults(value, ['upstreams', name])),
    ...rateFaults(value, ['limits', 'rates']),
    ...aliasFaults(value),
    ...webhookFaults(value),
    ...keys(value, ['tokens']).flatMap((name) => issuerFaults(value, ['tokens', name])),
    ...sinkFaults(value),
    ...alarmFaults(value),
    ...expiryFaults(value),
    ...tracingFaults(value),
    ...secondFactorFaults(value),
    ...keySiteFaults(value),
    ...adminFaults(value),
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

function listenerFaults(value: unknown, path: Path): Fault[] {
  const names = keys(value, [...path, 'client_auth', 'names']);
  const spelt = names.filter((name, index) => names.findIndex((other) => other.toLowerCase() === name.toLowerCase()) < index);
  const twice = spelt.map((name): Fault => ({ path: [...path, 'client_auth', 'names', name], at: 'key', message: 'this name is given twice: host names are the same in capitals' }));
  const front = unknownTrustDomains(value, [...path, 'client_auth', 'forwarded', 'by', 'san', 'spiffe']);
  const pairs = items(value, [...path, 'tls', 'certificates']).flatMap((_, index) => pairFaults(value, [...path, 'tls', 'certificates', index]));
  if (lookUp(value, [...path, 'protocol']) !== 'tcp') return [...twice, ...pairs, ...front];
  const named = [...path, 'client_auth', 'forwarded'];
  const headless = lookUp(value, named) === undefined ? [] : [{ path: named, message: 'a tcp listener has no requests in which a front could name its clients' }];
  return [...headless, ...twice, ...pairs, ...front, ...unknownRoles(value, [...path, 'allow'], []), ...upstreamReference(value, path, 'tls')];
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

function rateFaults(value: unknown, path: Path): Fault[] {
  return items(value, path).flatMap((_, index) => unknownRoles(value, [...path, index, 'roles'], []));
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

function nobodyToAsk(value: unknown): Fault[] {
  const ocsp = ['revocation', 'ocsp'];
  const silent = lookUp(value, [...ocsp, 'from_certificate']) === false && lookUp(value, [...ocsp, 'responder']) === undefined;
  const sources = lookUp(value, ['revocation', 'sources']);
  const wanted = sources === undefined || (Array.isArray(sources) && sources.includes('ocsp'));
  if (!silent || !wanted || lookUp(value, ['revocation', 'check']) === 'off') return [];
  return [{ path: [...ocsp, 'from_certificate'], message: 'no responder is left to ask: name one in revocation.ocsp.responder, or take ocsp out of revocation.sources' }];
}
