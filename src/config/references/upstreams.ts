import { show, type Fault, type Path } from '../issue.ts';
import { lookUp } from '../schema-faults.ts';
import { parseEndpoint, type Endpoint } from '../addresses.ts';
import { halfPairs } from './key-pairs.ts';
import { durationAt, items, keys, listKnown } from './plain-values.ts';

/** An upstream that is not there, or speaks another protocol than what names it. */
export function upstreamReference(value: unknown, path: Path, protocol: 'https' | 'tls'): Fault[] {
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

/** What is wrong with one upstream. */
export function upstreamFaults(value: unknown, path: Path): Fault[] {
  const protocols = new Set(endpoints(value, path).map((endpoint) => endpoint.protocol));
  const mixed: Fault[] = protocols.size < 2 ? [] : [{ path: [...path, 'endpoints'], message: 'expected endpoints of one kind, all https:// or all tls://' }];
  return [...mixed, ...halfPairs(value, [...path, 'tls'], 'tls.'), ...sharedHeader(value, path, protocols), ...endpointsTaken(value, path), ...healthFaults(value, path, protocols), ...ejectionFaults(value, path)];
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

function endpoints(value: unknown, upstream: Path): readonly Endpoint[] {
  return items(value, [...upstream, 'endpoints']).map(endpointOf).filter((endpoint) => endpoint !== undefined);
}

/** An endpoint as it is written: a URL, or one with its weight. */
function endpointOf(item: unknown): Endpoint | undefined {
  const url = typeof item === 'string' ? item : lookUp(item, ['url']);
  return typeof url === 'string' ? parseEndpoint(url) : undefined;
}
