import { randomBytes } from 'node:crypto';
import { constants, performServerHandshake, type ServerHttp2Stream, type ServerOptions } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { AuditRecord } from '../audit/record.ts';
import type { Denial, Permit, Policy } from '../policy/authorize.ts';
import type { Reason, RequestFacts } from '../policy/facts.ts';
import { ask } from './ask.ts';
import type { Client } from './client.ts';
import { decide, exchangeRecord, keyOf, openExchange, outcomeOf, type Exchange } from './exchange.ts';
import { recordBeginning, recordRest } from './fast/record-line.ts';
import { answerRules, upstreamHeaders } from './headers.ts';
import type { HttpOptions } from './http-options.ts';
import { createAllowance } from './http2/allowance.ts';
import { answerHead, knownAnswerHead, sendProblem, trailersOf, withoutAccept } from './http2/answers.ts';
import { nameCodes } from './http2/codes.ts';
import { asksGrpc } from './http2/fields.ts';
import { grpcStatus, grpcTimeout } from './http2/grpc.ts';
import { bodyOf, cutFor, readAgain, watchBody, type Cut, type Interruption, type Peer, type StreamExchange } from './http2/peer.ts';
import { isPlain, RawCall } from './http2/raw-call.ts';
import { endsWithHead, relayToStream } from './http2/relay.ts';
import { endUnread, resetStream } from './http2/reset.ts';
import { sensitiveOf } from './http2/sensitive.ts';
import { watchEnd, type StreamEnd } from './http2/stream-end.ts';
import { messageAnswer } from './http2/to-http1.ts';
import { joinStream } from './http2/tunnel.ts';
import { isLastRequest } from './limits.ts';
import type { Answered, Call, Question, UpstreamAnswer } from './message.ts';
import { bodyLimit, bodyTooLarge, upstreamFor } from './obstacle.ts';
import { problemStatus, type ProblemCode } from './problem.ts';
import { forwardUpgrade } from './upgrade.ts';
import type { Upstream } from './upstream/pool.ts';

export interface Http2 {
  /** Takes an admitted connection that has chosen `h2`; `terminated` is told when it had to be ended for what it did. */
  serve(socket: TLSSocket, client: Client, terminated: Peer['terminated']): void;
  /** Asks every client to go elsewhere while draining; ends connections that have nothing to do. */
  closeIdle(): void;
  /** Puts the open streams of a connection to judgement, and ends those that would not be let in any more. */
  judge(socket: TLSSocket, objection: (facts: RequestFacts, policy: Policy) => Denial | undefined): void;
  /** Resolves when every request taken so far has its record. */
  settled(): Promise<void>;
}

const {
  NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_FLAG_END_STREAM,
} = constants;

/** How often connections are looked at: stalls, floods, idle ones. */
const LOOK_MS = 1_000;
/** How long a connection may stay that has been asked to leave and has nothing to do. */
const LINGER_MS = 2_000;
/** Frames that Node tells of before the account is settled out of turn. */
const FRAMES = 256;
/** Above the configured size of a header section we answer 431; above this much more nghttp2 resets the stream. */
const HEADER_SLACK = 16 * 1024;
/** The same for their number, pseudo-header fields included. */
const FIELDS_SLACK = 64;
/**
 * The HTTP/2 protocol of one listener on one thread, on Node's core stream API. Each stream is decided by `authorize`, forwarded,
 * and answered together with its record.
 */
export function createHttp2(options: HttpOptions): Http2 {
  const peers = new Map<TLSSocket, Peer>();
  const running = new Set<Promise<void>>();
  let looking: NodeJS.Timeout | undefined;

  function serve(socket: TLSSocket, client: Client, terminated: Peer['terminated']): void {
    const config = options.service().listener;
    const { limits, http2 } = config;
    const session = performServerHandshake(socket, {
      settings: {
        maxConcurrentStreams: http2.streams, initialWindowSize: http2.window, maxHeaderListSize: limits.header_size + HEADER_SLACK, enablePush: false,
        enableConnectProtocol: true,
      },
      maxSessionMemory: Math.max(1, Math.round(http2.memory / 1e6)),
      maxHeaderListPairs: limits.header_fields + FIELDS_SLACK,
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      strictSingleValueFields: false,
      // nghttp2 would drop such fields without a word; we refuse the request.
      strictFieldWhitespaceValidation: false,
    } as ServerOptions);
    // Whatever goes wrong on a session must end it and nothing else (CVE-2025-59465).
    session.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code?.startsWith('ERR_HTTP2_') === true) terminated('bad_request', `${error.code}: ${error.message}`);
    });
    nameCodes(session);
    session.setLocalWindowSize(Math.max(http2.window, CONNECTION_WINDOW));
    const now = performance.now();
    const peer: Peer = {
      socket, client, session, config, terminated, allowance: createAllowance(http2, now), streams: new Set(),
      greeted: false, leavingSince: 0, overSince: 0, idleSince: now, last: undefined, memory: { upstream: undefined, answer: undefined }, rest: undefined, answerHead: undefined, frames: 0,
    };
    peers.set(socket, peer);
    session.on('stream', (stream, headers, flags, raw) => take(peer, stream, flags, raw as unknown as string[], sensitiveOf(headers)));
    session.on('remoteSettings', () => {
      if (!peer.greeted && options.draining()) leave(peer);
      peer.greeted = true;
      countFrame(peer);
    });
    session.on('ping', () => countFrame(peer));
    socket.once('close', () => {
      peers.delete(socket);
      if (peers.size > 0) return;
      clearInterval(looking);
      looking = undefined;
    });
    looking ??= setInterval(look, LOOK_MS);
  }

  function countFrame(peer: Peer): void {
    peer.frames += 1;
    if (peer.frames < FRAMES) return;
    settleAccount(peer, performance.now());
  }

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
    return Object.assign(openExchange(head.asked, peer.client, options.service()), {
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

  type Verdict = Pick<AuditRecord, 'result' | 'reason' | 'detail'>;

  function excessOf({ head, service }: StreamExchange): Verdict | undefined {
    const { header_size, header_fields } = service.listener.limits;
    const fields = head.fields.length / 2;
    if (head.size <= header_size && fields <= header_fields) return undefined;
    const large = head.size > header_size;
    options.cut(large ? 'header_size' : 'header_fields');
    return { result: 'denied', reason: 'headers_too_large', detail: large ? `a header section of ${head.size} octets` : `${fields} header fields` };
  }

  async function deny(exchange: StreamExchange, denial: Denial): Promise<void> {
    await refuse(exchange, denial.code, { result: 'denied', reason: denial.reason, detail: denial.detail });
    if (denial.code === 'certificate_rejected') leave(exchange.peer);
  }

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

  async function forward(exchange: StreamExchange, permit: Permit): Promise<void> {
    const { stream, service, head, peer } = exchange;
    const upstream = upstreamFor(permit, service, options.audit, head.contentLength ?? 0);
    if ('kind' in upstream) {
      if (upstream.limit !== undefined) options.cut(upstream.limit);
      return fail(exchange, upstream.code, upstream.reason, upstream.detail);
    }
    if (head.protocol !== undefined) return openTunnel(exchange, permit, upstream);
    // gRPC is HTTP/2 from end to end: elsewhere the label lifts no limit.
    exchange.grpc = exchange.asksGrpc && upstream.config.protocol === 'h2';
    if (exchange.received && upstream.config.protocol === 'http/1.1' && isPlain(exchange.known)) {
      return forwarded(exchange, permit, new RawCall(exchange, permit, exchange.known, upstream, exchange.peer.memory));
    }
    const fields = upstreamHeaders(head.fields, {
      requestId: exchange.id, address: exchange.client.address, host: head.fields[1] as string, permit, upstream: upstream.config, traceparent: exchange.span?.traceparent,
    });
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
    const most = bodyLimit(permit, service);
    if (!exchange.received) watchBody(exchange, () => {
      if (exchange.bytesIn <= most) return;
      const { code, reason, detail, limit } = bodyTooLarge(most);
      interrupt(exchange, cutFor(code, reason, detail, limit));
    });
    return forwarded(exchange, permit, ask(exchange.received ? question : { ...question, body: bodyOf(exchange) }));
  }

  /** A WebSocket (RFC 8441), to an upstream that knows it as an upgrade of HTTP/1.1. */
  async function openTunnel(exchange: StreamExchange, permit: Permit, upstream: Upstream): Promise<void> {
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
      stream, socket: answer.socket, head: answer.head, silence: upstream.config.timeouts.tunnel,
      watch: {
        sent: (octets) => peer.allowance.sent(octets),
        received: (octets) => peer.allowance.received(octets),
        waiting: () => void (exchange.waitingSince ||= performance.now()),
        moving: () => void (exchange.waitingSince = 0),
      },
    });
    exchange.bytesIn = end.bytesIn;
    const { cut } = exchange;
    const ending = cut !== undefined ? { result: 'denied', reason: cut.reason, detail: cut.detail } as const : end.fault !== undefined ? { result: 'failed', detail: end.fault } as const : { result: 'done' } as const;
    await record(exchange, { event: 'connection', ...ending, bytes_out: end.bytesOut }).catch(() => undefined);
  }

  /** What comes of a request that is on its way. */
  async function forwarded(exchange: StreamExchange, permit: Permit, call: Call): Promise<void> {
    const { stream } = exchange;
    exchange.call = call;
    const answered = await new Promise<Answered | Interruption>((resolve) => {
      exchange.interrupted = resolve;
      void call.answer.then(resolve);
      if (stream.destroyed) resolve(LEFT);
    });
    exchange.interrupted = undefined;
    switch (answered.kind) {
      case 'cut':
        call.cancel();
        return fail(exchange, answered.code, answered.reason, answered.detail);
      case 'failed':
        return fail(exchange, answered.code, answered.code, answered.detail);
      case 'client_left':
        call.cancel();
        return gone(exchange, 'the client left before the answer', 499);
      case 'answer':
        return relay(exchange, permit, answered);
    }
  }

  async function relay(exchange: StreamExchange, permit: Permit, answer: UpstreamAnswer): Promise<void> {
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
      answer: { ...answer, body }, stream, head, trailers: trailersOf, headOnly: exchange.asked.method === 'HEAD',
      commit: (bytes) => record(exchange, { result: 'permitted', status, bytes_out: bytes }),
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
      if (error !== undefined) {
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
    const why = exchange.cut === undefined ? { detail, ...(reason === undefined ? {} : { reason }) } : { detail: exchange.cut.detail, reason: exchange.cut.reason };
    await record(exchange, { result: 'failed', status, ...why }).catch(() => undefined);
    observe(exchange, status);
  }

  function record(exchange: Exchange, fields: Partial<AuditRecord> & Pick<AuditRecord, 'result'>): Promise<void> {
    return options.audit.append(exchangeRecord(exchange, fields, options.now()));
  }

  function observe(exchange: Exchange, status: number): void {
    options.observe(outcomeOf(exchange, status));
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

  /** Looks after every connection: what a peer does not do never shows as an event. */
  function look(): void {
    const now = performance.now();
    for (const peer of peers.values()) {
      if (peer.session.destroyed) {
        letGo(peer, now);
        continue;
      }
      if (settleAccount(peer, now)) lookAfter(peer, now);
    }
  }

  /** A session that is over leaves its connection behind when a write was under way in it: Node waits for that for good. */
  function letGo(peer: Peer, now: number): void {
    peer.overSince ||= now;
    if (now - peer.overSince > LINGER_MS) peer.socket.destroy();
  }

  function settleAccount(peer: Peer, now: number): boolean {
    peer.frames = 0;
    // What nobody has read yet is counted when it is.
    let unread = 0;
    for (const { stream } of peer.streams) unread += stream.readableLength;
    if (peer.allowance.settle(peer.socket.bytesRead - unread, now)) return true;
    expel(peer, 'more control frames than http2.control allows');
    return false;
  }

  function lookAfter(peer: Peer, now: number): void {
    const { limits, http2 } = peer.config;
    if (!peer.greeted && now - peer.idleSince > limits.header_time) return peer.session.destroy();
    if (peer.leavingSince !== 0) {
      const grace = peer.streams.size === 0 ? LINGER_MS : limits.request_time;
      if (now - peer.leavingSince > grace) return peer.session.destroy();
    } else if (peer.streams.size === 0 && now - peer.idleSince > limits.idle_time) leave(peer);
    for (const exchange of peer.streams) {
      exchange.call?.look?.(now);
      if (exchange.waitingSince !== 0 && now - exchange.waitingSince > http2.stall_time) reset(exchange, cutFor('overloaded', 'overloaded', 'the client takes nothing of its answer'));
      else if (exchange.grpc) {
        if (now - exchange.activeAt > http2.stream_idle_time) interrupt(exchange, cutFor('request_timeout', 'overloaded', 'the stream was silent for too long'));
      } else if (!exchange.received && !exchange.tunnel && now - exchange.started > limits.request_time) {
        interrupt(exchange, cutFor('request_timeout', 'request_timeout', 'the request did not arrive in time', 'request_time'));
      }
    }
  }

  /** Ends a connection for what it did. */
  function expel(peer: Peer, detail: string): void {
    if (peer.session.destroyed) return;
    for (const exchange of peer.streams) exchange.cut ??= cutFor('rate_limited', 'rate_limited', detail);
    peer.terminated('rate_limited', detail);
    peer.session.destroy(new Error(detail), NGHTTP2_ENHANCE_YOUR_CALM);
  }

  /**
   * Asks a client to go elsewhere (RFC 9113 section 6.8): what it has asked is answered, what is on its way to us is named as not taken,
   * so that the client asks it again on another connection. (The notice that would come first, GOAWAY with the highest number, is not
   * within reach from Node: after any GOAWAY nghttp2 takes no stream.)
   */
  function leave(peer: Peer): void {
    if (peer.leavingSince !== 0 || peer.session.destroyed) return;
    peer.leavingSince = performance.now();
    peer.session.close();
  }

  return {
    serve,
    closeIdle() {
      for (const peer of peers.values()) if (options.draining()) leave(peer);
    },
    judge(socket, objection) {
      for (const exchange of peers.get(socket)?.streams ?? []) {
        if ((!exchange.grpc && !exchange.tunnel) || exchange.facts === undefined) continue;
        // Where nothing new is taken any more, what is under way finishes under what it began with.
        const { policy } = options.draining() ? exchange.service : options.service();
        const denial = objection(exchange.facts, policy);
        if (denial === undefined) continue;
        const why = cutFor(denial.code, denial.reason, denial.detail);
        if (exchange.tunnel) reset(exchange, why);
        else interrupt(exchange, why);
      }
    },
    async settled() {
      while (running.size > 0) await Promise.all(running);
    },
  };
}

/** Octets that all streams of a connection together may have under way to us. */
const CONNECTION_WINDOW = 1024 * 1024;

/** Of a request that came with END_STREAM on its head. */
const ENDED = (): StreamEnd => ({ kind: 'ended', octets: 0 });

function noop(): void {
  // A session or stream without an error handler ends the process; what matters shows when it closes.
}

const LEFT = { kind: 'client_left' } as const;
