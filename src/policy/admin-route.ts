import type { Config, RouteConfig } from '../config/schema.ts';
import type { RateConfig } from './limits.ts';

/** What the one route of the operators' listener is called, in records and metrics. */
export const ADMIN_ROUTE = 'wardgate-admin';

/** Octets of a call. */
const LARGEST_CALL = 64 * 1024;

/** The main thread answers: one client must not have it for itself. A page that is looked at asks about once a second. */
const RATES: readonly RateConfig[] = [{ per: 'certificate', rate: [{ text: '600/minute', requests: 600, window: 60_000 }], count: 'requests' }];

/** Everything on the operators' listener, for whoever has a role there; what that role may do is decided call by call. */
export const ADMIN_ROUTE_CONFIG: RouteConfig = {
  name: ADMIN_ROUTE,
  match: { path: '/*' },
  allow: ['read_only', 'operator'],
  // Nothing of it is forwarded.
  upstream: '',
  limits: { body: LARGEST_CALL, rates: [...RATES] as RouteConfig['limits']['rates'] },
  require: {},
  phi: false,
  responses: { upgrade_insecure_requests: false },
  preflight: 'deny',
  forward: {},
};

/** A configuration as it is for the operators' listener: roles are those of `admin.roles`, and nothing else gives any. */
export function operatorsConfig(config: Config): Config {
  return { ...config, roles: config.admin.roles.map((role) => ({ ...role, also: [] })), inherits: {} };
}
