import type { Socket } from 'node:net';
import { LRUCache } from 'lru-cache';
import type { MessagePort } from 'node:worker_threads';
import { openAuditWriter, type AuditWriter } from './audit/writer.ts';
import { createThreadMetrics, type ThreadMetrics } from './admin/metrics.ts';
import type { HstsConfig, ListenerConfig, UpstreamConfig } from './config/schema.ts';
import type { Snapshot } from './config/snapshot.ts';
import type { Desk } from './forward/client.ts';
import { createGeneralForwarder } from './forward/general.ts';
import { sharedClock } from './forward/upstream/clock.ts';
import { createUpstream, type Upstream, type UpstreamShare } from './forward/upstream/pool.ts';
import type { UpstreamShares } from './forward/upstream/watch.ts';
import type { Admission, Reason } from './policy/facts.ts';
import { compileRates } from './policy/limits.ts';
import { compileRoutes } from './policy/routes.ts';
import { compileSenders } from './policy/senders.ts';
import type { CrlHandle } from './revocation/crl-statement.ts';
import { httpProtocol } from './http-protocol.ts';
import { alpnOf, connectionFields, endsTls, type HttpsRuntime, type ListenerRuntime, type Protocol, type TcpRuntime } from './protocol.ts';
import { ISSUER_FETCH_MS } from './revocation/issuer-fetch.ts';
import { createRevocationView, type RevocationDesk } from './revocation/view.ts';
import { openLine, type Line } from './store/call.ts';
import { openConnectionCounts } from './store/connection-counts.ts';
import { openDenyTable, type DenyTable } from './store/deny-table.ts';
import type { FindingsAnswer, IssuersAnswer, OcspAnswer, PrepareAnswer, ThreadBirth, ThreadStatus, ToMain, ToThread } from './thread-protocol.ts';
import { createAdmissionOffice, deniedCertificate } from './tls/admission.ts';
import { currentAdmission, type Connection } from './tls/connection.ts';
import { createContexts } from './tls/contexts.ts';
import { createDoor, type Door, type DoorLimits } from './tls/door.ts';
import { openCollector, type Collector, type SpanResult } from './tracing/collector.ts';
import { tcpProtocol } from './tcp-protocol.ts';
import { createTlsListener, type TlsListener } from './tls/listener.ts';
import { createRedirectListener, type RedirectListener } from './tls/redirect.ts';
import { createTurnedAway } from './turned-away.ts';

/** How long a connection that no longer stands may stay unnoticed. */
const WATCH_MS = 1_000;
/** How long judging open connections again may hold up requests at a time. */
const SLICE_MS = 10;
/** How long requests that were cut may take to be recorded. */
const SETTLE_MS = 2_000;
/** How long the last spans may take to be sent. */
const SPANS_MS = 2_000;
/** The main thread keeps its own, configured deadlines; this one is for a main thread that does not answer at all. */
const ANSWER_MS = 120_000;
/** Who is served waits for it. */
const FINDINGS_MS = 5_000;
/** How long the main thread is waited for; it waits for the host itself. */
const ISSUERS_MS = ISSUER_FETCH_MS + 1_000;

/** What OpenSSL says of a client that brought no intermediates, and of an anchor that is not a root: no disagreement. */
const LACKS_ISSUER = new Set(['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY']);

/** Everything a snapshot became on this thread. */
interface Runtime {
  readonly snapshot: Snapshot;
  readonly listeners: ReadonlyMap<string, ListenerRuntime>;
  readonly upstreams: ReadonlyMap<string, Upstream>;
  /** Where spans go; absent where tracing is not configured. */
  readonly collector: Collector | undefined;
}

/** A bound listener with its connections; it outlives reloads that keep its address. */
interface OpenListener {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly tls: TlsListener;
  readonly protocol: Protocol;
  readonly connections: Map<Socket, Connection>;
  runtime: ListenerRuntime;
}

interface OpenRedirect {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly redirect: RedirectListener;
  readonly config: ListenerConfig;
}

type Bound = OpenListener | OpenRedirect;

interface Prepared {
  readonly runtime: Runtime;
  readonly bound: ReadonlyMap<string, Bound>;
  readonly fresh: readonly Bound[];
}

/** Wires a data-plane thread: listeners, admission, policy, forwarding and audit, fed by the main thread's messages. */
export function startDataPlane(birth: ThreadBirth, port: MessagePort): void {
  const now = (): number => Date.now();
  const clock = sharedClock();
  const deny: DenyTable = openDenyTable(birth.deny);
  const counts = openConnectionCounts(birth.counts);
  const metrics = createThreadMetrics();
  const audit = countingWriter(openAuditWriter(birth.auditDirectory, `t${birth.index}`, now()), metrics);
  const turnedAway = createTurnedAway(audit, metrics, now);
  const forwarder = createGeneralForwarder();
  const line: Line<ToMain> = openLine<ToMain, ToThread>(port, answer);
  const desk: RevocationDesk = createRevocationView({
    ask: (certificate, issuer) => line.call<OcspAnswer>({ kind: 'ocsp', certificate, issuer }, ANSWER_MS),
    fetchCrl: (certificate, issuer) => line.call<void>({ kind: 'crl', certificate, issuer }, ANSWER_MS),
    fetchIssuers: (url) => line.call<IssuersAnswer>({ kind: 'issuers', url }, ISSUERS_MS),
    now,
    checked: (source, result) => metrics.revocationChecks.inc({ source, result }),
  });
  const findings: Desk = {
    find: (counters, session) => line.call<FindingsAnswer>({ kind: 'find', counters, ...(session === undefined ? {} : { session }) }, FINDINGS_MS),
    count: (counters) => void line.call<void>({ kind: 'count', counters }, FINDINGS_MS).catch(() => undefined),
  };
  let runtime: Runtime | undefined;
  let bound: ReadonlyMap<string, Bound> = new Map();
  const retiring = new Set<OpenListener>();
  let judging = false;
  /** Certificates whose witness was reported: once each is enough. */
  const told = new LRUCache<string, true>({ max: 1_000 });
  let prepared: Prepared | undefined;
  let draining = false;
  const watch = setInterval(sweep, WATCH_MS);

  function answer(ask: ToThread): unknown {
    switch (ask.kind) {
      case 'prepare': return prepare(ask.snapshot, ask.ticketSecret, ask.ports, ask.upstreams);
      case 'commit': return commit();
      case 'discard': return discard();
      case 'crls': return desk.replaceCrls(ask.handles as readonly CrlHandle[]);
      case 'targets': return retarget(ask.share);
      case 'answer': return desk.learn(ask.question, ask.statement);
      case 'sweep': return sweep();
      case 'metrics': return metrics.registry.getMetricsAsJSON();
      case 'status': return status();
      case 'drain': return drain(ask.grace);
    }
  }

  async function prepare(snapshot: Snapshot, ticketSecret: Uint8Array, ports: Readonly<Record<string, number>>, shares: UpstreamShares): Promise<PrepareAnswer> {
    await discard();
    const collector = await keepOrOpenCollector(snapshot, runtime, (result, spans) => metrics.spans.inc({ result }, spans));
    const all = new Map<string, Bound>();
    const fresh: Bound[] = [];
    let next: Runtime;
    try {
      next = buildRuntime(snapshot, ticketSecret, shares, runtime, collector);
      for (const config of snapshot.config.listeners) {
        const address = `${config.address.host}:${config.address.port}`;
        const open = bound.get(config.name);
        const kept = open !== undefined && open.address === address && canGoOn(open, config);
        const listener = kept ? open : await bind(config, address, ports[config.name] ?? config.address.port, next);
        all.set(config.name, listener);
        if (!kept) fresh.push(listener);
      }
    } catch (error) {
      for (const listener of fresh) close(listener);
      if (collector !== runtime?.collector) void collector?.close(0);
      throw error;
    }
    prepared = { runtime: next, bound: all, fresh };
    return Object.fromEntries([...all].map(([name, listener]) => [name, listener.port]));
  }

  function buildRuntime(snapshot: Snapshot, ticketSecret: Uint8Array, shares: UpstreamShares, before: Runtime | undefined, collector: Collector | undefined): Runtime {
    const { config } = snapshot;
    const tracer = collector?.tracer;
    const upstreams = new Map(Object.entries(config.upstreams).map(([name, upstream]) => [name, keepOrCreateUpstream(name, upstream)]));
    const rates = compileRates('gateway', config.limits.rates);
    const policy = { routes: compileRoutes(config.routes, rates), unavailable: config.revocation.unavailable, rates };
    const routeHosts = config.routes.flatMap((route) => route.match.host ?? []);
    const listeners = new Map<string, ListenerRuntime>();
    for (const listener of config.listeners) {
      if (!endsTls(listener)) continue;
      const material = snapshot.listeners[listener.name];
      if (material === undefined) throw new Error(`listeners: no material for ${listener.name}`);
      const common = {
        contexts: createContexts(listener, material, listener.protocol === 'https' ? routeHosts : [], material.ticketSecret ?? ticketSecret),
        office: createAdmissionOffice({
          config, realms: material.realms, deny, revocation: desk.view(config.revocation), now, fetchFrom: listener.client_auth.fetch_intermediates?.from ?? [],
        }),
      };
      listeners.set(listener.name, listener.protocol === 'https'
        ? { ...common, config: listener, service: { listener, hsts: hstsValue(listener.hsts), policy, desk: findings, upstreams, ...(tracer === undefined ? {} : { tracer }) } }
        : { ...common, config: listener, policy: { allow: new Set(listener.allow), unavailable: policy.unavailable, ...(listener.senders === undefined ? {} : { senders: compileSenders(listener.senders) }) }, upstream: upstreams.get(listener.upstream) as Upstream });
    }
    return { snapshot, listeners, upstreams, collector };

    /** One that has not changed goes on: a reload must not cost its warm connections, nor what is known of its endpoints. */
    function keepOrCreateUpstream(name: string, upstream: UpstreamConfig): Upstream {
      const [material, share] = [snapshot.upstreams[name], shares[name]];
      if (material === undefined || share === undefined) throw new Error(`upstreams: no material for ${name}`);
      const old = before?.upstreams.get(name);
      return old?.id === share.id ? old : createUpstream({ name, config: upstream, material, share, thread: birth.place, threads: config.threads, clock });
    }
  }

  function retarget(share: UpstreamShare): void {
    for (const one of new Set([runtime, prepared?.runtime])) {
      for (const upstream of one?.upstreams.values() ?? []) if (upstream.id === share.id) upstream.retarget(share.targets, share.problem);
    }
  }

  async function bind(config: ListenerConfig, address: string, wanted: number, next: Runtime): Promise<Bound> {
    const { name } = config;
    if (!endsTls(config)) {
      const redirect = createRedirectListener({
        config,
        door: doorOf(name, () => config.limits),
        turnedAway: (limit, from) => turnedAway.note(name, limit, from),
        answered: (status) => metrics.redirects.inc({ listener: name, status }),
      });
      return { name, address, port: await redirect.listen(config.address.host, wanted), redirect, config };
    }
    const listenerRuntime = next.listeners.get(name) as ListenerRuntime;
    const connections = new Map<Socket, Connection>();
    const terminated = (connection: Connection, reason: Reason, detail: string): void => {
      metrics.connectionsTerminated.inc({ reason });
      void recordConnection(connection, heldAdmission(connection), reason, detail);
    };
    const shared = { connections, forwarder, audit, metrics, now, draining: () => draining || bound.get(name) !== open, terminated };
    const protocol = config.protocol === 'https'
      ? httpProtocol(config, { ...shared, runtime: () => open.runtime as HttpsRuntime })
      : tcpProtocol({ ...shared, runtime: () => open.runtime as TcpRuntime });
    const tls = createTlsListener({
      config,
      contexts: listenerRuntime.contexts,
      door: doorOf(name, () => open.runtime.config.limits),
      turnedAway: (limit, from) => turnedAway.note(name, limit, from),
      alpn: alpnOf,
      accept: (connection) => void accept(connection, open),
      failed: (failure) => metrics.handshakes.inc({ listener: name, result: 'failed', reason: failure, tls: 'none', resumed: 'false' }),
      durations: (seconds) => metrics.handshakeDuration.observe(seconds),
    });
    const open: OpenListener = { name, address, port: 0, tls, protocol, connections, runtime: listenerRuntime };
    return Object.assign(open, { port: await tls.listen(config.address.host, wanted) });
  }

  function doorOf(listener: string, limits: () => DoorLimits): Door {
    return createDoor({ counts, thread: birth.place, listener, limits });
  }

  async function accept(connection: Connection, open: OpenListener): Promise<void> {
    const { socket, listener } = connection;
    open.connections.set(socket, connection);
    const labels = { listener, protocol: open.protocol.label(connection) };
    metrics.connectionsOpen.inc(labels);
    socket.on('close', () => {
      open.connections.delete(socket);
      metrics.connectionsOpen.dec(labels);
    });
    const { office, config } = open.runtime;
    let admission: Admission;
    try {
      admission = await currentAdmission(connection, office, connection.serverName ?? '');
    } catch {
      // Whatever fails here, nobody is admitted by it.
      return void socket.destroy();
    }
    if (socket.destroyed) return;
    if (admission.kind === 'known' && !connection.places.certificate(admission.leaf.sha256)) return turnAwayCertificate(connection, admission);
    const missing = admission.kind === 'anonymous' && config.client_auth.mode === 'required';
    const reason = admission.kind === 'refused' ? admission.reason : missing ? 'no_certificate' : undefined;
    const result = reason === undefined ? 'accepted' : 'refused';
    metrics.handshakes.inc({ listener, result, reason: reason ?? 'none', tls: connection.tls, resumed: String(connection.resumed) });
    if (connection.peer.leaf !== undefined && !connection.resumed) countWitness(connection, admission);
    if (reason !== undefined && config.protocol === 'https' && config.reject === 'close') {
      await recordConnection(connection, admission, reason, admission.kind === 'refused' ? admission.detail : undefined);
      return void socket.destroy();
    }
    open.protocol.serve(connection, admission);
  }

  /** A certificate that has all its connections already: one more is closed, and on record, since it names somebody. */
  async function turnAwayCertificate(connection: Connection, admission: Admission): Promise<void> {
    const { listener } = connection;
    metrics.connectionsRefused.inc({ listener, limit: 'certificate' });
    metrics.handshakes.inc({ listener, result: 'refused', reason: 'connection_limit', tls: connection.tls, resumed: String(connection.resumed) });
    // Gone from the counts before its record is written: its client may come again at once.
    connection.socket.destroy();
    await recordConnection(connection, admission, 'connection_limit', 'the certificate has as many connections as it may have');
  }

  /** Holds our verdict about a path against OpenSSL's, which knows nothing of revocation and of intermediates that the client did not bring. */
  function countWitness(connection: Connection, admission: Admission): void {
    const ours = admission.kind === 'known' ? 'admitted' : admission.kind === 'refused' && admission.path === undefined ? admission.reason : undefined;
    if (ours === undefined || (ours === 'admitted') === connection.socket.authorized) return;
    const theirs = connection.socket.authorized ? 'authorized' : String(connection.socket.authorizationError);
    if (LACKS_ISSUER.has(theirs)) return;
    metrics.witnessDisagreements.inc({ verdict: ours === 'admitted' ? 'admitted' : 'refused' });
    if (admission.kind === 'anonymous' || admission.leaf === undefined || told.has(admission.leaf.sha256)) return;
    told.set(admission.leaf.sha256, true);
    line.call({ kind: 'witness', certificate: admission.leaf.sha256, ours, theirs }).catch(() => undefined);
  }

  async function recordConnection(connection: Connection, admission: Admission, reason: Reason, detail?: string): Promise<void> {
    await audit.append({
      time: new Date(now()).toISOString(), event: 'connection', result: 'denied', reason, ...(detail === undefined ? {} : { detail }),
      ...connectionFields(connection, admission),
    }).catch(() => undefined);
  }

  function commit(): void {
    if (prepared === undefined) throw new Error('nothing is prepared');
    const { runtime: next, bound: all } = prepared;
    prepared = undefined;
    const before = { runtime, bound };
    runtime = next;
    bound = all;
    for (const listener of all.values()) {
      if (!('tls' in listener)) continue;
      const listenerRuntime = next.listeners.get(listener.name) as ListenerRuntime;
      if (listener.runtime === listenerRuntime) continue;
      listener.runtime = listenerRuntime;
      listener.tls.replace(listenerRuntime.contexts, listenerRuntime.config);
      listener.protocol.reconfigure();
    }
    for (const [name, listener] of before.bound) if (all.get(name) !== listener) retire(listener);
    for (const [name, upstream] of before.runtime?.upstreams ?? []) if (next.upstreams.get(name) !== upstream) upstream.retire();
    if (before.runtime?.collector !== next.collector) void before.runtime?.collector?.close(SPANS_MS);
  }

  /**
   * A listener that is no longer configured: answers under way are finished, everything else is denied, and its connections
   * stay within reach of revocation until the last has gone.
   */
  function retire(listener: Bound): void {
    close(listener);
    if ('redirect' in listener) return;
    listener.runtime = withoutRights(listener.runtime);
    retiring.add(listener);
  }

  /** Every listener that still has connections. */
  function serving(): readonly OpenListener[] {
    for (const listener of retiring) if (listener.connections.size === 0) retiring.delete(listener);
    return [...[...bound.values()].filter((listener) => 'tls' in listener), ...retiring];
  }

  function discard(): void {
    for (const listener of prepared?.fresh ?? []) close(listener);
    if (prepared?.runtime.collector !== runtime?.collector) void prepared?.runtime.collector?.close(0);
    prepared = undefined;
  }

  function close(listener: Bound): void {
    if ('redirect' in listener) return listener.redirect.close();
    listener.tls.close();
    listener.protocol.closeIdle();
  }

  /**
   * Ends every connection whose certificate is no longer good; those that stand cost a comparison each. The deny list is looked
   * at before this returns, everything else in slices that leave the thread to its requests.
   */
  function sweep(): void {
    turnedAway.flush();
    for (const [listener, connection, held] of stale()) {
      if (held.kind === 'refused') connection.socket.destroy();
      else if (held.kind === 'known') {
        const denied = deniedCertificate(deny, held.path);
        if (denied !== undefined) end(connection, held, 'revoked_denylist', `the certificate with serial ${denied.serial} is on the deny list`);
      }
      if (connection.stream !== undefined && held.kind === 'anonymous') judgeOpen(connection, listener, held);
    }
    if (!judging) void judgeStale().finally(() => {
      judging = false;
    });
  }

  /** What open connections stand on that does not stand any more, and the streams of the anonymous. */
  function* stale(): Generator<readonly [OpenListener, Connection, Admission, string]> {
    for (const listener of serving()) {
      const { office } = listener.runtime;
      for (const connection of listener.connections.values()) {
        if (connection.socket.destroyed) continue;
        for (const [realm, held] of connection.admissions) {
          if (!office.stands(held) || (held.kind === 'anonymous' && connection.stream !== undefined)) yield [listener, connection, held, realm];
        }
      }
    }
  }

  async function judgeStale(): Promise<void> {
    judging = true;
    let sliceEnds = performance.now() + SLICE_MS;
    // Taken down first: judging changes what is walked.
    for (const [listener, connection, held, realm] of [...stale()]) {
      if (held.kind === 'anonymous' || connection.socket.destroyed || !listener.connections.has(connection.socket)) continue;
      const taken = currentAdmission(connection, listener.runtime.office, realm);
      if (taken instanceof Promise) void taken.then((admission) => judgeOpen(connection, listener, admission), () => connection.socket.destroy());
      else judgeOpen(connection, listener, taken);
      if (performance.now() < sliceEnds) continue;
      await new Promise((resolve) => setImmediate(resolve));
      sliceEnds = performance.now() + SLICE_MS;
    }
  }

  /** Whether an open connection had to be ended: its certificate is refused, or its stream would not be let in any more. */
  function judgeOpen(connection: Connection, listener: OpenListener, admission: Admission): void {
    if (connection.socket.destroyed) return;
    if (admission.kind === 'refused') return end(connection, admission, admission.reason, admission.detail);
    const objection = listener.protocol.objection(connection, admission);
    if (objection !== undefined) end(connection, admission, objection.reason, objection.detail);
  }

  function end(connection: Connection, admission: Admission, reason: Reason, detail: string): void {
    metrics.connectionsTerminated.inc({ reason });
    if (connection.ending !== undefined) return connection.ending({ reason, detail });
    void recordConnection(connection, admission, reason, detail);
    connection.socket.destroy();
  }

  function status(): ThreadStatus {
    let connections = 0;
    for (const listener of serving()) connections += listener.connections.size;
    const failure = audit.failure();
    return { connections, ...(failure === undefined ? {} : { auditFailure: failure.message }) };
  }

  async function drain(grace: number): Promise<void> {
    draining = true;
    discard();
    for (const listener of bound.values()) close(listener);
    const deadline = performance.now() + grace;
    while (status().connections > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      for (const listener of serving()) listener.protocol.closeIdle();
    }
    const rest = serving();
    for (const listener of rest) for (const socket of listener.connections.keys()) socket.destroy();
    // What was cut has its record too.
    await Promise.race([Promise.all(rest.map((listener) => listener.protocol.settled())), new Promise((resolve) => setTimeout(resolve, SETTLE_MS))]);
    clearInterval(watch);
    for (const upstream of runtime?.upstreams.values() ?? []) upstream.retire();
    audit.close();
    await runtime?.collector?.close(SPANS_MS);
  }
}

/** The collector goes on while nothing about it has changed: what waits on its way must not be lost to a reload. */
function keepOrOpenCollector(snapshot: Snapshot, before: Runtime | undefined, count: (result: SpanResult, spans: number) => void): Promise<Collector | undefined> {
  const { config: { tracing }, tracing: material } = snapshot;
  if (tracing === undefined || material === undefined) return Promise.resolve(undefined);
  const old = before?.collector;
  const same = before !== undefined && JSON.stringify([before.snapshot.config.tracing, before.snapshot.tracing]) === JSON.stringify([tracing, material]);
  return old !== undefined && same ? Promise.resolve(old) : openCollector(tracing, material, count);
}

/** The admission that a connection is served under: any of them names its certificate. */
function heldAdmission(connection: Connection): Admission {
  const [held = { kind: 'anonymous' as const }] = connection.admissions.values();
  return held;
}

/** Whether an open listener can go on under another configuration: what it cannot take over is bound anew. */
function canGoOn(open: Bound, config: ListenerConfig): boolean {
  if ('redirect' in open) return JSON.stringify(open.config) === JSON.stringify(config);
  return open.runtime.config.protocol === config.protocol;
}

function withoutRights(runtime: ListenerRuntime): ListenerRuntime {
  return 'service' in runtime
    ? { ...runtime, service: { ...runtime.service, policy: { ...runtime.service.policy, routes: compileRoutes([]) } } }
    : { ...runtime, policy: { ...runtime.policy, allow: new Set() } };
}

function hstsValue(hsts: HstsConfig): string | undefined {
  if (hsts === false) return undefined;
  const { max_age, include_subdomains, preload } = hsts;
  return `max-age=${Math.floor(max_age / 1000)}${include_subdomains ? '; includeSubDomains' : ''}${preload ? '; preload' : ''}`;
}

function countingWriter(writer: AuditWriter, metrics: ThreadMetrics): AuditWriter {
  return {
    ...writer,
    append(record) {
      metrics.auditRecord();
      return writer.append(record);
    },
    write(line, rest, done) {
      metrics.auditRecord();
      writer.write(line, rest, done);
    },
  };
}
