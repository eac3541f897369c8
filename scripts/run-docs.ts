import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { commandsOf, readDocument, type DocumentBlock } from './documents/blocks.ts';

// Does what the documents say, each in a machine of its own: node scripts/run-docs.ts [FILE…]. The marks that documents have for it are in
// scripts/documents/blocks.ts. A machine is a copy-on-write copy of this one (scripts/documents/machine.sh) that begins with a hospital's
// CA and a gateway in /etc/wardgate (scripts/documents/stage.sh), so that commands are run to the letter.

const DOCUMENT_MS = 400_000;
const INSIDE = 'WARDGATE_DOCUMENTS_FOLDER';

const project = join(import.meta.dirname, '..');
const named = process.argv.slice(2);
const folder = process.env[INSIDE];

process.exitCode = folder === undefined ? outside() : await inside(folder);

/** Mounts are of a namespace of our own, which needs root. */
function outside(): number {
  const unshare = ['unshare', '--mount', '--pid', '--fork', '--mount-proc', '--kill-child'];
  const root = process.getuid?.() === 0 ? [] : ['sudo', '-n', '--preserve-env=PATH'];
  const [command = '', ...args] = [...root, ...unshare];
  if (spawnSync(command, [...args, 'true']).status !== 0) {
    console.log('documents: skipped: only root can make the machines that they are run in');
    return 0;
  }
  const temporary = mkdtempSync(join(tmpdir(), 'wardgate-documents-'));
  try {
    return spawnSync(command, [...args, 'env', `${INSIDE}=${temporary}`, process.execPath, import.meta.filename, ...named], { stdio: 'inherit' }).status ?? 1;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

async function inside(place: string): Promise<number> {
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', place]);
  const tools = join(place, 'tools');
  provideTools(tools);
  const environment = { PATH: `/usr/local/bin:${dirname(process.execPath)}:/usr/sbin:/usr/bin:/sbin:/bin`, HOME: '/root', USER: 'root', LANG: 'C.UTF-8', TZ: 'UTC', NODE_COMPILE_CACHE: '/var/cache/node', DOCUMENTS_PROJECT: project };
  const machine = (name: string, layers: readonly string[], command: readonly string[]) => promisify(execFile)(
    'unshare', ['--mount', '--net', '--pid', '--uts', '--ipc', '--fork', '--kill-child', 'sh', join(import.meta.dirname, 'documents/machine.sh'), join(place, name), layers.join(':'), ...command],
    { env: environment, timeout: DOCUMENT_MS, killSignal: 'SIGKILL', maxBuffer: 1 << 24 },
  );
  try {
    await machine('trial', [tools, '/'], ['true']);
  } catch (error) {
    console.log(`documents: skipped: the machines that they are run in cannot be made here: ${(error as { stderr?: string }).stderr?.trim() ?? (error as Error).message}`);
    return 0;
  }
  const total = { passed: 0, failed: 0, skipped: 0 };
  const documents = (named.length > 0 ? named : allDocuments()).flatMap((file) => {
    try {
      return [{ file, ...readDocument(readFileSync(join(project, file), 'utf8')) }];
    } catch (error) {
      total.failed++;
      console.log(`${file}: failed: ${(error as Error).message}`);
      return [];
    }
  }).filter(({ blocks }) => blocks.some((block) => commandsOf(block) !== undefined));
  for (const { file, runBy } of documents) if (runBy !== undefined) console.log(`${file}: run by ${runBy}`);
  await machine('stage', [tools, '/'], ['bash', join(import.meta.dirname, 'documents/stage.sh')]);

  // The longest first: what is begun last is what all the others wait for.
  const waiting = documents.filter(({ runBy }) => runBy === undefined).sort((one, other) => work(other.blocks) - work(one.blocks));
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { file, bare } = next;
      const layers = bare ? [tools, '/'] : [join(place, 'stage/upper'), tools, '/'];
      const output = await machine(file.replaceAll('/', '-'), layers, [process.execPath, join(import.meta.dirname, 'documents/one.ts'), project, file]).then(
        ({ stdout }) => stdout, (error: { stdout?: string; stderr?: string; message: string }) => `${error.stdout ?? ''}${error.stderr ?? error.message}\n`);
      const lines = output.trimEnd().split('\n');
      const counts = parseCounts(lines.at(-1));
      console.log((counts === undefined ? [...lines, `${file}: failed: it was not run to its end`] : lines.slice(0, -1)).join('\n'));
      total.failed += counts?.failed ?? 1;
      total.passed += counts?.passed ?? 0;
      total.skipped += counts?.skipped ?? 0;
    }
  }));
  console.log(`documents: ${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return total.failed === 0 ? 0 : 1;
}

/** How much there is to run, in lines. */
function work(blocks: readonly DocumentBlock[]): number {
  return blocks.filter(({ marks }) => marks.skip === undefined).reduce((lines, block) => lines + (commandsOf(block)?.split('\n').length ?? 0), 0);
}

function allDocuments(): readonly string[] {
  return globSync(['docs/*.md', 'docs/{recipes,runbooks}/**/*.md', 'SECURITY.md', 'certs/README.md', 'deploy/**/*.md'], { cwd: project }).sort();
}

function parseCounts(line: string | undefined): { passed: number; failed: number; skipped: number } | undefined {
  try {
    return JSON.parse(line ?? '') as { passed: number; failed: number; skipped: number };
  } catch {
    return undefined;
  }
}

/** What every machine has beside what is installed here: the command, and a curl that takes a refusal for a failure. */
function provideTools(tools: string): void {
  mkdirSync(join(tools, 'usr/local/bin'), { recursive: true });
  mkdirSync(join(tools, 'root'), { recursive: true });
  const command = join(tools, 'usr/local/bin/wardgate');
  writeFileSync(command, `#!/bin/sh\nexec ${process.execPath} --disable-sigusr1 --disable-warning=ExperimentalWarning ${project}/dist/main.js "$@"\n`);
  chmodSync(command, 0o755);
  symlinkSync(process.execPath, join(tools, 'usr/local/bin/node'));
  writeFileSync(join(tools, 'root/.curlrc'), 'silent\nshow-error\nfail-with-body\nmax-time = 20\n');
}
