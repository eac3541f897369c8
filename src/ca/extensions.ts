import { boolean, context, contextPrimitive, integer, integerContents, namedBits, octetString, oid, sequence, text } from './der.ts';
import { encodeName, generalNames } from './names.ts';
import type { AlternativeNames, Subject } from './names.ts';

/** An extension as it goes into a certificate, CRL or OCSP answer; `value` is the DER inside the OCTET STRING. */
export interface RawExtension {
  readonly oid: string;
  readonly critical?: boolean;
  readonly value: Uint8Array;
}

export type KeyUsageName =
  | 'digitalSignature' | 'nonRepudiation' | 'keyEncipherment' | 'dataEncipherment' | 'keyAgreement' | 'keyCertSign' | 'cRLSign' | 'encipherOnly' | 'decipherOnly';

const keyUsageBits: Readonly<Record<KeyUsageName, number>> = {
  digitalSignature: 0, nonRepudiation: 1, keyEncipherment: 2, dataEncipherment: 3, keyAgreement: 4, keyCertSign: 5, cRLSign: 6, encipherOnly: 7, decipherOnly: 8,
};

/** Short names of the extended key usages in use here; any dotted OID is accepted beside them. */
const purposeOids: Readonly<Record<string, string>> = {
  any: '2.5.29.37.0', serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2', codeSigning: '1.3.6.1.5.5.7.3.3', emailProtection: '1.3.6.1.5.5.7.3.4',
  timeStamping: '1.3.6.1.5.5.7.3.8', OCSPSigning: '1.3.6.1.5.5.7.3.9',
};

export type Reason =
  | 'unspecified' | 'keyCompromise' | 'cACompromise' | 'affiliationChanged' | 'superseded' | 'cessationOfOperation' | 'certificateHold'
  | 'removeFromCRL' | 'privilegeWithdrawn' | 'aACompromise';

/** CRLReason, RFC 5280 §5.3.1. */
export const reasonCodes: Readonly<Record<Reason, number>> = {
  unspecified: 0, keyCompromise: 1, cACompromise: 2, affiliationChanged: 3, superseded: 4, cessationOfOperation: 5, certificateHold: 6,
  removeFromCRL: 8, privilegeWithdrawn: 9, aACompromise: 10,
};

/** ReasonFlags, RFC 5280 §4.2.1.13: another numbering than CRLReason. */
const reasonFlags: Partial<Record<Reason, number>> = {
  keyCompromise: 1, cACompromise: 2, affiliationChanged: 3, superseded: 4, cessationOfOperation: 5, certificateHold: 6, privilegeWithdrawn: 7, aACompromise: 8,
};

export function encodeExtension(extension: RawExtension): Buffer {
  const critical = extension.critical === true ? [boolean(true)] : [];
  return sequence(oid(extension.oid), ...critical, octetString(extension.value));
}

export function basicConstraints(ca: boolean, pathLen?: number): RawExtension {
  const value = sequence(...(ca ? [boolean(true)] : []), ...(pathLen === undefined ? [] : [integer(pathLen)]));
  return { oid: '2.5.29.19', critical: true, value };
}

export function keyUsage(names: readonly KeyUsageName[]): RawExtension {
  return { oid: '2.5.29.15', critical: true, value: namedBits(names.map((name) => keyUsageBits[name])) };
}

export function extendedKeyUsage(purposes: readonly string[], critical = false): RawExtension {
  return { oid: '2.5.29.37', critical, value: sequence(...purposes.map((purpose) => oid(purposeOids[purpose] ?? purpose))) };
}

/** Critical when the subject is empty (RFC 5280 §4.2.1.6). */
export function subjectAltName(names: AlternativeNames, critical: boolean): RawExtension {
  return { oid: '2.5.29.17', critical, value: sequence(...generalNames(names)) };
}

export function subjectKeyIdentifier(identifier: Uint8Array): RawExtension {
  return { oid: '2.5.29.14', value: octetString(identifier) };
}

export function authorityKeyIdentifier(identifier: Uint8Array): RawExtension {
  return { oid: '2.5.29.35', value: sequence(contextPrimitive(0, identifier)) };
}

export function certificatePolicies(oids: readonly string[], critical = false): RawExtension {
  return { oid: '2.5.29.32', critical, value: sequence(...oids.map((policy) => sequence(oid(policy)))) };
}

export function policyMappings(pairs: readonly (readonly [issuer: string, subject: string])[]): RawExtension {
  return { oid: '2.5.29.33', critical: true, value: sequence(...pairs.map(([issuer, subject]) => sequence(oid(issuer), oid(subject)))) };
}

export function policyConstraints(options: { readonly requireExplicit?: number; readonly inhibitMapping?: number }): RawExtension {
  const fields = [options.requireExplicit, options.inhibitMapping].flatMap((skip, tag) => (skip === undefined ? [] : [contextPrimitive(tag, integerContents(skip))]));
  return { oid: '2.5.29.36', critical: true, value: sequence(...fields) };
}

export function inhibitAnyPolicy(skip: number): RawExtension {
  return { oid: '2.5.29.54', critical: true, value: integer(skip) };
}

export function nameConstraints(options: { readonly permitted?: AlternativeNames; readonly excluded?: AlternativeNames }): RawExtension {
  const subtrees = [options.permitted, options.excluded].flatMap((names, tag) =>
    names === undefined ? [] : [context(tag, ...generalNames(names).map((base) => sequence(base)))]);
  return { oid: '2.5.29.30', critical: true, value: sequence(...subtrees) };
}

/** authorityInfoAccess: responders and places of the issuer's certificate. */
export function authorityInfoAccess(options: { readonly ocsp?: readonly string[]; readonly caIssuers?: readonly string[] }): RawExtension {
  const describe = (method: string, url: string) => sequence(oid(method), contextPrimitive(6, Buffer.from(url, 'latin1')));
  const value = sequence(
    ...(options.ocsp ?? []).map((url) => describe('1.3.6.1.5.5.7.48.1', url)),
    ...(options.caIssuers ?? []).map((url) => describe('1.3.6.1.5.5.7.48.2', url)),
  );
  return { oid: '1.3.6.1.5.5.7.1.1', value };
}

/** One CRL distribution point: where, and optionally for which reasons and by which other CRL issuer. */
export interface DistributionPoint {
  readonly urls?: readonly string[];
  readonly reasons?: readonly Reason[];
  readonly crlIssuer?: Subject;
}

/** cRLDistributionPoints, or freshestCRL (the same syntax) when `freshest`. A plain string is a point with that one URL. */
export function crlDistributionPoints(points: readonly (string | DistributionPoint)[], freshest = false): RawExtension {
  const encoded = points.map((point) => encodeDistributionPoint(typeof point === 'string' ? { urls: [point] } : point));
  return { oid: freshest ? '2.5.29.46' : '2.5.29.31', value: sequence(...encoded) };
}

function encodeDistributionPoint(point: DistributionPoint): Buffer {
  return sequence(
    ...(point.urls === undefined ? [] : [context(0, fullName(point.urls))]),
    ...(point.reasons === undefined ? [] : [reasonBits(point.reasons, 1)]),
    ...(point.crlIssuer === undefined ? [] : [context(2, context(4, encodeName(point.crlIssuer)))]),
  );
}

function fullName(urls: readonly string[]): Buffer {
  return context(0, ...urls.map((url) => contextPrimitive(6, Buffer.from(url, 'latin1'))));
}

function reasonBits(reasons: readonly Reason[], tag: number): Buffer {
  return namedBits(reasons.flatMap((reason) => reasonFlags[reason] ?? []), 0x80 | tag);
}

/** issuingDistributionPoint, RFC 5280 §5.2.5: what a partitioned or indirect CRL covers. */
export interface IssuingDistributionPoint {
  readonly urls?: readonly string[];
  readonly onlyContainsUserCerts?: boolean;
  readonly onlyContainsCACerts?: boolean;
  readonly onlySomeReasons?: readonly Reason[];
  readonly indirectCRL?: boolean;
  readonly onlyContainsAttributeCerts?: boolean;
}

export function issuingDistributionPoint(point: IssuingDistributionPoint): RawExtension {
  const flag = (tag: number, set: boolean | undefined) => (set === true ? [contextPrimitive(tag, Buffer.of(0xff))] : []);
  const value = sequence(
    ...(point.urls === undefined ? [] : [context(0, fullName(point.urls))]),
    ...flag(1, point.onlyContainsUserCerts),
    ...flag(2, point.onlyContainsCACerts),
    ...(point.onlySomeReasons === undefined ? [] : [reasonBits(point.onlySomeReasons, 3)]),
    ...flag(4, point.indirectCRL),
    ...flag(5, point.onlyContainsAttributeCerts),
  );
  return { oid: '2.5.29.28', critical: true, value };
}

/** id-pkix-ocsp-nocheck, RFC 6960 §4.2.2.2.1: the delegate's own status need not be asked. */
export function ocspNoCheck(): RawExtension {
  return { oid: '1.3.6.1.5.5.7.48.1.5', value: Buffer.of(5, 0) };
}

/** An extension nobody knows, for tests of how unknown ones are treated. */
export function unknownExtension(critical: boolean): RawExtension {
  return { oid: '1.3.6.1.4.1.99999.7.7', critical, value: text('unknown') };
}
