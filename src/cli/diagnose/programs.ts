import { spawn } from 'node:child_process';
import { once } from 'node:events';

const PATIENCE_MS = 5_000;
const MOST_OUTPUT = 1 << 20;

/** What a program of the machine's own prints, without a shell and without input; undefined where it is not there, fails or takes too long. */
export async function outputOf(program: string, args: readonly string[], mayFail = false): Promise<string | undefined> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'], timeout: PATIENCE_MS, killSignal: 'SIGKILL' });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    if (text.length < MOST_OUTPUT) text += part;
  });
  try {
    const [code] = await once(child, 'close') as [number | null];
    return code === 0 || (mayFail && code !== null) ? text : undefined;
  } catch {
    return undefined;
  }
}
