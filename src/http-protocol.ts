import type { HttpsListenerConfig } from './config/schema.ts';
import type { Client } from './forward/client.ts';
import { createHttp1 } from './forward/http1.ts';
import { authorize } from './policy/authorize.ts';
import type { HttpsRuntime, Protocol, ProtocolOptions } from './protocol.ts';
import { currentAdmission, type Connection } from './tls/connection.ts';

/** HTTP over TLS: every request is decided. */
export function httpProtocol(config: HttpsListenerConfig, options: ProtocolOptions<HttpsRuntime>): Protocol {
  const { connections, metrics, now } = options;
  const http = createHttp1({
    limits: config.limits,
    service: () => options.runtime().service,
    clientOf: (socket) => {
      const connection = connections.get(socket);
      return connection === undefined ? undefined : clientOf(connection, options.runtime());
    },
    forwarder: options.forwarder,
    audit: options.audit,
    now,
    observe: (outcome) => {
      metrics.requests.inc({ route: outcome.route, role: outcome.role, status: outcome.status });
      metrics.requestDuration.observe({ route: outcome.route }, outcome.seconds);
    },
    draining: options.draining,
  });
  return {
    alpn: ['http/1.1', 'http/1.0'],
    label: 'http/1.1',
    serve: ({ socket }) => http.serve(socket),
    closeIdle: () => http.closeIdle(),
    settled: () => http.settled(),
    reconfigure: () => http.limit(options.runtime().config.limits),
    objection({ stream }, admission) {
      if (stream === undefined) return undefined;
      const { service, config: current } = options.runtime();
      const decision = authorize(service.policy, { ...stream, clientAuth: current.client_auth.mode, admission }, now());
      return decision.kind === 'denial' ? decision : undefined;
    },
  };
}

function clientOf(connection: Connection, { office, contexts }: HttpsRuntime): Client {
  return {
    listener: connection.listener,
    address: connection.address,
    tls: connection.tls,
    resumed: connection.resumed,
    // Node never compares the two names. Without SNI the name must be one of ours, or the address that was dialled.
    directed: (host) => (connection.serverName === undefined
      ? contexts.knows(host) || host === connection.socket.localAddress?.replace(/^::ffff:/, '')
      : connection.serverName === host),
    admission: (host) => currentAdmission(connection, office, connection.serverName ?? host),
    becomeStream(facts) {
      connection.stream = facts;
    },
  };
}
