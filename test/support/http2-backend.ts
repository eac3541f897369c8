import { createSecureServer, type Http2SecureServer, type IncomingHttpHeaders, type SecureServerOptions, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { TestPki } from './pki.ts';

/** A request as an upstream saw it that speaks HTTP/2. */
export interface Http2Seen {
  readonly headers: IncomingHttpHeaders;
  readonly raw: readonly string[];
}

export interface Http2Backend {
  readonly port: number;
  readonly seen: Http2Seen[];
  /** Every connection that was made, the closed ones too. */
  readonly sessions: ServerHttp2Session[];
  close(): Promise<void>;
}

/** An upstream that speaks HTTP/2 alone and demands the gateway's certificate; `answer` gets each stream. */
export function startHttp2Backend(pki: TestPki, answer: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void, options: SecureServerOptions = {}): Promise<Http2Backend> {
  const seen: Http2Seen[] = [];
  const sessions: ServerHttp2Session[] = [];
  const server: Http2SecureServer = createSecureServer({
    cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true, ...options,
  });
  server.on('session', (session) => {
    sessions.push(session);
    session.on('error', () => undefined);
  });
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, raw: unknown) => {
    stream.on('error', () => undefined);
    seen.push({ headers, raw: raw as string[] });
    answer(stream, headers);
  });
  return new Promise((done) => server.listen(0, '127.0.0.1', () => done({
    port: (server.address() as { port: number }).port, seen, sessions,
    close: () => new Promise((closed) => {
      server.close(() => closed());
      for (const session of sessions) session.destroy();
    }),
  })));
}

/** The `upstreams` part of a configuration: one that speaks HTTP/2. */
export function http2Upstream(port: number, more = ''): string {
  return `
  records:
    endpoints: ["https://127.0.0.1:${port}"]
    protocol: h2
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }${more}`;
}

/** Sends back what comes. */
export function echo(stream: ServerHttp2Stream): void {
  stream.respond({ ':status': 200 });
  stream.pipe(stream);
}
