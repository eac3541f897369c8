import { z } from 'zod';
import { call, hex, plainCall, text, time, type AdminCall } from '../call.ts';

/** What those look at who watch over a gateway. Bounded, whatever the gateway holds. */
export interface ConsoleTarget {
  overview(): Promise<unknown>;
  connections(wanted: { readonly fingerprint?: string; readonly find?: string }): Promise<unknown>;
  clients(find: string | undefined): Promise<unknown>;
  revocation(wanted: string | undefined): Promise<unknown>;
  upstreams(): Promise<unknown>;
  records(asked: RecordsAsked): Promise<unknown>;
  explain(requestId: string): Promise<unknown>;
}

export interface RecordsAsked {
  readonly result?: string;
  readonly find?: string;
}

const named = z.looseObject({});
const holding = text.describe('Text that the id, the subject, the serial number or the address must hold.').exactOptional();

/** Calls for looking: what the console shows, in pieces that have a bound. */
export const CONSOLE_CALLS: readonly AdminCall[] = [
  plainCall({
    method: 'GET', path: '/v1/overview', summary: 'What is wrong, the worst first, and how the gateway stands in short', role: 'read_only',
    output: z.looseObject({ time, problems: z.array(z.looseObject({ severity: z.enum(['bad', 'warn']), code: z.string() })), threads: z.int(), connections: z.int() }),
    answer: async ({ console: shown }, _input, who, role) => ({ ...await shown.overview() as object, caller: { who, role } }),
  }),
  call({
    method: 'GET', path: '/v1/connections', summary: 'Open connections, of one certificate or of all; 500 at most', role: 'read_only',
    input: z.strictObject({ fingerprint: hex.length(64).describe('SHA-256 of the certificate.').exactOptional(), find: holding }),
    output: z.strictObject({ more: z.boolean(), connections: z.array(z.looseObject({ listener: z.string(), protocol: z.string(), address: z.string() })) }),
    answer: ({ console: shown }, wanted) => shown.connections(wanted),
  }),
  call({
    method: 'GET', path: '/v1/clients', summary: 'Certificates of connected clients, the first to end first; of 500 connections at most', role: 'read_only', input: z.strictObject({ find: holding }),
    output: z.strictObject({ more: z.boolean(), clients: z.array(z.looseObject({ fingerprint: z.string(), not_after: time, connections: z.int() })) }),
    answer: ({ console: shown }, { find }) => shown.clients(find),
  }),
  call({
    method: 'GET', path: '/v1/revocation', summary: 'Each source of revocation: its age, its size, its last error; and the newest 200 entries of the deny list, or those that hold a text', role: 'read_only',
    input: z.strictObject({ find: text.describe('Text that an entry must hold.').exactOptional() }),
    output: z.looseObject({ sources: z.array(named), responders: z.array(named), denied: z.int(), deny_list: z.array(z.looseObject({ kind: z.string(), reason: z.string(), who: z.string(), at: z.string() })) }),
    answer: ({ console: shown }, { find }) => shown.revocation(find),
  }),
  plainCall({
    method: 'GET', path: '/v1/upstreams', summary: 'Upstreams and their endpoints', role: 'read_only', output: z.strictObject({ upstreams: z.array(z.looseObject({ upstream: z.string(), endpoints: z.array(named) })) }),
    answer: ({ console: shown }) => shown.upstreams(),
  }),
  call({
    method: 'GET', path: '/v1/records', summary: 'The newest records of the audit, masked as they are for everybody outside it, and how its chain stands; 200 at most', role: 'read_only',
    input: z.strictObject({
      result: z.enum(['permitted', 'denied', 'failed', 'done']).exactOptional(),
      find: text.describe('A request id, a fingerprint, a route, a reason: text that the record must hold; of what is masked, whole words.').exactOptional(),
    }),
    output: z.looseObject({ records: z.array(z.looseObject({ time, event: z.string(), result: z.string() })), chain: z.looseObject({ lines: z.int() }) }),
    dear: ({ find, result }) => find !== undefined || result !== undefined,
    answer: ({ console: shown }, asked) => shown.records(asked),
  }),
  call({
    method: 'GET', path: '/v1/explain', summary: 'A request on record, decided again by the running gateway, rule by rule', role: 'read_only', input: z.strictObject({ request_id: text }),
    output: z.looseObject({ record: named, certificate: z.enum(['known', 'unknown', 'none']), now: z.looseObject({ result: z.string(), steps: z.array(z.strictObject({ rule: z.string(), outcome: z.string(), detail: z.string() })) }).exactOptional() }),
    answer: ({ console: shown }, { request_id: id }) => shown.explain(id),
  }),
];
