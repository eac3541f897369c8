import type { KeyObject } from 'node:crypto';
import type { SignedApproval } from './approval.ts';
import type { Reason } from './extensions.ts';
import type { Authority, Certified } from './issue.ts';
import type { KeyType } from './keys.ts';
import type { CaEvent } from './ledger.ts';
import type { State } from './life.ts';
import type { CaPolicy } from './policy.ts';

/** Who asks for a certificate: a name for the record, and the certificate that they were known by, where they were (PEM or DER). */
export interface Applicant {
  readonly name: string;
  /** Who typed the request, as that was said, and the account of the system that they had logged in with. */
  readonly typedBy?: string;
  readonly login?: string;
  readonly certificate?: string | Uint8Array;
}

/** Alternative names that are asked for beside those that the profile gives. */
export interface AskedNames {
  readonly dns?: readonly string[];
  readonly uri?: readonly string[];
  readonly email?: readonly string[];
  readonly ip?: readonly string[];
}

/** What the key is: in a request of the applicant's (PKCS#10, PEM or DER), whose names count for nothing; made here at issuing; or brought by whoever has a code, of whose secret this is the SHA-256, until `expires` (ms). */
export type AskedKey =
  | { readonly kind: 'csr'; readonly csr: string | Uint8Array }
  | { readonly kind: 'made'; readonly type?: Extract<KeyType, 'ec' | 'ec384' | 'rsa3072'> }
  | { readonly kind: 'code'; readonly sha256: string; readonly expires: number };

/** What somebody asks for. */
export interface RequestOrder {
  readonly profile: string;
  /** The common name: a person, a device, a host. */
  readonly name: string;
  /** What `{id}` of the profile's alternative names stands for. */
  readonly id?: string;
  readonly names?: AskedNames;
  readonly key: AskedKey;
  readonly applicant: Applicant;
  readonly purpose: string;
  /** The business system that it is for. */
  readonly system: string;
  /** Lifetime in ms; default that of the profile, at most two years. */
  readonly validity?: number;
  /** Flagged until it is replaced. */
  readonly temporary?: boolean;
}

/** What a request asks for, as it is approved: nothing of it changes any more. `digest` is the SHA-256 of its canonical form without itself. */
export interface RequestBody {
  readonly id: string;
  /** ISO 8601 UTC. */
  readonly submitted: string;
  readonly profile: string;
  readonly name: string;
  readonly identifier?: string;
  /** All alternative names that the certificate will have. */
  readonly names: AskedNames;
  /** RFC 4514. */
  readonly subject: string;
  /** `spki` is base64; its digest SHA-256 in hex. Absent of a key that is made here, before it is. */
  readonly key:
    | { readonly kind: 'csr'; readonly spki: string; readonly spki_sha256: string }
    | { readonly kind: 'made'; readonly type: 'ec' | 'ec384' | 'rsa3072' }
    | { readonly kind: 'code'; readonly code_sha256: string; readonly expires: string };
  readonly applicant: { readonly name: string; readonly fingerprint?: string; readonly key?: string; readonly typed_by?: string; readonly login?: string };
  readonly purpose: string;
  readonly system: string;
  /** ms */
  readonly validity: number;
  /** The serial number of the certificate that it renews. */
  readonly renews?: string;
  readonly temporary?: true;
  /** The name that is sensitive, and the role that has to approve for it. */
  readonly sensitive?: { readonly name: string; readonly role: string };
}

export interface CaRequest extends RequestBody {
  readonly digest: string;
  readonly state: State;
  /** Who approved so far. */
  readonly approvals: readonly { readonly by: string; readonly role: string; readonly fingerprint: string; readonly time: string }[];
  /** What is still missing before it can be issued, in words; empty when nothing is. */
  readonly missing: readonly string[];
  /** Of the certificate, once there is one. */
  readonly serial?: string;
}

/** A certificate that this CA issued. Times in ms since the epoch. */
export interface CaEntry {
  readonly serial: string;
  /** Id of its request. */
  readonly request: string;
  /** `expired` from the moment on that it is, also before that is on record. */
  readonly state: State;
  readonly profile: string;
  /** The role of its profile. */
  readonly role: string;
  /** RFC 4514. */
  readonly subject: string;
  readonly name: string;
  readonly names: AskedNames;
  readonly system: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** SHA-256 of the certificate and of its SubjectPublicKeyInfo, lowercase hex. */
  readonly sha256: string;
  readonly spkiSha256: string;
  readonly der: Buffer;
  /** PEM; the chain is with the issuing CA, without the root. */
  readonly certificate: string;
  readonly chain: string;
  /** Which issuing CA, from 1. */
  readonly generation: number;
  readonly revoked?: { readonly at: number; readonly reason: Reason };
  /** Serial numbers of the certificate that this one renews and of that which renews this one. */
  readonly renews?: string;
  readonly renewedBy?: string;
  readonly temporary: boolean;
}

/** What comes of issuing. `bundle` is there when the key was made here: PKCS#12 and its passphrase, which exist nowhere else from then on. */
export interface IssueResult {
  readonly entry: CaEntry;
  readonly bundle?: { readonly pkcs12: Buffer; readonly passphrase: string };
}

/** What became of an enrolment with a code. */
export type Enrolment =
  /** No such name and code. */
  | { readonly kind: 'unknown' }
  /** Nobody has approved it yet. */
  | { readonly kind: 'pending'; readonly request: string }
  | { readonly kind: 'issued'; readonly entry: CaEntry };

export interface Renewal {
  /** Default: a new key is made here. The key must be a new one. */
  readonly key?: AskedKey;
  readonly applicant: Applicant;
  /** Default: that of the certificate. */
  readonly purpose?: string;
  readonly validity?: number;
  /** The certificate by which the caller is authenticated, SHA-256 in hex; that of the one to be renewed makes an automatic renewal. */
  readonly authenticated?: string;
}

/** A CRL as it was issued last. Times in ms since the epoch. */
export interface IssuedCrl {
  readonly generation: number;
  readonly number: number;
  readonly der: Buffer;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

/** One issuing CA of this office: there are several after its certificate was renewed, and only the newest issues. */
export interface Issuer {
  readonly generation: number;
  readonly state: 'requested' | 'current' | 'retired';
  /** PEM; absent while the root has not signed. */
  readonly certificate?: string;
}

export type StatusAnswer =
  | { readonly kind: 'good' }
  /** Never issued, or its signing was given up. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'revoked'; readonly at: number; readonly reason: Reason };

/** Who does something, and why, for the record. */
export interface By {
  readonly who: string;
  readonly why?: string;
}

/**
 * A CA at work. Every method that changes something is one step of `life.ts`, on record before it returns; what is not allowed throws an
 * OfficeError and leaves everything as it was. Several processes may have one open at a time.
 */
export interface Office {
  readonly directory: string;
  readonly policy: CaPolicy;
  /** PEM. */
  readonly root: string;
  submit(order: RequestOrder): CaRequest;
  /** Takes an approval that an approver signed with `signApproval`; `login` is the account of the system that it is handed in from. */
  approve(id: string, approval: SignedApproval, login?: string): CaRequest;
  refuse(id: string, by: By & { readonly why: string }): CaRequest;
  /** Needs the passphrase. */
  issue(id: string, by: By): Promise<IssueResult>;
  /** Whether there is a request of this name with this code, whatever became of it. */
  isCode(name: string, code: string): boolean;
  /** The first certificate of whoever has the code of an approved request: for the key of `csr` (DER), the first and only one. Needs the passphrase. */
  enrol(enrolment: { readonly name: string; readonly code: string; readonly csr: Uint8Array }, by: By): Promise<Enrolment>;
  /** That it was handed over: to whom and how. `id`, here and below: of the request or the serial number. */
  deliver(id: string, by: By & { readonly to: string; readonly how: string }): CaEntry;
  /** That it was seen working, by whom and how; the one that it renews is superseded by that, and goes to the CRL. */
  confirm(id: string, by: By & { readonly how: string }): CaEntry;
  renew(id: string, renewal: Renewal): CaRequest;
  revoke(id: string, by: By & { readonly reason: Reason; readonly why: string }): CaEntry;
  /** That its key is no more: how it was destroyed, and who saw it, who is somebody else. */
  destroy(id: string, by: By & { readonly witness: string; readonly how: string }): CaEntry;
  /** Puts on record what has expired; every change does so as well. */
  expire(): readonly CaEntry[];
  /** Oldest first. */
  entries(): readonly CaEntry[];
  /** What of all of them is published, without reading the certificates. */
  statuses(): readonly Pick<CaEntry, 'serial' | 'generation' | 'notAfter' | 'revoked'>[];
  /** By request or serial number; throws when there is none. */
  entry(id: string): CaEntry;
  requests(): readonly CaRequest[];
  /** Those for the successor of the certificate with this serial number, oldest first. */
  renewals(serial: string): readonly CaRequest[];
  request(id: string): CaRequest;
  events(request?: string): readonly CaEvent[];
  /** The number of the last event: another one after every change, whichever process made it. */
  revision(): number;
  /** Certificates of one public key, where there are several. */
  duplicates(): readonly { readonly spkiSha256: string; readonly entries: readonly CaEntry[] }[];
  /** Of a serial number of a generation (default: the current one), for OCSP. */
  status(serial: string, generation?: number): StatusAnswer;
  /** The issuing CA with its key, the current one unless a generation is given. Needs the passphrase. */
  issuer(generation?: number): Authority;
  issuers(): readonly Issuer[];
  /** A new CRL of a generation, on record, its number one higher. Needs the passphrase. */
  crl(generation?: number): Promise<IssuedCrl>;
  /** The last CRL of a generation; undefined before the first. */
  lastCrl(generation?: number): IssuedCrl | undefined;
  /** A new key for the issuing CA, encrypted with the same passphrase, and the request that the root signs (PEM). Needs the passphrase. */
  requestIssuer(by: By): Promise<string>;
  /** Takes the certificate that the root gave; from then on it issues, and the one before signs its own CRLs only. */
  installIssuer(certificate: string, by: By): Issuer;
  /** A certificate for an OCSP responder of the current generation (id-kp-OCSPSigning, nocheck), for a public key. Needs the passphrase. `validity` in ms, at most 31 days. */
  issueResponder(options: { readonly name: string; readonly publicKey: KeyObject; readonly validity: number }, by: By): Promise<Certified>;
  /** Whether somebody with the passphrase has taken policy.yaml as it was when this was opened; until then nothing is issued. Needs the passphrase. */
  isPolicyAccepted(): boolean;
  /** Takes policy.yaml as it was when this was opened. Needs the passphrase. */
  acceptPolicy(by: By): CaEvent;
  /** Does something and undoes it: what would come of it, with every check. Synchronous steps only. */
  rehearse<Result>(act: () => Result): Result;
  /** The first thing that is wrong with the event log itself: then nothing that follows from it is worth anything. */
  logFault(): string | undefined;
  /** Everything that is wrong: with the log, with what follows from it, with the files. Empty when all is whole. */
  faults(): readonly string[];
  close(): void;
}
