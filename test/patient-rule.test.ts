import { describe, expect, test } from 'vitest';
import { patient as schema } from '../src/config/schema/patient.ts';
import { judgeBeside } from '../src/policy/parameters.ts';
import { compilePatient, judgePatient, type PatientQuestion, type PatientRule } from '../src/policy/patient.ts';

const identity = { role: 'patient', id: 'urn:patient:A' } as never;

function rule(config: object, depth = 1): PatientRule {
  return compilePatient(schema.parse({ id: 'urn:patient:*', ...config }), depth);
}

function question(more: Partial<PatientQuestion>): PatientQuestion {
  return { method: 'GET', host: 'api.test', path: '/x', segments: ['x'], query: '', parameters: {}, fields: [], ...more };
}

/** `within`, or why not. */
function judge(config: object, more: Partial<PatientQuestion>, who: object | 'nobody' = identity, admitted: readonly string[] = ['patient']): string {
  const finding = judgePatient(rule(config), question(more), who === 'nobody' ? undefined : who as never, admitted);
  return finding.kind === 'concerns' ? 'within' : finding.reason;
}

describe('a patient named by the path', () => {
  test.each([['A', 'within'], ['B', 'patient_mismatch'], ['a', 'patient_mismatch'], ['A ', 'patient_mismatch'], ['', 'patient_mismatch'], [undefined, 'patient_missing']])('%j: %s', (id, outcome) => {
    expect(judge({ path: 'id' }, { parameters: id === undefined ? {} : { id } })).toBe(outcome);
  });
});

describe('a patient named by the query', () => {
  test.each([
    ['patient=A', 'within'], ['x=1&patient=A&y=2', 'within'], ['patient=%41', 'within'],
    ['', 'patient_missing'], ['x=1', 'patient_missing'], ['patient=', 'patient_missing'],
    ['patient=B', 'patient_mismatch'], ['patient=a', 'patient_mismatch'], ['patient=A,B', 'patient_mismatch'], ['patient=A%00', 'patient_mismatch'], ['patient=A%20', 'patient_mismatch'], ['patient=%2541', 'patient_mismatch'],
    ['patient=A&patient=B', 'patient_unknown_shape'], ['patient=A&patient=A', 'patient_unknown_shape'], ['patient=A&patient[]=B', 'patient_unknown_shape'], ['patient[]=A', 'patient_unknown_shape'], ['patient%5B0%5D=A', 'patient_unknown_shape'],
    ['Patient=A', 'patient_unknown_shape'], ['patient=A&PATIENT=B', 'patient_unknown_shape'], ['patient=A&patien%74=B', 'patient_unknown_shape'], ['patien%74=A', 'patient_unknown_shape'], ['patient=A&patient%00x=B', 'patient_unknown_shape'],
    ['patient=A;patient=B', 'patient_unknown_shape'], ['x=1;patient=B&patient=A', 'patient_unknown_shape'], ['x=1;patient=A', 'patient_unknown_shape'], ['patient', 'patient_unknown_shape'], ['patient=A&+patient=B', 'patient_unknown_shape'], ['patient=A&%20patient=B', 'patient_unknown_shape'],
    ['patient=A+', 'patient_unknown_shape'], ['patient=%FF', 'patient_unknown_shape'], ['patient=%4', 'patient_unknown_shape'], ['patient=A&%FF=B', 'patient_unknown_shape'],
  ])('%j: %s', (query, outcome) => {
    expect(judge({ query: 'patient' }, { query })).toBe(outcome);
  });
});

test('the patient of DICOMweb has two names, of which servers take the one that they read last', () => {
  expect(judge({ query: 'PatientID' }, { query: 'PatientID=A&StudyDate=20260101&00100010=x' })).toBe('within');
  for (const query of ['PatientID=A&00100020=B', '00100020=A', '00100020=B&PatientID=A']) expect(judge({ query: 'PatientID' }, { query })).toBe('patient_unknown_shape');
});

describe('a form beside the query', () => {
  const forms = ['application/x-www-form-urlencoded', ' Application/X-WWW-Form-Urlencoded;charset=utf-8', 'multipart/form-data; boundary=x', 'text/plain, application/x-www-form-urlencoded'];

  test.each(forms)('%s is refused: PHP and Rails let its fields overrule the query', (type) => {
    for (const method of ['POST', 'GET']) expect(judge({ query: 'patient' }, { method, query: 'patient=A', fields: ['Accept', '*/*', 'CONTENT-TYPE', type] })).toBe('patient_unknown_shape');
    expect(judge({ query: 'patient' }, { method: 'POST', query: 'patient=B', fields: ['content-type', type] })).toBe('patient_mismatch');
    expect(judge({ path: 'id' }, { method: 'POST', parameters: { id: 'A' }, fields: ['content-type', type] })).toBe('within');
  });

  test.each(forms)('%s leaves unclear whom an emergency is for, and goes on record for who is free', (type) => {
    const doctor = { role: 'doctor', id: 'x', roles: new Set(['doctor']) } as never;
    expect(judgePatient(rule({ query: 'patient' }), question({ method: 'POST', query: 'patient=A', fields: ['content-type', type] }), doctor, ['doctor'])).toMatchObject({ kind: 'concerns', named: 'A', unclear: expect.any(String) as string });
  });

  test('is looked for in every spelling of its header field', () => {
    expect(judge({ query: 'patient' }, { method: 'POST', query: 'patient=A', fields: ['content_type', 'multipart/form-data'] })).toBe('patient_unknown_shape');
  });
});

describe('JSON beside the query', () => {
  const finding = (who: object, type: string, more: readonly string[] = [], emergency?: { readonly patient: string }) =>
    judgePatient(rule({ query: 'patient' }), question({ method: 'POST', query: 'patient=A', fields: ['content-type', type, ...more] }), who as never, [(who as { role: string }).role], emergency);
  const doctor = { role: 'doctor', id: 'x', roles: new Set(['doctor']) };

  test.each(['application/json', 'text/json', 'APPLICATION/vnd.api+JSON; charset=utf-8', 'text/plain, application/json'])('as %s is read before it leaves: Rails and Laravel let its members overrule the query', (type) => {
    expect(finding(identity, type)).toMatchObject({ kind: 'concerns', named: 'A', bond: { kind: 'query', parameter: 'patient', patient: 'A' } });
    expect(finding(doctor, type)).toMatchObject({ named: 'A', bond: undefined });
    // Somebody else's grant must not serve for another patient either.
    expect(finding(doctor, type, [], { patient: 'A' })).toMatchObject({ named: 'A', bond: { kind: 'query', patient: 'A' } });
  });

  test('is refused where it is encoded, and cannot be read', () => {
    expect(finding(identity, 'application/json', ['Content-Encoding', 'gzip'])).toMatchObject({ reason: 'patient_unknown_shape' });
    expect(finding(identity, 'application/json', ['Content-Encoding', 'identity'])).toMatchObject({ kind: 'concerns' });
    expect(finding(identity, 'application/x-ndjson', ['Content-Encoding', 'gzip'])).toMatchObject({ bond: undefined });
  });

  test.each([
    ['', true], ['{}', true], ['{"value":120,"nested":{"patient":"B"}}', true], ['[{"patient":"B"}]', true], ['{"patient":"A"}', true], ['"patient"', true],
    ['{"patient":"B"}', false], ['{"Patient":"A"}', false], ['{"patient[]":["B"]}', false], ['{"patien\\u0074":"B"}', false], ['{" patient":"A"}', false], ['{"patient":["A"]}', false], ['{"patient":{"id":"B"}}', false],
    ['{"patient":"B","patient":"A"}', false], ['{"patient":"A"} ', true], ['{"patient":"A"', false], ["{'patient':'B'}", false], ['\ufeff{"patient":"B"}', false], ['[['.repeat(40), false],
  ])('%s passes: %s', (text, passes) => {
    expect(judgeBeside('patient', 'A', Buffer.from(text)) === undefined).toBe(passes);
  });

  test.each([['1001', '1001', true], ['1001', '1002', false], ['9007199254740992', '9007199254740993', false]])('with the id %s as the number %s in JSON beside it: passes %s', (id, number, passes) => {
    expect(judgeBeside('patient', id, Buffer.from(`{"patient":${number}}`)) === undefined).toBe(passes);
  });
});

describe('a body of another type beside the query', () => {
  const withBody = (fields: readonly string[], more: object = {}, config: object = {}) => judge({ query: 'patient', ...config }, { method: 'POST', query: 'patient=A', fields: ['content-length', '9', ...fields], ...more });

  test.each(['application/xml', 'text/xml', 'application/msgpack', 'application/x-yaml', 'text/plain', ''])('of the type %j is refused: no server can be known to take no parameters from it', (type) => {
    expect(withBody(['content-type', type])).toBe('patient_unknown_shape');
    expect(withBody(['Transfer-Encoding', 'chunked', 'content-type', type])).toBe('patient_unknown_shape');
  });

  test('is refused without a type, and over HTTP/2 without a length', () => {
    expect([withBody([]), withBody([], { fields: [], unannounced: true }), withBody([], { fields: ['content-type', 'text/xml'], unannounced: true })]).toEqual(Array(3).fill('patient_unknown_shape'));
  });

  test('passes where the route says so, by one field of exactly that type', () => {
    const unread = { unread: ['application/dicom'] };
    expect(withBody(['content-type', 'Application/DICOM; transfer-syntax=*'], {}, unread)).toBe('within');
    for (const fields of [['content-type', 'application/xml'], ['content-type', 'application/dicom', 'Content-Type', 'application/xml'], ['content-type', 'application/dicom, application/xml'], ['content-type', 'application/dicom+xml'], []]) {
      expect(withBody(fields, {}, unread)).toBe('patient_unknown_shape');
    }
  });

  test('is none where no body comes', () => {
    for (const fields of [['content-type', 'text/xml'], ['content-type', 'text/xml', 'content-length', '0'], []]) expect(withBody([], { fields })).toBe('within');
    expect(judge({ path: 'id' }, { parameters: { id: 'A' }, fields: ['content-length', '9', 'content-type', 'text/xml'] })).toBe('within');
  });
});

describe('a patient named by a header', () => {
  test.each([
    [['X-Patient', 'A'], 'within'], [['x-patient', ' A '], 'within'],
    [[], 'patient_missing'], [['X-Patient', ''], 'patient_missing'],
    [['X-Patient', 'B'], 'patient_mismatch'], [['X-Patient', 'A, B'], 'patient_mismatch'],
    [['X-Patient', 'A', 'X-Patient', 'B'], 'patient_unknown_shape'], [['X-Patient', 'A', 'x_patient', 'B'], 'patient_unknown_shape'], [['X_Patient', 'A'], 'patient_unknown_shape'], [['X-Patient', 'A', 'Connection', 'close, X-Patient'], 'patient_unknown_shape'],
  ])('%j: %s', (fields, outcome) => {
    expect(judge({ header: 'X-Patient' }, { fields })).toBe(outcome);
  });
});

test.each([
  ['urn:patient:A', 'within'], ['urn:patient:', 'patient_missing'], ['URN:PATIENT:A', 'patient_missing'], ['A', 'patient_missing'], ['urn:doctor:A', 'patient_missing'], ['urn:patient:urn:patient:A', 'patient_mismatch'],
])('a bound client with the id %j reaches patient A: %s', (id, outcome) => {
  expect(judge({ path: 'id' }, { parameters: { id: 'A' } }, { role: 'patient', id })).toBe(outcome);
});

test('the id of a client may have the patient in its middle', () => {
  expect(judge({ path: 'id', id: 'p-*@hospital.test' }, { parameters: { id: 'A' } }, { role: 'patient', id: 'p-A@hospital.test' })).toBe('within');
  expect(judge({ path: 'id', id: 'p-*@hospital.test' }, { parameters: { id: 'A' } }, { role: 'patient', id: 'p-@hospital.test' })).toBe('patient_missing');
  expect(judge({ path: 'id', id: 'aa*aa' }, { parameters: { id: '' } }, { role: 'patient', id: 'aaa' })).toBe('patient_missing');
});

test('who is let in by a role that is not bound reaches every patient, and whom is known', () => {
  const finding = (config: object, more: Partial<PatientQuestion>, role: string, admitted: readonly string[]): unknown => judgePatient(rule(config), question(more), { role, id: 'urn:patient:A', roles: new Set(admitted) }, admitted);
  expect(finding({ path: 'id' }, { parameters: { id: 'B' } }, 'doctor', ['doctor'])).toEqual({ kind: 'concerns', named: 'B', bond: undefined });
  expect(finding({ path: 'id' }, { parameters: { id: 'B' } }, 'doctor', ['doctor', 'patient'])).toEqual({ kind: 'concerns', named: 'B', bond: undefined });
  expect(finding({ query: 'id' }, { query: 'id=B&id=C' }, 'doctor', ['doctor'])).toEqual({ kind: 'concerns', named: undefined, bond: undefined, unclear: 'the query has several parameters that may be id' });
  expect(finding({ query: 'id' }, { query: '' }, 'doctor', ['doctor'])).toEqual({ kind: 'concerns', named: undefined, bond: undefined });
  expect(finding({ body: 'fhir' }, { segments: ['fhir', 'Patient', 'B'] }, 'doctor', ['doctor'])).toEqual({ kind: 'concerns', named: 'B', bond: undefined });
});

test('who is a patient first stays bound, whatever else they inherit, and so does who is let in as one', () => {
  const reason = (role: string, admitted: readonly string[]): unknown => judgePatient(rule({ path: 'id', bound: ['patient', 'relative'] }), question({ parameters: { id: 'B' } }), { role, id: 'urn:patient:A', roles: new Set(admitted) }, admitted);
  expect(reason('patient', ['patient', 'user'])).toMatchObject({ reason: 'patient_mismatch', named: 'B' });
  expect(reason('doctor', ['patient'])).toMatchObject({ reason: 'patient_mismatch', named: 'B' });
  expect(reason('relative', ['relative', 'patient'])).toMatchObject({ reason: 'patient_mismatch', named: 'B' });
});

test('nobody in particular is bound to nobody and reaches nobody', () => {
  expect(judge({ path: 'id' }, { parameters: { id: 'A' } }, 'nobody', [])).toBe('patient_missing');
  expect(judge({ body: 'fhir' }, { segments: ['fhir', 'Patient', 'A'] }, 'nobody', [])).toBe('patient_missing');
});

test('a FHIR request of a bound client is judged below the base, and its bodies are still to be', () => {
  const finding = judgePatient(rule({ body: 'fhir', fhir: { bases: ['https://EHR.internal/r4'] } }, 2), question({ path: '/v1/fhir/Observation', segments: ['v1', 'fhir', 'Observation'], query: 'patient=A' }), identity, ['patient']);
  expect(finding).toMatchObject({ kind: 'concerns', named: 'A', bond: { body: { kind: 'none' }, resource: 1 << 20, rules: { compartment: { patient: 'A', host: 'api.test', base: '/v1/fhir', bases: ['ehr.internal/r4'] } } } });
  expect(judge({ body: 'fhir' }, { path: '/fhir/Patient/B', segments: ['fhir', 'Patient', 'B'] })).toBe('patient_mismatch');
  expect(judge({ body: 'fhir' }, { path: '/fhir/Patient/A', segments: ['fhir', 'Patient', 'A'] }, { role: 'patient', id: 'urn:patient:A/B' })).toBe('patient_missing');
});

test.each([
  [{}, 'expected exactly one of path, query, header or body'], [{ path: 'a', query: 'b' }, 'expected exactly one of path, query, header or body'], [{ path: 'a', fhir: {} }, 'expected body: fhir beside fhir'], [{ path: 'a', unread: ['text/xml'] }, 'expected query beside unread'],
  [{ path: 'a', id: 'x' }, 'expected text with one * in it, such as urn:patient:*'], [{ body: 'fhir', fhir: { shared: ['Observation'] } }, 'expected a type of resources that is in no patient\'s compartment and refers to none'],
  [{ body: 'fhir', fhir: { shared: ['Task'] } }, 'expected a type of resources that is in no patient\'s compartment and refers to none'], [{ body: 'fhir', fhir: { bases: ['https://ehr.internal/r4/'] } }, 'expected a URL without a slash, query or fragment at its end, such as https://ehr.internal/fhir'],
])('the configuration %j is refused: %s', (config, message) => {
  expect(schema.safeParse(config).error?.issues[0]?.message).toBe(message);
});

test.each(['application/json', 'application/fhir+json', 'multipart/form-data', 'application/x-www-form-urlencoded', 'text/*', 'Text/xml'])('the type %s cannot be left unread beside a query', (type) => {
  expect(schema.safeParse({ query: 'a', unread: [type] }).error?.issues[0]?.message).toMatch(/^expected a media type such as application\/dicom/);
});
