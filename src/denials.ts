import type { AuditWriter } from './audit/writer.ts';
import type { Log } from './log.ts';
import { refuseEarlierEnd } from './store/earlier-end.ts';
import { applied } from './store/journal.ts';
import { deniedOf, type DenyChange, type DenyList, type DenySubject } from './store/deny-list.ts';

/** An entry for the deny list, before it has its time. */
export type NewDenial = DenySubject & { readonly reason: string; readonly who: string; readonly expires?: string };

/** Changes of the deny list, each in force, on record and known to the other replicas. */
export interface Denials {
  /** In force on every thread, durable, and its open connections ended, when it resolves. */
  deny(entry: NewDenial): Promise<void>;
  /** The same for a change that was made at its own time; false, and nothing has changed, when a later one is known. */
  take(change: DenyChange): Promise<boolean>;
  /** False when the subject is not on the list. */
  reinstate(subject: DenySubject, who: string): Promise<boolean>;
  /** Takes a change that another gateway made. */
  receive(change: DenyChange): void;
  /** Takes off what has expired. To be called about once a second. */
  expire(): void;
}

export interface DenialsOptions {
  readonly list: DenyList;
  readonly audit: AuditWriter;
  /** Ends, on every thread, the connections that the list denies. */
  readonly sweep: () => Promise<void>;
  /** Tells the other replicas. */
  readonly announce: (change: DenyChange) => Promise<void>;
  readonly now: () => number;
  readonly log: Log;
}

export function createDenials({ list, audit, sweep, announce, now, log }: DenialsOptions): Denials {
  async function make(change: DenyChange): Promise<void> {
    const unkept = applied(list, change);
    try {
      await takeEffect(change);
    } catch (error) {
      // Without a record nobody is let in anywhere else; whoever is denied is so everywhere.
      if (change.op === 'deny') await announce(change);
      throw unkept ?? error;
    }
    await announce(change);
    if (unkept !== undefined) throw unkept;
  }

  /** Ends what a change ends, on every thread, and puts it on record. */
  async function takeEffect(change: DenyChange): Promise<void> {
    await Promise.all([sweep(), record(change)]);
  }

  function record(change: DenyChange): Promise<void> {
    return audit.append({
      time: new Date(now()).toISOString(), event: 'revocation', result: 'done', who: change.who, ...subjectFields(change),
      ...(change.op === 'deny' ? { reason: 'revoked_denylist', detail: `denied: ${change.reason}` } : { detail: 'reinstated' }),
    });
  }

  return {
    async deny(entry) {
      refuseEarlierEnd('it is denied', list.entry(entry), entry.expires, now());
      await make({ op: 'deny', ...entry, at: list.timeOf(entry, now()) });
    },
    async take(change) {
      if (!list.isNews(change)) return false;
      await make(change);
      return true;
    },
    async reinstate(subject, who) {
      const meant = deniedOf(list, subject);
      for (const one of meant) await make({ op: 'reinstate', ...one, who, at: list.timeOf(one, now()) });
      return meant.length > 0;
    },
    receive(change) {
      try {
        applied(list, change);
      } catch (error) {
        // One that cannot be taken must not keep the others out.
        return log.error({ error: (error as Error).message, ...loggedFields(change) }, 'a revocation from another gateway could not be taken');
      }
      takeEffect(change).catch((error: Error) => log.error({ error: error.message }, 'a revocation from another gateway could not be put in force on every thread'));
    },
    expire() {
      try {
        for (const entry of list.expire(now())) log.info({ ...loggedFields(entry) }, 'an entry of the deny list expired');
      } catch (error) {
        log.error({ error: (error as Error).message }, 'expired entries of the deny list stay');
      }
    },
  };
}

function subjectFields(subject: DenySubject): { serial?: string; issuer?: string; fingerprint?: string; key?: string; id?: string } {
  switch (subject.kind) {
    case 'fingerprint': return { fingerprint: subject.fingerprint };
    case 'serial': return { serial: subject.serial, issuer: subject.issuer_text };
    case 'key': return { key: subject.key };
    case 'issuer': return { issuer: subject.issuer_text };
    case 'identity': case 'departed': return { id: subject.id };
  }
}

/** What of a subject may stand in the log, which is nobody's evidence: of persons not who they are. */
function loggedFields(subject: DenySubject): object {
  return subject.kind === 'identity' || subject.kind === 'departed' ? { kind: subject.kind } : subjectFields(subject);
}
