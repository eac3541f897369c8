import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkedScript } from '../scripts/documents/blocks.ts';
import { outputOf, printed } from '../scripts/documents/output.ts';
import { readmeBlocks, type Block } from '../scripts/readme-blocks.ts';
import { freePort } from './support/programs.ts';

const project = join(import.meta.dirname, '..');
const page = readFileSync(join(project, 'docs/getting-started.md'), 'utf8');
const blocks = readmeBlocks(page).filter(({ language, mark }) => language === 'sh' && mark.kind !== 'skip');
const folder = mkdtempSync(join(tmpdir(), 'wardgate-start-'));
const started: ChildProcess[] = [];
let ports: Readonly<Record<string, number>>;

beforeAll(async () => {
  // The page's own may be taken.
  ports = { 8443: await freePort(), 9443: await freePort() };
});
afterAll(async () => {
  for (const child of started) await end(child);
  rmSync(folder, { recursive: true, force: true });
});

/** The page's text with `npx wardgate` as this checkout's sources and with free ports. */
function here(script: string): string {
  const npx = `npx() { shift; exec_node ${join(project, 'src/main.ts')} "$@"; }\nexec_node() { ${process.execPath} "$@"; }\n`;
  return npx + script.replaceAll(/\b(?:8443|9443)\b/g, (port) => String(ports[port]));
}

function shell(script: string): ChildProcess {
  const { NODE_OPTIONS: _options, NODE_EXTRA_CA_CERTS: _ca, SSL_CERT_FILE: _file, SSL_CERT_DIR: _dir, ...env } = process.env;
  // Each command is a process: what the first has compiled, the others take.
  return spawn('sh', ['-c', here(script)], { cwd: folder, env: { ...env, NODE_COMPILE_CACHE: join(folder, 'compiled') }, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function run(block: Block): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = shell(`set -eu\n${checkedScript(block.text)}`);
  const output = outputOf(child);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output: output() };
}

async function startInBackground(block: Block, until: string): Promise<void> {
  const child = shell(block.text);
  started.push(child);
  await printed(child, until, 60_000);
}

/** With all that it has started. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.pid === undefined) return;
  const closed = once(child, 'close');
  process.kill(-child.pid, 'SIGTERM');
  await closed;
}

test('docs/getting-started.md: each command, in its order, does what the page says', { timeout: 240_000 }, async () => {
  for (const block of blocks) {
    if (block.mark.kind === 'background') {
      await startInBackground(block, block.mark.until);
      continue;
    }
    const { code, output } = await run(block);
    expect({ line: block.line, code, output }).toEqual({ line: block.line, code: 0, output });
    if (block.text.includes('wardgate check')) expect(output).toContain(/`(configuration is good[^`]+)`/.exec(page)?.[1]);
    if (block.text.includes('wardgate explain')) expect(output).toContain('denied: patient_mismatch');
    if (block.text.includes('audit verify')) expect(output).toMatch(/^whole: /m);
  }
  expect(blocks.length).toBeGreaterThan(9);
  expect(page.match(/# (?:\d{3}|exit \d)$/gm)?.length).toBe(9);
});

test('HAProxy takes the file that the page has for servers of plain HTTP', ({ skip }) => {
  if (spawnSync('haproxy', ['-v']).error !== undefined) return skip('haproxy is not installed: what it says to the file of docs/getting-started.md is not tested');
  const checked = spawnSync('haproxy', ['-c', '-f', 'hospital/haproxy.cfg'], { cwd: folder, encoding: 'utf8' });
  expect([checked.status, checked.stderr]).toEqual([0, checked.stderr]);
});
