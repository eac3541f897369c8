import type { RouteConfig } from '../config/schema.ts';
import { compileRates, type RateConfig, type RateRule } from './limits.ts';

/** Where the gateway's own pages are: no route of the configuration is asked for what is below. */
export const OWN_PATH = '/.wardgate';

/** Octets of a form. */
const LARGEST_FORM = 16 * 1024;

const NAME = 'wardgate';

/** The pages are made in the main thread, which all requests that must ask share: one client must not have it for itself. */
const RATES: readonly RateConfig[] = [{ per: 'certificate', rate: [{ text: '300/minute', requests: 300, window: 60_000 }], count: 'requests' }];

/** The same for a page that is shown in place of another answer: it counts as one that was asked for. */
export const OWN_RATES: readonly RateRule[] = compileRates(`route/${NAME}`, RATES);

/**
 * The route of the gateway's own pages: for whoever may use a route that needs them; none where no route does. It comes before
 * all others.
 */
export function ownRoutes(configs: readonly RouteConfig[]): readonly RouteConfig[] {
  const served = configs.filter(({ require }) => require.second_factor !== undefined);
  if (served.length === 0) return [];
  return [{
    name: NAME,
    match: { path: `${OWN_PATH}/*` },
    allow: [...new Set(served.flatMap(({ allow }) => allow))].filter((role) => role !== 'public'),
    // Nothing of it is forwarded.
    upstream: '',
    limits: { body: LARGEST_FORM, rates: [...RATES] as RouteConfig['limits']['rates'] },
    require: {},
    phi: true,
    responses: { upgrade_insecure_requests: false },
    preflight: 'deny',
    forward: {},
  }];
}
