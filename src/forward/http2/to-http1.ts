import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import type { UpstreamConfig } from '../../config/schema.ts';
import type { Answered, Call, Question } from '../message.ts';
import { finalAnswer } from '../general.ts';
import { pumpBody } from '../pump.ts';
import { isWhole } from '../relay.ts';
import { connectFault, isOpen, repeatable, type Failed, type Turn, type TurnResult } from '../upstream/pool.ts';
import { watchStillness, type Stillness } from '../upstream/stillness.ts';
import { askInTurn, type Attempt } from '../upstream/tries.ts';

/** Asks an upstream by HTTP/1.1, over its pooled connections. */
export function askByHttp1(question: Question): Call {
  return askInTurn(question, (turn, settled) => attempt(question, turn, settled));
}

function attempt(question: Question, turn: Turn, settled: Parameters<Attempt>[1]): () => void {
  const { body } = question;
  const { endpoint } = turn;
  let timedOut = false;
  let cancelled = false;
  let message: IncomingMessage | undefined;
  let socket: Duplex | undefined;
  let stillness: Stillness | undefined;
  let opened = false;
  let over = false;
  const settle = (answered: Answered, again: boolean): void => {
    if (over) return;
    over = true;
    settled(answered, again);
  };
  const outgoing = httpsRequest({
    host: endpoint.url.hostname.replace(/^\[|\]$/g, ''),
    port: endpoint.url.port === '' ? 443 : endpoint.url.port,
    method: question.method,
    path: question.path,
    headers: framed(question),
    agent: endpoint.agent,
    setHost: false,
  });
  outgoing.once('socket', (given) => {
    socket = given;
    stillness = watchStillness(given, question.patience, stoodStill);
    outgoing.once('close', () => stillness?.stop());
    if (isOpen(given)) send();
    else given.once('secureConnect', send);
  });
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    const late = { result: 'timeout', code: 'upstream_timeout', detail: `${error.code ?? error.name}: ${error.message}` } as const;
    const { result, code, detail } = timedOut ? late : opened ? { ...sentFault(error), ...(outgoing.reusedSocket ? { result: 'stale' as const } : {}) } : connectFault(socket, error);
    turn.done(message === undefined && !cancelled ? result : resultOf(), detail);
    settle({ kind: 'failed', code, detail }, !timedOut && (!opened || repeatable(question.method, body !== undefined)));
  });
  outgoing.on('response', (incoming) => {
    message = incoming;
    turn.answering();
    incoming.on('error', () => undefined);
    stillness?.after(question.idle);
    settle(messageAnswer(incoming, () => timedOut, question.upstream.config.unframed), false);
  });
  // Nobody asked to switch protocols.
  outgoing.on('upgrade', (_message, socket) => {
    socket.destroy();
    settle({ kind: 'failed', code: 'upstream_unavailable', detail: 'the upstream switched protocols uninvited' }, false);
  });
  outgoing.on('close', () => {
    turn.done(resultOf());
    settle({ kind: 'failed', code: 'upstream_unavailable', detail: 'the upstream\'s connection ended without an answer' }, false);
  });

  /** Only once the connection is open: until then nothing of the request is used up, and it may go elsewhere as a whole. */
  function send(): void {
    opened = true;
    if (body === undefined) return void outgoing.end();
    pumpBody(body, outgoing, () => outgoing.destroy(), () => {
      const fields = body.trailers();
      if (fields.length > 0 && !outgoing.hasHeader('content-length')) outgoing.addTrailers(pairs(fields));
    });
  }

  /** Nothing has passed for as long as anything is waited for. That a client takes nothing, or sends nothing, is not the upstream's doing. */
  function stoodStill(): void {
    if (!opened || message?.isPaused() === true) return;
    if (message === undefined && !outgoing.writableFinished && !outgoing.writableNeedDrain) return;
    timedOut = true;
    outgoing.destroy(new Error(message === undefined ? 'no answer in time' : 'the answer stands still'));
  }

  function resultOf(): TurnResult {
    if (message?.complete === true) return 'answered';
    return timedOut ? 'timeout' : cancelled ? 'abandoned' : 'failed';
  }

  return () => {
    cancelled = true;
    outgoing.destroy();
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

/** What Node's client has read, as an answer; `late` says whether it was cut because it stood still. */
export function messageAnswer(message: IncomingMessage, late: () => boolean, unframed: UpstreamConfig['unframed']): Answered {
  const final = finalAnswer(message, unframed);
  if (final.kind !== 'answer') return final.kind === 'failed' ? final : { kind: 'failed', code: 'upstream_unavailable', detail: 'no answer' };
  const length = message.headers['content-length'];
  return {
    kind: 'answer',
    status: message.statusCode as number,
    fields: message.rawHeaders,
    length: length === undefined ? undefined : Number(length),
    body: message,
    whole: () => isWhole(message),
    late,
    trailers: () => message.rawTrailers,
  };
}

function sentFault(error: NodeJS.ErrnoException): { readonly result: TurnResult; readonly code: Failed['code']; readonly detail: string } {
  return { result: 'failed', code: 'upstream_unavailable', detail: `${error.code ?? error.name}: ${error.message}` };
}
