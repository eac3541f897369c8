import { createHash, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { bitString, context, integer, pem, sequence, time } from './der.ts';
import {
  authorityInfoAccess, authorityKeyIdentifier, basicConstraints, certificatePolicies, crlDistributionPoints, encodeExtension, extendedKeyUsage,
  inhibitAnyPolicy, keyUsage, nameConstraints, policyConstraints, policyMappings, subjectAltName, subjectKeyIdentifier,
} from './extensions.ts';
import type { DistributionPoint, KeyUsageName, RawExtension } from './extensions.ts';
import { generateKey, keyIdentifierOf, keyPairOf, signerOf, spkiOf } from './keys.ts';
import type { KeyType, SignatureHash } from './keys.ts';
import { refuseBeyondLimits } from './limits.ts';
import { encodeName } from './names.ts';
import type { AlternativeNames, Subject } from './names.ts';

export type { AlternativeNames, Attribute, Subject } from './names.ts';
export type { DistributionPoint, IssuingDistributionPoint, KeyUsageName, RawExtension, Reason } from './extensions.ts';
export type { KeyType, SignatureHash } from './keys.ts';
export { ocspNoCheck, unknownExtension } from './extensions.ts';
export { IssueRefused, longestValidity } from './limits.ts';
export { issueCrl } from './crl.ts';
export type { CrlOptions, RevokedEntry } from './crl.ts';
export { answerOcsp, readOcspRequest } from './ocsp.ts';
export type { OcspAnswerOptions, OcspRequest, OcspStatus } from './ocsp.ts';
export { toPkcs12 } from './pkcs12.ts';
export { loadIssued } from './load.ts';

/** A certificate together with its private key. */
export interface Issued {
  /** PEM */
  readonly certificate: string;
  readonly der: Buffer;
  /** PEM, PKCS#8 */
  readonly key: string;
  readonly privateKey: KeyObject;
  /** PEM: this certificate and its intermediates, the self-signed root left out. */
  readonly chain: string;
  /** lowercase hexadecimal, leading zero octets stripped */
  readonly serialHex: string;
  /** of the DER, lowercase hexadecimal */
  readonly sha256: string;
  readonly subject: Buffer;
  readonly spki: Buffer;
  /** SHA-1 of the public key bits (RFC 5280 §4.2.1.2, method 1); also the OCSP key hash. */
  readonly keyIdentifier: Buffer;
  readonly selfSigned: boolean;
  /** ms since epoch */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** A certificate whose private key somebody else has. */
export type Certified = Omit<Issued, 'key' | 'privateKey'>;

/** What signs certificates, CRLs and OCSP answers. Any issued certificate can be made to, so that tests can see it refused. */
export type Authority = Issued;

export type Omissible = 'basicConstraints' | 'keyUsage' | 'extendedKeyUsage' | 'subjectKeyIdentifier' | 'authorityKeyIdentifier' | 'subjectAltName';

interface CommonOptions {
  /** Default `ec` (P-256). */
  readonly keyType?: KeyType;
  /** An existing private key instead of a new one: a renewed or cross-signed certificate. PEM or KeyObject. */
  readonly key?: string | KeyObject;
  /** Default: a minute ago. */
  readonly notBefore?: Date | number;
  readonly notAfter?: Date | number;
  /** Hexadecimal; default 16 random octets. */
  readonly serial?: string;
  readonly san?: AlternativeNames;
  readonly keyUsage?: readonly KeyUsageName[];
  readonly policies?: readonly string[];
  /** URLs of responders (authorityInfoAccess). */
  readonly ocsp?: string | readonly string[];
  readonly caIssuers?: string | readonly string[];
  readonly crlDistributionPoints?: readonly (string | DistributionPoint)[];
  readonly freshestCrl?: readonly (string | DistributionPoint)[];
  /** Further extensions, after ours, as they are. */
  readonly extensions?: readonly RawExtension[];
  readonly omit?: readonly Omissible[];
  readonly signatureHash?: SignatureHash;
  /** RSASSA-PSS instead of PKCS#1 v1.5; the issuer's key must be RSA. */
  readonly pss?: boolean;
  /** `off` issues what `refuseBeyondLimits` would refuse; for tests that must see it refused by the other side. */
  readonly limits?: 'enforced' | 'off';
  /** 1 leaves out the version and every extension. */
  readonly version?: 1 | 3;
  /** Edits the TBSCertificate before it is signed. */
  readonly editTbs?: (tbs: Buffer) => Uint8Array;
  /** Flips a bit of the signature. */
  readonly breakSignature?: boolean;
}

export interface AuthorityOptions extends CommonOptions {
  /** A common name, or a whole subject. */
  readonly name: string | Subject;
  /** Who signs; without it the authority signs itself. */
  readonly issuer?: Authority;
  readonly pathLen?: number;
  readonly eku?: readonly string[];
  readonly nameConstraints?: { readonly permitted?: AlternativeNames; readonly excluded?: AlternativeNames };
  readonly policyConstraints?: { readonly requireExplicit?: number; readonly inhibitMapping?: number };
  readonly policyMappings?: readonly (readonly [issuer: string, subject: string])[];
  readonly inhibitAnyPolicy?: number;
}

export interface CertificateOptions extends CommonOptions {
  readonly subject: Subject;
  /** Short names (`clientAuth`, `serverAuth`, `OCSPSigning`, `any`, …) or dotted OIDs; default `clientAuth`. */
  readonly eku?: readonly string[];
  readonly ekuCritical?: boolean;
  /** Writes cA into basicConstraints; default false. */
  readonly ca?: boolean;
  readonly pathLen?: number;
}

const day = 86_400_000;

/** A root (without `issuer`) or an intermediate. Default validity five years. Throws `IssueRefused` beyond the limits. */
export async function createAuthority(options: AuthorityOptions): Promise<Authority> {
  return issue(authorityDraft(options));
}

/** An intermediate for a public key whose private one is elsewhere; `key` and `keyType` of the options mean nothing. */
export async function certifyAuthority(publicKey: KeyObject, options: AuthorityOptions & { readonly issuer: Authority }): Promise<Certified> {
  return certify(authorityDraft(options), publicKey, options.issuer.privateKey);
}

function authorityDraft(options: AuthorityOptions): Draft {
  const extensions = [
    basicConstraints(true, options.pathLen),
    keyUsage(options.keyUsage ?? ['keyCertSign', 'cRLSign']),
    ...(options.eku === undefined ? [] : [extendedKeyUsage(options.eku)]),
    ...(options.nameConstraints === undefined ? [] : [nameConstraints(options.nameConstraints)]),
    ...(options.policyMappings === undefined ? [] : [policyMappings(options.policyMappings)]),
    ...(options.policyConstraints === undefined ? [] : [policyConstraints(options.policyConstraints)]),
    ...(options.inhibitAnyPolicy === undefined ? [] : [inhibitAnyPolicy(options.inhibitAnyPolicy)]),
  ];
  const subject: Subject = typeof options.name === 'string' ? [['CN', options.name]] : options.name;
  return { use: 'authority', subject, issuer: options.issuer, extensions, validity: 1826 * day, options };
}

/** A leaf. Default validity 90 days, key usage digitalSignature, purpose clientAuth. Throws `IssueRefused` beyond the limits. */
export async function issueCertificate(authority: Authority, options: CertificateOptions): Promise<Issued> {
  return issue(leafDraft(authority, options));
}

/** A leaf for a public key whose private one is elsewhere; `key` and `keyType` of the options mean nothing. */
export async function certifyLeaf(authority: Authority, publicKey: KeyObject, options: CertificateOptions): Promise<Certified> {
  return certify(leafDraft(authority, options), publicKey, authority.privateKey);
}

function leafDraft(authority: Authority, options: CertificateOptions): Draft {
  const extensions = [
    basicConstraints(options.ca ?? false, options.pathLen),
    keyUsage(options.keyUsage ?? ['digitalSignature']),
    extendedKeyUsage(options.eku ?? ['clientAuth'], options.ekuCritical),
  ];
  return { use: 'leaf', subject: options.subject, issuer: authority, extensions, validity: 90 * day, options };
}

interface Draft {
  readonly use: 'authority' | 'leaf';
  readonly subject: Subject;
  readonly issuer: Authority | undefined;
  readonly extensions: readonly RawExtension[];
  /** default, in ms */
  readonly validity: number;
  readonly options: CommonOptions;
}

async function issue(draft: Draft): Promise<Issued> {
  const { issuer, options } = draft;
  const { publicKey, privateKey } = options.key === undefined ? await generateKey(options.keyType ?? 'ec') : keyPairOf(options.key);
  const certified = await certify(draft, publicKey, issuer?.privateKey ?? privateKey);
  return { ...certified, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, privateKey };
}

async function certify({ use, subject, issuer, extensions, validity, options }: Draft, publicKey: KeyObject, by: KeyObject): Promise<Certified> {
  const notBefore = wholeSeconds(options.notBefore ?? Date.now() - 60_000);
  const notAfter = wholeSeconds(options.notAfter ?? notBefore + validity);
  if (options.limits !== 'off') refuseBeyondLimits({ use, key: publicKey, hash: options.signatureHash, notBefore, notAfter });

  const spki = spkiOf(publicKey);
  const identifier = keyIdentifierOf(spki);
  const name = encodeName(subject);
  const signer = signerOf(by, { hash: options.signatureHash, pss: options.pss });
  const serial = integer(options.serial ?? randomSerial());
  const all = [
    ...extensions, ...commonExtensions(options, subject.length === 0), subjectKeyIdentifier(identifier),
    authorityKeyIdentifier(issuer?.keyIdentifier ?? identifier), ...(options.extensions ?? []),
  ].filter((extension) => !omitted(options.omit ?? [], extension));
  const version3 = options.version !== 1;
  const draft = sequence(
    ...(version3 ? [context(0, integer(2))] : []), serial, signer.algorithm, issuer?.subject ?? name,
    sequence(time(notBefore), time(notAfter)), name, spki, ...(version3 && all.length > 0 ? [context(3, sequence(...all.map(encodeExtension)))] : []),
  );
  const tbs = options.editTbs?.(draft) ?? draft;
  const signature = await signer.sign(tbs);
  if (options.breakSignature === true) signature.writeUInt8(signature.readUInt8(signature.length - 1) ^ 1, signature.length - 1);
  const der = sequence(tbs, signer.algorithm, bitString(signature));
  const certificate = pem('CERTIFICATE', der);
  return {
    certificate, der,
    chain: issuer === undefined || issuer.selfSigned ? certificate : certificate + issuer.chain,
    serialHex: serial.subarray(2).toString('hex').replace(/^(00)+(?=..)/, ''), sha256: createHash('sha256').update(der).digest('hex'),
    subject: name, spki, keyIdentifier: identifier, selfSigned: issuer === undefined, notBefore, notAfter,
  };
}

function commonExtensions(options: CommonOptions, emptySubject: boolean): RawExtension[] {
  const ocsp = list(options.ocsp);
  const caIssuers = list(options.caIssuers);
  return [
    ...(options.san === undefined ? [] : [subjectAltName(options.san, emptySubject)]),
    ...(options.policies === undefined ? [] : [certificatePolicies(options.policies)]),
    ...(ocsp.length + caIssuers.length === 0 ? [] : [authorityInfoAccess({ ocsp, caIssuers })]),
    ...(options.crlDistributionPoints === undefined ? [] : [crlDistributionPoints(options.crlDistributionPoints)]),
    ...(options.freshestCrl === undefined ? [] : [crlDistributionPoints(options.freshestCrl, true)]),
  ];
}

const omissibleOids: Readonly<Record<Omissible, string>> = {
  basicConstraints: '2.5.29.19', keyUsage: '2.5.29.15', extendedKeyUsage: '2.5.29.37', subjectKeyIdentifier: '2.5.29.14', authorityKeyIdentifier: '2.5.29.35',
  subjectAltName: '2.5.29.17',
};

function omitted(omit: readonly Omissible[], extension: RawExtension): boolean {
  return omit.some((name) => omissibleOids[name] === extension.oid);
}

function list(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  return typeof value === 'string' ? [value] : value;
}

function wholeSeconds(at: Date | number): number {
  return Math.floor(new Date(at).getTime() / 1000) * 1000;
}

/** 16 octets, positive, the first never zero (RFC 5280 §4.1.2.2 allows up to 20), hexadecimal. */
export function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x40, 0);
  return bytes.toString('hex');
}
