import { sessionFields } from '../../audit/record.ts';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Http1Options } from '../http1.ts';
import { newRequestId } from '../ids.ts';
import { problemStatus, rawProblem, sendProblem, type ProblemCode } from '../problem.ts';
import type { Http1Exchange } from './exchange.ts';
import { reasonOf } from './message.ts';
import type { Order } from './order.ts';

/** How long, and for how many octets, a client that is still sending is read from behind its answer. */
const LINGER_MS = 2_000;
const LINGER_BYTES = 1 << 20;

/**
 * Answers a request whose body is still coming: the whole answer first, then reading on for a moment, then the end. Closing
 * at once would reset the connection under the answer.
 */
export function linger(exchange: Http1Exchange, code: ProblemCode): void {
  const { request, response, whenSpoilt } = exchange;
  const end = response.end.bind(response);
  const timer = setTimeout(() => void end(), LINGER_MS);
  response.end = ((body?: string) => {
    if (body !== undefined) response.write(body);
    return response;
  }) as typeof response.end;
  sendProblem(response, code, exchange, true);
  let left = LINGER_BYTES;
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) void end();
  });
  const done = (): void => {
    clearTimeout(timer);
    void end();
  };
  request.on('close', done);
  void whenSpoilt.then(done);
  request.resume();
}

/** What is parsed already of a chunk that holds a thousand requests takes a thousand times its room. */
export function refuseFlood(options: Http1Options, socket: Socket): void {
  if (socket.destroyed) return;
  const client = options.clientOf(socket);
  options.cut('pipelined_requests');
  options.audit.append({
    time: new Date(options.now()).toISOString(), event: 'connection', result: 'denied', reason: 'connection_limit', detail: 'too many requests without waiting for an answer',
    ...(client === undefined ? {} : { listener: client.listener, address: client.address, ...sessionFields(client) }),
  }).catch(() => undefined);
  socket.destroy();
}

/** Answers on a connection on which no request could be read, and ends it. */
export function refuseRaw(options: Http1Options, order: Order, transport: Socket, socket: Duplex, code: ProblemCode, detail: string, request?: IncomingMessage): void {
  const client = options.clientOf(transport);
  const id = newRequestId();
  if (code === 'headers_too_large') options.cut('header_size');
  if (code === 'request_timeout') options.cut('header_time');
  const { hsts } = options.service();
  const written = options.audit.append({
    time: new Date(options.now()).toISOString(), event: 'request', result: 'denied', reason: reasonOf(code), detail,
    request_id: id, status: problemStatus(code),
    ...(client === undefined ? {} : { listener: client.listener, address: client.address, ...sessionFields(client) }),
    ...(request === undefined ? {} : { method: request.method as string }),
  });
  const answer = (): void => {
    if (!order.canAnswer(transport)) return void socket.destroy();
    options.observe({ route: 'none', role: 'none', status: problemStatus(code), seconds: 0 });
    if (socket.writable) socket.end(rawProblem(code, id, hsts));
    setTimeout(() => socket.destroy(), LINGER_MS).unref();
  };
  written.then(answer, answer);
}
