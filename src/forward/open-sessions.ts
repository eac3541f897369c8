import type { Admission, RequestFacts, SessionFinding } from '../policy/facts.ts';
import type { SessionQuestion } from './client.ts';
import { sessionQuestion } from './exchange.ts';

/** The sessions that what is under way was let in on. */
export interface OpenSessions {
  /** What the session of these facts is worth, as was heard last. Unless it is over it is asked about once more. */
  again(facts: RequestFacts, admission: Admission): SessionFinding;
}

export interface OpenSessionsOptions {
  /** Asks what sessions are worth by now, in the same order; undefined where nobody can tell. */
  readonly ask: (questions: readonly SessionQuestion[]) => Promise<readonly (SessionFinding | undefined)[]>;
  /** Some are over: what is under way on them is to be judged again. */
  readonly over: () => void;
}

/** Sessions in one question: the main thread has others to answer in between. */
const AT_ONCE = 250;

/**
 * Sessions are kept where nobody tells a thread of their end, with replicas outside of the gateway: whatever is judged again has its
 * session asked about, and is judged once more when that is over. What nobody can tell stays as it was.
 */
export function createOpenSessions({ ask, over }: OpenSessionsOptions): OpenSessions {
  const heard = new WeakMap<SessionFinding, SessionFinding>();
  // By what was found at first: each is in it once, however long an answer takes.
  const waiting = new Map<SessionFinding, SessionQuestion>();
  let asking = false;

  async function askAll(): Promise<void> {
    while (waiting.size > 0) {
      const batch = [...waiting].slice(0, AT_ONCE);
      for (const [session] of batch) waiting.delete(session);
      const found = await ask(batch.map(([, question]) => question)).catch(() => []);
      const ended = batch.flatMap(([session], index) => (found[index]?.kind === 'refused' ? [[session, found[index]] as const] : []));
      for (const [session, finding] of ended) heard.set(session, finding);
      if (ended.length > 0) over();
    }
  }

  return {
    again(facts, admission) {
      const session = facts.findings?.session ?? { kind: 'none' };
      if (session.kind !== 'valid') return session;
      const finding = heard.get(session);
      if (finding !== undefined) return finding;
      // By who it is now: a transfer takes the sessions of the role along.
      const question = sessionQuestion({ fields: facts.fields ?? [] }, admission);
      if (question === undefined) return session;
      waiting.set(session, question);
      if (asking) return session;
      asking = true;
      // Not yet: others are about to be judged.
      setImmediate(() => void askAll().finally(() => {
        asking = false;
      }));
      return session;
    },
  };
}
