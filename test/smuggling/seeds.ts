import { FRAMING, SYNTAX } from './requests.ts';
import type { Seeds } from '../support/http1-generator.ts';

/** The octets of all attacks, for a fuzzer to start from. */
export function seedsOfAttacks(): Seeds {
  return { requests: [FRAMING, SYNTAX].flatMap((groups) => Object.values(groups).flat()).map(({ octets }) => (typeof octets === 'string' ? octets : octets.join(''))).filter((octets) => octets.length < 2_000), answers: [] };
}
