import { randomUUID } from 'node:crypto';
import type { AuditRecord } from './audit/record.ts';
import { openTcp } from './forward/tcp.ts';
import { authorizeStream, type StreamPermit } from './policy/authorize.ts';
import type { Admission } from './policy/facts.ts';
import { connectionFields, type Protocol, type ProtocolOptions, type TcpRuntime } from './protocol.ts';
import type { Connection } from './tls/connection.ts';

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
    const opened = await openTcp({ permit: decision, socket, upstream, key: decision.identity.id, idle: config.limits.idle_time });
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
    label: () => 'tcp',
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
