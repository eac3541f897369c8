import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { freePort } from './programs.ts';

/** A distribution point whose files and behaviour can be changed between requests. */
export interface DistributionPoint {
  /** Of a file on it. */
  url(name: string): string;
  /** By name; replaced files get another ETag. */
  readonly files: Map<string, Buffer>;
  /** The requests so far: method, path (a whole URL when it came as to a proxy) and headers. */
  readonly requests: { readonly url: string; readonly headers: NodeJS.Dict<string | string[]>; readonly status: number }[];
  /** Answers instead; by default files are served with an ETag, and 304 when it is still right. */
  instead: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  /** Takes it off the net, and brings it back on the same port. */
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** Serves files over plain HTTP on loopback, for names of its own too when it is used as a proxy. */
export async function startDistributionPoint(files: Readonly<Record<string, Buffer>> = {}): Promise<DistributionPoint> {
  // Nobody else may have it while it is stopped.
  const port = await freePort();
  let server = createServer();
  const point: DistributionPoint = {
    url: (name) => `http://127.0.0.1:${port}/${name}`,
    files: new Map(Object.entries(files)), requests: [], instead: undefined,
    async start() {
      server = createServer(serve);
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    },
    async stop() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  await point.start();
  return point;

  function serve(request: IncomingMessage, response: ServerResponse): void {
    const path = new URL(request.url ?? '/', 'http://127.0.0.1').pathname;
    response.on('close', () => point.requests.push({ url: request.url ?? '', headers: request.headers, status: response.statusCode }));
    if (point.instead !== undefined) return point.instead(request, response);
    const file = point.files.get(path.slice(1));
    const etag = file === undefined ? '' : `"${Buffer.from(file.subarray(-12)).toString('hex')}"`;
    if (file === undefined) response.writeHead(404).end();
    else if (request.headers['if-none-match'] === etag) response.writeHead(304, { etag }).end();
    else response.writeHead(200, { etag, 'content-type': 'application/pkix-crl' }).end(file);
  }
}
