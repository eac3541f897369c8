import { ABOUT, ID, mismatch, missing, patientOf, quoted, unknownShape, type Compartment, type Objection } from './compartment.ts';
import { COMPARTMENT, RESOURCE_TYPES } from './r4.ts';

/** A query or a form (application/x-www-form-urlencoded) as it is read by everybody. */
export type Query = { readonly kind: 'query'; readonly pairs: readonly Pair[] };

export interface Pair {
  readonly name: string;
  readonly value: string;
}

const MOST_PARAMETERS = 100;

/** Reads a query. What two servers take apart differently is an objection: `;` as a separator, incomplete escapes, text that is no UTF-8. */
export function parseQuery(text: string): Query | Objection {
  if (text.includes(';')) return unknownShape('a query with ";", which separates parameters for some');
  const parts = text === '' ? [] : text.split('&');
  if (parts.length > MOST_PARAMETERS) return unknownShape(`a query of more than ${MOST_PARAMETERS} parameters`);
  const pairs: Pair[] = [];
  for (const part of parts) {
    const equals = part.indexOf('=');
    const name = decoded(equals === -1 ? part : part.slice(0, equals));
    const value = decoded(equals === -1 ? '' : part.slice(equals + 1));
    if (name === undefined || value === undefined) return unknownShape('a query that is not percent-encoded UTF-8');
    if (name === '') return unknownShape('a parameter without a name');
    // eslint-disable-next-line no-control-regex
    if (/[\u0000-\u001f\u007f]/.test(name + value)) return unknownShape('a control character in the query');
    pairs.push({ name, value });
  }
  return { kind: 'query', pairs };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

export interface SearchRules {
  readonly compartment: Compartment;
  /** Parameters of the server's own that lead through the pages of an answer. */
  readonly pages: ReadonlySet<string>;
}

/** How an answer is written. */
const FORMAT = new Set(['_format', '_pretty']);
/** What a read may say beside. */
const READ = new Set([...FORMAT, '_summary', '_elements']);
const HISTORY = new Set([...FORMAT, '_count', '_since', '_at']);
/** Nothing that chooses: it holds what its patient had a part in, too, and a choice among that would tell of those whom it is about. */
const EVERYTHING = new Set([...READ, '_count']);
/** Of a search: what narrows it, and what says how much of it is answered. */
const PLAIN = new Set([...FORMAT, '_id', '_lastUpdated', '_count', '_sort', '_summary', '_elements', '_total', '_maxresults']);
/** Beside what leads to a page: nothing that chooses among resources. */
const PAGE = new Set([...FORMAT, '_count', '_summary', '_elements', '_total']);
const FILTERS = new Set(['_tag', '_profile', '_security', '_source', '_text', '_content']);
const INCLUDES = new Set(['_include', '_revinclude']);

const CODE = /^([a-z][A-Za-z0-9-]*)(?::([A-Za-z-]+))?(\..*)?$/;
/** Modifiers that choose among the values of one element. */
const MODIFIERS = new Set(['exact', 'contains', 'text', 'not', 'above', 'below', 'in', 'not-in', 'of-type', 'missing']);
const CHAIN = /^\.[a-z_][A-Za-z0-9-]*(?::(?:exact|contains|text|not|missing))?$/;
const INCLUDE = /^(?:\*|[A-Z][A-Za-z]+:(?:\*|[a-z][A-Za-z0-9-]*)(?::[A-Z][A-Za-z]+)?)$/;

export type Plain = 'read' | 'history' | 'everything' | 'format';
const ALLOWED: Readonly<Record<Plain, ReadonlySet<string>>> = { read: READ, history: HISTORY, everything: EVERYTHING, format: FORMAT };

/** The query of what is no search. */
export function judgePlainQuery({ pairs }: Query, what: Plain, { pages }: SearchRules): Objection | undefined {
  for (const { name, value } of pairs) {
    if (!ALLOWED[what].has(name) && !(what !== 'format' && pages.has(name))) return unknownShape(`the parameter ${quoted(name)}`);
    if (name === '_format' && !isJson(value)) return unknownShape(`the format ${quoted(value)}`);
  }
  return undefined;
}

/**
 * A page of an answer that was given before: nothing but the server's own parameters says of what. Asked of the base only, where a server
 * that does not know them has nothing to search.
 */
export function judgePage({ pairs }: Query, { pages }: SearchRules): Objection | undefined {
  if (!pairs.some(({ name }) => pages.has(name))) return missing('a search of everything');
  for (const { name, value } of pairs) {
    if (!pages.has(name) && !PAGE.has(name)) return unknownShape(`the parameter ${quoted(name)}`);
    if (name === '_format' && !isJson(value)) return unknownShape(`the format ${quoted(value)}`);
  }
  return undefined;
}

/**
 * A search: parameters narrow it, each for itself (FHIR R4, search, section 3.1.1.3), so one that names this patient in a way
 * that has one reading is enough, as long as none of the others does more than narrow. `bound`: its path has named the patient, and with that
 * what they had a part in, too, of which nothing may choose: how much there is would tell what is known of those whom it is about.
 */
export function judgeSearch(type: string, { pairs }: Query, bound: boolean, rules: SearchRules): Objection | undefined {
  let named = (bound && (!hasParts(type) || !pairs.some(chooses))) || rules.compartment.shared.has(type);
  for (const pair of pairs) {
    const finding = judgeParameter(type, pair, rules);
    if (typeof finding === 'object') return finding;
    named ||= finding === 'names';
  }
  return named ? undefined : missing(`a search of ${type === '' ? 'all types' : type} that names no patient${bound ? ' whom it is about' : ''}`);
}

/**
 * Whether a parameter does anything but ask for all of something, in whatever detail and pages. An order chooses as well: by the page that is
 * refused it shows what stands before and behind, and a total shows how much there is on pages that have not been asked for.
 */
function chooses(pair: Pair): boolean {
  return !EVERYTHING.has(pair.name) || isCount(pair);
}

/** Whether a parameter asks for a number in the place of resources: nothing of such an answer can be judged. */
export function isCount({ name, value }: Pair): boolean {
  return (name === '_summary' && value === 'count') || (name === '_count' && !/[1-9]/.test(value));
}

/** Whether a type ('' is any) is about somebody, and in the compartment of others who had a part in it as well. */
function hasParts(type: string): boolean {
  const { elements = [] } = COMPARTMENT.get(type) ?? {};
  return type === '' || (elements.some((path) => ABOUT.has(path)) && elements.some((path) => !ABOUT.has(path)));
}

/** Of types that may be shared and are not everybody's all the same: whether a patient has one is not for others to find out. */
const SHARED_SEARCH = new Map<string, Readonly<Record<string, 'id'>>>([['Device', { patient: 'id' }]]);

/** How a parameter names patients; undefined when it does not. Every object has a "constructor". */
function namingKind(type: string, code: string): 'id' | 'reference' | undefined {
  const search = COMPARTMENT.get(type)?.search ?? SHARED_SEARCH.get(type);
  return search !== undefined && Object.hasOwn(search, code) ? search[code] : undefined;
}

/** `names`: by it alone the search is this patient's. */
function judgeParameter(type: string, { name, value }: Pair, { compartment, pages }: SearchRules): 'names' | 'narrows' | Objection {
  if (pages.has(name)) return 'narrows';
  if (name.startsWith('_')) return judgeSpecial(type, name, value, compartment);
  const [, code = '', modifier, chain] = CODE.exec(name) ?? [];
  if (code === '') return unknownShape(`the parameter ${quoted(name)}`);
  if (chain !== undefined) {
    return modifier !== undefined && compartment.shared.has(modifier) && CHAIN.test(chain) ? 'narrows' : unknownShape(`a chained parameter ${quoted(name)}`);
  }
  // Patients that are linked to this one are others, whoever they are.
  const kind = type === 'Patient' || (hasParts(type) && !ABOUT.has(code)) ? undefined : namingKind(type, code);
  if (kind !== undefined) return judgeNaming(name, kind, modifier, value, compartment);
  // Servers that do not mind the case of names take it for one more of the same.
  const plain = code.toLowerCase();
  if (plain !== code && namingKind(type, plain) !== undefined) return unknownShape(`the parameter ${quoted(name)}`);
  if (modifier !== undefined && !MODIFIERS.has(modifier) && (!RESOURCE_TYPES.has(modifier) || modifier === 'Patient')) return unknownShape(`the parameter ${quoted(name)}`);
  return mentionsOther(value, compartment) ? mismatch(`${name} is ${quoted(value)}`) : 'narrows';
}

function judgeNaming(name: string, kind: 'id' | 'reference', modifier: string | undefined, value: string, compartment: Compartment): 'names' | 'narrows' | Objection {
  if (modifier !== undefined && modifier !== 'Patient') {
    if (kind === 'id' || !RESOURCE_TYPES.has(modifier)) return unknownShape(`the parameter ${quoted(name)}`);
    return mentionsOther(value, compartment) ? mismatch(`${name} is ${quoted(value)}`) : 'narrows';
  }
  if (patientOf(value, compartment) === 'own') return 'names';
  const bare = kind === 'id' || modifier === 'Patient';
  if (bare && value === compartment.patient) return 'names';
  if (bare || mentionsOther(value, compartment)) return mismatch(`${name} is ${quoted(value)}`);
  return 'narrows';
}

function judgeSpecial(type: string, name: string, value: string, compartment: Compartment): 'names' | 'narrows' | Objection {
  if (name === '_id' && type === 'Patient') return value === compartment.patient ? 'names' : mismatch(`_id is ${quoted(value)}`);
  if (name === '_format' && !isJson(value)) return unknownShape(`the format ${quoted(value)}`);
  if (PLAIN.has(name)) return 'narrows';
  const colon = name.indexOf(':');
  const [base, modifier] = colon === -1 ? [name, undefined] : [name.slice(0, colon), name.slice(colon + 1)];
  if (FILTERS.has(base) && (modifier === undefined || MODIFIERS.has(modifier))) return 'narrows';
  if (INCLUDES.has(base) && (modifier === undefined || modifier === 'iterate' || modifier === 'recurse') && INCLUDE.test(value)) {
    // What refers to something that is everybody's is other patients'.
    return base === '_revinclude' && compartment.shared.has(type) ? unknownShape(`${name} in a search of ${type}`) : 'narrows';
  }
  return unknownShape(`the parameter ${quoted(name)}`);
}

function mentionsOther(value: string, compartment: Compartment): boolean {
  return value.split(',').some((one) => patientOf(one, compartment) === 'other');
}

/** The media types of FHIR in JSON; a version of another edition is another format. */
export function isJson(format: string): boolean {
  const [type = '', ...parameters] = format.split(';').map((part) => part.trim().toLowerCase());
  // "+" is a blank in a query, and many write it so.
  const known = type === 'json' || type === 'application/json' || type === 'application/fhir+json' || type === 'application/fhir json';
  return known && parameters.every((parameter) => parameter === 'charset=utf-8' || parameter === 'charset="utf-8"' || /^fhirversion="?4\.0(\.1)?"?$/.test(parameter) || /^q=[01](\.\d{0,3})?$/.test(parameter));
}

/** Whom a search names, for the record: the patient's id where all that name one name the same. */
export function patientNamed(type: string, { pairs }: Query): string | undefined {
  const named = new Set<string>();
  for (const { name, value } of pairs) {
    const [code = '', modifier] = name.split(':');
    const kind = type === 'Patient' && code === '_id' ? 'id' : namingKind(type, code);
    if (kind === undefined || (modifier !== undefined && modifier !== 'Patient')) continue;
    const id = /(?:^|\/)Patient\/([^/?#]+)$/.exec(value)?.[1] ?? (kind === 'id' || modifier === 'Patient' ? value : undefined);
    if (id !== undefined && ID.test(id)) named.add(id);
  }
  return named.size === 1 ? [...named][0] : undefined;
}
