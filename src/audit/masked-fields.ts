import type { AuditRecord } from './record.ts';

/**
 * What a field of a record may say of people, and so what becomes of it where the record leaves the audit. `plain` stays; `text` may
 * hold anything by chance, and stays but for what is found in it; `detail` is what the gateway wrote, with what others wrote in quotes;
 * `patient` and `person` are ids; `subject` and `issuer` are names of certificates; `path` and `query` are a request's; `emergency` is
 * the grant, with its text.
 */
export type FieldClass = 'plain' | 'text' | 'detail' | 'patient' | 'person' | 'subject' | 'issuer' | 'path' | 'query' | 'emergency';

/** Every field has a class: a new one does not compile without. */
export const FIELD_CLASSES: Readonly<Record<keyof AuditRecord, FieldClass>> = {
  time: 'plain',
  event: 'plain',
  result: 'plain',
  reason: 'plain',
  detail: 'detail',
  request_id: 'plain',
  listener: 'plain',
  // Of a machine, and what every rule of a SIEM begins with.
  address: 'plain',
  serial: 'plain',
  issuer: 'issuer',
  subject: 'subject',
  fingerprint: 'plain',
  not_before: 'plain',
  not_after: 'plain',
  forwarded_by: 'plain',
  key: 'plain',
  role: 'plain',
  roles: 'plain',
  id: 'person',
  factor: 'plain',
  token_issuer: 'text',
  token_id: 'text',
  token_client: 'text',
  token_scope: 'text',
  device: 'text',
  alarm: 'plain',
  sending_application: 'text',
  sending_facility: 'text',
  calling_ae_title: 'text',
  called_ae_title: 'text',
  messages: 'plain',
  route: 'plain',
  upstream: 'plain',
  patient: 'patient',
  endpoint: 'text',
  attempts: 'text',
  // A client chooses it, and that of HTTP/2 may be any word.
  method: 'text',
  host: 'text',
  path: 'path',
  query: 'query',
  fhir_base: 'path',
  phi: 'plain',
  status: 'plain',
  bytes_out: 'plain',
  bytes_in: 'plain',
  duration_ms: 'plain',
  tls: 'plain',
  cipher: 'plain',
  resumed: 'plain',
  degraded: 'plain',
  break_glass: 'emergency',
  // Whoever runs the gateway, not whom it serves.
  who: 'text',
  names: 'person',
  network: 'plain',
  outside: 'plain',
  until: 'plain',
};
