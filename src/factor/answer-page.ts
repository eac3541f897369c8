import type { PageAnswer, PageRequest } from '../forward/client.ts';
import { crossOrigin, fieldOf, isForm, readForm } from '../forward/forms.ts';
import { SESSION_COOKIE, sessionToken } from '../forward/session-token.ts';
import type { Reason, SessionFinding } from '../policy/facts.ts';
import { safeReturn, sameDigest, totpUri, type Bearer, type Factor, type SessionLimits } from '../policy/second-factor.ts';
import { CellsError } from '../store/cells.ts';
import type { FoundSession, Sessions } from '../store/sessions.ts';
import type { Factors, Person, Refusal } from './factors.ts';
import { CONTENT_SECURITY_POLICY, pageLink, PAGES, type PageContext, type Problem } from './page.ts';
import {
  codesPage, confirmPage, enrolPage, faultPage, notEnrolledPage, recoveryPage, sessionPage, signedOutPage, signInPage, smsPage, type Choices, type FormContext,
} from './pages.ts';
import { chooseLanguage, WORDS, type Words } from './words.ts';

/** What the configuration says of sessions and pages. */
export interface PageSettings {
  readonly limits: SessionLimits;
  /** Name of the account's issuer in authenticators. */
  readonly issuer: string;
  /** What routes ask of these roles, as far as it can be shown here. */
  readonly asked: (roles: ReadonlySet<string>) => ReadonlySet<Factor>;
}

export interface PagesOptions {
  readonly factors: Factors;
  readonly sessions: Sessions;
  readonly settings: () => PageSettings;
  readonly now: () => number;
  readonly warn: (detail: string) => void;
}

/** What a request carries, read once. */
interface Asking {
  readonly request: PageRequest;
  readonly bearer: Bearer;
  readonly person: Person;
  readonly context: PageContext;
  readonly words: Words;
  readonly form: URLSearchParams;
  readonly token: string | undefined;
  /** Why it was refused, for the record of the request. */
  refusal: PageAnswer['refusal'];
}

/** A session on its way through the forms, new or found. */
interface Visit {
  readonly found: FoundSession;
  readonly finding: SessionFinding;
  readonly cookie: readonly string[];
}

const NO_COOKIE: readonly string[] = [];
const EMPTY = new Uint8Array();

/** Answers requests for the pages: never rejects. */
export function createPages({ factors, sessions, settings, now, warn }: PagesOptions): (request: PageRequest) => Promise<PageAnswer> {
  const minutes = (from: number, until: number): number => Math.max(1, Math.ceil((until - from) / 60_000));

  /** The session of a visitor; a new one, which has shown nothing, where there is none that is good. */
  async function visit({ bearer, token }: Asking): Promise<Visit> {
    const { finding, found } = await sessions.look(token, bearer);
    if (found !== undefined) return { found, finding, cookie: NO_COOKIE };
    const opened = await sessions.open(bearer, { factors: {} }, undefined);
    return { found: opened, finding: { kind: 'none' }, cookie: setCookie(opened.token) };
  }

  async function choicesOf({ request: { identity } }: Asking): Promise<Choices> {
    const enrolment = await factors.enrolment(identity);
    const asked = settings().asked(identity.roles);
    return {
      totp: asked.has('totp') && enrolment?.totp !== undefined,
      phone: asked.has('sms') && enrolment?.card !== undefined ? enrolment.phone?.slice(-3) : undefined,
      invited: asked.has('totp') && enrolment?.invitation !== undefined && now() < enrolment.invitation.expires,
    };
  }

  function show(asking: Asking, { found, cookie }: Visit, draw: (context: FormContext) => string, problem?: Problem, refusal?: Refusal): PageAnswer {
    const body = draw({ ...asking.context, form: found.session.form, ...(problem === undefined ? {} : { problem }) });
    return page(statusOf(problem, refusal), body, [...cookie, ...retryAfter(refusal)]);
  }

  function retryAfter(refusal: Refusal | undefined): readonly string[] {
    return refusal?.retryAt === undefined ? [] : ['retry-after', String(Math.max(1, Math.ceil((refusal.retryAt - now()) / 1000)))];
  }

  function problemOf(asking: Asking, refusal: Refusal, field: string, sms = false): Problem {
    const { words: { errors } } = asking;
    asking.refusal = refusal;
    const wait = refusal.retryAt === undefined ? 1 : minutes(now(), refusal.retryAt);
    switch (refusal.reason) {
      case 'locked': return { text: errors.locked(wait) };
      case 'sms_too_soon': return { text: errors.smsTooSoon(wait) };
      case 'sms_not_sent': return { text: errors.smsNotSent };
      case 'code_expired': return { text: errors.smsExpired };
      case 'invitation_expired': return { text: errors.invitationExpired, ...(field === 'invitation' ? { field } : {}) };
      case 'invitation_wrong': return { text: errors.invitation, field };
      case 'code_reused': return { text: field === 'recovery' ? errors.recovery : errors.codeReused, field };
      default: return { text: field === 'recovery' ? errors.recovery : sms ? errors.sms : errors.code, field };
    }
  }

  /** The page with which somebody shows a factor, or what there is instead. */
  async function signIn(asking: Asking, problem?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const visited = await visit(asking);
    const choices = await choicesOf(asking);
    const shown = shownBy(visited);
    if (problem === undefined && (shown.includes('totp') || (shown.length > 0 && !choices.totp))) return showSession(asking, visited);
    if (choices.totp) return show(asking, visited, (context) => signInPage(context, choices), problem, refusal);
    if (choices.phone !== undefined) return show(asking, visited, (context) => smsPage(context, choices, false), problem, refusal);
    if (choices.invited) return show(asking, visited, enrolPage, problem, refusal);
    return page(statusOf(problem, refusal), notEnrolledPage(asking.context), visited.cookie);
  }

  function showSession(asking: Asking, visited: Visit): PageAnswer {
    const { limits } = settings();
    const until = visited.finding.kind === 'valid' ? visited.finding.until : now();
    return show(asking, visited, (context) => sessionPage(context, minutes(now(), until), Math.round(limits.idle / 60_000)));
  }

  async function sms(asking: Asking, sent: boolean, problem?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const visited = await visit(asking);
    const choices = await choicesOf(asking);
    if (problem === undefined && shownBy(visited).includes('sms')) return showSession(asking, visited);
    if (choices.phone === undefined) return signIn(asking, problem, refusal);
    return show(asking, visited, (context) => smsPage(context, choices, sent), problem, refusal);
  }

  async function recovery(asking: Asking, problem?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const choices = await choicesOf(asking);
    if (!choices.totp) return signIn(asking);
    return show(asking, await visit(asking), recoveryPage, problem, refusal);
  }

  async function enrol(asking: Asking, problem?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    return show(asking, await visit(asking), enrolPage, problem, refusal);
  }

  async function confirm(asking: Asking, problem?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const visited = await visit(asking);
    const { enrolling } = visited.found.session;
    if (enrolling === undefined) return show(asking, visited, (context) => enrolPage({ ...context, page: 'enrol' }));
    return show(asking, visited, (context) => confirmPage(context, enrolling.secret, totpUri(enrolling, settings().issuer, context.id)), problem, refusal);
  }

  /** Opens the session that has shown a factor, under a new id. */
  function stepUp({ bearer }: Asking, { token, session }: FoundSession, factor: Factor): Promise<FoundSession> {
    return sessions.open(bearer, { factors: { ...session.factors, [factor]: now() } }, token);
  }

  /** The session that a form was made for; nothing else is done with a form without one, and why is on record. */
  async function formSession(asking: Asking): Promise<FoundSession | undefined> {
    const { finding, found } = await sessions.look(asking.token, asking.bearer);
    if (found !== undefined && sameDigest(found.session.form, asking.form.get('form') ?? '')) return found;
    const { reason, detail } = finding.kind === 'refused' ? finding : { reason: 'form_refused', detail: 'a form without its session' } as const;
    await refuse(asking, reason, detail);
    return undefined;
  }

  function refuse(asking: Asking, reason: Reason, detail: string): Promise<void> {
    asking.refusal = { reason, detail };
    return factors.note(asking.person, { result: 'denied', reason, detail });
  }

  async function post(asking: Asking): Promise<PageAnswer> {
    const { context, form, person, words } = asking;
    const found = await formSession(asking);
    if (found === undefined) return again(asking, { text: words.errors.form });
    const text = (name: string): string => form.get(name) ?? '';
    const goOn = async (factor: Factor): Promise<PageAnswer> => redirect(context.returnTo ?? pageLink(context, 'session'), setCookie((await stepUp(asking, found, factor)).token));
    switch (context.page) {
      case 'verify': {
        const verdict = await factors.totp(person, text('code'));
        return verdict.kind === 'good' ? goOn('totp') : signIn(asking, problemOf(asking, verdict, 'code'), verdict);
      }
      case 'recovery': {
        const verdict = await factors.recovery(person, text('recovery'));
        return verdict.kind === 'good' ? goOn('totp') : recovery(asking, problemOf(asking, verdict, 'recovery'), verdict);
      }
      case 'sms/send': {
        const verdict = await factors.sendSms(person, context.language);
        return verdict.kind === 'good' ? redirect(`${pageLink(context, 'sms')}&sent=1`, NO_COOKIE) : sms(asking, verdict.reason === 'sms_too_soon', problemOf(asking, verdict, 'code', true), verdict);
      }
      case 'sms': {
        const verdict = await factors.sms(person, text('code'), text('card'));
        return verdict.kind === 'good' ? goOn('sms') : sms(asking, true, problemOf(asking, verdict, 'code', true), verdict);
      }
      case 'enrol': {
        const invited = await factors.invitation(person, text('invitation'));
        if (invited.kind === 'refused') return enrol(asking, problemOf(asking, invited, 'invitation'), invited);
        const opened = await sessions.open(asking.bearer, { factors: found.session.factors, enrolling: invited.enrolling }, found.token);
        return redirect(pageLink(context, 'enrol/confirm'), setCookie(opened.token));
      }
      case 'enrol/confirm': return enrolled(asking, found);
      case 'logout': {
        await sessions.end(found.token, 'signed_out');
        await factors.note(person, { result: 'done', detail: 'signed out' });
        return page(200, signedOutPage({ ...context, page: '' }), setCookie(undefined));
      }
      default: return page(404, faultPage(context, 'notFound'), NO_COOKIE);
    }
  }

  async function enrolled(asking: Asking, found: FoundSession): Promise<PageAnswer> {
    const { enrolling } = found.session;
    if (enrolling === undefined) return enrol(asking);
    const outcome = await factors.confirm(asking.person, enrolling, asking.form.get('code') ?? '');
    if (outcome.kind === 'good') {
      const opened = await stepUp(asking, { ...found, session: { ...found.session, factors: {} } }, 'totp');
      return page(200, codesPage({ ...asking.context, page: 'session' }, outcome.codes), setCookie(opened.token));
    }
    if (outcome.reason === 'invitation_expired') return enrol(asking, problemOf(asking, outcome, 'invitation'), outcome);
    return confirm(asking, problemOf(asking, outcome, 'code'), outcome);
  }

  /** The page that a refused form belongs to, once more. */
  function again(asking: Asking, problem: Problem): Promise<PageAnswer> {
    switch (asking.context.page) {
      case 'sms': case 'sms/send': return sms(asking, false, problem);
      case 'recovery': return recovery(asking, problem);
      case 'enrol': case 'enrol/confirm': return enrol(asking, problem);
      default: return signIn(asking, problem);
    }
  }

  async function get(asking: Asking): Promise<PageAnswer> {
    const { context } = asking;
    switch (context.page) {
      case '': return signIn(asking);
      case 'sms': return sms(asking, new URLSearchParams(asking.request.query).has('sent'));
      case 'recovery': return recovery(asking);
      case 'enrol': return enrol(asking);
      case 'enrol/confirm': return confirm(asking);
      case 'session': {
        const visited = await visit(asking);
        return visited.finding.kind === 'valid' ? showSession(asking, visited) : signIn(asking);
      }
      // Pages that only take forms, asked for after a switch of languages.
      case 'verify': case 'logout': return signIn({ ...asking, context: { ...context, page: '' } });
      case 'sms/send': return sms({ ...asking, context: { ...context, page: 'sms' } }, false);
      default: return page(404, faultPage(context, 'notFound'), NO_COOKIE);
    }
  }

  /** For clients that are no browsers: a code for a bearer token that is bound to the certificate (RFC 8705 section 3), and its end. */
  async function tokens(asking: Asking): Promise<PageAnswer> {
    const { request, bearer, person, token } = asking;
    const { found } = await sessions.look(token, bearer);
    if (request.method === 'DELETE') {
      if (found === undefined) return json(401, { code: 'step_up_required' }, CHALLENGE);
      await sessions.end(found.token, 'signed_out');
      await factors.note(person, { result: 'done', detail: 'token given back' });
      return { status: 204, fields: COMMON, body: EMPTY };
    }
    const given = readInput(request);
    const [code, recoveryCode] = [given?.['code'], given?.['recovery_code']];
    if ((typeof code === 'string') === (typeof recoveryCode === 'string')) return json(400, { code: 'bad_request', detail: 'expected either code or recovery_code' });
    const verdict = typeof code === 'string' ? await factors.totp(person, code) : await factors.recovery(person, recoveryCode as string);
    if (verdict.kind === 'refused') {
      asking.refusal = verdict;
      const locked = verdict.reason === 'locked';
      return json(locked ? 429 : 401, { code: locked ? 'rate_limited' : 'step_up_required' }, locked ? retryAfter(verdict) : CHALLENGE);
    }
    const opened = await sessions.open(bearer, { factors: { ...found?.session.factors, totp: now() } }, found?.token);
    return json(200, {
      access_token: opened.token, token_type: 'Bearer', expires_in: Math.floor(settings().limits.lifetime / 1000),
      cnf: { 'x5t#S256': Buffer.from(bearer.certificate, 'hex').toString('base64url') },
    });
  }

  async function answer(asking: Asking): Promise<PageAnswer> {
    const { request, context, words } = asking;
    const read = request.method === 'GET' || request.method === 'HEAD';
    const token = context.page === 'token';
    if (token ? request.method !== 'POST' && request.method !== 'DELETE' : !read && request.method !== 'POST') {
      return { ...page(405, faultPage(context, 'notFound'), ['allow', token ? 'POST, DELETE' : 'GET, HEAD, POST']) };
    }
    if (read) return get(asking);
    const fault = crossOrigin(request);
    if (fault !== undefined) {
      // Somebody else's page must not even use up somebody's tries.
      await refuse(asking, 'form_refused', fault);
      return token ? json(403, { code: 'bad_request' }) : page(403, faultPage({ ...context, page: '' }, 'notFound'), NO_COOKIE);
    }
    if (token) return tokens(asking);
    return isForm(request) ? post(asking) : again(asking, { text: words.errors.form });
  }

  return async (request) => {
    const asking = readRequest(request);
    try {
      const answered = await answer(asking);
      const { refusal } = asking;
      return refusal === undefined ? answered : { ...answered, refusal: { reason: refusal.reason, detail: refusal.detail } };
    } catch (error) {
      const away = error instanceof CellsError;
      warn(away ? error.message : (error as Error).stack ?? String(error));
      if (asking.context.page === 'token') return json(503, { code: 'overloaded' }, ['retry-after', '5']);
      return page(503, faultPage({ ...asking.context, page: '' }, 'unavailable'), ['retry-after', '5']);
    }
  };
}

function shownBy({ finding }: Visit): readonly Factor[] {
  return finding.kind === 'valid' ? finding.factors : [];
}

function statusOf(problem: Problem | undefined, refusal: Refusal | undefined): number {
  if (refusal?.retryAt !== undefined) return 429;
  if (refusal?.reason === 'sms_not_sent') return 502;
  return problem === undefined ? 200 : 403;
}

function readRequest(request: PageRequest): Asking {
  const { id, fields, identity, certificate, address, listener } = request;
  const subject = { role: identity.role, id: identity.id };
  const query = new URLSearchParams(request.query);
  const form = readForm(request);
  const language = chooseLanguage(form.get('lang') ?? query.get('lang') ?? undefined, fieldOf(fields, 'accept-language'));
  return {
    request, form, refusal: undefined, words: WORDS[language], token: sessionToken(fields), bearer: { subject, certificate },
    person: { ...subject, address, trail: { request_id: id, listener, fingerprint: certificate } },
    context: { language, id: subject.id, returnTo: safeReturn(form.get('return') ?? query.get('return') ?? undefined), page: request.path.slice(PAGES.length) },
  };
}

/** What a client that is no browser sends: JSON or a form. */
function readInput(request: PageRequest): Readonly<Record<string, unknown>> | undefined {
  const text = Buffer.from(request.body).toString('utf8');
  if (isForm(request)) return Object.fromEntries(new URLSearchParams(text));
  if (!/^application\/json\s*(;|$)/i.test(fieldOf(request.fields, 'content-type') ?? '')) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : undefined;
  } catch {
    return undefined;
  }
}

/** RFC 9470 section 3. */
const CHALLENGE: readonly string[] = ['www-authenticate', 'Bearer error="insufficient_user_authentication"'];
const COMMON: readonly string[] = ['cache-control', 'no-store', 'x-content-type-options', 'nosniff', 'referrer-policy', 'same-origin'];
const FOR_BROWSERS: readonly string[] = [
  ...COMMON, 'content-type', 'text/html; charset=utf-8', 'content-security-policy', CONTENT_SECURITY_POLICY, 'x-frame-options', 'DENY', 'cross-origin-opener-policy', 'same-origin',
  'cross-origin-resource-policy', 'same-origin', 'permissions-policy', 'camera=(), geolocation=(), microphone=()', 'vary', 'Accept-Language, Cookie',
];

/** A page for a browser, with all that keeps it from being framed, stored or fed with scripts. */
export function page(status: number, body: string, fields: readonly string[]): PageAnswer {
  return { status, fields: [...FOR_BROWSERS, ...fields], body: Buffer.from(body) };
}

/** After a form: what follows is got, so that going back or reloading sends nothing again. */
export function redirect(location: string, cookie: readonly string[]): PageAnswer {
  return { status: 303, fields: [...COMMON, 'location', location, ...cookie], body: EMPTY };
}

function json(status: number, content: Readonly<Record<string, unknown>>, fields: readonly string[] = []): PageAnswer {
  const type = status < 400 ? 'application/json' : 'application/problem+json';
  return { status, fields: [...COMMON, 'content-type', type, ...fields], body: Buffer.from(`${JSON.stringify(status < 400 ? content : { type: `urn:wardgate:problem:${String(content['code'])}`, status, ...content })}\n`) };
}

/** Gone with the browser: nothing of it is written to the disk of a kiosk. */
function setCookie(token: string | undefined): readonly string[] {
  return ['set-cookie', `${SESSION_COOKIE}=${token ?? ''}; Path=/; Secure; HttpOnly; SameSite=Lax${token === undefined ? '; Max-Age=0' : ''}`];
}
