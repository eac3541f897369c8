import type { SuspensionOrder, SuspensionScope } from '../policy/suspensions.ts';
import type { DenySubject } from '../store/deny-list.ts';
import type { AuditTarget } from './calls/audit.ts';
import type { ConsoleTarget } from './calls/console.ts';
import type { FactorTarget } from './calls/factor.ts';
import type { IncidentTarget } from './calls/incident.ts';
import type { TrustTarget } from './calls/trust.ts';

/** A program that takes over: Node and what it is started with. */
export interface Release {
  readonly node: string;
  readonly args: readonly string[];
  /** How long answers under way get, in ms: nobody is let in meanwhile. */
  readonly grace: number;
}

/** What the admin interface can do to a gateway. */
export interface AdminTarget {
  /** Resolves once the other process is about to take over: this one ends. Undefined where none can be started. */
  readonly upgrade: ((release: Release) => Promise<{ readonly pid: number }>) | undefined;
  status(): Promise<unknown>;
  reload(): Promise<void>;
  /** Resolves with the files that had changed. */
  reloadCertificates(): Promise<readonly string[]>;
  deny(entry: DenySubject & { readonly reason: string; readonly who: string; readonly expires?: string }): Promise<void>;
  reinstate(subject: DenySubject, who: string): Promise<boolean>;
  readonly trust: TrustTarget;
  readonly incident: IncidentTarget;
  readonly audit: AuditTarget;
  readonly console: ConsoleTarget;
  /** Undefined where no route requires a second factor. */
  factors(): FactorTarget | undefined;
  /** What is wrong with a role that is not configured. */
  unknownRole(role: string): string | undefined;
  suspend(order: SuspensionOrder & { readonly who: string }): Promise<void>;
  resume(scope: SuspensionScope, who: string): Promise<boolean>;
  concerned(scope: SuspensionScope): Promise<unknown>;
  grants(): readonly unknown[];
  alarms(): Promise<readonly unknown[]>;
  acknowledge(id: string, who: string, note: string): Promise<void>;
  /** What ends within so many ms, `most` of it, the first to end first. */
  expiry(within: number, most: number): Promise<unknown>;
  withdraw(id: string, who: string, note: string): Promise<void>;
  review(id: string, who: string, note: string): Promise<void>;
}
