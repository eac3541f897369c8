import { holdsOneOf } from '../../identity/roles.ts';
import { grantNeeded, type Breakable, type GlassRule, type GrantQuestion, type OpenGrant } from '../break-glass.ts';
import type { Denial, Step } from '../decision.ts';
import type { Admission, RequestFacts } from '../facts.ts';
import type { Route } from '../routes.ts';
import type { Concern } from './concern.ts';

/** What somebody breaks of a route in an emergency, as it turns out. */
export interface Glass {
  readonly rule: GlassRule;
  readonly breaks: Breakable[];
  /** The first refusal: what the client is told where there is no grant. */
  broken: Denial | undefined;
}

/** Undefined for whoever may break nothing of the route. */
export function createGlass({ glass: rule }: Route, admission: Admission): Glass | undefined {
  if (rule === undefined || admission.kind !== 'known' || admission.identity === undefined) return undefined;
  return holdsOneOf(admission.identity, rule.roles) ? { rule, breaks: [], broken: undefined } : undefined;
}

/** Goes on in spite of a denial where that may be broken. */
export function unlessBroken(glass: Glass | undefined, what: Breakable | undefined, denial: Denial): Denial | undefined {
  if (glass === undefined || what === undefined || !glass.rule.breaks.has(what)) return denial;
  glass.broken ??= denial;
  glass.breaks.push(what);
  return undefined;
}

/** What must be asked of the grant for what was broken; a denial where no grant could be for it, undefined where nothing was broken. */
export function needOf(glass: Glass | undefined, route: Route, { fields = [] }: RequestFacts, { patient, unclear }: Concern): { readonly kind: 'ask'; readonly question: GrantQuestion } | Denial | undefined {
  if (glass?.broken === undefined || glass.rule.page === true) return undefined;
  // A grant for one patient must not serve what an upstream reads as a request for another.
  if (unclear !== undefined) return refuseGrant(glass.broken, unclear);
  const need = grantNeeded(glass.rule, route.name, glass.breaks, fields, patient, mayStaySilent(route));
  return need.kind === 'ask' ? need : refuseGrant(glass.broken, need.detail);
}

/**
 * Whether requests of a route may leave open whom they concern: where it does not say how they tell, and on FHIR interfaces, where
 * everything that is asked and answered under a grant is held to its patient. Where it does say, whoever leaves it out may be asking for all.
 */
function mayStaySilent({ patient }: Route): boolean {
  return patient === undefined || patient.where.kind === 'fhir';
}

/** A denial to which nobody's emergency was an answer; `detail` says why, where something was said of one. */
export function refuseGrant(broken: Denial, detail: string | undefined): Denial {
  return detail === undefined ? { ...broken, breakable: true } : { ...broken, breakable: true, detail: `${broken.detail}; no emergency: ${detail}` };
}

/** Whether the grant that was found serves for what was broken at `now` (ms since the epoch). */
export function judgeGrant(glass: Glass | undefined, facts: RequestFacts, now: number, trace?: (step: Step) => void): Denial | undefined {
  if (glass?.broken === undefined || glass.rule.page === true) return undefined;
  const { grant: found } = facts.findings ?? {};
  if (found?.kind !== 'open') {
    const { reasons } = glass.rule;
    trace?.({ rule: 'break glass', outcome: 'skip', detail: `may be broken for ${[...reasons].join(', ')}` });
    return refuseGrant(glass.broken, found?.kind === 'refused' ? found.detail : undefined);
  }
  const { id, until, route, breaks } = found.grant;
  if (now >= until) return { ...glass.broken, breakable: true, reason: 'break_glass_ended', detail: `the grant ${id} has ended` };
  if (facts.withdrawn?.has(id) === true) return { ...glass.broken, breakable: true, reason: 'break_glass_ended', detail: `the grant ${id} was withdrawn` };
  // A stream is judged again: its client may have lost a role since, or its route become another, of which nobody has said why.
  if (route !== glass.broken.route?.name || !glass.breaks.every((one) => breaks.includes(one))) return refuseGrant(glass.broken, `the grant ${id} breaks ${breaks.join(' and ')} of ${route}`);
  trace?.({ rule: 'break glass', outcome: 'pass', detail: id });
  return undefined;
}

/** The open grant among the findings. */
export function grantOf({ findings }: RequestFacts): OpenGrant | undefined {
  return findings?.grant?.kind === 'open' ? findings.grant.grant : undefined;
}
