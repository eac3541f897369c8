import { chownSync, closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
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

/** Half a note cannot be: what is none was never written by us, and counts as no run. */
function readNote(state: string, name: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(join(state, RUNS, `${name}.json`), 'utf8'));
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function writeNote(state: string, name: string, value: object): void {
  const directory = join(state, RUNS);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const file = join(directory, `${name}.json`);
  const next = openSync(`${file}.${process.pid}.new`, 'w', 0o600);
  try {
    writeSync(next, `${JSON.stringify(value)}\n`);
    fsyncSync(next);
  } finally {
    closeSync(next);
  }
  renameSync(`${file}.${process.pid}.new`, file);
  if (process.getuid?.() !== 0) return;
  // What root writes for the gateway is the gateway's to read.
  const { uid, gid } = statSync(state);
  chownSync(directory, uid, gid);
  chownSync(file, uid, gid);
}
