import { join } from 'node:path';
import { readNoteFile, writeNoteFile } from '../store/note-file.ts';
import { RUNS } from './manifest.ts';

/** What is expected to be done every so often. */
export type RunKind = 'create' | 'verify';
export const RUN_KINDS = ['create', 'verify'] as const;

/** A run that went well. */
export interface Run {
  /** ISO 8601. */
  readonly at: string;
  /** SHA-256 of the backup, hex. */
  readonly sha256: string;
  readonly ms: number;
}

/** The last run that went well, according to a state directory; undefined when there was none. */
export function lastRun(state: string, kind: RunKind): Run | undefined {
  const value = readNote(state, kind);
  return value !== undefined && typeof value['at'] === 'string' && !Number.isNaN(Date.parse(value['at'])) ? (value as unknown as Run) : undefined;
}

/** Durable when it returns. */
export function noteRun(state: string, kind: RunKind, run: Run): void {
  writeNote(state, kind, run);
}

/** When somebody first looked for runs, and when the lack of one was last told of; ISO 8601. */
export interface Watch {
  readonly since: string;
  readonly told: Readonly<Partial<Record<RunKind, string>>>;
}

export function readWatch(state: string): Watch | undefined {
  const value = readNote(state, 'watch');
  return value !== undefined && typeof value['since'] === 'string' && typeof value['told'] === 'object' && value['told'] !== null ? (value as unknown as Watch) : undefined;
}

export function noteWatch(state: string, watch: Watch): void {
  writeNote(state, 'watch', watch);
}

function readNote(state: string, name: string): Readonly<Record<string, unknown>> | undefined {
  return readNoteFile(join(state, RUNS, `${name}.json`));
}

function writeNote(state: string, name: string, value: object): void {
  writeNoteFile(state, join(RUNS, `${name}.json`), value);
}
