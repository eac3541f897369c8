import type { ThreadMetrics } from './admin/metrics.ts';
import type { OpenListener } from './bound-listener.ts';
import type { Desk } from './forward/client.ts';
import { raiseAlarm } from './forward/exchange.ts';
import type { IsolationWatch } from './isolation.ts';
import { isBound, type DevicePolicy } from './policy/devices.ts';
import type { Admission, Alarm, KnownAdmission, Reason } from './policy/facts.ts';
import { devicesOf } from './runtime.ts';
import { currentAdmission, type Connection } from './tls/connection.ts';

/** How long judging open connections again may hold up requests at a time. */
const SLICE_MS = 10;

export interface SweepOptions {
  /** Every listener that still has connections. */
  readonly serving: () => readonly OpenListener[];
  readonly metrics: ThreadMetrics;
  readonly isolation: IsolationWatch;
  readonly desk: Desk;
  /** ms since the epoch */
  readonly now: () => number;
  /** Puts on record that a connection was ended. */
  readonly record: (connection: Connection, admission: Admission, reason: Reason, detail: string, alarm?: Alarm) => Promise<void>;
}

/**
 * The sweep ends every connection whose certificate is no longer good; those that stand cost a comparison each. The deny list is
 * looked at before it returns, everything else in slices that leave the thread to its requests.
 */
export function createSweep({ serving, metrics, isolation, desk, now, record }: SweepOptions): () => void {
  let judging = false;

  function sweep(): void {
    if (!isolation.idle()) endIsolated();
    for (const [listener, connection, held] of stale()) {
      if (held.kind === 'refused' && connection.unjudged !== true) connection.socket.destroy();
      else if (held.kind === 'known') {
        const denied = listener.runtime.office.denial(held);
        if (denied !== undefined) end(connection, listener, held, 'revoked_denylist', denied);
      }
      if (held.kind === 'anonymous') judgeOpen(connection, listener, held);
    }
    if (!judging) void judgeStale().finally(() => {
      judging = false;
    });
  }

  /** Before anything is judged: it is closed whatever its certificate is worth. */
  function endIsolated(): void {
    for (const listener of serving()) {
      for (const connection of [...listener.connections.values()]) {
        const isolated = connection.socket.destroyed ? undefined : isolation.connection(connection, listener.runtime.config);
        if (isolated !== undefined) end(connection, listener, connection.admissions.values().next().value ?? { kind: 'anonymous' }, 'isolated', isolated.detail);
      }
    }
  }

  /**
   * What open connections stand on that does not stand any more, or has been replaced by a request since what is under way was judged;
   * and what the anonymous have under way.
   */
  function* stale(): Generator<readonly [OpenListener, Connection, Admission, string]> {
    for (const listener of serving()) {
      const { office } = listener.runtime;
      for (const connection of listener.connections.values()) {
        if (connection.socket.destroyed) continue;
        const lapsed = connection.front === true && listener.protocol.lapsed(connection);
        for (const [realm, held] of connection.admissions) {
          const open = held.kind === 'anonymous' && (connection.stream !== undefined || connection.underWay.size > 0);
          if (connection.unjudged === true || !office.stands(held) || open || lapsed) yield [listener, connection, held, realm];
        }
      }
    }
  }

  /** What was let in on a session, on a token whose time is up, or on a device: nobody tells when one is ended, or when its hours end. */
  function* bound(): Generator<readonly [OpenListener, Connection, Admission, string]> {
    for (const listener of serving()) {
      const { office, config } = listener.runtime;
      const devices = devicesOf(listener.runtime);
      for (const connection of listener.connections.values()) {
        const over = connection.onSession === true || (connection.rightsUntil !== undefined && now() >= connection.rightsUntil);
        if (devices === undefined && !over) continue;
        if (config.protocol === 'https' && connection.stream === undefined && connection.underWay.size === 0) continue;
        for (const [realm, held] of connection.admissions) {
          if (held.kind === 'known' && (over || isOfBound(connection, held, devices)) && office.stands(held)) yield [listener, connection, held, realm];
        }
      }
    }
  }

  async function judgeStale(): Promise<void> {
    judging = true;
    let sliceEnds = performance.now() + SLICE_MS;
    // Taken down first: judging changes what is walked.
    for (const [listener, connection, held, realm] of [...stale(), ...bound()]) {
      if (held.kind === 'anonymous' || connection.socket.destroyed || !listener.connections.has(connection.socket)) continue;
      const taken = currentAdmission(connection, listener.runtime.office, realm);
      if (taken instanceof Promise) void taken.then((admission) => judgeOpen(connection, listener, admission), () => connection.socket.destroy());
      else judgeOpen(connection, listener, taken);
      if (performance.now() < sliceEnds) continue;
      await new Promise((resolve) => setImmediate(resolve));
      sliceEnds = performance.now() + SLICE_MS;
    }
  }

  /** Ends an open connection whose certificate is refused or whose stream would not be let in any more; of others the requests that would not be. */
  function judgeOpen(connection: Connection, listener: OpenListener, admission: Admission): void {
    if (connection.socket.destroyed) return;
    connection.unjudged = false;
    if (admission.kind === 'refused') return end(connection, listener, admission, admission.reason, admission.detail);
    const objection = listener.protocol.objection(connection, admission);
    if (objection === undefined) return;
    raiseAlarm(desk, connection, admission, objection);
    // A stream that came by a front is its client's.
    const whose = connection.stream?.front === undefined ? admission : connection.stream.admission;
    end(connection, listener, whose, objection.reason, objection.detail, objection.alarm);
  }

  function end(connection: Connection, listener: OpenListener, admission: Admission, reason: Reason, detail: string, alarm?: Alarm): void {
    metrics.connectionsTerminated.inc({ reason });
    if (connection.ending !== undefined) return connection.ending({ reason, detail, ...(alarm === undefined ? {} : { alarm }) });
    void record(connection, admission, reason, detail, alarm);
    listener.protocol.ending(connection, { reason, detail });
    connection.socket.destroy();
  }

  return sweep;
}

/** Whether what a connection has under way may be bound to devices; by a front come those of many. */
function isOfBound({ front }: Connection, { identity }: KnownAdmission, devices: DevicePolicy | undefined): boolean {
  return devices !== undefined && (front === true || (identity !== undefined && isBound(devices, identity.roles)));
}
