import type { MetricObjectWithValues, MetricValue } from 'prom-client';
import type { SegmentGround, WriterPositions } from './audit/writer.ts';
import type { Device } from './config/device.ts';
import type { Realm, Snapshot } from './config/snapshot.ts';
import type { UpstreamShare } from './forward/upstream/pool.ts';
import type { ThreadFaults } from './forward/upstream/upstream.ts';
import type { UpstreamShares } from './forward/upstream/watch.ts';
import type { GrantAsk, PageAnswer as OwnPage, PageRequest, RaisedAlarm, SessionQuestion } from './forward/client.ts';
import type { KeySet } from './forward/token-keys.ts';
import type { ToldEvent, WebhookOutcome } from './forward/webhooks/event.ts';
import type { Transfer } from './identity/people.ts';
import type { ExplainAsk, WantedConnections } from './live-protocol.ts';
import type { Findings, SessionFinding } from './policy/facts.ts';
import type { Counter } from './policy/limits.ts';
import type { DenySubject } from './store/deny-list.ts';
import type { SuspensionOrder, SuspensionScope } from './policy/suspensions.ts';
import type { CrlHandle } from './revocation/crl-handle.ts';
import type { FetchedIssuers } from './revocation/issuer-fetch.ts';
import type { Staple } from './revocation/staples.ts';
import type { Statement } from './revocation/status.ts';
import type { OcspKey } from './revocation/view.ts';
import type { TicketSecret } from './tls/tickets.ts';

/** What a data-plane thread is born with. */
export interface ThreadBirth {
  readonly index: number;
  /** Its place among the threads: a replacement takes the place of the one that is gone. */
  readonly place: number;
  /** The shared counts of connections. */
  readonly counts: SharedArrayBuffer;
  /** The shared deny table and epoch. */
  readonly deny: SharedArrayBuffer;
  /** What its audit segment stands on. */
  readonly segments: SegmentGround;
}

/** What the main thread asks of a data-plane thread. */
export type ToThread =
  /** Builds everything for a snapshot beside what serves; binds new listeners. Answers with the port of each. */
  | { readonly kind: 'prepare'; readonly snapshot: Snapshot; readonly ticketSecret: TicketSecret; readonly ports: Readonly<Record<string, number>>; readonly upstreams: UpstreamShares; readonly inherited?: Descriptors }
  /** On which descriptors it listens. */
  | { readonly kind: 'descriptors' }
  /** Puts what was prepared in force. */
  | { readonly kind: 'commit' }
  /** Throws away what was prepared. */
  | { readonly kind: 'discard' }
  | { readonly kind: 'crls'; readonly handles: readonly CrlHandle[] }
  /** A part of the inventory; it is in force once the last has come. */
  | { readonly kind: 'devices'; readonly devices: readonly Device[]; readonly first: boolean; readonly last: boolean }
  /** What one device is by now; absent: nothing any more. */
  | { readonly kind: 'device'; readonly id: string; readonly device?: Device }
  /** Who has come to other roles than those of their certificate: all of them. */
  | { readonly kind: 'transfers'; readonly transfers: readonly Transfer[] }
  /** What the names of an upstream's endpoints have become. */
  | { readonly kind: 'targets'; readonly share: UpstreamShare }
  /** The keys of all issuers of tokens. */
  | { readonly kind: 'keys'; readonly sets: readonly KeySet[] }
  /** Everything that is suspended by order. */
  | { readonly kind: 'suspensions'; readonly orders: readonly SuspensionOrder[] }
  /** Grants for emergencies that were withdrawn and would not have ended yet. */
  | { readonly kind: 'withdrawn'; readonly grants: readonly string[] }
  /** The OCSP answers for server certificates: all of them. */
  | { readonly kind: 'staples'; readonly staples: readonly Staple[] }
  /** Whom a suspension would concern, of a route who has used it; `allow` are the roles that may use its route. */
  | { readonly kind: 'concerned'; readonly scope: SuspensionScope; readonly allow: readonly string[] }
  /** Whom it would hit to isolate or to deny something. */
  | { readonly kind: 'foresee'; readonly hit: Hit }
  /** Which anchors open connections and the latest clients stand on. */
  | { readonly kind: 'trust_standing' }
  /** Whose certificates would no longer lead to an anchor, if these were the anchors and intermediates. */
  | { readonly kind: 'trust_concern'; readonly realms: readonly ListenerRealm[]; readonly skew: number }
  /** An OCSP answer other than the one that was given out before. */
  | { readonly kind: 'answer'; readonly question: OcspKey; readonly statement: Statement }
  /** Judges open connections again where their admission no longer stands. Answers once what the deny list ends is ended; the rest follows. */
  | { readonly kind: 'sweep' }
  /** How far its audit segments have come, on the disk. */
  | { readonly kind: 'audit' }
  /** Opens the segment that follows where one of these is written; `after` is the hash of the last checkpoint. */
  | { readonly kind: 'audit_next'; readonly segments: readonly string[]; readonly after: string }
  /** Writes on in the segment that was opened, where it is one of these: a checkpoint names them. */
  | { readonly kind: 'audit_switch'; readonly to: readonly string[] }
  | { readonly kind: 'metrics' }
  /** For those who look on: see lookout.ts. */
  | { readonly kind: 'pulse' }
  | { readonly kind: 'connections'; readonly wanted: WantedConnections; readonly most: number }
  | { readonly kind: 'explain'; readonly ask: ExplainAsk }
  | { readonly kind: 'status' }
  /** Listeners that take nothing new: all of them. Answers with what could not be opened again. */
  | { readonly kind: 'hold'; readonly listeners: readonly string[] }
  /** Stops accepting, lets answers finish for `grace` ms, ends the rest. */
  | { readonly kind: 'drain'; readonly grace: number };

/** File descriptors of listening sockets, by the names of their listeners. */
export type Descriptors = Readonly<Record<string, readonly number[]>>;

/** What a data-plane thread tells and asks of the main thread. */
export type ToMain = Question | IssuersQuestion | Witness | FindingsQuestion | SessionsQuestion | Happened | AlarmCall | PageQuestion | Told | KeysQuestion;

/** A token names a key that its issuer has not been known to have. Answered with when that makes sense again, in ms since the epoch. */
export interface KeysQuestion {
  readonly kind: 'issuer_keys';
  readonly source: string;
}

/** An event of a webhook whose sender is known. */
export interface Told {
  readonly kind: 'told';
  readonly told: ToldEvent;
}

/** Somebody should look at something. */
export interface AlarmCall {
  readonly kind: 'alarm';
  readonly raised: RaisedAlarm;
}

/** What a request needs that exists once a gateway: its counts, with it added to them, its session and its grant. */
export interface FindingsQuestion {
  readonly kind: 'find';
  readonly counters: readonly Counter[];
  readonly session?: SessionQuestion;
  readonly grant?: GrantAsk;
}

/** What the sessions are worth by now that something is under way on. */
export interface SessionsQuestion {
  readonly kind: 'sessions';
  readonly sessions: readonly SessionQuestion[];
}

/** One of the gateway's own pages is asked for. */
export interface PageQuestion {
  readonly kind: 'page';
  readonly request: PageRequest;
}

/** Something to count, whatever the counts are. */
export interface Happened {
  readonly kind: 'count';
  readonly counters: readonly Counter[];
}

/** OpenSSL's verdict about a certificate differs from ours. */
export interface Witness {
  readonly kind: 'witness';
  /** SHA-256, hex. */
  readonly certificate: string;
  readonly ours: string;
  readonly theirs: string;
}

/**
 * A question about a certificate whose path has validated: its status from a responder, or
 * to fetch the CRL that it names.
 */
export interface Question {
  readonly kind: 'ocsp' | 'crl';
  readonly certificate: Uint8Array;
  readonly issuer: Uint8Array;
}

/** Asks for the issuers of a certificate whose path has not validated, from a host that the configuration lists. */
export interface IssuersQuestion {
  readonly kind: 'issuers';
  readonly url: string;
}

export type PrepareAnswer = Readonly<Record<string, number>>;
export type OcspAnswer = Statement;
export type IssuersAnswer = FetchedIssuers;
export type FindingsAnswer = Findings;
/** In the order of the question; undefined where it cannot be found out. */
export type SessionsAnswer = readonly (SessionFinding | undefined)[];
export type PageAnswer = OwnPage;
export type ToldAnswer = WebhookOutcome;
export type MetricsAnswer = readonly MetricObjectWithValues<MetricValue<string>>[];
/** Whom a suspension would concern at the moment, on one thread or on all of them. */
export interface Concerned {
  /** Open connections of clients that it is for. */
  readonly connections: number;
  /** Where a route is named: open connections of clients that may use it, whether or not they have. */
  readonly may_use?: number;
  /** Requests and streams that would end. */
  readonly under_way: number;
  readonly clients: readonly ConcernedClient[];
}

/** What somebody thinks of isolating or denying. */
export type Hit = DenySubject | { readonly kind: 'network'; readonly network: string } | { readonly kind: 'device'; readonly device: string };

/** Whom that would hit, on one thread or on all of them. */
export interface Foreseen extends Concerned {
  /** Open connections by role; '' for those without one. */
  readonly roles: Readonly<Record<string, number>>;
  /** Requests and streams under way, by route. */
  readonly routes: Readonly<Record<string, number>>;
  /** Open connections of everybody, whoever would be hit. */
  readonly of: number;
  /** Certificates concerned that were let in lately, whether connected or not: the beginnings of their SHA-256, and whose they are. */
  readonly lately: readonly { readonly certificate: string; readonly role?: string; readonly id?: string }[];
  /** Of those, who come to the operators' listener. */
  readonly operators: readonly ForeseenOperator[];
}

/** An operator who would be hit: SHA-256 of the certificate, and from where a connection is open; without an address let in lately. */
export interface ForeseenOperator {
  readonly certificate: string;
  readonly id: string;
  readonly address?: string;
}

/** What a listener would trust under one name. */
export interface ListenerRealm extends Pick<Realm, 'name' | 'anchors' | 'intermediates'> {
  readonly listener: string;
}

/** What stands on one anchor on one thread. */
export interface AnchorStanding {
  readonly listener: string;
  readonly realm: string;
  /** SHA-256, hex. */
  readonly anchor: string;
  readonly connections: number;
  /** Certificates that were let in lately: the beginnings of their SHA-256. */
  readonly certificates: readonly string[];
}

/** Whom a change of trust would cut off, on one thread or on all of them. */
export interface TrustConcern extends Concerned {
  /** Open connections by role; '' for those without one. */
  readonly roles: Readonly<Record<string, number>>;
  /** Requests and streams under way, by route. */
  readonly routes: Readonly<Record<string, number>>;
  /** Intermediates that clients have brought, as DER, by listener. */
  readonly learnt: Readonly<Record<string, readonly Uint8Array[]>>;
}

export interface ConcernedClient {
  /** Absent for those without a certificate, or without a role. */
  readonly role?: string;
  readonly id?: string;
  readonly address: string;
  readonly connections: number;
}

/** How far the audit segments of the thread at this place have come. */
export interface AuditAnswer extends WriterPositions {
  readonly place: number;
}

export interface ThreadStatus {
  readonly connections: number;
  readonly faults: readonly ThreadFaults[];
  readonly auditFailure?: string;
}
