import { readFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const read = (page: string): string => readFileSync(join(import.meta.dirname, `../docs/${page}.md`), 'utf8');

/** Each line of a page's tables that cite tests, with what it says shows it; `from` is the column of that, from the end. */
function rowsOf(page: string, header: RegExp, from: number): readonly (readonly [name: string, shown: string])[] {
  return tablesOf(read(page)).filter(([first = '']) => header.test(first)).flatMap(([, , ...rows]) => rows).map((line) => {
    const cells = line.replace(/ \|$/, '').split(' | ');
    return [cells[0]?.slice(2) ?? '', cells.at(from) ?? ''] as const;
  });
}

function tablesOf(text: string): readonly (readonly string[])[] {
  return (text.match(/(?:^\|.*\|\n)+/gm) ?? []).map((table) => table.trimEnd().split('\n'));
}

const ROWS = [...rowsOf('compliance', /shown by/, -1), ...rowsOf('security-model', /shown by/, -2)];

/** The lines of a file that name its tests. */
function titlesOf(file: string): string {
  const path = join(import.meta.dirname, `${file}.test.ts`);
  const text = existsSync(path) ? readFileSync(path, 'utf8').replaceAll("\\'", "'").toLowerCase() : '';
  return text.split('\n').filter((line) => /^\s*(?:it|test|describe)\b|^\s*(?:\](?: as const)?)?\)?\(['"`]/.test(line)).join('\n');
}

it('has tables to look at', () => {
  expect(ROWS.length).toBeGreaterThan(65);
});

it.each(ROWS)('%s is shown by tests that are there', (_, shown) => {
  const cited = shown.split(/; (?=`)/).map((one) => /^`([a-z0-9-]+)`: (.+)$/.exec(one));
  expect(cited.length).toBeGreaterThan(0);
  for (const found of cited) {
    expect(found, shown).not.toBeNull();
    const [, file = '', titles = ''] = found ?? [];
    for (const title of titles.split('; ')) {
      expect(title.length, title).toBeGreaterThanOrEqual(12);
      expect(titlesOf(file).includes(title.toLowerCase()), `test/${file}.test.ts has ${JSON.stringify(title)}`).toBe(true);
    }
  }
});
