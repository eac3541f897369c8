import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { RedirectListenerConfig } from '../config/schema.ts';
import { parseHost } from '../policy/host.ts';

export interface RedirectListener {
  listen(host: string, port: number): Promise<number>;
  close(): void;
}

/** The plain-HTTP port: 308 to https for requests that name a host, 400 for the rest; it knows no upstream. */
export function createRedirectListener(config: RedirectListenerConfig): RedirectListener {
  const { limits } = config;
  const server = createServer({
    maxHeaderSize: limits.header_size,
    headersTimeout: limits.header_time,
    requestTimeout: limits.header_time,
    keepAliveTimeout: 1_000,
    connectionsCheckingInterval: 1_000,
    requireHostHeader: false,
  }, (request, response) => redirect(request, response, config.redirect_port));
  server.maxConnections = limits.connections;
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('connect', (_request, socket) => socket.destroy());
  return {
    listen: (host, port) => new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, reusePort: true }, () => {
        server.off('error', reject);
        server.on('error', () => undefined);
        resolve((server.address() as { port: number }).port);
      });
    }),
    close() {
      server.close();
      server.closeIdleConnections();
    },
  };
}

function redirect(request: IncomingMessage, response: ServerResponse, port: number): void {
  const host = parseHost(request.headers.host ?? '');
  const path = request.url ?? '';
  response.setHeader('connection', 'close');
  if (host.kind === 'malformed' || !path.startsWith('/') || path.startsWith('//')) {
    response.writeHead(400).end();
    return;
  }
  const name = host.name.includes(':') ? `[${host.name}]` : host.name;
  response.writeHead(308, { location: `https://${name}${port === 443 ? '' : `:${port}`}${path}`, 'content-length': 0 }).end();
}
