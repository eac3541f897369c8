import type { UpstreamConfig } from '../../config/schema.ts';
import type { PlainPermit } from '../../policy/decision.ts';
import { keyOf, type Exchange } from '../exchange.ts';
import { answerRules } from '../headers.ts';
import type { Failed, Turn, TurnResult, Upstream } from '../upstream/pool.ts';
import { endTurn, type SocketFault, type SocketUser, type UpstreamSocket } from '../upstream/sockets.ts';
import { clientOctets, clientTrailer, readAnswer, type KnownAnswer } from './answer.ts';
import { ChunkScanner } from './chunks.ts';
import type { OutgoingMemory } from './memory.ts';
import { isRepeatable, type KnownHead } from './request.ts';
import { upstreamHead, type UpstreamHead } from './upstream-request.ts';

/** The client's side of an exchange, as its upstream side sees it. */
export interface AnswerTaker {
  /** Octets have come from the upstream. */
  alive(): void;
  /** Whether the client's connection ends after this answer. */
  closing(): boolean;
  /** Where octets for the client are put together. */
  readonly memory: OutgoingMemory;
  /** Octets for the client, in such memory; false when more should wait. */
  send(octets: Buffer): boolean;
  /** The same out of a buffer that is read into again at once. */
  copy(octets: Buffer): boolean;
  /** The answer is whole; `held` are the octets that make it so for the client, `bytes` those of its body. */
  answered(status: number, held: Buffer, bytes: number): void;
  /** There will be no answer. */
  failed(failure: Omit<Failed, 'kind'>): void;
  /** The answer ended within itself. */
  cut(status: number, why: Cut): void;
  /** The answer is of a shape for Node's parser, beginning with these octets. */
  unusual(octets: Buffer): void;
  /** The upstream takes more of the request's body. */
  wantsBody(): void;
  /** A fault of ours. */
  fault(error: unknown): void;
}

/** Why an answer was cut; without a code it was the client's doing. */
export interface Cut {
  readonly code?: Failed['code'];
  readonly detail: string;
}

/** What an exchange leaves for the next one on the same client connection: clients repeat themselves, and so do upstreams. */
export interface Remembered {
  head: UpstreamHead | undefined;
  answer: KnownAnswer | undefined;
}

/** A parser of another kind that has taken the connection over. */
export interface AnswerParser {
  push(octets: Buffer): boolean;
  end(clean: boolean): void;
}

const NOTHING = Buffer.alloc(0);
const NO_TURNS: readonly Turn[] = [];
const CRLF = Buffer.from('\r\n');
const DIED: Cut = { code: 'upstream_unavailable', detail: 'the upstream died within its answer' };

/** One permitted request at its upstream: sent on a pooled connection, its answer framed and passed on as it comes. */
export class UpstreamExchange implements SocketUser {
  /** The answer's head has been read. */
  begun = false;
  readonly #exchange: Exchange;
  readonly #permit: PlainPermit;
  readonly #head: KnownHead;
  readonly #upstream: Upstream;
  readonly #taker: AnswerTaker;
  readonly #remembered: Remembered;
  #turn: Turn | undefined;
  #connection: UpstreamSocket | undefined;
  /** Octets of the request's body that came before the connection was open. */
  #body: Buffer = NOTHING;
  /** Octets of the request's body that have not come yet. */
  #owed: number;
  /** Tries that came to nothing. */
  #failed: readonly Turn[] = NO_TURNS;
  #answer: KnownAnswer | undefined;
  /** Beginning of an answer head that is not whole. */
  #partial: Buffer = NOTHING;
  #left = 0;
  #bytes = 0;
  #chunks: ChunkScanner | undefined;
  #parser: AnswerParser | undefined;
  #why: Cut = DIED;

  constructor(exchange: Exchange, permit: PlainPermit, head: KnownHead, upstream: Upstream, taker: AnswerTaker, remembered: Remembered) {
    this.#exchange = exchange;
    this.#permit = permit;
    this.#head = head;
    this.#upstream = upstream;
    this.#taker = taker;
    this.#remembered = remembered;
    this.#owed = head.bodyLength;
  }

  get config(): UpstreamConfig {
    return this.#upstream.config;
  }

  /** Milliseconds that octets are waited for. */
  get deadline(): number {
    const { timeouts } = this.#upstream.config;
    return this.begun ? timeouts.idle : timeouts.response;
  }

  /** Sends the request with what has come of its body. */
  ask(body: Buffer): void {
    this.#body = body;
    this.#owed -= body.length;
    const turn = this.#upstream.choose(keyOf(this.#exchange));
    if (turn.kind === 'failed') return this.#taker.failed(turn);
    this.#askAt(turn);
  }

  #askAt(turn: Turn): void {
    this.#turn = turn;
    this.#exchange.endpoint = turn.endpoint.name;
    const { sockets } = turn.endpoint;
    const connection = this.#failed.length > 0 ? sockets.fresh(this) : sockets.take(this);
    this.#connection = connection;
    if (connection.open) this.opened(connection);
  }

  /** More of the request's body; false when the rest should wait for `wantsBody`. */
  sendBody(octets: Buffer): boolean {
    this.#owed -= octets.length;
    if (this.#connection?.open === true) return this.#connection.socket.write(octets);
    this.#body = Buffer.concat([this.#body, octets]);
    return false;
  }

  /** The client takes more of the answer. */
  resume(): void {
    this.#connection?.resume();
  }

  /** Gives the answer to another parser; octets go there from now on. */
  parseWith(parser: AnswerParser): void {
    this.#parser = parser;
  }

  /** Ends it, answer or not; its taker hears nothing of it any more. */
  end(result: TurnResult, reusable = false, detail?: string): void {
    const connection = this.#connection;
    const turn = this.#turn;
    this.#connection = undefined;
    this.#turn = undefined;
    endTurn(turn, connection, result, reusable, detail);
  }

  /** Ends it because nothing has passed in time: the upstream said nothing, or the client did not listen. */
  timedOut(listening: boolean): void {
    if (!this.begun) this.#fail({ code: 'upstream_timeout', detail: 'no answer in time' });
    else if (listening) this.#cut('timeout', { code: 'upstream_timeout', detail: 'the upstream\'s answer stood still for too long' });
    else this.#cut('abandoned', { detail: 'the client stopped reading its answer' });
  }

  /** What another parser has read is no answer: the upstream is asked again, elsewhere if possible; false when that is not allowed. */
  unreadable(detail: string): boolean {
    this.#parser = undefined;
    return this.#again('failed', { opened: true, detail });
  }

  /** Why the answer was cut that another parser was reading. */
  get why(): Cut {
    return this.#why;
  }

  opened({ socket }: UpstreamSocket): void {
    const head = upstreamHead(this.#remembered.head, this.#head, this.#exchange, this.#permit, this.#upstream);
    this.#remembered.head = head;
    // Encrypted during the call, when nothing waits before it: then the next request may be written into the same place.
    if (this.#body.length === 0 && socket.writableLength === 0) socket.write(head.octets);
    else socket.write(Buffer.concat([head.octets, this.#body]));
    this.#body = NOTHING;
    this.#taker.wantsBody();
  }

  drained(): void {
    this.#taker.wantsBody();
  }

  read(octets: Buffer): boolean {
    // Until its head is whole an answer has so long, however little of it comes however often.
    if (this.begun) this.#taker.alive();
    try {
      if (this.#parser !== undefined) return this.#parser.push(octets);
      return this.begun ? this.#readBody(octets, false) : this.#readHead(octets);
    } catch (error) {
      this.#taker.fault(error);
      return true;
    }
  }

  lost(fault: SocketFault): void {
    try {
      // A pooled connection that was closed before anything came back: the upstream has most likely not seen the request.
      const stale = this.#connection?.reused === true && this.#partial.length === 0;
      this.#connection = undefined;
      if (this.#parser !== undefined) return this.#parser.end(fault.ended);
      if (this.begun) return this.#cut('failed', DIED);
      if (!this.#again(stale ? 'stale' : fault.result, fault)) this.#taker.failed(fault);
    } catch (error) {
      this.#taker.fault(error);
    }
  }

  /** Asks again, elsewhere if possible, after a try of which nothing has reached the client; false when that is not allowed. */
  #again(result: TurnResult, { opened, detail }: Pick<SocketFault, 'opened' | 'detail'>): boolean {
    const turn = this.#turn as Turn;
    this.end(result, false, detail);
    if (opened && !isRepeatable(this.#head)) return false;
    const failed = [...this.#failed, turn];
    const next = this.#upstream.again(keyOf(this.#exchange), failed);
    if (next === undefined) return false;
    this.#failed = failed;
    this.#partial = NOTHING;
    this.#exchange.attempts = [...this.#exchange.attempts, `${turn.endpoint.name}: ${detail}`];
    this.#askAt(next);
    return true;
  }

  #fail({ code, detail }: Omit<Failed, 'kind'>): void {
    this.end(code === 'upstream_timeout' ? 'timeout' : 'failed', false, detail);
    this.#taker.failed({ code, detail });
  }

  #cut(result: TurnResult, why: Cut): void {
    this.#why = why;
    this.end(result, false, why.detail);
    if (this.#parser !== undefined) this.#parser.end(false);
    else this.#taker.cut((this.#answer as KnownAnswer).head.status, why);
  }

  #readHead(octets: Buffer): boolean {
    const all = this.#partial.length === 0 ? octets : Buffer.concat([this.#partial, octets]);
    const { service, asked } = this.#exchange;
    const answer = readAnswer(all, this.#remembered.answer, answerRules(service.hsts, this.#permit.route.config), asked.method === 'HEAD');
    if (answer === 'unusual') {
      this.#taker.unusual(all);
      return true;
    }
    if (answer === 'more') {
      this.#partial = all === octets ? Buffer.from(octets) : all;
      return true;
    }
    this.#remembered.answer = answer;
    this.#answer = answer;
    this.begun = true;
    this.#taker.alive();
    this.#turn?.answering();
    const { body, length } = answer.head;
    this.#left = body.kind === 'length' ? body.octets : 0;
    this.#chunks = body.kind === 'chunked' ? new ChunkScanner() : undefined;
    return this.#readBody(all.subarray(length), true);
  }

  /** Passes octets of a body on, the `first` of them after the head; holds back what completes the answer. */
  #readBody(octets: Buffer, first: boolean): boolean {
    if (this.#chunks !== undefined) return this.#readChunks(this.#chunks, octets, first);
    const own = octets.length <= this.#left ? octets : octets.subarray(0, this.#left);
    this.#left -= own.length;
    this.#bytes += own.length;
    if (this.#left > 0) return first ? this.#taker.send(this.#withHead(own)) : this.#taker.copy(own);
    this.#complete(first ? this.#withHead(own) : this.#taker.memory.join([own]), octets.length > own.length);
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
      this.#cut('failed', { code: 'upstream_unavailable', detail: 'the upstream\'s answer is not chunked as it says' });
      return true;
    }
    this.#bytes += length;
    const parts = length === 0 ? [] : [Buffer.from(`${length.toString(16)}\r\n`), ...ranges, CRLF];
    if (chunks.ended) parts.push(Buffer.from(`0\r\n${clientTrailer(chunks.trailer)}\r\n`, 'latin1'));
    const out = first ? this.#withHead(Buffer.concat(parts)) : this.#taker.memory.join(parts);
    if (!chunks.ended) return out.length === 0 || this.#taker.send(out);
    this.#complete(out, end < octets.length);
    return true;
  }

  #withHead(octets: Buffer): Buffer {
    return clientOctets(this.#taker.memory, this.#answer as KnownAnswer, this.#exchange.id, this.#taker.closing(), octets);
  }

  /** `extra`: octets came behind the answer, which are nobody's. */
  #complete(held: Buffer, extra: boolean): void {
    const { status, close } = (this.#answer as KnownAnswer).head;
    // A connection that has not got the whole request cannot carry the next one.
    this.end('answered', !extra && !close && this.#owed === 0);
    this.#taker.answered(status, held, this.#bytes);
  }
}
