import { randomInt } from 'node:crypto';
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
 * without SO_REUSEPORT also sees a port that another process shares, which the gateway's own bind would silently join. Any other is below what systems give
 * to connections and to servers without a port of their own, one of which could have it before it is bound.
 */
export async function freePort(wanted: number, spoken: readonly number[] = []): Promise<number> {
  for (let port = wanted === 0 ? anyPort() : wanted; ; port = anyPort()) {
    if (!spoken.includes(port) && await bindable(port, '127.0.0.1') && await bindable(port, '::1')) return port;
  }
}

function anyPort(): number {
  return randomInt(20_000, 32_000);
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
