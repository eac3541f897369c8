import { alarms } from '../../src/config/schema/alarms.ts';
import type { AlarmsConfig, Config } from '../../src/config/schema.ts';
import { createEngine, type Raised } from '../../src/audit/alarms/engine.ts';
import { createState } from '../../src/audit/alarms/memory.ts';
import { createPlaces } from '../../src/audit/alarms/places.ts';
import type { Standing } from '../../src/audit/alarms/rule.ts';
import type { AuditRecord } from '../../src/audit/record.ts';

export const NETWORKS: Config['networks'] = { inside: ['10.0.0.0/8'], sites: { north: ['10.1.0.0/16'], south: ['10.2.0.0/16'] } };

export function alarmsConfig(settings: object = {}): AlarmsConfig {
  return alarms.parse(settings) as AlarmsConfig;
}

let next = 0;

/** A record where it stands; each is the next of its segment. */
export function standing(record: AuditRecord, segment = 't0.jsonl'): Standing {
  next += 1;
  return { record, segment, seq: next, hash: `hash${next}` };
}

/** A request that was let in. */
export function request(at: number, fields: Partial<AuditRecord> = {}): AuditRecord {
  return { time: new Date(at).toISOString(), event: 'request', result: 'permitted', listener: 'clinical', route: 'records', role: 'doctor', fingerprint: 'ab'.repeat(32), address: '10.1.1.1', method: 'GET', status: 200, ...fields };
}

/** What records come to with nothing known before. */
export function raisedBy(records: readonly AuditRecord[], settings: object = {}, networks: Config['networks'] = NETWORKS): readonly Raised[] {
  const config = alarmsConfig(settings);
  const engine = createEngine(config, createPlaces({ networks, apart: config.apart }));
  const state = createState();
  return records.flatMap((record) => engine.observe(state, standing(record)));
}

/** The rules that an alarm was made of, each with how many alarms. */
export function alarmsOf(raised: readonly Raised[]): Readonly<Record<string, number>> {
  const ids = new Map(raised.map(({ id, rule }) => [id, rule]));
  const counted: Record<string, number> = {};
  for (const rule of ids.values()) counted[rule] = (counted[rule] ?? 0) + 1;
  return counted;
}
