import { createHash } from 'node:crypto';

/** Anything that JSON can hold. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined };

/** One text for one value: keys sorted by code unit, no blanks, what is undefined left out. What is hashed and signed is this. */
export function canonical(value: Json | object): string {
  if (Array.isArray(value)) return `[${value.map((one: Json) => canonical(one)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value as { readonly [key: string]: Json | undefined }).filter(([, one]) => one !== undefined).toSorted(([left], [right]) => (left < right ? -1 : 1));
  return `{${fields.map(([key, one]) => `${JSON.stringify(key)}:${canonical(one as Json)}`).join(',')}}`;
}

/** SHA-256 of a text, lowercase hexadecimal. */
export function digestOf(text: string | Uint8Array): string {
  return createHash('sha256').update(text).digest('hex');
}
