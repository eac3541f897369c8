import { readFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const TEXT = readFileSync(join(import.meta.dirname, '../docs/compliance.md'), 'utf8');

/** Each line of a table, with what it says shows it. */
const ROWS = TEXT.split('\n').filter((line) => /^\| (?!---|paragraph|transaction|control|scenario)/.test(line)).map((line) => line.split(' | ')).map((cells) => [cells[0]?.slice(2) ?? '', cells.at(-1)?.replace(/ \|$/, '') ?? ''] as const);

/** The lines of a file that name its tests. */
function titlesOf(file: string): string {
  const path = join(import.meta.dirname, `${file}.test.ts`);
  const text = existsSync(path) ? readFileSync(path, 'utf8').replaceAll("\\'", "'").toLowerCase() : '';
  return text.split('\n').filter((line) => /^\s*(?:it|test|describe)\b|^\s*\]?\)?\(['"`]/.test(line)).join('\n');
}

it('has tables to look at', () => {
  expect(ROWS.length).toBeGreaterThan(35);
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
