import { globSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { wardgate } from './support/command.ts';

const PAGES = globSync('docs/*.md', { cwd: join(import.meta.dirname, '..') }).map((file) => basename(file, '.md'));
const read = (page: string): string => readFileSync(join(import.meta.dirname, `../docs/${page}.md`), 'utf8');

/** Every command of a page: a line of a block, or what stands in the text as code. */
function commandsOf(page: string): readonly string[] {
  const text = read(page).replaceAll('\\\n', ' ');
  const lines = [...text.matchAll(/(?:^\s*(?:npx )?|do )(wardgate [a-z][^`\n]*)$/gm)].map(([, command = '']) => command);
  const inline = [...text.matchAll(/`(wardgate (?!backup v1 )[a-z][^`\n]*)`/g)].map(([, command = '']) => command);
  return [...new Set([...lines, ...inline])].map((command) => command.replace(/\s+#.*$|; done.*$| [|>] .*$/, ''));
}

const COMMANDS = [...new Set(PAGES.flatMap(commandsOf))].sort();

const helps = new Map<string, Promise<string>>();

function help(name: string): Promise<string> {
  const known = helps.get(name) ?? wardgate([...name.split(' '), '--help']).then(({ stdout }) => stdout.startsWith(`Usage: wardgate ${name} `) ? stdout : '');
  helps.set(name, known);
  return known;
}

/** What `--help` prints of the longest name that the words begin with; a word of options or a value ends it. */
async function helpOf(words: readonly string[]): Promise<{ readonly text: string; readonly depth: number }> {
  let found = { text: '', depth: 0 };
  for (let depth = 1; depth <= words.length && /^[a-z][a-z-]*$/.test(words[depth - 1] ?? ''); depth++) {
    const text = await help(words.slice(0, depth).join(' '));
    if (text === '') break;
    found = { text, depth };
  }
  return found;
}

test('there are commands to look at', () => {
  expect(COMMANDS.length).toBeGreaterThan(40);
});

test('whoever looks for something in the runbooks finds it from their head, each part of them', () => {
  const [head = ''] = read('runbooks').split('\n## ', 1);
  const parts = [...read('runbooks').matchAll(/^## (.+)$/gm)].map(([, title = '']) => title.toLowerCase().replaceAll(/[^a-z -]/g, '').replaceAll(' ', '-'));
  expect(parts.length).toBeGreaterThan(10);
  expect(parts.filter((part) => !head.includes(`](#${part})`))).toEqual([]);
});

test.each(COMMANDS)('%s is a command, with options that it has', async (command) => {
  const words = command.split(' ').slice(1);
  const { text, depth } = await helpOf(words);
  expect(depth, command).toBeGreaterThan(0);
  // What has commands of its own takes no other word.
  if (text.includes('\nCommands:')) expect(words[depth] ?? '-', command).toMatch(/^-/);
  const outside = command.replace(/'[^']*'|"[^"]*"/g, '');
  const options = [...outside.matchAll(/ (--?[a-z][a-z0-9-]*)/g)].map(([, option = '']) => option).filter((option) => option !== '--help');
  expect(options.filter((option) => !new RegExp(`^  (?:-., )?${option}\\b|^  ${option}, `, 'm').test(text))).toEqual([]);
});
