import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { checkedScript, commandsOf, readDocument } from '../scripts/documents/blocks.ts';
import { readInventory } from '../src/config/inventory.ts';
import { configSchema } from '../src/config/schema.ts';

const project = join(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(join(project, file), 'utf8');
const files = globSync(['docs/*.md', 'docs/{recipes,runbooks}/**/*.md', 'SECURITY.md', 'certs/README.md', 'deploy/**/*.md'], { cwd: project }).sort();
const blocks = files.flatMap((file) => readDocument(read(file)).blocks.map((block) => ({ ...block, place: `${file}:${block.line}` })));

/** Where a fragment belongs in a configuration; undefined: it is something else. */
const WRAPPED: Readonly<Record<string, ((value: unknown) => unknown) | undefined>> = {
  certificates: (value) => ({ listeners: [{ tls: { certificates: value } }] }),
  'a listener': (value) => ({ listeners: [value] }),
};

describe('the documents', () => {
  test('have every command in a block that CI runs, or that says what CI lacks for it', () => {
    // Reading them fails for a mark that is none, and for one above nothing.
    const commands = /^(\$ )?(sudo )?(wardgate|npx|npm|node|curl|openssl|docker|kubectl|helm|systemctl|install|cp|mv|rm) /m;
    const hidden = blocks.filter((block) => commandsOf(block) === undefined && ['', 'bash', 'shell', 'text', 'console'].includes(block.language) && commands.test(block.text));
    expect(hidden.map(({ place }) => place)).toEqual([]);
    expect(blocks.filter((block) => commandsOf(block) !== undefined).length).toBeGreaterThan(30);
  });

  test('that a test runs are named in it', () => {
    const run = files.map((file) => ({ file, runBy: readDocument(read(file)).runBy })).filter(({ runBy }) => runBy !== undefined);
    expect(run.filter(({ file, runBy = '' }) => !existsSync(join(project, runBy)) || !read(runBy).includes(file.split('/').at(-1) ?? ''))).toEqual([]);
  });

  const yaml = blocks.filter(({ language, marks }) => language === 'yaml' && marks.of !== 'Kubernetes' && marks.of !== 'an inventory' && marks.of !== 'policy.yaml');
  test.each(yaml)('show settings that there are: $place', ({ text, marks }) => {
    const wrap = marks.of === undefined ? (value: unknown) => value : WRAPPED[marks.of];
    if (wrap === undefined) throw new Error(`"of ${marks.of}" is nothing that this test knows`);
    expect(wrongIn(wrap(parse(text)))).toEqual([]);
  });

  test.each([
    'listeners: [{ name: a, colour: red }]', 'routes: [{ name: a, limits: { rates: [1/minute] } }]', 'revocation: { check: leave }', 'lissteners: []',
  ])('could not show %s', (text) => {
    expect(wrongIn(parse(text))).toHaveLength(1);
  });

  test.each(blocks.filter(({ language }) => language === 'json'))('show JSON: $place', ({ text }) => {
    expect(() => JSON.parse(text)).not.toThrow();
  });

  const inventories = blocks.filter(({ language, text, marks }) => marks.of === 'an inventory' || (language === 'csv' && text.startsWith('id,')));
  test.each(inventories)('show inventories: $place', async ({ language, text }) => {
    await expect(readInventory(Buffer.from(text), `devices.${language}`, 'UTC')).resolves.toMatchObject({ kind: 'ok' });
  });
});

/** What is wrong with a fragment of a configuration. */
function wrongIn(value: unknown): readonly string[] {
  return (configSchema.safeParse(value).error?.issues ?? []).filter((issue) => isWrong(issue, value)).map(({ path, message }) => `${path.join('.')}: ${message}`);
}

type Issue = NonNullable<ReturnType<typeof configSchema.safeParse>['error']>['issues'][number];

/** A fragment may leave out what a whole configuration needs; nothing else may be wrong with it. */
function isWrong(issue: Issue, value: unknown): boolean {
  const at = issue.path.reduce<unknown>((found, key) => (found as Record<PropertyKey, unknown> | undefined)?.[key], value);
  if (at === undefined) return false;
  if (issue.code !== 'invalid_union') return true;
  return issue.errors.length > 0 && issue.errors.every((branch) => branch.some((inner) => isWrong(inner, at)));
}

describe('the commands of a block', () => {
  test.each([
    ["printf 'body\\n200\\n'   # 200", 0],
    ["printf 'body\\n403\\n'   # 200", 1],
    ["sh -c 'echo 403; exit 22'   # 403: not for this role", 0],
    ['sh -c "exit 3"   # exit 3', 0],
    ['sh -c \\\n  "exit 3"   # exit 3: denied', 0],
    ['true   # exit 3', 1],
    ['true   # a remark', 0],
    ['false\ntrue', 1],
  ])('%s ends with %i', (block, status) => {
    // Documents are run by bash, READMEs by sh.
    for (const shell of ['bash', 'sh']) expect(spawnSync(shell, ['-euc', checkedScript(block)]).status).toBe(status);
  });

  test('are found with their marks', () => {
    const text = 'x\n\n<!-- ci: first mkdir a\ncd a -->\n<!-- ci: 4711 is echo 1 -->\n```sh\nb 4711\n```\n\n- item\n\n  ```console\n  $ c \\\n  > d\n  said\n  ```\n';
    const found = readDocument(text).blocks;
    expect(found).toMatchObject([
      { line: 6, marks: { first: 'mkdir a\ncd a', examples: [{ example: '4711', command: 'echo 1' }] } },
      { line: 12, language: 'console', marks: { examples: [] } },
    ]);
    expect(found.map(commandsOf)).toEqual(['b 4711\n', 'c \\\nd']);
  });

  test.each([
    ['<!-- ci: skip it is tedious -->\n```sh\na\n```\n', 'is no mark'],
    ['<!-- ci: skip docker: no engine -->\n\n```sh\na\n```\n', 'directly above no block'],
  ])('%j is refused', (text, why) => {
    expect(() => readDocument(text)).toThrow(why);
  });
});
