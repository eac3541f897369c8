import { z } from 'zod';
import { done, explainedCall, plainCall, reason, text, type AdminCall } from '../call.ts';

/** How a gateway stands; `GatewayStatus` has the whole of it. */
const status = z.looseObject({
  pid: z.int(),
  config: z.strictObject({ file: z.string(), digest: z.string(), loaded_at: z.string(), last_error: z.string().exactOptional() }),
  threads: z.int(), epoch: z.int(), connections: z.int(),
  pressure: z.array(z.string()),
  listeners: z.array(z.strictObject({ name: z.string(), host: z.string(), port: z.int() })),
  crls: z.looseObject({}), ocsp: z.looseObject({ cached: z.int() }),
  deny_list: z.array(z.looseObject({ kind: z.string(), reason: z.string(), who: z.string(), at: z.string() })).describe('The newest 1,000 entries.'),
  denied: z.int().describe('How many entries the deny list has.'),
  suspensions: z.array(z.looseObject({ reason: z.string() })),
  break_glass: z.strictObject({ open: z.int(), unreviewed: z.int() }),
  upstreams: z.array(z.looseObject({ upstream: z.string() })),
  audit: z.looseObject({ directory: z.string(), failing: z.array(z.string()) }),
});

const MOST_DENIED = 1_000;

/** A deny list may have a hundred thousand entries. */
function bounded({ deny_list: denied, ...rest }: { readonly deny_list: readonly unknown[] }): unknown {
  return { ...rest, deny_list: denied.slice(-MOST_DENIED), denied: denied.length };
}

/** Calls about the gateway as a whole. */
export const GATEWAY_CALLS: readonly AdminCall[] = [
  plainCall({ method: 'GET', path: '/v1/status', summary: 'How the gateway stands', role: 'read_only', output: status, answer: (target) => target.status(), bounded }),
  explainedCall({
    method: 'POST', path: '/v1/reload', summary: 'Loads the configuration again; the old one serves on when it cannot be taken', role: 'operator', input: z.strictObject({ reason }), output: done('reloaded'),
    async answer(target) {
      await target.reload();
      return { reloaded: true };
    },
  }),
  explainedCall({
    method: 'POST', path: '/v1/certificates/reload', summary: 'Reads the certificates, keys, CAs and secrets again that the configuration in force names; answers with the files that had changed', role: 'operator',
    input: z.strictObject({ reason }), output: z.strictObject({ changed: z.array(z.string()) }),
    answer: async (target) => ({ changed: await target.reloadCertificates() }),
  }),
  explainedCall({
    method: 'POST', path: '/v1/upgrade', summary: 'Starts another release, which takes over the ports and the state; this process lets answers finish and ends', role: 'operator', local: true,
    input: z.strictObject({ reason, node: text, args: z.array(text).max(50), grace: z.int().min(0).max(60_000) }), output: z.strictObject({ pid: z.int() }),
    about: ({ node, args }: { readonly node: string; readonly args: readonly string[] }) => [node, ...args].join(' '),
    answer(target, release) {
      if (target.upgrade === undefined) throw new Error('this gateway was not started by wardgate run');
      return target.upgrade(release);
    },
  }),
];
