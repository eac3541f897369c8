import type { Server } from 'node:net';

/** Binds with SO_REUSEPORT, as every thread does; resolves with the port. A server that was closed is bound again, its open connections going on. */
export function bindShared(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, reusePort: true, backlog: 4096 }, () => {
      server.off('error', reject);
      server.on('error', noop);
      resolve((server.address() as { port: number }).port);
    });
  });
}

function noop(): void {
  // A server without an error handler ends the process.
}
