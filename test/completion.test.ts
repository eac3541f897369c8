import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wardgate } from './support/command.ts';

const SHELLS = { bash: spawnSync('bash', ['--version']), zsh: spawnSync('zsh', ['--version']), fish: spawnSync('fish', ['--version']) };
for (const [shell, { error }] of Object.entries(SHELLS)) if (error !== undefined) console.log(`skipped: part of completion.test.ts needs ${shell}`);

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'wardgate-completion-'));
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What the shell offers where the cursor stands at the end of a line. */
const OFFERS: Readonly<Record<keyof typeof SHELLS, (script: string, line: string) => string[]>> = {
  bash: (script, line) => offersOf('bash', `${script}\n${asked(line)}`),
  // Its compgen leaves it to the shell to choose what fits the word that was begun.
  // In a new account nobody has called compinit.
  zsh: (script, line) => offersOf('zsh', `${script}\n${asked(line)}`).filter((offer) => offer.startsWith(line.slice(line.lastIndexOf(' ') + 1))),
  fish: (script, line) => offersOf('fish', `${script}\ncomplete -C '${line}'`).map((offer) => offer.split('\t')[0] as string),
};

function asked(line: string): string {
  const words = line.split(' ');
  return `COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _wardgate; printf '%s\\n' "\${COMPREPLY[@]}"`;
}

function offersOf(shell: string, script: string): string[] {
  const file = join(directory, `script.${shell}`);
  writeFileSync(file, shell === 'zsh' ? `emulate zsh; setopt ksharrays\n${script}` : script);
  return execFileSync(shell, shell === 'bash' ? ['--norc', file] : shell === 'zsh' ? ['-f', file] : ['--no-config', file], { encoding: 'utf8', cwd: directory, stdio: ['ignore', 'pipe', 'ignore'] }).split('\n').filter((offer) => offer !== '').sort();
}

describe.each(Object.keys(SHELLS) as (keyof typeof SHELLS)[])('in %s', (shell) => {
  it.skipIf(SHELLS[shell].error !== undefined)('offers the commands, those below them, and the options of each', async () => {
    const { stdout: script } = await wardgate(['completion', shell]);
    const offers = (line: string): string[] => OFFERS[shell](script, line);
    expect(offers('wardgate rei')).toEqual(['reinstate']);
    expect(offers('wardgate alarm ')).toEqual(expect.arrayContaining(['acknowledge', 'list', 'show']));
    expect(offers('wardgate audit hold ')).toEqual(expect.arrayContaining(['add', 'list', 'release']));
    expect(offers('wardgate revoke --fi')).toEqual(['--fingerprint']);
    expect(offers('wardgate audit verify -c some.yaml --js')).toEqual(['--json']);
    expect(offers('wardgate drill th')).toEqual(['theft']);
    expect(offers('wardgate profile ')).toEqual(expect.arrayContaining(['bcp195', 'ihe-atna']));
    expect(offers('wardgate completion f')).toEqual(['fish']);
  });
});

it('names the shells there are where another is asked for', async () => {
  expect(await wardgate(['completion', 'tcsh'])).toMatchObject({ code: 2, stderr: expect.stringContaining('there is no completion for "tcsh"; expected bash, zsh, fish') as string });
});

it('offers only commands whose help shows an example', async () => {
  const { stdout: script } = await wardgate(['completion', 'bash']);
  const paths = [...script.matchAll(/^ {4}'wardgate ([^']+)'\)\n {6}below='([^']*)'/gm)].filter(([, , below]) => below === '').map(([, path]) => path as string);
  expect(paths.length).toBeGreaterThan(35);
  const without: string[] = [];
  for (const path of paths) {
    const { stdout } = await wardgate([...path.split(' '), '--help']);
    if (!/^Examples?:\n {2}/m.test(stdout)) without.push(path);
  }
  expect(without).toEqual([]);
});
