import { ascii, decodeOid, decodeString, DerCursor, malformed, readAll, readSingle, TAG, toHex } from './der.ts';
import type { DerElement } from './der.ts';
import { parseName } from './name.ts';
import type { Name } from './name.ts';

/**
 * RFC 5280 section 4.2.1.6. Of an otherName, `text` is what identity rules match on: a string, the hexadecimal serial number of
 * a hardwareModuleName, the value of a permanentIdentifier; `within` is the OID in whose terms it is meant (hardware type, assigner).
 */
export type GeneralName =
  | { readonly kind: 'dns' | 'email' | 'uri'; readonly value: string }
  | { readonly kind: 'ip'; readonly value: string; readonly bytes: Uint8Array }
  | { readonly kind: 'directory'; readonly name: Name }
  | { readonly kind: 'other'; readonly oid: string; readonly value: Uint8Array; readonly text?: string; readonly within?: string }
  | { readonly kind: 'rid'; readonly oid: string }
  | { readonly kind: 'unsupported'; readonly tag: number };

/** The names of a GeneralNames contents, which must hold at least one; throws a PkiError. */
export function parseGeneralNames(content: Uint8Array, what: string): GeneralName[] {
  const names = readAll(content, what).map((element) => parseGeneralName(element, what));
  if (names.length === 0) throw malformed(`${what}: no names`);
  return names;
}

export function parseGeneralName(element: DerElement, what: string): GeneralName {
  const ip = element.tag === 0x87 ? element.content : undefined;
  if (ip !== undefined && ip.length !== 4 && ip.length !== 16) throw malformed(`${what}: address of ${ip.length} octets`);
  return ip === undefined ? parseOtherForms(element, what) : { kind: 'ip', value: formatAddress(ip), bytes: ip };
}

/** Like `parseGeneralName`, for the base of a name constraint, where an address is followed by its mask (8 or 32 octets). */
export function parseConstraintBase(element: DerElement, what: string): GeneralName {
  const range = element.tag === 0x87 ? element.content : undefined;
  if (range === undefined) return parseOtherForms(element, what);
  if (range.length !== 8 && range.length !== 32) throw malformed(`${what}: address range of ${range.length} octets`);
  const half = range.length / 2;
  return { kind: 'ip', value: `${formatAddress(range.subarray(0, half))}/${formatAddress(range.subarray(half))}`, bytes: range };
}

function parseOtherForms(element: DerElement, what: string): GeneralName {
  switch (element.tag) {
    case 0xa0:
      return parseOtherName(element.content, what);
    case 0x81:
      return { kind: 'email', value: ascii(element.content, what) };
    case 0x82:
      return { kind: 'dns', value: ascii(element.content, what) };
    case 0x86:
      return { kind: 'uri', value: ascii(element.content, what) };
    case 0xa4:
      return { kind: 'directory', name: parseName(readSingle(element.content, TAG.sequence, what).der) };
    case 0x88:
      return { kind: 'rid', oid: decodeOid(element.content, what) };
    // x400Address and ediPartyName: no one maps an identity from them.
    case 0xa3:
    case 0xa5:
      return { kind: 'unsupported', tag: element.tag & 0x1f };
    default:
      throw malformed(`${what}: no such name form: tag 0x${element.tag.toString(16)}`);
  }
}

function parseOtherName(content: Uint8Array, what: string): GeneralName {
  const cursor = new DerCursor(content, what);
  const oid = decodeOid(cursor.expect(TAG.oid).content, what);
  const wrapper = cursor.expect(0xa0);
  cursor.end();
  const inner = new DerCursor(wrapper.content, what);
  const value = inner.next();
  inner.end();
  return { kind: 'other', oid, value: value.der, ...readOtherName(oid, value, what) };
}

/** The types of otherName that are read; any other counts where its value is a string. */
export const OTHER_NAME = {
  userPrincipalName: '1.3.6.1.4.1.311.20.2.3',
  permanentIdentifier: '1.3.6.1.5.5.7.8.3',
  hardwareModuleName: '1.3.6.1.5.5.7.8.4',
  smtpUtf8Mailbox: '1.3.6.1.5.5.7.8.9',
} as const;

type OtherNameText = { readonly text?: string; readonly within?: string };

function readOtherName(oid: string, value: DerElement, what: string): OtherNameText {
  if (oid === OTHER_NAME.hardwareModuleName) return readHardwareModule(value, what);
  if (oid === OTHER_NAME.permanentIdentifier) return readPermanentIdentifier(value, what);
  // RFC 9598 section 3: a UTF8String and no other, without a byte order mark.
  if (oid === OTHER_NAME.smtpUtf8Mailbox && (value.tag !== TAG.utf8String || value.content[0] === 0xef && value.content[1] === 0xbb && value.content[2] === 0xbf)) return {};
  const text = decodeString(value, what);
  return text === undefined ? {} : { text };
}

// RFC 4108 section 5: SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }.
function readHardwareModule(value: DerElement, what: string): OtherNameText {
  const cursor = new DerCursor(readSingle(value.der, TAG.sequence, what).content, what);
  const type = decodeOid(cursor.expect(TAG.oid).content, what);
  const serial = cursor.expect(TAG.octetString).content;
  cursor.end();
  return { text: toHex(serial), within: type };
}

// RFC 4043 section 2: SEQUENCE { identifierValue UTF8String OPTIONAL, assigner OBJECT IDENTIFIER OPTIONAL }.
function readPermanentIdentifier(value: DerElement, what: string): OtherNameText {
  const cursor = new DerCursor(readSingle(value.der, TAG.sequence, what).content, what);
  const identifier = cursor.optional(TAG.utf8String);
  const assigner = cursor.optional(TAG.oid);
  cursor.end();
  const text = identifier === undefined ? undefined : decodeString(identifier, what);
  return { ...(text === undefined ? {} : { text }), ...(assigner === undefined ? {} : { within: decodeOid(assigner.content, what) }) };
}

/** Dotted decimal for four octets, RFC 5952 for sixteen. */
function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, index) => ((bytes[index * 2] as number) << 8) | (bytes[index * 2 + 1] as number));
  const zeros = longestZeroRun(groups);
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  if (zeros.length < 2) return text(groups);
  return `${text(groups.slice(0, zeros.start))}::${text(groups.slice(zeros.start + zeros.length))}`;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let length = 0;
  groups.forEach((group, index) => {
    length = group === 0 ? length + 1 : 0;
    if (length > best.length) best = { start: index - length + 1, length };
  });
  return best;
}
