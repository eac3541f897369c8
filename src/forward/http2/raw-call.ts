import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { ChunkScanner, readTrailers } from '../fast/chunks.ts';
import { recogniseHead, type AnswerHead, type RecognisedHead } from '../fast/answer-head.ts';
import { replayAnswer, type Replay } from '../fast/node-answer.ts';
import type { KnownHead } from '../fast/request.ts';
import { upstreamHead, type UpstreamHead } from '../fast/upstream-request.ts';
import { keyOf, type Exchange } from '../exchange.ts';
import type { Answered, Call, UpstreamAnswer } from '../message.ts';
import type { PlainPermit } from '../../policy/decision.ts';
import { repeatable, type Failed, type Turn, type TurnResult, type Upstream } from '../upstream/pool.ts';
import { createTries, type Tries } from '../upstream/tries.ts';
import { endTurn, type SocketFault, type SocketUser, type UpstreamSocket } from '../upstream/sockets.ts';
import { messageAnswer } from './to-http1.ts';

/** What a client connection's requests leave for the next ones: clients repeat themselves, and so do upstreams. */
export interface RawMemory {
  upstream: UpstreamHead | undefined;
  answer: RecognisedHead | undefined;
}

/** Methods of requests that HTTP/1.1 frames without a body by saying nothing. */
const BODILESS = new Set(['GET', 'HEAD', 'OPTIONS', 'DELETE']);

/** Whether a request without a body can go as the octets of a head alone. */
export function isPlain({ asked, fields }: KnownHead): boolean {
  if (!BODILESS.has(asked.method)) return false;
  for (let index = 0; index < fields.length; index += 2) if (fields[index] === 'content-length') return false;
  return true;
}

const NOTHING = Buffer.alloc(0);

/**
 * A request without a body on a bare connection to an upstream, its answer framed here: what Node's HTTP client would make of it costs more than
 * all the rest of the request. An answer of an unusual shape goes through Node's parser.
 */
export class RawCall implements SocketUser, Call {
  readonly answer: Promise<Answered>;
  readonly #resolve: (answered: Answered) => void;
  readonly #exchange: Exchange;
  readonly #permit: PlainPermit;
  readonly #head: KnownHead;
  readonly #upstream: Upstream;
  readonly #memory: RawMemory;
  readonly #tries: Tries;
  #turn: Turn | undefined;
  #connection: UpstreamSocket | undefined;
  #partial: Buffer = NOTHING;
  #answerHead: AnswerHead | undefined;
  #left = 0;
  #chunks: ChunkScanner | undefined;
  #body: RawBody | undefined;
  #replay: Replay | undefined;
  /** What Node's parser has read of an answer of an unusual shape. */
  #message: IncomingMessage | undefined;
  /** When its present wait began. */
  #since = performance.now();
  #late = false;
  #whole = false;

  constructor(exchange: Exchange, permit: PlainPermit, head: KnownHead, upstream: Upstream, memory: RawMemory) {
    this.#exchange = exchange;
    this.#permit = permit;
    this.#head = head;
    this.#upstream = upstream;
    this.#memory = memory;
    this.#tries = createTries(upstream, keyOf(exchange), exchange);
    const { promise, resolve } = Promise.withResolvers<Answered>();
    this.answer = promise;
    this.#resolve = resolve;
    const turn = this.#tries.begin();
    if (turn.kind === 'failed') resolve(turn);
    else this.#ask(turn, false);
  }

  #ask(turn: Turn, fresh: boolean): void {
    this.#turn = turn;
    this.#partial = NOTHING;
    this.#since = performance.now();
    const { sockets } = turn.endpoint;
    const connection = fresh ? sockets.fresh(this) : sockets.take(this);
    this.#connection = connection;
    if (connection.open) this.opened(connection);
  }

  /**
   * Ends it where the head of the final answer has not come in time, whatever comes in its place (an upstream may send interim answers or
   * single octets for ever), or where nothing of the body has passed for too long; `now` in ms on the monotonic clock.
   */
  look(now: number): void {
    const { timeouts } = this.#upstream.config;
    if (this.#connection === undefined || now - this.#since <= (this.#hasHead ? timeouts.idle : timeouts.response)) return;
    // Standing still because the client takes nothing is not the upstream's doing.
    if (this.#body?.waits === true || this.#message?.isPaused() === true) return;
    this.#late = true;
    this.#end('timeout');
    if (this.#body !== undefined) this.#body.destroy(new Error('the answer stands still'));
    else if (this.#replay !== undefined) this.#replay.end(false);
    else this.#resolve({ kind: 'failed', code: 'upstream_timeout', detail: 'no answer in time' });
  }

  cancel(): void {
    if (this.#whole) return;
    this.#end('abandoned');
    this.#body?.destroy();
    this.#replay?.end(false);
  }

  opened({ socket }: UpstreamSocket): void {
    this.#since = performance.now();
    const head = upstreamHead(this.#memory.upstream, this.#head, this.#exchange, this.#permit, this.#upstream);
    this.#memory.upstream = head;
    // Encrypted during the call, when nothing waits before it: then the next request may be written into the same place.
    socket.write(socket.writableLength === 0 ? head.octets : Buffer.from(head.octets));
  }

  drained(): void {
    // Nothing follows the head.
  }

  get #hasHead(): boolean {
    return this.#answerHead !== undefined || this.#message !== undefined;
  }

  read(octets: Buffer): boolean {
    if (this.#hasHead) this.#since = performance.now();
    if (this.#replay !== undefined) return this.#replay.push(octets);
    return this.#answerHead === undefined ? this.#readHead(octets) : this.#readBody(octets);
  }

  lost(fault: SocketFault): void {
    const stale = this.#connection?.reused === true && this.#partial.length === 0;
    this.#connection = undefined;
    if (this.#replay !== undefined) {
      this.#end('failed');
      return this.#replay.end(fault.ended);
    }
    if (this.#body !== undefined) {
      this.#end('failed');
      return void this.#body.destroy(new Error('the upstream died within its answer'));
    }
    this.#again(stale ? 'stale' : fault.result, fault.opened, fault);
  }

  /** Asks elsewhere after a try of which nothing has reached the client, or gives up. */
  #again(result: TurnResult, sent: boolean, { code, detail }: Pick<Failed, 'code' | 'detail'>): void {
    const turn = this.#turn as Turn;
    this.#end(result, false, detail);
    const next = !sent || repeatable(this.#head.asked.method, false) ? this.#tries.again(turn, detail) : undefined;
    if (next === undefined) this.#resolve({ kind: 'failed', code, detail });
    else this.#ask(next, true);
  }

  #end(result: TurnResult, reusable = false, detail?: string): void {
    const connection = this.#connection;
    const turn = this.#turn;
    this.#connection = undefined;
    this.#turn = undefined;
    endTurn(turn, connection, result, reusable, detail);
  }

  #readHead(octets: Buffer): boolean {
    const all = this.#partial.length === 0 ? octets : Buffer.concat([this.#partial, octets]);
    const found = recogniseHead(all, this.#memory.answer, this.#head.asked.method === 'HEAD');
    if (found === 'more') {
      this.#partial = all === octets ? Buffer.from(octets) : all;
      return true;
    }
    if (found === 'unusual') return this.#readByNode(all);
    const { head } = found;
    this.#memory.answer = found;
    this.#answerHead = head;
    this.#since = performance.now();
    this.#turn?.answering();
    const { body, length } = head;
    const rest = all.subarray(length);
    if (body.kind === 'none') return this.#answerWhole(head, NOTHING, rest.length > 0);
    if (body.kind === 'length' && rest.length >= body.octets) return this.#answerWhole(head, Buffer.from(rest.subarray(0, body.octets)), rest.length > body.octets);
    this.#left = body.kind === 'length' ? body.octets : 0;
    this.#chunks = body.kind === 'chunked' ? new ChunkScanner() : undefined;
    this.#body = new RawBody(() => this.#connection?.resume());
    this.#resolve({ ...this.#answerOf(head), body: this.#body });
    return rest.length === 0 || this.#readBody(rest);
  }

  #answerWhole(head: AnswerHead, octets: Buffer, extra: boolean): boolean {
    this.#whole = true;
    this.#end('answered', !extra && !head.close);
    this.#resolve({ ...this.#answerOf(head), body: octets });
    return true;
  }

  #answerOf({ status, fields, body }: AnswerHead): Omit<UpstreamAnswer, 'body'> {
    return {
      kind: 'answer', status, fields, length: body.kind === 'length' ? body.octets : undefined,
      whole: () => this.#whole, late: () => this.#late, trailers: () => readTrailers(this.#chunks?.trailer ?? ''),
    };
  }

  #readBody(octets: Buffer): boolean {
    const body = this.#body as RawBody;
    if (this.#chunks !== undefined) return this.#readChunks(this.#chunks, body, octets);
    const own = octets.length <= this.#left ? octets : octets.subarray(0, this.#left);
    this.#left -= own.length;
    // Octets live in a buffer that is used again.
    const more = body.push(Buffer.from(own));
    if (this.#left > 0) return more;
    return this.#bodyEnds(body, octets.length > own.length);
  }

  #readChunks(chunks: ChunkScanner, body: RawBody, octets: Buffer): boolean {
    let more = true;
    const end = chunks.scan(octets, 0, octets.length, (from, to) => {
      more = body.push(Buffer.from(octets.subarray(from, to)));
    });
    if (chunks.invalid) {
      this.#end('failed');
      body.destroy(new Error('the upstream\'s answer is not chunked as it says'));
      return true;
    }
    return chunks.ended ? this.#bodyEnds(body, end < octets.length) : more;
  }

  #bodyEnds(body: RawBody, extra: boolean): boolean {
    this.#whole = true;
    this.#end('answered', !extra && this.#answerHead?.close === false);
    body.push(null);
    return true;
  }

  #readByNode(octets: Buffer): boolean {
    const { unframed } = this.#upstream.config;
    const replay = replayAnswer(this.#head.asked.method, unframed, () => this.#connection?.resume());
    this.#replay = replay;
    void replay.answer.then((answer) => {
      if (answer.kind === 'answer') {
        const { message } = answer;
        this.#message = message;
        this.#since = performance.now();
        this.#turn?.answering();
        message.once('end', () => {
          this.#whole = message.complete;
          this.#end(this.#whole ? 'answered' : 'failed');
        });
        return this.#resolve(messageAnswer(message, () => this.#late, unframed));
      }
      const detail = answer.kind === 'failed' ? answer.detail : 'no answer';
      this.#replay = undefined;
      if (this.#late) this.#resolve({ kind: 'failed', code: 'upstream_timeout', detail: 'no answer in time' });
      else this.#again('failed', true, { code: 'upstream_unavailable', detail });
    });
    return replay.push(octets);
  }
}

/** A body that is read as far as it is wanted. */
class RawBody extends Readable {
  readonly #resume: () => void;

  constructor(resume: () => void) {
    super({ highWaterMark: 65_536 });
    this.#resume = resume;
    this.on('error', () => undefined);
  }

  /** Whether it is the reader who is waited for. */
  get waits(): boolean {
    return this.readableLength > 0 || this.isPaused();
  }

  override _read(): void {
    this.#resume();
  }
}
