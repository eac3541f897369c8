import { Readable } from 'node:stream';
import { messageAnswer } from '../http2/to-http1.ts';
import type { Answered, Call, Question, UpstreamAnswer } from '../message.ts';
import { latin1 } from '../octets.ts';
import { isWhole } from '../relay.ts';
import { repeatable, type Failed, type Turn, type TurnResult } from '../upstream/pool.ts';
import type { SocketFault, SocketUser, UpstreamSocket } from '../upstream/sockets.ts';
import { createTries, type Tries } from '../upstream/tries.ts';
import { readAnswerHead, type AnswerHead } from './answer-head.ts';
import { MOST_ANSWER_HEAD } from './answer.ts';
import { ChunkScanner } from './chunks.ts';
import { replayAnswer, type Replay } from './node-answer.ts';

const BLANK_LINE = '\r\n\r\n';
const NOTHING = Buffer.alloc(0);

/**
 * Asks an upstream by HTTP/1.1 for whoever takes the answer as a stream: requests without a body, whose answers are framed
 * here. Answers of an unusual shape go through Node's parser.
 */
export function askPlainly(question: Question): Call {
  const call = new PlainCall(question);
  call.begin();
  return call;
}

class PlainCall implements Call, SocketUser {
  readonly answer: Promise<Answered>;
  readonly #question: Question;
  readonly #tries: Tries;
  #settle: (answered: Answered) => void = () => undefined;
  #turn: Turn | undefined;
  #connection: UpstreamSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Beginning of an answer head that is not whole. */
  #partial: Buffer = NOTHING;
  #head: AnswerHead | undefined;
  #left = 0;
  #chunks: ChunkScanner | undefined;
  #body: Readable | undefined;
  #replay: Replay | undefined;
  #whole = false;
  #late = false;

  constructor(question: Question) {
    this.#question = question;
    this.#tries = createTries(question.upstream, question.key, question.trail);
    this.answer = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  begin(): void {
    const turn = this.#tries.begin();
    if (turn.kind === 'failed') this.#settle(turn);
    else this.#askAt(turn, false);
  }

  cancel(): void {
    this.#settle = () => undefined;
    this.#end('abandoned');
    this.#body?.destroy();
  }

  opened({ socket }: UpstreamSocket): void {
    const { method, path, fields } = this.#question;
    let text = `${method} ${path} HTTP/1.1\r\n`;
    for (const name in fields) {
      const value = fields[name];
      if (typeof value === 'string') text += `${name}: ${value}\r\n`;
      else for (const one of value ?? []) text += `${name}: ${one}\r\n`;
    }
    if (method === 'POST' || method === 'PUT' || method === 'PATCH') text += fields['content-length'] === undefined ? 'content-length: 0\r\n' : '';
    socket.write(`${text}\r\n`, 'latin1');
  }

  drained(): void {
    // There is no body that would wait for it.
  }

  read(octets: Buffer): boolean {
    this.#timer?.refresh();
    if (this.#replay !== undefined) return this.#replay.push(octets);
    return this.#head === undefined ? this.#readHead(octets) : this.#readBody(octets);
  }

  lost(fault: SocketFault): void {
    const stale = this.#connection?.reused === true && this.#partial.length === 0;
    this.#connection = undefined;
    if (this.#replay !== undefined) return this.#replay.end(fault.ended);
    if (this.#head !== undefined) return this.#cut();
    this.#failed(stale ? 'stale' : fault.result, fault, !fault.opened || repeatable(this.#question.method, false));
  }

  #askAt(turn: Turn, fresh: boolean): void {
    this.#turn = turn;
    const { sockets } = turn.endpoint;
    this.#timer = setTimeout(() => this.#timedOut(), this.#question.patience);
    const connection = fresh ? sockets.fresh(this) : sockets.take(this);
    this.#connection = connection;
    if (connection.open) this.opened(connection);
  }

  #failed(result: TurnResult, { code, detail }: Omit<Failed, 'kind'>, again: boolean): void {
    const turn = this.#turn;
    this.#end(result);
    const next = again && turn !== undefined ? this.#tries.again(turn, detail) : undefined;
    if (next === undefined) return this.#settle({ kind: 'failed', code, detail });
    this.#partial = NOTHING;
    this.#askAt(next, true);
  }

  #timedOut(): void {
    // Standing still because the client takes nothing is not the upstream's doing.
    if (this.#body !== undefined && this.#body.readableLength > 0) return void this.#timer?.refresh();
    this.#late = true;
    if (this.#head !== undefined) return this.#cut();
    this.#failed('timeout', { code: 'upstream_timeout', detail: 'no answer in time' }, false);
  }

  #end(result: TurnResult, reusable = false): void {
    clearTimeout(this.#timer);
    const connection = this.#connection;
    const turn = this.#turn;
    this.#connection = undefined;
    this.#turn = undefined;
    if (connection !== undefined && reusable && turn !== undefined) turn.endpoint.sockets.put(connection);
    else connection?.destroy();
    turn?.done(result);
  }

  /** The answer ended within itself. */
  #cut(): void {
    this.#end(this.#late ? 'timeout' : 'failed');
    this.#body?.destroy();
  }

  #readHead(octets: Buffer): boolean {
    const all = this.#partial.length === 0 ? octets : Buffer.concat([this.#partial, octets]);
    const end = all.indexOf(BLANK_LINE);
    if (end === -1 && all.length <= MOST_ANSWER_HEAD) {
      this.#partial = all === octets ? Buffer.from(octets) : all;
      return true;
    }
    const head = end === -1 ? undefined : readAnswerHead(latin1(all, 0, end + BLANK_LINE.length), { head: this.#question.method === 'HEAD' });
    if (head?.kind !== 'head') return this.#parseByNode(all);
    this.#head = head;
    this.#turn?.answering();
    this.#left = head.body.kind === 'length' ? head.body.octets : 0;
    this.#chunks = head.body.kind === 'chunked' ? new ChunkScanner() : undefined;
    this.#wait(this.#question.idle);
    const body = new Readable({ read: () => this.#connection?.resume() });
    body.on('error', () => undefined);
    this.#body = body;
    const more = this.#readBody(all.subarray(head.length));
    this.#settle(this.#answerOf(head, body));
    return more;
  }

  #wait(idle: number): void {
    clearTimeout(this.#timer);
    this.#timer = idle === Infinity || this.#whole ? undefined : setTimeout(() => this.#timedOut(), idle);
  }

  #answerOf({ status, fields, body }: AnswerHead, stream: Readable): UpstreamAnswer {
    const announced = body.kind === 'length' ? body.octets : undefined;
    return {
      kind: 'answer', status, fields, length: body.kind === 'none' ? lengthOf(fields) : announced, body: stream,
      whole: () => this.#whole, late: () => this.#late, trailers: () => trailerFields(this.#chunks),
    };
  }

  #readBody(octets: Buffer): boolean {
    const body = this.#body as Readable;
    let more = true;
    let used = Math.min(octets.length, this.#left);
    let whole: boolean;
    if (this.#chunks === undefined) {
      if (used > 0) more = body.push(Buffer.from(octets.subarray(0, used)));
      this.#left -= used;
      whole = this.#left === 0;
    } else {
      used = this.#chunks.scan(octets, 0, octets.length, (from, to) => {
        more = body.push(Buffer.from(octets.subarray(from, to)));
      });
      if (this.#chunks.invalid) {
        this.#cut();
        return true;
      }
      whole = this.#chunks.ended;
    }
    if (!whole) return more;
    this.#whole = true;
    // Octets behind the answer are nobody's.
    this.#end('answered', used === octets.length && this.#head?.close === false);
    body.push(null);
    return true;
  }

  #parseByNode(octets: Buffer): boolean {
    const { unframed } = this.#question.upstream.config;
    const replay = replayAnswer(this.#question.method, unframed, () => this.#connection?.resume());
    this.#replay = replay;
    void replay.answer.then((answer) => {
      if (answer.kind !== 'answer') {
        this.#replay = undefined;
        return this.#failed('failed', answer.kind === 'failed' ? answer : { code: 'upstream_unavailable', detail: 'no answer' }, repeatable(this.#question.method, false));
      }
      this.#turn?.answering();
      this.#body = answer.message;
      this.#wait(this.#question.idle);
      answer.message.once('close', () => this.#end(isWhole(answer.message) ? 'answered' : this.#late ? 'timeout' : 'failed'));
      this.#settle(messageAnswer(answer.message, () => this.#late, unframed));
    });
    return replay.push(octets);
  }
}

function lengthOf(fields: readonly string[]): number | undefined {
  for (let index = 0; index < fields.length; index += 2) if ((fields[index] as string).toLowerCase() === 'content-length') return Number(fields[index + 1]);
  return undefined;
}

function trailerFields(chunks: ChunkScanner | undefined): readonly string[] {
  const fields: string[] = [];
  for (const line of chunks?.trailer.split('\r\n') ?? []) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.push(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return fields;
}
