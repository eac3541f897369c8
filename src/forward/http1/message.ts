import type { IncomingMessage } from 'node:http';
import type { Reason } from '../../policy/facts.ts';
import { parseHost, type Host } from '../../policy/host.ts';
import { parseTarget } from '../../policy/target.ts';
import type { Asked } from '../exchange.ts';
import { checkFields } from '../headers.ts';
import type { UpstreamAnswer } from '../message.ts';
import { isKnownMethod } from '../methods.ts';
import type { ProblemCode } from '../problem.ts';
import { isWhole } from '../relay.ts';

/** An upstream's message, its body still to be read, as every version of HTTP has it. */
export function answerOf(message: IncomingMessage): UpstreamAnswer {
  const length = message.headers['content-length'];
  return {
    kind: 'answer', status: message.statusCode as number, fields: message.rawHeaders, length: length === undefined ? undefined : Number(length), body: message,
    whole: () => isWhole(message), late: () => false, trailers: () => message.rawTrailers,
  };
}

/** What a message asks; `fault` is what makes it one that is not read. */
export function askedOf(request: IncomingMessage, fault: string | undefined): Asked {
  return {
    method: request.method as string,
    target: fault === undefined ? parseTarget(request.url as string) : { kind: 'malformed', detail: fault },
    host: requestHost(request),
    preflight: preflightMethod(request),
    written: request.url as string,
    fields: request.rawHeaders,
    version: request.httpVersion === '1.0' ? '1.0' : '1.1',
  };
}

function requestHost(request: IncomingMessage): Host {
  const { host } = request.headers;
  return typeof host === 'string' ? parseHost(host) : { kind: 'malformed', detail: 'no Host field' };
}

/** What makes a request one that two parsers could read differently, its end included; undefined when nothing does. */
export function messageFault(request: IncomingMessage): string | undefined {
  if (request.httpVersion !== '1.1' && request.httpVersion !== '1.0') return `HTTP version ${request.httpVersion} on this connection`;
  if (request.httpVersion === '1.0' && request.headers['transfer-encoding'] !== undefined) return 'Transfer-Encoding in HTTP/1.0';
  // Node's parser reads RTSP, too.
  if (!isKnownMethod(request.method as string)) return 'a method of another protocol';
  const fields = checkFields(request.rawHeaders);
  return fields.kind === 'malformed' ? fields.detail : undefined;
}

/** Whether Node's parser takes what follows for another protocol: it drops the octets behind an upgrade that is not taken. */
export function offersUpgrade({ headers }: IncomingMessage): boolean {
  return headers.upgrade !== undefined && headers.connection !== undefined && /\bupgrade\b/i.test(headers.connection);
}

function preflightMethod(request: IncomingMessage): string | undefined {
  if (request.method !== 'OPTIONS' || request.headers.origin === undefined) return undefined;
  return request.headers['access-control-request-method'];
}

/** Whether a client waits for 100 before it sends the body. */
export function expectsContinue(request: IncomingMessage): boolean {
  return request.headers.expect !== undefined;
}

/** Whether an upgrade is one that is taken. */
export function isWebSocket(request: IncomingMessage): boolean {
  return request.method === 'GET' && request.headers.upgrade?.toLowerCase() === 'websocket';
}

/** What goes on record for a message that the parser has refused. */
export function reasonOf(code: ProblemCode): Reason {
  return code === 'request_timeout' || code === 'headers_too_large' ? code : 'bad_request';
}

/** What a client is told of a message that the parser has refused. */
export function clientErrorCode(error: NodeJS.ErrnoException): ProblemCode {
  if (error.code === 'HPE_HEADER_OVERFLOW') return 'headers_too_large';
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'request_timeout';
  return 'bad_request';
}
