import { join } from 'node:path';
import type { Teller } from '../identity/told-scopes.ts';
import { prepareText } from '../pki/preparation.ts';
import { addDenied, advanceEpoch, capacityOf, denyKey, hasRoom, isDenied, removeDenied, type DenyKey, type DenyKind, type DenyTable } from './deny-table.ts';
import { fieldsOf, isTime, openJournal, readJournal, type ChangeKind, type ChangeList, type JournalOptions } from './journal.ts';

/**
 * What is denied: one certificate, one serial number of a CA, every certificate of a key, every certificate of a CA, every certificate
 * that gives an id, whether it has been seen or not: by hand, or because the person has left or the device is scrapped (`departed`). Hex is
 * lower case; `issuer` is the normalised form of the name, `issuer_text` how people write it; `key` is the SHA-256 of the
 * SubjectPublicKeyInfo; `subject_text` is the name on a certificate, for those who read the list: nothing is decided by it. With `told_by` it is denied only to those whom such systems tell of, and is another subject than the same without it: what
 * one tells, no other lifts. Without, it is denied to everybody.
 */
export type DenySubject =
  | { readonly kind: 'fingerprint'; readonly fingerprint: string; readonly subject_text?: string; readonly told_by?: Teller }
  | { readonly kind: 'serial'; readonly serial: string; readonly issuer: string; readonly issuer_text: string; readonly told_by?: Teller }
  | { readonly kind: 'key'; readonly key: string; readonly told_by?: Teller }
  | { readonly kind: 'issuer'; readonly issuer: string; readonly issuer_text: string }
  | { readonly kind: 'identity'; readonly id: string }
  | { readonly kind: 'departed'; readonly id: string; readonly told_by?: Teller };

export type DenyEntry = DenySubject & {
  readonly reason: string;
  readonly who: string;
  /** ISO 8601. */
  readonly at: string;
  /** ISO 8601; absent: until it is reinstated. */
  readonly expires?: string;
};

/** One change of the list: a line of the journal, and what replicas tell each other. */
export type DenyChange =
  | ({ readonly op: 'deny' } & DenyEntry)
  | ({ readonly op: 'reinstate'; readonly who: string; readonly at: string } & DenySubject);

export interface DenyList extends ChangeList<DenyChange> {
  /** Whether this very subject is in force. */
  denies(subject: DenySubject): boolean;
  /** What is in force, oldest first. */
  entries(): readonly DenyEntry[];
  /** What is in force about this very subject. */
  entry(subject: DenySubject): DenyEntry | undefined;
  /**
   * Durable before it returns, in force on every thread when it returns. Throws when the list is full, or the share of who has told it; an UnkeptError when it could
   * not be written, and a denial is in force all the same.
   */
  apply(change: DenyChange): void;
  /**
   * Lifts what has expired by `now` (ms since the epoch); gives back what was lifted. That is no change of its own: every gateway
   * knows it from the entry, and it must not win over one that was extended elsewhere. What had expired only by a clock that was ahead is in force again.
   */
  expire(now: number): readonly DenyEntry[];
  /** The time (ISO 8601) of a change made at `now`: after whatever is known of its subject, also when that came from a faster clock. */
  timeOf(subject: DenySubject, now: number): string;
}

/** A deny list that cannot be read stops the start: an unknown list is not an empty one. One that cannot be written changes nothing. */
export class DenyListError extends Error {
  readonly code = 'deny_list_unusable';
}

/** What of the list each kind of system may fill: at least a quarter is left to those who revoke by hand. */
const SHARE = 3 / 8;
const LEFT_BY_HAND = 1 / 4;
/** Subjects of which a kind of system has told, lifted ones included: they are remembered for good. */
const MOST_TOLD = 200_000;

/**
 * Opens the deny list of a state directory: a journal of JSON lines, flushed before a change is in force. `table` is
 * filled from it and kept in step. The caller holds the lock of the directory. A last line without its end is a change that nobody was told had happened.
 */
export function openDenyList(state: string, table: DenyTable): DenyList {
  const options = journalOf(state);
  const journal = openJournal(options);
  const startedAt = Date.now();
  const told: Readonly<Record<Teller, Set<string>>> = { hr: new Set(), cmdb: new Set() };
  /** By subject, what has an end that was over when last looked at. */
  const lapsed = new Map<string, DenyChange>();
  for (const change of journal.latest()) {
    if (isInForce(change, startedAt)) publish(change);
    else if (change.op === 'deny') lapsed.set(subjectText(change), change);
  }

  const known: Record<Teller, number> = { hr: 0, cmdb: 0 };
  for (const change of journal.latest()) remember(change);

  function remember(subject: DenySubject): void {
    const teller = tellerOf(subject);
    if (teller !== undefined) known[teller]++;
  }

  function publish(subject: DenySubject): void {
    if (!addDenied(table, subjectKey(subject))) throw full();
    const teller = tellerOf(subject);
    if (teller !== undefined) told[teller].add(subjectText(subject));
  }

  function lift(subject: DenySubject): void {
    removeDenied(table, subjectKey(subject));
    const teller = tellerOf(subject);
    if (teller !== undefined) told[teller].delete(subjectText(subject));
  }

  /** Before it is on file: a journal that the table cannot hold would stop the next start. */
  function refuseBeyondRoom(change: DenyChange): void {
    const teller = tellerOf(change);
    const fresh = change.op === 'deny' && !isDenied(table, subjectKey(change));
    if (teller === undefined) {
      if (fresh && !hasRoom(table)) throw full();
      return;
    }
    const most = capacityOf(table);
    const beyond = journal.last(subjectText(change)) === undefined && known[teller] >= MOST_TOLD;
    if (beyond || (fresh && (told[teller].size >= most * SHARE || !hasRoom(table, most * LEFT_BY_HAND)))) {
      throw new DenyListError(`${options.file}: the share of ${teller} webhooks is full (${told[teller].size} entries); reinstate what need not be denied any more`);
    }
  }

  function full(): DenyListError {
    return new DenyListError(`${options.file}: the deny list is full; deny the issuer instead of single certificates`);
  }

  function apply(change: DenyChange): void {
    refuseBeyondRoom(change);
    const unheard = journal.last(subjectText(change)) === undefined;
    const unkept = change.op === 'deny' ? journal.insist(change) : void journal.append(change);
    if (unheard) remember(change);
    if (isInForce(change, Date.now())) publish(change);
    else lift(change);
    if (change.op === 'deny' && !isInForce(change, Date.now())) lapsed.set(subjectText(change), change);
    advanceEpoch(table);
    if (unkept !== undefined) throw unkept;
  }

  /** Whether something has expired by a clock that was set back since. */
  function takeBack(now: number): boolean {
    let found = false;
    for (const [subject, change] of lapsed) {
      const last = journal.last(subject) === change;
      if (last && !isInForce(change, now)) continue;
      if (last && !isDenied(table, subjectKey(change))) {
        publish(change);
        found = true;
      }
      lapsed.delete(subject);
    }
    return found;
  }

  function inForce(change: DenyChange | undefined): readonly DenyEntry[] {
    if (change?.op !== 'deny' || !isInForce(change, Date.now())) return [];
    const { op: _, ...entry } = change;
    return [entry];
  }

  return {
    entries: () => journal.latest().flatMap(inForce),
    entry: (subject) => inForce(journal.last(subjectText(subject)))[0],
    denies: (subject) => isDenied(table, subjectKey(subject)),
    changes: journal.latest,
    isNews: journal.isNews,
    apply,
    expire(now) {
      journal.settle();
      const expired = journal.latest().filter((change) => change.op === 'deny' && !isInForce(change, now) && isDenied(table, subjectKey(change)));
      for (const change of expired) {
        lift(change);
        lapsed.set(subjectText(change), change);
      }
      const back = takeBack(now);
      if (expired.length > 0 || back) advanceEpoch(table);
      return expired.filter((change) => change.op === 'deny');
    },
    timeOf: (subject, now) => journal.timeOf(subjectText(subject), now),
    close: journal.close,
  };
}

/** Fills `table` from the deny list of a state directory without touching it: for looking beside a running gateway. */
export function readDenyList(state: string, table: DenyTable): Pick<DenyList, 'denies'> {
  for (const change of readJournal(journalOf(state))) if (isInForce(change, Date.now())) addDenied(table, subjectKey(change));
  return { denies: (subject) => isDenied(table, subjectKey(subject)) };
}

function journalOf(state: string): JournalOptions<DenyChange> {
  return { file: join(state, 'denylist.jsonl'), entry: 'deny list entry', fault: (message, cause) => new DenyListError(message, { cause }), ...DENIALS };
}

function isInForce(change: DenyChange, now: number): boolean {
  return change.op === 'deny' && (change.expires === undefined || Date.parse(change.expires) > now);
}

/** What of a list is meant by who lifts a subject by hand: an id or a certificate is good again, for whatever cause it was denied. */
export function deniedOf(list: Pick<DenyList, 'denies'>, subject: DenySubject): readonly DenySubject[] {
  return causesOf(subject).filter(list.denies);
}

const TELLERS: readonly Teller[] = ['hr', 'cmdb'];

function causesOf(subject: DenySubject): readonly DenySubject[] {
  switch (subject.kind) {
    case 'identity': return [subject, { kind: 'departed', id: subject.id }, ...TELLERS.map((told_by) => ({ kind: 'departed', id: subject.id, told_by }) as const)];
    case 'fingerprint': case 'serial': case 'key': return [subject, ...TELLERS.map((told_by) => ({ ...subject, told_by }))];
    default: return [subject];
  }
}

function tellerOf(subject: DenySubject): Teller | undefined {
  return 'told_by' in subject ? subject.told_by : undefined;
}

/** A subject in one line, the same for the same subject on every replica. */
export function subjectText(subject: DenySubject): string {
  return `${kindOf(subject)} ${namedIn(subject)}`;
}

function kindOf(subject: DenySubject): DenyKind {
  return 'told_by' in subject && subject.told_by !== undefined ? `${subject.kind}-${subject.told_by}` : subject.kind;
}

function namedIn(subject: DenySubject): string {
  switch (subject.kind) {
    case 'fingerprint': return subject.fingerprint;
    case 'serial': return `${subject.serial} ${subject.issuer}`;
    case 'key': return subject.key;
    case 'issuer': return subject.issuer;
    case 'identity': case 'departed': return prepareText(subject.id);
  }
}

function subjectKey(subject: DenySubject): DenyKey {
  return denyKey(kindOf(subject), namedIn(subject));
}

/** Reads one change from JSON; undefined when it is not one. */
function parseDenyChange(json: string): DenyChange | undefined {
  const fields = fieldsOf(json);
  if (fields === undefined) return undefined;
  const texts = (...names: string[]): boolean => names.every((name) => typeof fields[name] === 'string');
  const needed = SUBJECT_FIELDS[String(fields['kind'])];
  if (needed === undefined || !texts(...needed, 'who') || !isTime(fields['at'])) return undefined;
  if (fields['op'] === 'deny' ? !texts('reason') : fields['op'] !== 'reinstate') return undefined;
  // An end that is no time would be past.
  if (fields['expires'] !== undefined && Number.isNaN(Date.parse(String(fields['expires'])))) return undefined;
  if (fields['told_by'] !== undefined && !(TOLD_KINDS.has(String(fields['kind'])) && TELLERS.some((teller) => teller === fields['told_by']))) return undefined;
  return fields as unknown as DenyChange;
}

/** What other systems tell of. */
const TOLD_KINDS = new Set(['fingerprint', 'serial', 'key', 'departed']);
const SUBJECT_FIELDS: Readonly<Record<string, readonly string[]>> = {
  fingerprint: ['fingerprint'], serial: ['serial', 'issuer', 'issuer_text'], key: ['key'], issuer: ['issuer', 'issuer_text'], identity: ['id'], departed: ['id'],
};

/** What the deny list is made of. */
export const DENIALS: ChangeKind<DenyChange> = { parse: parseDenyChange, subject: subjectText, winner: 'deny', ends: 'deny' };
