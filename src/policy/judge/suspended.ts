import { deny, type Denial, type Policy, type Step } from '../decision.ts';
import type { RequestFacts } from '../facts.ts';
import type { Network } from '../networks.ts';
import type { Route } from '../routes.ts';
import { maintenanceOf, suspensionOf, type Suspended, type Suspension } from '../suspensions.ts';

/** What is suspended or under maintenance at `now` (ms since the epoch), by anybody's order. */
export function judgeSuspended({ inside = NOWHERE }: Policy, route: Route, facts: RequestFacts, now: number, trace?: (step: Step) => void): Denial | undefined {
  const { suspensions = NONE_SUSPENDED, admission, address, listener } = facts;
  if (suspensions.length === 0 && route.maintenance.length === 0) return undefined;
  const suspect = { route: route.name, listener, identity: admission.kind === 'known' ? admission.identity : undefined, address };
  const found = suspensionOf(suspensions, suspect, inside, now) ?? maintenanceOf(route.maintenance, suspect, inside, now);
  return found === undefined ? undefined : { ...suspend(found, trace), route };
}

export const NOWHERE: readonly Network[] = [];
export const NONE_SUSPENDED: readonly Suspension[] = [];

/** Says when to come again where the end is known. */
export function suspend({ detail, until }: Suspended, trace?: (step: Step) => void): Denial {
  return { ...deny('suspended', 'suspended', 'suspended', detail, trace), ...(until === undefined ? {} : { until }) };
}
