import { createHash } from 'node:crypto';
import { OCSPRequest } from 'pkijs';
import { bitString, context, contextPrimitive, enumerated, generalizedTime, octetString, oid, sequence, tlv } from './der.ts';
import { encodeExtension, reasonCodes } from './extensions.ts';
import type { RawExtension, Reason } from './extensions.ts';
import type { Authority, Issued } from './issue.ts';
import { publicKeyBits, signerOf } from './keys.ts';
import type { SignatureHash } from './keys.ts';

export type OcspStatus =
  | { readonly kind: 'good' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'revoked'; readonly at?: Date | number; readonly reason?: Reason };

export type OcspFailure = 'malformedRequest' | 'internalError' | 'tryLater' | 'sigRequired' | 'unauthorized';

const failureCodes: Readonly<Record<OcspFailure, number>> = { malformedRequest: 1, internalError: 2, tryLater: 3, sigRequired: 5, unauthorized: 6 };

export interface OcspRequest {
  readonly certificates: readonly {
    /** The CertID as it came, DER. */
    readonly certId: Buffer;
    readonly hashAlgorithm: string;
    readonly issuerNameHash: Buffer;
    readonly issuerKeyHash: Buffer;
    /** lowercase hexadecimal, leading zero octets stripped */
    readonly serialHex: string;
  }[];
  /** The value of the nonce extension, undecoded. */
  readonly nonce?: Buffer;
}

export interface OcspAnswerOptions {
  /** The issuer of the certificates asked about. A request for another issuer is answered `unauthorized`. */
  readonly authority: Authority;
  /** Who signs when it is not the issuer itself; its certificate is put into the answer. */
  readonly delegate?: Issued;
  readonly statusOf: (serialHex: string) => OcspStatus;
  /** Default: now. */
  readonly producedAt?: Date | number;
  /** Default: a minute ago. */
  readonly thisUpdate?: Date | number;
  /** Default: an hour after thisUpdate; `null` leaves it out. */
  readonly nextUpdate?: Date | number | null;
  /** Default `echo`. Bytes are a nonce of one's own. */
  readonly nonce?: 'echo' | 'omit' | Uint8Array;
  readonly responderId?: 'key' | 'name';
  /** Certificates in the answer; default the delegate's, if there is one. */
  readonly certificates?: readonly Uint8Array[];
  /** Answers with this failure and nothing else. */
  readonly failure?: OcspFailure;
  /** Edits each CertID (DER) before it is answered. */
  readonly editCertId?: (certId: Buffer) => Uint8Array;
  readonly singleExtensions?: readonly RawExtension[];
  readonly extensions?: readonly RawExtension[];
  readonly signatureHash?: SignatureHash;
  readonly breakSignature?: boolean;
  /** Answers even when the request names another issuer. */
  readonly anyIssuer?: boolean;
}

const nonceOid = '1.3.6.1.5.5.7.48.1.2';

/** Reads an OCSPRequest (RFC 6960 §4.1.1). Throws when it is none. */
export function readOcspRequest(der: Uint8Array): OcspRequest {
  const { tbsRequest } = OCSPRequest.fromBER(der);
  const nonce = tbsRequest.requestExtensions?.find((extension) => extension.extnID === nonceOid);
  const certificates = tbsRequest.requestList.map(({ reqCert }) => ({
    certId: Buffer.from(reqCert.toSchema().toBER()),
    hashAlgorithm: reqCert.hashAlgorithm.algorithmId,
    issuerNameHash: Buffer.from(reqCert.issuerNameHash.valueBlock.valueHexView),
    issuerKeyHash: Buffer.from(reqCert.issuerKeyHash.valueBlock.valueHexView),
    serialHex: Buffer.from(reqCert.serialNumber.valueBlock.valueHexView).toString('hex').replace(/^(00)+(?=..)/, ''),
  }));
  return { certificates, ...(nonce === undefined ? {} : { nonce: Buffer.from(nonce.extnValue.valueBlock.valueHexView) }) };
}

/** Whether every certificate of the request was issued by this authority, by name and key hash (RFC 6960 §4.1.1). */
export function asksAbout(request: OcspRequest, authority: Authority): boolean {
  return request.certificates.length > 0 && request.certificates.every(({ hashAlgorithm, issuerNameHash, issuerKeyHash }) => {
    const hash = hashNames[hashAlgorithm];
    if (hash === undefined) return false;
    return digest(hash, authority.subject).equals(issuerNameHash) && digest(hash, publicKeyBits(authority.spki)).equals(issuerKeyHash);
  });
}

/** Hashes of CertIDs by their OID. */
export const hashNames: Readonly<Record<string, string>> = {
  '1.3.14.3.2.26': 'sha1', '2.16.840.1.101.3.4.2.1': 'sha256', '2.16.840.1.101.3.4.2.2': 'sha384', '2.16.840.1.101.3.4.2.3': 'sha512',
};

/** An OCSPResponse (RFC 6960 §4.2), DER. A request that cannot be read is answered `malformedRequest`. */
export async function answerOcsp(requestDer: Uint8Array, options: OcspAnswerOptions): Promise<Buffer> {
  if (options.failure !== undefined) return failedOcsp(options.failure);
  const request = tryRead(requestDer);
  if (request === undefined) return failedOcsp('malformedRequest');
  if (options.anyIssuer !== true && !asksAbout(request, options.authority)) return failedOcsp('unauthorized');

  const signedBy = options.delegate ?? options.authority;
  const thisUpdate = new Date(options.thisUpdate ?? Date.now() - 60_000).getTime();
  const singles = request.certificates.map(({ certId, serialHex }) =>
    single(options.editCertId?.(certId) ?? certId, options.statusOf(serialHex), thisUpdate, options));
  return signAnswer(singles, {
    signedBy, producedAt: options.producedAt ?? Date.now(), byName: options.responderId === 'name',
    extensions: [...nonceExtension(request, options.nonce ?? 'echo'), ...(options.extensions ?? [])],
    certificates: options.certificates ?? (options.delegate === undefined ? [] : [options.delegate.der]),
    signatureHash: options.signatureHash, breakSignature: options.breakSignature,
  });
}

/** What a responder says of certificates, once it knows: nothing of it is looked up. */
export interface OcspStatement {
  /** CertIDs as they were asked, DER, each with its status. */
  readonly about: readonly { readonly certId: Uint8Array; readonly status: OcspStatus }[];
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly nonce?: Uint8Array;
  /** The issuer, or its delegate: then its certificate goes with the answer. */
  readonly signedBy: Pick<Issued, 'privateKey' | 'keyIdentifier' | 'subject' | 'der'>;
  readonly delegated: boolean;
}

/** A signed OCSPResponse (RFC 6960 section 4.2), DER. Times in ms. */
export function signOcsp({ about, thisUpdate, nextUpdate, nonce, signedBy, delegated }: OcspStatement): Promise<Buffer> {
  return signAnswer(about.map(({ certId, status }) => single(certId, status, thisUpdate, { nextUpdate })), {
    signedBy, producedAt: thisUpdate, byName: false, extensions: nonce === undefined ? [] : [{ oid: nonceOid, value: octetString(nonce) }],
    certificates: delegated ? [signedBy.der] : [], signatureHash: undefined, breakSignature: undefined,
  });
}

interface Signing {
  readonly signedBy: Pick<Issued, 'privateKey' | 'keyIdentifier' | 'subject'>;
  readonly producedAt: Date | number;
  readonly byName: boolean;
  readonly extensions: readonly RawExtension[];
  readonly certificates: readonly Uint8Array[];
  readonly signatureHash: SignatureHash | undefined;
  readonly breakSignature: boolean | undefined;
}

async function signAnswer(singles: readonly Buffer[], { signedBy, producedAt, byName, extensions, certificates, signatureHash, breakSignature }: Signing): Promise<Buffer> {
  const signer = signerOf(signedBy.privateKey, { hash: signatureHash });
  const responder = byName ? context(1, signedBy.subject) : context(2, octetString(signedBy.keyIdentifier));
  const tbs = sequence(
    responder, generalizedTime(producedAt), sequence(...singles),
    ...(extensions.length === 0 ? [] : [context(1, sequence(...extensions.map(encodeExtension)))]),
  );
  const signature = await signer.sign(tbs);
  if (breakSignature === true) signature.writeUInt8(signature.readUInt8(signature.length - 1) ^ 1, signature.length - 1);
  const basic = sequence(tbs, signer.algorithm, bitString(signature), ...(certificates.length === 0 ? [] : [context(0, sequence(...certificates))]));
  return sequence(enumerated(0), context(0, sequence(oid('1.3.6.1.5.5.7.48.1.1'), octetString(basic))));
}

function single(certId: Uint8Array, status: OcspStatus, thisUpdate: number, options: Pick<OcspAnswerOptions, 'nextUpdate' | 'singleExtensions'>): Buffer {
  const nextUpdate = options.nextUpdate === undefined ? thisUpdate + 3_600_000 : options.nextUpdate;
  return sequence(
    certId, certStatus(status, thisUpdate), generalizedTime(thisUpdate), ...(nextUpdate === null ? [] : [context(0, generalizedTime(nextUpdate))]),
    ...(options.singleExtensions === undefined ? [] : [context(1, sequence(...options.singleExtensions.map(encodeExtension)))]),
  );
}

function certStatus(status: OcspStatus, thisUpdate: number): Buffer {
  if (status.kind === 'good') return contextPrimitive(0, Buffer.alloc(0));
  if (status.kind === 'unknown') return contextPrimitive(2, Buffer.alloc(0));
  const reason = status.reason === undefined ? [] : [context(0, enumerated(reasonCodes[status.reason]))];
  return context(1, generalizedTime(status.at ?? thisUpdate), ...reason);
}

function nonceExtension(request: OcspRequest, nonce: 'echo' | 'omit' | Uint8Array): RawExtension[] {
  if (nonce === 'omit') return [];
  const value = nonce === 'echo' ? request.nonce : octetString(nonce);
  return value === undefined ? [] : [{ oid: nonceOid, value }];
}

function tryRead(der: Uint8Array): OcspRequest | undefined {
  try {
    return readOcspRequest(der);
  } catch {
    return undefined;
  }
}

/** An answer that is only an error (RFC 6960 section 4.2.1). */
export const failedOcsp = (failure: OcspFailure): Buffer => sequence(tlv(0x0a, Buffer.of(failureCodes[failure])));

const digest = (hash: string, bytes: Uint8Array): Buffer => createHash(hash).update(bytes).digest();
