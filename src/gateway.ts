import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { AggregatorRegistry } from 'prom-client';
import { openAdminSocket } from './admin/api.ts';
import { openMetricsServer } from './admin/metrics-server.ts';
import { createProcessMetrics, type ProcessMetrics } from './admin/metrics.ts';
import { openAuditWriter } from './audit/writer.ts';
import { formatIssue, type Issue } from './config/issue.ts';
import { loadSnapshot, readCrlFiles, type Snapshot } from './config/snapshot.ts';
import { sharedClock } from './forward/upstream/clock.ts';
import { createUpstreamWatch, type UpstreamReport } from './forward/upstream/watch.ts';
import { SILENT, type Log } from './log.ts';
import { parseCertificate, type Certificate } from './pki/certificate.ts';
import { watchPressure } from './pressure.ts';
import type { CrlHandle } from './revocation/crl-statement.ts';
import { createRefresher, type RevocationReport } from './revocation/refresher.ts';
import type { Statement } from './revocation/status.ts';
import { watchFiles } from './revocation/watch.ts';
import { openDenyList, subjectText, type DenyChange, type DenyEntry, type DenySubject } from './store/deny-list.ts';
import { createRates } from './store/rates.ts';
import { openRedis } from './store/redis.ts';
import { openReplicas, type ReplicaState } from './store/replicas.ts';
import { clearThread, createConnectionCounts } from './store/connection-counts.ts';
import { advanceEpoch, createDenyTable, currentEpoch } from './store/deny-table.ts';
import { descriptorLimit } from './store/descriptors.ts';
import { openProcFile } from './store/proc-file.ts';
import type { Findings } from './policy/facts.ts';
import type { FindingsQuestion, MetricsAnswer, PrepareAnswer, ThreadStatus, ToMain } from './thread-protocol.ts';
import { createPortLocks } from './store/port-lock.ts';
import { lockState, type StateLock } from './store/state-lock.ts';
import { startThreads } from './threads.ts';
import { assertFreePort } from './tls/free-port.ts';
import { deniedCertificate } from './tls/admission.ts';
import { randomTicketSecret } from './tls/tickets.ts';

export type { Log } from './log.ts';
export type { DenyEntry, DenySubject } from './store/deny-list.ts';

/** Where a listener is bound. */
export interface BoundListener {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

/** An entry for the deny list, before it has its time. */
export type NewDenial = DenySubject & { readonly reason: string; readonly who: string; readonly expires?: string };

/** A running gateway. */
export interface Gateway {
  readonly listeners: readonly BoundListener[];
  /** Where /metrics, /healthz and /readyz are served; absent when switched off. */
  readonly metrics?: BoundListener;
  /** The admin socket's path. */
  readonly adminSocket: string;
  /** Loads the configuration again. Rejects with a ConfigurationError, the old one serving on, when it cannot be taken. */
  reload(): Promise<void>;
  status(): Promise<GatewayStatus>;
  /** In force on every thread, durable, and its open connections ended, when it resolves. */
  deny(entry: NewDenial): Promise<void>;
  reinstate(subject: DenySubject, who: string): Promise<boolean>;
  /** Stops accepting, lets current answers finish for `grace` ms (default 10,000), ends the rest. */
  stop(grace?: number): Promise<void>;
}

export interface GatewayStatus {
  readonly pid: number;
  readonly config: { readonly file: string; readonly digest: string; readonly loaded_at: string; readonly last_error?: string };
  readonly threads: number;
  readonly epoch: number;
  readonly connections: number;
  /** What the process runs short of; empty when nothing. */
  readonly pressure: readonly string[];
  readonly listeners: readonly BoundListener[];
  readonly crls: Pick<RevocationReport, 'report' | 'problems' | 'sources'>;
  readonly ocsp: { readonly cached: number; readonly responders: RevocationReport['responders'] };
  readonly deny_list: readonly DenyEntry[];
  readonly upstreams: readonly UpstreamReport[];
  /** Present when the gateway shares its deny list with others. */
  readonly store?: ReplicaState;
  readonly audit: { readonly directory: string; readonly failing: readonly string[] };
}

export interface GatewayOptions {
  /** Path of the YAML configuration. */
  readonly config: string;
  readonly log?: Log;
}

/** The configuration cannot be taken: `issues` names each fault with file, line and column. */
export class ConfigurationError extends Error {
  readonly code = 'configuration_invalid';
  readonly issues: readonly Issue[];

  constructor(issues: readonly Issue[]) {
    super(issues.map((issue) => formatIssue(issue)).join('\n'));
    this.issues = issues;
  }
}

/** What of the process a reload replaces, as a whole. */
interface Current {
  readonly snapshot: Snapshot;
  readonly loadedAt: number;
}

const DEFAULT_GRACE_MS = 10_000;
const EXPIRY_MS = 1_000;
/** How soon CRL files that could not be read are tried again. */
const RETRY_CRLS_MS = 5_000;
/** A thread that has not ended a revoked certificate's connections by then is ended itself. */
const SWEEP_MS = 5_000;
/** One that has not taken what is new of revocation by then is ended, too: it would go on with what is old. */
const PUBLISH_MS = 10_000;

/**
 * Starts a gateway from a configuration file; resolves once every listener serves on every thread. The composition root:
 * everything the process consists of is made here.
 */
export async function createGateway({ config: file, log = SILENT }: GatewayOptions): Promise<Gateway> {
  const startedAt = Date.now();
  const snapshot = await load(file, log);
  // Before anything of it is read: a revocation that another process writes meanwhile would be lost on us.
  const lock = lockState(resolve(snapshot.directory, snapshot.config.state));
  try {
    return await startGateway(file, log, snapshot, startedAt, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function startGateway(file: string, log: Log, first: Snapshot, startedAt: number, lock: StateLock): Promise<Gateway> {
  const now = (): number => Date.now();
  const { config } = first;
  const inDirectory = (path: string): string => resolve(first.directory, path);
  const state = inDirectory(config.state);
  const auditDirectory = inDirectory(config.audit.directory);
  const adminSocket = inDirectory(config.admin.socket);

  const table = createDenyTable();
  const denyList = openDenyList(state, table);
  const audit = openAuditWriter(auditDirectory, 'main', now());
  const metrics = createProcessMetrics();
  const counts = createConnectionCounts(config.threads, affordableConnections(config.limits.connections, log));
  const ticketSecret = randomTicketSecret();
  const portLocks = createPortLocks();
  const refresher = await createRefresher({
    state, now, log, serially, publish: publishCrls, changed: publishAnswer, denied: (certificate) => deniedCertificate(table, [certificate]) !== undefined,
  });
  refresher.adopt(await refresher.load(first));
  let current: Current = { snapshot: first, loadedAt: now() };
  let ports: Readonly<Record<string, number>> = {};
  let ourAddresses: ReadonlySet<string> = new Set();
  let lastError: string | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  let stopped: Promise<void> | undefined;

  const upstreams = createUpstreamWatch({
    threads: config.threads, log, clock: sharedClock(), publish: (share) => threads.insist({ kind: 'targets', share }, PUBLISH_MS),
  });
  const threads = startThreads({
    count: config.threads,
    birth: { deny: table.buffer, counts: counts.buffer, auditDirectory },
    answer: answerThread,
    gone: (place) => {
      clearThread(counts, place);
      upstreams.forgetThread(place);
    },
    bringUp: async (call) => {
      await call({ kind: 'crls', handles: refresher.handles() });
      await call({ kind: 'prepare', snapshot: forThreads(current.snapshot), ticketSecret, ports, upstreams: upstreams.shares() });
      await call({ kind: 'commit' });
    },
    log,
  });
  const shared = first.store === undefined ? undefined : { redis: openRedis(first.store, (message) => log.warn({}, message)), prefix: first.store.prefix };
  const rates = createRates({ ...(shared === undefined ? {} : { shared }), warn: (message) => log.warn({}, message) });
  const replicas = shared === undefined ? undefined : openReplicas({
    ...shared, now, receive, isNews: (change) => denyList.isNews(change), changes: () => denyList.changes(),
    epochMoved: () => void serially(reloadCrls),
    warn: (message) => log.warn({}, message),
  });
  const pressure = watchPressure(config.limits, counts, metrics, log);
  const closers: (() => Promise<void> | void)[] = [() => pressure.close()];
  try {
    await threads.all({ kind: 'crls', handles: refresher.handles() });
    refresher.start();
    await prepare(first);
    await threads.all({ kind: 'commit' });
    upstreams.adopt();
    const watcher = watchFiles({
      files: () => current.snapshot.config.revocation.crl.files.map((path) => resolve(current.snapshot.directory, path)),
      readAt: startedAt,
      changed: () => void serially(reloadCrls),
    });
    closers.push(() => watcher.close());
    const expiry = setInterval(expireDenials, EXPIRY_MS);
    expiry.unref();
    closers.push(() => clearInterval(expiry));
    closers.push(() => {
      replicas?.close();
      shared?.redis.disconnect();
    });
    const admin = await openAdminSocket(adminSocket, { status, reload, deny, reinstate });
    closers.push(() => admin.close());
  } catch (error) {
    await stop(0);
    throw error;
  }
  let metricsAt: BoundListener | undefined;
  if (config.metrics !== undefined) {
    const server = await openMetricsServer(config.metrics.address, { scrape, ready }).catch(async (error: unknown) => {
      await stop(0);
      throw error;
    });
    closers.push(() => server.close());
    metricsAt = { name: 'metrics', host: config.metrics.address.host, port: server.port };
  }
  metrics.reloadSuccess.set(now() / 1000);
  await audit.append({ time: new Date(now()).toISOString(), event: 'start', result: 'done', detail: `configuration ${first.digest}` });

  function answerThread(ask: ToMain): unknown {
    if (ask.kind === 'witness') {
      // The verdict is ours; where the library's is another, somebody should look.
      return log.warn({ certificate: ask.certificate, ours: ask.ours, openssl: ask.theirs }, 'OpenSSL judges a client certificate otherwise');
    }
    if (ask.kind === 'issuers') return refresher.fetchIssuers(ask.url);
    if (ask.kind === 'find') return find(ask);
    if (ask.kind === 'count') return rates.add(ask.counters);
    const certificate = parseCertificate(ask.certificate);
    const issuer = parseCertificate(ask.issuer);
    return ask.kind === 'ocsp' ? refresher.askOcsp(certificate, issuer) : refresher.fetchCrl(certificate, issuer);
  }

  /** What a request needs that exists once a gateway. What is used up is asked no further. */
  async function find({ counters }: FindingsQuestion): Promise<Findings> {
    const limits = await rates.take(counters);
    return { limits, session: { kind: 'none' } };
  }

  /** Prepares a snapshot on every thread, the first one finding free ports; all or none. */
  async function prepare(snapshot: Snapshot): Promise<void> {
    // An address that is ours already may go to another name; any other must be nobody's.
    for (const { address } of snapshot.config.listeners) {
      if (ourAddresses.has(address.text) || address.port === 0) continue;
      await portLocks.take(address.host, address.port);
      await assertFreePort(address.host, address.port);
    }
    const before = current.snapshot.config.listeners;
    const kept = snapshot.config.listeners.filter(({ name, address }) => before.some((listener) => listener.name === name && listener.address.text === address.text));
    const keptPorts = Object.fromEntries(kept.flatMap(({ name }) => (ports[name] === undefined ? [] : [[name, ports[name]]])));
    try {
      const ask = { kind: 'prepare', snapshot: forThreads(snapshot), ticketSecret, upstreams: await upstreams.prepare(snapshot) } as const;
      const found = await threads.first<PrepareAnswer>({ ...ask, ports: keptPorts });
      await threads.rest<PrepareAnswer>({ ...ask, ports: found });
      ports = found;
      ourAddresses = new Set(snapshot.config.listeners.map(({ address }) => address.text));
    } catch (error) {
      await threads.all({ kind: 'discard' }).catch(() => undefined);
      upstreams.discard();
      throw error;
    }
  }

  /** One change at a time: two reloads at once would prepare over each other. */
  function serially<Result>(change: () => Promise<Result>): Promise<Result> {
    const result = turn.then(change);
    turn = result.catch(() => undefined);
    return result;
  }

  function reload(): Promise<void> {
    return serially(async () => {
      try {
        await replaceSnapshot();
        lastError = undefined;
        log.info({ digest: current.snapshot.digest }, 'configuration reloaded');
      } catch (error) {
        lastError = (error as Error).message;
        log.error({ error: lastError }, 'the configuration was not reloaded; the old one serves on');
        throw error;
      }
    });
  }

  async function replaceSnapshot(): Promise<void> {
    const snapshot = await load(file, log);
    const fixed = unchangeable(current.snapshot, snapshot);
    if (fixed !== undefined) throw new Error(`${fixed}: cannot change without a restart`);
    const revocation = await refresher.load(snapshot);
    await prepare(snapshot);
    // From here on there is no way back: a thread that does not follow is replaced by one that starts with the new.
    await threads.insist({ kind: 'crls', handles: revocation.handles }, PUBLISH_MS);
    current = { snapshot, loadedAt: now() };
    pressure.adopt(snapshot.config.limits);
    refresher.adopt(revocation);
    upstreams.adopt();
    await threads.insist({ kind: 'commit' }, PUBLISH_MS);
    // After the swap: an admission that the old snapshot was still taking bears the old epoch, and does not stand.
    advanceEpoch(table);
    await threads.insist({ kind: 'sweep' }, SWEEP_MS);
    metrics.reloadSuccess.set(now() / 1000);
    await audit.append({ time: new Date(now()).toISOString(), event: 'configuration', result: 'done', detail: `configuration ${snapshot.digest}` });
  }

  /** CRL files changed: read again without the rest of the configuration, which may be half edited. */
  async function reloadCrls(): Promise<void> {
    try {
      const { crls, faults } = await readCrlFiles(current.snapshot);
      const revocation = await refresher.load({ ...current.snapshot, crls }, faults);
      refresher.adopt(revocation);
      await publishCrls(revocation.handles);
      log.info({ crls: revocation.handles.length, unread: faults.length }, 'CRLs read again');
      if (faults.length > 0) retryCrls();
    } catch (error) {
      log.error({ error: (error as Error).message }, 'the changed CRL files could not be taken; the old ones stay in force until they end');
      retryCrls();
    }
  }

  function retryCrls(): void {
    const timer = setTimeout(() => {
      if (stopped === undefined) void serially(reloadCrls);
    }, RETRY_CRLS_MS);
    timer.unref();
  }

  /** Every thread has the CRLs before the epoch moves: an admission that is taken in the new epoch is taken with them. */
  async function publishCrls(handles: readonly CrlHandle[]): Promise<void> {
    await threads.insist({ kind: 'crls', handles }, PUBLISH_MS);
    advanceEpoch(table);
    await threads.insist({ kind: 'sweep' }, SWEEP_MS);
  }

  /** The same for what a responder says otherwise than before. */
  async function publishAnswer(certificate: Certificate, issuer: Certificate, statement: Statement): Promise<void> {
    await threads.insist({ kind: 'answer', question: { certificate: certificate.sha256, issuerKey: issuer.spkiSha256 }, statement }, PUBLISH_MS);
    advanceEpoch(table);
    await threads.insist({ kind: 'sweep' }, SWEEP_MS);
  }

  function reportCrls({ report }: RevocationReport): void {
    metrics.crlEntries.reset();
    metrics.crlNextUpdate.reset();
    // An issuer may have several: partitions, a delta. Together they end when the first of them does.
    for (const [issuer, crls] of Map.groupBy(report, (crl) => crl.issuer)) {
      metrics.crlEntries.set({ issuer }, crls.reduce((sum, crl) => sum + crl.entries, 0));
      metrics.crlNextUpdate.set({ issuer }, Math.min(...crls.map((crl) => crl.nextUpdate)) / 1000);
    }
  }

  async function deny(entry: NewDenial): Promise<void> {
    const change: DenyChange = { op: 'deny', ...entry, at: denyList.timeOf(entry, now()) };
    denyList.apply(change);
    await takeEffect(change);
    await replicas?.announce(change);
  }

  async function reinstate(subject: DenySubject, who: string): Promise<boolean> {
    if (!denyList.entries().some((entry) => subjectText(entry) === subjectText(subject))) return false;
    const change: DenyChange = { op: 'reinstate', ...subject, who, at: denyList.timeOf(subject, now()) };
    denyList.apply(change);
    await takeEffect(change);
    await replicas?.announce(change);
    return true;
  }

  /** Ends what a change ends, on every thread, and puts it on record. */
  async function takeEffect(change: DenyChange): Promise<void> {
    await Promise.all([threads.insist({ kind: 'sweep' }, SWEEP_MS), recordChange(change)]);
  }

  function recordChange(change: DenyChange): Promise<void> {
    return audit.append({
      time: new Date(now()).toISOString(), event: 'revocation', result: 'done', who: change.who, ...subjectFields(change),
      ...(change.op === 'deny' ? { reason: 'revoked_denylist', detail: `denied: ${change.reason}` } : { detail: 'reinstated' }),
    });
  }

  /** A change that another gateway made. */
  function receive(change: DenyChange): void {
    try {
      denyList.apply(change);
    } catch (error) {
      // One that cannot be taken must not keep the others out.
      return log.error({ error: (error as Error).message, ...subjectFields(change) }, 'a revocation from another gateway could not be taken');
    }
    takeEffect(change).catch((error: Error) => log.error({ error: error.message }, 'a revocation from another gateway could not be put in force on every thread'));
  }

  function expireDenials(): void {
    try {
      for (const entry of denyList.expire(now())) log.info({ ...subjectFields(entry) }, 'an entry of the deny list expired');
    } catch (error) {
      log.error({ error: (error as Error).message }, 'expired entries of the deny list stay');
    }
  }

  async function status(): Promise<GatewayStatus> {
    const perThread = await threads.all<ThreadStatus>({ kind: 'status' }, 5_000);
    const { report, problems, sources, ocspAnswers, responders } = refresher.report();
    const failures = [...perThread.map((thread) => thread.auditFailure), audit.failure()?.message];
    return {
      pid: process.pid,
      config: {
        file: resolve(file), digest: current.snapshot.digest, loaded_at: new Date(current.loadedAt).toISOString(),
        ...(lastError === undefined ? {} : { last_error: lastError }),
      },
      threads: threads.count,
      epoch: currentEpoch(table),
      connections: perThread.reduce((sum, thread) => sum + thread.connections, 0),
      pressure: pressure.faults(),
      listeners: listeners(),
      crls: { report, problems, sources },
      ocsp: { cached: ocspAnswers, responders },
      deny_list: denyList.entries(),
      upstreams: upstreams.report(),
      ...(replicas === undefined ? {} : { store: replicas.state() }),
      audit: { directory: auditDirectory, failing: failures.filter((failure) => failure !== undefined) },
    };
  }

  /** Why the gateway is not ready; empty when it is. */
  async function ready(): Promise<readonly string[]> {
    if (stopped !== undefined) return ['draining'];
    const { audit: evidence } = await status();
    return [...evidence.failing.map((failure) => `audit: ${failure}`), ...pressure.faults()];
  }

  async function scrape(): Promise<string> {
    metrics.threadsUp.set(threads.count);
    metrics.denyListEntries.set(denyList.entries().length);
    pressure.report();
    const revocation = refresher.report();
    reportCrls(revocation);
    metrics.ocspCacheEntries.set(revocation.ocspAnswers);
    reportCertificates(metrics, current.snapshot);
    reportUpstreams(metrics, upstreams.report());
    const perThread = await threads.all<MetricsAnswer>({ kind: 'metrics' }, 5_000);
    return AggregatorRegistry.aggregate([...perThread, await metrics.registry.getMetricsAsJSON()] as object[]).metrics();
  }

  function listeners(): readonly BoundListener[] {
    return current.snapshot.config.listeners.map(({ name, address }) => ({ name, host: address.host, port: ports[name] ?? address.port }));
  }

  function stop(grace = DEFAULT_GRACE_MS): Promise<void> {
    stopped ??= (async () => {
      await threads.all({ kind: 'drain', grace }, grace + 5_000).catch((error: Error) => log.warn({ error: error.message }, 'a thread did not drain'));
      for (const close of closers.reverse()) await close();
      await refresher.close();
      upstreams.close();
      await threads.terminate();
      await audit.append({ time: new Date(now()).toISOString(), event: 'stop', result: 'done' }).catch(() => undefined);
      audit.close();
      denyList.close();
      portLocks.release();
      lock.release();
    })();
    return stopped;
  }

  return {
    get listeners() {
      return listeners();
    },
    ...(metricsAt === undefined ? {} : { metrics: metricsAt }),
    adminSocket, reload, status, deny, reinstate, stop,
  };
}

async function load(file: string, log: Log): Promise<Snapshot> {
  const result = await loadSnapshot(file, { now: Date.now(), cores: availableParallelism() });
  if (result.kind === 'invalid') throw new ConfigurationError(result.issues);
  for (const warning of result.warnings) log.warn({ place: `${warning.file}:${warning.line}` }, formatIssue(warning, 'warning'));
  return result.snapshot;
}

/** Threads have no use for the bytes of CRLs: they get indexes in shared memory. */
function forThreads(snapshot: Snapshot): Snapshot {
  return { ...snapshot, crls: [] };
}

/** Each connection may need one more to an upstream: as many file descriptors must be left for those as clients may take. */
function affordableConnections(wanted: number, log: Log): number {
  const file = openProcFile('/proc/self/limits');
  const descriptors = descriptorLimit(file.read());
  file.close();
  const affordable = Math.min(wanted, Math.floor(descriptors / 2));
  if (affordable < wanted) log.warn({ wanted, descriptors, connections: affordable }, 'limits.connections is more than half of the file descriptors that the process may have; the half counts');
  return affordable;
}

/** What only a restart can change, by the name of its key. */
function unchangeable(before: Snapshot, after: Snapshot): string | undefined {
  const fixed = { store: 'store', state: 'state', audit: 'audit.directory', admin: 'admin.socket', threads: 'threads', metrics: 'metrics.address' } as const;
  if (before.config.limits.connections !== after.config.limits.connections) return 'limits.connections';
  for (const [key, name] of Object.entries(fixed)) {
    const same = JSON.stringify(before.config[key as keyof typeof fixed]) === JSON.stringify(after.config[key as keyof typeof fixed]);
    if (!same) return name;
  }
  return undefined;
}

function subjectFields(subject: DenySubject): { serial?: string; issuer?: string; fingerprint?: string; key?: string } {
  switch (subject.kind) {
    case 'fingerprint': return { fingerprint: subject.fingerprint };
    case 'serial': return { serial: subject.serial, issuer: subject.issuer_text };
    case 'key': return { key: subject.key };
    case 'issuer': return { issuer: subject.issuer_text };
  }
}

/** Counted in shared memory by the threads, so that they cost a request nothing but an addition. */
function reportUpstreams(metrics: ProcessMetrics, reports: readonly UpstreamReport[]): void {
  const { upstreamUp, upstreamActive, upstreamRequests, upstreamEjections, upstreamRetries, upstreamRefusals, upstreamLookups } = metrics;
  for (const metric of [upstreamUp, upstreamActive, upstreamRequests, upstreamEjections, upstreamRetries, upstreamRefusals, upstreamLookups]) metric.reset();
  for (const { upstream, active, counts, endpoints } of reports) {
    upstreamActive.set({ upstream }, active);
    upstreamRetries.inc({ upstream, result: 'made' }, counts.retried);
    upstreamRetries.inc({ upstream, result: 'refused' }, counts.retry_refused);
    upstreamRefusals.inc({ upstream, limit: 'requests' }, counts.requests_refused);
    upstreamRefusals.inc({ upstream, limit: 'connections' }, counts.connections_refused);
    for (const { endpoint, up, counts: { ejected, ...results }, lookups } of endpoints) {
      upstreamUp.set({ upstream, endpoint }, up ? 1 : 0);
      upstreamEjections.inc({ upstream, endpoint }, ejected);
      for (const [result, times] of Object.entries(results)) upstreamRequests.inc({ upstream, endpoint, result }, times);
      for (const result of ['found', 'failed'] as const) if (lookups !== undefined) upstreamLookups.inc({ upstream, endpoint, result }, lookups[result]);
    }
  }
}

function reportCertificates(metrics: ProcessMetrics, snapshot: Snapshot): void {
  metrics.certificateNotAfter.reset();
  for (const [name, material] of Object.entries(snapshot.listeners)) {
    for (const certificate of material.certificates) {
      metrics.certificateNotAfter.set({ use: 'server', name: `${name}:${certificate.names[0] ?? certificate.file}:${certificate.keyType}` }, certificate.notAfter / 1000);
    }
  }
}
