import type { FactorReason, Refusal } from '../policy/second-factor.ts';
import type { Problem } from './page.ts';
import type { Words } from './words.ts';

/** What somebody is told of a key that was not taken: why exactly is on record alone. */
const KEY_ERRORS: Readonly<Partial<Record<FactorReason, 'keyExpired' | 'keyTaken' | 'keysMany'>>> = { webauthn_expired: 'keyExpired', webauthn_key_taken: 'keyTaken', webauthn_too_many: 'keysMany' };

/** What a page says about a refusal; `wait` in minutes, `field` the input that it is about, `sms` for a code by text message. */
export function problemOf({ errors }: Words, { reason }: Refusal, wait: number, field: string, sms: boolean): Problem {
  switch (reason) {
    case 'locked': return { text: errors.locked(wait) };
    case 'sms_too_soon': return { text: errors.smsTooSoon(wait) };
    case 'sms_not_sent': return { text: errors.smsNotSent };
    case 'code_expired': return { text: errors.smsExpired };
    case 'invitation_expired': return { text: errors.invitationExpired, ...(field === 'invitation' ? { field } : {}) };
    case 'invitation_wrong': return { text: errors.invitation, field };
    case 'code_reused': return { text: field === 'recovery' ? errors.recovery : errors.codeReused, field };
    default: break;
  }
  if (field === '') return { text: errors[KEY_ERRORS[reason] ?? 'key'] };
  return { text: field === 'recovery' ? errors.recovery : sms ? errors.sms : errors.code, field };
}

/** The status of a page that says so. */
export function statusOf(problem: Problem | undefined, refusal: Refusal | undefined): number {
  if (refusal?.retryAt !== undefined) return 429;
  if (refusal?.reason === 'sms_not_sent') return 502;
  return problem === undefined ? 200 : 403;
}
