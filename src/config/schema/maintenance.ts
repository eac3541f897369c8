import { z } from 'zod';
import { hours, moment, name, timeZone } from '../values.ts';
import { mapping, some } from './shapes.ts';

const REASON = 'expected a text of 200 characters at most';

/** When a route does not serve: a part of every week, or once. */
export const maintenance = mapping({
  hours: hours.describe('Part of every week, such as "Sun 02:00-04:00" or "daily 22:00-06:00".').exactOptional(),
  zone: timeZone.describe('Time zone (IANA) of the hours.').default('UTC'),
  from: moment.describe('In place of hours, when it begins, once: 2026-12-24T22:00:00+01:00.').exactOptional(),
  to: moment.describe('And when it ends.').exactOptional(),
  outside: z.boolean().describe('Whether only clients from outside networks.inside are concerned.').default(false),
  roles: some(name, 'expected a list of roles').describe('Roles that are concerned; absent: everybody.').exactOptional(),
  reason: z.string({ error: REASON }).min(1, { error: REASON }).max(200, { error: REASON }).describe('Why, for the record.'),
}).transform(({ hours: windows, zone, from, to, ...rest }, context) => {
  if (windows !== undefined && from === undefined && to === undefined) return { ...rest, when: { zone, windows } };
  if (windows === undefined && from !== undefined && to !== undefined && from < to) return { ...rest, when: { from, to } };
  context.addIssue({ code: 'custom', message: 'expected hours, or from and a later to' });
  return z.NEVER;
});
