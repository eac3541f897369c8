import { certificateFields, frontFields, identityFields, sessionFields, tokenFields, trailFields, type AuditRecord } from '../audit/record.ts';
import { formatName } from '../pki/name.ts';
import { authorize } from '../policy/authorize.ts';
import type { Denial, Permit, Query } from '../policy/decision.ts';
import type { GrantQuestion, OpenGrant } from '../policy/break-glass.ts';
import type { Admission, Alarm, Reason, RequestFacts } from '../policy/facts.ts';
import { denialCounters, rateLimitFields } from '../policy/limits.ts';
import type { Route } from '../policy/routes.ts';
import { challengeOf } from './bearer.ts';
import type { Client, Desk, Forwarded, GrantAsk, PageAnswer, Service, SessionQuestion } from './client.ts';
import { newRequestId } from './ids.ts';
import { recipientOf, type Recipient, type Unsealable } from './seal/recipient.ts';
import { sessionToken } from './session-token.ts';

/** What a request came to, for the metrics. */
export interface Outcome {
  readonly route: string;
  readonly role: string;
  readonly status: number;
  readonly seconds: number;
  /** Why it was denied; absent: it was not. */
  readonly reason?: Reason;
}

/** What is asked, in whatever version of HTTP it came. */
export interface Asked extends Pick<RequestFacts, 'method' | 'target' | 'host' | 'preflight' | 'unannounced'> {
  /** The request target as it was written: for the record of one that cannot be read. */
  readonly written: string;
  /** The header section as it was received: name, value, name, value… */
  readonly fields: readonly string[];
  readonly version: '1.0' | '1.1' | '2';
}

/** Follows requests for those who watch them from outside. */
export interface Tracer {
  open(asked: Asked): RequestSpan;
}

/** One request as they see it. */
export interface RequestSpan {
  /** What the upstream is told (W3C Trace Context): its own spans hang from this one. */
  readonly traceparent: string;
  /** What goes on record. */
  note(fields: Pick<AuditRecord, 'result' | 'reason'>): void;
  end(exchange: Exchange, status: number): void;
}

/** One request on its way through the gateway. */
export interface Exchange {
  /** The `X-Request-Id` of the upstream and the `request_id` of client and record. */
  readonly id: string;
  /** Milliseconds on the monotonic clock. */
  readonly started: number;
  readonly asked: Asked;
  readonly client: Client;
  /** Read once: a reload never splits a request. */
  readonly service: Service;
  /** Absent where nobody watches. */
  readonly span: RequestSpan | undefined;
  admission: Admission;
  facts: RequestFacts | undefined;
  /** Whom its answer is encrypted to, where it is. */
  recipient: Recipient | undefined;
  decision: Permit | Denial | undefined;
  /** The rule by which somebody should look at it. */
  alarm: Alarm | undefined;
  /** What goes on record of a request that is answered by the gateway itself, where it is not that it was permitted. */
  verdict: Pick<AuditRecord, 'result' | 'reason' | 'detail'> | undefined;
  /** What a person is shown in place of a problem. */
  page: PageAnswer | undefined;
  /** What the answer says about it beside what the upstream does: name, value, name, value… in lower case. */
  answerFields: readonly string[];
  /** Octets of body received. */
  bytesIn: number;
  /** Where it went. */
  endpoint: string | undefined;
  attempts: readonly string[];
}

const NONE: readonly string[] = [];

export function openExchange(asked: Asked, client: Client, service: Service): Exchange {
  return {
    id: newRequestId(), started: performance.now(), asked, client, service, span: service.tracer?.open(asked),
    admission: { kind: 'anonymous' }, facts: undefined, recipient: undefined, decision: undefined, alarm: undefined, verdict: undefined, page: undefined, answerFields: NONE, bytesIn: 0, endpoint: undefined,
    attempts: NONE,
  };
}

/**
 * Takes the decision about a request as far as this thread knows, and notes it in the exchange; `now` in ms since the epoch. A query:
 * the gateway as a whole has to be asked, and nothing has been counted yet. A promise only when a responder must be asked for the
 * certificate's status.
 */
export function consider(exchange: Exchange, now: () => number): Permit | Denial | Query | Promise<Permit | Denial | Query> {
  const shown = shownIn(exchange);
  return shown instanceof Promise ? shown.then((taken) => judge(exchange, taken, NOTHING_FOUND, now())) : judge(exchange, shown, NOTHING_FOUND, now());
}

/** What was found out beside what the connection and the request say by themselves. */
type Found = Pick<RequestFacts, 'findings' | 'token'>;

const NOTHING_FOUND: Found = {};

/** The same with the gateway asked: a decision, whatever it takes. Rejects when nobody answers. */
export function decide(exchange: Exchange, now: () => number): Permit | Denial | Promise<Permit | Denial> {
  const taken = consider(exchange, now);
  if (taken instanceof Promise) return taken.then((one) => (one.kind === 'query' ? settle(exchange, one, now) : one));
  return taken.kind === 'query' ? settle(exchange, taken, now) : taken;
}

async function settle(exchange: Exchange, query: Query, now: () => number): Promise<Permit | Denial> {
  const { asked, service } = exchange;
  if (query.token === undefined) return settleRest(exchange, query, NOTHING_FOUND, now);
  const found = { token: await service.tokens.find(query.token, asked.fields) };
  // Taken again: the certificate may have been revoked meanwhile.
  const decision = judge(exchange, await shownIn(exchange), found, now());
  return decision.kind === 'query' ? settleRest(exchange, decision, found, now) : decision;
}

/** What exists once a gateway. */
async function settleRest(exchange: Exchange, { route, counters, session, grant }: Query, found: Found, now: () => number): Promise<Permit | Denial> {
  const { asked, service, admission } = exchange;
  const named = session ? sessionQuestion(asked, admission) : undefined;
  // Nothing is opened for who has yet to show a second factor.
  const wanted = grant === undefined || (session && named === undefined) ? undefined : grantAsk(exchange, grant, route);
  const findings = await service.desk.find(counters, named, wanted);
  exchange.answerFields = rateLimitFields(findings.limits);
  const decision = judge(exchange, await shownIn(exchange), { ...found, findings }, now());
  if (decision.kind === 'query') throw new Error('a query after its findings');
  if (decision.kind === 'denial' && decision.code === 'step_up_required') exchange.answerFields = [...exchange.answerFields, ...STEP_UP];
  return decision;
}

/** RFC 9470 section 3: what would help. */
const STEP_UP = ['www-authenticate', 'Bearer error="insufficient_user_authentication"'] as const;

/** The session that a request names. */
export function sessionQuestion({ fields }: Pick<Asked, 'fields'>, admission: Admission): SessionQuestion | undefined {
  const token = sessionToken(fields);
  if (token === undefined || admission.kind !== 'known' || admission.identity === undefined) return undefined;
  const { role, id } = admission.identity;
  return { token, certificate: admission.leaf.sha256, subject: { role, id } };
}

/** The grant that a client asks for. */
export function grantAsk({ admission, client, id }: Exchange, question: GrantQuestion, { factors }: Pick<Route, 'factors'>): GrantAsk | undefined {
  if (admission.kind !== 'known' || admission.identity === undefined) return undefined;
  const { leaf, identity } = admission;
  return {
    ...question, factors,
    client: {
      certificate: leaf.sha256, serial: leaf.serial, issuer: formatName(leaf.issuer), role: identity.role, who: identity.id, address: client.address, listener: client.listener, request_id: id,
    },
  };
}

function shownIn({ asked: { host, fields }, client }: Exchange): Admission | Forwarded | Promise<Admission | Forwarded> {
  return client.shown(host.kind === 'host' ? host.name : '', fields);
}

function judge(exchange: Exchange, shown: Admission | Forwarded, found: Found, now: number): Permit | Denial | Query {
  const { asked, client, service } = exchange;
  const { host } = asked;
  const admission = shown.kind === 'forwarded' ? shown.admission : shown;
  exchange.admission = admission;
  exchange.facts = {
    method: asked.method,
    target: shown.kind === 'forwarded' && shown.fault !== undefined ? { kind: 'malformed', detail: shown.fault } : asked.target,
    host,
    directed: host.kind === 'host' && client.directed(host.name),
    clientAuth: service.listener.client_auth.mode,
    admission,
    ...(shown.kind === 'forwarded' ? { front: shown.front } : {}),
    address: client.address,
    preflight: asked.preflight,
    fields: asked.fields,
    unannounced: asked.unannounced,
    listener: service.listener.name,
    suspensions: service.suspensions(),
    withdrawn: service.withdrawn(),
    ...found,
  };
  const decision = authorize(service.policy, exchange.facts, now);
  if (decision.kind === 'query') return decision;
  exchange.decision = decision;
  if (decision.kind === 'permit') client.begins(exchange.facts, decision.route.name);
  else {
    countDenial(exchange, decision, found.findings !== undefined);
    exchange.alarm = decision.alarm;
    raiseAlarm(service.desk, client, admission, decision);
    if (decision.until !== undefined) exchange.answerFields = ['retry-after', String(Math.max(1, Math.ceil((decision.until - now) / 1000)))];
    exchange.answerFields = [...exchange.answerFields, ...challengeOf(decision)];
  }
  return decision;
}

/** Has somebody look at a denial, where it is one of those. */
export function raiseAlarm({ alarm }: Desk, { listener, address }: Pick<Client, 'listener' | 'address'>, admission: Admission, denial: Denial): void {
  if (denial.alarm === undefined || admission.kind !== 'known') return;
  alarm({ rule: denial.alarm, certificate: admission.leaf.sha256, address, listener });
}

/** Being refused for asking too often is not counted: nobody would ever be let in again who keeps asking. Nor is what is nobody's fault, or what everybody is told first: that a second factor is needed. */
function countDenial({ service, admission, client: { address } }: Exchange, { route, code, reason }: Denial, asked: boolean): void {
  const rules = route?.rates ?? service.policy.rates;
  if (rules.length === 0 || code === 'rate_limited' || code === 'suspended' || reason === 'step_up_required') return;
  const counters = denialCounters(rules, { admission, address, route: route?.name ?? '' }, asked);
  if (counters.length > 0) service.desk.count(counters);
}

/** What goes on record of a request that was permitted, and whose body or answer then turned out not to be: it counts as denied as well. */
export function deniedLate(exchange: Exchange, { reason, detail }: Pick<Denial, 'reason' | 'detail'>): Required<Pick<AuditRecord, 'result' | 'reason' | 'detail'>> {
  const { service, admission, client: { address }, decision } = exchange;
  const route = decision?.route;
  const counters = route === undefined ? [] : denialCounters(route.rates, { admission, address, route: route.name }, true);
  if (counters.length > 0) service.desk.count(counters);
  return { result: 'denied', reason, detail };
}

/** Finds whom the answer is encrypted to, before anything of the request leaves; what stands in the way of that, where something does. */
export async function findRecipient(exchange: Exchange, permit: Permit): Promise<Unsealable | undefined> {
  const found = await recipientOf(permit, exchange.service.registries);
  if (found?.kind === 'unsealable') return found;
  exchange.recipient = found;
  return undefined;
}

/** The record of an exchange as it stands; `now` in ms since the epoch. */
export function exchangeRecord(exchange: Exchange, noted: Partial<AuditRecord> & Pick<AuditRecord, 'result'>, now: number): AuditRecord {
  const fields = noted.result === 'permitted' ? { ...noted, ...exchange.verdict } : noted;
  exchange.span?.note(fields);
  return {
    time: new Date(now).toISOString(),
    event: 'request',
    ...fields,
    request_id: exchange.id,
    ...trailFields(exchange),
    bytes_in: exchange.bytesIn,
    duration_ms: Math.round((performance.now() - exchange.started) * 1000) / 1000,
    ...lastingFields(exchange),
  };
}

/** What every record of the same request by the same client under the same decision holds alike. */
export function lastingFields({ client, admission, decision, asked, alarm, facts }: Exchange): Partial<AuditRecord> {
  const { method, host, target, written } = asked;
  const leaf = admission.kind === 'anonymous' ? undefined : admission.leaf;
  const identity = admission.kind === 'known' ? admission.identity : undefined;
  return {
    listener: client.listener,
    address: client.address,
    ...(leaf === undefined ? {} : certificateFields(leaf)),
    ...frontFields(facts),
    ...identityFields(decision?.kind === 'permit' ? decision.identity ?? identity : identity),
    ...tokenFields(decision?.token),
    ...(decision?.route === undefined ? {} : { route: decision.route.name }),
    ...(decision?.kind === 'permit' && decision.route.config.upstream !== '' ? { upstream: decision.route.config.upstream } : {}),
    ...(decision?.kind === 'permit' && decision.degraded !== undefined ? { degraded: decision.degraded } : {}),
    ...(decision?.patient === undefined ? {} : { patient: decision.patient }),
    ...(decision?.kind === 'permit' && decision.breakGlass !== undefined ? { break_glass: glassFields(decision.breakGlass) } : {}),
    ...(decision?.kind === 'permit' && decision.device !== undefined ? { device: decision.device.id } : {}),
    ...(alarm === undefined ? {} : { alarm }),
    method,
    ...(host.kind === 'host' ? { host: host.name } : {}),
    ...whatWasAsked(target, written),
    ...(decision?.route === undefined ? {} : routeFields(decision.route, target)),
    ...sessionFields(client),
  };
}

/** The longest of a target that cannot be read which goes on record, on either side of its question mark. */
const LONGEST_UNREAD = 1_024;

function whatWasAsked(target: RequestFacts['target'], written: string): Pick<AuditRecord, 'path' | 'query'> {
  if (target.kind === 'target') return target.query === '' ? { path: target.path } : { path: target.path, query: target.query };
  const mark = written.indexOf('?');
  if (mark === -1) return { path: written.slice(0, LONGEST_UNREAD) };
  const query = written.slice(mark + 1, mark + 1 + LONGEST_UNREAD);
  return { path: written.slice(0, Math.min(mark, LONGEST_UNREAD)), ...(query === '' ? {} : { query }) };
}

/** What only the configuration of the day says of a request, and its record must still say in seven years. */
function routeFields({ config: { phi }, patient }: Route, target: RequestFacts['target']): Pick<AuditRecord, 'fhir_base' | 'phi'> {
  const where = patient?.where;
  return {
    ...(where?.kind === 'fhir' && target.kind === 'target' ? { fhir_base: target.path.split('/').slice(0, where.depth + 1).join('/') } : {}),
    ...(phi ? { phi } : {}),
  };
}

function glassFields({ id, reason, text, patient }: OpenGrant): NonNullable<AuditRecord['break_glass']> {
  return { id, reason, text, ...(patient === undefined ? {} : { patient }) };
}

/** Whether a denial ends the connection as well, since nothing on it would be let in. By a front come others. */
export function endsConnection({ facts }: Exchange, code: string): boolean {
  return code === 'certificate_rejected' && facts?.front === undefined;
}

/** A request that was let in is no longer under way, or goes on as another exchange. */
export function leave({ client, facts }: Exchange): void {
  if (facts !== undefined) client.ends(facts);
}

/** What an exchange came to, `ended` in ms on the monotonic clock; its span ends here, after its last record. */
export function outcomeOf(exchange: Exchange, status: number, ended = performance.now()): Outcome {
  const { admission, decision, verdict } = exchange;
  leave(exchange);
  exchange.span?.end(exchange, status);
  const outcome: Outcome = {
    route: decision?.route?.name ?? 'none',
    role: admission.kind === 'known' ? admission.identity?.role ?? 'none' : 'none',
    status,
    seconds: (ended - exchange.started) / 1000,
  };
  if (decision?.kind === 'denial') return { ...outcome, reason: decision.reason };
  return verdict?.result === 'denied' && verdict.reason !== undefined ? { ...outcome, reason: verdict.reason } : outcome;
}

/** Whose request it is, for the choice of an endpoint: the client's id, its address where it has none. */
export function keyOf({ admission, client }: Exchange): string {
  return admission.kind === 'known' ? admission.identity?.id ?? client.address : client.address;
}
