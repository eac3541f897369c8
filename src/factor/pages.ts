import { encode } from 'uqr';
import { field, form, pageLink, renderPage, type PageContext, type Problem } from './page.ts';
import { html, type Html } from '../forward/html.ts';
import { WORDS, type Words } from './words.ts';

/** What the pages need to know beside their context. */
export interface FormContext extends PageContext {
  /** The session's form token. */
  readonly form: string;
  readonly problem?: Problem;
}

/** What somebody is enrolled for, where a route asks for it. */
export interface Choices {
  readonly totp: boolean;
  /** Security keys that can be used here. */
  readonly keys: boolean;
  /** The last three digits of the phone number. */
  readonly phone: string | undefined;
  readonly invited: boolean;
  /** Whether somebody who is invited may set up a security key. */
  readonly withKeys: boolean;
}

/** A list of what else there is. */
export function links(items: readonly (Html | undefined)[]): Html | undefined {
  const shown = items.filter((item) => item !== undefined);
  return shown.length === 0 ? undefined : html`<ul class="others">${shown.map((item) => html`<li>${item}</li>`)}</ul>`;
}

/** A link to another page. */
export function link(context: PageContext, page: string, text: string): Html {
  return html`<a href="${pageLink(context, page)}">${text}</a>`;
}

function wordsOf({ language }: PageContext): Words {
  return WORDS[language];
}

/** Asks for the code of the authenticator. */
export function signInPage(context: FormContext, choices: Choices): string {
  const words = wordsOf(context);
  const { problem } = context;
  return renderPage(context, words.signIn, html`<p>${words.signInWhy}</p>
${form(context, context.form, 'verify', html`${field({ name: 'code', label: words.code, hint: words.codeHint, kind: 'digits', focus: true }, problem)}
<button>${words.send}</button>`)}
${links([
    choices.keys ? link(context, 'key', words.keys.instead) : undefined,
    link(context, 'recovery', words.lostAuthenticator),
    choices.phone === undefined ? undefined : link(context, 'sms', words.bySms),
    choices.invited ? link(context, 'enrol', choices.withKeys ? words.keys.haveInvitation : words.haveInvitation) : undefined,
  ])}`, problem);
}

/** For somebody who is not enrolled for anything that would help. */
export function notEnrolledPage(context: PageContext, withKeys: boolean): string {
  const words = wordsOf(context);
  return renderPage(context, words.notEnrolled, html`<p>${withKeys ? words.keys.notEnrolledWhy : words.notEnrolledWhy}</p>
<p>${link(context, 'enrol', withKeys ? words.keys.enrolAny : words.enrol)}</p>`);
}

/** Asks for a recovery code. */
export function recoveryPage(context: FormContext): string {
  const words = wordsOf(context);
  return renderPage(context, words.recovery, html`<p>${words.recoveryWhy}</p>
${form(context, context.form, 'recovery', html`${field({ name: 'recovery', label: words.recoveryCode, hint: words.recoveryHint, kind: 'code', focus: true }, context.problem)}
<button>${words.send}</button>`)}
${links([link(context, 'verify', words.byTotp)])}`, context.problem);
}

/** Sends a code to the phone, or asks for the one that was sent and the card number. */
export function smsPage(context: FormContext, choices: Choices, sent: boolean): string {
  const words = wordsOf(context);
  const { problem } = context;
  const phone = choices.phone ?? '';
  const others = links([choices.keys ? link(context, 'key', words.keys.instead) : undefined, choices.totp ? link(context, 'verify', words.byTotp) : undefined]);
  const sending = (text: string, style: Html | undefined): Html => form(context, context.form, 'sms/send', html`<button${style}>${text}</button>`);
  if (!sent) return renderPage(context, words.sms, html`<p>${words.smsWhy(phone)}</p>${sending(words.smsSend, undefined)}${others}`, problem);
  return renderPage(context, words.sms, html`<p>${words.smsSent(phone)}</p>
${form(context, context.form, 'sms', html`${field({ name: 'code', label: words.smsCode, hint: words.smsCodeHint, kind: 'digits', focus: true }, problem)}
${field({ name: 'card', label: words.card, hint: words.cardHint, kind: 'card' }, problem)}
<button>${words.send}</button>`)}
${sending(words.smsAgain, html` class="plain"`)}${others}`, problem);
}

/** Asks for the invitation that staff handed out. */
export function enrolPage(context: FormContext, withKeys: boolean): string {
  const words = wordsOf(context);
  return renderPage(context, withKeys ? words.keys.enrolAny : words.enrol, html`<p>${withKeys ? words.keys.enrolAnyWhy : words.enrolWhy}</p>
${form(context, context.form, 'enrol', html`${field({ name: 'invitation', label: words.invitation, hint: words.invitationHint, kind: 'code', focus: true }, context.problem)}
<button>${words.send}</button>`)}`, context.problem);
}

/** Shows the secret as a QR code and as text, and asks for the first code made with it. */
export function confirmPage(context: FormContext, secret: string, uri: string, withKeys: boolean): string {
  const words = wordsOf(context);
  return renderPage(context, words.confirm, html`<p>${words.confirmScan}</p>
${qrCode(uri, words.qrCode)}
<p>${words.confirmByHand}</p>
<p>${words.secret}: <code>${secret.replace(/.{4}(?=.)/g, '$& ')}</code></p>
${form(context, context.form, 'enrol/confirm', html`${field({ name: 'code', label: words.confirmCode, hint: words.codeHint, kind: 'digits' }, context.problem)}
<button>${words.confirmDone}</button>`)}
${links([withKeys ? link(context, 'enrol/key', words.keys.enrol) : undefined])}`, context.problem);
}

/** Shows the recovery codes, once. */
export function codesPage(context: PageContext, codes: readonly string[]): string {
  const words = wordsOf(context);
  return renderPage(context, words.codes, html`<p>${words.codesWhy}</p>
<ol class="codes">${codes.map((code) => html`<li>${code}</li>`)}</ol>
<p><a href="${context.returnTo ?? pageLink(context, 'session')}">${words.codesSaved}</a></p>`, undefined, true);
}

/** For somebody who has shown a factor: how long it lasts, and the way out. Minutes. */
export function sessionPage(context: FormContext, left: number, idle: number): string {
  const words = wordsOf(context);
  return renderPage(context, words.session, html`<p>${words.sessionUntil(left, idle)}</p>
${context.returnTo === undefined ? undefined : html`<p><a href="${context.returnTo}">${words.continue}</a></p>`}
${form(context, context.form, 'logout', html`<button class="plain">${words.signOut}</button>`)}`, context.problem);
}

/** After signing out. */
export function signedOutPage(context: PageContext): string {
  const words = wordsOf(context);
  return renderPage(context, words.signedOut, html`<p>${words.signedOutWhy}</p>
<p>${link(context, '', words.signInAgain)}</p>`);
}

/** When what is needed to decide is away, or the page is not one. */
export function faultPage(context: PageContext, fault: 'unavailable' | 'notFound'): string {
  const words = wordsOf(context);
  return renderPage(context, words[fault], html`<p>${words[`${fault}Why`]}</p>
<p>${link(context, '', words.continue)}</p>`);
}

const QUIET_ZONE = 4;

/** A QR code as one path of an inline picture: no image is fetched, and no style is needed. */
function qrCode(text: string, label: string): Html {
  const { data, size } = encode(text, { ecc: 'M', border: QUIET_ZONE });
  const squares = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : [])));
  return html`<svg class="qr" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" role="img" aria-label="${label}" shape-rendering="crispEdges"><path fill="#ffffff" d="M0 0h${size}v${size}h-${size}z"/><path fill="#000000" d="${squares.join('')}"/></svg>`;
}
