import { pipeline, Transform, type TransformCallback } from 'node:stream';
import type { BoundPermit, Permit, SealedPermit } from '../policy/decision.ts';
import type { Reason } from '../policy/facts.ts';
import { createFhirFilter } from './fhir-answers.ts';
import type { UpstreamAnswer } from './message.ts';
import type { ProblemCode } from './problem.ts';
import { createSealFilter } from './seal/filter.ts';
import type { Exchange } from './exchange.ts';
import type { Failed } from './upstream/pool.ts';

/** Why an answer does not reach its client. */
export interface AnswerObjection {
  readonly kind: 'objection';
  /** What the client is told where it is the answer that is at fault; absent: that it is not for them. */
  readonly code?: ProblemCode;
  readonly reason: Reason;
  readonly detail: string;
}

export type AnswerPart = { readonly kind: 'octets'; readonly octets: readonly Uint8Array[] } | AnswerObjection;

/** What stands between an upstream's answer and its client: it may hold the answer back, change it, or refuse it. */
export interface AnswerFilter {
  /** Judges the head; the fields and the length (undefined: not known yet) that the client gets instead. */
  begin(answer: Pick<UpstreamAnswer, 'status' | 'fields' | 'length'>): { readonly kind: 'head'; readonly fields: readonly string[]; readonly length: number | undefined } | AnswerObjection;
  /** Octets of the body have come: those that may leave now. After an objection it is asked no more. */
  read(octets: Uint8Array): AnswerPart;
  /** All of the body has come: what is left of it. */
  end(): AnswerPart | Promise<AnswerPart>;
  /** Nothing more will come, whatever has: what is held is of no use any more. */
  discard?(): void;
}

/** `objection`: why it was cut after it had begun; undefined when it was not, or not by its filter. */
export type Filtered = FilteredAnswer | AnswerObjection | Failed;

export interface FilteredAnswer {
  readonly kind: 'answer';
  readonly answer: UpstreamAnswer;
  readonly objection: () => AnswerObjection | undefined;
}

/** Octets that are held back at first: an objection within them is told in place of the answer, one behind them can only cut it. */
const HELD = 256 * 1024;

/** What the answers of a permitted request go through, in this order. Only the general path and HTTP/2 streams can put anything in an answer's way. */
export function filtersOf({ bond, sealed }: Permit, { recipient, asked }: Pick<Exchange, 'recipient' | 'asked'>): readonly AnswerFilter[] {
  const judging = bond?.kind === 'fhir' ? [createFhirFilter(bond)] : [];
  if (sealed === undefined) return judging;
  // Never without: what is to be encrypted does not leave otherwise.
  if (recipient === undefined) throw new Error('an answer to be encrypted, and nobody to encrypt it to');
  return [...judging, createSealFilter(recipient, asked.method === 'HEAD')];
}

/** Whether there are any. */
export function isFiltered(permit: Permit): permit is BoundPermit | SealedPermit {
  return permit.bond !== undefined || permit.sealed !== undefined;
}

/**
 * Puts filters in an answer's way. Resolves once it is known how the answer begins for the client: nothing of it is sent before.
 * Trailers end here, since nobody judges them.
 */
export async function filterAnswer(answer: UpstreamAnswer, filters: readonly AnswerFilter[]): Promise<Filtered> {
  const objections: (() => AnswerObjection | undefined)[] = [];
  const objection = (): AnswerObjection | undefined => objections.map((one) => one()).find((one) => one !== undefined);
  let current: UpstreamAnswer = answer;
  for (const filter of filters) {
    const filtered = await filterOnce(current, filter);
    if (filtered.kind !== 'answer') return objection() ?? filtered;
    objections.push(filtered.objection);
    current = filtered.answer;
  }
  return { kind: 'answer', answer: current, objection };
}

function filterOnce(answer: UpstreamAnswer, filter: AnswerFilter): Promise<Filtered> {
  const head = filter.begin(answer);
  if (head.kind === 'objection') {
    if (!Buffer.isBuffer(answer.body)) answer.body.destroy();
    return Promise.resolve(head);
  }
  return new Promise((resolve) => {
    const failed = (): void => resolve(body.objection ?? { kind: 'failed', code: answer.late() ? 'upstream_timeout' : 'upstream_unavailable', detail: 'the upstream died within its answer' });
    // Not at once: what ends it within the same turn would be over before anybody listens.
    const body = new FilteredBody(filter, () => answer.whole(), () => void setImmediate(() => {
      if (body.destroyed && !body.readableEnded) return failed();
      resolve({
        kind: 'answer', objection: () => body.objection,
        answer: { ...answer, fields: head.fields, length: head.length, body, whole: () => body.whole && answer.whole(), trailers: () => [] },
      });
    }));
    // Of no consequence where it has begun: whoever passes it on notices by itself.
    const ended = (error?: Error | null): void => {
      if (error !== undefined && error !== null) failed();
    };
    if (Buffer.isBuffer(answer.body)) {
      body.on('error', ended);
      body.end(answer.body);
    } else pipeline(answer.body, body, ended);
  });
}

/** The body of an answer behind its filter. */
class FilteredBody extends Transform {
  readonly #filter: AnswerFilter;
  readonly #complete: () => boolean;
  /** Told once, when the first octets leave or there are none. */
  readonly #begun: () => void;
  #held: Uint8Array[] = [];
  #heldOctets = 0;
  #open = false;
  objection: AnswerObjection | undefined;
  /** Whether all of it has passed. */
  whole = false;

  constructor(filter: AnswerFilter, complete: () => boolean, begun: () => void) {
    super();
    this.#filter = filter;
    this.#complete = complete;
    this.#begun = begun;
    // From birth: whoever passes it on comes later.
    this.on('error', () => undefined);
  }

  override _transform(octets: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#pass(() => this.#filter.read(octets), done);
    if (this.#heldOctets > HELD) this.#release();
  }

  override _flush(done: TransformCallback): void {
    if (!this.#complete()) return done(new Error('the answer is not whole'));
    const finished: TransformCallback = (error) => {
      if (error === undefined || error === null) {
        this.whole = true;
        this.#release();
      }
      done(error);
    };
    try {
      const last = this.#filter.end();
      if (last instanceof Promise) last.then((part) => this.#pass(() => part, finished), (error: Error) => done(error));
      else this.#pass(() => last, finished);
    } catch (error) {
      done(error as Error);
    }
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#filter.discard?.();
    done(error);
  }

  #pass(part: () => AnswerPart, done: TransformCallback): void {
    try {
      const judged = part();
      if (judged.kind === 'objection') {
        this.objection = judged;
        return done(new Error('the answer is not for this client'));
      }
      for (const octets of judged.octets) this.#take(octets);
      done();
    } catch (error) {
      // A fault of ours ends the one answer, closed.
      done(error as Error);
    }
  }

  #take(octets: Uint8Array): void {
    if (octets.length === 0) return;
    if (this.#open) return void this.push(octets);
    this.#held.push(octets);
    this.#heldOctets += octets.length;
  }

  #release(): void {
    if (this.#open) return;
    this.#open = true;
    for (const octets of this.#held) this.push(octets);
    this.#held = [];
    this.#heldOctets = 0;
    this.#begun();
  }
}
