import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AuditRecord } from '../../audit/record.ts';
import type { Client } from '../client.ts';
import { openExchange, type Exchange } from '../exchange.ts';
import type { HttpOptions } from '../http-options.ts';
import { isLastRequest, type RequestLimit } from '../limits.ts';
import { bodyTooLarge } from '../obstacle.ts';
import type { ProblemCode } from '../problem.ts';
import { askedOf, messageFault, offersUpgrade } from './message.ts';

/** What spoils a request that has begun: it is refused for what came of it, or for how; `cut`: no more came. */
export type Spoiling = { readonly kind: 'cut' } | Refusal;

export interface Refusal {
  readonly kind: 'refusal';
  readonly code: ProblemCode;
  readonly verdict: Verdict;
  /** The limit that it ran into. */
  readonly limit?: RequestLimit;
}

export type Verdict = Pick<AuditRecord, 'result' | 'reason' | 'detail'>;

/** An exchange with Node's two halves of it. */
export interface Http1Exchange extends Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Nothing behind it is served: it ends the connection, or where it ends itself is not sure. */
  last: boolean;
  /** Set once its answer has begun, and nothing but the end of the connection will say where that ends. */
  lasting: boolean;
  /** Set once it is refused: what goes wrong with it from then on is nobody's concern. */
  refused: boolean;
  /** Set once it is spoilt; `whenSpoilt` resolves then. */
  spoilt: Spoiling | undefined;
  readonly whenSpoilt: Promise<Spoiling>;
  readonly spoil: (spoiling: Spoiling) => void;
  /** From now on its client may take their time. */
  readonly stopPace: () => void;
}

/** Opens the exchange of a request that Node has read; `expectation` is what is wrong with it beside what `messageFault` finds. */
export function openHttp1Exchange(options: HttpOptions, client: Client, request: IncomingMessage, response: ServerResponse, expectation: string | undefined): Http1Exchange {
  const fault = expectation ?? messageFault(request);
  const service = options.service();
  const { promise: whenSpoilt, resolve } = Promise.withResolvers<Spoiling>();
  const exchange: Http1Exchange = Object.assign(openExchange(askedOf(request, fault), client, service), {
    request, response, last: fault !== undefined || !response.shouldKeepAlive || offersUpgrade(request), lasting: false, refused: false, spoilt: undefined, whenSpoilt,
    spoil(spoiling: Spoiling) {
      if (exchange.spoilt !== undefined) return;
      exchange.spoilt = spoiling;
      if (spoiling.kind === 'refusal' && spoiling.limit !== undefined && !exchange.refused) options.cut(spoiling.limit);
      resolve(spoiling);
    },
    stopPace: options.pace.watch(request.socket, {
      // A body that the upstream does not take at the moment is not waited for.
      awaitsBody: () => !request.complete && request.readableFlowing === true && request.readableLength === 0,
      tooSlow(side) {
        const detail = side === 'request' ? 'the body came too slowly' : 'the client took the answer too slowly';
        exchange.spoil({ kind: 'refusal', code: 'request_timeout', verdict: { result: 'failed', reason: 'too_slow', detail }, limit: 'min_rate' });
        if (side === 'answer') request.socket.destroy();
      },
    }),
  });
  response.once('close', exchange.stopPace);
  if (isLastRequest(client.countRequest(), service.listener.limits)) {
    options.cut('requests_per_connection');
    exchange.last = true;
  }
  return exchange;
}

/** What is said of a request with more fields than it may have. */
export function fieldsBeyond({ request, service }: Http1Exchange, cut: HttpOptions['cut']): Verdict | undefined {
  const fields = request.rawHeaders.length / 2;
  if (fields <= service.listener.limits.header_fields) return undefined;
  cut('header_fields');
  return { result: 'denied', reason: 'headers_too_large', detail: `${fields} header fields` };
}

/** Counts a body as it passes, and spoils it when it grows over the limit. */
export function countBody(exchange: Http1Exchange, limit: number): void {
  exchange.request.on('data', (chunk: Buffer) => {
    exchange.bytesIn += chunk.length;
    if (exchange.bytesIn <= limit) return;
    const { code, reason, detail, limit: ran } = bodyTooLarge(limit);
    exchange.spoil({ kind: 'refusal', code, verdict: { result: 'failed', reason, detail }, limit: ran });
  });
  // Not before someone reads: a listener for data would otherwise start the flow.
  exchange.request.pause();
}
