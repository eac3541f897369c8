import type { IncomingMessage } from 'node:http';
import { heldBody } from '../bond.ts';
import type { Answer, Forwarding, GeneralForwarder } from '../general.ts';
import { trailerFields } from '../headers.ts';
import { messageOf, type Call, type UpstreamAnswer } from '../message.ts';
import { askByHttp2 } from './http2-call.ts';

/** The forwarder from Node's HTTP/1.1 server to upstreams that speak HTTP/2. */
export function createHttp2Forwarder(): GeneralForwarder {
  const calls = new WeakMap<IncomingMessage, Call>();
  const answers = new WeakMap<IncomingMessage, UpstreamAnswer>();
  return {
    async forward({ permit, request, response, upstream, key, trail, held }: Forwarding): Promise<Answer> {
      const { response: patience, idle } = upstream.config.timeouts;
      const call = askByHttp2({
        permit, method: request.method as string, path: request.url as string, fields: request.headers, sensitive: [], grpc: false, trailers: false, upstream, key, trail, patience, idle,
        ...(held !== undefined ? heldBody(held) : hasBody(request) ? { body: { stream: request, announced: request.headers['transfer-encoding'] !== undefined, whole: () => request.complete, trailers: () => trailerFields(request.rawTrailers, request.rawHeaders) } } : {}),
      });
      calls.set(request, call);
      const left = new Promise<{ readonly kind: 'client_left' }>((resolve) => response.once('close', () => {
        if (response.writableFinished) return;
        call.cancel();
        resolve({ kind: 'client_left' });
      }));
      const answered = await Promise.race([call.answer, left]);
      if (answered.kind !== 'answer') return answered;
      answers.set(request, answered);
      return { kind: 'answer', message: messageOf(answered) };
    },
    cancel: (request) => calls.get(request)?.cancel(),
    cut: (request) => (answers.get(request)?.late() === true ? { by: 'upstream', detail: 'the upstream\'s answer stood still for too long' } : undefined),
  };
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}
