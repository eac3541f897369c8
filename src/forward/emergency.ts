import { createHmac, randomBytes } from 'node:crypto';
import { authorizeEmergency, breakableRoutes, type EmergencyVerdict, type Said } from '../policy/authorize-emergency.ts';
import type { GlassRule } from '../policy/break-glass.ts';
import type { Denial } from '../policy/decision.ts';
import type { RequestFacts } from '../policy/facts.ts';
import { EMERGENCY_PATH } from '../policy/own-routes.ts';
import { judgePatient } from '../policy/patient.ts';
import { matchRoute, type Route } from '../policy/routes.ts';
import { safeReturn, sameDigest } from '../policy/second-factor.ts';
import { parseTarget } from '../policy/target.ts';
import type { EmergencyOutcome, EmergencyView, PageAnswer, PageRequest } from './client.ts';
import { grantAsk, sessionQuestion, type Exchange } from './exchange.ts';
import { crossOrigin, readForm } from './forms.ts';
import { cookiesNamed } from './session-token.ts';

/** The page on which somebody declares an emergency, sees what is open, and ends it: judged here, where requests are, and drawn by the main thread. */
export async function answerEmergency(exchange: Exchange, request: PageRequest, now: () => number): Promise<PageAnswer> {
  const { method } = request;
  if (method === 'GET' || method === 'HEAD') return draw(exchange, request, { outcome: { kind: 'asked' } });
  const form = readForm(request);
  const foreign = method === 'POST' ? foreignForm(request, form) : `${method} is not served`;
  if (foreign !== undefined) return refuse(exchange, request, { code: 'form' }, { reason: 'form_refused', detail: foreign });
  if (form.get('do') === 'end') return draw(exchange, request, { outcome: { kind: 'ends', id: form.get('id') ?? '' } });
  const said = saidIn(form);
  const route = offersOf(exchange).find(({ name }) => name === form.get('route'));
  if (route === undefined) return refuse(exchange, request, { code: 'role_denied', fault: 'route' }, { reason: 'role_denied', detail: 'a form for a route of which the client may break nothing' }, said);
  const verdict = await open(exchange, route, said, now);
  const shown = { ...said, route: route.name };
  if (verdict.kind !== 'refused') return draw(exchange, request, { outcome: { kind: verdict.kind === 'open' ? 'opened' : 'needless' }, said: shown });
  const { denial, fault } = verdict;
  return refuse(exchange, request, { code: denial.code, ...(fault === undefined ? {} : { fault }) }, denial, shown);
}

/**
 * The same page as the answer to a request that was refused, and need not have been in an emergency: with the way back. Undefined where
 * there is nothing to open.
 */
export async function emergencyPage(exchange: Exchange, request: Omit<PageRequest, 'path' | 'query'>): Promise<PageAnswer | undefined> {
  if (offersOf(exchange).length === 0) return undefined;
  return draw(exchange, { ...request, path: EMERGENCY_PATH, query: `return=${encodeURIComponent(exchange.asked.written)}` }, { outcome: { kind: 'asked' } });
}

/** Opens a grant by the rules of the requests that it is for. */
async function open(exchange: Exchange, route: Route, said: Said, now: () => number): Promise<EmergencyVerdict> {
  const { asked, service, admission } = exchange;
  const facts = factsOf(exchange);
  const first = authorizeEmergency(service.policy, facts, route, said, now());
  if (first.kind !== 'query') return first;
  const named = first.session ? sessionQuestion(asked, admission) : undefined;
  const ask = first.grant === undefined || (first.session && named === undefined) ? undefined : grantAsk(exchange, first.grant, route);
  const findings = await service.desk.find(first.counters, named, ask === undefined ? undefined : { ...ask, page: true });
  const verdict = authorizeEmergency(service.policy, { ...facts, findings }, route, said, now());
  if (verdict.kind === 'query') throw new Error('a query after its findings');
  return verdict;
}

function refuse(exchange: Exchange, request: PageRequest, refused: Omit<Extract<EmergencyOutcome, { kind: 'refused' }>, 'kind'>, { reason, detail }: Pick<Denial, 'reason' | 'detail'>, said?: EmergencyView['said']): Promise<PageAnswer> {
  return draw(exchange, request, { outcome: { kind: 'refused', ...refused }, ...(said === undefined ? {} : { said }) }).then((page) => ({ ...page, refusal: { reason, detail } }));
}

async function draw(exchange: Exchange, request: PageRequest, { outcome, said }: Pick<EmergencyView, 'outcome'> & { readonly said?: EmergencyView['said'] }): Promise<PageAnswer> {
  const routes = offersOf(exchange);
  const secret = formSecret(request) ?? randomBytes(32).toString('base64url');
  const page = await exchange.service.desk.page({
    ...request,
    emergency: {
      form: formToken(secret, request), offers: routes.map(offerOf), said: said ?? meant(exchange, request, routes), outcome,
    },
  });
  return { ...page, fields: [...page.fields, 'set-cookie', `${FORM_COOKIE}=${secret}; Path=/; Secure; HttpOnly; SameSite=Strict`] };
}

function offersOf(exchange: Exchange): ReturnType<typeof breakableRoutes> {
  return breakableRoutes(exchange.service.policy, factsOf(exchange));
}

function offerOf({ name, glass: { reasons, lasts, patient } }: Route & { readonly glass: GlassRule }): EmergencyView['offers'][number] {
  return { route: name, reasons: [...reasons], lasts, patient };
}

function factsOf({ facts }: Exchange): RequestFacts {
  if (facts === undefined) throw new Error('a page for a request that nobody has judged');
  const { findings: _findings, token: _token, ...rest } = facts;
  return rest;
}

function saidIn(form: URLSearchParams): Said {
  const said = (name: keyof Said): string | undefined => {
    // What somebody presses Enter in is one text all the same.
    const value = form.get(name)?.replace(/\s*[\r\n]+\s*/g, ' ').trim();
    return value === undefined || value === '' ? undefined : value;
  };
  const [reason, text, patient] = [said('reason'), said('text'), said('patient')];
  return { ...(reason === undefined ? {} : { reason }), ...(text === undefined ? {} : { text }), ...(patient === undefined ? {} : { patient }) };
}

/** The route and the patient of the request from which somebody comes, as far as its address tells. */
function meant(exchange: Exchange, request: PageRequest, offers: readonly Route[]): EmergencyView['said'] {
  const { service: { policy }, admission } = exchange;
  const written = safeReturn(new URLSearchParams(request.query).get('return') ?? undefined);
  const target = written === undefined ? undefined : parseTarget(written);
  if (target?.kind !== 'target' || admission.kind !== 'known') return {};
  const match = matchRoute(policy.routes, policy.aliases?.get(request.host) ?? request.host, target.segments, 'GET');
  if (match === undefined || !offers.includes(match.route)) return {};
  const { route, parameters } = match;
  const found = route.patient === undefined ? undefined : judgePatient(
    route.patient, { method: 'GET', host: request.host, path: target.path, segments: target.segments, query: target.query, parameters, fields: [] }, admission.identity, [...admission.identity?.roles ?? []],
  );
  return { route: route.name, ...(found?.named === undefined ? {} : { patient: found.named }) };
}

/** Nobody but a page of ours can bring back the token that goes with this cookie, which no other host and no plain connection can set. */
const FORM_COOKIE = '__Host-wardgate-form';

function formSecret({ fields }: PageRequest): string | undefined {
  const found: string[] = [];
  for (let index = 0; index < fields.length; index += 2) if ((fields[index] as string).toLowerCase() === 'cookie') found.push(...cookiesNamed(FORM_COOKIE, fields[index + 1] as string));
  return found.length === 1 && /^[A-Za-z0-9_-]{43}$/.test(found[0] as string) ? found[0] : undefined;
}

/** For one certificate: a form that was made for another is none. */
function formToken(secret: string, { certificate }: PageRequest): string {
  return createHmac('sha256', secret).update(certificate).digest('base64url');
}

/** Why a form cannot have come from a page of ours; undefined when it has. */
function foreignForm(request: PageRequest, form: URLSearchParams): string | undefined {
  const secret = formSecret(request);
  return crossOrigin(request) ?? (secret !== undefined && sameDigest(form.get('form') ?? '', formToken(secret, request)) ? undefined : 'a form without its token');
}
