import type { Config } from './schema.ts';

/** The keys that only a restart can change, with all below them; `audit` but for its sinks. */
export const UNCHANGEABLE = ['state', 'threads', 'limits.connections', 'audit', 'admin.socket', 'metrics', 'store', 'second_factor.key_file', 'second_factor.previous_key_files'] as const;

/** What differs and only a restart can change, by the name of its key. */
export function unchangeable(before: Config, after: Config): string | undefined {
  const [left, right] = [before, after].map(withoutSinks);
  for (const key of UNCHANGEABLE) {
    const found = differing(valueOf(left, key), valueOf(right, key), key);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Those who get records may come and go. */
function withoutSinks(config: Config): Config {
  return { ...config, audit: { ...config.audit, sinks: [] } };
}

function valueOf(config: unknown, key: string): unknown {
  return key.split('.').reduce((value, part) => (isMapping(value) ? value[part] : undefined), config);
}

/** The first key at or below `key` whose values differ. */
function differing(left: unknown, right: unknown, key: string): string | undefined {
  if (JSON.stringify(left) === JSON.stringify(right)) return undefined;
  if (!isMapping(left) || !isMapping(right)) return key;
  for (const part of new Set([...Object.keys(left), ...Object.keys(right)])) {
    const found = differing(left[part], right[part], `${key}.${part}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
