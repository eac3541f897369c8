import type { GrantQuestion } from '../break-glass.ts';
import { deny, type Denial, type Query, type Step } from '../decision.ts';
import type { RequestFacts } from '../facts.ts';
import { countersOf } from '../limits.ts';
import type { Route } from '../routes.ts';

/**
 * What counts and sessions say; a query where they have not been asked. `counted` is what counts of the route go by: preflights have one
 * of their own, since anybody may send them, and must not use up what is for those with a certificate.
 */
export function judgeFindings(
  route: Route, factors: Route['factors'], facts: RequestFacts, now: number, trace?: (step: Step) => void, grant?: GrantQuestion, counted = route.name,
): Denial | Query | undefined {
  const { admission, address, findings } = facts;
  if (route.rates.length === 0 && factors === undefined && grant === undefined) return undefined;
  if (findings === undefined) {
    const counters = countersOf(route.rates, { admission, address, route: counted });
    return counters.length > 0 || factors !== undefined || grant !== undefined
      ? { kind: 'query', route, counters, session: factors !== undefined, ...(grant === undefined ? {} : { grant }) }
      : undefined;
  }
  const { limits, session } = findings;
  if (limits.kind === 'exceeded') {
    const { per, rate } = limits.exceeded;
    return deny('limits', 'rate_limited', 'rate_limited', `${rate} for each ${per} (${limits.rule})`, trace, route);
  }
  if (factors === undefined) return undefined;
  if (session.kind === 'refused') return deny('second factor', 'step_up_required', session.reason, session.detail, trace, route);
  if (session.kind === 'none') return deny('second factor', 'step_up_required', 'step_up_required', `no session that has shown ${factors.join(' or ')}`, trace, route);
  if (now >= session.until) return deny('second factor', 'step_up_required', 'session_expired', `the session was good until ${new Date(session.until).toISOString()}`, trace, route);
  const shown = session.factors.find((factor) => factors.includes(factor));
  if (shown === undefined) return deny('second factor', 'step_up_required', 'step_up_required', `the session has not shown ${factors.join(' or ')}`, trace, route);
  trace?.({ rule: 'second factor', outcome: 'pass', detail: shown });
  return undefined;
}
