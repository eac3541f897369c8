import { z } from 'zod';
import { call, type AdminCall } from '../call.ts';
import { InputError } from '../input.ts';

const digits = z.string().regex(/^\d{1,15}$/);
const DEFAULT_MOST = 1_000;
const LARGEST_MOST = 10_000;

const certificate = z.looseObject({
  use: z.enum(['server', 'intermediate', 'client', 'ca', 'crl', 'user']).describe('client: shown by the gateway to other servers; user: shown by clients.'),
  name: z.string(), places: z.array(z.string()), not_before: z.string(), not_after: z.string(), tier: z.string().exactOptional(),
  told: z.strictObject({ tier: z.string(), at: z.string(), channels: z.array(z.string()), waiting: z.array(z.string()) }).exactOptional(),
});

/** Calls about what ends. */
export const EXPIRY_CALLS: readonly AdminCall[] = [
  call({
    method: 'GET', path: '/v1/expiry', summary: 'When certificates and CRLs end, the first to end first, where they are used and who was told', role: 'read_only',
    input: z.strictObject({ within: digits.describe('Only what ends within so many milliseconds.').exactOptional(), most: digits.describe('How many at most; 10,000 at most, 1,000 without.').exactOptional() }),
    output: z.strictObject({ tiers: z.array(z.string()), certificates: z.array(certificate), more: z.int(), paused: z.array(z.looseObject({ reason: z.string() })), channels: z.array(z.looseObject({ name: z.string() })) }),
    answer(target, { within, most }) {
      const wanted = most === undefined ? DEFAULT_MOST : Number(most);
      if (wanted > LARGEST_MOST) throw new InputError(`most: expected ${LARGEST_MOST} at most`);
      return target.expiry(within === undefined ? Number.MAX_SAFE_INTEGER : Number(within), wanted);
    },
  }),
];
