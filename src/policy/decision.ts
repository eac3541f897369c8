import type { Device } from '../config/device.ts';
import type { EncryptConfig, UnavailableConfig } from '../config/schema.ts';
import type { Identity } from '../identity/roles.ts';
import type { GrantQuestion, OpenGrant } from './break-glass.ts';
import type { DevicePolicy } from './devices.ts';
import type { Alarm, KnownAdmission, Reason } from './facts.ts';
import type { Counter, RateRule } from './limits.ts';
import type { Network } from './networks.ts';
import type { Bond } from './patient.ts';
import type { RouteIndex } from './route-index.ts';
import type { Route } from './routes.ts';
import type { TokenClaims, TokenRule } from './token.ts';

// Not exported: what is typed as a permit without a cast comes from `authorize` or `authorizeStream`.
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
  /** It may be broken in an emergency, by whoever says why. */
  readonly breakable?: true;
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

/** A denial, told to `trace` under the name of the rule that it comes from. */
export function deny(
  rule: string, code: DenialCode, reason: Reason, detail: string, trace?: (step: Step) => void, route?: Route,
): Denial {
  trace?.({ rule, outcome: 'deny', detail: `${reason}: ${detail}` });
  return { kind: 'denial', code, reason, detail, ...(route === undefined ? {} : { route }) };
}
