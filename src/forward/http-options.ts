import type { AuditWriter } from '../audit/writer.ts';
import type { Service } from './client.ts';
import type { Outcome } from './exchange.ts';
import type { RequestLimit } from './limits.ts';
import type { PaceWatch } from './pace.ts';

/** How long a client may take from its handshake to its first request where its connection would be ended for having nothing to do. */
export const FIRST_REQUEST_MS = 1_000;

/** What every version of HTTP and every path is given of one listener on one thread. */
export interface HttpOptions {
  readonly service: () => Service;
  readonly audit: AuditWriter;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly observe: (outcome: Outcome) => void;
  readonly pace: PaceWatch;
  /** Counts a request that ran into a limit. */
  readonly cut: (limit: RequestLimit) => void;
  /** True while the gateway or this listener drains: connections end with their current answer. */
  readonly draining: () => boolean;
  /** True once the gateway stops, or the listener is no longer configured: it will not be served again. */
  readonly retired: () => boolean;
}
