import { z } from 'zod';
import type { Factors } from '../../factor/factors.ts';
import { call, explainedCall, plainCall, reason, type AdminCall } from '../call.ts';
import { InputError } from '../input.ts';
import type { AdminTarget } from '../target.ts';

/** What staff can do about second factors. */
export type FactorTarget = Pick<Factors, 'invite' | 'registerPhone' | 'reset' | 'removeKey' | 'unlock' | 'status' | 'list'>;

const subject = { role: z.string().min(1).max(63), id: z.string().min(1).max(4_096) };
const LONGEST_INVITATION_MS = 90 * 24 * 3_600_000;
const enrolment = z.looseObject({ role: z.string(), id: z.string(), since: z.string(), totp: z.boolean(), recovery_codes: z.int() });

/** Calls about second factors. */
export const FACTOR_CALLS: readonly AdminCall[] = [
  plainCall({
    method: 'GET', path: '/v1/factor/list', summary: 'Who is enrolled for what', role: 'read_only', output: z.strictObject({ enrolments: z.array(enrolment) }),
    answer: async (target) => ({ enrolments: await factorsOf(target).list() }),
  }),
  explainedCall({
    method: 'POST', path: '/v1/factor/invite', summary: 'Makes an invitation to enrol, to be handed out', role: 'operator', gives: true, local: true,
    input: z.strictObject({ ...subject, lifetime: z.int().min(1_000).max(LONGEST_INVITATION_MS), reason }), output: z.strictObject({ code: z.string(), expires: z.string() }),
    answer(target, { lifetime, ...whom }, who) {
      refuseUnknown(whom.role, target);
      return factorsOf(target).invite(whom, lifetime, who);
    },
  }),
  explainedCall({
    method: 'POST', path: '/v1/factor/phone', summary: 'Registers where codes are sent, and the card number that is typed with them', role: 'operator', gives: true, local: true,
    input: z.strictObject({ ...subject, phone: z.string().regex(/^\+[1-9][0-9]{6,14}$/), card: z.string().regex(/[^\s\p{Pd}]/u).max(64), reason }), output: z.strictObject({ registered: z.boolean() }),
    async answer(target, { phone, card, ...whom }, who) {
      refuseUnknown(whom.role, target);
      await factorsOf(target).registerPhone(whom, phone, card, who);
      return { registered: true };
    },
  }),
  explainedCall({
    method: 'POST', path: '/v1/factor/reset', summary: 'Forgets an enrolment, or one security key by its name', role: 'operator',
    input: z.strictObject({ ...subject, key: z.string().min(1).max(200).exactOptional(), reason }), output: z.strictObject({ reset: z.boolean(), sessions: z.int() }),
    answer: (target, { key, ...whom }, who) => (key === undefined ? factorsOf(target).reset(whom, who) : factorsOf(target).removeKey(whom, key, who)),
  }),
  call({
    method: 'POST', path: '/v1/factor/status', summary: 'What one person is enrolled for', role: 'read_only', input: z.strictObject(subject), output: z.strictObject({ enrolment: enrolment.nullable() }),
    answer: async (target, whom) => ({ enrolment: await factorsOf(target).status(whom) ?? null }),
  }),
  explainedCall({
    method: 'POST', path: '/v1/factor/unlock', summary: 'Forgets somebody\'s wrong codes', role: 'operator', gives: true, input: z.strictObject({ ...subject, reason }), output: z.strictObject({ unlocked: z.boolean() }),
    answer: async (target, whom, who) => ({ unlocked: await factorsOf(target).unlock(whom, who) }),
  }),
];

function factorsOf(target: AdminTarget): FactorTarget {
  const factors = target.factors();
  if (factors === undefined) throw Object.assign(new Error('no route requires a second factor'), { code: 'not_configured' });
  return factors;
}

/** Of a role that no certificate can have nobody could ever use what is set up. One that has left the configuration can still be forgotten. */
function refuseUnknown(role: string, { unknownRole }: AdminTarget): void {
  const fault = unknownRole(role);
  if (fault !== undefined) throw new InputError(fault);
}
