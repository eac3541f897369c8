import type { AuditWriter } from '../audit/writer.ts';
import { ADMIN_ROUTE } from '../policy/admin-route.ts';
import type { Permit } from '../policy/decision.ts';
import type { Reason } from '../policy/facts.ts';
import type { Service } from './client.ts';
import type { RequestLimit } from './limits.ts';
import type { ProblemCode } from './problem.ts';
import type { Upstream } from './upstream/pool.ts';

/** Why a permitted request is not forwarded: what its client is told, and what goes on record. */
export interface Obstacle {
  readonly kind: 'obstacle';
  readonly code: ProblemCode;
  readonly reason: Reason;
  readonly detail: string;
  /** The limit that it ran into. */
  readonly limit?: RequestLimit;
}

const NO_UPSTREAM: Obstacle = { kind: 'obstacle', code: 'upstream_unavailable', reason: 'upstream_unavailable', detail: 'no such upstream' };
/** Whoever may send an upgrade must not make it look as if an upstream had failed. */
const OWN: Obstacle = { kind: 'obstacle', code: 'bad_request', reason: 'bad_request', detail: 'a WebSocket to what the gateway answers itself' };
const NO_AUDIT: Obstacle = { kind: 'obstacle', code: 'overloaded', reason: 'audit_unavailable', detail: 'the audit directory cannot be written' };

/** The upstream that a permitted request goes to, or what stands in its way; `length` are the octets of body that it announces. */
export function upstreamFor(permit: Permit, service: Service, audit: AuditWriter, length: number): Upstream | Obstacle {
  if (permit.route.own) return OWN;
  const upstream = service.upstreams.get(permit.route.config.upstream);
  return upstream === undefined ? NO_UPSTREAM : obstacleTo(permit, service, audit, length) ?? upstream;
}

/** What stands in the way of a permitted request whoever answers it. */
export function obstacleTo(permit: Permit, service: Service, audit: AuditWriter, length: number): Obstacle | undefined {
  if (audit.failure() !== undefined && !mayGoUnrecorded(permit, service)) return NO_AUDIT;
  const most = bodyLimit(permit, service);
  return length > most ? bodyTooLarge(most) : undefined;
}

/**
 * Whether a permitted request is answered although its record cannot be written. What changes rights, and what stands on a grant for an emergency, never is;
 * operators are, who would not hear of it otherwise.
 */
export function mayGoUnrecorded({ route, breakGlass }: Permit, { unrecorded }: Service): boolean {
  return unrecorded && !route.config.phi && (!route.own || route.name === ADMIN_ROUTE) && breakGlass === undefined;
}

/** What an answer waits for: its record, or that there will be none where that is borne. */
export function recordOf(written: Promise<void>, permit: Permit, service: Service): Promise<void> {
  return mayGoUnrecorded(permit, service) ? written.catch(() => undefined) : written;
}

/** Octets that the body of a permitted request may have; infinite where nothing limits them. */
export function bodyLimit(permit: Permit, { listener }: Service): number {
  return permit.route.config.limits.body ?? listener.limits.body ?? permit.bond?.resource ?? Infinity;
}

/** What becomes of a request whose body is larger than it may be. */
export function bodyTooLarge(most: number): Obstacle & { readonly limit: 'body' } {
  return { kind: 'obstacle', code: 'body_too_large', reason: 'body_too_large', detail: `the body is larger than ${most}`, limit: 'body' };
}
