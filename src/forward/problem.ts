import type { ServerResponse } from 'node:http';
import type { DenialCode } from '../policy/decision.ts';

/** Every code a client can be told, with its status. Denials and errors alike: nothing here helps an attacker. */
export type ProblemCode = DenialCode | 'body_too_large' | 'upstream_unavailable' | 'overloaded' | 'upstream_timeout' | 'request_timeout' | 'headers_too_large';

const PROBLEMS: Readonly<Record<ProblemCode, readonly [status: number, title: string]>> = {
  bad_request: [400, 'The request is malformed'],
  certificate_required: [401, 'A client certificate is required'],
  certificate_rejected: [403, 'The client certificate was not accepted'],
  role_denied: [403, 'Access denied'],
  step_up_required: [401, 'A second factor is required'],
  invalid_token: [401, 'A valid access token is required'],
  not_found: [404, 'Not found'],
  misdirected: [421, 'This connection is not for that host'],
  rate_limited: [429, 'Too many requests'],
  body_too_large: [413, 'The request body is too large'],
  upstream_unavailable: [502, 'The service is unavailable'],
  overloaded: [503, 'The gateway is overloaded'],
  suspended: [503, 'The service is suspended'],
  upstream_timeout: [504, 'The service did not answer in time'],
  request_timeout: [408, 'The request did not arrive in time'],
  headers_too_large: [431, 'The request header is too large'],
};

/** The status that goes with a code. */
export function problemStatus(code: ProblemCode): number {
  return PROBLEMS[code][0];
}

/** What a code means, as clients are told. */
export function problemTitle(code: ProblemCode): string {
  return PROBLEMS[code][1];
}

/** The RFC 9457 body of a problem. */
export function problemBody(code: ProblemCode, requestId: string): string {
  const [status, title] = PROBLEMS[code];
  return `${JSON.stringify({ type: `urn:wardgate:problem:${code}`, title, status, code, request_id: requestId })}\n`;
}

/** Answers with a problem and these fields beside its own; the response must not have been started. `close` ends the connection after it. */
export function sendProblem(response: ServerResponse, code: ProblemCode, requestId: string, hsts: string | undefined, close: boolean, fields: readonly string[]): void {
  const body = problemBody(code, requestId);
  response.writeHead(problemStatus(code), [
    'content-type', 'application/problem+json', 'content-length', String(Buffer.byteLength(body)), 'cache-control', 'no-store', 'x-request-id', requestId, ...fields,
    ...(hsts === undefined ? [] : ['strict-transport-security', hsts]), ...(close ? ['connection', 'close'] : []),
  ]);
  response.end(response.req.method === 'HEAD' ? undefined : body);
}

/** The same as octets, for connections that frame their messages themselves; `fields` are further ones, name, value, name, value…. `body` is false in answer to HEAD. */
export function rawProblem(code: ProblemCode, requestId: string, hsts: string | undefined, { close = true, body: withBody = true, fields = [] as readonly string[] } = {}): string {
  const body = problemBody(code, requestId);
  const status = problemStatus(code);
  let more = '';
  for (let index = 0; index < fields.length; index += 2) more += `${fields[index]}: ${fields[index + 1]}\r\n`;
  return `HTTP/1.1 ${status} ${PROBLEMS[code][1]}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`
    + `cache-control: no-store\r\nx-request-id: ${requestId}\r\n${more}${hsts === undefined ? '' : `strict-transport-security: ${hsts}\r\n`}`
    + `${close ? 'connection: close\r\n' : ''}\r\n${withBody ? body : ''}`;
}
