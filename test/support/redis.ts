import { spawn, spawnSync } from 'node:child_process';
import { connect } from 'node:net';
import { freePort } from './programs.ts';

/** Whether a redis-server is installed on this machine. */
export const redisInstalled = spawnSync('redis-server', ['--version']).status === 0;

export interface RedisServer {
  readonly port: number;
  /** Stops it where it stands: connections stay open, and nothing is answered. */
  halt(): void;
  resume(): void;
  /** Ends the process at once; what it held is gone. */
  kill(): Promise<void>;
}

/** Starts a real redis-server that keeps nothing on disk; on `port`, or a free one. */
export async function startRedis(port?: number): Promise<RedisServer> {
  const chosen = port ?? await freePort();
  const child = spawn('redis-server', ['--port', String(chosen), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], { stdio: 'ignore' });
  const ended = new Promise<void>((done) => child.on('close', () => done()));
  while (!await answers(chosen)) await new Promise((done) => setTimeout(done, 20));
  return {
    port: chosen,
    halt: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function answers(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      done(true);
    });
    socket.on('error', () => done(false));
  });
}
