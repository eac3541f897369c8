import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import type { Factors } from '../factor/factors.ts';
import { input, InputError } from './input.ts';

/** What staff can do about second factors. */
export type FactorTarget = Pick<Factors, 'invite' | 'registerPhone' | 'reset' | 'removeKey' | 'unlock' | 'status' | 'list'>;

const subject = { role: z.string().min(1).max(63), id: z.string().min(1).max(4_096), who: z.string().min(1).max(200) };
const LONGEST_INVITATION_MS = 90 * 24 * 3_600_000;
const invitation = z.strictObject({ ...subject, lifetime: z.int().min(1_000).max(LONGEST_INVITATION_MS) });
const registration = z.strictObject({ ...subject, phone: z.string().regex(/^\+[1-9][0-9]{6,14}$/), card: z.string().regex(/[^\s\p{Pd}]/u).max(64) });
const person = z.strictObject(subject);
const forgetting = z.strictObject({ ...subject, key: z.string().min(1).max(200).exactOptional() });

/**
 * Answers a call about second factors. `unknownRole` says what is wrong with a role that no certificate can have: nobody could ever use
 * what is set up for it. One that has left the configuration can still be forgotten.
 */
export async function answerFactorCall(request: IncomingMessage, factors: FactorTarget | undefined, unknownRole: (role: string) => string | undefined): Promise<unknown> {
  if (factors === undefined) throw new InputError('no route requires a second factor');
  switch (`${request.method} ${request.url}`) {
    case 'GET /v1/factor/list':
      return { enrolments: await factors.list() };
    case 'POST /v1/factor/invite': {
      const { who, lifetime, ...whom } = await input(request, invitation);
      refuseUnknown(whom.role, unknownRole);
      return factors.invite(whom, lifetime, who);
    }
    case 'POST /v1/factor/phone': {
      const { who, phone, card, ...whom } = await input(request, registration);
      refuseUnknown(whom.role, unknownRole);
      await factors.registerPhone(whom, phone, card, who);
      return { registered: true };
    }
    case 'POST /v1/factor/reset': {
      const { who, key, ...whom } = await input(request, forgetting);
      return key === undefined ? factors.reset(whom, who) : factors.removeKey(whom, key, who);
    }
    case 'POST /v1/factor/status': {
      const { who: _, ...whom } = await input(request, person);
      return { enrolment: await factors.status(whom) ?? null };
    }
    case 'POST /v1/factor/unlock': {
      const { who, ...whom } = await input(request, person);
      return { unlocked: await factors.unlock(whom, who) };
    }
    default:
      throw new InputError(`no such call: ${request.method} ${request.url}`);
  }
}

function refuseUnknown(role: string, unknownRole: (role: string) => string | undefined): void {
  const fault = unknownRole(role);
  if (fault !== undefined) throw new InputError(fault);
}
