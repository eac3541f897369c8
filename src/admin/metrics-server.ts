import { createServer } from 'node:http';
import type { Address } from '../config/schema.ts';

export interface MetricsSources {
  /** The Prometheus text of the whole process. */
  scrape(): Promise<string>;
  /** Why the gateway is not ready; empty when it is. */
  ready(): Promise<readonly string[]>;
}

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Serves /metrics, /healthz (the process lives) and /readyz (it can serve and record), plain HTTP, GET and HEAD only. */
export async function openMetricsServer(address: Address, sources: MetricsSources): Promise<MetricsServer> {
  const pages: Readonly<Record<string, () => Promise<{ status: number; type: string; text: string }>>> = {
    '/metrics': async () => ({ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', text: await sources.scrape() }),
    '/healthz': async () => ({ status: 200, type: 'text/plain', text: 'ok\n' }),
    '/readyz': async () => {
      const faults = await sources.ready();
      return faults.length === 0 ? { status: 200, type: 'text/plain', text: 'ready\n' } : { status: 503, type: 'text/plain', text: `${faults.join('\n')}\n` };
    },
  };
  const server = createServer({ headersTimeout: 5_000, requestTimeout: 5_000, keepAliveTimeout: 5_000 }, (request, response) => {
    const page = request.method === 'GET' || request.method === 'HEAD' ? pages[request.url ?? ''] : undefined;
    if (page === undefined) return void response.writeHead(404).end();
    page().then(
      ({ status, type, text }) => response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(text),
      (error: Error) => response.writeHead(503, { 'content-type': 'text/plain' }).end(`${error.message}\n`),
    );
  });
  server.maxConnections = 64;
  server.on('clientError', (_error, socket) => socket.destroy());
  await new Promise<void>((done, failed) => {
    server.once('error', failed);
    server.listen(address.port, address.host, () => {
      server.off('error', failed);
      done();
    });
  });
  return {
    port: (server.address() as { port: number }).port,
    close: () => new Promise((done) => {
      server.close(() => done());
      server.closeAllConnections();
    }),
  };
}
