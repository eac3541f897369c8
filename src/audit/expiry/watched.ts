import type { Ending, Period } from '../../pki/ending.ts';

/** What is watched: a listener's certificates and their intermediates, those shown to other servers, CAs, CRLs, and what clients have shown. */
export type Use = 'server' | 'intermediate' | 'client' | 'ca' | 'crl' | 'user';

/** Something that ends. Times are ms since the epoch. */
export interface Watched extends Period {
  /** What tells it from all others, its own renewal included. */
  readonly key: string;
  readonly use: Use;
  /** Subject of a certificate, issuer of a CRL. */
  readonly name: string;
  /** What uses it, for people; every one of them. */
  readonly places: readonly string[];
  /** Lower-case hex. */
  readonly serial?: string;
  readonly issuer?: string;
}

/** Who was told of it: in which tier (ms before the end; 0: it had ended), when, and on which channels. */
export interface ToldOf {
  readonly before: number;
  readonly at: number;
  readonly channels: readonly string[];
}

/** Something that is watched, and what became of it. */
export interface Entry extends Watched {
  readonly told?: ToldOf;
  /** Since when it has not been in use any more. */
  readonly gone?: number;
  /** Of a client's. */
  readonly user?: {
    readonly role: string;
    /** As it is masked. */
    readonly id?: string;
    /** The same for all certificates of one client. */
    readonly owner: string;
    readonly first: number;
    readonly seen: number;
  };
}

/** As something that ends. */
export function endingOf({ use, from, until }: Watched): Ending {
  return { kind: use === 'crl' ? 'crl' : 'certificate', from, until };
}
