import type { AuditRecord } from '../record.ts';

type Property = Readonly<Record<string, unknown>>;

const text = (description: string): Property => ({ type: 'string', description });
const texts = (description: string): Property => ({ type: 'array', items: { type: 'string' }, description });
const count = (description: string): Property => ({ type: 'integer', minimum: 0, description });
const hex = (description: string): Property => ({ type: 'string', pattern: '^[0-9a-f]+$', description });
const word = (description: string): Property => ({ type: 'string', pattern: '^[a-z][a-z0-9_]*$', description });
const flag = (description: string): Property => ({ type: 'boolean', description });
const moment = (description: string): Property => ({ type: 'string', pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\\.[0-9]+)?Z$', description });

const EVENTS: Readonly<Record<AuditRecord['event'], true>> = {
  request: true, connection: true, revocation: true, suspension: true, break_glass: true, webhook: true, audit: true, configuration: true, start: true, stop: true, second_factor: true, evidence: true,
  responder: true, certificate_request: true, certificate: true, alarm: true, administration: true,
};
const RESULTS: Readonly<Record<AuditRecord['result'], true>> = { permitted: true, denied: true, failed: true, done: true };

/** Every field of a record, as it stands in its JSON. A new one does not compile without. */
const PROPERTIES: Readonly<Record<keyof AuditRecord, Property>> = {
  time: moment('When it was decided, UTC.'),
  event: { enum: Object.keys(EVENTS), description: 'What the record is about.' },
  result: { enum: Object.keys(RESULTS), description: 'What came of it.' },
  reason: word('Why it was denied or failed.'),
  detail: text('The exact cause. Masked: what it quotes, names and references are pseudonyms, and what people wrote is hidden.'),
  request_id: text('Id of the request: also the upstream\'s X-Request-Id.'),
  listener: text('Name of the listener.'),
  address: text('Address of the client.'),
  serial: hex('Serial number of the certificate.'),
  issuer: text('Its issuer, RFC 4514.'),
  subject: text('Its subject, RFC 4514. Masked: personal attributes are pseudonyms.'),
  fingerprint: hex('SHA-256 of the certificate.'),
  not_before: moment('When the certificate begins.'),
  not_after: moment('When the certificate ends.'),
  forwarded_by: hex('SHA-256 of the certificate of the front that named the client.'),
  key: hex('SHA-256 of a public key, when all its certificates are denied.'),
  role: text('The client\'s role.'),
  roles: texts('Every role of a client that holds several.'),
  id: text('The client\'s id. Masked: a pseudonym, unless its role is a plain one.'),
  factor: word('The second factor that was shown or asked for.'),
  token_issuer: text('iss of the access token.'),
  token_id: text('jti of the access token.'),
  token_client: text('client_id of the access token.'),
  token_scope: text('scope of the access token.'),
  device: text('Id of the registered device.'),
  alarm: word('The rule by which somebody should look at it.'),
  sending_application: text('MSH-3 of an HL7 message.'),
  sending_facility: text('MSH-4 of an HL7 message.'),
  calling_ae_title: text('Calling AE title of a DICOM association.'),
  called_ae_title: text('Called AE title of a DICOM association.'),
  messages: count('HL7 messages of a stream that were let in.'),
  route: text('Name of the route.'),
  upstream: text('Name of the upstream.'),
  patient: text('Whom it concerns. Masked: a pseudonym or the last six characters.'),
  endpoint: text('The endpoint that was asked last.'),
  attempts: texts('Endpoints that were tried before, and why they were not the last.'),
  method: text('Method of the request.'),
  host: text('Host of the request.'),
  path: text('Path of the request. Masked: segments that are ids are pseudonyms.'),
  query: text('Query of the request. Masked: values that are not declared plain are pseudonyms.'),
  fhir_base: text('What the path begins with that is the base of a FHIR interface.'),
  phi: { const: true, description: 'The route\'s answers carry health data.' },
  status: { type: 'integer', minimum: 100, maximum: 599, description: 'Status of the answer; 499: the client left before it.' },
  bytes_out: count('Octets of body sent to the client.'),
  bytes_in: count('Octets of body received from the client.'),
  duration_ms: { type: 'number', minimum: 0, description: 'From the request\'s head to the record, in milliseconds.' },
  tls: text('Version of TLS.'),
  cipher: text('Cipher suite, IANA name.'),
  resumed: flag('Whether the TLS session was resumed.'),
  degraded: word('Admitted although the certificate\'s status was unknown, for this reason.'),
  break_glass: {
    type: 'object', description: 'The grant for an emergency. Masked: its text is hidden, its patient is a pseudonym.',
    properties: { id: text('Id of the grant.'), reason: text('Its reason, one of the configuration\'s.'), text: text('What its user wrote.'), patient: text('Whom it is for.') },
    required: ['id', 'reason', 'text'], additionalProperties: false,
  },
  who: text('On whose behalf something was changed.'),
  names: texts('Further names that a certificate was asked for. Masked: pseudonyms.'),
  network: text('The network that a suspension is for.'),
  outside: flag('Whether a suspension is for clients outside only.'),
  until: moment('When a suspension or a grant ends by itself.'),
};

/** The JSON Schema (2020-12) of the JSON form. */
export function recordJsonSchema(): Record<string, unknown> {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Wardgate audit record',
    description: 'A record of the audit as it leaves the gateway: masked, one JSON object a line.',
    type: 'object',
    properties: {
      ...PROPERTIES,
      gateway: text('Name of the gateway that wrote it.'),
      segment: text('File of the audit in which the sealed record is.'),
      seq: count('Its number there.'),
    },
    required: ['time', 'event', 'result', 'gateway', 'segment', 'seq'],
    additionalProperties: false,
  };
}

/** The schema as the text of its file. */
export function recordJsonSchemaText(): string {
  return `${JSON.stringify(recordJsonSchema(), null, 2)}\n`;
}
