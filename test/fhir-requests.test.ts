import { describe, expect, test } from 'vitest';
import { judgeBody } from '../src/policy/fhir/body.ts';
import { judgeAnswer } from '../src/policy/fhir/bundle.ts';
import { patientOf, type Compartment, type Objection } from '../src/policy/fhir/compartment.ts';
import { readJson } from '../src/policy/fhir/json.ts';
import { judgeFields, judgeRequest, patientAsked } from '../src/policy/fhir/request.ts';
import type { SearchRules } from '../src/policy/fhir/query.ts';

const compartment: Compartment = { patient: 'A', host: 'api.test', base: '/fhir', bases: ['ehr.internal/r4'], shared: new Set(['Practitioner', 'Organization', 'Medication']) };
const rules: SearchRules = { compartment, pages: new Set(['_getpages', '_getpagesoffset']) };

/** `GET Patient/A?x=y` below the base; the path is written decoded. */
function judge(request: string): 'within' | Objection['reason'] {
  const [method = '', url = ''] = request.split(' ');
  const mark = url.indexOf('?');
  const path = mark === -1 ? url : url.slice(0, mark);
  const judged = judgeRequest({ method, segments: path === '' ? [] : path.split('/'), query: mark === -1 ? '' : url.slice(mark + 1) }, rules);
  return judged.kind === 'objection' ? judged.reason : 'within';
}

describe('a request is within the compartment', () => {
  test.each([
    'GET metadata', 'GET metadata?mode=full&_format=json', 'GET Patient/A', 'GET Patient/A?_summary=true', 'GET Patient/A/_history', 'GET Patient/A/_history/2', 'GET Patient?_id=A', 'GET Patient?_id=A&name=x',
    'GET Patient/A/$everything', 'GET Patient/A/$everything?_summary=data&_format=json&_count=50', 'GET Patient/A/Observation?_count=50', 'GET Patient/A/$summary', 'GET Patient/A/Observation', 'GET Patient/A/Observation?patient=A&_sort=-date&_count=5', 'GET Patient/A/Encounter?_sort=-date&_count=5', 'GET Patient/A/Observation?patient=A&code=8480-6', 'GET Patient/A/Encounter?status=finished', 'GET Patient/A/*',
    'GET Observation?patient=A', 'GET Observation?patient=Patient/A', 'GET Observation?subject=Patient/A', 'GET Observation?subject:Patient=A', 'GET Observation?subject%3APatient=A', 'GET Observation?patient=A&performer=Patient/A', 'GET Appointment?actor=Patient/A',
    'GET Observation?patient=https://api.test/fhir/Patient/A', 'GET Observation?patient=https://api.test:8443/fhir/Patient/A', 'GET Observation?patient=https://ehr.internal/r4/Patient/A',
    'GET Observation?patient=A&code=http://loinc.org|8480-6&date=ge2026-01-01&_sort=-date&_count=10&_total=accurate', 'GET Observation?patient=A&code:not=x&value-quantity=gt5', 'GET Observation?patient=A&category:missing=true',
    'GET Observation?patient=A&performer=Practitioner/1', 'GET Observation?patient=A&performer:Practitioner=1', 'GET Observation?patient=A&performer:Practitioner.name=House',
    'GET Observation?patient=A&_include=Observation:performer', 'GET Observation?patient=A&_include=*', 'GET Observation?patient=A&_revinclude=Provenance:target', 'GET Patient?_id=A&_revinclude:iterate=Observation:subject',
    'GET Observation?patient=A&_format=application%2Ffhir%2Bjson', 'GET Observation?patient=A&_format=json', 'GET Observation?patient=A&_tag=x|y&_profile=http://x', 'GET Coverage?beneficiary=A&policy-holder=Patient/A', 'GET Encounter?patient=A',
    'GET Observation/1', 'GET Observation/1/_history', 'GET Observation/1/_history/1', 'GET Practitioner/1', 'GET Practitioner?name=x', 'GET Medication?code=x', 'GET ?_getpages=1b2c&_getpagesoffset=10&_count=10','GET Observation?patient=A&_getpages=1',
    'POST Observation', 'POST Observation/_search', 'POST ', 'PUT Patient/A', 'DELETE Patient/A',
  ])('%s', (request) => {
    expect(judge(request)).toBe('within');
  });
});

describe('a request is refused that names another patient', () => {
  test.each([
    'GET Patient/B', 'GET Patient/a', 'GET Patient/A.', 'GET Patient/B/_history', 'GET Patient/B/_history/1', 'GET Patient/B/$everything', 'GET Patient/B/Observation', 'GET Patient?_id=B', 'GET Patient?_id=A,B', 'GET Patient?_id=A&_id=B', 'GET Patient?_id=',
    'GET Observation?patient=B', 'GET Observation?patient=A,B', 'GET Observation?patient=A&patient=B', 'GET Observation?patient=Patient/B', 'GET Observation?subject=Patient/B', 'GET Observation?subject=Patient/A,Patient/B',
    'GET Observation?patient=A&subject=Patient/B', 'GET Observation?patient=A&performer=Patient/B', 'GET Observation?patient=A&performer=Practitioner/1,Patient/B', 'GET Observation?subject:Patient=B', 'GET Observation?patient=', 'GET Observation?patient=A%20',
    'GET Observation?patient=https://other.test/fhir/Patient/A', 'GET Observation?patient=https://api.test/other/Patient/A', 'GET Observation?patient=https://api.test/fhir/Patient/B', 'GET Observation?patient=A&focus=Patient/B',
    'GET Observation?patient=Patient%2FB', 'GET Observation?patien%74=B', 'GET Observation?patient=Patient/A/../B', 'GET Observation?patient=patient/A', 'GET Patient/A/Observation?patient=B', 'PUT Patient/B', 'DELETE Patient/B',
  ])('%s', (request) => {
    expect(judge(request)).toBe('patient_mismatch');
  });
});

describe('a search is refused that names no patient', () => {
  test.each([
    'GET Observation', 'GET Observation?code=x', 'GET Patient', 'GET Patient?name=Eve', 'GET Patient?identifier=123', 'GET Patient?link=Patient/A', 'GET Observation?subject=A', 'GET Observation?performer=Practitioner/1', 'GET Observation?performer=Patient/A', 'GET Patient/A/Observation?code=8480-6', 'GET Patient/A/Observation?_sort=code&_count=1', 'GET Patient/A/Observation?_sort=code', 'GET Patient/A/*?_sort=_lastUpdated', 'GET Patient/A/Observation?_total=accurate',
    'GET Observation?constructor=Patient/A&_summary=count', 'GET Observation?toString=Patient/A', 'GET Observation?valueOf=Patient/A',
    'GET Encounter?_count=100', 'GET Observation?_getpages=1', 'GET Observation?_getpages=1&_id=1', 'GET ?_type=Observation', 'GET ', 'GET Observation?_id=1', 'GET Observation?Patient=A'.replace('Patient=A', '_count=1'),
  ])('%s', (request) => {
    expect(judge(request)).toBe('patient_missing');
  });
});

describe('a request of a shape is refused that cannot be told to stay within', () => {
  test.each([
    'GET Observation?patient.name=Eve', 'GET Observation?patient.identifier=123', 'GET Observation?subject:Patient.name=Eve', 'GET Observation?patient=A&subject:Patient.name=Eve', 'GET Observation?patient=A&encounter.subject=Patient/B', 'GET Observation?patient=A&performer:Practitioner.organization.name=x',
    'GET Patient?_has:Observation:patient:code=1', 'GET Patient?_id=A&_has:Observation:patient:code=1', 'GET Observation?patient=A&_filter=patient eq B'.replaceAll(' ', '%20'), 'GET Observation?patient=A&_query=all', 'GET Observation?patient=A&_list=1', 'GET Observation?patient=A&_contained=true', 'GET Observation?patient=A&_containedType=contained',
    'GET Observation?patient:not=B', 'GET Observation?patient:missing=true', 'GET Observation?patient=A&patient:missing=false', 'GET Observation?patient:identifier=123', 'GET Observation?subject:identifier=123', 'GET Observation?patient=A&subject:identifier=x', 'GET Observation?patient:mdm=A', 'GET Observation?subject:above=Patient/A',
    'GET Observation?PATIENT=A', 'GET Observation?patient[]=A', 'GET Observation?patient%5B%5D=A', 'GET Observation?patient=A;patient=B', 'GET Observation?patient=%E0%A4%A', 'GET Observation?patient=%FF', 'GET Observation?patient=A%00', 'GET Observation?=A', 'GET Observation?patient=A&_format=xml', 'GET Observation?patient=A&_format=application/fhir%2Bxml', 'GET Observation?patient=A&_format=text/turtle',
    'GET Observation?patient=A&_format=application/fhir%2Bjson;fhirVersion=3.0'.replace(';', '%3B'), 'GET Observation?patient=A&_include=Patient', 'GET Observation?patient=A&_include=Observation:subject:Patient:x', 'GET Observation?patient=A&_include:all=Observation:subject', 'GET Practitioner?_revinclude=Observation:performer', 'GET Practitioner?_has:Observation:performer:code=1', 'GET Observation?patient=A&code:Patient=B',
    'GET Group/1', 'GET Group?member=Patient/A', 'GET Binary/1', 'GET Bundle/1', 'GET Task?patient=A', 'GET Device/1', 'GET Parameters/1', 'GET Basket/1', 'GET observation/1', 'GET Observation/', 'GET Observation/1/', 'GET Patient/A/Group', 'GET Patient/A/Patient', 'GET Patient/A/Practitioner', 'GET Encounter/1/Observation', 'GET Practitioner/1/Observation',
    'GET Patient/$everything', 'GET Patient/A/$export', 'GET Patient/A/$match', 'GET Patient/$match', 'GET $export', 'GET Group/1/$export', 'GET Observation/$lastn?patient=A', 'GET Observation/1/$meta', 'GET _history', 'GET Observation/_history', 'GET Patient/_history', 'GET Observation/_search?patient=A', 'GET Patient/A/Observation/1', 'GET Patient/A/Observation/_history',
    'GET Observation?patient=A&pATIENT=B', 'GET Observation?patient=A&sUbject=Patient/B',
    'GET ?_getpages=1&code=x', 'GET ?_getpages=1&_id=1',
    'GET Observation/1?patient=A', 'GET Patient/A?_include=Patient:link', 'GET Patient/A/$everything?patient=B', 'GET Patient/A/$everything?_type=Observation', 'GET Patient/A/$everything?start=2026-01-01&end=2026-02-01', 'GET Patient/A/$everything?_since=2026-01-01', 'GET Patient/A/$everything?_sort=code', 'GET Patient/A/_history?_list=1',
    'POST Patient', 'POST Patient/A', 'POST Patient/$match', 'POST Patient/A/$everything', 'POST Group', 'POST Practitioner', 'POST _search', 'POST Observation/1', 'POST Observation?patient=A', 'POST $process-message', 'POST ?_type=Observation', 'POST Patient/A/Observation/_search',
    'PUT Observation/1', 'PUT Observation?patient=A', 'PUT Patient', 'PUT Patient?_id=A', 'PUT Patient/A/_history/1', 'PATCH Patient/A', 'PATCH Observation/1', 'PATCH Observation?patient=A', 'DELETE Observation/1', 'DELETE Observation?patient=A', 'DELETE Patient?_id=A', 'DELETE Patient/A?_cascade=delete', 'HEAD Patient/A', 'HEAD Observation/1', 'OPTIONS metadata', 'TRACE Patient/A',
  ])('%s', (request) => {
    expect(judge(request)).toBe('patient_unknown_shape');
  });
});

test.each([
  ['Patient/A', 'own'], ['Patient/A/_history/1', 'own'], ['https://api.test/fhir/Patient/A', 'own'], ['http://API.test:8080/fhir/Patient/A/_history/3', 'own'], ['https://ehr.internal/r4/Patient/A', 'own'],
  ['Practitioner/B', 'none'], ['#p1', 'none'], ['urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0', 'none'], ['https://other.test/Observation/1', 'none'], ['RelatedPerson/B', 'none'],
  ['Patient/B', 'other'], ['Patient/A/', 'other'], ['Patient/A#x', 'other'], ['Patient/A?x', 'other'], ['/Patient/A', 'other'], ['./Patient/A', 'other'], ['patient/A', 'other'], ['PATIENT/B', 'other'], ['Patient?identifier=1', 'other'], ['Patient|A', 'other'], ['Patient%2FA', 'other'], ['Patient\\A', 'other'],
  ['Observation/../Patient/B', 'other'], ['https://api.test/fhir/../x/fhir/Patient/A', 'other'], ['https://api.test/Patient/A', 'other'], ['https://api.test@evil.test/fhir/Patient/A', 'other'], ['https://evil.test/?https://api.test/fhir/Patient/A', 'other'], ['https://api.test.evil.test/fhir/Patient/A', 'other'], [' Patient/A', 'other'], ['Patient/A ', 'other'], ['Patient/A\n', 'other'], [`https://api.test/fhir${'/Patient'.repeat(1_000)}/A`, 'other'],
] as const)('the reference %j is %s', (reference, whose) => {
  expect(patientOf(reference, compartment)).toBe(whose);
});

function answer(value: unknown): 'within' | Objection['reason'] {
  const read = readJson(Buffer.from(JSON.stringify(value)));
  if (read.kind === 'objection') return read.reason;
  return judgeAnswer(read, compartment)?.reason ?? 'within';
}

const mine = { reference: 'Patient/A' };
const theirs = { reference: 'Patient/B' };

describe('a resource in an answer', () => {
  test.each<[string, unknown]>([
    ['the patient', { resourceType: 'Patient', id: 'A', name: [{ family: 'x' }] }],
    ['the patient, linked to a duplicate', { resourceType: 'Patient', id: 'A', link: [{ other: theirs, type: 'seealso' }] }],
    ['an observation about them', { resourceType: 'Observation', subject: mine, performer: [{ reference: 'Practitioner/1' }] }],
    ['an observation by them about nobody', { resourceType: 'Observation', performer: [mine] }],
    ['an observation about them that another asserted', { resourceType: 'Condition', subject: mine, asserter: theirs, extension: [{ url: 'x', valueReference: theirs }] }],
    ['an observation about a place by them', { resourceType: 'Observation', subject: { reference: 'Location/1' }, performer: [mine] }],
    ['a policy of somebody else that covers them', { resourceType: 'Coverage', beneficiary: mine, policyHolder: theirs, payor: [theirs] }],
    ['an appointment of theirs', { resourceType: 'Appointment', participant: [{ actor: { reference: 'Practitioner/1' } }, { actor: mine }] }],
    ['a medication request with what it contains', { resourceType: 'MedicationRequest', subject: mine, contained: [{ resourceType: 'Medication', id: 'm' }, { resourceType: 'Condition', id: 'c', subject: mine }] }],
    ['a practitioner', { resourceType: 'Practitioner', id: '1' }], ['an outcome', { resourceType: 'OperationOutcome', issue: [] }], ['a capability statement', { resourceType: 'CapabilityStatement', rest: [{ mode: 'server' }] }],
    ['a Bundle of theirs', { resourceType: 'Bundle', type: 'searchset', total: 1, link: [{ relation: 'self', url: 'x' }], entry: [{ fullUrl: 'https://api.test/fhir/Observation/1', resource: { resourceType: 'Observation', subject: mine }, search: { mode: 'match' } }] }],
    ['an answer to a batch', { resourceType: 'Bundle', type: 'batch-response', entry: [{ resource: { resourceType: 'Bundle', type: 'searchset', entry: [{ resource: { resourceType: 'Observation', subject: mine } }] }, response: { status: '200' } }, { response: { status: '201', location: 'Observation/5/_history/1', etag: 'W/"1"' } }] }],
    ['a history', { resourceType: 'Bundle', type: 'history', entry: [{ fullUrl: 'https://api.test/fhir/Patient/A', resource: { resourceType: 'Patient', id: 'A' }, request: { method: 'PUT', url: 'Patient/A' }, response: { status: '200' } }] }],
  ])('passes: %s', (_, value) => {
    expect(answer(value)).toBe('within');
  });

  test.each<[string, unknown, Objection['reason']]>([
    ['another patient', { resourceType: 'Patient', id: 'B' }, 'patient_mismatch'],
    ['a patient without an id', { resourceType: 'Patient' }, 'patient_mismatch'],
    ['a patient linked to this one', { resourceType: 'Patient', id: 'B', link: [{ other: mine }] }, 'patient_mismatch'],
    ['an observation about another', { resourceType: 'Observation', subject: theirs }, 'patient_mismatch'],
    ['an observation about another by this patient', { resourceType: 'Observation', subject: theirs, performer: [mine] }, 'patient_mismatch'],
    ['an observation about somebody without a reference, by this patient', { resourceType: 'Observation', subject: { identifier: { value: '123' } }, performer: [mine] }, 'patient_unknown_shape'],
    ['an observation about nobody by both', { resourceType: 'Observation', performer: [mine, theirs] }, 'patient_mismatch'],
    ['an observation about this patient and another', { resourceType: 'Observation', subject: [mine, theirs] }, 'patient_mismatch'],
    ['an observation about an entry of some name, by this patient', { resourceType: 'Observation', subject: { reference: 'urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0' }, performer: [mine] }, 'patient_unknown_shape'],
    ['an observation about what it contains, by this patient', { resourceType: 'Observation', subject: { reference: '#g' }, performer: [mine], contained: [{ resourceType: 'Organization', id: 'g' }] }, 'patient_unknown_shape'],
    ['a policy that this patient pays for another', { resourceType: 'Coverage', beneficiary: theirs, policyHolder: mine }, 'patient_mismatch'],
    ['an observation about nobody', { resourceType: 'Observation' }, 'patient_missing'],
    ['an observation about somebody with an identifier', { resourceType: 'Observation', subject: { identifier: { value: 'A' } } }, 'patient_unknown_shape'],
    ['an observation about a contained patient', { resourceType: 'Observation', subject: { reference: '#p' }, contained: [{ resourceType: 'Patient', id: 'p' }] }, 'patient_unknown_shape'],
    ['an observation that contains a patient', { resourceType: 'Observation', subject: mine, contained: [{ resourceType: 'Patient', id: 'A' }] }, 'patient_unknown_shape'],
    ['an observation that contains another patient\'s', { resourceType: 'Observation', subject: mine, contained: [{ resourceType: 'Observation', subject: theirs }] }, 'patient_mismatch'],
    ['an observation that contains what contains', { resourceType: 'Observation', subject: mine, contained: [{ resourceType: 'Observation', subject: mine, contained: [] }] }, 'patient_unknown_shape'],
    ['an observation with another resource in it', { resourceType: 'Observation', subject: mine, note: [{ resourceType: 'Patient', id: 'B' }] }, 'patient_unknown_shape'],
    ['an appointment with another', { resourceType: 'Appointment', participant: [{ actor: mine }, { actor: theirs }] }, 'patient_mismatch'],
    ['a group with this patient alone', { resourceType: 'Group', member: [{ entity: mine }] }, 'patient_unknown_shape'],
    ['a list of another that this patient made', { resourceType: 'List', subject: theirs, source: mine }, 'patient_mismatch'],
    ['a task', { resourceType: 'Task', for: mine }, 'patient_unknown_shape'], ['a device', { resourceType: 'Device', patient: mine }, 'patient_unknown_shape'], ['a binary', { resourceType: 'Binary', data: '' }, 'patient_unknown_shape'],
    ['parameters', { resourceType: 'Parameters', parameter: [{ resource: { resourceType: 'Patient', id: 'A' } }] }, 'patient_unknown_shape'], ['a type that FHIR does not have', { resourceType: 'Diary', subject: mine }, 'patient_unknown_shape'],
    ['no type', { subject: mine }, 'patient_unknown_shape'], ['a type that is a list', { resourceType: ['Patient'], id: 'A' }, 'patient_unknown_shape'], ['a practitioner who refers to another patient', { resourceType: 'Practitioner', extension: [{ valueReference: theirs }] }, 'patient_mismatch'],
    ['a Bundle with another\'s entry', { resourceType: 'Bundle', type: 'searchset', entry: [{ resource: { resourceType: 'Observation', subject: mine } }, { resource: { resourceType: 'Observation', subject: theirs }, search: { mode: 'include' } }] }, 'patient_mismatch'],
    ['a Bundle with another\'s address', { resourceType: 'Bundle', type: 'searchset', entry: [{ fullUrl: 'https://api.test/fhir/Patient/B', resource: { resourceType: 'Patient', id: 'A' } }] }, 'patient_mismatch'],
    ['a history with what was deleted', { resourceType: 'Bundle', type: 'history', entry: [{ request: { method: 'DELETE', url: 'Observation/1' }, response: { status: '204' } }] }, 'patient_unknown_shape'],
    ['an answer to a batch with another\'s', { resourceType: 'Bundle', type: 'batch-response', entry: [{ resource: { resourceType: 'Bundle', type: 'searchset', entry: [{ resource: { resourceType: 'Observation', subject: theirs } }] } }] }, 'patient_mismatch'],
    ['a Bundle three deep', { resourceType: 'Bundle', type: 'collection', entry: [{ resource: { resourceType: 'Bundle', type: 'collection', entry: [{ resource: { resourceType: 'Bundle', type: 'collection' } }] } }] }, 'patient_unknown_shape'],
    ['an outcome that is a patient', { resourceType: 'Bundle', type: 'batch-response', entry: [{ response: { status: '200', outcome: { resourceType: 'Patient', id: 'A' } } }] }, 'patient_unknown_shape'],
    ['a location that is another patient', { resourceType: 'Bundle', type: 'batch-response', entry: [{ response: { status: '201', location: 'Patient/B/_history/1' } }] }, 'patient_mismatch'],
    ['a signature by another', { resourceType: 'Bundle', type: 'searchset', signature: { who: theirs } }, 'patient_mismatch'],
    ['an entry with a member of its own', { resourceType: 'Bundle', type: 'searchset', entry: [{ resources: [] }] }, 'patient_unknown_shape'],
    ['no resource at all', 'Patient/B', 'patient_unknown_shape'], ['null', null, 'patient_unknown_shape'],
  ])('is refused: %s', (_, value, reason) => {
    expect(answer(value)).toBe(reason);
  });
});

describe('of an answer that may lack elements', () => {
  const partial = (request: string): boolean => {
    const [method = '', url = ''] = request.split(' ');
    const [path = '', query = ''] = url.split('?');
    const judged = judgeRequest({ method, segments: path === '' ? [] : path.split('/'), query }, rules);
    return judged.kind === 'within' && judged.partial;
  };
  const judgePart = (value: unknown): string => {
    const read = readJson(Buffer.from(JSON.stringify(value)));
    return read.kind === 'objection' ? read.reason : judgeAnswer(read, { ...compartment, shared: new Set(['Device']), partial: true })?.reason ?? 'within';
  };

  test.each(['GET Observation/1?_elements=performer', 'GET Observation?patient=A&_elements=performer', 'GET Patient/A/Observation?_summary=true', 'GET CommunicationRequest?subject=Patient/A&_summary=text', 'GET ?_getpages=1', 'POST ', 'POST Observation/_search'])('%s asks for one', (request) => {
    expect(partial(request)).toBe(true);
  });

  test.each(['GET Observation/1', 'GET Observation?patient=A&_count=5', 'GET Observation?patient=A&_summary=data', 'GET Observation?patient=A&_summary=count', 'GET Observation?patient=A&_summary=false'])('%s does not', (request) => {
    expect(partial(request)).toBe(false);
  });

  test('who had a part in it is not enough: whom it is about may have been left out', () => {
    expect(judgePart({ resourceType: 'Observation', performer: [mine] })).toBe('patient_unknown_shape');
    expect(judgePart({ resourceType: 'AuditEvent', agent: [{ who: mine }] })).toBe('patient_unknown_shape');
    expect(judgePart({ resourceType: 'Observation', subject: mine })).toBe('within');
    expect(judgePart({ resourceType: 'Appointment', participant: [{ actor: mine }] })).toBe('within');
    expect(answer({ resourceType: 'Observation', meta: { tag: [{ code: 'SUBSETTED' }] }, performer: [mine] })).toBe('patient_unknown_shape');
  });

  test('a shared device must say whose it is', () => {
    expect(judgePart({ resourceType: 'Device', serialNumber: '1' })).toBe('patient_unknown_shape');
    expect(judgePart({ resourceType: 'Device', patient: mine })).toBe('within');
  });
});

test.each([['Device?patient=B', 'patient_mismatch'], ['Device?patient=Patient/B', 'patient_mismatch'], ['Device?patient:missing=false', 'patient_unknown_shape'], ['Device?patient=A', 'within'], ['Device?type=x', 'within']])('where devices are shared, a search by %s is %s', (url, expected) => {
  const [path = '', query = ''] = url.split('?');
  const judged = judgeRequest({ method: 'GET', segments: [path], query }, { ...rules, compartment: { ...compartment, shared: new Set(['Device']) } });
  expect(judged.kind === 'objection' ? judged.reason : 'within').toBe(expected);
});

function body(request: string, value: unknown, type = 'application/fhir+json'): 'within' | Objection['reason'] {
  const [method = '', path = ''] = request.split(' ');
  const [name = '', query = ''] = path.split('?');
  const judged = judgeRequest({ method, segments: name === '' ? [] : name.split('/'), query }, rules);
  if (judged.kind === 'objection') return judged.reason;
  return judgeBody(judged.body, type, Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)), rules)?.reason ?? 'within';
}

const batch = (...entry: unknown[]): unknown => ({ resourceType: 'Bundle', type: 'batch', entry });
const ask = (method: string, url: string, resource?: unknown, more: object = {}): unknown => ({ request: { method, url, ...more }, ...(resource === undefined ? {} : { resource }) });

describe('the body of a request', () => {
  test.each<[string, string, unknown, string?]>([
    ['a new observation', 'POST Observation', { resourceType: 'Observation', subject: mine }],
    ['a new observation as plain JSON', 'POST Observation', { resourceType: 'Observation', subject: mine }, 'application/json; charset=utf-8'],
    ['the patient', 'PUT Patient/A', { resourceType: 'Patient', id: 'A', telecom: [] }],
    ['a search', 'POST Observation/_search', 'patient=A&code=x', 'application/x-www-form-urlencoded'],
    ['a search with the patient in the query', 'POST Observation/_search?patient=A', 'code=x', 'application/x-www-form-urlencoded; charset=UTF-8'],
    ['a batch', 'POST ', batch(ask('GET', 'Patient/A'), ask('GET', 'Observation?patient=A&_count=5'), ask('POST', 'Observation', { resourceType: 'Observation', subject: mine }))],
    ['nothing where nothing is expected', 'GET Patient/A', ''],
  ])('passes: %s', (_, request, value, type) => {
    expect(body(request, value, type)).toBe('within');
  });

  test.each<[string, string, unknown, Objection['reason'], string?]>([
    ['another patient\'s observation', 'POST Observation', { resourceType: 'Observation', subject: theirs }, 'patient_mismatch'],
    ['an observation of both', 'POST Observation', { resourceType: 'Observation', subject: mine, performer: [theirs] }, 'patient_mismatch'],
    ['an observation of a patient found by identifier', 'POST Observation', { resourceType: 'Observation', subject: { reference: 'Patient?identifier=1' } }, 'patient_mismatch'],
    ['an observation whose subject is written twice', 'POST Observation', '{"resourceType":"Observation","subject":{"reference":"Patient/B"},"subject":{"reference":"Patient/A"}}', 'patient_unknown_shape'],
    ['an observation whose subject is written twice in two cases', 'POST Observation', '{"resourceType":"Observation","subject":{"reference":"Patient/A"},"Subject":{"reference":"Patient/B"}}', 'patient_unknown_shape'],
    ['an observation whose subject is written in another case', 'POST Observation', { resourceType: 'Observation', sUbject: { rEference: 'Patient/B' }, performer: [mine] }, 'patient_unknown_shape'],
    ['an observation whose reference is written in another case', 'POST Observation', { resourceType: 'Observation', performer: [mine], focus: [{ Reference: 'Patient/B' }] }, 'patient_unknown_shape'],
    ['another resource than the path says', 'POST Observation', { resourceType: 'Condition', subject: mine }, 'patient_unknown_shape'],
    ['a list of resources', 'POST Observation', [{ resourceType: 'Observation', subject: mine }], 'patient_unknown_shape'],
    ['another patient in place of this one', 'PUT Patient/A', { resourceType: 'Patient', id: 'B' }, 'patient_mismatch'],
    ['the patient, linked to another', 'PUT Patient/A', { resourceType: 'Patient', id: 'A', link: [{ other: theirs, type: 'replaces' }] }, 'patient_mismatch'],
    ['XML', 'POST Observation', '<Observation/>', 'patient_unknown_shape', 'application/fhir+xml'],
    ['JSON that calls itself something else', 'POST Observation', { resourceType: 'Observation', subject: mine }, 'patient_unknown_shape', 'text/plain'],
    ['JSON of another edition', 'POST Observation', { resourceType: 'Observation', subject: mine }, 'patient_unknown_shape', 'application/fhir+json; fhirVersion=5.0'],
    ['a search for another', 'POST Observation/_search', 'patient=B', 'patient_mismatch', 'application/x-www-form-urlencoded'],
    ['a search for both, one in the query', 'POST Observation/_search?patient=A', 'patient=B', 'patient_mismatch', 'application/x-www-form-urlencoded'],
    ['a search that names none', 'POST Observation/_search', 'code=x', 'patient_missing', 'application/x-www-form-urlencoded'],
    ['a search as JSON', 'POST Observation/_search', '{"patient":"A"}', 'patient_unknown_shape', 'application/json'],
    ['a search with raw octets', 'POST Observation/_search', 'patient=A&code=\u00e9', 'patient_unknown_shape', 'application/x-www-form-urlencoded'],
    ['a body that a read does not have', 'GET Patient/A', 'patient=B', 'patient_unknown_shape', 'application/x-www-form-urlencoded'],
    ['a batch with a read of another', 'POST ', batch(ask('GET', 'Patient/A'), ask('GET', 'Patient/B')), 'patient_mismatch'],
    ['a batch with a search of another', 'POST ', batch(ask('GET', 'Observation?patient=B')), 'patient_mismatch'],
    ['a batch with a search of all', 'POST ', batch(ask('GET', 'Observation')), 'patient_missing'],
    ['a batch with an address of its own', 'POST ', batch(ask('GET', 'https://api.test/fhir/Patient/A')), 'patient_unknown_shape'],
    ['a batch with a path from the root', 'POST ', batch(ask('GET', '/Patient/A')), 'patient_unknown_shape'],
    ['a batch with a search that ends for some before the patient is named', 'POST ', batch(ask('GET', 'Observation?code=x&_summary=count#&patient=A')), 'patient_unknown_shape'],
    ['a batch with characters that have more than one reading', 'POST ', batch(ask('GET', 'Observation?code="\\<x>"&patient=A')), 'patient_unknown_shape'],
    ['an observation that refers to what a search finds', 'POST Observation', { resourceType: 'Observation', subject: mine, derivedFrom: [{ reference: 'Observation?patient=B&code=hiv' }] }, 'patient_unknown_shape'],
    ['a transaction that refers to what a search finds', 'POST ', { resourceType: 'Bundle', type: 'transaction', entry: [ask('POST', 'Observation', { resourceType: 'Observation', subject: mine, encounter: { reference: 'https://api.test/fhir/Encounter?class=IMP&subject=B' } })] }, 'patient_unknown_shape'],
    ['an observation of a patient by identifier beside a reference', 'POST Observation', { resourceType: 'Observation', subject: mine, performer: [{ type: 'Patient', identifier: { value: 'mrn-B' } }] }, 'patient_unknown_shape'],
    ['a batch with dots', 'POST ', batch(ask('GET', 'Patient/A/../B')), 'patient_unknown_shape'],
    ['a batch with an encoded path', 'POST ', batch(ask('GET', 'Patient/%42')), 'patient_unknown_shape'],
    ['a batch with another\'s resource', 'POST ', batch(ask('POST', 'Observation', { resourceType: 'Observation', subject: theirs })), 'patient_mismatch'],
    ['a batch with a conditional create', 'POST ', batch(ask('POST', 'Observation', { resourceType: 'Observation', subject: mine }, { ifNoneExist: 'patient=B' })), 'patient_unknown_shape'],
    ['a batch with an update', 'POST ', batch(ask('PUT', 'Observation/1', { resourceType: 'Observation', id: '1', subject: mine })), 'patient_unknown_shape'],
    ['a batch with a deletion', 'POST ', batch(ask('DELETE', 'Observation/1')), 'patient_unknown_shape'],
    ['a batch with a batch', 'POST ', batch(ask('POST', '', batch())), 'patient_unknown_shape'],
    ['a batch with a search by POST', 'POST ', batch(ask('POST', 'Observation/_search')), 'patient_unknown_shape'],
    ['a batch with a full URL that is an address', 'POST ', batch({ fullUrl: 'https://api.test/fhir/Patient/A', ...(ask('GET', 'Patient/A') as object) }), 'patient_unknown_shape'],
    ['a transaction that makes a patient', 'POST ', { resourceType: 'Bundle', type: 'transaction', entry: [ask('POST', 'Patient', { resourceType: 'Patient' })] }, 'patient_unknown_shape'],
    ['a message', 'POST ', { resourceType: 'Bundle', type: 'message', entry: [] }, 'patient_unknown_shape'],
    ['a document', 'POST ', { resourceType: 'Bundle', type: 'document', entry: [] }, 'patient_unknown_shape'],
    ['no Bundle', 'POST ', { resourceType: 'Observation', subject: mine }, 'patient_unknown_shape'],
  ])('is refused: %s', (_, request, value, reason, type) => {
    expect(body(request, value, type)).toBe(reason);
  });
});

describe('header fields', () => {
  test.each([
    [['accept', 'application/fhir+json']], [['accept', '*/*']], [['accept', 'application/fhir+xml;q=0.5, application/fhir+json']], [['Accept', 'application/*']], [[]], [['accept', 'application/fhir+json; fhirVersion=4.0']],
  ])('pass: %j', (fields) => {
    expect(judgeFields(fields)).toBeUndefined();
  });

  test.each([
    [['accept', 'application/fhir+xml']], [['Accept', 'text/html']], [['accept', 'application/fhir+ndjson']], [['accept', 'application/fhir+json; fhirVersion=5.0']], [['If-None-Exist', 'patient=A']], [['If_None_Exist', 'patient=A']], [['X-Cascade', 'delete']], [['X-Rewrite-History', 'true']], [['X-Provenance', '{}']], [['content-encoding', 'gzip']], [['Upgrade', 'websocket']], [['content-type', 'application/json', 'Content-Type', 'application/fhir+xml']],
  ])('are refused: %j', (fields) => {
    expect(judgeFields(fields)?.reason).toBe('patient_unknown_shape');
  });
});

test.each([
  [['Patient', 'B'], '', 'B'], [['Patient', 'B', 'Observation'], '', 'B'], [['Observation'], 'patient=B', 'B'], [['Observation'], 'subject=Patient/B&code=x', 'B'], [['Observation'], 'subject:Patient=B', 'B'], [['Patient'], '_id=B', 'B'],
  [['Observation'], 'patient=B&patient=C', undefined], [['Observation'], 'code=x', undefined], [['Observation', '1'], '', undefined], [['Observation'], 'patient=B,C', undefined], [[], '', undefined],
])('of a request with the path %j and the query %j the patient %j goes on record', (segments, query, patient) => {
  expect(patientAsked({ method: 'GET', segments, query })).toBe(patient);
});
