import type { ServerResponse } from 'node:http';
import type { DenialCode } from '../policy/decision.ts';
import type { Exchange } from './exchange.ts';
import { isNavigation, languageOf } from './navigation.ts';
import { PROBLEM_PAGE_FIELDS, problemPage } from './problem-page.ts';

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
function problemBody(code: ProblemCode, requestId: string): string {
  const [status, title] = PROBLEMS[code];
  return `${JSON.stringify({ type: `urn:wardgate:problem:${code}`, title, status, code, request_id: requestId })}\n`;
}

const FOR_PROGRAMS: readonly string[] = ['content-type', 'application/problem+json'];

/** A problem as whoever asked can read it: programs as RFC 9457 has it, people as a page. `fields` say what `body` is. */
export interface WrittenProblem {
  /** Name, value, name, value… in lower case. */
  readonly fields: readonly string[];
  readonly body: string;
}

/** What a problem is answered with; an exchange without a request that could be read has nobody to show a page to. */
export function writeProblem(code: ProblemCode, { id, asked, service }: Pick<Exchange, 'id' | 'asked' | 'service'>): WrittenProblem {
  if (!isNavigation(asked)) return { fields: FOR_PROGRAMS, body: problemBody(code, id) };
  return { fields: PROBLEM_PAGE_FIELDS, body: problemPage(code, id, languageOf(asked), service.listener.help) };
}

/** Answers with a problem; the response must not have been started. `close` ends the connection after it. */
export function sendProblem(response: ServerResponse, code: ProblemCode, exchange: Exchange, close: boolean): void {
  const { id, service: { hsts }, answerFields } = exchange;
  const { fields, body } = writeProblem(code, exchange);
  response.writeHead(problemStatus(code), [
    ...fields, 'content-length', String(Buffer.byteLength(body)), 'cache-control', 'no-store', 'x-request-id', id, ...answerFields,
    ...(hsts === undefined ? [] : ['strict-transport-security', hsts]), ...(close ? ['connection', 'close'] : []),
  ]);
  response.end(response.req.method === 'HEAD' ? undefined : body);
}

/** The same as octets, for connections that frame their messages themselves. */
export function exchangeProblem(code: ProblemCode, exchange: Exchange, close: boolean): string {
  const { id, service: { hsts }, answerFields, asked } = exchange;
  const { fields, body } = writeProblem(code, exchange);
  return messageOf(code, id, hsts, [...fields, ...answerFields], close, body, asked.method !== 'HEAD');
}

/** An answer where no request could be read; it ends the connection. */
export function rawProblem(code: ProblemCode, requestId: string, hsts: string | undefined): string {
  return messageOf(code, requestId, hsts, FOR_PROGRAMS, true, problemBody(code, requestId), true);
}

function messageOf(code: ProblemCode, requestId: string, hsts: string | undefined, fields: readonly string[], close: boolean, body: string, withBody: boolean): string {
  const [status, title] = PROBLEMS[code];
  let more = '';
  for (let index = 0; index < fields.length; index += 2) more += `${fields[index]}: ${fields[index + 1]}\r\n`;
  return `HTTP/1.1 ${status} ${title}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`
    + `cache-control: no-store\r\nx-request-id: ${requestId}\r\n${more}${hsts === undefined ? '' : `strict-transport-security: ${hsts}\r\n`}`
    + `${close ? 'connection: close\r\n' : ''}\r\n${withBody ? body : ''}`;
}
