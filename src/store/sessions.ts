import { createHash, randomBytes } from 'node:crypto';
import type { SessionFinding } from '../policy/facts.ts';
import { FORGET_FAILURES_MS, NO_ATTEMPTS, type Attempts } from '../policy/second-factor.ts';
import { isWorthNoting, judgeSession, MOST_SESSIONS, PENDING_MS, type Bearer, type Session, type SessionLimits } from '../policy/session.ts';
import type { Cells } from './cells.ts';
import { subjectName, type Subject } from './enrolments.ts';

/** A session as it was found, with its credential. */
export interface FoundSession {
  readonly token: string;
  readonly session: Session;
}

export interface Look {
  readonly finding: SessionFinding;
  readonly found?: FoundSession;
}

/** Sessions and attempts: what exists once a gateway, or once for all replicas. Everything rejects with a CellsError while the store is away. */
export interface Sessions {
  /** What a credential is worth, its use noted. */
  find(token: string | undefined, bearer: Bearer): Promise<SessionFinding>;
  /** The same for the forms: with the session itself, one on its way to a factor included. */
  look(token: string | undefined, bearer: Bearer): Promise<Look>;
  /** What one is worth that something long is under way on, which keeps nobody from being idle; nothing is noted. */
  again(token: string, bearer: Bearer): Promise<SessionFinding>;
  /** Opens a session under a new id, in place of the one before it. */
  open(bearer: Bearer, content: Pick<Session, 'factors' | 'basis' | 'enrolling'>, before: string | undefined): Promise<FoundSession>;
  end(token: string, why: NonNullable<Session['ended']>): Promise<void>;
  /** Ends every session of a person. */
  endAll(subject: Subject, why: NonNullable<Session['ended']>): Promise<number>;
  /** Changes what is known of a person's attempts, in one step. */
  attempt<Result>(subject: Subject, step: (state: Attempts) => { readonly state: Attempts; readonly verdict: Result }): Promise<Result>;
}

export interface SessionsOptions {
  readonly cells: Cells;
  readonly limits: () => SessionLimits;
  readonly now: () => number;
}

const TOKEN = /^wgs_[A-Za-z0-9_-]{43}$/;
/** How long it is remembered that a session was one, so that the record says what became of it. */
const REMEMBERED_MS = 3_600_000;
/** The same for those that had shown no factor. */
const PENDING_REMEMBERED_MS = 60_000;

/** Keeps sessions by the SHA-256 of their credentials: who reads what is kept gets none that works. */
export function openSessions({ cells, limits, now }: SessionsOptions): Sessions {
  const nameOf = (token: string): string => `session:${createHash('sha256').update(token).digest('hex')}`;
  const lifetime = (session: Session): number => {
    const whole = Object.keys(session.factors).length === 0 ? PENDING_MS + PENDING_REMEMBERED_MS : limits().lifetime + REMEMBERED_MS;
    return Math.max(1, session.opened + whole - now());
  };

  function look(token: string | undefined, bearer: Bearer): Promise<Look> {
    if (token === undefined) return Promise.resolve({ finding: { kind: 'none' } });
    if (!TOKEN.test(token)) return Promise.resolve({ finding: { kind: 'refused', reason: 'session_unknown', detail: 'not a credential of ours' } });
    return cells.update<Look>(nameOf(token), (held) => {
      const session = held === undefined ? undefined : JSON.parse(held) as Session;
      const finding = judgeSession(session, bearer, limits(), now());
      if (session === undefined || finding.kind === 'refused') return { result: { finding } };
      const seen = { ...session, seen: now() };
      return {
        result: { finding, found: { token, session } },
        ...(isWorthNoting(session, limits(), now()) ? { value: JSON.stringify(seen), lifetime: lifetime(seen) } : {}),
      };
    });
  }

  function endNamed(name: string, why: NonNullable<Session['ended']>): Promise<boolean> {
    return cells.update(name, (held) => {
      const session = held === undefined ? undefined : JSON.parse(held) as Session;
      if (session === undefined || session.ended !== undefined) return { result: false };
      const { enrolling: _, ...rest } = session;
      const pending = Object.keys(session.factors).length === 0;
      // Whoever has a certificate can open as many as there is time for: those must not fill the store with what they were.
      if (pending && why === 'too_many') return { result: true, value: null };
      return { result: true, value: JSON.stringify({ ...rest, ended: why }), lifetime: pending ? PENDING_REMEMBERED_MS : lifetime(session) };
    });
  }

  function attempt<Result>(subject: Subject, step: (state: Attempts) => { readonly state: Attempts; readonly verdict: Result }): Promise<Result> {
    return cells.update(`attempts:${subjectName(subject)}`, (held) => {
      const before = held === undefined ? NO_ATTEMPTS : JSON.parse(held) as Attempts;
      const { state, verdict } = step(before);
      // It names the open sessions, so that it is kept as long as they are: those that it does not name no reset would end.
      return { result: verdict, ...(state === before ? {} : { value: JSON.stringify(state), lifetime: Math.max(FORGET_FAILURES_MS, limits().lifetime) }) };
    });
  }

  return {
    find: async (token, bearer) => (await look(token, bearer)).finding,
    look,
    again: (token, bearer) => cells.update(nameOf(token), (held) => ({
      result: judgeSession(held === undefined ? undefined : JSON.parse(held) as Session, bearer, { ...limits(), idle: Infinity }, now()),
    })),
    async open(bearer, content, before) {
      const token = `wgs_${randomBytes(32).toString('base64url')}`;
      const name = nameOf(token);
      const { role, id } = bearer.subject;
      const session: Session = {
        subject: { role, id }, certificate: bearer.certificate, ...content, opened: now(), seen: now(), form: randomBytes(16).toString('base64url'),
      };
      await cells.update(name, () => ({ result: undefined, value: JSON.stringify(session), lifetime: lifetime(session) }));
      const replaced = before === undefined ? undefined : nameOf(before);
      if (replaced !== undefined) await endNamed(replaced, 'replaced');
      const list = Object.keys(session.factors).length === 0 ? 'pending' : 'sessions';
      const surplus = await attempt(bearer.subject, (state) => {
        const [sessions, pending] = [state.sessions, state.pending].map((names) => names.filter((one) => one !== replaced)) as [string[], string[]];
        const open = [...(list === 'pending' ? pending : sessions), name];
        return { state: { ...state, sessions, pending, [list]: open.slice(-MOST_SESSIONS) }, verdict: open.slice(0, -MOST_SESSIONS) };
      });
      for (const one of surplus) await endNamed(one, 'too_many');
      return { token, session };
    },
    async end(token, why) {
      await endNamed(nameOf(token), why);
    },
    async endAll(subject, why) {
      const open = await attempt(subject, (state) => ({ state: { ...state, sessions: [], pending: [] }, verdict: [...state.sessions, ...state.pending] }));
      const ended = await Promise.all(open.map((name) => endNamed(name, why)));
      return ended.filter(Boolean).length;
    },
    attempt,
  };
}
