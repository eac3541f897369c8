import type { Hl7Sender } from '../../policy/senders.ts';

/** What the header segment of a message or batch says of its sender, and whether it declares UTF-8. */
export type Header = { readonly kind: 'header'; readonly sender: Hl7Sender; readonly utf8: boolean } | { readonly kind: 'malformed'; readonly detail: string };

/** The usual characters between fields, components and repetitions, before escapes, and between subcomponents. */
const USUAL = ['|', '^', '~', '\\', '&'] as const;
const SEPARATOR = /^[!-/:-@[-`{-~]$/;
const UTF8 = 'UNICODE UTF-8';
/** HD, the type of both names, is 227 octets at most (HL7 v2.5.1 section 2.A.33). */
const LONGEST_NAME = 256;

/**
 * Reads MSH-3 and MSH-4 of a header segment (MSH; BHS and FHS of batches are alike), given without its end, by the separators
 * that the segment declares itself (HL7 v2.5.1 section 2.5.4). What receivers could read in two ways is malformed: separators in
 * other places than declared, repetitions, escapes other than those of separators, text whose encoding is not declared.
 */
export function readHeader(segment: Buffer): Header {
  const text = segment.toString('latin1');
  const field = text[3] ?? '';
  const encoding = text.slice(4, Math.max(4, text.indexOf(field, 4)));
  const declared = [field, ...encoding];
  // Component and repetition separators at least; the fifth of encoding is v2.7's truncation character.
  if (encoding.length < 2 || encoding.length > 5) return malformed('MSH-2 does not declare two to five characters');
  if (!declared.every((character) => SEPARATOR.test(character)) || new Set(declared).size < declared.length) return malformed('MSH-1 and MSH-2 do not declare separators');
  const fields = text.split(field);
  // A receiver that takes the usual separator without looking must find none.
  if (field !== '|' && text.includes('|')) return malformed(`the field separator is ${field}, yet there is a | in the segment`);
  if (fields.length < 5) return malformed('the segment ends before MSH-4 does');
  const utf8 = text.startsWith('MSH') && fields[17]?.split(encoding[1] as string)[0] === UTF8;
  const names = [fields[2] as string, fields[3] as string].map((name, index) => readName(name, index + 3, declared, utf8));
  const wrong = names.find((name) => name.kind === 'malformed');
  if (wrong !== undefined) return wrong;
  const [application, facility] = names.map((name) => (name.kind === 'name' ? name.text : '')) as [string, string];
  return { kind: 'header', sender: { kind: 'mllp', application, facility }, utf8 };
}

type Name = { readonly kind: 'name'; readonly text: string } | { readonly kind: 'malformed'; readonly detail: string };

/** A field as text with the usual encoding characters, without blanks around components and without empty components at the end. */
function readName(octets: string, number: number, declared: readonly string[], unicode: boolean): Name {
  const [, component = '', repetition = '', escape, subcomponent] = declared;
  const place = `MSH-${number}`;
  if (octets.length > LONGEST_NAME) return malformed(`${place} is longer than ${LONGEST_NAME} octets`);
  const foreign = USUAL.find((usual, index) => declared[index] !== usual && octets.includes(usual));
  if (foreign !== undefined) return malformed(`${place} holds a ${foreign} that the message declares to be something else`);
  if (octets.includes(repetition)) return malformed(`${place} repeats`);
  const text = decode(octets, unicode);
  if (text === undefined) return malformed(`${place} is neither ASCII nor UTF-8 declared in MSH-18`);
  const rest = escape === undefined ? text : text.replaceAll(escapes(escape), '');
  if (escape !== undefined && rest.includes(escape)) return malformed(`${place} holds an escape sequence of another kind than a separator's`);
  const usual = [...text].map((character) => (character === component ? '^' : character === escape ? '\\' : character === subcomponent ? '&' : character)).join('');
  const components = usual.split('^').map((one) => one.replace(/&+$/, '').replace(/^ +| +$/g, ''));
  return { kind: 'name', text: components.join('^').replace(/\^+$/, '') };
}

function escapes(escape: string): RegExp {
  const quoted = `\\${escape}`;
  return new RegExp(`${quoted}[FSTRE]${quoted}`, 'g');
}

const VISIBLE = /^[ -~]*$/;

function decode(octets: string, unicode: boolean): string | undefined {
  if (VISIBLE.test(octets)) return octets;
  // Other encodings have separators in the middle of their characters: octets and characters would be cut in different places.
  // eslint-disable-next-line no-control-regex
  if (!unicode || /[\u0000-\u001f\u007f]/.test(octets)) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(octets, 'latin1'));
  } catch {
    return undefined;
  }
}

function malformed(detail: string): { readonly kind: 'malformed'; readonly detail: string } {
  return { kind: 'malformed', detail };
}
