import type { Socket } from 'node:net';
import type { HttpsListenerConfig } from './config/schema.ts';
import type { Client, Service } from './forward/client.ts';
import type { Outcome } from './forward/exchange.ts';
import { createFastPath } from './forward/fast/fast-path.ts';
import { createHttp1 } from './forward/http1.ts';
import { authorize } from './policy/authorize.ts';
import type { HttpsRuntime, Protocol, ProtocolOptions } from './protocol.ts';
import { currentAdmission, type Connection } from './tls/connection.ts';

/** HTTP over TLS: every request is decided. */
export function httpProtocol(config: HttpsListenerConfig, options: ProtocolOptions<HttpsRuntime>): Protocol {
  const { connections, metrics, now, audit, draining } = options;
  const clients = new WeakMap<Socket, Client>();
  const observe = (outcome: Outcome): void => metrics.requests.count(outcome);
  const service = (): Service => options.runtime().service;
  const http = createHttp1({
    limits: config.limits, service, forwarder: options.forwarder, audit, now, observe, draining,
    clientOf: (socket) => (connections.has(socket) ? clients.get(socket) : undefined),
  });
  const fast = createFastPath({
    service, audit, now, observe, draining,
    handOver(socket, octets) {
      socket.unshift(octets);
      http.serve(socket);
      socket.resume();
    },
  });
  return {
    alpn: ['http/1.1', 'http/1.0'],
    label: 'http/1.1',
    serve(connection) {
      const client = clientOf(connection, options.runtime);
      clients.set(connection.socket, client);
      if (options.runtime().config.http1.fast_path) fast.serve(connection.socket, client);
      else http.serve(connection.socket);
    },
    closeIdle() {
      http.closeIdle();
      fast.closeIdle();
    },
    async settled() {
      await Promise.all([http.settled(), fast.settled()]);
    },
    reconfigure: () => http.limit(options.runtime().config.limits),
    objection({ stream }, admission) {
      if (stream === undefined) return undefined;
      const { service, config: current } = options.runtime();
      const decision = authorize(service.policy, { ...stream, clientAuth: current.client_auth.mode, admission }, now());
      return decision.kind === 'denial' ? decision : undefined;
    },
  };
}

function clientOf(connection: Connection, runtime: () => HttpsRuntime): Client {
  return {
    listener: connection.listener,
    address: connection.address,
    tls: connection.tls,
    resumed: connection.resumed,
    // Node never compares the two names. Without SNI the name must be one of ours, or the address that was dialled.
    directed: (host) => (connection.serverName === undefined
      ? runtime().contexts.knows(host) || host === connection.socket.localAddress?.replace(/^::ffff:/, '')
      : connection.serverName === host),
    admission: (host) => currentAdmission(connection, runtime().office, connection.serverName ?? host),
    becomeStream(facts) {
      connection.stream = facts;
    },
  };
}
