import { createHash, randomBytes, randomInt } from 'node:crypto';
import { Secret } from 'otpauth';
import type { AuditRecord } from '../audit/record.ts';
import {
  forgiven, judgeInvitation, judgeLock, judgeRecovery, judgeSending, judgeSms, judgeTotp, readCard, readCode, readDigits, sameDigest, writeCode, type Guessed, type Refusal,
  type TotpAlgorithm, type TotpSecret,
} from '../policy/second-factor.ts';
import type { Reason } from '../policy/facts.ts';
import { subjectName, type Enrolment, type Enrolments, type Subject } from '../store/enrolments.ts';
import type { Sessions } from '../store/sessions.ts';
import type { KeyOwners } from '../store/key-owners.ts';
import { newSalt, type Compared, type Salting } from './salted.ts';
import { basisOf, contentOf, notEnrolled, type Outcome, type Person, type Trial } from './trial.ts';

export type Invited = { readonly kind: 'good'; readonly enrolling: TotpSecret & { readonly invitation: string } } | Refusal;
export type Enrolled = { readonly kind: 'good'; readonly basis: string; readonly codes: readonly string[] } | Refusal;
export type Sent = { readonly kind: 'good' } | Refusal;

/** A message with a code. */
export interface SmsMessage {
  readonly to: string;
  readonly code: string;
  readonly language: string;
}

/** What an operator sees of an enrolment. */
export interface EnrolmentReport extends Subject {
  readonly since: string;
  readonly totp: boolean;
  readonly keys: readonly { readonly name: string; readonly rp_id: string; readonly since: string; readonly used?: string; readonly counter: number }[];
  readonly recovery_codes: number;
  /** The last three digits. */
  readonly phone?: string;
  /** ISO 8601, while an invitation is out. */
  readonly invited_until?: string;
}

/** Every attempt at a second factor, each on record before its outcome is told; every enrolment. Rejects with a CellsError while the store is away. */
export interface Factors {
  totp(person: Person, code: string): Promise<Outcome>;
  recovery(person: Person, code: string): Promise<Outcome>;
  sendSms(person: Person, language: string): Promise<Sent>;
  sms(person: Person, code: string, card: string): Promise<Outcome>;
  /** Judges an invitation and makes the secret that the enrolment is about. */
  invitation(person: Person, code: string): Promise<Invited>;
  /** Judges the first code made with that secret, and enrols. */
  confirm(person: Person, enrolling: TotpSecret & { readonly invitation: string }, code: string): Promise<Enrolled>;
  /** Notes something else that happened to a session, such as its end. */
  note(person: Person, fields: Pick<AuditRecord, 'result' | 'detail'> & { readonly reason?: Reason }): Promise<void>;
  enrolment(subject: Subject): Promise<Enrolment | undefined>;
  /** Staff. `lifetime` in ms; gives back the code to hand out. */
  invite(subject: Subject, lifetime: number, who: string): Promise<{ readonly code: string; readonly expires: string }>;
  /** In place of the phone and card before, and ends the person's sessions where there were any. */
  registerPhone(subject: Subject, phone: string, card: string, who: string): Promise<void>;
  /** Forgets an enrolment and wrong codes, and ends the sessions that stand on it; false when there was none. */
  reset(subject: Subject, who: string): Promise<{ readonly reset: boolean; readonly sessions: number }>;
  /** Forgets one security key by its name, and ends the sessions of the person; false when there was none. */
  removeKey(subject: Subject, name: string, who: string): Promise<{ readonly reset: boolean; readonly sessions: number }>;
  /** Forgets somebody's wrong codes; false when there were none. */
  unlock(subject: Subject, who: string): Promise<boolean>;
  /** One person's enrolment; undefined where there is none. */
  status(subject: Subject): Promise<EnrolmentReport | undefined>;
  list(): Promise<readonly EnrolmentReport[]>;
}

export interface FactorsOptions {
  readonly trial: Trial;
  readonly enrolments: Enrolments;
  readonly owners: KeyOwners;
  readonly sessions: Sessions;
  readonly salting: Salting;
  /** Resolves once the record is kept. */
  readonly record: (record: AuditRecord) => Promise<void>;
  /** Hands a message to the webhook; false when it did not take it. Absent: there is none. */
  readonly send: (message: SmsMessage) => Promise<boolean>;
  readonly algorithm: () => TotpAlgorithm;
  readonly now: () => number;
}

const RECOVERY_CODES = 10;
const USED_UP: Refusal = { kind: 'refused', reason: 'invitation_expired', detail: 'the invitation was used or withdrawn' };
const SECRET_OCTETS = { SHA1: 20, SHA256: 32 } as const;
/** RFC 4226 section 5.3 asks for six digits at least. */
const SMS_DIGITS = 6;

export function createFactors(options: FactorsOptions): Factors {
  const { enrolments, owners, sessions, salting, now, trial: { guarded, opening, recorded } } = options;

  function byStaff(subject: Subject, who: string, detail: string): Promise<void> {
    return options.record({ time: new Date(now()).toISOString(), event: 'second_factor', result: 'done', role: subject.role, id: subject.id, who, detail });
  }

  /** The digest of what was typed, under the salt that it is kept with; spends the same time where nothing is kept. */
  async function compared(person: Person, guessed: Guessed, what: Compared, text: string, kept: { readonly salt: string } | undefined): Promise<Refusal | string> {
    const lock = await sessions.attempt(person, (state) => ({ state, verdict: judgeLock(state, guessed, now()) }));
    return lock.kind === 'refused' ? lock : salting.digest(what, text, kept?.salt ?? newSalt());
  }

  return {
    totp: async (person, code) => recorded(person, 'totp', 'code', await guarded(person, async () => {
      const { totp } = await enrolments.get(person) ?? {};
      if (totp === undefined) return notEnrolled('no authenticator');
      const verdict = await sessions.attempt(person, (state) => judgeTotp(state, totp, readDigits(code), now()));
      return verdict.kind === 'good' ? { ...verdict, basis: basisOf.totp(totp) } : verdict;
    })),

    recovery: async (person, code) => recorded(person, 'totp', 'recovery code', await guarded(person, async () => {
      const { recovery } = await enrolments.get(person) ?? {};
      const digest = await compared(person, 'recovery', 'code', readCode(code) ?? '', recovery);
      if (typeof digest !== 'string') return digest;
      const verdict = await sessions.attempt(person, (state) => judgeRecovery(state, digest, recovery?.digests ?? [], now()));
      if (verdict.kind === 'refused' || recovery === undefined) return verdict as Refusal;
      await forgetCode(person, digest);
      return { ...verdict, basis: basisOf.recovery(recovery) };
    })),

    async sendSms(person, language) {
      const enrolment = await enrolments.get(person);
      const { phone } = enrolment ?? {};
      if (phone === undefined || enrolment?.card === undefined) return recorded(person, 'sms', 'sending a code', notEnrolled('no phone number and card'));
      const code = String(randomInt(10 ** SMS_DIGITS)).padStart(SMS_DIGITS, '0');
      const verdict = await sessions.attempt(person, (state) => judgeSending(state, smsDigest(person, phone, code), now()));
      if (verdict.kind === 'refused') return recorded(person, 'sms', 'sending a code', verdict);
      const sent = await options.send({ to: phone, code, language });
      return recorded(person, 'sms', 'sending a code', sent ? verdict : { kind: 'refused', reason: 'sms_not_sent', detail: 'the webhook did not take the message' });
    },

    sms: async (person, code, card) => recorded(person, 'sms', 'code', await guarded(person, async () => {
      const { card: kept, phone = '' } = await enrolments.get(person) ?? {};
      const digest = await compared(person, 'sms', 'card', readCard(card), kept);
      if (typeof digest !== 'string') return digest;
      const verdict = await sessions.attempt(person, (state) => judgeSms(state, smsDigest(person, phone, readDigits(code)), kept !== undefined && sameDigest(kept.digest, digest), now()));
      return verdict.kind === 'refused' || kept === undefined ? verdict as Refusal : { ...verdict, basis: basisOf.sms(kept) };
    })),

    async invitation(person, code) {
      const { invitation } = await enrolments.get(person) ?? {};
      const verdict = await guarded(person, async () => {
        const digest = await compared(person, 'invitation', 'code', readCode(code) ?? '', invitation);
        return typeof digest === 'string' ? sessions.attempt(person, (state) => judgeInvitation(state, digest, invitation, now())) : digest;
      });
      const outcome = await recorded(person, 'invitation', 'invitation', verdict);
      if (outcome.kind === 'refused' || invitation === undefined) return outcome as Refusal;
      const algorithm = options.algorithm();
      return { kind: 'good', enrolling: { secret: newSecret(algorithm), algorithm, invitation: invitation.digest } };
    },

    async confirm(person, { invitation, ...totp }, code) {
      // Looked at once more below; before that the codes to come would cost time.
      const { invitation: open } = await enrolments.get(person) ?? {};
      if (open?.digest !== invitation || now() >= open.expires) return recorded(person, 'totp', 'enrolment', USED_UP);
      // Steps that were taken are those of the authenticator before.
      const verdict = await guarded(person, () => sessions.attempt<{ readonly kind: 'good'; readonly step: number } | Refusal>(person, (state) => {
        const { state: { failures, step }, verdict: judged } = judgeTotp({ ...state, step: 0 }, totp, readDigits(code), now());
        // A right one counts when it has enrolled: it would forget wrong codes, and steps that were taken, of an authenticator that stays.
        return judged.kind === 'good' ? { state, verdict: { ...judged, step } } : { state: { ...state, failures }, verdict: judged };
      }));
      if (verdict.kind === 'refused') return recorded(person, 'totp', 'enrolment', verdict);
      const codes = Array.from({ length: RECOVERY_CODES }, () => writeCode(randomBytes(10)));
      const salt = newSalt();
      const digests = await Promise.all(codes.map((one) => salting.digest('code', readCode(one) as string, salt)));
      const enrolled = await enrolments.change(person, (held) => {
        // The invitation may have been used meanwhile, in another window or by somebody else, or withdrawn.
        if (held?.invitation?.digest !== invitation || now() >= held.invitation.expires) return { result: false };
        const { invitation: _, ...rest } = contentOf(held);
        return { result: true, enrolment: { ...rest, totp: { ...totp, since: new Date(now()).toISOString() }, recovery: { salt, digests } } };
      });
      if (!enrolled) return recorded(person, 'totp', 'enrolment', USED_UP);
      await sessions.attempt(person, (state) => ({ state: { ...forgiven(state, 'totp'), step: verdict.step }, verdict: undefined }));
      // What stands on the authenticator before ends with it.
      await sessions.endAll(person, 'reset');
      return recorded(person, 'totp', 'enrolment', { kind: 'good', basis: basisOf.totp(totp), codes });
    },

    note: (person, { reason, ...fields }) => options.record({ ...opening(person), ...person.trail, ...fields, ...(reason === undefined ? {} : { reason }) }),

    enrolment: (subject) => enrolments.get(subject),

    async invite(subject, lifetime, who) {
      const code = writeCode(randomBytes(10));
      const expires = now() + lifetime;
      const salted = await salting.salted('code', readCode(code) as string);
      await enrolments.change(subject, (held) => ({ result: undefined, enrolment: { ...contentOf(held), invitation: { ...salted, expires } } }));
      await byStaff(subject, who, `invited until ${new Date(expires).toISOString()}`);
      return { code, expires: new Date(expires).toISOString() };
    },

    async registerPhone(subject, phone, card, who) {
      const salted = await salting.salted('card', readCard(card));
      const before = await enrolments.change(subject, (held) => ({ result: held?.card !== undefined, enrolment: { ...contentOf(held), phone, card: salted } }));
      // What stands on the phone and card before ends with them.
      const ended = before ? await sessions.endAll(subject, 'reset') : 0;
      await byStaff(subject, who, `phone number ending in ${phone.slice(-3)} and card registered${ended === 0 ? '' : `, ${ended} sessions ended`}`);
    },

    async reset(subject, who) {
      const { known, keys } = await enrolments.change(subject, (held) => {
        const content = contentOf(held);
        return { result: { known: Object.keys(content).length > 0, keys: content.keys ?? [] }, ...(held === undefined ? {} : { enrolment: {} }) };
      });
      const ended = await sessions.endAll(subject, 'reset');
      await forgive(subject);
      for (const { id } of keys) await owners.release(id, subject);
      await byStaff(subject, who, `enrolment reset, ${ended} sessions ended`);
      return { reset: known, sessions: ended };
    },

    async removeKey(subject, name, who) {
      const removed = await enrolments.change(subject, (held) => {
        const { keys = [], ...rest } = contentOf(held);
        const found = keys.find((key) => key.name === name);
        const others = keys.filter((key) => key !== found);
        return { result: found, ...(found === undefined ? {} : { enrolment: others.length === 0 ? rest : { ...rest, keys: others } }) };
      });
      if (removed === undefined) return { reset: false, sessions: 0 };
      const ended = await sessions.endAll(subject, 'reset');
      await owners.release(removed.id, subject);
      await byStaff(subject, who, `security key ${JSON.stringify(name)} removed, ${ended} sessions ended`);
      return { reset: true, sessions: ended };
    },

    async unlock(subject, who) {
      const known = await forgive(subject);
      if (known) await byStaff(subject, who, 'wrong codes forgotten');
      return known;
    },

    async status(subject) {
      const enrolment = await enrolments.get(subject);
      return enrolment === undefined || isEmpty(enrolment) ? undefined : reportOf(enrolment);
    },

    list: async () => (await enrolments.list()).filter((enrolment) => !isEmpty(enrolment)).map(reportOf),
  };

  /** False when there was nothing to forgive. */
  function forgive(subject: Subject): Promise<boolean> {
    return sessions.attempt(subject, (state) => (Object.keys(state.failures).length === 0 ? { state, verdict: false } : { state: { ...state, failures: {} }, verdict: true }));
  }

  function forgetCode(subject: Subject, digest: string): Promise<void> {
    return enrolments.change(subject, (held) => {
      const { recovery, ...rest } = contentOf(held);
      if (recovery === undefined) return { result: undefined };
      return { result: undefined, enrolment: { ...rest, recovery: { ...recovery, digests: recovery.digests.filter((one) => one !== digest) } } };
    });
  }

  function reportOf({ role, id, at, totp, recovery, phone, invitation, keys = [] }: Enrolment): EnrolmentReport {
    return {
      role, id, since: totp?.since ?? at, totp: totp !== undefined, recovery_codes: recovery?.digests.length ?? 0,
      keys: keys.map(({ name, rpId, since, used, counter }) => ({ name, rp_id: rpId, since, ...(used === undefined ? {} : { used }), counter })),
      ...(phone === undefined ? {} : { phone: phone.slice(-3) }),
      ...(invitation === undefined || now() >= invitation.expires ? {} : { invited_until: new Date(invitation.expires).toISOString() }),
    };
  }
}

function isEmpty(enrolment: Enrolment): boolean {
  return Object.keys(contentOf(enrolment)).length === 0;
}

function newSecret(algorithm: TotpAlgorithm): string {
  return new Secret({ buffer: new Uint8Array(randomBytes(SECRET_OCTETS[algorithm])).buffer }).base32;
}

/** Six digits are soon guessed from a digest: it is kept sealed, and for five minutes. Of the number as well: one that was sent to a lost phone is none for the next. */
function smsDigest(subject: Subject, phone: string, code: string): string {
  return createHash('sha256').update(`${subjectName(subject)} ${phone} ${code}`).digest('hex');
}
