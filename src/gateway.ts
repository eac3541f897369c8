import { resolve } from 'node:path';
import { answerCall, ON_THE_SOCKET } from './admin/answer-call.ts';
import { openAdminSocket } from './admin/api.ts';
import { createAdminPages } from './admin/pages.ts';
import { openMetricsServer } from './admin/metrics-server.ts';
import { createProcessMetrics } from './admin/metrics.ts';
import { expose, measure } from './admin/scrape.ts';
import type { AdminTarget } from './admin/target.ts';
import { createAlarmDesk } from './alarm-desk.ts';
import { createAlarms } from './alarms.ts';
import { createSafeBoard } from './audit/board.ts';
import { openAuditWriter, type SegmentGround } from './audit/writer.ts';
import { anchorReceiver } from './audit/sinks/configured.ts';
import { watchBackups } from './backup-watch.ts';
import { keepCheckpoints } from './checkpoints.ts';
import { addUp, concernedRoutes } from './concern.ts';
import type { Snapshot } from './config/snapshot.ts';
import type { CrlFiles } from './config/read-again.ts';
import { olderBundles } from './config/trust-files.ts';
import { unchangeable } from './config/unchangeable.ts';
import { loadConfiguration } from './configuration.ts';
import { createDispatch } from './dispatch.ts';
import { createConsole } from './console.ts';
import { createCrlReload } from './crl-reload.ts';
import { createDesk } from './desk.ts';
import { createExpiry } from './expiry.ts';
import { openSecondFactor, type SecondFactor } from './factor/second-factor.ts';
import { sharedClock } from './forward/upstream/clock.ts';
import { createUpstreamWatch } from './forward/upstream/watch.ts';
import { createIncident } from './incident.ts';
import { openInventory } from './inventory.ts';
import { openIssuerKeys } from './issuer-keys.ts';
import { createLive } from './live.ts';
import { createLists, openJournals } from './lists.ts';
import { SILENT, type Log } from './log.ts';
import type { SuspensionScope } from './policy/suspensions.ts';
import { lookAtBundles } from './bundle-refresh.ts';
import { openMaterialReload } from './material-reload.ts';
import { createPreparation } from './preparation.ts';
import { affordableConnections, watchPressure } from './pressure.ts';
import { createPublisher } from './publisher.ts';
import type { CrlHandle } from './revocation/crl-handle.ts';
import { createRefresher } from './revocation/refresher.ts';
import { watchFiles } from './revocation/watch.ts';
import type { Gateway, GatewayOptions, TakeOver } from './running-gateway.ts';
import { watchServerCertificates } from './server-certificates.ts';
import { createSourceFailures } from './source-failures.ts';
import { auditFailures, readNotes, statusOf, type BoundListener, type GatewayStatus } from './status.ts';
import { clearThread, createConnectionCounts } from './store/connection-counts.ts';
import { createDenyTable, currentEpoch } from './store/deny-table.ts';
import { createRates } from './store/rates.ts';
import { openRedis } from './store/redis.ts';
import { openReplicas } from './store/replicas.ts';
import { lockState, lockStateWhenFree, type StateLock } from './store/state-lock.ts';
import { openToldEvents } from './store/told-events.ts';
import { createTrustDesk } from './trust-change.ts';
import { unknownIn, UnknownScopeError } from './suspensions.ts';
import type { AuditAnswer, Concerned, MetricsAnswer, ThreadStatus, ToThread } from './thread-protocol.ts';
import { startThreads } from './threads.ts';
import { watchTemporaries } from './temporary-watch.ts';
import { deniedCertificate } from './tls/denied.ts';

export { ConfigurationError } from './configuration.ts';
export type { NewDenial } from './denials.ts';
export type { NewSuspension } from './suspensions.ts';
export type { Release } from './admin/target.ts';
export type { Listening } from './preparation.ts';
export type { Log } from './log.ts';
export type { Gateway, GatewayOptions, TakeOver } from './running-gateway.ts';
export type { BoundListener, GatewayStatus } from './status.ts';
export type { DenyEntry, DenySubject } from './store/deny-list.ts';

/** What of the process a reload replaces, as a whole. */
interface Current {
  readonly snapshot: Snapshot;
  readonly loadedAt: number;
}

const DEFAULT_GRACE_MS = 10_000;
const EXPIRY_MS = 1_000;
/** How long the process before may take to give up the state. */
const HAND_OVER_MS = 90_000;
/** How long a thread may take to flush its audit segment; a new one has to start first. */
const AUDIT_MS = 30_000;

/**
 * Starts a gateway from a configuration file; resolves once every listener serves on every thread. The composition root:
 * everything the process consists of is made here.
 */
export async function createGateway({ config: file, log = SILENT, takeOver, upgrade }: GatewayOptions): Promise<Gateway> {
  const startedAt = Date.now();
  const snapshot = await loadConfiguration(file, log);
  // Before anything of it is read: a revocation that another process writes meanwhile would be lost on us.
  const state = resolve(snapshot.directory, snapshot.config.state);
  takeOver?.ready();
  const lock = takeOver === undefined ? lockState(state) : await lockStateWhenFree(state, HAND_OVER_MS);
  try {
    return await startGateway(file, log, snapshot, startedAt, lock, takeOver, upgrade);
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function startGateway(file: string, log: Log, first: Snapshot, startedAt: number, lock: StateLock, takeOver: TakeOver | undefined, upgrade: GatewayOptions['upgrade']): Promise<Gateway> {
  const now = (): number => Date.now();
  const { config } = first;
  const inDirectory = (path: string): string => resolve(first.directory, path);
  const state = inDirectory(config.state);
  const auditDirectory = inDirectory(config.audit.directory);
  const adminSocket = inDirectory(config.admin.socket);

  const table = createDenyTable();
  const journals = openJournals(state, table);
  const checkpoints = keepCheckpoints({
    ...config.audit, directory: auditDirectory, state, anchor: config.audit.anchor?.file === undefined ? undefined : inDirectory(config.audit.anchor.file), receiver: anchorReceiver(first), every: config.audit.checkpoint, now, log,
    threads: (ask) => threads.all<never>(ask, AUDIT_MS),
  });
  const board = createSafeBoard(config.threads + 1);
  const segments = (): SegmentGround => ({ ...checkpoints.ground(), directory: auditDirectory, durability: config.audit.durability, board: board.buffer });
  const audit = openAuditWriter(segments(), 'main', now());
  const metrics = createProcessMetrics();
  const alarms = createAlarmDesk({ config: () => current.snapshot.config, dispatch: () => dispatch, audit, count: (rule) => metrics.alarms.inc({ rule }), now, log });
  const dispatch = createDispatch({ directory: auditDirectory, state, board, log, raised: alarms.opened });
  const counts = createConnectionCounts(config.threads, affordableConnections(config.limits.connections, log));
  const sourceFailed = createSourceFailures(audit, now);
  const refresher = await createRefresher({
    state, now, log, serially, publish: publishCrls, failed: sourceFailed,
    changed: (certificate, issuer, statement) => publisher.publish({ kind: 'answer', question: { certificate: certificate.sha256, issuerKey: issuer.spkiSha256 }, statement }),
    denied: (certificate) => deniedCertificate(table, [certificate]) !== undefined,
  });
  refresher.adopt(await refresher.load(first));
  let current: Current = { snapshot: first, loadedAt: now() };
  let lastError: string | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  let stopped: Promise<void> | undefined;

  const shared = first.store === undefined ? undefined : { redis: openRedis(first.store, (message) => log.warn({}, message)), prefix: first.store.prefix };
  let secondFactor: SecondFactor | undefined;
  try {
    secondFactor = openFactors(first);
  } catch (error) {
    // Its attempts to connect would keep alive a process that does not start.
    shared?.redis.disconnect();
    throw error;
  }
  const upstreams = createUpstreamWatch({
    threads: config.threads, log, clock: sharedClock(), publish: (share) => publisher.tell({ kind: 'targets', share }),
  });
  const threads = startThreads({
    count: config.threads,
    birth: () => ({ deny: table.buffer, counts: counts.buffer, segments: segments() }),
    answer: (ask) => desk(ask),
    gone: (place) => {
      checkpoints.gone(place);
      board.clear(place + 1);
      clearThread(counts, place);
      upstreams.forgetThread(place);
    },
    bringUp: async (call) => {
      assertGoesOn();
      await checkpoints.born(() => call<AuditAnswer>({ kind: 'audit' }, AUDIT_MS));
      await tellAll(call);
      await call(preparation.again(current.snapshot));
      await call({ kind: 'commit' });
    },
    log,
  });
  const trust = createTrustDesk({ file, snapshot: () => current.snapshot, threads, audit, now, log });
  const preparation = createPreparation(threads, upstreams, takeOver?.listening);
  const publisher = createPublisher(threads, table);
  const inventory = openInventory({
    snapshot: first, readAt: startedAt, told: () => journals.devices.latest(), log, serially,
    async publish() {
      await inventory.tell(publisher.tell);
      await publisher.sweep();
    },
  });
  const issuerKeys = openIssuerKeys({ readAt: startedAt, now, log, serially, publish: () => publisher.tell({ kind: 'keys', sets: issuerKeys.sets() }) });
  const reloadCrls = createCrlReload({ snapshot: () => current.snapshot, refresher, publish: publishCrls, serially, stopped: () => stopped !== undefined, log });
  const certificates = watchServerCertificates({
    snapshot: () => current.snapshot, state, deny: table, crls: refresher.handles, serially, audit, failed: sourceFailed, now, log,
    alarm: (about) => alarms.raise('server_certificate', about), publish: (staples) => publisher.tell({ kind: 'staples', staples }),
    async swap(snapshot) {
      await preparation.prepare(snapshot);
      current = { ...current, snapshot };
      upstreams.adopt();
      await publisher.tell({ kind: 'commit' });
    },
  });
  const material = openMaterialReload({
    snapshot: () => current.snapshot, readAt: startedAt, serially, now, log,
    take: (next, unread) => putInForce(next, async () => undefined, unread).catch(abandon), audit, counted: (result) => metrics.certificateReloads.inc({ result }),
  });
  const expiry = createExpiry({ snapshot: () => current.snapshot, crls: () => refresher.report().report, dispatch, now, log });
  const replicas = shared === undefined ? undefined : openReplicas({ ...shared, key: first.store?.key, now, warn: (message) => log.warn({}, message) });
  const events = openToldEvents(state, now(), shared);
  const lists = createLists({
    journals, events, replicas, publisher, inventory, audit, config: () => current.snapshot.config, pauses: expiry.pauses, now, log,
    opened: ({ id, route, reason, certificate, address, listener }) => alarms.raise('break_glass', { grant: id, route, reason, certificate, address, listener }),
    counted: (webhook, result) => metrics.webhookEvents.inc({ webhook, result }),
  });
  const { denials, suspensions, breakGlass } = lists;
  const incident = createIncident({ snapshot: () => current.snapshot, threads, suspensions, now });
  const rates = createRates({ ...(shared === undefined ? {} : { shared }), warn: (message) => log.warn({}, message) });
  const desk = createDesk({ refresher, issuerKeys, rates, secondFactor: () => secondFactor, breakGlass, now, webhooks: lists.webhooks, alarm: createAlarms(({ rule, ...raised }) => alarms.raise(rule, raised)), admin: (request) => adminPages(request), log });
  const pressure = watchPressure(config.limits, counts, metrics, log);
  const closers: (() => Promise<void> | void)[] = [() => pressure.close(), () => inventory.close(), () => issuerKeys.close(), () => material.close(), () => certificates.close(), lookAtBundles(() => current.snapshot, material.reload)];
  const operations = {
    status, reload, reloadCertificates: material.reload, deny: denials.deny, reinstate: denials.reinstate, suspend: suspensions.suspend, resume: suspensions.resume, concerned,
    grants: breakGlass.reports, withdraw: breakGlass.withdraw, review: breakGlass.review, alarms: alarms.reports, acknowledge: alarms.acknowledge, expiry: expiry.report,
  };
  const live = createLive({ wanted: () => current.snapshot.config.admin.listener !== undefined, pulses: () => threads.all({ kind: 'pulse' }, 5_000), now });
  const shown = createConsole({ snapshot: () => current.snapshot, status, threads: (ask) => threads.all(ask, 5_000), live, auditDirectory, state, now });
  const adminTarget: AdminTarget = { ...operations, trust, incident, audit: checkpoints, console: shown, factors: () => secondFactor?.factors, unknownRole: (role) => unknownIn({ role }, current.snapshot.config), upgrade };
  const adminGround = { target: adminTarget, record: audit.append, now };
  const adminPages = createAdminPages(adminGround, live);
  let metricsAt: BoundListener | undefined;
  let flagged = (): ReturnType<typeof readNotes> => ({ backups: [], temporary: [], unread: [] });
  try {
    // Before anything is served: a segment that no checkpoint knows holds nothing but its header.
    await checkpoints.start(audit);
    await dispatch.adopt(first);
    await issuerKeys.load(first);
    issuerKeys.adopt(first);
    await tellAll((news) => threads.all(news));
    refresher.start();
    await certificates.load(first);
    current = { ...current, snapshot: certificates.arrange(first) };
    await preparation.prepare(current.snapshot);
    await threads.all({ kind: 'commit' });
    upstreams.adopt();
    certificates.start();
    const watcher = watchFiles({
      files: () => current.snapshot.config.revocation.crl.files.map((path) => resolve(current.snapshot.directory, path)),
      readAt: startedAt,
      changed: reloadCrls,
    });
    closers.push(() => watcher.close());
    const backups = watchBackups({ state, config: () => current.snapshot.config.backup, audit, raise: alarms.raise, metrics, now, log });
    closers.push(() => backups.close());
    const temporaries = watchTemporaries({ state, snapshot: () => current.snapshot, audit, raise: alarms.raise, metrics, now, log });
    closers.push(() => temporaries.close());
    flagged = () => readNotes(backups.report, temporaries.report);
    const look = (): void => {
      lists.look();
      expiry.look();
    };
    look();
    const looking = setInterval(look, EXPIRY_MS);
    looking.unref();
    closers.push(() => clearInterval(looking));
    closers.push(() => {
      secondFactor?.close();
      replicas?.close();
      shared?.redis.disconnect();
    });
    const admin = await openAdminSocket(adminSocket, (called) => answerCall(called, ON_THE_SOCKET, adminGround));
    closers.push(() => admin.close());
    if (config.metrics !== undefined) {
      const server = await openMetricsServer(config.metrics.address, { scrape, ready });
      closers.push(() => server.close());
      metricsAt = { name: 'metrics', host: config.metrics.address.host, port: server.port };
    }
  } catch (error) {
    await stop(0);
    throw error;
  }
  metrics.reloadSuccess.set(now() / 1000);
  await audit.append({ time: new Date(now()).toISOString(), event: 'start', result: 'done', detail: `configuration ${first.digest}` });

  /** What threads must know before they serve, and from then on hear of when it changes. */
  async function tellAll(tell: (news: ToThread) => Promise<unknown>): Promise<void> {
    await tell({ kind: 'crls', handles: refresher.handles() });
    await inventory.tell(tell);
    await tell({ kind: 'keys', sets: issuerKeys.sets() });
    await tell({ kind: 'suspensions', orders: suspensions.entries() });
    await tell({ kind: 'transfers', transfers: lists.transfers() });
    await tell({ kind: 'withdrawn', grants: breakGlass.withdrawn() });
    await tell(incident.news());
    await tell({ kind: 'staples', staples: certificates.staples() });
  }

  function openFactors(snapshot: Snapshot): SecondFactor | undefined {
    return snapshot.secondFactor === undefined ? undefined : openSecondFactor({
      snapshot, state, shared, now, record: (record) => audit.append(record), port: (listener) => preparation.portOf(listener),
      count: (factor, result) => metrics.secondFactors.inc({ factor, result }), warn: (detail) => log.warn({}, detail),
    });
  }

  /** What is changed while it stops would listen anew, and keep from the process that comes after what that is to have. */
  function assertGoesOn(): void {
    if (stopped !== undefined) throw new Error('the gateway is stopping');
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
        issuerKeys.adopt(current.snapshot);
        log.error({ error: lastError }, 'the configuration was not reloaded; the old one serves on');
        throw error;
      }
    });
  }

  async function replaceSnapshot(): Promise<void> {
    const snapshot = await loadConfiguration(file, log);
    assertGoesOn();
    const fixed = unchangeable(current.snapshot.config, snapshot.config);
    if (fixed !== undefined) throw new Error(`${fixed}: cannot change without a restart`);
    const older = olderBundles(current.snapshot, snapshot);
    if (older.length > 0) throw new Error(older.join('; '));
    await putInForce(snapshot, async () => {
      inventory.adopt(snapshot);
      // One that is no longer configured is asked until the commit.
      if (snapshot.devices !== undefined) await inventory.tell(publisher.tell);
    });
    metrics.reloadSuccess.set(now() / 1000);
    await audit.append({ time: new Date(now()).toISOString(), event: 'configuration', result: 'done', detail: `configuration ${snapshot.digest}` });
  }

  /** `devices` tells of the inventory; `unread` are CRL files that could not be read. */
  async function putInForce(read: Snapshot, devices: () => Promise<void>, unread?: CrlFiles['faults']): Promise<void> {
    const revocation = await refresher.load(read, unread);
    await certificates.load(read);
    const snapshot = certificates.arrange(read);
    secondFactor ??= openFactors(snapshot);
    await issuerKeys.load(snapshot);
    const recordTrust = await trust.foresee(snapshot);
    await preparation.prepare(snapshot);
    // From here on there is no way back: a thread that does not follow is replaced by one that starts with the new.
    await publisher.tell({ kind: 'crls', handles: revocation.handles });
    current = { snapshot, loadedAt: now() };
    pressure.adopt(snapshot.config.limits);
    secondFactor?.adopt(snapshot);
    refresher.adopt(revocation);
    void dispatch.adopt(snapshot).then(expiry.again);
    await devices();
    // Those of before are still there: what is under way is judged by them until the commit.
    await publisher.tell({ kind: 'keys', sets: issuerKeys.sets() });
    upstreams.adopt();
    await publisher.tell(incident.news());
    await publisher.publish({ kind: 'commit' });
    recordTrust();
    issuerKeys.adopt(snapshot);
  }

  /** What did not come in force leaves nothing behind. */
  function abandon(error: Error): never {
    issuerKeys.adopt(current.snapshot);
    throw error;
  }

  function publishCrls(handles: readonly CrlHandle[]): Promise<void> {
    return publisher.publish({ kind: 'crls', handles });
  }

  async function status(): Promise<GatewayStatus> {
    const [perThread, feed, standing, ending] = await Promise.all([threads.all<ThreadStatus>({ kind: 'status' }, 5_000), dispatch.report(), alarms.standing(), expiry.summary()]);
    return statusOf({
      transfers: lists.transfers(), file, digest: current.snapshot.digest, loadedAt: current.loadedAt, lastError, perThread, epoch: currentEpoch(table), pressure: pressure.faults(),
      listeners: listeners(), revocation: refresher.report(), denyList: journals.denyList.entries(), suspensions: suspensions.entries(), draining: incident.draining(), maintenance: suspensions.maintenance(), breakGlass: breakGlass.counts(),
      upstreams: upstreams.report(perThread.flatMap(({ faults }) => faults)), tokens: issuerKeys.report(), store: replicas?.state(), ...flagged(), certificates: { ...material.report(), servers: certificates.report() },
      auditDirectory, auditFailure: audit.failure()?.message, feed, alarms: standing, ending,
    });
  }

  async function concerned(scope: SuspensionScope): ReturnType<Gateway['concerned']> {
    const unknown = unknownIn(scope, current.snapshot.config);
    if (unknown !== undefined) throw new UnknownScopeError(unknown);
    const routes = concernedRoutes(scope, current.snapshot.config);
    const found = await threads.all<Concerned>({ kind: 'concerned', scope, allow: routes.flatMap(({ allow }) => allow) }, 5_000);
    return { routes, ...addUp(found) };
  }

  /** Why the gateway is not ready; empty when it is. Reads no file: that none is to be had is one of the reasons. */
  async function ready(): Promise<readonly string[]> {
    if (stopped !== undefined) return ['draining'];
    if (incident.drained()) return ['draining, until it is undone'];
    const failures = auditFailures(await threads.all<ThreadStatus>({ kind: 'status' }, 5_000), audit.failure()?.message);
    return [...failures.map((failure) => `audit: ${failure}`), ...pressure.faults()];
  }

  async function scrape(): Promise<string> {
    pressure.report();
    measure(metrics, {
      ready: (await ready()).length === 0, threads: threads.count, denyListEntries: journals.denyList.entries().length, suspensions: suspensions.entries().length + suspensions.maintenance().length, grants: breakGlass.counts(), revocation: refresher.report(),
      devices: inventory.counts(), snapshot: current.snapshot, servers: certificates.report(), upstreams: upstreams.report(), tokens: issuerKeys.report(), feed: await dispatch.report(), alarms: await alarms.standing(), ending: await expiry.summary(),
    });
    return expose(metrics, await threads.all<MetricsAnswer>({ kind: 'metrics' }, 5_000));
  }

  function listeners(): readonly BoundListener[] {
    return current.snapshot.config.listeners.map(({ name, address }) => ({ name, host: address.host, port: preparation.portOf(name) ?? address.port }));
  }

  function stop(grace = DEFAULT_GRACE_MS): Promise<void> {
    stopped ??= (async () => {
      live.close();
      await threads.all({ kind: 'drain', grace }, grace + 5_000).catch((error: Error) => log.warn({ error: error.message }, 'a thread did not drain'));
      for (const close of closers.reverse()) await close();
      await refresher.close();
      upstreams.close();
      await threads.terminate();
      await audit.append({ time: new Date(now()).toISOString(), event: 'stop', result: 'done' }).catch(() => undefined);
      audit.close();
      await checkpoints.close();
      await dispatch.close();
      journals.close();
      events.close();
      preparation.release();
      lock.release();
    })();
    return stopped;
  }

  return {
    get listeners() {
      return listeners();
    },
    ...(metricsAt === undefined ? {} : { metrics: metricsAt }),
    ...operations, adminSocket, listening: () => serially(preparation.listening), stop,
  };
}
