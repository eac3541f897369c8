import { closeSync, fstatSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { flushDirectory, writeWhole } from './whole-file.ts';

/** A change: `at` is ISO 8601 as `isTime` has it, so that the later one is the greater text. */
export interface Dated {
  readonly op: string;
  readonly at: string;
}

/** Changes of a kind that is kept in a journal: of each subject the last one counts. */
export interface ChangeKind<Change> {
  /** Reads one change from JSON; undefined when it is not one. */
  readonly parse: (json: string) => Change | undefined;
  /** What it is about in one line, the same for the same subject on every replica. */
  readonly subject: (change: Change) => string;
  /** The operation that takes something away: of two changes of the same time such a one wins. */
  readonly winner: string;
  /** The operation that ends somebody's access: it does not wait for the clocks of replicas to agree. */
  readonly ends?: string;
}

/** What is known of a kind of change, whatever becomes of them. */
export interface ChangeList<Change> {
  /** The last change of every subject: what a replica needs to know. */
  changes(): readonly Change[];
  /** Whether this change would win over the last one known of its subject: the later one does, and the winning operation over a tie. */
  isNews(change: Change): boolean;
  /** Durable when it returns; throws when it is not. */
  apply(change: Change): void;
  close(): void;
}

/** A journal of JSON lines: a change is flushed to the disk before anybody is told of it. */
export interface Journal<Change> {
  /** The last change of every subject, in the order in which they came. */
  latest(): readonly Change[];
  last(subject: string): Change | undefined;
  /** Whether this change would win over the last one known of its subject: the later one does, and the winning operation over a tie. */
  isNews(change: Change): boolean;
  /** Durable when it returns; throws, and nothing has changed, when it cannot be written. */
  append(change: Change): void;
  /** The same, but where it cannot be written it counts all the same and is written once that can be done: for what ends access. Returns why it could not. */
  insist(change: Change): UnkeptError | undefined;
  /** Tries again to write what could not be written. */
  settle(): void;
  /** The time (ISO 8601) of a change made at `now`: after whatever is known of its subject, also when that came from a faster clock, unless it is further ahead than any may be. */
  timeOf(subject: string, now: number): string;
  close(): void;
}

/** A change further ahead of now than this is not believed: it would stand above all that come before its time. */
export const AHEAD_MS = 5 * 60_000;
/** One that ends access is believed so far ahead: a gateway whose clock is wrong by hours still revokes, and nothing stands for good. */
export const ENDING_AHEAD_MS = 24 * 3_600_000;

export interface JournalOptions<Change> extends ChangeKind<Change> {
  readonly file: string;
  /** What a line of it is, for messages: `deny list entry`. */
  readonly entry: string;
  /** Makes the error that is thrown when the file cannot be read or written. */
  readonly fault: (message: string, cause?: unknown) => Error;
}

/** A change that ends access is in force, and could not be written. */
export class UnkeptError extends Error {
  readonly code = 'not_kept';
}

/** Makes a change; returns what was wrong with it where it is in force all the same. */
export function applied<Change>(list: Pick<ChangeList<Change>, 'apply'>, change: Change): UnkeptError | undefined {
  try {
    list.apply(change);
    return undefined;
  } catch (error) {
    if (error instanceof UnkeptError) return error;
    throw error;
  }
}

/** Which journal it is that cannot be used. */
export type JournalFault = 'devices_unusable' | 'events_unusable' | 'grants_unusable' | 'suspensions_unusable' | 'transfers_unusable';

/** A journal that cannot be read stops the start: an unknown list is not an empty one. One that cannot be written changes nothing. */
export class JournalError extends Error {
  readonly code: JournalFault;

  constructor(code: JournalFault, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** Makes the errors of one journal. */
export function unusable(code: JournalFault): (message: string, cause?: unknown) => JournalError {
  return (message, cause) => new JournalError(code, message, cause);
}

/** A journal this much longer than what it says is written anew at the start. */
const MOST_OLD_LINES = 1_000;

/**
 * Opens a journal, made when it or its directory is not there. The caller holds the lock of its directory. A last line without its end is a change that
 * nobody was told had happened.
 */
export function openJournal<Change extends Dated>(options: JournalOptions<Change>): Journal<Change> {
  const { file, subject, winner, fault } = options;
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const { lines, whole } = readLines(options);
  const latest = new Map<string, Change>();
  for (const line of lines) remember(line);
  const rewritten = lines.length > latest.size + MOST_OLD_LINES;
  if (rewritten) writeWhole(file, Array.from(latest.values(), (change) => `${JSON.stringify(change)}\n`).join(''));
  const handle = openSync(file, 'a', 0o600);
  if (!rewritten) ftruncateSync(handle, whole);
  let length = fstatSync(handle).size;
  flushDirectory(dirname(file));

  /** Subjects whose last change could not be written. */
  const owed = new Set<string>();

  function remember(change: Change): void {
    const about = subject(change);
    latest.delete(about);
    latest.set(about, change);
  }

  /** All of them or none: half of one would spoil the next. */
  function write(changes: readonly Change[]): void {
    const octets = Buffer.from(changes.map((change) => `${JSON.stringify(change)}\n`).join(''));
    try {
      for (let written = 0; written < octets.length;) written += writeSync(handle, octets, written);
      fsyncSync(handle);
      length += octets.length;
    } catch (error) {
      ftruncateSync(handle, length);
      throw fault(`${file}: cannot be written: ${(error as Error).message}`, error);
    }
  }

  function owing(): readonly Change[] {
    return [...owed].flatMap((about) => latest.get(about) ?? []);
  }

  function settle(): void {
    try {
      if (owed.size > 0) write(owing());
      owed.clear();
    } catch {
      // Later.
    }
  }

  return {
    latest: () => [...latest.values()],
    last: (about) => latest.get(about),
    isNews(change) {
      const known = latest.get(subject(change));
      if (known === undefined) return true;
      if (known.at !== change.at) return known.at < change.at;
      return known.op !== winner && change.op === winner;
    },
    append(change) {
      write([...owing(), change]);
      owed.clear();
      remember(change);
    },
    insist(change) {
      try {
        // Alone: with all that is owed each of many would take longer than the one before.
        write([change]);
        owed.delete(subject(change));
        return undefined;
      } catch (error) {
        owed.add(subject(change));
        return new UnkeptError(`${(error as Error).message}; this process holds to it all the same, and writes it once that can be done: its end before would forget it`, { cause: error });
      } finally {
        remember(change);
      }
    },
    settle,
    timeOf(about, now) {
      const known = latest.get(about);
      const after = known === undefined ? 0 : Date.parse(known.at) + 1;
      // A clock that was wrong when that was made: no replica would believe what comes after it.
      return new Date(after > now + AHEAD_MS ? now : Math.max(now, after)).toISOString();
    },
    close() {
      settle();
      closeSync(handle);
    },
  };
}

/** The last change of every subject in a journal, which is not touched: for looking beside a running gateway. */
export function readJournal<Change>(options: JournalOptions<Change>): readonly Change[] {
  const latest = new Map<string, Change>();
  for (const line of readLines(options).lines) {
    const about = options.subject(line);
    latest.delete(about);
    latest.set(about, line);
  }
  return [...latest.values()];
}

function readLines<Change>({ file, parse, entry, fault }: JournalOptions<Change>): { lines: readonly Change[]; whole: number } {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { lines: [], whole: 0 };
    throw fault(`${file}: cannot be read: ${(error as Error).message}`, error);
  }
  const whole = bytes.lastIndexOf(0x0a) + 1;
  const rows = bytes.toString('utf8', 0, whole).split('\n').slice(0, -1);
  const lines = rows.map((row, index) => {
    const change = parse(row);
    if (change === undefined) throw fault(`${file}:${index + 1}: not a ${entry}: ${JSON.stringify(row.slice(0, 60))}`);
    return change;
  });
  return { lines, whole };
}

/** The fields of a change in JSON; undefined when it is no object. */
export function fieldsOf(json: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null ? value as Readonly<Record<string, unknown>> : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether this is a time as `toISOString` writes it, of a year of four digits: of any other text nobody can tell whether it is later, and some would be
 * later than whatever comes.
 */
export function isTime(value: unknown): value is string {
  return typeof value === 'string' && TIME.test(value) && Date.parse(value) >= 0;
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Whether all of these fields are texts. */
export function areTexts(fields: Readonly<Record<string, unknown>>, names: readonly string[]): boolean {
  return names.every((name) => typeof fields[name] === 'string');
}
