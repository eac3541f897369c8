import { formatName, parseNameText, type NameAttribute } from '../pki/name.ts';
import { RESOURCE_TYPES } from '../policy/fhir/r4.ts';
import { findIdentityNumbers } from './identity-numbers.ts';
import { FIELD_CLASSES } from './masked-fields.ts';
import type { Masking } from './masking.ts';
import type { AuditRecord } from './record.ts';

/** Stands for what is not shown at all. */
export const HIDDEN = '***';

/** A stretch of a text; `masked`: nothing is looked for in it any more. */
interface Piece {
  readonly text: string;
  readonly masked: boolean;
}

/** Remembers that a value is somebody's, and what is shown for it, which it returns; what was known before stays. */
export function know(value: string, shown: string, { known }: Masking): string {
  if (!known.has(value)) known.set(value, shown);
  return shown;
}

/** What stands for a value that may be anything: nothing of it is shown that is not known to be the patient's id, or a declared identifier. */
export function showValue(value: string, { patients, rules, pseudonyms }: Masking): string {
  const isId = patients.has(value) || rules.identifiers.some((pattern) => value.length === pattern.length && value.search(identifierPattern(pattern)) === 0);
  return isId ? pseudonyms.patient(value) : pseudonyms.unknown(value);
}

/** A text of anybody's: what is known to be somebody's, and what looks like an identity number or an address of mail, is taken out. */
export function maskText(text: string, masking: Masking): string {
  return joined(searched([{ text, masked: false }], masking));
}

/** Events whose details end in what a person wrote, or name persons, behind the first colon. */
const WRITTEN_BY_PEOPLE: ReadonlySet<AuditRecord['event']> = new Set(['webhook', 'revocation', 'suspension', 'break_glass', 'evidence', 'alarm', 'administration', 'certificate_request', 'certificate']);
/** Reasons of denials that repeat such a text. */
const REPEATED: ReadonlySet<AuditRecord['reason']> = new Set(['suspended', 'isolated', 'revoked_denylist']);
/** A grant opened for, which the gateway says by itself. */
const OPENED = /^opened(?: on the page)?: /;
/** Of what another gateway was told, which names a person or a device, whose id may hold anything. */
const TOLD = /^([a-z]{1,32} )(.{1,512}?)(, as another gateway was told)(?=: )/g;
/** What a case is called, in quotes or, of before, without: up to the end, or to the digest of what was sealed. */
const CASE = /^(seals .*? for case |sealed \d+ records for case )(.*?)((?:[:,] SHA-256 [0-9a-f]+)?)$/s;

/** A detail's own words, and what follows them that somebody wrote. */
interface Written {
  readonly own: string;
  readonly written: string;
  /** The gateway's own again. */
  readonly behind: string;
}

function writtenIn(text: string, { event, reason }: AuditRecord): Written | undefined {
  if (event === 'evidence') {
    const [, own, written, behind] = CASE.exec(text) ?? [];
    if (own !== undefined && written !== undefined && behind !== undefined) return { own, written, behind };
  }
  if (!WRITTEN_BY_PEOPLE.has(event) && !REPEATED.has(reason)) return undefined;
  if (event === 'break_glass' && OPENED.test(text)) return undefined;
  const told = event === 'webhook' ? text.match(TOLD)?.[0] : undefined;
  const colon = told?.length ?? text.indexOf(': ');
  return colon === -1 ? undefined : { own: text.slice(0, colon + 2), written: text.slice(colon + 2), behind: '' };
}

/** A detail: what it quotes came from others and is masked but for names of the record's own fields; so are names of certificates, and references of FHIR. */
export function maskDetail(text: string, masking: Masking): string {
  const { record, pseudonyms, rules } = masking;
  const found = rules.text === 'hide' ? writtenIn(text, record) : undefined;
  const told = replaced([{ text: found?.own ?? text, masked: false }], TOLD, (_, did, id, how) => (record.event === 'webhook' ? `${did}${pseudonyms.name(id)}${how}` : undefined));
  const pieces = replaced(replaced(named(told, masking), QUOTED, (found) => maskQuoted(found, masking)), REFERENCE, (_, type, id) => (
    RESOURCE_TYPES.has(type) && !id.startsWith('$') && !id.startsWith('_') ? `${type}/${showValue(id, masking)}` : undefined
  ));
  const own = joined(searched(replaced(pieces, IDS, (_, before, id, behind) => `${before}${pseudonyms.name(id)}${behind}`), masking));
  return found === undefined ? own : `${own}${HIDDEN}${found.behind}`;
}

const QUOTED = /"((?:[^"\\]|\\.)*)"?/g;
const REFERENCE = /\b([A-Z][A-Za-z]{2,40})\/([A-Za-z0-9.$_-]{1,64})/g;
/** Where a detail names a client by its id, of which the record need not know: it was refused before. */
const IDS = /(\bthe id )(.{1,512}?)( is on the deny list)/g;
const MAIL = /[^\s@"'<>()[\],;:]{1,64}@[^\s@"'<>()[\],;:]{1,255}/g;
/** A name of a certificate in a text: from an attribute that begins one up to where no name goes on, line feeds in it included: whoever writes one must not be left as he is, nor cost the square of his length. */
const NAME = /\b(?:CN|SN|GN|UID|serialNumber|emailAddress|title|name|initials|pseudonym|generationQualifier|dnQualifier|postalCode|street|OU|O|L|ST|C|DC|[0-2](?:\.\d+){2,20})=.*?(?= expired at | is valid from | against the key of |: |$)/gs;

/** Names of certificates, those of the record first: nobody can tell where a name ends in a text. */
function named(pieces: readonly Piece[], masking: Masking): readonly Piece[] {
  const { record: { subject, issuer }, written } = masking;
  let found = pieces;
  // No name is too short to be known there, nor escaped in an unusual way.
  for (const [text, masked] of written) found = replacedLiteral(found, text, () => masked);
  for (const name of [subject, issuer]) if (name !== undefined && name !== '') found = replacedLiteral(found, name, () => maskName(name, masking));
  return replaced(found, NAME, (name) => maskName(name, masking));
}

/** RFC 4514 text with the values of personal attributes masked. */
export function maskName(text: string, masking: Masking): string {
  try {
    const { rdns } = parseNameText(text);
    return formatName({ rdns: rdns.map((rdn) => rdn.map((attribute) => maskAttribute(attribute, masking))) });
  } catch {
    return know(text, masking.pseudonyms.name(text), masking);
  }
}

function maskAttribute(attribute: NameAttribute, masking: Masking): NameAttribute {
  const { type, oid, value, opaque } = attribute;
  if (masking.rules.plain_attributes.has(type) || masking.rules.plain_attributes.has(oid)) return { ...attribute, value: maskText(value, masking) };
  // What is no text is no less somebody's.
  const { opaque: _, ...rest } = attribute;
  return { ...(opaque === true ? rest : attribute), value: know(value, masking.pseudonyms.name(value), masking) };
}

function maskQuoted(found: string, masking: Masking): string {
  const text = unquoted(found);
  if (text === '' || isOwn(masking.record, text)) return found;
  const [, type = '', id = ''] = /^([A-Z][A-Za-z]{2,40})\/([^/]+)$/.exec(text) ?? [];
  return RESOURCE_TYPES.has(type) ? `"${type}/${showValue(id, masking)}"` : `"${RESOURCE_TYPES.has(text) ? text : showValue(text, masking)}"`;
}

function unquoted(found: string): string {
  const whole = found.length > 1 && found.endsWith('"') ? found : `${found}"`;
  try {
    return (JSON.parse(whole) as string).replace(/…$/, '');
  } catch {
    return whole.slice(1, -1);
  }
}

/** Whether a field that stays says the same. */
function isOwn(record: AuditRecord, text: string): boolean {
  return Object.entries(record).some(([field, value]) => value === text && FIELD_CLASSES[field as keyof AuditRecord] === 'plain');
}

/** Without anything that identifies somebody by itself, or that the record is known to hold of somebody. */
function searched(pieces: readonly Piece[], masking: Masking): readonly Piece[] {
  const { rules, pseudonyms } = masking;
  let found = pieces;
  for (const [spelling, shown] of spellingsOf(masking)) {
    if (found.some(({ text, masked }) => !masked && text.includes(spelling))) found = replacedLiteral(found, spelling, () => shown);
  }
  if (found.some(({ text }) => text.includes('@'))) found = replaced(found, MAIL, (mail) => pseudonyms.name(mail));
  found = found.flatMap((piece) => (piece.masked ? [piece] : withoutNumbers(piece.text, rules.countries, pseudonyms.identityNumber)));
  for (const pattern of rules.identifiers) found = replaced(found, identifierPattern(pattern), (id) => pseudonyms.patient(id));
  return found;
}

/** Of all that is known, as it is and as it stands in a URL; made anew when more is known. */
function spellingsOf(masking: Masking): Masking['spelled']['spellings'] {
  const { known, spelled } = masking;
  if (spelled.of === known.size) return spelled.spellings;
  const values = [...known].filter(([value]) => value !== '').sort(([one], [other]) => other.length - one.length);
  const spellings = values.flatMap(([value, shown]) => {
    const encoded = encodeURIComponent(value.toWellFormed());
    return [...new Set([value, encoded, encoded.replace(/%../g, (octet) => octet.toLowerCase())])].map((spelling) => [spelling, shown] as const);
  });
  masking.spelled = { of: known.size, spellings };
  return spellings;
}

function withoutNumbers(text: string, countries: Masking['rules']['countries'], mask: (number: string) => string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  for (const { start, end, number } of findIdentityNumbers(text, countries)) {
    pieces.push({ text: text.slice(at, start), masked: false }, { text: mask(number), masked: true });
    at = end;
  }
  return [...pieces, { text: text.slice(at), masked: false }];
}

const compiled = new Map<string, RegExp>();

/** `P####` as a pattern: places only, so that it takes no longer than the text is long. */
function identifierPattern(pattern: string): RegExp {
  let found = compiled.get(pattern);
  if (found === undefined) {
    const places = [...pattern].map((place) => (place === '#' ? '\\d' : place === '@' ? '[A-Za-z]' : place.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'))).join('');
    compiled.set(pattern, found = new RegExp(`(?<![0-9A-Za-z])${places}(?![0-9A-Za-z])`, 'gi'));
  }
  return found;
}

const ALPHANUMERIC = /[\p{L}\p{N}]/u;
/** Values shorter than this are taken out where they stand by themselves only: "1" is in every other text. */
const LEAST_WITHIN = 5;
/** A name in two characters stands in no text by chance. */
export const BEYOND_ASCII = /[^\0-\x7f]/;

function replacedLiteral(pieces: readonly Piece[], value: string, mask: () => string): readonly Piece[] {
  const alone = value.length < LEAST_WITHIN && !BEYOND_ASCII.test(value);
  return pieces.flatMap((piece) => {
    if (piece.masked) return [piece];
    const { text } = piece;
    const made: Piece[] = [];
    let at = 0;
    for (let found = text.indexOf(value); found !== -1; found = text.indexOf(value, found + value.length)) {
      const end = found + value.length;
      if (alone && (ALPHANUMERIC.test(text.charAt(found - 1)) || ALPHANUMERIC.test(text.charAt(end)))) continue;
      made.push({ text: text.slice(at, found), masked: false }, { text: mask(), masked: true });
      at = end;
    }
    return [...made, { text: text.slice(at), masked: false }];
  });
}

/** Every match of a pattern replaced; undefined leaves it. */
function replaced(pieces: readonly Piece[], pattern: RegExp, mask: (found: string, one: string, two: string, three: string) => string | undefined): readonly Piece[] {
  return pieces.flatMap((piece) => {
    if (piece.masked) return [piece];
    const made: Piece[] = [];
    let at = 0;
    for (const match of piece.text.matchAll(pattern)) {
      const [found, one = '', two = '', three = ''] = match;
      const text = mask(found, one, two, three);
      if (text === undefined) continue;
      made.push({ text: piece.text.slice(at, match.index), masked: false }, { text, masked: true });
      at = match.index + found.length;
    }
    return [...made, { text: piece.text.slice(at), masked: false }];
  });
}

function joined(pieces: readonly Piece[]): string {
  return pieces.map(({ text }) => text).join('');
}
