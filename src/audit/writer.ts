import { closeSync, fstatSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { AuditRecord } from './record.ts';

/** Writes records to one file; one writer a thread, so no locks. */
export interface AuditWriter {
  /** Resolves once the record is with the operating system; rejects with the file system's error when it is not. */
  append(record: AuditRecord): Promise<void>;
  /** The error of the last write when it failed: the disk is full or gone. */
  failure(): Error | undefined;
  close(): void;
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * Opens a new segment in `directory` (created 0700), named by the time it was opened and its writer. Records that come in
 * one turn of the event loop are written by one system call: the page cache takes them in microseconds, and a killed
 * process cannot take them back.
 */
export function openAuditWriter(directory: string, writer: string, openedAt: number): AuditWriter {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const stamp = new Date(openedAt).toISOString().replace(/[-:]/g, '');
  const file = openSync(join(directory, `${stamp}-${writer}.jsonl`), 'ax', 0o600);
  let lines = '';
  // What a failed write left of its last line: the next write must not be glued to it.
  let torn = false;
  let waiting: Waiting[] = [];
  let lastError: Error | undefined;
  let closed = false;

  function flush(): void {
    const batch = waiting;
    const bytes = Buffer.from(torn ? `\n${lines}` : lines);
    waiting = [];
    lines = '';
    let written = 0;
    try {
      assertStillThere();
      while (written < bytes.length) written += writeSync(file, bytes, written);
      torn = false;
      lastError = undefined;
      for (const one of batch) one.resolve();
    } catch (error) {
      torn ||= written > 0;
      lastError = error as Error;
      for (const one of batch) one.reject(lastError);
    }
  }

  /** A file that was unlinked takes every record and keeps none. */
  function assertStillThere(): void {
    if (fstatSync(file).nlink === 0) throw new Error('the audit file was removed');
  }

  return {
    append(record) {
      if (closed) return Promise.reject(new Error('the audit writer is closed'));
      lines += `${JSON.stringify(record)}\n`;
      if (waiting.length === 0) setImmediate(flush);
      return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
    },
    failure: () => lastError,
    close() {
      if (closed) return;
      closed = true;
      if (waiting.length > 0) flush();
      closeSync(file);
    },
  };
}
