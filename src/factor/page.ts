import { html, type Html } from '../forward/html.ts';
import type { Language } from '../forward/language.ts';
import { STYLE, STYLE_HASH } from '../forward/page-style.ts';
import { WORDS, type Words } from './words.ts';

/** Where the pages live on every https listener, and nothing else does. */
export const PAGES = '/.wardgate/';

/**
 * The one style of all pages, let in by its hash: nothing else is fetched, run or framed. `nonce`: of the one script, on the pages that have it;
 * neither inline text nor anything else that the same host serves may run beside it.
 */
export function contentSecurityPolicy(nonce: string | undefined): string {
  const scripted = nonce === undefined ? '' : ` script-src 'nonce-${nonce}'; connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none';`;
  return `default-src 'none'; style-src 'sha256-${STYLE_HASH}';${scripted} form-action 'self'; base-uri 'none'; frame-ancestors 'none'`;
}

/** What every page is about. */
export interface PageContext {
  readonly language: Language;
  /** Who the certificate stands for. */
  readonly id: string;
  /** Path on this origin to go on to; undefined where nobody came from one. */
  readonly returnTo: string | undefined;
  /** The factors of which one is needed there, with dots between them; undefined where any will do. */
  readonly wanted?: string | undefined;
  /** The page's own name below the prefix: for the switch of languages. */
  readonly page: string;
}

/** A form's problem: what is wrong, and the id of the field that it is about. */
export interface Problem {
  readonly text: string;
  readonly field?: string;
}

/** The address of another page, with the language, what is needed and the way back. */
export function pageLink({ language, returnTo, wanted }: Pick<PageContext, 'language' | 'returnTo' | 'wanted'>, page: string): string {
  return `${PAGES}${page}?lang=${language}${wanted === undefined ? '' : `&for=${wanted}`}${returnTo === undefined ? '' : `&return=${encodeURIComponent(returnTo)}`}`;
}

/** A whole page. `once`: it cannot be shown again, so nothing on it leads to it in another language. `nonce`: it runs the script. */
export function renderPage(context: PageContext, title: string, content: Html, problem?: Problem, once = false, nonce?: string): string {
  const words = WORDS[context.language];
  const { other } = words;
  return html`<!doctype html>
<html lang="${words.lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${problem === undefined ? title : words.errorTitle(title)}</title>
<style>${{ html: STYLE }}</style>${nonce === undefined ? undefined : html`
<script src="${PAGES}key.js" nonce="${nonce}" defer></script>`}
</head>
<body>
<header>
<p>${words.signedInAs(context.id)}</p>
${once ? undefined : html`<nav aria-label="${words.languages}"><a href="${pageLink({ ...context, language: other.language }, context.page)}" hreflang="${other.lang}" lang="${other.lang}">${other.name}</a></nav>`}
</header>
<main>
${problem === undefined ? undefined : summary(words, problem)}
<h1>${title}</h1>
${content}
</main>
</body>
</html>
`.html;
}

function summary(words: Words, { text, field }: Problem): Html {
  return html`<div class="error" role="alert">
<h2 id="problem">${words.problem}</h2>
<p>${field === undefined ? text : html`<a href="#${field}">${text}</a>`}</p>
</div>`;
}

export interface Field {
  readonly name: string;
  readonly label: string;
  readonly hint: string;
  /** For one-time codes of digits: browsers and keyboards help with them. */
  readonly kind: 'digits' | 'code' | 'card' | 'name';
  readonly focus?: boolean;
}

const KINDS = {
  digits: html`inputmode="numeric" autocomplete="one-time-code" maxlength="16"`,
  code: html`autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="40"`,
  card: html`autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="64"`,
  name: html`autocomplete="off" maxlength="64"`,
} as const;

/** A labelled input. */
export function field({ name, label, hint, kind, focus }: Field, problem: Problem | undefined): Html {
  const wrong = problem?.field === name;
  return html`<label for="${name}">${label}</label>
<p class="hint" id="${name}-hint">${hint}</p>
<input id="${name}" name="${name}" type="text"${kind === 'name' ? undefined : html` required`} ${KINDS[kind]} aria-describedby="${name}-hint${wrong ? ' problem' : ''}"${wrong ? html` aria-invalid="true"` : undefined}${focus === true ? html` autofocus` : undefined}>`;
}

/** A form that brings back the session's own token, the language, what is needed and the way back. */
export function form(context: PageContext, token: string, action: string, content: Html, attributes?: Html): Html {
  return html`<form method="post" action="${PAGES}${action}"${attributes}>
<input type="hidden" name="form" value="${token}">
<input type="hidden" name="lang" value="${context.language}">
${context.wanted === undefined ? undefined : html`<input type="hidden" name="for" value="${context.wanted}">
`}${context.returnTo === undefined ? undefined : html`<input type="hidden" name="return" value="${context.returnTo}">`}
${content}
</form>`;
}
