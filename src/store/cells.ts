import { chmodSync, closeSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { Keyring } from './sealing.ts';

/**
 * Small values by name that exist once for all threads, and once for all replicas where these share a store. The one way to touch a
 * value is a step that reads and changes it at once: of two steps at the same time one sees what the other did.
 */
export interface Cells {
  /** Applies a step; it may run more than once, and must do nothing but compute. Rejects with a CellsError when the store is away or full. */
  update<Result>(name: string, step: Step<Result>): Promise<Result>;
}

export type Step<Result> = (held: string | undefined) => StepOutcome<Result>;

export interface StepOutcome<Result> {
  readonly result: Result;
  /** What the cell holds from now on; null: nothing; absent: what it held. */
  readonly value?: string | null;
  /** Milliseconds that the new value is kept; absent: for good. */
  readonly lifetime?: number;
}

/** What cells hold cannot be known or changed now. */
export class CellsError extends Error {
  readonly code: 'cells_away' | 'cells_full';

  constructor(code: CellsError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The cells of one gateway, on its own disk. */
export interface LocalCells extends Cells {
  /** Name and value of every cell whose name begins with `prefix`. */
  entries(prefix: string): readonly (readonly [name: string, value: string])[];
  readonly size: number;
  close(): void;
}

export interface LocalCellsOptions {
  /** Made with mode 0600. */
  readonly file: string;
  readonly keyring: Keyring;
  /** ms since the epoch */
  readonly now: () => number;
  /** True: a step is on disk when it is done. False: with the operating system, which only a power cut makes it forget. */
  readonly durable: boolean;
  /** Beyond so many, new ones are refused. */
  readonly most: number;
}

const PURGE_MS = 60_000;

/** Opens cells in an SQLite file, every value sealed. Values under an older key are sealed anew. Throws when a value cannot be opened. */
export function openLocalCells({ file, keyring, now, durable, most }: LocalCellsOptions): LocalCells {
  // SQLite gives its journal files the mode of the file itself.
  closeSync(openSync(file, 'a', 0o600));
  chmodSync(file, 0o600);
  const database = new DatabaseSync(file);
  database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${durable ? 'FULL' : 'NORMAL'}; PRAGMA secure_delete = ON;
    CREATE TABLE IF NOT EXISTS cells (name TEXT PRIMARY KEY, value BLOB NOT NULL, expires INTEGER) WITHOUT ROWID, STRICT;
    CREATE INDEX IF NOT EXISTS ending ON cells (expires)`);
  const select = database.prepare('SELECT value, expires FROM cells WHERE name = ?');
  const upsert = database.prepare('INSERT INTO cells (name, value, expires) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value, expires = excluded.expires');
  const remove = database.prepare('DELETE FROM cells WHERE name = ?');
  const purge = database.prepare('DELETE FROM cells WHERE expires <= ?');
  const count = database.prepare('SELECT count(*) AS cells FROM cells');
  const range = database.prepare('SELECT name, value FROM cells WHERE name >= ? AND name < ? AND (expires IS NULL OR expires > ?) ORDER BY name');
  let size = 0;
  tidy();
  sealAnew();
  const timer = setInterval(tidy, PURGE_MS);
  timer.unref();

  function tidy(): void {
    purge.run(now());
    size = Number(count.get()?.['cells']);
  }

  function sealAnew(): void {
    const old = database.prepare('SELECT name, value, expires FROM cells').all().filter(({ value }) => !keyring.isCurrent(value as Uint8Array));
    if (old.length === 0) return;
    database.exec('BEGIN IMMEDIATE');
    try {
      for (const { name, value, expires } of old) upsert.run(name as string, keyring.seal(keyring.open(value as Uint8Array, name as string), name as string), expires as number | null);
      database.exec('COMMIT');
    } catch (error) {
      database.exec('ROLLBACK');
      database.close();
      throw new Error(`${file}: ${(error as Error).message}`, { cause: error });
    }
  }

  function apply<Result>(name: string, step: Step<Result>): Result {
    const row = select.get(name);
    const expires = row?.['expires'] as number | null | undefined;
    const live = row !== undefined && (expires === null || expires === undefined || expires > now());
    const { result, value, lifetime } = step(live ? keyring.open(row['value'] as Uint8Array, name) : undefined);
    if (value === null) {
      if (row !== undefined) size -= Number(remove.run(name).changes);
    } else if (value !== undefined) {
      if (row === undefined && size >= most) throw new CellsError('cells_full', `${file}: holds ${size} values, and takes no more`);
      upsert.run(name, keyring.seal(value, name), lifetime === undefined ? null : now() + lifetime);
      if (row === undefined) size += 1;
    }
    return result;
  }

  return {
    async update(name, step) {
      try {
        return apply(name, step);
      } catch (error) {
        if (error instanceof CellsError) throw error;
        throw new CellsError('cells_away', `${file}: ${(error as Error).message}`, { cause: error });
      }
    },
    entries: (prefix) => range.all(prefix, `${prefix}\u{10ffff}`, now()).map(({ name, value }) => [name as string, keyring.open(value as Uint8Array, name as string)] as const),
    get size() {
      return size;
    },
    close() {
      clearInterval(timer);
      if (database.isOpen) database.close();
    },
  };
}
