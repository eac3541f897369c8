import type { AuditRecord } from './record.ts';

/** Attempts of which one of the two records has been seen. */
const MOST = 100_000;

/** What goes on record twice: an attempt with a second factor, and the request that made it; `undefined` for any other record. Ids are the gateway's own. */
export function attemptOf({ event, result, request_id }: Partial<AuditRecord>): { readonly id: string; readonly event: 'request' | 'second_factor' } | undefined {
  return request_id === undefined || result !== 'denied' || (event !== 'request' && event !== 'second_factor') ? undefined : { id: request_id, event };
}

/** Says whether a record tells of a refused attempt that another record has told of already, in whatever order they come. Bounded: what waits longest for its other half goes. */
export function createAttempts(routes: ReadonlySet<string>): (record: Partial<AuditRecord>) => boolean {
  const waiting = new Map<string, string>();
  return (record) => {
    const attempt = attemptOf(record);
    if (attempt === undefined || (attempt.event === 'request' && !routes.has(record.route ?? ''))) return false;
    const { id, event } = attempt;
    const other = waiting.get(id);
    if (other !== undefined && other !== event) return waiting.delete(id);
    waiting.set(id, event);
    if (waiting.size > MOST) waiting.delete(waiting.keys().next().value as string);
    return false;
  };
}
