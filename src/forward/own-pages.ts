import { Readable } from 'node:stream';
import { countedAs } from '../pki/twin.ts';
import { ADMIN_ROUTE } from '../policy/admin-route.ts';
import type { Denial, Permit } from '../policy/decision.ts';
import { countersOf } from '../policy/limits.ts';
import { OWN_PATH, OWN_RATES } from '../policy/own-routes.ts';
import type { PageAnswer, PageRequest } from './client.ts';
import { answerEmergency, emergencyPage } from './emergency.ts';
import { deniedLate, type Exchange } from './exchange.ts';
import { clientHeaders } from './headers.ts';
import type { Answered, Call, RequestBody } from './message.ts';
import { isNavigation } from './navigation.ts';
import { openEvents } from './events.ts';
import { problemTitle, type ProblemCode } from './problem.ts';

/** Asks for one of the gateway's own pages, with all of the request's body, as an upstream is asked for an answer. */
export function askOwnPage(exchange: Exchange, permit: Permit, body: RequestBody | undefined, now: () => number): Call {
  const answer = makePage(exchange, permit, body, now);
  // A stream of events has no end of its own: on HTTP/2 nothing else ends it when its right is gone, since the connection stays.
  return { answer, cancel: () => void answer.then((page) => page.kind === 'answer' && !Buffer.isBuffer(page.body) && page.body.destroy(), () => undefined) };
}

async function makePage(exchange: Exchange, permit: Permit, body: RequestBody | undefined, now: () => number): Promise<Answered> {
  const { asked: { method, target, host, fields }, service, client, id } = exchange;
  const { identity, certificate } = permit;
  const { webhook } = permit.route.config;
  if (webhook !== undefined) return takeEvent(exchange, webhook, body);
  if (identity === undefined || certificate === undefined || target.kind !== 'target' || host.kind !== 'host') return failed('a page of the gateway\'s own for nobody');
  const octets = body === undefined ? Buffer.alloc(0) : await wholeOf(body);
  // Whoever cut it has said so, and hears this no more.
  if (octets === undefined) return failed('the body was cut');
  try {
    const request: PageRequest = {
      id, method, host: host.name, path: `/${target.segments.join('/')}`, query: target.query, fields, body: octets, identity, certificate: certificate.leaf.sha256, address: client.address, listener: client.listener,
      ...(permit.route.own && permit.route.name === ADMIN_ROUTE ? { operator: true } : {}),
    };
    const page = permit.route.glass?.page === true ? await answerEmergency(exchange, request, now) : await service.desk.page(request);
    if (page.events !== undefined) return streamEvents(page, page.events, countedAs(certificate.leaf));
    const content = contentOf(page, id);
    if (page.refusal !== undefined) exchange.verdict = deniedLate(exchange, page.refusal);
    return {
      kind: 'answer', status: page.status, fields: [...page.fields, 'content-length', String(content.length)], length: content.length, body: method === 'HEAD' ? Buffer.alloc(0) : Readable.from([content]),
      whole: () => true, late: () => false, trailers: () => [],
    };
  } catch (error) {
    return failed((error as Error).message);
  }
}

/** An answer without an end of its own; how the client leaves it is no failure of anybody. */
function streamEvents({ status, fields, body }: PageAnswer, channel: string, certificate: string): Answered {
  const events = openEvents(channel, Buffer.from(body), certificate);
  if (events === undefined) return failed('too many streams of events');
  return { kind: 'answer', status, fields, length: undefined, body: events, whole: () => true, late: () => false, trailers: () => [] };
}

/** The octets of a page; a problem gets what all of the gateway's problems have, for the page's maker knows no title. */
function contentOf({ status, fields, body }: PageAnswer, id: string): Buffer {
  const content = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (!fields.includes('application/problem+json')) return content;
  const { code, title = problemTitle(code as ProblemCode), ...more } = JSON.parse(content.toString()) as { readonly code: string; readonly title?: string };
  return Buffer.from(`${JSON.stringify({ ...more, title, status, code, request_id: id })}\n`);
}

async function takeEvent(exchange: Exchange, webhook: string, body: RequestBody | undefined): Promise<Answered> {
  const { asked: { method, fields }, service, id } = exchange;
  const octets = body === undefined ? Buffer.alloc(0) : await wholeOf(body);
  if (octets === undefined) return failed('the body was cut');
  try {
    const { status, body: told, refusal } = await service.webhooks.take(webhook, { id, method, fields, body: octets });
    if (refusal !== undefined) exchange.verdict = { result: 'denied', ...refusal };
    const content = Buffer.from(`${JSON.stringify(told)}\n`);
    return {
      kind: 'answer', status, fields: ['content-type', refusal === undefined ? 'application/json' : 'application/problem+json', 'cache-control', 'no-store', 'content-length', String(content.length)],
      length: content.length, body: method === 'HEAD' ? Buffer.alloc(0) : Readable.from([content]), whole: () => true, late: () => false, trailers: () => [],
    };
  } catch (error) {
    return failed((error as Error).message);
  }
}

/**
 * The page that a person gets to see in place of a problem that they can solve: the form of the second factor, or that in which an
 * emergency is declared, with the way back. Undefined for programs and for forms, whose content the way back would lose, and whenever there is no such page: then the problem itself is the answer.
 */
export async function pageInPlace(exchange: Exchange, { code, route, breakable }: Denial): Promise<PageAnswer | undefined> {
  const { id, asked, admission, service, client } = exchange;
  if ((code !== 'step_up_required' && breakable !== true) || asked.method !== 'GET' || !isNavigation(asked) || admission.kind !== 'known' || admission.identity === undefined || asked.host.kind !== 'host') return undefined;
  try {
    const { limits } = await service.desk.find(countersOf(OWN_RATES, { admission, address: client.address, route: '' }), undefined, undefined);
    if (limits.kind === 'exceeded') return undefined;
    const request = {
      id, method: 'GET', host: asked.host.name, fields: asked.fields, body: Buffer.alloc(0), identity: admission.identity, certificate: admission.leaf.sha256, address: client.address, listener: client.listener,
    };
    const page = breakable === true
      ? await emergencyPage(exchange, request)
      : await service.desk.page({ ...request, path: `${OWN_PATH}/`, query: `for=${route?.factors?.join('.') ?? ''}&return=${encodeURIComponent(asked.written)}` });
    return page?.status === 200 ? page : undefined;
  } catch {
    return undefined;
  }
}

/** The header section of such a page as a flat list, and its octets. */
export function pageMessage(page: PageAnswer, status: number, { id, service, answerFields }: Exchange): { readonly head: string[]; readonly body: Buffer } {
  const body = Buffer.from(page.body.buffer, page.body.byteOffset, page.body.byteLength);
  const head = clientHeaders(status, page.fields, { requestId: id, hsts: service.hsts, phi: true, upgradeInsecureRequests: false, own: true });
  return { head: [...head, ...answerFields, 'content-length', String(body.length)], body };
}

function failed(detail: string): Answered {
  return { kind: 'failed', code: 'overloaded', detail };
}

/** All of a body, whose size is limited where it is counted; undefined when it was cut. */
async function wholeOf({ stream, whole }: RequestBody): Promise<Buffer | undefined> {
  const parts: Buffer[] = [];
  try {
    for await (const part of stream) parts.push(part as Buffer);
  } catch {
    return undefined;
  }
  return whole() ? Buffer.concat(parts) : undefined;
}
