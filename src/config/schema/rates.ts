import { z } from 'zod';
import { name, rate } from '../values.ts';
import { mapping, oneOf, oneOrMore, some } from './shapes.ts';

export const rates = z.array(mapping({
  per: oneOf(['certificate', 'address', 'role', 'route']).describe('Whose requests are counted together: those of one certificate (or address, without one), of one address (IPv6: one /64), of all who have the role, of all who use the route.'),
  rate: oneOrMore(rate, 'expected a rate such as 10/minute, or a list of them').describe('How many; each of several windows counts.'),
  roles: some(name, 'expected a list of roles').describe('For whom it is; absent: for everybody.').exactOptional(),
  count: oneOf(['requests', 'denials']).describe('denials: only what is denied counts, and who has too many of those is served nothing.').default('requests'),
}).refine(({ per, count }) => count === 'requests' || per === 'certificate' || per === 'address', {
  // One client's denials would count against all others.
  path: ['per'], error: 'expected certificate or address where denials count: of all who have a role or use a route anybody could lock out the others',
}), { error: 'expected a list of { per, rate }' });
