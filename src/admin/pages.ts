import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';
import type { PageAnswer, PageRequest } from '../forward/client.ts';
import { crossOrigin, fieldOf } from '../forward/forms.ts';
import { answerCall, type Caller, type CallOutcome, type Ground } from './answer-call.ts';
import { ADMIN_ROLES, type AdminRole } from './call.ts';
import { assetAt, type Asset } from './console/assets.ts';
import { createTurns } from './turns.ts';

/** On every answer: nothing of it is kept, guessed at, framed or read by another origin's pages. There is no CORS. */
const COMMON: readonly string[] = [
  'cache-control', 'no-store', 'x-content-type-options', 'nosniff', 'referrer-policy', 'no-referrer', 'cross-origin-resource-policy', 'same-origin',
];

/** Nothing that a call answers is a page, whatever a browser takes it for. */
const DATA_ONLY: readonly string[] = ['content-security-policy', 'default-src \'none\'; frame-ancestors \'none\'; sandbox'];

const TITLES: Readonly<Record<number, readonly [code: string, title: string]>> = {
  400: ['bad_request', 'The call is malformed'], 403: ['role_denied', 'Access denied'], 404: ['not_found', 'Not found'], 409: ['conflict', 'It is not in the state for that'], 429: ['rate_limited', 'Too many requests'], 500: ['failed', 'It could not be done'],
  503: ['overloaded', 'Too much is asked at a time'],
};

/**
 * The page may run and show what our own origin serves as files, and nothing that stands in the page or is put together by a script: what is on record,
 * which clients have a say in, never becomes markup.
 */
const CONSOLE_POLICY = [
  'default-src \'none\'', 'script-src \'self\'', 'style-src \'self\'', 'img-src \'self\'', 'connect-src \'self\'', 'form-action \'none\'', 'base-uri \'none\'', 'frame-ancestors \'none\'',
  'require-trusted-types-for \'script\'', 'trusted-types \'none\'',
].join('; ');

const FOR_PAGES: readonly string[] = [
  'content-security-policy', CONSOLE_POLICY, 'x-frame-options', 'DENY', 'cross-origin-opener-policy', 'same-origin', 'cross-origin-embedder-policy', 'require-corp',
  'permissions-policy', 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
];

/** Calls that take long, for each certificate and minute: the page of the audit asks every five seconds. */
const DEAR = { points: 60, duration: 60 };

/** What happens, for those who look on. */
export interface LiveFeed {
  history(): readonly unknown[];
  /** The BroadcastChannel of what comes. */
  readonly channel: string;
}

/** Answers what operators ask on their own listener, whose admission has been decided. Never rejects. */
export function createAdminPages(ground: Ground, live: LiveFeed): (request: PageRequest) => Promise<PageAnswer> {
  const turns = createTurns();
  const dear = new RateLimiterMemory(DEAR);
  return async (request) => {
    const { method, path, query, body, certificate } = request;
    const caller = callerOf(request, dear);
    if (caller === undefined) return problem(403, 'the certificate has no role here');
    const foreign = foreignTo(request);
    if (foreign !== undefined) return { ...problem(400, foreign), refusal: { reason: 'form_refused', detail: foreign } };
    if (path === '/v1/live' && method === 'GET') return events(live);
    const asset = method === 'GET' || method === 'HEAD' ? assetAt(path) : undefined;
    if (asset !== undefined) return file(asset);
    const answer = (): Promise<CallOutcome> => answerCall({ method: method === 'HEAD' ? 'GET' : method, path, query, text: Buffer.from(body).toString('utf8') }, caller, ground);
    // A change does not wait for those who look, whoever they are.
    const looks = caller.role === 'read_only' || method === 'GET' || method === 'HEAD';
    const outcome = await (looks ? turns(certificate, answer) : answer());
    return outcome === undefined ? problem(503, 'too many calls of this certificate wait for their answers') : written(outcome);
  };
}

function callerOf({ identity, id, listener, address, certificate }: PageRequest, limiter: RateLimiterMemory): Caller | undefined {
  const role = ADMIN_ROLES.find((one) => one === identity.role);
  if (role === undefined) return undefined;
  const dear = (): Promise<number | undefined> => limiter.consume(certificate).then(() => undefined, (full: RateLimiterRes) => Math.max(1, Math.ceil(full.msBeforeNext / 1_000)));
  return { role: role satisfies AdminRole, who: identity.id.slice(0, 200), origin: { certificate, address }, fields: { request_id: id, listener, address, fingerprint: certificate, role }, dear };
}

/**
 * Why a request may be another page's doing, which the browser lends the operator's certificate to (CSRF): a change must come from our own origin, and as
 * JSON, which no form can send; and what is read by a program must not be asked for by another site either.
 */
function foreignTo(request: PageRequest): string | undefined {
  const { method, fields } = request;
  if (method === 'GET' || method === 'HEAD') {
    const site = fieldOf(fields, 'sec-fetch-site');
    const shown = fieldOf(fields, 'sec-fetch-mode') === 'navigate' && fieldOf(fields, 'sec-fetch-dest') === 'document';
    return site === undefined || site === 'same-origin' || site === 'none' || shown ? undefined : `asked for by a page that a browser calls ${site.slice(0, 40)}`;
  }
  if (!/^application\/json\s*(;|$)/i.test(fieldOf(fields, 'content-type') ?? '')) return 'expected application/json';
  return crossOrigin(request);
}

/** The last quarter of an hour, then each sample as it comes. */
function events({ history, channel }: LiveFeed): PageAnswer {
  return { status: 200, fields: [...COMMON, ...DATA_ONLY, 'content-type', 'text/event-stream'], body: Buffer.from(`retry: 3000\nevent: history\ndata: ${JSON.stringify(history())}\n\n`), events: channel };
}

function file({ type, content }: Asset): PageAnswer {
  return { status: 200, fields: [...COMMON, ...FOR_PAGES, 'content-type', type], body: content };
}

function written(outcome: CallOutcome): PageAnswer {
  if (outcome.kind === 'answer') return { status: 200, fields: [...COMMON, ...DATA_ONLY, 'content-type', 'application/json'], body: Buffer.from(`${JSON.stringify(outcome.answer)}\n`) };
  if (outcome.kind === 'failed') return problem(500, outcome.detail, outcome.issues);
  if (outcome.kind === 'later') {
    const answer = problem(429, outcome.detail);
    return { ...answer, fields: [...answer.fields, 'retry-after', String(outcome.after)], refusal: { reason: 'rate_limited', detail: outcome.detail } };
  }
  const { status, detail, code } = outcome;
  return { ...problem(status, detail, undefined, code === undefined ? undefined : [code, 'It hits your own certificate']), ...(status === 403 ? { refusal: { reason: 'role_denied', detail } as const } : {}) };
}

function problem(status: number, detail: string, issues?: unknown, [code, title] = TITLES[status] as readonly [string, string]): PageAnswer {
  const body = { type: `urn:wardgate:problem:${code}`, title, code, detail, ...(issues === undefined ? {} : { issues }) };
  return { status, fields: [...COMMON, ...DATA_ONLY, 'content-type', 'application/problem+json'], body: Buffer.from(JSON.stringify(body)) };
}
