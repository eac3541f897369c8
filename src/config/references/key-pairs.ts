import type { Fault, Path } from '../issue.ts';
import { lookUp } from '../schema-faults.ts';

/** A certificate without its key, or a key without its certificate. */
export function halfPairs(value: unknown, path: Path, prefix = ''): Fault[] {
  const certificate = lookUp(value, [...path, 'certificate']);
  const key = lookUp(value, [...path, 'key']);
  if (certificate !== undefined && key === undefined) return [{ path: [...path, 'certificate'], message: `expected its private key beside it, in ${prefix}key` }];
  if (certificate === undefined && key !== undefined) return [{ path: [...path, 'key'], message: `expected its certificate beside it, in ${prefix}certificate` }];
  return [];
}
