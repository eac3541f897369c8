import { request } from 'node:https';
import type { Issued } from '../../src/ca/issue.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Record<string, unknown>;
}

export interface Call {
  readonly port: number;
  /** PEM that the server is verified by. */
  readonly trust: string;
  readonly client?: Issued;
  readonly serverName?: string;
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Sent as JSON. */
  readonly json?: unknown;
}

/** One request on a connection of its own; rejects when TLS or the connection fails. */
export function call({ port, trust, client, serverName = 'localhost', method, path, headers = {}, body, json }: Call): Promise<Answer> {
  const content = json === undefined ? body : JSON.stringify(json);
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const outgoing = request({
    host: '127.0.0.1', port, servername: serverName, ca: trust, agent: false, method: method ?? (content === undefined ? 'GET' : 'POST'), path,
    headers: { ...(json === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(client === undefined ? {} : { cert: client.chain, key: client.key }),
  }, (response) => {
    response.toArray().then((chunks: Buffer[]) => {
      const text = Buffer.concat(chunks).toString('utf8');
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown> });
    }).catch(reject);
  });
  outgoing.on('error', reject);
  outgoing.end(content);
  return promise;
}
