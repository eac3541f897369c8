import type { ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { AuditRecord } from '../../audit/record.ts';
import type { AuditWriter } from '../../audit/writer.ts';
import type { Denial, Permit } from '../../policy/authorize.ts';
import type { Reason } from '../../policy/facts.ts';
import type { Client, Service } from '../client.ts';
import { decide, exchangeRecord, keyOf, openExchange, outcomeOf, type Exchange, type Outcome } from '../exchange.ts';
import { clientHeaders } from '../headers.ts';
import { latin1 } from '../octets.ts';
import { problemStatus, rawProblem, type ProblemCode } from '../problem.ts';
import { relayAnswer } from '../relay.ts';
import type { Failed, Turn, TurnResult, Upstream } from '../upstream/pool.ts';
import type { SocketFault, SocketUser, UpstreamSocket } from '../upstream/sockets.ts';
import { clientOctets, readAnswer, type KnownAnswer } from './answer.ts';
import { ChunkScanner } from './chunks.ts';
import type { CopyingWriter } from './copies.ts';
import { nodeResponse, replayAnswer, type Replay } from './node-answer.ts';
import { recordBeginning, recordRest, type RecordRest } from './record-line.ts';
import { isRepeatable, readKnownHead, type KnownHead } from './request.ts';
import { UPSTREAM_HEAD_REST, upstreamPrefix, writeUpstreamHead, type UpstreamPrefix } from './upstream-request.ts';

/** What every connection of a listener on one thread shares. */
export interface FastPathOptions {
  readonly service: () => Service;
  readonly audit: AuditWriter;
  readonly now: () => number;
  readonly observe: (outcome: Outcome) => void;
  readonly draining: () => boolean;
  readonly copies: CopyingWriter;
  /** Where requests for upstreams are put together. */
  readonly scratch: Buffer;
  /** Takes a connection for the general path, with what it has not read of it. */
  readonly handOver: (socket: TLSSocket, octets: Buffer, connection: FastConnection) => void;
  /** Told of each request that is taken (1) and of each that has its record and its end (-1). */
  readonly busy: (change: 1 | -1) => void;
  /** Milliseconds on the monotonic clock, as late as deadlines may be noticed. */
  readonly clock: { readonly now: number };
}

/**
 * `idle`: between requests. `deciding`: a responder is asked. `asking`: the upstream has the request or is getting it.
 * `answering`: the head of the answer is known. `recording`: the answer is whole but for what the client gets after the
 * record. `closing`: nothing is read any more. `gone`: closed, or another's.
 */
type State = 'idle' | 'deciding' | 'asking' | 'answering' | 'recording' | 'closing' | 'gone';

/** Octets of further requests that are kept while one is answered. */
const MOST_PENDING = 65_536;
const LINGER_MS = 2_000;
const LINGER_OCTETS = 1 << 20;
const NOTHING = Buffer.alloc(0);
const NO_TURNS: readonly Turn[] = [];
/** Room for a request head and a small body. */
export const SCRATCH_OCTETS = 65_536;

/**
 * One client connection on the fast path: requests of the common shape, one after the other, each decided, forwarded and
 * recorded. It frames messages itself, and gives the connection to the general path, octets untouched, at the first
 * request that it does not recognise to the letter.
 */
export class FastConnection implements SocketUser {
  /** Milliseconds on the coarse clock: when the state last changed, or octets moved. */
  #since: number;
  readonly #socket: TLSSocket;
  readonly #client: Client;
  readonly #options: FastPathOptions;
  #state: State = 'idle';
  #served = 0;
  #pending: Buffer = NOTHING;
  #head: KnownHead | undefined;
  #prefix: UpstreamPrefix | undefined;
  #lastAnswer: KnownAnswer | undefined;
  #rest: RecordRest | undefined;

  #exchange: Exchange | undefined;
  #permit: Permit | undefined;
  #upstream: Upstream | undefined;
  #turn: Turn | undefined;
  #upstreamSocket: UpstreamSocket | undefined;
  /** Octets of the request's body that have not come yet, and those that came and wait for the upstream's connection. */
  #bodyLeft = 0;
  #body: Buffer = NOTHING;
  #answer: KnownAnswer | undefined;
  /** Beginning of an answer head that is not whole. */
  #partial: Buffer = NOTHING;
  #answerLeft = 0;
  #bytesOut = 0;
  #chunks: ChunkScanner | undefined;
  /** Tries of the current request that came to nothing. */
  #failed: readonly Turn[] = NO_TURNS;
  /** Whether the client's connection ends after this answer. */
  #close = false;
  #replay: Replay | undefined;
  #response: (ServerResponse & { drained(): void }) | undefined;

  readonly #onData = (octets: Buffer): void => {
    try {
      this.#received(octets);
    } catch (error) {
      this.#fault(error);
    }
  };
  readonly #onDrain = (): void => this.#drainedClient();
  readonly #onClose = (): void => this.#guard(() => this.#clientLeft());

  constructor(socket: TLSSocket, client: Client, options: FastPathOptions) {
    this.#socket = socket;
    this.#client = client;
    this.#options = options;
    this.#since = options.clock.now;
    socket.on('data', this.#onData);
    socket.on('drain', this.#onDrain);
    socket.on('close', this.#onClose);
    socket.resume();
  }

  get idle(): boolean {
    return this.#state === 'idle';
  }

  /** Closes the connection unless a request is under way on it. */
  closeIdle(): void {
    if (this.#state === 'idle') this.#socket.destroy();
  }

  /** Ends what takes too long; `now` in ms, monotonic. */
  checkDeadlines(now: number): void {
    const { limits } = this.#options.service().listener;
    const waited = now - this.#since;
    switch (this.#state) {
      case 'idle':
        if (waited > (this.#served === 0 ? limits.header_time : limits.idle_time)) this.#socket.destroy();
        return;
      case 'asking':
        // While the body is still coming, it is the client who is waited for, unless the upstream does not take it.
        if (this.#bodyLeft > 0 && !this.#socket.isPaused()) {
          if (now - (this.#exchange as Exchange).started > limits.request_time) this.#fail('request_timeout', 'bad_request', 'the body did not arrive in time');
        } else if (waited > (this.#upstream as Upstream).config.timeouts.response) this.#upstreamFailed('upstream_timeout', 'no answer in time');
        return;
      case 'answering':
        if (waited > (this.#upstream as Upstream).config.timeouts.idle) this.#upstreamFailed('upstream_timeout', 'the answer stood still for too long');
        return;
      default:
    }
  }

  /** Nothing that a connection does may fail unseen: it would take the thread, and with it everybody's connections. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fault(error);
    }
  }

  #fault(error: unknown): void {
    const detail = `internal error: ${error instanceof Error ? error.stack ?? error.message : String(error)}`;
    if (this.#exchange !== undefined) this.#gone(detail, problemStatus('overloaded'), 'overloaded');
    this.#socket.destroy();
  }

  #received(octets: Buffer): void {
    if (this.#bodyLeft > 0 && (this.#state === 'asking' || this.#state === 'answering' || this.#state === 'deciding')) {
      const body = octets.length <= this.#bodyLeft ? octets : octets.subarray(0, this.#bodyLeft);
      this.#bodyReceived(body);
      if (body.length === octets.length) return;
      octets = octets.subarray(body.length);
    }
    if (this.#state === 'idle') return this.#take(octets);
    if (this.#state === 'closing' || this.#state === 'gone') return;
    this.#pending = this.#pending.length === 0 ? octets : Buffer.concat([this.#pending, octets]);
    if (this.#pending.length > MOST_PENDING) this.#socket.pause();
  }

  /** Begins with what may be a request. */
  #take(octets: Buffer): void {
    const { limits } = this.#options.service().listener;
    const end = octets.indexOf('\r\n\r\n') + 4;
    if (end < 4 || end > limits.header_size) return this.#handOver(octets);
    const text = latin1(octets, 0, end);
    const head = this.#head?.text === text ? this.#head : readKnownHead(text);
    if (head === undefined) return this.#handOver(octets);
    this.#head = head;
    const service = this.#options.service();
    const exchange = openExchange(head.asked, this.#client, service);
    const decision = decide(exchange, this.#options.now);
    if (!(decision instanceof Promise) && decision.kind === 'permit' && !speaksHttp1(service, decision)) return this.#handOver(octets);
    this.#begin(exchange, head, end === octets.length ? NOTHING : octets.subarray(end));
    if (decision instanceof Promise) this.#wait(decision);
    else this.#decided(decision);
  }

  #begin(exchange: Exchange, head: KnownHead, rest: Buffer): void {
    this.#exchange = exchange;
    this.#state = 'deciding';
    this.#served++;
    this.#since = this.#options.clock.now;
    this.#close = head.close || this.#options.draining();
    this.#failed = NO_TURNS;
    this.#bytesOut = 0;
    this.#bodyLeft = head.bodyLength;
    this.#options.busy(1);
    if (rest.length === 0) return;
    const body = rest.length <= head.bodyLength ? rest : rest.subarray(0, head.bodyLength);
    this.#bodyLeft -= body.length;
    exchange.bytesIn = body.length;
    this.#body = body;
    this.#pending = rest.subarray(body.length);
  }

  #wait(decision: Promise<Permit | Denial>): void {
    const exchange = this.#exchange;
    decision.then((taken) => {
      if (this.#exchange !== exchange || this.#state !== 'deciding') return;
      this.#guard(() => (taken.kind === 'permit' && !speaksHttp1((exchange as Exchange).service, taken) ? this.#giveBack() : this.#decided(taken)));
    }, (error: unknown) => {
      if (this.#exchange === exchange) this.#fault(error);
    });
  }

  /** Hands a request over after all, with everything that has been read of it. */
  #giveBack(): void {
    const octets = Buffer.concat([Buffer.from((this.#head as KnownHead).text, 'latin1'), this.#body, this.#pending]);
    this.#done();
    this.#handOver(octets);
  }

  #decided(decision: Permit | Denial): void {
    const { service } = this.#exchange as Exchange;
    if (decision.kind === 'denial') return this.#refuse(decision.code, { result: 'denied', reason: decision.reason, detail: decision.detail }, decision.code === 'certificate_rejected');
    const upstream = service.upstreams.get(decision.route.config.upstream);
    if (upstream === undefined) return this.#fail('upstream_unavailable', 'upstream_unavailable', 'no such upstream');
    if (this.#options.audit.failure() !== undefined) return this.#fail('overloaded', 'audit_unavailable', 'the audit directory cannot be written');
    const limit = decision.route.config.limits.body ?? service.listener.limits.body ?? Infinity;
    if ((this.#head as KnownHead).bodyLength > limit) return this.#fail('body_too_large', 'body_too_large', `the body is larger than ${limit}`);
    this.#permit = decision;
    this.#upstream = upstream;
    this.#state = 'asking';
    this.#ask();
  }

  /** Sends the request on a pooled connection, or on a new one. */
  #ask(): void {
    const turn = (this.#upstream as Upstream).choose(keyOf(this.#exchange as Exchange));
    if (turn.kind === 'failed') return this.#fail(turn.code, turn.code, turn.detail);
    this.#askAt(turn);
  }

  #askAt(turn: Turn): void {
    this.#turn = turn;
    (this.#exchange as Exchange).endpoint = turn.endpoint.name;
    const connection = this.#failed.length > 0 ? turn.endpoint.sockets.fresh(this) : turn.endpoint.sockets.take(this);
    this.#upstreamSocket = connection;
    if (connection.open) this.opened(connection);
  }

  opened(connection: UpstreamSocket): void {
    const exchange = this.#exchange as Exchange;
    this.#prefix = upstreamPrefix(this.#prefix, this.#head as KnownHead, exchange, this.#permit as Permit, this.#upstream as Upstream);
    const most = this.#prefix.octets.length + UPSTREAM_HEAD_REST + this.#body.length;
    // Encrypted during the call, when nothing waits before it: then the next request may be put together in the same place.
    const into = most <= SCRATCH_OCTETS && connection.socket.writableLength === 0 ? this.#options.scratch : Buffer.allocUnsafe(most);
    const end = writeUpstreamHead(into, this.#prefix, exchange.id);
    into.set(this.#body, end);
    connection.socket.write(into.subarray(0, end + this.#body.length));
    this.#body = NOTHING;
    if (this.#bodyLeft > 0) this.#socket.resume();
  }

  #bodyReceived(octets: Buffer): void {
    this.#bodyLeft -= octets.length;
    (this.#exchange as Exchange).bytesIn += octets.length;
    this.#since = this.#options.clock.now;
    if (this.#upstreamSocket?.open !== true) {
      // Not open yet, or not decided: what has come waits, and the rest with the client.
      this.#body = Buffer.concat([this.#body, octets]);
      this.#socket.pause();
    } else if (!this.#upstreamSocket.socket.write(octets) && this.#bodyLeft > 0) this.#socket.pause();
  }

  drained(): void {
    if (this.#bodyLeft > 0) this.#socket.resume();
  }

  #drainedClient(): void {
    this.#since = this.#options.clock.now;
    this.#response?.drained();
    if (this.#state === 'answering') this.#upstreamSocket?.resume();
  }

  read(octets: Buffer): boolean {
    this.#since = this.#options.clock.now;
    try {
      if (this.#replay !== undefined) return this.#replay.push(octets);
      return this.#state === 'asking' ? this.#readHead(octets) : this.#readBody(octets);
    } catch (error) {
      this.#fault(error);
      return true;
    }
  }

  #readHead(octets: Buffer): boolean {
    const exchange = this.#exchange as Exchange;
    const all = this.#partial.length === 0 ? octets : Buffer.concat([this.#partial, octets]);
    const { service, asked } = exchange;
    const answer = readAnswer(all, this.#lastAnswer, { hsts: service.hsts, phi: (this.#permit as Permit).route.config.phi }, asked.method === 'HEAD');
    if (answer === 'unusual') return this.#replayThrough(all);
    if (answer === 'more') {
      this.#partial = all === octets ? Buffer.from(octets) : all;
      return true;
    }
    this.#partial = NOTHING;
    this.#lastAnswer = answer;
    this.#answer = answer;
    this.#state = 'answering';
    this.#turn?.answering();
    // An upstream that answers before it has read the body leaves octets behind that must not be read as a request.
    this.#close ||= this.#bodyLeft > 0;
    const { body } = answer.head;
    this.#answerLeft = body.kind === 'length' ? body.octets : 0;
    this.#chunks = body.kind === 'chunked' ? new ChunkScanner() : undefined;
    return this.#readBody(all.subarray(answer.head.length), true);
  }

  /** Passes octets of a body on, the `first` of them after the head; holds back what completes the answer. */
  #readBody(octets: Buffer, first = false): boolean {
    if (this.#chunks !== undefined) return this.#readChunks(this.#chunks, octets, first);
    const own = octets.length <= this.#answerLeft ? octets : octets.subarray(0, this.#answerLeft);
    this.#answerLeft -= own.length;
    this.#bytesOut += own.length;
    if (this.#answerLeft > 0) return this.#send(own, first);
    this.#answered(first ? this.#withHead(own) : Buffer.from(own), octets.length > own.length);
    return true;
  }

  #readChunks(chunks: ChunkScanner, octets: Buffer, first: boolean): boolean {
    const ranges: Buffer[] = [];
    let length = 0;
    const end = chunks.scan(octets, 0, octets.length, (from, to) => {
      ranges.push(octets.subarray(from, to));
      length += to - from;
    });
    if (chunks.invalid) {
      this.#upstreamFailed('upstream_unavailable', 'the answer is not chunked as it says');
      return true;
    }
    this.#bytesOut += length;
    const data = length === 0 ? NOTHING : Buffer.concat([Buffer.from(`${length.toString(16)}\r\n`), ...ranges, CRLF]);
    if (!chunks.ended) return !first && length === 0 ? true : this.#send(data, first);
    const whole = Buffer.concat([data, Buffer.from(`0\r\n${clientTrailer(chunks.trailer)}\r\n`, 'latin1')]);
    this.#answered(first ? this.#withHead(whole) : whole, end < octets.length);
    return true;
  }

  #withHead(octets: Buffer): Buffer {
    return clientOctets(this.#answer as KnownAnswer, (this.#exchange as Exchange).id, this.#close, octets);
  }

  /** Writes to the client; false when the upstream should wait. */
  #send(octets: Buffer, first: boolean): boolean {
    if (first) return this.#socket.write(this.#withHead(octets));
    return this.#options.copies.write(this.#socket, octets);
  }

  /** The answer is whole: the record first, then the octets that make it whole for the client. */
  #answered(held: Buffer, extra: boolean): void {
    const { head } = this.#answer as KnownAnswer;
    const exchange = this.#exchange as Exchange;
    this.#state = 'recording';
    this.#endTurn('answered', !extra && !head.close && this.#bodyLeft === 0);
    const { status } = head;
    this.#rest = recordRest(this.#rest, exchange, this.#permit as Permit);
    const ended = performance.now();
    this.#options.audit.write(recordBeginning(exchange, status, this.#bytesOut, this.#options.now(), ended), this.#rest.octets, (error) => this.#complete(exchange, status, ended, held, error));
  }

  #complete(exchange: Exchange, status: number, ended: number, held: Buffer, error: Error | undefined): void {
    try {
      if (error !== undefined) return this.#gone('the record could not be written', status, 'audit_unavailable');
      this.#options.observe(outcomeOf(exchange, status, ended));
      if (this.#state !== 'recording') return this.#done();
      this.#socket.write(held);
      this.#finish();
    } catch (fault) {
      this.#fault(fault);
    }
  }

  /** Gives the upstream's connection back, or ends it. */
  #endTurn(result: TurnResult, reusable = false): void {
    const connection = this.#upstreamSocket;
    const turn = this.#turn;
    this.#upstreamSocket = undefined;
    this.#turn = undefined;
    if (connection !== undefined && reusable && turn !== undefined) turn.endpoint.sockets.put(connection);
    else connection?.destroy();
    turn?.done(result);
  }

  /** The answer has left: the next request, or the end. */
  #finish(): void {
    this.#done();
    this.#permit = undefined;
    this.#upstream = undefined;
    this.#answer = undefined;
    this.#chunks = undefined;
    this.#replay = undefined;
    this.#response = undefined;
    this.#partial = NOTHING;
    if (this.#close) return this.#end();
    this.#state = 'idle';
    this.#since = this.#options.clock.now;
    const next = this.#pending;
    this.#pending = NOTHING;
    this.#socket.resume();
    if (next.length > 0) this.#take(next);
  }

  /** Ends the connection after its last answer. A client that is still sending gets a moment: closing under it would reset the answer. */
  #end(): void {
    this.#state = 'closing';
    if (this.#bodyLeft === 0) return void this.#socket.end();
    const socket = this.#socket;
    let left = LINGER_OCTETS;
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.on('data', (octets: Buffer) => {
      left -= octets.length;
      if (left < 0) socket.destroy();
    });
    socket.on('close', () => clearTimeout(timer));
    socket.resume();
  }

  lost(fault: SocketFault): void {
    this.#guard(() => {
      // A pooled connection that was closed before anything came back: the upstream has most likely not seen the request.
      const stale = this.#upstreamSocket?.reused === true && this.#partial.length === 0;
      this.#upstreamSocket = undefined;
      if (this.#replay !== undefined) return this.#replay.end(fault.ended);
      if (this.#state !== 'asking') return this.#upstreamFailed(fault.code, fault.detail);
      if (!this.#again(stale ? 'stale' : fault.result, fault)) this.#fail(fault.code, fault.code, fault.detail);
    });
  }

  /** Asks again, elsewhere if possible, after a try of which nothing has reached the client; false when that is not allowed. */
  #again(result: TurnResult, { opened, detail }: SocketFault): boolean {
    const turn = this.#turn as Turn;
    const exchange = this.#exchange as Exchange;
    this.#endTurn(result);
    if (opened && !isRepeatable(this.#head as KnownHead)) return false;
    const failed = [...this.#failed, turn];
    const next = (this.#upstream as Upstream).again(keyOf(exchange), failed);
    if (next === undefined) return false;
    this.#failed = failed;
    this.#partial = NOTHING;
    exchange.attempts = [...exchange.attempts, `${turn.endpoint.name}: ${detail}`];
    this.#askAt(next);
    return true;
  }

  #upstreamFailed(code: Failed['code'], detail: string): void {
    this.#endTurn(code === 'upstream_timeout' ? 'timeout' : 'failed');
    if (this.#state === 'asking') return this.#fail(code, code, detail);
    // Never a clean end: a cut answer must not look like a whole one.
    this.#gone('the upstream died within its answer', this.#answer?.head.status ?? problemStatus(code), 'upstream_unavailable');
    this.#socket.destroy();
  }

  #fail(code: ProblemCode, reason: Reason, detail: string): void {
    this.#refuse(code, { result: 'failed', reason, detail }, false);
  }

  /** Answers with a problem after its record; when even the record fails, the answer still tells nothing and grants nothing. */
  #refuse(code: ProblemCode, verdict: Pick<AuditRecord, 'result' | 'reason' | 'detail'>, close: boolean): void {
    const exchange = this.#exchange as Exchange;
    this.#state = 'recording';
    this.#endTurn('abandoned');
    const status = problemStatus(code);
    this.#record({ ...verdict, status }, () => {
      this.#options.observe(outcomeOf(exchange, status));
      if (this.#state !== 'recording') return this.#done();
      this.#close ||= close || this.#bodyLeft > 0 || this.#options.draining();
      this.#socket.write(rawProblem(code, exchange.id, exchange.service.hsts, { close: this.#close, body: exchange.asked.method !== 'HEAD' }));
      this.#finish();
    });
  }

  /** The exchange is over, whatever came of it. */
  #done(): void {
    if (this.#exchange === undefined) return;
    this.#exchange = undefined;
    this.#options.busy(-1);
  }

  #record(fields: Partial<AuditRecord> & Pick<AuditRecord, 'result'>, done: (error?: Error) => void): void {
    const record = exchangeRecord(this.#exchange as Exchange, fields, this.#options.now());
    this.#options.audit.write(JSON.stringify(record), undefined, (error) => this.#guard(() => done(error)));
  }

  /** Records a request that got no whole answer. */
  #gone(detail: string, status: number, reason?: Reason): void {
    const exchange = this.#exchange as Exchange;
    this.#state = 'gone';
    this.#endTurn('abandoned');
    this.#record({ result: 'failed', status, detail, ...(reason === undefined ? {} : { reason }) }, () => {
      this.#options.observe(outcomeOf(exchange, status));
      this.#done();
    });
    this.#socket.destroy();
  }

  #clientLeft(): void {
    if (this.#state === 'asking' || this.#state === 'deciding') this.#gone('the client left before the answer', 499);
    else if (this.#state === 'answering') this.#gone('the client left within the answer', this.#answer?.head.status ?? 499);
    else if (this.#response !== undefined) this.#done();
    this.#state = 'gone';
  }

  /** An answer that the fast path does not read goes through Node's parser; the connection comes back after it. */
  #replayThrough(octets: Buffer): boolean {
    const exchange = this.#exchange as Exchange;
    const permit = this.#permit as Permit;
    const replay = replayAnswer(exchange.asked.method, () => this.#upstreamSocket?.resume());
    this.#replay = replay;
    this.#partial = NOTHING;
    void replay.answer.then(async (answer) => {
      if (this.#exchange !== exchange || this.#state !== 'asking') return;
      if (answer.kind !== 'answer') {
        this.#replay = undefined;
        return this.#fail('upstream_unavailable', 'upstream_unavailable', answer.kind === 'failed' ? answer.detail : '');
      }
      const { message } = answer;
      const status = message.statusCode as number;
      const response = nodeResponse(exchange.asked.method, this.#socket);
      const head = clientHeaders(message.rawHeaders, { requestId: exchange.id, hsts: exchange.service.hsts, phi: permit.route.config.phi });
      this.#state = 'answering';
      this.#response = response;
      this.#close ||= this.#bodyLeft > 0;
      if (this.#close) head.push('connection', 'close');
      response.writeHead(status, head);
      const end = await relayAnswer(message, response, (bytes) => {
        this.#bytesOut = bytes;
        return this.#options.audit.append(exchangeRecord(exchange, { result: 'permitted', status, bytes_out: bytes }, this.#options.now()));
      });
      this.#replayed(end.kind, status);
    }).catch((error: unknown) => this.#fault(error));
    return replay.push(octets);
  }

  #replayed(end: 'complete' | 'upstream_died' | 'client_left' | 'record_lost', status: number): void {
    if (this.#exchange === undefined || this.#state !== 'answering') return;
    const exchange = this.#exchange;
    if (end === 'record_lost') return this.#gone('the record could not be written', status, 'audit_unavailable');
    if (end === 'upstream_died') return this.#gone('the upstream died within its answer', status, 'upstream_unavailable');
    if (end === 'client_left') return this.#gone('the client left within the answer', status);
    this.#endTurn('answered');
    this.#options.observe(outcomeOf(exchange, status));
    this.#state = 'recording';
    const response = this.#response as ServerResponse;
    const left = (): void => {
      if (this.#exchange !== exchange) return;
      response.detachSocket(this.#socket);
      this.#guard(() => this.#finish());
    };
    if (response.writableFinished) left();
    else response.once('finish', left);
  }

  #handOver(octets: Buffer): void {
    this.#state = 'gone';
    const socket = this.#socket;
    socket.off('data', this.#onData);
    socket.off('drain', this.#onDrain);
    socket.off('close', this.#onClose);
    socket.pause();
    this.#options.handOver(socket, octets, this);
  }
}

const CRLF = Buffer.from('\r\n');

/** The trailer section for the client: fields that frame or route a message have no business there (RFC 9110 section 6.5.1). */
function clientTrailer(text: string): string {
  const fields: string[] = [];
  for (const line of text.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.push(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  const out = clientHeaders(fields, { requestId: '', hsts: undefined, phi: false });
  let trailer = '';
  for (let index = 0; index < out.length; index += 2) if (out[index] !== 'x-request-id') trailer += `${out[index]}: ${out[index + 1]}\r\n`;
  return trailer;
}

/** Whether the upstream of a permitted request is one that the fast path speaks with. */
function speaksHttp1(service: Service, permit: Permit): boolean {
  return service.upstreams.get(permit.route.config.upstream)?.config.protocol !== 'h2';
}
