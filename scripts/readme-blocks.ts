/** One fenced block of a README, with what the comment above it tells CI. */
export interface Block {
  readonly language: string;
  readonly text: string;
  /** Line of the fence, from 1. */
  readonly line: number;
  readonly mark: Mark;
}

export type Mark =
  | { readonly kind: 'run' }
  /** `<!-- ci: background until "TEXT" -->`: goes on until the last block is done; the next starts when it has printed TEXT. */
  | { readonly kind: 'background'; readonly until: string }
  /** `<!-- ci: skip REASON -->` */
  | { readonly kind: 'skip'; readonly reason: string };

const BLOCK = /(?:^<!-- ci: (.*) -->\n)?^```(\w+)\n([\s\S]*?)^```$/gm;

/** The fenced blocks of a README, in their order. Throws on a mark that means nothing. */
export function readmeBlocks(markdown: string): readonly Block[] {
  return [...markdown.matchAll(BLOCK)].map((match) => {
    const [, mark, language = '', text = ''] = match;
    const before = markdown.slice(0, match.index + (mark === undefined ? 0 : match[0].indexOf('```')));
    return { language, text, line: before.split('\n').length, mark: parseMark(mark) };
  });
}

function parseMark(text: string | undefined): Mark {
  if (text === undefined) return { kind: 'run' };
  const until = /^background until "(.+)"$/.exec(text)?.[1];
  if (until !== undefined) return { kind: 'background', until };
  const reason = /^skip (.+)$/.exec(text)?.[1];
  if (reason !== undefined) return { kind: 'skip', reason };
  throw new Error(`README: ${JSON.stringify(text)} is no mark; expected background until "TEXT", or skip REASON`);
}
