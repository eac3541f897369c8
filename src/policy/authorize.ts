import type { Device } from '../config/device.ts';
import type { OpenGrant } from './break-glass.ts';
import { deny, type Denial, type Permit, type Policy, type Query, type Step } from './decision.ts';
import type { Findings, KnownAdmission, Reason, RequestFacts } from './facts.ts';
import { judgeBearer, judgeVerdict, withRoles } from './judge/bearer.ts';
import { judgeConcern, NOBODY, type Concern } from './judge/concern.ts';
import { bindDevice, judgeBound } from './judge/device.ts';
import { judgeFindings } from './judge/findings.ts';
import { createGlass, grantOf, judgeGrant, needOf } from './judge/glass.ts';
import { judgeRoute } from './judge/route.ts';
import { judgeUnknown } from './judge/status.ts';
import { judgeSuspended } from './judge/suspended.ts';
import { matchRoute, type RouteMatch } from './routes.ts';
import type { TokenClaims } from './token.ts';

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

function traced(denial: Denial, trace: (step: Step) => void): Denial {
  trace({ rule: 'status', outcome: 'deny', detail: `${denial.reason}: ${denial.detail}` });
  return denial;
}
