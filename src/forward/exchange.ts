import { certificateFields, trailFields, type AuditRecord } from '../audit/record.ts';
import { authorize, type Denial, type Permit } from '../policy/authorize.ts';
import type { Admission, RequestFacts } from '../policy/facts.ts';
import type { Client, Service } from './client.ts';
import { newRequestId } from './ids.ts';

/** What a request came to, for the metrics. */
export interface Outcome {
  readonly route: string;
  readonly role: string;
  readonly status: number;
  readonly seconds: number;
}

/** What is asked, in whatever version of HTTP it came. */
export interface Asked extends Pick<RequestFacts, 'method' | 'target' | 'host' | 'preflight'> {
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
  decision: Permit | Denial | undefined;
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
    admission: { kind: 'anonymous' }, facts: undefined, decision: undefined, bytesIn: 0, endpoint: undefined, attempts: NONE,
  };
}

/**
 * Takes the decision about a request and notes it in the exchange; `now` in ms since the epoch. A promise only when a
 * responder must be asked for the certificate's status.
 */
export function decide(exchange: Exchange, now: () => number): Permit | Denial | Promise<Permit | Denial> {
  const { host } = exchange.asked;
  const admission = exchange.client.admission(host.kind === 'host' ? host.name : '');
  return admission instanceof Promise ? admission.then((taken) => judge(exchange, taken, now())) : judge(exchange, admission, now());
}

function judge(exchange: Exchange, admission: Admission, now: number): Permit | Denial {
  const { asked, client, service } = exchange;
  const { host } = asked;
  exchange.admission = admission;
  exchange.facts = {
    method: asked.method,
    target: asked.target,
    host,
    directed: host.kind === 'host' && client.directed(host.name),
    clientAuth: service.listener.client_auth.mode,
    admission,
    address: client.address,
    preflight: asked.preflight,
  };
  exchange.decision = authorize(service.policy, exchange.facts, now);
  return exchange.decision;
}

/** The record of an exchange as it stands; `now` in ms since the epoch. */
export function exchangeRecord(exchange: Exchange, fields: Partial<AuditRecord> & Pick<AuditRecord, 'result'>, now: number): AuditRecord {
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
export function lastingFields({ client, admission, decision, asked }: Exchange): Partial<AuditRecord> {
  const { method, host, target, written } = asked;
  const leaf = admission.kind === 'anonymous' ? undefined : admission.leaf;
  const identity = admission.kind === 'known' ? admission.identity : undefined;
  return {
    listener: client.listener,
    address: client.address,
    ...(leaf === undefined ? {} : certificateFields(leaf)),
    ...identity,
    ...(decision?.route === undefined ? {} : { route: decision.route.name }),
    ...(decision?.kind === 'permit' ? { upstream: decision.route.config.upstream } : {}),
    ...(decision?.kind === 'permit' && decision.degraded !== undefined ? { degraded: decision.degraded } : {}),
    method,
    ...(host.kind === 'host' ? { host: host.name } : {}),
    path: target.kind === 'target' ? target.path : written.split('?')[0]?.slice(0, 1024) ?? '',
    tls: client.tls,
    resumed: client.resumed,
  };
}

/** What an exchange came to, `ended` in ms on the monotonic clock; its span ends here, after its last record. */
export function outcomeOf(exchange: Exchange, status: number, ended = performance.now()): Outcome {
  const { admission, decision } = exchange;
  exchange.span?.end(exchange, status);
  return {
    route: decision?.route?.name ?? 'none',
    role: admission.kind === 'known' ? admission.identity?.role ?? 'none' : 'none',
    status,
    seconds: (ended - exchange.started) / 1000,
  };
}

/** Whose request it is, for the choice of an endpoint: the client's id, its address where it has none. */
export function keyOf({ admission, client }: Exchange): string {
  return admission.kind === 'known' ? admission.identity?.id ?? client.address : client.address;
}
