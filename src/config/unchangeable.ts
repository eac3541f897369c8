import type { Config } from './schema.ts';

const FIXED = { store: 'store', state: 'state', audit: 'audit.directory', admin: 'admin.socket', threads: 'threads', metrics: 'metrics.address' } as const;

/** What differs and only a restart can change, by the name of its key. */
export function unchangeable(before: Config, after: Config): string | undefined {
  if (before.limits.connections !== after.limits.connections) return 'limits.connections';
  for (const [key, name] of Object.entries(FIXED)) {
    const same = JSON.stringify(before[key as keyof typeof FIXED]) === JSON.stringify(after[key as keyof typeof FIXED]);
    if (!same) return name;
  }
  return undefined;
}
