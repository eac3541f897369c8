import { resolve } from 'node:path';
import { openAdminSocket } from './admin/api.ts';
import { openMetricsServer } from './admin/metrics-server.ts';
import { createProcessMetrics } from './admin/metrics.ts';
import { expose, measure } from './admin/scrape.ts';
import { openAuditWriter, type SegmentGround } from './audit/writer.ts';
import { keepCheckpoints } from './checkpoints.ts';
import type { Snapshot } from './config/snapshot.ts';
import { unchangeable } from './config/unchangeable.ts';
import { loadConfiguration } from './configuration.ts';
import { createAlarms } from './alarms.ts';
import { createBreakGlass } from './break-glass.ts';
import { addUp, concernedRoutes, type ConcernedRoute } from './concern.ts';
import { createCrlReload } from './crl-reload.ts';
import { createDenials, type NewDenial } from './denials.ts';
import { openSecondFactor, type SecondFactor } from './factor/second-factor.ts';
import { sharedClock } from './forward/upstream/clock.ts';
import { createUpstreamWatch } from './forward/upstream/watch.ts';
import { openInventory } from './inventory.ts';
import { openIssuerKeys } from './issuer-keys.ts';
import { SILENT, type Log } from './log.ts';
import { parseCertificate } from './pki/certificate.ts';
import { affordableConnections, watchPressure } from './pressure.ts';
import { createPublisher } from './publisher.ts';
import type { CrlHandle } from './revocation/crl-statement.ts';
import { createRefresher } from './revocation/refresher.ts';
import { watchFiles } from './revocation/watch.ts';
import { statusOf, type BoundListener, type GatewayStatus } from './status.ts';
import { DENIALS, openDenyList, type DenySubject } from './store/deny-list.ts';
import { createRates } from './store/rates.ts';
import { openRedis } from './store/redis.ts';
import { openToldDevices, TOLD_DEVICES } from './store/told-devices.ts';
import { openToldEvents } from './store/told-events.ts';
import { openTransfers, TRANSFERS, transfersIn } from './store/transfers.ts';
import { openReplicas } from './store/replicas.ts';
import { clearThread, createConnectionCounts } from './store/connection-counts.ts';
import { createDenyTable, currentEpoch } from './store/deny-table.ts';
import type { Findings } from './policy/facts.ts';
import type { SuspensionScope } from './policy/suspensions.ts';
import type { AuditAnswer, Concerned, FindingsQuestion, MetricsAnswer, PageAnswer, PrepareAnswer, ThreadStatus, ToMain } from './thread-protocol.ts';
import type { PageRequest } from './forward/client.ts';
import { GRANTS, openGrants, type GrantReport } from './store/grants.ts';
import { createPortLocks } from './store/port-lock.ts';
import { lockState, type StateLock } from './store/state-lock.ts';
import { openSuspensions, SUSPENSIONS } from './store/suspensions.ts';
import { createSuspensions, unknownIn, UnknownScopeError, type NewSuspension } from './suspensions.ts';
import { startThreads } from './threads.ts';
import { assertFreePort } from './tls/free-port.ts';
import { deniedCertificate } from './tls/admission.ts';
import { randomTicketSecret } from './tls/tickets.ts';
import { createWebhooks } from './webhooks.ts';

export { ConfigurationError } from './configuration.ts';
export type { NewDenial } from './denials.ts';
export type { NewSuspension } from './suspensions.ts';
export type { Log } from './log.ts';
export type { BoundListener, GatewayStatus } from './status.ts';
export type { DenyEntry, DenySubject } from './store/deny-list.ts';

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
  /** In force on every thread, durable, and what it ends ended, when it resolves. */
  suspend(order: NewSuspension): Promise<void>;
  /** False when nothing of this scope is suspended. */
  resume(scope: SuspensionScope, who: string): Promise<boolean>;
  /** Whom a suspension would concern. */
  concerned(scope: SuspensionScope): Promise<Concerned & { readonly routes: readonly ConcernedRoute[] }>;
  /** Grants for emergencies, past ones too, oldest first. */
  grants(): readonly GrantReport[];
  /** Ends a grant before its time; rejects when it is not open. */
  withdraw(id: string, who: string, note: string): Promise<void>;
  /** Rejects when it is open, or reviewed already. */
  review(id: string, who: string, note: string): Promise<void>;
  /** Stops accepting, lets current answers finish for `grace` ms (default 10,000), ends the rest. */
  stop(grace?: number): Promise<void>;
}

export interface GatewayOptions {
  /** Path of the YAML configuration. */
  readonly config: string;
  readonly log?: Log;
}

/** What of the process a reload replaces, as a whole. */
interface Current {
  readonly snapshot: Snapshot;
  readonly loadedAt: number;
}

const DEFAULT_GRACE_MS = 10_000;
const EXPIRY_MS = 1_000;
/** How long a thread may take to flush its audit segment; a new one has to start first. */
const AUDIT_MS = 30_000;

/**
 * Starts a gateway from a configuration file; resolves once every listener serves on every thread. The composition root:
 * everything the process consists of is made here.
 */
export async function createGateway({ config: file, log = SILENT }: GatewayOptions): Promise<Gateway> {
  const startedAt = Date.now();
  const snapshot = await loadConfiguration(file, log);
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
  const suspensionList = openSuspensions(state);
  const transfers = openTransfers(state);
  const toldDevices = openToldDevices(state);
  const grantList = openGrants(state);
  const checkpoints = keepCheckpoints({
    directory: auditDirectory, state, anchor: config.audit.anchor === undefined ? undefined : inDirectory(config.audit.anchor.file), every: config.audit.checkpoint, now, log,
    threads: () => threads.all<AuditAnswer>({ kind: 'audit' }, AUDIT_MS),
  });
  const segments = (): SegmentGround => ({ ...checkpoints.ground(), directory: auditDirectory, durability: config.audit.durability });
  const audit = openAuditWriter(segments(), 'main', now());
  const metrics = createProcessMetrics();
  const counts = createConnectionCounts(config.threads, affordableConnections(config.limits.connections, log));
  const ticketSecret = randomTicketSecret();
  const portLocks = createPortLocks();
  const refresher = await createRefresher({
    state, now, log, serially, publish: publishCrls,
    changed: (certificate, issuer, statement) => publisher.publish({ kind: 'answer', question: { certificate: certificate.sha256, issuerKey: issuer.spkiSha256 }, statement }),
    denied: (certificate) => deniedCertificate(table, [certificate]) !== undefined,
  });
  refresher.adopt(await refresher.load(first));
  let current: Current = { snapshot: first, loadedAt: now() };
  let ports: Readonly<Record<string, number>> = {};
  let ourAddresses: ReadonlySet<string> = new Set();
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
    answer: answerThread,
    gone: (place) => {
      checkpoints.gone(place);
      clearThread(counts, place);
      upstreams.forgetThread(place);
    },
    bringUp: async (call) => {
      await checkpoints.born(() => call<AuditAnswer>({ kind: 'audit' }, AUDIT_MS));
      await call({ kind: 'crls', handles: refresher.handles() });
      await inventory.tell(call);
      await call({ kind: 'suspensions', orders: suspensions.entries() });
      await call({ kind: 'transfers', transfers: transfersIn(transfers.latest()) });
      await call({ kind: 'withdrawn', grants: breakGlass.withdrawn() });
      await call({ kind: 'prepare', snapshot: forThreads(current.snapshot), ticketSecret, ports, upstreams: upstreams.shares() });
      await call({ kind: 'commit' });
    },
    log,
  });
  const publisher = createPublisher(threads, table);
  const inventory = openInventory({
    snapshot: first, readAt: startedAt, told: () => toldDevices.latest(), log, serially,
    async publish() {
      await inventory.tell(publisher.tell);
      await publisher.sweep();
    },
  });
  const issuerKeys = openIssuerKeys({ readAt: startedAt, now, log, serially, publish: () => publisher.tell({ kind: 'keys', sets: issuerKeys.sets() }) });
  const alarms = createAlarms(({ rule, ...raised }) => {
    metrics.alarms.inc({ rule });
    log.warn({ alarm: rule, ...raised }, 'alarm');
  });
  const reloadCrls = createCrlReload({ snapshot: () => current.snapshot, refresher, publish: publishCrls, serially, stopped: () => stopped !== undefined, log });
  const denials = createDenials({ list: denyList, audit, sweep: publisher.sweep, announce: async (change) => announceDenial?.(change), now, log });
  const suspensions = createSuspensions({
    list: suspensionList, config: () => current.snapshot.config, audit, announce: async (change) => announceSuspension?.(change), now, log,
    publish: (orders) => publisher.publish({ kind: 'suspensions', orders }),
  });
  const breakGlass = createBreakGlass({
    list: grantList, audit, announce: async (change) => announceGrant?.(change), now, log,
    publish: (grants) => publisher.publish({ kind: 'withdrawn', grants }),
    alarm({ id, route, reason, certificate, address, listener }) {
      metrics.alarms.inc({ rule: 'break_glass' });
      log.warn({ alarm: 'break_glass', grant: id, route, reason, certificate, address, listener }, 'alarm');
    },
  });
  const rates = createRates({ ...(shared === undefined ? {} : { shared }), warn: (message) => log.warn({}, message) });
  const replicas = shared === undefined ? undefined : openReplicas({
    ...shared, now, epochMoved: reloadCrls, warn: (message) => log.warn({}, message),
  });
  const announceDenial = replicas?.share({ ...DENIALS, name: 'deny', receive: denials.receive, isNews: denyList.isNews, changes: denyList.changes });
  const announceGrant = replicas?.share({ ...GRANTS, name: 'break-glass', receive: breakGlass.receive, isNews: grantList.isNews, changes: grantList.changes });
  const announceSuspension = replicas?.share({ ...SUSPENSIONS, name: 'suspensions', receive: suspensions.receive, isNews: suspensionList.isNews, changes: suspensionList.changes });
  const toldEvents = openToldEvents(state, now(), shared);
  const webhooks = createWebhooks({
    config: () => current.snapshot.config, denials, denyList, transfers, devices: toldDevices, events: toldEvents, audit, now,
    publishTransfers: () => publisher.publish({ kind: 'transfers', transfers: transfersIn(transfers.latest()) }),
    async publishDevice(id) {
      await inventory.tellOne(id, publisher.tell);
      await publisher.sweep();
    },
    deviceOf: inventory.get,
    announceTransfer: async (change) => announceTransferred?.(change),
    announceDevice: async (change) => announceDevice?.(change),
    count: (webhook, result) => metrics.webhookEvents.inc({ webhook, result }),
    failed: (webhook, error) => log.error({ webhook, error: error.message }, 'an event could not be taken'),
    fault: (error) => log.error({ error: error.message }, 'what another gateway was told could not be taken'),
  });
  const announceTransferred = replicas?.share({ ...TRANSFERS, name: 'transfers', receive: webhooks.receiveTransfer, isNews: transfers.isNews, changes: transfers.latest });
  const announceDevice = replicas?.share({ ...TOLD_DEVICES, name: 'devices', receive: webhooks.receiveDevice, isNews: toldDevices.isNews, changes: toldDevices.latest });
  const pressure = watchPressure(config.limits, counts, metrics, log);
  const closers: (() => Promise<void> | void)[] = [() => pressure.close(), () => inventory.close(), () => issuerKeys.close()];
  try {
    // Before anything is served: a segment that no checkpoint knows holds nothing but its header.
    await checkpoints.start(audit);
    await threads.all({ kind: 'crls', handles: refresher.handles() });
    await inventory.tell((part) => threads.all(part));
    await threads.all({ kind: 'suspensions', orders: suspensions.entries() });
    await issuerKeys.load(first);
    issuerKeys.adopt(first);
    await threads.all({ kind: 'keys', sets: issuerKeys.sets() });
    await threads.all({ kind: 'transfers', transfers: transfersIn(transfers.latest()) });
    await threads.all({ kind: 'withdrawn', grants: breakGlass.withdrawn() });
    refresher.start();
    await prepare(first);
    await threads.all({ kind: 'commit' });
    upstreams.adopt();
    const watcher = watchFiles({
      files: () => current.snapshot.config.revocation.crl.files.map((path) => resolve(current.snapshot.directory, path)),
      readAt: startedAt,
      changed: reloadCrls,
    });
    closers.push(() => watcher.close());
    suspensions.look();
    const expiry = setInterval(() => {
      denials.expire();
      suspensions.look();
      breakGlass.look();
    }, EXPIRY_MS);
    expiry.unref();
    closers.push(() => clearInterval(expiry));
    closers.push(() => {
      secondFactor?.close();
      replicas?.close();
      shared?.redis.disconnect();
    });
    const admin = await openAdminSocket(adminSocket, {
      status, reload, deny: denials.deny, reinstate: denials.reinstate, suspend: suspensions.suspend, resume: suspensions.resume, concerned, grants: breakGlass.reports, withdraw: breakGlass.withdraw, review: breakGlass.review, factors: () => secondFactor?.factors,
      unknownRole: (role) => unknownIn({ role }, current.snapshot.config),
    });
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

  function answerPage(request: PageRequest): Promise<PageAnswer> {
    return secondFactor?.answerPage(request) ?? Promise.reject(new Error('a page that no route needs'));
  }

  function openFactors(snapshot: Snapshot): SecondFactor | undefined {
    return snapshot.secondFactor === undefined ? undefined : openSecondFactor({
      snapshot, state, shared, now, record: (record) => audit.append(record),
      count: (factor, result) => metrics.secondFactors.inc({ factor, result }), warn: (detail) => log.warn({}, detail),
    });
  }

  function answerThread(ask: ToMain): unknown {
    if (ask.kind === 'witness') {
      // The verdict is ours; where the library's is another, somebody should look.
      return log.warn({ certificate: ask.certificate, ours: ask.ours, openssl: ask.theirs }, 'OpenSSL judges a client certificate otherwise');
    }
    if (ask.kind === 'issuers') return refresher.fetchIssuers(ask.url);
    if (ask.kind === 'find') return find(ask);
    if (ask.kind === 'count') return rates.add(ask.counters);
    if (ask.kind === 'alarm') return alarms(ask.raised);
    if (ask.kind === 'told') return webhooks.take(ask.told);
    if (ask.kind === 'issuer_keys') return issuerKeys.refresh(ask.source);
    if (ask.kind === 'page') return answerPage(ask.request);
    const certificate = parseCertificate(ask.certificate);
    const issuer = parseCertificate(ask.issuer);
    return ask.kind === 'ocsp' ? refresher.askOcsp(certificate, issuer) : refresher.fetchCrl(certificate, issuer);
  }

  /** What a request needs that exists once a gateway. What is used up is asked no further. */
  async function find({ counters, session: named, grant }: FindingsQuestion): Promise<Findings> {
    const limits = await rates.take(counters);
    if (limits.kind === 'exceeded') return { limits, session: { kind: 'none' } };
    const session = named === undefined || secondFactor === undefined ? { kind: 'none' } as const : await secondFactor.find(named.token, named);
    if (grant === undefined || (named !== undefined && session.kind !== 'valid')) return { limits, session };
    return { limits, session, grant: await breakGlass.find(grant) };
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
        issuerKeys.adopt(current.snapshot);
        log.error({ error: lastError }, 'the configuration was not reloaded; the old one serves on');
        throw error;
      }
    });
  }

  async function replaceSnapshot(): Promise<void> {
    const snapshot = await loadConfiguration(file, log);
    const fixed = unchangeable(current.snapshot.config, snapshot.config);
    if (fixed !== undefined) throw new Error(`${fixed}: cannot change without a restart`);
    const revocation = await refresher.load(snapshot);
    secondFactor ??= openFactors(snapshot);
    await issuerKeys.load(snapshot);
    await prepare(snapshot);
    // From here on there is no way back: a thread that does not follow is replaced by one that starts with the new.
    await publisher.tell({ kind: 'crls', handles: revocation.handles });
    current = { snapshot, loadedAt: now() };
    pressure.adopt(snapshot.config.limits);
    secondFactor?.adopt(snapshot);
    refresher.adopt(revocation);
    inventory.adopt(snapshot);
    // One that is no longer configured is asked until the commit.
    if (snapshot.devices !== undefined) await inventory.tell(publisher.tell);
    // Those of before are still there: what is under way is judged by them until the commit.
    await publisher.tell({ kind: 'keys', sets: issuerKeys.sets() });
    upstreams.adopt();
    await publisher.publish({ kind: 'commit' });
    issuerKeys.adopt(snapshot);
    metrics.reloadSuccess.set(now() / 1000);
    await audit.append({ time: new Date(now()).toISOString(), event: 'configuration', result: 'done', detail: `configuration ${snapshot.digest}` });
  }

  function publishCrls(handles: readonly CrlHandle[]): Promise<void> {
    return publisher.publish({ kind: 'crls', handles });
  }

  async function status(): Promise<GatewayStatus> {
    const perThread = await threads.all<ThreadStatus>({ kind: 'status' }, 5_000);
    return statusOf({
      transfers: transfersIn(transfers.latest()), file, digest: current.snapshot.digest, loadedAt: current.loadedAt, lastError, perThread, epoch: currentEpoch(table), pressure: pressure.faults(),
      listeners: listeners(), revocation: refresher.report(), denyList: denyList.entries(), suspensions: suspensions.entries(), maintenance: suspensions.maintenance(), breakGlass: breakGlass.counts(),
      upstreams: upstreams.report(), tokens: issuerKeys.report(), store: replicas?.state(),
      auditDirectory, auditFailure: audit.failure()?.message,
    });
  }

  async function concerned(scope: SuspensionScope): ReturnType<Gateway['concerned']> {
    const unknown = unknownIn(scope, current.snapshot.config);
    if (unknown !== undefined) throw new UnknownScopeError(unknown);
    const routes = concernedRoutes(scope, current.snapshot.config);
    const found = await threads.all<Concerned>({ kind: 'concerned', scope, allow: routes.flatMap(({ allow }) => allow) }, 5_000);
    return { routes, ...addUp(found) };
  }

  /** Why the gateway is not ready; empty when it is. */
  async function ready(): Promise<readonly string[]> {
    if (stopped !== undefined) return ['draining'];
    const { audit: evidence } = await status();
    return [...evidence.failing.map((failure) => `audit: ${failure}`), ...pressure.faults()];
  }

  async function scrape(): Promise<string> {
    pressure.report();
    measure(metrics, {
      threads: threads.count, denyListEntries: denyList.entries().length, suspensions: suspensions.entries().length + suspensions.maintenance().length, grants: breakGlass.counts(), revocation: refresher.report(),
      devices: inventory.counts(), snapshot: current.snapshot, upstreams: upstreams.report(), tokens: issuerKeys.report(),
    });
    return expose(metrics, await threads.all<MetricsAnswer>({ kind: 'metrics' }, 5_000));
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
      await checkpoints.close();
      denyList.close();
      suspensionList.close();
      transfers.close();
      toldDevices.close();
      toldEvents.close();
      grantList.close();
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
    adminSocket, reload, status, deny: denials.deny, reinstate: denials.reinstate, suspend: suspensions.suspend, resume: suspensions.resume, concerned, grants: breakGlass.reports, withdraw: breakGlass.withdraw, review: breakGlass.review, stop,
  };
}

/** Threads have no use for the bytes of CRLs: they get indexes in shared memory. The inventory comes in parts. */
function forThreads(snapshot: Snapshot): Snapshot {
  return { ...snapshot, crls: [], devices: [] };
}
