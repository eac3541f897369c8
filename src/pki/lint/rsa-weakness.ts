/**
 * Whether an RSA modulus shows that its primes were made badly, in one of the ways that the Baseline Requirements (section
 * 6.1.1.3) have CAs look for and that take no list of known keys. `undefined`: none of them shows.
 */
export function rsaWeakness(modulus: bigint): string | undefined {
  if (modulus <= 3n) return 'its modulus is no product of primes';
  const factor = SMALL_PRIMES.find((prime) => modulus % BigInt(prime) === 0n);
  if (factor !== undefined) return `its modulus is divisible by ${factor}`;
  if (isRoca(modulus)) return 'its primes have the form of CVE-2017-15361 (ROCA)';
  return hasClosePrimes(modulus) ? 'its primes lie so close together that Fermat\'s method finds them' : undefined;
}

/** Below 752, as NIST SP 800-89 section 5.3.3 has it. */
const SMALL_PRIMES = primesBelow(752);

function primesBelow(limit: number): readonly number[] {
  const primes: number[] = [];
  for (let candidate = 2; candidate < limit; candidate += 1) {
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate);
  }
  return primes;
}

/**
 * Nemec, Sýs, Švenda, Klinec and Matyáš, "The Return of Coppersmith's Attack" (2017), section 3: such primes are a power of
 * 65537 modulo the product of the first primes, and so is their product. A modulus made well passes by chance once in 2^27.
 */
const GENERATOR = 65_537;
const FINGERPRINT: readonly (readonly [prime: number, powers: ReadonlySet<number>])[] = primesBelow(168).filter((prime) => prime > 2).map((prime) => [prime, powersModulo(prime)]);

function powersModulo(prime: number): ReadonlySet<number> {
  const powers = new Set<number>();
  for (let power = 1; !powers.has(power); power = (power * GENERATOR) % prime) powers.add(power);
  return powers;
}

function isRoca(modulus: bigint): boolean {
  return FINGERPRINT.every(([prime, powers]) => powers.has(Number(modulus % BigInt(prime))));
}

const FERMAT_ROUNDS = 100;

/** Looks for n = a² − b² with a near √n (Baseline Requirements section 6.1.1.3: a hundred rounds). */
function hasClosePrimes(modulus: bigint): boolean {
  const root = squareRoot(modulus);
  let a = root * root === modulus ? root : root + 1n;
  for (let round = 0; round < FERMAT_ROUNDS; round += 1, a += 1n) {
    if (isSquare(a * a - modulus)) return true;
  }
  return false;
}

// Most numbers are no square by their remainders alone, which spares the root.
const SQUARES_MODULO = [64n, 63n, 65n, 11n].map((divisor) => {
  const remainders = new Set<bigint>();
  for (let value = 0n; value < divisor; value += 1n) remainders.add((value * value) % divisor);
  return [divisor, remainders] as const;
});

function isSquare(value: bigint): boolean {
  if (!SQUARES_MODULO.every(([divisor, remainders]) => remainders.has(value % divisor))) return false;
  const root = squareRoot(value);
  return root * root === value;
}

/** The whole part of the root, by Newton's method from above. */
function squareRoot(value: bigint): bigint {
  if (value < 2n) return value;
  let root = 1n << BigInt(Math.ceil(value.toString(16).length * 2) + 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}
