import type { KeyObject } from 'node:crypto';
import type { Reason } from '../extensions.ts';
import type { Authority, Issued } from '../issue.ts';

/** What is published, as an office has it. Times in ms since the epoch. */
export interface PublishSource {
  /** PEM */
  readonly root: string;
  /** Another number after every change, of this process or another. */
  revision(): number;
  statuses(): readonly PublishedEntry[];
  status(serial: string, generation: number): PublishedStatus;
  /** The issuing CA of a generation, with its key. */
  issuer(generation: number): Authority;
  issuers(): readonly { readonly generation: number; readonly state: 'requested' | 'current' | 'retired'; readonly certificate?: string }[];
  /** A new CRL, on record before it is out, its number higher than any before. */
  crl(generation: number): Promise<PublishedCrl>;
  lastCrl(generation: number): PublishedCrl | undefined;
  /** A certificate for a responder of the current generation; `validity` in ms. */
  issueResponder(options: { readonly name: string; readonly publicKey: KeyObject; readonly validity: number }, by: { readonly who: string }): Promise<ResponderCertificate>;
}

export interface PublishedEntry {
  readonly serial: string;
  readonly generation: number;
  readonly notAfter: number;
  readonly revoked?: { readonly at: number; readonly reason: Reason };
}

export type PublishedStatus = { readonly kind: 'good' } | { readonly kind: 'unknown' } | { readonly kind: 'revoked'; readonly at: number; readonly reason: Reason };

export interface PublishedCrl {
  readonly number: number;
  readonly der: Buffer;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

export type ResponderCertificate = Pick<Issued, 'der' | 'subject' | 'keyIdentifier' | 'notBefore' | 'notAfter'>;
