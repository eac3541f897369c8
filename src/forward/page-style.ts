import { createHash } from 'node:crypto';

/** The one style of the pages that people see, of this module and of those above. */
export const STYLE = `
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
.steps { padding-left: 1.25rem; }
.steps li { margin: .5rem 0; }
.help { white-space: pre-line; padding: .75rem 1rem; border: 2px solid var(--line); border-radius: .3rem; overflow-wrap: anywhere; }
.quote { margin-top: 2rem; padding-top: .25rem; border-top: 1px solid var(--line); color: var(--soft); }
.quote dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 0; }
.quote dd { margin: 0; }
@media print { header, form { display: none; } }
`;

/** For a Content-Security-Policy that lets it in and nothing else. */
export const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');
