import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { request } from 'undici';
import type { Dispatcher } from 'undici';
import type { RevocationConfig } from '../config/schema.ts';
import type { AlgorithmProfile } from '../pki/algorithms.ts';
import type { Certificate } from '../pki/certificate.ts';
import { buildOcspRequest, judgeOcspResponse, NONCE_OCTETS } from '../pki/ocsp.ts';
import type { OcspAnswer, OcspQuestion } from '../pki/ocsp.ts';
import type { Kept } from './kept.ts';
import { printableUrl, refuseUrl } from './named-urls.ts';
import { openOutbound } from './outbound.ts';
import type { Outbound } from './outbound.ts';
import { revocationReason } from './status.ts';
import type { GoodStatement, RevokedStatement, Statement, UnavailableStatement } from './status.ts';

export interface OcspClientOptions {
  readonly config: RevocationConfig['ocsp'];
  /** Milliseconds of difference allowed between our clock and the responder's. */
  readonly skew: number;
  readonly now: () => number;
  /** What is known of a delegated responder's own certificate, from CRLs and the deny list. */
  readonly delegateStatus?: OcspQuestion['delegateStatus'];
  /** Default true: a replayed answer is recognised by its nonce. */
  readonly nonce?: boolean;
  /** Refuse answers without our nonce. Default false: responders that sign in advance cannot repeat it. */
  readonly nonceRequired?: boolean;
  /** The ways out. Default: the client's own, without a proxy, that end with it. */
  readonly outbound?: Outbound;
  /** Where answers are kept for the next start. */
  readonly kept?: Kept;
  /** A certificate's status is another than before: whoever holds the old answer must have this one instead. */
  readonly changed?: (certificate: Certificate, issuer: Certificate, statement: Statement) => void;
  /** Lets responders that certificates name be on this host, as in a demonstration. Default false. */
  readonly allowLocal?: boolean;
  readonly algorithms?: AlgorithmProfile;
  /** Called after each exchange with a responder, for logs and metrics. */
  readonly exchanged?: (exchange: OcspExchange) => void;
}

export interface OcspExchange {
  readonly responder: string;
  readonly kind: OcspAnswer['kind'];
  readonly detail?: string;
  readonly milliseconds: number;
}

export interface OcspClient {
  /** The status of a certificate from its responder, or from the answer at hand. Never rejects; takes `ocsp.timeout` at most. */
  status(certificate: Certificate, issuer: Certificate): Promise<Statement>;
  /** The answer at hand, if it still holds. */
  cached(certificate: Certificate, issuer: Certificate): Statement | undefined;
  /** How many answers are at hand. */
  size(): number;
  /** Ends all exchanges; who waits gets `unavailable`. */
  close(): void;
}

const MAX_ANSWERS = 20_000;
const MAX_RESPONSE_OCTETS = 64 * 1024;
const MAX_RESPONDERS = 4;
/** How long a responder that gave no usable answer about a certificate is left alone. */
const NEGATIVE_MS = 3_000;
/** The part of an answer's validity after which it is refreshed, while it goes on serving. */
const REFRESH_AFTER = 0.75;
const MIN_REFRESH_MS = 1_000;
const MAX_TIMER_MS = 2 ** 31 - 1;

type Conclusive = (GoodStatement & { readonly source: 'ocsp' }) | (RevokedStatement & { readonly validUntil: number });

/** What is remembered of one certificate. It outlives its answer: a revocation stays known, and `allow_for` counts from the last good. */
interface Memory {
  readonly certificate: Certificate;
  readonly issuer: Certificate;
  answer?: Conclusive;
  failure?: UnavailableStatement;
  /** Whether anybody asked since the last exchange: what nobody asks about is not refreshed. */
  asked: boolean;
  timer?: NodeJS.Timeout;
}

/**
 * Asks OCSP responders (RFC 6960 appendix A) and remembers what they said. One exchange at a time for a certificate, however
 * many ask; answers are refreshed before they expire, as long as anybody asks; responders are tried in turn.
 */
export function createOcspClient(options: OcspClientOptions): OcspClient {
  const { config, now } = options;
  // By weight, each of one: by number it would take the room for all of them at once.
  const memories = new LRUCache<string, Memory>({ maxSize: MAX_ANSWERS, sizeCalculation: () => 1, dispose: (memory) => clearTimeout(memory.timer) });
  const inFlight = new Map<string, Promise<Statement>>();
  const closing = new AbortController();
  const outbound = options.outbound ?? openOutbound({ connectTimeout: config.timeout, allowLocal: options.allowLocal ?? false });

  function cached(certificate: Certificate, issuer: Certificate): Statement | undefined {
    const memory = memories.get(keyOf(certificate, issuer));
    if (memory === undefined) return undefined;
    memory.asked = true;
    const at = now();
    if (memory.answer !== undefined && at < memory.answer.validUntil) return memory.answer;
    if (memory.failure !== undefined && at < memory.failure.at + NEGATIVE_MS) return withoutAnswer(memory, memory.failure);
    return undefined;
  }

  function status(certificate: Certificate, issuer: Certificate): Promise<Statement> {
    const known = cached(certificate, issuer);
    return known === undefined ? ask(certificate, issuer) : Promise.resolve(known);
  }

  function ask(certificate: Certificate, issuer: Certificate): Promise<Statement> {
    const key = keyOf(certificate, issuer);
    const running = inFlight.get(key);
    if (running !== undefined) return running;
    const exchange = recall(key, certificate, issuer)
      .then(async (statement) => statement ?? remember(key, certificate, issuer, await askResponders(key, certificate, issuer)))
      .finally(() => inFlight.delete(key));
    inFlight.set(key, exchange);
    return exchange;
  }

  /** What was kept of an earlier run, judged again as of when it came; undefined when the responder has to be asked. */
  async function recall(key: string, certificate: Certificate, issuer: Certificate): Promise<Statement | undefined> {
    if (options.kept === undefined || memories.has(key)) return undefined;
    const file = await options.kept.read(key);
    const came = (file?.head as { readonly received_at?: unknown } | undefined)?.received_at;
    if (file === undefined || typeof came !== 'number' || came > now() + options.skew) return undefined;
    const answer = judge(file.bytes, certificate, issuer, came);
    if (answer.kind === 'unavailable') return undefined;
    const memory: Memory = { certificate, issuer, asked: true, answer: statementOf(answer, certificate, came) };
    memories.set(key, memory);
    scheduleRefresh(key, memory);
    return cached(certificate, issuer);
  }

  function remember(key: string, certificate: Certificate, issuer: Certificate, statement: Conclusive | UnavailableStatement): Statement {
    const memory = memories.get(key) ?? { certificate, issuer, asked: true };
    memories.set(key, memory);
    if (statement.kind === 'unavailable') {
      memory.failure = statement;
    } else {
      const before = memory.answer?.kind;
      memory.answer = statement;
      delete memory.failure;
      if (before !== undefined && before !== statement.kind) options.changed?.(certificate, issuer, statement);
    }
    scheduleRefresh(key, memory);
    return statement.kind === 'unavailable' ? withoutAnswer(memory, statement) : statement;
  }

  // Nobody waits for a refresh: the answer at hand serves until it is replaced or has expired.
  function scheduleRefresh(key: string, memory: Memory): void {
    clearTimeout(memory.timer);
    const { answer } = memory;
    if (answer?.kind !== 'good' || closing.signal.aborted) return;
    const remaining = answer.validUntil - now();
    if (remaining <= MIN_REFRESH_MS) return;
    // After a failed refresh what remains is halved: a few more attempts before the answer expires.
    const wait = Math.max(MIN_REFRESH_MS, remaining * (memory.failure === undefined ? REFRESH_AFTER : 0.5));
    memory.timer = setTimeout(() => {
      if (!memory.asked || memories.peek(key) !== memory) return;
      memory.asked = memory.failure !== undefined;
      void ask(memory.certificate, memory.issuer);
    }, Math.min(wait, MAX_TIMER_MS));
    memory.timer.unref();
  }

  async function askResponders(key: string, certificate: Certificate, issuer: Certificate): Promise<Conclusive | UnavailableStatement> {
    const { responders, problems } = respondersFor(certificate);
    if (responders.length === 0 && problems.length === 0) {
      return { kind: 'unavailable', source: 'ocsp', reason: 'ocsp_unavailable', detail: 'no responder is known', at: now(), absent: true };
    }
    const deadline = AbortSignal.any([AbortSignal.timeout(config.timeout), closing.signal]);
    const answer = await firstConclusive(responders, config.timeout, deadline, (responder, signal) => exchange(responder, signal, certificate, issuer));
    const stale = answer.kind === 'good' && supersedes(memories.peek(key)?.answer, answer);
    if (answer.kind !== 'unavailable' && !stale) {
      const at = now();
      // Nobody waits for the disk.
      if (answer.bytes !== undefined) void options.kept?.write({ key, head: { received_at: at }, bytes: answer.bytes });
      return statementOf(answer, certificate, at);
    }
    const detail = [...problems, stale ? 'the answer is older than the revocation known from before' : answer.kind === 'unavailable' ? answer.detail : ''].filter((text) => text !== '').join('; ');
    return { kind: 'unavailable', source: 'ocsp', reason: 'ocsp_unavailable', detail, at: now() };
  }

  function respondersFor(certificate: Certificate): { responders: readonly Responder[]; problems: readonly string[] } {
    const configured = config.responder === undefined ? [] : [{ url: config.responder, dispatcher: outbound.configured }];
    const named = config.from_certificate ? certificate.ocspResponders : [];
    const judged = named.map((url) => ({ url, dispatcher: outbound.named, refusal: refuseUrl(url, options.allowLocal ?? false) }));
    const allowed = judged.filter(({ refusal }) => refusal === undefined);
    return {
      responders: [...configured, ...allowed].slice(0, MAX_RESPONDERS),
      problems: judged.flatMap(({ url, refusal }) => (refusal === undefined ? [] : [`${printableUrl(url)}: ${refusal}`])),
    };
  }

  async function exchange({ url, dispatcher }: Responder, signal: AbortSignal, certificate: Certificate, issuer: Certificate): Promise<Heard> {
    const started = performance.now();
    const useGet = config.method === 'GET';
    const nonce = options.nonce === false || useGet ? undefined : randomBytes(NONCE_OCTETS);
    const body = buildOcspRequest(certificate, issuer, nonce);
    let answer: Heard;
    try {
      const bytes = await fetchAnswer(url, body, useGet, dispatcher, signal);
      const judged = judge(bytes, certificate, issuer, now(), nonce);
      answer = judged.kind === 'unavailable' ? judged : { ...judged, bytes };
    } catch (error) {
      answer = { kind: 'unavailable', detail: failureOf(error, config.timeout) };
    }
    const responder = printableUrl(url);
    const detail = answer.kind === 'unavailable' ? { detail: answer.detail } : {};
    options.exchanged?.({ responder, kind: answer.kind, milliseconds: performance.now() - started, ...detail });
    return answer.kind === 'unavailable' ? { kind: 'unavailable', detail: `${responder}: ${answer.detail}` } : answer;
  }

  function judge(response: Uint8Array, certificate: Certificate, issuer: Certificate, at: number, nonce?: Uint8Array): OcspAnswer {
    const { skew, delegateStatus, algorithms } = options;
    return judgeOcspResponse(response, {
      certificate, issuer, now: at, skew, maxAge: config.max_age, nonceRequired: options.nonceRequired ?? false,
      ...(nonce === undefined ? {} : { nonce }),
      ...(delegateStatus === undefined ? {} : { delegateStatus }),
      ...(algorithms === undefined ? {} : { algorithms }),
    });
  }

  return {
    status,
    cached,
    size: () => memories.size,
    close() {
      closing.abort(new Error('the client is closed'));
      memories.clear();
      if (options.outbound === undefined) outbound.close();
    },
  };
}

/** An answer, and as it came when it is worth keeping. */
type Heard = OcspAnswer & { readonly bytes?: Uint8Array };

/**
 * Whether a revocation known from before is of a later date than a good answer: a recording of how things were, played by whoever
 * stands on the way. Only a nonce shows that otherwise, and responders that sign in advance have none.
 */
function supersedes(known: Conclusive | undefined, good: OcspAnswer & { kind: 'good' }): boolean {
  return known?.kind === 'revoked' && known.thisUpdate !== undefined && known.thisUpdate > good.thisUpdate;
}

interface Responder {
  readonly url: string;
  readonly dispatcher: Dispatcher;
}

// The issuer's key and name belong to the question: two CAs may give out the same serial.
function keyOf(certificate: Certificate, issuer: Certificate): string {
  return `${issuer.spkiSha256} ${certificate.serial} ${certificate.issuer.normalized}`;
}

function statementOf(answer: Exclude<OcspAnswer, { kind: 'unavailable' }>, certificate: Certificate, at: number): Conclusive {
  const { thisUpdate, validUntil } = answer;
  const common = { source: 'ocsp', at, thisUpdate, validUntil, ...(answer.nextUpdate === undefined ? {} : { nextUpdate: answer.nextUpdate }) } as const;
  if (answer.kind === 'good') return { kind: 'good', ...common, detail: `the responder says good for serial ${certificate.serial}` };
  const reason = revocationReason(answer.code);
  const { revokedAt } = answer;
  const statement = {
    kind: 'revoked', ...common, reason, revokedAt,
    detail: `the responder says serial ${certificate.serial} was revoked ${new Date(revokedAt).toISOString()} (${reason})`,
  } as const;
  return at < validUntil ? statement : afterwards(statement);
}

/** A revocation past its validity: final still, unless it is a hold, which may have been lifted since. */
function afterwards<S extends RevokedStatement>(statement: S): S {
  return statement.reason === 'certificateHold' ? { ...statement, provisional: true } : statement;
}

/** What to say when no responder answers: the revocation known from before, or when the certificate was last good. */
function withoutAnswer({ answer }: Memory, failure: UnavailableStatement): Statement {
  if (answer === undefined) return failure;
  if (answer.kind === 'revoked') return afterwards({ ...answer, at: failure.at });
  return failure.at < answer.validUntil ? answer : { ...failure, lastGoodAt: answer.validUntil };
}

/**
 * Asks one responder after the other until an answer is conclusive. The next is asked when one has failed or has used up its share
 * of the time, and the slow one is still listened to; together they have the deadline's time, however many they are.
 */
async function firstConclusive(
  responders: readonly Responder[],
  milliseconds: number,
  deadline: AbortSignal,
  askOne: (responder: Responder, signal: AbortSignal) => Promise<Heard>,
): Promise<Heard> {
  const finished = new AbortController();
  const signal = AbortSignal.any([deadline, finished.signal]);
  const details: string[] = [];
  const share = milliseconds / Math.max(1, responders.length);
  try {
    return await new Promise<Heard>((resolve) => {
      let settled = 0;
      let started = 0;
      let patience: NodeJS.Timeout | undefined;
      const startNext = (): void => {
        clearTimeout(patience);
        const responder = responders[started];
        if (responder === undefined) return;
        started += 1;
        patience = setTimeout(startNext, share);
        void askOne(responder, signal).catch((error: Error): Heard => ({ kind: 'unavailable', detail: error.message })).then((answer) => {
          settled += 1;
          if (answer.kind !== 'unavailable') resolve(answer);
          else details.push(answer.detail);
          if (settled === responders.length) resolve({ kind: 'unavailable', detail: details.join('; ') });
          else if (settled === started) startNext();
        });
      };
      signal.addEventListener('abort', () => clearTimeout(patience), { once: true });
      if (responders.length === 0) resolve({ kind: 'unavailable', detail: '' });
      startNext();
    });
  } finally {
    finished.abort(new Error('another responder answered'));
  }
}

/** Asks a responder over HTTP (RFC 6960 appendix A.1). Rejects with why there was no answer; what came is not judged. */
export async function fetchAnswer(url: string, body: Uint8Array, useGet: boolean, dispatcher: Dispatcher, signal: AbortSignal): Promise<Uint8Array> {
  const headers = { accept: 'application/ocsp-response', 'user-agent': 'wardgate' };
  // No redirect is followed: a responder does not send a client elsewhere, an attacker on the way might.
  const response = useGet
    ? await request(getUrl(url, body), { method: 'GET', headers, dispatcher, signal })
    : await request(url, { method: 'POST', headers: { ...headers, 'content-type': 'application/ocsp-request' }, body, dispatcher, signal });
  // Its errors belong to whoever reads it; when nobody does, they must not end the process.
  response.body.on('error', () => undefined);
  if (response.statusCode !== 200) {
    response.body.destroy();
    throw new Error(`HTTP status ${response.statusCode}`);
  }
  const chunks: Uint8Array[] = [];
  let octets = 0;
  // The content type is not looked at: some responders send another, and what counts is the signature.
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    octets += chunk.length;
    if (octets > MAX_RESPONSE_OCTETS) throw new Error(`the answer is longer than ${MAX_RESPONSE_OCTETS} octets`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** RFC 6960 appendix A.1: the request in base64, percent-encoded, behind the responder's URL. */
function getUrl(url: string, body: Uint8Array): string {
  return `${url.replace(/\/$/, '')}/${encodeURIComponent(Buffer.from(body).toString('base64'))}`;
}

/** Why there was no answer, in words. */
export function failureOf(error: unknown, timeout: number): string {
  const { name, message, cause } = error as Error;
  if (name === 'TimeoutError') return `no answer within ${timeout} ms`;
  return cause instanceof Error && cause.message !== '' ? cause.message : message;
}
