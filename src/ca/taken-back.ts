import type { DatabaseSync } from 'node:sqlite';
import type { Reason } from './extensions.ts';
import type { CaEvent } from './ledger.ts';
import type { State } from './life.ts';

/** A certificate as the event log has it. Times in ms since the epoch. */
export interface Logged {
  readonly generation: number;
  readonly notAfter: number;
  readonly revoked?: { readonly at: number; readonly reason: Reason };
}

/** What the event log has issued, by serial number, and what of that it has revoked. */
export type TakenBack = () => ReadonlyMap<string, Logged>;

/**
 * Reads on in the event log at each call. What it has said once stays, whatever becomes of the database meanwhile: a revocation that somebody takes out of the table, or out of
 * the log of a process that serves, is published all the same.
 */
export function createTakenBack(database: DatabaseSync): TakenBack {
  const known = new Map<string, Logged>();
  const news = database.prepare('SELECT seq, line FROM event WHERE seq > ? ORDER BY seq');
  let last = 0;
  return () => {
    // What is written within a change may be undone yet.
    if (database.isTransaction) return known;
    for (const { seq, line } of news.iterate(last) as Iterable<{ seq: number; line: string }>) {
      last = seq;
      if (/"step":"(?:issue|revoke|supersede)"/.test(line)) take(known, JSON.parse(line) as CaEvent);
    }
    return known;
  };
}

function take(known: Map<string, Logged>, { step, serial, time, detail }: CaEvent): void {
  if (serial === undefined) return;
  const before = known.get(serial);
  if (step === 'issue' && before === undefined) known.set(serial, { generation: Number(detail['generation']), notAfter: Date.parse(String(detail['not_after'])) });
  // Of one that was superseded the first moment stays.
  if ((step === 'revoke' || step === 'supersede') && before !== undefined) known.set(serial, { ...before, revoked: { at: before.revoked?.at ?? Date.parse(time), reason: detail['reason'] as Reason } });
}

/** The state that a revocation of the log leaves of one that the database has in another. */
export function stateAfter(state: State, live: ReadonlySet<State>, revoked: Logged['revoked']): State {
  if (revoked === undefined || !live.has(state)) return state;
  return revoked.reason === 'superseded' ? 'superseded' : 'revoked';
}
