import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { delimiter, join } from 'node:path';

/** Seconds to one tick of /proc/stat; 100 ticks a second on every Linux that Node runs on. */
const TICK_SECONDS = 1 / 100;
const START_MS = 60_000;
const END_MS = 5_000;

export interface Running {
  readonly pid: number;
  /** Everything it has said so far, both streams. */
  output(): string;
  /** Resolves with what it said up to `pattern`'s match; rejects when it ends before, or after 15 s. */
  said(pattern: RegExp): Promise<RegExpExecArray>;
  /** SIGTERM, then SIGKILL; resolves once it is gone. */
  stop(): Promise<void>;
}

/** The path of a program, or undefined. Debian keeps servers out of an ordinary user's PATH. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, name)).find((file) => existsSync(file));
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Pins it and all its threads to one core; undefined leaves it to the scheduler. */
  readonly core?: number | undefined;
}

/** Starts a program in a bare environment. It is ended with the bench, whatever ends the bench short of SIGKILL. */
export function start(program: string, args: readonly string[], { env = {}, core }: StartOptions = {}): Running {
  const [file, all] = core === undefined ? [program, args] : ['taskset', ['-c', String(core), program, ...args]];
  const child = spawn(file, all, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] ?? '', ...env } });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (more: string) => {
      text = (text + more).slice(-65_536);
    });
  }
  const gone = once(child, 'close');
  gone.catch(() => undefined);
  const end = (): void => killWithChildren(child);
  process.once('exit', end);
  gone.then(() => process.off('exit', end), () => undefined);
  return {
    pid: child.pid ?? 0,
    output: () => text,
    said: (pattern) => untilSaid(child, () => text, pattern),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      const timer = setTimeout(end, END_MS);
      await gone;
      clearTimeout(timer);
    },
  };
}

/** A master that is killed leaves its workers behind. */
function killWithChildren(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  for (const worker of childrenOf(child.pid)) process.kill(worker, 'SIGKILL');
  child.kill('SIGKILL');
}

async function untilSaid(child: ChildProcess, output: () => string, pattern: RegExp): Promise<RegExpExecArray> {
  const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
  const look = (): void => {
    const match = pattern.exec(output());
    if (match !== null) resolve(match);
  };
  const failed = (why: string) => (): void => reject(new Error(`${child.spawnfile} ${child.spawnargs.slice(1).join(' ')}: ${why}\n${output()}`));
  const timer = setTimeout(failed(`said nothing like ${pattern} in ${START_MS / 1000} s`), START_MS);
  const ended = failed('ended');
  child.stdout?.on('data', look);
  child.stderr?.on('data', look);
  child.once('close', ended);
  child.once('error', reject);
  look();
  return promise.finally(() => {
    clearTimeout(timer);
    child.stdout?.off('data', look);
    child.stderr?.off('data', look);
    child.off('close', ended).off('error', reject);
  });
}

/** Resolves once something accepts connections on a port of loopback; rejects when `running` does not get there in 15 s. */
export async function untilListening(port: number, running: Running): Promise<void> {
  const deadline = performance.now() + START_MS;
  while (performance.now() < deadline) {
    if (await accepts(port)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing listens on port ${port}:\n${running.output()}`);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/**
 * User and system time of a process and its children (workers) so far, all threads, in seconds: what /proc/PID/stat counts in
 * ticks of 10 ms, read in nanoseconds from the threads' schedstat.
 */
export function cpuSeconds(pid: number): number {
  return [pid, ...childrenOf(pid)].reduce((sum, one) => sum + ownCpuSeconds(one), 0);
}

function ownCpuSeconds(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ', 1)[0]);
  }
  return nanoseconds / 1e9;
}

function childrenOf(pid: number): readonly number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

/** How many files a process of ours may have open at most, whatever it asks for. */
export function openFilesLimit(): number {
  const [, hard] = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
  return hard === 'unlimited' ? Infinity : Number(hard);
}

/** Largest and present resident size of a process and its children, in MiB. */
export function residentMiB(pid: number): { readonly now: number; readonly peak: number } {
  const sum = { now: 0, peak: 0 };
  for (const one of [pid, ...childrenOf(pid)]) {
    const status = readFileSync(`/proc/${one}/status`, 'latin1');
    sum.now += statusMiB(status, 'VmRSS');
    sum.peak += statusMiB(status, 'VmHWM');
  }
  return sum;
}

function statusMiB(status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) / 1024;
}

/** CPU time that the whole machine has spent so far, in seconds: to see what others took meanwhile. */
export function machineCpuSeconds(): number {
  const fields = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0]?.trim().split(/\s+/).slice(1).map(Number) ?? [];
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = fields;
  return (user + nice + system + irq + softirq + steal) * TICK_SECONDS;
}
