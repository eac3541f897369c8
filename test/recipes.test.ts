import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { check } from '../src/cli/check.ts';
import { issueCrl, testPki, writePki, type PkiFiles } from './support/pki.ts';

const TEXT = readFileSync(join(import.meta.dirname, '../docs/recipes.md'), 'utf8');

/** Every configuration that is marked as complete, by the heading above it. */
const COMPLETE = [...TEXT.matchAll(/^<!-- complete -->\n```yaml\n([\s\S]*?)^```$/gm)].map((found) => {
  const heading = TEXT.slice(0, found.index).split('\n').findLast((line) => line.startsWith('## '))?.slice(3) ?? '';
  return [heading, found[1] ?? ''] as const;
});

let files: PkiFiles;

beforeAll(async () => {
  const pki = await testPki();
  files = await writePki(pki);
  const put = (name: string, content: string | Uint8Array): void => writeFileSync(files.path(name), content, { mode: 0o600 });
  put('server.pem', pki.serverEc.chain);
  put('server.key', pki.serverEc.key);
  put('issuing.crl', await issueCrl(pki.issuing, {}));
  put('root.crl', await issueCrl(pki.root, {}));
  put('factors.key', randomBytes(32));
  put('tickets.secret', randomBytes(48));
  put('devices.csv', /^```csv\n([\s\S]*?)^```$/m.exec(TEXT)?.[1] ?? '');
});
afterAll(() => rmSync(files.directory, { recursive: true, force: true }));

test('every recipe has a complete configuration', () => {
  const headings = [...TEXT.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
  expect(COMPLETE.map(([heading]) => heading)).toEqual(headings);
  expect(TEXT.match(/^```yaml$/gm)?.length).toBe(COMPLETE.length);
});

test.each(COMPLETE)('%s: wardgate check takes the configuration of the recipe, without a warning', async (_, yaml) => {
  writeFileSync(files.path('wardgate.yaml'), yaml);
  let said = '';
  const code = await check({ config: files.path('wardgate.yaml'), json: true }, { write: (text) => said += text });
  expect(JSON.parse(said)).toMatchObject({ good: true, errors: [], warnings: [] });
  expect(code).toBe(0);
});
