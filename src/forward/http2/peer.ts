import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { AuditRecord } from '../../audit/record.ts';
import type { HttpsListenerConfig } from '../../config/schema.ts';
import type { Reason } from '../../policy/facts.ts';
import type { Client } from '../client.ts';
import type { Exchange } from '../exchange.ts';
import type { RecordRest } from '../fast/record-line.ts';
import type { KnownHead } from '../fast/request.ts';
import { trailerFields } from '../headers.ts';
import type { RequestLimit } from '../limits.ts';
import type { Call, RequestBody } from '../message.ts';
import type { ProblemCode } from '../problem.ts';
import type { Allowance } from './allowance.ts';
import type { KnownAnswerHead } from './answers.ts';
import { readRequestHead, type RequestHead } from './fields.ts';
import type { RawMemory } from './raw-call.ts';
import type { StreamEnd } from './stream-end.ts';

/** One stream on its way through the gateway. */
export interface StreamExchange extends Exchange {
  readonly stream: ServerHttp2Stream;
  readonly peer: Peer;
  readonly head: RequestHead;
  /** The same in the form that bare connections to upstreams are written from. */
  readonly known: KnownHead;
  /** Fields that must never be put into a compression table (RFC 7541 section 7.1.3). */
  readonly sensitive: readonly string[];
  /** How the octets of the request came to their end. */
  readonly end: () => StreamEnd;
  /** Whether the client asks as gRPC does: it is told of problems in that way. */
  readonly asksGrpc: boolean;
  /** Whether it is a gRPC call from end to end: then its silence and its pace are its own. */
  grpc: boolean;
  /** Whether it is a WebSocket by now. */
  tunnel: boolean;
  call: Call | undefined;
  /** Octets of body that were given to the stream. */
  bytesOut: number;
  /** Whether the client's pace is watched. */
  paced: boolean;
  /** When the client stopped taking what waits for it; 0 while it takes. */
  waitingSince: number;
  /** When an octet passed last, either way. */
  activeAt: number;
  /** Whether the request has been received to its end. */
  received: boolean;
  /** Why we ended it before its time. */
  cut: Cut | undefined;
  /** Told when something ends it before its answer has begun. */
  interrupted: ((why: Interruption) => void) | undefined;
}

/** The end of a request before its answer: by us, or by its client. */
export type Interruption = Cut | { readonly kind: 'client_left' };

/** An end before its time: what the client is told where it still can be, and what goes on record. */
export interface Cut {
  readonly kind: 'cut';
  readonly code: ProblemCode;
  /** What goes on record of one whose answer has not begun. */
  readonly result: 'denied' | 'failed';
  readonly reason: Reason | undefined;
  readonly detail: string;
  /** The limit that it ran into. */
  readonly limit: RequestLimit | undefined;
}

/** One HTTP/2 connection. */
export interface Peer {
  readonly socket: TLSSocket;
  readonly client: Client;
  readonly terminated: (reason: Reason, detail: string) => void;
  readonly session: ServerHttp2Session;
  readonly allowance: Allowance;
  readonly streams: Set<StreamExchange>;
  /** What the limits are for this connection: those of the configuration under which it came. */
  readonly config: HttpsListenerConfig;
  /** Set once the client's first SETTINGS have come. */
  greeted: boolean;
  /** When it was asked to go elsewhere; 0 before. */
  leavingSince: number;
  /** When the session was first seen to be over, its connection not; 0 while it is not. */
  overSince: number;
  idleSince: number;
  /** What was asked last: clients repeat themselves. */
  last: { readonly raw: readonly string[]; readonly head: RequestHead; readonly known: KnownHead } | undefined;
  readonly memory: RawMemory;
  rest: RecordRest | undefined;
  answerHead: KnownAnswerHead | undefined;
  /** Control frames that Node tells of, until the account is settled next. */
  frames: number;
}

/** A request's header section: read once as long as a client repeats it, which is most of what clients do. */
export function readAgain(peer: Peer, raw: readonly string[]): NonNullable<Peer['last']> {
  const { last } = peer;
  if (last !== undefined && last.raw.length === raw.length && last.raw.every((text, index) => text === raw[index])) return last;
  const head = readRequestHead(raw);
  const known: KnownHead = { octets: NO_OCTETS, asked: head.asked, host: head.fields[1] as string, fields: head.fields, bodyLength: 0, close: false };
  peer.last = { raw, head, known };
  return peer.last;
}

const NO_OCTETS = Buffer.alloc(0);

/** The body of a stream's request. */
export function bodyOf(exchange: StreamExchange): RequestBody {
  const { stream, end } = exchange;
  let fields: readonly string[] = [];
  stream.on('trailers', (_headers: unknown, _flags: unknown, raw: string[]) => {
    fields = raw;
  });
  return { stream, announced: exchange.head.announced, whole: () => end().kind === 'ended', trailers: () => trailerFields(fields, exchange.head.fields) };
}

/** What goes on record of why a request was ended. */
export function causeOf({ reason, detail }: Pick<Cut, 'reason' | 'detail'>): Pick<AuditRecord, 'reason' | 'detail'> {
  return { detail, ...(reason === undefined ? {} : { reason }) };
}

/** Counts a body as it passes. */
export function watchBody(exchange: StreamExchange, passed: () => void): void {
  const { stream, peer, end } = exchange;
  stream.on('data', (chunk: Buffer) => {
    exchange.bytesIn += chunk.length;
    exchange.activeAt = performance.now();
    peer.allowance.received(chunk.length);
    passed();
  });
  stream.on('end', () => {
    exchange.received = end().kind === 'ended';
  });
  // Not before someone reads: a listener for data would otherwise start the flow.
  stream.pause();
}

export function cutFor(code: ProblemCode, reason: Reason | undefined, detail: string, limit?: RequestLimit): Cut {
  return { kind: 'cut', code, result: 'failed', reason, detail, limit };
}
