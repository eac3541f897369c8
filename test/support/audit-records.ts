import fc from 'fast-check';
import type { AuditRecord } from '../../src/audit/record.ts';

const TIME = '2026-11-22T12:34:56.789Z';
const CLIENT = {
  listener: 'clinical', address: '192.0.2.7', serial: '0a1b', issuer: 'CN=Clients CA,O=Hospital', subject: 'CN=Dr Wang,OU=Doctors,O=Hospital', fingerprint: 'ab'.repeat(32), not_after: '2027-01-01T00:00:00.000Z',
} as const;
const DOCTOR = { ...CLIENT, role: 'doctor', id: 'Dr Wang' } as const;
const SESSION = { tls: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', resumed: false } as const;

function request(fields: Partial<AuditRecord>): AuditRecord {
  return {
    time: TIME, event: 'request', result: 'permitted', status: 200, bytes_out: 512, request_id: 'b8f7c6d5-0000-4000-8000-000000000001', endpoint: 'https://ehr.internal:9443', bytes_in: 0, duration_ms: 3.25,
    ...DOCTOR, route: 'fhir', upstream: 'ehr', method: 'GET', host: 'api.hospital.test', fhir_base: '/fhir', path: '/fhir/Observation/o-1', phi: true, ...SESSION, ...fields,
  };
}

/** A record without the fields that are set to undefined. */
function without(record: AuditRecord, ...fields: readonly (keyof AuditRecord)[]): AuditRecord {
  return Object.fromEntries(Object.entries(record).filter(([field]) => !fields.includes(field as keyof AuditRecord))) as unknown as AuditRecord;
}

const GRANT = { id: '7e0e4a4e-0000-4000-8000-000000000002', reason: 'unconscious', text: 'found in the hall', patient: 'P-1234' } as const;

/** A record of every sort that the gateway writes, by what it is about, with the profile of BALP that its AuditEvent is to conform to. */
export const SORTS: Readonly<Record<string, { readonly record: AuditRecord; readonly profile?: string }>> = {
  read: { record: request({}), profile: 'Read' },
  'read of a patient': { record: request({ patient: 'P-1234' }), profile: 'PatientRead' },
  'read of a version': { record: request({ path: '/fhir/Observation/o-1/_history/2' }), profile: 'Read' },
  'read in an emergency': { record: request({ patient: 'P-1234', break_glass: GRANT }), profile: 'PatientRead' },
  'read by nobody known': { record: without(request({ path: '/public/news' }), 'role', 'id', 'serial', 'issuer', 'subject', 'fingerprint', 'not_after', 'fhir_base', 'phi'), profile: 'Read' },
  'read by IPv6': { record: request({ address: '2001:db8::7' }), profile: 'Read' },
  'read with a token': { record: request({ token_issuer: 'https://idp.test', token_id: 'j 1/2', token_client: 'app', token_scope: 'user/*.read' }), profile: 'Read' },
  search: { record: request({ path: '/fhir/Observation', query: 'code=8480-6' }), profile: 'Query' },
  'search of a patient': { record: request({ path: '/fhir/Observation', query: 'subject=Patient/P-1234', patient: 'P-1234' }), profile: 'PatientQuery' },
  'search by POST': { record: request({ method: 'POST', path: '/fhir/Observation/_search' }), profile: 'Query' },
  'search of the system': { record: request({ path: '/fhir', query: '_type=Patient' }), profile: 'Query' },
  create: { record: request({ method: 'POST', path: '/fhir/Observation', status: 201 }), profile: 'Create' },
  'create of a patient': { record: request({ method: 'POST', path: '/fhir/Observation', status: 201, patient: 'P-1234' }), profile: 'PatientCreate' },
  update: { record: request({ method: 'PUT' }), profile: 'Update' },
  patch: { record: request({ method: 'PATCH' }), profile: 'Update' },
  'update of a patient': { record: request({ method: 'PUT', path: '/fhir/Patient/P-1234', patient: 'P-1234' }), profile: 'PatientUpdate' },
  delete: { record: request({ method: 'DELETE', status: 204 }), profile: 'Delete' },
  'delete of a patient': { record: request({ method: 'DELETE', status: 204, path: '/fhir/Patient/P-1234', patient: 'P-1234' }), profile: 'PatientDelete' },
  'plain interface, read': { record: without(request({ route: 'records', path: '/records' }), 'fhir_base'), profile: 'Read' },
  'plain interface, query': { record: without(request({ route: 'records', path: '/records', query: 'ward=7' }), 'fhir_base'), profile: 'Query' },
  'plain interface, create': { record: without(request({ route: 'records', path: '/upload', method: 'POST' }), 'fhir_base'), profile: 'Create' },
  operation: { record: request({ path: '/fhir/Patient/P-1234/$everything', patient: 'P-1234' }) },
  batch: { record: request({ method: 'POST', path: '/fhir' }) },
  history: { record: request({ path: '/fhir/Observation/o-1/_history' }) },
  capabilities: { record: request({ path: '/fhir/metadata' }) },
  options: { record: request({ method: 'OPTIONS' }) },
  'WebSocket opened': { record: request({ status: 101, path: '/live' }) },
  'WebSocket ended': { record: request({ event: 'connection', result: 'done', path: '/live' }) },
  'not found by the upstream': { record: request({ status: 404 }) },
  'client left': { record: request({ result: 'failed', status: 499, detail: 'the client left before the answer' }) },
  'upstream away': { record: request({ result: 'failed', status: 502, reason: 'upstream_unavailable', detail: 'ECONNREFUSED: connect ECONNREFUSED 127.0.0.1:1', attempts: ['https://a:1: ECONNREFUSED'] }) },
  'role denied': { record: request({ result: 'denied', status: 403, reason: 'role_denied', detail: 'the route allows nurse' }) },
  'other patient': { record: request({ result: 'denied', status: 403, reason: 'patient_mismatch', detail: 'the path names "P-9"', patient: 'P-9' }) },
  'unregistered device': { record: request({ result: 'denied', status: 403, reason: 'device_unregistered', alarm: 'unregistered_device', detail: 'no registered workstation is Dr Wang\'s' }) },
  'no certificate': { record: { time: TIME, event: 'request', result: 'denied', reason: 'no_certificate', status: 401, request_id: 'r-1', listener: 'clinical', address: '192.0.2.8', method: 'GET', path: '/records', ...SESSION } },
  'unreadable request': { record: { time: TIME, event: 'request', result: 'denied', reason: 'bad_request', status: 400, listener: 'clinical', address: '192.0.2.8', detail: 'a control character in the field x' } },
  'connection refused': { record: { time: TIME, event: 'connection', result: 'denied', reason: 'untrusted_issuer', detail: 'no trusted issuer of CN=Li Si: CN=Zhang San', ...CLIENT, subject: 'CN=Li Si', issuer: 'CN=Zhang San', ...SESSION } },
  'certificate revoked': { record: { time: TIME, event: 'connection', result: 'denied', reason: 'revoked_crl', detail: 'serial 0a1b revoked 2026-11-01', ...CLIENT, ...SESSION } },
  'stream let in': { record: { time: TIME, event: 'connection', result: 'permitted', request_id: 'r-2', ...DOCTOR, role: 'device', id: 'pump-7', upstream: 'pacs', calling_ae_title: 'PUMP7', called_ae_title: 'PACS', ...SESSION } },
  'stream ended': { record: { time: TIME, event: 'connection', result: 'done', request_id: 'r-2', ...DOCTOR, upstream: 'hl7', messages: 3, sending_application: 'LAB', sending_facility: 'H', bytes_in: 10, bytes_out: 20, ...SESSION } },
  'stream failed': { record: { time: TIME, event: 'connection', result: 'failed', detail: 'the upstream reset it', request_id: 'r-2', ...DOCTOR, upstream: 'hl7' } },
  revocation: { record: { time: TIME, event: 'revocation', result: 'done', who: 'root', serial: '0a1b', issuer: 'CN=Clients CA,O=Hospital', reason: 'revoked_denylist', detail: 'denied: lost' } },
  'revocation of a person': { record: { time: TIME, event: 'revocation', result: 'done', who: 'webhook hr', id: 'Dr Wang', reason: 'revoked_denylist', detail: 'denied: left' } },
  'revocation of a key': { record: { time: TIME, event: 'revocation', result: 'done', who: 'root', key: 'cd'.repeat(32), detail: 'reinstated' } },
  suspension: { record: { time: TIME, event: 'suspension', result: 'done', who: 'root', route: 'fhir', network: '10.0.0.0/8', outside: true, until: TIME, detail: 'suspended: attack' } },
  'emergency opened': { record: { time: TIME, event: 'break_glass', result: 'done', request_id: 'r-3', ...DOCTOR, route: 'fhir', patient: 'P-1234', until: TIME, break_glass: GRANT, detail: 'opened: patient_mismatch', alarm: 'break_glass' } },
  'emergency over': { record: { time: TIME, event: 'break_glass', result: 'done', ...DOCTOR, route: 'fhir', until: TIME, break_glass: GRANT, detail: 'expired' } },
  'emergency withdrawn': { record: { time: TIME, event: 'break_glass', result: 'done', ...DOCTOR, who: 'security', route: 'fhir', until: TIME, break_glass: GRANT, detail: 'withdrawn: no emergency' } },
  'emergency reviewed': { record: { time: TIME, event: 'break_glass', result: 'done', ...DOCTOR, who: 'security', route: 'fhir', until: TIME, break_glass: GRANT, detail: 'reviewed: right' } },
  webhook: { record: { time: TIME, event: 'webhook', result: 'done', who: 'webhook hr', request_id: 'r-4', detail: 'leave e-1 done: Dr Wang: retired' } },
  'webhook refused': { record: request({ result: 'denied', status: 401, reason: 'webhook_signature', detail: 'no signature' }) },
  'code shown': { record: { time: TIME, event: 'second_factor', result: 'done', role: 'doctor', id: 'Dr Wang', address: '192.0.2.7', factor: 'totp', detail: 'code' } },
  'code wrong': { record: { time: TIME, event: 'second_factor', result: 'denied', role: 'doctor', id: 'Dr Wang', address: '192.0.2.7', factor: 'sms', reason: 'code_wrong', detail: 'code: 1 of 5' } },
  'signed out': { record: { time: TIME, event: 'second_factor', result: 'done', role: 'doctor', id: 'Dr Wang', address: '192.0.2.7', detail: 'signed out' } },
  'factor reset by staff': { record: { time: TIME, event: 'second_factor', result: 'done', role: 'doctor', id: 'Dr Wang', who: 'helpdesk', detail: 'reset' } },
  'records lost': { record: { time: TIME, event: 'audit', result: 'failed', reason: 'audit_unavailable', detail: '3 records could not be written before this one' } },
  'audit used': { record: { time: TIME, event: 'evidence', result: 'done', who: 'auditor', detail: 'exported' } },
  configuration: { record: { time: TIME, event: 'configuration', result: 'done', detail: 'configuration 0123' } },
  start: { record: { time: TIME, event: 'start', result: 'done', detail: 'configuration 0123' } },
  stop: { record: { time: TIME, event: 'stop', result: 'done' } },
};

/** What nobody outside the audit may see, in the places where it stands in records. */
export const SECRETS = ['Quillfeather', 'PAT-774411', '11010519491231002X', 'z.quill@hospital.test', 'qv-99817-secret', '张三丰'] as const;

const AWKWARD = ['', ' ', '|', '=', '\\', '\n', '\r\n', '"', '<', '>', '&', "'", ']]>', '\u0000', '\u001b[31m', '\ud800', '\ufffe', 'a=b c=d', '%', '%zz', '\u2028', '{"a":1}', 'CN=', 'Patient/', '🫀', ': '] as const;
const piece = fc.oneof(fc.constantFrom(...AWKWARD), fc.string({ unit: 'binary', maxLength: 12 }), fc.constantFrom(...SECRETS));
const innocent = fc.array(fc.oneof(fc.constantFrom(...AWKWARD), fc.string({ unit: 'binary', maxLength: 12 })), { maxLength: 5 }).map((parts) => parts.join(''));

/** Words around a secret, as whoever builds details does it: quoted, or a value of a field that the record has. */
const secret = fc.constantFrom(...SECRETS);
const quoting = fc.tuple(innocent.map((text) => text.replace(/["\\]/g, '')), secret).map(([text, hidden]) => `${text} names ${JSON.stringify(hidden)}`);

/** Any record at all, of any sort, with anything in its fields; what is secret stands in fields that hold such. */
export const anyRecord: fc.Arbitrary<AuditRecord> = fc.tuple(
  fc.constantFrom(...Object.values(SORTS)),
  fc.record({
    subject: fc.tuple(secret, innocent).map(([hidden, text]) => `CN=${hidden},OU=${text.replace(/[\\",+;<>=#]/g, '')}`),
    id: secret,
    patient: secret,
    path: fc.array(fc.oneof(piece.map((text) => encodeURIComponent(text.toWellFormed())), fc.constantFrom('fhir', 'Observation', 'Patient', '_history', '$x', 'v1')), { maxLength: 6 }).map((parts) => `/${parts.join('/')}`),
    query: fc.array(fc.tuple(fc.constantFrom('a', 'name', 'subject', '_id', 'x.y:z'), piece), { minLength: 1, maxLength: 4 }).map((pairs) => pairs.map(([name, value]) => `${name}=${encodeURIComponent(value.toWellFormed())}`).join('&')),
    detail: fc.oneof(innocent, quoting),
    attempts: fc.array(innocent, { maxLength: 3 }),
    break_glass: fc.record({ id: fc.uuid(), reason: fc.constant('unconscious'), text: piece, patient: secret }),
    method: fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'BREW'),
    status: fc.integer({ min: 100, max: 599 }),
    host: fc.oneof(fc.domain(), innocent),
    device: innocent,
    token_id: innocent,
    token_client: innocent,
    sending_application: innocent,
    who: innocent,
    role: fc.constantFrom('doctor', 'patient', 'device'),
  }, { requiredKeys: [] }),
).map(([{ record }, fields]) => ({ ...record, ...fields }) as AuditRecord);
