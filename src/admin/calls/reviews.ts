import { z } from 'zod';
import { call, done, note, plainCall, text, type AdminCall } from '../call.ts';

const about = z.strictObject({ id: text, note });

/** Calls about what somebody has to look at: alarms, and grants for emergencies. */
export const REVIEW_CALLS: readonly AdminCall[] = [
  plainCall({
    method: 'GET', path: '/v1/alarms', summary: 'Alarms, acknowledged ones too, oldest first', role: 'read_only',
    output: z.strictObject({ alarms: z.array(z.looseObject({ id: z.string(), rule: z.string(), subject: z.string(), text: z.string(), opened: z.string(), last: z.string(), count: z.int() })) }),
    answer: async (target) => ({ alarms: await target.alarms() }),
  }),
  call({
    method: 'POST', path: '/v1/alarms/acknowledge', summary: 'Acknowledges an alarm', role: 'operator', input: about, output: done('acknowledged'),
    async answer(target, { id, note: found }, who) {
      await target.acknowledge(id, who, found);
      return { acknowledged: true };
    },
  }),
  plainCall({
    method: 'GET', path: '/v1/break-glass', summary: 'Grants for emergencies, past ones too, oldest first', role: 'read_only',
    output: z.strictObject({ grants: z.array(z.looseObject({ id: z.string(), route: z.string(), reason: z.string(), who: z.string(), at: z.string(), until: z.string() })) }),
    answer: (target) => ({ grants: target.grants() }),
  }),
  call({
    method: 'POST', path: '/v1/break-glass/withdraw', summary: 'Ends a grant before its time', role: 'operator', input: about, output: done('withdrawn'),
    async answer(target, { id, note: found }, who) {
      await target.withdraw(id, who, found);
      return { withdrawn: true };
    },
  }),
  call({
    method: 'POST', path: '/v1/break-glass/review', summary: 'Reviews a grant that has ended', role: 'operator', input: about, output: done('reviewed'),
    async answer(target, { id, note: found }, who) {
      await target.review(id, who, found);
      return { reviewed: true };
    },
  }),
];
