import type { Config } from './schema.ts';

const FIXED = { store: 'store', state: 'state', admin: 'admin.socket', threads: 'threads', metrics: 'metrics.address' } as const;

/** What differs and only a restart can change, by the name of its key. */
export function unchangeable(before: Config, after: Config): string | undefined {
  if (before.limits.connections !== after.limits.connections) return 'limits.connections';
  if (sealing(before) !== sealing(after)) return 'second_factor.key_file';
  if (evidence(before) !== evidence(after)) return 'audit';
  for (const [key, name] of Object.entries(FIXED)) {
    const same = JSON.stringify(before[key as keyof typeof FIXED]) === JSON.stringify(after[key as keyof typeof FIXED]);
    if (!same) return name;
  }
  return undefined;
}

/** The keys of second factors are those of the start. */
function sealing({ second_factor: { key_file, previous_key_files } }: Config): string {
  return JSON.stringify([key_file, previous_key_files]);
}

/** Those who get records may come and go. */
function evidence({ audit }: Config): string {
  return JSON.stringify({ ...audit, sinks: [] });
}
