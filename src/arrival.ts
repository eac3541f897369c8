import type { ThreadMetrics } from './admin/metrics.ts';
import type { OpenListener } from './bound-listener.ts';
import type { IsolationWatch } from './isolation.ts';
import type { Admission, Reason } from './policy/facts.ts';
import { countedAs } from './pki/twin.ts';
import type { TurnedAway } from './turned-away.ts';
import { currentAdmission, type Connection } from './tls/connection.ts';

export interface ArrivalOptions {
  readonly metrics: ThreadMetrics;
  readonly isolation: IsolationWatch;
  readonly turnedAway: TurnedAway;
  /** Holds our verdict against OpenSSL's. */
  readonly witness: (connection: Connection, admission: Admission) => void;
  /** Puts on record that a connection was refused. Never rejects. */
  readonly record: (connection: Connection, admission: Admission, reason: Reason, detail?: string) => Promise<void>;
}

/** The way of a connection from the end of its handshake to its protocol, or to its end where it is refused or turned away. */
export function createArrival({ metrics, isolation, turnedAway, witness, record }: ArrivalOptions): (connection: Connection, open: OpenListener) => Promise<void> {
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
    const isolated = isolation.connection(connection, config);
    if (isolated !== undefined) {
      turnedAway.note(listener, 'isolated', connection.address, isolated);
      return void socket.destroy();
    }
    if (admission.kind === 'known' && !connection.places.certificate(countedAs(admission.leaf))) return turnAway(connection, admission);
    const missing = admission.kind === 'anonymous' && config.client_auth.mode === 'required';
    const reason = admission.kind === 'refused' ? admission.reason : missing ? 'no_certificate' : undefined;
    const result = reason === undefined ? 'accepted' : 'refused';
    metrics.handshakes.inc({ listener, result, reason: reason ?? 'none', tls: connection.tls, resumed: String(connection.resumed) });
    if (connection.peer.leaf !== undefined && !connection.resumed) witness(connection, admission);
    if (reason !== undefined && config.protocol === 'https' && config.reject === 'close') {
      await record(connection, admission, reason, admission.kind === 'refused' ? admission.detail : undefined);
      return void socket.destroy();
    }
    open.protocol.serve(connection, admission);
  }

  /** A certificate that has all its connections already: one more is closed, and on record, since it names somebody. */
  async function turnAway(connection: Connection, admission: Admission): Promise<void> {
    const { listener } = connection;
    metrics.connectionsRefused.inc({ listener, limit: 'certificate' });
    metrics.handshakes.inc({ listener, result: 'refused', reason: 'connection_limit', tls: connection.tls, resumed: String(connection.resumed) });
    // Gone from the counts before its record is written: its client may come again at once.
    connection.socket.destroy();
    await record(connection, admission, 'connection_limit', 'the certificate has as many connections as it may have');
  }

  return accept;
}
