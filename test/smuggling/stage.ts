import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { expect } from 'vitest';
import { startRawBackend } from '../support/backend.ts';
import { openTls, startGateway } from '../support/gateway.ts';
import type { Issued, TestPki } from '../support/pki.ts';
import { readAnswers, readRequests, statusOf, valuesOf, type Message } from './reading.ts';

/** The HTTP/1.1 paths of the gateway that every case must come through unharmed. */
export const MODES: readonly { readonly name: string; readonly listenerExtra: string }[] = [
  { name: 'with the fast path', listenerExtra: '    http1: { fast_path: true }\n' },
  { name: 'on the general path alone', listenerExtra: '    http1: { fast_path: false }\n' },
];

/** For what comes soon, if at all. */
export const PATIENCE = { interval: 2, timeout: 20_000 } as const;

export type AuditLine = Readonly<Record<string, unknown>>;

/** One connection as the upstream has it. */
export interface UpstreamConnection {
  readonly socket: TLSSocket;
  /** Every octet received. */
  text: string;
  /** Octets of the requests that have been read whole. */
  read: number;
  closed: boolean;
}

export interface Upstream {
  /** A request has been read whole. */
  answer(request: Message, connection: UpstreamConnection): void;
  /** More octets have come; `connection.text` has them. */
  octets?(connection: UpstreamConnection): void;
  /** Default 5 s. */
  readonly responseTime?: string;
}

export interface Stage {
  readonly port: number;
  readonly connections: readonly UpstreamConnection[];
  /** The records of all requests so far, in the order in which they were written. */
  records(): readonly AuditLine[];
  /** Opens a client's connection. */
  client(who?: Issued): Promise<TLSSocket>;
  /**
   * Asks as another client, on a connection that has been open since the beginning, and throws unless the answer is its own.
   * Returns its request id.
   */
  witness(): Promise<string>;
  stop(): Promise<void>;
}

/** The plain answer to a request: it names the request, so that nobody can get another's unseen. */
export function plainAnswer(request: Pick<Message, 'line' | 'fields'>): string {
  const id = valuesOf(request, 'x-request-id')[0] ?? '';
  const body = `id=${id}`;
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nX-Asked: ${id}\r\n\r\n${request.line.startsWith('HEAD ') ? '' : body}`;
}

/** A gateway with one data-plane thread, so that all its clients share one pool, before an upstream that keeps what it receives. */
export async function openStage(pki: TestPki, listenerExtra: string, upstream: Upstream): Promise<Stage> {
  const connections: UpstreamConnection[] = [];
  const known = new Map<TLSSocket, UpstreamConnection>();
  const backend = await startRawBackend(pki, (socket, text) => {
    let connection = known.get(socket);
    if (connection === undefined) {
      const opened = { socket, text: '', closed: false, read: 0 };
      socket.on('close', () => {
        opened.closed = true;
      });
      connections.push(opened);
      known.set(socket, opened);
      connection = opened;
    }
    connection.text = text;
    upstream.octets?.(connection);
    for (const message of readRequests(text, connection.read).messages) {
      connection.read = message.end;
      upstream.answer(message, connection);
    }
  });
  const gateway = await startGateway(pki, backend.port, {
    threads: 1,
    listenerExtra,
    upstreams: `
  records:
    endpoints: ["https://127.0.0.1:${backend.port}"]
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }
    timeouts: { connect: 5s, response: ${upstream.responseTime ?? '5s'} }`,
  });
  // Resumed handshakes cost a third of full ones, and thousands are made here.
  const sessions = new Map<Issued, Buffer>();
  const client = async (who: Issued = pki.patient): Promise<TLSSocket> => {
    const session = sessions.get(who);
    const socket = await openTls(pki, gateway.port, { client: who, ...(session === undefined ? {} : { session }) });
    socket.on('error', () => undefined);
    socket.on('session', (newer) => sessions.set(who, newer));
    return socket;
  };
  const other = await client(pki.doctor);
  const audit = tail(gateway.path('state/audit'));
  const records = (): readonly AuditLine[] => audit.requests();
  let turn = 0;
  return {
    port: gateway.port, connections, records, client,
    async witness() {
      const path = `/echo/witness-${++turn}`;
      const talk = converse(other);
      other.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      await talk.until(1);
      talk.stop();
      const { messages: [message], rest, detail } = readAnswers(talk.text(), () => 'GET', talk.closed());
      const id = message === undefined ? '' : valuesOf(message, 'x-request-id')[0] ?? '';
      expect({ rest, detail, status: message && statusOf(message), body: message?.body }).toEqual({ rest: 'nothing', detail: '', status: 200, body: `id=${id}` });
      const record = await recorded(records, (one) => one['request_id'] === id);
      expect(record).toMatchObject({ path, result: 'permitted', status: 200, role: 'doctor' });
      return id;
    },
    async stop() {
      other.destroy();
      audit.close();
      await gateway.stop();
      await backend.close();
    },
  };
}

async function recorded(records: () => readonly AuditLine[], wanted: (record: AuditLine) => boolean): Promise<AuditLine | undefined> {
  await expect.poll(() => records().findLast(wanted), PATIENCE).toBeDefined();
  return records().findLast(wanted);
}

/** Reads a growing audit directory, each octet once: what is asked for thousands of times must not wait for the threads of the file system. */
function tail(directory: string): { requests(): readonly AuditLine[]; close(): void } {
  const requests: AuditLine[] = [];
  const segments = new Map<string, { readonly file: number; read: number }>();
  function follow(name: string): void {
    const segment = segments.get(name) ?? { file: openSync(join(directory, name), 'r'), read: 0 };
    segments.set(name, segment);
    const octets = Buffer.alloc(fstatSync(segment.file).size - segment.read);
    if (octets.length === 0) return;
    const end = octets.lastIndexOf('\n', readSync(segment.file, octets, 0, octets.length, segment.read) - 1) + 1;
    segment.read += end;
    const records = octets.toString('utf8', 0, end).split('\n').slice(0, -1).map((line) => JSON.parse(line) as AuditLine);
    requests.push(...records.filter((record) => record['event'] === 'request'));
  }
  return {
    requests() {
      for (const name of readdirSync(directory).filter((file) => file.endsWith('.jsonl')).sort()) follow(name);
      return requests;
    },
    close: () => segments.forEach(({ file }) => closeSync(file)),
  };
}

export interface Conversation {
  /** Everything received so far. */
  text(): string;
  closed(): boolean;
  /** Resolves once that many final answers have come, or something that is none, or the connection is closed. */
  until(answers: number): Promise<void>;
  /** Resolves once anything has come, or the connection is closed. */
  anything(): Promise<void>;
  stop(): void;
}

/** Collects what a client receives; `method` is that of all its requests. */
export function converse(socket: TLSSocket, method = 'GET'): Conversation {
  let text = '';
  let closed = socket.destroyed;
  let wake = (): void => undefined;
  const onData = (chunk: Buffer): void => {
    text += chunk.toString('latin1');
    wake();
  };
  const onEnd = (): void => {
    closed = true;
    wake();
  };
  socket.on('data', onData);
  for (const event of ['end', 'close']) socket.on(event, onEnd);
  const wait = async (enough: () => boolean): Promise<void> => {
    while (!closed && !enough()) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  return {
    text: () => text,
    closed: () => closed,
    until: (answers) => wait(() => {
      const { messages, rest } = readAnswers(text, () => method, closed);
      return rest === 'malformed' || messages.filter((message) => statusOf(message) >= 200).length >= answers;
    }),
    anything: () => wait(() => text !== ''),
    stop() {
      socket.off('data', onData);
      for (const event of ['end', 'close']) socket.off(event, onEnd);
    },
  };
}

/** `single octets`: each is a TLS record of its own, and with that a chunk of its own on the other side. */
export type Pieces = 'in one piece' | 'octet by octet';

export async function send(socket: TLSSocket, octets: string, pieces: Pieces): Promise<void> {
  if (pieces === 'in one piece') return write(socket, octets);
  for (const octet of octets) await write(socket, octet);
}

function write(socket: TLSSocket, octets: string): Promise<void> {
  return new Promise((resolve) => {
    // The gateway may close at any octet; what matters is what it made of those before.
    if (!socket.writable) return resolve();
    socket.write(octets, 'latin1', () => resolve());
  });
}

/** Ends the client's side and waits until the other has done the same. */
export function leave(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) return resolve();
    socket.once('close', () => resolve());
    socket.end();
  });
}
