import { isIP } from 'node:net';
import { context, contextPrimitive, oid, sequence, setOf, text, octetString } from './der.ts';
import type { StringKind } from './der.ts';

/** One attribute: a short type (`CN`, `OU`, …) or a dotted OID, its value, and the string type it is written in (UTF8String). */
export type Attribute = readonly [type: string, value: string, kind?: StringKind];

/**
 * A distinguished name as RFC 4514 writes it: most specific first, so `[['CN', 'Dr Wang'], ['OU', 'Doctors']]`. In the
 * certificate the order is the other way round. An entry that is itself a list is one multi-valued RDN.
 */
export type Subject = readonly (Attribute | readonly Attribute[])[];

const attributeOids: Readonly<Record<string, string>> = {
  CN: '2.5.4.3', SN: '2.5.4.4', SERIALNUMBER: '2.5.4.5', C: '2.5.4.6', L: '2.5.4.7', ST: '2.5.4.8', STREET: '2.5.4.9', O: '2.5.4.10', OU: '2.5.4.11',
  TITLE: '2.5.4.12', POSTALCODE: '2.5.4.17', GN: '2.5.4.42', INITIALS: '2.5.4.43', DNQUALIFIER: '2.5.4.46', PSEUDONYM: '2.5.4.65', DC: '0.9.2342.19200300.100.1.25', UID: '0.9.2342.19200300.100.1.1', EMAILADDRESS: '1.2.840.113549.1.9.1',
};

export function encodeName(subject: Subject): Buffer {
  return sequence(...subject.toReversed().map((entry) => setOf(...(isAttribute(entry) ? [entry] : entry).map(encodeAttribute))));
}

function isAttribute(entry: Attribute | readonly Attribute[]): entry is Attribute {
  return typeof entry[0] === 'string';
}

function encodeAttribute([type, value, kind]: Attribute): Buffer {
  const dotted = /^\d+(\.\d+)+$/.test(type) ? type : attributeOids[type.toUpperCase()];
  if (dotted === undefined) throw new TypeError(`subject: no attribute type "${type}"; known: ${Object.keys(attributeOids).join(', ')}, or a dotted OID`);
  return sequence(oid(dotted), text(value, kind ?? defaultKind(dotted)));
}

/** RFC 5280 appendix A.1 fixes the string type of these; every other attribute is UTF8String. */
function defaultKind(dotted: string): StringKind {
  if (dotted === attributeOids['C'] || dotted === attributeOids['SERIALNUMBER'] || dotted === attributeOids['DNQUALIFIER']) return 'printable';
  if (dotted === attributeOids['DC'] || dotted === attributeOids['EMAILADDRESS']) return 'ia5';
  return 'utf8';
}

type OneOrMany<T> = T | readonly T[];

/** The names of a GeneralNames value; each field may be one value or several. */
export interface AlternativeNames {
  readonly dns?: OneOrMany<string>;
  readonly email?: OneOrMany<string>;
  readonly uri?: OneOrMany<string>;
  /** Textual addresses; in name constraints `address/mask`, e.g. `10.0.0.0/255.0.0.0`. */
  readonly ip?: OneOrMany<string>;
  /** Microsoft user principal name: otherName 1.3.6.1.4.1.311.20.2.3. */
  readonly upn?: OneOrMany<string>;
  readonly directory?: readonly Subject[];
  /** registeredID. */
  readonly rid?: OneOrMany<string>;
  /** RFC 4108 §5: hardware type and serial number, the serial as hexadecimal. */
  readonly hardwareModuleName?: OneOrMany<{ readonly type: string; readonly serial: string }>;
  /** RFC 4043. */
  readonly permanentIdentifier?: OneOrMany<{ readonly value?: string; readonly assigner?: string }>;
  /** Any other otherName; the value is one DER element. */
  readonly other?: OneOrMany<{ readonly oid: string; readonly value: Uint8Array }>;
  /** Complete GeneralName elements, for hostile input. */
  readonly raw?: readonly Uint8Array[];
}

const upnOid = '1.3.6.1.4.1.311.20.2.3';
const hardwareModuleNameOid = '1.3.6.1.5.5.7.8.4';
const permanentIdentifierOid = '1.3.6.1.5.5.7.8.3';

/** The GeneralName elements, in the order of the fields above. */
export function generalNames(names: AlternativeNames): Buffer[] {
  return [
    ...many(names.upn).map((value) => otherName(upnOid, text(value))),
    ...many(names.hardwareModuleName).map(({ type, serial }) => otherName(hardwareModuleNameOid, sequence(oid(type), octetString(Buffer.from(serial, 'hex'))))),
    ...many(names.permanentIdentifier).map((value) => otherName(permanentIdentifierOid, permanentIdentifier(value))),
    ...many(names.other).map((other) => otherName(other.oid, other.value)),
    ...many(names.email).map((value) => contextPrimitive(1, Buffer.from(value, 'latin1'))),
    ...many(names.dns).map((value) => contextPrimitive(2, Buffer.from(value, 'latin1'))),
    ...(names.directory ?? []).map((value) => context(4, encodeName(value))),
    ...many(names.uri).map((value) => contextPrimitive(6, Buffer.from(value, 'latin1'))),
    ...many(names.ip).map((value) => contextPrimitive(7, Buffer.concat(value.split('/').map(addressBytes)))),
    ...many(names.rid).map((value) => contextPrimitive(8, oid(value).subarray(2))),
    ...(names.raw ?? []).map((value) => Buffer.from(value)),
  ];
}

function many<T>(value: OneOrMany<T> | undefined): readonly T[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? (value as readonly T[]) : [value as T];
}

function otherName(type: string, value: Uint8Array): Buffer {
  return context(0, oid(type), context(0, value));
}

function permanentIdentifier({ value, assigner }: { readonly value?: string; readonly assigner?: string }): Buffer {
  return sequence(...(value === undefined ? [] : [text(value)]), ...(assigner === undefined ? [] : [oid(assigner)]));
}

function addressBytes(address: string): Buffer {
  const version = isIP(address);
  if (version === 4) return Buffer.from(address.split('.').map(Number));
  if (version === 0 || address.includes('.')) throw new TypeError(`ip: "${address}" is not a plain IPv4 or IPv6 address`);
  const [head = '', tail] = address.split('::');
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  const words = [...front, ...Array.from({ length: 8 - front.length - back.length }, () => 0), ...back];
  const bytes = Buffer.alloc(16);
  words.forEach((word, index) => bytes.writeUInt16BE(word, index * 2));
  return bytes;
}

function groups(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
}
