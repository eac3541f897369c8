import type { Socket } from 'node:net';
import type { HttpsListenerConfig } from './config/schema.ts';
import type { Client, Service } from './forward/client.ts';
import { raiseAlarm, type Outcome } from './forward/exchange.ts';
import { createFastPath } from './forward/fast/fast-path.ts';
import { createHttp1 } from './forward/http1.ts';
import { createHttp2 } from './forward/http2.ts';
import type { Objection } from './forward/judgement.ts';
import type { RequestLimit } from './forward/limits.ts';
import { createPaceWatch } from './forward/pace.ts';
import { authorize } from './policy/authorize.ts';
import type { Denial } from './policy/decision.ts';
import { COUNTED, type Admission, type RequestFacts } from './policy/facts.ts';
import type { IsolationWatch } from './isolation.ts';
import { createFrontedClients, shownBy } from './fronts.ts';
import type { HttpsRuntime, Protocol, ProtocolOptions } from './protocol.ts';
import type { Connection } from './tls/connection.ts';

/** HTTP over TLS: every request is decided. */
export function httpProtocol(config: HttpsListenerConfig, options: ProtocolOptions<HttpsRuntime>): Protocol {
  const { connections, metrics, now, audit, draining, retired, sessions, isolation } = options;
  const clients = new WeakMap<Socket, Client>();
  const fronted = createFrontedClients(isolation);
  const observe = (outcome: Outcome): void => metrics.requests.count(outcome);
  const service = (): Service => options.runtime().service;
  const pace = createPaceWatch(() => service().listener.limits.min_rate);
  const cut = (limit: RequestLimit): void => metrics.requestsCut.inc({ listener: config.name, limit });
  const http = createHttp1({
    limits: config.limits, service, forwarder: options.forwarder, audit, now, observe, draining, retired, pace, cut,
    clientOf: (socket) => (connections.has(socket) ? clients.get(socket) : undefined),
  });
  const fast = createFastPath({
    service, audit, now, observe, draining, retired, pace, cut,
    handOver(socket, octets) {
      metrics.fastPathLeft();
      socket.unshift(octets);
      http.serve(socket);
      socket.resume();
    },
  });
  const http2 = createHttp2({ service, audit, now, observe, draining, retired, pace, cut });

  /** Whether what a stream was let in on would no longer let it in. */
  function denialOf(facts: RequestFacts, admission: Admission, policy = service().policy): Denial | undefined {
    const { config: listener } = options.runtime();
    const { suspensions, withdrawn, tokens } = service();
    const token = facts.token === undefined ? {} : { token: tokens.again(facts.token) };
    const findings = facts.findings === undefined ? COUNTED : { ...facts.findings, session: sessions.again(facts, admission) };
    const decision = authorize(policy, { ...facts, suspensions: suspensions(), withdrawn: withdrawn(), clientAuth: listener.client_auth.mode, admission, findings, ...token }, now());
    return decision.kind === 'denial' ? decision : undefined;
  }

  /**
   * Whose right it is by now, where `admission` is the connection's: what a stream's own name was admitted under, since without SNI a connection
   * may serve names of several realms, or the client whom a front named. Undefined while somebody must be asked.
   */
  function holderOf(connection: Connection, facts: RequestFacts, admission: Admission): Admission | undefined {
    const runtime = options.runtime();
    const name = connection.serverName ?? (facts.host.kind === 'host' ? facts.host.name : '');
    const own = connection.admissions.get(runtime.office.realmOf(name)) ?? admission;
    return facts.front === undefined ? own : fronted.again(connection, facts, own, runtime);
  }

  return {
    label: (connection) => (isHttp2(connection) ? 'h2' : 'http/1.1'),
    serve(connection) {
      const client = clientOf(connection, options.runtime, isolation);
      if (isHttp2(connection)) return http2.serve(connection.socket, client, (reason, detail) => options.terminated(connection, reason, detail));
      clients.set(connection.socket, client);
      if (options.runtime().config.http1.fast_path) fast.serve(connection.socket, client);
      else http.serve(connection.socket);
    },
    closeIdle() {
      http.closeIdle();
      fast.closeIdle();
      http2.closeIdle();
    },
    leave: () => http2.closeIdle(),
    async settled() {
      await Promise.all([http.settled(), fast.settled(), http2.settled()]);
    },
    reconfigure: () => http.limit(options.runtime().config.limits),
    objection(connection, admission) {
      const { socket, stream } = connection;
      const judge: Objection = (facts, policy) => {
        const held = holderOf(connection, facts, admission);
        if (held === undefined) return undefined;
        const denial = denialOf(facts, held, policy);
        if (denial !== undefined) raiseAlarm(options.desk, connection, held, denial);
        return denial;
      };
      if (isHttp2(connection)) return void http2.judge(socket, judge);
      if (stream !== undefined) {
        const held = stream.front === undefined ? admission : holderOf(connection, stream, admission);
        return held === undefined ? undefined : denialOf(stream, held);
      }
      fast.judge(socket, judge);
      http.judge(socket, judge);
      return undefined;
    },
    lapsed(connection) {
      const { office } = options.runtime();
      const { stream, underWay, socket } = connection;
      const open = isHttp2(connection) ? http2.open(socket) : stream === undefined ? [...underWay] : [stream];
      return open.some((facts) => fronted.lapsed(facts, office));
    },
    ending({ socket }, cause) {
      fast.ending(socket, cause);
      http.ending(socket, cause);
      http2.ending(socket, cause);
    },
  };
}

function isHttp2({ socket }: Connection): boolean {
  return socket.alpnProtocol === 'h2';
}

function clientOf(connection: Connection, runtime: () => HttpsRuntime, isolation: IsolationWatch): Client {
  return {
    listener: connection.listener,
    address: connection.address,
    tls: connection.tls,
    cipher: connection.cipher,
    resumed: connection.resumed,
    // Node never compares the two names. Without SNI the name must be one of ours, or the address that was dialled.
    directed: (host) => (connection.serverName === undefined
      ? runtime().contexts.knows(host) || host === connection.socket.localAddress?.replace(/^::ffff:/, '')
      : connection.serverName === host),
    shown: (host, fields) => shownBy({ connection, runtime: runtime(), isolation }, host, fields),
    countRequest: () => ++connection.requests,
    reset: () => connection.reset(),
    begins(facts, route) {
      connection.underWay.add(facts);
      connection.routes.add(route);
      if (facts.findings?.session.kind === 'valid') connection.onSession = true;
    },
    ends(facts) {
      connection.underWay.delete(facts);
    },
    becomeStream(facts) {
      connection.stream = facts;
      for (const right of [facts.findings?.session, facts.token]) {
        if (right !== undefined && 'until' in right) connection.rightsUntil = Math.min(connection.rightsUntil ?? Infinity, right.until);
      }
    },
  };
}
