import type { AlarmsConfig } from '../../config/schema.ts';
import { addressGroup } from '../../policy/networks.ts';
import type { AuditRecord } from '../record.ts';
import type { Memory } from './memory.ts';
import type { Places } from './places.ts';

export type RulesConfig = AlarmsConfig['rules'];
export type RuleName = keyof RulesConfig;

/** The settings of a rule that is on. */
export type SettingsOf<Name extends RuleName> = Exclude<RulesConfig[Name], 'off'>;

/** A record and where it stands. */
export interface Standing {
  readonly record: AuditRecord;
  readonly segment: string;
  readonly seq: number;
  readonly hash: string;
}

/** A record that led to an alarm: where it stands, and what of it tells nobody's name. `time` is ISO 8601. */
export interface Trigger {
  readonly time: string;
  readonly segment: string;
  readonly seq: number;
  /** Stays in the house: with that of the record before, it would prove to whoever guesses what was masked that he is right. */
  readonly hash?: string;
  readonly summary: string;
}

/** What a rule finds at a record: its condition holds. */
export interface Finding {
  /** What it is about: of findings about the same, one alarm is made. */
  readonly subject: string;
  /** One sentence for people, which names no person. */
  readonly text: string;
  /** Records before this one that belong to it, oldest first. */
  readonly before?: readonly Trigger[];
  /** How long, in ms, it must not have been found for the next time to be news. */
  readonly quiet: number;
  /** An acknowledgement covers what is found again later within so many ms of the last time; absent: it covers nothing that comes after it. */
  readonly covers?: number;
}

/** What rules look at beside the record itself. */
export interface View {
  /** ms since the epoch, as the record has it. */
  readonly time: number;
  readonly places: Places;
  /** When this rule's alarm about a subject was last acknowledged, in ms since the epoch; 0: never. */
  acknowledged(subject: string): number;
  /** What an alarm shows of this record. */
  trigger(): Trigger;
}

/** A rule: pure but for its own memory, whose order of records is the only clock. */
export interface Rule {
  readonly name: RuleName;
  look(standing: Standing, view: View, memory: Memory): Finding | undefined;
}

/** What of a record, masked already, an alarm shows: of its fields those that name neither a person nor a patient. */
export function triggerOf(record: AuditRecord, { segment, seq, hash }: Standing): Trigger {
  const { time, event, result, reason, listener, route, role, method, status, address, device, endpoint } = record;
  const about = [
    `${event} ${result}`, reason, role === undefined ? undefined : `role ${role}`, listener === undefined ? undefined : `listener ${listener}`, route === undefined ? undefined : `route ${route}`,
    method === undefined ? undefined : `${method} ${status ?? ''}`.trim(), address === undefined ? undefined : `from ${address}`, device === undefined ? undefined : `device ${device}`,
    event === 'responder' ? endpoint : undefined,
  ].filter((part) => part !== undefined);
  return { time, segment, seq, hash, summary: about.join(', ') };
}

/** Who a record is about: its certificate, or the address where there was none; of IPv6 the /64, all of which one client may have. */
export function whoOf({ fingerprint, address }: AuditRecord): string | undefined {
  if (fingerprint !== undefined) return `certificate ${fingerprint}`;
  if (address === undefined) return undefined;
  return address.includes(':') ? `network ${addressGroup(address).match(/.{1,4}/g)?.join(':')}::/64` : `address ${address}`;
}
