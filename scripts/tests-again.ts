/**
 * `node scripts/tests-again.ts RESULTS.json`: names the tests that failed in a whole run and runs their files once more, alone
 * (docs/decisions/0045). RESULTS.json, vitest's report, then counts what this run found; RESULTS.json.outside names the files in which something was
 * thrown outside of any test (vitest.config.ts). Exits 1 where one failed again, where so many failed that chance is no explanation, and where the
 * run failed by something that is of no file.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string; readonly failureMessages: readonly string[] }[];
  }[];
}

/** More files than this do not fail by chance. */
const MOST_FILES = 3;

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: node scripts/tests-again.ts RESULTS.json');
process.exitCode = again(file) ? 0 : 1;

function again(path: string): boolean {
  const whole = read<Report>(path);
  const outside = read<readonly string[]>(`${path}.outside`);
  if (whole === undefined || outside === undefined) return refuse('the tests left no results');
  const files = failedFiles(whole, outside);
  tell('failed', whole);
  for (const name of outside) if (name !== '') console.log(`failed: ${relative('.', name)}: something was thrown outside of any test, see above`);
  if (files.length === 0 || outside.includes('')) return refuse('the run, by something of no test file: see above');
  if (files.length > MOST_FILES) return refuse(`${files.length} files failed: not run again`);

  const directory = mkdtempSync(join(tmpdir(), 'wardgate-tests-'));
  try {
    const results = join(directory, 'tests.json');
    const { status } = spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--maxWorkers', '1', ...files], { stdio: 'inherit', env: { ...process.env, TEST_RESULTS: results } });
    const alone = read<Report>(results);
    if (alone === undefined) return refuse('the second run left no results');
    tell('failed again, alone', alone);
    writeFileSync(path, JSON.stringify(counted(whole, alone)));
    if (status !== 0) return false;
    console.log('UNSTEADY: what is named above failed in the whole run and passed alone; its cause is to be found');
    return true;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function read<Content>(path: string): Content | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Content;
  } catch {
    return undefined;
  }
}

function failedFiles({ testResults }: Report, outside: readonly string[]): string[] {
  const failed = testResults.filter(({ status }) => status === 'failed').map(({ name }) => name);
  return [...new Set([...failed, ...outside])].map((name) => relative('.', name));
}

function tell(what: string, report: Report): void {
  for (const { name, status, message, assertionResults } of report.testResults) {
    if (status !== 'failed') continue;
    const failed = assertionResults.filter((test) => test.status === 'failed');
    // A hook, or the end of the worker: the report has no word on it.
    if (message !== '' || failed.length === 0) console.log(`${what}: ${relative('.', name)}: ${message === '' ? 'no test of it, see above' : message}`);
    for (const test of failed) {
      const lines = test.failureMessages.join('\n').split('\n').filter((line) => !line.includes('/node_modules/'));
      console.log(`${what}: ${relative('.', name)}: ${test.fullName}\n${lines.slice(0, 10).join('\n')}`);
    }
  }
}

/** The whole run's counts, with the second run's word on the tests that failed. */
function counted(whole: Report, alone: Report): Report {
  const failed = alone.numFailedTests;
  return { ...whole, numPassedTests: whole.numPassedTests + Math.max(0, whole.numFailedTests - failed), numFailedTests: failed, testResults: [] };
}

function refuse(why: string): false {
  console.log(`failed: ${why}`);
  return false;
}
