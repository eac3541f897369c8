import type { AuditRecord } from '../audit/record.ts';
import type { AdminCall, AdminRole, Origin } from './call.ts';
import { who as whoSchema } from './call.ts';
import { CALLS } from './calls.ts';
import { InputError } from './input.ts';
import { openApi } from './openapi.ts';
import { OwnCertificateError } from './own-certificate.ts';
import type { AdminTarget } from './target.ts';

/** Who calls, and by which way. */
export interface Caller {
  readonly role: AdminRole;
  /** From the certificate; undefined on the socket, where each change says it. */
  readonly who: string | undefined;
  /** Undefined on the socket. */
  readonly origin?: Origin;
  /** What else the record of a change says of the caller. */
  readonly fields: Partial<AuditRecord>;
  /** Counts a call that takes long; seconds until the next one where there were too many, else undefined. Absent: nobody counts. */
  readonly dear?: () => Promise<number | undefined>;
}

/** Whoever may open the socket may do everything. */
export const ON_THE_SOCKET: Caller = { role: 'operator', who: undefined, fields: {} };

/** A call as it came: `text` is the body of a POST. */
export interface Called {
  readonly method: string;
  readonly path: string;
  /** Without its question mark. */
  readonly query: string;
  readonly text: string;
}

/** The same outcome on every way that a call can come. */
export type CallOutcome =
  | { readonly kind: 'answer'; readonly answer: unknown }
  | { readonly kind: 'refused'; readonly status: 400 | 403 | 404 | 409; readonly detail: string; /** Where the status alone does not tell a program what to ask. */ readonly code?: 'own_certificate' }
  /** `after`: seconds. */
  | { readonly kind: 'later'; readonly after: number; readonly detail: string }
  | { readonly kind: 'failed'; readonly detail: string; readonly issues?: unknown };

const ROWS = new Map(CALLS.map((row) => [`${row.method} ${row.path}`, row]));
/** What was asked of something that is not in the state for it. */
const UNFIT = new Set(['scope_unknown', 'ends_earlier', 'grant_unfit', 'alarm_unfit', 'not_configured']);
/** On the socket, whose older commands say none. */
const NO_REASON = 'none given';

/** Answers one call: finds its row, holds the caller to its role and what came to its schema, and puts on record what has no record of its own. Never rejects. */
export async function answerCall(called: Called, caller: Caller, ground: Ground): Promise<CallOutcome> {
  const local = caller.who === undefined;
  if (called.method === 'GET' && called.path === '/v1/openapi.json') return { kind: 'answer', answer: openApi() };
  const row = ROWS.get(`${called.method} ${called.path}`);
  if (row === undefined || (row.local === true && !local)) return { kind: 'refused', status: 404, detail: `no such call: ${called.method} ${called.path}` };
  if (row.role === 'operator' && caller.role !== 'operator') return { kind: 'refused', status: 403, detail: `${called.path} is for operators` };
  try {
    const { input, who } = inputOf(row, called, caller);
    const after = row.dear?.(input as never) === true ? await caller.dear?.() : undefined;
    if (after !== undefined) return { kind: 'later', after, detail: `too many calls that take long; again in ${after} s` };
    if (row.unexplained !== true) {
      const answer = await row.answer(ground.target, input, who, caller.role, caller.origin);
      return { kind: 'answer', answer: local || row.bounded === undefined ? answer : row.bounded(answer as never) };
    }
    return await explained(row, input, { ...caller, who }, ground);
  } catch (error) {
    return outcomeOf(error as Error);
  }
}

/** What calls are answered from. */
export interface Ground {
  readonly target: AdminTarget;
  /** Durable when it resolves. */
  readonly record: (record: AuditRecord) => Promise<void>;
  /** ms since the epoch */
  readonly now: () => number;
}

/** Whatever becomes of it, who did it and why is on record. */
async function explained(row: AdminCall, input: unknown, { who, fields }: Caller & { readonly who: string }, { target, record, now }: Ground): Promise<CallOutcome> {
  const { reason, ...rest } = input as { readonly reason: string };
  const about = row.about?.(rest as never);
  const note = (result: 'done' | 'failed', detail: string): Promise<void> => record({ time: new Date(now()).toISOString(), event: 'administration', result, ...fields, who, detail: `${row.method} ${row.path}${about === undefined ? '' : ` (${about})`}: ${detail}` });
  if (row.gives === true) await note('done', reason);
  let answer: unknown;
  try {
    answer = await row.answer(target, rest, who, 'operator', undefined);
  } catch (error) {
    await note('failed', `${reason}; ${(error as Error).message}`);
    throw error;
  }
  if (row.gives !== true) await note('done', reason);
  return { kind: 'answer', answer };
}

/** What came, held to the row's schema, and who sends it. Throws an InputError that names what is wrong. */
function inputOf(row: AdminCall, { method, query, text }: Called, caller: Caller): { readonly input: unknown; readonly who: string } {
  const given: unknown = method === 'GET' ? Object.fromEntries(new URLSearchParams(query)) : jsonOf(text);
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw new InputError('the input is not a JSON object');
  const local = caller.who === undefined;
  const { who: told, ...rest } = given as { readonly who?: unknown };
  // Who it is comes from the certificate: one that says so itself could say anything.
  if (!local && told !== undefined) throw new InputError('who: it is the certificate\'s to say');
  if (told !== undefined && !whoSchema.safeParse(told).success) throw new InputError('who: expected 1 to 200 characters');
  const who = caller.who ?? (told as string | undefined);
  if (who === undefined && row.role === 'operator' && row.input !== undefined) throw new InputError('who: expected who changes something');
  const whole = local && row.unexplained === true ? { reason: NO_REASON, ...rest } : rest;
  if (row.input === undefined) return { input: undefined, who: who ?? '' };
  const parsed = row.input.safeParse(whole);
  if (!parsed.success) throw new InputError(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  return { input: parsed.data, who: who ?? 'command line' };
}

function jsonOf(text: string): unknown {
  if (text === '') return {};
  try {
    return JSON.parse(text);
  } catch {
    throw new InputError('the input is not JSON');
  }
}

function outcomeOf(error: Error & { readonly code?: unknown; readonly issues?: unknown }): CallOutcome {
  if (error instanceof InputError) return { kind: 'refused', status: 400, detail: error.message };
  if (error instanceof OwnCertificateError) return { kind: 'refused', status: 409, detail: error.message, code: error.code };
  if (UNFIT.has(String(error.code))) return { kind: 'refused', status: 409, detail: error.message };
  return { kind: 'failed', detail: error.message, ...(error.issues === undefined ? {} : { issues: error.issues }) };
}
