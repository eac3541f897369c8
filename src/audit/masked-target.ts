import { RESOURCE_TYPES } from '../policy/fhir/r4.ts';
import { maskText } from './masked-text.ts';
import type { Masking } from './masking.ts';

/** Which segments of paths are ids: of the routes by their names, and of the declared paths. */
export interface PathShapes {
  readonly routes: ReadonlyMap<string, PathShape>;
  readonly declared: readonly PathShape[];
}

/** Segments of a path; `*` at the end stands for any number, `:…` for an id. */
type PathShape = readonly string[];

export function pathShapes(declared: readonly string[], routes: readonly (readonly [name: string, path: string])[]): PathShapes {
  const shapeOf = (path: string): PathShape => path.slice(1).split('/');
  return { routes: new Map(routes.map(([name, path]) => [name, shapeOf(path)])), declared: declared.map(shapeOf) };
}

/** What interfaces call their own things, and ids are not like: letters, few digits behind them. */
const WORD = /^[A-Za-z$_][A-Za-z$_.-]{0,39}\d{0,2}(?:\.[A-Za-z]{1,8})?$/;
/** Versions of interfaces. */
const VERSION = /^[vVrR]\d{1,2}(?:\.\d{1,2})?[a-z]?$/;

/** Of a version of a resource, which is nobody's. */
const REVISION = /^\d{1,6}$/;

/** A path with the ids in it masked; each segment is percent-decoded first, so that one value has one pseudonym. */
export function maskPath(path: string, masking: Masking): string {
  const { record: { route, fhir_base }, rules: { shapes } } = masking;
  const written = path.split('/');
  const segments = written.map(decoded);
  const shape = route === undefined ? undefined : shapes.routes.get(route);
  const depth = fhir_base === undefined ? 0 : fhir_base.split('/').length - 1;
  return written.map((text, index) => {
    const segment = segments[index] as string;
    // Before the first slash.
    if (index === 0 || segment === '') return text.startsWith('/') || text === '' ? text : maskSegment(segment, masking);
    if (index <= depth) return text;
    const place = placeOf(shape, index - 1);
    const id = place === 'id' || shapes.declared.some((one) => fits(one, segments) && placeOf(one, index - 1) === 'id') || isBelowType(segments, index);
    if (id) return maskSegment(segment, masking);
    if (segments[index - 1] === '_history' && REVISION.test(segment)) return text;
    return place === 'word' || WORD.test(segment) || VERSION.test(segment) ? maskText(text, masking) : maskSegment(segment, masking);
  }).join('/');
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function placeOf(shape: PathShape | undefined, index: number): 'id' | 'word' | undefined {
  const place = shape?.[index];
  if (place === undefined || place === '*') return undefined;
  return place.startsWith(':') ? 'id' : 'word';
}

function fits(shape: PathShape, [, ...segments]: readonly string[]): boolean {
  return shape.every((place, index) => place === '*' || place.startsWith(':') || place === segments[index]) && (shape.at(-1) === '*' || shape.length === segments.length);
}

/** `Patient/ID`, `Observation/ID/_history/1`: what follows a type is an id, unless it is the interface's own. */
function isBelowType(segments: readonly string[], index: number): boolean {
  const segment = segments[index] as string;
  return RESOURCE_TYPES.has(segments[index - 1] as string) && !/^[$_*]/.test(segment) && !RESOURCE_TYPES.has(segment);
}

/** What is shorter stands in other texts by chance, and what is quoted there is masked anyway; more would be made up to keep us busy. */
const LEAST_KNOWN = 4;
const MOST_KNOWN = 64;

function remember(value: string, { known }: Masking): void {
  if (value.length >= LEAST_KNOWN && known.size < MOST_KNOWN) known.add(value);
}

function maskSegment(segment: string, masking: Masking): string {
  const { pseudonyms } = masking;
  remember(segment, masking);
  return pseudonyms.patient(segment);
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
  const shown = PARAMETER.test(name) ? maskText(name, masking) : masking.pseudonyms.of(name);
  if (equals === -1) return shown;
  const value = formDecoded(part.slice(equals + 1));
  if (value === '') return `${shown}=`;
  return `${shown}=${masking.rules.plain_parameters.has(name) ? encodeURI(maskText(value, masking).toWellFormed()).replace(/[&;#+]/g, encodeURIComponent) : maskParameterValue(value, masking)}`;
}

/** `Patient/ID`, alone or at the end of a URL: the type stays, and the id has the pseudonym that it has elsewhere. */
function maskParameterValue(value: string, masking: Masking): string {
  const { pseudonyms } = masking;
  const [, type = '', id = ''] = /(?:^|\/)([A-Z][A-Za-z]{2,40})\/([^/|]+)$/.exec(value) ?? [];
  remember(value, masking);
  if (!RESOURCE_TYPES.has(type)) return pseudonyms.patient(value);
  remember(id, masking);
  return `${type}/${pseudonyms.patient(id)}`;
}

function formDecoded(text: string): string {
  return decoded(text.replaceAll('+', ' '));
}
