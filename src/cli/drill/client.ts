import { connect, type TLSSocket } from 'node:tls';
import type { Issued } from '../../ca/issue.ts';
import type { Staging } from './staging.ts';
import type { Visit } from './staged-config.ts';

/** What became of a request. */
export interface Answered {
  /** 0: the connection was closed. */
  readonly status: number;
  readonly text: string;
}

const ASK_MS = 10_000;

export interface OpenOptions {
  readonly client?: Pick<Issued, 'chain' | 'key'>;
  readonly session?: Buffer;
  /** Hears each session that the connection can be resumed with. From the handshake on: a ticket comes right behind it, and no second time. */
  readonly onSession?: (session: Buffer) => void;
  readonly protocol?: 'https' | 'tcp';
  readonly trust?: string;
}

/** A connection whose handshake is done; undefined where it came to none. */
export function open(staging: Staging, host: string, { client, session, onSession, protocol = 'https', trust = staging.trust }: OpenOptions): Promise<TLSSocket | undefined> {
  const port = staging.port(protocol);
  if (port === undefined) return Promise.resolve(undefined);
  return new Promise((done) => {
    const socket = connect({
      host: '127.0.0.1', port, servername: host, ca: trust, ...(client === undefined ? {} : { cert: client.chain, key: client.key }), ...(session === undefined ? {} : { session }),
      ...(protocol === 'tcp' ? {} : { ALPNProtocols: ['http/1.1'] }),
    }, () => done(socket));
    if (onSession !== undefined) socket.on('session', onSession);
    socket.setTimeout(ASK_MS, () => socket.destroy());
    socket.on('error', () => undefined).on('close', () => done(undefined));
  });
}

/** Asks on an open connection, and leaves it open. */
export function askOn(socket: TLSSocket | undefined, { method, path, host }: Pick<Visit, 'method' | 'path' | 'host'>, fields = ''): Promise<Answered> {
  if (socket === undefined || socket.destroyed) return Promise.resolve({ status: 0, text: '' });
  return new Promise((done) => {
    let text = '';
    const finish = (): void => {
      socket.off('data', take).off('close', finish);
      done({ status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text });
    };
    const take = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      if (isWhole(text)) finish();
    };
    socket.on('data', take).on('close', finish);
    socket.write(`${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${fields}${method === 'POST' || method === 'PUT' || method === 'PATCH' ? 'Content-Length: 0\r\n' : ''}\r\n`);
  });
}

/** Asks on a connection of its own. */
export async function ask(staging: Staging, visit: Pick<Visit, 'method' | 'path' | 'host'>, options: OpenOptions, fields = ''): Promise<Answered> {
  const socket = await open(staging, visit.host, options);
  try {
    return await askOn(socket, visit, fields);
  } finally {
    socket?.destroy();
  }
}

export function closed(socket: TLSSocket | undefined): Promise<void> {
  if (socket === undefined || socket.destroyed) return Promise.resolve();
  socket.resume();
  return new Promise((done) => void socket.once('close', () => done()));
}

function isWhole(text: string): boolean {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const head = text.slice(0, end);
  if (head.startsWith('HTTP/1.1 101')) return true;
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) return text.length >= end + 4 + Number(length);
  return /\r\ntransfer-encoding: *chunked/i.test(head) ? text.endsWith('\r\n0\r\n\r\n') : /^HTTP\/1\.1 (204|304)/.test(head);
}
