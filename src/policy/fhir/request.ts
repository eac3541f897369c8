import { ID, mismatch, quoted, unknownShape, type Objection } from './compartment.ts';
import { isCount, isJson, judgePage, judgePlainQuery, judgeSearch, parseQuery, patientNamed, type Query, type SearchRules } from './query.ts';
import { COMPARTMENT, RESOURCE_TYPES } from './r4.ts';

/** A request of a FHIR R4 interface: its path below the base, decoded, and its query as written. */
export interface FhirAsked {
  readonly method: string;
  readonly segments: readonly string[];
  readonly query: string;
}

/** What must be judged of a request's body before it may pass. */
export type AwaitedBody =
  | { readonly kind: 'none' }
  /** A search whose parameters are in the body. */
  | { readonly kind: 'form'; readonly type: string; readonly query: Query }
  /** One resource of this type; with an id it replaces the one that has it. */
  | { readonly kind: 'resource'; readonly type: string; readonly id?: string }
  /** A batch or a transaction. */
  | { readonly kind: 'bundle' };

export interface Within {
  readonly kind: 'within';
  readonly body: AwaitedBody;
  /** Whether elements of what is answered may be left out. */
  readonly partial: boolean;
}

type Shape = Omit<Within, 'partial'>;

const NO_BODY: Shape = { kind: 'within', body: { kind: 'none' } };
/** Operations on the patient's own record that only read it. */
const OPERATIONS = new Set(['$everything', '$summary']);

/**
 * Whether a request stays within a patient's compartment, as far as it shows: of what names a resource by its own id only the
 * answer tells whose it is. The shapes that may pass are listed; everything else is an objection.
 */
export function judgeRequest(asked: FhirAsked, rules: SearchRules): Within | Objection {
  const { method, segments } = asked;
  const query = parseQuery(asked.query);
  if (query.kind === 'objection') return query;
  const judged = judgeShape(method, segments, query, rules);
  return judged.kind === 'objection' ? judged : { ...judged, partial: asksForParts(judged.body, query, rules) };
}

/** Summaries that leave out nothing that says whose a resource is. */
const WHOLE_SUMMARIES = new Set(['false', 'data', 'count']);

/** What bodies ask for has yet to come, and what a page was asked for with is not known any more. */
function asksForParts({ kind }: AwaitedBody, { pairs }: Query, { pages }: SearchRules): boolean {
  if (kind === 'form' || kind === 'bundle') return true;
  return pairs.some(({ name, value }) => name === '_elements' || (name === '_summary' && !WHOLE_SUMMARIES.has(value)) || pages.has(name));
}

function judgeShape(method: string, segments: readonly string[], query: Query, rules: SearchRules): Shape | Objection {
  switch (method) {
    case 'GET': return within(judgeGet(segments, query, rules));
    case 'POST': return judgePost(segments, query, rules);
    case 'PUT': return judgePut(segments, query, rules);
    case 'DELETE': return within(judgeDelete(segments, query, rules));
    default: return unknownShape(`${method}, of which it cannot be told whom it concerns`);
  }
}

function within(objection: Objection | undefined): Shape | Objection {
  return objection ?? NO_BODY;
}

function judgeGet(segments: readonly string[], query: Query, rules: SearchRules): Objection | undefined {
  const [type = '', id, third, fourth] = segments;
  if (isBase(segments)) return judgePage(query, rules);
  if (type === 'metadata' && segments.length === 1) return judgePlainQuery({ ...query, pairs: query.pairs.filter(({ name }) => name !== 'mode') }, 'format', rules);
  const objection = judgeKind(type, rules) ?? judgeId(type, id, rules);
  if (objection !== undefined) return objection;
  switch (segments.length) {
    case 1: return judgeSearch(type, query, false, rules);
    case 2: return judgePlainQuery(query, 'read', rules);
    case 3: return third === '_history' ? judgePlainQuery(query, 'history', rules) : judgeBelow(type, third as string, query, rules);
    case 4: return third === '_history' && ID.test(fourth as string) ? judgePlainQuery(query, 'read', rules) : unknownShape(`a path below ${type}/ID`);
    default: return unknownShape('a path of more than four segments');
  }
}

/** Below the patient: what belongs to them. */
function judgeBelow(type: string, third: string, query: Query, rules: SearchRules): Objection | undefined {
  if (type !== 'Patient') return unknownShape(`a path below ${type}/ID`);
  if (OPERATIONS.has(third)) return query.pairs.some(isCount) ? unknownShape(`${third} as a number`) : judgePlainQuery(query, 'everything', rules);
  if (third === '*') return judgeSearch('', { ...query, pairs: query.pairs.filter(({ name }) => name !== '_type') }, true, rules);
  if (COMPARTMENT.has(third) && third !== 'Patient' && third !== 'Group') return judgeSearch(third, query, true, rules);
  return unknownShape(`Patient/ID/${quoted(third)}`);
}

function judgePost(segments: readonly string[], query: Query, rules: SearchRules): Shape | Objection {
  const [type = '', second] = segments;
  if (isBase(segments)) return judgePlainQuery(query, 'format', rules) ?? { kind: 'within', body: { kind: 'bundle' } };
  const objection = judgeKind(type, rules);
  if (objection !== undefined) return objection;
  if (segments.length === 2 && second === '_search') return { kind: 'within', body: { kind: 'form', type, query } };
  if (segments.length !== 1) return unknownShape(`POST ${type}/…`);
  // Another patient's record would be nobody's, or somebody's by its contents.
  if (type === 'Patient' || !COMPARTMENT.has(type)) return unknownShape(`a new ${type}`);
  return judgePlainQuery(query, 'format', rules) ?? { kind: 'within', body: { kind: 'resource', type } };
}

function judgePut(segments: readonly string[], query: Query, rules: SearchRules): Shape | Objection {
  const [type = '', id] = segments;
  // Of anything but the patient it cannot be told whose it was.
  if (type !== 'Patient' || segments.length !== 2 || id === undefined) return unknownShape('an update, of which it cannot be told whose it replaces');
  const objection = judgeId(type, id, rules) ?? judgePlainQuery(query, 'format', rules);
  return objection ?? { kind: 'within', body: { kind: 'resource', type, id } };
}

function judgeDelete(segments: readonly string[], query: Query, rules: SearchRules): Objection | undefined {
  const [type = '', id] = segments;
  if (type !== 'Patient' || segments.length !== 2) return unknownShape('a deletion, of which it cannot be told whose it is');
  return judgeId(type, id, rules) ?? (query.pairs.length === 0 ? undefined : unknownShape('a conditional deletion'));
}

function isBase(segments: readonly string[]): boolean {
  return segments.length === 0 || (segments.length === 1 && segments[0] === '');
}

function judgeKind(type: string, { compartment }: SearchRules): Objection | undefined {
  if (type !== 'Group' && (COMPARTMENT.has(type) || (compartment.shared.has(type) && RESOURCE_TYPES.has(type)))) return undefined;
  return unknownShape(`the path begins with ${quoted(type)}`);
}

function judgeId(type: string, id: string | undefined, { compartment }: SearchRules): Objection | undefined {
  if (id === undefined) return undefined;
  if (!ID.test(id)) return unknownShape(`${type}/${quoted(id)}`);
  return type === 'Patient' && id !== compartment.patient ? mismatch(`${type}/${id}`) : undefined;
}

/** By `X-Cascade` HAPI deletes what refers to the patient, whoever that is about, and by `X-Rewrite-History` it writes earlier versions anew. */
const REACHING_FURTHER = new Set(['if-none-exist', 'x-provenance', 'upgrade', 'x-cascade', 'x-rewrite-history']);

/** Header fields that would ask for more than the path and the query do, or for what cannot be read. */
export function judgeFields(fields: readonly string[]): Objection | undefined {
  let accept: string | undefined;
  let types = 0;
  for (let index = 0; index < fields.length; index += 2) {
    // As CGI and its heirs read it: to those If_None_Exist is the same field.
    const name = (fields[index] as string).toLowerCase().replace(/[^a-z0-9]/g, '-');
    const value = fields[index + 1] as string;
    if (REACHING_FURTHER.has(name)) return unknownShape(`the header field ${name}`);
    if (name === 'content-encoding' && value.trim().toLowerCase() !== 'identity') return unknownShape('a body that is encoded');
    // Readers differ in which of several counts.
    if (name === 'content-type' && ++types > 1) return unknownShape('several header fields content-type');
    if (name === 'accept') accept = accept === undefined ? value : `${accept},${value}`;
  }
  if (accept === undefined || accept.split(',').some(acceptsJson)) return undefined;
  return unknownShape(`Accept is ${quoted(accept)}: only JSON can be judged`);
}

function acceptsJson(range: string): boolean {
  const [type = ''] = range.split(';').map((part) => part.trim().toLowerCase());
  return type === '*/*' || type === 'application/*' || isJson(range);
}

/** Whether the media type of a body is one that can be judged as a resource. */
export function isJsonBody(contentType: string | undefined): boolean {
  return contentType !== undefined && contentType.toLowerCase().trimStart().startsWith('application/') && isJson(contentType);
}

/** Whom a request names in its path or its query, for the record. */
export function patientAsked({ segments, query }: FhirAsked): string | undefined {
  const [type = '', id] = segments;
  if (type === 'Patient' && id !== undefined && ID.test(id)) return id;
  if (segments.length !== 1 || !COMPARTMENT.has(type)) return undefined;
  const parsed = parseQuery(query);
  return parsed.kind === 'query' ? patientNamed(type, parsed) : undefined;
}
