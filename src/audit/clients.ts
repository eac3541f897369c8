import type { Evidence } from './evidence.ts';
import { mayHold } from './export.ts';
import { isMeant, parseRecord, type RecordFilter } from './filter.ts';
import { segmentPieces } from './pieces.ts';
import type { AuditRecord } from './record.ts';

/** A client's certificate on a listener, as records know it. Times are ISO 8601. */
export interface ClientOnRecord extends Pick<AuditRecord, 'subject' | 'serial' | 'role' | 'id' | 'not_after'> {
  readonly listener: string;
  readonly fingerprint: string;
  /** RFC 4514 text. */
  readonly issuer: string;
  readonly requests: number;
  readonly last: string;
}

/** Of more certificates than these the records are only counted. */
const MOST = 200_000;

/** Reads all segments, compressed ones too, for the certificates that were let in: those with a role, or for whom something was permitted. */
export function clientsOnRecord(evidence: Evidence, filter: RecordFilter): { readonly clients: readonly ClientOnRecord[]; readonly left: number } {
  const clients = new Map<string, { -readonly [Key in keyof ClientOnRecord]: ClientOnRecord[Key] }>();
  let left = 0;
  const take = ({ time = '', result, listener, fingerprint, issuer, subject, serial, role, id, not_after: end }: Partial<AuditRecord>): void => {
    if (listener === undefined || fingerprint === undefined || issuer === undefined || (result !== 'permitted' && role === undefined)) return;
    const key = `${fingerprint} ${listener}`;
    const known = clients.get(key);
    if (known === undefined && clients.size >= MOST) {
      left += 1;
      return;
    }
    clients.set(key, {
      listener, fingerprint, issuer, requests: (known?.requests ?? 0) + 1, last: known !== undefined && known.last > time ? known.last : time,
      ...(subject === undefined ? {} : { subject }), ...(serial === undefined ? {} : { serial }), ...(role === undefined ? {} : { role }), ...(id === undefined ? {} : { id }), ...(end === undefined ? {} : { not_after: end }),
    });
  };
  for (const name of evidence.segments) {
    if (!mayHold(name, {}, filter)) continue;
    for (const _ of segmentPieces(evidence, name, (octets, start, end) => {
      const record = parseRecord(octets.toString('utf8', start, end));
      if (record !== undefined && (record.event === 'request' || record.event === 'connection') && isMeant(record, filter)) take(record);
    }));
  }
  return { clients: [...clients.values()], left };
}
