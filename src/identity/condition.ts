import type { Certificate } from '../pki/certificate.ts';

/** A certificate whose path has been validated. */
export interface Shown {
  /** Leaf first, trust anchor last; a pinned leaf is alone. */
  readonly path: readonly Certificate[];
  /** Certificate policies that hold on the whole path (RFC 5280 section 6.1.6): what the leaf alone claims is not among them. */
  readonly policies: readonly string[];
}

/** What does not fit, or undefined when everything does. */
export type Condition = (shown: Shown) => string | undefined;

export function leafOf({ path }: Shown): Certificate {
  return path[0] as Certificate;
}

const LONGEST_SHOWN = 80;
const MOST_SHOWN = 5;

/** Values as they are quoted to an operator: few, short, harmless to a terminal. */
export function listed(values: readonly string[]): string {
  if (values.length === 0) return 'absent';
  const shown = values.slice(0, MOST_SHOWN).map((value) => harmless(value.length > LONGEST_SHOWN ? `${value.slice(0, LONGEST_SHOWN)}…` : value));
  return [...shown, ...(values.length > MOST_SHOWN ? [`${values.length - MOST_SHOWN} more`] : [])].join(', ');
}

function harmless(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}
