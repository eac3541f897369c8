import type { RequestSums } from './admin/request-tally.ts';
import type { Reason } from './policy/facts.ts';
import type { Step } from './policy/decision.ts';

/** What a thread has at the moment, for those who look on. */
export interface ThreadPulse extends RequestSums {
  readonly connections: readonly ConnectionCount[];
}

export interface ConnectionCount {
  readonly listener: string;
  readonly protocol: string;
  /** `none`: of clients without a role. */
  readonly role: string;
  readonly connections: number;
}

/** Which connections somebody asks for. */
export interface WantedConnections {
  readonly fingerprint?: string;
  readonly find?: string;
}

/** One open connection, and whose it is. */
export interface OpenConnectionReport {
  readonly listener: string;
  readonly protocol: string;
  readonly address: string;
  readonly tls: string;
  readonly role?: string;
  readonly id?: string;
  readonly subject?: string;
  readonly issuer?: string;
  readonly serial?: string;
  readonly fingerprint?: string;
  /** ISO 8601 */
  readonly not_after?: string;
  /** Requests and streams under way. */
  readonly under_way: number;
}

/** What a record says was asked, to be decided again. */
export interface ExplainAsk {
  readonly listener: string;
  readonly address: string;
  /** SHA-256 of the certificate; absent: the client showed none. */
  readonly fingerprint?: string;
  readonly request?: { readonly method: string; readonly host: string; readonly target: string };
}

/** How it would be decided now, rule by rule. */
export interface Explanation {
  readonly result: 'permitted' | 'denied' | 'admitted';
  readonly reason?: Reason;
  readonly steps: readonly Step[];
}
