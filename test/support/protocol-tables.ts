/** What a case shows that has no choice. */
export const AS_EXPECTED = 'as expected';

/** One case of a suite as the document shows it. */
export interface PlayedCase {
  readonly name: string;
  readonly allowed: readonly string[];
  readonly shown: string;
}

/** The rows of docs/conformance.md for a suite that was played: what differs is bold. */
export function caseTable(cases: readonly PlayedCase[]): string {
  const rows = cases.map(({ name, allowed, shown }) => `| ${escape(name)} | ${allowed.map(escape).join(' or ')} | ${allowed.includes(shown) ? escape(shown) : `**${escape(shown)}**`} |`);
  return ['| case | allowed | ours |', '| --- | --- | --- |', ...rows, ''].join('\n');
}

/** Why cases differ, as a table. */
export function deviationTable(deviations: readonly { readonly cases: readonly string[]; readonly why: string }[]): string {
  return ['| cases | why |', '| --- | --- |', ...deviations.map(({ cases, why }) => `| ${cases.map((name) => `\`${escape(name)}\``).join(', ')} | ${why} |`), ''].join('\n');
}

/** What stands between the markers of a name in the document. */
export function marked(document: string, name: string): string {
  return document.split(`<!-- ${name} -->\n`)[1]?.split(`<!-- /${name} -->`)[0] ?? '';
}

export function replaceMarked(document: string, name: string, content: string): string {
  const [begin, end] = [`<!-- ${name} -->\n`, `<!-- /${name} -->`];
  return document.slice(0, document.indexOf(begin) + begin.length) + content + document.slice(document.indexOf(end));
}

function escape(text: string): string {
  return text.replaceAll('|', '\\|');
}
