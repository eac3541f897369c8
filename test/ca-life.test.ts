import { describe, expect, test } from 'vitest';
import { LIVE, STATES, STEPS, take, type State, type Step } from '../src/ca/life.ts';

/** Written out once more, by hand, from what the mission asks: nothing else is allowed. */
const ALLOWED: readonly (readonly [from: State, step: Step, to: State])[] = [
  ['requested', 'agree', 'requested'], ['requested', 'approve', 'approved'], ['requested', 'refuse', 'refused'],
  ['approved', 'refuse', 'refused'], ['approved', 'reserve', 'issuing'],
  ['issuing', 'issue', 'issued'], ['issuing', 'abandon', 'approved'],
  ['issued', 'deliver', 'delivered'], ['issued', 'revoke', 'revoked'], ['issued', 'expire', 'expired'],
  ['delivered', 'confirm', 'confirmed'], ['delivered', 'supersede', 'superseded'], ['delivered', 'revoke', 'revoked'], ['delivered', 'expire', 'expired'],
  ['confirmed', 'supersede', 'superseded'], ['confirmed', 'revoke', 'revoked'], ['confirmed', 'expire', 'expired'],
  ['superseded', 'revoke', 'revoked'], ['superseded', 'destroy', 'destroyed'],
  ['revoked', 'destroy', 'destroyed'], ['expired', 'revoke', 'revoked'], ['expired', 'destroy', 'destroyed'],
];

describe('the life of a certificate', () => {
  test.each(STATES.flatMap((from) => STEPS.map((step) => [from, step] as const)))('%s, %s', (from, step) => {
    const to = ALLOWED.find(([state, allowed]) => state === from && allowed === step)?.[2];
    const outcome = take(from, step);
    if (to !== undefined) expect(outcome).toEqual({ kind: 'allowed', state: to });
    else expect(outcome).toEqual({ kind: 'refused', detail: expect.stringMatching(new RegExp(`^\\S.* is not possible: it is ${from}; \\S`)) });
  });

  test('begins with a submission, and with nothing else', () => {
    expect(STEPS.filter((step) => take(undefined, step).kind === 'allowed')).toEqual(['submit']);
    expect(take(undefined, 'issue')).toEqual({ kind: 'refused', detail: 'issuing is not possible: there is no request; it has to be submitted first' });
  });

  test.each<[State, Step, string]>([
    ['requested', 'reserve', 'it has to be approved first'],
    ['requested', 'deliver', 'it has to be approved, then issued first'],
    ['requested', 'destroy', 'it has to be approved, then issued, then revoked, or have expired, first'],
    ['issued', 'confirm', 'it has to be delivered first'],
    ['delivered', 'destroy', 'it has to be revoked, or have expired, first'],
    ['issuing', 'deliver', 'the signing that is under way has to end first'],
    ['refused', 'approve', 'nothing follows a refusal but a new request'],
    ['destroyed', 'revoke', 'nothing follows destruction'],
    ['revoked', 'confirm', 'nothing but destruction follows revocation'],
    ['issued', 'approve', 'that lies behind it'],
  ])('a step that is skipped is named: %s, %s', (from, step, first) => {
    expect(take(from, step)).toMatchObject({ kind: 'refused', detail: expect.stringContaining(`; ${first}`) });
  });

  test('every state is reached, and every certificate can come to its end', () => {
    const reached = new Set<State>(['requested']);
    for (const state of reached) for (const step of STEPS) {
      const outcome = take(state, step);
      if (outcome.kind === 'allowed') reached.add(outcome.state);
    }
    expect([...reached].toSorted()).toEqual(STATES.toSorted());
    expect([...LIVE].every((state) => take(state, 'revoke').kind === 'allowed')).toBe(true);
  });
});
