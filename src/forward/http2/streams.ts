import { constants, type ServerHttp2Stream } from 'node:http2';
import type { Denial, Permit } from '../../policy/decision.ts';
import type { Bond } from '../../policy/patient.ts';
import { filterAnswer, filtersOf, isFiltered } from '../answer-filter.ts';
import { ask } from '../ask.ts';
import { boundHeaders, heldBody, judgeBoundBody, NO_TUNNEL, wholeBody } from '../bond.ts';
import { decide, deniedLate, endsConnection, findRecipient, keyOf, openExchange } from '../exchange.ts';
import { upstreamHeaders } from '../headers.ts';
import { noSealed, sealedHeaders, type Unsealable } from '../seal/recipient.ts';
import type { HttpOptions } from '../http-options.ts';
import { isLastRequest } from '../limits.ts';
import type { Call, Question } from '../message.ts';
import { bodyLimit, bodyTooLarge, obstacleTo, upstreamFor, type Obstacle } from '../obstacle.ts';
import { askOwnPage, pageInPlace } from '../own-pages.ts';
import type { Failed } from '../upstream/pool.ts';
import { createAnswering, type Verdict } from './answering.ts';
import { asksGrpc } from './fields.ts';
import { grpcTimeout } from './grpc.ts';
import { bodyOf, causeOf, cutFor, readAgain, watchBody, type Cut, type Interruption, type Peer, type StreamExchange } from './peer.ts';
import { isPlain, RawCall } from './raw-call.ts';
import { resetStream } from './reset.ts';
import { watchEnd, type StreamEnd } from './stream-end.ts';

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_FLAG_END_STREAM } = constants;

/** What streams may have to say about their connections. */
export interface Sessions {
  /** Asks the client to go elsewhere. */
  leave(peer: Peer): void;
  /** Ends a connection for what it did. */
  expel(peer: Peer, detail: string): void;
}

/** The streams of all connections: each is decided by `authorize`, forwarded, and answered together with its record. */
export interface Streams {
  take(peer: Peer, stream: ServerHttp2Stream, flags: number, raw: readonly string[], sensitive: readonly string[]): void;
  interrupt(exchange: StreamExchange, why: Cut): void;
  reset(exchange: StreamExchange, why: Cut): void;
  /** Resolves when every request taken so far has its record. */
  settled(): Promise<void>;
}

export function createStreams(options: HttpOptions, { leave, expel }: Sessions): Streams {
  const { refuse, fail, gone, relay, openTunnel } = createAnswering(options, watchPace);
  const running = new Set<Promise<void>>();

  /** One stream: nothing that it does may fail unseen, it would take the thread. */
  function take(peer: Peer, stream: ServerHttp2Stream, flags: number, raw: readonly string[], sensitive: readonly string[]): void {
    stream.on('error', noop);
    const exchange = open(peer, stream, flags, raw, sensitive);
    peer.streams.add(exchange);
    stream.once('close', () => closed(exchange));
    const done = process(exchange).catch((error: unknown) => {
      exchange.cut = cutFor('overloaded', 'overloaded', String(error));
      resetStream(stream, NGHTTP2_INTERNAL_ERROR);
    }).then(() => {
      running.delete(done);
    });
    running.add(done);
  }

  function open(peer: Peer, stream: ServerHttp2Stream, flags: number, raw: readonly string[], sensitive: readonly string[]): StreamExchange {
    const { head, known } = readAgain(peer, raw);
    peer.allowance.asked(head.size);
    const now = performance.now();
    const received = (flags & NGHTTP2_FLAG_END_STREAM) !== 0;
    if (isLastRequest(peer.client.countRequest(), options.service().listener.limits)) {
      options.cut('requests_per_connection');
      leave(peer);
    }
    // RFC 9113 section 8.1.1: what needs no content-length is a body all the same.
    const unannounced = !received && head.contentLength === undefined && head.protocol === undefined;
    return Object.assign(openExchange(unannounced ? { ...head.asked, unannounced } : head.asked, peer.client, options.service()), {
      stream, peer, head, known, sensitive, end: received ? ENDED : watchEnd(stream), asksGrpc: asksGrpc(head), grpc: false, tunnel: false, call: undefined, bytesOut: 0, paced: false, waitingSince: 0, activeAt: now,
      received, cut: undefined, interrupted: undefined,
    });
  }

  function closed(exchange: StreamExchange): void {
    const { peer, stream, call } = exchange;
    peer.streams.delete(exchange);
    exchange.interrupted?.(LEFT);
    call?.cancel();
    const now = performance.now();
    if (peer.streams.size === 0) peer.idleSince = now;
    if (!exchange.received) peer.allowance.abandoned(peer.config.http2.window);
    if (stream.rstCode === NGHTTP2_NO_ERROR || peer.session.destroyed) return;
    if (!peer.allowance.reset(now)) expel(peer, 'more streams were reset than http2.resets allows');
  }

  async function process(exchange: StreamExchange): Promise<void> {
    try {
      const excess = excessOf(exchange);
      if (excess !== undefined) return await refuse(exchange, 'headers_too_large', excess);
      const decision = await decide(exchange, options.now);
      if (exchange.stream.destroyed) return await gone(exchange, 'the client left before the answer', 499);
      if (decision.kind === 'permit') await forward(exchange, decision);
      else await deny(exchange, decision);
    } catch (error) {
      // A fault of ours must end the one request, closed, and be on record.
      await fail(exchange, 'overloaded', 'overloaded', `internal error: ${(error as Error).stack ?? String(error)}`);
    }
  }

  function excessOf({ head, service }: StreamExchange): Verdict | undefined {
    const { header_size, header_fields } = service.listener.limits;
    const fields = head.fields.length / 2;
    if (head.size <= header_size && fields <= header_fields) return undefined;
    const large = head.size > header_size;
    options.cut(large ? 'header_size' : 'header_fields');
    return { result: 'denied', reason: 'headers_too_large', detail: large ? `a header section of ${head.size} octets` : `${fields} header fields` };
  }

  async function deny(exchange: StreamExchange, denial: Denial): Promise<void> {
    exchange.page = await pageInPlace(exchange, denial);
    await refuse(exchange, denial.code, { result: 'denied', reason: denial.reason, detail: denial.detail });
    if (endsConnection(exchange, denial.code)) leave(exchange.peer);
  }

  async function forward(exchange: StreamExchange, permit: Permit): Promise<void> {
    const { stream, service, head, peer } = exchange;
    if (permit.route.own && head.protocol === undefined) return answerOwn(exchange, permit);
    const upstream = upstreamFor(permit, service, options.audit, head.contentLength ?? 0);
    if ('kind' in upstream) return block(exchange, upstream);
    const unsealable = permit.sealed === undefined ? undefined : unending(exchange) ?? await findRecipient(exchange, permit);
    if (unsealable !== undefined) return refuse(exchange, 'role_denied', { result: 'denied', reason: unsealable.reason, detail: unsealable.detail });
    if (stream.destroyed) return gone(exchange, 'the client left before the answer', 499);
    if (head.protocol !== undefined) return isFiltered(permit) ? refuse(exchange, 'role_denied', deniedLate(exchange, NO_TUNNEL)) : openTunnel(exchange, permit, upstream);
    // gRPC is HTTP/2 from end to end: elsewhere the label lifts no limit.
    exchange.grpc = exchange.asksGrpc && upstream.config.protocol === 'h2';
    if (exchange.received && !isFiltered(permit) && upstream.config.protocol === 'http/1.1' && isPlain(exchange.known)) {
      return forwarded(exchange, permit, new RawCall(exchange, permit, exchange.known, upstream, exchange.peer.memory));
    }
    const made = upstreamHeaders(head.fields, {
      requestId: exchange.id, address: exchange.client.address, host: head.fields[1] as string, permit, upstream: upstream.config, traceparent: exchange.span?.traceparent,
    });
    const fields = permit.sealed !== undefined ? sealedHeaders(made, exchange.asked.method) : made;
    if (head.expectsContinue && !exchange.received) stream.additionalHeaders({ ':status': 100 });
    const { response, idle } = upstream.config.timeouts;
    const question: Question = {
      permit, method: exchange.asked.method, path: exchange.asked.written, fields, sensitive: exchange.sensitive, grpc: exchange.grpc, trailers: head.trailers, upstream, key: keyOf(exchange), trail: exchange,
      // Whoever calls by gRPC says how long they wait; a stream of messages may begin late, but not later than it may be silent.
      patience: exchange.grpc ? Math.min(grpcTimeout(fields['grpc-timeout']) ?? response, Math.max(response, peer.config.http2.stream_idle_time)) : response,
      idle: exchange.grpc ? Infinity : idle,
    };
    if (exchange.grpc && exchange.facts !== undefined) exchange.client.becomeStream(exchange.facts);
    if (!exchange.received) watchPace(exchange);
    if (!exchange.received) countBody(exchange, bodyLimit(permit, service));
    if (permit.bond !== undefined) return forwardBound(exchange, permit, permit.bond, question);
    return forwarded(exchange, permit, ask(exchange.received ? question : { ...question, body: bodyOf(exchange) }));
  }

  /** What is no answer that ends. */
  function unending({ head, asksGrpc: grpc }: StreamExchange): Unsealable | undefined {
    if (head.protocol !== undefined) return noSealed('a WebSocket');
    return grpc ? noSealed('a gRPC call') : undefined;
  }

  function block(exchange: StreamExchange, { code, reason, detail, limit }: Obstacle): Promise<void> {
    if (limit !== undefined) options.cut(limit);
    return fail(exchange, code, reason, detail);
  }

  function answerOwn(exchange: StreamExchange, permit: Permit): Promise<void> {
    const { stream, service, head, received } = exchange;
    const obstacle = obstacleTo(permit, service, options.audit, head.contentLength ?? 0);
    if (obstacle !== undefined) return block(exchange, obstacle);
    if (head.expectsContinue && !received) stream.additionalHeaders({ ':status': 100 });
    if (!received) {
      watchPace(exchange);
      countBody(exchange, bodyLimit(permit, service));
    }
    return forwarded(exchange, permit, askOwnPage(exchange, permit, received ? undefined : bodyOf(exchange), options.now));
  }

  /** Counts a body as it passes, and ends the request when it grows over the limit. */
  function countBody(exchange: StreamExchange, most: number): void {
    watchBody(exchange, () => {
      if (exchange.bytesIn <= most) return;
      const { code, reason, detail, limit } = bodyTooLarge(most);
      interrupt(exchange, cutFor(code, reason, detail, limit));
    });
  }

  /** A request whose body is judged before any of it leaves. */
  async function forwardBound(exchange: StreamExchange, permit: Permit, bond: Bond, question: Question): Promise<void> {
    const octets = exchange.received ? NOTHING : await untilInterrupted(exchange, wholeBody(exchange.stream));
    if (!Buffer.isBuffer(octets)) return stopped(exchange, octets);
    const objection = judgeBoundBody(bond, question.fields, octets);
    if (objection !== undefined) return refuse(exchange, 'role_denied', deniedLate(exchange, objection));
    return forwarded(exchange, permit, ask({ ...question, fields: boundHeaders(bond, question.fields, question.method, octets), ...heldBody(octets) }));
  }

  /** What comes of something that is waited for, or what ends the request before that. */
  function untilInterrupted<Result>(exchange: StreamExchange, work: Promise<Result>): Promise<Result | Interruption> {
    return new Promise((resolve) => {
      const settle = (result: Result | Interruption): void => {
        if (exchange.interrupted === settle) exchange.interrupted = undefined;
        resolve(result);
      };
      exchange.interrupted = settle;
      void work.then(settle);
      if (exchange.stream.destroyed) settle(LEFT);
    });
  }

  /** What becomes of a request that got no answer. */
  function stopped(exchange: StreamExchange, why: Failed | Interruption): Promise<void> {
    switch (why.kind) {
      case 'cut':
        exchange.call?.cancel();
        return refuse(exchange, why.code, { result: why.result, ...causeOf(why) });
      case 'failed':
        return fail(exchange, why.code, why.code, why.detail);
      case 'client_left':
        exchange.call?.cancel();
        return gone(exchange, 'the client left before the answer', 499);
    }
  }

  /** What comes of a request that is on its way. */
  async function forwarded(exchange: StreamExchange, permit: Permit, call: Call): Promise<void> {
    exchange.call = call;
    const answered = await untilInterrupted(exchange, call.answer);
    if (answered.kind !== 'answer') return stopped(exchange, answered);
    if (!isFiltered(permit)) return relay(exchange, permit, answered);
    // Nothing of it is sent before its beginning has been read.
    const filtered = await untilInterrupted(exchange, filterAnswer(answered, filtersOf(permit, exchange)));
    if (filtered.kind === 'answer') return relay(exchange, permit, filtered.answer, filtered.objection);
    if (filtered.kind !== 'objection') return stopped(exchange, filtered);
    call.cancel();
    if (filtered.code !== undefined) return refuse(exchange, filtered.code, { result: 'failed', reason: filtered.reason, detail: filtered.detail });
    return refuse(exchange, 'role_denied', deniedLate(exchange, filtered));
  }

  /** Ends a stream before its time: with a problem where nothing of an answer has been sent. */
  function interrupt(exchange: StreamExchange, why: Cut): void {
    if (exchange.cut !== undefined) return;
    exchange.cut = why;
    if (why.limit !== undefined) options.cut(why.limit);
    if (exchange.interrupted !== undefined) return exchange.interrupted(why);
    // Its answer ends, and the rest follows from that.
    exchange.call?.cancel();
  }

  /** Watches that the client keeps up, once there is something to wait for. gRPC streams may be as slow as their messages. */
  function watchPace(exchange: StreamExchange): void {
    const { stream } = exchange;
    if (exchange.grpc || exchange.paced) return;
    exchange.paced = true;
    const stop = options.pace.watch({
      get bytesRead() { return exchange.bytesIn; },
      get bytesWritten() { return exchange.bytesOut; },
      get writableLength() { return stream.writableLength; },
      get destroyed() { return stream.destroyed; },
    }, {
      // A body that the upstream does not take at the moment is not waited for.
      awaitsBody: () => !exchange.received && stream.readableFlowing === true && stream.readableLength === 0,
      tooSlow(side) {
        if (side === 'request') interrupt(exchange, cutFor('request_timeout', 'too_slow', 'the body came too slowly', 'min_rate'));
        else reset(exchange, cutFor('request_timeout', 'too_slow', 'the client took the answer too slowly', 'min_rate'));
      },
    });
    stream.once('close', stop);
  }

  /** The same for a client that would not read what it was told. */
  function reset(exchange: StreamExchange, why: Cut): void {
    if (exchange.cut === undefined && why.limit !== undefined) options.cut(why.limit);
    exchange.cut ??= why;
    resetStream(exchange.stream, NGHTTP2_CANCEL);
  }

  return {
    take, interrupt, reset,
    async settled() {
      while (running.size > 0) await Promise.all(running);
    },
  };
}

const NOTHING = Buffer.alloc(0);

/** Of a request that came with END_STREAM on its head. */
const ENDED = (): StreamEnd => ({ kind: 'ended', octets: 0 });

function noop(): void {
  // A stream without an error handler ends the process; what matters shows when it closes.
}

const LEFT = { kind: 'client_left' } as const;
