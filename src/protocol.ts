import type { Socket } from 'node:net';
import { certificateFields, frontFields, sessionFields, type AuditRecord } from './audit/record.ts';
import type { AuditWriter } from './audit/writer.ts';
import type { ThreadMetrics } from './admin/metrics.ts';
import type { HttpsListenerConfig, TcpListenerConfig, TlsListenerConfig } from './config/schema.ts';
import type { IsolationWatch } from './isolation.ts';
import type { Desk, Service } from './forward/client.ts';
import type { GeneralForwarder } from './forward/general.ts';
import type { EndCause } from './forward/judgement.ts';
import type { Upstream } from './forward/upstream/pool.ts';
import type { OpenSessions } from './forward/open-sessions.ts';
import type { StreamPolicy } from './policy/authorize-stream.ts';
import type { Denial } from './policy/decision.ts';
import type { Admission, KnownAdmission, Reason } from './policy/facts.ts';
import type { Suspension } from './policy/suspensions.ts';
import type { AdmissionOffice } from './tls/admission.ts';
import type { Connection } from './tls/connection.ts';
import type { ListenerContexts } from './tls/contexts.ts';

/** One snapshot's worth of a listener, swapped as a whole. */
export type ListenerRuntime = HttpsRuntime | TcpRuntime;

interface CommonRuntime {
  readonly contexts: ListenerContexts;
  readonly office: AdmissionOffice;
  /** Whether it serves operators and nobody else. */
  readonly operators: boolean;
}

export interface HttpsRuntime extends CommonRuntime {
  readonly config: HttpsListenerConfig;
  readonly service: Service;
  /** Absent where nobody names others as its clients. */
  readonly front?: Front;
}

/** Who ends TLS for others on a listener, and names them. */
export interface Front {
  /** The field that names them, in lower case. */
  readonly header: string;
  /** Whether a certificate is a front's. */
  fits(admission: KnownAdmission): boolean;
}

export interface TcpRuntime extends CommonRuntime {
  readonly config: TcpListenerConfig;
  readonly policy: StreamPolicy;
  /** What is suspended by order at the moment. */
  readonly suspensions: () => readonly Suspension[];
  readonly upstream: Upstream;
}

/** What is spoken on a listener, once a connection is admitted. */
export interface Protocol {
  /** For the metrics. */
  label(connection: Connection): string;
  serve(connection: Connection, admission: Admission): void;
  closeIdle(): void;
  /** Asks clients to go elsewhere where the protocol has a way of saying so that loses nothing. */
  leave(): void;
  /** Takes what a new configuration says of limits. */
  reconfigure(): void;
  /** Resolves when everything taken so far has its record. */
  settled(): Promise<void>;
  /**
   * Judges an open connection that was admitted anew: requests under way on it that would not be let in any more end, and what it gives
   * back is why all of it has to end although its certificate is good.
   */
  objection(connection: Connection, admission: Admission): Denial | undefined;
  /** Whether something that is under way on a connection stands on a certificate of its own that has to be judged again. */
  lapsed(connection: Connection): boolean;
  /** Told why a connection is about to be ended: what is under way on it goes on record with that, and must not look whole. */
  ending(connection: Connection, cause: EndCause): void;
}

export interface ProtocolOptions<Runtime extends ListenerRuntime> {
  readonly runtime: () => Runtime;
  readonly connections: ReadonlyMap<Socket, Connection>;
  readonly forwarder: GeneralForwarder;
  readonly audit: AuditWriter;
  readonly metrics: ThreadMetrics;
  readonly desk: Desk;
  readonly sessions: OpenSessions;
  readonly isolation: IsolationWatch;
  readonly now: () => number;
  /** See forward/http-options.ts. */
  readonly draining: () => boolean;
  readonly retired: () => boolean;
  /** Tells of a connection that a protocol had to end for what it did. */
  readonly terminated: (connection: Connection, reason: Reason, detail: string) => void;
}

/** The fields of a record that a connection and its admission fill. */
export function connectionFields(connection: Connection, admission: Admission): Partial<AuditRecord> {
  return {
    listener: connection.listener, address: connection.address, ...sessionFields(connection),
    ...(admission.kind !== 'anonymous' && admission.leaf !== undefined ? certificateFields(admission.leaf) : {}),
    ...(connection.stream?.admission === admission ? frontFields(connection.stream) : {}),
  };
}

/** The protocols that a listener offers by ALPN, its own preference first; none where any may be spoken. */
export function alpnOf(config: TlsListenerConfig): readonly string[] {
  if (config.protocol === 'tcp') return [];
  return [...(config.http2.enabled ? ['h2'] : []), 'http/1.1', 'http/1.0'];
}

/** Whether a listener ends TLS. */
export function endsTls(config: { readonly protocol: string }): config is TlsListenerConfig {
  return config.protocol !== 'redirect';
}
