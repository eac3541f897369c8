import type { AlarmsAsk } from './audit/alarms/consumer.ts';
import type { AlarmReport } from './audit/alarms/desk.ts';
import type { AlarmsSetup } from './audit/alarms/open.ts';
import type { ExpiryAsk } from './audit/expiry/consumer.ts';
import type { ExpirySetup } from './audit/expiry/open.ts';
import type { Beginning, ConsumerReport } from './audit/feed.ts';
import type { Reporter } from './audit/forms/masked-record.ts';
import type { MaskedBy } from './audit/masking.ts';
import type { SinkSetup } from './audit/sinks/setup.ts';

/** What the thread that hands records out is born with. */
export interface EvidenceBirth {
  /** Where the segments are. */
  readonly directory: string;
  /** Where the positions of consumers are. */
  readonly positions: string;
  /** When the gateway began, before it served anybody; ms since the epoch. */
  readonly began: number;
  /** The board of safe octets. */
  readonly board: SharedArrayBuffer;
  /** Where the keys of pseudonyms are. */
  readonly state: string;
}

/** Who gets records. */
export interface EvidenceSetup {
  readonly sinks: readonly SinkSetup[];
  /** By which rules records are masked, and who reports. */
  readonly masked: MaskedBy;
  readonly reporter: Reporter;
  readonly alarms?: AlarmsSetup;
  readonly expiry?: ExpirySetup;
}

/** What the main thread asks of it. */
export type ToEvidence =
  /** These are the consumers from now on. */
  | { readonly kind: 'configure'; readonly setup: EvidenceSetup; readonly begin: Beginning }
  | { readonly kind: 'report' }
  | { readonly kind: 'alarms'; readonly ask: AlarmsAsk }
  | { readonly kind: 'expiry'; readonly ask: ExpiryAsk }
  /** Hands out what is there, for `deadline` ms at most, and ends. */
  | { readonly kind: 'close'; readonly deadline: number };

/** What it tells the main thread. */
export type FromEvidence =
  | { readonly kind: 'warn'; readonly detail: string }
  /** An alarm was opened. */
  | { readonly kind: 'raised'; readonly alarm: AlarmReport };

export type EvidenceReport = readonly ConsumerReport[];
