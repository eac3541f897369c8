import { createHash } from 'node:crypto';
import type { AuditRecord } from '../audit/record.ts';
import {
  failureAddress, FORGET_FAILURES_MS, forgiveAddress, judgeAddress, NO_FAILURES, refused, wasGuess, type Factor, type FactorReason, type Failures, type Judged, type Refusal, type TotpSecret,
  type Verdict,
} from '../policy/second-factor.ts';
import type { Cells } from '../store/cells.ts';
import type { Enrolment, Subject } from '../store/enrolments.ts';

/** Who makes an attempt. */
export interface Person extends Subject {
  readonly address: string;
  /** What the record of the attempt says of the request: certificate, listener, request id. */
  readonly trail: Partial<AuditRecord>;
}

/** What an attempt came to; a right one says what of the enrolment it stands on. */
export type Outcome = { readonly kind: 'good'; readonly basis: string } | Refusal;

export interface TrialOptions {
  readonly cells: Cells;
  /** Resolves once the record is kept. */
  readonly record: (record: AuditRecord) => Promise<void>;
  readonly count: (factor: Factor | 'invitation', result: 'good' | FactorReason) => void;
  readonly now: () => number;
}

/** What every attempt goes through, whatever is shown. */
export interface Trial {
  /** Judges an attempt that its address may still make; only a guess counts against the address. */
  guarded<Result extends Verdict>(person: Person, judge: () => Promise<Result>): Promise<Result | Refusal>;
  /** Puts an outcome on record before it is told. */
  recorded<Result extends { readonly kind: 'good' } | Refusal>(person: Person, factor: Factor | 'invitation', what: string, outcome: Result): Promise<Result>;
  /** What every record of an attempt begins with. */
  opening(person: Person): Pick<AuditRecord, 'time' | 'event' | 'role' | 'id' | 'address'>;
}

export function createTrial({ cells, record, count, now }: TrialOptions): Trial {
  function opening({ role, id, address }: Person): Pick<AuditRecord, 'time' | 'event' | 'role' | 'id' | 'address'> {
    return { time: new Date(now()).toISOString(), event: 'second_factor', role, id, address };
  }
  return {
    opening,
    async recorded(person, factor, what, outcome) {
      count(factor, outcome.kind === 'good' ? 'good' : outcome.reason);
      await record({
        ...opening(person), ...person.trail, ...(factor === 'invitation' ? {} : { factor }),
        ...(outcome.kind === 'good' ? { result: 'done', detail: what } : { result: 'denied', reason: outcome.reason, detail: `${what}: ${outcome.detail}${untilText(outcome.retryAt)}` }),
      });
      return outcome;
    },
    async guarded(person, judge) {
      const cell = `address:${failureAddress(person.address)}`;
      const step = (change: (failures: Failures) => Judged<Failures>): Promise<Verdict> => cells.update(cell, (held) => {
        const before = held === undefined ? NO_FAILURES : JSON.parse(held) as Failures;
        const { state, verdict } = change(before);
        if (state === before) return { result: verdict };
        return { result: verdict, value: state.count === 0 ? null : JSON.stringify(state), lifetime: FORGET_FAILURES_MS };
      });
      const allowed = await step((failures) => judgeAddress(failures, now()));
      if (allowed.kind === 'refused') return allowed;
      const verdict = await judge();
      if (!wasGuess(verdict)) await step((failures) => ({ state: forgiveAddress(failures), verdict }));
      return verdict;
    },
  };
}

/** For whom nothing is kept that could be shown. */
export function notEnrolled(detail: string): Refusal {
  return refused('not_enrolled', detail);
}

/** What an enrolment holds, without what says whose and which it is. */
export function contentOf(enrolment: Enrolment | undefined): Omit<Enrolment, 'role' | 'id' | 'version' | 'at'> {
  if (enrolment === undefined) return {};
  const { role: _role, id: _id, version: _version, at: _at, ...content } = enrolment;
  return content;
}

/** What a session stands on that was opened with each kind of thing: it says which of them it was, and tells nothing of it. */
export const basisOf = {
  totp: ({ secret }: TotpSecret): string => `totp ${createHash('sha256').update(secret).digest('hex')}`,
  recovery: ({ salt }: { readonly salt: string }): string => `recovery ${salt}`,
  sms: ({ digest }: { readonly digest: string }): string => `sms ${digest}`,
  key: ({ id }: { readonly id: string }): string => `key ${id}`,
} as const;

/** Whether an enrolment still holds what a session stands on. */
export function holds(enrolment: Enrolment | undefined, basis: string): boolean {
  const { totp, recovery, card, keys = [] } = enrolment ?? {};
  return [
    ...(totp === undefined ? [] : [basisOf.totp(totp)]), ...(recovery === undefined ? [] : [basisOf.recovery(recovery)]), ...(card === undefined ? [] : [basisOf.sms(card)]), ...keys.map(basisOf.key),
  ].includes(basis);
}

function untilText(time: number | undefined): string {
  return time === undefined ? '' : `, until ${new Date(time).toISOString()}`;
}
