/** What a connection may do beside asking and being answered. Octets; a second's worth may be saved up. */
export interface AllowanceLimits {
  /** Octets of control frames a second that nothing explains. */
  readonly control: number;
  /** Resets, and in how many milliseconds. */
  readonly resets: { readonly requests: number; readonly window: number };
}

/** What an HTTP/2 frame weighs beside its payload, and what a polite peer sends along with one of ours: two window updates and a ping. */
const FRAME = 9;
const REPLY = 2 * 13 + 17;
/** How much more a peer may send for what it receives: updates for each 16 KiB and less. */
const REPLY_SHARE = 1 / 256;

/**
 * The account of one connection. Whoever controls frames alone (SETTINGS, PING, WINDOW_UPDATE, PRIORITY, padding, empty DATA) makes us
 * work without asking anything; none of these is visible by itself, their octets are: what was received, less what requests and
 * answers explain. Resets are counted whoever sends them: a peer can make us send them (CVE-2023-44487, CVE-2025-8671).
 */
export interface Allowance {
  /** Octets that a request's header section explains. */
  asked(octets: number): void;
  /** Octets of a body received, in one piece. */
  received(octets: number): void;
  /** Octets of a body sent, in one piece: the peer acknowledges them. */
  sent(octets: number): void;
  /** Octets that may still arrive for a stream that we ended. */
  abandoned(octets: number): void;
  /** A stream that was reset; false when that was one too many. */
  reset(now: number): boolean;
  /** Whether all octets received so far are accounted for; `now` in ms on the monotonic clock. */
  settle(octetsReceived: number, now: number): boolean;
}

/** Octets before the first request that need no reason: the preface, SETTINGS with every parameter, acknowledgements. */
const OPENING = 1_024;

/** Octets that may be explained before they come: what is on its way for streams that we ended. */
const MOST_AHEAD = 512 * 1024;

export function createAllowance(limits: AllowanceLimits, now: number): Allowance {
  let explained = OPENING;
  let unexplained = 0;
  let settledAt = now;
  let resets = limits.resets.requests;
  let resetAt = now;
  return {
    asked(octets) {
      explained += octets + FRAME + REPLY;
    },
    received(octets) {
      explained += octets + FRAME;
    },
    sent(octets) {
      explained += REPLY + octets * REPLY_SHARE;
    },
    abandoned(octets) {
      explained += octets;
    },
    reset(at) {
      const { requests, window } = limits.resets;
      resets = Math.min(requests, resets + (at - resetAt) * requests / window) - 1;
      resetAt = at;
      return resets >= 0;
    },
    settle(received, at) {
      const ahead = explained - received;
      unexplained = Math.max(0, unexplained - (at - settledAt) / 1000 * limits.control) + Math.max(0, -ahead);
      // Compressed header sections explain more than they weigh: that must not be saved up for a flood.
      explained = received + Math.min(Math.max(0, ahead), MOST_AHEAD);
      settledAt = at;
      return unexplained <= Math.max(limits.control, OPENING);
    },
  };
}
