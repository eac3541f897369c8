import type { Socket } from 'node:net';
import type { HttpsListenerConfig } from '../config/schema.ts';
import type { Identity } from '../identity/roles.ts';
import type { Certificate } from '../pki/certificate.ts';
import type { Admission, Alarm, Findings, Reason, RequestFacts } from '../policy/facts.ts';
import type { Said, SaidFault } from '../policy/authorize-emergency.ts';
import type { DenialCode, Policy } from '../policy/decision.ts';
import type { GrantQuestion } from '../policy/break-glass.ts';
import type { Counter } from '../policy/limits.ts';
import type { Route } from '../policy/routes.ts';
import type { Suspension } from '../policy/suspensions.ts';
import type { Grantee } from '../store/grants.ts';
import type { Tracer } from './exchange.ts';
import type { TokenDesk } from './token-desk.ts';
import type { ToldEvent, WebhookOutcome } from './webhooks/event.ts';
import type { WebhookDesk } from './webhooks/desk.ts';
import type { KeyRegistry } from './seal/registry.ts';
import type { Upstream } from './upstream/pool.ts';

/** Who is on the other end of a connection, as a protocol sees it. */
export interface Client {
  readonly listener: string;
  readonly address: string;
  readonly tls: string;
  readonly cipher: string;
  readonly resumed: boolean;
  /** Whether a request on this connection may name this host. */
  directed(host: string): boolean;
  /** Who a request with this header section comes from, under a host's trust: a standing admission. A promise only when a responder must be asked. */
  shown(host: string, fields: readonly string[]): Admission | Forwarded | Promise<Admission | Forwarded>;
  /** Counts one more request of this connection: how many they are with it. */
  countRequest(): number;
  /** Ends the connection so that nothing sent so far can be taken for a whole answer. */
  reset(): void;
  /** A request that was let in on these facts is under way: what takes its right away may end it. */
  begins(facts: RequestFacts, route: string): void;
  /** It is no longer. */
  ends(facts: RequestFacts): void;
  /** From now on the connection is a stream that was let in on these facts: it ends when they no longer let it in. */
  becomeStream(facts: RequestFacts): void;
}

/** Whom a front names as the client of a request. */
export interface Forwarded {
  readonly kind: 'forwarded';
  /** The front's own certificate. */
  readonly front: Certificate;
  readonly admission: Admission;
  /** Why it cannot be told whom it names: the request is malformed. */
  readonly fault?: string;
}

/** A session, as a request names it. */
export interface SessionQuestion {
  /** Nobody else may read it. */
  readonly token: string;
  /** SHA-256 of the certificate that the request comes with, hex, and who it stands for. */
  readonly certificate: string;
  readonly subject: Pick<Identity, 'role' | 'id'>;
}

/** The grant for an emergency that a request needs, and who asks. */
export interface GrantAsk extends GrantQuestion {
  readonly client: Grantee;
  /** The second factors of which the client must have shown one. */
  readonly factors: Route['factors'];
  /** It is opened on the gateway's page: requests that name nobody may use it. */
  readonly page?: true;
}

/** Where is found out what exists once a gateway. */
export interface Desk {
  /** Adds the request to these counts, as long as none is used up, and finds the session, then the grant. Rejects when nobody answers in time. */
  find(counters: readonly Counter[], session: SessionQuestion | undefined, grant: GrantAsk | undefined): Promise<Findings>;
  /** Adds to these counts; nobody waits for it. */
  count(counters: readonly Counter[]): void;
  /** Somebody should look at this. */
  alarm(raised: RaisedAlarm): void;
  /** Answers a request for one of the gateway's own pages. Rejects when nobody answers in time. */
  page(request: PageRequest): Promise<PageAnswer>;
  /** Has the gateway take an event. Rejects when nobody does in time. */
  tell(told: ToldEvent): Promise<WebhookOutcome>;
}

/** What somebody should look at; the record has the details, and names. */
export interface RaisedAlarm {
  readonly rule: Alarm;
  /** SHA-256 of the certificate, hex. */
  readonly certificate: string;
  readonly address: string;
  readonly listener: string;
}

/** A request for one of the gateway's own pages. */
export interface PageRequest {
  /** The `X-Request-Id` of its answer and its record. */
  readonly id: string;
  readonly method: string;
  readonly host: string;
  /** Decoded. */
  readonly path: string;
  /** As written, without its question mark. */
  readonly query: string;
  /** Name, value, name, value…: as received. */
  readonly fields: readonly string[];
  readonly body: Uint8Array;
  readonly identity: Identity;
  /** SHA-256 of the certificate, hex. */
  readonly certificate: string;
  readonly address: string;
  readonly listener: string;
  /** It came over the operators' listener: the role of `identity` is one of admin.roles. */
  readonly operator?: true;
  /** For the page on which emergencies are declared. */
  readonly emergency?: EmergencyView;
}

/** What the page on which emergencies are declared has to show, as the client's rights are. */
export interface EmergencyView {
  /** The token of its forms. */
  readonly form: string;
  /** What the client may open. */
  readonly offers: readonly EmergencyOffer[];
  /** What stands in the form: as it was filled in, or as the request tells from which the client comes. */
  readonly said: Said & { readonly route?: string };
  readonly outcome: EmergencyOutcome;
}

export interface EmergencyOffer {
  readonly route: string;
  readonly reasons: readonly string[];
  /** Milliseconds. */
  readonly lasts: number;
  readonly patient: 'required' | 'optional';
}

export type EmergencyOutcome =
  | { readonly kind: 'asked' }
  | { readonly kind: 'opened' }
  /** The grant of this id is to be ended, if it is the client's. */
  | { readonly kind: 'ends'; readonly id: string }
  /** The client is let in as it is. */
  | { readonly kind: 'needless' }
  /** `form`: the form is not one of ours, or too old. */
  | { readonly kind: 'refused'; readonly code: DenialCode | 'form'; readonly fault?: SaidFault | 'route' };

export interface PageAnswer {
  readonly status: number;
  /** Name, value, name, value… in lower case; length, storage and security of the transport are said by whoever sends it. */
  readonly fields: readonly string[];
  readonly body: Uint8Array;
  /** The answer is a stream of events that begins with `body`: the BroadcastChannel that each further one comes by. */
  readonly events?: string;
  /** Why the record says that the request was denied; absent: it was not. */
  readonly refusal?: { readonly reason: Reason; readonly detail: string };
}

/** What serves a request: one snapshot's worth, read once a request so that a reload never splits one. */
export interface Service {
  readonly listener: HttpsListenerConfig;
  /** Value of Strict-Transport-Security; undefined when switched off. */
  readonly hsts: string | undefined;
  readonly policy: Policy;
  readonly desk: Desk;
  readonly tokens: TokenDesk;
  readonly upstreams: ReadonlyMap<string, Upstream>;
  /** Keys that answers are encrypted to, by their directory as the configuration has it. */
  readonly registries: ReadonlyMap<string, KeyRegistry>;
  readonly webhooks: WebhookDesk;
  /** Whether requests to routes that are not phi are served while the audit cannot be written. */
  readonly unrecorded: boolean;
  /** What is suspended by order at the moment. */
  readonly suspensions: () => readonly Suspension[];
  /** Ids of grants for emergencies that were withdrawn before their time. */
  readonly withdrawn: () => ReadonlySet<string>;
  /** Absent where nobody watches requests from outside. */
  readonly tracer?: Tracer;
}

/** Finds the client of a socket; undefined once it is gone. */
export type ClientOf = (socket: Socket) => Client | undefined;
