/** Most values: nothing to prepare but their case. */
const PLAIN = /^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/;
/** RFC 4518 section 2.2, "map to SPACE": the controls that separate, and every separator. */
const BLANK = /[\t-\r\u{85}\p{Z}]/gu;
/** RFC 4518 section 2.2, "map to nothing": other controls, joiners, soft hyphens, direction marks, variation selectors. */
const IGNORED = /[\p{Cc}\p{Cf}\p{Variation_Selector}\u{34f}\u{1806}\u{fffc}]/gu;
/** RFC 4518 section 2.4: private use, surrogates, noncharacters and code points that are not assigned, the replacement character. */
const PROHIBITED = /[\p{Co}\p{Cs}\p{Cn}\u{fffd}]/u;
/** Controls that separate nothing: where RFC 4518 leaves them out, other readers end the text at them or show what is not there. */
const CONTROL = /(?![\t-\r\u{85}])\p{Cc}/u;
/** NFKC of some case foldings folds again; two rounds are enough, and a third shows it. */
const MOST_ROUNDS = 4;

/**
 * String preparation of RFC 5280 section 7.1 (RFC 4518 sections 2.2, 2.3 and 2.6.1): separators are blanks, what has no shape
 * goes, case is folded (full folding: ß is ss), NFKC, blanks folded and trimmed. Two values match if these are equal. Unicode
 * is the runtime's own where RFC 4518 means version 3.2: names written since then would match nothing otherwise.
 */
export function prepareText(value: string): string {
  if (PLAIN.test(value)) return value.toLowerCase();
  let text = value.replace(BLANK, ' ').replace(IGNORED, '');
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const folded = foldCase(text.normalize('NFKC'));
    if (folded === text) break;
    text = folded;
  }
  // A blank that carries a combining mark is a character of its own.
  return text.replace(/ +(?!\p{M})/gu, ' ').replace(/^ (?!\p{M})| $/gu, '');
}

/**
 * Character by character: `toLowerCase` of a whole text writes the last Σ of a word otherwise than the others. Cherokee folds to its
 * capitals; here to its small letters, which says the same.
 */
function foldCase(text: string): string {
  return text.replace(/[\p{Changes_When_Casefolded}\p{Changes_When_Lowercased}]/gu, (character) => character.toLowerCase().toUpperCase().toLowerCase());
}

/** Whether a value holds what RFC 4518 section 2.4 prohibits: then it matches nothing, itself included. */
export function isProhibited(value: string): boolean {
  return PROHIBITED.test(value);
}

/** Whether a value holds NUL or another control character that is no separator. */
export function holdsControl(value: string): boolean {
  return CONTROL.test(value);
}
