import { constants, type ClientHttp2Stream } from 'node:http2';
import type { Answered, Call, Question, UpstreamAnswer } from '../message.ts';
import { pumpBody } from '../pump.ts';
import { resetStream } from '../http2/reset.ts';
import { markSensitive, sensitiveOf } from '../http2/sensitive.ts';
import { watchEnd } from '../http2/stream-end.ts';
import { trailerRecord } from '../http2/trailers.ts';
import { sessionsOf, type UpstreamSession } from './http2-sessions.ts';
import { repeatable, type Turn } from './pool.ts';
import { askInTurn, type Attempt } from './tries.ts';

/** Told what came of an attempt, and whether there may be another: when nothing of it can have been done. */
type Settled = Parameters<Attempt>[1];

/** Asks an upstream by HTTP/2, over its shared connections. */
export function askByHttp2(question: Question): Call {
  return askInTurn(question, (turn, settled) => attempt(question, turn, (answered, again) => settled(answered, again && !begun(question))));
}

/** Whether the client's body has been read from: what has been sent away cannot be sent again. */
function begun({ body }: Question): boolean {
  return body !== undefined && body.stream.readableDidRead;
}

function attempt(question: Question, turn: Turn, settled: Settled): () => void {
  let stream: ClientHttp2Stream | undefined;
  const callOff = sessionsOf(turn.endpoint, question.upstream.config.timeouts.idle).take((session) => {
    stream = send(question, turn, session, settled);
  }, (fault) => {
    turn.done(fault.result, fault.detail);
    // Nothing has been sent.
    settled({ kind: 'failed', code: fault.code, detail: fault.detail }, true);
  });
  return () => {
    turn.done('abandoned');
    callOff();
    if (stream !== undefined) resetStream(stream, constants.NGHTTP2_CANCEL);
  };
}

function send(question: Question, turn: Turn, line: UpstreamSession, settled: Settled): ClientHttp2Stream {
  const { body } = question;
  const stream = line.session.request(requestHead(question), { endStream: body === undefined, waitForTrailers: body?.announced === true });
  const end = watchEnd(stream);
  /**
   * Node's own HTTP/2 servers reset streams without an error in place of END_STREAM when the end has to wait for the window (RFC 9113
   * section 8.1 has that reset come after it). An announced length says whether that was all; without one it is an answer without framing.
   */
  const whole = (): boolean => {
    const { kind, octets } = end();
    if (kind !== 'reset') return kind === 'ended';
    return !question.grpc && (length === undefined ? question.upstream.config.unframed === 'pass' : octets === length);
  };
  let length: number | undefined;
  let timedOut: string | undefined;
  let trailers: readonly string[] = [];
  let status = 0;
  let error: NodeJS.ErrnoException | undefined;
  const late = (why: string) => (): void => {
    timedOut = why;
    resetStream(stream, constants.NGHTTP2_CANCEL);
  };
  let timer = setTimeout(late('no answer in time'), question.patience);
  stream.on('error', (cause: NodeJS.ErrnoException) => {
    error = cause;
  });
  stream.on('response', (headers, _flags, raw) => {
    clearTimeout(timer);
    turn.answering();
    status = Number(headers[':status']);
    if (question.idle !== Infinity) {
      timer = setTimeout(() => {
        // Standing still because the client takes nothing is not the upstream's doing.
        if (stream.isPaused()) timer.refresh();
        else late('the answer stands still')();
      }, question.idle);
      stream.on('data', () => void timer.refresh());
    }
    const answered = answerOf(stream, status, raw, {
      sensitive: sensitiveOf(headers),
      whole,
      late: () => timedOut !== undefined,
      trailers: () => trailers,
      // Node gives streams of a connection that was lost a code that nobody sent.
      resetCode: () => (line.session.destroyed ? undefined : stream.rstCode),
    });
    length = answered.kind === 'answer' ? answered.length : undefined;
    settled(answered, false);
  });
  stream.on('trailers', (_headers: unknown, _flags: unknown, raw: string[]) => {
    trailers = raw;
  });
  stream.once('close', () => {
    clearTimeout(timer);
    line.release();
    // What the upstream says it has not processed says nothing against it: it may be going away in good order.
    const refused = status === 0 && line.unprocessed(stream.id, stream.rstCode ?? 0);
    const detail = timedOut ?? (error === undefined ? `the upstream reset the stream with ${stream.rstCode}` : `${error.code ?? error.name}: ${error.message}`);
    turn.done(whole() ? 'answered' : timedOut !== undefined ? 'timeout' : refused ? 'stale' : 'failed', detail);
    if (status !== 0) return;
    const again = timedOut === undefined && (refused || repeatable(question.method, body !== undefined));
    settled({ kind: 'failed', code: timedOut === undefined ? 'upstream_unavailable' : 'upstream_timeout', detail }, again);
  });
  if (body !== undefined) {
    body.stream.on('data', () => {
      if (status === 0) timer.refresh();
    });
    if (body.announced) stream.once('wantTrailers', () => stream.sendTrailers(trailerRecord(body.trailers())));
    pumpBody(body, stream, () => resetStream(stream, constants.NGHTTP2_CANCEL));
  }
  return stream;
}

function answerOf(stream: ClientHttp2Stream, status: number, raw: readonly string[], end: Pick<UpstreamAnswer, 'sensitive' | 'whole' | 'late' | 'trailers' | 'resetCode'>): Answered {
  if (status < 200 || status > 599) {
    resetStream(stream, constants.NGHTTP2_CANCEL);
    return { kind: 'failed', code: 'upstream_unavailable', detail: `the upstream answered with status ${status}` };
  }
  const fields: string[] = [];
  let length: number | undefined;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    if (name.startsWith(':')) continue;
    if (name === 'content-length') length = Number(raw[index + 1]);
    fields.push(name, raw[index + 1] as string);
  }
  return { kind: 'answer', status, fields, length, body: stream, ...end };
}

function requestHead({ method, path, fields, trailers, sensitive }: Question): string[] {
  const head = [':method', method, ':scheme', 'https', ':authority', String(fields.host), ':path', path];
  for (const name in fields) {
    if (name === 'host' || name === 'transfer-encoding') continue;
    const value = fields[name];
    if (typeof value === 'string') head.push(name, value);
    else for (const one of value ?? []) head.push(name, one);
  }
  // The one hop-by-hop field that HTTP/2 has: gRPC servers refuse calls without it.
  if (trailers) head.push('te', 'trailers');
  return markSensitive(head, sensitive);
}
