import { isProhibited, prepareText } from '../pki/preparation.ts';

/**
 * When two values are the same. `name`: prepared as RFC 5280 section 7.1 asks of names. `caseless`: but for the case of ASCII letters,
 * octet for octet, as host names, mailboxes, addresses and hexadecimal are; whoever folded more would give one mailbox to two people.
 * `uri`: the case of scheme, authority and URN namespace does not count (RFC 3986 section 6.2.2.1, RFC 8141 section 3.1). `exact`: octet
 * for octet.
 */
export type Comparison = 'name' | 'caseless' | 'uri' | 'exact';

/** A text in which `*` stands for any run of characters, made ready: the texts between its asterisks. */
export interface Pattern {
  readonly text: string;
  readonly comparison: Comparison;
  readonly pieces: readonly string[];
}

/** In place of an asterisk while a pattern is prepared: a noncharacter, which neither patterns nor values can hold. */
const ANYTHING = '\u{fdd0}';

/** Makes a pattern ready. Only U+002A is its wildcard: what preparation turns into an asterisk is one that a value holds. */
export function compilePattern(text: string, comparison: Comparison): Pattern {
  const pieces = comparisons[comparison](text.replaceAll('*', ANYTHING)).split(ANYTHING);
  return { text, comparison, pieces };
}

/** Whether the whole value fits: piece by piece, never as a regular expression, so nothing half-anchors. An asterisk in it is a character. */
export function fitsPattern(pattern: Pattern, value: string): boolean {
  return fitsPrepared(pattern, value, comparisons[pattern.comparison](value));
}

/** The same of a value that has been prepared before: many rules look at one name. */
export function fitsPrepared({ comparison, pieces }: Pattern, value: string, prepared: string): boolean {
  return fitsPieces(pieces, prepared) && !(comparison === 'name' && isProhibited(value));
}

/** Whether a value and a pattern match as names do. */
export function matchesText(pattern: string, value: string): boolean {
  return fitsPattern(compilePattern(pattern, 'name'), value);
}

const comparisons: Readonly<Record<Comparison, (text: string) => string>> = {
  name: prepareText,
  caseless: lowerAscii,
  uri: (text) => text.replace(CASELESS_PART, lowerAscii),
  exact: (text) => text,
};

const CASELESS_PART = /^(?:urn:[^:/?#]*|[a-z][a-z0-9+.-]*:(?:\/\/[^/?#]*)?)/i;

/** Not `toLowerCase`: to that the Kelvin sign is a k. */
function lowerAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (capitals) => capitals.toLowerCase());
}

/** Whether a text consists of these pieces in their order, with anything or nothing between each two; octet for octet. */
export function fitsPieces(pieces: readonly string[], text: string): boolean {
  const first = pieces[0] as string;
  if (pieces.length === 1) return text === first;
  const last = pieces[pieces.length - 1] as string;
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) return false;
  let from = first.length;
  const end = text.length - last.length;
  for (const piece of pieces.slice(1, -1)) {
    const at = text.indexOf(piece, from);
    if (at === -1 || at + piece.length > end) return false;
    from = at + piece.length;
  }
  return true;
}
