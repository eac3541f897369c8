import { bitString, context, enumerated, generalizedTime, integer, integerContents, sequence, time, tlv } from './der.ts';
import { authorityKeyIdentifier, crlDistributionPoints, encodeExtension, issuingDistributionPoint, reasonCodes } from './extensions.ts';
import type { IssuingDistributionPoint, RawExtension, Reason } from './extensions.ts';
import type { Authority } from './issue.ts';
import { signerOf } from './keys.ts';
import type { SignatureHash } from './keys.ts';
import { encodeName, generalNames } from './names.ts';
import type { Subject } from './names.ts';

export interface RevokedEntry {
  /** hexadecimal */
  readonly serial: string;
  /** Default: thisUpdate. */
  readonly date?: Date | number;
  readonly reason?: Reason;
  readonly invalidityDate?: Date | number;
  /** Indirect CRLs: this entry and those after it belong to this issuer. Encoded Name or subject. */
  readonly certificateIssuer?: Subject | Buffer;
  readonly extensions?: readonly RawExtension[];
}

export interface CrlOptions {
  readonly revoked?: Iterable<RevokedEntry>;
  /** Default: a minute ago. */
  readonly thisUpdate?: Date | number;
  /** Default: a day after thisUpdate; `null` leaves it out. */
  readonly nextUpdate?: Date | number | null;
  /** crlNumber; default 1, `null` leaves it out. A string is hexadecimal. */
  readonly number?: number | string | null;
  /** deltaCRLIndicator: the number of the base. */
  readonly deltaBase?: number;
  readonly freshestCrl?: readonly string[];
  readonly issuingDistributionPoint?: IssuingDistributionPoint;
  readonly extensions?: readonly RawExtension[];
  readonly omitAuthorityKeyIdentifier?: boolean;
  /** Another issuer name than the signer's. */
  readonly issuerName?: Subject | Buffer;
  /** 1 leaves out the version and all extensions. */
  readonly version?: 1 | 2;
  readonly signatureHash?: SignatureHash;
  readonly pss?: boolean;
  readonly breakSignature?: boolean;
}

/** A CRL (RFC 5280 §5), DER. Made in one pass, so a million entries take seconds and not minutes. */
export async function issueCrl(authority: Authority, options: CrlOptions = {}): Promise<Buffer> {
  const thisUpdate = new Date(options.thisUpdate ?? Date.now() - 60_000).getTime();
  const nextUpdate = options.nextUpdate === undefined ? thisUpdate + 86_400_000 : options.nextUpdate;
  const signer = signerOf(authority.privateKey, { hash: options.signatureHash, pss: options.pss });
  const entries = encodeEntries(options.revoked ?? [], thisUpdate);
  const version2 = options.version !== 1;
  const extensions = version2 ? crlExtensions(authority, options) : [];
  const tbs = sequence(
    ...(version2 ? [integer(1)] : []), signer.algorithm, options.issuerName === undefined ? authority.subject : nameOf(options.issuerName),
    time(thisUpdate), ...(nextUpdate === null ? [] : [time(nextUpdate)]),
    // RFC 5280 §5.1.2.6: absent when nothing is revoked.
    ...(entries.length === 0 ? [] : [tlv(0x30, entries)]),
    ...(extensions.length === 0 ? [] : [context(0, sequence(...extensions.map(encodeExtension)))]),
  );
  const signature = await signer.sign(tbs);
  if (options.breakSignature === true) signature.writeUInt8(signature.readUInt8(signature.length - 1) ^ 1, signature.length - 1);
  return sequence(tbs, signer.algorithm, bitString(signature));
}

function crlExtensions(authority: Authority, options: CrlOptions): RawExtension[] {
  return [
    ...(options.omitAuthorityKeyIdentifier === true ? [] : [authorityKeyIdentifier(authority.keyIdentifier)]),
    ...(options.number === null ? [] : [{ oid: '2.5.29.20', value: integer(options.number ?? 1) }]),
    ...(options.deltaBase === undefined ? [] : [{ oid: '2.5.29.27', critical: true, value: integer(options.deltaBase) }]),
    ...(options.issuingDistributionPoint === undefined ? [] : [issuingDistributionPoint(options.issuingDistributionPoint)]),
    ...(options.freshestCrl === undefined ? [] : [crlDistributionPoints(options.freshestCrl, true)]),
    ...(options.extensions ?? []),
  ];
}

function encodeEntries(revoked: Iterable<RevokedEntry>, thisUpdate: number): Buffer {
  const tails = new Map<string, Buffer>();
  let out = Buffer.alloc(4096);
  let used = 0;
  for (const entry of revoked) {
    const serial = integerContents(entry.serial);
    const tail = entryTail(entry, thisUpdate, tails);
    const head = Buffer.concat([Buffer.of(0x02, serial.length), serial]);
    const encoded = head.length + tail.length < 0x80 ? undefined : tlv(0x30, head, tail);
    const size = encoded?.length ?? head.length + tail.length + 2;
    if (used + size > out.length) out = Buffer.concat([out], Math.max(out.length * 2, used + size));
    if (encoded !== undefined) out.set(encoded, used);
    else {
      out[used] = 0x30;
      out[used + 1] = size - 2;
      out.set(head, used + 2);
      out.set(tail, used + 2 + head.length);
    }
    used += size;
  }
  return out.subarray(0, used);
}

/** Date and extensions; equal ones, which are nearly all of a long list, are encoded once. */
function entryTail(entry: RevokedEntry, thisUpdate: number, known: Map<string, Buffer>): Buffer {
  const date = new Date(entry.date ?? thisUpdate).getTime();
  const plain = entry.invalidityDate === undefined && entry.certificateIssuer === undefined && entry.extensions === undefined;
  const key = `${date} ${entry.reason ?? ''}`;
  const found = plain ? known.get(key) : undefined;
  if (found !== undefined) return found;
  const extensions = entryExtensions(entry);
  const tail = Buffer.concat([time(date), ...(extensions.length === 0 ? [] : [sequence(...extensions.map(encodeExtension))])]);
  if (plain && known.size < 1000) known.set(key, tail);
  return tail;
}

function entryExtensions(entry: RevokedEntry): RawExtension[] {
  return [
    ...(entry.reason === undefined ? [] : [{ oid: '2.5.29.21', value: enumerated(reasonCodes[entry.reason]) }]),
    ...(entry.invalidityDate === undefined ? [] : [{ oid: '2.5.29.24', value: generalizedTime(entry.invalidityDate) }]),
    ...(entry.certificateIssuer === undefined ? [] : [certificateIssuer(entry.certificateIssuer)]),
    ...(entry.extensions ?? []),
  ];
}

function certificateIssuer(name: Subject | Buffer): RawExtension {
  const names = Buffer.isBuffer(name) ? [context(4, name)] : generalNames({ directory: [name] });
  return { oid: '2.5.29.29', critical: true, value: sequence(...names) };
}

function nameOf(name: Subject | Buffer): Buffer {
  return Buffer.isBuffer(name) ? name : encodeName(name);
}
