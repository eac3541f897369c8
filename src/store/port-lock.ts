import { createServer, type Server } from 'node:net';

export interface PortLocks {
  /** Rejects while another gateway of this machine has the address; else it is ours until `release`. */
  take(host: string, port: number): Promise<void>;
  release(): void;
}

/**
 * Locks on listening addresses: an abstract Unix socket for each, in the same network namespace as the port, gone with the
 * process. Looking whether a port is free is not enough: two gateways that start together would both find it so.
 */
export function createPortLocks(): PortLocks {
  const held = new Map<string, Server>();
  let released = false;
  return {
    take(host, port) {
      const name = `wardgate ${host}:${port}`;
      if (released) return Promise.reject(new Error('the gateway is stopping'));
      if (held.has(name)) return Promise.resolve();
      return new Promise((resolve, reject) => {
        const server = createServer((socket) => socket.destroy());
        server.once('error', (error: NodeJS.ErrnoException) => reject(error.code === 'EADDRINUSE' ? new Error(`${host}:${port}: another gateway has this address (EADDRINUSE)`) : error));
        server.listen(`\0${name}`, () => {
          server.unref();
          // Who released them all would keep this one for good, and nobody else could serve there.
          if (released) return server.close(() => reject(new Error('the gateway is stopping')));
          held.set(name, server);
          resolve();
        });
      });
    },
    release() {
      released = true;
      for (const server of held.values()) server.close();
      held.clear();
    },
  };
}
