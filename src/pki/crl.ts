import { parseAlgorithm } from './certificate.ts';
import type { AlgorithmIdentifier } from './certificate.ts';
import { scanEntries, type CrlSink, type EntryContext } from './crl-entries.ts';
import { bitStringOctets, decodeBoolean, decodeNamedBits, decodeTime, DerCursor, malformed, readSingle, sameBytes, TAG, toHex } from './der.ts';
import { EXTENSION, parseDistributionPointName, parseExtensions } from './extensions.ts';
import type { DistributionPointName } from './extensions.ts';
import type { GeneralName } from './general-name.ts';
import { appendRdn, parseName } from './name.ts';
import type { Name, NameText } from './name.ts';

/**
 * Certificate revocation lists (RFC 5280 section 5), read in one pass over the DER without an object per entry: a list of a
 * million entries is 35 MB, and general ASN.1 decoders give up or take gigabytes on it.
 */

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
const DELTA_CRL_INDICATOR = '2.5.29.27';
const ISSUING_DISTRIBUTION_POINT = '2.5.29.28';

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
