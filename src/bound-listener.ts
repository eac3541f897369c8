import type { Socket } from 'node:net';
import type { ListenerConfig } from './config/schema.ts';
import type { ListenerRuntime, Protocol } from './protocol.ts';
import type { Connection } from './tls/connection.ts';
import type { TlsListener } from './tls/listener.ts';
import type { RedirectListener } from './tls/redirect.ts';

/** A listener that is bound on this thread. */
export type Bound = OpenListener | OpenRedirect;

/** One that ends TLS, with its connections; it outlives reloads that keep its address. */
export interface OpenListener {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly tls: TlsListener;
  readonly protocol: Protocol;
  readonly connections: Map<Socket, Connection>;
  runtime: ListenerRuntime;
}

export interface OpenRedirect {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly redirect: RedirectListener;
  readonly config: ListenerConfig;
}

/** Whether it can go on under another configuration, in which it serves `operators` or not: what it cannot take over is bound anew. */
export function canGoOn(bound: Bound, config: ListenerConfig, operators: boolean): boolean {
  if ('redirect' in bound) return JSON.stringify(bound.config) === JSON.stringify(config);
  // Roles of clients and of operators may be called alike: what was admitted as the one must never be taken for the other, not for the time of a reload either.
  return bound.runtime.config.protocol === config.protocol && bound.runtime.operators === operators;
}

/** Accepts nothing more; answers under way are finished. */
export function closeBound(bound: Bound): void {
  stopAccepting(bound);
  if ('tls' in bound) bound.protocol.closeIdle();
}

/** How long what has nothing under way stays open all the same: a client hears of the end with its next answer, and no request crosses it. */
const LINGER_MS = 500;

/** Asks clients to go elsewhere, and ends connections that have nothing to do once that has been the case since `since` (ms, monotonic) for long enough. */
export function sendAway({ protocol }: OpenListener, since: number): void {
  if (performance.now() - since >= LINGER_MS) protocol.closeIdle();
  else protocol.leave();
}

/** Accepts nothing more; what is open stays. */
export function stopAccepting(bound: Bound): void {
  if ('redirect' in bound) bound.redirect.close();
  else bound.tls.close();
}

/** Connections that came after `since` (ms, monotonic) and are not in `connections` yet: what they ask is on its way. */
export function arriving(bound: Bound, since: number): number {
  return 'redirect' in bound ? bound.redirect.arriving(since) : bound.tls.arriving(since);
}

/** The descriptors it listens on. */
export function descriptorsOf(bound: Bound): readonly number[] {
  return 'redirect' in bound ? bound.redirect.descriptors() : bound.tls.descriptors();
}
