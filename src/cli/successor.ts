import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Listening, Release, TakeOver } from '../gateway.ts';

/** The process that takes over, seen from the one that it takes over from. */
export interface Successor {
  readonly pid: number;
  /** Whether it serves, once that is known; false when it has ended instead, or is silent for `most` ms. */
  serves(most: number): Promise<boolean>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Names the sockets in the environment of the process that takes over. */
const SOCKETS = 'WARDGATE_TAKE_OVER';
/** Standard streams and the channel come before them. */
const FIRST_DESCRIPTOR = 4;
/** How long it may take to read its configuration. */
const READY_MS = 50_000;

/**
 * Starts another release with the listening sockets of this process. Resolves once it has read its configuration and waits for the state; rejects, and it is
 * gone, when it has not come that far. `over` is when this process is told to end: so is the other one then.
 */
export async function startSuccessor({ node, args }: Release, listening: readonly Listening[], env: Environment, over: AbortSignal): Promise<Successor> {
  over.throwIfAborted();
  const sockets = listening.map(({ listener, address, descriptors }) => ({ listener, address, count: descriptors.length }));
  // Of a group of its own: it must not end with what ends this one.
  const child = spawn(node, args, {
    detached: true, env: { ...env, [SOCKETS]: JSON.stringify(sockets) }, stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...listening.flatMap(({ descriptors }) => descriptors)],
  });
  child.on('error', () => undefined);
  // As long as the state is this process's, the other has nothing that it would have to put in order.
  let end: NodeJS.Signals = 'SIGKILL';
  over.addEventListener('abort', () => child.kill(end), { once: true });
  try {
    await told(child, 'ready', READY_MS);
  } catch (error) {
    child.kill('SIGKILL');
    throw new Error(`the other release did not start, this one serves on: ${(error as Error).message}`, { cause: error });
  }
  const serving = told(child, 'serves', undefined).then(() => true, () => false);
  return {
    pid: child.pid as number,
    async serves(most) {
      end = 'SIGTERM';
      const found = await Promise.race([serving, new Promise<false>((resolve) => setTimeout(() => resolve(false), most).unref())]);
      if (found) child.disconnect();
      else child.kill('SIGKILL');
      child.unref();
      return found;
    },
  };
}

/** Resolves with its telling so; rejects when it ends before, or is silent for `most` ms. */
async function told(child: ChildProcess, what: string, most: number | undefined): Promise<void> {
  const over = new AbortController();
  const signal = most === undefined ? over.signal : AbortSignal.any([over.signal, AbortSignal.timeout(most)]);
  const message = (async () => {
    for (;;) if ((await once(child, 'message', { signal }))[0] === what) return;
  })();
  const ended = once(child, 'exit', { signal }).then(([code, by]: unknown[]) => {
    throw new Error(`it ended with ${String(code ?? by)}; its log says why`);
  });
  try {
    await Promise.race([message, ended]);
  } catch (error) {
    if ((error as Error).name === 'AbortError') throw new Error(`it was not ready within ${most} ms`, { cause: error });
    throw error;
  } finally {
    over.abort();
    await Promise.allSettled([message, ended]);
  }
}

/** The other side: what a process that was started as a successor takes over; undefined when it was not. */
export function predecessor(env: Environment): (TakeOver & { serves(): void }) | undefined {
  const text = env[SOCKETS];
  if (text === undefined || process.send === undefined) return undefined;
  let next = FIRST_DESCRIPTOR;
  const listening = (JSON.parse(text) as readonly { readonly listener: string; readonly address: string; readonly count: number }[])
    .map(({ listener, address, count }) => ({ listener, address, descriptors: Array.from({ length: count }, () => next++) }));
  const tell = (what: string): void => {
    // The process before may be gone.
    if (process.connected) process.send?.(what, () => undefined);
  };
  return { listening, ready: () => tell('ready'), serves: () => tell('serves') };
}
