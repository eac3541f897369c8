import { z } from 'zod';
import { ArchiveError, type Archive } from '../../audit/archive.ts';
import { call, done, hex, reason, text, time, type AdminCall } from '../call.ts';
import { InputError } from '../input.ts';

/** What is done with the audit as a whole. */
export interface AuditTarget {
  readonly archive: Pick<Archive, 'note' | 'certificate' | 'hold' | 'release' | 'prune'>;
  settle(): Promise<void>;
}

const short = hex.max(64);
const meant = { fingerprint: short.exactOptional(), serial: short.exactOptional(), patient: text.exactOptional(), route: text.exactOptional() };
const noteRequest = z.strictObject({ ...meant, id: text.exactOptional(), detail: z.string().min(1).max(4_000), settle: z.boolean() });
const stepRequest = z.strictObject({
  event: z.enum(['certificate_request', 'certificate']), subject: text.exactOptional(), names: z.array(text).max(200).exactOptional(), serial: short.exactOptional(), issuer: text.exactOptional(),
  fingerprint: short.exactOptional(), not_after: time.exactOptional(), address: text.exactOptional(), detail: z.string().min(1).max(4_000),
});
const holdRequest = z.strictObject({ ...meant, from: time.exactOptional(), to: time.exactOptional(), reason })
  .refine((order) => [...Object.keys(meant), 'from', 'to'].some((key) => Object.hasOwn(order, key)), { error: 'expected at least one of from, to, fingerprint, serial, patient and route' });

/** Calls about the audit as a whole. */
export const AUDIT_CALLS: readonly AdminCall[] = [
  call({
    method: 'POST', path: '/v1/audit/note', summary: 'Puts on record that somebody looked into the audit, and what for', role: 'operator', local: true, input: noteRequest, output: done('noted'),
    answer: ({ audit: { archive, settle } }, { settle: afterwards, ...use }, who) => allowed(async () => {
      await archive.note({ ...use, who });
      if (afterwards) await settle();
      return { noted: true };
    }),
  }),
  call({
    method: 'POST', path: '/v1/audit/certificate', summary: 'Puts a step of the CA on record', role: 'operator', local: true, input: stepRequest, output: done('noted'),
    answer: ({ audit: { archive } }, step, who) => allowed(async () => {
      await archive.certificate({ ...step, who });
      return { noted: true };
    }),
  }),
  call({
    method: 'POST', path: '/v1/audit/hold', summary: 'Keeps records from being removed until the hold is released', role: 'operator', input: holdRequest, output: z.strictObject({ id: z.string() }),
    answer: ({ audit: { archive } }, order, who) => allowed(async () => ({ id: await archive.hold({ ...order, who }) })),
  }),
  call({
    method: 'POST', path: '/v1/audit/release', summary: 'Releases a hold', role: 'operator', input: z.strictObject({ id: text, reason }), output: done('released'),
    answer: ({ audit: { archive } }, { id, reason: why }, who) => allowed(async () => ({ released: await archive.release(id, who, why) })),
  }),
  call({
    method: 'POST', path: '/v1/audit/prune', summary: 'Removes segments that need not be kept any longer; without confirm says which', role: 'operator', local: true,
    input: z.strictObject({ reason, before: time.exactOptional(), confirm: z.boolean() }), output: z.looseObject({ before: z.string() }),
    answer: ({ audit: { archive } }, order, who) => allowed(() => archive.prune({ ...order, who })),
  }),
];

/** What the archive does not allow is the caller's affair. */
async function allowed<Result>(act: () => Promise<Result>): Promise<Result> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof ArchiveError) throw new InputError(error.message);
    throw error;
  }
}
