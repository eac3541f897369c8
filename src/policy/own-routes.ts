import type { RouteConfig } from '../config/schema.ts';
import type { Breakable } from './break-glass.ts';
import { compileRates, type RateConfig, type RateRule } from './limits.ts';

/** Where the gateway's own pages are: no route of the configuration is asked for what is below. */
export const OWN_PATH = '/.wardgate';

/** The page on which somebody declares an emergency. */
export const EMERGENCY_PATH = `${OWN_PATH}/emergency`;

/** Octets of a form. */
const LARGEST_FORM = 16 * 1024;

const NAME = 'wardgate';
const EMERGENCY_NAME = 'wardgate-emergency';

/** What routes of the gateway's own pages are called. */
export const OWN_NAMES: ReadonlySet<string> = new Set([NAME, EMERGENCY_NAME]);

/** The pages are made in the main thread, which all requests that must ask share: one client must not have it for itself. */
const RATES: readonly RateConfig[] = [{ per: 'certificate', rate: [{ text: '300/minute', requests: 300, window: 60_000 }], count: 'requests' }];

/** The same for a page that is shown in place of another answer: it counts as one that was asked for. */
export const OWN_RATES: readonly RateRule[] = compileRates(`route/${NAME}`, RATES);

/**
 * The routes of the gateway's own pages: for whoever may use a route that needs them, in an emergency or always; none where no route
 * does. They come before all others.
 */
export function ownRoutes(configs: readonly RouteConfig[]): readonly RouteConfig[] {
  const stepping = configs.filter(({ require }) => require.second_factor !== undefined);
  const breakable = configs.flatMap(({ break_glass }) => break_glass ?? []);
  return [
    ...(breakable.length === 0 ? [] : [{
      ...ownRoute(EMERGENCY_NAME, EMERGENCY_PATH, breakable.flatMap(({ roles }) => roles)),
      // Who may break hours or networks of a route must reach the page from there.
      break_glass: { roles: breakable.flatMap(({ roles }) => roles), reasons: [], for: 0, patient: 'optional' as const, breaks: breakable.flatMap(({ breaks }) => breaks).filter((one: Breakable) => one !== 'role') },
    }]),
    ...(stepping.length === 0 ? [] : [ownRoute(NAME, `${OWN_PATH}/*`, stepping.flatMap(({ allow, break_glass }) => [...allow, ...break_glass?.roles ?? []]))]),
  ];
}

function ownRoute(name: string, path: string, roles: readonly string[]): RouteConfig {
  return {
    name,
    match: { path },
    allow: [...new Set(roles)].filter((role) => role !== 'public'),
    // Nothing of it is forwarded.
    upstream: '',
    limits: { body: LARGEST_FORM, rates: [...RATES] as RouteConfig['limits']['rates'] },
    require: {},
    phi: true,
    responses: { upgrade_insecure_requests: false },
    preflight: 'deny',
    forward: {},
  };
}
