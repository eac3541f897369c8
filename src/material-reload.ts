import { resolve } from 'node:path';
import type { AuditWriter } from './audit/writer.ts';
import { ConfigurationError, warnOf } from './configuration.ts';
import { readCrlFiles, type CrlFiles } from './config/read-again.ts';
import { materialReferences, readMaterialAgain, type Snapshot } from './config/snapshot.ts';
import type { Log } from './log.ts';
import { watchFiles } from './revocation/watch.ts';

/** How long files must have been left alone before they are read: certificates and keys are seldom replaced at once. */
const QUIET_MS = 400;
/** Files that somebody writes without a pause are read nevertheless. */
const LONGEST_WAIT_MS = 4_000;
/** How soon files that could not be taken are tried again, and at the longest when that goes on: passphrases may come from commands that somebody pays for. */
const FIRST_RETRY_MS = 2_000;
const LONGEST_RETRY_MS = 30_000;

const LONGEST_DETAIL = 2_000;

/** How the reading of certificates stands. */
export interface MaterialReport {
  /** When what is in force was last found to be what is in the files. */
  readonly read_at: string;
  /** Present while what is in the files cannot be taken, and the old serves on. */
  readonly failing?: { readonly since: string; readonly detail: string };
}

export interface MaterialReload {
  /** Reads everything again now. Resolves with the files that had changed; rejects, the old serving on, when they cannot be taken. */
  reload(): Promise<readonly string[]>;
  report(): MaterialReport;
  close(): void;
}

export interface MaterialReloadOptions {
  /** The snapshot in force. */
  readonly snapshot: () => Snapshot;
  /** When the first was read (ms since the epoch). */
  readonly readAt: number;
  /** Puts a snapshot of the same configuration in force on every thread; `unread` are CRL files that could not be read. */
  readonly take: (next: Snapshot, unread: CrlFiles['faults']) => Promise<void>;
  /** One change of what is in force at a time. */
  readonly serially: <Result>(change: () => Promise<Result>) => Promise<Result>;
  readonly audit: AuditWriter;
  /** Counts what changed something, or failed anew. */
  readonly counted: (result: 'done' | 'failed') => void;
  readonly now: () => number;
  readonly log: Log;
}

/**
 * Keeps certificates, keys, CAs and secrets what their files hold: watched, and read again with the configuration in force when one
 * has changed. What cannot be taken as a whole (a certificate whose key has not come yet, a file that is half written) leaves
 * everything as it was but whom clients are trusted by, and is tried again.
 */
export function openMaterialReload({ snapshot, readAt, take, serially, audit, counted, now, log }: MaterialReloadOptions): MaterialReload {
  let lastRead = readAt;
  let failing: { readonly since: number; readonly detail: string } | undefined;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let waitingSince: number | undefined;
  let retry = FIRST_RETRY_MS;
  const watcher = watchFiles({ files: () => watchedFiles(snapshot()), readAt, changed: soon });

  /** Reads when the files have been left alone for a moment. */
  function soon(): void {
    waitingSince ??= now();
    retry = FIRST_RETRY_MS;
    schedule(Math.max(0, Math.min(QUIET_MS, waitingSince + LONGEST_WAIT_MS - now())));
  }

  function schedule(milliseconds: number): void {
    clearTimeout(timer);
    if (closed) return;
    timer = setTimeout(() => {
      waitingSince = undefined;
      reload().catch(() => undefined);
    }, milliseconds).unref();
  }

  function reload(): Promise<readonly string[]> {
    return serially(readAgain).catch((error: Error) => {
      fail(error);
      schedule(retry);
      retry = Math.min(LONGEST_RETRY_MS, retry * 2);
      throw error;
    });
  }

  async function readAgain(): Promise<readonly string[]> {
    if (closed) return [];
    const before = snapshot();
    const result = await readMaterialAgain(before, { now: now(), runCommands: true });
    if (result.kind === 'invalid') {
      if (result.trust !== undefined) await takeTrust(before, result.trust);
      throw new ConfigurationError(result.issues);
    }
    const next = result.snapshot;
    const files = changedFiles(before, next);
    if (files.length > 0) {
      warnOf(result.warnings, log);
      const { crls, faults } = await readCrlFiles(before);
      await take({ ...next, crls }, faults);
      counted('done');
      record('done', `read again: ${files.join(', ')}; configuration ${next.digest}`);
      log.info({ files, digest: next.digest }, 'certificates and keys read again');
    }
    if (failing !== undefined) log.info({}, 'the files of certificates and keys can be taken again');
    failing = undefined;
    retry = FIRST_RETRY_MS;
    lastRead = now();
    return files;
  }

  async function takeTrust(before: Snapshot, next: Snapshot): Promise<void> {
    const { crls, faults } = await readCrlFiles(before);
    await take({ ...next, crls }, faults);
    record('done', `read again: the CAs of clients alone, since other files cannot be taken; configuration ${next.digest}`);
    log.info({}, 'the CAs of clients read again, and nothing else: other files cannot be taken');
  }

  function record(result: 'done' | 'failed', detail: string): void {
    // One that cannot be written shows in the writer's own failure.
    audit.append({ time: new Date(now()).toISOString(), event: 'configuration', result, detail: detail.slice(0, LONGEST_DETAIL) }).catch(() => undefined);
  }

  /** Said once, however often it is tried. */
  function fail({ message }: Error): void {
    if (failing?.detail === message) return;
    failing = { since: failing?.since ?? now(), detail: message };
    counted('failed');
    record('failed', `not read again: ${message}`);
    log.error({ error: message }, 'changed certificates or keys cannot be taken; the old ones serve on');
  }

  return {
    reload,
    report: () => ({
      read_at: new Date(lastRead).toISOString(),
      ...(failing === undefined ? {} : { failing: { since: new Date(failing.since).toISOString(), detail: failing.detail } }),
    }),
    close() {
      closed = true;
      clearTimeout(timer);
      watcher.close();
    },
  };
}

function watchedFiles({ config, directory }: Snapshot): readonly string[] {
  return [...new Set(materialReferences(config).flatMap(({ use, name }) => (use === 'token-key' ? [] : [resolve(directory, name)])))];
}

/** Absolute paths of the files whose content differs, is new or is gone. */
function changedFiles({ digests: { files: before } }: Snapshot, { digests: { files: after } }: Snapshot): readonly string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter((path) => before[path] !== after[path]).sort();
}
