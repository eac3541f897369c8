import { describe, expect, test } from 'vitest';
import { parseConfig } from '../src/config/load.ts';
import { createEngine } from '../src/audit/alarms/engine.ts';
import { createState } from '../src/audit/alarms/memory.ts';
import { createPlaces } from '../src/audit/alarms/places.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { alarmsConfig, alarmsOf, NETWORKS, raisedBy, request, standing } from './support/alarms.ts';
import { DAY, HOUR, MINUTE } from './support/hospital.ts';

/** A Monday. */
const NOON = Date.parse('2026-11-02T12:00:00.000Z');
const times = <Item>(count: number, each: (index: number) => Item): readonly Item[] => Array.from({ length: count }, (_, index) => each(index));
/** Three weeks of working days from one place. */
const learnt = (fields: Partial<AuditRecord> = {}): readonly AuditRecord[] => times(40, (index) => request(NOON - 20 * DAY + index * 12 * HOUR, fields));
const denied = (at: number, fields: Partial<AuditRecord> = {}): AuditRecord => request(at, { result: 'denied', reason: 'role_denied', status: 403, ...fields });
const revoked = (at: number, index: number, detail = 'denied: lost'): AuditRecord => ({ time: new Date(at).toISOString(), event: 'revocation', result: 'done', who: 'it', reason: 'revoked_denylist', fingerprint: String(index).padStart(64, '0'), detail });
const wanted = (at: number, fields: Partial<AuditRecord> = {}): AuditRecord => ({ time: new Date(at).toISOString(), event: 'certificate_request', result: 'done', who: 'desk', address: '10.1.0.9', subject: 'CN=Doctor 7', ...fields });
const failed = (at: number, detail = 'no answer within 2000 ms'): AuditRecord => ({ time: new Date(at).toISOString(), event: 'responder', result: 'failed', endpoint: 'http://ocsp.hospital.test', detail });
const said = (alarm: NonNullable<AuditRecord['alarm']>): AuditRecord => denied(NOON, { alarm });
const HOURS = { rules: { off_hours: { hours: { doctor: 'Mon-Fri 06:00-20:00' } } } };

interface Trace {
  readonly fires: readonly AuditRecord[];
  readonly clean: readonly AuditRecord[];
  readonly settings?: object;
}

const overdue = (at: number, run: 'create' | 'verify'): AuditRecord => ({ time: new Date(at).toISOString(), event: 'alarm', result: 'failed', alarm: 'backup_missed', detail: `${run}: overdue` });

const unusable = (at: number, place: string): AuditRecord => ({
  time: new Date(at).toISOString(), event: 'configuration', result: 'failed', listener: 'clinical', alarm: 'server_certificate', detail: `server certificate a.pem is not usable (expired): its time is over; it ${place}`,
});

const TRACES: Readonly<Record<string, Trace>> = {
  unfamiliar_address: {
    fires: [...learnt(), request(NOON, { address: '203.0.113.7' }), request(NOON + MINUTE, { address: '203.0.113.8' })],
    clean: [...learnt(), ...learnt({ address: '198.51.100.9' }), request(NOON, { address: '10.1.77.3' }), request(NOON + HOUR, { address: '203.0.113.7' })],
  },
  off_hours: { fires: times(5, (index) => request(NOON + 10 * HOUR + index * MINUTE)), clean: [request(NOON), request(NOON + 8 * HOUR + 10 * MINUTE), request(NOON + 10 * HOUR, { role: 'nurse' })], settings: HOURS },
  request_burst: {
    fires: [...learnt(), ...times(700, (index) => request(NOON + index * 70))],
    clean: [...learnt(), ...times(2_000, (index) => request(NOON + index * 200))],
  },
  many_denials: {
    fires: times(25, (index) => denied(NOON + index * 1_000)),
    clean: [...times(19, (index) => denied(NOON + index * 1_000)), ...times(200, (index) => denied(NOON + index * 1_000, { reason: 'step_up_required' })), ...times(60, (index) => denied(NOON + HOUR + index * MINUTE / 2, { address: `10.1.3.${index}`, fingerprint: `c${index}` }))],
  },
  many_revocations: {
    fires: times(22, (index) => revoked(NOON + index * MINUTE, index)),
    clean: [...times(19, (index) => revoked(NOON + index * MINUTE, index)), ...times(30, (index) => ({ ...revoked(NOON + index * MINUTE, index), detail: 'reinstated', reason: undefined } as unknown as AuditRecord))],
  },
  revocation_without_reason: { fires: [revoked(NOON, 1, 'denied: none given')], clean: [revoked(NOON, 1, 'denied: card lost in tram 5')] },
  two_places: {
    fires: times(8, (index) => request(NOON + index * 20_000, { address: index % 2 === 0 ? '10.1.1.1' : '10.2.1.1' })),
    // A walk to the other site, and back in the afternoon; two rooms of one site.
    clean: [request(NOON, {}), request(NOON + 5 * MINUTE, { address: '10.2.1.1' }), request(NOON + 9 * MINUTE, { address: '10.1.1.1' }), ...times(20, (index) => request(NOON + HOUR + index * 1_000, { address: `10.1.${index % 2}.1` }))],
  },
  responder: { fires: times(4, (index) => failed(NOON + index * MINUTE)), clean: times(10, (index) => failed(NOON + index * 20 * MINUTE)) },
  certificate_requests: { fires: times(12, (index) => wanted(NOON + index * 10_000)), clean: times(12, (index) => wanted(NOON + index * 10_000, { address: `10.1.0.${index}` })) },
  sensitive_names: { fires: [wanted(NOON + 12 * HOUR, { names: ['pc7', 'Domain-Admin'] })], clean: [wanted(NOON, { names: ['domain-admin'] }), wanted(NOON + 12 * HOUR)] },
  unregistered_device: { fires: [said('unregistered_device'), said('unregistered_device')], clean: [denied(NOON)] },
  mismatched_device: { fires: [said('mismatched_device'), said('mismatched_device')], clean: [denied(NOON)] },
  inactive_device: { fires: [said('inactive_device'), said('inactive_device')], clean: [denied(NOON)] },
  moved_device: { fires: [said('moved_device'), said('moved_device')], clean: [denied(NOON)] },
  foreign_token: { fires: [said('foreign_token'), said('foreign_token')], clean: [denied(NOON)] },
  break_glass: {
    fires: [{ ...request(NOON), event: 'break_glass', result: 'done', alarm: 'break_glass', break_glass: { id: 'g1', reason: 'x', text: 'y' } }],
    clean: [request(NOON, { break_glass: { id: 'g1', reason: 'x', text: 'y' } })],
  },
  temporary_certificate: { fires: [{ ...overdue(NOON, 'create'), alarm: 'temporary_certificate', fingerprint: 'ee' }, { ...overdue(NOON + 24 * HOUR, 'create'), alarm: 'temporary_certificate', fingerprint: 'ee' }], clean: [request(NOON)] },
  backup_missed: { fires: [overdue(NOON, 'create'), overdue(NOON + 24 * HOUR, 'create')], clean: [{ ...overdue(NOON, 'create'), alarm: undefined, result: 'done' } as unknown as AuditRecord] },
  server_certificate: { fires: [unusable(NOON, 'stands by, and b.pem serves'), unusable(NOON + MINUTE, 'serves, for want of a better one')], clean: [{ ...unusable(NOON, 'serves'), alarm: undefined, result: 'done' } as unknown as AuditRecord] },
};

describe.each(Object.entries(TRACES))('%s', (rule, { fires, clean, settings = {} }) => {
  test('fires once', () => {
    const raised = raisedBy(fires, settings);
    expect(alarmsOf(raised)).toEqual({ [rule]: 1 });
    expect(raised[0]?.records.length).toBeGreaterThan(0);
  });

  test('never fires on a clean trace', () => {
    expect(alarmsOf(raisedBy(clean, settings))).toEqual({});
  });

  test('says nothing when it is off, nor of whom it exempts', () => {
    const others = (settings as typeof HOURS).rules?.off_hours;
    expect(alarmsOf(raisedBy(fires, { rules: { [rule]: 'off' } }))).toEqual({});
    if (fires[0]?.role === 'doctor') expect(alarmsOf(raisedBy(fires, { rules: { [rule]: { ...others, exempt: { roles: ['doctor'] } } } }))).toEqual({});
  });
});

test.each([0, 1])('a refused code is one denial, though its attempt and its request are both on record, whichever comes first (%i)', (first) => {
  const pairs = (count: number): readonly AuditRecord[] => times(count, (index) => {
    const about = { request_id: `request ${index}`, reason: 'code_wrong' } as const;
    const pair = [denied(NOON + index * 1_000, { ...about, event: 'second_factor' }), denied(NOON + index * 1_000, { ...about, route: 'wardgate' })];
    return first === 0 ? pair : pair.reverse();
  }).flat();
  expect(alarmsOf(raisedBy(pairs(19)))).toEqual({});
  expect(alarmsOf(raisedBy(pairs(20)))).toEqual({ many_denials: 1 });
  // What is hung up on is refused all the same.
  expect(alarmsOf(raisedBy(pairs(20).filter(({ event }) => event === 'second_factor')))).toEqual({ many_denials: 1 });
});

describe('after an acknowledgement', () => {
  /** Alarms of what came to light before it and after it. */
  function split(rule: string, before: readonly AuditRecord[], after: readonly AuditRecord[], settings: object = {}): readonly [number, number] {
    const config = alarmsConfig(settings);
    const engine = createEngine(config, createPlaces({ networks: NETWORKS, apart: config.apart }));
    const state = createState();
    const first = before.flatMap((record) => engine.observe(state, standing(record))).filter((one) => one.rule === rule);
    const acknowledged = Date.parse(before.at(-1)?.time ?? '') + 1_000;
    const ids = new Set(first.map(({ id }) => id));
    const later = after.flatMap((record) => engine.observe(state, standing(record), () => acknowledged)).filter((one) => one.rule === rule && !ids.has(one.id));
    return [ids.size, new Set(later.map(({ id }) => id)).size];
  }
  const turns = (count: number, from: number): readonly AuditRecord[] => times(count, (index) => request(from + index * 20_000, { address: index % 2 === 0 ? '10.1.1.1' : '10.2.1.1' }));
  const abroad = (at: number, address = '203.0.113.7'): AuditRecord => request(at, { address });

  test.each([
    ['many_denials', times(25, (index) => denied(NOON + index * 1_000)), times(20, (index) => denied(NOON + MINUTE + index * 1_000)), times(19, (index) => denied(NOON + MINUTE + index * 1_000))],
    ['request_burst', [...learnt(), ...times(600, (index) => request(NOON + index))], times(600, (index) => request(NOON + 10_000 + index)), times(599, (index) => request(NOON + 10_000 + index))],
    ['responder', [failed(NOON, 'CRL of CN=Hospital Issuing CA: number 4 is older than number 5, which was in use before')], times(3, (index) => failed(NOON + MINUTE + index)), [failed(NOON + MINUTE)]],
    ['responder', times(3, (index) => failed(NOON + index * 1_000)), times(3, (index) => failed(NOON + MINUTE + index)), times(2, (index) => failed(NOON + MINUTE + index))],
    ['two_places', turns(8, NOON), turns(8, NOON + 3 * MINUTE), turns(2, NOON + 3 * MINUTE)],
    ['foreign_token', [said('foreign_token')], [denied(NOON + MINUTE, { alarm: 'foreign_token' })], []],
    ['off_hours', [request(NOON + 10 * HOUR)], [request(NOON + 12 * HOUR)], [request(NOON + 10 * HOUR + 30 * MINUTE)]],
    ['unfamiliar_address', [...learnt(), abroad(NOON)], [request(NOON + MINUTE, { address: '10.2.1.1' })], [abroad(NOON + 2 * HOUR)]],
  ] as const)('%s: what comes after is a new alarm, and what it has answered is none', (rule, before, after, not) => {
    const settings = rule === 'off_hours' ? HOURS : {};
    expect(split(rule, before, after, settings)).toEqual([1, 1]);
    expect(split(rule, before, not, settings)).toEqual([1, 0]);
  });
});

test('each rule has its traces', () => {
  expect(Object.keys(TRACES).sort()).toEqual(Object.keys(alarmsConfig().rules).sort());
});

describe('configuration', () => {
  const TLS = 'tls: { trust: ca.pem }';
  const MAIL = `kind: mail, server: mail.test, from: a@b.test, to: [c@d.test], ${TLS}`;
  const faultsOf = (alarms: string): readonly string[] => {
    const result = parseConfig(`
listeners: [{ name: a, address: "127.0.0.1:0", tls: { certificates: [{ certificate: c, key: k }] }, client_auth: { trust: [t] } }]
roles: [{ role: doctor, match: { subject: { OU: D } }, id: "{subject.CN}" }]
alarms: ${alarms}`, 'f');
    return result.kind === 'ok' ? [] : result.issues.map(({ path, message }) => `${path}: ${message}`);
  };

  test('takes what is right', () => {
    expect(faultsOf('{}')).toEqual([]);
    expect(faultsOf(`{ apart: [doctor], rules: { two_places: off, off_hours: { hours: { doctor: daily 06:00-22:00 } }, many_denials: { exempt: { roles: [doctor] } } }, channels: [{ name: m, rules: [two_places], ${MAIL} }] }`)).toEqual([]);
  });

  test.each([
    ['{ rules: { strange: {} } }', 'strange'],
    ['{ rules: { many_denials: on } }', 'many_denials: expected off, or the settings of the rule'],
    ['{ rules: { two_places: { exempt: { roles: [nurse] } } } }', 'no role named "nurse"'],
    ['{ rules: { off_hours: { hours: { nurse: daily 06:00-22:00 } } } }', 'no role named "nurse"'],
    ['{ apart: [nurse] }', 'no role named "nurse"'],
    [`{ channels: [{ name: m, rules: [strange], ${MAIL} }] }`, 'no rule named "strange"'],
    [`{ channels: [{ name: m, ${MAIL} }, { name: m, ${MAIL} }] }`, 'is taken by alarms.channels[0]'],
    [`{ channels: [{ name: m, user: u, ${MAIL} }] }`, 'expected the password beside it'],
    ['{ channels: [{ name: w, kind: webhook, url: "http://a.test/", secret_file: s, tls: { trust: ca.pem } }] }', 'expected a URL such as https://'],
    ['{ channels: [{ name: s, kind: syslog, receiver: a.test }] }', 'tls'],
  ])('refuses %s', (alarms, expected) => {
    expect(faultsOf(alarms).join('\n')).toContain(expected);
  });
});

describe('order and bounds', () => {
  test('records of two threads that come out of order are found all the same', () => {
    const trace = TRACES['two_places']?.fires ?? [];
    const apart = [...trace.filter((_, index) => index % 2 === 0), ...trace.filter((_, index) => index % 2 === 1)];
    expect(alarmsOf(raisedBy(apart))).toEqual({ two_places: 1 });
    const late = [...TRACES['many_denials']?.fires ?? []].reverse();
    expect(alarmsOf(raisedBy(late))).toEqual({ many_denials: 1 });
  });

  test('a place becomes unfamiliar again when it has been left for long, and knocking makes none familiar', () => {
    const knocks = times(5, (index) => denied(NOON + index * DAY, { address: '203.0.113.7' }));
    const [first, ...again] = raisedBy([...learnt(), ...knocks]);
    expect(first?.rule).toBe('unfamiliar_address');
    expect(again.length).toBe(4);
    expect(alarmsOf(raisedBy([...learnt(), ...learnt({ address: '198.51.100.9' }), ...times(100, (index) => request(NOON + index * DAY)), request(NOON + 100 * DAY, { address: '198.51.100.9' })]))).toEqual({ unfamiliar_address: 1 });
  });

  test('a client with both versions of IP, and a telephone that changes its network, is at one place', () => {
    const flapping = times(20, (index) => request(NOON + index * 5_000, { role: 'patient', address: index % 2 === 0 ? '91.10.20.30' : '2a02:810::7' }));
    expect(alarmsOf(raisedBy(flapping, {}, { sites: {} }))).toEqual({});
    const mobile = times(20, (index) => request(NOON + index * 5_000, { role: 'patient', address: index % 2 === 0 ? '91.10.20.30' : '100.64.1.2' }));
    expect(alarmsOf(raisedBy(mobile))).toEqual({});
    expect(alarmsOf(raisedBy(mobile, { apart: ['patient'] }))).toEqual({ two_places: 1 });
  });

  test('who has a network of IPv6 to itself is denied as one, whichever of its addresses it takes', () => {
    const strangers = times(25, (index): AuditRecord => ({ time: new Date(NOON + index * 1_000).toISOString(), event: 'connection', result: 'denied', reason: 'untrusted_issuer', address: `2001:db8:1:2::${index}` }));
    expect(raisedBy(strangers)[0]?.subject).toBe('network 2001:0db8:0001:0002::/64');
  });

  test('what is fed again after a restart raises nothing again', () => {
    const config = alarmsConfig();
    const engine = createEngine(config, createPlaces({ networks: NETWORKS, apart: [] }));
    const state = createState();
    const fed = TRACES['many_denials']?.fires.map((record) => standing(record)) ?? [];
    const first = fed.flatMap((one) => engine.observe(state, one));
    const kept = createState(JSON.parse(JSON.stringify(state.changes())) as ReturnType<typeof state.changes>);
    expect(first.length).toBe(6);
    expect(fed.flatMap((one) => engine.observe(kept, one))).toEqual([]);
    expect(engine.observe(kept, standing(denied(NOON + 30_000)))[0]?.id).toBe(first[0]?.id);
  });

  test('a window of another width counts from then on', () => {
    const engineOf = (window: string) => createEngine(alarmsConfig({ rules: { many_denials: { window }, two_places: { window } } }), createPlaces({ networks: NETWORKS, apart: [] }));
    const [before, after] = [engineOf('5m'), engineOf('30m')];
    const state = createState();
    const observed = [...times(15, (index) => before.observe(state, standing(denied(NOON + index * 1_000)))), ...times(20, (index) => after.observe(state, standing(denied(NOON + MINUTE + index * 1_000))))];
    expect(observed.filter((raised) => raised.length > 0).length).toBe(1);
    const apart = [...times(2, (index) => before.observe(state, standing(request(NOON + HOUR + index * MINUTE)))), ...times(8, (index) => after.observe(state, standing(request(NOON + HOUR + (index + 2) * 2 * MINUTE, { address: `10.${1 + index % 2}.1.1` }))))];
    expect(apart.flat().at(-1)?.rule).toBe('two_places');
  });

  test('a flood of strangers takes nothing from what is known of certificates', () => {
    const state = createState([], 100);
    const engine = createEngine(alarmsConfig(), createPlaces({ networks: NETWORKS, apart: [] }));
    for (const record of learnt()) engine.observe(state, standing(record));
    for (let index = 0; index < 1_000; index++) engine.observe(state, standing({ time: new Date(NOON).toISOString(), event: 'connection', result: 'denied', reason: 'untrusted_issuer', address: `198.18.${index >> 8}.${index & 255}` }));
    expect(engine.observe(state, standing(request(NOON, { address: '203.0.113.7' })))[0]?.rule).toBe('unfamiliar_address');
    expect(state.changes().filter(({ value }) => value !== undefined).length).toBeLessThan(220);
  });

  test('nothing of a person or a patient is in an alarm', () => {
    const personal = { id: 'Dr Chen', subject: 'CN=Dr Chen', patient: 'P123', path: '/Patient/P123', query: 'name=Chen', issuer: 'CN=Chen', host: 'chen.test' };
    const raised = Object.values(TRACES).flatMap(({ fires, settings }) => raisedBy(fires.map((record) => (record.event === 'certificate_request' ? record : { ...record, ...personal })), settings ?? {}));
    expect(new Set(raised.map(({ rule }) => rule)).size).toBe(19);
    expect(JSON.stringify(raised)).not.toMatch(/Chen|P123/i);
  });
});

describe('a clock that was in the future for a moment', () => {
  test('blinds no rule to what comes afterwards, whether it counts or goes on', () => {
    const future = NOON + 20 * 365 * DAY;
    const before = [...times(3, (index) => denied(future + index, { alarm: 'foreign_token' })), revoked(future, 99)];
    const after = [...times(25, (index) => denied(NOON + index * 1_000, { alarm: 'foreign_token' })), ...times(22, (index) => revoked(NOON + index * MINUTE, index))];
    expect(alarmsOf(raisedBy([...before, ...after]))).toEqual({ foreign_token: 2, many_denials: 1, many_revocations: 1 });
  });
});

test('a backup and a restore test that are overdue are two alarms', () => {
  expect(alarmsOf(raisedBy([overdue(NOON, 'create'), overdue(NOON, 'verify'), overdue(NOON + 24 * HOUR, 'verify')]))).toEqual({ backup_missed: 2 });
});
