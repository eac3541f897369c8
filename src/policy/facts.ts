import type { Identity } from '../identity/roles.ts';
import type { Certificate } from '../pki/certificate.ts';
import type { Statement, Status } from '../revocation/status.ts';
import type { GrantFinding } from './break-glass.ts';
import type { Host } from './host.ts';
import type { LimitFinding } from './limits.ts';
import type { Suspension } from './suspensions.ts';
import type { Target } from './target.ts';
import type { TokenFinding } from './token.ts';

/** Every reason a decision can have on record: audit, explain and metrics use these words and no others. */
export type Reason =
  | 'no_certificate' | 'untrusted_issuer' | 'expired' | 'not_yet_valid' | 'signature_invalid' | 'constraint_violated'
  | 'eku_invalid' | 'policy_missing' | 'revoked_denylist' | 'revoked_crl' | 'revoked_ocsp' | 'crl_expired' | 'crl_missing'
  | 'ocsp_unavailable' | 'no_role' | 'role_denied' | 'sender_denied' | 'misdirected' | 'rate_limited' | 'step_up_required' | 'suspended' | 'isolated'
  | 'bad_request' | 'network_denied' | 'issuer_denied' | 'not_found' | 'body_too_large' | 'upstream_unavailable' | 'upstream_timeout'
  | 'patient_mismatch' | 'patient_missing' | 'patient_unknown_shape'
  | 'break_glass_ended' | 'encryption_key_unusable' | 'encryption_impossible'
  | 'overloaded' | 'audit_unavailable' | 'connection_limit' | 'headers_too_large' | 'request_timeout' | 'too_slow'
  | 'webhook_signature' | 'webhook_stale' | 'webhook_conflict' | 'webhook_invalid'
  | 'device_unregistered' | 'device_mismatch' | 'device_inactive' | 'device_moved' | 'outside_hours'
  | 'code_wrong' | 'code_reused' | 'code_expired' | 'locked' | 'not_enrolled' | 'invitation_wrong' | 'invitation_expired' | 'form_refused'
  | 'sms_not_sent' | 'sms_too_soon' | 'factors_unavailable'
  | 'webauthn_malformed' | 'webauthn_challenge' | 'webauthn_replayed' | 'webauthn_expired' | 'webauthn_origin' | 'webauthn_rp' | 'webauthn_unverified' | 'webauthn_unknown_key'
  | 'webauthn_other_person' | 'webauthn_signature' | 'webauthn_counter' | 'webauthn_key_taken' | 'webauthn_too_many'
  | 'token_missing' | 'token_malformed' | 'token_signature' | 'token_expired' | 'token_not_yet_valid' | 'token_issuer' | 'token_audience'
  | 'token_unbound' | 'token_other_certificate' | 'token_scope' | 'token_unverifiable'
  | 'session_unknown' | 'session_ended' | 'session_expired' | 'session_idle' | 'session_other_certificate';

/** What somebody should look at, beside being refused: the rules that alarms are raised by. */
export type Alarm = 'unregistered_device' | 'mismatched_device' | 'inactive_device' | 'moved_device' | 'off_hours' | 'break_glass' | 'foreign_token' | 'backup_missed' | 'temporary_certificate' | 'server_certificate';

/**
 * What admission found out about a connection, once for its leaf; `validUntil` (ms since the epoch) and `epoch` say how long
 * that stands. An unknown status is not decided here: the route's `unavailable` is.
 */
export type Admission =
  | { readonly kind: 'anonymous' }
  | RefusedAdmission
  | KnownAdmission;

export interface RefusedAdmission {
  readonly kind: 'refused';
  readonly reason: Reason;
  readonly detail: string;
  /** Absent when the leaf could not even be read. */
  readonly leaf?: Certificate;
  readonly path?: readonly Certificate[];
  readonly statements?: readonly Statement[];
  /** SHA-256 of the certificate of the path that is revoked. */
  readonly revoked?: string;
  readonly epoch: number;
  readonly validUntil: number;
}

export interface KnownAdmission {
  readonly kind: 'known';
  readonly leaf: Certificate;
  /** Leaf first, anchor last. */
  readonly path: readonly Certificate[];
  /** Certificate policies that hold on the whole path (RFC 5280 section 6.1.6). */
  readonly policies: readonly string[];
  /** Absent when no role matched: every route denies. */
  readonly identity?: Identity;
  readonly status: Exclude<Status, { kind: 'revoked' }>;
  readonly statements: readonly Statement[];
  readonly epoch: number;
  readonly validUntil: number;
}

/** Everything `authorize` looks at. Nothing else decides. */
export interface RequestFacts {
  readonly method: string;
  readonly target: Target;
  readonly host: Host;
  /** False when the name the TLS connection was made for is not the name the request is for. */
  readonly directed: boolean;
  readonly clientAuth: 'required' | 'optional';
  readonly admission: Admission;
  /** The certificate of the front by which it came, which has named its client; absent: the client's own connection. */
  readonly front?: Certificate;
  /** The client's address as text, IPv4-mapped IPv6 unwrapped. */
  readonly address: string;
  /** Name of the listener. */
  readonly listener?: string;
  /** What is suspended at the moment, by order; absent: nothing. */
  readonly suspensions?: readonly Suspension[];
  /** Ids of grants for emergencies that were withdrawn before their time; absent: none. */
  readonly withdrawn?: ReadonlySet<string>;
  /** For a CORS preflight (Fetch standard: OPTIONS with Origin and Access-Control-Request-Method): the method it asks about. */
  readonly preflight: string | undefined;
  /** The header section as it was received: name, value, name, value… Absent where there is none. */
  readonly fields?: readonly string[];
  /** Of a stream of HTTP/2: a body comes although the header section announces none. */
  readonly unannounced?: boolean | undefined;
  /** What was found out for a query; absent before it has been. */
  readonly findings?: Findings;
  /** What was found out about its token, where the route requires one; absent before it has been. */
  readonly token?: TokenFinding;
}

/** What only the gateway as a whole knows, found out for one request: counts and sessions exist once a gateway, never once a thread. */
export interface Findings {
  readonly limits: LimitFinding;
  readonly session: SessionFinding;
  /** Absent where nothing of the route is broken. */
  readonly grant?: GrantFinding;
}

/** What became of the session that a request names. */
export type SessionFinding =
  | { readonly kind: 'none' }
  /** `until`: ms since the epoch. */
  | { readonly kind: 'valid'; readonly factors: readonly ('totp' | 'sms' | 'webauthn')[]; readonly until: number }
  | { readonly kind: 'refused'; readonly reason: Reason; readonly detail: string };

/** For what is judged again while it is under way: it has been counted. */
export const COUNTED: Findings = { limits: { kind: 'within', standings: [] }, session: { kind: 'none' } };
