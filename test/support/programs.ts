import type { ChildProcess } from 'node:child_process';
import { connect, createServer } from 'node:net';

/** Resolves once a program listens; rejects when it ends before, or takes ten seconds. */
export async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (let attempt = 0; !await answers(port); attempt++) {
    if (attempt === 200 || child.exitCode !== null) throw new Error(`${child.spawnfile} does not listen`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** A port that nobody listened on a moment ago, for programs that cannot choose one themselves. */
export function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

function answers(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      done(true);
    });
    socket.on('error', () => done(false));
  });
}
