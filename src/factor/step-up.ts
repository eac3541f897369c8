import type { Factor, Refusal } from '../policy/second-factor.ts';
import type { FoundSession, Sessions } from '../store/sessions.ts';
import type { Asking } from './asking.ts';
import type { Factors } from './factors.ts';
import { holds, notEnrolled } from './trial.ts';

export type SteppedUp = ({ readonly kind: 'good' } & FoundSession) | Refusal;

export interface StepUpOptions {
  readonly factors: Factors;
  readonly sessions: Sessions;
  readonly now: () => number;
}

/**
 * Opens the session of whoever has shown a factor, under a new id and in place of the one before. What it stands on is looked at again
 * afterwards: staff who reset an enrolment take it away first and end the sessions they find then, so that either they find this one, or
 * this sees what they did.
 */
export function createStepUp({ factors, sessions, now }: StepUpOptions) {
  return async ({ bearer, person }: Pick<Asking, 'bearer' | 'person'>, before: FoundSession | undefined, factor: Factor, basis: string): Promise<SteppedUp> => {
    const earlier = before?.session;
    const opened = await sessions.open(bearer, { factors: { ...earlier?.factors, [factor]: now() }, basis: { ...earlier?.basis, [factor]: basis } }, before?.token);
    const enrolment = await factors.enrolment(bearer.subject);
    if (Object.values(opened.session.basis ?? {}).every((one) => holds(enrolment, one))) return { kind: 'good', ...opened };
    await sessions.end(opened.token, 'reset');
    const refusal = notEnrolled('the enrolment was changed while it was used');
    await factors.note(person, { result: 'denied', reason: refusal.reason, detail: refusal.detail });
    return refusal;
  };
}
