import { z } from 'zod';
import { call, hex, plainCall, text, type AdminCall } from '../call.ts';

/** What is asked about trust anchors. */
export interface TrustTarget {
  list(): Promise<unknown>;
  preview(order: { readonly config?: string; readonly without?: readonly string[] }): Promise<unknown>;
}

const anchor = { listener: z.string(), name: z.string().describe('The server name that it is for; empty for the default.'), subject: z.string(), fingerprint: z.string(), not_after: z.string(), from: z.string().exactOptional() };
const without = z.array(hex.min(8).max(64)).max(100).exactOptional().describe('Beginnings of fingerprints (SHA-256) of anchors, as if they were no longer trusted.');
const preview = z.looseObject({
  comes: z.array(z.strictObject(anchor)), goes: z.array(z.strictObject(anchor)),
  concerned: z.looseObject({ connections: z.int(), under_way: z.int(), roles: z.record(z.string(), z.int()), routes: z.record(z.string(), z.int()) }),
});

/** Calls about trust anchors. */
export const TRUST_CALLS: readonly AdminCall[] = [
  plainCall({
    method: 'GET', path: '/v1/trust', summary: 'The trust anchors in force, by listener and name, with what stands on each', role: 'read_only',
    output: z.strictObject({ anchors: z.array(z.strictObject({ ...anchor, connections: z.int(), certificates: z.int() })) }),
    answer: async ({ trust }) => ({ anchors: await trust.list() }),
  }),
  call({
    method: 'POST', path: '/v1/trust/preview', summary: 'Which trust anchors would come and go by what is in the files now, and whom that would cut off; changes nothing', role: 'read_only',
    input: z.strictObject({ without }), output: preview, dear: () => true, answer: ({ trust }, order) => trust.preview(order),
  }),
  call({
    method: 'POST', path: '/v1/trust/candidate', summary: 'The same for another configuration file', role: 'read_only', local: true,
    input: z.strictObject({ config: text, without }), output: preview, answer: ({ trust }, order) => trust.preview(order),
  }),
];
