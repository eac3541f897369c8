import type { Exchange } from '../exchange.ts';
import { clientHeaders, sameRules, trailerFields, type AnswerRules } from '../headers.ts';
import type { UpstreamAnswer } from '../message.ts';
import { pageMessage } from '../own-pages.ts';
import { problemStatus, writeProblem, type ProblemCode } from '../problem.ts';
import { grpcStatus } from './grpc.ts';
import type { StreamExchange } from './peer.ts';
import { markSensitive } from './sensitive.ts';
import { trailerRecord } from './trailers.ts';

/** Octets of an answer's header section, beyond which we do not try. */
const LARGEST_ANSWER_HEAD = 60 * 1024;

/** Answers with a problem, or with the page that stands for it; nothing of an answer may have been sent. */
export function sendProblem(exchange: StreamExchange, code: ProblemCode): void {
  const { id, stream, service, asksGrpc, asked, answerFields, page } = exchange;
  if (page !== undefined) {
    const status = problemStatus(code);
    const { head: fields, body: shown } = pageMessage(page, status, exchange);
    stream.respond([':status', String(status), ...fields]);
    return void stream.end(shown);
  }
  const { fields: written, body } = writeProblem(code, exchange);
  const head: Record<string, string | number> = {
    ':status': problemStatus(code),
    'cache-control': 'no-store',
    'x-request-id': id,
    ...(service.hsts === undefined ? {} : { 'strict-transport-security': service.hsts }),
  };
  for (const fields of [written, answerFields]) for (let index = 0; index < fields.length; index += 2) head[fields[index] as string] = fields[index + 1] as string;
  // A gRPC client would read a body as messages: it is told by the fields that it understands, in one piece (Trailers-Only).
  if (asksGrpc) return stream.respond({ ...head, ...grpcStatus(code) }, { endStream: true });
  head['content-length'] = Buffer.byteLength(body);
  if (asked.method === 'HEAD') return stream.respond(head, { endStream: true });
  stream.respond(head);
  stream.end(body);
}

/** The header section of an answer for the client, but for the request's id: the same as long as an upstream repeats itself. */
export interface KnownAnswerHead {
  readonly status: number;
  readonly fields: readonly string[];
  readonly rules: AnswerRules;
  /** Absent when it is larger than HTTP/2 peers take. */
  readonly head: readonly string[] | undefined;
}

/** That of this answer: `last` again when it was for the same. */
export function knownAnswerHead(last: KnownAnswerHead | undefined, { status, fields }: Pick<UpstreamAnswer, 'status' | 'fields'>, rules: AnswerRules): KnownAnswerHead {
  if (last !== undefined && last.fields === fields && last.status === status && sameRules(last.rules, rules)) return last;
  const out = clientHeaders(status, fields, { ...rules, requestId: '' });
  const head = [':status', String(status)];
  let size = 0;
  for (let index = 0; index < out.length; index += 2) {
    const name = (out[index] as string).toLowerCase();
    const value = out[index + 1] as string;
    size += name.length + value.length + 32;
    if (name !== 'x-request-id') head.push(name, value);
  }
  return { status, fields, rules, head: size > LARGEST_ANSWER_HEAD ? undefined : head };
}

/** The whole header section of one answer; undefined when it is larger than HTTP/2 peers take. */
export function answerHead({ head }: KnownAnswerHead, { id, answerFields }: Exchange, sensitive: readonly string[] = []): string[] | undefined {
  // A list of its own: Node writes into what it is given.
  return head === undefined ? undefined : markSensitive([...head, 'x-request-id', id, ...answerFields], sensitive);
}

/** RFC 8441 section 5: the key and what answers it are not used. */
export function withoutAccept(raw: readonly string[]): string[] {
  return raw.flatMap((name, index) => (index % 2 === 0 && name.toLowerCase() !== 'sec-websocket-accept' ? [name, raw[index + 1] as string] : []));
}

/** Trailers for the client, from an upstream's; undefined when none are left. */
export function trailersOf(raw: readonly string[]): Record<string, string | string[]> | undefined {
  const fields = trailerFields(raw);
  return fields.length === 0 ? undefined : trailerRecord(fields);
}
