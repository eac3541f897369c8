import type { Identity } from '../identity/roles.ts';
import type { Certificate } from '../pki/certificate.ts';
import { formatName } from '../pki/name.ts';
import type { Alarm, Reason } from '../policy/facts.ts';
import type { TokenClaims } from '../policy/token.ts';

/**
 * One decision, as one JSON line. `time` is ISO 8601 UTC with milliseconds; `serial` and `fingerprint` lower-case hex;
 * `issuer` and `subject` RFC 4514 text. This is the sealed form, which alone holds everything; what leaves it is masked first (masking.ts).
 */
export interface AuditRecord {
  readonly time: string;
  readonly event: 'request' | 'connection' | 'revocation' | 'suspension' | 'break_glass' | 'webhook' | 'audit' | 'configuration' | 'start' | 'stop' | 'second_factor' | 'evidence' | 'responder' | 'certificate_request' | 'certificate' | 'alarm' | 'administration';
  readonly result: 'permitted' | 'denied' | 'failed' | 'done';
  readonly reason?: Reason;
  /** The exact cause, for the operator. */
  readonly detail?: string;
  readonly request_id?: string;
  readonly listener?: string;
  readonly address?: string;
  readonly serial?: string;
  readonly issuer?: string;
  readonly subject?: string;
  readonly fingerprint?: string;
  /** From when until when the leaf is good, ISO 8601 UTC. */
  readonly not_before?: string;
  readonly not_after?: string;
  /** SHA-256 of the certificate of the front that named the client, where one did. */
  readonly forwarded_by?: string;
  /** SHA-256 of a SubjectPublicKeyInfo, when a whole key is revoked. */
  readonly key?: string;
  readonly role?: string;
  /** Every role of a client that holds more than `role`. */
  readonly roles?: readonly string[];
  readonly id?: string;
  /** The second factor that was shown, or asked for. */
  readonly factor?: 'totp' | 'sms' | 'webauthn';
  /** Of the access token that came with it, as far as its issuer has signed it: iss, jti, client_id and scope. Not whom it is about. */
  readonly token_issuer?: string;
  readonly token_id?: string;
  readonly token_client?: string;
  readonly token_scope?: string;
  /** Id of the registered device that the client used, where its role is bound to one. */
  readonly device?: string;
  /** The rule by which somebody should look at it. */
  readonly alarm?: Alarm;
  /** Who the client said that it is: MSH-3 and MSH-4 of an HL7 message, the AE titles of a DICOM association. */
  readonly sending_application?: string;
  readonly sending_facility?: string;
  readonly calling_ae_title?: string;
  readonly called_ae_title?: string;
  /** HL7 messages of a stream that were let in. */
  readonly messages?: number;
  readonly route?: string;
  readonly upstream?: string;
  /** Whom the request concerned, on routes that say where requests tell. */
  readonly patient?: string;
  /** The endpoint that was asked last, and each attempt before: its endpoint, and why it was not the last. */
  readonly endpoint?: string;
  readonly attempts?: readonly string[];
  readonly method?: string;
  readonly host?: string;
  /** Without its query. */
  readonly path?: string;
  /** As written, without the question mark; absent when there is none. */
  readonly query?: string;
  /** What the path begins with that is the base of a FHIR interface, on routes that are one. */
  readonly fhir_base?: string;
  /** Set on routes whose answers carry health data. */
  readonly phi?: true;
  readonly status?: number;
  /** Octets of body sent to the client and received from it. */
  readonly bytes_out?: number;
  readonly bytes_in?: number;
  readonly duration_ms?: number;
  readonly tls?: string;
  /** IANA name of the cipher suite. */
  readonly cipher?: string;
  readonly resumed?: boolean;
  /** Admitted although the certificate's status was unknown, for this reason. */
  readonly degraded?: Reason;
  /** The grant for an emergency under which a request was let in, or that the record is about. */
  readonly break_glass?: { readonly id: string; readonly reason: string; readonly text: string; readonly patient?: string };
  readonly who?: string;
  /** Names that a certificate was asked for, beside its subject. */
  readonly names?: readonly string[];
  /** Of a suspension: the network that it is for, whether it is for clients outside only, and when it ends by itself (ISO 8601). */
  readonly network?: string;
  readonly outside?: boolean;
  readonly until?: string;
}

/** The fields of a record that say where a request went. */
export function trailFields({ endpoint, attempts }: { readonly endpoint: string | undefined; readonly attempts: readonly string[] }): Pick<AuditRecord, 'endpoint' | 'attempts'> {
  return { ...(endpoint === undefined ? {} : { endpoint }), ...(attempts.length === 0 ? {} : { attempts }) };
}

/** The fields of a record that say who a client is. */
export function identityFields(identity: Identity | undefined): Pick<AuditRecord, 'role' | 'roles' | 'id'> {
  if (identity === undefined) return {};
  const { role, roles, id } = identity;
  return { role, ...(roles.size > 1 ? { roles: [...roles] } : {}), id };
}

/** The field of a record that says by which front a request came. */
export function frontFields(facts: { readonly front?: Certificate } | undefined): Pick<AuditRecord, 'forwarded_by'> {
  return facts?.front === undefined ? {} : { forwarded_by: facts.front.sha256 };
}

/** The longest of what somebody else's token says that is put on record. */
const LONGEST_CLAIM = 1_024;

/** The fields of a record that a token fills. Its subject is none of them: it may be a patient. */
export function tokenFields(claims: TokenClaims | undefined): Pick<AuditRecord, 'token_issuer' | 'token_id' | 'token_client' | 'token_scope'> {
  if (claims === undefined) return {};
  const { issuer, id, client, scopes } = claims;
  const fields = { token_issuer: issuer, token_id: id, token_client: client, token_scope: scopes.length === 0 ? undefined : scopes.join(' ') };
  return Object.fromEntries(Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [[name, value.slice(0, LONGEST_CLAIM)]])));
}

/** The fields of a record that say what was negotiated. */
export function sessionFields({ tls, cipher, resumed }: Required<Pick<AuditRecord, 'tls' | 'cipher' | 'resumed'>>): Pick<AuditRecord, 'tls' | 'cipher' | 'resumed'> {
  return { tls, cipher, resumed };
}

type CertificateFields = Pick<AuditRecord, 'serial' | 'issuer' | 'subject' | 'fingerprint' | 'not_before' | 'not_after'>;

const fieldsByCertificate = new WeakMap<Certificate, CertificateFields>();

/** The fields of a record that a certificate fills: written out once a certificate, not once a request. */
export function certificateFields(certificate: Certificate): CertificateFields {
  let fields = fieldsByCertificate.get(certificate);
  if (fields === undefined) {
    fields = {
      serial: certificate.serial,
      issuer: formatName(certificate.issuer),
      subject: formatName(certificate.subject),
      fingerprint: certificate.sha256,
      not_before: new Date(certificate.notBefore).toISOString(),
      not_after: new Date(certificate.notAfter).toISOString(),
    };
    fieldsByCertificate.set(certificate, fields);
  }
  return fields;
}
