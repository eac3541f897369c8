import { z } from 'zod';
import { call, done, explainedCall, hex, reason, text, time, type AdminCall } from '../call.ts';
import { cutOff, doneTo, own } from '../own-certificate.ts';

export const denySubjects = [
  z.strictObject({ kind: z.literal('fingerprint'), fingerprint: hex.length(64).describe('SHA-256 of the certificate.'), subject_text: text.describe('The name on it, for those who read the list: nothing is decided by it.').exactOptional() }),
  z.strictObject({ kind: z.literal('serial'), serial: hex.max(64), issuer: text.describe('Normalised form of the issuer\'s name.'), issuer_text: text.describe('The same as people write it.') }),
  z.strictObject({ kind: z.literal('key'), key: hex.length(64).describe('SHA-256 of the SubjectPublicKeyInfo.') }),
  z.strictObject({ kind: z.literal('issuer'), issuer: text, issuer_text: text }),
  z.strictObject({ kind: z.literal('identity'), id: text }),
] as const;
const subjects = denySubjects;
const denial = { reason, expires: time.exactOptional(), own };
const denyRequest = z.discriminatedUnion('kind', [subjects[0].extend(denial), subjects[1].extend(denial), subjects[2].extend(denial), subjects[3].extend(denial), subjects[4].extend(denial)]);
const reinstateRequest = z.discriminatedUnion('kind', [subjects[0].extend({ reason }), subjects[1].extend({ reason }), subjects[2].extend({ reason }), subjects[3].extend({ reason }), subjects[4].extend({ reason })]);

/** Calls about the deny list. */
export const DENIAL_CALLS: readonly AdminCall[] = [
  call({
    method: 'POST', path: '/v1/deny', summary: 'Puts a certificate, key, issuer or identity on the deny list; in force on every thread, and its connections ended, when it answers', role: 'operator',
    input: denyRequest, output: doneTo('denied'),
    answer: async (target, { own: meant, ...entry }, who, _role, origin) => ({ denied: true, ...await cutOff(target.incident, entry, { meant, origin }, () => target.deny({ ...entry, who })) }),
  }),
  explainedCall({
    method: 'POST', path: '/v1/reinstate', summary: 'Takes it off the deny list again', role: 'operator', gives: true, input: reinstateRequest, output: done('reinstated'),
    answer: async (target, subject, who) => ({ reinstated: await target.reinstate(subject, who) }),
  }),
];
