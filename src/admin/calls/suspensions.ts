import { z } from 'zod';
import { networkFault } from '../../config/addresses.ts';
import { call, done, explainedCall, reason, text, time, type AdminCall } from '../call.ts';

const scope = {
  route: text.exactOptional(), listener: text.exactOptional(), role: text.exactOptional(), outside: z.literal(true).exactOptional(),
  network: text.refine((value) => networkFault(value) === undefined, { error: 'expected a network such as 10.1.0.0/16' }).exactOptional(),
};
const named = <Fields extends object>(fields: Fields): boolean => Object.keys(scope).some((key) => Object.hasOwn(fields, key));
const NAMED = { error: 'expected at least one of route, listener, role, network and outside' };

/** Calls about what is suspended. */
export const SUSPENSION_CALLS: readonly AdminCall[] = [
  call({
    method: 'POST', path: '/v1/suspend', summary: 'Suspends a route, listener, role or network', role: 'operator', input: z.strictObject({ ...scope, reason, expires: time.exactOptional() }).refine(named, NAMED), output: done('suspended'),
    async answer(target, order, who) {
      await target.suspend({ ...order, who });
      return { suspended: true };
    },
  }),
  explainedCall({
    method: 'POST', path: '/v1/resume', summary: 'Ends a suspension', role: 'operator', gives: true, input: z.strictObject({ ...scope, reason }).refine(named, NAMED), output: done('resumed'),
    answer: async (target, resumed, who) => ({ resumed: await target.resume(resumed, who) }),
  }),
  call({
    method: 'POST', path: '/v1/concerned', summary: 'Whom a suspension would hit, of a route the open connections that have used it; changes nothing', role: 'read_only', input: z.strictObject(scope).refine(named, NAMED),
    output: z.looseObject({ connections: z.int(), may_use: z.int().describe('Open connections of clients that may use the route, where one is named.').exactOptional(), under_way: z.int(), clients: z.array(z.looseObject({ address: z.string(), connections: z.int() })) }),
    answer: (target, concerned) => target.concerned(concerned),
  }),
];
