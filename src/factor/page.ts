import { createHash } from 'node:crypto';
import { html, type Html } from './html.ts';
import { WORDS, type Language, type Words } from './words.ts';

/** Where the pages live on every https listener, and nothing else does. */
export const PAGES = '/.wardgate/';

const STYLE = `
:root { color-scheme: light dark; --ink: #14202b; --soft: #46535f; --paper: #ffffff; --line: #75818c; --deed: #0b5394; --deed-ink: #ffffff; --bad: #a5160b; }
@media (prefers-color-scheme: dark) { :root { --ink: #eef2f5; --soft: #c3ccd4; --paper: #12181e; --line: #8b98a5; --deed: #8ec5ff; --deed-ink: #0a1a29; --bad: #ff9d94; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.0625rem/1.55 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; }
header, main { max-width: 36rem; margin: 0 auto; padding: 1rem 1.25rem; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; justify-content: space-between; border-bottom: 1px solid var(--line); color: var(--soft); }
header p { margin: 0; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1rem 0; }
h2 { font-size: 1.1rem; margin: 0 0 .25rem; }
a { color: var(--deed); }
label { display: block; font-weight: 600; margin-top: 1rem; }
.hint { margin: 0; color: var(--soft); }
input, select, textarea { display: block; width: 100%; max-width: 22rem; margin-top: .35rem; padding: .6rem .7rem; font: inherit; letter-spacing: .08em; color: inherit; background: transparent; border: 2px solid var(--line); border-radius: .3rem; }
select, textarea { letter-spacing: normal; }
textarea { max-width: none; }
option { color: #14202b; background: #ffffff; }
[aria-invalid] { border-color: var(--bad); }
.open { padding-left: 1.1rem; }
.open p { margin: .35rem 0; overflow-wrap: anywhere; }
.open button { margin: .35rem 0 1rem; }
button { margin-top: 1.25rem; padding: .65rem 1.4rem; font: inherit; font-weight: 600; color: var(--deed-ink); background: var(--deed); border: 2px solid transparent; border-radius: .3rem; cursor: pointer; }
button.plain { color: var(--deed); background: transparent; border-color: var(--deed); }
:focus-visible { outline: 3px solid var(--deed); outline-offset: 2px; }
.error { margin: 1rem 0; padding: .75rem 1rem; border: 3px solid var(--bad); border-radius: .3rem; }
.error a { color: var(--bad); }
.qr { display: block; width: 15rem; max-width: 100%; height: auto; margin: 1rem 0; background: #ffffff; }
code, .codes { font-family: ui-monospace, monospace; letter-spacing: .05em; overflow-wrap: anywhere; }
.codes { columns: 2 11rem; padding-left: 2.5rem; font-size: 1.05rem; }
.others { margin-top: 2rem; padding-left: 1.1rem; }
@media print { header, form { display: none; } }
`;

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

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
