import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { startBackend } from '../test/support/backend.ts';
import { wardgateProcess, wardgateRun } from '../test/support/command.ts';
import { ask, configuration, gatewayDirectory } from '../test/support/gateway.ts';
import { testPki } from '../test/support/pki.ts';

/** What became of the requests of one kind of client. */
export interface UpgradeLoad {
  readonly client: string;
  readonly requests: number;
  readonly failures: readonly string[];
  /** ms */
  readonly longest: number;
}

export interface UpgradeRun {
  readonly loads: readonly UpgradeLoad[];
  /** Processes that served, in their order. */
  readonly pids: readonly number[];
  /** What each `wardgate upgrade` said. */
  readonly said: readonly string[];
}

/** How long an answer of the slow kind takes. */
const SLOW_MS = 400;

/**
 * Starts a gateway and replaces it, `upgrades` times, by itself while clients ask without a pause: `each` with kept-alive connections, with a new connection
 * for each request, and with answers that take a while.
 */
export async function upgradeUnderLoad({ upgrades, each, say = () => undefined }: { readonly upgrades: number; readonly each: number; readonly say?: (text: string) => void }): Promise<UpgradeRun> {
  const pki = await testPki();
  const backend = await startBackend(pki, (request, response) => {
    if (request.url?.startsWith('/echo/slow') !== true) return void response.end('hello');
    response.write('a');
    setTimeout(() => response.end('b'), SLOW_MS);
  });
  const directory = await gatewayDirectory(pki);
  const config = join(directory, 'wardgate.yaml');
  await writeFile(config, configuration(backend.port, { threads: 2 }));
  const first = await wardgateRun(config);
  const pids = [first.pid];
  const said: string[] = [];
  let going = true;
  const kinds = { 'kept-alive': { path: '/echo/x', kept: true, body: 'hello' }, 'new connections': { path: '/echo/x', kept: false, body: 'hello' }, 'slow answers': { path: '/echo/slow', kept: true, body: 'ab' } };
  const running = Object.entries(kinds).map(async ([client, { path, kept, body }]): Promise<UpgradeLoad> => {
    const failures: string[] = [];
    let requests = 0;
    let longest = 0;
    await Promise.all(Array.from({ length: each }, async () => {
      const agent = kept ? new Agent({ keepAlive: true, maxSockets: 1 }) : undefined;
      while (going) {
        const started = performance.now();
        const failure = await ask(pki, first.port, path, { client: pki.doctor, ...(agent === undefined ? {} : { agent }) })
          .then((reply) => (reply.status === 200 && reply.body.toString() === body ? undefined : `${reply.status} ${reply.body.toString().slice(0, 60)}`), (error: Error) => error.message);
        requests++;
        longest = Math.max(longest, performance.now() - started);
        if (failure !== undefined) failures.push(failure);
      }
      agent?.destroy();
    }));
    return { client, requests, failures, longest };
  });
  const exited = once(first.child, 'exit');
  try {
    for (let upgrade = 0; upgrade < upgrades; upgrade++) {
      const { code, stdout, stderr } = await wardgateProcess(['upgrade', '-c', config, '--json']);
      if (code !== 0) throw new Error(`wardgate upgrade ended with ${code}: ${stderr}${first.stderr()}`);
      said.push(stdout.trim());
      pids.push((JSON.parse(stdout) as { readonly pid: number }).pid);
      say(stdout.trim());
    }
    await exited;
  } finally {
    going = false;
    const last = pids.at(-1) as number;
    await Promise.all(running);
    process.kill(last, 'SIGTERM');
    while (alive(last)) await new Promise((done) => setTimeout(done, 50));
    await backend.close();
    await rm(directory, { recursive: true, force: true });
  }
  return { loads: await Promise.all(running), pids, said };
}

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
