import type { Hours } from '../config/hours.ts';
import type { Identity } from '../identity/roles.ts';
import { endOfHours } from './hours.ts';
import { inNetworks, parseNetwork, type Network } from './networks.ts';

/** What is suspended: whatever fits everything that is named, which is at least one thing. */
export interface SuspensionScope {
  readonly route?: string;
  readonly listener?: string;
  readonly role?: string;
  readonly network?: string;
  /** Only for clients from outside the networks of the house. */
  readonly outside?: true;
  /** Set where connections are closed instead of requests answered (isolations.ts): with `network` or `device`, and nothing else beside. */
  readonly isolate?: true;
  readonly device?: string;
}

/** A suspension as it was ordered. */
export interface SuspensionOrder extends SuspensionScope {
  readonly reason: string;
  /** ISO 8601; absent: until it is resumed. */
  readonly expires?: string;
}

/** One that is ready to be compared with. */
export interface Suspension extends Omit<SuspensionScope, 'network'> {
  readonly network?: Network;
  readonly reason: string;
  /** Milliseconds since the epoch. */
  readonly until: number | undefined;
}

/** A route's own: while it lasts nobody, or none of those named, is served. */
export interface Maintenance {
  readonly when: Hours | Period;
  readonly outside: boolean;
  readonly roles: ReadonlySet<string> | undefined;
  readonly reason: string;
}

/** Once, in ms since the epoch; `to` is not included. */
export interface Period {
  readonly from: number;
  readonly to: number;
}

/** What a suspension is held against. */
export interface Suspect {
  /** Absent for streams, which have none. */
  readonly route?: string;
  readonly listener: string | undefined;
  readonly identity: Identity | undefined;
  readonly address: string;
}

/** Something that is suspended, and until when, in ms since the epoch, where that is known. */
export interface Suspended {
  readonly detail: string;
  readonly until: number | undefined;
}

/** Makes orders ready; those that isolate are none of them. */
export function compileSuspensions(orders: readonly SuspensionOrder[]): readonly Suspension[] {
  return orders.filter(({ isolate }) => isolate !== true).map(({ network, expires, ...order }) => ({
    ...order, ...(network === undefined ? {} : { network: parseNetwork(network) }), until: expires === undefined ? undefined : Date.parse(expires),
  }));
}

/**
 * The suspension that is in force for a suspect; of several the one that lasts longest. `inside` are the networks of the house: where
 * none are known everybody is outside.
 */
export function suspensionOf(suspensions: readonly Suspension[], suspect: Suspect, inside: readonly Network[], now: number): Suspended | undefined {
  let found: Suspended | undefined;
  for (const suspension of suspensions) {
    const { until = Infinity, reason } = suspension;
    if (now >= until || !fits(suspension, suspect, inside)) continue;
    if (found === undefined || until > (found.until ?? Infinity)) found = { detail: `suspended: ${reason}`, until: suspension.until };
  }
  return found;
}

/** Whether a suspect is one of those that a suspension is for. */
export function fits(suspension: Suspension, { route, listener, identity, address }: Suspect, inside: readonly Network[]): boolean {
  if (suspension.route !== undefined && suspension.route !== route) return false;
  if (suspension.listener !== undefined && suspension.listener !== listener) return false;
  if (suspension.role !== undefined && !holds(identity, suspension.role)) return false;
  if (suspension.network !== undefined && !inNetworks(address, [suspension.network])) return false;
  return suspension.outside !== true || !inNetworks(address, inside);
}

function holds(identity: Identity | undefined, role: string): boolean {
  return identity?.roles.has(role) === true;
}

/** The maintenance of a route that is in force for a suspect. */
export function maintenanceOf(windows: readonly Maintenance[], { identity, address }: Suspect, inside: readonly Network[], now: number): Suspended | undefined {
  for (const { when, outside, roles, reason } of windows) {
    const until = endOf(when, now);
    if (until === undefined || (outside && inNetworks(address, inside))) continue;
    if (roles !== undefined && (identity === undefined || ![...roles].some((role) => holds(identity, role)))) continue;
    return { detail: `maintenance: ${reason}`, until };
  }
  return undefined;
}

/** When something that lasts at `now` ends; undefined when it does not last. */
export function endOf(when: Hours | Period, now: number): number | undefined {
  if ('windows' in when) return endOfHours(when, now);
  return now >= when.from && now < when.to ? when.to : undefined;
}

/** A scope as people write it: `route records for the role doctor, outside`. */
export function describeScope({ route, listener, role, network, outside, device }: SuspensionScope): string {
  return [
    ...(device === undefined ? [] : [`device ${device}`]),
    ...(route === undefined ? [] : [`route ${route}`]), ...(listener === undefined ? [] : [`listener ${listener}`]), ...(role === undefined ? [] : [`role ${role}`]),
    ...(network === undefined ? [] : [`network ${network}`]), ...(outside === true ? ['clients outside'] : []),
  ].join(', ');
}
