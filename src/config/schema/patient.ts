import { z } from 'zod';
import { SHAREABLE_TYPES } from '../fhir-shareable.ts';
import { headerName, matching, name, parameterName, size } from '../values.ts';
import { mapping, oneOf, some } from './shapes.ts';

/** Types that hold nothing of one patient, and that records of patients refer to. */
const SHARED = ['Organization', 'Practitioner', 'PractitionerRole', 'Location', 'HealthcareService', 'Medication', 'Substance'] as const;

const WHERE = ['path', 'query', 'header', 'body'] as const;

const patientOfClient = matching('expected text with one * in it, such as urn:patient:*', /^[^*]*\*[^*]*$/);
const base = matching('expected a URL without a slash, query or fragment at its end, such as https://ehr.internal/fhir', /^https?:\/\/[A-Za-z0-9.-]+(?::\d{1,5})?(?:\/[A-Za-z0-9\-._~]+)*$/);
const pageParameter = matching('expected the name of a parameter such as _getpages', /^[A-Za-z_][A-Za-z0-9_-]{0,62}$/);

const fhir = mapping({
  shared: z.array(z.enum(SHAREABLE_TYPES, { error: 'expected a type of resources that is in no patient\'s compartment and refers to none' }), { error: 'expected a list of types of resources' })
    .describe('Types of resources that bound clients may read whoever they are; all others must be theirs by FHIR\'s CompartmentDefinition, or are refused.').default([...SHARED]),
  bases: z.array(base, { error: 'expected a list of URLs' })
    .describe('Further base URLs under which the upstream refers to its own resources; references relative to it, and those to the host and path of the request, need none.').default([]),
  pages: z.array(pageParameter, { error: 'expected a list of names of parameters' })
    .describe('Query parameters of the upstream\'s own that lead through the pages of an answer, such as _getpages; at the base a request with one of them needs no patient, its answer is judged like all.').default([]),
  resource: size.describe('Size of one resource in an answer, and of a request body where the route sets no limit; answers of any size pass as long as they are Bundles of such resources.').prefault('1MiB'),
});

// What the gateway judges by itself is not for leaving unread.
const unreadType = matching('expected a media type such as application/dicom, in lower case; JSON is read and forms are refused whatever stands here',
  /^(?!.*(?:[^a-z]json|x-www-form-urlencoded|multipart\/form-data))[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/);

/** Where a request names the patient it concerns, and whom that binds. */
export const patient = mapping({
  path: parameterName.describe('Parameter of the route\'s path that names the patient.').exactOptional(),
  query: parameterName.describe('Query parameter that names the patient.').exactOptional(),
  header: headerName.describe('Request header that names the patient.').exactOptional(),
  body: oneOf(['fhir']).describe('fhir: the route is a FHIR R4 interface, whose base is its path; paths, queries, request bodies and answers are judged by FHIR\'s compartment of the patient.').exactOptional(),
  bound: some(name, 'expected a list of at least one role').describe('Roles that reach one patient only, the one they are; for all others the patient goes on record. A client is bound whose first role is among them, or whom the route lets in by these roles only.').default(['patient']),
  id: patientOfClient.describe('What the id of a bound client is: * stands for the patient\'s own.').default('*'),
  fhir: fhir.describe('What the FHIR interface is like; with body: fhir.').exactOptional(),
  unread: some(unreadType, 'expected a list of at least one media type')
    .describe('With query: media types of bodies from which the upstream takes no parameters. They pass unread; all others but JSON, which is read, are refused to bound clients.').exactOptional(),
}).refine((value) => WHERE.filter((key) => value[key] !== undefined).length === 1, { error: 'expected exactly one of path, query, header or body' })
  .refine((value) => value.fhir === undefined || value.body !== undefined, { error: 'expected body: fhir beside fhir' })
  .refine((value) => value.unread === undefined || value.query !== undefined, { error: 'expected query beside unread' })
  .transform((value) => (value.body === undefined || value.fhir !== undefined ? value : { ...value, fhir: fhir.parse({}) }))
  .meta({ allOf: [{ oneOf: WHERE.map((key) => ({ type: 'object' as const, properties: { [key]: { type: 'string' as const, description: 'Where the patient is named.' } }, required: [key] })) }] });
