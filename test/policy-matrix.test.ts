import { beforeAll, expect, it } from 'vitest';
import { parseHours } from '../src/config/hours.ts';
import type { Device } from '../src/config/device.ts';
import { parseConfig } from '../src/config/load.ts';
import { createDeviceRegister } from '../src/identity/devices.ts';
import { compileRoles, identify } from '../src/identity/roles.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import { pemBlocks } from '../src/pki/pem.ts';
import { authorize } from '../src/policy/authorize.ts';
import type { GrantFinding, GrantQuestion } from '../src/policy/break-glass.ts';
import type { Policy } from '../src/policy/decision.ts';
import { compileBindings } from '../src/policy/devices.ts';
import type { Admission, Findings, Reason, RequestFacts, SessionFinding } from '../src/policy/facts.ts';
import { parseHost } from '../src/policy/host.ts';
import { compileRates, type LimitFinding } from '../src/policy/limits.ts';
import { parseNetwork } from '../src/policy/networks.ts';
import { compileRoutes } from '../src/policy/routes.ts';
import type { Suspension } from '../src/policy/suspensions.ts';
import { parseTarget } from '../src/policy/target.ts';
import type { TokenFinding } from '../src/policy/token.ts';
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
/** What of a grant for an emergency there is before the request: for its patient, for another, on the page for another, over, taken back; or what the request itself says. */
type Grant = 'absent' | 'valid' | 'other patient' | 'declared' | 'expired' | 'withdrawn' | 'plea' | 'plea for another';
type Token = 'nobody looked' | 'absent' | 'right' | 'other certificate' | 'missing scope';

const WHO: readonly Who[] = ['anonymous', 'revoked', 'unknown', 'nobody', 'doctor', 'patient', 'device'];
const DEVICES: readonly DeviceState[] = ['registered', 'unregistered', 'lost', 'moved', 'off hours'];
const HALTS: readonly Halt[] = ['none', 'the route', 'outside', 'doctors', 'is over'];
const ALLOWED = [['public'], ['doctor'], ['patient', 'device'], ['doctor', 'patient', 'device']] as const;
const FACTORS = [undefined, 'totp', 'sms'] as const;
const SESSIONS: readonly Session[] = ['none', 'totp', 'sms', 'ended', 'stolen'];
const GRANTS: readonly Grant[] = ['absent', 'valid', 'other patient', 'declared', 'expired', 'withdrawn', 'plea', 'plea for another'];
const TOKENS: readonly Token[] = ['nobody looked', 'absent', 'right', 'other certificate', 'missing scope'];
/** Another issuer gives whoever has its token the role of a doctor. */
const DEMANDS = ['none', 'a token', 'a token that makes doctors'] as const;
/** What of a route may be broken in an emergency, by doctors and devices. */
const GLASS = ['none', 'role', 'all'] as const;
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
  readonly glass: (typeof GLASS)[number];
  readonly demands: (typeof DEMANDS)[number];
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
  readonly grant: Grant;
  readonly token: Token;
}

const PLAIN: readonly Kind[] = ALLOWED.flatMap((allow) => (['deny', 'allow'] as const).flatMap((unavailable) => BOTH.flatMap((networks) => BOTH.flatMap((policy) => BOTH.flatMap((patient) =>
  BOTH.flatMap((rate) => FACTORS.map((factor) => ({ allow, unavailable, networks, policy, patient, rate, factor, glass: 'none' as const, demands: 'none' as const }))))))))
  // What the configuration refuses: a session or a patient of whoever comes.
  .filter(({ allow, patient, factor }) => allow[0] !== 'public' || (!patient && factor === undefined));

/** Routes that may be broken, or demand a token, or both. */
const FURTHER: readonly Kind[] = ALLOWED.slice(1).flatMap((allow) => BOTH.flatMap((networks) => BOTH.flatMap((patient) => BOTH.flatMap((counted) => GLASS.flatMap((glass) => DEMANDS.map((demands) =>
  ({ allow, unavailable: 'deny' as const, networks, policy: false, patient, rate: counted, factor: counted ? 'totp' as const : undefined, glass, demands })))))))
  .filter(({ glass, demands }) => glass !== 'none' || demands !== 'none');

const KINDS = [...PLAIN, ...FURTHER];

/** The contract, read from top to bottom: the first line that fits says what becomes of a request. */
function expected(cell: Cell): string {
  const { who, allow, required, inside, holdsPolicy, device, own, halt, asked, exceeded, session, glass, demands, grant, token } = cell;
  const open = (allow as readonly string[]).includes('public');
  const role = who === 'unknown' ? 'doctor' : who;
  if (who === 'revoked') return '403 revoked_crl';
  if (who === 'unknown' && cell.unavailable === 'deny') return '403 ocsp_unavailable';
  if (who === 'anonymous' && (required || !open)) return '401 no_certificate';
  if (who === 'nobody') return '403 no_role';
  // What is broken is told only to whom no grant helps; the first of it, since the rest stands behind it.
  const mayBreak = (what: 'role' | 'more'): boolean => (glass === 'all' || (glass === 'role' && what === 'role')) && (who === 'doctor' || who === 'device');
  let broken: string | undefined;
  const holdsDoctor = role === 'doctor' || (demands === 'a token that makes doctors' && token === 'right');
  const mayYetCome = demands === 'a token that makes doctors' && token !== 'right' && (allow as readonly string[]).includes('doctor');
  const letIn = (allow as readonly string[]).includes(role) || ((allow as readonly string[]).includes('doctor') && holdsDoctor) || mayYetCome;
  if (who !== 'anonymous' && !open && !letIn) {
    if (!mayBreak('role')) return '403 role_denied';
    broken ??= '403 role_denied';
  }
  if (cell.networks && !inside) {
    if (!mayBreak('more')) return '403 network_denied';
    broken ??= '403 network_denied';
  }
  if (cell.policy && !(holdsPolicy && who !== 'anonymous')) return '403 policy_missing';
  if (who === 'device' && device === 'unregistered') return '403 device_unregistered';
  if (who === 'device' && device === 'lost') return '403 device_inactive';
  for (const [state, reason] of [['moved', '403 device_moved'], ['off hours', '403 outside_hours']] as const) {
    if (who !== 'device' || device !== state) continue;
    if (!mayBreak('more')) return reason;
    broken ??= reason;
  }
  if (demands !== 'none' && token === 'nobody looked') return asked ? '401 token_missing' : 'query';
  if (demands !== 'none' && token === 'absent') return '401 token_missing';
  if (demands !== 'none' && token === 'other certificate') return '401 token_other_certificate';
  if (demands !== 'none' && token === 'missing scope') return '403 token_scope';
  if (cell.patient && who === 'patient' && !own) return '403 patient_mismatch';
  // The request says that it is for somebody else than it is.
  if (broken !== undefined && grant === 'plea for another' && cell.patient) return broken;
  if (halt === 'the route' || (halt === 'outside' && !inside) || (halt === 'doctors' && holdsDoctor)) return '503 suspended';
  if (!asked && (cell.rate || cell.factor !== undefined || broken !== undefined)) return 'query';
  if (cell.rate && exceeded) return '429 rate_limited';
  if (cell.factor !== undefined && session === 'stolen') return '401 session_other_certificate';
  if (cell.factor !== undefined && session === 'ended') return '401 session_expired';
  if (cell.factor !== undefined && session !== cell.factor) return '401 step_up_required';
  if (broken !== undefined) {
    if (grant === 'expired' || grant === 'withdrawn') return '403 break_glass_ended';
    // Whom a request of a route without patients concerns, its client has said: with it, or on the page.
    const helps = grant === 'valid' || grant === 'plea' || (!cell.patient && (grant === 'declared' || grant === 'plea for another'));
    return helps ? 'emergency' : broken;
  }
  return who === 'unknown' ? 'degraded' : '200';
}

const STATUS: Readonly<Record<string, number>> = { certificate_rejected: 403, certificate_required: 401, role_denied: 403, rate_limited: 429, step_up_required: 401, suspended: 503, invalid_token: 401 };

let pki: TestPki;
let policy: Policy;
let admissions: Readonly<Record<Who, Admission>>;
let registers: Readonly<Record<DeviceState, Policy['devices']>>;

beforeAll(async () => {
  pki = await testPki();
  const parsed = parseConfig(`
listeners: [{ name: clinical, address: "127.0.0.1:0", tls: { certificates: [{ certificate: a.pem, key: a.key }] }, client_auth: { trust: ca.pem } }]
devices: { inventory: devices.csv }
tokens:
  ehr: { issuer: "https://auth.hospital.test", audience: api, jwks: { file: ehr.jwks } }
  giving: { issuer: "https://auth.hospital.test", audience: api, jwks: { file: ehr.jwks }, roles: { "patient/*.rs": doctor } }
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
  policy = { routes: compileRoutes(config.routes, rates, {}, config), unavailable: 'deny', rates, inside: [parseNetwork('10.0.0.0/8')] };
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

function routeText({ allow, unavailable, networks, policy: wanted, patient, rate, factor, glass, demands }: Kind, index: number): string {
  const required = [
    ...(networks ? ['networks: [10.0.0.0/8]'] : []), ...(wanted ? [`policy: [${POLICY}]`] : []), ...(factor === undefined ? [] : [`second_factor: ${factor}`]),
    ...(demands === 'none' ? [] : [`token: { from: ${demands === 'a token' ? 'ehr' : 'giving'}, scopes: [patient/*.rs] }`]),
  ];
  const broken = glass === 'none' ? '' : `, break_glass: { roles: [doctor, device], reasons: [emergency], patient: ${patient ? 'required' : 'optional'}, breaks: [${glass === 'all' ? 'role, networks, hours' : 'role'}] }`;
  return `  - { name: r${index}, match: { path: /r${index}/:id }, allow: [${allow.join(', ')}], upstream: records, unavailable: ${unavailable}, require: { ${required.join(', ')} }${patient ? ', patient: { path: id, id: "urn:patient:*" }' : ''}${rate ? ', limits: { rate: [10/minute] }' : ''}${broken} }`;
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

/** What the grants that there are come to for a question, found as the gateway finds them. */
function grantFor({ grant, patient }: Cell, question: GrantQuestion): GrantFinding {
  const open = (of: string | undefined, until = NOW + 1): GrantFinding => ({ kind: 'open', grant: { id: grant, route: question.route, breaks: question.breaks, reason: 'emergency', text: 'x', until, ...(of === undefined ? {} : { patient: of }) } });
  if (question.plea !== undefined) return open(question.patient);
  if (grant === 'absent' || grant === 'plea' || grant === 'plea for another') return { kind: 'none' };
  const of = grant === 'other patient' || grant === 'declared' ? '9999' : patient ? '1001' : undefined;
  const found = of === question.patient || (grant === 'declared' && question.unnamed === true);
  return found ? open(of, grant === 'expired' ? NOW : NOW + 1) : { kind: 'none' };
}

function saidIn({ grant }: Cell): readonly string[] {
  if (grant !== 'plea' && grant !== 'plea for another') return [];
  return ['wardgate-emergency-reason', 'emergency', 'wardgate-emergency-text', 'x', ...(grant === 'plea for another' ? ['wardgate-emergency-patient', '9999'] : [])];
}

/** What is known of a token whose signature is the issuer's. */
function tokenOf({ token, who, demands }: Cell): TokenFinding | undefined {
  if (token === 'nobody looked') return undefined;
  if (token === 'absent') return { kind: 'refused', reason: 'token_missing', detail: 'none' };
  const admission = admissions[who];
  const certificate = admission.kind === 'known' && token !== 'other certificate' ? admission.leaf.sha256 : 'ab'.repeat(32);
  return {
    kind: 'signed', from: demands === 'a token' ? 'ehr' : 'giving', key: 'k', until: NOW + 1, claims: {
      issuer: 'https://auth.hospital.test', audience: ['api'], expires: NOW + 1, notBefore: undefined, issuedAt: undefined, id: undefined, client: undefined,
      certificate: Buffer.from(certificate, 'hex').toString('base64url'), scopes: [token === 'missing scope' ? 'launch' : 'patient/*.rs'],
    },
  };
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
  };
  if (cell.glass !== 'none') Object.assign(facts, { fields: saidIn(cell), withdrawn: new Set(['withdrawn']) });
  const token = cell.demands === 'none' ? undefined : tokenOf(cell);
  if (token !== undefined) Object.assign(facts, { token });
  const devices = registers[cell.device];
  const known = devices === undefined ? policy : { ...policy, devices };
  if (cell.asked) {
    // What is asked about a grant says what is found of it.
    const asked = cell.glass === 'none' ? undefined : authorize(known, facts, NOW);
    Object.assign(facts, { findings: { ...findings(cell), ...(asked?.kind === 'query' && asked.grant !== undefined ? { grant: grantFor(cell, asked.grant) } : {}) } });
  }
  const decision = authorize(known, facts, NOW);
  if (decision.kind === 'query') return 'query';
  if (decision.kind === 'permit') return decision.breakGlass !== undefined ? 'emergency' : decision.degraded === undefined ? '200' : 'degraded';
  return `${STATUS[decision.code] ?? decision.code} ${decision.reason satisfies Reason}`;
}

const SAID = { grant: 'absent', token: 'absent' } as const;

/** Every request to a route; what a client cannot have (a device that is none, a session where none is asked for) is not varied, nor what cannot matter to it. */
function* cells(kind: Kind): Generator<Cell> {
  for (const who of WHO) for (const required of who === 'anonymous' || who === 'doctor' ? BOTH : [false]) for (const inside of BOTH) for (const holdsPolicy of kind.policy ? BOTH : [false]) {
    for (const device of who === 'device' ? DEVICES : ['registered'] as const) for (const own of kind.patient && who === 'patient' ? BOTH : [true]) {
      for (const halt of comes(who, kind) ? HALTS : HALTS.slice(0, 2)) for (const asked of BOTH) for (const exceeded of asked && kind.rate ? BOTH : [false]) for (const session of sessionsOf(who, kind, asked)) {
        // What is allowed while nobody answers matters to one whose status is unknown.
        if (kind.unavailable === 'deny' || who === 'unknown') yield { ...kind, ...SAID, who, required, inside, holdsPolicy, device, own, halt, asked, exceeded, session };
      }
    }
  }
}

/** Whether the certificate lets somebody come as far as to the rules of the route. */
function comes(who: Who, { unavailable, allow }: Kind): boolean {
  return who === 'anonymous' ? allow[0] === 'public' : who !== 'revoked' && who !== 'nobody' && (who !== 'unknown' || unavailable === 'allow');
}

function sessionsOf(who: Who, kind: Kind, asked: boolean): readonly Session[] {
  if (!asked || kind.factor === undefined) return ['none'];
  return comes(who, kind) ? SESSIONS : ['totp'];
}

/** What may be tried by somebody: all of it where it may help them, and the best of it where it must not. */
function tokensOf(who: Who): readonly Token[] {
  return who === 'doctor' || who === 'device' || who === 'patient' ? TOKENS : ['right'];
}

function grantsOf(who: Who, letIn: boolean): readonly Grant[] {
  return !letIn || who === 'nobody' || who === 'patient' ? ['valid', 'plea'] : who === 'doctor' || who === 'device' ? GRANTS : ['valid'];
}

/** The same where something may be broken, or a token is demanded. */
function* furtherCells(kind: Kind): Generator<Cell> {
  for (const who of WHO) for (const inside of BOTH) for (const device of who === 'device' ? DEVICES : ['registered'] as const) for (const own of kind.patient && who === 'patient' ? BOTH : [true]) {
    for (const token of kind.demands === 'none' ? ['absent'] as const : tokensOf(who)) for (const grant of kind.glass === 'none' ? ['absent'] as const : grantsOf(who, kind.demands === 'none' || token === 'right')) {
      for (const halt of comes(who, kind) && grant === (kind.glass === 'none' ? 'absent' : 'valid') ? ['none', 'the route', 'doctors'] as const : ['none'] as const) for (const asked of BOTH) for (const session of asked && kind.factor !== undefined ? ['none', 'totp'] as const : ['none'] as const) {
        for (const exceeded of session === 'totp' ? BOTH : [false]) yield { ...kind, who, required: false, inside, holdsPolicy: false, device, own, halt, asked, exceeded, session, grant, token };
      }
    }
  }
}

it('every role at every route under every condition: decided as the contract says', () => {
  const wrong: string[] = [];
  const seen = new Map<string, number>();
  let count = 0;
  for (const [index, kind] of KINDS.entries()) {
    for (const cell of kind.glass === 'none' && kind.demands === 'none' ? cells(kind) : furtherCells(kind)) {
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
    '200', '401 no_certificate', '401 session_expired', '401 session_other_certificate', '401 step_up_required', '401 token_missing', '401 token_other_certificate', '403 break_glass_ended', '403 device_inactive', '403 device_moved', '403 device_unregistered', '403 network_denied', '403 no_role',
    '403 ocsp_unavailable', '403 outside_hours', '403 patient_mismatch', '403 policy_missing', '403 revoked_crl', '403 role_denied', '403 token_scope', '429 rate_limited', '503 suspended', 'degraded', 'emergency', 'query',
  ]);
});
