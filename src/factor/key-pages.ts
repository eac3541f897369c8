import { field, form, renderPage, type PageContext } from './page.ts';
import { html, type Html } from '../forward/html.ts';
import { link, links, type Choices, type FormContext } from './pages.ts';
import { WORDS, type Words } from './words.ts';

/** A page that runs the one script. */
export interface ScriptedContext extends FormContext {
  readonly nonce: string;
}

/** A form that the script brings to life; what it may have to say is on the page from the beginning. */
function keyForm(context: ScriptedContext, action: string, purpose: 'sign-in' | 'enrol', content: Html): Html {
  const { keys } = WORDS[context.language];
  return html`<p class="error" id="key-told" role="alert" hidden></p>
<noscript><p>${keys.noScript}</p></noscript>
${form(context, context.form, action, html`<input type="hidden" name="response" value="">
${content}`, html` id="key-form" hidden data-purpose="${purpose}" data-unsupported="${keys.unsupported}" data-failed="${keys.failed}" data-refused="${keys.refused}" data-locked="${keys.locked}" data-known="${keys.known}"`)}`;
}

/** Asks for a security key. */
export function keyPage(context: ScriptedContext, choices: Choices): string {
  const words = WORDS[context.language];
  return renderPage(context, words.signIn, html`<p>${words.keys.why}</p>
${keyForm(context, 'key', 'sign-in', html`<button>${words.keys.use}</button>`)}
${others(context, words, choices)}`, context.problem, false, context.nonce);
}

function others(context: PageContext, words: Words, choices: Choices): Html | undefined {
  return links([
    choices.totp ? link(context, 'verify', words.byTotp) : undefined,
    choices.totp ? link(context, 'recovery', words.lostAuthenticator) : undefined,
    choices.phone === undefined ? undefined : link(context, 'sms', words.bySms),
    choices.invited ? link(context, 'enrol', words.keys.haveInvitation) : undefined,
  ]);
}

/** Has somebody make a key. `totp`: an authenticator app would do as well. */
export function enrolKeyPage(context: ScriptedContext, totp: boolean): string {
  const words = WORDS[context.language];
  return renderPage(context, words.keys.enrol, html`<p>${words.keys.enrolWhy}</p>
${keyForm(context, 'enrol/key', 'enrol', html`${field({ name: 'name', label: words.keys.name, hint: words.keys.nameHint, kind: 'name' }, context.problem)}
<button>${words.keys.make}</button>`)}
${links([totp ? link(context, 'enrol/confirm', words.keys.enrolTotp) : undefined])}`, context.problem, false, context.nonce);
}
