import { FIELD_CLASSES } from './masked-fields.ts';
import type { AuditRecord } from './record.ts';

/** What words are made of; encoded characters, numbers with dashes and addresses of mail are one. */
const INSIDE = '[\\p{L}\\p{M}\\p{N}%._~+@-]';

/**
 * Whether a record holds a text, for whoever is shown it masked. What is shown as it is may hold it anywhere; of what is masked only whole words
 * count: by parts of words whoever asks again and again would spell out, letter by letter, what is hidden.
 */
export function finder(text: string): (record: AuditRecord) => boolean {
  const word = new RegExp(`(?<!${INSIDE})${literal(text)}(?!${INSIDE})`, 'u');
  return (record) => Object.entries(record).some(([field, value]) => {
    const shown = typeof value === 'string' ? value : JSON.stringify(value);
    return FIELD_CLASSES[field as keyof AuditRecord] === 'plain' ? shown.includes(text) : word.test(shown);
  });
}

function literal(text: string): string {
  return [...text].map((character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`).join('');
}
