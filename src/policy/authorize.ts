import type { Device } from '../config/inventory.ts';
import type { EncryptConfig, UnavailableConfig } from '../config/schema.ts';
import { isVouchedBy, type Authorities } from '../identity/authorities.ts';
import { holdsOneOf, type Identity } from '../identity/roles.ts';
import { admitUnknown } from '../revocation/status.ts';
import { grantNeeded, patientOfPlea, type Breakable, type GlassRule, type GrantQuestion, type OpenGrant } from './break-glass.ts';
import { describeDevice, judgeDevice, type DevicePolicy, type DeviceVerdict } from './devices.ts';
import type { Admission, Alarm, Findings, KnownAdmission, Reason, RequestFacts } from './facts.ts';
import { countersOf, type Counter, type RateRule } from './limits.ts';
import { inNetworks, type Network } from './networks.ts';
import { judgePatient, type Bond } from './patient.ts';
import type { RouteIndex } from './route-index.ts';
import { matchRoute, type Route, type RouteMatch } from './routes.ts';
import { judgeSender, type Announced, type SenderName, type SenderPolicy } from './senders.ts';
import { maintenanceOf, suspensionOf, type Suspended, type Suspension } from './suspensions.ts';
import { judgeToken, type TokenClaims, type TokenRule, type TokenVerdict } from './token.ts';

declare const permitted: unique symbol;

/**
 * Leave to forward one request. Only `authorize` makes one, and every forwarder takes one: forwarding without
 * authorization does not type-check.
 */
export type Permit = PlainPermit | BoundPermit | SealedPermit;

/** Leave where bodies pass as they are. What reads none of them takes no other: forwarding past a bond, or unencrypted, does not type-check. */
export interface PlainPermit extends Leave {
  readonly bond?: undefined;
  readonly sealed?: undefined;
}

/** Leave for a client that is bound to one patient: its bodies must be judged before they leave. */
export interface BoundPermit extends Leave {
  readonly bond: Bond;
  readonly sealed?: EncryptConfig;
}

/** Leave where answers must be encrypted before they leave. */
export interface SealedPermit extends Leave {
  readonly bond?: undefined;
  readonly sealed: EncryptConfig;
}

interface Leave {
  readonly [permitted]: true;
  readonly kind: 'permit';
  readonly route: Route;
  readonly parameters: Readonly<Record<string, string>>;
  /** Absent for `public` routes without a certificate, and for preflights. */
  readonly identity: Identity | undefined;
  readonly certificate: KnownAdmission | undefined;
  /** Set when the certificate's status is unknown and the route's `unavailable` let it pass: on record, and told to the upstream. */
  readonly degraded: Reason | undefined;
  /** The registered device that the client uses, where its role is bound to one. */
  readonly device: Device | undefined;
  readonly preflight: boolean;
  /** Whom it concerns, where the route says how requests tell and this one does. */
  readonly patient?: string;
  /** The grant for an emergency without which it would have been refused. */
  readonly breakGlass?: OpenGrant;
  /** What its token says, where the route requires one. */
  readonly token?: TokenClaims;
}

/** Leave to forward one stream of a protocol that has no requests. */
export interface StreamPermit {
  readonly [permitted]: true;
  readonly kind: 'permit';
  readonly identity: Identity;
  readonly certificate: KnownAdmission;
  readonly degraded?: Reason;
  readonly device?: Device;
}

/** What a client may be told. */
export type DenialCode =
  | 'bad_request' | 'certificate_required' | 'certificate_rejected' | 'role_denied' | 'step_up_required' | 'not_found'
  | 'misdirected' | 'rate_limited' | 'suspended' | 'invalid_token';

export interface Denial {
  readonly kind: 'denial';
  readonly code: DenialCode;
  /** For the record only. */
  readonly reason: Reason;
  readonly detail: string;
  readonly route?: Route;
  /** Whom the request concerned, where it told. */
  readonly patient?: string;
  /** What its token says, where that is the issuer's word. */
  readonly token?: TokenClaims;
  /** Set when somebody should look at it. */
  readonly alarm?: Alarm;
  /** When it is over, in ms since the epoch, where that is known: the client may come again then. */
  readonly until?: number;
}

/**
 * What must be found out before a request can be decided: it is authorized again with the findings among its facts. Asked only
 * of what everything else permits, since asking counts.
 */
export interface Query {
  readonly kind: 'query';
  readonly route: Route;
  readonly counters: readonly Counter[];
  /** Whether the session matters that the request may name. */
  readonly session: boolean;
  /** The grant for an emergency without which it is refused. */
  readonly grant?: GrantQuestion;
  /** What its token must be, which is found out before anything is counted; the other questions come once that is known. */
  readonly token?: TokenRule;
}

/** One rule that was looked at, for `explain`. */
export interface Step {
  readonly rule: string;
  readonly outcome: 'pass' | 'deny' | 'skip';
  readonly detail: string;
}

export interface Policy {
  readonly routes: RouteIndex;
  readonly unavailable: UnavailableConfig;
  /** Limits on all routes together: what is denied without a route counts in them, too. */
  readonly rates: readonly RateRule[];
  /** Absent: no role is bound to devices. */
  readonly devices?: DevicePolicy;
  /** Names under which another one's routes hold. */
  readonly aliases?: ReadonlyMap<string, string>;
  /** The networks of the house, for what is suspended for clients outside only; absent: everybody is outside. */
  readonly inside?: readonly Network[];
}

/**
 * The decision about one request, from its facts alone. The order is the contract's: malformed, misdirected, refused
 * certificate, no route, certificate missing, role, token, what is suspended, limits, second factor; `now` in ms since the epoch. `trace` receives each rule
 * looked at. A query comes only without findings: first for the token, then for the rest.
 */
export function authorize(policy: Policy, facts: RequestFacts & { readonly findings: Findings }, now: number, trace?: (step: Step) => void): Permit | Denial;
export function authorize(policy: Policy, facts: RequestFacts, now: number, trace?: (step: Step) => void): Permit | Denial | Query;
export function authorize(policy: Policy, facts: RequestFacts, now: number, trace?: (step: Step) => void): Permit | Denial | Query {
  const { target, host, admission } = facts;
  if (target.kind === 'malformed') return deny('request', 'bad_request', 'bad_request', target.detail, trace);
  if (host.kind === 'malformed') return deny('request', 'bad_request', 'bad_request', host.detail, trace);
  trace?.({ rule: 'request', outcome: 'pass', detail: `${facts.method} ${host.name}${target.path}` });
  if (!facts.directed) {
    return deny('name', 'misdirected', 'misdirected', `the connection was not made for ${host.name}`, trace);
  }
  trace?.({ rule: 'name', outcome: 'pass', detail: host.name });
  if (admission.kind === 'refused') return deny('certificate', 'certificate_rejected', admission.reason, admission.detail, trace);

  const name = policy.aliases?.get(host.name) ?? host.name;
  const asked = facts.preflight === undefined ? undefined : matchRoute(policy.routes, name, target.segments, facts.preflight);
  const preflight = asked?.route.config.preflight === 'allow';
  const match = preflight ? asked : matchRoute(policy.routes, name, target.segments, facts.method);
  const route = match?.route;
  const unknown = admission.kind === 'known' ? judgeUnknown(route?.config.unavailable ?? policy.unavailable, route, admission, now) : undefined;
  if (unknown?.kind === 'denial') return trace === undefined ? unknown : traced(unknown, trace);
  if (facts.clientAuth === 'required' && admission.kind === 'anonymous') {
    return deny('certificate', 'certificate_required', 'no_certificate', 'this listener requires a client certificate', trace, route);
  }
  if (match === undefined || route === undefined) {
    return deny('route', 'not_found', 'not_found', `no route for ${facts.method} ${host.name}${target.path}`, trace);
  }
  trace?.({ rule: 'route', outcome: 'pass', detail: route.name });
  if (preflight) {
    trace?.({ rule: 'preflight', outcome: 'pass', detail: 'a CORS preflight, which carries no certificate' });
    return judgeSuspended(policy, route, facts, now, trace) ?? judgeFindings(route, undefined, facts, now, trace, undefined, `${route.name} preflight`) ?? permit(match, true, undefined, undefined, undefined);
  }
  const token = judgeBearer(route, facts, now);
  const held = token?.kind === 'good' ? withRoles(facts, token.roles) : facts;
  const bound = held.admission.kind === 'known' ? bindDevice(policy.devices, held.admission, facts.address, now) : undefined;
  const glass = createGlass(route, admission);
  const mayCome = token?.kind !== 'good' && route.token?.mayLetIn === true;
  const refusal = judgeRoute(route, held, { glass, mayCome }, trace) ?? judgeBound(bound, glass, route, trace) ?? judgeVerdict(token, route, facts, trace);
  if (refusal !== undefined) return refusal;
  const concern = judgeConcern(match, held, glass, trace);
  if (concern.kind === 'denial') return concern;
  const need = needOf(glass, route, facts, concern);
  if (need?.kind === 'denial') return need;
  // Behind what is personal: who may not use a route learns nothing of how it stands.
  const objection = judgeSuspended(policy, route, held, now, trace) ?? judgeFindings(route, route.factors, held, now, trace, need?.question) ?? judgeGrant(glass, facts, now, trace);
  if (objection !== undefined) return objection;
  return permit(
    match, false, held.admission.kind === 'known' ? held.admission : undefined, unknown?.reason, bound?.kind === 'bound' ? bound.device : undefined, concern,
    { breakGlass: glass?.broken === undefined ? undefined : grantOf(facts), token: token?.kind === 'good' ? token.claims : undefined },
  );
}

/** What somebody breaks of a route in an emergency, as it turns out. */
interface Glass {
  readonly rule: GlassRule;
  readonly breaks: Breakable[];
  /** The first refusal: what the client is told where there is no grant. */
  broken: Denial | undefined;
}

/** Undefined for whoever may break nothing of the route. */
function createGlass({ glass: rule }: Route, admission: Admission): Glass | undefined {
  if (rule === undefined || admission.kind !== 'known' || admission.identity === undefined) return undefined;
  return holdsOneOf(admission.identity, rule.roles) ? { rule, breaks: [], broken: undefined } : undefined;
}

/** Goes on in spite of a denial where that may be broken. */
function unlessBroken(glass: Glass | undefined, what: Breakable | undefined, denial: Denial): Denial | undefined {
  if (glass === undefined || what === undefined || !glass.rule.breaks.has(what)) return denial;
  glass.broken ??= denial;
  glass.breaks.push(what);
  return undefined;
}

function needOf(glass: Glass | undefined, route: Route, { fields = [] }: RequestFacts, { patient, unclear }: Concern): { readonly kind: 'ask'; readonly question: GrantQuestion } | Denial | undefined {
  if (glass?.broken === undefined) return undefined;
  // A grant for one patient must not serve what an upstream reads as a request for another.
  if (unclear !== undefined) return refuseGrant(glass.broken, unclear);
  const need = grantNeeded(glass.rule, route.name, glass.breaks, fields, patient);
  return need.kind === 'ask' ? need : refuseGrant(glass.broken, need.detail);
}

function refuseGrant(broken: Denial, detail: string | undefined): Denial {
  return detail === undefined ? broken : { ...broken, detail: `${broken.detail}; no emergency: ${detail}` };
}

function judgeGrant(glass: Glass | undefined, facts: RequestFacts, now: number, trace?: (step: Step) => void): Denial | undefined {
  if (glass?.broken === undefined) return undefined;
  const { grant: found } = facts.findings ?? {};
  if (found?.kind !== 'open') {
    const { reasons } = glass.rule;
    trace?.({ rule: 'break glass', outcome: 'skip', detail: `may be broken for ${[...reasons].join(', ')}` });
    return refuseGrant(glass.broken, found?.kind === 'refused' ? found.detail : undefined);
  }
  const { id, until } = found.grant;
  if (now >= until) return { ...glass.broken, reason: 'break_glass_ended', detail: `the grant ${id} has ended` };
  if (facts.withdrawn?.has(id) === true) return { ...glass.broken, reason: 'break_glass_ended', detail: `the grant ${id} was withdrawn` };
  trace?.({ rule: 'break glass', outcome: 'pass', detail: id });
  return undefined;
}

function grantOf({ findings }: RequestFacts): OpenGrant | undefined {
  return findings?.grant?.kind === 'open' ? findings.grant.grant : undefined;
}

/** What a TCP listener asks of its clients. */
export interface StreamPolicy {
  readonly allow: ReadonlySet<string>;
  readonly unavailable: UnavailableConfig;
  /** Absent: what a stream says of its sender is not looked at. */
  readonly senders?: SenderPolicy;
  /** Absent: no role is bound to devices. */
  readonly devices?: DevicePolicy;
  /** As in `Policy`. */
  readonly inside?: readonly Network[];
}

/** What a stream is decided by. */
export interface StreamFacts {
  readonly admission: Admission;
  /** As in `RequestFacts`. */
  readonly address: string;
  /** Absent as long as the client has not said who it is. */
  readonly announced?: Announced | undefined;
  readonly listener?: string;
  /** As in `RequestFacts`. */
  readonly suspensions?: readonly Suspension[];
}

/** A client that may connect, and has yet to say who it is in the octets of its protocol. */
export interface Expected {
  readonly kind: 'expected';
  readonly identity: Identity;
  readonly device?: Device;
}

export interface StreamDenial extends Denial {
  /** Which of the names that the stream announced is not this client's. */
  readonly sender?: SenderName;
}

/**
 * The decision about one stream, or about one message on it: a certificate that is good, a role that the listener allows, and,
 * where the listener lists senders, an announcement that is this client's own.
 */
export function authorizeStream(policy: StreamPolicy, facts: StreamFacts, now: number): StreamPermit | Expected | StreamDenial {
  const { admission, address, announced, listener, suspensions = NONE_SUSPENDED } = facts;
  if (admission.kind === 'anonymous') return deny('certificate', 'certificate_required', 'no_certificate', 'this listener requires a client certificate');
  if (admission.kind === 'refused') return deny('certificate', 'certificate_rejected', admission.reason, admission.detail);
  const unknown = judgeUnknown(policy.unavailable, undefined, admission, now);
  if (unknown?.kind === 'denial') return unknown;
  const { identity } = admission;
  if (identity === undefined) return deny('role', 'role_denied', 'no_role', 'the certificate maps to no role');
  if (!holdsOneOf(identity, policy.allow)) return deny('role', 'role_denied', 'role_denied', `the listener does not allow ${rolesOf(identity)}`);
  const bound = bindDevice(policy.devices, admission, address, now);
  const unbound = judgeBound(bound);
  if (unbound !== undefined) return unbound;
  const device = bound.kind === 'bound' ? { device: bound.device } : {};
  const suspended = suspensionOf(suspensions, { listener, identity, address }, policy.inside ?? NOWHERE, now);
  if (suspended !== undefined) return suspend(suspended);
  if (policy.senders !== undefined) {
    const verdict = judgeSender(policy.senders, identity, announced);
    if (verdict.kind === 'expected') return { kind: 'expected', identity, ...device };
    if (verdict.kind === 'refused') return { ...deny('sender', 'role_denied', 'sender_denied', verdict.detail), ...(verdict.name === undefined ? {} : { sender: verdict.name }) };
  }
  return {
    kind: 'permit', identity, certificate: admission, ...(unknown === undefined ? {} : { degraded: unknown.reason }), ...device,
  } as StreamPermit;
}

// The only places where the brand is put on: here, and in authorizeStream.
function permit(
  { route, parameters }: RouteMatch, preflight: boolean, certificate: KnownAdmission | undefined, degraded: Reason | undefined, device: Device | undefined,
  { patient, bond }: Concern = NOBODY, { breakGlass, token }: { readonly breakGlass?: OpenGrant | undefined; readonly token?: TokenClaims | undefined } = {},
): Permit {
  return {
    kind: 'permit', route, parameters, preflight, identity: certificate?.identity, certificate, degraded, device,
    ...(patient === undefined ? {} : { patient }), ...(bond === undefined ? {} : { bond }), ...(route.config.encrypt === undefined ? {} : { sealed: route.config.encrypt }),
    ...(breakGlass === undefined ? {} : { breakGlass }), ...(token === undefined ? {} : { token }),
  } as Permit;
}

function deny(
  rule: string, code: DenialCode, reason: Reason, detail: string, trace?: (step: Step) => void, route?: Route,
): Denial {
  trace?.({ rule, outcome: 'deny', detail: `${reason}: ${detail}` });
  return { kind: 'denial', code, reason, detail, ...(route === undefined ? {} : { route }) };
}

function traced(denial: Denial, trace: (step: Step) => void): Denial {
  trace({ rule: 'status', outcome: 'deny', detail: `${denial.reason}: ${denial.detail}` });
  return denial;
}

/** The roles that somebody holds, as the details of decisions name them. */
function rolesOf({ roles }: Identity): string {
  return roles.size === 1 ? `the role ${[...roles].join('')}` : `any of the roles ${[...roles].join(', ')}`;
}

type Unknown = Denial | { readonly kind: 'admitted'; readonly reason: Reason } | undefined;

function judgeUnknown(unavailable: UnavailableConfig, route: Route | undefined, admission: KnownAdmission, now: number): Unknown {
  const { status } = admission;
  if (status.kind !== 'unknown') return undefined;
  const verdict = admitUnknown(unavailable, status.lastGoodAt, now);
  if (verdict.kind === 'admit') return { kind: 'admitted', reason: status.reason };
  return {
    kind: 'denial', code: 'certificate_rejected', reason: status.reason, detail: status.detail, ...(route === undefined ? {} : { route }),
  };
}

/** `glass`: what the client may break of it; `mayCome`: the role may yet come with the token. */
function judgeRoute(route: Route, facts: RequestFacts, { glass, mayCome }: { readonly glass: Glass | undefined; readonly mayCome: boolean }, trace?: (step: Step) => void): Denial | undefined {
  const { admission } = facts;
  const open = route.allow.has('public');
  if (admission.kind === 'anonymous' && (!open || route.authorities !== undefined || route.token !== undefined)) {
    return deny('certificate', 'certificate_required', 'no_certificate', 'the route requires a client certificate', trace, route);
  }
  if (admission.kind === 'known') {
    if (admission.identity === undefined) return deny('role', 'role_denied', 'no_role', 'the certificate maps to no role', trace, route);
    if (!open && !mayCome && !holdsOneOf(admission.identity, route.allow)) {
      const denial = unlessBroken(glass, 'role', deny('role', 'role_denied', 'role_denied', `the route does not allow ${rolesOf(admission.identity)}`, trace, route));
      if (denial !== undefined) return denial;
    } else trace?.({ rule: 'role', outcome: 'pass', detail: `${[...admission.identity.roles].join(' + ')} ${admission.identity.id}` });
  }
  const { networks, authorities } = route;
  if (authorities !== undefined && !vouchedByOneOf(authorities, admission)) {
    return deny('issuer', 'role_denied', 'issuer_denied', 'no CA on the path is one of those that the route trusts', trace, route);
  }
  if (networks !== undefined && !inNetworks(facts.address, networks)) {
    const denial = unlessBroken(glass, 'networks', deny('network', 'role_denied', 'network_denied', `the route does not serve ${facts.address}`, trace, route));
    if (denial !== undefined) return denial;
  }
  return judgePolicies(route, facts, trace);
}

function vouchedByOneOf(authorities: Authorities, admission: Admission): boolean {
  return admission.kind === 'known' && isVouchedBy(admission.path, authorities);
}

function judgePolicies(route: Route, facts: RequestFacts, trace?: (step: Step) => void): Denial | undefined {
  const wanted = route.config.require.policy;
  if (wanted === undefined || wanted.length === 0) return undefined;
  const held = facts.admission.kind === 'known' ? facts.admission.policies : [];
  if (wanted.some((oid) => held.includes(oid))) return undefined;
  return deny('policy', 'role_denied', 'policy_missing', `the path holds none of ${wanted.join(', ')}`, trace, route);
}

/** What the token of a request comes to; `unknown`: nobody has looked at it. Undefined where the route requires none, and for clients who have no certificate. */
function judgeBearer({ token: rule }: Route, { admission, token }: RequestFacts, now: number): TokenVerdict | { readonly kind: 'unknown'; readonly rule: TokenRule } | undefined {
  if (rule === undefined || admission.kind !== 'known') return undefined;
  return token === undefined ? { kind: 'unknown', rule } : judgeToken(rule, token, admission.leaf.sha256, now);
}

function judgeVerdict(verdict: ReturnType<typeof judgeBearer>, route: Route, { token, findings }: RequestFacts, trace?: (step: Step) => void): Denial | Query | undefined {
  switch (verdict?.kind) {
    case undefined: return undefined;
    case 'unknown':
      // Judged while it is under way, by a route that has come to require one since.
      if (findings !== undefined) return deny('token', 'invalid_token', 'token_missing', 'no token was looked at', trace, route);
      return { kind: 'query', route, counters: [], session: false, token: verdict.rule };
    case 'refused': return {
      ...deny('token', verdict.reason === 'token_scope' ? 'role_denied' : 'invalid_token', verdict.reason, verdict.detail, trace, route),
      ...(token?.kind === 'signed' ? { token: token.claims } : {}), ...(verdict.reason === 'token_other_certificate' ? { alarm: 'foreign_token' } : {}),
    };
    case 'good':
      trace?.({ rule: 'token', outcome: 'pass', detail: `${verdict.claims.scopes.join(' ')}${verdict.roles.length === 0 ? '' : `: ${verdict.roles.join(' + ')}`}` });
      return undefined;
  }
}

/** The same request by somebody who holds further roles: the certificate stays what it is, and so does whom it stands for. */
function withRoles(facts: RequestFacts, roles: readonly string[]): RequestFacts {
  const { admission } = facts;
  if (roles.length === 0 || admission.kind !== 'known' || admission.identity === undefined) return facts;
  const { identity } = admission;
  return { ...facts, admission: { ...admission, identity: { ...identity, roles: new Set([...identity.roles, ...roles]) } } };
}

/** Whom a request concerns, and what binds its client to them. */
interface Concern {
  readonly kind: 'concern';
  readonly patient: string | undefined;
  readonly bond: Bond | undefined;
  /** Why it may be somebody else. */
  readonly unclear?: string | undefined;
}

const NOBODY: Concern = { kind: 'concern', patient: undefined, bond: undefined };

/** The compartment rule. */
function judgeConcern({ route, parameters }: RouteMatch, facts: RequestFacts, glass: Glass | undefined, trace?: (step: Step) => void): Concern | Denial {
  const { target, host, admission, method, fields = [] } = facts;
  if (route.patient === undefined || target.kind === 'malformed' || host.kind === 'malformed') return NOBODY;
  const identity = admission.kind === 'known' ? admission.identity : undefined;
  const question = { method, host: host.name, path: target.path, segments: target.segments, query: target.query, parameters, fields };
  const emergency = glass?.broken === undefined ? undefined : { patient: patientOfPlea(fields, glass.rule) };
  const finding = judgePatient(route.patient, question, identity, identity === undefined ? [] : rolesAt(route, identity, glass), emergency);
  if (finding.kind === 'concerns') {
    trace?.({ rule: 'patient', outcome: 'pass', detail: `${finding.named ?? 'nobody named'}${finding.bond === undefined ? '' : '; bodies are judged'}` });
    return { kind: 'concern', patient: finding.named, bond: finding.bond, unclear: finding.unclear };
  }
  return { ...deny('patient', 'role_denied', finding.reason, finding.detail, trace, route), ...(finding.named === undefined ? {} : { patient: finding.named }) };
}

/** The roles by which a route lets somebody in. */
function rolesAt({ allow }: Route, { roles }: Identity, glass: Glass | undefined): readonly string[] {
  return [...roles].filter((role) => allow.has(role) || (glass?.breaks.includes('role') === true && glass.rule.roles.has(role)));
}

function bindDevice(devices: DevicePolicy | undefined, { identity, leaf }: KnownAdmission, address: string, now: number): DeviceVerdict {
  if (devices === undefined || identity === undefined) return { kind: 'free' };
  return judgeDevice(devices, { roles: identity.roles, id: identity.id, leaf, address }, now);
}

function judgeBound(verdict: DeviceVerdict | undefined, glass?: Glass, route?: Route, trace?: (step: Step) => void): Denial | undefined {
  if (verdict?.kind === 'bound') trace?.({ rule: 'device', outcome: 'pass', detail: describeDevice(verdict.device) });
  if (verdict?.kind !== 'refused') return undefined;
  return unlessBroken(glass, BROKEN_OF_DEVICES[verdict.reason], { ...deny('device', 'role_denied', verdict.reason, verdict.detail, trace, route), alarm: verdict.alarm });
}

/** A device that is not registered, or not that one, is none in an emergency either. */
const BROKEN_OF_DEVICES: Readonly<Partial<Record<Reason, Breakable>>> = { device_moved: 'networks', outside_hours: 'hours' };

function judgeSuspended({ inside = NOWHERE }: Policy, route: Route, facts: RequestFacts, now: number, trace?: (step: Step) => void): Denial | undefined {
  const { suspensions = NONE_SUSPENDED, admission, address, listener } = facts;
  if (suspensions.length === 0 && route.maintenance.length === 0) return undefined;
  const suspect = { route: route.name, listener, identity: admission.kind === 'known' ? admission.identity : undefined, address };
  const found = suspensionOf(suspensions, suspect, inside, now) ?? maintenanceOf(route.maintenance, suspect, inside, now);
  return found === undefined ? undefined : { ...suspend(found, trace), route };
}

const NOWHERE: readonly Network[] = [];
const NONE_SUSPENDED: readonly Suspension[] = [];

function suspend({ detail, until }: Suspended, trace?: (step: Step) => void): Denial {
  return { ...deny('suspended', 'suspended', 'suspended', detail, trace), ...(until === undefined ? {} : { until }) };
}

/**
 * What counts and sessions say; a query where they have not been asked. `counted` is what counts of the route go by: preflights have one
 * of their own, since anybody may send them, and must not use up what is for those with a certificate.
 */
function judgeFindings(
  route: Route, factors: Route['factors'], facts: RequestFacts, now: number, trace?: (step: Step) => void, grant?: GrantQuestion, counted = route.name,
): Denial | Query | undefined {
  const { admission, address, findings } = facts;
  if (route.rates.length === 0 && factors === undefined && grant === undefined) return undefined;
  if (findings === undefined) {
    const counters = countersOf(route.rates, { admission, address, route: counted });
    return counters.length > 0 || factors !== undefined || grant !== undefined
      ? { kind: 'query', route, counters, session: factors !== undefined, ...(grant === undefined ? {} : { grant }) }
      : undefined;
  }
  const { limits, session } = findings;
  if (limits.kind === 'exceeded') {
    const { per, rate } = limits.exceeded;
    return deny('limits', 'rate_limited', 'rate_limited', `${rate} for each ${per} (${limits.rule})`, trace, route);
  }
  if (factors === undefined) return undefined;
  if (session.kind === 'refused') return deny('second factor', 'step_up_required', session.reason, session.detail, trace, route);
  if (session.kind === 'none') return deny('second factor', 'step_up_required', 'step_up_required', `no session that has shown ${factors.join(' or ')}`, trace, route);
  if (now >= session.until) return deny('second factor', 'step_up_required', 'session_expired', `the session was good until ${new Date(session.until).toISOString()}`, trace, route);
  const shown = session.factors.find((factor) => factors.includes(factor));
  if (shown === undefined) return deny('second factor', 'step_up_required', 'step_up_required', `the session has not shown ${factors.join(' or ')}`, trace, route);
  trace?.({ rule: 'second factor', outcome: 'pass', detail: shown });
  return undefined;
}
