import { z } from 'zod';
import { name, timeout } from '../values.ts';
import { mapping, oneOf, some } from './shapes.ts';

/** Who gets through in an emergency, and answers for it afterwards. */
export const breakGlass = mapping({
  roles: some(name, 'expected a list of at least one role').describe('Roles that may.'),
  reasons: some(name, 'expected a list of reasons such as [emergency]').describe('Reasons that they may give (Wardgate-Emergency-Reason).'),
  for: timeout.describe('How long a grant lasts; the next one needs a reason of its own.').prefault('30m'),
  patient: oneOf(['required', 'optional']).describe('Whether a patient must be named, by the request itself where patient says how or by Wardgate-Emergency-Patient; a grant is for that patient.').default('required'),
  breaks: z.array(oneOf(['role', 'networks', 'hours']), { error: 'expected a list of role, networks and hours' })
    .min(1, { error: 'expected a list of role, networks and hours' })
    .describe('What a grant breaks: role, that the role is not allowed; networks, those of the route and of a registered device; hours, those of a registered device. Never anything else.').default(['role']),
});
