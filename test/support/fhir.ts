import type { IncomingHttpHeaders } from 'node:http';
import { gzipSync } from 'node:zlib';
import { startBackend, type Backend } from './backend.ts';
import type { TestPki } from './pki.ts';

export type Resource = { readonly resourceType: string; readonly id: string } & { readonly [name: string]: unknown };

export interface FhirBackend extends Backend {
  /** Everything that is stored, by `Type/id`. */
  readonly store: Map<string, Resource>;
}

/** What every resource that concerns a patient says, so that it shows wherever it gets to. */
export function secretOf(patient: string): string {
  return `SECRET-OF-${patient}`;
}

/** The types of which each patient has one, named `TYPE-PATIENT`, with the element that names them. */
export const RECORDS: readonly (readonly [type: string, element: string, wrap?: (reference: unknown) => unknown])[] = [
  ['Observation', 'subject'], ['Condition', 'subject'], ['Encounter', 'subject'], ['Procedure', 'subject'], ['MedicationRequest', 'subject'], ['AllergyIntolerance', 'patient'], ['Immunization', 'patient'],
  ['DiagnosticReport', 'subject'], ['DocumentReference', 'subject'], ['CarePlan', 'subject'], ['QuestionnaireResponse', 'subject'], ['Coverage', 'beneficiary'], ['Provenance', 'target', (reference) => [reference]],
  ['Appointment', 'participant', (reference) => [{ actor: { reference: 'Practitioner/d1' } }, { actor: reference }]],
];

/**
 * A FHIR R4 server that does what it is asked and looks at nobody's rights: reads, versions, histories, searches with chains and includes,
 * operations, writes with conditions, batches. It reads queries as the laxest servers do (`;` separates, names have no case and may
 * end in brackets, what comes several times adds up), and takes XML for another way to write the same.
 */
export async function startFhirBackend(pki: TestPki, patients: readonly string[]): Promise<FhirBackend> {
  const store = fhirStore(patients);
  const backend = await startBackend(pki, ({ method = '', url = '', headers }, response, body) => {
    const { status, fields, octets } = answerFhir(store, { method, url, headers, body });
    response.writeHead(status, fields);
    response.end(octets);
  });
  return { ...backend, store };
}

/** What is stored of these patients, and of nobody in particular. */
export function fhirStore(patients: readonly string[]): Map<string, Resource> {
  return new Map(seed(patients).map((resource) => [key(resource), resource]));
}

export interface FhirRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface FhirAnswer {
  readonly status: number;
  readonly fields: Readonly<Record<string, string>>;
  readonly octets: string | Buffer;
}

/** The server without its sockets. */
export function answerFhir(store: Map<string, Resource>, request: FhirRequest): FhirAnswer {
  return new Answering(store, request).answer();
}

function key({ resourceType, id }: Resource): string {
  return `${resourceType}/${id}`;
}

function seed(patients: readonly string[]): Resource[] {
  const shared: Resource[] = [
    { resourceType: 'Practitioner', id: 'd1', name: [{ family: 'House' }] }, { resourceType: 'Organization', id: 'o1', name: 'Hospital' }, { resourceType: 'Medication', id: 'm1', code: { text: 'Aspirin' } },
    { resourceType: 'Group', id: 'g1', member: patients.map((patient) => ({ entity: { reference: `Patient/${patient}` } })), note: patients.map(secretOf) },
  ];
  return [...shared, ...patients.flatMap((patient) => {
    const reference = { reference: `Patient/${patient}` };
    const note = secretOf(patient);
    const records = RECORDS.map(([resourceType, element, wrap]): Resource => ({
      resourceType, id: `${resourceType}-${patient}`.toLowerCase(), [element]: wrap === undefined ? reference : wrap(reference), note, performer: [{ reference: 'Practitioner/d1' }], code: { text: 'pressure' },
      ...(resourceType === 'MedicationRequest' ? { medicationReference: { reference: 'Medication/m1' } } : {}),
    }));
    return [
      { resourceType: 'Patient', id: patient, identifier: [{ value: `mrn-${patient}` }], name: [{ family: `Family${patient}` }], note, generalPractitioner: [{ reference: 'Practitioner/d1' }] }, ...records,
      { resourceType: 'Task', id: `task-${patient}`, for: reference, note }, { resourceType: 'Device', id: `device-${patient}`, patient: reference, note }, { resourceType: 'Binary', id: `binary-${patient}`, data: note },
      { resourceType: 'List', id: `list-${patient}`, subject: reference, note, entry: [{ item: { reference: `Observation/observation-${patient}` } }] },
    ] satisfies Resource[];
  })];
}

/** Elements, and search parameters, of those who had a part in what is about somebody. */
const PARTS: ReadonlyMap<string, string> = new Map([['Observation', 'performer'], ['Condition', 'asserter'], ['AllergyIntolerance', 'recorder'], ['DocumentReference', 'author'], ['ServiceRequest', 'performer']]);

/** What is about a patient, and another had a part in: a mother who has looked after her child. */
export function doneFor(patient: string, by: string): Resource[] {
  return [...PARTS].map(([type, element]) => (
    { resourceType: type, id: `${type}-by-${by}`.toLowerCase(), [type === 'AllergyIntolerance' ? 'patient' : 'subject']: { reference: `Patient/${patient}` }, [element]: { reference: `Patient/${by}` }, note: secretOf(patient), code: { text: 'hiv' } }
  ));
}

/** Types that refer to patients and are in nobody's compartment, and groups, which are in several. */
const OUTSIDE = new Set(['Task', 'Device', 'Group']);

type Parameter = readonly [name: string, value: string];

class Answering {
  readonly #store: Map<string, Resource>;
  readonly #request: FhirRequest;

  constructor(store: Map<string, Resource>, request: FhirRequest) {
    this.#store = store;
    this.#request = request;
  }

  answer(): FhirAnswer {
    const { url, method, headers } = this.#request;
    const [status, value, fields] = this.#serve(headers['x-http-method-override'] as string | undefined ?? method, url.replace(/^\/fhir\/?/, ''), this.#json());
    return this.#written(status, value, fields, parameters(url.split('?')[1] ?? ''));
  }

  #json(): unknown {
    try {
      return JSON.parse(this.#request.body.toString());
    } catch {
      return undefined;
    }
  }

  /** One request: by itself, or in a batch. */
  #serve(method: string, url: string, body: unknown): [status: number, value?: unknown, fields?: Record<string, string>] {
    const [path = '', query = ''] = url.split('?');
    const asked = parameters(query);
    const [type = '', id = '', third = '', fourth = ''] = path.split('/').map(decodeURIComponent);
    if (method === 'GET' || method === 'HEAD') return this.#read(type, id, third, fourth, asked);
    if (method === 'POST') return this.#post(type, id, third, asked, body);
    if (method === 'PUT' || method === 'PATCH') {
      const target = id === '' ? this.#search(type, asked)[0]?.id ?? 'new' : id;
      const resource = { ...(method === 'PATCH' ? this.#store.get(`${type}/${target}`) : {}), ...(body as object), resourceType: type, id: target } as Resource;
      this.#store.set(`${type}/${target}`, resource);
      return [200, resource, { location: `${type}/${target}/_history/2` }];
    }
    if (method === 'DELETE') {
      const gone = id === '' ? this.#search(type, asked) : [this.#store.get(`${type}/${id}`)].filter((one) => one !== undefined);
      for (const one of gone) this.#store.delete(key(one));
      return [200, { resourceType: 'OperationOutcome', issue: gone.map((one) => ({ diagnostics: `deleted ${JSON.stringify(one)}` })) }];
    }
    return [405, { resourceType: 'OperationOutcome', issue: [] }];
  }

  #read(type: string, id: string, third: string, fourth: string, asked: readonly Parameter[]): [number, unknown?, Record<string, string>?] {
    const all = [...this.#store.values()];
    if (type === 'metadata') return [200, { resourceType: 'CapabilityStatement', fhirVersion: '4.0.1' }];
    if (type === '' || type === '_search') return [200, bundle('searchset', asked.some(([name]) => name === '_getpages') ? all.filter((one) => this.#isOf(one, value(asked, '_getpages'))) : all.filter((one) => value(asked, '_type').split(',').includes(one.resourceType)))];
    if (type === '_history' || id === '_history') return [200, bundle('history', type === '_history' ? all : all.filter((one) => one.resourceType === type))];
    if (type.startsWith('$')) return [200, bundle('collection', all)];
    if (id === '$everything' || id === '$export') return [200, bundle('searchset', all)];
    if (id === '' || id === '_search' || id.startsWith('$')) return this.#found(type, asked);
    const one = this.#store.get(`${type}/${id}`);
    if (one === undefined) return [404, { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'not-found' }] }];
    if (third === '' || (third === '_history' && fourth !== '') || third === '$meta') return [200, one, { etag: 'W/"1"' }];
    if (third === '_history') return [200, { ...bundle('history', [one]), entry: [{ resource: one, request: { method: 'PUT', url: key(one) }, response: { status: '200' } }] }];
    if (third.startsWith('$') && type === 'Group') return [200, bundle('searchset', all)];
    if (third.startsWith('$')) return [200, bundle(third === '$summary' ? 'document' : 'searchset', all.filter((other) => this.#isOf(other, id) || ['Practitioner', 'Medication'].includes(other.resourceType)))];
    const below = all.filter((other) => (third === '*' ? !OUTSIDE.has(other.resourceType) : other.resourceType === third) && (this.#concerns(other, id) || JSON.stringify(other).includes(`"${type}/${id}"`)));
    return [200, bundle('searchset', fourth === '' ? below.filter((other) => this.#matches(other, asked)) : below.filter((other) => other.id === fourth))];
  }

  #post(type: string, id: string, third: string, asked: readonly Parameter[], body: unknown): [number, unknown?, Record<string, string>?] {
    if (id === '_search' || third === '_search' || type === '_search') return this.#read(type === '_search' ? '' : type, third === '_search' ? id : '', '', '', [...asked, ...parameters(this.#request.body.toString())]);
    if (id.startsWith('$') || third.startsWith('$') || type.startsWith('$')) return this.#read(type, id, third, '', asked);
    if (type === '') {
      const entries = (body as { entry?: { resource?: unknown; request: { method: string; url: string } }[] } | undefined)?.entry ?? [];
      return [200, { resourceType: 'Bundle', type: `${String((body as { type?: string } | undefined)?.type)}-response`, entry: entries.map(({ resource, request: { method, url } }) => {
        const [status, answered] = this.#serve(method, url.replace(/^https:\/\/[^/]+\/fhir\/|^\//, ''), resource);
        return { ...(answered === undefined ? {} : { resource: answered }), response: { status: String(status) } };
      }) }];
    }
    const condition = this.#request.headers['if-none-exist'];
    const existing = condition === undefined ? undefined : this.#search(type, parameters(String(condition)))[0];
    if (existing !== undefined) return [200, existing, { location: key(existing) }];
    const resource = { ...(body as object), resourceType: type, id: `new-${this.#store.size}` } as Resource;
    this.#store.set(key(resource), resource);
    return [201, resource, { location: `https://localhost/fhir/${key(resource)}/_history/1` }];
  }

  #found(type: string, asked: readonly Parameter[]): [number, unknown] {
    const matches = value(asked, '_query') === 'all' ? [...this.#store.values()].filter((one) => one.resourceType === type) : this.#search(type, asked);
    if (value(asked, '_summary') === 'count') return [200, { ...bundle('searchset', []), total: matches.length }];
    const included = asked.filter(([name]) => name.startsWith('_include')).flatMap(() => matches.flatMap((one) => this.#referred(one)));
    const referring = asked.filter(([name]) => name.startsWith('_revinclude')).flatMap(([name, wanted]) => {
      const first = [...this.#store.values()].filter((one) => (wanted === '*' || wanted.startsWith(one.resourceType)) && matches.some((match) => JSON.stringify(one).includes(`"${key(match)}"`)));
      return name.includes(':') ? [...first, ...first.flatMap((one) => this.#referred(one))] : first;
    });
    return [200, bundle('searchset', [...new Set([...matches, ...included, ...referring])], matches.length)];
  }

  #referred(one: Resource): Resource[] {
    return [...JSON.stringify(one).matchAll(/"reference":"([^"]+)"/g)].map(([, reference = '']) => this.#store.get(reference)).filter((other) => other !== undefined);
  }

  #search(type: string, asked: readonly Parameter[]): Resource[] {
    const list = value(asked, '_list');
    const listed = JSON.stringify(this.#store.get(`List/${list}`) ?? {});
    return [...this.#store.values()].filter((one) => one.resourceType === type && (list === '' || listed.includes(`"${key(one)}"`)) && this.#matches(one, asked));
  }

  /** Parameters of one name widen a search, those of several narrow it. */
  #matches(one: Resource, asked: readonly Parameter[]): boolean {
    const names = [...new Set(asked.map(([name]) => name))].filter((name) => !/^_(?!id$|has|filter)/.test(name));
    return names.every((name) => asked.some(([other, text]) => other === name && text.split(',').some((wanted) => this.#fits(one, name, wanted))));
  }

  #fits(one: Resource, name: string, wanted: string): boolean {
    const id = wanted.split('/').at(-1) ?? '';
    if (name === '_id') return one.id === wanted;
    if (name === '_filter') return this.#concerns(one, wanted.split(' ').at(-1) ?? '');
    if (name.startsWith('_has:')) return [...this.#store.values()].some((other) => other.resourceType === name.split(':')[1]?.replace(/^./, (letter) => letter.toUpperCase()) && JSON.stringify(other).includes(`"${key(one)}"`));
    if (name.endsWith(':not')) return !this.#fits(one, name.slice(0, -4), wanted);
    if (name.endsWith(':missing')) return wanted === 'false';
    const [, chain] = name.split('.');
    if (chain !== undefined || name.endsWith(':identifier')) return this.#referred(one).some((other) => JSON.stringify([other['name'], other['identifier'], other.id]).toLowerCase().includes(wanted.toLowerCase()));
    const [code = ''] = name.split(':');
    const parts = [...PARTS.values()];
    if (parts.includes(code)) return JSON.stringify(one[code] ?? '').includes(`"Patient/${id}"`);
    if (['patient', 'subject', 'beneficiary', 'actor', 'target', 'member'].includes(code)) return JSON.stringify({ ...one, ...Object.fromEntries(parts.map((part) => [part, undefined])) }).includes(`"Patient/${id}"`);
    if (['name', 'family', 'identifier'].includes(name)) return JSON.stringify([one['name'], one['identifier']]).toLowerCase().includes(wanted.toLowerCase());
    return JSON.stringify(one['code'] ?? wanted).includes(wanted);
  }

  #concerns(one: Resource, patient: string): boolean {
    return key(one) === `Patient/${patient}` || (one.resourceType !== 'Group' && JSON.stringify(one).includes(`"Patient/${patient}"`));
  }

  /** Whether it is in the patient's compartment. */
  #isOf(one: Resource, patient: string): boolean {
    return !OUTSIDE.has(one.resourceType) && this.#concerns(one, patient);
  }

  #written(status: number, resource: unknown, fields: Record<string, string> = {}, asked: readonly Parameter[]): FhirAnswer {
    const { accept = '', range, 'accept-encoding': encoding = '' } = this.#request.headers;
    const xml = value(asked, '_format').includes('xml') || (accept.includes('xml') && !accept.includes('json'));
    const text = resource === undefined ? '' : xml ? `<xml>${JSON.stringify(resource)}</xml>` : JSON.stringify(resource);
    const type = xml ? 'application/fhir+xml' : 'application/fhir+json; charset=utf-8';
    if (range !== undefined) return { status: 206, fields: { 'content-type': type, 'content-range': `bytes 1-${text.length - 1}/${text.length}` }, octets: text.slice(1) };
    if (String(encoding).includes('gzip')) return { status, fields: { ...fields, 'content-type': type, 'content-encoding': 'gzip' }, octets: gzipSync(text) };
    return { status, fields: { ...fields, 'content-type': type }, octets: text };
  }
}

function bundle(type: string, resources: readonly Resource[], total = resources.length): Record<string, unknown> {
  return { resourceType: 'Bundle', type, ...(type === 'searchset' ? { total } : {}), entry: resources.map((resource) => ({ fullUrl: `https://localhost/fhir/${key(resource)}`, resource })) };
}

function parameters(query: string): Parameter[] {
  return query.split(/[&;]/).filter((part) => part !== '').map((part) => {
    const [name = '', ...rest] = part.split('=');
    return [decode(name).toLowerCase().trim().replace(/\[.*$/, ''), decode(rest.join('='))];
  });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

function value(asked: readonly Parameter[], wanted: string): string {
  return asked.find(([name]) => name === wanted)?.[1] ?? '';
}
