import type { Device } from '../config/device.ts';
import type { UnavailableConfig } from '../config/schema.ts';
import { holdsOneOf, type Identity } from '../identity/roles.ts';
import { deny, type Denial, type StreamPermit } from './decision.ts';
import type { DevicePolicy } from './devices.ts';
import type { Admission } from './facts.ts';
import { bindDevice, judgeBound } from './judge/device.ts';
import { rolesOf } from './judge/route.ts';
import { judgeUnknown } from './judge/status.ts';
import { NONE_SUSPENDED, NOWHERE, suspend } from './judge/suspended.ts';
import type { Network } from './networks.ts';
import { judgeSender, type Announced, type SenderName, type SenderPolicy } from './senders.ts';
import { suspensionOf, type Suspension } from './suspensions.ts';

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
