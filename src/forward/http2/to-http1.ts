import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { Answered, Call, Question } from '../message.ts';
import { finalAnswer } from '../general.ts';
import { pumpBody } from '../pump.ts';
import type { Turn } from '../upstream/pool.ts';

/** Methods that may be sent again when a pooled connection turns out to be closed (RFC 9110 section 9.2.2). */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

/** Asks an upstream by HTTP/1.1, over its pooled connections. */
export function askByHttp1(question: Question): Call {
  let current: Attempt | undefined;
  let cancelled = false;
  const answer = new Promise<Answered>((resolve) => {
    const start = (again: boolean): void => {
      const turn = question.upstream.choose(question.key);
      if (turn.kind === 'failed') return resolve(turn);
      current = attempt(question, turn, (answered, reused) => {
        if (answered.kind === 'failed' && again && reused && !cancelled && repeatable(question)) return start(false);
        if (!cancelled) resolve(answered);
      });
    };
    start(true);
  });
  return {
    answer,
    cancel() {
      cancelled = true;
      current?.cancel();
    },
  };
}

interface Attempt {
  cancel(): void;
}

function attempt(question: Question, turn: Turn, settle: (answered: Answered, reused: boolean) => void): Attempt {
  const { body } = question;
  const { endpoint } = turn;
  let timedOut = false;
  let cancelled = false;
  let message: IncomingMessage | undefined;
  const outgoing = httpsRequest({
    host: endpoint.url.hostname.replace(/^\[|\]$/g, ''),
    port: endpoint.url.port === '' ? 443 : endpoint.url.port,
    method: question.method,
    path: question.path,
    headers: framed(question),
    agent: endpoint.agent,
    setHost: false,
  });
  outgoing.on('socket', (socket) => limitConnect(socket as TLSSocket, question.upstream.config.timeouts.connect, () => {
    timedOut = true;
    outgoing.destroy(new Error('no connection in time'));
  }));
  outgoing.setTimeout(question.patience);
  outgoing.on('timeout', () => {
    // Standing still because the client takes nothing is not the upstream's doing.
    if (message?.isPaused() === true) return;
    timedOut = true;
    outgoing.destroy(new Error(message === undefined ? 'no answer in time' : 'the answer stands still'));
  });
  outgoing.on('error', (error: NodeJS.ErrnoException) => settle({
    kind: 'failed', code: timedOut ? 'upstream_timeout' : 'upstream_unavailable', detail: `${error.code ?? error.name}: ${error.message}`,
  }, outgoing.reusedSocket && !timedOut));
  outgoing.on('response', (incoming) => {
    message = incoming;
    incoming.on('error', () => undefined);
    outgoing.setTimeout(question.idle === Infinity ? 0 : question.idle);
    settle(answerOf(incoming), false);
  });
  // Nobody asked to switch protocols.
  outgoing.on('upgrade', (_message, socket) => {
    socket.destroy();
    settle({ kind: 'failed', code: 'upstream_unavailable', detail: 'the upstream switched protocols uninvited' }, false);
  });
  outgoing.on('close', () => {
    turn.done(message?.complete === true ? 'answered' : timedOut ? 'timeout' : cancelled ? 'abandoned' : 'failed');
    settle({ kind: 'failed', code: 'upstream_unavailable', detail: 'the upstream\'s connection ended without an answer' }, false);
  });
  if (body === undefined) outgoing.end();
  else pumpBody(body, outgoing, () => outgoing.destroy(), () => {
    const fields = body.trailers();
    if (fields.length > 0 && !outgoing.hasHeader('content-length')) outgoing.addTrailers(pairs(fields));
  });
  return {
    cancel() {
      cancelled = true;
      outgoing.destroy();
    },
  };
}

/** The header section with the framing that HTTP/1.1 needs: HTTP/2 frames a body without a word about it. */
function framed({ method, fields, body }: Question): Question['fields'] {
  if (fields['content-length'] !== undefined) return fields;
  if (body !== undefined) return { ...fields, 'transfer-encoding': 'chunked' };
  return method === 'POST' || method === 'PUT' || method === 'PATCH' ? { ...fields, 'content-length': '0' } : fields;
}

function pairs(fields: readonly string[]): [string, string][] {
  return Array.from({ length: fields.length / 2 }, (_, index) => [fields[index * 2] as string, fields[index * 2 + 1] as string]);
}

function answerOf(message: IncomingMessage): Answered {
  const final = finalAnswer(message);
  if (final.kind !== 'answer') return final.kind === 'failed' ? final : { kind: 'failed', code: 'upstream_unavailable', detail: 'no answer' };
  const length = message.headers['content-length'];
  return {
    kind: 'answer',
    status: message.statusCode as number,
    fields: message.rawHeaders,
    length: length === undefined ? undefined : Number(length),
    body: message,
    whole: () => message.complete,
    trailers: () => message.rawTrailers,
  };
}

/** A pooled connection that is open already has no time to keep. */
function limitConnect(socket: TLSSocket, limit: number, late: () => void): void {
  if (!socket.connecting && !(socket as { secureConnecting?: boolean }).secureConnecting) return;
  const timer = setTimeout(late, limit);
  const stop = (): void => clearTimeout(timer);
  socket.once('secureConnect', stop);
  socket.once('close', stop);
}

function repeatable({ method, body }: Question): boolean {
  return body === undefined && REPEATABLE.has(method);
}
