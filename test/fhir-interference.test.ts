import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { judgeAnswer } from '../src/policy/fhir/bundle.ts';
import type { Compartment } from '../src/policy/fhir/compartment.ts';
import { readJson } from '../src/policy/fhir/json.ts';
import type { SearchRules } from '../src/policy/fhir/query.ts';
import { judgeRequest } from '../src/policy/fhir/request.ts';
import { answerFhir, doneFor, fhirStore, RECORDS, secretOf } from './support/fhir.ts';

// Whatever a patient asks, what comes of it must be the same whether or not there is another patient: not only must no resource of
// theirs be among the answers, but neither must a count, an empty page or a refusal tell that there is one.

const [EVE, BOB] = ['1001', '1002'];
const WITH = fhirStore([EVE, BOB]);
/** Bob is Eve's child, and she has looked after him. */
for (const resource of doneFor(BOB, EVE)) WITH.set(`${resource.resourceType}/${resource.id}`, resource);
const WITHOUT = fhirStore([EVE]);

const compartment: Compartment = { patient: EVE, host: 'localhost', base: '/fhir', bases: [], shared: new Set(['Practitioner', 'Organization', 'Medication']) };
const rules: SearchRules = { compartment, pages: new Set(['_getpages']) };

const TYPES = [...RECORDS.map(([type]) => type), 'Patient', 'List', 'Practitioner', 'Organization', 'Medication', 'Group', 'Task', 'Device', 'Binary', 'observation', 'Bundle'];
const NAMES = [
  'patient', 'subject', 'performer', 'asserter', 'recorder', 'author', 'beneficiary', 'actor', 'target', '_id', 'code', 'name', 'identifier', 'family', '_summary', '_count', '_include', '_revinclude', '_revinclude:iterate', '_list', '_filter', '_query', '_has:Observation:patient:code', '_has:Patient:link:_id', '_type',
  'patient:Patient', 'subject:Patient', 'patient:not', 'subject:not', 'patient:missing', 'patient:identifier', 'subject:identifier', 'patient.name', 'subject:Patient.identifier', 'performer:Practitioner.name', 'PATIENT', 'Patient', 'patient[]', 'patient[0]', 'patien%74', 'subject%3APatient', ' patient', '+patient', '_getpages', '_sort', '_total', '_lastUpdated',
];
const VALUES = [
  EVE, BOB, `Patient/${EVE}`, `Patient/${BOB}`, `https://localhost/fhir/Patient/${EVE}`, `https://localhost/fhir/Patient/${BOB}`, `https://elsewhere.test/fhir/Patient/${BOB}`, `${EVE},${BOB}`, `Patient/${EVE},Patient/${BOB}`, `Patient%2F${BOB}`, `mrn-${BOB}`, `Family${BOB}`, 'Family', 'House', 'pressure', 'hiv', 'count', 'true', 'false',
  `observation-${BOB}`, `observation-${EVE}`, `list-${BOB}`, `patient%20eq%20${BOB}`, 'all', 'Observation:subject', 'Observation:performer', '*', 'List:item', 'Provenance:target', 'Practitioner/d1', 'd1', '1', '', `Patient/${EVE}/../${BOB}`, `${EVE}%00`, `Patient%3Fidentifier=mrn-${BOB}`,
];
const SEPARATORS = ['&', '&', '&', '&', ';', '&&'];

const query = fc.array(fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom(...VALUES), fc.constantFrom(...SEPARATORS)), { maxLength: 4 })
  .map((parts) => parts.map(([name, value, separator], index) => `${index === 0 ? '' : separator}${name}=${value}`).join(''));
const ids = [EVE, BOB, 'd1', 'o1', 'm1', 'g1'];
const path = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...TYPES) },
  { weight: 2, arbitrary: fc.tuple(fc.constantFrom(EVE, EVE, BOB), fc.constantFrom(...TYPES, '*', '$everything', '$summary', '$export')).map(([id, below]) => `Patient/${id}/${below}`) },
  { weight: 1, arbitrary: fc.constantFrom('', '_search', '_history', '$export', 'metadata', 'Observation/_history', 'Patient/$everything', 'Observation/$lastn', 'Practitioner/d1/Observation') },
);
const request = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(path, query).map(([where, what]) => ({ method: 'GET', url: what === '' ? where : `${where}?${what}`, body: '' })) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom(...TYPES), query, query).map(([type, what, form]) => ({ method: 'POST', url: `${type}/_search?${what}`, body: form })) },
);

interface Asked {
  readonly method: string;
  readonly url: string;
  readonly body: string;
}

/** What a patient is told: the answer where it is let pass, and nothing more where it is not. */
function told({ method, url, body }: Asked, store: ReturnType<typeof fhirStore>): string {
  const [where = '', ...rest] = url.split('?');
  const what = rest.join('?');
  const segments = where === '' ? [] : where.split('/').map(decodeURIComponent);
  // A form is judged as the query that it adds to.
  const judged = judgeRequest({ method, segments, query: what }, rules);
  if (judged.kind === 'objection') return 'refused';
  if (judged.body.kind === 'form' && judgeRequest({ method: 'GET', segments: [segments[0] as string], query: [what, body].filter((part) => part !== '').join('&') }, rules).kind === 'objection') return 'refused';
  const { status, octets } = answerFhir(store, { method, url: `/fhir/${url}`, headers: {}, body: Buffer.from(body) });
  const read = readJson(Buffer.from(octets));
  if (read.kind === 'objection') return 'refused';
  return judgeAnswer(read, compartment) === undefined ? `${status} ${octets.toString()}` : 'refused';
}

const ALL_OF_HER_PARTS = new RegExp(`^Patient/${EVE}/|_revinclude`);

describe('nobody learns of another patient', () => {
  it('by any search: its outcome is the same without them', () => {
    let served = 0;
    fc.assert(fc.property(request, (asked) => {
      // Pages are the server's own: their ids are not for others to guess.
      fc.pre(!asked.url.startsWith('?'));
      const outcome = told(asked, WITH);
      if (outcome !== 'refused') served++;
      expect(outcome).not.toContain(secretOf(BOB));
      // All that she has had a part in is refused as a whole, which tells her nothing but that she had: nothing in such a request may choose.
      if (outcome === 'refused' && ALL_OF_HER_PARTS.test(asked.url)) return;
      expect(outcome).toBe(told(asked, WITHOUT));
    }), { numRuns: Number(process.env['FUZZ_ROUNDS'] ?? 20_000), seed: 5 });
    expect(served).toBeGreaterThan(500);
  });

  it.each([
    'Observation?performer=Patient/1001&code=hiv&_summary=count', 'Observation?performer:Patient=1001&code=hiv&_summary=count', 'Condition?asserter=Patient/1001&code=hiv&_count=0', 'AllergyIntolerance?recorder=Patient/1001', 'DocumentReference?author=Patient/1001&_total=accurate',
    'Patient/1001/Observation?code=hiv', 'Patient/1001/Observation?_summary=count', 'Patient/1001/Observation?_count=0', 'Patient/1001/*?code=hiv', 'Patient/1001/*?_summary=count', 'Patient/1001/$everything?_summary=count', 'Patient/1001/$everything?_count=0',
    'Patient/1001/Observation?_sort=code', 'Patient/1001/Observation?_sort=-date&_count=1', 'Patient/1001/Observation?_total=accurate', 'Patient/1001/*?_sort=code', 'Patient/1001/$everything?_type=Condition', 'Patient/1001/$everything?start=2026-01-01&end=2026-01-02', 'Patient/1001/$everything?_since=2026-01-01',
  ])('by what a mother did for her child: %s is refused', (url) => {
    expect(told({ method: 'GET', url, body: '' }, WITHOUT)).toBe('refused');
  });

  it.each(['Observation?patient=1001&performer=Patient/1001&code=hiv&_summary=count', 'Patient/1001/Observation?patient=1001&code=hiv', 'Condition?subject=Patient/1001&asserter=Patient/1001'])('%s is served, and tells of nobody else', (url) => {
    const outcome = told({ method: 'GET', url, body: '' }, WITH);
    expect(outcome).toMatch(/^200 .*"total":0/);
    expect(outcome).toBe(told({ method: 'GET', url, body: '' }, WITHOUT));
  });

  it.each(['Patient/1001/Observation', 'Patient/1001/*', 'Patient/1001/$everything'])('but that she had a part in something, of which %s is refused as a whole', (url) => {
    // All of her compartment as FHIR defines it: what is about somebody else is in it, and not hers to see.
    expect(told({ method: 'GET', url, body: '' }, WITHOUT)).toMatch(/^200 /);
    expect(told({ method: 'GET', url, body: '' }, WITH)).toBe('refused');
    const named = url.replace(/Patient.*/, 'Observation?patient=1001');
    expect(told({ method: 'GET', url: named, body: '' }, WITH)).toBe(told({ method: 'GET', url: named, body: '' }, WITHOUT));
  });

  it('by any read: none of another\'s resources is among the answers', () => {
    fc.assert(fc.property(fc.constantFrom(...TYPES), fc.constantFrom(...ids, ...TYPES.map((type) => `${type}-${BOB}`.toLowerCase())), fc.constantFrom('', '/_history', '/_history/1', '/$everything', '/$meta', '/Observation', '/*'), (type, id, below) => {
      expect(told({ method: 'GET', url: `${type}/${id}${below}`, body: '' }, WITH)).not.toContain(secretOf(BOB));
    }), { numRuns: 3_000, seed: 5 });
  });
});
