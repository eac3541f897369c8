import { createServer, type Server, type Socket } from 'node:net';

/** A listening address on one thread. */
export interface Port {
  /**
   * Binds with SO_REUSEPORT, so that each thread binds the same port; or, where sockets are `inherited` from the process before, accepts from those: what
   * waits in their queues waits for us. Resolves with the port.
   */
  listen(host: string, port: number, inherited?: readonly number[]): Promise<number>;
  /** The file descriptors it listens on. */
  descriptors(): readonly number[];
  /** Stops accepting; it may listen again. Where another process holds a socket as well, what waits in its queue goes on waiting for that one. */
  close(): void;
}

export interface PortOptions {
  readonly allowHalfOpen?: boolean;
  readonly accept: (socket: Socket) => void;
}

const BACKLOG = 4096;

export function createPort({ allowHalfOpen = false, accept }: PortOptions): Port {
  const servers: Server[] = [];

  function open(where: { readonly fd: number } | { readonly host: string; readonly port: number; readonly reusePort: true }): Promise<number> {
    const server = createServer({ noDelay: true, allowHalfOpen }, accept);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ ...where, backlog: BACKLOG }, () => {
        server.off('error', reject);
        server.on('error', noop);
        servers.push(server);
        resolve((server.address() as { port: number }).port);
      });
    });
  }

  return {
    async listen(host, port, inherited = []) {
      const [first = 0] = await Promise.all(inherited.length === 0 ? [open({ host, port, reusePort: true })] : inherited.map((fd) => open({ fd })));
      return first;
    },
    descriptors: () => servers.map(descriptorOf).filter((fd) => fd >= 0),
    close() {
      for (const server of servers.splice(0)) server.close();
    },
  };
}

/** Node has no public name for it. */
function descriptorOf(server: Server): number {
  return (server as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
}

function noop(): void {
  // What goes wrong with one connection as it is accepted is no fault of the port.
}
