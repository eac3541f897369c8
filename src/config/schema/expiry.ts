import { z } from 'zod';
import { matching, name, timeout, timeZone } from '../values.ts';
import { mapping, some } from './shapes.ts';

const tier = mapping({
  before: timeout.describe('How long before its end a certificate of a year or more is warned of. One that lives shorter is in the same proportion: 90d is a quarter of its life; of a CRL a sixteenth.'),
  channels: z.array(name, { error: 'expected a list of names' }).describe('Who is told, by the names of alarms.channels; absent: those that take everything, or expiry among their rules (with after: the last tier only).').exactOptional(),
});

const clients = z.union([z.literal('off'), mapping({
  except: z.array(name, { error: 'expected a list of roles' }).describe('Roles whose certificates nobody is told of.').default([]),
})], { error: 'expected off, or a mapping such as { except: [patient] }' });

/** Warnings of what ends. */
export const expiry = mapping({
  timezone: timeZone.describe('Time zone (IANA) of at.').default('UTC'),
  at: matching('expected a time of day such as 08:00', /^(?:[01]\d|2[0-3]):[0-5]\d$/).describe('When warnings are sent, once a day and all in one; what ends sooner than that is told of at once.').default('08:00'),
  tiers: z.array(tier, { error: 'expected a list of tiers such as { before: 30d, channels: [pki] }' }).max(10, { error: 'expected 10 tiers at most' })
    .describe('Each is told once; the last, and what has ended, daily until it is replaced. Absent: 90d, 30d and 7d.').exactOptional(),
  clients: clients.describe('Certificates of clients, as they are seen in use.').prefault({}),
  pause: some(name, 'expected a list of routes').describe('Routes that answer 503 on a listener whose own certificate is in the last tier or has ended, and serve again by themselves once it is replaced; absent: none.').exactOptional(),
}).describe('Who is told before certificates and CRLs end; docs/expiry.md. Absent: status, metrics and log say so, and that is all.');
