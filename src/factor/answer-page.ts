import { randomBytes } from 'node:crypto';
import type { PageAnswer, PageRequest } from '../forward/client.ts';
import { crossOrigin, isForm } from '../forward/forms.ts';
import type { Reason, SessionFinding } from '../policy/facts.ts';
import { sameDigest, totpUri, type Factor, type Refusal } from '../policy/second-factor.ts';
import type { SessionLimits } from '../policy/session.ts';
import type { Site } from '../policy/webauthn.ts';
import { CellsError } from '../store/cells.ts';
import type { FoundSession, Sessions } from '../store/sessions.ts';
import { json, NO_COOKIE, page, redirect, retryAfter, script, setCookie } from './answers.ts';
import { CALLS, createApi } from './api.ts';
import { readRequest, type Asking } from './asking.ts';
import type { Factors } from './factors.ts';
import { enrolKeyPage, keyPage, type ScriptedContext } from './key-pages.ts';
import { KEY_SCRIPT } from './key-script.ts';
import { pageLink, type Problem } from './page.ts';
import {
  codesPage, confirmPage, enrolPage, faultPage, notEnrolledPage, recoveryPage, sessionPage, signedOutPage, signInPage, smsPage, type Choices, type FormContext,
} from './pages.ts';
import { problemOf, statusOf } from './problems.ts';
import type { KeyPlace, SecurityKeys } from './security-keys.ts';
import { createStepUp } from './step-up.ts';
import { notEnrolled, type Outcome } from './trial.ts';

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
  readonly keys: SecurityKeys;
  readonly sessions: Sessions;
  readonly settings: () => PageSettings;
  /** What security keys take a host of a listener for; undefined where none can be used. */
  readonly siteOf: (host: string, listener: string) => Site | undefined;
  readonly now: () => number;
  readonly warn: (detail: string) => void;
}

/** A session on its way through the forms, new or found. */
interface Visit {
  readonly found: FoundSession;
  readonly finding: SessionFinding;
  readonly cookie: readonly string[];
}

/** Answers requests for the pages: never rejects. */
export function createPages({ factors, keys, sessions, settings, siteOf, now, warn }: PagesOptions): (request: PageRequest) => Promise<PageAnswer> {
  const stepUp = createStepUp({ factors, sessions, now });
  const call = createApi({ factors, keys, sessions, settings, stepUp, now });
  const minutes = (from: number, until: number): number => Math.max(1, Math.ceil((until - from) / 60_000));

  /** The session of a visitor; a new one, which has shown nothing, where there is none that is good. */
  async function visit({ bearer, token }: Asking): Promise<Visit> {
    const { finding, found } = await sessions.look(token, bearer);
    if (found !== undefined) return { found, finding, cookie: NO_COOKIE };
    const opened = await sessions.open(bearer, { factors: {} }, undefined);
    return { found: opened, finding: { kind: 'none' }, cookie: setCookie(opened.token) };
  }

  /** What routes ask of the role, and what of it helps where somebody comes from. */
  function asked({ request: { identity }, wanted }: Asking, factor: Factor): boolean {
    return settings().asked(identity.roles).has(factor) && wanted?.has(factor) !== false;
  }

  /** What somebody who is invited may set up here. */
  function waysOf(asking: Asking): { readonly totp: boolean; readonly keys: boolean } {
    return { totp: asked(asking, 'totp'), keys: asked(asking, 'webauthn') && asking.site !== undefined };
  }

  async function choicesOf(asking: Asking): Promise<Choices> {
    const { request: { identity }, site } = asking;
    const enrolment = await factors.enrolment(identity);
    const ways = waysOf(asking);
    return {
      totp: ways.totp && enrolment?.totp !== undefined,
      keys: ways.keys && enrolment?.keys?.some(({ rpId }) => rpId === site?.rpId) === true,
      phone: asked(asking, 'sms') && enrolment?.card !== undefined ? enrolment.phone?.slice(-3) : undefined,
      invited: (ways.totp || ways.keys) && enrolment?.invitation !== undefined && now() < enrolment.invitation.expires,
      withKeys: ways.keys,
    };
  }

  function show(asking: Asking, { found, cookie }: Visit, draw: (context: FormContext) => string, problem?: Problem, refusal?: Refusal): PageAnswer {
    const body = draw({ ...asking.context, form: found.session.form, ...(problem === undefined ? {} : { problem }) });
    return page(statusOf(problem, refusal), body, [...cookie, ...retryAfter(refusal, now())]);
  }

  /** The same with the script, which runs there alone. */
  function showScripted(asking: Asking, { found, cookie }: Visit, draw: (context: ScriptedContext) => string, problem?: Problem, refusal?: Refusal): PageAnswer {
    const nonce = randomBytes(16).toString('base64url');
    const body = draw({ ...asking.context, form: found.session.form, nonce, ...(problem === undefined ? {} : { problem }) });
    return page(statusOf(problem, refusal), body, [...cookie, ...retryAfter(refusal, now())], nonce);
  }

  /** What to say about a refusal, which goes on the record of the request as well. */
  function problem(asking: Asking, refusal: Refusal, field: string, sms = false): Problem {
    asking.refusal = refusal;
    return problemOf(asking.words, refusal, refusal.retryAt === undefined ? 1 : minutes(now(), refusal.retryAt), field, sms);
  }

  /** The page with which somebody shows a factor, or what there is instead. A key comes first: nobody can be talked into using it elsewhere. */
  async function signIn(asking: Asking, told?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const visited = await visit(asking);
    const choices = await choicesOf(asking);
    const shown = shownBy(visited);
    const { wanted } = asking;
    const enough = wanted === undefined ? shown.includes('totp') || shown.includes('webauthn') || (shown.length > 0 && !choices.totp && !choices.keys) : shown.some((factor) => wanted.has(factor));
    if (told === undefined && enough) return showSession(asking, visited);
    if (choices.keys) return showScripted(asking, visited, (context) => keyPage(context, choices), told, refusal);
    if (choices.totp) return show(asking, visited, (context) => signInPage(context, choices), told, refusal);
    if (choices.phone !== undefined) return show(asking, visited, (context) => smsPage(context, choices, false), told, refusal);
    return unready(asking, visited, choices, told, refusal);
  }

  /** For somebody who has nothing to show that would do: the way to set it up. */
  function unready(asking: Asking, visited: Visit, choices: Choices, told?: Problem, refusal?: Refusal): PageAnswer {
    if (choices.invited) return show(asking, visited, (context) => enrolPage(context, choices.withKeys), told, refusal);
    return page(statusOf(told, refusal), notEnrolledPage(asking.context, choices.withKeys), visited.cookie);
  }

  /** The form for the code of an authenticator, whatever else there is. */
  async function totp(asking: Asking, told?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const choices = await choicesOf(asking);
    if (!choices.totp) return signIn(asking, told, refusal);
    const visited = await visit(asking);
    if (told === undefined && shownBy(visited).includes('totp')) return showSession(asking, visited);
    return show(asking, visited, (context) => signInPage(context, choices), told, refusal);
  }

  /** The form for a security key, for a route that takes nothing else. */
  async function key(asking: Asking, told?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const visited = await visit(asking);
    const choices = await choicesOf(asking);
    const shown = shownBy(visited);
    if (told === undefined && shown.includes('webauthn')) return showSession(asking, visited);
    if (choices.keys) return showScripted(asking, visited, (context) => keyPage(context, choices), told, refusal);
    // Another factor that was shown does not do here.
    return shown.length === 0 ? signIn(asking, told, refusal) : unready(asking, visited, choices, told, refusal);
  }

  function showSession(asking: Asking, visited: Visit): PageAnswer {
    const { limits } = settings();
    const until = visited.finding.kind === 'valid' ? visited.finding.until : now();
    return show(asking, visited, (context) => sessionPage(context, minutes(now(), until), Math.round(limits.idle / 60_000)));
  }

  async function sms(asking: Asking, sent: boolean, told?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const visited = await visit(asking);
    const choices = await choicesOf(asking);
    if (told === undefined && shownBy(visited).includes('sms')) return showSession(asking, visited);
    if (choices.phone === undefined) return signIn(asking, told, refusal);
    return show(asking, visited, (context) => smsPage(context, choices, sent), told, refusal);
  }

  async function recovery(asking: Asking, told?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const choices = await choicesOf(asking);
    if (!choices.totp) return signIn(asking);
    return show(asking, await visit(asking), recoveryPage, told, refusal);
  }

  async function enrol(asking: Asking, told?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const { keys: withKeys } = waysOf(asking);
    return show(asking, await visit(asking), (context) => enrolPage({ ...context, page: 'enrol' }, withKeys), told, refusal);
  }

  async function confirm(asking: Asking, told?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const visited = await visit(asking);
    const { enrolling } = visited.found.session;
    const { keys: withKeys } = waysOf(asking);
    if (enrolling === undefined) return show(asking, visited, (context) => enrolPage({ ...context, page: 'enrol' }, withKeys));
    return show(asking, visited, (context) => confirmPage(context, enrolling.secret, totpUri(enrolling, settings().issuer, context.id), withKeys), told, refusal);
  }

  async function enrolKey(asking: Asking, told?: Problem, refusal?: Refusal): Promise<PageAnswer> {
    const ways = waysOf(asking);
    if (!ways.keys) return page(404, faultPage(asking.context, 'notFound'), NO_COOKIE);
    const visited = await visit(asking);
    if (visited.found.session.enrolling === undefined) return show(asking, visited, (context) => enrolPage({ ...context, page: 'enrol' }, true));
    return showScripted(asking, visited, (context) => enrolKeyPage(context, ways.totp), told, refusal);
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
    const goOn = async (factor: Factor, verdict: Outcome, refuseWith: (refusal: Refusal) => Promise<PageAnswer>): Promise<PageAnswer> => {
      const opened = verdict.kind === 'good' ? await stepUp.shown(asking, found, factor, verdict.basis) : verdict;
      return opened.kind === 'good' ? redirect(context.returnTo ?? pageLink(context, 'session'), setCookie(opened.token)) : refuseWith(opened);
    };
    switch (context.page) {
      case 'verify': return goOn('totp', await factors.totp(person, text('code')), (refusal) => totp(asking, problem(asking, refusal, 'code'), refusal));
      case 'recovery': return goOn('totp', await factors.recovery(person, text('recovery')), (refusal) => recovery(asking, problem(asking, refusal, 'recovery'), refusal));
      case 'key': return goOn('webauthn', await withSite(asking, (place) => keys.sign(person, place, text('response'))), (refusal) => key(asking, problem(asking, refusal, ''), refusal));
      case 'sms/send': {
        const verdict = await factors.sendSms(person, context.language);
        return verdict.kind === 'good' ? redirect(`${pageLink(context, 'sms')}&sent=1`, NO_COOKIE) : sms(asking, verdict.reason === 'sms_too_soon', problem(asking, verdict, 'code', true), verdict);
      }
      case 'sms': return goOn('sms', await factors.sms(person, text('code'), text('card')), (refusal) => sms(asking, true, problem(asking, refusal, 'code', true), refusal));
      case 'enrol': {
        const invited = await factors.invitation(person, text('invitation'));
        if (invited.kind === 'refused') return enrol(asking, problem(asking, invited, 'invitation'), invited);
        const opened = await stepUp.enrolling(asking, found, invited.enrolling);
        if (opened.kind === 'refused') return enrol(asking, problem(asking, opened, 'invitation'), opened);
        return redirect(pageLink(context, waysOf(asking).keys ? 'enrol/key' : 'enrol/confirm'), setCookie(opened.token));
      }
      case 'enrol/confirm': return enrolled(asking, found);
      case 'enrol/key': return goOn('webauthn', await withSite(asking, (place) => keys.enrol(person, place, text('response'), text('name'))), (refusal) =>
        (refusal.reason === 'invitation_expired' ? enrol(asking, problem(asking, refusal, 'invitation'), refusal) : enrolKey(asking, problem(asking, refusal, ''), refusal)));
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
    if (outcome.kind === 'refused') {
      return outcome.reason === 'invitation_expired' ? enrol(asking, problem(asking, outcome, 'invitation'), outcome) : confirm(asking, problem(asking, outcome, 'code'), outcome);
    }
    const opened = await stepUp.shown(asking, { token: found.token, session: { ...found.session, factors: {}, basis: {} } }, 'totp', outcome.basis);
    if (opened.kind === 'refused') return enrol(asking, problem(asking, opened, 'invitation'), opened);
    return page(200, codesPage({ ...asking.context, page: 'session' }, outcome.codes), setCookie(opened.token));
  }

  /** Judges what a key answered, where one can be used. */
  async function withSite(asking: Asking, judge: (place: KeyPlace) => Promise<Outcome>): Promise<Outcome> {
    const { site, bearer: { certificate } } = asking;
    if (site !== undefined && waysOf(asking).keys) return judge({ site, certificate });
    const refusal = notEnrolled('no security key can be used here');
    await refuse(asking, refusal.reason, refusal.detail);
    return refusal;
  }

  /** The page that a refused form belongs to, once more. */
  function again(asking: Asking, told: Problem): Promise<PageAnswer> {
    switch (asking.context.page) {
      case 'sms': case 'sms/send': return sms(asking, false, told);
      case 'recovery': return recovery(asking, told);
      case 'enrol': case 'enrol/confirm': case 'enrol/key': return enrol(asking, told);
      case 'verify': return totp(asking, told);
      case 'key': return key(asking, told);
      default: return signIn(asking, told);
    }
  }

  async function get(asking: Asking): Promise<PageAnswer> {
    const { context } = asking;
    switch (context.page) {
      case '': return signIn(asking);
      case 'key': return key(asking);
      case 'key.js': return script(KEY_SCRIPT);
      case 'verify': return totp(asking);
      case 'sms': return sms(asking, new URLSearchParams(asking.request.query).has('sent'));
      case 'recovery': return recovery(asking);
      case 'enrol': return enrol(asking);
      case 'enrol/confirm': return confirm(asking);
      case 'enrol/key': return enrolKey(asking);
      case 'session': {
        const visited = await visit(asking);
        return visited.finding.kind === 'valid' ? showSession(asking, visited) : signIn(asking);
      }
      // Pages that only take forms, asked for after a switch of languages.
      case 'logout': return signIn({ ...asking, context: { ...context, page: '' } });
      case 'sms/send': return sms({ ...asking, context: { ...context, page: 'sms' } }, false);
      default: return page(404, faultPage(context, 'notFound'), NO_COOKIE);
    }
  }

  async function answer(asking: Asking): Promise<PageAnswer> {
    const { request, context, words } = asking;
    const called = CALLS.has(context.page);
    const allowed = context.page === 'token' ? 'POST, DELETE' : called ? 'POST' : 'GET, HEAD, POST';
    if (!allowed.split(', ').includes(request.method)) return page(405, faultPage(context, 'notFound'), ['allow', allowed]);
    if (request.method === 'GET' || request.method === 'HEAD') return get(asking);
    const fault = crossOrigin(request);
    if (fault !== undefined) {
      // Somebody else's page must not even use up somebody's tries.
      await refuse(asking, 'form_refused', fault);
      return called ? json(403, { code: 'bad_request' }) : page(403, faultPage({ ...context, page: '' }, 'notFound'), NO_COOKIE);
    }
    if (called) return call(asking);
    return isForm(request) ? post(asking) : again(asking, { text: words.errors.form });
  }

  return async (request) => {
    const asking = readRequest(request, siteOf(request.host, request.listener));
    try {
      const answered = await answer(asking);
      const { refusal } = asking;
      return refusal === undefined ? answered : { ...answered, refusal: { reason: refusal.reason, detail: refusal.detail } };
    } catch (error) {
      const away = error instanceof CellsError;
      warn(away ? error.message : (error as Error).stack ?? String(error));
      if (CALLS.has(asking.context.page)) return json(503, { code: 'overloaded' }, ['retry-after', '5']);
      return page(503, faultPage({ ...asking.context, page: '' }, 'unavailable'), ['retry-after', '5']);
    }
  };
}

function shownBy({ finding }: Visit): readonly Factor[] {
  return finding.kind === 'valid' ? finding.factors : [];
}
