import type { TLSSocket } from 'node:tls';
import type { AuditRecord } from '../../audit/record.ts';
import type { Denial, Permit, Query } from '../../policy/decision.ts';
import type { Reason } from '../../policy/facts.ts';
import { isFiltered } from '../answer-filter.ts';
import type { Client, Service } from '../client.ts';
import { consider, endsConnection, exchangeRecord, leave, openExchange, outcomeOf, type Exchange } from '../exchange.ts';
import type { Answer } from '../general.ts';
import { answerRules, clientHeaders } from '../headers.ts';
import { FIRST_REQUEST_MS, type HttpOptions } from '../http-options.ts';
import { objectionTo, type EndCause, type Objection } from '../judgement.ts';
import { isLastRequest } from '../limits.ts';
import { mayGoUnrecorded, recordOf, upstreamFor } from '../obstacle.ts';
import type { PaceSide } from '../pace.ts';
import { exchangeProblem, problemStatus, type ProblemCode } from '../problem.ts';
import type { Failed } from '../upstream/pool.ts';
import type { OutgoingMemory } from './memory.ts';
import { relayThroughNode, replayAnswer, type NodeRelay } from './node-answer.ts';
import { recordBeginning, recordRest, type RecordRest } from './record-line.ts';
import { readKnownHead, type KnownHead } from './request.ts';
import { UpstreamExchange, type AnswerTaker, type Cut, type Remembered } from './upstream-exchange.ts';

/** What every connection of a listener on one thread shares. */
export interface FastPathOptions extends HttpOptions {
  readonly memory: OutgoingMemory;
  /** Takes a connection for the general path, with what it has not read of it. */
  readonly handOver: (socket: TLSSocket, octets: Buffer) => void;
  /** Told of each request that is taken (1) and of each that has its record and its end (-1). */
  readonly busy: (change: 1 | -1) => void;
  /** Milliseconds on the monotonic clock, as late as deadlines may be noticed. */
  readonly clock: { readonly now: number };
}

/**
 * `idle`: between requests. `deciding`: a responder is asked. `forwarding`: the upstream has the request or is getting it,
 * and its answer is passed on. `recording`: nothing is left but the record, and what the client gets after it. `full`: the client
 * has not taken its answers yet. `closing`: nothing is read any more. `gone`: closed, or another's.
 */
type State = 'idle' | 'deciding' | 'forwarding' | 'recording' | 'full' | 'closing' | 'gone';

/** Octets of further requests that are kept while one is answered. */
const MOST_PENDING = 65_536;
const LINGER_MS = 2_000;
const LINGER_OCTETS = 1 << 20;
const NOTHING = Buffer.alloc(0);

/**
 * One client connection on the fast path: requests of the common shape, one after the other, each decided, forwarded and
 * recorded. It frames messages itself, and gives the connection to the general path, octets untouched, at the first
 * request that it does not recognise to the letter.
 */
export class FastConnection implements AnswerTaker {
  readonly #socket: TLSSocket;
  readonly #client: Client;
  readonly #options: FastPathOptions;
  readonly memory: OutgoingMemory;
  readonly #remembered: Remembered = { head: undefined, answer: undefined };
  #head: KnownHead | undefined;
  #rest: RecordRest | undefined;
  #state: State = 'idle';
  /** Milliseconds on the coarse clock: when the state last changed, or octets moved. */
  #since: number;
  #served = 0;
  /** Octets behind the request that is under way. */
  #pending: Buffer = NOTHING;

  #exchange: Exchange | undefined;
  #permit: Permit | undefined;
  #upstream: UpstreamExchange | undefined;
  /** Octets of the request's body that have not come yet. */
  #bodyLeft = 0;
  /** What came of it before the decision. */
  #body: Buffer = NOTHING;
  /** The request's record has been handed to its writer: whatever goes wrong from then on, there is no second one. */
  #recorded = false;
  /** Whether the connection ends after this answer. */
  #close = false;
  #relay: NodeRelay | undefined;
  /** What makes an answer whole for the client, while its record is written; its status, and when it was whole. */
  #held: Buffer = NOTHING;
  #status = 0;
  #ended = 0;
  /** Set while the client's pace is watched: nothing is spent on that as long as everything is there at once. */
  #stopPace: (() => void) | undefined;

  readonly #onData = (octets: Buffer): void => {
    try {
      this.#received(octets);
    } catch (error) {
      this.fault(error);
    }
  };
  readonly #onRecorded = (error?: Error): void => this.#complete(error);
  readonly #onDrain = (): void => this.#drained();
  readonly #onClose = (): void => this.#guard(() => this.#clientLeft());

  constructor(socket: TLSSocket, client: Client, options: FastPathOptions) {
    this.#socket = socket;
    this.#client = client;
    this.#options = options;
    this.memory = options.memory;
    this.#since = options.clock.now;
    socket.on('data', this.#onData);
    socket.on('drain', this.#onDrain);
    socket.on('close', this.#onClose);
    socket.resume();
  }

  /** Closes the connection unless a request is under way on it, or its first may be on its way: `now` in ms, monotonic. */
  closeIdle(now: number): void {
    if (this.#state === 'idle' && (this.#served > 0 || now - this.#since > FIRST_REQUEST_MS)) this.#socket.destroy();
  }

  /** Ends the request under way where it would not be let in any more: with a problem, or within its answer. One whose answer is whole goes on. */
  judge(objection: Objection): void {
    if (this.#state !== 'forwarding') return;
    const denial = objectionTo(this.#exchange as Exchange, objection, this.#options);
    if (denial === undefined) return;
    const { code, reason, detail } = denial;
    if (this.#begun) this.#gone(detail, this.#statusBegun, reason);
    else this.#refuse(code, { result: 'denied', reason, detail }, endsConnection(this.#exchange as Exchange, code));
  }

  /** Puts the request under way on record with why its connection is being ended. */
  ending({ reason, detail }: EndCause): void {
    if (this.#state === 'forwarding' || this.#state === 'deciding') this.#gone(detail, this.#begun ? this.#statusBegun : 499, reason);
  }

  /** Whether any of an answer may have reached the client. */
  get #begun(): boolean {
    return this.#relay !== undefined || this.#upstream?.begun === true;
  }

  get #statusBegun(): number {
    return this.#relay?.status ?? this.#remembered.answer?.head.status ?? 499;
  }

  /** Ends what takes too long; `now` in ms, monotonic. */
  checkDeadlines(now: number): void {
    const waited = now - this.#since;
    if (this.#state === 'closing') {
      // Its last answer has left, and it neither takes that nor closes.
      if (waited > this.#options.service().listener.limits.idle_time) this.#socket.destroy();
    } else if (this.#state === 'idle') {
      const { header_time, idle_time } = this.#options.service().listener.limits;
      if (waited > (this.#served === 0 ? header_time : idle_time)) this.#socket.destroy();
    } else if (this.#state === 'forwarding' && this.#upstream !== undefined && this.#exchange !== undefined) {
      // While the body is still coming, it is the client who is waited for, unless the upstream does not take it.
      const sending = this.#bodyLeft > 0 && !this.#upstream.begun && !this.#socket.isPaused();
      if (!sending && waited > this.#upstream.deadline) this.#upstream.timedOut(this.#socket.writableLength === 0);
      else if (sending && now - this.#exchange.started > this.#exchange.service.listener.limits.request_time) {
        this.#options.cut('request_time');
        this.#fail('request_timeout', 'request_timeout', 'the body did not arrive in time');
      }
    }
  }

  #watchPace(): void {
    this.#stopPace ??= this.#options.pace.watch(this.#socket, {
      awaitsBody: () => this.#bodyLeft > 0 && !this.#socket.isPaused(),
      tooSlow: (side) => this.#guard(() => this.#tooSlow(side)),
    });
  }

  #takeTime(): void {
    this.#stopPace?.();
    this.#stopPace = undefined;
  }

  #tooSlow(side: PaceSide): void {
    this.#options.cut('min_rate');
    const detail = side === 'request' ? 'the body came too slowly' : 'the client took the answer too slowly';
    if (this.#state !== 'forwarding') return void this.#socket.destroy();
    if (this.#upstream?.begun !== true) return this.#fail('request_timeout', 'too_slow', detail);
    this.#gone(detail, this.#statusBegun, 'too_slow');
  }

  #received(octets: Buffer): void {
    if (this.#bodyLeft > 0 && (this.#state === 'forwarding' || this.#state === 'deciding')) {
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
    const service = this.#options.service();
    const head = readKnownHead(octets, this.#head, service.listener.limits.header_size);
    if (head === undefined || head.fields.length / 2 > service.listener.limits.header_fields) return this.#handOver(octets);
    this.#head = head;
    const exchange = openExchange(head.asked, this.#client, service);
    this.#begin(exchange, head, octets.length === head.octets.length ? NOTHING : octets.subarray(head.octets.length));
    const decision = consider(exchange, this.#options.now);
    if (!(decision instanceof Promise)) return this.#decided(decision);
    decision.then((taken) => {
      if (this.#exchange === exchange && this.#state === 'deciding') this.#guard(() => this.#decided(taken));
    }, (error: unknown) => {
      if (this.#exchange === exchange) this.fault(error);
    });
  }

  #begin(exchange: Exchange, head: KnownHead, rest: Buffer): void {
    this.#options.busy(1);
    this.#exchange = exchange;
    this.#state = 'deciding';
    this.#recorded = false;
    this.#since = this.#options.clock.now;
    this.#served++;
    this.#close = head.close;
    this.#bodyLeft = head.bodyLength;
    if (rest.length > 0) {
      const body = rest.length <= head.bodyLength ? rest : rest.subarray(0, head.bodyLength);
      this.#bodyLeft -= body.length;
      exchange.bytesIn = body.length;
      this.#body = body;
      this.#pending = rest.subarray(body.length);
    }
    if (this.#bodyLeft > 0) this.#watchPace();
  }

  #bodyReceived(octets: Buffer): void {
    this.#since = this.#options.clock.now;
    this.#bodyLeft -= octets.length;
    (this.#exchange as Exchange).bytesIn += octets.length;
    if (this.#upstream === undefined) this.#body = Buffer.concat([this.#body, octets]);
    // Not decided, or more than the upstream takes: the rest waits with the client.
    if (this.#upstream?.sendBody(octets) !== true && this.#bodyLeft > 0) this.#socket.pause();
  }

  #decided(decision: Permit | Denial | Query): void {
    // The gateway as a whole must be asked, or more is done than passing octets on: that is for the general path. Nothing has been counted yet.
    if (decision.kind === 'query' || (decision.kind === 'permit' && decision.route.general)) return this.#giveBack();
    const { service } = this.#exchange as Exchange;
    const head = this.#head as KnownHead;
    if (decision.kind === 'denial') {
      this.#countRequest(service);
      return this.#refuse(decision.code, { result: 'denied', reason: decision.reason, detail: decision.detail }, endsConnection(this.#exchange as Exchange, decision.code));
    }
    const upstream = upstreamFor(decision, service, this.#options.audit, head.bodyLength);
    // Upstreams that speak HTTP/2, and answers that are read on their way, are for the general path.
    if (isFiltered(decision) || (!('kind' in upstream) && upstream.config.protocol === 'h2')) return this.#giveBack();
    this.#countRequest(service);
    if ('kind' in upstream) {
      if (upstream.limit !== undefined) this.#options.cut(upstream.limit);
      return this.#fail(upstream.code, upstream.reason, upstream.detail);
    }
    this.#permit = decision;
    this.#state = 'forwarding';
    this.#upstream = new UpstreamExchange(this.#exchange as Exchange, decision, head, upstream, this, this.#remembered);
    const body = this.#body;
    this.#body = NOTHING;
    this.#upstream.ask(body);
  }

  #countRequest({ listener }: Service): void {
    if (!isLastRequest(this.#client.countRequest(), listener.limits)) return;
    this.#options.cut('requests_per_connection');
    this.#close = true;
  }

  alive(): void {
    this.#since = this.#options.clock.now;
  }

  closing(): boolean {
    // An upstream that answers before it has the body leaves octets behind that must not be read as a request.
    this.#close ||= this.#bodyLeft > 0 || this.#options.draining();
    return this.#close;
  }

  send(octets: Buffer): boolean {
    return this.memory.write(this.#socket, octets) || this.#waitForClient();
  }

  copy(octets: Buffer): boolean {
    return this.memory.writeCopy(this.#socket, octets) || this.#waitForClient();
  }

  #waitForClient(): false {
    this.#watchPace();
    return false;
  }

  wantsBody(): void {
    if (this.#bodyLeft > 0) this.#socket.resume();
  }

  #drained(): void {
    this.#since = this.#options.clock.now;
    this.#relay?.drained();
    this.#upstream?.resume();
    if (this.#state !== 'full') return;
    this.#takeTime();
    this.#guard(() => this.#next());
  }

  /** The record first, then the octets that make the answer whole for the client. */
  answered(status: number, held: Buffer, bytes: number): void {
    const exchange = this.#exchange as Exchange;
    const ended = performance.now();
    this.#state = 'recording';
    this.#rest = recordRest(this.#rest, exchange, this.#permit as Permit);
    this.#held = held;
    this.#status = status;
    this.#ended = ended;
    this.#options.audit.write(recordBeginning(exchange, status, bytes, this.#options.now(), ended), this.#rest.octets, this.#onRecorded);
    this.#recorded = true;
  }

  #complete(error: Error | undefined): void {
    const status = this.#status;
    const exchange = this.#exchange as Exchange;
    try {
      if (error !== undefined && !mayGoUnrecorded(this.#permit as Permit, exchange.service)) return this.#gone('the record could not be written', status, 'audit_unavailable');
      this.#options.observe(outcomeOf(exchange, status, this.#ended));
      if (this.#state !== 'recording') return this.#done();
      this.memory.write(this.#socket, this.#held);
      this.#held = NOTHING;
      this.#finish();
    } catch (fault) {
      this.#faultOf(exchange, fault);
    }
  }

  failed({ code, detail }: Omit<Failed, 'kind'>): void {
    this.#fail(code, code, detail);
  }

  cut(status: number, { code, detail }: Cut): void {
    // Never a clean end: a cut answer must not look like a whole one.
    this.#gone(detail, status, code);
  }

  #fail(code: ProblemCode, reason: Reason, detail: string): void {
    this.#refuse(code, { result: 'failed', reason, detail }, false);
  }

  /** Answers with a problem after its record; when even the record fails, the answer still tells nothing and grants nothing. */
  #refuse(code: ProblemCode, verdict: Pick<AuditRecord, 'result' | 'reason' | 'detail'>, close: boolean): void {
    const exchange = this.#exchange as Exchange;
    const status = problemStatus(code);
    this.#state = 'recording';
    this.#upstream?.end('abandoned');
    this.#record({ ...verdict, status }, () => {
      this.#options.observe(outcomeOf(exchange, status));
      if (this.#state !== 'recording') return this.#done();
      this.#close ||= close;
      this.#socket.write(exchangeProblem(code, exchange, this.closing()));
      this.#finish();
    });
  }

  /** Records a request that gets no whole answer, and ends its connection. */
  #gone(detail: string, status: number, reason?: Reason): void {
    const exchange = this.#exchange as Exchange;
    this.#state = 'gone';
    this.#upstream?.end('abandoned');
    this.#record({ result: 'failed', status, detail, ...(reason === undefined ? {} : { reason }) }, () => {
      this.#options.observe(outcomeOf(exchange, status));
      this.#done();
    });
    this.#socket.destroy();
  }

  #record(fields: Partial<AuditRecord> & Pick<AuditRecord, 'result'>, done: () => void): void {
    const exchange = this.#exchange as Exchange;
    const record = exchangeRecord(exchange, fields, this.#options.now());
    this.#options.audit.write(JSON.stringify(record), undefined, () => {
      try {
        done();
      } catch (error) {
        this.#faultOf(exchange, error);
      }
    });
    this.#recorded = true;
  }

  /** The exchange is over, whatever came of it. */
  #done(): void {
    if (this.#exchange === undefined) return;
    this.#exchange = undefined;
    this.#options.busy(-1);
  }

  /** The answer has left: the next request, or the end. */
  #finish(): void {
    this.#takeTime();
    this.#done();
    this.#permit = undefined;
    this.#upstream = undefined;
    this.#relay = undefined;
    this.#body = NOTHING;
    if (this.#close) return this.#end();
    this.#since = this.#options.clock.now;
    // A client that sends requests and takes no answers would have us keep all of them.
    if (this.#socket.writableLength < this.#socket.writableHighWaterMark) return this.#next();
    this.#state = 'full';
    this.#watchPace();
  }

  /** Goes on with what came meanwhile. */
  #next(): void {
    this.#state = 'idle';
    const next = this.#pending;
    this.#pending = NOTHING;
    this.#socket.resume();
    if (next.length > 0) this.#take(next);
  }

  /** Ends the connection after its last answer. A client that is still sending gets a moment: closing under it would reset the answer. */
  #end(): void {
    this.#state = 'closing';
    this.#since = this.#options.clock.now;
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

  #clientLeft(): void {
    if (this.#state === 'deciding' || (this.#state === 'forwarding' && !this.#begun)) this.#gone('the client left before the answer', 499);
    else if (this.#state === 'forwarding' && this.#relay === undefined) this.#gone('the client left within the answer', this.#statusBegun);
    // A relay notices by itself, and records it.
    else if (this.#relay === undefined) this.#state = 'gone';
  }

  /** An answer that the fast path does not read goes through Node's parser and writer; the connection comes back after it. */
  unusual(octets: Buffer): void {
    const exchange = this.#exchange as Exchange;
    const upstream = this.#upstream as UpstreamExchange;
    const replay = replayAnswer(exchange.asked.method, upstream.config.unframed, () => upstream.resume());
    upstream.parseWith(replay);
    replay.answer.then((answer) => {
      if (this.#exchange === exchange && this.#state === 'forwarding') return this.#relayAnswer(exchange, upstream, answer);
    }).catch((error: unknown) => this.#faultOf(exchange, error));
    replay.push(octets);
  }

  async #relayAnswer(exchange: Exchange, upstream: UpstreamExchange, answer: Answer): Promise<void> {
    if (answer.kind !== 'answer' && upstream.unreadable(answer.kind === 'failed' ? answer.detail : 'no answer')) return;
    if (answer.kind !== 'answer') return this.#fail('upstream_unavailable', 'upstream_unavailable', answer.kind === 'failed' ? answer.detail : 'no answer');
    const { message } = answer;
    const status = message.statusCode as number;
    const fields = clientHeaders(status, message.rawHeaders, { requestId: exchange.id, ...answerRules(exchange.service.hsts, (this.#permit as Permit).route.config) });
    if (this.closing()) fields.push('connection', 'close');
    upstream.begun = true;
    this.alive();
    this.#watchPace();
    this.#relay = relayThroughNode(message, exchange.asked.method, this.#socket, fields, (bytes) => {
      // Whatever becomes of its last octets: there is one record.
      this.#state = 'recording';
      const written = this.#options.audit.append(exchangeRecord(exchange, { result: 'permitted', status, bytes_out: bytes }, this.#options.now()));
      this.#recorded = true;
      return recordOf(written, this.#permit as Permit, exchange.service);
    });
    const end = await this.#relay.end;
    if (this.#exchange !== exchange) return;
    // Whoever has ended it meanwhile has put it on record.
    if (this.#state === 'gone') return this.#done();
    switch (end.kind) {
      case 'complete':
        upstream.end('answered');
        this.#options.observe(outcomeOf(exchange, status));
        return this.#finish();
      case 'record_lost': return this.#gone('the record could not be written', status, 'audit_unavailable');
      case 'upstream_died':
        upstream.end('failed');
        return this.#gone(upstream.why.detail, status, upstream.why.code);
      case 'client_left': return this.#gone('the client left within the answer', status);
    }
  }

  /** Nothing that a connection does may fail unseen: it would take the thread, and with it everybody's connections. */
  fault(error: unknown): void {
    const detail = `internal error: ${error instanceof Error ? error.stack ?? error.message : String(error)}`;
    if (this.#exchange !== undefined && !this.#recorded) this.#gone(detail, problemStatus('overloaded'), 'overloaded');
    this.#upstream?.end('abandoned');
    this.#state = 'gone';
    this.#socket.destroy();
  }

  /** The same in what ends an exchange: nothing else will. */
  #faultOf(exchange: Exchange, error: unknown): void {
    const recorded = this.#recorded;
    this.fault(error);
    if (recorded && this.#exchange === exchange) this.#done();
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.fault(error);
    }
  }

  /** Hands a request over after it has been decided, with everything that has been read of it. */
  #giveBack(): void {
    leave(this.#exchange as Exchange);
    const octets = Buffer.concat([(this.#head as KnownHead).octets, this.#body, this.#pending]);
    this.#takeTime();
    this.#done();
    this.#handOver(octets);
  }

  #handOver(octets: Buffer): void {
    this.#state = 'gone';
    const socket = this.#socket;
    socket.off('data', this.#onData);
    socket.off('drain', this.#onDrain);
    socket.off('close', this.#onClose);
    socket.pause();
    this.#options.handOver(socket, octets);
  }
}
