import { z } from 'zod';
import type { AdminTarget } from './target.ts';

/** What somebody may do through the admin API: look, or look and change. */
export const ADMIN_ROLES = ['read_only', 'operator'] as const;
export type AdminRole = (typeof ADMIN_ROLES)[number];

/** From where a call came over the operators' listener. */
export interface Origin {
  /** SHA-256 of the certificate, hex. */
  readonly certificate: string;
  readonly address: string;
}

/** One row of the table of calls: what is served, what is documented and what is checked are the same. */
export interface AdminCall {
  readonly method: 'GET' | 'POST';
  /** Begins with the version, as in /v1/status. */
  readonly path: string;
  /** One line, for the description. */
  readonly summary: string;
  /** The least that a caller must be. */
  readonly role: AdminRole;
  /** What it takes: the body of a POST, the parameters of a GET. Absent: nothing. `who` is never part of it: it comes from the certificate, on the socket from the command line. */
  readonly input?: z.ZodType;
  readonly output: z.ZodType;
  /** See `explainedCall`. */
  readonly unexplained?: true;
  /** Set where it gives back a right: that waits for its record. What takes one away does not. */
  readonly gives?: true;
  /** Set where only the socket has it: its answer holds a secret, or it is for the commands alone. */
  readonly local?: true;
  /** What operators get of the answer on their listener, where on the socket it may be as large as it likes. */
  readonly bounded?: (answer: never) => unknown;
  /** What of an `unexplained` change stands on record beside its reason, where the call alone does not say what was done. */
  readonly about?: (input: never) => string | undefined;
  /** What of it takes the main thread long: a certificate may ask for that less often. */
  readonly dear?: (input: never) => boolean;
  /** `input` was checked by the row's own schema; of an `unexplained` one it lacks the reason. `origin` is undefined on the socket. */
  answer(target: AdminTarget, input: unknown, who: string, role: AdminRole, origin: Origin | undefined): unknown;
}

interface Described<Input extends z.ZodType> extends Omit<AdminCall, 'answer' | 'input' | 'dear'> {
  readonly input: Input;
  readonly dear?: (input: z.output<Input>) => boolean;
  answer(target: AdminTarget, input: z.output<Input>, who: string, role: AdminRole, origin: Origin | undefined): unknown;
}

/** A row that takes something. */
export function call<Input extends z.ZodType>(row: Described<Input>): AdminCall {
  return row as unknown as AdminCall;
}

type WithoutReason<Input> = Input extends unknown ? Omit<Input, 'reason'> : never;

/**
 * A row whose change has no record of its own that says why: its input has a `reason`, and the API itself puts that on record. On the socket, where older
 * commands give none, none is demanded.
 */
export function explainedCall<Input extends z.ZodType<{ readonly reason: string }>>(
  row: Omit<Described<Input>, 'answer' | 'unexplained'> & { answer(target: AdminTarget, input: WithoutReason<z.output<Input>>, who: string): unknown },
): AdminCall {
  return { ...row, unexplained: true } as unknown as AdminCall;
}

/** A row that takes nothing. */
export function plainCall(row: Omit<AdminCall, 'input' | 'answer'> & { answer(target: AdminTarget, input: undefined, who: string, role: AdminRole): unknown }): AdminCall {
  return row as unknown as AdminCall;
}

export const hex = z.string().regex(/^[0-9a-f]+$/);
export const text = z.string().min(1).max(1_000);
export const who = z.string().min(1).max(200);
export const time = z.iso.datetime();
/** Blanks say nothing. */
const said = text.regex(/\S/, 'expected words');
/** Why something is changed: it goes on record. */
export const reason = said.describe('Why: it goes on record.');
export const note = said.describe('What was found or done: it goes on record.');
/** An answer that says that something is done, by one key. */
export const done = (key: string) => z.strictObject({ [key]: z.boolean() });
