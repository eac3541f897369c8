import type { State } from '../life.ts';

/** What of an office EST works with. */
export interface EstSource {
  /** PEM */
  readonly root: string;
  issuers(): readonly { readonly state: 'requested' | 'current' | 'retired'; readonly certificate?: string }[];
  /** By serial number; throws when there is none. */
  entry(serial: string): EstEntry;
  /** Requests for the successor of a certificate, oldest first. */
  renewals(serial: string): readonly EstRequest[];
  renew(serial: string, renewal: { readonly key: { readonly kind: 'csr'; readonly csr: Uint8Array }; readonly applicant: { readonly name: string; readonly certificate: Uint8Array }; readonly authenticated: string }): EstRequest;
  issue(request: string, by: { readonly who: string }): Promise<{ readonly entry: EstEntry }>;
  isCode(name: string, code: string): boolean;
  enrol(enrolment: { readonly name: string; readonly code: string; readonly csr: Uint8Array }, by: { readonly who: string }): Promise<{ readonly kind: 'unknown' } | { readonly kind: 'pending' } | { readonly kind: 'issued'; readonly entry: EstEntry }>;
  deliver(serial: string, by: { readonly who: string; readonly to: string; readonly how: string }): EstEntry;
  confirm(serial: string, by: { readonly who: string; readonly how: string }): EstEntry;
  refuse(request: string, by: { readonly who: string; readonly why: string }): EstRequest;
  revoke(serial: string, by: { readonly who: string; readonly why: string; readonly reason: 'superseded' }): EstEntry;
}

/** A certificate that the CA issued. Times in ms since the epoch. */
export interface EstEntry {
  readonly serial: string;
  readonly state: State;
  readonly subject: string;
  readonly der: Buffer;
  readonly sha256: string;
  readonly spkiSha256: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly renewedBy?: string;
}

export interface EstRequest {
  readonly id: string;
  readonly state: State;
  readonly renews?: string;
  readonly key: { readonly kind: 'csr'; readonly spki_sha256: string } | { readonly kind: 'made' } | { readonly kind: 'code' };
}
