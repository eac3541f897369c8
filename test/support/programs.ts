import type { ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { connect, createServer } from 'node:net';

/** Resolves once a program listens; rejects when it ends before, or takes ten seconds. */
export async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (let attempt = 0; !await answers(port); attempt++) {
    if (attempt === 200 || child.exitCode !== null) throw new Error(`${child.spawnfile} does not listen`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/**
 * A port that nobody listens on, for what listens there later, or again: not one of those that the system gives to whoever asks for any
 * (ip_local_port_range begins at 32768), of which another test has got one meanwhile.
 */
export async function freePort(address = '127.0.0.1'): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    if (await isFree(port, address)) return port;
  }
}

function isFree(port: number, address: string): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer().once('error', () => done(false)).listen(port, address, () => server.close(() => done(true)));
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
