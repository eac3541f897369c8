import type { Announced } from '../../policy/senders.ts';

/** What the next octets of a client turned out to be, in their order. */
export type Finding =
  /** May go on; a view of what was given, or of what was held back before. */
  | { readonly kind: 'octets'; readonly octets: Buffer }
  /** Has to be let in before anything that follows goes on. */
  | { readonly kind: 'sender'; readonly announced: Announced }
  /** Nothing more may go on, ever. */
  | { readonly kind: 'malformed'; readonly detail: string };

/**
 * Follows what a client sends just as far as to find where it says who it is. What is not looked at is neither copied nor
 * kept; what is held back until it can be judged is bounded.
 */
export interface Scanner {
  /** Goes over the next octets; what follows a finding is looked at only when the next one is asked for. */
  scan(chunk: Buffer): Generator<Finding, void, void>;
  /** Whether the client may end here: not in the middle of a message. */
  whole(): boolean;
}

export const NONE = Buffer.alloc(0);
