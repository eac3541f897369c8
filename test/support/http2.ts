import { connect, type ClientHttp2Session, type ClientHttp2Stream, type IncomingHttpHeaders, type OutgoingHttpHeaders, type SecureClientSessionOptions } from 'node:http2';
import type { Issued, TestPki } from './pki.ts';

/** An HTTP/2 session with the gateway, by Node's own client, as `localhost`. */
export function openHttp2(pki: TestPki, port: number, options: SecureClientSessionOptions & { readonly client?: Issued } = {}): Promise<ClientHttp2Session> {
  const { client, ...rest } = options;
  return new Promise((done, failed) => {
    const session = connect(`https://localhost:${port}`, {
      // Bodies that wait to be sent count against it.
      maxSessionMemory: 1_000, host: '127.0.0.1', servername: 'localhost', ca: pki.root.certificate, ...(client === undefined ? {} : { cert: client.chain, key: client.key }), ...rest,
    }, () => done(session));
    session.on('error', failed);
  });
}

export interface Http2Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders | undefined;
  readonly body: Buffer;
  /** RST_STREAM code the stream ended with; 0 when it ended well. */
  readonly code: number;
  json(): Record<string, unknown>;
}

export type Http2AskOptions = { readonly method?: string; readonly headers?: OutgoingHttpHeaders; readonly body?: string | Buffer };

/** One request on a session. Resolves when the stream has ended, however; rejects only when nothing was answered. */
export function askHttp2(session: ClientHttp2Session, path: string, { method = 'GET', headers = {}, body }: Http2AskOptions = {}): Promise<Http2Reply> {
  const stream = session.request({ ':method': method, ':path': path, ':authority': 'localhost', ...headers }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return replyOf(stream);
}

export function replyOf(stream: ClientHttp2Stream): Promise<Http2Reply> {
  return new Promise((done, failed) => {
    let head: IncomingHttpHeaders | undefined;
    let trailers: IncomingHttpHeaders | undefined;
    const parts: Buffer[] = [];
    stream.on('response', (headers) => {
      head = headers;
    });
    stream.on('trailers', (headers) => {
      trailers = headers;
    });
    stream.on('data', (part: Buffer) => parts.push(part));
    let error: Error | undefined;
    stream.on('error', (cause: Error) => {
      error = cause;
    });
    stream.on('close', () => {
      if (head === undefined) return failed(error ?? new Error(`the stream ended with ${stream.rstCode} and no answer`));
      const whole = Buffer.concat(parts);
      done({ status: Number(head[':status']), headers: head, trailers, body: whole, code: stream.rstCode ?? 0, json: () => JSON.parse(whole.toString()) as Record<string, unknown> });
    });
  });
}
