import type { Factor, Refusal } from '../policy/second-factor.ts';
import type { Session } from '../policy/session.ts';
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

/** Opens sessions that carry what was shown. */
export interface StepUp {
  /** After a factor was shown: under a new id, in place of the session before. */
  shown(asking: Pick<Asking, 'bearer' | 'person'>, before: FoundSession | undefined, factor: Factor, basis: string): Promise<SteppedUp>;
  /** With an enrolment under way, in the same manner. */
  enrolling(asking: Pick<Asking, 'bearer' | 'person'>, before: FoundSession, enrolling: NonNullable<Session['enrolling']>): Promise<SteppedUp>;
}

/**
 * What a session stands on is looked at again when it has been opened: staff who reset an enrolment take it away first and end the sessions
 * they find then, so that either they find this one, or this sees what they did.
 */
export function createStepUp({ factors, sessions, now }: StepUpOptions): StepUp {
  async function open({ bearer, person }: Pick<Asking, 'bearer' | 'person'>, content: Pick<Session, 'factors' | 'basis' | 'enrolling'>, before: FoundSession | undefined): Promise<SteppedUp> {
    const opened = await sessions.open(bearer, content, before?.token);
    const enrolment = await factors.enrolment(bearer.subject);
    if (Object.values(opened.session.basis ?? {}).every((one) => holds(enrolment, one))) return { kind: 'good', ...opened };
    await sessions.end(opened.token, 'reset');
    const refusal = notEnrolled('the enrolment was changed while it was used');
    await factors.note(person, { result: 'denied', reason: refusal.reason, detail: refusal.detail });
    return refusal;
  }
  return {
    shown: (asking, before, factor, basis) => open(asking, { factors: { ...before?.session.factors, [factor]: now() }, basis: { ...before?.session.basis, [factor]: basis } }, before),
    enrolling: (asking, before, enrolling) => open(asking, { factors: before.session.factors, basis: before.session.basis ?? {}, enrolling }, before),
  };
}
