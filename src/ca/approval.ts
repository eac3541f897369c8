import { createPrivateKey, sign, verify, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { canonical, digestOf } from './canonical.ts';
import { hashFor } from './ledger.ts';
import type { CaRequest } from './office-types.ts';
import { OfficeError } from './office-error.ts';

/** That somebody agrees to a request: the statement as it was signed, the signature (base64) and the certificate of whoever signed (PEM). */
export interface SignedApproval {
  readonly statement: string;
  readonly signature: string;
  readonly certificate: string;
}

/** What an approver signs, as canonical JSON: enough to see what was agreed to, and the digest of all of the request. */
export interface ApprovalStatement {
  readonly type: 'wardgate-ca-approval';
  readonly request: string;
  readonly digest: string;
  readonly profile: string;
  readonly subject: string;
  readonly names: readonly string[];
  readonly applicant: string;
  readonly purpose: string;
  readonly system: string;
  readonly days: number;
  /** SHA-256 of the approver's certificate. */
  readonly approver: string;
  /** ISO 8601 UTC. */
  readonly time: string;
  readonly note?: string;
}

const DAY_MS = 86_400_000;
/** An approval is taken to the CA at once; what is older may be one that somebody has thought better of. */
const FRESH_MS = DAY_MS;
const SKEW_MS = 60_000;

/** The octets that an approver signs for a request. */
function approvalStatement(request: CaRequest, approver: string, now: number, note?: string): string {
  const statement: ApprovalStatement = {
    type: 'wardgate-ca-approval', request: request.id, digest: request.digest, profile: request.profile, subject: request.subject, names: Object.values(request.names).flat() as string[],
    applicant: request.applicant.name, purpose: request.purpose, system: request.system, days: request.validity / DAY_MS, approver, time: new Date(now).toISOString(), ...(note === undefined ? {} : { note }),
  };
  return canonical({ ...statement });
}

/** Signs for a request with an approver's certificate (PEM) and its private key. Throws an OfficeError when the two are no pair. */
export function signApproval(request: CaRequest, approver: { readonly certificate: string; readonly key: string | KeyObject }, now: number, note?: string): SignedApproval {
  const certificate = new X509Certificate(approver.certificate);
  const key = typeof approver.key === 'string' ? createPrivateKey(approver.key) : approver.key;
  if (!certificate.checkPrivateKey(key)) throw new OfficeError('not_authorized', 'the private key is not that of the certificate');
  const statement = approvalStatement(request, digestOf(certificate.raw), now, note);
  return { statement, signature: sign(hashFor(key), Buffer.from(statement), key).toString('base64'), certificate: certificate.toString() };
}

/** Who signed an approval, when it is one of exactly this request. Throws an OfficeError. `fresh` also asks that it is of today. */
export function readApproval(request: CaRequest, { statement, signature, certificate }: SignedApproval, now: number, fresh: boolean): { readonly x509: X509Certificate; readonly fingerprint: string; readonly statement: ApprovalStatement } {
  const x509 = readCertificate(certificate);
  const key = x509.publicKey;
  if (!isSigned(statement, signature, key)) throw new OfficeError('not_authorized', 'the approval is not signed with the key of the certificate that came with it');
  const fingerprint = digestOf(x509.raw);
  const said = readStatement(statement);
  if (said === undefined || statement !== approvalStatement(request, fingerprint, Date.parse(said.time), said.note)) throw new OfficeError('not_authorized', `the approval is not one of request ${request.id} as it stands`);
  const at = Date.parse(said.time);
  if (fresh && (at > now + SKEW_MS || at < now - FRESH_MS)) throw new OfficeError('not_authorized', `the approval was signed at ${said.time}; expected within the last day`);
  return { x509, fingerprint, statement: said };
}

/** Keys that cannot sign at all make OpenSSL throw. */
function isSigned(statement: string, signature: string, key: KeyObject): boolean {
  try {
    return verify(hashFor(key), Buffer.from(statement), key, Buffer.from(signature, 'base64'));
  } catch {
    return false;
  }
}

function readStatement(statement: string): ApprovalStatement | undefined {
  try {
    const said = JSON.parse(statement) as ApprovalStatement;
    return Number.isNaN(Date.parse(said.time)) || (said.note !== undefined && typeof said.note !== 'string') ? undefined : said;
  } catch {
    return undefined;
  }
}

function readCertificate(certificate: string): X509Certificate {
  try {
    return new X509Certificate(certificate);
  } catch (error) {
    throw new OfficeError('not_authorized', 'the certificate of the approver cannot be read', { cause: error });
  }
}
