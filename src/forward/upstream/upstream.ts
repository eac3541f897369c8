import type { TLSSocket } from 'node:tls';
import type { UpstreamConfig } from '../../config/schema.ts';
import type { UpstreamEndpoint } from './endpoint.ts';

/** One upstream with its pooled connections on this thread. */
export interface Upstream {
  readonly name: string;
  readonly config: UpstreamConfig;
  /** Which of the main thread's upstreams it is: a changed configuration makes another. */
  readonly id: number;
  /** Chooses an endpoint for one request or stream. `key` says whose it is: the client's id, or its address. */
  choose(key: string): Turn | Failed;
  /**
   * Chooses again for a request whose turns so far have failed and that may be repeated, elsewhere if there is another
   * endpoint; undefined when it is not to be tried any more. What may be repeated says `repeatable`.
   */
  again(key: string, failed: readonly Turn[]): Turn | undefined;
  /**
   * A TLS connection of its own, verified, for a stream; endpoints that cannot be reached are passed over. Each half is to be
   * closed by itself unless `allowHalfOpen` is false; `preface` goes in front of TLS.
   */
  connect(key: string, options?: ConnectOptions): Promise<UpstreamConnection>;
  /** Takes what the endpoints' names have become addresses of. What is no longer there is retired. */
  retarget(targets: readonly Target[], problem?: string): void;
  /** Why requests failed last on this thread, by address. */
  faults(): readonly AddressFault[];
  /** Closes idle connections; busy ones close when their request is done. */
  retire(): void;
}

/** What a thread tells of an upstream's addresses, by the number of the upstream. */
export interface ThreadFaults {
  readonly upstream: number;
  readonly of: readonly AddressFault[];
}

/** Why a request failed last at an address. */
export interface AddressFault extends LastFault {
  readonly slot: number;
}

export interface LastFault {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly detail: string;
}

export interface ConnectOptions {
  readonly allowHalfOpen?: boolean;
  readonly preface?: Buffer | undefined;
}

/** One use of an endpoint, from its choice to its end. */
export interface Turn {
  readonly kind: 'turn';
  readonly endpoint: UpstreamEndpoint;
  /** What `done` was told first; absent until then. */
  readonly result: TurnResult | undefined;
  /** The head of an answer has come: an endpoint on trial has passed. To be called where an answer may take long; `done` says the same. */
  answering(): void;
  /**
   * Says how it went, once it is known: the next choices depend on it; and for operators why it failed. Only the first call counts; without one the turn is under
   * way for ever.
   */
  done(result: TurnResult, detail?: string): void;
}

/**
 * `answered`: a whole answer, whatever its status. `failed`: no connection, or none of the answer, or not all of it.
 * `timeout`: the same by a deadline. `unverified`: its certificate is not the upstream's; nothing was sent. `abandoned`: the
 * client left, or a limit of ours ended it. `stale`: a kept connection had been closed before anything came back on it.
 */
export type TurnResult = 'answered' | 'failed' | 'timeout' | 'unverified' | 'abandoned' | 'stale';

export interface Failed {
  readonly kind: 'failed';
  readonly code: 'upstream_unavailable' | 'upstream_timeout' | 'overloaded';
  readonly detail: string;
}

export type UpstreamConnection =
  | { readonly kind: 'connected'; readonly socket: TLSSocket; readonly turn: Turn; readonly trail: Readonly<Trail> }
  | Failed & { readonly trail: Readonly<Trail> };

/** Where a request went, for its record. */
export interface Trail {
  /** The endpoint that was asked last. */
  endpoint: string | undefined;
  /** The attempts before: each endpoint, and why it was not the last. */
  attempts: readonly string[];
}

/** An address that an endpoint's host stands for, and its slot in the table. */
export interface Target {
  readonly slot: number;
  /** The endpoint's number in the configuration. */
  readonly endpoint: number;
  readonly address: string;
}

/** What the main thread gives each thread of an upstream. */
export interface UpstreamShare {
  /** Another number for another upstream, or the same one configured otherwise. */
  readonly id: number;
  readonly buffer: SharedArrayBuffer;
  readonly targets: readonly Target[];
  /** Why a host has no address, when one has none. */
  readonly problem?: string;
}

/** Methods that may be sent again although they may have arrived (RFC 9110 section 9.2.1): they change nothing. */
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

/** Whether a request of which nothing has been answered may be sent again after it was `sent`, as a whole or in part. */
export function repeatable(method: string, hasBody: boolean): boolean {
  return SAFE.has(method) && !hasBody;
}
