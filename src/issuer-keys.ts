import { resolve } from 'node:path';
import { Agent } from 'undici';
import type { KeySource, Snapshot } from './config/snapshot.ts';
import { readKeyFile } from './config/read-again.ts';
import type { KeySet } from './forward/token-keys.ts';
import type { Log } from './log.ts';
import { LARGEST_KEY_SET, readKeySet, type TokenKey } from './pki/jwks.ts';
import { download } from './revocation/download.ts';
import { watchFiles } from './revocation/watch.ts';

/** The keys of issuers of tokens, kept by the main thread and told to the others. */
export interface IssuerKeys {
  /** Fetches what a snapshot names and is not there yet, for as long as a fetch may take. Never rejects: without keys its routes deny. */
  load(snapshot: Snapshot): Promise<void>;
  /** Forgets what a snapshot does not name. */
  adopt(snapshot: Snapshot): void;
  /** What there is of all of them. */
  sets(): readonly KeySet[];
  /** Fetches one issuer's keys again unless that was done a moment ago; every thread has them when it resolves. When it makes sense again, in ms since the epoch. */
  refresh(source: string): Promise<number>;
  report(): readonly KeyReport[];
  close(): void;
}

/** What is known of one issuer's keys, for people. */
export interface KeyReport {
  /** Name of the issuer. */
  readonly tokens: string;
  readonly from: string;
  readonly keys: number;
  /** ISO 8601; absent for files. */
  readonly fetched_at?: string;
  readonly failure?: string;
}

export interface IssuerKeysOptions {
  /** When the first snapshot was read (ms since the epoch). */
  readonly readAt: number;
  readonly now: () => number;
  readonly log: Log;
  /** One change at a time, reloads included. */
  readonly serially: (change: () => Promise<void>) => Promise<void>;
  /** Gives every thread what `sets` says. */
  readonly publish: () => Promise<void>;
}

/** How its issuer is asked. */
interface Pace {
  /** Milliseconds, all of them. */
  readonly refresh: number;
  readonly maxAge: number;
  readonly minInterval: number;
  readonly timeout: number;
}

/** What is held of one source. */
interface Held {
  readonly source: KeySource;
  keys: readonly TokenKey[] | undefined;
  /** Of the last successful fetch. */
  fetchedAt: number;
  failure: string | undefined;
}

interface HeldFile extends Held {
  readonly source: KeySource & { readonly kind: 'file' };
}

interface HeldUrl extends Held {
  readonly source: KeySource & { readonly kind: 'url' };
  pace: Pace;
  readonly agent: Agent;
  readonly validators: { etag?: string; lastModified?: string };
  attemptedAt: number;
  running: Promise<void> | undefined;
  timer: NodeJS.Timeout | undefined;
}

/** After a fetch that failed, unless the interval is shorter. */
const RETRY_MS = 15_000;
/** How soon a file that was being written is read again. */
const REREAD_MS = 2_000;

/** Keeps the keys: from files whenever those change, from issuers at their intervals. What cannot be taken leaves the old ones in force until they are too old. */
export function openIssuerKeys({ readAt, now, log, serially, publish }: IssuerKeysOptions): IssuerKeys {
  const held = new Map<string, HeldFile | HeldUrl>();
  let current: Snapshot | undefined;
  let closed = false;
  let reread: NodeJS.Timeout | undefined;
  const watcher = watchFiles({
    files: () => [...held.values()].flatMap(({ source }) => (source.kind === 'file' && current !== undefined ? [resolve(current.directory, source.file)] : [])),
    readAt,
    changed: () => void serially(() => readFiles(true)),
  });

  async function load(snapshot: Snapshot): Promise<void> {
    const fetches = Object.entries(snapshot.tokens).map(([name, source]): Promise<void> | undefined => {
      if (source.kind === 'file') {
        held.set(source.id, { source, keys: source.keys, fetchedAt: 0, failure: undefined });
        return undefined;
      }
      const known = held.get(source.id);
      const pace = paceOf(snapshot, name);
      if (known !== undefined && isUrl(known)) {
        known.pace = pace;
        return known.running;
      }
      const made: HeldUrl = {
        source, pace, agent: new Agent({ connections: 2, pipelining: 1, connect: { timeout: pace.timeout, ca: source.trust, minVersion: 'TLSv1.2' } }),
        keys: undefined, validators: {}, fetchedAt: 0, attemptedAt: 0, failure: undefined, running: undefined, timer: undefined,
      };
      held.set(source.id, made);
      return fetchKeys(made, false);
    });
    await Promise.all(fetches);
  }

  function fetchKeys(one: HeldUrl, tell: boolean): Promise<void> {
    one.running ??= fetchOnce(one, tell).catch((error: Error) => failed(one, error.message)).finally(() => {
      one.running = undefined;
      if (closed || held.get(one.source.id) !== one) return;
      const { refresh } = one.pace;
      clearTimeout(one.timer);
      one.timer = setTimeout(() => void fetchKeys(one, true), one.failure === undefined ? refresh : Math.min(refresh, RETRY_MS)).unref();
    });
    return one.running;
  }

  async function fetchOnce(one: HeldUrl, tell: boolean): Promise<void> {
    const { source: { url }, agent, pace, validators } = one;
    one.attemptedAt = now();
    const conditions = one.keys === undefined ? {} : validators;
    const got = await download(url, { dispatcher: agent, signal: AbortSignal.timeout(pace.timeout), maxOctets: LARGEST_KEY_SET, ...conditions, refuse: () => 'redirected' });
    const read = got.kind === 'fresh' ? readKeySet(got.bytes) : undefined;
    if (got.kind === 'failed' || read?.kind === 'fault') {
      return failed(one, got.kind === 'failed' ? got.detail : (read as { detail: string }).detail);
    }
    if (one.failure !== undefined) log.info({ url }, 'the keys of an issuer of tokens are fetched again');
    one.failure = undefined;
    one.fetchedAt = one.attemptedAt;
    if (got.kind === 'fresh' && read !== undefined) {
      if (read.ignored.length > 0 && !sameKeys(one.keys, read.keys)) log.warn({ url, ignored: read.ignored }, 'keys of an issuer of tokens are left out');
      one.keys = read.keys;
      Object.assign(validators, { etag: got.etag, lastModified: got.lastModified });
    }
    if (tell && !closed) await publish();
  }

  /** Told once: the state is in `report`. */
  function failed(one: HeldUrl, detail: string): void {
    if (one.failure === undefined) log.warn({ url: one.source.url, error: detail }, 'the keys of an issuer of tokens could not be fetched');
    one.failure = detail;
  }

  async function readFiles(first: boolean): Promise<void> {
    clearTimeout(reread);
    if (closed || current === undefined) return;
    let failed = false;
    let news = false;
    for (const one of held.values()) {
      if (isUrl(one)) continue;
      const { keys, faults } = await readKeyFile(current, one.source.file);
      one.failure = keys === undefined ? faults.join('; ') : undefined;
      failed ||= keys === undefined;
      if (keys === undefined && first) log.error({ file: one.source.file, error: one.failure }, 'the changed keys of an issuer of tokens cannot be taken; the old ones stay in force');
      if (keys === undefined || sameKeys(one.keys, keys)) continue;
      one.keys = keys;
      news = true;
    }
    // It may have been half written.
    if (failed && first) reread = setTimeout(() => void serially(() => readFiles(false)), REREAD_MS).unref();
    if (!news) return;
    await publish();
    log.info({}, 'the keys of an issuer of tokens were read again');
  }

  function forget(one: HeldFile | HeldUrl): void {
    held.delete(one.source.id);
    if (!isUrl(one)) return;
    clearTimeout(one.timer);
    void one.agent.destroy().catch(() => undefined);
  }

  return {
    load,
    adopt(snapshot) {
      current = snapshot;
      const named = new Set(Object.values(snapshot.tokens).map(({ id }) => id));
      for (const one of [...held.values()]) if (!named.has(one.source.id)) forget(one);
    },
    sets: () => [...held.values()].flatMap((one) => (one.keys === undefined ? [] : [{ source: one.source.id, keys: one.keys, until: isUrl(one) ? one.fetchedAt + one.pace.maxAge : Infinity }])),
    async refresh(source) {
      const one = held.get(source);
      if (one === undefined || !isUrl(one)) return Infinity;
      if (one.running !== undefined || now() >= one.attemptedAt + one.pace.minInterval) await fetchKeys(one, true);
      return one.attemptedAt + one.pace.minInterval;
    },
    report: () => Object.entries(current?.tokens ?? {}).map(([tokens, { id }]) => reportOf(tokens, held.get(id))),
    close() {
      closed = true;
      clearTimeout(reread);
      watcher.close();
      for (const one of [...held.values()]) forget(one);
    },
  };
}

function isUrl(one: HeldFile | HeldUrl): one is HeldUrl {
  return one.source.kind === 'url';
}

function paceOf({ config }: Snapshot, name: string): Pace {
  const { refresh, max_age: maxAge, min_interval: minInterval, timeout } = (config.tokens[name] as Snapshot['config']['tokens'][string]).jwks;
  return { refresh, maxAge, minInterval, timeout };
}

function sameKeys(some: readonly TokenKey[] | undefined, others: readonly TokenKey[]): boolean {
  const marks = (keys: readonly TokenKey[]): string => JSON.stringify(keys.map(({ kid, sha256, algorithms }) => [kid, sha256, algorithms]));
  return some !== undefined && marks(some) === marks(others);
}

function reportOf(tokens: string, one: HeldFile | HeldUrl | undefined): KeyReport {
  if (one === undefined) return { tokens, from: 'nowhere', keys: 0 };
  return {
    tokens, from: one.source.kind === 'url' ? one.source.url : one.source.file, keys: one.keys?.length ?? 0,
    ...(one.fetchedAt === 0 ? {} : { fetched_at: new Date(one.fetchedAt).toISOString() }), ...(one.failure === undefined ? {} : { failure: one.failure }),
  };
}
