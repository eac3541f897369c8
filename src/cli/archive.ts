import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { openArchive, type Archive, type AuditUse } from '../audit/archive.ts';
import { passedByAll } from '../audit/passed.ts';
import { openRegister } from '../audit/register.ts';
import { openAuditWriter } from '../audit/writer.ts';
import { parseConfig } from '../config/load.ts';
import { ConfigurationError } from '../configuration.ts';
import { asOwnerOf } from '../store/as-owner.ts';
import { lockState, StateError } from '../store/state-lock.ts';
import { callGateway } from './call.ts';

/** Where a configuration keeps its audit, and how it is kept. */
export interface AuditPlaces {
  readonly state: string;
  readonly socket: string;
  readonly directory: string;
  readonly anchor: string | undefined;
  readonly durability: 'write' | 'fsync';
  readonly retention: number;
  /** Names of who gets the records. */
  readonly sinks: readonly string[];
}

/** How long a gateway that holds the state may take to answer: it may be starting. */
const PATIENCE_MS = 10_000;
const ANCHOR_MS = 2_000;

/** Reads where a configuration keeps its audit. Throws a ConfigurationError. */
export function auditPlaces(file: string): AuditPlaces {
  const parsed = parseConfig(readFileSync(file, 'utf8'), file);
  if (parsed.kind === 'invalid') throw new ConfigurationError(parsed.issues);
  const { state, audit, admin } = parsed.config;
  const inDirectory = (path: string): string => resolve(dirname(resolve(file)), path);
  return {
    state: inDirectory(state), socket: inDirectory(admin.socket), directory: inDirectory(audit.directory), anchor: audit.anchor?.file === undefined ? undefined : inDirectory(audit.anchor.file),
    durability: audit.durability, retention: audit.retention, sinks: audit.sinks.map(({ name }) => name),
  };
}

/** Has the running gateway do it with its audit, or does it with the audit of one that does not run, which is opened like at a start and closed again. */
export function withArchive<Result>(places: AuditPlaces, path: string, ask: object, alone: (archive: Archive) => Promise<Result>): Promise<Result> {
  return asOwnerOf(places.state, () => runningOrLocked(places, path, ask, alone));
}

async function runningOrLocked<Result>(places: AuditPlaces, path: string, ask: object, alone: (archive: Archive) => Promise<Result>): Promise<Result> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await callGateway(places.socket, 'POST', path, ask);
    if (answer !== undefined) return answer as Result;
    try {
      return await locked(places, alone);
    } catch (error) {
      if (!(error instanceof StateError) || error.code !== 'state_in_use') throw error;
      if (Date.now() > deadline) throw new Error(`nothing was changed: a gateway holds ${places.state} and does not answer on ${places.socket}`);
      await new Promise((done) => setTimeout(done, 200));
    }
  }
}

async function locked<Result>({ state, directory, anchor, durability, retention }: AuditPlaces, use: (archive: Archive) => Promise<Result>): Promise<Result> {
  const lock = lockState(state);
  try {
    const now = (): number => Date.now();
    const warn = (detail: string): void => void process.stderr.write(`wardgate: ${detail}\n`);
    const register = openRegister({ directory, state, anchor, now, warn });
    const writer = openAuditWriter({ ...register.ground(), directory, durability }, 'command', now());
    try {
      // Before there is a record in it.
      register.checkpoint([await writer.settled()]);
      return await use(openArchive({ register, directory, retention, compress: false, now, warn, passed: (segment, octets) => passedByAll(state, segment, octets), record: writer.append }));
    } finally {
      writer.close();
      register.close();
      await register.anchored(ANCHOR_MS);
    }
  } finally {
    lock.release();
  }
}

/** Puts on record that the audit is used; with `settle` every record up to this one proves its place from then on, where a gateway runs. */
export async function noteUse(places: AuditPlaces, use: AuditUse, { settle = false } = {}): Promise<void> {
  await withArchive(places, '/v1/audit/note', { ...use, settle }, async (archive) => {
    await archive.note(use);
    if (settle) await archive.signTrees();
    return { noted: true };
  });
}
