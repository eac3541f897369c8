import { join } from 'node:path';
import type { Breakable, Plea } from '../policy/break-glass.ts';
import { areTexts, fieldsOf, isTime, openJournal, readJournal, unusable, type ChangeKind, type ChangeList, type JournalOptions } from './journal.ts';

/** Who a grant was opened for, and from where. */
export interface Grantee {
  /** SHA-256 of the certificate, hex. */
  readonly certificate: string;
  readonly serial: string;
  readonly issuer: string;
  readonly role: string;
  /** Id of the client. */
  readonly who: string;
  readonly address: string;
  readonly listener: string;
  /** Of the request that opened it. */
  readonly request_id: string;
}

/** A grant for an emergency, as it was opened. */
export interface Grant extends Plea, Grantee {
  readonly id: string;
  readonly route: string;
  readonly breaks: readonly Breakable[];
  /** It was opened on the gateway's page: requests that leave open whom they concern may use it. */
  readonly page?: true;
  /** ISO 8601. */
  readonly at: string;
  readonly until: string;
}

/** One change: a line of the journal, and what replicas tell each other. */
export type GrantChange =
  | ({ readonly op: 'open' } & Grant)
  /** `who` is set where somebody withdrew it before its time. */
  | { readonly op: 'close'; readonly id: string; readonly at: string; readonly who?: string; readonly note?: string }
  | { readonly op: 'review'; readonly id: string; readonly at: string; readonly who: string; readonly note: string };

/** A grant and what became of it. */
export interface GrantReport extends Grant {
  readonly closed?: { readonly at: string; readonly who?: string; readonly note?: string };
  readonly review?: { readonly at: string; readonly who: string; readonly note: string };
}

/** The grants of a gateway, open and past. */
export interface GrantList extends ChangeList<GrantChange> {
  /** Oldest first. */
  reports(): readonly GrantReport[];
  report(id: string): GrantReport | undefined;
  /** Those without an end on file. */
  unclosed(): readonly GrantReport[];
  /** Those that nobody has reviewed. */
  unreviewed(): readonly GrantReport[];
  /** Tries again to write what could not be written. */
  settle(): void;
}

/** Opens the grants of a state directory, whose lock the caller holds: what is to be reviewed must not be forgotten, and what cannot be written opens nothing. */
export function openGrants(state: string): GrantList {
  const journal = openJournal(journalOf(state));
  const reports = new Map<string, GrantReport>();
  // Of the past there is much, and somebody looks every second.
  const unclosed = new Set<string>();
  const unreviewed = new Set<string>();
  // Replicas may tell of an end before they tell of its beginning.
  const early = new Map<string, GrantChange[]>();
  for (const change of journal.latest()) take(change);

  function take(change: GrantChange): void {
    if (change.op === 'open') {
      const { op: _, ...grant } = change;
      reports.set(change.id, grant);
      unclosed.add(change.id);
      unreviewed.add(change.id);
      for (const later of early.get(change.id) ?? []) take(later);
      early.delete(change.id);
      return;
    }
    const known = reports.get(change.id);
    if (known === undefined) return void early.set(change.id, [...early.get(change.id) ?? [], change]);
    const { op, id: _id, ...rest } = change;
    (op === 'close' ? unclosed : unreviewed).delete(change.id);
    reports.set(change.id, op === 'close' ? { ...known, closed: rest } : { ...known, review: rest as NonNullable<GrantReport['review']> });
  }

  function reportsOf(ids: ReadonlySet<string>): readonly GrantReport[] {
    return [...ids].flatMap((id) => reports.get(id) ?? []);
  }

  return {
    reports: () => [...reports.values()],
    report: (id) => reports.get(id),
    unclosed: () => reportsOf(unclosed),
    unreviewed: () => reportsOf(unreviewed),
    changes: journal.latest,
    // What was said when it was opened stays: a shared store must not have another patient reviewed in its place, nor open what has ended.
    isNews: (change) => !(change.op === 'open' && reports.has(change.id)) && journal.isNews(change),
    apply(change) {
      const unkept = change.op === 'close' ? journal.insist(change) : void journal.append(change);
      take(change);
      if (unkept !== undefined) throw unkept;
    },
    settle: journal.settle,
    close: journal.close,
  };
}

/** The grants in a state directory, for looking beside a gateway that does not run. */
export function readGrants(state: string): readonly GrantReport[] {
  const changes = readJournal(journalOf(state));
  const find = <Op extends GrantChange['op']>(op: Op, id: string) => changes.find((change): change is Extract<GrantChange, { op: Op }> => change.op === op && change.id === id);
  return changes.flatMap((change) => {
    if (change.op !== 'open') return [];
    const { op: _, ...grant } = change;
    const closed = find('close', change.id);
    const review = find('review', change.id);
    return [{ ...grant, ...(closed === undefined ? {} : { closed: without(closed) }), ...(review === undefined ? {} : { review: without(review) }) }];
  });
}

function without<Change extends { readonly op: string; readonly id: string }>({ op: _op, id: _id, ...rest }: Change): Omit<Change, 'op' | 'id'> {
  return rest;
}

function journalOf(state: string): JournalOptions<GrantChange> {
  return { file: join(state, 'break-glass.jsonl'), entry: 'grant for an emergency', fault: unusable('grants_unusable'), ...GRANTS };
}

const NEEDED: Readonly<Record<string, readonly string[]>> = {
  open: ['id', 'until', 'route', 'reason', 'text', 'certificate', 'serial', 'issuer', 'role', 'who', 'address', 'listener', 'request_id'],
  close: ['id'],
  review: ['id', 'who', 'note'],
};

/** Reads one change from JSON; undefined when it is not one. */
function parseGrantChange(json: string): GrantChange | undefined {
  const fields = fieldsOf(json);
  if (fields === undefined) return undefined;
  const needed = NEEDED[String(fields['op'])];
  if (needed === undefined || !areTexts(fields, needed) || !isTime(fields['at'])) return undefined;
  if (fields['op'] === 'open' && (!Array.isArray(fields['breaks']) || Number.isNaN(Date.parse(String(fields['until']))))) return undefined;
  return fields as unknown as GrantChange;
}

/** What the list is made of: each change of a grant is a subject of its own, since none of them undoes another. */
export const GRANTS: ChangeKind<GrantChange> = { parse: parseGrantChange, subject: ({ id, op }) => `${id} ${op}`, winner: 'close', ends: 'close' };
