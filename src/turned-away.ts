import type { AuditWriter } from './audit/writer.ts';
import type { ThreadMetrics } from './admin/metrics.ts';
import type { Isolation } from './policy/isolations.ts';
import type { Reason } from './policy/facts.ts';
import type { ConnectionLimit } from './tls/door.ts';

/** How often one limit of one listener is put on record while it turns connections away: a flood must not fill the disk as well. */
const RECORD_MS = 10_000;

/** Keeps count of connections that were closed as they came. */
export interface TurnedAway {
  note(listener: string, limit: ConnectionLimit, address: string, isolation?: Isolation): void;
  /** Puts on record what has gathered. To be called about once a second. */
  flush(): void;
}

interface Gathered {
  readonly listener: string;
  readonly limit: ConnectionLimit;
  recordedAt: number;
  since: number;
  address: string;
  /** By what, where it is isolated. */
  readonly what: string | undefined;
}

/** Each is counted; on record are the first of a listener and limit, and then their number every ten seconds. `now` in ms. */
export function createTurnedAway(audit: AuditWriter, metrics: ThreadMetrics, now: () => number): TurnedAway {
  const gathered = new Map<string, Gathered>();

  function record(one: Gathered): void {
    const detail = `${one.since} connection${one.since === 1 ? '' : 's'} closed as they came; the last from this address. ${one.what ?? `Limit: ${one.limit}`}`;
    one.recordedAt = now();
    one.since = 0;
    audit.append({
      time: new Date(now()).toISOString(), event: 'connection', result: 'denied', reason: reasonOf(one.limit), detail, listener: one.listener,
      ...(one.address === '' ? {} : { address: one.address }),
    }).catch(() => undefined);
  }

  return {
    note(listener, limit, address, isolation) {
      metrics.connectionsRefused.inc({ listener, limit });
      const key = `${listener} ${limit} ${isolation?.detail ?? ''}`;
      const one = gathered.get(key) ?? { listener, limit, recordedAt: -Infinity, since: 0, address, what: isolation?.detail };
      gathered.set(key, one);
      one.since++;
      one.address = address;
      if (now() - one.recordedAt >= RECORD_MS) record(one);
    },
    flush() {
      for (const [key, one] of gathered) {
        if (now() - one.recordedAt < RECORD_MS) continue;
        if (one.since > 0) record(one);
        else gathered.delete(key);
      }
    },
  };
}

function reasonOf(limit: ConnectionLimit): Reason {
  if (limit === 'isolated') return 'isolated';
  return limit === 'memory' || limit === 'descriptors' ? 'overloaded' : 'connection_limit';
}
