import { hash } from 'node:crypto';
import type { Standing } from '../../src/audit/alarms/rule.ts';
import type { AuditRecord } from '../../src/audit/record.ts';

/** A hospital of 1,000 certificates, whose days are made out of a seed: the same seed, the same day. */
export interface Hospital {
  /** The records of one day from midnight (UTC), as two threads have them: `load`: 1 is a full day, 0 about what is needed to learn from. */
  day(midnight: number, load: number, seed: number): readonly AuditRecord[];
  /** Members of staff who are not on duty on a day, and stay at one site. */
  readonly resting: (midnight: number) => readonly Person[];
  /** Who works at both sites. */
  readonly roaming: readonly Person[];
  readonly kiosks: readonly Person[];
}

export interface Person {
  readonly fingerprint: string;
  readonly role: string;
  /** Where it is: at each site. */
  readonly addresses: readonly string[];
  readonly index: number;
}

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** Mulberry32: small, seeded, good enough for days in a hospital. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export function createHospital(): Hospital {
  const people = (role: string, count: number, addresses: (index: number) => readonly string[]): readonly Person[] =>
    Array.from({ length: count }, (_, index) => ({ fingerprint: hash('sha256', `${role} ${index}`, 'hex'), role, addresses: addresses(index), index }));
  const ward = (site: number, index: number): string => `10.${site}.${10 + (index % 20)}.${1 + (index % 250)}`;
  const doctors = people('doctor', 260, (index) => [ward(1 + (index % 2), index)]);
  const roaming = people('consultant', 20, (index) => [ward(1, index), ward(2, index), `81.2.${69 + index}.14`]);
  const night = people('night_doctor', 60, (index) => [ward(1 + (index % 2), index)]);
  const kiosks = people('kiosk', 80, (index) => [`10.${1 + (index % 2)}.200.${index + 1}`]);
  const devices = people('device', 276, (index) => [`10.${1 + (index % 2)}.${100 + (index % 8)}.${1 + (index % 250)}`]);
  const interfaces = people('interface', 4, (index) => [`10.1.250.${index + 1}`]);
  const patients = people('patient', 300, () => []);

  const onDuty = ({ index }: Person, midnight: number): boolean => (index + midnight / DAY) % 3 !== 0;

  return {
    resting: (midnight) => doctors.filter((doctor) => !onDuty(doctor, midnight)),
    roaming, kiosks,
    day(midnight, load, seed) {
      const next = random(seed);
      const between = (from: number, to: number): number => from + Math.floor(next() * (to - from));
      const records: AuditRecord[] = [];
      const add = (person: Person, at: number, address: string, fields: Partial<AuditRecord> = {}): void => {
        const { fingerprint, role } = person;
        records.push({ time: new Date(midnight + at).toISOString(), event: 'request', result: 'permitted', listener: 'clinical', fingerprint, role, address, route: 'records', method: 'GET', status: 200, ...fields });
      };
      /** What goes wrong on a good day. */
      const slip = (): Partial<AuditRecord> => {
        const chance = next();
        if (chance < 0.004) return { result: 'denied', reason: 'role_denied', status: 403 };
        if (chance < 0.01) return { result: 'denied', reason: 'step_up_required', status: 401 };
        if (chance < 0.02) return { result: 'denied', reason: 'not_found', status: 404 };
        return chance < 0.021 ? { result: 'failed', reason: 'upstream_timeout', status: 504 } : {};
      };
      const busy = (person: Person, from: number, to: number, address: string, visits: number, pages: number): void => {
        for (let visit = 0; visit < Math.max(2, visits * load); visit++) {
          const at = between(from, to);
          // A page of a ward round loads its parts at once.
          for (let part = 0; part < (load > 0 ? between(1, pages) : 1); part++) add(person, at + part * between(20, 400), address, slip());
        }
      };
      for (const doctor of doctors) if (onDuty(doctor, midnight)) busy(doctor, (6 + doctor.index % 8) * HOUR, (14 + doctor.index % 8) * HOUR - 1, doctor.addresses[0] as string, 40, 12);
      for (const consultant of roaming) {
        const [north = '', south = '', home = ''] = consultant.addresses;
        busy(consultant, 7 * HOUR, 12 * HOUR, north, 20, 8);
        busy(consultant, 12.5 * HOUR, 17 * HOUR, south, 20, 8);
        busy(consultant, 19 * HOUR, 21 * HOUR, home, 5, 8);
      }
      for (const one of night) {
        busy(one, 0, 7 * HOUR, one.addresses[0] as string, 15, 10);
        busy(one, 21 * HOUR, DAY - MINUTE, one.addresses[0] as string, 8, 10);
      }
      for (const kiosk of kiosks) busy(kiosk, 6 * HOUR, 21 * HOUR, kiosk.addresses[0] as string, 30, 6);
      for (const device of devices) {
        const beat = load > 0 ? 5 * MINUTE / load : 8 * HOUR;
        for (let at = device.index * 1_000 % beat; at < DAY; at += beat) add(device, at + between(0, 300), device.addresses[0] as string, { route: 'observations', method: 'POST', status: 201 });
      }
      for (const one of interfaces) {
        // The night's batch: far more than people do, and every night the same.
        const burst = between(850, 1_000);
        const begin = 2 * HOUR + one.index * 10 * MINUTE + between(0, MINUTE);
        for (let call = 0; call < burst; call++) add(one, begin + Math.floor(call * 50_000 / burst), one.addresses[0] as string, { route: 'export' });
      }
      for (const patient of patients) {
        // A provider's address of the day, and the telephone beside it: both at once, some of them by both versions of IP.
        const home = `9${patient.index % 8}.${between(0, 255)}.${between(0, 255)}.${between(1, 255)}`;
        const phone = patient.index % 2 === 0 ? `100.${between(64, 127)}.${between(0, 255)}.9` : `2a02:${between(1, 9_000).toString(16)}:${between(1, 9_000).toString(16)}::7`;
        const at = between(0, 23 * HOUR);
        for (let call = 0; call < (load > 0 ? 12 : 2); call++) add(patient, at + call * between(2_000, 90_000), call % 2 === 0 ? home : phone, slip());
      }
      const admin = { result: 'done', event: 'revocation', who: 'it', reason: 'revoked_denylist' } as const;
      for (let lost = between(0, 4); lost > 0; lost--) records.push({ ...admin, time: new Date(midnight + between(8 * HOUR, 17 * HOUR)).toISOString(), fingerprint: hash('sha256', `lost ${next()}`, 'hex'), detail: 'denied: card lost' });
      for (let wanted = between(0, 6); wanted > 0; wanted--) records.push({ time: new Date(midnight + between(8 * HOUR, 17 * HOUR)).toISOString(), event: 'certificate_request', result: 'done', who: 'desk', address: '10.1.0.9', subject: `CN=Doctor ${wanted}` });
      if (next() < 0.5) records.push({ time: new Date(midnight + between(0, DAY)).toISOString(), event: 'responder', result: 'failed', endpoint: 'http://ocsp.hospital.test', detail: 'no answer within 2000 ms' });
      for (const event of ['stop', 'start'] as const) records.push({ time: new Date(midnight + 4 * HOUR).toISOString(), event, result: 'done' });
      return records;
    },
  };
}

/** Records as a feed brings them: each in the segment of its thread, in batches, so that those of two threads come out of order. */
export function asFed(records: readonly AuditRecord[], day: string, seed: number, batch = 200): readonly Standing[] {
  const next = random(seed);
  const threads: Standing[][] = [[], []];
  for (const record of [...records].sort((one, other) => (one.time < other.time ? -1 : one.time > other.time ? 1 : 0))) {
    const thread = next() < 0.5 ? 0 : 1;
    const held = threads[thread] as Standing[];
    held.push({ record, segment: `${day}-t${thread}.jsonl`, seq: held.length + 1, hash: `${day}${thread}${held.length}` });
  }
  const fed: Standing[] = [];
  for (let at = 0; threads.some((held) => at < held.length); at += batch) for (const held of threads) fed.push(...held.slice(at, at + batch));
  return fed;
}
