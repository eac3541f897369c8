/** Why CI cannot run a block: what it lacks. Anything else has to be run. */
export const LACKING = {
  docker: 'a container engine',
  systemd: 'systemd as process 1',
  kubernetes: 'a Kubernetes cluster',
  hsm: 'a security module, or the provider for one',
  internet: 'the internet, or another house\'s system',
  machine: 'another machine',
  person: 'somebody at a screen',
  product: 'another maker\'s program',
  long: 'more than a minute',
} as const;

export type Lacking = keyof typeof LACKING;

/** What the comments above a block tell CI. */
export interface Marks {
  /** `<!-- ci: skip WHAT: why -->` */
  readonly skip?: { readonly what: Lacking; readonly why: string };
  /** `<!-- ci: background until "TEXT" -->`: goes on until the document is done; the next block starts when it has printed TEXT. */
  readonly until?: string;
  /** `<!-- ci: first COMMANDS -->`: what the reader has by then, and the machine has not. May have several lines. */
  readonly first?: string;
  /** `<!-- ci: types "ONE" "TWO" -->`: the block runs at a terminal, and this is typed, a line for each prompt. */
  readonly typed?: readonly string[];
  /** `<!-- ci: in the checkout -->`: the block runs there, and not beside the configuration. */
  readonly checkout: boolean;
  /** `<!-- ci: EXAMPLE is COMMAND -->`: an example of the document, and what prints the real one. */
  readonly examples: readonly { readonly example: string; readonly command: string }[];
  /** `<!-- ci: of WHAT -->` above YAML: it is no part of wardgate.yaml. */
  readonly of?: string;
}

export interface DocumentBlock {
  readonly language: string;
  readonly text: string;
  /** Line of the fence, from 1. */
  readonly line: number;
  readonly marks: Marks;
}

export interface Document {
  readonly blocks: readonly DocumentBlock[];
  /** `<!-- ci: document on a bare machine -->`: nothing is installed or running there but the command itself. */
  readonly bare: boolean;
  /** `<!-- ci: document run by FILE -->`: a test runs it. */
  readonly runBy?: string;
}

const BARE = '<!-- ci: document on a bare machine -->';
const RUN_BY = /<!-- ci: document run by (\S+) -->/;
const BLOCK = /((?:^ *<!-- ci: (?:(?!-->)[\s\S])*-->\n)*)^( *)(`{3,})(\w*)\n([\s\S]*?)^\2\3$/gm;
const MARK = /<!-- ci: ((?:(?!-->)[\s\S])*?)\s*-->/g;

/** The fenced blocks of a document, in their order. Throws on a mark that means nothing, or stands above nothing. */
export function readDocument(markdown: string): Document {
  let attached = 0;
  const bare = markdown.includes(BARE);
  const runBy = RUN_BY.exec(markdown)?.[1];
  const rest = markdown.replace(BARE, '').replace(RUN_BY, '');
  const blocks = [...rest.matchAll(BLOCK)].map((match): DocumentBlock => {
    const [whole, comments = '', indent = '', , language = '', text = ''] = match;
    const line = rest.slice(0, match.index + comments.length).split('\n').length;
    const marks = [...comments.matchAll(MARK)].map(([, mark = '']) => mark);
    attached += marks.length;
    try {
      return { language, text: indent === '' ? text : text.replaceAll(new RegExp(`^${indent}`, 'gm'), ''), line, marks: readMarks(marks) };
    } catch (error) {
      throw new Error(`line ${line}: ${(error as Error).message}; before ${JSON.stringify(whole.slice(comments.length, comments.length + 40))}`, { cause: error });
    }
  });
  const all = [...rest.matchAll(MARK)].length;
  if (all !== attached) throw new Error(`${all - attached} marks stand directly above no block`);
  return { blocks, bare, ...(runBy === undefined ? {} : { runBy }) };
}

function readMarks(texts: readonly string[]): Marks {
  return texts.reduce<Marks>((marks, text) => ({ ...marks, ...readMark(text, marks) }), { checkout: false, examples: [] });
}

function readMark(text: string, { examples }: Marks): Partial<Marks> {
  const [, what, why] = /^skip (\w+): (.+)$/s.exec(text) ?? [];
  if (what !== undefined && why !== undefined && Object.hasOwn(LACKING, what)) return { skip: { what: what as Lacking, why } };
  const until = /^background until "(.+)"$/.exec(text)?.[1];
  if (until !== undefined) return { until };
  const first = /^first\s+(.+)$/s.exec(text)?.[1];
  if (first !== undefined) return { first };
  if (/^types( "[^"]*")+$/.test(text)) return { typed: [...text.matchAll(/"([^"]*)"/g)].map(([, line = '']) => line) };
  if (text === 'in the checkout') return { checkout: true };
  const of = /^of (.+)$/.exec(text)?.[1];
  if (of !== undefined) return { of };
  const [, example, command] = /^(\S+) is (.+)$/s.exec(text) ?? [];
  if (example !== undefined && command !== undefined) return { examples: [...examples, { example, command }] };
  throw new Error(`${JSON.stringify(text)} is no mark; a block that CI cannot run says: skip ${Object.keys(LACKING).join('|')}: WHY`);
}

/** The commands of a block: all of one in `sh`, the lines behind `$` of one in `console`; undefined where there are none. */
export function commandsOf({ language, text }: DocumentBlock): string | undefined {
  if (language === 'sh') return text;
  if (language !== 'console') return undefined;
  const lines = text.split('\n');
  return lines.flatMap((line, at) => {
    if (line.startsWith('$ ')) return [line.slice(2)];
    return line.startsWith('> ') && lines[at - 1]?.endsWith('\\') === true ? [line.slice(2)] : [];
  }).join('\n');
}

/**
 * Commands as a script for bash. Each must succeed; `# exit 3` at the end of one asks for that exit status, `# 403` for an answer whose
 * last line is 403.
 */
export function checkedScript(commands: string): string {
  return commands.replaceAll(/\\\n\s*/g, ' ').split('\n').map(checkedLine).join('\n');
}

function checkedLine(line: string): string {
  const [, command, exit, status] = /^(.*?)\s+# (?:exit (\d+)|(\d{3}))(?:[:;,].*)?$/.exec(line) ?? [];
  if (command === undefined) return line;
  const shown = `'${command.replaceAll("'", `'\\''`)}'`;
  if (exit !== undefined) return `got=0; { ${command}; } || got=$?\n[ "$got" = ${exit} ] || { echo "exit status $got, expected ${exit}: "${shown} >&2; exit 1; }`;
  return `got="$(${command})" || true; printf '%s\\n' "$got"\n[ "$(printf '%s\\n' "$got" | tail -n 1)" = ${status} ] || { echo "expected ${status}: "${shown} >&2; exit 1; }`;
}
