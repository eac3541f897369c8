import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RouteConfig } from '../src/config/schema.ts';
import { coversHost } from '../src/policy/host.ts';
import { compileRoutes, matchRoute } from '../src/policy/routes.ts';

interface Written {
  readonly host?: readonly string[];
  readonly path: string;
  readonly methods?: readonly string[];
}

interface Asked {
  readonly host: string;
  readonly segments: readonly string[];
  readonly method: string;
}

function configs(written: readonly Written[]): readonly RouteConfig[] {
  return written.map((match, order) => ({ name: `r${order}`, match, allow: ['public'], upstream: 'records', limits: { rates: [] }, require: {} } as unknown as RouteConfig));
}

function compile(...written: readonly Written[]) {
  const routes = compileRoutes(configs(written));
  return (method: string, host: string, path: string) => matchRoute(routes, host, path.slice(1).split('/'), method)?.route.name;
}

/** What the configuration reference says, word for word: every route in turn. */
function oracle(written: readonly Written[], { host, segments, method }: Asked): { name: string; parameters: Record<string, string> } | undefined {
  for (const [order, route] of written.entries()) {
    if (route.host !== undefined && !route.host.some((pattern) => coversHost(pattern, host))) continue;
    if (route.methods === undefined && method === 'TRACE') continue;
    if (route.methods !== undefined && !route.methods.includes(method) && !(method === 'HEAD' && route.methods.includes('GET'))) continue;
    const below = route.path.endsWith('/*');
    const pattern = (below ? route.path.slice(0, -2) : route.path).split('/').slice(1);
    if (below ? segments.length <= pattern.length : segments.length !== pattern.length) continue;
    const matches = pattern.every((wanted, index) => (wanted.startsWith(':') ? segments[index] !== '' : wanted === segments[index]));
    if (!matches) continue;
    const named = pattern.flatMap((wanted, index) => (wanted.startsWith(':') ? [[wanted.slice(1), segments[index] as string]] : []));
    return { name: `r${order}`, parameters: Object.fromEntries(named) as Record<string, string> };
  }
  return undefined;
}

describe('which route serves a request', () => {
  it('is the one that a search through all of them in their order finds first', () => {
    const literal = fc.constantFrom('a', 'b', 'constructor');
    const path = fc.tuple(fc.array(fc.oneof(literal, fc.constant(':')), { maxLength: 4 }), fc.constantFrom('', '/', '/*'))
      .map(([segments, end]) => `${segments.map((segment, index) => (segment === ':' ? `/:p${index}` : `/${segment}`)).join('')}${end}` || '/');
    const written = fc.record({
      path,
      host: fc.subarray(['a.test', 'b.a.test', '*.a.test', '*.b.a.test'], { minLength: 1 }),
      methods: fc.subarray(['GET', 'POST', 'HEAD', 'DELETE', 'TRACE'], { minLength: 1 }),
    }, { requiredKeys: ['path'] });
    const asked = fc.record({
      host: fc.constantFrom('a.test', 'b.a.test', 'c.a.test', 'c.b.a.test', 'test', '127.0.0.1', '::1'),
      segments: fc.tuple(fc.array(fc.oneof(literal, fc.constant('c')), { maxLength: 5 }), fc.boolean())
        .map(([segments, slash]) => (slash || segments.length === 0 ? [...segments, ''] : segments)),
      method: fc.constantFrom('GET', 'POST', 'HEAD', 'DELETE', 'PUT', 'TRACE'),
    });
    fc.assert(fc.property(fc.array(written, { maxLength: 30 }), fc.array(asked, { minLength: 1, maxLength: 20 }), (all, requests) => {
      const routes = compileRoutes(configs(all));
      for (const request of requests) {
        const found = matchRoute(routes, request.host, request.segments, request.method);
        expect(found === undefined ? undefined : { name: found.route.name, parameters: { ...found.parameters } }).toEqual(oracle(all, request));
      }
    }), { numRuns: 3_000 });
  });

  it('is an earlier route with a parameter before a later literal one', () => {
    const match = compile({ path: '/records/:id' }, { path: '/records/summary' });
    expect(match('GET', 'a.test', '/records/summary')).toBe('r0');
  });

  it('is a later literal route where the earlier one serves another method', () => {
    const match = compile({ path: '/records/:id', methods: ['POST'] }, { path: '/records/summary', methods: ['GET'] });
    expect(match('GET', 'a.test', '/records/summary')).toBe('r1');
    expect(match('HEAD', 'a.test', '/records/summary')).toBe('r1');
    expect(match('GET', 'a.test', '/records/7')).toBeUndefined();
  });

  it('is found for any host before a later one for the host itself', () => {
    const match = compile({ path: '/records/*' }, { path: '/records/7', host: ['a.test'] });
    expect(match('GET', 'a.test', '/records/7')).toBe('r0');
  });

  it('covers exactly one label with a wildcard', () => {
    const match = compile({ path: '/*', host: ['*.a.test'] });
    expect(match('GET', 'b.a.test', '/x')).toBe('r0');
    expect(match('GET', 'a.test', '/x')).toBeUndefined();
    expect(match('GET', 'c.b.a.test', '/x')).toBeUndefined();
    expect(match('GET', '.a.test', '/x')).toBeUndefined();
  });
});

describe('the cost of finding a route', () => {
  const many = Array.from({ length: 1_000 }, (_, index) => index);
  const shapes: Readonly<Record<string, { routes: readonly Written[]; host: string; path: string }>> = {
    'a thousand paths': { routes: many.map((n) => ({ path: `/p${n}/x` })), host: 'a.test', path: '/p999/x' },
    'a thousand hosts': { routes: many.map((n) => ({ path: '/x', host: [`h${n}.test`] })), host: 'h999.test', path: '/x' },
    'a thousand wildcard hosts': { routes: many.map((n) => ({ path: '/x', host: [`*.h${n}.test`] })), host: 'a.h999.test', path: '/x' },
    'a thousand routes below one segment': { routes: many.map((n) => ({ path: `/api/p${n}/*` })), host: 'a.test', path: '/api/p999/x' },
    'a thousand parameters': { routes: many.map((n) => ({ path: `/:tenant/p${n}/:id` })), host: 'a.test', path: '/t/p999/7' },
    'a thousand methods of one path': { routes: many.map((n) => ({ path: '/x', methods: [`M${n}`] })), host: 'a.test', path: '/x' },
  };

  it.each(Object.entries(shapes))('does not grow with the routes: %s', (_name, { routes, host, path }) => {
    const method = routes[0]?.methods === undefined ? 'GET' : 'M999';
    const segments = path.slice(1).split('/');
    const large = compileRoutes(configs(routes));
    const small = compileRoutes(configs(routes.slice(-1)));
    const time = (index: typeof large): number => {
      const started = performance.now();
      for (let round = 0; round < 20_000; round++) if (matchRoute(index, host, segments, method) === undefined) throw new Error('no match');
      return performance.now() - started;
    };
    time(small);
    time(large);
    // The lowest of several: the machine may be busy with something else at any one of them.
    const lowest = (index: typeof large): number => Math.min(...Array.from({ length: 5 }, () => time(index)));
    // A search through all of them takes two hundred times as long and more.
    expect(lowest(large)).toBeLessThan(10 * lowest(small));
  });
});
