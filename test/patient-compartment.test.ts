import type { ClientHttp2Session } from 'node:http2';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { RECORDS, secretOf, startFhirBackend, type FhirBackend } from './support/fhir.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

const [EVE, BOB] = ['1001', '1002'];

interface Asked {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

const json = { 'content-type': 'application/fhir+json' };
const form = { 'content-type': 'application/x-www-form-urlencoded' };
const write = (method: string, path: string, resource: unknown, headers: Record<string, string> = {}): Asked => ({ method, path, headers: { ...json, ...headers }, body: JSON.stringify(resource) });
const batch = (...entry: readonly (readonly [method: string, url: string, resource?: unknown])[]): Asked => write('POST', '/fhir/', {
  resourceType: 'Bundle', type: 'batch', entry: entry.map(([method, url, resource]) => ({ request: { method, url }, ...(resource === undefined ? {} : { resource }) })),
});
const own = (patient: string, resourceType: string, element = 'subject'): object => ({ resourceType, [element]: { reference: `Patient/${patient}` }, note: secretOf(patient) });

/** What asks for the data of `patient` in the ways that are the patient's own right, each with its name. */
function rightful(patient: string): readonly (readonly [string, Asked])[] {
  const id = (type: string): string => `${type}-${patient}`.toLowerCase();
  const paths = [
    `Patient/${patient}`, `Patient/${patient}/_history`, `Patient/${patient}/_history/1`, `Patient?_id=${patient}`, `Patient?_id=${patient}&name=Family`, `Patient/${patient}/$everything`, `Patient/${patient}/$everything?_count=50&_summary=data`, `Patient/${patient}/$summary`,
    `Patient/${patient}/*`, ...RECORDS.map(([type]) => `Patient/${patient}/${type}`), ...RECORDS.map(([type]) => `${type}/${id(type)}`), ...RECORDS.slice(0, 4).map(([type]) => `${type}/${id(type)}/_history`), ...RECORDS.slice(0, 4).map(([type]) => `${type}/${id(type)}/_history/1`),
    ...RECORDS.map(([type]) => `${type}?patient=${patient}`), `Observation?patient=Patient/${patient}`, `Observation?subject=Patient/${patient}`, `Observation?subject:Patient=${patient}`, `Observation?subject%3APatient=${patient}`, `Observation?patient=https://localhost/fhir/Patient/${patient}`,
    `Observation?patient=${patient}&code=pressure`, `Observation?patient=${patient}&_id=${id('Observation')}`, `Observation?patient=${patient}&_sort=-date&_count=5&_total=accurate`, `Coverage?beneficiary=${patient}`, `Appointment?actor=Patient/${patient}`, `Provenance?target=Patient/${patient}`,
    `MedicationRequest?patient=${patient}&_include=MedicationRequest:medication`, `Observation?patient=${patient}&_include=Observation:subject&_include=Observation:performer`, `Observation?patient=${patient}&_include=*`, `Patient?_id=${patient}&_revinclude=Observation:subject`,
    `Observation?patient=${patient}&_revinclude=List:item`, `List?patient=${patient}`, `Observation?patient=${patient}&_format=json`, `Observation?patient=${patient}&_format=application%2Ffhir%2Bjson`, `?_getpages=${patient}`,
  ];
  return [
    ...paths.map((path): readonly [string, Asked] => [`GET ${path}`, { path: `/fhir/${path}` }]),
    ['a search by POST', { method: 'POST', path: '/fhir/Observation/_search', headers: form, body: `patient=${patient}&code=pressure` }],
    ['a search by POST with the patient in the query', { method: 'POST', path: `/fhir/Observation/_search?patient=${patient}`, headers: form, body: 'code=pressure' }],
    ['a new observation', write('POST', '/fhir/Observation', own(patient, 'Observation'))],
    ['a new questionnaire response', write('POST', '/fhir/QuestionnaireResponse', own(patient, 'QuestionnaireResponse'), { prefer: 'return=representation' })],
    ['an update of the patient', write('PUT', `/fhir/Patient/${patient}`, { resourceType: 'Patient', id: patient, telecom: [{ value: secretOf(patient) }] })],
    ['a deletion of the patient', { method: 'DELETE', path: `/fhir/Patient/${patient}` }],
    ['a batch of reads', batch(['GET', `Patient/${patient}`], ['GET', `Observation?patient=${patient}`])],
    ['a batch with a new observation', batch(['POST', 'Observation', own(patient, 'Observation')], ['GET', `Condition/${id('Condition')}`])],
    ['a read that was fresh before', { path: `/fhir/Patient/${patient}`, headers: { 'if-none-match': 'W/"1"', range: 'bytes=5-20', 'accept-encoding': 'gzip, br' } }],
    ['a read that takes JSON last', { path: `/fhir/Patient/${patient}`, headers: { accept: 'application/fhir+xml;q=0.9, application/fhir+json;q=0.1' } }],
  ];
}

/** Ways to another's data (or everybody's) that no compartment has, whoever asks. */
function devious(patient: string): readonly (readonly [string, Asked])[] {
  const me = EVE;
  const paths = [
    'Patient', 'Patient?name=Family', `Patient?identifier=mrn-${patient}`, `Patient?_id=${me},${patient}`, `Patient?_id=${me}&_id=${patient}`, 'Patient?_summary=count', `Observation?constructor=Patient/${me}&_summary=count`, 'Observation', 'Observation?code=pressure', `Observation?_id=observation-${patient}`, 'Observation?_summary=count',
    `Observation?patient=${me},${patient}`, `Observation?patient=${me}&patient=${patient}`, `Observation?patient=${me}&PATIENT=${patient}`, `Observation?patient=${me}&patient[]=${patient}`, `Observation?patient[]=${patient}`, `Observation?patient=${me}&patient%5B%5D=${patient}`, `Observation?patient=${me};patient=${patient}`,
    `Observation?patien%74=${patient}`, `Observation?patient=Patient/${patient}`, `Observation?subject=${patient}`, `Observation?subject=Patient/${me},Patient/${patient}`, `Observation?patient=https://elsewhere.test/fhir/Patient/${patient}`, `Observation?patient=Patient/${me}/../${patient}`,
    `Observation?patient.name=Family${patient}`, `Observation?subject:Patient.name=Family${patient}`, `Observation?patient.identifier=mrn-${patient}`, `Observation?patient:identifier=mrn-${patient}`, `Observation?subject:identifier=mrn-${patient}`, `Observation?patient:not=${me}`, `Observation?patient:missing=false`,
    `Patient?_has:Observation:patient:code=pressure`, 'Practitioner?_revinclude=Observation:performer', 'Practitioner?_revinclude=*', 'Practitioner/d1/Observation', `Observation?_filter=patient%20eq%20${patient}`, 'Observation?_query=all', `Observation?_list=list-${patient}`, `?_type=Observation,Patient`, '_search?_type=Observation',
    '_history', 'Patient/_history', 'Observation/_history', 'Patient/$everything', `$export`, 'Patient/$export', 'Group/g1', 'Group/g1/$everything', 'Group/g1/$export', `Task/task-${patient}`, `Task?patient=${patient}`, `Device/device-${patient}`, `Binary/binary-${patient}`, `Encounter/encounter-${patient}/Observation`,
    `Patient/${patient}?_format=xml`, `Patient/${patient}/Observation/observation-${patient}`, `Observation/$lastn?patient=${patient}`, `List/list-${patient}/$meta`,
  ];
  return [
    ...paths.map((path): readonly [string, Asked] => [`GET ${path}`, { path: `/fhir/${path}` }]),
    ['a HEAD', { method: 'HEAD', path: `/fhir/Patient/${patient}` }],
    ['XML', { path: `/fhir/Patient/${patient}`, headers: { accept: 'application/fhir+xml' } }],
    ['a search by POST for both', { method: 'POST', path: `/fhir/Observation/_search?patient=${me}`, headers: form, body: `patient=${patient}` }],
    ['a search by POST for everything', { method: 'POST', path: '/fhir/Observation/_search', headers: form, body: '' }],
    ['a search by POST that is JSON', { method: 'POST', path: `/fhir/Observation/_search?patient=${me}`, headers: json, body: `patient=${patient}` }],
    ['a search of all types by POST', { method: 'POST', path: '/fhir/_search', headers: form, body: '_type=Patient' }],
    ['a conditional create', write('POST', '/fhir/Observation', own(me, 'Observation'), { 'if-none-exist': `patient=${patient}` })],
    ['an update of another\'s observation', write('PUT', `/fhir/Observation/observation-${patient}`, own(me, 'Observation'))],
    ['a conditional update', write('PUT', `/fhir/Observation?patient=${patient}`, own(me, 'Observation'))],
    ['a patch', write('PATCH', `/fhir/Observation/observation-${patient}`, own(me, 'Observation'))],
    ['a patch of the patient', write('PATCH', `/fhir/Patient/${patient}`, { active: false })],
    ['a deletion', { method: 'DELETE', path: `/fhir/Observation/observation-${patient}` }],
    ['a conditional deletion', { method: 'DELETE', path: `/fhir/Observation?patient=${patient}` }],
    ['a read with a body', { path: `/fhir/Patient/${patient}`, headers: form, body: `_id=${patient}` }],
    ['a batch with one read more', batch(['GET', `Patient/${me}`], ['GET', `Patient/${patient}`])],
    ['a batch with a search of everything', batch(['GET', 'Observation'])],
    ['a batch with a count of everything, for servers that end a query at "#"', batch(['GET', `Observation?_summary=count#&patient=${me}`])],
    ['a batch with an absolute address', batch(['GET', `https://localhost/fhir/Patient/${patient}`])],
    ['a batch with a path from the root', batch(['GET', `/Patient/${patient}`])],
    ['a batch with a deletion', batch(['DELETE', `Observation/observation-${patient}`])],
    ['a batch with an update', batch(['PUT', `Observation/observation-${patient}`, own(me, 'Observation')])],
  ];
}

/** What must not be let in although it answers with nothing of another's: it writes into their record. */
const INTRUSIVE: readonly (readonly [string, Asked])[] = [
  ['a new observation of theirs', write('POST', '/fhir/Observation', own(BOB, 'Observation'))],
  ['a new observation of both', write('POST', '/fhir/Observation', { ...own(EVE, 'Observation'), performer: [{ reference: `Patient/${BOB}` }] })],
  ['a new observation of one or the other', { method: 'POST', path: '/fhir/Observation', headers: json, body: `{"resourceType":"Observation","subject":{"reference":"Patient/${EVE}"},"subject":{"reference":"Patient/${BOB}"}}` }],
  ['a new observation of one or the other, in two cases', { method: 'POST', path: '/fhir/Observation', headers: json, body: `{"resourceType":"Observation","subject":{"reference":"Patient/${EVE}"},"Subject":{"reference":"Patient/${BOB}"}}` }],
  ['a new observation of a patient by identifier', write('POST', '/fhir/Observation', { resourceType: 'Observation', subject: { reference: `Patient?identifier=mrn-${BOB}` } })],
  ['a new observation that refers to what a search for theirs finds', write('POST', '/fhir/Observation', { ...own(EVE, 'Observation'), derivedFrom: [{ reference: `Observation?patient=${BOB}&code=pressure` }] })],
  ['a new observation that contains another\'s', write('POST', '/fhir/Observation', { ...own(EVE, 'Observation'), contained: [own(BOB, 'Condition')] })],
  ['a new patient', write('POST', '/fhir/Patient', { resourceType: 'Patient', link: [{ other: { reference: `Patient/${BOB}` }, type: 'replaces' }] })],
  ['the patient linked to another', write('PUT', `/fhir/Patient/${EVE}`, { resourceType: 'Patient', id: EVE, link: [{ other: { reference: `Patient/${BOB}` }, type: 'replaces' }] })],
  ['the patient under another\'s path', write('PUT', `/fhir/Patient/${BOB}`, { resourceType: 'Patient', id: EVE })],
  ['another under the patient\'s path', write('PUT', `/fhir/Patient/${EVE}`, { resourceType: 'Patient', id: BOB })],
  ['a new observation in XML', { method: 'POST', path: '/fhir/Observation', headers: { 'content-type': 'application/fhir+xml' }, body: '<Observation/>' }],
  ['a new observation that is compressed', write('POST', '/fhir/Observation', own(EVE, 'Observation'), { 'content-encoding': 'gzip' })],
  ['a new observation with a provenance', write('POST', '/fhir/Observation', own(EVE, 'Observation'), { 'x-provenance': JSON.stringify({ resourceType: 'Provenance', target: [{ reference: `Patient/${BOB}` }] }) })],
  ['a batch with a new observation of theirs', batch(['POST', 'Observation', own(BOB, 'Observation')])],
];

let pki: TestPki;
let backend: FhirBackend;
let gateway: TestGateway;
let bob: Issued;
let original: ReadonlyMap<string, unknown>;
const sessions = new Map<Issued, ClientHttp2Session>();

const ROUTES = `
  - name: fhir
    match: { path: /fhir/* }
    allow: [doctor, patient]
    upstream: records
    patient: { body: fhir, id: "urn:patient:*", fhir: { pages: [_getpages] } }`;

beforeAll(async () => {
  pki = await testPki();
  bob = await pki.issueClient({ subject: [['CN', 'Patient 1002'], ['OU', 'Patients'], ['O', 'Hospital']], san: { uri: `urn:patient:${BOB}` } });
  backend = await startFhirBackend(pki, [EVE, BOB]);
  original = new Map(backend.store);
  gateway = await startGateway(pki, backend.port, { routes: ROUTES });
});

beforeEach(() => {
  backend.store.clear();
  for (const [key, value] of original) backend.store.set(key, value as never);
});

afterAll(async () => {
  for (const session of sessions.values()) session.destroy();
  await gateway.stop();
  await backend.close();
});

/** One connection for each: opened anew where it was idle for as long as all that came before took. */
async function sessionOf(client: Issued): Promise<ClientHttp2Session> {
  const known = sessions.get(client);
  if (known?.closed === false) return known;
  const session = await openHttp2(pki, gateway.port, { client });
  sessions.set(client, session);
  return session;
}

interface Told {
  readonly status: number;
  readonly text: string;
}

const VERSIONS = {
  'HTTP/1.1': async (client: Issued, { path, ...options }: Asked): Promise<Told> => {
    const { status, body } = await ask(pki, gateway.port, path, { client, ...options });
    return { status, text: body.toString() };
  },
  'HTTP/2': async (client: Issued, { path, ...options }: Asked): Promise<Told> => {
    const { status, body } = await askHttp2(await sessionOf(client), path, options);
    return { status, text: body.toString() };
  },
} as const;

describe.each(Object.entries(VERSIONS))('over %s', (_, tell) => {
  describe('what is a patient\'s own right', () => {
    it.each(rightful(BOB))('%s: the owner is served, another patient refused', async (_name, asked) => {
      const theft = await tell(pki.patient, asked);
      expect(theft.status).toBe(403);
      expect(theft.text).not.toContain(secretOf(BOB));
      expect(JSON.parse(theft.text)).toMatchObject({ code: 'role_denied' });
      const served = await tell(bob, asked);
      expect(served.status, served.text).toBeLessThan(300);
      expect(served.text).toContain(asked.path.includes('$summary') || asked.path.includes('_getpages') ? BOB : secretOf(BOB));
      expect(served.text).not.toContain(secretOf(EVE));
    });
  });

  describe('what is nobody\'s right', () => {
    it.each(devious(BOB))('%s: leads to another\'s data, and is refused', async (_name, asked) => {
      const theft = await tell(pki.patient, asked);
      expect(theft.status).toBe(403);
      expect(theft.text).not.toContain(secretOf(BOB));
      // That it is an attack at all: whoever is not bound gets there.
      const free = await tell(pki.doctor, asked);
      expect(free.status, free.text).toBeLessThan(300);
      if (asked.method !== 'HEAD' && !/summary=count|Observation$|\/\$export/.test(asked.path)) expect(free.text).toMatch(new RegExp(`${secretOf(BOB)}|deleted|Patient/${EVE}|active`));
    });

    it.each(INTRUSIVE)('%s: is refused before the upstream sees it', async (_name, asked) => {
      const seen = backend.seen.length;
      const { status } = await tell(pki.patient, asked);
      expect(status).toBe(403);
      expect(backend.seen.length).toBe(seen);
    });
  });
});

it('a doctor reads whoever they ask for, and whom is on record', async () => {
  const { status, text } = await VERSIONS['HTTP/1.1'](pki.doctor, { path: `/fhir/Observation?patient=${BOB}` });
  expect(status).toBe(200);
  expect(text).toContain(secretOf(BOB));
  await expect.poll(async () => (await gateway.records()).find(({ role, path, patient }) => role === 'doctor' && path === '/fhir/Observation' && patient === BOB)).toMatchObject({ result: 'permitted' });
});

it('what an answer was refused for is on record, once, with the entry', async () => {
  backend.store.set('Condition/stray', { resourceType: 'Condition', id: 'stray', subject: { reference: `Patient/${BOB}` }, evidence: [{ detail: [{ reference: `Patient/${EVE}` }] }] });
  const { status } = await VERSIONS['HTTP/1.1'](pki.patient, { path: `/fhir/Condition?patient=${EVE}&_sort=stray` });
  expect(status).toBe(403);
  const found = async () => (await gateway.records()).filter(({ path, patient, result }) => path === '/fhir/Condition' && patient === EVE && result === 'denied');
  await expect.poll(found).toMatchObject([{ reason: 'patient_mismatch', detail: 'entry 1: Condition/stray is about another patient', status: 403, id: `urn:patient:${EVE}` }]);
});
