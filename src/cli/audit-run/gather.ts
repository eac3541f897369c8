import type { Evidence } from '../../audit/evidence.ts';
import { readLines } from '../../audit/lines.ts';
import { createAttempts } from '../../audit/attempts.ts';
import type { AuditRecord } from '../../audit/record.ts';
import { OWN_NAMES } from '../../policy/own-routes.ts';

/** What the records of a period say, added up. Times in ms since the epoch. */
export interface Gathered {
  readonly records: number;
  /** Of the first and the last record of the period. */
  readonly first: number | undefined;
  readonly last: number | undefined;
  /** Of the oldest record there is, of whatever period. */
  readonly oldest: number | undefined;
  readonly events: ReadonlyMap<string, number>;
  readonly reasons: ReadonlyMap<string, number>;
  /** Requests and streams by what was negotiated: `TLSv1.3 TLS_AES_256_GCM_SHA384`. */
  readonly negotiated: ReadonlyMap<string, number>;
  /** By the SHA-256 of the certificate. */
  readonly certificates: ReadonlyMap<string, SeenCertificate>;
  /** Requests that were let in, by each role that the client held. */
  readonly roles: ReadonlyMap<string, number>;
  readonly routes: ReadonlyMap<string, SeenRoute>;
  /** Let in although the certificate's status was unknown. */
  readonly degraded: number;
  /** What the gateway says of records that it could not write. */
  readonly lost: readonly { readonly time: number; readonly detail: string }[];
  readonly outages: readonly Outage[];
  /** Certificates beyond what is remembered: the lists of them are not complete. */
  readonly overflown: boolean;
}

/** A certificate as the records show it. */
export interface SeenCertificate {
  readonly fingerprint: string;
  readonly serial: string;
  readonly issuer: string;
  readonly role: string | undefined;
  readonly id: string | undefined;
  readonly notAfter: number | undefined;
  readonly first: number;
  readonly last: number;
  readonly permitted: number;
  readonly denied: number;
  /** When it was last refused because it had expired. */
  readonly expiredAt: number | undefined;
  /** Whether it was ever refused as revoked. */
  readonly revoked: boolean;
}

export interface SeenRoute {
  readonly permitted: number;
  readonly denied: number;
  /** Let in without a client certificate. */
  readonly anonymous: number;
}

/** Between the last sign of one run of the gateway and the start of the next. `clean`: it had said that it stopped. */
export interface Outage {
  readonly from: number;
  readonly to: number;
  readonly clean: boolean;
}

const MOST_CERTIFICATES = 500_000;

type Mutable<Shape> = { -readonly [Name in keyof Shape]: Shape[Name] };

/** Reads every record once; `from` and `to` in ms, `to` not included. `progress` is told the octets read so far. */
export function gather(evidence: Evidence, { from, to }: { readonly from: number; readonly to: number }, progress: (octets: number) => void = () => undefined): Gathered {
  const events = new Map<string, number>();
  const reasons = new Map<string, number>();
  const negotiated = new Map<string, number>();
  const certificates = new Map<string, Mutable<SeenCertificate>>();
  const roles = new Map<string, number>();
  const routes = new Map<string, Mutable<SeenRoute>>();
  const lost: { readonly time: number; readonly detail: string }[] = [];
  const runs: Run[] = [];
  const wasTold = createAttempts(OWN_NAMES);
  let records = 0;
  let degraded = 0;
  let overflown = false;
  let first: number | undefined;
  let last: number | undefined;
  let oldest: number | undefined;
  let octetsRead = 0;

  function take(record: Partial<AuditRecord>): void {
    const time = Date.parse(record.time ?? '');
    if (Number.isNaN(time)) return;
    oldest = Math.min(oldest ?? time, time);
    noteRun(runs, record, time);
    if (time < from || time >= to) return;
    records += 1;
    first = Math.min(first ?? time, time);
    last = Math.max(last ?? time, time);
    add(events, record.event ?? 'unknown');
    if (record.reason !== undefined && isRefusal(record) && !wasTold(record)) add(reasons, record.reason);
    if (record.tls !== undefined) add(negotiated, record.cipher === undefined ? record.tls : `${record.tls} ${record.cipher}`);
    if (record.degraded !== undefined) degraded += 1;
    if (record.event === 'audit' && record.result === 'failed') lost.push({ time, detail: record.detail ?? '' });
    if (record.event !== 'request' && record.event !== 'connection') return;
    const permitted = record.result !== 'denied';
    if (permitted) for (const role of record.roles ?? (record.role === undefined ? [] : [record.role])) add(roles, role);
    if (record.route !== undefined) noteRoute(routes, record.route, permitted, record.fingerprint === undefined);
    if (record.fingerprint !== undefined) overflown = !noteCertificate(certificates, record, time, permitted) || overflown;
  }

  for (const name of evidence.segments) {
    evidence.read(name, (stretch) => readLines(stretch, Buffer.alloc(0), (octets, start, end) => {
      octetsRead += end + 1 - start;
      progress(octetsRead);
      const record = parse(octets.toString('utf8', start, end));
      if (record !== undefined) take(record);
      return true;
    }));
  }
  return { records, first, last, oldest, events, reasons, negotiated, certificates, roles, routes, degraded, lost, outages: outagesOf(runs, from, to), overflown };
}

/** A line that cannot be read is the chain's to tell. */
function parse(text: string): Partial<AuditRecord> | undefined {
  try {
    return JSON.parse(text) as Partial<AuditRecord>;
  } catch {
    return undefined;
  }
}

/** What a command has done is none, whatever its reason. */
function isRefusal({ event, result }: Partial<AuditRecord>): boolean {
  return result !== 'done' || event === 'request' || event === 'connection';
}

function add(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function noteRoute(routes: Map<string, Mutable<SeenRoute>>, name: string, permitted: boolean, anonymous: boolean): void {
  const seen = routes.get(name) ?? { permitted: 0, denied: 0, anonymous: 0 };
  routes.set(name, seen);
  if (!permitted) seen.denied += 1;
  else {
    seen.permitted += 1;
    if (anonymous) seen.anonymous += 1;
  }
}

/** False when there are too many to remember one more. */
function noteCertificate(certificates: Map<string, Mutable<SeenCertificate>>, record: Partial<AuditRecord>, time: number, permitted: boolean): boolean {
  const { fingerprint = '', serial = '', issuer = '', role, id, not_after: notAfter, reason } = record;
  let seen = certificates.get(fingerprint);
  if (seen === undefined) {
    if (certificates.size >= MOST_CERTIFICATES) return false;
    seen = {
      fingerprint, serial, issuer, role: undefined, id: undefined, notAfter: notAfter === undefined ? undefined : Date.parse(notAfter), first: time, last: time, permitted: 0, denied: 0, expiredAt: undefined, revoked: false,
    };
    certificates.set(fingerprint, seen);
  }
  seen.role = role ?? seen.role;
  seen.id = id ?? seen.id;
  seen.first = Math.min(seen.first, time);
  seen.last = Math.max(seen.last, time);
  if (permitted) seen.permitted += 1;
  else seen.denied += 1;
  if (reason === 'expired') seen.expiredAt = Math.max(seen.expiredAt ?? 0, time);
  if (reason?.startsWith('revoked_') === true) seen.revoked = true;
  return true;
}

interface Run {
  start: number;
  stop: number | undefined;
}

function noteRun(runs: Run[], { event }: Partial<AuditRecord>, time: number): void {
  if (event === 'start') runs.push({ start: time, stop: undefined });
  const run = runs.at(-1);
  if (event === 'stop' && run !== undefined) run.stop = time;
}

/** The main segments of all runs are read in the order of their names, which is that of their starts. */
function outagesOf(runs: readonly Run[], from: number, to: number): readonly Outage[] {
  return runs.slice(1).flatMap(({ start }, index) => {
    const before = runs[index] as Run;
    const outage = { from: before.stop ?? before.start, to: start, clean: before.stop !== undefined };
    return outage.to < from || outage.from >= to ? [] : [outage];
  });
}
