import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { AuditRecord } from './record.ts';
import { openSegment, type OpenSegment, type SegmentGround, type SegmentPosition } from './segment-writer.ts';

export type { SegmentGround, SegmentPosition } from './segment-writer.ts';

/** Writes records to one segment after the other; one writer a thread, so no locks. */
export interface AuditWriter {
  /** Resolves once the record is as safe as configured; rejects with the file system's error when it is not. */
  append(record: AuditRecord): Promise<void>;
  /** The same for a record that already is JSON, its end perhaps as octets; `done` is called once it is safe, or not. */
  write(line: string, rest: Buffer | undefined, done: (error?: Error) => void): void;
  /** The error of the last write when it failed: the disk is full or gone. */
  failure(): Error | undefined;
  /** The name of the segment that is written. */
  current(): string;
  /** How far the segment that is written has come; what it says is on the disk when it resolves. */
  settled(): Promise<SegmentPosition>;
  /** The same of every segment that is open. */
  positions(): Promise<WriterPositions>;
  /** Opens the segment that follows, its header on the disk before anything is written to it; `after` is the hash of the last checkpoint. Does nothing where one is open already. Throws when it cannot be. */
  prepare(after: string, openedAt: number): void;
  /** From now on records go to the segment of this name, where it was prepared; that of before is closed once what it has taken is safe. */
  switchTo(segment: string): void;
  close(): void;
}

/** The open segments of a writer. */
export interface WriterPositions {
  /** The one that is written first; then the one that follows, and those whose last records are still being made safe. */
  readonly segments: readonly SegmentPosition[];
  /** The name of the one that is prepared. */
  readonly next?: string;
}

/** Opens the first segment of a writer in the directory (created 0700); its header is written when this returns. */
export function openAuditWriter(ground: SegmentGround, writer: string, openedAt: number): AuditWriter {
  let number = 0;
  let current = openSegment(ground, { writer, number, openedAt });
  let next: OpenSegment | undefined;
  const ending = new Set<OpenSegment>();
  let closed = false;

  function end(segment: OpenSegment): void {
    ending.add(segment);
    segment.end((lost) => {
      ending.delete(segment);
      // A gap in the evidence is said where the next record goes.
      current.owe(lost);
    });
  }

  function write(line: string, rest: Buffer | undefined, done: (error?: Error) => void): void {
    current.write(line, rest, done);
  }

  return {
    append: (record) => new Promise((resolve, reject) => write(JSON.stringify(record), undefined, (error) => (error === undefined ? resolve() : reject(error)))),
    write,
    failure: () => current.failure() ?? [...ending].map((segment) => segment.failure()).find((failure) => failure !== undefined),
    current: () => current.name,
    settled: () => current.settled(),
    async positions() {
      const named = next?.name;
      for (const segment of ending) end(segment);
      const segments = await Promise.all([current, ...(next === undefined ? [] : [next]), ...ending].map((segment) => segment.settled()));
      return { segments, ...(named === undefined ? {} : { next: named }) };
    },
    prepare(after, at) {
      if (closed || next !== undefined) return;
      next = openSegment({ ...ground, after }, { writer, number: number + 1, openedAt: at });
      const failure = next.failure();
      if (failure === undefined) return;
      next.close();
      rmSync(join(ground.directory, next.name), { force: true });
      next = undefined;
      throw failure;
    },
    switchTo(segment) {
      if (closed || next?.name !== segment) return;
      const before = current;
      current = next;
      next = undefined;
      number += 1;
      end(before);
    },
    close() {
      closed = true;
      for (const segment of [...ending, current, ...(next === undefined ? [] : [next])]) segment.close();
    },
  };
}
