import type { Seeds } from '../support/http1-generator.ts';
import { ANSWERS } from './answers.ts';
import { FRAMING, SYNTAX } from './requests.ts';

/** The octets of all attacks, for a fuzzer to start from. */
export function seedsOfAttacks(): Seeds {
  return { requests: octetsOf([FRAMING, SYNTAX]), answers: octetsOf([ANSWERS]) };
}

function octetsOf(groups: readonly Readonly<Record<string, readonly { readonly octets: string | readonly string[] }[]>>[]): string[] {
  const all = groups.flatMap((group) => Object.values(group).flat()).map(({ octets }) => (typeof octets === 'string' ? octets : octets.join('')));
  return all.filter((octets) => octets.length < 2_000);
}
