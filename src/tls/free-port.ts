import { createServer } from 'node:net';

/**
 * Rejects when a port is taken (EADDRINUSE) or may not be bound. Threads bind theirs with SO_REUSEPORT, which would quietly
 * share the port with another gateway that knows another deny list; this bind does not share.
 */
export function assertFreePort(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve()));
  });
}
