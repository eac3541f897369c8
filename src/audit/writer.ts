import { closeSync, fstatSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { AuditRecord } from './record.ts';

/** Writes records to one file; one writer a thread, so no locks. */
export interface AuditWriter {
  /** Resolves once the record is with the operating system; rejects with the file system's error when it is not. */
  append(record: AuditRecord): Promise<void>;
  /** The same for a record that already is JSON, its end perhaps as octets; `done` is called once it is with the operating system, or not. */
  write(line: string, rest: Buffer | undefined, done: (error?: Error) => void): void;
  /** The error of the last write when it failed: the disk is full or gone. */
  failure(): Error | undefined;
  close(): void;
}

type Waiting = (error?: Error) => void;

const BATCH_OCTETS = 65_536;
const LINE_FEED = 10;

/**
 * Opens a new segment in `directory` (created 0700), named by the time it was opened and its writer. Records that come in
 * one turn of the event loop are written by one system call: the page cache takes them in microseconds, and a killed
 * process cannot take them back.
 */
export function openAuditWriter(directory: string, writer: string, openedAt: number): AuditWriter {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const stamp = new Date(openedAt).toISOString().replace(/[-:]/g, '');
  const file = openSync(join(directory, `${stamp}-${writer}.jsonl`), 'ax', 0o600);
  let lines = Buffer.allocUnsafeSlow(BATCH_OCTETS);
  let used = 0;
  // What a failed write left of its last line: the next write must not be glued to it.
  let torn = false;
  let waiting: Waiting[] = [];
  let lastError: Error | undefined;
  let closed = false;

  function flush(): void {
    const batch = waiting;
    const end = used;
    waiting = [];
    used = 0;
    let written = 0;
    try {
      assertStillThere();
      if (torn) writeSync(file, '\n');
      while (written < end) written += writeSync(file, lines, written, end - written);
      torn = false;
      lastError = undefined;
    } catch (error) {
      torn ||= written > 0;
      lastError = error as Error;
    }
    for (const done of batch) done(lastError);
  }

  /** A file that was unlinked takes every record and keeps none. */
  function assertStillThere(): void {
    if (fstatSync(file).nlink === 0) throw new Error('the audit file was removed');
  }

  function write(line: string, rest: Buffer | undefined, done: Waiting): void {
    if (closed) return done(new Error('the audit writer is closed'));
    // UTF-8 takes three octets for a unit of UTF-16 at most.
    makeRoom(line.length * 3 + (rest?.length ?? 0) + 1);
    used += lines.write(line, used);
    if (rest !== undefined) used += rest.copy(lines, used);
    lines[used++] = LINE_FEED;
    if (waiting.length === 0) setImmediate(flush);
    waiting.push(done);
  }

  function makeRoom(octets: number): void {
    if (used + octets <= lines.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(lines.length * 2, used + octets));
    lines.copy(larger, 0, 0, used);
    lines = larger;
  }

  return {
    append: (record) => new Promise((resolve, reject) => write(JSON.stringify(record), undefined, (error) => (error === undefined ? resolve() : reject(error)))),
    write,
    failure: () => lastError,
    close() {
      if (closed) return;
      closed = true;
      if (waiting.length > 0) flush();
      closeSync(file);
    },
  };
}
