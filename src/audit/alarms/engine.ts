import { hash } from 'node:crypto';
import type { AlarmsConfig } from '../../config/schema.ts';
import type { AlarmState } from './memory.ts';
import { certificateRequests, manyDenials, manyRevocations, requestBurst, responder } from './count-rules.ts';
import { twoPlaces, unfamiliarAddress } from './place-rules.ts';
import type { AuditRecord } from '../record.ts';
import type { Places } from './places.ts';
import { triggerOf, type Finding, type Rule, type RuleName, type RulesConfig, type SettingsOf, type Standing, type Trigger, type View } from './rule.ts';
import { backupMissed, breakGlass, offHours, revocationWithoutReason, said, sensitiveNames, serverCertificate, temporaryCertificate } from './single-rules.ts';
import { NEVER_LATE_MS } from './window.ts';

/** A rule has found something at a record. */
export interface Raised {
  /** The same for whatever is found about the subject until it has been quiet for a while. */
  readonly id: string;
  readonly rule: RuleName;
  readonly subject: string;
  readonly text: string;
  /** ISO 8601, of the record. */
  readonly at: string;
  /** The records of it that have not been told of: of the first finding, those before it as well. */
  readonly records: readonly Trigger[];
}

/** Looks at records, one after the other. */
export interface Engine {
  /** What this record comes to; `acknowledged` says when (ms) a rule's alarm about a subject was last acknowledged, 0: never. The same records in the same order give the same; a record that was looked at before gives nothing. */
  observe(state: AlarmState, standing: Standing, acknowledged?: (rule: RuleName, subject: string) => number): readonly Raised[];
}

/** How long something has gone on: its id, and when (ms) it was first and last found. */
interface Episode {
  readonly id: string;
  readonly last: number;
  readonly began?: number;
}

const EPISODES = 'episodes';

/** Makes the engine of the rules that are on. What alarms show of a record is masked first. */
export function createEngine({ rules, timezone }: Pick<AlarmsConfig, 'rules' | 'timezone'>, places: Places, mask: (record: AuditRecord) => AuditRecord = (record) => record): Engine {
  const on = rulesOf(rules, timezone);

  function episode(state: AlarmState, rule: RuleName, { subject, quiet, covers = 0 }: Finding, { segment, seq }: Standing, time: number, acknowledged: number): { readonly id: string; readonly begins: boolean } {
    const memory = state.memory(EPISODES);
    const key = `${rule} ${subject}`;
    const open = memory.get(key) as Episode | undefined;
    // What an acknowledgement has answered; what comes after it is news, unless it is the very same.
    const answered = open !== undefined && (open.began ?? 0) <= acknowledged && time > acknowledged && time - open.last >= covers;
    const goesOn = open !== undefined && !answered && time - open.last < quiet && open.last - time <= NEVER_LATE_MS;
    const id = goesOn ? open.id : hash('sha256', `${rule}\n${subject}\n${segment}\n${seq}`, 'hex').slice(0, 16);
    memory.set(key, { id, last: goesOn ? Math.max(time, open.last) : time, began: goesOn ? open.began ?? 0 : time } satisfies Episode);
    return { id, begins: !goesOn };
  }

  return {
    observe(state, standing, acknowledged = () => 0) {
      const { record, segment, seq } = standing;
      // Fed again after a restart.
      if (seq <= state.seen(segment)) return [];
      state.saw(segment, seq);
      const time = Date.parse(record.time);
      if (Number.isNaN(time)) return [];
      let shown: Trigger | undefined;
      // One of a clock that was in the future must not blind a rule until then.
      const since = (rule: RuleName, subject: string): number => {
        const at = acknowledged(rule, subject);
        return at - time > NEVER_LATE_MS ? 0 : at;
      };
      const view: Omit<View, 'acknowledged'> = { time, places, trigger: () => shown ??= triggerOf(mask(record), standing) };
      const raised: Raised[] = [];
      for (const rule of on) {
        const finding = rule.look(standing, { ...view, acknowledged: (subject) => since(rule.name, subject) }, state.memory(rule.name));
        if (finding === undefined) continue;
        const { id, begins } = episode(state, rule.name, finding, standing, time, since(rule.name, finding.subject));
        raised.push({ id, rule: rule.name, subject: finding.subject, text: finding.text, at: record.time, records: [...begins ? finding.before ?? [] : [], view.trigger()] });
      }
      return raised;
    },
  };
}

function rulesOf(rules: RulesConfig, timezone: string): readonly Rule[] {
  const made: { readonly [Name in RuleName]: (settings: SettingsOf<Name>) => Rule } = {
    unfamiliar_address: unfamiliarAddress,
    off_hours: (settings) => offHours(settings, timezone),
    request_burst: requestBurst,
    many_denials: manyDenials,
    many_revocations: manyRevocations,
    revocation_without_reason: revocationWithoutReason,
    two_places: twoPlaces,
    responder,
    certificate_requests: certificateRequests,
    sensitive_names: (settings) => sensitiveNames(settings, timezone),
    unregistered_device: (settings) => said('unregistered_device', settings),
    mismatched_device: (settings) => said('mismatched_device', settings),
    inactive_device: (settings) => said('inactive_device', settings),
    moved_device: (settings) => said('moved_device', settings),
    foreign_token: (settings) => said('foreign_token', settings),
    break_glass: breakGlass,
    backup_missed: backupMissed,
    temporary_certificate: temporaryCertificate,
    server_certificate: serverCertificate,
  };
  return (Object.keys(made) as RuleName[]).flatMap((name) => {
    const settings = rules[name];
    // Each name has its own settings: the pair is right by construction.
    return settings === 'off' ? [] : [(made[name] as (of: typeof settings) => Rule)(settings)];
  });
}
