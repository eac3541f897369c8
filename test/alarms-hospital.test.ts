import { hash } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { createEngine, type Raised } from '../src/audit/alarms/engine.ts';
import { createState, type AlarmState } from '../src/audit/alarms/memory.ts';
import { createPlaces } from '../src/audit/alarms/places.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import type { AlarmsConfig } from '../src/config/schema.ts';
import { alarms } from '../src/config/schema/alarms.ts';
import { asFed, createHospital, DAY, HOUR, MINUTE, type Person } from './support/hospital.ts';

const WEEKS = 3;
const FIRST = Date.parse('2026-11-02T00:00:00.000Z');
const hospital = createHospital();
/** Only what nobody else can know: who works when. Everything else is the default. */
const config = alarms.parse({
  rules: { off_hours: { hours: { doctor: 'daily 06:00-22:00', consultant: 'daily 06:00-22:00', night_doctor: 'daily 20:00-08:00' } } },
}) as AlarmsConfig;
const engine = createEngine(config, createPlaces({ networks: { inside: ['10.0.0.0/8'], sites: { north: ['10.1.0.0/16'], south: ['10.2.0.0/16'] } }, apart: config.apart }));
const state = createState();

function feed(records: readonly AuditRecord[], day: number, into: AlarmState = state): readonly Raised[] {
  return asFed(records, new Date(day).toISOString().slice(0, 10), day / DAY).flatMap((standing) => engine.observe(into, standing));
}

beforeAll(() => {
  const found = Array.from({ length: WEEKS * 7 }, (_, day) => FIRST + day * DAY).flatMap((day) => feed(hospital.day(day, 0, day / DAY), day));
  expect(found).toEqual([]);
});

describe('a hospital of 1,000 certificates', () => {
  test('twenty ordinary days raise no alarm', () => {
    let looked = 0;
    for (let day = 0; day < 20; day++) {
      const midnight = FIRST + (WEEKS * 7 + day) * DAY;
      const records = hospital.day(midnight, 0.1, 1_000 + day);
      looked += records.length;
      expect(feed(records, midnight), `day ${day}`).toEqual([]);
    }
    expect(looked).toBeGreaterThan(200_000);
  });

  test('a day with one of everything raises each alarm once, with its records', () => {
    const midnight = FIRST + (WEEKS * 7 + 20) * DAY;
    const [visitor, sleepless, curious] = hospital.resting(midnight) as readonly [Person, Person, Person];
    const [shared] = hospital.roaming as readonly [Person];
    const [probed] = hospital.kiosks as readonly [Person];
    const planted: AuditRecord[] = [];
    const kinds = new Map<AuditRecord, string>();
    const plant = (rule: string, at: number, fields: Partial<AuditRecord>): void => {
      planted.push({ time: new Date(midnight + at).toISOString(), event: 'request', result: 'permitted', listener: 'clinical', route: 'records', method: 'GET', status: 200, ...fields, detail: fields.detail ?? rule });
      if (fields.detail !== undefined) kinds.set(planted.at(-1) as AuditRecord, rule);
    };
    const as = ({ fingerprint, role, addresses }: Person, address = addresses[0] as string): Partial<AuditRecord> => ({ fingerprint, role, address });
    const times = (count: number, every: number, each: (at: number) => void): void => Array.from({ length: count }, (_, index) => index * every).forEach(each);
    times(5, 20_000, (at) => plant('unfamiliar_address', 15 * HOUR + at, as(visitor, '203.0.113.9')));
    times(8, 30_000, (at) => plant('off_hours', 3 * HOUR + at, as(sleepless)));
    times(900, 60, (at) => plant('request_burst', 11 * HOUR + at, as(curious)));
    times(40, 2_000, (at) => plant('many_denials', 13 * HOUR + at, { ...as(probed), result: 'denied', reason: 'role_denied', status: 403 }));
    times(25, MINUTE, (at) => plant('many_revocations', 9 * HOUR + at, { event: 'revocation', result: 'done', who: 'it', reason: 'revoked_denylist', fingerprint: hash('sha256', `many ${at}`, 'hex'), detail: 'denied: stolen' }));
    plant('revocation_without_reason', 16 * HOUR, { event: 'revocation', result: 'done', who: 'it', reason: 'revoked_denylist', fingerprint: hash('sha256', 'no reason', 'hex'), detail: 'denied: none given' });
    times(10, 20_000, (at) => plant('two_places', 8 * HOUR + at, as(shared, shared.addresses[(at / 20_000) % 2])));
    for (const [index, alarm] of (['unregistered_device', 'mismatched_device', 'inactive_device', 'moved_device', 'foreign_token'] as const).entries()) {
      times(3, 5_000, (at) => plant(alarm, 10 * HOUR + index * MINUTE + at, { ...as(hospital.kiosks[20 + index] as Person), result: 'denied', reason: 'device_unregistered', alarm }));
    }
    plant('break_glass', 17 * HOUR, { event: 'break_glass', result: 'done', ...as(hospital.kiosks[30] as Person), alarm: 'break_glass', break_glass: { id: 'g1', reason: 'emergency', text: 'patient Chen is unconscious' } });
    plant('temporary_certificate', 6 * HOUR, { event: 'alarm', result: 'failed', alarm: 'temporary_certificate', fingerprint: 'ee'.repeat(32), detail: 'temporary_certificate' });
    plant('backup_missed', 7 * HOUR, { event: 'alarm', result: 'failed', alarm: 'backup_missed', detail: 'backup_missed' });
    plant('server_certificate', 6 * HOUR, { event: 'configuration', result: 'failed', listener: 'clinical', alarm: 'server_certificate', detail: 'server certificate a.pem is not usable (expired): its time is over; it serves, for want of a better one' });
    times(5, 2 * MINUTE, (at) => plant('responder', 18 * HOUR + at, { event: 'responder', result: 'failed', endpoint: 'http://ocsp.hospital.test', detail: 'no answer within 2000 ms' }));
    times(15, 10_000, (at) => plant('certificate_requests', 14 * HOUR + at, { event: 'certificate_request', result: 'done', who: 'x', address: '10.1.0.77', subject: 'CN=Doctor' }));
    plant('sensitive_names', 2 * HOUR, { event: 'certificate_request', result: 'done', who: 'y', address: '10.1.0.78', subject: 'CN=Domain-Admin' });

    const ordinary = hospital.day(midnight, 1, 77);
    expect(ordinary.length).toBeGreaterThan(100_000);
    const raised = feed([...ordinary, ...planted], midnight);
    const byId = Map.groupBy(raised, ({ id }) => id);
    const rules = [...byId.values()].map(([first]) => first?.rule).sort();
    expect(rules).toEqual(Object.keys(config.rules).sort());

    const segments = new Map(asFed([...ordinary, ...planted], new Date(midnight).toISOString().slice(0, 10), midnight / DAY).map((fed) => [`${fed.segment} ${fed.seq} ${fed.hash}`, fed.record]));
    const isPlanted = new Set(planted);
    for (const [id, found] of byId) {
      const records = found.flatMap((one) => one.records).map(({ segment, seq, hash: own }) => segments.get(`${segment} ${seq} ${own}`));
      // Each is one that was planted for it, or what the same certificate did meanwhile.
      const own = records.filter((record) => record !== undefined && isPlanted.has(record) && (kinds.get(record) ?? record.detail) === found[0]?.rule);
      expect(own.length, `${found[0]?.rule} ${id}`).toBeGreaterThan(0);
      const strangers = records.filter((record) => record === undefined || !(isPlanted.has(record) || found[0]?.subject === `certificate ${record.fingerprint}`));
      expect(strangers, `${found[0]?.rule} ${id}`).toEqual([]);
    }
    expect(JSON.stringify(raised)).not.toContain('Chen');
  });
});
