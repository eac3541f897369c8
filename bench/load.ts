import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** What the load generator is asked to do. */
export interface Load {
  readonly mode: 'requests' | 'handshakes' | 'idle';
  readonly port: number;
  readonly connections: number;
  readonly count: number;
  readonly tls: '1.2' | '1.3';
  /** Which of the server's certificates to ask for. */
  readonly serverKey: 'ec' | 'rsa';
  readonly resume: boolean;
  /** PEM files of the client's certificate chain and key. */
  readonly certificate: string;
  readonly key: string;
  readonly path: string;
  /** File that every body must be, octet by octet; undefined: any body of `length`. */
  readonly expect: string | undefined;
  /** Octets that every body must have; undefined: as many as were announced. */
  readonly length?: number;
  /** Requests on each connection, or stream of it, before the clock starts. */
  readonly prelude: number;
  readonly http: '1.1' | '2';
  /** HTTP/2 streams at a time on each connection. */
  readonly streams: number;
  /** Seconds, for the preparation and for the load each. */
  readonly deadline: number;
  readonly core: number | undefined;
}

/** What it says afterwards: latencies in µs, the rest in seconds and counts. `protocol`, `serverKey` and `resumed` prove what was measured. */
export interface LoadResult {
  readonly finished: number;
  readonly failed: number;
  readonly preludeFailed: number;
  readonly error: string;
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly bytes: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
  readonly protocol: string;
  readonly cipher: string;
  readonly serverKey: 'EC' | 'RSA';
  readonly resumed: number;
  /** What ALPN came to; empty where it was not asked for. */
  readonly http: '' | 'h2' | 'http/1.1';
  /** HTTP/2 streams at a time that the server allowed, of those wanted. */
  readonly streams: number;
  /** Connections still open. */
  readonly open: number;
}

/** Compiles the generator into `directory`; rejects with the compiler's words, also when there is none. */
export async function buildLoadGenerator(directory: string): Promise<string> {
  const program = join(directory, 'load');
  const sources = ['load.c', 'load-h2.c'].map((name) => fileURLToPath(new URL(name, import.meta.url)));
  await promisify(execFile)('gcc', ['-O2', '-Wall', '-o', program, ...sources, '-lssl', '-lcrypto']).catch((error: Error) => {
    throw new Error(`the load generator needs gcc and the OpenSSL headers (Debian: gcc libssl-dev): ${error.message}`);
  });
  return program;
}

/**
 * Runs the generator. `around` gets a function that lets it go and resolves when it is done: measure there. Let go again, idle
 * connections each ask once more; there is no second time for the other modes.
 */
export async function runLoad(program: string, load: Load, around: (go: () => Promise<LoadResult>) => Promise<void>): Promise<void> {
  const args = [
    `mode=${load.mode}`, `port=${load.port}`, `connections=${load.connections}`, `count=${load.count}`, `tls=${load.tls}`, `server_key=${load.serverKey}`,
    `resume=${load.resume ? 'yes' : 'no'}`, `certificate=${load.certificate}`, `key=${load.key}`, `path=${load.path}`, `deadline=${load.deadline}`,
    ...(load.length === undefined ? [] : [`length=${load.length}`]),
    `prelude=${load.prelude}`, `http=${load.http}`, `streams=${load.streams}`, ...(load.expect === undefined ? [] : [`expect=${load.expect}`]),
  ];
  const [file, all] = load.core === undefined ? [program, args] : ['taskset', ['-c', String(load.core), program, ...args]];
  const child = spawn(file, all, { stdio: ['pipe', 'pipe', 'inherit'] });
  const end = (): void => void child.kill('SIGKILL');
  process.once('exit', end);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const line = await lines.next();
    if (line.done === true) throw new Error('the load generator ended early');
    return line.value;
  };
  const gone = once(child, 'close');
  try {
    await next();
    await around(async () => {
      child.stdin.write('go\n');
      return JSON.parse(await next()) as LoadResult;
    });
    child.stdin.end();
    await gone;
  } finally {
    end();
    process.off('exit', end);
  }
}
