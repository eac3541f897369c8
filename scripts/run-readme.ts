import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkedScript } from './documents/blocks.ts';
import { outputOf, printed } from './documents/output.ts';
import { readmeBlocks, type Block } from './readme-blocks.ts';

// Does what README.md says, block by block, in a clone of what is committed: node scripts/run-readme.ts

const START_MS = 180_000;
const BLOCK_MS = 120_000;

const project = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'wardgate-readme-'));
const background: ChildProcess[] = [];
const counts = { passed: 0, failed: 0, skipped: 0 };
let port = 8443;

execFileSync('git', ['clone', '--quiet', project, folder]);
try {
  for (const block of readmeBlocks(readFileSync(join(folder, 'README.md'), 'utf8'))) await take(block);
} finally {
  for (const child of background) await end(child);
  rmSync(folder, { recursive: true, force: true });
}
console.log(`README: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed === 0 ? 0 : 1;

async function take({ language, text, line, mark }: Block): Promise<void> {
  if (language !== 'sh' && language !== 'ts') return;
  if (mark.kind === 'skip') return report('skipped', line, mark.reason);
  try {
    if (language === 'ts') checkTypes(text);
    else if (mark.kind === 'background') await startInBackground(text, mark.until);
    else await run(text);
    report('passed', line, text.trim().split('\n')[0] ?? '');
  } catch (error) {
    report('failed', line, (error as Error).message);
  }
}

function report(outcome: keyof typeof counts, line: number, detail: string): void {
  counts[outcome]++;
  console.log(`README.md:${line}: ${outcome}: ${detail}`);
}

function shell(script: string): ChildProcess {
  // A group of its own: Ctrl-C reaches everything that a terminal started, and so must we.
  return spawn('sh', ['-c', script], { cwd: folder, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function run(text: string): Promise<void> {
  // The demo takes another port where its usual one is taken, and says which.
  const child = shell(`set -eu\n${checkedScript(text.replaceAll('localhost:8443', `localhost:${port}`))}`);
  const output = outputOf(child);
  const timer = setTimeout(() => signal(child, 'SIGKILL'), BLOCK_MS);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  if (code !== 0) throw new Error(`ended with ${code ?? 'a signal'}\n${output()}`);
}

async function startInBackground(text: string, until: string): Promise<void> {
  const child = shell(text);
  background.push(child);
  const output = await printed(child, until, START_MS);
  port = Number(/gateway\s+https:\/\/localhost:(\d+)/.exec(output)?.[1] ?? port);
}

/** Ends a background process as Ctrl-C does; it has ten seconds. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'close');
  signal(child, 'SIGINT');
  const timer = setTimeout(() => signal(child, 'SIGKILL'), 10_000);
  await ended;
  clearTimeout(timer);
}

function signal(child: ChildProcess, name: NodeJS.Signals): void {
  if (child.pid !== undefined) process.kill(-child.pid, name);
}

function checkTypes(text: string): void {
  const file = join(folder, 'readme-example.ts');
  writeFileSync(file, text);
  const options = ['--noEmit', '--strict', '--skipLibCheck', '--ignoreConfig', '--module', 'nodenext', '--target', 'es2024', '--types', 'node'];
  try {
    execFileSync(join(folder, 'node_modules', '.bin', 'tsc'), [...options, file], { cwd: folder, encoding: 'utf8', env: { ...process.env, PATH: `${join(folder, 'node_modules', '.bin')}:${process.env['PATH'] ?? ''}` } });
  } catch (error) {
    throw new Error(String((error as { stdout?: string }).stdout ?? error), { cause: error });
  }
}
