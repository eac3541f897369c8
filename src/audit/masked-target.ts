import { RESOURCE_TYPES } from '../policy/fhir/r4.ts';
import { BEYOND_ASCII, know, maskText, showValue } from './masked-text.ts';
import type { Masking } from './masking.ts';

/** Segments of a route's path; `*` at the end stands for any number, `:…` for one that is an id. */
export type PathShape = readonly string[];

export function pathShape(path: string): PathShape {
  return path.slice(1).split('/');
}

/** Versions of interfaces, operations and searches of FHIR. */
const OWN_WORD = /^(?:[vVrR]\d{1,2}(?:\.\d{1,2})?|[$_][a-z][A-Za-z-]{0,39}|\*)$/;
/** Below this the gateway answers by itself. */
const OWN_PAGES = '.wardgate';
/** Names of its pages. */
const PAGE = /^[a-z][a-z-]{0,19}(?:\.[a-z]{2,4})?$/;

/** Of a version of a resource, which is nobody's. */
const REVISION = /^\d{1,6}$/;

/** A path with the ids in it masked; each segment is percent-decoded first, so that one value has one pseudonym. */
export function maskPath(path: string, masking: Masking): string {
  const { record: { route, fhir_base }, rules: { shapes, plain_segments: plain } } = masking;
  const written = path.split('/');
  const segments = written.map(decoded);
  const shape = route === undefined ? undefined : shapes.get(route);
  const depth = fhir_base !== undefined && path.startsWith(fhir_base) ? fhir_base.split('/').length - 1 : 0;
  const stays = (segment: string, index: number): boolean => {
    if (shape?.[index - 1]?.startsWith(':') === true) return false;
    if (index <= depth) return true;
    if (isBelowType(segments, index)) return false;
    if (segments[index - 1] === '_history' && REVISION.test(segment)) return true;
    return plain.has(segment) || RESOURCE_TYPES.has(segment) || OWN_WORD.test(segment) || (segments[1] === OWN_PAGES && (segment === OWN_PAGES || PAGE.test(segment)));
  };
  return written.map((text, index) => {
    const segment = segments[index] as string;
    if (segment === '') return text;
    return index > 0 && stays(segment, index) ? maskText(text, masking) : maskSegment(segment, masking);
  }).join('/');
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** `Patient/ID`, `Observation/ID/_history/1`: what follows a type is an id, unless it is the interface's own. */
function isBelowType(segments: readonly string[], index: number): boolean {
  const segment = segments[index] as string;
  return RESOURCE_TYPES.has(segments[index - 1] as string) && !/^[$_*]/.test(segment) && !RESOURCE_TYPES.has(segment);
}

/** What is shorter stands in other texts by chance, and what is quoted there is masked anyway; more would be made up to keep us busy. */
const LEAST_KNOWN = 4;
const MOST_KNOWN = 64;

function remember(value: string, masking: Masking): void {
  if ((value.length >= LEAST_KNOWN || value.length > 1 && BEYOND_ASCII.test(value)) && masking.known.size < MOST_KNOWN) know(value, showValue(value, masking), masking);
}

function maskSegment(segment: string, masking: Masking): string {
  remember(segment, masking);
  return showValue(segment, masking);
}

/** Names of parameters, modifiers and chains of FHIR's included; anything else may be a value without a name. */
const PARAMETER = /^[A-Za-z_][A-Za-z_.:[\]-]{0,63}\d{0,2}$/;

/** A query in which names of parameters stay, and values where they are declared to identify nobody. */
export function maskQuery(query: string, masking: Masking): string {
  return query.split(/([&;])/).map((part) => (part === '&' || part === ';' || part === '' ? part : maskParameter(part, masking))).join('');
}

function maskParameter(part: string, masking: Masking): string {
  const equals = part.indexOf('=');
  const name = formDecoded(equals === -1 ? part : part.slice(0, equals));
  const plain = masking.rules.plain_parameters.has(name);
  // Without a value it may be one.
  if (equals === -1) return plain ? name : showValue(name, masking);
  const shown = PARAMETER.test(name) ? maskText(name, masking) : showValue(name, masking);
  const value = formDecoded(part.slice(equals + 1));
  if (value === '') return `${shown}=`;
  return `${shown}=${plain ? encodeURI(maskText(value, masking).toWellFormed()).replace(/[&;#+]/g, encodeURIComponent) : maskParameterValue(value, masking)}`;
}

/** `Patient/ID`, alone or at the end of a URL: the type stays, and the id has the pseudonym that it has elsewhere. */
function maskParameterValue(value: string, masking: Masking): string {
  const [, type = '', id = ''] = /(?:^|\/)([A-Z][A-Za-z]{2,40})\/([^/|]+)$/.exec(value) ?? [];
  remember(value, masking);
  if (!RESOURCE_TYPES.has(type)) return showValue(value, masking);
  remember(id, masking);
  return `${type}/${showValue(id, masking)}`;
}

function formDecoded(text: string): string {
  return decoded(text.replaceAll('+', ' '));
}
