import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readmeBlocks } from '../scripts/readme-blocks.ts';
import { parseConfig } from '../src/config/load.ts';

const project = join(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(join(project, file), 'utf8');
const english = read('README.md');
const chinese = read('README.zh-CN.md');

describe('the README', () => {
  test('shows a configuration that the parser takes, without a warning', () => {
    const yaml = readmeBlocks(english).find(({ language }) => language === 'yaml');
    const parsed = parseConfig(yaml?.text ?? '', 'README.md');
    expect(parsed).toMatchObject({ kind: 'ok', warnings: [] });
  });

  test('marks every command that CI cannot run', () => {
    const commands = readmeBlocks(english).filter(({ language }) => language === 'sh');
    expect(commands.map(({ mark }) => mark.kind)).toEqual(['background', 'run', 'run', 'skip', 'skip']);
  });

  test('and .ci/run test with the same command', () => {
    const last = readmeBlocks(english).filter(({ language }) => language === 'sh').at(-1);
    // Each command is a step of its own, so that more can begin between them.
    const steps = [...read('.ci/run').matchAll(/^step '(npm ci|npm test)' (?:or_again_alone )?(?:env \S+ )?(.+)$/gm)].map(([, , command]) => command);
    expect(steps.join(' && ')).toBe(last?.text.trim());
    expect(statSync(join(project, '.ci/run')).mode & 0o111).toBe(0o111);
    expect(read('.github/workflows/ci.yml')).toContain('run: bash .ci/run');
  });

  test('claims no measurement but those of docs/performance.md', () => {
    const measured = (text: string) => [...text.matchAll(/^\| ([^|]+)((?: \| \d+(?: \([\d.]+\))?){4}) \|$/gm)].map(([, , numbers]) => numbers);
    const documented = measured(read('docs/performance.md'));
    expect(measured(english).length).toBeGreaterThan(3);
    expect(measured(english).filter((numbers) => !documented.includes(numbers))).toEqual([]);
    expect(measured(chinese)).toEqual(measured(english));
  });

  test.each(['README.md', 'README.zh-CN.md', 'SECURITY.md', 'CHANGELOG.md', 'docs/operations.md', 'docs/configuration.md', 'docs/dependencies.md'])('%s links to files that exist', (file) => {
    const targets = [...read(file).matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)].map(([, target = '']) => target);
    expect(targets.filter((target) => !existsSync(join(project, file, '..', target)))).toEqual([]);
  });
});

describe('the Chinese README is a twin', () => {
  const headings = (text: string) => [...text.matchAll(/^(#+) /gm)].map(([, level]) => level);
  const rows = (text: string) => [...text.matchAll(/^[|-] ?/gm)].map(([start]) => start);
  const links = (text: string) => [...text.matchAll(/\]\(([^)]+)\)/g)].map(([, target]) => target).filter((target) => !target?.startsWith('README'));
  const codes = (text: string) => [...new Set(text.replace(/^```[\s\S]*?^```/gm, '').match(/`[^`\n]+`/g))].sort();

  test('with the same headings, rows, links and names', () => {
    expect(headings(chinese)).toEqual(headings(english));
    expect(rows(chinese)).toEqual(rows(english));
    expect(links(chinese)).toEqual(links(english));
    expect(codes(chinese)).toEqual(codes(english));
  });

  test('with the same blocks but for the comments', () => {
    const bare = (text: string) => readmeBlocks(text).map((block) => ({ ...block, line: 0, text: block.text.replace(/ +(?:#|\/\/) .*$/gm, '') }));
    expect(bare(chinese)).toEqual(bare(english));
    const asked = (text: string) => [...text.matchAll(/# (?:exit \d+|\d{3})$/gm)].map(([found]) => found);
    expect(asked(chinese)).toEqual(asked(english));
  });
});

describe('the commands of a block', () => {
  test('are found with their marks and lines', () => {
    const text = 'x\n\n<!-- ci: skip no engine -->\n```sh\na\n```\n\n<!-- ci: background until "up" -->\n```sh\nb\n```\n```ts\nc\n```\n';
    expect(readmeBlocks(text)).toEqual([
      { language: 'sh', text: 'a\n', line: 4, mark: { kind: 'skip', reason: 'no engine' } },
      { language: 'sh', text: 'b\n', line: 9, mark: { kind: 'background', until: 'up' } },
      { language: 'ts', text: 'c\n', line: 12, mark: { kind: 'run' } },
    ]);
    expect(() => readmeBlocks('<!-- ci: sikp it -->\n```sh\na\n```\n')).toThrow('is no mark');
  });
});
