import { timingSafeEqual } from 'node:crypto';
import { Secret, TOTP } from 'otpauth';
import type { SessionReason } from './session.ts';

/** What a client can show beside its certificate. A recovery code stands for the authenticator that was lost: it counts as `totp`. */
export type Factor = 'totp' | 'sms' | 'webauthn';

/** What can be guessed at. Wrong ones are counted for each by itself: who is right about one of them may still guess at another. */
export type Guessed = Factor | 'recovery' | 'invitation';

/** Why a second factor was not taken, or a session not honoured, on record. */
export type FactorReason =
  | 'code_wrong' | 'code_reused' | 'code_expired' | 'locked' | 'not_enrolled' | 'invitation_wrong' | 'invitation_expired' | 'form_refused'
  | 'sms_not_sent' | 'sms_too_soon' | 'factors_unavailable' | KeyReason | SessionReason;

/** Why a security key was not taken. */
export type KeyReason =
  | 'webauthn_malformed' | 'webauthn_challenge' | 'webauthn_replayed' | 'webauthn_expired' | 'webauthn_origin' | 'webauthn_rp' | 'webauthn_unverified' | 'webauthn_unknown_key'
  | 'webauthn_other_person' | 'webauthn_signature' | 'webauthn_counter' | 'webauthn_key_taken' | 'webauthn_too_many';

/** How codes are made that authenticator apps show (RFC 6238). */
export type TotpAlgorithm = 'SHA1' | 'SHA256';
const TOTP_PERIOD_S = 30;
const TOTP_DIGITS = 6;
/** Steps by which a client's clock may be off, either way (RFC 6238 section 5.2 recommends one). */
const SKEW_STEPS = 1;

/** Wrong codes that cost nothing yet: those of one person, and those from one address, behind which a whole ward may be. */
const FREE_FAILURES = { identity: 5, address: 50 } as const;
const FIRST_LOCK_MS = 60_000;
const LONGEST_LOCK_MS = 3_600_000;
/** An address has one of its failures back after this: behind it are others than who guesses, and they must not pay for him for long. */
const ADDRESS_FORGETS_ONE_MS = 2 * 60_000;
/** Failures this old are forgotten. */
export const FORGET_FAILURES_MS = 24 * 3_600_000;

const SMS_CODE_MS = 5 * 60_000;
const SMS_TRIES = 3;
const SMS_PAUSE_MS = 60_000;
const SMS_PER_HOUR = 5;
const HOUR_MS = 3_600_000;

/** Wrong codes since the last right one; `last` in ms since the epoch. */
export interface Failures {
  readonly count: number;
  readonly last: number;
}

/** A challenge that was given out for a security key to sign. */
export interface Challenge {
  /** SHA-256 of it, hex. */
  readonly digest: string;
  readonly purpose: 'get' | 'create';
  /** SHA-256 of the certificate that asked for it, hex. */
  readonly certificate: string;
  readonly rpId: string;
  readonly expires: number;
  /** Of an enrolment: digest of the invitation that it stands on, and the user handle of the key to be. */
  readonly invitation?: string;
  readonly handle?: string;
  readonly used?: true;
}

export interface SentCode {
  /** HMAC of the code, hex. */
  readonly digest: string;
  readonly expires: number;
  readonly tries: number;
}

/** What is known of one person's attempts: changed in one step, so that of two at once only one can win. */
export interface Attempts {
  readonly failures: Readonly<Partial<Record<Guessed, Failures>>>;
  /** The last time step whose code was taken: neither it nor one before it is good again (RFC 6238 section 5.2). */
  readonly step: number;
  /** Digests of the recovery codes taken lately: the enrolment forgets them, too, but not in the same step. */
  readonly recovery: readonly string[];
  readonly sms?: SentCode;
  /** When codes were sent in the last hour. */
  readonly sent: readonly number[];
  /** Absent: none was given out yet. */
  readonly challenges?: readonly Challenge[];
  /** Names of the open sessions, oldest first; those that have shown no factor yet by themselves, so that they push out no other. */
  readonly sessions: readonly string[];
  readonly pending: readonly string[];
}

export const NO_FAILURES: Failures = { count: 0, last: 0 };
export const NO_ATTEMPTS: Attempts = { failures: {}, step: 0, recovery: [], sent: [], sessions: [], pending: [] };

export type Verdict = { readonly kind: 'good' } | Refusal;
export type Refusal =
  { readonly kind: 'refused'; readonly reason: FactorReason; readonly detail: string; /** ms since the epoch */ readonly retryAt?: number };

/** What an attempt came to, and what is known afterwards. */
export interface Judged<State> {
  readonly state: State;
  readonly verdict: Verdict;
}

const GOOD: Verdict = { kind: 'good' };

/** Refusals that were guesses: those count, for a person and for an address. */
const GUESSES: ReadonlySet<FactorReason> = new Set([
  'code_wrong', 'code_reused', 'code_expired', 'invitation_wrong', 'webauthn_malformed', 'webauthn_challenge', 'webauthn_replayed', 'webauthn_expired', 'webauthn_origin', 'webauthn_rp',
  'webauthn_unverified', 'webauthn_unknown_key', 'webauthn_other_person', 'webauthn_signature', 'webauthn_counter',
]);

export function wasGuess(verdict: Verdict): boolean {
  return verdict.kind === 'refused' && GUESSES.has(verdict.reason);
}

/** A refusal, as it goes on record. */
export function refused(reason: FactorReason, detail: string, retryAt?: number): Refusal {
  return { kind: 'refused', reason, detail, ...(retryAt === undefined ? {} : { retryAt }) };
}

/**
 * When the next attempt is looked at, in ms since the epoch; 0 when it is now. After the free failures a minute, and twice as long
 * with each further one, up to an hour. Attempts while it lasts are not counted: nobody is kept out for ever by somebody else's.
 */
export function lockedUntil({ count, last }: Failures, now: number): number {
  if (count < FREE_FAILURES.identity || now - last >= FORGET_FAILURES_MS) return 0;
  const until = last + Math.min(LONGEST_LOCK_MS, FIRST_LOCK_MS * 2 ** (count - FREE_FAILURES.identity));
  return now < until ? until : 0;
}

/** The failures with one more. */
function failOnce({ count, last }: Failures, now: number): Failures {
  return { count: now - last >= FORGET_FAILURES_MS ? 1 : count + 1, last: now };
}

/**
 * An attempt from an address, counted before anything else is known of it: attempts at once cannot slip through together. What is
 * counted fades, whatever else comes from there: with a lock that grows, a few wrong codes a day would shut out a whole house.
 */
export function judgeAddress(failures: Failures, now: number): Judged<Failures> {
  const count = Math.max(0, failures.count - Math.max(0, now - failures.last) / ADDRESS_FORGETS_ONE_MS);
  const over = count + 1 - FREE_FAILURES.address;
  if (over > 0) return { state: failures, verdict: refused('locked', `${Math.ceil(count)} wrong codes from this address`, Math.ceil(now + over * ADDRESS_FORGETS_ONE_MS)) };
  return { state: { count: count + 1, last: now }, verdict: GOOD };
}

/** Takes one failure back that was counted for an attempt that was right. */
export function forgiveAddress({ count, last }: Failures): Failures {
  return { count: Math.max(0, count - 1), last };
}

/** Whether the person may try this now. */
export function judgeLock({ failures }: Attempts, what: Guessed, now: number): Verdict {
  const counted = failures[what] ?? NO_FAILURES;
  const until = lockedUntil(counted, now);
  return until > 0 ? refused('locked', `${counted.count} wrong ${WRONG[what]}`, until) : GOOD;
}

const WRONG: Readonly<Record<Guessed, string>> = { totp: 'codes', sms: 'codes by text message or card numbers', webauthn: 'answers of security keys', recovery: 'recovery codes', invitation: 'invitations' };

/** What is known after one more was wrong. */
export function failedOnce(state: Attempts, what: Guessed, now: number): Attempts {
  return { ...state, failures: { ...state.failures, [what]: failOnce(state.failures[what] ?? NO_FAILURES, now) } };
}

function wrong(state: Attempts, what: Guessed, now: number, verdict: Verdict): Judged<Attempts> {
  return { state: failedOnce(state, what, now), verdict };
}

/** What is known after a right one: its own wrong ones are forgotten, and no others. */
export function forgiven(state: Attempts, what: Guessed): Attempts {
  const { [what]: _, ...failures } = state.failures;
  return { ...state, failures };
}

export interface TotpSecret {
  /** Base 32, RFC 4648. */
  readonly secret: string;
  readonly algorithm: TotpAlgorithm;
}

/**
 * Judges a code of an authenticator (RFC 6238: 30 s, six digits, one step of skew either way); `now` in ms. Lock, code and reuse are
 * looked at in this order, in one step with what is noted of it.
 */
export function judgeTotp(state: Attempts, { secret, algorithm }: TotpSecret, code: string, now: number): Judged<Attempts> {
  const lock = judgeLock(state, 'totp', now);
  if (lock.kind === 'refused') return { state, verdict: lock };
  const delta = /^\d{6}$/.test(code)
    ? TOTP.validate({ token: code, secret: Secret.fromBase32(secret), algorithm, digits: TOTP_DIGITS, period: TOTP_PERIOD_S, timestamp: now, window: SKEW_STEPS })
    : null;
  if (delta === null) return wrong(state, 'totp', now, refused('code_wrong', 'not the code of this time'));
  const step = stepOf(now) + delta;
  if (step <= state.step) return wrong(state, 'totp', now, refused('code_reused', 'this code, or one after it, was taken before'));
  return { state: { ...forgiven(state, 'totp'), step }, verdict: GOOD };
}

/** The time step of RFC 6238 section 4.2. */
function stepOf(now: number): number {
  return Math.floor(now / 1000 / TOTP_PERIOD_S);
}

/** Octets of an account's name in the URI: a QR code holds some 2,300, and a phone reads one with fewer more easily. */
const LONGEST_LABEL = 240;

/** The URI that an authenticator reads from the QR code. The account's name is for people alone: a long one is cut. */
export function totpUri({ secret, algorithm }: TotpSecret, issuer: string, account: string): string {
  return new TOTP({ issuer, label: shortened(account), secret: Secret.fromBase32(secret), algorithm, digits: TOTP_DIGITS, period: TOTP_PERIOD_S }).toString();
}

function shortened(account: string): string {
  if (encodeURIComponent(account.toWellFormed()).length <= LONGEST_LABEL) return account.toWellFormed();
  let label = '';
  for (const character of account.toWellFormed()) {
    if (encodeURIComponent(`${label}${character}…`).length > LONGEST_LABEL) break;
    label += character;
  }
  return `${label}…`;
}

/**
 * Judges a recovery code: `digest` is that of what was typed, `known` those of the enrolment. Each is good once, which is noted
 * here, in one step.
 */
export function judgeRecovery(state: Attempts, digest: string, known: readonly string[], now: number): Judged<Attempts> {
  const lock = judgeLock(state, 'recovery', now);
  if (lock.kind === 'refused') return { state, verdict: lock };
  const taken = state.recovery.some((one) => sameDigest(one, digest));
  if (taken) return wrong(state, 'recovery', now, refused('code_reused', 'this recovery code was taken before'));
  if (!known.some((one) => sameDigest(one, digest))) return wrong(state, 'recovery', now, refused('code_wrong', 'no recovery code of this enrolment'));
  return { state: { ...forgiven(state, 'recovery'), recovery: [...state.recovery, digest].slice(-20) }, verdict: GOOD };
}

/** Judges the invitation that an enrolment begins with. It stays good until the enrolment is done. */
export function judgeInvitation(state: Attempts, digest: string, invitation: { readonly digest: string; readonly expires: number } | undefined, now: number): Judged<Attempts> {
  const lock = judgeLock(state, 'invitation', now);
  if (lock.kind === 'refused') return { state, verdict: lock };
  if (invitation === undefined || !sameDigest(invitation.digest, digest)) return wrong(state, 'invitation', now, refused('invitation_wrong', 'no invitation, or another'));
  if (now >= invitation.expires) return wrong(state, 'invitation', now, refused('invitation_expired', `the invitation was good until ${new Date(invitation.expires).toISOString()}`));
  return { state: forgiven(state, 'invitation'), verdict: GOOD };
}

/** Whether another message may be sent, and its code noted when it may: one a minute, five an hour. `digest` is that of the code. */
export function judgeSending(state: Attempts, digest: string, now: number): Judged<Attempts> {
  const lock = judgeLock(state, 'sms', now);
  if (lock.kind === 'refused') return { state, verdict: lock };
  const sent = state.sent.filter((time) => now - time < HOUR_MS);
  const last = sent.at(-1);
  if (last !== undefined && now - last < SMS_PAUSE_MS) return { state, verdict: refused('sms_too_soon', 'the last message is less than a minute old', last + SMS_PAUSE_MS) };
  if (sent.length >= SMS_PER_HOUR) {
    return { state, verdict: refused('sms_too_soon', `${SMS_PER_HOUR} messages within an hour`, (sent[0] as number) + HOUR_MS) };
  }
  return { state: { ...state, sent: [...sent, now], sms: { digest, expires: now + SMS_CODE_MS, tries: SMS_TRIES } }, verdict: GOOD };
}

/**
 * Judges a code that was sent, with the card number that was typed beside it: which of the two was wrong is not told to the client.
 * Three tries a code; a right one is gone.
 */
export function judgeSms(state: Attempts, digest: string, cardRight: boolean, now: number): Judged<Attempts> {
  const lock = judgeLock(state, 'sms', now);
  if (lock.kind === 'refused') return { state, verdict: lock };
  const { sms, ...rest } = state;
  if (sms === undefined) return wrong(state, 'sms', now, refused('code_expired', 'no code is out'));
  if (now >= sms.expires) return wrong(rest, 'sms', now, refused('code_expired', 'the code was older than five minutes'));
  const codeRight = sameDigest(sms.digest, digest);
  if (codeRight && cardRight) return { state: forgiven(rest, 'sms'), verdict: GOOD };
  const left = sms.tries - 1;
  return wrong(left > 0 ? { ...state, sms: { ...sms, tries: left } } : rest, 'sms', now, refused('code_wrong', codeRight ? 'the code was right, the card number was not' : 'not the code that was sent'));
}

/** Compares two digests of one length in constant time. */
export function sameDigest(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}

const CODE_ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const CODE_LENGTH = 16;

/** Recovery codes and invitations from 10 random octets: 80 bits, in Crockford's alphabet, in groups of four. */
export function writeCode(octets: Uint8Array): string {
  let bits = 0n;
  for (const octet of octets.subarray(0, 10)) bits = (bits << 8n) | BigInt(octet);
  const letters = Array.from({ length: CODE_LENGTH }, (_, index) => CODE_ALPHABET[Number((bits >> BigInt(5 * (CODE_LENGTH - 1 - index))) & 31n)]);
  return letters.join('').replace(/.{4}(?=.)/g, '$&-');
}

/** A code as people type it: blanks, dashes, full width, letters that look like digits; undefined when it cannot be one. */
export function readCode(text: string): string | undefined {
  const plain = text.normalize('NFKC').toUpperCase().replace(/[\s\-–—]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1');
  return plain.length === CODE_LENGTH && [...plain].every((letter) => CODE_ALPHABET.includes(letter)) ? plain : undefined;
}

/** A code of digits as people type it. */
export function readDigits(text: string): string {
  return text.normalize('NFKC').replace(/[\s\-–—]/g, '');
}

/** A card number as it is compared: capitals, without blanks and dashes. */
export function readCard(text: string): string {
  return text.normalize('NFKC').toUpperCase().replace(/[\s\-–—]/g, '').slice(0, 64);
}

/** The address that failures are counted for: an IPv6 client has a /64 to itself. */
export function failureAddress(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail = ''] = address.split('::');
  const groups = head.split(':').filter((group) => group !== '');
  const rest = tail.split(':').filter((group) => group !== '');
  const zeros = Array.from({ length: Math.max(0, 8 - groups.length - rest.length) }, () => '0');
  return `${[...groups, ...zeros, ...rest].slice(0, 4).map((group) => group.replace(/^0+(?=.)/, '')).join(':')}::/64`;
}

/**
 * Where a client goes on after it has shown its factor: a path on the same origin, or undefined. Anything that a browser could take for
 * another origin (`//host`, `/\host`, a scheme, control characters that it drops) is none.
 */
export function safeReturn(text: string | undefined): string | undefined {
  return text !== undefined && text.length <= 2048 && /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(text) && !text.startsWith('/.wardgate') ? text : undefined;
}
