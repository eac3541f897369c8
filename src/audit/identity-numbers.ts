/** Numbers that states and insurers give to one person each, by the country whose they are. */
export type IdentityNumberKind = (typeof IDENTITY_NUMBER_KINDS)[number];

/** `cn` resident identity numbers of China (GB 11643, 18 places, or 15 before 1999), `de` the insured's number of Germany (KVNR), `uk` NHS numbers, `us` social security numbers. */
const IDENTITY_NUMBER_KINDS = ['cn', 'de', 'uk', 'us'] as const;

/** A number in a text; `number` without the separators between its places. */
export interface FoundNumber {
  readonly start: number;
  readonly end: number;
  readonly number: string;
}

/** A shape of numbers, and whether what has it is one. Each is found in time that grows with the text. */
interface Shape {
  readonly pattern: RegExp;
  readonly holds: (number: string) => boolean;
}

// No look-behind for a digit with 18 places: within a longer row of digits, too, what has a region, a day and the right check is one.
const SHAPES: Readonly<Record<IdentityNumberKind, readonly Shape[]>> = {
  cn: [
    { pattern: /(?=([1-9](?:[ .-]?\d){16}[ .-]?[\dXx]))/g, holds: isChinese18 },
    { pattern: /(?=((?<![0-9A-Za-z])[1-9]\d{14}(?![0-9A-Za-z])))/g, holds: isChinese15 },
  ],
  de: [{ pattern: /(?=((?<![0-9A-Za-z])[A-Za-z]\d{9}(?![0-9A-Za-z])))/g, holds: isGermanInsured }],
  uk: [{ pattern: /(?=((?<![0-9A-Za-z])\d{3}[ -]?\d{3}[ -]?\d{4}(?![0-9A-Za-z])))/g, holds: isNhs }],
  us: [{ pattern: /(?=((?<![0-9A-Za-z])\d{3}-\d{2}-\d{4}(?![0-9A-Za-z])))/g, holds: (number) => !/^(?:000|666|9)|^...00|0000$/.test(number) }],
};

/** What every one of the shapes has, so that most texts are looked through once. */
const ANY_NUMBER = /(?:[0-9\uff10-\uff19][ .-]?){9}/;

/** The identity numbers in a text, in their order; none overlaps another. Digits of full width count as digits. */
export function findIdentityNumbers(text: string, kinds: readonly IdentityNumberKind[]): readonly FoundNumber[] {
  if (!ANY_NUMBER.test(text)) return [];
  const plain = text.replace(/[\uff10-\uff19\uff38\uff58]/g, (wide) => String.fromCharCode(wide.charCodeAt(0) - 0xfee0));
  const found = kinds.flatMap((kind) => SHAPES[kind].flatMap((shape) => search(plain, shape)));
  let end = 0;
  return found.sort((one, other) => one.start - other.start || other.end - one.end).filter((one) => {
    if (one.start < end) return false;
    end = one.end;
    return true;
  });
}

function search(text: string, { pattern, holds }: Shape): FoundNumber[] {
  const found: FoundNumber[] = [];
  for (const { index, 1: written = '' } of text.matchAll(pattern)) {
    const number = written.replace(/[ .-]/g, '').toUpperCase();
    if (holds(number)) found.push({ start: index, end: index + written.length, number });
  }
  return found;
}

/** Provinces and the like, by the first two places. */
const REGIONS = new Set([
  11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63, 64, 65, 71, 81, 82, 83, 91,
]);
const WEIGHTS = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECKS = '10X98765432';

/** GB 11643: region, day of birth, order, and a check by ISO 7064 MOD 11-2. */
function isChinese18(number: string): boolean {
  if (!REGIONS.has(Number(number.slice(0, 2))) || !isDay(Number(number.slice(6, 10)), number.slice(10, 14))) return false;
  const sum = WEIGHTS.reduce((total, weight, place) => total + weight * Number(number[place]), 0);
  return CHECKS[sum % 11] === number[17];
}

function isChinese15(number: string): boolean {
  return REGIONS.has(Number(number.slice(0, 2))) && isDay(1900 + Number(number.slice(6, 8)), number.slice(8, 12));
}

function isDay(year: number, monthAndDay: string): boolean {
  const month = Number(monthAndDay.slice(0, 2));
  const day = Number(monthAndDay.slice(2));
  return year >= 1800 && year < 2200 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/** § 290 SGB V: a letter, eight digits and a check; the letter counts as the two digits of its place in the alphabet. */
function isGermanInsured(number: string): boolean {
  const digits = String(number.charCodeAt(0) - 64).padStart(2, '0') + number.slice(1, 9);
  const sum = [...digits].reduce((total, digit, place) => {
    const product = Number(digit) * (place % 2 === 0 ? 1 : 2);
    return total + (product > 9 ? product - 9 : product);
  }, 0);
  return sum % 10 === Number(number[9]);
}

/** Ten digits, the last a check modulo 11. */
function isNhs(number: string): boolean {
  const sum = [...number.slice(0, 9)].reduce((total, digit, place) => total + Number(digit) * (10 - place), 0);
  return (11 - (sum % 11)) % 11 === Number(number[9]);
}
