import type { Fault, Path } from './issue.ts';

export interface Setting {
  /** Keys from the top; `[]` stands for each item of a list. */
  readonly path: string;
}

/** What the schema knows and this version does not enforce: any value but an empty list and false. A setting leaves this list with the change that enforces it. */
export const NOT_YET: readonly Setting[] = [
  { path: 'listeners[].client_auth.forwarded' },
];

/**
 * The settings of a configuration, raw or parsed, that this version knows but does not enforce. They are refused: a
 * security setting that is silently ignored is worse than none.
 */
export function unimplemented(config: unknown): readonly Fault[] {
  return NOT_YET.flatMap((setting) =>
    matches(config, setting.path.replaceAll('[]', '.[]').split('.'))
      .filter(({ value }) => isSet(value))
      .map(({ path }) => ({ path, message: 'not available in this version' })),
  );
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);
}

function matches(value: unknown, steps: readonly string[], path: Path = []): { readonly path: Path; readonly value: unknown }[] {
  const [step, ...rest] = steps;
  if (step === undefined) return [{ path, value }];
  if (step === '[]') return Array.isArray(value) ? value.flatMap((item: unknown, index) => matches(item, rest, [...path, index])) : [];
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return [];
  return matches((value as Record<string, unknown>)[step], rest, [...path, step]);
}
