import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';

export interface Bound {
  readonly port: number;
  /** Stops listening and ends open connections; calling it again does nothing. */
  close(): Promise<void>;
}

interface Closable extends Server {
  closeAllConnections?(): void;
}

/** Binds a server on loopback. Port 0 takes a free one; rejects with the system's error, e.g. EADDRINUSE. */
export async function listen(server: Closable, port: number): Promise<Bound> {
  server.listen({ host: '127.0.0.1', port });
  await once(server, 'listening');
  const address = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections?.();
    await closed;
  };
  return { port: address.port, close };
}

/**
 * A port of loopback that is free now and none of `spoken`: `wanted`, or any other when that is taken on IPv4 or IPv6 (`localhost` may be either). A probe
 * without SO_REUSEPORT also sees a port that another process shares, which the gateway's own bind would silently join.
 */
export async function freePort(wanted: number, spoken: readonly number[] = []): Promise<number> {
  const free = wanted !== 0 && !spoken.includes(wanted) && await bindable(wanted, '127.0.0.1') && await bindable(wanted, '::1');
  if (free) return wanted;
  const probe = await listen(createServer(), 0);
  await probe.close();
  return spoken.includes(probe.port) ? freePort(0, spoken) : probe.port;
}

async function bindable(port: number, host: string): Promise<boolean> {
  const probe = createServer();
  try {
    probe.listen({ host, port, ipv6Only: host === '::1' });
    await once(probe, 'listening');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'EADDRINUSE';
  }
  probe.close();
  await once(probe, 'close');
  return true;
}
