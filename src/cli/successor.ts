import { spawn, type ChildProcess } from 'node:child_process';
import type { Listening, Release, TakeOver } from '../gateway.ts';

/** What became of the process that was to take over. */
export type Outcome = { readonly kind: 'serves' } | { readonly kind: 'gone'; readonly why: string };

/** Another release takes over, seen from the process that it takes over from. */
export interface Successor {
  readonly pid: number;
  /** Resolves once it serves, or is gone: ended by itself, or killed because it hangs or has not come so far within `most` ms. */
  outcome(most: number): Promise<Outcome>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Names the sockets in the environment of the process that takes over. */
const SOCKETS = 'WARDGATE_TAKE_OVER';
/** Standard streams and the channel come before them. */
const FIRST_DESCRIPTOR = 4;
/** How long it may take to read its configuration. */
const READY_MS = 50_000;
/** How often it says from then on that it goes on. */
const BEAT_MS = 500;
/** So many beats left out, 5 s, mean that it hangs: nobody serves meanwhile. */
const MOST_MISSED = 10;

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
  const { ready, serves, ended, kill } = attend(child);
  // As long as the state is this process's, the other has nothing that it would have to put in order.
  let end: NodeJS.Signals = 'SIGKILL';
  over.addEventListener('abort', () => child.kill(end), { once: true });
  const late = setTimeout(kill, READY_MS, `it was not ready within ${READY_MS} ms`);
  const fault = await Promise.race([ready, ended]);
  clearTimeout(late);
  if (fault !== undefined) throw new Error(`the other release did not start, this one serves on: ${fault}`);
  return {
    pid: child.pid as number,
    async outcome(most) {
      end = 'SIGTERM';
      const endless = setTimeout(kill, most, `it did not serve within ${most} ms`);
      // Without a deadline once it is killed: the state is its own until the kernel has taken it away.
      const why = await Promise.race([serves, ended]);
      clearTimeout(endless);
      if (child.connected) child.disconnect();
      child.unref();
      return why === undefined ? { kind: 'serves' } : { kind: 'gone', why };
    },
  };
}

interface Attended {
  readonly ready: Promise<undefined>;
  readonly serves: Promise<undefined>;
  /** Why, once there is no such process any more. */
  readonly ended: Promise<string>;
  kill(why: string): void;
}

/** Listens from the start to what a process tells, several messages at once too, and kills it when its signs of life stop between being ready and serving. */
function attend(child: ChildProcess): Attended {
  const ready = Promise.withResolvers<undefined>();
  const serves = Promise.withResolvers<undefined>();
  const ended = Promise.withResolvers<string>();
  let missed = 0;
  let watch: NodeJS.Timeout | undefined;
  let killed: string | undefined;
  const kill = (why: string): void => {
    killed ??= why;
    child.kill('SIGKILL');
  };
  // Counted by turns of this event loop: what stops both processes, or this one alone, leaves out no beat.
  const look = (): void => {
    if (++missed > MOST_MISSED) kill(`it gave no sign of life for ${MOST_MISSED * BEAT_MS} ms`);
  };
  child.on('message', (what) => {
    missed = 0;
    if (what === 'ready') {
      watch ??= setInterval(look, BEAT_MS).unref();
      ready.resolve(undefined);
    }
    if (what !== 'serves') return;
    clearInterval(watch);
    serves.resolve(undefined);
  });
  child.on('exit', (code, by) => {
    clearInterval(watch);
    ended.resolve(killed ?? `it ended with ${String(code ?? by)}; its log says why`);
  });
  child.on('error', (error) => {
    if (child.pid === undefined) ended.resolve(error.message);
  });
  return { ready: ready.promise, serves: serves.promise, ended: ended.promise, kill };
}

/** The other side: what a process that was started as a successor takes over; undefined when it was not. */
export function predecessor(env: Environment): (TakeOver & { serves(): void }) | undefined {
  const text = env[SOCKETS];
  if (text === undefined || process.send === undefined) return undefined;
  let next = FIRST_DESCRIPTOR;
  const listening = (JSON.parse(text) as readonly { readonly listener: string; readonly address: string; readonly count: number }[])
    .map(({ listener, address, count }) => ({ listener, address, descriptors: Array.from({ length: count }, () => next++) }));
  let beat: NodeJS.Timeout | undefined;
  const tell = (what: string): void => {
    // The process before may be gone.
    if (process.connected) process.send?.(what, () => undefined);
  };
  return {
    listening,
    ready() {
      tell('ready');
      // Of the event loop that starts the gateway: it is what would hang.
      beat = setInterval(tell, BEAT_MS, 'beat').unref();
    },
    serves() {
      clearInterval(beat);
      tell('serves');
    },
  };
}
