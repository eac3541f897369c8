import type { Socket } from 'node:net';
import type { MessagePort } from 'node:worker_threads';
import { openAuditWriter, type AuditWriter } from './audit/writer.ts';
import { createThreadMetrics, type ThreadMetrics } from './admin/metrics.ts';
import { createAlarms } from './alarms.ts';
import { createArrival } from './arrival.ts';
import { arriving, canGoOn, closeBound, descriptorsOf, sendAway, stopAccepting, type Bound, type OpenListener } from './bound-listener.ts';
import type { ListenerConfig } from './config/schema.ts';
import type { Snapshot } from './config/snapshot.ts';
import type { Desk } from './forward/client.ts';
import { createGeneralForwarder } from './forward/general.ts';
import { createOpenSessions } from './forward/open-sessions.ts';
import { createKeyRegister, type KeySet } from './forward/token-keys.ts';
import { sharedClock } from './forward/upstream/clock.ts';
import type { UpstreamShare } from './forward/upstream/pool.ts';
import type { UpstreamShares } from './forward/upstream/watch.ts';
import { createConcern } from './concern.ts';
import { createForesight } from './foresight.ts';
import { createHolding } from './holding.ts';
import { createIsolation } from './isolation.ts';
import { createLookout } from './lookout.ts';
import { createToldRegister } from './identity/devices.ts';
import { createTransfers, NO_TRANSFERS } from './identity/people.ts';
import type { Admission, Alarm, Reason } from './policy/facts.ts';
import { compileSuspensions, type Suspension } from './policy/suspensions.ts';
import type { CrlHandle } from './revocation/crl-handle.ts';
import { httpProtocol } from './http-protocol.ts';
import { alpnOf, connectionFields, endsTls, type HttpsRuntime, type ListenerRuntime, type TcpRuntime } from './protocol.ts';
import { createRevocationView, ISSUER_FETCH_MS, type RevocationDesk } from './revocation/view.ts';
import { buildRuntime, keepOrOpenCollector, withoutRights, type Runtime, type ThreadGround } from './runtime.ts';
import { openLine, type Line } from './store/call.ts';
import { openConnectionCounts } from './store/connection-counts.ts';
import { openDenyTable, type DenyTable } from './store/deny-table.ts';
import { createSweep } from './sweep.ts';
import type { AuditAnswer, Descriptors, FindingsAnswer, IssuersAnswer, OcspAnswer, PageAnswer, PrepareAnswer, SessionsAnswer, ThreadBirth, ThreadStatus, ToldAnswer, ToMain, ToThread } from './thread-protocol.ts';
import type { Connection } from './tls/connection.ts';
import { createDoor, OPERATORS_RESERVE, type Door, type DoorLimits } from './tls/door.ts';
import { tcpProtocol } from './tcp-protocol.ts';
import { createTlsListener } from './tls/listener.ts';
import type { TicketSecret } from './tls/tickets.ts';
import { createRedirectListener } from './tls/redirect.ts';
import { createThreadStaples } from './thread-staples.ts';
import { createTrustConcern } from './trust-concern.ts';
import { createTurnedAway } from './turned-away.ts';
import { createWitness } from './witness.ts';

/** How long a connection that no longer stands may stay unnoticed. */
const WATCH_MS = 1_000;
const DRAIN_LOOK_MS = 25;
/** How long a client that was let in as the end began may take to its handshake's end. */
const ARRIVING_MS = 2_000;
/** How long requests that were cut may take to be recorded. */
const SETTLE_MS = 2_000;
/** How long the last spans may take to be sent. */
const SPANS_MS = 2_000;
/** The main thread keeps its own, configured deadlines; this one is for a main thread that does not answer at all. */
const ANSWER_MS = 120_000;
/** Who is served waits for it. */
const FINDINGS_MS = 5_000;
/** An event is in force on every thread when it is answered, or the threads that it is not in force on are ended. */
const TOLD_MS = 20_000;
/** The same for a page: behind it a webhook may be asked. */
const PAGE_MS = 30_000;
/** How long the main thread is waited for; it waits for the host itself. */
const ISSUERS_MS = ISSUER_FETCH_MS + 1_000;

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
  const audit = countingWriter(openAuditWriter({ ...birth.segments, place: birth.place + 1 }, `t${birth.index}`, now()), metrics);
  const turnedAway = createTurnedAway(audit, metrics, now);
  const forwarder = createGeneralForwarder();
  const line: Line<ToMain> = openLine<ToMain, ToThread>(port, answer);
  const revocation: RevocationDesk = createRevocationView({
    ask: (certificate, issuer) => line.call<OcspAnswer>({ kind: 'ocsp', certificate, issuer }, ANSWER_MS),
    fetchCrl: (certificate, issuer) => line.call<void>({ kind: 'crl', certificate, issuer }, ANSWER_MS),
    fetchIssuers: (url) => line.call<IssuersAnswer>({ kind: 'issuers', url }, ISSUERS_MS),
    now,
    checked: (source, result) => metrics.revocationChecks.inc({ source, result }),
  });
  const desk: Desk = {
    find: (counters, session, grant) => line.call<FindingsAnswer>({ kind: 'find', counters, ...(session === undefined ? {} : { session }), ...(grant === undefined ? {} : { grant }) }, FINDINGS_MS),
    count: (counters) => void line.call<void>({ kind: 'count', counters }, FINDINGS_MS).catch(() => undefined),
    alarm: createAlarms((raised) => void line.call<void>({ kind: 'alarm', raised }).catch(() => undefined)),
    page: (request) => line.call<PageAnswer>({ kind: 'page', request }, PAGE_MS),
    tell: (told) => line.call<ToldAnswer>({ kind: 'told', told }, TOLD_MS),
  };
  const sessions = createOpenSessions({ ask: (questions) => line.call<SessionsAnswer>({ kind: 'sessions', sessions: questions }, FINDINGS_MS), over: () => sweepConnections() });
  const devices = createToldRegister();
  let suspensions: readonly Suspension[] = [];
  let withdrawn: ReadonlySet<string> = new Set();
  let transfers = NO_TRANSFERS;
  const staples = createThreadStaples(now);
  const keys = createKeyRegister();
  const refreshKeys = (source: string): Promise<number> => line.call<number>({ kind: 'issuer_keys', source }, FINDINGS_MS);
  const ground: ThreadGround = {
    place: birth.place, deny, revocation, desk, devices: devices.view, suspensions: () => suspensions, withdrawn: () => withdrawn, transfers: () => transfers, staple: staples.of, keys, refreshKeys, now, clock,
  };
  const isolation = createIsolation(devices.view, now);
  const witness = createWitness(metrics, (disagreement) => void line.call(disagreement).catch(() => undefined));
  const accept = createArrival({ metrics, isolation, turnedAway, witness, record: recordConnection });
  const concern = createConcern(serving);
  const foresight = createForesight(serving, devices.view);
  const trust = createTrustConcern(serving, now);
  const lookout = createLookout({ serving, metrics, snapshot: () => runtime?.snapshot, now });
  const sweepConnections = createSweep({ serving, metrics, isolation, desk, now, record: recordConnection });
  let runtime: Runtime | undefined;
  let bound: ReadonlyMap<string, Bound> = new Map();
  const retiring = new Set<OpenListener>();
  let prepared: Prepared | undefined;
  let draining = false;
  const holding = createHolding(() => bound.values());
  const watch = setInterval(sweep, WATCH_MS);

  function answer(ask: ToThread): unknown {
    switch (ask.kind) {
      case 'prepare': return prepare(ask.snapshot, ask.ticketSecret, ask.ports, ask.upstreams, ask.inherited);
      case 'descriptors': return Object.fromEntries([...bound].map(([name, listener]) => [name, descriptorsOf(listener)])) satisfies Descriptors;
      case 'commit': return commit();
      case 'discard': return discard();
      case 'crls': return revocation.replaceCrls(ask.handles as readonly CrlHandle[]);
      case 'devices': return devices.take(ask);
      case 'keys': return takeKeys(ask.sets);
      case 'suspensions':
        suspensions = compileSuspensions(ask.orders);
        isolation.take(ask.orders);
        return undefined;
      case 'withdrawn':
        withdrawn = new Set(ask.grants);
        return undefined;
      case 'concerned': return concern(ask.scope, ask.allow);
      case 'foresee': return foresight(ask.hit);
      case 'trust_standing': return trust.standing();
      case 'trust_concern': return trust.concern(ask.realms, ask.skew);
      case 'device': return devices.put(ask.id, ask.device);
      case 'staples': return staples.take(ask.staples);
      case 'transfers': return void (transfers = createTransfers(ask.transfers));
      case 'targets': return retarget(ask.share);
      case 'answer': return revocation.learn(ask.question, ask.statement);
      case 'sweep': return sweep();
      case 'audit': return audit.positions().then((positions): AuditAnswer => ({ ...positions, place: birth.place }));
      case 'audit_next': return ask.segments.includes(audit.current()) ? audit.prepare(ask.after, now()) : undefined;
      case 'audit_switch': return ask.to.forEach(audit.switchTo);
      case 'pulse': return lookout.pulse();
      case 'connections': return lookout.connections(ask.wanted, ask.most);
      case 'explain': return lookout.explain(ask.ask);
      case 'metrics': return metrics.registry.getMetricsAsJSON();
      case 'status': return status();
      // What listens again would take from the queue of who comes after.
      case 'hold': return draining ? [] : holding.take(ask.listeners);
      case 'drain': return drain(ask.grace);
    }
  }

  async function prepare(snapshot: Snapshot, ticketSecret: TicketSecret, ports: Readonly<Record<string, number>>, shares: UpstreamShares, inherited: Descriptors = {}): Promise<PrepareAnswer> {
    if (draining) throw new Error('the gateway is stopping');
    await discard();
    const collector = await keepOrOpenCollector(snapshot, runtime, (result, spans) => metrics.spans.inc({ result }, spans));
    const all = new Map<string, Bound>();
    const fresh: Bound[] = [];
    let next: Runtime;
    try {
      next = buildRuntime(ground, { snapshot, ticketSecret, shares, before: runtime, collector });
      for (const config of snapshot.config.listeners) {
        const address = `${config.address.host}:${config.address.port}`;
        const open = bound.get(config.name);
        const kept = open !== undefined && open.address === address && canGoOn(open, config, config.name === snapshot.config.admin.listener);
        const listener = kept ? open : await bind(config, address, ports[config.name] ?? config.address.port, next, share(inherited[config.name], snapshot.config.threads));
        all.set(config.name, listener);
        if (!kept) fresh.push(listener);
      }
    } catch (error) {
      for (const listener of fresh) closeBound(listener);
      if (collector !== runtime?.collector) void collector?.close(0);
      throw error;
    }
    prepared = { runtime: next, bound: all, fresh };
    return Object.fromEntries([...all].map(([name, listener]) => [name, listener.port]));
  }

  /** What a key has verified that was taken back is judged by the next sweep. */
  function takeKeys(sets: readonly KeySet[]): void {
    if (!keys.take(sets)) return;
    for (const listener of serving()) {
      for (const connection of listener.connections.values()) {
        connection.unjudged ||= connection.stream?.token !== undefined || [...connection.underWay].some(({ token }) => token !== undefined);
      }
    }
  }

  function retarget(share: UpstreamShare): void {
    for (const one of new Set([runtime, prepared?.runtime])) {
      for (const upstream of one?.upstreams.values() ?? []) if (upstream.id === share.id) upstream.retarget(share.targets, share.problem);
    }
  }

  /** Every one of them is somebody's: what nobody accepts from would swallow connections. */
  function share(inherited: readonly number[] = [], threads: number): readonly number[] {
    return inherited.filter((_, index) => index % threads === birth.place);
  }

  async function bind(config: ListenerConfig, address: string, wanted: number, next: Runtime, inherited: readonly number[]): Promise<Bound> {
    const { name } = config;
    if (!endsTls(config)) {
      const redirect = createRedirectListener({
        config, directory: next.snapshot.directory,
        door: doorOf(name, () => config.limits),
        isolated: (from) => isolation.address(from) !== undefined,
        turnedAway: (limit, from) => turnedAway.note(name, limit, from, limit === 'isolated' ? isolation.address(from) : undefined),
        answered: (status) => metrics.redirects.inc({ listener: name, status }),
      });
      return { name, address, port: await redirect.listen(config.address.host, wanted, inherited), redirect, config };
    }
    const listenerRuntime = next.listeners.get(name) as ListenerRuntime;
    const connections = new Map<Socket, Connection>();
    const terminated = (connection: Connection, reason: Reason, detail: string): void => {
      metrics.connectionsTerminated.inc({ reason });
      void recordConnection(connection, heldAdmission(connection), reason, detail);
    };
    const shared = { connections, forwarder, audit, metrics, desk, sessions, isolation, now, draining: () => draining || holding.has(name) || bound.get(name) !== open, retired: () => draining || bound.get(name) !== open, terminated };
    const protocol = config.protocol === 'https'
      ? httpProtocol(config, { ...shared, runtime: () => open.runtime as HttpsRuntime })
      : tcpProtocol({ ...shared, runtime: () => open.runtime as TcpRuntime });
    const tls = createTlsListener({
      config,
      contexts: listenerRuntime.contexts,
      door: doorOf(name, () => open.runtime.config.limits, listenerRuntime.operators ? OPERATORS_RESERVE : 0),
      isolated: (from) => isolation.address(from) !== undefined,
      turnedAway: (limit, from) => turnedAway.note(name, limit, from, limit === 'isolated' ? isolation.address(from) : undefined),
      alpn: alpnOf,
      accept: (connection) => void accept(connection, open),
      failed: (failure) => metrics.handshakes.inc({ listener: name, result: 'failed', reason: failure, tls: 'none', resumed: 'false' }),
      durations: (seconds) => metrics.handshakeDuration.observe(seconds),
      now,
    });
    const open: OpenListener = { name, address, port: 0, tls, protocol, connections, runtime: listenerRuntime };
    return Object.assign(open, { port: await tls.listen(config.address.host, wanted, inherited) });
  }

  function doorOf(listener: string, limits: () => DoorLimits, reserve = 0): Door {
    return createDoor({ counts, thread: birth.place, listener, limits, reserve });
  }

  async function recordConnection(connection: Connection, admission: Admission, reason: Reason, detail?: string, alarm?: Alarm): Promise<void> {
    await audit.append({
      time: new Date(now()).toISOString(), event: 'connection', result: 'denied', reason, ...(detail === undefined ? {} : { detail }),
      ...connectionFields(connection, admission), ...(alarm === undefined ? {} : { alarm }),
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
    holding.again();
    for (const [name, listener] of before.bound) if (all.get(name) !== listener) retire(listener);
    for (const [name, upstream] of before.runtime?.upstreams ?? []) if (next.upstreams.get(name) !== upstream) upstream.retire();
    if (before.runtime?.collector !== next.collector) void before.runtime?.collector?.close(SPANS_MS);
  }

  /**
   * A listener that is no longer configured: answers under way are finished, everything else is denied, and its connections
   * stay within reach of revocation until the last has gone.
   */
  function retire(listener: Bound): void {
    closeBound(listener);
    if ('redirect' in listener) return;
    listener.runtime = withoutRights(listener.runtime);
    retiring.add(listener);
  }

  /** Every listener that still has connections, or may get some. */
  function serving(): readonly OpenListener[] {
    for (const listener of retiring) if (listener.connections.size === 0 && arriving(listener, 0) === 0) retiring.delete(listener);
    return [...[...bound.values()].filter((listener) => 'tls' in listener), ...retiring];
  }

  function discard(): void {
    for (const listener of prepared?.fresh ?? []) closeBound(listener);
    if (prepared?.runtime.collector !== runtime?.collector) void prepared?.runtime.collector?.close(0);
    prepared = undefined;
  }

  function sweep(): void {
    turnedAway.flush();
    holding.look();
    for (const listener of bound.values()) if ('tls' in listener) listener.tls.turn();
    for (const { protocol } of retiring) protocol.closeIdle();
    sweepConnections();
  }

  function status(): ThreadStatus {
    let connections = 0;
    for (const listener of serving()) connections += listener.connections.size;
    const failure = audit.failure();
    const faults = [...runtime?.upstreams.values() ?? []].map((upstream) => ({ upstream: upstream.id, of: upstream.faults() }));
    return { connections, faults, ...(failure === undefined ? {} : { auditFailure: failure.message }) };
  }

  function arrivals(): number {
    const since = performance.now() - ARRIVING_MS;
    return [...bound.values(), ...retiring].reduce((all, listener) => all + arriving(listener, since), 0);
  }

  async function drain(grace: number): Promise<void> {
    draining = true;
    discard();
    for (const listener of bound.values()) stopAccepting(listener);
    const deadline = performance.now() + grace;
    for (let busy = performance.now(); (status().connections > 0 || arrivals() > 0) && performance.now() < deadline;) {
      // The next request may be on its way behind an answer that could not say yet that the connection ends.
      if (serving().some(({ connections }) => [...connections.values()].some(({ underWay }) => underWay.size > 0))) busy = performance.now();
      for (const listener of serving()) sendAway(listener, busy);
      await new Promise((resolve) => setTimeout(resolve, DRAIN_LOOK_MS));
    }
    const rest = serving();
    for (const { protocol, connections } of rest) {
      for (const connection of connections.values()) {
        protocol.ending(connection, { detail: 'the gateway stopped' });
        connection.socket.destroy();
      }
    }
    // What was cut has its record too.
    await Promise.race([Promise.all(rest.map((listener) => listener.protocol.settled())), new Promise((resolve) => setTimeout(resolve, SETTLE_MS))]);
    clearInterval(watch);
    for (const upstream of runtime?.upstreams.values() ?? []) upstream.retire();
    audit.close();
    await runtime?.collector?.close(SPANS_MS);
  }
}

/** The admission that a connection is served under: any of them names its certificate. */
function heldAdmission(connection: Connection): Admission {
  const [held = { kind: 'anonymous' as const }] = connection.admissions.values();
  return held;
}

function countingWriter(writer: AuditWriter, metrics: ThreadMetrics): AuditWriter {
  return {
    ...writer,
    append(record) {
      metrics.auditRecord();
      if (record.event === 'connection' && record.result === 'denied') metrics.requests.denied(record.reason ?? 'unknown');
      return writer.append(record);
    },
    write(line, rest, done) {
      metrics.auditRecord();
      writer.write(line, rest, done);
    },
  };
}
