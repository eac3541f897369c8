import { chmodSync, closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** A value that is kept; without one, it is no longer. Values are plain JSON. */
export interface KeptRow {
  readonly kind: string;
  readonly key: string;
  readonly value?: object;
}

/** What alarms are made of and what became of them, in one file: all of a change is there, or nothing. */
export interface AlarmStore {
  /** What is kept of a kind; what was changed longest ago first. */
  rows(kind: string): readonly Required<KeptRow>[];
  /** Durable when it returns; throws, and nothing has changed, when it cannot be written. */
  commit(rows: readonly KeptRow[]): void;
  close(): void;
}

/** Where it is in a state directory. */
export function alarmFile(state: string): string {
  return join(state, 'alarms.db');
}

/** Opens it (0600), made when it is not there. One process at a time: the caller holds the lock of the state directory. */
export function openAlarmStore(file: string): AlarmStore {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  // SQLite gives its journal files the mode of the file itself.
  closeSync(openSync(file, 'a', 0o600));
  chmodSync(file, 0o600);
  const database = new DatabaseSync(file);
  database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS kept (kind TEXT, key TEXT, value TEXT NOT NULL, turn INTEGER NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID, STRICT`);
  const put = database.prepare('INSERT INTO kept (kind, key, value, turn) VALUES (?, ?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, turn = excluded.turn');
  const remove = database.prepare('DELETE FROM kept WHERE kind = ? AND key = ?');
  let turn = Number(database.prepare('SELECT coalesce(max(turn), 0) AS turn FROM kept').get()?.['turn']);

  return {
    rows: (kind) => rowsOf(database, kind),
    commit(rows) {
      if (rows.length === 0) return;
      turn += 1;
      database.exec('BEGIN IMMEDIATE');
      try {
        for (const { kind, key, value } of rows) {
          if (value === undefined) remove.run(kind, key);
          else put.run(kind, key, JSON.stringify(value), turn);
        }
        database.exec('COMMIT');
      } catch (error) {
        if (database.isTransaction) database.exec('ROLLBACK');
        throw error;
      }
    },
    close: () => database.close(),
  };
}

/** What is kept of a kind, for looking while no gateway runs; none where there never was one. */
export function readAlarmStore(file: string, kind: string): readonly Required<KeptRow>[] {
  if (!existsSync(file)) return [];
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    return rowsOf(database, kind);
  } finally {
    database.close();
  }
}

function rowsOf(database: DatabaseSync, kind: string): readonly Required<KeptRow>[] {
  return database.prepare('SELECT key, value FROM kept WHERE kind = ? ORDER BY turn, key').all(kind).map(({ key, value }) => ({ kind, key: key as string, value: JSON.parse(value as string) as object }));
}
