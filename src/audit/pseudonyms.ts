import { createHmac } from 'node:crypto';
import { findIdentityNumbers, type IdentityNumberKind } from './identity-numbers.ts';

/** What pseudonyms are made with: whoever has it can find whose they are by trying, and nobody else. */
export interface MaskKey {
  /** Eight hexadecimal digits that say nothing of the secret. */
  readonly id: string;
  readonly secret: Uint8Array;
}

/** What stands for somebody, or for a number. */
export interface Pseudonyms {
  /** For any value: `~`, the key's id, a dot and 24 hexadecimal digits. */
  of(value: string): string;
  /** For what is known to be the id of a patient. */
  patient(value: string): string;
  /** For what may be anything: no part of it is shown, unless it is an identity number as a whole. */
  unknown(value: string): string;
  identityNumber(number: string): string;
  name(value: string): string;
}

/** Shorter ones would be told by their last six. */
const LEAST_FOR_LAST6 = 12;
const MOST_REMEMBERED = 10_000;

interface Shown {
  readonly patients: 'hash' | 'last6';
  readonly identity_numbers: 'hash' | 'last6';
  readonly countries: readonly IdentityNumberKind[];
  readonly names: 'hash' | 'hide';
}

/** Pseudonyms by the key of the time. One value has one, wherever it stands and however it is spaced. */
export function createPseudonyms(key: () => MaskKey, { patients, identity_numbers, countries, names }: Shown): Pseudonyms {
  let made = new Map<string, string>();
  let madeWith = '';

  function of(value: string): string {
    const { id, secret } = key();
    if (id !== madeWith || made.size >= MOST_REMEMBERED) made = new Map();
    madeWith = id;
    let pseudonym = made.get(value);
    if (pseudonym === undefined) made.set(value, pseudonym = pseudonymOf({ id, secret }, value, countries));
    return pseudonym;
  }

  const shown = (value: string, how: 'hash' | 'last6'): string => (how === 'last6' && value.length >= LEAST_FOR_LAST6 ? '*'.repeat(value.length - 6) + value.slice(-6) : of(value));
  const isNumber = (value: string): boolean => wholeNumber(value, countries) !== undefined;
  return {
    of,
    patient: (value) => shown(value, isNumber(value) ? identity_numbers : patients),
    unknown: (value) => shown(value, isNumber(value) ? identity_numbers : 'hash'),
    identityNumber: (number) => shown(number, identity_numbers),
    name: (value) => (names === 'hide' ? '***' : of(value)),
  };
}

/** HMAC-SHA-256, truncated to 96 bits. */
export function pseudonymOf({ id, secret }: MaskKey, value: string, countries: readonly IdentityNumberKind[]): string {
  const digest = createHmac('sha256', secret).update(wholeNumber(value, countries) ?? value.normalize('NFC'), 'utf8').digest('hex');
  return `~${id}.${digest.slice(0, 24)}`;
}

/** The identity number that a value is as a whole, without separators. */
function wholeNumber(value: string, countries: readonly IdentityNumberKind[]): string | undefined {
  if (value.length > 64) return undefined;
  const [found] = findIdentityNumbers(value, countries);
  return found !== undefined && found.start === 0 && found.end === value.length ? found.number : undefined;
}
