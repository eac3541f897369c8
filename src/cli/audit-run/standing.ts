import type { HeldCertificate } from '../../admin/held-certificates.ts';
import type { Verdict } from '../../audit/verify.ts';
import type { Issue } from '../../config/issue.ts';
import type { RouteConfig } from '../../config/schema.ts';
import type { GrantReport } from '../../store/grants.ts';
import type { SeenCertificate } from './gather.ts';

/** How the gateway stands beside what its records say. Times in ms since the epoch. */
export interface Standing {
  readonly now: number;
  readonly gateway: GatewayName;
  readonly verdict: Verdict;
  /** A reason why the records can be cut off unseen: no anchor is configured. */
  readonly anchored: boolean;
  /** What `wardgate check` says; none of it when the configuration is good. */
  readonly issues: readonly Issue[];
  readonly routes: readonly Pick<RouteConfig, 'name' | 'allow' | 'phi' | 'patient'>[];
  readonly roles: readonly string[];
  readonly material: readonly Pick<HeldCertificate, 'use' | 'subject' | 'notAfter'>[];
  /** Whether the deny list holds a certificate. */
  readonly isDenied: (certificate: Pick<SeenCertificate, 'fingerprint' | 'serial' | 'issuer' | 'id'>) => boolean;
  readonly grants: readonly Pick<GrantReport, 'id' | 'at' | 'until' | 'closed' | 'review'>[];
  readonly alarms: readonly OpenAlarm[];
  /** Milliseconds that records are kept. */
  readonly retention: number | undefined;
}

/** Which gateway was audited: what it calls itself, the SHA-256 of its configuration, and what stands for its key in the records; without one it has never run. */
export interface GatewayName {
  readonly name: string;
  readonly configuration: string;
  readonly key?: string;
}

/** An alarm that nobody has acknowledged. */
export interface OpenAlarm {
  readonly id: string;
  readonly rule: string;
  readonly since: number;
}
