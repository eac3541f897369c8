import { join } from 'node:path';
import type { RevocationConfig } from '../config/schema.ts';
import type { CrlFiles } from '../config/read-again.ts';
import type { Snapshot } from '../config/snapshot.ts';
import type { Certificate } from '../pki/certificate.ts';
import { openCrlFloor } from './crl-floor.ts';
import type { CrlProblem } from './crl-load.ts';
import { releaseReplaced } from './crl-release.ts';
import { createCrlSources } from './crl-sources.ts';
import type { CrlSource, CrlSources, Installed } from './crl-sources.ts';
import { isProven, isVerified, newestOfEach, othersOf } from './crl-handle.ts';
import { crlStatement } from './crl-statement.ts';
import type { CrlHandle } from './crl-handle.ts';
import { crlAuthorities, digestOf, readCrls, summaryOf } from './crl-store.ts';
import type { CrlReport } from './crl-store.ts';
import type { Download } from './download.ts';
import { endsSoon, endsSoonText } from './freshness.ts';
import { createIssuerFetch } from './issuer-fetch.ts';
import type { FetchedIssuers } from './issuer-fetch.ts';
import { readSource, validityOf, withIssuers, withValidity, writeSource } from './kept-source.ts';
import { openKept, readOnly } from './kept.ts';
import type { Kept } from './kept.ts';
import { createOcspClient } from './ocsp-client.ts';
import type { OcspClient, OcspExchange } from './ocsp-client.ts';
import { openOutbound } from './outbound.ts';
import type { Outbound } from './outbound.ts';
import { reportSources } from './source-report.ts';
import type { ResponderState, SourceReport } from './source-report.ts';
import type { Statement } from './status.ts';

/** The main thread's side of revocation: everything that is read, fetched, asked, kept and refreshed. */
export interface Refresher {
  /** The CRLs in force. */
  handles(): readonly CrlHandle[];
  /**
   * Reads the CRLs of a snapshot (and of earlier runs, at the start and when the CAs changed) beside those in force. What is in
   * force of a file that cannot be read now (`unread`), or that holds nothing usable, stays. Only within `serially`.
   */
  load(snapshot: Snapshot, unread?: CrlFiles['faults']): Promise<LoadedRevocation>;
  /** Puts what was loaded in force on the main thread, and its configuration. The threads get the handles from the caller. */
  adopt(loaded: LoadedRevocation): void;
  /** Begins to fetch. */
  start(): void;
  /** The status of a validated certificate by OCSP. Never rejects. */
  askOcsp(certificate: Certificate, issuer: Certificate): Promise<Statement>;
  /** Has the CRLs that a validated certificate names fetched and in force, as far as that goes within `crl.timeout`. Never rejects. */
  fetchCrl(certificate: Certificate, issuer: Certificate): Promise<void>;
  /** The certificates at a URL on a host that the configuration lists. Never rejects. */
  fetchIssuers(url: string): Promise<FetchedIssuers>;
  report(): RevocationReport;
  /** Ends what is under way; resolves when what has come is kept. */
  close(): Promise<void>;
}

export interface LoadedRevocation {
  readonly snapshot: Snapshot;
  readonly handles: readonly CrlHandle[];
  readonly bySource: ReadonlyMap<string, readonly CrlHandle[]>;
  readonly problems: ReadonlyMap<string, readonly CrlProblem[]>;
  readonly restored: readonly CrlSource[];
  readonly authoritiesDigest: string;
}

export interface RevocationReport extends CrlReport, SourceReport {
  readonly ocspAnswers: number;
}

export interface RefresherLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface RefresherOptions {
  /** The state directory. */
  readonly state: string;
  readonly now: () => number;
  readonly log: RefresherLog;
  /** One change of what is in force at a time, reloads included. */
  readonly serially: <Result>(change: () => Promise<Result>) => Promise<Result>;
  /** Gives new CRLs to every thread, then moves the epoch, then ends what no longer stands; in this order. */
  readonly publish: (handles: readonly CrlHandle[]) => Promise<void>;
  /** The same for a status that became another than a responder had said before. */
  readonly changed: (certificate: Certificate, issuer: Certificate, statement: Statement) => Promise<void>;
  /** A responder or a distribution point gave nothing usable. */
  readonly failed?: (url: string, detail: string) => void;
  /** Whether a certificate is on the deny list. */
  readonly denied: (certificate: Certificate) => boolean;
  /** Keeps nothing of what it fetches: for a process beside the one whose state it is. Default false. */
  readonly look?: boolean;
}

const CONNECT_MS = 5_000;
const MAX_KEPT_CRLS = 512;
const MAX_KEPT_ANSWERS = 10_000;
const MAX_ANSWER_OCTETS = 64 * 1024;
const WATCH_MS = 60_000;
const MAX_RESPONDERS = 64;

/** What one configuration of sources needs; a reload that changes it makes a new one. */
interface Desk {
  readonly config: RevocationConfig;
  readonly outbound: Outbound;
  readonly sources: CrlSources;
  readonly ocsp: OcspClient;
}

export async function createRefresher(options: RefresherOptions): Promise<Refresher> {
  const { now, log } = options;
  const keep = (directory: string, maxFiles: number, maxOctets: number): Kept => {
    const kept = openKept({
      directory: join(options.state, directory), maxFiles, maxOctets,
      failed: (error) => log.warn({ error: error.message }, 'what was fetched of revocation cannot be kept for the next start'),
    });
    return options.look === true ? readOnly(kept) : kept;
  };
  const keptCrls = keep('crls', MAX_KEPT_CRLS, 1 << 30);
  const keptAnswers = keep('ocsp', MAX_KEPT_ANSWERS, MAX_ANSWER_OCTETS);
  const floor = await openCrlFloor(keptCrls);
  const responders = new Map<string, ResponderState>();
  const warned = new Set<string>();
  const issuers = createIssuerFetch(now);
  let desk: Desk | undefined;
  let inForce: LoadedRevocation | undefined;
  let handles: readonly CrlHandle[] = [];
  let started = false;
  const watch = setInterval(warnOfEnds, WATCH_MS);
  watch.unref();

  async function load(snapshot: Snapshot, unread: CrlFiles['faults'] = []): Promise<LoadedRevocation> {
    const at = now();
    const { revocation } = snapshot.config;
    const authorities = crlAuthorities(snapshot);
    const authoritiesDigest = digestOf(authorities);
    const sameCas = inForce?.authoritiesDigest === authoritiesDigest;
    // Under other CAs every signature is verified anew, from the bytes.
    const restored = sameCas ? [] : await keptSources(revocation);
    const files = [...snapshot.crls, ...restored.map(({ source, bytes }) => ({ file: source.url, bytes }))];
    const realms = withIssuers(authorities, [...restored.map(({ source }) => source), ...(desk?.sources.list() ?? [])]);
    const read = await readCrls({ files, realms, now: at, consume: true }, { handles, authoritiesDigest: sameCas ? digestOf(realms) : '' });
    const { current, older } = floor.sift(read.handles, at);
    const named = new Set(restored.map(({ source }) => source.url));
    const own = current.filter(({ source, proof }) => snapshot.crls.some(({ file }) => file === source) || (named.has(source) && proof.kind === 'verified'));
    // A file that holds nothing usable now keeps what it held: its revocations stand, and its silence counts until it ends.
    const configured = new Set([...snapshot.crls, ...unread].map(({ file }) => file));
    const stays = (source: string): boolean => sameCas && (isWanted(source, revocation) || configured.has(source));
    const before = new Map([...inForce?.bySource ?? []].filter(([source]) => stays(source)));
    const bySource = new Map([...before, ...[...grouped(own)].map(([source, found]) => [source, withProven(found, before.get(source))] as const)]);
    const problems = new Map([...[...inForce?.problems ?? []].filter(([source]) => stays(source) && !configured.has(source)), ...grouped([...read.problems, ...older, ...unread.map(unreadProblem)])]);
    return {
      snapshot, bySource, problems, authoritiesDigest, handles: newestOfEach([...bySource.values()].flat()),
      restored: restored.map(({ source }) => source),
    };
  }

  /** Whether a URL's CRLs stay when the same CAs are trusted under another configuration. */
  function isWanted(source: string, config: RevocationConfig): boolean {
    const known = desk?.sources.list().find(({ url }) => url === source);
    return known !== undefined && (config.crl.urls.includes(source) || (config.crl.from_certificate && known.kind === 'distribution_point'));
  }

  async function keptSources(config: RevocationConfig): Promise<readonly { source: CrlSource; bytes: Uint8Array }[]> {
    const files = await keptCrls.all();
    return files.flatMap(({ key, head, bytes }) => {
      const source = readSource(key, head);
      const wanted = source !== undefined && (config.crl.urls.includes(key) || (config.crl.from_certificate && source.kind === 'distribution_point'));
      return wanted ? [{ source, bytes }] : [];
    });
  }

  function adopt(loaded: LoadedRevocation): void {
    const { revocation } = loaded.snapshot.config;
    const same = inForce?.authoritiesDigest === loaded.authoritiesDigest && JSON.stringify(desk?.config) === JSON.stringify(revocation);
    inForce = loaded;
    releaseReplaced(handles, loaded.handles);
    handles = loaded.handles;
    if (!same) {
      const sources = new Map([...desk?.sources.list() ?? [], ...loaded.restored].map((source) => [source.url, source]));
      closeDesk();
      desk = openDesk(revocation);
      for (const source of sources.values()) desk.sources.restore(withValidity(source, loaded.bySource.get(source.url)));
      if (started) desk.sources.start();
    }
    for (const problem of [...loaded.problems.values()].flat()) {
      log.warn({ file: problem.source }, `CRL not usable: ${problem.detail}`);
      if (problem.reason === 'older') options.failed?.(problem.source, problem.detail);
    }
    warnOfEnds();
    void floor.raise(handles, now());
  }

  function openDesk(config: RevocationConfig): Desk {
    const outbound = openOutbound({ connectTimeout: CONNECT_MS, allowLocal: config.allow_local, ...(config.proxy === undefined ? {} : { proxy: config.proxy }) });
    const made: Desk = {
      config, outbound,
      sources: createCrlSources({
        outbound, config, now,
        install: (source, fresh) => options.serially(() => install(source, fresh)).catch((error: Error) => ({ kind: 'refused', detail: error.message })),
        forgotten: (source) => void keptCrls.remove(source.url),
        attempted: logAttempt,
      }),
      ocsp: createOcspClient({
        outbound, config: config.ocsp, skew: config.skew, allowLocal: config.allow_local, now, kept: keptAnswers, delegateStatus, exchanged,
        changed: (certificate, issuer, statement) => void options.changed(certificate, issuer, statement)
          .catch((error: Error) => log.error({ error: error.message }, 'a changed OCSP status could not be given to every thread')),
      }),
    };
    return made;
  }

  /** What is known of a delegated responder's own certificate without asking a responder again. */
  function delegateStatus(delegate: Certificate, issuer: Certificate): 'good' | 'revoked' | 'unknown' {
    if (options.denied(delegate)) return 'revoked';
    const { kind } = crlStatement(handles, delegate, issuer, now(), { skew: desk?.config.skew ?? 0 });
    return kind === 'unavailable' ? 'unknown' : kind;
  }

  function exchanged({ responder, kind, detail }: OcspExchange): void {
    if (!responders.has(responder) && responders.size >= MAX_RESPONDERS) return;
    const known = responders.get(responder) ?? {};
    responders.set(responder, detail === undefined ? { ...known, lastSuccess: now() } : { ...known, lastError: { at: now(), detail } });
    if (kind !== 'unavailable') return;
    options.failed?.(responder, detail ?? 'no usable answer');
    log.warn({ responder, detail }, 'an OCSP responder gave no usable answer');
  }

  /** A downloaded CRL, once it has proved itself, takes its place on every thread. */
  async function install(source: CrlSource, { bytes, etag, lastModified }: Download & { kind: 'fresh' }): Promise<Installed> {
    // A reload may have come between.
    if (inForce === undefined || desk?.sources.list().includes(source) !== true) return { kind: 'refused', detail: 'no longer wanted' };
    const at = now();
    const realms = withIssuers(crlAuthorities(inForce.snapshot), [source]);
    const read = await readCrls({ files: [{ file: source.url, bytes }], realms, now: at }, { handles, authoritiesDigest: digestOf(realms) });
    const { current, older } = floor.sift(read.handles, at);
    const problems = [...read.problems, ...older];
    if (inForce === undefined) return { kind: 'refused', detail: 'the gateway stops' };
    inForce = { ...inForce, problems: new Map([...inForce.problems, [source.url, problems]]) };
    // A certificate's URL must not fill the memory with what nobody signed; a configured one may wait for its CA to be learnt.
    const own = current.filter((handle) => handle.source === source.url && (source.kind === 'url' || handle.proof.kind === 'verified'));
    const before = inForce.bySource.get(source.url) ?? [];
    if (own.length === 0 || (before.some(isVerified) && !own.some(isVerified)) || problems.some(({ reason }) => reason === 'older')) {
      return { kind: 'refused', detail: problems.map(({ detail }) => detail).join('; ') || 'no CRL in it' };
    }
    const earlier = othersOf(before, own);
    const bySource = new Map([...inForce.bySource, [source.url, [...own, ...earlier]]]);
    inForce = { ...inForce, bySource, handles: newestOfEach([...bySource.values()].flat()) };
    if (!sameCrls(handles, inForce.handles)) {
      releaseReplaced(handles, inForce.handles);
      handles = inForce.handles;
      await options.publish(handles);
      await floor.raise(handles, at);
      log.info({ url: source.url, crls: own.length }, 'CRL fetched');
    }
    // What was laid there may say that it is younger than whatever comes: it is not asked by that whether what stays beside it has changed.
    const validators = earlier.length === 0 ? { etag, lastModified } : { etag: undefined, lastModified: undefined };
    // The next start fetches what is new; what stays beside it would be nowhere.
    if (!earlier.some(({ nextUpdate }) => at < nextUpdate)) await keptCrls.write({ key: source.url, head: writeSource(source, validators, at), bytes });
    warnOfEnds();
    return { kind: 'installed', validity: validityOf(own), ...validators };
  }

  function logAttempt({ url, failure, failures }: CrlSource): void {
    if (failure !== undefined) options.failed?.(url, failure.detail);
    // Once when it begins to fail, and then each time the back-off has doubled: the counter is in `status`.
    if (failure !== undefined && failures <= 8) log.warn({ url, failures, error: failure.detail }, 'a CRL could not be fetched');
  }

  /** Once a CRL. */
  function warnOfEnds(): void {
    const at = now();
    const ending = handles.filter((handle) => endsSoon(handle, at));
    for (const handle of ending) {
      if (!warned.has(handle.sha256)) log.warn({ source: handle.source }, endsSoonText(handle.issuer, handle, at));
    }
    warned.clear();
    for (const { sha256 } of ending) warned.add(sha256);
  }

  /** Less those of CRLs whose signer a client has brought since. */
  function standingProblems(): ReadonlyMap<string, readonly CrlProblem[]> {
    const proven = new Set(handles.filter(isProven).map(({ sha256 }) => sha256));
    return new Map([...inForce?.problems ?? []].map(([source, problems]) => [source, problems.filter(({ crl }) => crl === undefined || !proven.has(crl))]));
  }

  function closeDesk(): void {
    desk?.sources.close();
    desk?.ocsp.close();
    desk?.outbound.close();
  }

  return {
    handles: () => handles,
    load,
    adopt,
    start() {
      started = true;
      desk?.sources.start();
    },
    askOcsp: (certificate, issuer) => desk!.ocsp.status(certificate, issuer),
    fetchCrl: (certificate, issuer) => desk!.sources.follow(certificate, issuer),
    fetchIssuers: (url) => issuers.get(url, { dispatcher: desk!.outbound.named, allowLocal: desk!.config.allow_local }),
    report: () => ({
      report: handles.map(summaryOf),
      problems: [...standingProblems().values()].flat(),
      ocspAnswers: desk?.ocsp.size() ?? 0,
      ...reportSources({
        files: inForce?.snapshot.config.revocation.crl.files ?? [], sources: desk?.sources.list() ?? [],
        bySource: inForce?.bySource ?? new Map(), problems: standingProblems(), responders,
      }),
    }),
    async close() {
      clearInterval(watch);
      closeDesk();
      inForce = undefined;
      await Promise.all([keptCrls.settled(), keptAnswers.settled()]);
    },
  };
}

/** What is not verified replaces nothing: what was, stays beside it. */
function withProven(found: readonly CrlHandle[], before: readonly CrlHandle[] = []): readonly CrlHandle[] {
  return found.some(isVerified) ? found : [...before.filter(isVerified), ...found];
}

function unreadProblem({ file, message }: CrlFiles['faults'][number]): CrlProblem {
  return { source: file, reason: 'failed', detail: message };
}

function grouped<Item extends { readonly source: string }>(items: readonly Item[]): Map<string, readonly Item[]> {
  return Map.groupBy(items, ({ source }) => source);
}

function sameCrls(some: readonly CrlHandle[], others: readonly CrlHandle[]): boolean {
  return some.length === others.length && some.every((handle, index) => handle.sha256 === others[index]?.sha256 && handle.proof.kind === others[index].proof.kind);
}
