import { closeSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { addDenied, advanceEpoch, denyKey, removeDenied, type DenyKey, type DenyTable } from './deny-table.ts';

/** What is denied. Hex is lower case; `issuer` is the normalised form of the name, `issuer_text` how people write it. */
export type DenySubject =
  | { readonly kind: 'fingerprint'; readonly fingerprint: string }
  | { readonly kind: 'serial'; readonly serial: string; readonly issuer: string; readonly issuer_text: string };

export type DenyEntry = DenySubject & {
  readonly reason: string;
  readonly who: string;
  /** ISO 8601. */
  readonly at: string;
};

type Line = ({ readonly op: 'deny' } & DenyEntry) | ({ readonly op: 'reinstate'; readonly who: string; readonly at: string } & DenySubject);

export interface DenyList {
  entries(): readonly DenyEntry[];
  /** Durable before it returns, in force on every thread when it returns. */
  add(entry: DenyEntry): void;
  /** False when it was not on the list. */
  remove(subject: DenySubject, who: string, at: string): boolean;
  close(): void;
}

/** A deny list that cannot be read stops the start: an unknown list is not an empty one. */
export class DenyListError extends Error {
  readonly code = 'deny_list_unreadable';
}

/**
 * Opens the deny list of a state directory: a journal of JSON lines, flushed before a change is in force. `table` is
 * filled from it and kept in step. A last line without its end is a change that nobody was told had happened.
 */
export function openDenyList(state: string, table: DenyTable): DenyList {
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const file = join(state, 'denylist.jsonl');
  const { lines, whole } = readJournal(file);
  const entries = new Map<string, DenyEntry>();
  for (const line of lines) replay(entries, line);
  for (const entry of entries.values()) publish(table, subjectKey(entry), file);
  const journal = openSync(file, 'a', 0o600);
  const parent = openSync(dirname(file), 'r');
  fsyncSync(parent);
  closeSync(parent);
  ftruncateSync(journal, whole);

  function append(line: Line): void {
    writeSync(journal, `${JSON.stringify(line)}\n`);
    fsyncSync(journal);
  }

  return {
    entries: () => [...entries.values()],
    add(entry) {
      append({ op: 'deny', ...entry });
      entries.set(subjectText(entry), entry);
      publish(table, subjectKey(entry), file);
      advanceEpoch(table);
    },
    remove(subject, who, at) {
      if (!entries.has(subjectText(subject))) return false;
      append({ op: 'reinstate', ...subject, who, at });
      entries.delete(subjectText(subject));
      removeDenied(table, subjectKey(subject));
      advanceEpoch(table);
      return true;
    },
    close: () => closeSync(journal),
  };
}

function publish(table: DenyTable, key: DenyKey, file: string): void {
  if (!addDenied(table, key)) throw new DenyListError(`${file}: the deny list is full; deny the issuer instead of single certificates`);
}

function replay(entries: Map<string, DenyEntry>, line: Line): void {
  if (line.op === 'reinstate') {
    entries.delete(subjectText(line));
    return;
  }
  const { op: _, ...entry } = line;
  entries.set(subjectText(entry as DenyEntry), entry as DenyEntry);
}

function readJournal(file: string): { lines: readonly Line[]; whole: number } {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { lines: [], whole: 0 };
    throw new DenyListError(`${file}: cannot be read: ${(error as Error).message}`, { cause: error });
  }
  const whole = bytes.lastIndexOf(0x0a) + 1;
  const rows = bytes.toString('utf8', 0, whole).split('\n').slice(0, -1);
  return { lines: rows.map((row, index) => parseLine(row, `${file}:${index + 1}`)), whole };
}

function parseLine(row: string, place: string): Line {
  let line: Partial<Line> | null = null;
  try {
    line = JSON.parse(row) as Partial<Line> | null;
  } catch {
    // Told below, with the place.
  }
  const known = (line?.op === 'deny' || line?.op === 'reinstate')
    && ((line.kind === 'fingerprint' && typeof line.fingerprint === 'string')
      || (line.kind === 'serial' && typeof line.serial === 'string' && typeof line.issuer === 'string'));
  if (!known) throw new DenyListError(`${place}: not a deny list entry: ${JSON.stringify(row.slice(0, 60))}`);
  return line as Line;
}

function subjectText(subject: DenySubject): string {
  return subject.kind === 'fingerprint' ? `fingerprint ${subject.fingerprint}` : `serial ${subject.serial} ${subject.issuer}`;
}

function subjectKey(subject: DenySubject): DenyKey {
  return subject.kind === 'fingerprint'
    ? denyKey('fingerprint', subject.fingerprint)
    : denyKey('serial', `${subject.serial} ${subject.issuer}`);
}
