import type { ProblemCode } from '../problem.ts';

/** The gRPC status that goes with a problem: what a client that knows nothing of our statuses should do about it. */
const STATUS: Readonly<Record<ProblemCode, number>> = {
  bad_request: 13,
  certificate_required: 16,
  certificate_rejected: 7,
  role_denied: 7,
  step_up_required: 16,
  invalid_token: 16,
  not_found: 12,
  misdirected: 14,
  rate_limited: 8,
  body_too_large: 8,
  upstream_unavailable: 14,
  overloaded: 14,
  suspended: 14,
  upstream_timeout: 4,
  request_timeout: 4,
  headers_too_large: 8,
};

/** The fields that tell a gRPC client of a problem (gRPC over HTTP/2, "Status" and "Status-Message"). */
export function grpcStatus(code: ProblemCode): { readonly 'grpc-status': string; readonly 'grpc-message': string } {
  return { 'grpc-status': String(STATUS[code]), 'grpc-message': code };
}

const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 };

/** What a timer takes. */
const LONGEST = 2 ** 31 - 1;

/** A `grpc-timeout` in milliseconds; undefined when it is absent or unreadable. */
export function grpcTimeout(value: string | readonly string[] | undefined): number | undefined {
  const match = typeof value === 'string' ? /^([0-9]{1,8})([HMSmun])$/.exec(value) : null;
  return match === null ? undefined : Math.min(Number(match[1]) * (UNITS[match[2] as string] as number), LONGEST);
}
