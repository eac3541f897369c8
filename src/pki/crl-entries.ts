import { DerCursor, malformed, readSingle, TAG } from './der.ts';
import { parseExtensions } from './extensions.ts';
import { parseGeneralNames } from './general-name.ts';
import type { Name } from './name.ts';

/** Receives the entries of a list while it is scanned, in the order of the list. */
export interface CrlSink {
  /** Called once, before any entry, with the number of entries to come. */
  begin(count: number): void;
  /**
   * One entry: where in `bytes` the content octets of its serial lie, which of `Crl.entryIssuers` issued the certificate,
   * the revocation date in seconds since 1970, and the CRLReason code (0 when absent).
   */
  entry(bytes: Uint8Array, offset: number, length: number, issuer: number, seconds: number, code: number): void;
}

const REASON_CODE = '2.5.29.21';
const INVALIDITY_DATE = '2.5.29.24';
const CERTIFICATE_ISSUER = '2.5.29.29';

// RFC 5280 section 4.1.2.2 allows 20 octets; CAs that disobey exist, and one such entry must not void a whole list.
const MAX_SERIAL_OCTETS = 64;

/** What is known of a list when its entries are read; what they add to it goes here. */
export interface EntryContext {
  /** Version 2: its entries may have extensions. */
  readonly extensible: boolean;
  /** The list's own first. */
  readonly issuers: Name[];
  /** Where in `issuers` a name is, by its normalized form. */
  readonly numbers: Map<string, number>;
  readonly unknownCritical: Set<string>;
}

/** Reads the contents of revokedCertificates into the sink; returns the number of entries. Throws a PkiError when they are malformed. */
export function scanEntries(bytes: Uint8Array, sink: CrlSink, context: EntryContext): number {
  const at: Position = { next: 0, tag: 0, start: 0, end: 0 };
  // Counting first costs a few milliseconds a million and lets a sink allocate once, at its final size.
  let count = 0;
  while (at.next < bytes.length) {
    step(bytes, at, bytes.length, TAG.sequence);
    count += 1;
  }
  sink.begin(count);

  // RFC 5280 section 5.3.3: an entry without certificateIssuer has that of the entry before it.
  let issuer = 0;
  at.next = 0;
  while (at.next < bytes.length) {
    step(bytes, at, bytes.length, TAG.sequence);
    const entryEnd = at.end;
    at.next = at.start;
    step(bytes, at, entryEnd, TAG.integer);
    const { start: serialStart, end: serialEnd } = at;
    checkSerial(bytes, serialStart, serialEnd);
    step(bytes, at, entryEnd);
    const seconds = secondsOf(bytes, at);
    let code = 0;
    if (at.next < entryEnd) {
      if (!context.extensible) throw malformed('crl: entry extensions in a version 1 list');
      const common = commonReason(bytes, at.next, entryEnd);
      if (common === undefined) {
        const extensions = entryExtensions(bytes.subarray(at.next, entryEnd), context);
        code = extensions.code;
        issuer = extensions.issuer ?? issuer;
      } else {
        code = common;
      }
      at.next = entryEnd;
    }
    sink.entry(bytes, serialStart, serialEnd - serialStart, issuer, seconds, code);
  }
  return count;
}

/** Where the element lies that `step` read last, and where the next one begins; reused, so that reading allocates nothing. */
interface Position {
  next: number;
  tag: number;
  start: number;
  end: number;
}

// What DerCursor does, without an object and two views per element: those would be the whole cost of a long list.
function step(bytes: Uint8Array, at: Position, limit: number, expected?: number): void {
  let start = at.next + 2;
  if (start > limit) throw malformed('crl: an entry ends early');
  const tag = bytes[at.next]!;
  let length = bytes[at.next + 1]!;
  if (length >= 0x80) {
    const octets = length & 0x7f;
    if (octets === 0 || octets > 4 || start + octets > limit) throw malformed('crl: invalid length in an entry');
    length = 0;
    for (const end = start + octets; start < end; start += 1) length = length * 256 + bytes[start]!;
    if (length < 0x80 || length < 256 ** (octets - 1)) throw malformed('crl: length is not minimal in an entry');
  }
  if (start + length > limit) throw malformed('crl: an entry runs past the end');
  if (expected !== undefined && tag !== expected) {
    throw malformed(`crl: expected tag 0x${expected.toString(16)} in an entry, found 0x${tag.toString(16)}`);
  }
  at.tag = tag;
  at.start = start;
  at.end = start + length;
  at.next = at.end;
}

function checkSerial(bytes: Uint8Array, start: number, end: number): void {
  const length = end - start;
  if (length === 0 || length > MAX_SERIAL_OCTETS) throw malformed(`crl: serial of ${length} octets`);
  if (length === 1) return;
  const negative = bytes[start + 1]! >= 0x80;
  if ((bytes[start] === 0x00 && !negative) || (bytes[start] === 0xff && negative)) throw malformed('crl: serial is not minimal');
}

/** Seconds since 1970 of a UTCTime or GeneralizedTime, in the only forms that RFC 5280 section 4.1.2.5 allows. */
function secondsOf(bytes: Uint8Array, { tag, start, end }: Position): number {
  let at = start;
  let year: number;
  if (tag === TAG.utcTime && end - start === 13) {
    const short = twoDigits(bytes, at);
    year = short < 50 ? 2000 + short : 1900 + short;
    at += 2;
  } else if (tag === TAG.generalizedTime && end - start === 15) {
    year = twoDigits(bytes, at) * 100 + twoDigits(bytes, at + 2);
    at += 4;
  } else {
    throw malformed('crl: revocationDate is not a time in seconds and Z');
  }
  const month = twoDigits(bytes, at);
  const day = twoDigits(bytes, at + 2);
  const hour = twoDigits(bytes, at + 4);
  const minute = twoDigits(bytes, at + 6);
  const second = twoDigits(bytes, at + 8);
  if (bytes[at + 10] !== 0x5a) throw malformed('crl: revocationDate does not end in Z');
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month) || hour > 23 || minute > 59 || second > 59) {
    throw malformed('crl: revocationDate is not on the calendar');
  }
  return daysSince1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
}

function twoDigits(bytes: Uint8Array, at: number): number {
  const tens = bytes[at]! - 0x30;
  const ones = bytes[at + 1]! - 0x30;
  if (tens < 0 || tens > 9 || ones < 0 || ones > 9) throw malformed('crl: revocationDate has something other than digits');
  return tens * 10 + ones;
}

function daysInMonth(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

// Proleptic Gregorian calendar with years that begin in March, so that a leap day is the last of its year. A `Date` a
// time would cost more than the rest of the entry.
function daysSince1970(year: number, month: number, day: number): number {
  const marchYear = month > 2 ? year : year - 1;
  const era = Math.floor(marchYear / 400);
  const yearOfEra = marchYear - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

// SEQUENCE { SEQUENCE { reasonCode, OCTET STRING { ENUMERATED of one octet } } }: all the extensions that nearly every entry
// of nearly every list has. Compared whole, since reading them one by one would double the cost of the scan.
const REASON_ONLY = [0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01] as const;

function commonReason(bytes: Uint8Array, start: number, end: number): number | undefined {
  if (end - start !== REASON_ONLY.length + 1) return undefined;
  for (let index = 0; index < REASON_ONLY.length; index += 1) {
    if (bytes[start + index] !== REASON_ONLY[index]) return undefined;
  }
  return definedReason(bytes[end - 1]!);
}

/** Codes that RFC 5280 does not define (7, and those above 10) still mean revoked, for an unspecified reason. */
function definedReason(code: number): number {
  return code > 10 || code === 7 ? 0 : code;
}

function entryExtensions(bytes: Uint8Array, context: EntryContext): { code: number; issuer?: number } {
  let code = 0;
  let issuer: number | undefined;
  const outer = new DerCursor(bytes, 'crl entry');
  for (const { oid, critical, value } of parseExtensions(outer.expect(TAG.sequence).content, 'crl entry')) {
    switch (oid) {
      case REASON_CODE: {
        const { content } = readSingle(value, TAG.enumerated, 'crl entry reasonCode');
        if (content.length !== 1) throw malformed('crl: reasonCode is not one octet');
        code = definedReason(content[0]!);
        break;
      }
      case CERTIFICATE_ISSUER:
        issuer = numberIssuer(certificateIssuer(value), context);
        break;
      case INVALIDITY_DATE:
        break;
      default:
        if (critical) context.unknownCritical.add(oid);
    }
  }
  outer.end();
  return issuer === undefined ? { code } : { code, issuer };
}

/** RFC 5280 section 5.3.3: certificateIssuer carries the name in the certificate's issuer field. */
function certificateIssuer(value: Uint8Array): Name {
  const directory = parseGeneralNames(readSingle(value, TAG.sequence, 'certificateIssuer').content, 'certificateIssuer').find((name) => name.kind === 'directory');
  if (directory?.kind !== 'directory') throw malformed('crl: certificateIssuer has no directory name');
  return directory.name;
}

function numberIssuer(name: Name, { numbers, issuers }: EntryContext): number {
  const known = numbers.get(name.normalized);
  if (known !== undefined) return known;
  const number = issuers.push(name) - 1;
  numbers.set(name.normalized, number);
  return number;
}
