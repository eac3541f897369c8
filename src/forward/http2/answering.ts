import { randomBytes } from 'node:crypto';
import { constants } from 'node:http2';
import type { AuditRecord } from '../../audit/record.ts';
import type { Permit, PlainPermit } from '../../policy/decision.ts';
import type { Reason } from '../../policy/facts.ts';
import type { AnswerObjection } from '../answer-filter.ts';
import { deniedLate, exchangeRecord, keyOf, outcomeOf, type Exchange } from '../exchange.ts';
import { recordBeginning, recordRest } from '../fast/record-line.ts';
import { answerRules, upstreamHeaders } from '../headers.ts';
import type { HttpOptions } from '../http-options.ts';
import type { UpstreamAnswer } from '../message.ts';
import { mayGoUnrecorded, recordOf } from '../obstacle.ts';
import { problemStatus, type ProblemCode } from '../problem.ts';
import { forwardUpgrade } from '../upgrade.ts';
import type { Upstream } from '../upstream/pool.ts';
import { answerHead, knownAnswerHead, sendProblem, trailersOf, withoutAccept } from './answers.ts';
import { grpcStatus } from './grpc.ts';
import { causeOf, type StreamExchange } from './peer.ts';
import { endsWithHead, relayToStream } from './relay.ts';
import { endUnread, resetStream } from './reset.ts';
import { messageAnswer } from './to-http1.ts';
import { joinStream } from './tunnel.ts';

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = constants;

/** How long a client may take to read that its gRPC call was cut. */
const LINGER_MS = 2_000;

export type Verdict = Pick<AuditRecord, 'result' | 'reason' | 'detail'>;

/** How streams are answered, each together with its record. */
export interface Answering {
  refuse(exchange: StreamExchange, code: ProblemCode, verdict: Verdict): Promise<void>;
  fail(exchange: StreamExchange, code: ProblemCode, reason: Reason, detail: string): Promise<void>;
  gone(exchange: StreamExchange, detail: string, status: number, reason?: Reason): Promise<void>;
  /** `objection`: why its filter cut it. */
  relay(exchange: StreamExchange, permit: Permit, answer: UpstreamAnswer, objection?: () => AnswerObjection | undefined): Promise<void>;
  openTunnel(exchange: StreamExchange, permit: PlainPermit, upstream: Upstream): Promise<void>;
}

/** `watchPace` watches that the client keeps up, once it has not. */
export function createAnswering(options: HttpOptions, watchPace: (exchange: StreamExchange) => void): Answering {
  function fail(exchange: StreamExchange, code: ProblemCode, reason: Reason, detail: string): Promise<void> {
    return refuse(exchange, code, { result: 'failed', reason, detail });
  }

  /** Answers with a problem after its record; when even the record fails, the answer still tells nothing and grants nothing. */
  async function refuse(exchange: StreamExchange, code: ProblemCode, verdict: Verdict): Promise<void> {
    const { stream } = exchange;
    const status = problemStatus(code);
    await record(exchange, { ...verdict, status }).catch(() => undefined);
    observe(exchange, status);
    if (stream.destroyed || stream.closed) return;
    if (stream.headersSent) return resetStream(stream, NGHTTP2_INTERNAL_ERROR);
    sendProblem(exchange, code);
    // RFC 9113 section 8.1: the answer is whole, the rest of the request has no reader.
    if (!exchange.received) endUnread(stream, () => exchange.call?.cancel());
  }

  async function relay(exchange: StreamExchange, permit: Permit, answer: UpstreamAnswer, objection?: () => AnswerObjection | undefined): Promise<void> {
    const { stream, service, peer } = exchange;
    const { status } = answer;
    peer.answerHead = knownAnswerHead(peer.answerHead, answer, answerRules(service.hsts, permit.route.config));
    const head = answerHead(peer.answerHead, exchange, answer.sensitive);
    if (head === undefined) {
      exchange.call?.cancel();
      return fail(exchange, 'upstream_unavailable', 'upstream_unavailable', 'the header section of the answer is too large');
    }
    const { body } = answer;
    if (Buffer.isBuffer(body)) return sendWhole(exchange, permit, head, status, body);
    const end = await relayToStream({
      // What has lost its right must not end well, although all of it may have come by now.
      answer: { ...answer, body, whole: () => exchange.cut === undefined && answer.whole() }, stream, head, trailers: trailersOf, headOnly: exchange.asked.method === 'HEAD',
      commit: (bytes) => recordOf(record(exchange, { result: 'permitted', status, bytes_out: bytes }), permit, service),
      watch: {
        wrote(octets) {
          peer.allowance.sent(octets);
          exchange.bytesOut += octets;
          exchange.activeAt = performance.now();
        },
        waiting() {
          exchange.waitingSince ||= performance.now();
          watchPace(exchange);
        },
        moving: () => void (exchange.waitingSince = 0),
      },
    });
    if (end.kind === 'complete') {
      if (!exchange.received) endUnread(stream, () => exchange.call?.cancel());
      return observe(exchange, status);
    }
    exchange.call?.cancel();
    if (end.kind === 'client_left') return gone(exchange, 'the client left within the answer', status);
    const objected = objection?.();
    if (objected !== undefined) {
      await record(exchange, { ...deniedLate(exchange, objected), status, bytes_out: end.bytes }).catch(() => undefined);
      observe(exchange, status);
      return breakOff(exchange, answer, undefined);
    }
    const [reason, detail] = end.kind === 'record_lost'
      ? ['audit_unavailable', 'the record could not be written'] as const
      : answer.late() ? ['upstream_timeout', 'the upstream\'s answer stood still for too long'] as const : ['upstream_unavailable', 'the upstream died within its answer'] as const;
    const resetCode = answer.resetCode?.();
    await gone(exchange, detail, status, reason);
    breakOff(exchange, answer, exchange.cut === undefined ? resetCode : undefined);
  }

  /** The record first, then an answer that is all there. */
  function sendWhole(exchange: StreamExchange, permit: Permit, head: string[], status: number, body: Buffer): Promise<void> {
    const { stream, peer } = exchange;
    const ended = performance.now();
    peer.rest = recordRest(peer.rest, exchange, permit);
    return new Promise((resolve) => options.audit.write(recordBeginning(exchange, status, body.length, options.now(), ended), peer.rest?.octets, (error) => {
      if (error !== undefined && !mayGoUnrecorded(permit, exchange.service)) {
        observe(exchange, status);
        resetStream(stream, NGHTTP2_INTERNAL_ERROR);
        return resolve();
      }
      options.observe(outcomeOf(exchange, status, ended));
      peer.allowance.sent(body.length);
      exchange.bytesOut = body.length;
      exchange.waitingSince = ended;
      // Others' records wait behind this call: what Node does not take must not keep them.
      try {
        if (!stream.destroyed && !stream.closed) {
          const last = body.length === 0 || endsWithHead(status);
          stream.respond(head, { endStream: last });
          if (!last) stream.end(body);
        }
      } catch {
        resetStream(stream, NGHTTP2_INTERNAL_ERROR);
      }
      resolve();
    }));
  }

  /** Ends an answer that is not whole so that it cannot be taken for a whole one. */
  function breakOff({ stream, asksGrpc: grpc, cut }: StreamExchange, answer: UpstreamAnswer, resetCode: number | undefined): void {
    if (stream.destroyed) return;
    if (resetCode !== undefined && resetCode !== NGHTTP2_NO_ERROR) return resetStream(stream, resetCode);
    if (!grpc || !stream.headersSent || answer.length !== undefined) return resetStream(stream, cut === undefined ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL);
    // A status other than 0 is no success, and says what a reset cannot.
    stream.once('wantTrailers', () => stream.sendTrailers(grpcStatus(cut?.code ?? 'upstream_unavailable')));
    stream.end();
    // To a client that reads nothing, not even that arrives.
    const timer = setTimeout(() => resetStream(stream, NGHTTP2_CANCEL), LINGER_MS);
    stream.once('close', () => clearTimeout(timer));
  }

  /** Records a request that got no whole answer. */
  async function gone(exchange: StreamExchange, detail: string, status: number, reason?: Reason): Promise<void> {
    const why = causeOf(exchange.cut ?? { reason, detail });
    await record(exchange, { result: 'failed', status, ...why }).catch(() => undefined);
    observe(exchange, status);
  }

  function record(exchange: Exchange, fields: Partial<AuditRecord> & Pick<AuditRecord, 'result'>): Promise<void> {
    return options.audit.append(exchangeRecord(exchange, fields, options.now()));
  }

  function observe(exchange: Exchange, status: number): void {
    options.observe(outcomeOf(exchange, status));
  }

  /** A WebSocket (RFC 8441), to an upstream that knows it as an upgrade of HTTP/1.1. */
  async function openTunnel(exchange: StreamExchange, permit: PlainPermit, upstream: Upstream): Promise<void> {
    const { stream, service, head, peer } = exchange;
    const webSocketKey = randomBytes(16).toString('base64');
    // Judged as one from now on: what takes the right away may come while the upstream is asked.
    exchange.tunnel = true;
    if (exchange.facts !== undefined) exchange.client.becomeStream(exchange.facts);
    const headers = upstreamHeaders([...head.fields, 'sec-websocket-key', webSocketKey], {
      requestId: exchange.id, address: exchange.client.address, host: head.fields[1] as string, permit, upstream: upstream.config, traceparent: exchange.span?.traceparent,
    });
    const answer = await forwardUpgrade({ permit, path: exchange.asked.written, webSocketKey, client: stream, headers, upstream, key: keyOf(exchange), trail: exchange });
    switch (answer.kind) {
      case 'failed': return fail(exchange, answer.code, answer.code, answer.detail);
      case 'client_left': return gone(exchange, 'the client left before the answer', 499);
      case 'answer': {
        exchange.tunnel = false;
        const declined = messageAnswer(answer.message, () => false, upstream.config.unframed);
        return declined.kind === 'failed' ? fail(exchange, declined.code, declined.code, declined.detail) : relay(exchange, permit, declined);
      }
    }
    try {
      await record(exchange, { result: 'permitted', status: 200 });
    } catch {
      answer.abandon();
      return resetStream(stream, NGHTTP2_INTERNAL_ERROR);
    }
    observe(exchange, 200);
    if (stream.destroyed || stream.closed) return answer.abandon();
    const known = knownAnswerHead(undefined, { status: 200, fields: withoutAccept(answer.message.rawHeaders) }, answerRules(service.hsts, permit.route.config));
    stream.respond(answerHead(known, exchange) ?? { ':status': 200 });
    const end = await joinStream({
      stream, end: exchange.end, socket: answer.socket, head: answer.head, silence: upstream.config.timeouts.tunnel,
      watch: {
        sent: (octets) => peer.allowance.sent(octets),
        received: (octets) => peer.allowance.received(octets),
        waiting: () => void (exchange.waitingSince ||= performance.now()),
        moving: () => void (exchange.waitingSince = 0),
      },
    });
    exchange.bytesIn = end.bytesIn;
    const { cut } = exchange;
    const ending = cut !== undefined ? { result: cut.reason === undefined ? 'failed' : 'denied', ...causeOf(cut) } as const : end.fault !== undefined ? { result: 'failed', detail: end.fault } as const : { result: 'done' } as const;
    await record(exchange, { event: 'connection', ...ending, bytes_out: end.bytesOut }).catch(() => undefined);
  }

  return { refuse, fail, gone, relay, openTunnel };
}
