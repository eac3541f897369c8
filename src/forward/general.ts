import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import httpProxy from 'http-proxy';
import type { Permit } from '../policy/authorize.ts';
import { createHttp2Forwarder } from './upstream/http2-forwarder.ts';
import type { Failed, Turn, TurnResult, Upstream } from './upstream/pool.ts';

/** What came of asking the upstream. */
export type Answer =
  | { readonly kind: 'answer'; readonly message: IncomingMessage }
  | Failed
  | { readonly kind: 'client_left' };

/** A permitted request on its way. `request.headers` already is the header section for the upstream. */
export interface Forwarding {
  readonly permit: Permit;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly upstream: Upstream;
  /** Whose request it is, for the choice of an endpoint. */
  readonly key: string;
}

/** Forwards permitted requests; only `authorize` can make what it takes. */
export interface GeneralForwarder {
  forward(forwarding: Forwarding): Promise<Answer>;
  /** Ends the upstream side of a request: its body was too large, or its client is gone. */
  cancel(request: IncomingMessage): void;
}

interface Exchange {
  readonly settle: (answer: Answer) => void;
  readonly turn: Turn;
  readonly deadline: number;
  upstreamRequest?: ClientRequest;
  message?: IncomingMessage;
  timedOut: boolean;
  cancelled: boolean;
}

/** Methods that may be sent again when a pooled connection turns out to be closed (RFC 9110 section 9.2.2). */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

/** The forwarder of every shape of HTTP/1.1 message, to upstreams of either version. */
export function createGeneralForwarder(): GeneralForwarder {
  const [http1, http2] = [createHttp1Forwarder(), createHttp2Forwarder()];
  return {
    forward: (forwarding) => (forwarding.upstream.config.protocol === 'h2' ? http2 : http1).forward(forwarding),
    cancel(request) {
      http1.cancel(request);
      http2.cancel(request);
    },
  };
}

/** The forwarder to upstreams that speak HTTP/1.1, on `http-proxy`. */
function createHttp1Forwarder(): GeneralForwarder {
  const exchanges = new WeakMap<IncomingMessage, Exchange>();
  const proxy = httpProxy.createProxyServer({});
  removeLengthPass(proxy);
  proxy.on('proxyReq', (upstreamRequest, request) => {
    const exchange = exchanges.get(request);
    if (exchange === undefined) return;
    exchange.upstreamRequest = upstreamRequest;
    // Nobody asked to switch protocols: http-proxy would wait for an answer that never comes.
    upstreamRequest.on('upgrade', (_message: IncomingMessage, socket: Duplex) => {
      socket.destroy();
      exchange.settle({ kind: 'failed', code: 'upstream_unavailable', detail: 'the upstream switched protocols uninvited' });
    });
    upstreamRequest.on('close', () => {
      exchange.turn.done(resultOf(exchange));
      // Not for an attempt that another has taken the place of.
      if (exchanges.get(request) === exchange) exchange.settle({ kind: 'failed', code: 'upstream_unavailable', detail: 'the upstream\'s connection ended without an answer' });
    });
    upstreamRequest.setTimeout(exchange.deadline, () => {
      exchange.timedOut = true;
      upstreamRequest.destroy(new Error('no answer in time'));
    });
  });
  proxy.on('proxyRes', (message, request) => {
    const exchange = exchanges.get(request);
    if (exchange === undefined) return;
    exchange.message = message;
    exchange.settle(finalAnswer(message));
  });
  proxy.on('econnreset', (_error, request) => exchanges.get(request)?.settle({ kind: 'client_left' }));

  function attempt(forwarding: Forwarding, settle: (answer: Answer) => void, again: boolean): void {
    const { request, response, upstream } = forwarding;
    const turn = upstream.choose(forwarding.key);
    if (turn.kind === 'failed') return settle(turn);
    const { endpoint } = turn;
    const exchange: Exchange = { settle, turn, deadline: upstream.config.timeouts.response, timedOut: false, cancelled: false };
    exchanges.set(request, exchange);
    proxy.web(request, response, {
      target: endpoint.url,
      agent: endpoint.agent,
      secure: true,
      selfHandleResponse: true,
      connectTimeout: upstream.config.timeouts.connect,
      ssl: exactPath(request.url as string),
    }, (error) => {
      const sent = exchange.upstreamRequest;
      turn.done(resultOf(exchange));
      if (again && sent?.reusedSocket === true && !exchange.timedOut && repeatable(request)) {
        return attempt(forwarding, settle, false);
      }
      settle(failure(error as NodeJS.ErrnoException, exchange.timedOut));
    });
  }

  return {
    forward: (forwarding) => new Promise((resolve) => {
      forwarding.response.once('close', () => {
        if (!forwarding.response.writableFinished) resolve({ kind: 'client_left' });
      });
      attempt(forwarding, resolve, true);
    }),
    cancel(request) {
      const exchange = exchanges.get(request);
      if (exchange === undefined) return;
      exchange.cancelled = true;
      exchange.upstreamRequest?.destroy();
    },
  };
}

function resultOf({ timedOut, cancelled, message }: Exchange): TurnResult {
  if (message?.complete === true) return 'answered';
  if (timedOut) return 'timeout';
  return cancelled ? 'abandoned' : 'failed';
}

function repeatable(request: IncomingMessage): boolean {
  return REPEATABLE.has(request.method as string)
    && request.headers['content-length'] === undefined
    && request.headers['transfer-encoding'] === undefined;
}

/**
 * The `deleteLength` pass turns a chunked DELETE into `content-length: 0` followed by the raw body, which the upstream
 * reads as a second request. The pass list is private in the types, and this is the only way to be rid of it.
 */
function removeLengthPass(proxy: object): void {
  const passes = (proxy as { webPasses: { name: string }[] }).webPasses;
  const index = passes.findIndex((pass) => pass.name === 'deleteLength');
  if (index === -1) throw new Error('http-proxy has no deleteLength pass any more: check what replaced it');
  passes.splice(index, 1);
}

/**
 * http-proxy sends a path that it has parsed and put together again, dot segments resolved. The path that was matched
 * is the one that must leave, byte for byte, so what http-proxy computes is not taken: an object that keeps its path.
 */
function exactPath(path: string): object {
  return {
    get path() {
      return path;
    },
    set path(_rewritten: string) {
      // why: http-proxy assigns its own reading here.
    },
  };
}

/** What an upstream's head is worth: its connection is ended when the status is none that ends an exchange (RFC 9110 section 15). */
export function finalAnswer(message: IncomingMessage): Answer {
  const status = message.statusCode ?? 0;
  if (status >= 200 && status <= 599) return { kind: 'answer', message };
  message.destroy();
  return { kind: 'failed', code: 'upstream_unavailable', detail: `the upstream answered with status ${status}` };
}

function failure(error: NodeJS.ErrnoException, timedOut: boolean): Answer {
  const code = timedOut || error.code === 'ECONNECT_TIMEOUT' ? 'upstream_timeout' : 'upstream_unavailable';
  return { kind: 'failed', code, detail: `${error.code ?? error.name}: ${error.message}` };
}
