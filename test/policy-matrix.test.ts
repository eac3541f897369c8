import { beforeAll, expect, it } from 'vitest';
import { parseHours } from '../src/config/hours.ts';
import type { Device } from '../src/config/inventory.ts';
import { parseConfig } from '../src/config/load.ts';
import { createDeviceRegister } from '../src/identity/devices.ts';
import { compileRoles, identify } from '../src/identity/roles.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import { pemBlocks } from '../src/pki/pem.ts';
import { authorize } from '../src/policy/authorize.ts';
import type { Policy } from '../src/policy/decision.ts';
import { compileBindings } from '../src/policy/devices.ts';
import type { Admission, Findings, Reason, RequestFacts, SessionFinding } from '../src/policy/facts.ts';
import { parseHost } from '../src/policy/host.ts';
import { compileRates, type LimitFinding } from '../src/policy/limits.ts';
import { parseNetwork } from '../src/policy/networks.ts';
import { compileRoutes } from '../src/policy/routes.ts';
import type { Suspension } from '../src/policy/suspensions.ts';
import { parseTarget } from '../src/policy/target.ts';
import { testPki, type TestPki } from './support/pki.ts';

// Roles × routes × conditions: every cell is decided, and held to a second reading of the contract that knows nothing of how the first one is written.

const NOW = Date.UTC(2026, 10, 24, 12); // a Tuesday
const INSIDE = '10.1.2.3';
const OUTSIDE = '192.0.2.7';
const POLICY = '1.3.6.1.4.1.99999.1';

type Who = 'anonymous' | 'revoked' | 'unknown' | 'nobody' | 'doctor' | 'patient' | 'device';
type DeviceState = 'registered' | 'unregistered' | 'lost' | 'moved' | 'off hours';
type Halt = 'none' | 'the route' | 'outside' | 'doctors' | 'is over';
type Session = 'none' | 'totp' | 'sms' | 'ended' | 'stolen';

const WHO: readonly Who[] = ['anonymous', 'revoked', 'unknown', 'nobody', 'doctor', 'patient', 'device'];
const DEVICES: readonly DeviceState[] = ['registered', 'unregistered', 'lost', 'moved', 'off hours'];
const HALTS: readonly Halt[] = ['none', 'the route', 'outside', 'doctors', 'is over'];
const ALLOWED = [['public'], ['doctor'], ['patient', 'device'], ['doctor', 'patient', 'device']] as const;
const FACTORS = [undefined, 'totp', 'sms'] as const;
const SESSIONS: readonly Session[] = ['none', 'totp', 'sms', 'ended', 'stolen'];
const BOTH = [false, true] as const;

/** One route of the matrix. */
interface Kind {
  readonly allow: (typeof ALLOWED)[number];
  readonly unavailable: 'deny' | 'allow';
  readonly networks: boolean;
  readonly policy: boolean;
  readonly patient: boolean;
  readonly rate: boolean;
  readonly factor: (typeof FACTORS)[number];
}

/** One request to it. */
interface Cell extends Kind {
  readonly who: Who;
  readonly required: boolean;
  readonly inside: boolean;
  readonly holdsPolicy: boolean;
  readonly device: DeviceState;
  readonly own: boolean;
  readonly halt: Halt;
  readonly asked: boolean;
  readonly exceeded: boolean;
  readonly session: Session;
}

const KINDS: readonly Kind[] = ALLOWED.flatMap((allow) => (['deny', 'allow'] as const).flatMap((unavailable) => BOTH.flatMap((networks) => BOTH.flatMap((policy) => BOTH.flatMap((patient) =>
  BOTH.flatMap((rate) => FACTORS.map((factor) => ({ allow, unavailable, networks, policy, patient, rate, factor }))))))))
  // What the configuration refuses: a session or a patient of whoever comes.
  .filter(({ allow, patient, factor }) => allow[0] !== 'public' || (!patient && factor === undefined));

/** The contract, read from top to bottom: the first line that fits says what becomes of a request. */
function expected(cell: Cell): string {
  const { who, allow, required, inside, holdsPolicy, device, own, halt, asked, exceeded, session } = cell;
  const open = (allow as readonly string[]).includes('public');
  const role = who === 'unknown' ? 'doctor' : who;
  if (who === 'revoked') return '403 revoked_crl';
  if (who === 'unknown' && cell.unavailable === 'deny') return '403 ocsp_unavailable';
  if (who === 'anonymous' && (required || !open)) return '401 no_certificate';
  if (who === 'nobody') return '403 no_role';
  if (who !== 'anonymous' && !open && !(allow as readonly string[]).includes(role)) return '403 role_denied';
  if (cell.networks && !inside) return '403 network_denied';
  if (cell.policy && !(holdsPolicy && who !== 'anonymous')) return '403 policy_missing';
  if (who === 'device' && device === 'unregistered') return '403 device_unregistered';
  if (who === 'device' && device === 'lost') return '403 device_inactive';
  if (who === 'device' && device === 'moved') return '403 device_moved';
  if (who === 'device' && device === 'off hours') return '403 outside_hours';
  if (cell.patient && who === 'patient' && !own) return '403 patient_mismatch';
  if (halt === 'the route' || (halt === 'outside' && !inside) || (halt === 'doctors' && role === 'doctor')) return '503 suspended';
  if (!asked && (cell.rate || cell.factor !== undefined)) return 'query';
  if (cell.rate && exceeded) return '429 rate_limited';
  if (cell.factor !== undefined && session === 'stolen') return '401 session_other_certificate';
  if (cell.factor !== undefined && session === 'ended') return '401 session_expired';
  if (cell.factor !== undefined && session !== cell.factor) return '401 step_up_required';
  return who === 'unknown' ? 'degraded' : '200';
}

const STATUS: Readonly<Record<string, number>> = { certificate_rejected: 403, certificate_required: 401, role_denied: 403, rate_limited: 429, step_up_required: 401, suspended: 503 };

let pki: TestPki;
let policy: Policy;
let admissions: Readonly<Record<Who, Admission>>;
let registers: Readonly<Record<DeviceState, Policy['devices']>>;

beforeAll(async () => {
  pki = await testPki();
  const parsed = parseConfig(`
listeners: [{ name: clinical, address: "127.0.0.1:0", tls: { certificates: [{ certificate: a.pem, key: a.key }] }, client_auth: { trust: ca.pem } }]
devices: { inventory: devices.csv }
second_factor: { key_file: factors.key, sms: { url: "https://sms.hospital.test/send", trust: ca.pem, secret_file: sms.secret } }
roles:
  - { role: doctor, match: { subject: { OU: Doctors } } }
  - { role: patient, match: { san: { uri: "urn:patient:*" } }, id: "{san.uri}" }
  - { role: device, match: { subject: { OU: Devices } }, id: "{san.dns}", bind: device }
routes:
${KINDS.map(routeText).join('\n')}
upstreams: { records: { endpoints: ["https://127.0.0.1:1"], tls: { trust: ca.pem } } }
`, 'matrix.yaml');
  if (parsed.kind !== 'ok') throw new Error(JSON.stringify(parsed.issues.slice(0, 3)));
  const { config } = parsed;
  const rates = compileRates('gateway', config.limits.rates);
  policy = { routes: compileRoutes(config.routes, rates), unavailable: 'deny', rates, inside: [parseNetwork('10.0.0.0/8')] };
  const authorities = [pki.issuing, pki.root].flatMap(({ certificate }) => pemBlocks(certificate, 'CERTIFICATE').map(({ der }) => parseCertificate(der)));
  const known = (issued: { readonly der: Buffer }, status: object): Admission => {
    const path = [parseCertificate(issued.der), ...authorities];
    const { identity } = identify({ path, policies: [] }, compileRoles(config, {}));
    return { kind: 'known', leaf: path[0], path, policies: [], ...(identity === undefined ? {} : { identity }), status, statements: [], epoch: 1, validUntil: NOW + 60_000 } as unknown as Admission;
  };
  const good = { kind: 'good', source: 'crl' };
  admissions = {
    anonymous: { kind: 'anonymous' },
    revoked: { kind: 'refused', reason: 'revoked_crl', detail: 'revoked', leaf: parseCertificate(pki.doctor.der), epoch: 1, validUntil: NOW + 60_000 },
    unknown: known(pki.doctor, { kind: 'unknown', reason: 'ocsp_unavailable', detail: 'nobody answers' }),
    nobody: known(pki.unmapped, good), doctor: known(pki.doctor, good), patient: known(pki.patient, good), device: known(pki.device, good),
  };
  const bindings = compileBindings(config.roles);
  const { device } = admissions;
  if (device.kind !== 'known' || device.identity === undefined) throw new Error('the device has no role');
  const registered: Device = { id: device.identity.id, state: 'active', fingerprints: [], keys: [], serials: [], users: [] };
  const withDevices = (...devices: Device[]): Policy['devices'] => ({ register: createDeviceRegister(devices), bindings });
  registers = {
    registered: withDevices(registered), unregistered: withDevices(), lost: withDevices({ ...registered, state: 'lost' }),
    moved: withDevices({ ...registered, networks: ['172.16.0.0/12'] }), 'off hours': withDevices({ ...registered, hours: { zone: 'UTC', windows: parseHours('Mon 00:00-24:00') ?? [] } }),
  };
});

function routeText({ allow, unavailable, networks, policy: wanted, patient, rate, factor }: Kind, index: number): string {
  const required = [...(networks ? ['networks: [10.0.0.0/8]'] : []), ...(wanted ? [`policy: [${POLICY}]`] : []), ...(factor === undefined ? [] : [`second_factor: ${factor}`])];
  return `  - { name: r${index}, match: { path: /r${index}/:id }, allow: [${allow.join(', ')}], upstream: records, unavailable: ${unavailable}, require: { ${required.join(', ')} }${patient ? ', patient: { path: id, id: "urn:patient:*" }' : ''}${rate ? ', limits: { rate: [10/minute] }' : ''} }`;
}

const STANDING = { per: 'certificate', rate: '10/minute', limit: 10, window: 60_000, remaining: 0, resets: 1_000 } as const;

function findings({ exceeded, rate, session }: Cell): Findings {
  const limits: LimitFinding = rate && exceeded ? { kind: 'exceeded', rule: 'r', exceeded: STANDING, standings: [STANDING] } : { kind: 'within', standings: [] };
  const sessions: Readonly<Record<Session, SessionFinding>> = {
    none: { kind: 'none' }, totp: { kind: 'valid', factors: ['totp'], until: NOW + 1 }, sms: { kind: 'valid', factors: ['sms'], until: NOW + 1 },
    ended: { kind: 'valid', factors: ['totp', 'sms'], until: NOW }, stolen: { kind: 'refused', reason: 'session_other_certificate', detail: 'another certificate' },
  };
  return { limits, session: sessions[session] } as Findings;
}

function suspensions(halt: Halt, route: string): readonly Suspension[] {
  const common = { reason: 'incident', until: NOW + 1 };
  const other: Suspension = { ...common, route: 'another' };
  switch (halt) {
    case 'none': return [other];
    case 'the route': return [other, { ...common, route }];
    case 'outside': return [{ ...common, route, outside: true }];
    case 'doctors': return [{ ...common, role: 'doctor' }];
    case 'is over': return [{ ...common, route, until: NOW }];
  }
}

function decide(cell: Cell, index: number): string {
  const { who } = cell;
  const admission = admissions[who];
  const facts: RequestFacts = {
    method: 'GET', target: parseTarget(`/r${index}/${cell.own ? '1001' : '1002'}`), host: parseHost('api.hospital.test'), directed: true,
    clientAuth: cell.required ? 'required' : 'optional', address: cell.inside ? INSIDE : OUTSIDE, preflight: undefined,
    admission: admission.kind === 'known' && cell.holdsPolicy ? { ...admission, policies: [POLICY] } : admission,
    suspensions: suspensions(cell.halt, `r${index}`),
    ...(cell.asked ? { findings: findings(cell) } : {}),
  };
  const devices = registers[cell.device];
  const decision = authorize(devices === undefined ? policy : { ...policy, devices }, facts, NOW);
  if (decision.kind === 'query') return 'query';
  if (decision.kind === 'permit') return decision.degraded === undefined ? '200' : 'degraded';
  return `${STATUS[decision.code] ?? decision.code} ${decision.reason satisfies Reason}`;
}

/** Every request to a route; what a client cannot have (a device that is none, a session where none is asked for) is not varied. */
function* cells(kind: Kind): Generator<Cell> {
  for (const who of WHO) for (const required of BOTH) for (const inside of BOTH) for (const holdsPolicy of kind.policy ? BOTH : [false]) {
    for (const device of who === 'device' ? DEVICES : ['registered'] as const) for (const own of kind.patient && who === 'patient' ? BOTH : [true]) {
      for (const halt of HALTS) for (const asked of BOTH) for (const exceeded of asked && kind.rate ? BOTH : [false]) for (const session of asked && kind.factor !== undefined ? SESSIONS : ['none'] as const) {
        yield { ...kind, who, required, inside, holdsPolicy, device, own, halt, asked, exceeded, session };
      }
    }
  }
}

it('every role at every route under every condition: decided as the contract says', () => {
  const wrong: string[] = [];
  const seen = new Map<string, number>();
  let count = 0;
  for (const [index, kind] of KINDS.entries()) {
    for (const cell of cells(kind)) {
      const [wanted, got] = [expected(cell), decide(cell, index)];
      count += 1;
      seen.set(wanted, (seen.get(wanted) ?? 0) + 1);
      if (wanted !== got) wrong.push(`${JSON.stringify(cell)}: expected ${wanted}, got ${got}`);
    }
  }
  expect(wrong.slice(0, 5)).toEqual([]);
  // Every outcome occurs, and not only in a corner.
  expect(count).toBeGreaterThan(50_000);
  expect([...seen].filter(([, times]) => times < 20)).toEqual([]);
  expect([...seen.keys()].toSorted()).toEqual([
    '200', '401 no_certificate', '401 session_expired', '401 session_other_certificate', '401 step_up_required', '403 device_inactive', '403 device_moved', '403 device_unregistered', '403 network_denied', '403 no_role',
    '403 ocsp_unavailable', '403 outside_hours', '403 patient_mismatch', '403 policy_missing', '403 revoked_crl', '403 role_denied', '429 rate_limited', '503 suspended', 'degraded', 'query',
  ]);
});
