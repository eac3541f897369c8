import { ServerResponse, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { AuditRecord } from '../audit/record.ts';
import type { Reason } from '../policy/facts.ts';
import type { Denial, Permit } from '../policy/decision.ts';
import type { ListenerLimits } from '../config/schema.ts';
import { filterAnswer, filtersOf, isFiltered, type AnswerObjection } from './answer-filter.ts';
import { NO_TUNNEL } from './bond.ts';
import type { ClientOf, PageAnswer } from './client.ts';
import { decide, deniedLate, endsConnection, exchangeRecord, findRecipient, keyOf, outcomeOf, type Exchange } from './exchange.ts';
import type { Answer, GeneralForwarder } from './general.ts';
import { noSealed, sealedHeaders, type Unsealable } from './seal/recipient.ts';
import { answerRules, clientHeaders, upstreamHeaders } from './headers.ts';
import type { HttpOptions } from './http-options.ts';
import { clientLeft, holdBody, notForClient } from './http1/bound.ts';
import { countBody, fieldsBeyond, openHttp1Exchange, type Http1Exchange, type Spoiling, type Verdict } from './http1/exchange.ts';
import { answerOf, clientErrorCode, expectsContinue, reasonOf } from './http1/message.ts';
import { createOrder, leaving } from './http1/order.ts';
import { linger, refuseFlood, refuseRaw } from './http1/refusal.ts';
import { openHttp1Server } from './http1/server.ts';
import { objectionTo, type EndCause, type Objection } from './judgement.ts';
import { messageOf } from './message.ts';
import { bodyLimit, obstacleTo, recordOf, upstreamFor, type Obstacle } from './obstacle.ts';
import { askOwnPage, pageInPlace, pageMessage } from './own-pages.ts';
import { problemStatus, sendProblem, type ProblemCode } from './problem.ts';
import { relayAnswer } from './relay.ts';
import { forwardUpgrade } from './upgrade.ts';

export interface Http1Options extends HttpOptions {
  readonly limits: ListenerLimits;
  readonly clientOf: ClientOf;
  readonly forwarder: GeneralForwarder;
}

export interface Http1 {
  /** Takes an admitted connection. */
  serve(socket: Socket): void;
  closeIdle(): void;
  /** Puts what is under way on a connection to judgement. */
  judge(socket: Socket, objection: Objection): void;
  /** Puts what is under way on a connection on record with why it is being ended. */
  ending(socket: Socket, cause: EndCause): void;
  /** Limits of a new configuration, for connections from now on. */
  limit(limits: ListenerLimits): void;
  /** Resolves when every request taken so far has its record. */
  settled(): Promise<void>;
}

/**
 * The HTTP/1.1 protocol of one listener on one thread. Each request is decided by `authorize`,
 * forwarded, and answered together with its record.
 */
export function createHttp1(options: Http1Options): Http1 {
  const order = createOrder();
  /** The request of a connection that its upstream has, until it is on record. */
  const underWay = new WeakMap<Socket, Http1Exchange>();
  const server = openHttp1Server(options.limits, { request: take, connect: refuseTunnel, upgrade: takeUpgrade, faulty });

  function take(request: IncomingMessage, response: ServerResponse, fault?: string): void {
    const { socket } = request;
    if (order.unsent(socket).size >= options.service().listener.limits.pipelined_requests) return refuseFlood(options, socket);
    order.track(socket, response, serve(request, response, order.turn(socket), fault));
  }

  function refuseTunnel(request: IncomingMessage, socket: Duplex): void {
    refuseRaw(options, order, request.socket, socket, 'bad_request', 'CONNECT is not served', request);
  }

  function takeUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // What Node hands over is another stream when the request has a body that has not all come.
    const transport = request.socket;
    const before = [...order.unsent(transport)];
    if (before.some((response) => !response.writableEnded)) return refuseRaw(options, order, transport, socket, 'bad_request', 'an upgrade behind an unanswered request', request);
    const response = new ServerResponse(request);
    order.track(transport, response, Promise.all(before.map((one) => leaving(one, transport))).then(() => serveUpgrade(request, response, socket as Socket, head)));
  }

  function faulty(socket: Duplex, error: NodeJS.ErrnoException): void {
    const transport = socket as Socket;
    const code = clientErrorCode(error);
    const detail = `${error.code ?? ''} ${error.message}`.trim();
    const exchange = order.newest(transport);
    if (exchange?.last === true && exchange.request.complete) return;
    if (exchange === undefined || exchange.request.complete) return refuseRaw(options, order, transport, socket, code, detail);
    // Within a request that has its record or will get one: no second one.
    exchange.spoil(error.code === 'HPE_INVALID_EOF_STATE' ? { kind: 'cut' } : {
      kind: 'refusal', code, verdict: { result: 'denied', reason: reasonOf(code), detail }, ...(code === 'request_timeout' ? { limit: 'request_time' } : {}),
    });
  }

  async function serve(request: IncomingMessage, response: ServerResponse, turn: Promise<void> | undefined, fault?: string): Promise<void> {
    // The connection ends with the answer before: this one's would never arrive (RFC 9112 section 9.6).
    if (order.newest(request.socket)?.last === true) return;
    const exchange = open(request, response, fault);
    if (exchange === undefined) return void request.socket.destroy();
    try {
      if (turn !== undefined) await turn;
      if (request.socket.destroyed) return await gone(exchange, 'the client left before the answer', 499);
      const excess = fieldsBeyond(exchange, options.cut);
      if (excess !== undefined) return await refuse(exchange, 'headers_too_large', excess);
      const decision = await decide(exchange, options.now);
      if (decision.kind === 'permit') await forward(exchange, decision);
      else await deny(exchange, decision);
    } catch (error) {
      // A fault of ours must end the one request, closed, and be on record.
      await fail(exchange, 'overloaded', 'overloaded', `internal error: ${(error as Error).stack ?? String(error)}`);
    }
  }

  function open(request: IncomingMessage, response: ServerResponse, fault: string | undefined): Http1Exchange | undefined {
    const client = options.clientOf(request.socket);
    if (client === undefined) return undefined;
    const exchange = openHttp1Exchange(options, client, request, response, fault);
    order.begin(exchange);
    return exchange;
  }

  async function deny(exchange: Http1Exchange, denial: Denial): Promise<void> {
    exchange.page = await pageInPlace(exchange, denial);
    await refuse(exchange, denial.code, { result: 'denied', reason: denial.reason, detail: denial.detail });
  }

  function fail(exchange: Http1Exchange, code: ProblemCode, reason: Reason, detail: string): Promise<void> {
    return refuse(exchange, code, { result: 'failed', reason, detail });
  }

  function block(exchange: Http1Exchange, { code, reason, detail, limit }: Obstacle): Promise<void> {
    if (limit !== undefined) options.cut(limit);
    return fail(exchange, code, reason, detail);
  }

  /** Answers with a problem after its record; when even the record fails, the answer still tells nothing and grants nothing. */
  async function refuse(exchange: Http1Exchange, code: ProblemCode, verdict: Verdict): Promise<void> {
    const { request, response } = exchange;
    const status = problemStatus(code);
    exchange.refused = true;
    await record(exchange, { ...verdict, status }).catch(() => undefined);
    observe(exchange, status);
    if (response.headersSent || response.destroyed) return void response.destroy();
    const unread = !request.complete;
    exchange.last ||= unread || endsConnection(exchange, code) || options.draining();
    if (unread) return linger(exchange, code);
    if (exchange.page !== undefined) return sendPage(exchange, exchange.page, status);
    sendProblem(response, code, exchange, exchange.last);
  }

  function sendPage(exchange: Http1Exchange, page: PageAnswer, status: number): void {
    const { head, body } = pageMessage(page, status, exchange);
    if (exchange.last) head.push('connection', 'close');
    exchange.response.writeHead(status, head);
    exchange.response.end(body);
  }

  async function forward(exchange: Http1Exchange, permit: Permit): Promise<void> {
    const { request, response, service } = exchange;
    if (permit.route.own) return answerOwn(exchange, permit);
    const upstream = upstreamFor(permit, service, options.audit, Number(request.headers['content-length'] ?? 0));
    if ('kind' in upstream) return block(exchange, upstream);
    // What takes the right away may come while a key is read, or the body comes.
    if (isFiltered(permit)) underWay.set(request.socket, exchange);
    const unsealable = permit.sealed === undefined ? undefined : await findRecipient(exchange, permit);
    if (unsealable !== undefined) return refuseUnsealed(exchange, unsealable);
    const raw = request.rawHeaders;
    // Only on the answer whose turn it is: written ahead of another's body it would be read as part of that.
    if (expectsContinue(request) && response.socket !== null) response.writeContinue();
    request.headers = upstreamHeaders(raw, {
      requestId: exchange.id, address: exchange.client.address, host: request.headers.host as string, permit, upstream: upstream.config, traceparent: exchange.span?.traceparent,
    });
    if (permit.sealed !== undefined) request.headers = sealedHeaders(request.headers, exchange.asked.method);
    countBody(exchange, bodyLimit(permit, service));
    const body = permit.bond === undefined ? undefined : await holdBody(exchange, permit.bond);
    if (body !== undefined && body.kind !== 'held') return stopped(exchange, body);
    return forwarded(exchange, permit, options.forwarder.forward({ permit, request, response, upstream, key: keyOf(exchange), trail: exchange, ...(body === undefined ? {} : { held: body.octets }) }));
  }

  function refuseUnsealed(exchange: Http1Exchange, { reason, detail }: Unsealable): Promise<void> {
    return refuse(exchange, 'role_denied', { result: 'denied', reason, detail });
  }

  async function answerOwn(exchange: Http1Exchange, permit: Permit): Promise<void> {
    const { request, response, service } = exchange;
    const obstacle = obstacleTo(permit, service, options.audit, Number(request.headers['content-length'] ?? 0));
    if (obstacle !== undefined) return block(exchange, obstacle);
    if (expectsContinue(request) && response.socket !== null) response.writeContinue();
    countBody(exchange, bodyLimit(permit, service));
    const { answer, cancel } = askOwnPage(exchange, permit, { stream: request, announced: false, whole: () => request.complete, trailers: () => [] }, options.now);
    endWithClient(exchange, cancel);
    return forwarded(exchange, permit, answer.then((answered) => (answered.kind === 'answer' ? { kind: 'answer', message: messageOf(answered) } : answered)));
  }

  /** A stream of events whose client has left before it began would be read by nobody, and keep its place for good. An answer that waits for its turn hears of its socket alone. */
  function endWithClient({ request: { socket }, response }: Http1Exchange, cancel: () => void): void {
    if (socket.destroyed || response.destroyed) return cancel();
    socket.once('close', cancel);
    response.once('close', () => {
      socket.off('close', cancel);
      cancel();
    });
  }

  /** What comes of a request that is on its way. */
  async function forwarded(exchange: Http1Exchange, permit: Permit, asked: Promise<Answer>): Promise<void> {
    underWay.set(exchange.request.socket, exchange);
    const answer = await Promise.race([asked, exchange.whenSpoilt]);
    if (answer.kind !== 'answer') return stopped(exchange, answer);
    return isFiltered(permit) ? relayFiltered(exchange, permit, answer.message) : relay(exchange, permit, answer.message);
  }

  /** What becomes of a request that got no answer. */
  function stopped(exchange: Http1Exchange, why: Spoiling | Exclude<Answer, { kind: 'answer' }>): Promise<void> {
    switch (why.kind) {
      case 'cut':
        abandonUpstream(exchange);
        exchange.request.socket.destroy();
        return gone(exchange, 'the client left within its request', 499);
      case 'refusal':
        abandonUpstream(exchange);
        return refuse(exchange, why.code, why.verdict);
      case 'failed':
        return fail(exchange, why.code, why.code, why.detail);
      case 'client_left':
        abandonUpstream(exchange);
        return gone(exchange, 'the client left before the answer', 499);
    }
  }

  function abandonUpstream({ request }: Http1Exchange): void {
    request.unpipe();
    options.forwarder.cancel(request);
  }

  /** An answer that is read on its way: nothing of it is sent before its beginning has been. */
  async function relayFiltered(exchange: Http1Exchange, permit: Permit, message: IncomingMessage): Promise<void> {
    const filters = filtersOf(permit, exchange);
    if (filters.length === 0) return relay(exchange, permit, message);
    const filtered = await Promise.race([filterAnswer(answerOf(message), filters), exchange.whenSpoilt, clientLeft(exchange.response)]);
    switch (filtered.kind) {
      case 'answer': return relay(exchange, permit, messageOf(filtered.answer), filtered.objection);
      case 'objection':
        return stopped(exchange, filtered.code === undefined
          ? notForClient(exchange, filtered)
          : { kind: 'refusal', code: filtered.code, verdict: { result: 'failed', reason: filtered.reason, detail: filtered.detail } });
      case 'failed': {
        const cut = options.forwarder.cut(exchange.request);
        return stopped(exchange, cut === undefined ? filtered : { ...filtered, code: 'upstream_timeout', detail: cut.detail });
      }
      default: return stopped(exchange, filtered);
    }
  }

  /** `objection`: why its filter cut it. */
  async function relay(exchange: Http1Exchange, permit: Permit, message: IncomingMessage, objection?: () => AnswerObjection | undefined): Promise<void> {
    const { response, service } = exchange;
    // The upstream may answer before it has read the body, which must be one all the same.
    void exchange.whenSpoilt.then(() => {
      abandonUpstream(exchange);
      cutAnswer(exchange);
    });
    const status = message.statusCode as number;
    const head = clientHeaders(status, message.rawHeaders, { requestId: exchange.id, ...answerRules(service.hsts, permit.route.config) });
    head.push(...exchange.answerFields);
    // An upstream that answers before it has read the body leaves octets behind that must not be read as a request.
    exchange.last ||= options.draining() || !exchange.request.complete;
    if (exchange.last) head.push('connection', 'close');
    response.writeHead(status, head);
    exchange.lasting = message.headers['content-length'] === undefined && !response.chunkedEncoding;
    const end = await relayAnswer(message, response, (bytes) => recordOf(record(exchange, { result: 'permitted', status, bytes_out: bytes }), permit, service), exchange.client.reset);
    if (end.kind === 'complete') {
      // The client's connection ends, so the rest of its body never comes: the upstream would wait for it.
      if (!exchange.request.complete) abandonUpstream(exchange);
      return observe(exchange, status);
    }
    if (end.kind === 'record_lost') return gone(exchange, 'the record could not be written', status, 'audit_unavailable');
    const objected = objection?.();
    if (objected !== undefined) return cutShort(exchange, objected, status, end.bytes);
    const cut = options.forwarder.cut(exchange.request);
    options.forwarder.cancel(exchange.request);
    if (cut !== undefined) return gone(exchange, cut.detail, status, cut.by === 'upstream' ? 'upstream_timeout' : undefined);
    if (end.kind === 'upstream_died') return gone(exchange, 'the upstream died within its answer', status, 'upstream_unavailable');
    return gone(exchange, 'the client left within the answer', status);
  }

  /** Ends an answer within itself, and never cleanly: the mere end of its connection would be that of a whole one where nothing else says its length. */
  function cutAnswer({ response, client, lasting }: Http1Exchange): void {
    if (lasting) client.reset();
    response.destroy();
  }

  /** Records a request whose answer was found not to be for its client when it had begun. */
  async function cutShort(exchange: Http1Exchange, objection: AnswerObjection, status: number, bytes: number): Promise<void> {
    options.forwarder.cancel(exchange.request);
    await record(exchange, { ...deniedLate(exchange, objection), status, bytes_out: bytes }).catch(() => undefined);
    observe(exchange, status);
  }

  /** Records a request that got no whole answer. */
  async function gone(exchange: Http1Exchange, detail: string, status: number, reason?: Reason): Promise<void> {
    const { spoilt } = exchange;
    const why = spoilt?.kind === 'refusal' ? spoilt.verdict : { detail, ...(reason === undefined ? {} : { reason }) };
    await record(exchange, { ...why, result: 'failed', status }).catch(() => undefined);
    observe(exchange, status);
  }

  async function serveUpgrade(request: IncomingMessage, response: ServerResponse, socket: Socket, head: Buffer): Promise<void> {
    // A body that comes with an upgrade would be the next request's beginning on the upstream's connection.
    const framed = request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
    // The answer before was its last.
    if (!socket.writable) return void socket.destroy();
    // Node may have stopped reading, and what does not read does not notice that its client has left.
    socket.read(0);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    // Nothing reads from it any more, so its client's end would not be noticed: it is over when the answer has left.
    response.on('finish', () => socket.end(() => socket.destroy()));
    const exchange = open(request, response, framed ? 'an upgrade with a body' : undefined);
    if (exchange === undefined) return void socket.destroy();
    try {
      const excess = fieldsBeyond(exchange, options.cut);
      if (excess !== undefined) return await refuse(exchange, 'headers_too_large', excess);
      const decision = await decide(exchange, options.now);
      if (decision.kind !== 'permit') return await deny(exchange, decision);
      await upgrade(exchange, decision, socket, head);
    } catch (error) {
      await fail(exchange, 'overloaded', 'overloaded', `internal error: ${(error as Error).stack ?? String(error)}`);
    }
  }

  async function upgrade(exchange: Http1Exchange, permit: Permit, socket: Socket, head: Buffer): Promise<void> {
    const { request, response, service } = exchange;
    const upstream = upstreamFor(permit, service, options.audit, 0);
    if ('kind' in upstream) return block(exchange, upstream);
    if (permit.sealed !== undefined) return refuseUnsealed(exchange, noSealed('a WebSocket'));
    if (isFiltered(permit)) return stopped(exchange, notForClient(exchange, NO_TUNNEL));
    const headers = upstreamHeaders(request.rawHeaders, {
      requestId: exchange.id, address: exchange.client.address, host: request.headers.host as string, permit, upstream: upstream.config, traceparent: exchange.span?.traceparent,
    });
    // Judged as a stream from now on: what takes the right away may come while the upstream is asked.
    if (exchange.facts !== undefined) exchange.client.becomeStream(exchange.facts);
    underWay.set(request.socket, exchange);
    const answer = await forwardUpgrade({
      permit, path: request.url as string, webSocketKey: request.headers['sec-websocket-key'] ?? '', client: request.socket, headers, upstream, key: keyOf(exchange), trail: exchange,
    });
    if (answer.kind === 'failed') return fail(exchange, answer.code, answer.code, answer.detail);
    if (answer.kind === 'client_left') return gone(exchange, 'the client left before the answer', 499);
    if (answer.kind === 'answer') return relay(exchange, permit, answer.message);
    try {
      await record(exchange, { result: 'permitted', status: 101 });
    } catch {
      answer.abandon();
      return void socket.destroy();
    }
    observe(exchange, 101);
    exchange.stopPace();
    response.detachSocket(socket);
    const end = await answer.join(socket, head, { requestId: exchange.id, ...answerRules(service.hsts, permit.route.config) });
    exchange.bytesIn = end.bytesIn;
    await record(exchange, { event: 'connection', result: end.fault === undefined ? 'done' : 'failed', ...(end.fault === undefined ? {} : { detail: end.fault }), bytes_out: end.bytesOut }).catch(() => undefined);
  }

  function record(exchange: Http1Exchange, fields: Partial<AuditRecord> & Pick<AuditRecord, 'result'>): Promise<void> {
    // What is on record is not judged any more.
    if (underWay.get(exchange.request.socket) === exchange) underWay.delete(exchange.request.socket);
    return options.audit.append(exchangeRecord(exchange, fields, options.now()));
  }

  function observe(exchange: Exchange, status: number): void {
    options.observe(outcomeOf(exchange, status));
  }

  return {
    serve: server.serve,
    closeIdle: server.closeIdle,
    judge(socket, objection) {
      const exchange = underWay.get(socket);
      const denial = exchange === undefined ? undefined : objectionTo(exchange, objection, options);
      if (denial !== undefined) exchange?.spoil({ kind: 'refusal', code: denial.code, verdict: { result: 'denied', reason: denial.reason, detail: denial.detail } });
    },
    ending(socket, { reason, detail }) {
      const exchange = underWay.get(socket);
      if (exchange === undefined) return;
      exchange.spoilt ??= { kind: 'refusal', code: 'certificate_rejected', verdict: { result: 'failed', detail, ...(reason === undefined ? {} : { reason }) } };
      if (exchange.response.headersSent) cutAnswer(exchange);
    },
    limit: server.limit,
    settled: () => order.settled(),
  };
}
