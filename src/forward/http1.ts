import { createServer, METHODS, ServerResponse, type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { AuditRecord } from '../audit/record.ts';
import type { Reason } from '../policy/facts.ts';
import type { Denial, Permit } from '../policy/authorize.ts';
import { parseHost, type Host } from '../policy/host.ts';
import { parseTarget } from '../policy/target.ts';
import type { ListenerLimits } from '../config/schema.ts';
import type { ClientOf } from './client.ts';
import { decide, exchangeRecord, openExchange, keyOf, outcomeOf, type Asked, type Exchange } from './exchange.ts';
import type { GeneralForwarder } from './general.ts';
import { answerRules, checkFields, clientHeaders, upstreamHeaders } from './headers.ts';
import type { HttpOptions } from './http-options.ts';
import { newRequestId } from './ids.ts';
import { isLastRequest, type RequestLimit } from './limits.ts';
import { bodyLimit, bodyTooLarge, upstreamFor, type Obstacle } from './obstacle.ts';
import { problemStatus, rawProblem, sendProblem, type ProblemCode } from './problem.ts';
import { relayAnswer } from './relay.ts';
import { forwardUpgrade } from './upgrade.ts';

export interface Http1Options extends HttpOptions {
  readonly limits: ListenerLimits;
  readonly clientOf: ClientOf;
  readonly forwarder: GeneralForwarder;
}

/** What spoils a request that has begun: it is refused for what came of it, or for how; `cut`: no more came. */
type Spoiling = { readonly kind: 'cut' } | Refusal;

interface Refusal {
  readonly kind: 'refusal';
  readonly code: ProblemCode;
  readonly verdict: Verdict;
  /** The limit that it ran into. */
  readonly limit?: RequestLimit;
}

type Verdict = Pick<AuditRecord, 'result' | 'reason' | 'detail'>;

/** An exchange with Node's two halves of it. */
interface Http1Exchange extends Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Nothing behind it is served: it ends the connection, or where it ends itself is not sure. */
  last: boolean;
  /** Set once it is refused: what goes wrong with it from then on is nobody's concern. */
  refused: boolean;
  /** Set once it is spoilt; `whenSpoilt` resolves then. */
  spoilt: Spoiling | undefined;
  readonly whenSpoilt: Promise<Spoiling>;
  readonly spoil: (spoiling: Spoiling) => void;
  /** From now on its client may take their time. */
  readonly stopPace: () => void;
}

export interface Http1 {
  /** Takes an admitted connection. */
  serve(socket: Socket): void;
  closeIdle(): void;
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
  const { limits } = options;
  const server = createServer({
    maxHeaderSize: limits.header_size,
    insecureHTTPParser: false,
    // We answer these ourselves, with a record.
    requireHostHeader: false,
    // Node refuses to start with a shorter time for the whole than for its beginning.
    headersTimeout: Math.min(limits.header_time, limits.request_time),
    requestTimeout: limits.request_time,
    keepAliveTimeout: limits.idle_time,
    connectionsCheckingInterval: 1_000,
    // An upgrade to anything but a WebSocket is not taken: h2c would carry requests past the policy.
    shouldUpgradeCallback: (request) => isWebSocket(request),
  });
  // Node's own limit of a thousand fields looks like one of size, and other versions drop what is beyond it; ours says what it is.
  server.maxHeadersCount = 0;
  server.on('request', (request, response) => take(request, response));
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => take(request, response));
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => take(request, response, 'an expectation other than 100-continue'));
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    refuseRaw(request.socket, socket, 'bad_request', 'CONNECT is not served', request);
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // What Node hands over is another stream when the request has a body that has not all come.
    const transport = request.socket;
    const before = [...unsent.get(transport) ?? []];
    if (before.some((response) => !response.writableEnded)) return refuseRaw(transport, socket, 'bad_request', 'an upgrade behind an unanswered request', request);
    const response = new ServerResponse(request);
    track(transport, response, Promise.all(before.map((one) => leaving(one, transport))).then(() => serveUpgrade(request, response, socket as Socket, head)));
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
    const transport = socket as Socket;
    // The parser refuses whatever comes after what it has refused.
    if (faulty.has(transport)) return;
    faulty.add(transport);
    const code = clientErrorCode(error);
    const detail = `${error.code ?? ''} ${error.message}`.trim();
    const exchange = newest.get(transport);
    if (exchange?.last === true && exchange.request.complete) return;
    if (exchange === undefined || exchange.request.complete) return refuseRaw(transport, socket, code, detail);
    // Within a request that has its record or will get one: no second one.
    exchange.spoil(error.code === 'HPE_INVALID_EOF_STATE' ? { kind: 'cut' } : {
      kind: 'refusal', code, verdict: { result: 'denied', reason: reasonOf(code), detail }, ...(code === 'request_timeout' ? { limit: 'request_time' } : {}),
    });
  });
  const running = new Set<Promise<void>>();
  /** The answers of a connection that are not whole yet, or have not left it yet. */
  const unsent = new WeakMap<Socket, Set<ServerResponse>>();
  /** The request of a connection that was begun last. */
  const newest = new WeakMap<Socket, Http1Exchange>();
  /** Resolves when the answer of a connection that was begun last has left it. */
  const answered = new WeakMap<Socket, Promise<void>>();
  /** Connections on which octets came that are no HTTP. */
  const faulty = new WeakSet<Socket>();

  /** Nothing that a request does may fail unseen: it would take the thread, and with it everybody's connections. */
  function track(socket: Socket, response: ServerResponse, work: Promise<void>): void {
    const open = unsent.get(socket) ?? new Set();
    unsent.set(socket, open.add(response));
    // Not when it is ended: the connection is its own until its last octet has left.
    response.once('close', () => open.delete(response));
    const done = work.catch(() => void socket.destroy()).then(() => {
      running.delete(done);
    });
    running.add(done);
    answered.set(socket, done.then(() => leaving(response, socket)));
  }

  /**
   * One after the other, however many a client sends without waiting: it would otherwise have upstreams asked for as many at
   * a time, and us keep all the answers that it does not take.
   */
  function take(request: IncomingMessage, response: ServerResponse, fault?: string): void {
    const { socket } = request;
    const ahead = unsent.get(socket)?.size ?? 0;
    if (ahead >= options.service().listener.limits.pipelined_requests) return refuseFlood(socket);
    track(socket, response, serve(request, response, ahead === 0 ? undefined : answered.get(socket), fault));
  }

  /** What is parsed already of a chunk that holds a thousand requests takes a thousand times its room. */
  function refuseFlood(socket: Socket): void {
    if (socket.destroyed) return;
    const client = options.clientOf(socket);
    options.cut('pipelined_requests');
    options.audit.append({
      time: new Date(options.now()).toISOString(), event: 'connection', result: 'denied', reason: 'connection_limit', detail: 'too many requests without waiting for an answer',
      ...(client === undefined ? {} : { listener: client.listener, address: client.address, tls: client.tls, resumed: client.resumed }),
    }).catch(() => undefined);
    socket.destroy();
  }

  /** Whether a fault in what a connection sends can be answered: its answer must not land in or before another request's. */
  function canAnswer(socket: Socket): boolean {
    // What is whole and has been handed to the connection goes first by itself.
    const open = [...unsent.get(socket) ?? []].filter((response) => !response.writableEnded || response.socket === null);
    return open.length === 0 || (open.length === 1 && open[0]?.headersSent === false && !open[0].req.complete);
  }

  // A server that never listens itself starts its header and request clocks at this event.
  server.emit('listening');

  async function serve(request: IncomingMessage, response: ServerResponse, turn: Promise<void> | undefined, fault?: string): Promise<void> {
    // The connection ends with the answer before: this one's would never arrive (RFC 9112 section 9.6).
    if (newest.get(request.socket)?.last === true) return;
    const exchange = open(request, response, fault);
    if (exchange === undefined) return void request.socket.destroy();
    try {
      if (turn !== undefined) await turn;
      if (request.socket.destroyed) return await gone(exchange, 'the client left before the answer', 499);
      const excess = fieldsBeyond(exchange);
      if (excess !== undefined) return await refuse(exchange, 'headers_too_large', excess);
      const decision = await decide(exchange, options.now);
      if (decision.kind === 'permit') await forward(exchange, decision);
      else await deny(exchange, decision);
    } catch (error) {
      // A fault of ours must end the one request, closed, and be on record.
      await fail(exchange, 'overloaded', 'overloaded', `internal error: ${(error as Error).stack ?? String(error)}`);
    }
  }

  function open(request: IncomingMessage, response: ServerResponse, expectation?: string): Http1Exchange | undefined {
    const client = options.clientOf(request.socket);
    if (client === undefined) return undefined;
    const fault = expectation ?? messageFault(request);
    const service = options.service();
    const { promise: whenSpoilt, resolve } = Promise.withResolvers<Spoiling>();
    const exchange: Http1Exchange = Object.assign(openExchange(askedOf(request, fault), client, service), {
      request, response, last: fault !== undefined || !response.shouldKeepAlive || offersUpgrade(request), refused: false, spoilt: undefined, whenSpoilt,
      spoil(spoiling: Spoiling) {
        if (exchange.spoilt !== undefined) return;
        exchange.spoilt = spoiling;
        if (spoiling.kind === 'refusal' && spoiling.limit !== undefined && !exchange.refused) options.cut(spoiling.limit);
        resolve(spoiling);
      },
      stopPace: options.pace.watch(request.socket, {
        // A body that the upstream does not take at the moment is not waited for.
        awaitsBody: () => !request.complete && request.readableFlowing === true && request.readableLength === 0,
        tooSlow(side) {
          const detail = side === 'request' ? 'the body came too slowly' : 'the client took the answer too slowly';
          exchange.spoil({ kind: 'refusal', code: 'request_timeout', verdict: { result: 'failed', reason: 'too_slow', detail }, limit: 'min_rate' });
          if (side === 'answer') request.socket.destroy();
        },
      }),
    });
    response.once('close', exchange.stopPace);
    if (isLastRequest(client.countRequest(), service.listener.limits)) {
      options.cut('requests_per_connection');
      exchange.last = true;
    }
    newest.set(request.socket, exchange);
    return exchange;
  }

  function fieldsBeyond({ request, service }: Http1Exchange): Verdict | undefined {
    const fields = request.rawHeaders.length / 2;
    if (fields <= service.listener.limits.header_fields) return undefined;
    options.cut('header_fields');
    return { result: 'denied', reason: 'headers_too_large', detail: `${fields} header fields` };
  }

  async function deny(exchange: Http1Exchange, denial: Denial): Promise<void> {
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
    exchange.last ||= unread || code === 'certificate_rejected' || options.draining();
    if (unread) return linger(exchange, code);
    sendProblem(response, code, exchange.id, exchange.service.hsts, exchange.last, exchange.answerFields);
  }

  /**
   * Answers a request whose body is still coming: the whole answer first, then reading on for a moment, then the end. Closing
   * at once would reset the connection under the answer.
   */
  function linger({ request, response, id, service, whenSpoilt, answerFields }: Http1Exchange, code: ProblemCode): void {
    const end = response.end.bind(response);
    const timer = setTimeout(() => void end(), LINGER_MS);
    response.end = ((body?: string) => {
      if (body !== undefined) response.write(body);
      return response;
    }) as typeof response.end;
    sendProblem(response, code, id, service.hsts, true, answerFields);
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

  async function forward(exchange: Http1Exchange, permit: Permit): Promise<void> {
    const { request, response, service } = exchange;
    const upstream = upstreamFor(permit, service, options.audit, Number(request.headers['content-length'] ?? 0));
    if ('kind' in upstream) return block(exchange, upstream);
    const raw = request.rawHeaders;
    // Only on the answer whose turn it is: written ahead of another's body it would be read as part of that.
    if (expectsContinue(request) && response.socket !== null) response.writeContinue();
    request.headers = upstreamHeaders(raw, {
      requestId: exchange.id, address: exchange.client.address, host: request.headers.host as string, permit, upstream: upstream.config, traceparent: exchange.span?.traceparent,
    });
    countBody(exchange, bodyLimit(permit, service));
    const asked = options.forwarder.forward({ permit, request, response, upstream, key: keyOf(exchange), trail: exchange });
    const answer = await Promise.race([asked, exchange.whenSpoilt]);
    switch (answer.kind) {
      case 'cut':
        abandonUpstream(exchange);
        request.socket.destroy();
        return gone(exchange, 'the client left within its request', 499);
      case 'refusal':
        abandonUpstream(exchange);
        return refuse(exchange, answer.code, answer.verdict);
      case 'failed':
        return fail(exchange, answer.code, answer.code, answer.detail);
      case 'client_left':
        abandonUpstream(exchange);
        return gone(exchange, 'the client left before the answer', 499);
      case 'answer':
        return relay(exchange, permit, answer.message);
    }
  }

  function abandonUpstream({ request }: Http1Exchange): void {
    request.unpipe();
    options.forwarder.cancel(request);
  }

  async function relay(exchange: Http1Exchange, permit: Permit, message: IncomingMessage): Promise<void> {
    const { response, service } = exchange;
    // The upstream may answer before it has read the body, which must be one all the same.
    void exchange.whenSpoilt.then(() => {
      abandonUpstream(exchange);
      response.destroy();
    });
    const status = message.statusCode as number;
    const head = clientHeaders(status, message.rawHeaders, { requestId: exchange.id, ...answerRules(service.hsts, permit.route.config) });
    head.push(...exchange.answerFields);
    // An upstream that answers before it has read the body leaves octets behind that must not be read as a request.
    exchange.last ||= options.draining() || !exchange.request.complete;
    if (exchange.last) head.push('connection', 'close');
    response.writeHead(status, head);
    const end = await relayAnswer(message, response, (bytes) => record(exchange, { result: 'permitted', status, bytes_out: bytes }), exchange.client.reset);
    if (end.kind === 'complete') {
      // The client's connection ends, so the rest of its body never comes: the upstream would wait for it.
      if (!exchange.request.complete) abandonUpstream(exchange);
      return observe(exchange, status);
    }
    if (end.kind === 'record_lost') return gone(exchange, 'the record could not be written', status, 'audit_unavailable');
    const cut = options.forwarder.cut(exchange.request);
    options.forwarder.cancel(exchange.request);
    if (cut !== undefined) return gone(exchange, cut.detail, status, cut.by === 'upstream' ? 'upstream_timeout' : undefined);
    if (end.kind === 'upstream_died') return gone(exchange, 'the upstream died within its answer', status, 'upstream_unavailable');
    return gone(exchange, 'the client left within the answer', status);
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
      const excess = fieldsBeyond(exchange);
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
    const headers = upstreamHeaders(request.rawHeaders, {
      requestId: exchange.id, address: exchange.client.address, host: request.headers.host as string, permit, upstream: upstream.config, traceparent: exchange.span?.traceparent,
    });
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
    if (exchange.facts !== undefined) exchange.client.becomeStream(exchange.facts);
    exchange.stopPace();
    response.detachSocket(socket);
    const end = await answer.join(socket, head, { requestId: exchange.id, ...answerRules(service.hsts, permit.route.config) });
    exchange.bytesIn = end.bytesIn;
    await record(exchange, { event: 'connection', result: end.fault === undefined ? 'done' : 'failed', ...(end.fault === undefined ? {} : { detail: end.fault }), bytes_out: end.bytesOut }).catch(() => undefined);
  }

  function record(exchange: Exchange, fields: Partial<AuditRecord> & Pick<AuditRecord, 'result'>): Promise<void> {
    return options.audit.append(exchangeRecord(exchange, fields, options.now()));
  }

  function observe(exchange: Exchange, status: number): void {
    options.observe(outcomeOf(exchange, status));
  }

  /** Answers on a connection on which no request could be read, and ends it. */
  function refuseRaw(transport: Socket, socket: Duplex, code: ProblemCode, detail: string, request?: IncomingMessage): void {
    const client = options.clientOf(transport);
    const id = newRequestId();
    if (code === 'headers_too_large') options.cut('header_size');
    if (code === 'request_timeout') options.cut('header_time');
    const { hsts } = options.service();
    const written = options.audit.append({
      time: new Date(options.now()).toISOString(), event: 'request', result: 'denied', reason: reasonOf(code), detail,
      request_id: id, status: problemStatus(code),
      ...(client === undefined ? {} : { listener: client.listener, address: client.address, tls: client.tls, resumed: client.resumed }),
      ...(request === undefined ? {} : { method: request.method as string }),
    });
    const answer = (): void => {
      if (!canAnswer(transport)) return void socket.destroy();
      options.observe({ route: 'none', role: 'none', status: problemStatus(code), seconds: 0 });
      if (socket.writable) socket.end(rawProblem(code, id, hsts));
      setTimeout(() => socket.destroy(), LINGER_MS).unref();
    };
    written.then(answer, answer);
  }

  return {
    serve(socket) {
      server.emit('connection', socket);
      // Node reads TLS sockets past their stream, and takes what was decrypted already when it told them to pause for a fault of
      // the client (HPE_PAUSED). A listener, once there was one, has it read the stream.
      socket.on('data', noop);
      socket.off('data', noop);
    },
    closeIdle: () => server.closeIdleConnections(),
    limit(changed) {
      (server as { maxHeaderSize?: number }).maxHeaderSize = changed.header_size;
      server.headersTimeout = Math.min(changed.header_time, changed.request_time);
      server.requestTimeout = changed.request_time;
      server.keepAliveTimeout = changed.idle_time;
    },
    async settled() {
      while (running.size > 0) await Promise.all(running);
    },
  };
}

/** Resolves once an answer that is whole has left its connection, or never will. */
function leaving(response: ServerResponse, socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (response.closed || socket.destroyed) return resolve();
    const done = (): void => {
      response.off('close', done);
      socket.off('close', done);
      resolve();
    };
    response.on('close', done);
    socket.on('close', done);
  });
}

const LINGER_MS = 2_000;
const LINGER_BYTES = 1 << 20;

function askedOf(request: IncomingMessage, fault: string | undefined): Asked {
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
function messageFault(request: IncomingMessage): string | undefined {
  if (request.httpVersion !== '1.1' && request.httpVersion !== '1.0') return `HTTP version ${request.httpVersion} on this connection`;
  if (request.httpVersion === '1.0' && request.headers['transfer-encoding'] !== undefined) return 'Transfer-Encoding in HTTP/1.0';
  // Node's parser reads RTSP, too.
  if (!KNOWN_METHODS.has(request.method as string)) return 'a method of another protocol';
  const fields = checkFields(request.rawHeaders);
  return fields.kind === 'malformed' ? fields.detail : undefined;
}

const KNOWN_METHODS = new Set(METHODS);

/** Whether Node's parser takes what follows for another protocol: it drops the octets behind an upgrade that is not taken. */
function offersUpgrade({ headers }: IncomingMessage): boolean {
  return headers.upgrade !== undefined && headers.connection !== undefined && /\bupgrade\b/i.test(headers.connection);
}

function preflightMethod(request: IncomingMessage): string | undefined {
  if (request.method !== 'OPTIONS' || request.headers.origin === undefined) return undefined;
  return request.headers['access-control-request-method'];
}

function expectsContinue(request: IncomingMessage): boolean {
  return request.headers.expect !== undefined;
}

function isWebSocket(request: IncomingMessage): boolean {
  return request.method === 'GET' && request.headers.upgrade?.toLowerCase() === 'websocket';
}

/** Counts a body as it passes, and spoils it when it grows over the limit. */
function countBody(exchange: Http1Exchange, limit: number): void {
  exchange.request.on('data', (chunk: Buffer) => {
    exchange.bytesIn += chunk.length;
    if (exchange.bytesIn <= limit) return;
    const { code, reason, detail, limit: ran } = bodyTooLarge(limit);
    exchange.spoil({ kind: 'refusal', code, verdict: { result: 'failed', reason, detail }, limit: ran });
  });
  // Not before someone reads: a listener for data would otherwise start the flow.
  exchange.request.pause();
}

/** What goes on record for a message that the parser has refused. */
function reasonOf(code: ProblemCode): Reason {
  return code === 'request_timeout' || code === 'headers_too_large' ? code : 'bad_request';
}

function clientErrorCode(error: NodeJS.ErrnoException): ProblemCode {
  if (error.code === 'HPE_HEADER_OVERFLOW') return 'headers_too_large';
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'request_timeout';
  return 'bad_request';
}

function noop(): void {
  // Its being there is what counts.
}
