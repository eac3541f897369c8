import { join } from 'node:path';
import { networkFault } from '../config/addresses.ts';
import { prepareText } from '../pki/preparation.ts';
import { parseNetwork } from '../policy/networks.ts';
import type { SuspensionOrder, SuspensionScope } from '../policy/suspensions.ts';
import { fieldsOf, isTime, openJournal, readJournal, unusable, type ChangeKind, type ChangeList, type JournalOptions } from './journal.ts';

/** A suspension that was ordered: by whom, and when (ISO 8601). */
export interface SuspensionEntry extends SuspensionOrder {
  readonly who: string;
  readonly at: string;
}

/** One change of what is suspended: a line of the journal, and what replicas tell each other. */
export type SuspensionChange =
  | ({ readonly op: 'suspend' } & SuspensionEntry)
  | ({ readonly op: 'resume'; readonly who: string; readonly at: string } & SuspensionScope);

/** What is suspended. Unlike the deny list it is not looked at by the threads: they are told. */
export interface SuspensionList extends ChangeList<SuspensionChange> {
  /** Tries again to write what could not be written. */
  settle(): void;
  /** What is in force, oldest first. */
  entries(now: number): readonly SuspensionEntry[];
  /** The time (ISO 8601) of a change made at `now`. */
  timeOf(scope: SuspensionScope, now: number): string;
}

/** Opens the list of a state directory, whose lock the caller holds: what is suspended must not come back by itself. */
export function openSuspensions(state: string): SuspensionList {
  const journal = openJournal(journalOf(state));
  return {
    entries: (now) => inForce(journal.latest(), now),
    changes: journal.latest,
    isNews: journal.isNews,
    apply(change) {
      const unkept = change.op === 'suspend' ? journal.insist(change) : void journal.append(change);
      if (unkept !== undefined) throw unkept;
    },
    settle: journal.settle,
    timeOf: (scope, now) => journal.timeOf(scopeText(scope), now),
    close: journal.close,
  };
}

/** Takes what is suspended off a list that nobody serves by; false where nothing of this scope is. */
export function endSuspension(list: SuspensionList, scope: SuspensionScope, who: string, now: number): boolean {
  if (!list.entries(now).some((entry) => scopeText(entry) === scopeText(scope))) return false;
  list.apply({ op: 'resume', ...scope, who, at: list.timeOf(scope, now) });
  return true;
}

/** What is suspended according to a state directory, for looking beside a running gateway. */
export function readSuspensions(state: string, now: number): readonly SuspensionEntry[] {
  return inForce(readJournal(journalOf(state)), now);
}

function inForce(changes: readonly SuspensionChange[], now: number): readonly SuspensionEntry[] {
  return changes.flatMap((change) => {
    if (change.op !== 'suspend' || (change.expires !== undefined && Date.parse(change.expires) <= now)) return [];
    const { op: _, ...entry } = change;
    return [entry];
  });
}

function journalOf(state: string): JournalOptions<SuspensionChange> {
  return { file: join(state, 'suspensions.jsonl'), entry: 'suspension', fault: unusable('suspensions_unusable'), ...SUSPENSIONS };
}

/** A scope in one line, the same for the same scope on every replica. */
export function scopeText({ route, listener, role, network, outside, isolate, device }: SuspensionScope): string {
  if (isolate === true) return JSON.stringify(['isolate', network === undefined ? null : networkText(network), device === undefined ? null : prepareText(device)]);
  return JSON.stringify([route ?? null, listener ?? null, role ?? null, network ?? null, outside ?? false]);
}

/** However its address was written. */
function networkText(network: string): string {
  const { octets, prefix } = parseNetwork(network);
  return `${Buffer.from(octets).toString('hex')}/${prefix}`;
}

const TEXTS = ['route', 'listener', 'role', 'network'] as const;

const ISOLATED = ['network', 'device'];

/** Reads one change from JSON; undefined when it is not one. */
export function parseSuspensionChange(json: string): SuspensionChange | undefined {
  const fields = fieldsOf(json);
  if (fields === undefined) return undefined;
  const isText = (name: string): boolean => typeof fields[name] === 'string';
  const named = fields['isolate'] === undefined ? [...TEXTS, 'outside'] : ISOLATED;
  if (!isText('who') || !isTime(fields['at']) || (fields['outside'] !== undefined && fields['outside'] !== true)) return undefined;
  if ([...TEXTS, 'device'].some((name) => fields[name] !== undefined && !isText(name)) || named.every((name) => fields[name] === undefined)) return undefined;
  // What isolates names one thing: whoever takes it for less than it is would close too much.
  if (fields['isolate'] !== undefined && (fields['isolate'] !== true || [...TEXTS, 'outside', 'device'].filter((name) => fields[name] !== undefined).length !== 1)) return undefined;
  if (typeof fields['network'] === 'string' && networkFault(fields['network']) !== undefined) return undefined;
  if (fields['op'] === 'suspend') {
    if (!isText('reason') || (fields['expires'] !== undefined && Number.isNaN(Date.parse(String(fields['expires']))))) return undefined;
  } else if (fields['op'] !== 'resume') return undefined;
  return fields as unknown as SuspensionChange;
}

/** What the list is made of. */
export const SUSPENSIONS: ChangeKind<SuspensionChange> = { parse: parseSuspensionChange, subject: scopeText, winner: 'suspend', ends: 'suspend' };
