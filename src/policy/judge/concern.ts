import type { Identity } from '../../identity/roles.ts';
import { patientOfPlea } from '../break-glass.ts';
import { deny, type Denial, type Step } from '../decision.ts';
import type { RequestFacts } from '../facts.ts';
import { judgePatient, type Bond } from '../patient.ts';
import type { Route, RouteMatch } from '../routes.ts';
import { grantOf, type Glass } from './glass.ts';

/** Whom a request concerns, and what binds its client to them. */
export interface Concern {
  readonly kind: 'concern';
  readonly patient: string | undefined;
  readonly bond: Bond | undefined;
  /** Why it may be somebody else. */
  readonly unclear?: string | undefined;
}

export const NOBODY: Concern = { kind: 'concern', patient: undefined, bond: undefined };

/** The compartment rule. */
export function judgeConcern({ route, parameters }: RouteMatch, facts: RequestFacts, glass: Glass | undefined, trace?: (step: Step) => void): Concern | Denial {
  const { target, host, admission, method, fields = [], unannounced } = facts;
  if (route.patient === undefined || target.kind === 'malformed' || host.kind === 'malformed') return NOBODY;
  const identity = admission.kind === 'known' ? admission.identity : undefined;
  const question = { method, host: host.name, path: target.path, segments: target.segments, query: target.query, parameters, fields, unannounced };
  const emergency = glass?.broken === undefined ? undefined : { patient: patientOfPlea(fields, glass.rule) ?? grantOf(facts)?.patient };
  const finding = judgePatient(route.patient, question, identity, identity === undefined ? [] : rolesAt(route, identity, glass), emergency);
  if (finding.kind === 'concerns') {
    trace?.({ rule: 'patient', outcome: 'pass', detail: `${finding.named ?? 'nobody named'}${finding.bond === undefined ? '' : '; bodies are judged'}` });
    return { kind: 'concern', patient: finding.named, bond: finding.bond, unclear: finding.unclear };
  }
  return { ...deny('patient', 'role_denied', finding.reason, finding.detail, trace, route), ...(finding.named === undefined ? {} : { patient: finding.named }) };
}

/** The roles by which a route lets somebody in. */
function rolesAt({ allow }: Route, { roles }: Identity, glass: Glass | undefined): readonly string[] {
  return [...roles].filter((role) => allow.has(role) || (glass?.breaks.includes('role') === true && glass.rule.roles.has(role)));
}
