import type { Hold } from './checkpoint.ts';
import type { AuditRecord } from './record.ts';

/** Which records are meant: all that match everything given. Times in milliseconds since the epoch, `to` not included. */
export interface RecordFilter {
  readonly from?: number;
  readonly to?: number;
  readonly fingerprint?: string;
  readonly serial?: string;
  /** RFC 4514 text, as on record: with the serial it names a certificate in whatever form it came. */
  readonly issuer?: string;
  readonly route?: string;
  readonly patient?: string;
  readonly id?: string;
}

const EQUAL = ['fingerprint', 'serial', 'issuer', 'route', 'patient', 'id'] as const;

/** Whether a line of a segment is meant; one that cannot be read never is. */
export function matches(text: string, filter: RecordFilter): boolean {
  const record = parseRecord(text);
  return record !== undefined && isMeant(record, filter);
}

/** Whether a record is meant. */
export function isMeant(record: Partial<AuditRecord>, filter: RecordFilter): boolean {
  const time = Date.parse(record.time ?? '');
  if (filter.from !== undefined && !(time >= filter.from)) return false;
  if (filter.to !== undefined && !(time < filter.to)) return false;
  return EQUAL.every((name) => filter[name] === undefined || filter[name] === record[name]);
}

/** The record on a line of a segment; undefined when there is none. */
export function parseRecord(text: string): Partial<AuditRecord> | undefined {
  try {
    return JSON.parse(text) as Partial<AuditRecord>;
  } catch {
    return undefined;
  }
}

/** What a hold is for, as a filter. */
export function filterOf({ from, to, fingerprint, serial, route, patient }: Hold): RecordFilter {
  return {
    ...(from === undefined ? {} : { from: Date.parse(from) }), ...(to === undefined ? {} : { to: Date.parse(to) }),
    ...Object.fromEntries(Object.entries({ fingerprint, serial, route, patient }).filter(([, value]) => value !== undefined)),
  };
}

/** A filter as people and files have it. */
export function filterText(filter: RecordFilter): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(filter).map(([name, value]) => [name, typeof value === 'number' ? new Date(value).toISOString() : String(value)]));
}
