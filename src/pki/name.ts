import { DerCursor, decodeOid, decodeString, malformed, readAll, TAG, toHex } from './der.ts';
import type { DerElement } from './der.ts';
import { prepareText } from './preparation.ts';

export interface NameAttribute {
  readonly oid: string;
  /** Short name as RFC 4514 and RFC 4519 write it (`CN`, `OU`, …), or the OID where there is none. */
  readonly type: string;
  /** Text of a string value; `#` and the hex of its DER for any other. */
  readonly value: string;
  /** The value as it is compared (`prepareText`). */
  readonly prepared: string;
  /** Present where the value is not a string, so that text which looks like `#0500` stays text. */
  readonly opaque?: true;
}

export interface NameText {
  /** Most significant first, as encoded: usually country, organisation, …, common name. */
  readonly rdns: readonly (readonly NameAttribute[])[];
  /** Equal for two names if and only if they match by RFC 5280 section 7.1. */
  readonly normalized: string;
}

export interface Name extends NameText {
  readonly der: Uint8Array;
  /** `normalized` of each RDN, for subtree comparison. */
  readonly normalizedRdns: readonly string[];
}

const TYPES: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.4': 'SN',
  '2.5.4.5': 'serialNumber',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.9': 'street',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.12': 'title',
  '2.5.4.17': 'postalCode',
  '2.5.4.41': 'name',
  '2.5.4.42': 'GN',
  '2.5.4.43': 'initials',
  '2.5.4.44': 'generationQualifier',
  '2.5.4.46': 'dnQualifier',
  '2.5.4.65': 'pseudonym',
  '2.5.4.97': 'organizationIdentifier',
  '0.9.2342.19200300.100.1.1': 'UID',
  '0.9.2342.19200300.100.1.25': 'DC',
  '1.2.840.113549.1.9.1': 'emailAddress',
};

const OIDS: ReadonlyMap<string, string> = new Map([
  ...Object.entries(TYPES).map(([oid, type]) => [type.toLowerCase(), oid] as const),
  // What people type, beside what RFC 4514 prints.
  ['e', '1.2.840.113549.1.9.1'],
  ['email', '1.2.840.113549.1.9.1'],
  ['s', '2.5.4.8'],
  ['surname', '2.5.4.4'],
  ['givenname', '2.5.4.42'],
  ['street', '2.5.4.9'],
]);

/** Reads a Name from its DER; throws a PkiError. */
export function parseName(der: Uint8Array): Name {
  const cursor = new DerCursor(der, 'name');
  const outer = cursor.expect(TAG.sequence);
  cursor.end();
  return nameOf(der, readAll(outer.content, 'name').map((rdn) => parseRdn(rdn.tag, rdn.content)));
}

/** Reads the contents of one RelativeDistinguishedName, as a distribution point carries it behind its issuer's name. */
export function parseRdn(tag: number, content: Uint8Array): NameAttribute[] {
  if (tag !== TAG.set) throw malformed('name: an RDN is not a SET');
  const attributes = readAll(content, 'name').map(({ tag: inner, content: pair }) => {
    if (inner !== TAG.sequence) throw malformed('name: an attribute is not a SEQUENCE');
    return parseAttribute(pair);
  });
  if (attributes.length === 0) throw malformed('name: an RDN is empty');
  return attributes;
}

/** The name that ends in one more RDN: RFC 5280 section 4.2.1.13, nameRelativeToCRLIssuer. `normalized` is what counts. */
export function appendRdn(base: Name, rdn: readonly NameAttribute[]): NameText {
  return nameText([...base.rdns, rdn]);
}

function parseAttribute(pair: Uint8Array): NameAttribute {
  const cursor = new DerCursor(pair, 'name');
  const oid = decodeOid(cursor.expect(TAG.oid).content, 'name');
  const value = cursor.next();
  cursor.end();
  return attribute(oid, attributeValue(value));
}

function attribute(oid: string, read: Pick<NameAttribute, 'value' | 'opaque'>): NameAttribute {
  return { oid, type: TYPES[oid] ?? oid, prepared: prepareText(read.value), ...read };
}

function attributeValue(element: DerElement): Pick<NameAttribute, 'value' | 'opaque'> {
  const text = decodeString(element, 'name');
  return text === undefined ? { value: `#${toHex(element.der)}`, opaque: true } : { value: text };
}

function nameOf(der: Uint8Array, rdns: readonly (readonly NameAttribute[])[]): Name {
  const normalizedRdns = rdns.map(normalizeRdn);
  return { der, rdns, normalizedRdns, normalized: normalizedRdns.join(',') };
}

function nameText(rdns: readonly (readonly NameAttribute[])[]): NameText {
  return { rdns, normalized: rdns.map(normalizeRdn).join(',') };
}

function normalizeRdn(rdn: readonly NameAttribute[]): string {
  const parts = rdn.map(({ oid, prepared, opaque }) => `${oid}${opaque === true ? '=' : '=='}${prepared.replace(/[\\,+]/g, '\\$&')}`);
  return parts.length === 1 ? (parts[0] as string) : parts.sort().join('+');
}

/** Whether two names match by RFC 5280 section 7.1. */
export function sameName(left: Pick<NameText, 'normalized'>, right: Pick<NameText, 'normalized'>): boolean {
  return left.normalized === right.normalized;
}

/** RFC 4514 text, most specific first: `CN=Dr Wang,OU=Doctors,O=Hospital`. */
export function formatName(name: Pick<NameText, 'rdns'>): string {
  return name.rdns.toReversed().map((rdn) => rdn.map(formatAttribute).join('+')).join(',');
}

function formatAttribute({ type, value, opaque }: NameAttribute): string {
  return `${type}=${opaque === true ? value : escapeValue(value)}`;
}

const HEX_VALUE = /^#(?:[0-9a-f]{2})+$/i;

function escapeValue(value: string): string {
  return value
    .replace(/[\\"+,;<>]/g, '\\$&')
    // Control and format characters never reach a terminal or a log line as they are.
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, hexEscape)
    .replace(/^[ #]|(?<=[^]) $/g, '\\$&');
}

function hexEscape(character: string): string {
  return [...Buffer.from(character, 'utf8')].map((octet) => `\\${octet.toString(16).padStart(2, '0')}`).join('');
}

/** Reads RFC 4514 text, such as an operator types it, into a name to compare with `sameName`; throws a PkiError. */
export function parseNameText(text: string): NameText {
  if (text.trim() === '') return nameText([]);
  const rdns = splitUnescaped(text, ',').map((rdn) => splitUnescaped(rdn, '+').map(attributeFromText));
  return nameText(rdns.toReversed());
}

function splitUnescaped(text: string, separator: string): string[] {
  const parts: string[] = [];
  let start = 0;
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === separator) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  return [...parts, text.slice(start)];
}

const DOTTED = /^[0-2](?:\.(?:0|[1-9]\d*))+$/;

function attributeFromText(text: string): NameAttribute {
  const equals = text.indexOf('=');
  const key = text.slice(0, Math.max(0, equals)).trim();
  const oid = DOTTED.test(key) ? key : OIDS.get(key.toLowerCase());
  if (oid === undefined) throw malformed(`name: ${JSON.stringify(text)}: unknown attribute type ${JSON.stringify(key)}`);
  return attribute(oid, valueFromText(text.slice(equals + 1), text));
}

function valueFromText(raw: string, whole: string): Pick<NameAttribute, 'value' | 'opaque'> {
  const text = trimUnescaped(raw);
  if (text.startsWith('#')) return hexValue(text, whole);
  const octets: number[] = [];
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] !== '\\') {
      const character = String.fromCodePoint(text.codePointAt(at) as number);
      octets.push(...Buffer.from(character, 'utf8'));
      at += character.length - 1;
      continue;
    }
    const pair = /^[0-9a-f]{2}/i.exec(text.slice(at + 1, at + 3))?.[0];
    const escaped = text[at + 1];
    if (pair !== undefined) octets.push(Number.parseInt(pair, 16));
    else if (escaped !== undefined && ' "#+,;<=>\\'.includes(escaped)) octets.push(escaped.charCodeAt(0));
    else throw malformed(`name: ${JSON.stringify(whole)}: stray backslash`);
    at += pair === undefined ? 1 : 2;
  }
  return attributeValue({ tag: TAG.utf8String, der: new Uint8Array(), content: Uint8Array.from(octets) });
}

function trimUnescaped(raw: string): string {
  // Only the blank: a no-break space belongs to the value.
  const text = raw.replace(/^ +/, '');
  const trimmed = text.replace(/ +$/, '');
  return trimmed.length < text.length && /(?:^|[^\\])(?:\\\\)*\\$/.test(trimmed) ? `${trimmed} ` : trimmed;
}

function hexValue(text: string, whole: string): Pick<NameAttribute, 'value' | 'opaque'> {
  if (!HEX_VALUE.test(text)) throw malformed(`name: ${JSON.stringify(whole)}: not hexadecimal`);
  const der = Uint8Array.from(Buffer.from(text.slice(1), 'hex'));
  const cursor = new DerCursor(der, 'name');
  const element = cursor.next();
  cursor.end();
  return attributeValue(element);
}
