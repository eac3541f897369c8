import type { Identity } from '../identity/roles.ts';
import { readSaid, type GlassRule, type OpenGrant, type Plea } from './break-glass.ts';
import { deny, type Denial, type Policy, type Query } from './decision.ts';
import type { RequestFacts } from './facts.ts';
import { bindDevice, judgeBound } from './judge/device.ts';
import { judgeFindings } from './judge/findings.ts';
import { createGlass, grantOf, judgeGrant, refuseGrant } from './judge/glass.ts';
import { judgeRoute } from './judge/route.ts';
import { judgeUnknown } from './judge/status.ts';
import { judgeSuspended } from './judge/suspended.ts';
import { judgeDeclared } from './patient.ts';
import { servesHost } from './route-index.ts';
import type { Route } from './routes.ts';

/** What somebody writes into the form in which an emergency is declared. */
export type Said = { readonly [Name in keyof Plea]?: string };

/** What is wrong with a form, where that is what is. */
export type SaidFault = keyof Plea;

export type EmergencyVerdict =
  | { readonly kind: 'open'; readonly grant: OpenGrant }
  /** The client is let in as it is. */
  | { readonly kind: 'needless' }
  | { readonly kind: 'refused'; readonly denial: Denial; readonly fault?: SaidFault };

/** Routes of which somebody may break something, under the name that was asked for. */
export function breakableRoutes({ routes, aliases }: Policy, { host, admission }: RequestFacts): readonly (Route & { readonly glass: GlassRule })[] {
  if (host.kind !== 'host') return [];
  const name = aliases?.get(host.name) ?? host.name;
  // Tokens come with requests of programs, and such a program can say why as well.
  return routes.breakable.filter((route): route is Route & { glass: GlassRule } => servesHost(route, name) && route.token === undefined && createGlass(route, admission) !== undefined);
}

/**
 * Whether somebody may open a grant for a route before a request of theirs needs it, from the facts about the request that asks for that:
 * by the rules of the requests that are to come, but for what only those can tell. `now` in ms since the epoch; a query comes only without findings.
 */
export function authorizeEmergency(policy: Policy, facts: RequestFacts, route: Route, said: Said, now: number): EmergencyVerdict | Query {
  const { admission, address } = facts;
  const glass = createGlass(route, admission);
  if (glass === undefined || admission.kind !== 'known' || admission.identity === undefined) return refused(deny('role', 'role_denied', 'role_denied', `nothing of ${route.name} may be broken`, undefined, route));
  const unknown = judgeUnknown(route.config.unavailable ?? policy.unavailable, route, admission, now);
  const bound = bindDevice(policy.devices, admission, address, now);
  const refusal = (unknown?.kind === 'denial' ? unknown : undefined) ?? judgeRoute(route, facts, { glass, mayCome: false }) ?? judgeBound(bound, glass, route);
  if (refusal !== undefined) return refused(refusal);
  const { broken, breaks, rule } = glass;
  if (broken === undefined) return { kind: 'needless' };
  const read = readForm(said, rule);
  if (read.kind === 'fault') return { kind: 'refused', denial: refuseGrant(broken, `the ${read.fault} of the form is not to be read`), fault: read.fault };
  const { plea } = read;
  const objection = plea.patient === undefined || route.patient === undefined ? undefined : judgeDeclared(route.patient, plea.patient, admission.identity, admittedBy(route, admission.identity, breaks.includes('role') ? rule.roles : new Set()));
  if (objection !== undefined) return { kind: 'refused', denial: { ...deny('patient', 'role_denied', objection.reason, objection.detail, undefined, route), patient: plea.patient as string }, fault: 'patient' };
  const question = { route: route.name, lasts: rule.lasts, breaks, plea, ...(plea.patient === undefined ? {} : { patient: plea.patient }) };
  const found = judgeSuspended(policy, route, facts, now) ?? judgeFindings(route, route.factors, facts, now, undefined, question) ?? judgeGrant(glass, facts, now);
  if (found?.kind === 'query') return found;
  return found === undefined ? { kind: 'open', grant: grantOf(facts) as OpenGrant } : refused(found);
}

function refused(denial: Denial): EmergencyVerdict {
  return { kind: 'refused', denial };
}

function readForm({ reason, text, patient }: Said, rule: GlassRule): { readonly kind: 'plea'; readonly plea: Plea } | { readonly kind: 'fault'; readonly fault: SaidFault } {
  const read = { reason: readSaid('reason', reason), text: readSaid('text', text), patient: readSaid('patient', patient) };
  if (read.reason === undefined || !rule.reasons.has(read.reason)) return { kind: 'fault', fault: 'reason' };
  if (read.text === undefined) return { kind: 'fault', fault: 'text' };
  if (read.patient === undefined && (rule.patient === 'required' || (patient ?? '').trim() !== '')) return { kind: 'fault', fault: 'patient' };
  return { kind: 'plea', plea: { reason: read.reason, text: read.text, ...(read.patient === undefined ? {} : { patient: read.patient }) } };
}

function admittedBy({ allow }: Route, { roles }: Identity, also: ReadonlySet<string>): readonly string[] {
  return [...roles].filter((role) => allow.has(role) || also.has(role));
}
