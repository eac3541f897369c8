import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join, relative } from 'node:path';
import { createAuthority, issueCertificate } from '../src/ca/issue.ts';
import { freePort } from '../src/demo/listen.ts';

// Takes the steps of the Dockerfile in a plain folder, where no container engine runs, and then runs what came of it as the image's
// user: node scripts/docker-steps.ts. What it cannot show: the base image, and that nothing outside the folder is needed.

interface Stage {
  readonly name: string;
  readonly root: string;
  directory: string;
  user: number;
  entrypoint: readonly string[];
  command: readonly string[];
  health: readonly string[];
}

const START_MS = 30_000;

const project = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'wardgate-image-'));
// The image's user has to get in; what is secret in there has modes of its own.
chmodSync(folder, 0o755);
const context = join(folder, 'context');
// Stands for the base image: the pinned Node before the machine's own.
const path = [dirname(process.execPath), process.env['PATH'] ?? ''].join(delimiter);

try {
  execFileSync('git', ['clone', '--quiet', project, context]);
  const image = build(readFileSync(join(context, 'Dockerfile'), 'utf8'));
  const size = execFileSync('du', ['-sm', image.root], { encoding: 'utf8' }).split('\t')[0];
  console.log(`image: ${size} MiB on top of its base, user ${image.user}`);
  if (process.getuid?.() === 0) await tryOut(image);
  else console.log('skipped: only root can run it as the image\'s user');
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** Takes every step; the last stage is the image. */
function build(dockerfile: string): Stage {
  const stages: Stage[] = [];
  for (const [, instruction = '', rest = ''] of dockerfile.replace(/^#.*\n/gm, '').matchAll(/^([A-Z]+) (.*)$/gm)) {
    if (instruction === 'FROM') stages.push(newStage(/ AS (\w+)$/.exec(rest)?.[1] ?? 'image'));
    else step(stages, instruction, rest);
  }
  const image = stages.at(-1);
  if (image === undefined) throw new Error('the Dockerfile has no FROM');
  return image;
}

function newStage(name: string): Stage {
  const root = join(folder, name);
  mkdirSync(root);
  return { name, root, directory: '/', user: 0, entrypoint: [], command: [], health: [] };
}

function step(stages: readonly Stage[], instruction: string, rest: string): void {
  const stage = stages.at(-1) as Stage;
  switch (instruction) {
    case 'WORKDIR':
      stage.directory = rest;
      mkdirSync(join(stage.root, rest), { recursive: true });
      return;
    case 'COPY': return copy(stages, stage, rest.split(' '));
    case 'RUN':
      console.log(`${stage.name}: ${rest}`);
      execFileSync('sh', ['-ec', rest], { cwd: join(stage.root, stage.directory), stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, PATH: path } });
      return;
    case 'USER':
      stage.user = Number(rest.split(':')[0]);
      return;
    case 'ENTRYPOINT':
      stage.entrypoint = JSON.parse(rest) as string[];
      return;
    case 'CMD':
      stage.command = JSON.parse(rest) as string[];
      return;
    case 'HEALTHCHECK':
      stage.health = JSON.parse(rest.slice(rest.indexOf('CMD ') + 4)) as string[];
      return;
    case 'ENV': case 'EXPOSE': case 'LABEL': case 'STOPSIGNAL':
      return;
    default:
      throw new Error(`Dockerfile: ${instruction} is not known here`);
  }
}

function copy(stages: readonly Stage[], stage: Stage, words: readonly string[]): void {
  const options = words.filter((word) => word.startsWith('--'));
  const [sources, target = ''] = [words.filter((word) => !word.startsWith('--')).slice(0, -1), words.at(-1)];
  const from = options.find((option) => option.startsWith('--from='))?.slice('--from='.length);
  const owner = Number(/^--chown=(\d+)/.exec(options.find((option) => option.startsWith('--chown=')) ?? '')?.[1] ?? 0);
  const to = join(stage.root, target.startsWith('/') ? '' : stage.directory, target);
  const allowed = readFileSync(join(context, '.dockerignore'), 'utf8').split('\n');
  for (const source of sources) {
    if (from === undefined && !allowed.includes(`!${source}`)) throw new Error(`Dockerfile: COPY ${source}: .dockerignore keeps it out`);
    const base = from === undefined ? context : stages.find(({ name }) => name === from)?.root ?? '';
    // A folder is copied as what is in it, a file under its own name.
    const at = join(base, source);
    cpSync(at, isDirectory(at) ? to : join(to, basename(source)), { recursive: true, verbatimSymlinks: true });
    if (owner !== 0 && process.getuid?.() === 0) chownSync(to, owner, owner);
  }
}

function isDirectory(file: string): boolean {
  return spawnSync('test', ['-d', file]).status === 0;
}

/** Runs the image's command as its user with a configuration of its own: it must serve, be healthy, and stop when told. */
async function tryOut(image: Stage): Promise<void> {
  const authority = await createAuthority({ name: 'Image Root' });
  const server = await issueCertificate(authority, { subject: [['CN', 'localhost']], san: { dns: 'localhost' }, eku: ['serverAuth'] });
  const metrics = await freePort(0);
  const config = join(folder, 'config');
  const file = (name: string, text: string): void => {
    writeFileSync(join(config, name), text, { mode: 0o600 });
    chownSync(join(config, name), image.user, image.user);
  };
  mkdirSync(config, { mode: 0o755 });
  file('root.pem', authority.certificate);
  file('server.pem', server.chain);
  file('server.key', server.key);
  file('wardgate.yaml', `
state: ${join(image.root, 'var', 'lib', 'wardgate')}
threads: 1
listeners:
  - { name: clinical, address: "127.0.0.1:0", tls: { certificates: [{ certificate: server.pem, key: server.key }] }, client_auth: { mode: optional, trust: [root.pem] } }
revocation: { check: off }
metrics: { address: "127.0.0.1:${metrics}" }
`);
  const account = { uid: image.user, gid: image.user };
  const env = { PATH: path, WARDGATE_CONFIG: join(config, 'wardgate.yaml') };
  const [program = '', ...args] = [...image.entrypoint, ...image.command].map((word) => (word.startsWith('/') ? join(image.root, word) : word));
  const child = spawn(program, args, { ...account, env, cwd: join(image.root, image.directory), stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  try {
    const port = await listening(child.stdout);
    const status = await ask(port, authority.certificate);
    if (status !== 404) throw new Error(`expected 404 of a gateway without routes, got ${status}`);
    const [check = '', ...words] = image.health.map((word) => word.replaceAll('9100', String(metrics)));
    execFileSync(check, words, { ...account, env, stdio: 'inherit' });
    child.kill('SIGTERM');
    const [code] = await exited;
    if (code !== 0) throw new Error(`ended with ${code ?? 'a signal'} on SIGTERM`);
    console.log(`image: runs as ${image.user}, serves, is healthy, stops (${relative(folder, image.root)})`);
  } finally {
    child.kill('SIGKILL');
  }
}

function listening(output: NodeJS.ReadableStream): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let text = '';
  output.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    const port = /^listening clinical .*:(\d+)$/m.exec(text)?.[1];
    if (port !== undefined) resolve(Number(port));
  });
  output.on('end', () => reject(new Error(`the image's command ended: ${text}`)));
  const timer = setTimeout(() => reject(new Error(`no listener within ${START_MS} ms: ${text}`)), START_MS);
  return promise.finally(() => clearTimeout(timer));
}

function ask(port: number, ca: string): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, servername: 'localhost', headers: { host: 'localhost' }, path: '/', ca, timeout: 5_000 }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    }).on('error', reject).end();
  });
}
