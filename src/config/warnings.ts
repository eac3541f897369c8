import type { Fault } from './issue.ts';
import { show } from './issue.ts';
import type { Config, RouteConfig } from './schema.ts';

/** What is allowed and probably not meant. */
export function configWarnings(config: Config): readonly Fault[] {
  return [...statusWarnings(config), ...unusedUpstreams(config), ...unusedIssuers(config), ...shadowedRoutes(config), ...patientParameters(config), ...boundToNobody(config), ...openMetrics(config), ...narrowPools(config), ...keysBeside(config), ...nobodyTold(config), ...looseFronts(config)];
}

function statusWarnings(config: Config): Fault[] {
  const { check, sources, crl, ocsp } = config.revocation;
  if (check === 'off') return [{ path: ['revocation', 'check'], message: 'certificates revoked by their CA stay good; only the deny list is asked' }];
  const hasList = sources.includes('crl') && (crl.files.length > 0 || crl.urls.length > 0 || crl.from_certificate);
  const hasResponder = sources.includes('ocsp') && ocsp.responder !== undefined;
  if (hasList || hasResponder) return [];
  const named = sources.includes('ocsp') && ocsp.from_certificate;
  const refuses = refusesUnknown(config);
  if (named && !refuses) return [];
  const message = named
    ? 'only the responders that certificates name are asked: a certificate that names none is refused (unavailable: deny)'
    : `no CRL file, no URL, no distribution point and no responder is configured: the status of every certificate is unknown${refuses ? ', and every client with one is refused (unavailable: deny)' : ''}`;
  return [{ path: ['revocation'], at: 'key', message }];
}

/** Warnings of what ends that go nowhere. */
function nobodyTold({ expiry, alarms }: Config): Fault[] {
  if (expiry === undefined || expiry.tiers?.every(({ channels }) => channels !== undefined) === true) return [];
  if (alarms?.channels.some(({ rules }) => rules === undefined || rules.includes('expiry')) === true) return [];
  return [{ path: ['expiry'], at: 'key', message: 'nobody is told: none of alarms.channels takes everything, or has expiry among its rules' }];
}

/** Whether somewhere a client whose status is unknown is refused. */
function refusesUnknown({ revocation, routes, listeners }: Config): boolean {
  return routes.some(({ allow, unavailable }) => allow.some((role) => role !== 'public') && (unavailable ?? revocation.unavailable) === 'deny') || (revocation.unavailable === 'deny' && listeners.some(({ protocol }) => protocol === 'tcp'));
}

/** A key beside what it seals is copied along with it. */
function keysBeside({ routes, second_factor: configured }: Config): Fault[] {
  const route = routes.findIndex(({ require }) => require.second_factor !== undefined);
  if (route === -1 || configured.key_file !== undefined) return [];
  return [{ path: ['routes', route, 'require', 'second_factor'], message: 'enrolments are sealed under a key in the state directory, beside them; name one that is kept elsewhere in second_factor.key_file' }];
}

function unusedUpstreams(config: Config): Fault[] {
  const listeners = config.listeners.map((listener) => (listener.protocol === 'tcp' ? listener.upstream : undefined));
  const used = new Set([...config.routes.map((route) => route.upstream), ...listeners]);
  return Object.keys(config.upstreams)
    .filter((name) => !used.has(name))
    .map((name) => ({ path: ['upstreams', name], at: 'key' as const, message: 'no route and no listener uses this upstream' }));
}

function unusedIssuers({ tokens, routes }: Config): Fault[] {
  const used = new Set(routes.map(({ require }) => require.token?.from));
  return Object.keys(tokens).filter((name) => !used.has(name)).map((name) => ({ path: ['tokens', name], at: 'key' as const, message: 'no route requires a token of this issuer' }));
}

/** A route below one that takes everything it could take is never reached: usually the two are in the wrong order. */
function shadowedRoutes(config: Config): Fault[] {
  return config.routes.flatMap((route, index) => {
    const earlier = config.routes.slice(0, index).find((other) => coversRoute(other, route));
    if (earlier === undefined) return [];
    return [{ path: ['routes', index, 'match'], message: `never reached: the route ${show(earlier.name)} above takes all of its requests` }];
  });
}

function coversRoute(other: RouteConfig, route: RouteConfig): boolean {
  const host = other.match.host === undefined || (route.match.host?.every((name) => other.match.host?.includes(name)) ?? false);
  const methods = other.match.methods === undefined ? route.match.methods?.includes('TRACE') !== true : (route.match.methods?.every((method) => other.match.methods?.includes(method)) ?? false);
  return host && methods && coversPath(other.match.path, route.match.path);
}

function coversPath(other: string, path: string): boolean {
  if (other === '/*' || other === path) return true;
  return other.endsWith('/*') && path.startsWith(other.slice(0, -1));
}

function patientParameters(config: Config): Fault[] {
  return config.routes.flatMap((route, index) => {
    const parameter = route.patient?.path;
    if (parameter === undefined || route.match.path.split('/').includes(`:${parameter}`)) return [];
    return [{ path: ['routes', index, 'patient', 'path'], message: `the route's path ${show(route.match.path)} has no parameter :${parameter}` }];
  });
}

/** A FHIR interface is judged for those who are bound: where none of the roles is, the rule only puts on record. */
function boundToNobody(config: Config): Fault[] {
  return config.routes.flatMap(({ patient, allow }, index) => {
    if (patient?.body === undefined || patient.bound.some((role) => allow.includes(role))) return [];
    return [{ path: ['routes', index, 'patient'], message: `binds nobody: the route allows none of the roles ${patient.bound.join(', ')}` }];
  });
}

/** What lets whoever it fits name any client must fit the front and nobody else. */
function looseFronts({ listeners }: Config): Fault[] {
  return listeners.flatMap((listener, index): Fault[] => {
    const by = listener.protocol === 'https' ? listener.client_auth.forwarded?.by : undefined;
    if (by === undefined) return [];
    const path = ['listeners', index, 'client_auth', 'forwarded', 'by'];
    const own = [...Object.values(by.subject?.CN === undefined ? {} : { CN: by.subject.CN }), ...Object.values(by.san ?? {})];
    if (own.length === 0) return [{ path, message: 'names no certificate of its own: every client that it fits may name any other; give subject.CN or a name in san' }];
    return JSON.stringify(own).includes('*') ? [{ path, message: 'with a * every client that it fits may name any other; give the front\'s whole name' }] : [];
  });
}

function openMetrics(config: Config): Fault[] {
  const host = config.metrics?.address.host;
  if (host === undefined || host === 'localhost' || host === '::1' || host.startsWith('127.')) return [];
  return [{ path: ['metrics', 'address'], message: 'metrics are plain HTTP and are reachable from other machines here' }];
}

function narrowPools(config: Config): Fault[] {
  return Object.entries(config.upstreams).flatMap(([name, { limits }]) => {
    if (limits.connections === undefined || limits.connections >= config.threads) return [];
    return [{ path: ['upstreams', name, 'limits', 'connections'], message: `fewer than the ${config.threads} threads, of which each may open one all the same` }];
  });
}
