import { spawn } from 'node:child_process';
import { printable, show } from './issue.ts';

/** What a command said: its first line, or what is wrong, in words that hold nothing of what it wrote to stdout. */
export type LineResult =
  | { readonly kind: 'ok'; readonly bytes: Uint8Array }
  | { readonly kind: 'fault'; readonly message: string };

export interface RunOptions {
  /** Where it runs. */
  readonly directory: string;
  /** Milliseconds it may take, after which it and what it started are killed. */
  readonly deadline: number;
}

const MOST_OUTPUT = 4_096;
const MOST_TOLD = 200;

/** Runs a command without a shell and takes what it writes to stdout. Never rejects. */
export function runForLine(argv: readonly string[], { directory, deadline }: RunOptions): Promise<LineResult> {
  const [program = '', ...rest] = argv;
  const { promise, resolve } = Promise.withResolvers<LineResult>();
  const fault = (what: string): void => resolve({ kind: 'fault', message: `${show(program)} ${what}` });
  // A group of its own: what the command started ends with it.
  const child = spawn(program, rest, { cwd: directory, shell: false, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, told] = [collect(), collect()];
  const end = (): void => {
    killGroup(child.pid);
    child.stdout.destroy();
    child.stderr.destroy();
  };
  const timer = setTimeout(() => {
    fault(`has not ended within ${deadline / 1_000} s`);
    end();
  }, deadline);
  child.on('error', (error: NodeJS.ErrnoException) => {
    clearTimeout(timer);
    fault(`cannot be run: ${error.code ?? 'unknown error'}`);
  });
  child.stdout.on('error', () => undefined).on('data', (chunk: Buffer) => {
    if (out.take(chunk)) return;
    clearTimeout(timer);
    fault(`writes more than ${MOST_OUTPUT} bytes`);
    end();
  });
  child.stderr.on('error', () => undefined).on('data', (chunk: Buffer) => void told.take(chunk));
  child.on('close', (code, signal) => {
    clearTimeout(timer);
    if (code === 0) resolve({ kind: 'ok', bytes: out.bytes() });
    else fault(`${code === null ? `was ended by ${signal ?? 'a signal'}` : `failed with exit status ${code}`}${heard(told.bytes(), out.bytes())}`);
  });
  return promise;
}

/** Chunks up to a bound; `take` is false when there was more. */
function collect(): { take(chunk: Buffer): boolean; bytes(): Buffer } {
  const chunks: Buffer[] = [];
  let length = 0;
  return {
    take: (chunk) => {
      chunks.push(chunk.subarray(0, MOST_OUTPUT - length));
      length += chunk.length;
      return length <= MOST_OUTPUT;
    },
    bytes: () => Buffer.concat(chunks),
  };
}

/** What a failed command wrote to stderr, cut; nothing of it where that repeats what stands in stdout. */
function heard(told: Buffer, out: Buffer): string {
  const text = told.toString('utf8').trim();
  const secrets = out.toString('utf8').split(/\s+/).filter((part) => part !== '');
  if (text === '' || secrets.some((part) => text.includes(part))) return '';
  const line = text.replace(/\s+/g, ' ');
  return `: ${printable(line.length > MOST_TOLD ? `${line.slice(0, MOST_TOLD)}…` : line)}`;
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // All of it has ended.
  }
}
