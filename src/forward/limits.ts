import type { ListenerLimits } from '../config/schema.ts';

/** Which limit a request ran into, for the metrics. */
export type RequestLimit = 'header_time' | 'header_size' | 'header_fields' | 'request_time' | 'body' | 'min_rate' | 'requests_per_connection' | 'pipelined_requests';

/**
 * Whether a request is the last one that its connection may bring; `count` is its number, from 1. Its answer says so, and
 * what came behind it without waiting must not be served (RFC 9112 section 9.6).
 */
export function isLastRequest(count: number, { requests_per_connection: most }: ListenerLimits): boolean {
  return most !== undefined && count >= most;
}
