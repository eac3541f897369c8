import { randomBytes } from 'node:crypto';

/**
 * Shamir's scheme (A. Shamir, "How to share a secret", 1979) over GF(2^8) with the polynomial x^8 + x^4 + x^3 + x + 1 (FIPS 197 §4.2), each octet of
 * the secret by itself: a share is `x`, 1 to 255, and the values there of polynomials whose constant terms are the secret.
 */
export interface Share {
  readonly x: number;
  readonly values: Uint8Array;
}

/** Splits a secret into shares of which any `need` give it back, and fewer say nothing about it. 1 <= need <= count <= 255. */
export function splitSecret(secret: Uint8Array, count: number, need: number, random: (octets: number) => Uint8Array = randomBytes): readonly Share[] {
  if (!(need >= 1 && need <= count && count <= 255)) throw new RangeError(`cannot split into ${count} shares of which ${need} are needed`);
  const coefficients = Array.from({ length: need - 1 }, () => random(secret.length));
  return Array.from({ length: count }, (_, index) => {
    const x = index + 1;
    return { x, values: secret.map((octet, place) => at([octet, ...coefficients.map((row) => row[place] ?? 0)], x)) };
  });
}

/** The secret of so many different shares as it needs; of fewer, or of others, something else comes out, which nobody can tell from here. */
export function joinShares(shares: readonly Share[]): Uint8Array {
  const [first] = shares;
  if (first === undefined || new Set(shares.map(({ x }) => x)).size < shares.length || shares.some(({ x, values }) => x < 1 || x > 255 || values.length !== first.values.length)) {
    throw new RangeError('expected different shares of one secret');
  }
  const weights = shares.map(({ x }) => shares.filter((other) => other.x !== x).reduce((product, other) => multiply(product, multiply(other.x, inverse(other.x ^ x))), 1));
  return first.values.map((_, place) => shares.reduce((sum, { values }, index) => sum ^ multiply(values[place] ?? 0, weights[index] ?? 0), 0));
}

/** The value of a polynomial, its constant term first (Horner). */
function at(coefficients: readonly number[], x: number): number {
  return coefficients.reduceRight((sum, coefficient) => multiply(sum, x) ^ coefficient, 0);
}

/** The same steps whatever the octets are: a table would be read at places that tell of the secret. */
function multiply(left: number, right: number): number {
  let product = 0;
  let factor = left;
  for (let bit = 0; bit < 8; bit++) {
    product ^= factor & -((right >> bit) & 1);
    factor = ((factor << 1) ^ (0x11b & -((factor >> 7) & 1))) & 0xff;
  }
  return product & 0xff;
}

/** a^254, since a^255 = 1 for every a but 0. */
function inverse(octet: number): number {
  let result = 1;
  let power = octet;
  for (let bit = 1; bit < 8; bit++) {
    power = multiply(power, power);
    result = multiply(result, power);
  }
  return result;
}
