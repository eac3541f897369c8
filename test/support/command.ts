import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export interface CommandRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let turn: Promise<unknown> = Promise.resolve();

/**
 * Runs one `wardgate` command to its end, within this process: another takes half a second to start. For `run`, and where the process itself
 * is the point, there are `wardgateRun` and `wardgateProcess`.
 */
export function wardgate(args: readonly string[]): Promise<CommandRun> {
  // One at a time: what they print is taken from the streams of the process.
  const run = turn.then(() => runHere(args));
  turn = run.catch(() => undefined);
  return run;
}

async function runHere(args: readonly string[]): Promise<CommandRun> {
  const { runCommandLine } = await import('../../src/cli/command-line.ts');
  const out = capture(process.stdout);
  const err = capture(process.stderr);
  try {
    const code = await runCommandLine(args, { env: process.env, exit: () => { throw new Error('the command ended the process'); } });
    return { code, stdout: out.text(), stderr: err.text() };
  } finally {
    out.release();
    err.release();
  }
}

function capture(stream: NodeJS.WriteStream): { text(): string; release(): void } {
  const { write } = stream;
  let text = '';
  stream.write = ((chunk: string | Uint8Array, ...rest: readonly unknown[]): boolean => {
    text += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString();
    const done = rest.find((one) => typeof one === 'function');
    if (done !== undefined) process.nextTick(done as () => void);
    return true;
  }) as typeof write;
  return {
    text: () => text,
    release() {
      stream.write = write;
    },
  };
}

/** Runs one `wardgate` command to its end, as a process of its own. */
export function wardgateProcess(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CommandRun> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [MAIN, ...args], { env: { ...cleanEnvironment(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('close', (code) => done({ code, stdout, stderr }));
  });
}

export interface RunningCommand {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly port: number;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Sends SIGTERM and resolves with the exit code. */
  stop(): Promise<number | null>;
}

/** Starts `wardgate run`, by way of another command if one is given, with options in front of it, and waits until it listens. */
export function wardgateRun(config: string, env: Readonly<Record<string, string>> = {}, through: readonly string[] = [], options: readonly string[] = []): Promise<RunningCommand> {
  return new Promise((done, failed) => {
    const [program = process.execPath, ...args] = [...through, process.execPath, MAIN, ...options, 'run', '-c', config];
    const child = spawn(program, args, { env: { ...cleanEnvironment(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
      const port = /^listening \S+ \S+:(\d+)$/m.exec(stdout)?.[1];
      const pid = /^pid (\d+)$/m.exec(stdout)?.[1];
      if (port === undefined || pid === undefined) return;
      done({
        child, pid: Number(pid), port: Number(port), stdout: () => stdout, stderr: () => stderr,
        stop() {
          process.kill(Number(pid), 'SIGTERM');
          return ended;
        },
      });
    });
    void ended.then((code) => failed(new Error(`wardgate run ended with ${code}: ${stderr}`)));
  });
}

/** What a test runner sets for its own sake must not be scrubbed by the launcher with a message. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, NODE_V8_COVERAGE: _coverage, NODE_EXTRA_CA_CERTS: _ca, SSL_CERT_FILE: _file, SSL_CERT_DIR: _dir, ...env } = process.env;
  return env;
}
