import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { asOwnerOf } from './as-owner.ts';
import { readNoteFile, writeNoteFile } from './note-file.ts';

/** A certificate for a few days, until a regular one is there. Times are ISO 8601. */
export interface Temporary {
  /** SHA-256 of the certificate, hex. */
  readonly sha256: string;
  readonly serial: string;
  readonly use: 'server' | 'client';
  /** Common name. */
  readonly name: string;
  /** The listener that shows it. */
  readonly listener?: string;
  /** Id of its request at the CA. */
  readonly request: string;
  readonly made: string;
  readonly not_after: string;
  readonly who: string;
  readonly why: string;
  readonly approved_by: readonly string[];
  /** Once a regular one is there. */
  readonly replaced?: { readonly at: string; readonly who: string; readonly how: string };
  /** When it was last said that it still is in use. */
  readonly told?: string;
}

const DIRECTORY = 'temporary';
const NAME = /^[0-9a-f]{64}\.json$/;

/** All that there ever were, oldest first. */
export function readTemporaries(state: string): readonly Temporary[] {
  const found = namesIn(state).filter((name) => NAME.test(name)).flatMap((name) => (readNoteFile(join(state, DIRECTORY, name)) as unknown as Temporary | undefined) ?? []);
  return found.sort((one, other) => (one.made < other.made ? -1 : 1));
}

function namesIn(state: string): readonly string[] {
  try {
    return readdirSync(join(state, DIRECTORY));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Durable when it returns. */
export function noteTemporary(state: string, temporary: Temporary): void {
  writeNoteFile(state, join(DIRECTORY, `${temporary.sha256}.json`), temporary);
}

/** Where the key of a request waits for its approval, relative to the state directory. */
export function pendingKey(request: string): string {
  return join(DIRECTORY, `${request}.key`);
}

/** A request that a command is about to have issued: what it comes to is in its hands alone until it has said the passphrase. */
export interface Issuing {
  readonly request: string;
  /** Of the command. */
  readonly pid: number;
}

const ISSUING = '.issuing';

/** Durable when it returns. */
export function noteIssuing(state: string, { request, pid }: Issuing): void {
  writeNoteFile(state, join(DIRECTORY, `${request}${ISSUING}`), { request, pid });
}

/** What was begun, and neither ended nor forgotten. A note of another request than it is named after is nobody's: it could lead to any file. */
export function readIssuing(state: string): readonly Issuing[] {
  return namesIn(state).filter((name) => name.endsWith(ISSUING)).flatMap((name) => {
    const { request, pid } = readNoteFile(join(state, DIRECTORY, name)) ?? {};
    return typeof request === 'string' && `${request}${ISSUING}` === name && typeof pid === 'number' && Number.isSafeInteger(pid) && pid > 0 ? [{ request, pid }] : [];
  });
}

export function forgetIssuing(state: string, { request }: Pick<Issuing, 'request'>): void {
  asOwnerOf(state, () => rmSync(join(state, DIRECTORY, `${request}${ISSUING}`), { force: true }));
}

/** Those that still have to be replaced; a client's is none when it has ended, a server's may be shown all the same. */
export function standing(all: readonly Temporary[], now: number): readonly Temporary[] {
  return all.filter(({ use, replaced, not_after: end }) => replaced === undefined && (use === 'server' || Date.parse(end) > now));
}
