import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import { certificateFields, type AuditRecord } from './audit/record.ts';
import type { AuditWriter } from './audit/writer.ts';
import type { ThreadMetrics } from './admin/metrics.ts';
import type { HttpsListenerConfig, TcpListenerConfig, TlsListenerConfig } from './config/schema.ts';
import type { Client, Service } from './forward/client.ts';
import type { GeneralForwarder } from './forward/general.ts';
import { createHttp1 } from './forward/http1.ts';
import { openTcp } from './forward/tcp.ts';
import type { Upstream } from './forward/upstream/pool.ts';
import { authorize, authorizeStream, type Denial, type StreamPermit, type StreamPolicy } from './policy/authorize.ts';
import type { Admission } from './policy/facts.ts';
import type { AdmissionOffice } from './tls/admission.ts';
import { currentAdmission, type Connection } from './tls/connection.ts';
import type { ListenerContexts } from './tls/contexts.ts';

/** One snapshot's worth of a listener, swapped as a whole. */
export type ListenerRuntime = HttpsRuntime | TcpRuntime;

interface CommonRuntime {
  readonly contexts: ListenerContexts;
  readonly office: AdmissionOffice;
}

export interface HttpsRuntime extends CommonRuntime {
  readonly config: HttpsListenerConfig;
  readonly service: Service;
}

export interface TcpRuntime extends CommonRuntime {
  readonly config: TcpListenerConfig;
  readonly policy: StreamPolicy;
  readonly upstream: Upstream;
}

/** What is spoken on a listener, once a connection is admitted. */
export interface Protocol {
  /** For ALPN; none where any protocol may be spoken. */
  readonly alpn: readonly string[];
  /** For the metrics. */
  readonly label: string;
  serve(connection: Connection, admission: Admission): void;
  closeIdle(): void;
  /** Takes what a new configuration says of limits. */
  reconfigure(): void;
  /** Resolves when everything taken so far has its record. */
  settled(): Promise<void>;
  /** Why an open connection, admitted anew, has to end although its certificate is good. */
  objection(connection: Connection, admission: Admission): Denial | undefined;
}

export interface ProtocolOptions<Runtime extends ListenerRuntime> {
  readonly runtime: () => Runtime;
  readonly connections: ReadonlyMap<Socket, Connection>;
  readonly forwarder: GeneralForwarder;
  readonly audit: AuditWriter;
  readonly metrics: ThreadMetrics;
  readonly now: () => number;
  readonly draining: () => boolean;
}

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

/** Any protocol over TLS: the connection is decided once, and again whenever something changed. */
export function tcpProtocol(options: ProtocolOptions<TcpRuntime>): Protocol {
  const { audit, now } = options;
  const running = new Set<Promise<void>>();

  async function serve(connection: Connection, admission: Admission): Promise<void> {
    const { config, policy, upstream } = options.runtime();
    const { socket } = connection;
    const started = performance.now();
    const id = randomUUID();
    const record = (fields: Partial<AuditRecord> & Pick<AuditRecord, 'result'>): Promise<void> => audit.append({
      time: new Date(now()).toISOString(), event: 'connection', ...fields, request_id: id, upstream: upstream.name,
      ...connectionFields(connection, admission),
    });
    const decision = authorizeStream(policy, admission, now());
    if (decision.kind === 'denial') {
      await record({ result: 'denied', reason: decision.reason, detail: decision.detail }).catch(() => undefined);
      return void socket.destroy();
    }
    const opened = await openTcp({ permit: decision, socket, upstream, idle: config.limits.idle_time });
    if (opened.kind === 'failed') {
      await record({ result: 'failed', reason: opened.code, detail: opened.detail }).catch(() => undefined);
      return void socket.destroy();
    }
    try {
      await record({ result: 'permitted', ...permitFields(decision) });
    } catch {
      opened.abandon();
      return void socket.destroy();
    }
    const end = await opened.join();
    await record({
      result: end.fault === undefined ? 'done' : 'failed', ...permitFields(decision), ...(end.fault === undefined ? {} : { detail: end.fault }),
      bytes_out: end.bytesOut, bytes_in: end.bytesIn, duration_ms: Math.round(performance.now() - started),
    }).catch(() => undefined);
  }

  return {
    alpn: [],
    label: 'tcp',
    serve(connection, admission) {
      const done = serve(connection, admission).catch(() => void connection.socket.destroy()).then(() => {
        running.delete(done);
      });
      running.add(done);
    },
    closeIdle: () => undefined,
    reconfigure: () => undefined,
    async settled() {
      while (running.size > 0) await Promise.all(running);
    },
    objection(_connection, admission) {
      const decision = authorizeStream(options.runtime().policy, admission, now());
      return decision.kind === 'denial' ? decision : undefined;
    },
  };
}

function permitFields(permit: StreamPermit): Pick<AuditRecord, 'role' | 'id' | 'degraded'> {
  return { role: permit.identity.role, id: permit.identity.id, ...(permit.degraded === undefined ? {} : { degraded: permit.degraded }) };
}

/** The fields of a record that a connection and its admission fill. */
export function connectionFields(connection: Connection, admission: Admission): Partial<AuditRecord> {
  return {
    listener: connection.listener, address: connection.address, tls: connection.tls, resumed: connection.resumed,
    ...(admission.kind !== 'anonymous' && admission.leaf !== undefined ? certificateFields(admission.leaf) : {}),
  };
}

/** Whether a listener ends TLS. */
export function endsTls(config: { readonly protocol: string }): config is TlsListenerConfig {
  return config.protocol !== 'redirect';
}
