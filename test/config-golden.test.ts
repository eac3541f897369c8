import { copyFile, readdir, readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { check } from '../src/cli/check.ts';
import { configFixture, type ConfigFixture } from './config-fixture.ts';

const golden = new URL('golden/config/', import.meta.url);
const names = (await readdir(golden)).filter((file) => file.endsWith('.yaml')).map((file) => file.slice(0, -'.yaml'.length));

let fixture: ConfigFixture;

beforeAll(async () => {
  fixture = await configFixture();
});

afterAll(() => fixture.remove());

async function checkText(file: string): Promise<{ code: number; text: string }> {
  let text = '';
  const code = await check({ config: fixture.path(file) }, { write: (part) => (text += part) });
  return { code, text: text.replaceAll(`${fixture.directory}/`, '') };
}

describe('wardgate check prints for each golden configuration what stands beside it', () => {
  it.each(names)('%s', async (name) => {
    await copyFile(new URL(`${name}.yaml`, golden), fixture.path(`${name}.yaml`));
    const { code, text } = await checkText(`${name}.yaml`);
    await expect(text).toMatchFileSnapshot(new URL(`${name}.expected.txt`, golden).pathname);
    expect(code).toBe(text.includes('configuration is good') ? 0 : 1);
  });

  it('has five lines for five mistakes, each with its line number', async () => {
    await copyFile(new URL('five-mistakes.yaml', golden), fixture.path('five-mistakes.yaml'));
    const { code, text } = await checkText('five-mistakes.yaml');
    expect(text.trimEnd().split('\n').map((line) => /^five-mistakes\.yaml:(\d+):\d+: /.exec(line)?.[1])).toEqual(['3', '4', '5', '16', '18']);
    expect(code).toBe(1);
  });

  it('finds the commented example good, without a warning', async () => {
    await copyFile(new URL('../config/wardgate.example.yaml', import.meta.url), fixture.path('wardgate.example.yaml'));
    expect(await checkText('wardgate.example.yaml')).toEqual({
      code: 0,
      text: 'wardgate.example.yaml: configuration is good: 2 listeners, 4 roles, 7 routes, 1 upstream, 1 CRL, 1 device\n',
    });
  });

  it('prints JSON when asked', async () => {
    await copyFile(new URL('minimal.yaml', golden), fixture.path('minimal.yaml'));
    let text = '';
    const code = await check({ config: fixture.path('minimal.yaml'), json: true }, { write: (part) => (text += part) });
    expect(code).toBe(0);
    expect(JSON.parse(text)).toMatchObject({ file: fixture.path('minimal.yaml'), good: true, errors: [], warnings: [] });
  });

  it('prints the place of each issue in JSON too', async () => {
    await copyFile(new URL('list.yaml', golden), fixture.path('list.yaml'));
    let text = '';
    const code = await check({ config: fixture.path('list.yaml'), json: true }, { write: (part) => (text += part) });
    expect(code).toBe(1);
    expect(JSON.parse(text).errors).toEqual([
      { file: fixture.path('list.yaml'), line: 1, column: 1, path: 'configuration', message: 'expected a mapping; got a list' },
    ]);
  });

  it('leaves the files that it reads as they are', async () => {
    const before = await readFile(fixture.path('server-ec.key'));
    await checkText('minimal.yaml');
    expect(await readFile(fixture.path('server-ec.key'))).toEqual(before);
    expect(await readdir(fixture.directory)).not.toContain('state');
  });
});
