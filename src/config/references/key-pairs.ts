import type { Fault, Path } from '../issue.ts';
import { lookUp } from '../schema-faults.ts';

const PASSPHRASES = ['passphrase_file', 'passphrase_command'] as const;

/**
 * What does not go together of a certificate of the gateway's own: one without its key, a key without its certificate, both
 * beside a file that holds both, a passphrase for nothing. `prefix` is what stands before the keys in messages.
 */
export function halfPairs(value: unknown, path: Path, prefix = ''): Fault[] {
  const given = (key: string): boolean => lookUp(value, [...path, key]) !== undefined;
  const aimless = given('key') || given('pkcs12') ? [] : PASSPHRASES.filter(given);
  return [
    ...apart(path, prefix, given),
    ...aimless.map((key): Fault => ({ path: [...path, key], at: 'key', message: `has no meaning without ${prefix}key or ${prefix}pkcs12` })),
    ...(PASSPHRASES.every(given) ? [{ path: [...path, 'passphrase_command'], at: 'key' as const, message: `expected ${prefix}passphrase_file or ${prefix}passphrase_command, not both` }] : []),
  ];
}

function apart(path: Path, prefix: string, given: (key: string) => boolean): Fault[] {
  const beside = (['certificate', 'key'] as const).find(given);
  if (given('pkcs12')) return beside === undefined ? [] : [{ path: [...path, beside], at: 'key', message: `expected ${prefix}certificate and ${prefix}key, or ${prefix}pkcs12 in place of both` }];
  if (given('certificate') && !given('key')) return [{ path: [...path, 'certificate'], message: `expected its private key beside it, in ${prefix}key` }];
  if (given('key') && !given('certificate')) return [{ path: [...path, 'key'], message: `expected its certificate beside it, in ${prefix}certificate` }];
  return [];
}

/** The same, where there has to be one. */
export function pairFaults(value: unknown, path: Path): Fault[] {
  const pair = lookUp(value, path);
  if (typeof pair !== 'object' || pair === null || Array.isArray(pair)) return [];
  const none = ['certificate', 'key', 'pkcs12'].every((key) => lookUp(value, [...path, key]) === undefined);
  return [...(none ? [{ path, message: 'expected certificate and key, or pkcs12' }] : []), ...halfPairs(value, path)];
}
