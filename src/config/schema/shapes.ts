import { z } from 'zod';
import { filePath, pattern, timeout } from '../values.ts';

/**
 * A mapping that refuses unknown keys. The message of that refusal is the list of the known keys: the loader words
 * one issue for each unknown key from it.
 */
export function mapping<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const known = Object.keys(shape).join(', ');
  return z.strictObject(shape, { error: (issue) => (issue.code === 'unrecognized_keys' ? known : undefined) });
}

/** A whole number, both bounds included. */
export function whole(least: number, most: number) {
  return z.int({ error: 'expected a whole number' }).min(least, { error: `expected at least ${least}` }).max(most, { error: `expected at most ${most}` });
}

/** One of these words. */
export function oneOf<const Values extends readonly string[]>(values: Values) {
  return z.enum(values, { error: `expected ${listed(values)}` });
}

function listed(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}

/** A list of at least one. */
export function some<Item extends z.core.SomeType>(item: Item, expected: string) {
  return z.array(item, { error: expected }).min(1, { error: expected });
}

/** One value or a list of them; always a list afterwards. What is wrong with a single value is said as precisely as in a list. */
export function oneOrMore<Item extends z.ZodType<unknown, string | number>>(item: Item, expected: string) {
  const faultOf = (value: unknown): string | undefined => item.safeParse(value).error?.issues.find(({ code }) => code === 'custom')?.message;
  return z.union([item.transform((value) => [value]), some(item, expected)], { error: ({ input }) => (Array.isArray(input) ? expected : faultOf(input) ?? expected) });
}

/** The same, where none at all is an answer as well. */
export function anyNumber<Item extends z.ZodType<unknown, string>>(item: Item, expected: string) {
  return z.union([item.transform((value) => [value]), z.array(item, { error: expected })], { error: expected });
}

/** How many there may be of something. */
export function count(description: string) {
  return whole(1, 1_000_000).describe(description);
}

export const trustFiles = oneOrMore(filePath, 'expected one file of CA certificates, or a list of them');
export const patterns = oneOrMore(pattern, 'expected text, in which * stands for anything, or a list of such texts');

/** What to do with a certificate about which no source can say anything. */
export const unavailable = z.union(
  [
    oneOf(['deny', 'allow']),
    mapping({
      allow_for: timeout.describe('How long after the last good answer a certificate is still admitted when no source can say anything about it.'),
    }),
  ],
  { error: 'expected deny, allow or { allow_for: DURATION }' },
);

/** What an upstream may get beside the headers that every upstream gets. */
export const forward = mapping({
  client_cert_chain: z.boolean().describe('Whether the upstream also gets Client-Cert-Chain (RFC 9440).').exactOptional(),
  xfcc: z.boolean().describe('Whether the upstream also gets X-Forwarded-Client-Cert (Envoy\'s form).').exactOptional(),
  roles: z.boolean().describe('Whether the upstream also gets X-Client-Roles: every role of the client, the one in X-Client-Role first, with commas between.').exactOptional(),
});
