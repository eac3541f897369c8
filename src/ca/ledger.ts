import { sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { chmodSync, closeSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { canonical, digestOf, type Json } from './canonical.ts';
import type { Step } from './life.ts';
import { OfficeError } from './office-error.ts';

/** What is on record: a step in the life of a certificate, or something about the CA itself. */
export type EventStep = Step | 'init' | 'policy' | 'crl' | 'responder' | 'issuer_requested' | 'issuer_installed';

/** One entry of the event log. `hash` is the SHA-256 of its line, which holds that of the line before as `previous`. */
export interface CaEvent {
  /** From 1, without a gap. */
  readonly seq: number;
  /** ISO 8601 UTC. */
  readonly time: string;
  readonly step: EventStep;
  /** On whose behalf. */
  readonly who: string;
  readonly why?: string;
  /** Id of the request. */
  readonly request?: string;
  /** Of the certificate, lowercase hexadecimal. */
  readonly serial?: string;
  readonly detail: { readonly [key: string]: Json | undefined };
  readonly previous: string;
  readonly hash: string;
  /** Whether the issuing key has signed for it, and with it for everything before. */
  readonly sealed: boolean;
}

export type NewEvent = Pick<CaEvent, 'step' | 'who' | 'why' | 'request' | 'serial' | 'detail'>;

/** What signs for an event: the issuing key of a generation. */
export interface Sealer {
  readonly generation: number;
  readonly key: KeyObject;
}

/** The database of a CA: an event log that is only ever added to, and what follows from it, in one file. */
export interface Ledger {
  readonly database: DatabaseSync;
  /** Runs `change` alone, also among processes, and makes it durable; or nothing of it has happened. */
  change<Result>(change: () => Result): Result;
  /** Runs `change` as `change` does, and undoes it. */
  rehearse<Result>(change: () => Result): Result;
  /** Runs `look` on the database as it is at that moment, whatever other processes change meanwhile. */
  unchanging<Result>(look: () => Result): Result;
  /** Within a change. */
  append(event: NewEvent, at: number, sealer?: Sealer): CaEvent;
  /** Oldest first; those of a request or all. */
  events(request?: string): readonly CaEvent[];
  /** The number of the last event, 0 before the first. */
  revision(): number;
  /** The first thing that is wrong with the log itself; undefined when it is whole. `keys` are the public keys of the generations. */
  fault(keys: ReadonlyMap<number, KeyObject>): string | undefined;
  close(): void;
}

const BUSY_MS = 10_000;
const FIRST = '0'.repeat(64);

const SCHEMA = `
  CREATE TABLE event (seq INTEGER PRIMARY KEY, request TEXT, line TEXT NOT NULL, hash TEXT NOT NULL, seal BLOB, sealer INTEGER) STRICT;
  CREATE INDEX event_request ON event (request);
  CREATE TRIGGER event_kept BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'the event log is only ever added to'); END;
  CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'the event log is only ever added to'); END;
  CREATE TABLE issuer (generation INTEGER PRIMARY KEY, state TEXT NOT NULL, certificate BLOB, spki TEXT NOT NULL) STRICT;
  CREATE TABLE request (id TEXT PRIMARY KEY, state TEXT NOT NULL, spki TEXT UNIQUE, body TEXT NOT NULL) STRICT;
  CREATE INDEX request_renews ON request (json_extract(body, '$.renews'));
  CREATE TABLE serial (serial TEXT PRIMARY KEY, request TEXT NOT NULL, generation INTEGER NOT NULL, state TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
  CREATE TABLE certificate (serial TEXT PRIMARY KEY REFERENCES serial, request TEXT NOT NULL UNIQUE, generation INTEGER NOT NULL, der BLOB NOT NULL, sha256 TEXT NOT NULL UNIQUE, spki TEXT NOT NULL,
    not_after INTEGER NOT NULL, revoked_at INTEGER, reason TEXT) STRICT;
  CREATE TABLE crl (generation INTEGER NOT NULL, number INTEGER NOT NULL, der BLOB NOT NULL, this_update INTEGER NOT NULL, next_update INTEGER NOT NULL, PRIMARY KEY (generation, number)) STRICT;
  PRAGMA user_version = 1;`;

/** Opens the database of a CA; with `create` it must not be there yet. */
export function openLedger(file: string, { create = false } = {}): Ledger {
  if (create) closeSync(openSync(file, 'wx', 0o600));
  chmodSync(file, 0o600);
  const database = new DatabaseSync(file, { timeout: BUSY_MS });
  try {
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON');
    if (create) database.exec(SCHEMA);
    const version = database.prepare('PRAGMA user_version').get()?.['user_version'];
    if (version !== 1) throw new OfficeError('not_a_ca', `${file}: not a database of this version of the CA`);
  } catch (error) {
    database.close();
    if (error instanceof OfficeError) throw error;
    throw new OfficeError('not_a_ca', `${file}: cannot be read as the database of a CA: ${(error as Error).message}`, { cause: error });
  }
  const last = database.prepare('SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1');
  const insert = database.prepare('INSERT INTO event (seq, request, line, hash, seal, sealer) VALUES (?, ?, ?, ?, ?, ?)');

  return {
    database,
    rehearse(change) {
      begin(database);
      try {
        return change();
      } finally {
        if (database.isTransaction) database.exec('ROLLBACK');
      }
    },
    change(change) {
      // Within a rehearsal.
      if (database.isTransaction) return change();
      begin(database);
      try {
        const result = change();
        database.exec('COMMIT');
        return result;
      } catch (error) {
        if (database.isTransaction) database.exec('ROLLBACK');
        throw error;
      }
    },
    unchanging(look) {
      if (database.isTransaction) return look();
      database.exec('BEGIN DEFERRED');
      try {
        return look();
      } finally {
        database.exec('ROLLBACK');
      }
    },
    append(event, at, sealer) {
      const before = last.get() as { seq: number; hash: string } | undefined;
      const fields = { ...event, seq: (before?.seq ?? 0) + 1, time: new Date(at).toISOString(), previous: before?.hash ?? FIRST };
      const line = canonical(fields);
      const hash = digestOf(line);
      const seal = sealer === undefined ? null : sign(hashFor(sealer.key), Buffer.from(hash), sealer.key);
      insert.run(fields.seq, event.request ?? null, line, hash, seal, sealer?.generation ?? null);
      return { ...fields, hash, sealed: sealer !== undefined };
    },
    events(request) {
      const rows = request === undefined ? database.prepare('SELECT * FROM event ORDER BY seq').all() : database.prepare('SELECT * FROM event WHERE request = ? ORDER BY seq').all(request);
      return (rows as unknown as Row[]).map(eventOf);
    },
    revision: () => Number(last.get()?.['seq'] ?? 0),
    fault: (keys) => faultOf(database, keys),
    close: () => database.close(),
  };
}

interface Row {
  readonly seq: number;
  readonly request: string | null;
  readonly line: string;
  readonly hash: string;
  readonly seal: Uint8Array | null;
  readonly sealer: number | null;
}

function eventOf({ line, hash, seal }: Row): CaEvent {
  return { ...(JSON.parse(line) as Omit<CaEvent, 'hash' | 'sealed'>), hash, sealed: seal !== null };
}

function begin(database: DatabaseSync): void {
  try {
    database.exec('BEGIN IMMEDIATE');
  } catch (error) {
    if (/locked|busy/i.test((error as Error).message)) throw new OfficeError('busy', 'another process has the database of the CA for longer than 10 s; nothing was changed', { cause: error });
    throw error;
  }
}

/** Steps that nobody takes without the issuing key. */
const KEYED: ReadonlySet<EventStep> = new Set<EventStep>(['init', 'policy', 'reserve', 'issue', 'crl', 'responder']);

function faultOf(database: DatabaseSync, keys: ReadonlyMap<number, KeyObject>): string | undefined {
  const integrity = database.prepare('PRAGMA integrity_check').get()?.['integrity_check'];
  if (integrity !== 'ok') return `ca.db: ${String(integrity)}`;
  let previous = FIRST;
  let expected = 1;
  for (const row of database.prepare('SELECT * FROM event ORDER BY seq').iterate() as Iterable<unknown>) {
    const { seq, request, line, hash, seal, sealer } = row as Row;
    if (seq !== expected) return `event ${expected}: missing; the next is ${seq}`;
    if (digestOf(line) !== hash) return `event ${seq}: its hash is not that of what it says: it was changed`;
    const event = JSON.parse(line) as CaEvent;
    if (event.seq !== seq || (event.request ?? null) !== request) return `event ${seq}: stands in another place than it says`;
    if (event.previous !== previous) return `event ${seq}: does not follow the one before it: that was changed, or one between them removed`;
    // Whoever has not the passphrase could write all of the log anew otherwise, without any seal.
    if (seal === null && KEYED.has(event.step)) return `event ${seq}: ${event.step} without the signature of the issuing key, which does that`;
    if (seal !== null) {
      const key = keys.get(sealer ?? 0);
      if (key === undefined || !verify(hashFor(key), Buffer.from(hash), key, seal)) return `event ${seq}: the issuing key has not signed this`;
    }
    previous = hash;
    expected += 1;
  }
  return expected === 1 ? 'the event log is empty' : undefined;
}

/** Edwards curves take none (RFC 8032). */
export function hashFor(key: KeyObject): 'sha256' | null {
  return key.asymmetricKeyType === 'ed25519' || key.asymmetricKeyType === 'ed448' ? null : 'sha256';
}
