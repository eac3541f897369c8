import type { Identity } from '../identity/roles.ts';
import type { SessionFinding } from './facts.ts';
import type { Factor, TotpSecret } from './second-factor.ts';

/** Why a session was not honoured, on record. */
export type SessionReason = 'session_unknown' | 'session_ended' | 'session_expired' | 'session_idle' | 'session_other_certificate';

/** Open sessions of one person, of each kind; the oldest goes when there is one more. */
export const MOST_SESSIONS = 10;

/** A session, kept on our side only; times in ms since the epoch. */
export interface Session {
  readonly subject: Pick<Identity, 'role' | 'id'>;
  /** SHA-256 of the certificate that it was made with, hex. */
  readonly certificate: string;
  /** When each factor was shown; none yet while the client is on its way through the forms. */
  readonly factors: Readonly<Partial<Record<Factor, number>>>;
  /** What of the enrolment each of them stands on. */
  readonly basis?: Readonly<Partial<Record<Factor, string>>>;
  readonly opened: number;
  readonly seen: number;
  /** What its forms must bring back. */
  readonly form: string;
  readonly ended?: 'signed_out' | 'replaced' | 'reset' | 'too_many';
  /** An enrolment under way: what the QR code shows, and the invitation that it stands on. */
  readonly enrolling?: TotpSecret & { readonly invitation: string };
}

/** How long sessions last, in ms. */
export interface SessionLimits {
  readonly lifetime: number;
  readonly idle: number;
}

/** Through the forms, before a factor has been shown. */
export const PENDING_MS = 15 * 60_000;

/** Who shows a session credential. */
export interface Bearer {
  readonly subject: Pick<Identity, 'role' | 'id'>;
  /** SHA-256, hex. */
  readonly certificate: string;
}

/**
 * Judges a session; `now` in ms. That it was made with another certificate comes first: that is a stolen cookie, whatever else is
 * the matter with it.
 */
export function judgeSession(session: Session | undefined, { subject, certificate }: Bearer, { lifetime, idle }: SessionLimits, now: number): SessionFinding {
  if (session === undefined) return refusedSession('session_unknown', 'no such session');
  if (session.certificate !== certificate || session.subject.role !== subject.role || session.subject.id !== subject.id) {
    return refusedSession('session_other_certificate', `made with the certificate ${session.certificate}`);
  }
  if (session.ended !== undefined) return refusedSession('session_ended', session.ended.replace('_', ' '));
  const factors = Object.entries(session.factors);
  const life = factors.length === 0 ? PENDING_MS : lifetime;
  if (now - session.opened >= life) return refusedSession('session_expired', `opened ${new Date(session.opened).toISOString()}`);
  if (now - session.seen >= idle) return refusedSession('session_idle', `last seen ${new Date(session.seen).toISOString()}`);
  const shown = factors.filter(([, time]) => now - time < lifetime).map(([factor]) => factor as Factor);
  // A second one shown later opens the session anew, and must not prolong what a stream was let in by.
  return shown.length === 0 ? { kind: 'none' } : { kind: 'valid', factors: shown, until: Math.min(...shown.map((factor) => session.factors[factor] as number)) + lifetime };
}

function refusedSession(reason: SessionReason, detail: string): SessionFinding {
  return { kind: 'refused', reason, detail };
}

/** Whether a session's use is noted: not with every request, but often enough that nobody is signed out early by more than a share of the idle time. */
export function isWorthNoting({ seen }: Session, { idle }: SessionLimits, now: number): boolean {
  return now - seen >= idle / 60;
}
