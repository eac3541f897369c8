import type { EmergencyOffer, EmergencyOutcome, EmergencyView, PageAnswer, PageRequest } from '../forward/client.ts';
import { fieldOf, readForm } from '../forward/forms.ts';
import { safeReturn } from '../policy/second-factor.ts';
import type { GrantReport } from '../store/grants.ts';
import { page, redirect } from './answers.ts';
import { EMERGENCY_WORDS, type EmergencyWords } from './emergency-words.ts';
import { html, type Html } from '../forward/html.ts';
import { form, pageLink, PAGES, renderPage, type PageContext, type Problem } from './page.ts';
import { chooseLanguage } from '../forward/language.ts';

/** The grants that the page shows and ends. */
export interface ShownGrants {
  /** Those that a certificate (SHA-256, hex) may use, oldest first. */
  openFor(certificate: string): readonly GrantReport[];
  withdraw(id: string, who: string, note: string): Promise<void>;
}

/** Where the page is, below the gateway's own path. */
const PAGE = 'emergency';

/** What the page shows. */
interface Shown {
  readonly context: PageContext;
  readonly words: EmergencyWords;
  readonly view: EmergencyView;
  readonly grants: readonly GrantReport[];
  readonly now: number;
}

/** Draws the page on which emergencies are declared, and ends what is to be ended. What may be opened, and whether it was, the request says. */
export function createEmergencyPage(grants: ShownGrants, now: () => number): (request: PageRequest & { readonly emergency: EmergencyView }) => Promise<PageAnswer> {
  return async (request) => {
    const { emergency: view, certificate, identity } = request;
    const context = contextOf(request);
    const { outcome } = view;
    if (outcome.kind === 'opened') return redirect(`${pageLink(context, PAGE)}&done=opened`, []);
    if (outcome.kind === 'ends') {
      // What is somebody else's, or has ended meanwhile, is none of those that are shown either.
      const found = grants.openFor(certificate).find(({ id }) => id === outcome.id);
      if (found !== undefined) await grants.withdraw(found.id, identity.id, 'ended on the page by whom it was for');
      return redirect(`${pageLink(context, PAGE)}&done=ended`, []);
    }
    const shown: Shown = { context, view, words: EMERGENCY_WORDS[context.language], grants: grants.openFor(certificate), now: now() };
    return page(statusOf(outcome), drawn(shown, new URLSearchParams(request.query).get('done')), []);
  };
}

function contextOf(request: PageRequest): PageContext {
  const [posted, query] = [readForm(request), new URLSearchParams(request.query)];
  const language = chooseLanguage(posted.get('lang') ?? query.get('lang') ?? undefined, fieldOf(request.fields, 'accept-language'));
  return { language, id: request.identity.id, returnTo: safeReturn(posted.get('return') ?? query.get('return') ?? undefined), page: PAGE };
}

function statusOf(outcome: EmergencyOutcome): number {
  if (outcome.kind !== 'refused') return 200;
  if (outcome.fault !== undefined) return outcome.fault === 'route' ? 403 : 400;
  return outcome.code === 'rate_limited' ? 429 : outcome.code === 'suspended' ? 503 : 403;
}

function drawn(shown: Shown, done: string | null): string {
  const { context, words, view: { outcome, offers, said }, grants } = shown;
  if (outcome.kind === 'needless') return renderPage(context, words.needless, html`<p>${words.needlessWhy(said.route ?? '')}</p>${onward(shown)}${openNow(shown)}`);
  if (outcome.kind === 'asked' && done === 'opened' && grants.length > 0) return renderPage(context, words.opened, html`<p>${words.answerable}</p>${onward(shown)}${openNow(shown)}${another(shown)}`);
  if (outcome.kind === 'asked' && done === 'ended') return renderPage(context, words.ended, html`${openNow(shown)}${another(shown)}`);
  if (offers.length === 0) return renderPage(context, words.nothing, html`<p>${words.nothingWhy}</p>`);
  const problem = outcome.kind === 'refused' ? problemOf(words, outcome) : undefined;
  return renderPage(context, words.title, html`${openNow(shown)}
<p>${words.why}</p>
<p><strong>${words.answerable}</strong></p>
${outcome.kind === 'refused' && outcome.code === 'step_up_required' ? html`<p><a href="${pageLink(context, '')}">${words.signIn}</a></p>` : undefined}
${form(context, shown.view.form, PAGE, html`<input type="hidden" name="do" value="open">${fields(shown, problem)}
<p>${words.lasts(offered(shown).map(({ route, lasts }) => ({ route, minutes: minutes(lasts) })))}</p>
<button>${words.open}</button>`)}`, problem);
}

function problemOf({ errors }: EmergencyWords, { code, fault }: Extract<EmergencyOutcome, { kind: 'refused' }>): Problem {
  if (fault !== undefined) return { text: errors[fault], field: fault };
  switch (code) {
    case 'form': return { text: errors.form };
    case 'step_up_required': return { text: errors.factor };
    case 'rate_limited': return { text: errors.limits };
    case 'suspended': return { text: errors.suspended };
    default: return { text: errors.denied };
  }
}

/** The services to choose from: the one from which somebody comes, where that is known. */
function offered({ view: { offers, said } }: Shown): readonly EmergencyOffer[] {
  const meant = offers.filter(({ route }) => route === said.route);
  return meant.length > 0 ? meant : offers;
}

function fields(shown: Shown, problem: Problem | undefined): Html {
  const { words, view: { said } } = shown;
  const offers = offered(shown);
  const reasons = [...new Set(offers.flatMap((offer) => offer.reasons))];
  const optional = offers.some(({ patient }) => patient === 'optional');
  return html`${choice('route', words.route, words.routeHint, words.choose, offers.map(({ route }) => route), said.route, problem)}
${choice('reason', words.reason, words.reasonHint, words.choose, reasons, said.reason, problem)}
${labelled('text', words.text, words.textHint, problem, (about) => html`<textarea id="text" name="text" rows="3" maxlength="500" required${about}>${said.text?.slice(0, 500)}</textarea>`)}
${labelled('patient', words.patient, optional ? words.mayBeLeft : words.patientHint, problem, (about) => html`<input id="patient" name="patient" type="text" autocomplete="off" spellcheck="false" maxlength="200"${optional ? undefined : html` required`} value="${said.patient?.slice(0, 200)}"${about}>`)}`;
}

/** A list to choose from; what there is no other of is chosen. */
function choice(name: string, label: string, hint: string, none: string, options: readonly string[], chosen: string | undefined, problem: Problem | undefined): Html {
  const selected = options.length === 1 ? options[0] : chosen;
  return labelled(name, label, hint, problem, (about) => html`<select id="${name}" name="${name}" required${about}>${options.length === 1 ? undefined : html`<option value="">${none}</option>`}${options.map((option) =>
    html`<option value="${option}"${option === selected ? html` selected` : undefined}>${option}</option>`)}</select>`);
}

function labelled(name: string, label: string, hint: string, problem: Problem | undefined, input: (about: Html) => Html): Html {
  const wrong = problem?.field === name;
  return html`<label for="${name}">${label}</label>
<p class="hint" id="${name}-hint">${hint}</p>
${input(html` aria-describedby="${name}-hint${wrong ? ' problem' : ''}"${wrong ? html` aria-invalid="true"` : undefined}`)}`;
}

function onward({ context, words }: Shown): Html | undefined {
  return context.returnTo === undefined ? undefined : html`<p><a href="${context.returnTo}">${words.goOn}</a></p>`;
}

function another({ context, words }: Shown): Html {
  return html`<p><a href="${PAGES}${PAGE}?lang=${context.language}">${words.another}</a></p>`;
}

/** What is open, each with the way to end it. */
function openNow({ context, words, view, grants, now }: Shown): Html | undefined {
  if (grants.length === 0) return undefined;
  const places = grants.flatMap(({ page: declared, route, patient }) => (declared === true ? [{ route, patient }] : []));
  const several = places.some(({ route, patient }) => places.some((other) => other.route === route && other.patient !== patient));
  return html`<h2>${words.openNow}</h2>
<ul class="open">${grants.map(({ id, route, patient, reason, text, until }) => html`<li>
<p><strong>${route}, ${patient === undefined ? words.forNobody : words.forPatient(patient)}</strong>: <time datetime="${until}">${words.until(minutes(Date.parse(until) - now), until.slice(11, 16))}</time></p>
<p>${words.because(reason, text)}</p>
${form(context, view.form, PAGE, html`<input type="hidden" name="do" value="end"><input type="hidden" name="id" value="${id}"><button class="plain">${words.end(route, patient)}</button>`)}
</li>`)}</ul>
${several ? html`<p>${words.several}</p>` : undefined}`;
}

function minutes(milliseconds: number): number {
  return Math.max(1, Math.ceil(milliseconds / 60_000));
}
