import type { RouteConfig } from '../config/schema.ts';

/** Where the gateway's own pages are: no route of the configuration is asked for what is below. */
export const OWN_PATH = '/.wardgate';

/** Octets of a form. */
const LARGEST_FORM = 16 * 1024;

/**
 * The route of the gateway's own pages: for whoever may use a route that needs them; none where no route does. It comes before
 * all others.
 */
export function ownRoutes(configs: readonly RouteConfig[]): readonly RouteConfig[] {
  const served = configs.filter(({ require }) => require.second_factor !== undefined);
  if (served.length === 0) return [];
  return [{
    name: 'wardgate',
    match: { path: `${OWN_PATH}/*` },
    allow: [...new Set(served.flatMap(({ allow }) => allow))].filter((role) => role !== 'public'),
    // Nothing of it is forwarded.
    upstream: '',
    limits: { body: LARGEST_FORM, rates: [] },
    require: {},
    phi: true,
    responses: { upgrade_insecure_requests: false },
    preflight: 'deny',
    forward: {},
  }];
}
