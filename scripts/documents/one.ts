import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { checkedScript, commandsOf, LACKING, readDocument, type DocumentBlock } from './blocks.ts';
import { outputOf, printed } from './output.ts';

// Runs the commands of one document, inside a machine of its own: node one.ts PROJECT FILE. A line a block, then the counts as JSON.

const START_MS = 60_000;
const BLOCK_MS = 120_000;
const STAGED = '/etc/wardgate';
/** What bash keeps from block to block: a document's reader has one shell. */
const SHELL_STATE = '/run/documents-shell';

const [project = '', file = ''] = process.argv.slice(2);
const { blocks, bare } = readDocument(readFileSync(join(project, file), 'utf8'));
const counts = { passed: 0, failed: 0, skipped: 0 };
const background: ChildProcess[] = [];

if (blocks.some((block) => commandsOf(block) !== undefined && block.marks.skip === undefined) && !bare) await startGateway();
for (const block of blocks) await take(block);
console.log(JSON.stringify(counts));
// The kernel ends what is left with this process.
process.exit(0);

async function take(block: DocumentBlock): Promise<void> {
  const commands = commandsOf(block);
  const { skip, until } = block.marks;
  if (commands === undefined) return;
  if (skip !== undefined) return report('skipped', block, `needs ${LACKING[skip.what]}: ${skip.why}`);
  const started = Date.now();
  try {
    const script = `${block.marks.first ?? ''}\n${withRealExamples(commands, block)}`;
    if (until !== undefined) await inBackground(commands, block, until);
    else await run(script, block);
    report('passed', block, `${commands.trim().split('\n')[0] ?? ''} (${Date.now() - started} ms)`);
  } catch (error) {
    report('failed', block, `${(error as Error).message}\n${commands}`);
  }
}

function report(outcome: keyof typeof counts, { line }: DocumentBlock, detail: string): void {
  counts[outcome]++;
  console.log(`${file}:${line}: ${outcome}: ${detail}`);
}

/** With what prints the real one in place of each example, asked when it is first needed: it may be something that the same block makes. */
function withRealExamples(commands: string, { marks, line }: DocumentBlock): string {
  let text = commands;
  const asking = marks.examples.map(({ example, command }, at) => {
    if (!text.includes(example)) throw new Error(`the block has no ${example}`);
    const name = `example_${line}_${at}`;
    text = text.split('\n').map((one) => one.split(example).reduce((before, rest) => {
      const quoted = before.split("'").length % 2 === 0;
      return `${before}${quoted ? `'"$(${name})"'` : `$(${name})`}${rest}`;
    })).join('\n');
    return `${name}() { [ -s /run/${name} ] || { ${command}; } >/run/${name}; cat /run/${name}; }`;
  });
  return [...asking, checkedScript(text)].join('\n');
}

function shell(script: string, { marks }: DocumentBlock, typed?: readonly string[]): ChildProcess {
  writeFileSync('/run/documents-block', script);
  const bash = ['bash', '/run/documents-block'];
  const [command = '', ...args] = typed === undefined ? bash : ['script', '-qec', bash.join(' '), '/dev/null'];
  const child = spawn(command, args, { cwd: marks.checkout ? project : existsSync(STAGED) ? STAGED : '/root', stdio: [typed === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] });
  child.on('error', () => undefined);
  child.stdin?.on('error', () => undefined);
  return child;
}

/** Runs commands to their end. */
async function run(script: string, block: DocumentBlock): Promise<void> {
  const kept = `if [ -e ${SHELL_STATE} ]; then . ${SHELL_STATE} 2>/dev/null; fi\ntrap 'declare -p | grep -vE "^declare -[a-zA-Z]*r|^declare -[-a-zA-Z]* (BASH|FUNCNAME|_=)" >${SHELL_STATE}' EXIT\nset -euo pipefail\n${script}`;
  const { typed } = block.marks;
  const child = shell(kept, block, typed);
  const waiting = [...typed ?? []];
  let answered = 0;
  const output = outputOf(child, (all) => {
    // A prompt is a line that is not ended, and asks for something.
    if (waiting.length === 0 || !/[:?] ?$/.test(all.slice(answered))) return;
    answered = all.length;
    child.stdin?.write(`${waiting.shift() ?? ''}\n`);
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), BLOCK_MS);
  // What it left in the background has its pipes still.
  const [code] = (await once(child, 'exit')) as [number | null];
  clearTimeout(timer);
  await delay(20);
  if (code !== 0) throw new Error(`ended with ${code ?? 'a signal'}\n${output()}`);
}

async function inBackground(script: string, block: DocumentBlock, until: string): Promise<void> {
  await started(shell(`set -eu\n${block.marks.first ?? ''}\n${script}`, block), until);
}

async function started(child: ChildProcess, until: string): Promise<void> {
  background.push(child);
  await printed(child, until, START_MS);
}

/** The gateway, and behind it everything that it speaks to: one server that answers any request. */
async function startGateway(): Promise<void> {
  const pem = (name: string): Buffer => readFileSync(join(STAGED, name));
  const answer = createServer({ cert: pem('backend.pem'), key: pem('backend.key') }, (request, response) => {
    request.resume().on('end', () => response.setHeader('content-type', 'application/json').end(`${JSON.stringify({ path: request.url })}\n`));
  });
  answer.on('error', (error) => {
    throw error;
  });
  for (const port of [9443, 443]) {
    const server = port === 443 ? answer : createServer({ cert: pem('backend.pem'), key: pem('backend.key') }, (request, response) => void answer.emit('request', request, response));
    server.listen(port, '10.200.0.1');
    await once(server, 'listening');
  }
  await started(spawn('wardgate', ['run', '-c', join(STAGED, 'wardgate.yaml')], { stdio: ['ignore', 'pipe', 'pipe'] }), 'listening ops');
}
