import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export interface CommandRun {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one `wardgate` command to its end. */
export function wardgate(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<CommandRun> {
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

/** Starts `wardgate run`, by way of another command if one is given, and waits until it listens. */
export function wardgateRun(config: string, env: Readonly<Record<string, string>> = {}, through: readonly string[] = []): Promise<RunningCommand> {
  return new Promise((done, failed) => {
    const [program = process.execPath, ...args] = [...through, process.execPath, MAIN, 'run', '-c', config];
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
function cleanEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _options, NODE_V8_COVERAGE: _coverage, NODE_EXTRA_CA_CERTS: _ca, SSL_CERT_FILE: _file, SSL_CERT_DIR: _dir, ...env } = process.env;
  return env;
}
