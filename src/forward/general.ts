import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import httpProxy from 'http-proxy';
import type { UpstreamConfig } from '../config/schema.ts';
import type { Permit } from '../policy/decision.ts';
import { checkAnswer } from './headers.ts';
import { createHttp2Forwarder } from './upstream/http2-forwarder.ts';
import { connectFault, isOpen, repeatable, type Failed, type Trail, type Turn, type TurnResult, type Upstream } from './upstream/pool.ts';
import { watchStillness } from './upstream/stillness.ts';
import { createTries, type Tries } from './upstream/tries.ts';

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
  /** The body where all of it has been read already; then nothing is read of `request` any more. */
  readonly held?: Buffer;
  /** Whose request it is, for the choice of an endpoint. */
  readonly key: string;
  readonly trail: Trail;
}

/** Forwards permitted requests; only `authorize` can make what it takes. */
export interface GeneralForwarder {
  forward(forwarding: Forwarding): Promise<Answer>;
  /** Ends the upstream side of a request: its body was too large, or its client is gone. */
  cancel(request: IncomingMessage): void;
  /** Why an answer was cut by a deadline of ours; undefined when it was not. */
  cut(request: IncomingMessage): Cut | undefined;
}

/** Who let a body stand still. */
export interface Cut {
  readonly by: 'upstream' | 'client';
  readonly detail: string;
}

/** One try at one endpoint. `opening`: nothing has been sent. `waiting`: everything has, and nothing has come. */
interface Attempt {
  readonly forwarding: Forwarding;
  readonly settle: (answer: Answer) => void;
  readonly turn: Turn;
  readonly tries: Tries;
  phase: 'opening' | 'sending' | 'waiting' | 'answering' | 'over';
  outgoing?: ClientRequest;
  socket?: Duplex;
  message?: IncomingMessage;
  /** The wait for an answer. */
  timer?: NodeJS.Timeout;
  late: boolean;
  cut?: Cut;
  cancelled: boolean;
  /** Octets that had gone to the client when its answer was last seen to stand still. */
  passed: number;
}

/** The forwarder of every shape of HTTP/1.1 message, to upstreams of either version. */
export function createGeneralForwarder(): GeneralForwarder {
  const [http1, http2] = [createHttp1Forwarder(), createHttp2Forwarder()];
  return {
    forward: (forwarding) => (forwarding.upstream.config.protocol === 'h2' ? http2 : http1).forward(forwarding),
    cancel(request) {
      http1.cancel(request);
      http2.cancel(request);
    },
    cut: (request) => http1.cut(request) ?? http2.cut(request),
  };
}

/** The forwarder to upstreams that speak HTTP/1.1, on `http-proxy`. */
function createHttp1Forwarder(): GeneralForwarder {
  const attempts = new WeakMap<IncomingMessage, Attempt>();
  const proxy = httpProxy.createProxyServer({});
  removeLengthPass(proxy);
  proxy.on('econnreset', (_error, request) => {
    const one = attempts.get(request);
    one?.turn.done('abandoned');
    one?.settle({ kind: 'client_left' });
  });

  function attempt(forwarding: Forwarding, settle: (answer: Answer) => void, tries: Tries, turn: Turn): void {
    const { request, response } = forwarding;
    const { endpoint } = turn;
    const one: Attempt = { forwarding, settle, turn, tries, phase: 'opening', late: false, cancelled: false, passed: 0 };
    attempts.set(request, one);
    proxy.web(request, response, {
      target: endpoint.url,
      agent: endpoint.agent,
      secure: true,
      selfHandleResponse: true,
      ssl: exactPath(request.url as string),
      // Only once the connection is open: until then nothing of the request is used up, and it may go elsewhere as a whole.
      buffer: { pipe: (outgoing: ClientRequest) => carry(one, outgoing) } as never,
    }, (error) => fail(one, error));
  }

  function carry(one: Attempt, outgoing: ClientRequest): void {
    const { upstream } = one.forwarding;
    one.outgoing = outgoing;
    // Nobody asked to switch protocols: http-proxy would wait for an answer that never comes.
    outgoing.on('upgrade', (_message: IncomingMessage, socket: Duplex) => {
      socket.destroy();
      fail(one, new Error('the upstream switched protocols uninvited'));
    });
    outgoing.on('response', (message: IncomingMessage) => answered(one, message));
    outgoing.on('close', () => {
      clearTimeout(one.timer);
      one.turn.done(resultOf(one));
      if (one.message === undefined) fail(one, new Error('the upstream\'s connection ended without an answer'));
    });
    outgoing.once('finish', () => wait(one));
    outgoing.once('socket', (socket: Duplex) => {
      one.socket = socket;
      const stillness = watchStillness(socket, upstream.config.timeouts.idle, () => stoodStill(one));
      outgoing.once('close', () => stillness.stop());
      if (isOpen(socket)) send(one);
      else socket.once('secureConnect', () => send(one));
    });
  }

  function send(one: Attempt): void {
    if (one.phase !== 'opening' || one.outgoing === undefined) return;
    one.phase = 'sending';
    const { held, request } = one.forwarding;
    if (held === undefined) request.pipe(one.outgoing);
    else one.outgoing.end(held);
  }

  /** The request has left as a whole. */
  function wait(one: Attempt): void {
    if (one.phase !== 'sending') return;
    one.phase = 'waiting';
    one.timer = setTimeout(() => {
      one.late = true;
      one.outgoing?.destroy(new Error('no answer in time'));
    }, one.forwarding.upstream.config.timeouts.response);
  }

  function answered(one: Attempt, message: IncomingMessage): void {
    if (one.phase === 'over') return void message.destroy();
    clearTimeout(one.timer);
    const answer = finalAnswer(message, one.forwarding.upstream.config.unframed);
    if (answer.kind !== 'answer') return fail(one, new Error(answer.kind === 'failed' ? answer.detail : 'no answer'));
    one.phase = 'answering';
    one.message = message;
    one.turn.answering();
    one.settle(answer);
  }

  /** Nothing has passed on the upstream's connection for as long as a body may stand still. */
  function stoodStill(one: Attempt): void {
    if (one.phase === 'sending') {
      // Otherwise it is the client who is slow, and the listener's limits are for that.
      if (one.outgoing?.writableNeedDrain === true) cutOff(one, { by: 'upstream', detail: 'the upstream stopped reading the request' });
      return;
    }
    if (one.phase !== 'answering') return;
    if (one.message?.isPaused() !== true) return cutOff(one, { by: 'upstream', detail: 'the upstream\'s answer stood still for too long' });
    const passed = one.forwarding.response.socket?.bytesWritten ?? 0;
    if (passed === one.passed) cutOff(one, { by: 'client', detail: 'the client stopped reading its answer' });
    one.passed = passed;
  }

  function cutOff(one: Attempt, cut: Cut): void {
    one.cut = cut;
    one.late = cut.by === 'upstream';
    one.cancelled = cut.by === 'client';
    const error = new Error(cut.detail);
    one.message?.destroy(error);
    one.outgoing?.destroy(error);
  }

  /** It came to nothing: another endpoint is asked where that is allowed, or the client gets to know. */
  function fail(one: Attempt, error: NodeJS.ErrnoException): void {
    if (one.phase === 'over' || one.phase === 'answering') return;
    const { request } = one.forwarding;
    const sent = one.phase !== 'opening';
    one.phase = 'over';
    clearTimeout(one.timer);
    const stale = sent && one.outgoing?.reusedSocket === true && !one.late && !one.cancelled;
    const fault = sent ? { ...sentFault(one, error), ...(stale ? { result: 'stale' as const } : {}) } : connectFault(one.socket, error);
    one.turn.done(one.cancelled ? 'abandoned' : fault.result, fault.detail);
    const again = !one.cancelled && !one.late && (!sent || repeatable(request.method as string, hasBody(request)));
    const turn = again ? one.tries.again(one.turn, fault.detail) : undefined;
    if (turn === undefined) one.settle({ kind: 'failed', code: fault.code, detail: fault.detail });
    else attempt(one.forwarding, one.settle, one.tries, turn);
  }

  return {
    forward: (forwarding) => new Promise((resolve) => {
      const { request, response, upstream, key, trail } = forwarding;
      response.once('close', () => {
        if (response.writableFinished) return;
        const one = attempts.get(request);
        if (one !== undefined) one.cancelled = true;
        resolve({ kind: 'client_left' });
      });
      const tries = createTries(upstream, key, trail);
      const turn = tries.begin();
      if (turn.kind === 'failed') resolve(turn);
      else attempt(forwarding, resolve, tries, turn);
    }),
    cancel(request) {
      const one = attempts.get(request);
      if (one === undefined) return;
      one.cancelled = true;
      one.outgoing?.destroy();
    },
    cut: (request) => attempts.get(request)?.cut,
  };
}

function resultOf({ late, cancelled, message }: Attempt): TurnResult {
  if (message?.complete === true) return 'answered';
  if (late) return 'timeout';
  return cancelled ? 'abandoned' : 'failed';
}

function sentFault({ late }: Attempt, error: NodeJS.ErrnoException): { readonly result: TurnResult; readonly code: Failed['code']; readonly detail: string } {
  const detail = `${error.code ?? error.name}: ${error.message}`;
  return late ? { result: 'timeout', code: 'upstream_timeout', detail } : { result: 'failed', code: 'upstream_unavailable', detail };
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
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

/**
 * What an upstream's head is worth: its connection is ended when the status is none that ends an exchange (RFC 9110 section
 * 15), when it is not sure where the answer ends, or when nobody could tell its end from its being cut, and that is not wanted.
 */
export function finalAnswer(message: IncomingMessage, unframed: UpstreamConfig['unframed']): Answer {
  const status = message.statusCode ?? 0;
  const check = checkAnswer(message.rawHeaders, message.httpVersion);
  const fault = check.kind !== 'ok' ? check.detail : status < 200 || status > 599 ? `the upstream answered with status ${status}`
    : unframed === 'refuse' && endsWithConnection(message, status) ? 'only the end of its connection would have ended the upstream\'s answer' : undefined;
  if (fault === undefined) return { kind: 'answer', message };
  message.destroy();
  return { kind: 'failed', code: 'upstream_unavailable', detail: fault };
}

/** RFC 9112 section 6.3. The TLS library does not say whether the upstream has closed its side or was cut off (section 9.8). */
function endsWithConnection({ headers, req }: IncomingMessage & { readonly req?: ClientRequest }, status: number): boolean {
  return headers['content-length'] === undefined && headers['transfer-encoding'] === undefined && req?.method !== 'HEAD' && status !== 204 && status !== 304;
}
