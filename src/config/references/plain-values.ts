import { printable, type Path } from '../issue.ts';
import { lookUp } from '../schema-faults.ts';
import { parseDuration } from '../values.ts';

/** A duration in ms; undefined where there is none, or something else. */
export function durationAt(value: unknown, path: Path): number | undefined {
  const found = lookUp(value, path);
  return typeof found === 'string' ? parseDuration(found) : undefined;
}

/** The end of a message that a name is not one of these. */
export function listKnown(names: readonly string[]): string {
  return `known: ${names.length === 0 ? 'none' : printable(names.join(', '))}`;
}

/** The texts at a key that holds one or a list of them, each with its place. */
export function texts(value: unknown, path: Path): readonly { readonly text: string; readonly place: Path }[] {
  const found = lookUp(value, path);
  const places = Array.isArray(found) ? found.map((text: unknown, index) => ({ text, place: [...path, index] })) : [{ text: found, place: path }];
  return places.flatMap(({ text, place }) => (typeof text === 'string' ? [{ text, place }] : []));
}

/** The items of a list; none where there is no list. */
export function items(value: unknown, path: Path): readonly unknown[] {
  const found = lookUp(value, path);
  return Array.isArray(found) ? found : [];
}

/** The keys of a mapping; none where there is no mapping. */
export function keys(value: unknown, path: Path): readonly string[] {
  const found = lookUp(value, path);
  return typeof found === 'object' && found !== null && !Array.isArray(found) ? Object.keys(found) : [];
}
