import { spawn } from 'node:child_process';

/** What `openssl s_client` printed, both streams. */
export interface ClientRun {
  readonly output: string;
  readonly resumed: boolean;
  /** The HTTP status line, when one came. */
  readonly status: number | undefined;
}

/**
 * Runs one `openssl s_client` session that sends a GET and waits for the answer. Node's own client hides how sessions of
 * one name behave under another; this one does what it is told.
 */
export function sClient(port: number, args: readonly string[], request: string): Promise<ClientRun> {
  return new Promise((done) => {
    const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-ign_eof', ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    let output = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
    const take = (chunk: Buffer): void => {
      output += chunk.toString('latin1');
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.stdin.on('error', () => undefined);
    child.on('close', () => {
      clearTimeout(timer);
      const status = /HTTP\/1\.1 (\d{3})/.exec(output)?.[1];
      done({ output, resumed: /^Reused, /m.test(output), status: status === undefined ? undefined : Number(status) });
    });
    child.stdin.write(request);
  });
}
