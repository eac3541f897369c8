import type { z } from 'zod';
import { closest } from './closest.ts';
import type { Fault, Path } from './issue.ts';
import { pathKey, show } from './issue.ts';

type SchemaIssue = z.core.$ZodIssue;

const KINDS: Readonly<Record<string, string>> = {
  string: 'text', number: 'a number', int: 'a whole number', boolean: 'true or false', object: 'a mapping', record: 'a mapping', array: 'a list',
};

/** `meant` is the key that a misspelt one stands for. */
type WordedFault = Fault & { readonly meant?: Path };

/**
 * Words the schema's issues about `value`: what was expected and what was given, one fault for each mistake. Left out is
 * what only follows from another: what is wrong with the whole because of something inside it, and a key that is missing
 * because it is misspelt.
 */
export function schemaFaults(issues: readonly SchemaIssue[], value: unknown): readonly Fault[] {
  const faults = issues.flatMap((issue) => wordIssue(issue, [], value));
  const around = new Set(faults.flatMap(({ path }) => path.map((_, length) => pathKey(path.slice(0, length)))));
  const meant = new Set(faults.flatMap((fault) => (fault.meant === undefined ? [] : [pathKey(fault.meant)])));
  return faults.filter((fault) => {
    const key = pathKey(fault.path);
    return !around.has(key) && !meant.has(key);
  });
}

function wordIssue(issue: SchemaIssue, base: Path, value: unknown): WordedFault[] {
  const path = [...base, ...issue.path.map((step) => (typeof step === 'number' ? step : String(step)))];
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key, issue.message));
  const branch = issue.code === 'invalid_union' ? fittingBranch(issue.errors) : undefined;
  if (branch !== undefined) return branch.flatMap((inner) => wordIssue(inner, path, value));
  if (issue.code === 'invalid_key') {
    return [{ path, at: 'key', message: `${issue.issues[0]?.message ?? issue.message}; got ${show(path.at(-1))}` }];
  }
  const given = lookUp(value, path);
  const expected = expectation(issue);
  return [given === undefined ? { path, message: `required, but missing: ${expected}` } : { path, message: `${expected}; got ${show(given)}` }];
}

/** The one alternative of a union that the value was meant for: its top is right, only something inside is wrong. */
function fittingBranch(branches: readonly (readonly SchemaIssue[])[]): readonly SchemaIssue[] | undefined {
  return branches.find((issues) => issues.every((issue) => issue.path.length > 0 || issue.code === 'unrecognized_keys'));
}

/** `known` is the list of known keys that the schema's `mapping` puts in place of a message. */
function unknownKey(parent: Path, key: string, known: string): WordedFault {
  const fault = { path: [...parent, key], at: 'key' } as const;
  const meant = closest(key, known.split(', '));
  if (meant === undefined) return { ...fault, message: `unknown key ${show(key)}; known: ${known}` };
  return { ...fault, message: `unknown key ${show(key)}; did you mean "${meant}"?`, meant: [...parent, meant] };
}

function expectation(issue: SchemaIssue): string {
  if (issue.message.startsWith('expected ')) return issue.message;
  if (issue.code === 'invalid_type') return `expected ${KINDS[issue.expected] ?? issue.expected}`;
  return `expected something else (${issue.message})`;
}

/** The value at `path` of plain data; `undefined` when there is none. */
export function lookUp(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((inner, step) => {
    if (typeof inner !== 'object' || inner === null || !Object.hasOwn(inner, step)) return undefined;
    return (inner as Record<string | number, unknown>)[step];
  }, value);
}
