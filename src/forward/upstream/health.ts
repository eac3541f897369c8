import { connect as connectHttp2 } from 'node:http2';
import { request } from 'node:https';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { HealthConfig } from '../../config/schema.ts';
import { dial } from './dial.ts';

/** What a look at an address found. */
export type Look = { readonly kind: 'well' } | { readonly kind: 'ill'; readonly detail: string };

export interface LookOptions {
  readonly connection: ConnectionOptions;
  /** Octets in front of TLS. */
  readonly preface: Buffer | undefined;
  /** What the upstream speaks; undefined for streams of any protocol. */
  readonly protocol: 'http/1.1' | 'h2' | undefined;
  readonly health: HealthConfig;
  /** The Host field where the configuration names none. */
  readonly host: string;
}

/** Octets of an answer's body that are read; the status has been seen, so the rest does not matter. */
const MOST_OCTETS = 65_536;
/** How long an endpoint that says nothing is waited for before it counts as content. */
const LEAVE_MS = 200;
const AGENT = 'wardgate-health';

/**
 * Looks whether an address works, on a connection of its own whose certificate is verified anew: by a request where the
 * configuration names a path, else by the connection alone. Never rejects, and never takes longer than the timeout.
 */
export function lookAt({ connection, preface, protocol, health, host }: LookOptions): Promise<Look> {
  return new Promise((resolve) => {
    const socket = dial({ ...connection, ...(protocol === 'h2' ? { ALPNProtocols: ['h2'] } : {}) }, preface);
    const done = (look: Look): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(look);
    };
    const ill = (detail: string): void => done({ kind: 'ill', detail });
    const timer = setTimeout(() => ill(`no answer within ${health.timeout} ms`), health.timeout);
    const asked: Asked = {
      socket, path: health.path ?? '/', host: health.host ?? host,
      failed: (error) => ill(`${error.code ?? error.name}: ${error.message}`),
      ill,
      status(status) {
        const good = health.status.some(({ first, last }) => status >= first && status <= last);
        if (!good) ill(`status ${status}`);
        return good;
      },
      well: () => done({ kind: 'well' }),
    };
    socket.on('error', asked.failed);
    socket.on('close', () => ill('the connection was closed'));
    socket.once('secureConnect', () => {
      if (protocol === 'h2' && socket.alpnProtocol !== 'h2') return ill('it does not speak HTTP/2 (ALPN h2)');
      if (health.path === undefined) leave(asked);
      else if (protocol === 'h2') askHttp2(asked);
      else askHttp1(asked);
    });
  });
}

interface Asked {
  readonly socket: TLSSocket;
  readonly path: string;
  readonly host: string;
  failed(error: NodeJS.ErrnoException): void;
  ill(detail: string): void;
  /** Whether the status is one that means it is well. */
  status(status: number): boolean;
  well(): void;
}

/**
 * Ends a connection that was only to be opened. In TLS 1.3 it is open to us before the other side has looked at our
 * certificate: an alert says that it was not good. Its ticket or its end mostly says that it was; a request would show it for sure.
 */
function leave({ socket, well }: Asked): void {
  if (socket.getProtocol() !== 'TLSv1.3') return well();
  const timer = setTimeout(well, LEAVE_MS);
  socket.once('close', () => clearTimeout(timer));
  socket.once('session', well);
  socket.once('end', well);
  socket.resume();
  socket.end();
}

function askHttp1({ socket, path, host, failed, ill, status, well }: Asked): void {
  const asking = request({ method: 'GET', path, headers: { host, 'user-agent': AGENT, accept: '*/*', connection: 'close' }, createConnection: () => socket });
  asking.on('error', failed);
  asking.on('upgrade', () => ill('it switched protocols uninvited'));
  asking.on('response', (answer) => {
    if (!status(answer.statusCode ?? 0)) return;
    let octets = 0;
    answer.on('data', (chunk: Buffer) => {
      octets += chunk.length;
      if (octets > MOST_OCTETS) well();
    });
    answer.on('error', failed);
    answer.on('end', () => (answer.complete ? well() : ill('the answer was cut')));
  });
  asking.end();
}

function askHttp2({ socket, path, host, failed, ill, status, well }: Asked): void {
  const session = connectHttp2(`https://${host}`, { createConnection: () => socket, settings: { enablePush: false } });
  session.on('error', failed);
  const stream = session.request({ ':method': 'GET', ':path': path, ':authority': host, 'user-agent': AGENT, accept: '*/*' }, { endStream: true });
  let octets = 0;
  let answered = false;
  stream.on('error', failed);
  stream.on('response', (headers) => {
    answered = status(Number(headers[':status']));
  });
  stream.on('data', (chunk: Buffer) => {
    octets += chunk.length;
    if (octets > MOST_OCTETS) well();
  });
  stream.on('end', () => {
    if (answered && stream.rstCode === 0) well();
    else ill('the answer was cut');
  });
  stream.on('close', () => ill('the stream was reset'));
}
