import type { AdminCall } from './call.ts';
import { AUDIT_CALLS } from './calls/audit.ts';
import { CONSOLE_CALLS } from './calls/console.ts';
import { DENIAL_CALLS } from './calls/denials.ts';
import { EXPIRY_CALLS } from './calls/expiry.ts';
import { FACTOR_CALLS } from './calls/factor.ts';
import { GATEWAY_CALLS } from './calls/gateway.ts';
import { INCIDENT_CALLS } from './calls/incident.ts';
import { REVIEW_CALLS } from './calls/reviews.ts';
import { SUSPENSION_CALLS } from './calls/suspensions.ts';
import { TRUST_CALLS } from './calls/trust.ts';

/** Every call of the admin API. What is added here is served on the socket and to operators, checked, and described in config/admin-api.json. */
export const CALLS: readonly AdminCall[] = [...GATEWAY_CALLS, ...DENIAL_CALLS, ...SUSPENSION_CALLS, ...INCIDENT_CALLS, ...REVIEW_CALLS, ...EXPIRY_CALLS, ...FACTOR_CALLS, ...AUDIT_CALLS, ...TRUST_CALLS, ...CONSOLE_CALLS];
