import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Permit } from '../policy/decision.ts';
import type { Failed, Trail, Upstream } from './upstream/upstream.ts';

/** A permitted request on its way to its upstream, in whatever version of HTTP it came and goes. */
export interface Question {
  readonly permit: Permit;
  readonly method: string;
  /** The request target, byte for byte as it was matched. */
  readonly path: string;
  /** The header section for the upstream, `host` included. */
  readonly fields: IncomingHttpHeaders;
  /** Fields that the client wants in no compression table (RFC 7541 section 7.1.3). */
  readonly sensitive: readonly string[];
  /** Absent when the request has no body. */
  readonly body?: RequestBody;
  /** Whether it is a gRPC call: its answer is not whole without its trailers. */
  readonly grpc: boolean;
  /** Whether the client reads trailers (`TE: trailers`). */
  readonly trailers: boolean;
  readonly upstream: Upstream;
  /** Whose request it is, for the choice of an endpoint. */
  readonly key: string;
  readonly trail: Trail;
  /** Milliseconds to wait for the head of the answer. */
  readonly patience: number;
  /** Milliseconds that the body of the answer may stand still; infinite for streams of messages. */
  readonly idle: number;
}

export interface RequestBody {
  readonly stream: Readable;
  /** Whether the client has announced trailers. */
  readonly announced: boolean;
  /** At the stream's end: whether the client has sent all of it. */
  whole(): boolean;
  /** Name, value, name, value…; known at the end. */
  trailers(): readonly string[];
}

/** An upstream's answer, its body still to be read. */
export interface UpstreamAnswer {
  readonly kind: 'answer';
  readonly status: number;
  /** Name, value, name, value…: as received, without pseudo-header fields. */
  readonly fields: readonly string[];
  /** Those of them that the upstream wants in no compression table. */
  readonly sensitive?: readonly string[];
  /** Octets of body that were announced; undefined when they were not. */
  readonly length: number | undefined;
  /** Octets where all of it came at once. */
  readonly body: Readable | Buffer;
  /** At the body's end: whether the upstream has sent all of it. */
  whole(): boolean;
  /** Whether it was cut because it stood still for too long. */
  late(): boolean;
  trailers(): readonly string[];
  /** The code with which the upstream reset the stream that the answer came by; undefined where nothing was reset. */
  resetCode?(): number | undefined;
}

export type Answered = UpstreamAnswer | Failed;

export interface Call {
  /** Never rejects; stays open for ever once the call was cancelled. */
  readonly answer: Promise<Answered>;
  /** Ends the upstream side: the client is gone, or a limit of ours ended the request. */
  cancel(): void;
  /** Where it keeps no clock of its own: to be called every now and then, `now` in ms on the monotonic clock. */
  look?(now: number): void;
}

/** An answer in the shape of Node's own, as far as it is read: the stream of its body, with its head. */
export function messageOf({ status, fields, length, body, whole, trailers }: UpstreamAnswer): IncomingMessage {
  return Object.defineProperties(Buffer.isBuffer(body) ? Readable.from(body.length === 0 ? [] : [body]) : body, {
    statusCode: { value: status },
    rawHeaders: { value: fields },
    headers: { value: length === undefined ? {} : { 'content-length': String(length) } },
    complete: { get: whole },
    rawTrailers: { get: trailers },
  }) as unknown as IncomingMessage;
}
