import { parseAlgorithm } from './certificate.ts';
import type { AlgorithmIdentifier } from './certificate.ts';
import { bitStringOctets, decodeBoolean, decodeNamedBits, decodeTime, DerCursor, malformed, readSingle, sameBytes, TAG, toHex } from './der.ts';
import { EXTENSION, parseDistributionPointName, parseExtensions } from './extensions.ts';
import type { DistributionPointName } from './extensions.ts';
import { parseGeneralNames } from './general-name.ts';
import type { GeneralName } from './general-name.ts';
import { appendRdn, parseName } from './name.ts';
import type { Name, NameText } from './name.ts';

/**
 * Certificate revocation lists (RFC 5280 section 5), read in one pass over the DER without an object per entry: a list of a
 * million entries is 35 MB, and general ASN.1 decoders give up or take gigabytes on it.
 */

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

/** A scanned list. Byte arrays are views of the scanned input; times are milliseconds since the epoch. */
export interface Crl {
  readonly issuer: Name;
  readonly thisUpdate: number;
  readonly nextUpdate?: number;
  readonly crlNumber?: bigint;
  /** Set on a delta CRL: the number of the complete list it builds on (deltaCRLIndicator). */
  readonly baseCrlNumber?: bigint;
  readonly issuingDistributionPoint?: IssuingDistributionPoint;
  /** keyIdentifier of the authorityKeyIdentifier extension, lowercase hex. */
  readonly authorityKeyId?: string;
  /** The issuers of the entries: the list's own first, then those that certificateIssuer entry extensions name. */
  readonly entryIssuers: readonly Name[];
  readonly entries: number;
  /**
   * OIDs of critical extensions, of the list or of an entry, that we cannot process. RFC 5280 sections 5.2 and 5.3: such a
   * list must not be used to determine the status of any certificate.
   */
  readonly unknownCriticalExtensions: readonly string[];
  readonly tbs: Uint8Array;
  readonly signatureAlgorithm: AlgorithmIdentifier;
  readonly signature: Uint8Array;
}

/** What part of its issuer's certificates a list speaks about (RFC 5280 section 5.2.5). */
export interface IssuingDistributionPoint {
  readonly der: Uint8Array;
  /** Comparison keys of the distribution point's names, see `generalNameKey`; a relative name is already made absolute. */
  readonly names?: readonly string[];
  readonly onlyContainsUserCerts: boolean;
  readonly onlyContainsCACerts: boolean;
  readonly onlyContainsAttributeCerts: boolean;
  /** ReasonFlags, bit n for flag n of RFC 5280 section 4.2.1.13; absent: all reasons. */
  readonly onlySomeReasons?: number;
  readonly indirect: boolean;
}

const CRL_NUMBER = '2.5.29.20';
const REASON_CODE = '2.5.29.21';
const INVALIDITY_DATE = '2.5.29.24';
const DELTA_CRL_INDICATOR = '2.5.29.27';
const ISSUING_DISTRIBUTION_POINT = '2.5.29.28';
const CERTIFICATE_ISSUER = '2.5.29.29';

// RFC 5280 section 4.1.2.2 allows 20 octets; CAs that disobey exist, and one such entry must not void a whole list.
const MAX_SERIAL_OCTETS = 64;

const IGNORE_ENTRIES: CrlSink = { begin: () => {}, entry: () => {} };

/**
 * Scans a CertificateList. Strict DER; the signature is not verified here. Entries go to `sink` as they are met, so what a
 * sink has collected is void when this throws: a PkiError, nothing else.
 */
export function scanCrl(der: Uint8Array, sink: CrlSink = IGNORE_ENTRIES): Crl {
  const list = new DerCursor(readSingle(der, TAG.sequence, 'crl').content, 'crl');
  const tbs = list.expect(TAG.sequence);
  const signatureAlgorithm = list.expect(TAG.sequence).der;
  const signature = bitStringOctets(list.expect(TAG.bitString).content, 'crl signature');
  list.end();
  if (signature.unused !== 0) throw malformed('crl: signature is not whole octets');
  const { algorithm, ...body } = scanTbs(tbs.content, sink);
  if (!sameBytes(algorithm, signatureAlgorithm)) throw malformed('crl: signatureAlgorithm differs from the signed one');
  return { ...body, tbs: tbs.der, signatureAlgorithm: parseAlgorithm(signatureAlgorithm), signature: signature.octets };
}

type ScannedTbs = Omit<Crl, 'tbs' | 'signatureAlgorithm' | 'signature'> & { readonly algorithm: Uint8Array };

function scanTbs(content: Uint8Array, sink: CrlSink): ScannedTbs {
  const tbs = new DerCursor(content, 'crl');
  const version = tbs.optional(TAG.integer);
  // Version 2 is encoded as 1; version 1 is never encoded, and has no extensions.
  if (version !== undefined && (version.content.length !== 1 || version.content[0] !== 1)) {
    throw malformed('crl: version is not 2');
  }
  const algorithm = tbs.expect(TAG.sequence).der;
  const issuer = parseName(tbs.expect(TAG.sequence).der);
  const thisUpdate = decodeTime(tbs.next(), 'crl thisUpdate');
  const nextUpdate = tbs.tag === TAG.utcTime || tbs.tag === TAG.generalizedTime ? decodeTime(tbs.next(), 'crl nextUpdate') : undefined;

  const context: EntryContext = {
    extensible: version !== undefined,
    issuers: [issuer],
    numbers: new Map([[issuer.normalized, 0]]),
    unknownCritical: new Set(),
  };
  const entries = scanEntries(tbs.optional(TAG.sequence)?.content ?? new Uint8Array(), sink, context);
  const extensions = version === undefined || tbs.finished ? {} : listExtensions(tbs.enter(0xa0), issuer, context.unknownCritical);
  tbs.end();
  return {
    algorithm,
    issuer,
    thisUpdate,
    ...(nextUpdate === undefined ? {} : { nextUpdate }),
    ...extensions,
    entryIssuers: context.issuers,
    entries,
    unknownCriticalExtensions: [...context.unknownCritical],
  };
}

interface EntryContext {
  readonly extensible: boolean;
  readonly issuers: Name[];
  readonly numbers: Map<string, number>;
  readonly unknownCritical: Set<string>;
}

/** Reads the contents of revokedCertificates into the sink; returns the number of entries. */
function scanEntries(bytes: Uint8Array, sink: CrlSink, context: EntryContext): number {
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

type ListExtensions = Pick<Crl, 'crlNumber' | 'baseCrlNumber' | 'issuingDistributionPoint' | 'authorityKeyId'>;

function listExtensions(wrapper: DerCursor, issuer: Name, unknownCritical: Set<string>): ListExtensions {
  const found: { -readonly [Key in keyof ListExtensions]: ListExtensions[Key] } = {};
  for (const { oid, critical, value } of parseExtensions(wrapper.expect(TAG.sequence).content, 'crl')) {
    switch (oid) {
      case CRL_NUMBER:
        found.crlNumber = crlNumber(value);
        break;
      case DELTA_CRL_INDICATOR:
        found.baseCrlNumber = crlNumber(value);
        break;
      case ISSUING_DISTRIBUTION_POINT:
        found.issuingDistributionPoint = issuingDistributionPoint(value, issuer);
        break;
      case EXTENSION.authorityKeyIdentifier: {
        const keyId = authorityKeyId(value);
        if (keyId !== undefined) found.authorityKeyId = keyId;
        break;
      }
      case EXTENSION.issuerAltName:
      case EXTENSION.freshestCrl:
        break;
      default:
        if (critical) unknownCritical.add(oid);
    }
  }
  wrapper.end();
  return found;
}

/** RFC 5280 section 5.2.3: a CRL number is not negative and has at most 20 octets (one more with its sign). */
function crlNumber(value: Uint8Array): bigint {
  const { content } = readSingle(value, TAG.integer, 'crl number');
  if (content.length === 0 || content.length > 21 || content[0]! >= 0x80) throw malformed('crl: number is negative or too long');
  return BigInt(`0x${toHex(content)}`);
}

function authorityKeyId(value: Uint8Array): string | undefined {
  const identifier = new DerCursor(readSingle(value, TAG.sequence, 'crl authorityKeyIdentifier').content, 'crl authorityKeyIdentifier');
  const keyId = identifier.optional(0x80);
  return keyId === undefined ? undefined : toHex(keyId.content);
}

function issuingDistributionPoint(der: Uint8Array, issuer: Name): IssuingDistributionPoint {
  const fields = new DerCursor(readSingle(der, TAG.sequence, 'issuingDistributionPoint').content, 'issuingDistributionPoint');
  const flag = (tag: number): boolean => {
    const element = fields.optional(tag);
    if (element === undefined) return false;
    if (!decodeBoolean(element.content, 'issuingDistributionPoint')) throw malformed('issuingDistributionPoint: a default is encoded');
    return true;
  };
  const names = fields.optional(0xa0);
  const onlyContainsUserCerts = flag(0x81);
  const onlyContainsCACerts = flag(0x82);
  const reasons = fields.optional(0x83);
  const indirect = flag(0x84);
  const onlyContainsAttributeCerts = flag(0x85);
  fields.end();
  return {
    der: Uint8Array.from(der),
    ...(names === undefined ? {} : { names: distributionPointKeys(parseDistributionPointName(names.content, 'issuingDistributionPoint'), issuer) }),
    onlyContainsUserCerts,
    onlyContainsCACerts,
    onlyContainsAttributeCerts,
    ...(reasons === undefined ? {} : { onlySomeReasons: reasonFlags(reasons.content) }),
    indirect,
  };
}

/** The comparison keys of a distribution point's names; a relative name continues the name of the CRL's issuer. */
export function distributionPointKeys(name: DistributionPointName, crlIssuer: Name): readonly string[] {
  return name.kind === 'full' ? name.names.map(generalNameKey).filter((key) => key !== undefined) : [directoryKey(appendRdn(crlIssuer, name.rdn))];
}

/** A text that is equal for two general names if and only if they are the same name; undefined for forms nobody compares. */
export function generalNameKey(name: GeneralName): string | undefined {
  switch (name.kind) {
    case 'directory':
      return directoryKey(name.name);
    case 'other':
      return `other:${name.oid}:${toHex(name.value)}`;
    case 'rid':
      return `rid:${name.oid}`;
    case 'unsupported':
      return undefined;
    default:
      return `${name.kind}:${name.value}`;
  }
}

/** `generalNameKey` of a directory name. */
export function directoryKey(name: Pick<NameText, 'normalized'>): string {
  return `directory:${name.normalized}`;
}

function reasonFlags(content: Uint8Array): number {
  return decodeNamedBits(content, 'onlySomeReasons').reduce((flags, bit) => (bit < 16 ? flags | (1 << bit) : flags), 0);
}

/** The content octets of the INTEGER that `Certificate.serial` is the text of. */
export function serialOctets(serial: string): Uint8Array {
  if (serial.startsWith('-')) return Buffer.from(serial.slice(1), 'hex');
  const octets = Buffer.from(serial, 'hex');
  return octets.length > 0 && octets[0]! >= 0x80 ? Buffer.concat([Buffer.of(0), octets]) : octets;
}
