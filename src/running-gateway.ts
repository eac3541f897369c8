import type { Release } from './admin/target.ts';
import type { AlarmReport } from './audit/alarms/desk.ts';
import type { ConcernedRoute } from './concern.ts';
import type { NewDenial } from './denials.ts';
import type { ExpiryReport } from './expiry.ts';
import type { Log } from './log.ts';
import type { SuspensionScope } from './policy/suspensions.ts';
import type { Listening } from './preparation.ts';
import type { BoundListener, GatewayStatus } from './status.ts';
import type { DenySubject } from './store/deny-list.ts';
import type { GrantReport } from './store/grants.ts';
import type { NewSuspension } from './suspensions.ts';
import type { Concerned } from './thread-protocol.ts';

/** A running gateway. */
export interface Gateway {
  readonly listeners: readonly BoundListener[];
  /** Where /metrics, /healthz and /readyz are served; absent when switched off. */
  readonly metrics?: BoundListener;
  /** The admin socket's path. */
  readonly adminSocket: string;
  /** Loads the configuration again. Rejects with a ConfigurationError, the old one serving on, when it cannot be taken. */
  reload(): Promise<void>;
  /** Reads certificates, keys and CAs again, and not the configuration. Resolves with the files that had changed; rejects as `reload`. */
  reloadCertificates(): Promise<readonly string[]>;
  status(): Promise<GatewayStatus>;
  /** In force on every thread, durable, and its open connections ended, when it resolves. */
  deny(entry: NewDenial): Promise<void>;
  reinstate(subject: DenySubject, who: string): Promise<boolean>;
  /** In force on every thread, durable, and what it ends ended, when it resolves. */
  suspend(order: NewSuspension): Promise<void>;
  /** False when nothing of this scope is suspended. */
  resume(scope: SuspensionScope, who: string): Promise<boolean>;
  /** Whom a suspension would concern. */
  concerned(scope: SuspensionScope): Promise<Concerned & { readonly routes: readonly ConcernedRoute[] }>;
  /** Grants for emergencies, past ones too, oldest first. */
  grants(): readonly GrantReport[];
  /** Ends a grant before its time; rejects when it is not open. */
  withdraw(id: string, who: string, note: string): Promise<void>;
  /** Rejects when it is open, or reviewed already. */
  review(id: string, who: string, note: string): Promise<void>;
  /** Alarms, acknowledged ones too, oldest first. Rejects where none are configured. */
  alarms(): Promise<readonly AlarmReport[]>;
  /** Durable and on record when it resolves; rejects when there is none of that id, or it was acknowledged before. */
  acknowledge(id: string, who: string, note: string): Promise<void>;
  /** What ends within so many ms, `most` of it. */
  expiry(within: number, most: number): Promise<ExpiryReport>;
  /** The sockets that it listens on, for a process that takes over. */
  listening(): Promise<readonly Listening[]>;
  /** Stops accepting, lets current answers finish for `grace` ms (default 10,000), ends the rest. */
  stop(grace?: number): Promise<void>;
}

export interface GatewayOptions {
  /** Path of the YAML configuration. */
  readonly config: string;
  readonly log?: Log;
  /** Present where another process has the state and gives it up for this one. */
  readonly takeOver?: TakeOver;
  /** Starts the process that takes over from this one. Absent: no other can be started. */
  readonly upgrade?: (release: Release) => Promise<{ readonly pid: number }>;
}

export interface TakeOver {
  /** Sockets that the process before listens on, which this one has as well. */
  readonly listening: readonly Listening[];
  /** The configuration is good: from here on the process before may stop. */
  readonly ready: () => void;
}
