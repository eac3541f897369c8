import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { takeCustodyStep, type CustodyState, type CustodyStep } from './custody-life.ts';

/** One step in the life of a key or a device. Times are ISO 8601. */
export interface CustodyEvent {
  readonly at: string;
  readonly step: CustodyStep;
  /** Who put it on record. */
  readonly who: string;
  readonly note?: string;
  /** Who has it now. */
  readonly holder?: string;
  /** When it is to be back. */
  readonly due?: string;
  /** Who saw it destroyed, or agrees that it is gone. */
  readonly witness?: string;
  /** SHA-256 (hex) of the certificates on it. */
  readonly certificates?: readonly string[];
  readonly kind?: 'token' | 'device';
  readonly description?: string;
}

/** A key or a device, with all that became of it. */
export interface CustodyItem {
  /** Its serial number or inventory id, as it stands on it. */
  readonly id: string;
  readonly kind: 'token' | 'device';
  readonly state: CustodyState;
  readonly description?: string;
  /** Who has it; absent when nobody should. */
  readonly holder?: string;
  readonly since: string;
  readonly due?: string;
  readonly certificates: readonly string[];
  readonly events: readonly CustodyEvent[];
}

/** What was asked is not what comes next. */
export class CustodyError extends Error {
  readonly code: 'step' | 'unknown';

  constructor(code: CustodyError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** Who holds what. Several processes may have it open. */
export interface Custody {
  /** By id. */
  items(): readonly CustodyItem[];
  item(id: string): CustodyItem | undefined;
  /** Throws a CustodyError when the step does not follow; says nothing else. */
  allows(id: string, step: CustodyStep): void;
  /** Durable when it returns; throws a CustodyError, and nothing has changed, when the step does not follow. */
  record(id: string, event: CustodyEvent): CustodyItem;
  close(): void;
}

const FILE = 'custody.db';
const BUSY_MS = 10_000;

/** Opens it in a state directory (0600), made when it is not there. */
export function openCustody(state: string): Custody {
  mkdirSync(state, { recursive: true, mode: 0o700 });
  const database = opened(join(state, FILE));
  const put = database.prepare('INSERT INTO event (item, line) VALUES (?, ?)');
  const of = database.prepare('SELECT line FROM event WHERE item = ? ORDER BY seq');

  function item(id: string): CustodyItem | undefined {
    return itemOf(id, of.all(id).map(({ line }) => JSON.parse(line as string) as CustodyEvent));
  }

  function allows(id: string, step: CustodyStep): void {
    const outcome = takeCustodyStep(item(id)?.state ?? 'unknown', step);
    if (outcome.kind === 'refused') throw new CustodyError(item(id) === undefined ? 'unknown' : 'step', `${id}: ${step.replace('_', ' ')} is not possible: ${outcome.detail}`);
  }

  return {
    item, allows,
    items: () => database.prepare('SELECT DISTINCT item FROM event ORDER BY item').all().flatMap((row) => item(row['item'] as string) ?? []),
    record(id, event) {
      database.exec('BEGIN IMMEDIATE');
      try {
        allows(id, event.step);
        put.run(id, JSON.stringify(event));
        database.exec('COMMIT');
      } catch (error) {
        if (database.isTransaction) database.exec('ROLLBACK');
        throw error;
      }
      return item(id) as CustodyItem;
    },
    close: () => database.close(),
  };
}

function opened(file: string): DatabaseSync {
  // SQLite gives its journal files the mode of the file itself.
  closeSync(openSync(file, 'a', 0o600));
  chmodSync(file, 0o600);
  const database = new DatabaseSync(file, { timeout: BUSY_MS });
  database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS event (seq INTEGER PRIMARY KEY, item TEXT NOT NULL, line TEXT NOT NULL) STRICT;
    CREATE INDEX IF NOT EXISTS event_item ON event (item);
    CREATE TRIGGER IF NOT EXISTS event_kept BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'what happened is not removed'); END;
    CREATE TRIGGER IF NOT EXISTS event_as_it_was BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'what happened is not changed'); END`);
  return database;
}

function itemOf(id: string, events: readonly CustodyEvent[]): CustodyItem | undefined {
  const last = events.at(-1);
  if (last === undefined) return undefined;
  const given = events.findLast(({ step }) => step === 'give');
  let state: CustodyState | 'unknown' = 'unknown';
  for (const { step } of events) {
    const outcome = takeCustodyStep(state, step);
    if (outcome.kind === 'allowed') ({ state } = outcome);
  }
  if (state === 'unknown') return undefined;
  const held = state === 'handed_out' || state === 'lost' || state === 'written_off';
  return {
    id, state, kind: given?.kind ?? 'token', since: last.at, certificates: [...new Set(events.flatMap(({ certificates = [] }) => certificates))], events,
    ...(given?.description === undefined ? {} : { description: given.description }), ...(held && given?.holder !== undefined ? { holder: given.holder } : {}),
    ...(state === 'handed_out' && given?.due !== undefined ? { due: given.due } : {}),
  };
}
