import type { Evidence } from './evidence.ts';
import { mayHold } from './export.ts';
import { isMeant, parseRecord, type RecordFilter } from './filter.ts';
import { segmentPieces } from './pieces.ts';
import type { AuditRecord } from './record.ts';

/** What was done with a certificate: whom it concerns. Times are ISO 8601. */
export interface Impact {
  readonly records: number;
  readonly permitted: number;
  readonly denied: number;
  readonly failed: number;
  /** Streams that came to their end: of each there is a record of its beginning, too. */
  readonly ended: number;
  readonly first?: string;
  readonly last?: string;
  /** By name and issuer: a serial number alone may be that of several CAs' certificates. */
  readonly certificates: readonly Touched[];
  readonly patients: readonly Touched[];
  readonly resources: readonly (Touched & { readonly method: string })[];
  readonly routes: readonly Touched[];
  /** Where it came from. */
  readonly addresses: readonly Touched[];
  /** What was refused, by reason. */
  readonly denials: readonly Touched[];
  /** Patients or resources of which there was no room to list more. */
  readonly left: number;
}

/** One of them: how often, from when to when. */
export interface Touched {
  readonly name: string;
  readonly requests: number;
  readonly first: string;
  readonly last: string;
}

/** Of each kind; a certificate that has seen more concerns everybody. */
const MOST = 200_000;

/** Reads all segments, compressed ones too, for what one certificate or client did. */
export function impactOf(evidence: Evidence, filter: RecordFilter): Impact {
  const certificates = tally();
  const patients = tally();
  const resources = tally();
  const routes = tally();
  const addresses = tally();
  const denials = tally();
  const all = tally();
  const counts = { records: 0, permitted: 0, denied: 0, failed: 0, ended: 0 };
  const take = (record: Partial<AuditRecord>): void => {
    const { time = '', result, patient, method, path, route, address, reason, serial, subject, issuer } = record;
    counts.records += 1;
    all.add('', time);
    if (serial !== undefined) certificates.add(`${subject ?? ''}, serial number ${serial} of ${issuer ?? ''}`, time);
    if (address !== undefined) addresses.add(address, time);
    if (result === 'denied') {
      counts.denied += 1;
      denials.add(reason ?? 'unknown', time);
      return;
    }
    counts[result === 'done' ? 'ended' : result === 'failed' ? 'failed' : 'permitted'] += 1;
    if (patient !== undefined) patients.add(patient, time);
    if (path !== undefined) resources.add(`${method ?? ''} ${path}`, time);
    if (route !== undefined) routes.add(route, time);
  };
  for (const name of evidence.segments) {
    if (!mayHold(name, {}, filter)) continue;
    for (const _ of segmentPieces(evidence, name, (octets, start, end) => {
      const record = parseRecord(octets.toString('utf8', start, end));
      if (record !== undefined && (record.event === 'request' || record.event === 'connection') && isMeant(record, filter)) take(record);
    }));
  }
  const [span] = all.list();
  return {
    ...counts, ...(span === undefined ? {} : { first: span.first, last: span.last }),
    certificates: certificates.list(), patients: patients.list(), routes: routes.list(), addresses: addresses.list(), denials: denials.list(),
    resources: resources.list().map(({ name, ...same }) => ({ method: name.slice(0, name.indexOf(' ')), name: name.slice(name.indexOf(' ') + 1), ...same })),
    left: certificates.left() + patients.left() + resources.left() + addresses.left(),
  };
}

interface Tally {
  add(name: string, time: string): void;
  /** The most frequent first. */
  list(): readonly Touched[];
  left(): number;
}

function tally(): Tally {
  const seen = new Map<string, { requests: number; first: string; last: string }>();
  let left = 0;
  return {
    add(name, time) {
      const one = seen.get(name);
      if (one === undefined) {
        if (seen.size >= MOST) left += 1;
        else seen.set(name, { requests: 1, first: time, last: time });
        return;
      }
      one.requests += 1;
      if (time < one.first) one.first = time;
      if (time > one.last) one.last = time;
    },
    list: () => [...seen].map(([name, one]) => ({ name, ...one })).sort((a, b) => b.requests - a.requests || (a.name < b.name ? -1 : 1)),
    left: () => left,
  };
}
