import { connect, type Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { listen } from './backend.ts';
import { openTls, startGateway, type GatewayParts, type TestGateway } from './gateway.ts';
import type { Issued, TestPki } from './pki.ts';

/** An upstream for streams that keeps the connections it has taken and the octets of each. */
export interface StreamBackend {
  readonly port: number;
  readonly accepted: TLSSocket[];
  /** The connections below TLS, in the same order when they come one by one. */
  readonly raw: Socket[];
  /** What each connection has said so far. */
  received(index: number): Buffer;
  close(): void;
}

/** Starts an upstream that demands the gateway's certificate; each half of a connection ends by itself. */
export async function startStreamBackend(pki: TestPki, serve: (socket: TLSSocket) => void): Promise<StreamBackend> {
  const accepted: TLSSocket[] = [];
  const said: Buffer[][] = [];
  const options = { cert: pki.backendServer.chain, key: pki.backendServer.key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true, allowHalfOpen: true, noDelay: true };
  const server: Server = createServer(options, (socket) => {
    const parts: Buffer[] = [];
    accepted.push(socket);
    said.push(parts);
    socket.on('error', () => undefined);
    const { push } = socket;
    // Kept as it is read, whoever reads it: a listener for data would start the flow.
    socket.push = (chunk: Buffer | null, ...rest: never[]): boolean => {
      if (chunk !== null) parts.push(chunk);
      return push.call(socket, chunk, ...rest);
    };
    serve(socket);
  });
  const raw: Socket[] = [];
  server.on('connection', (socket) => raw.push(socket));
  const port = await listen(server);
  return {
    port, accepted, raw,
    received: (index) => Buffer.concat(said.at(index) ?? []),
    close() {
      for (const socket of accepted) socket.destroy();
      server.close();
    },
  };
}

export interface StreamParts extends Omit<GatewayParts, 'listeners' | 'upstreams' | 'routes'> {
  /** Keys of the listener beside the usual ones, as YAML in a flow mapping. */
  readonly listener?: string;
  /** Further keys of the upstream, as YAML in a block. */
  readonly upstream?: string;
}

/** The configuration parts of a gateway whose one listener carries streams of devices. */
export function streamParts(port: number, { listener = '', upstream = '', ...rest }: StreamParts = {}): GatewayParts {
  return {
    ...rest,
    listeners: `
  - { name: stream, address: "127.0.0.1:0", protocol: tcp, tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] },
      client_auth: { trust: [root.pem], intermediates: [issuing.pem] }, allow: [device], upstream: peer${listener === '' ? '' : `, ${listener}`} }`,
    routes: '[]',
    upstreams: `
  peer:
    endpoints: ["tls://127.0.0.1:${port}"]
    tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal }
${upstream}`,
  };
}

/** Starts a gateway whose one listener carries streams. */
export function startStreamGateway(pki: TestPki, port: number, parts: StreamParts = {}): Promise<TestGateway> {
  return startGateway(pki, port, streamParts(port, parts));
}

/** A connection to a stream listener; each half ends by itself. */
export function openStream(pki: TestPki, gateway: TestGateway, client?: Issued, more: object = {}): Promise<TLSSocket> {
  return openTls(pki, gateway.port, { ...(client === undefined ? {} : { client }), ALPNProtocols: undefined, allowHalfOpen: true, ...more } as never);
}

/** The same over a connection that can be reset under it. */
export async function openResettable(pki: TestPki, gateway: TestGateway, client: Issued): Promise<{ readonly socket: TLSSocket; readonly raw: Socket }> {
  const raw = connect(gateway.port, '127.0.0.1');
  raw.on('error', () => undefined);
  const socket = await openStream(pki, gateway, client, { socket: raw });
  socket.on('error', () => undefined);
  return { socket, raw };
}

/** A device's certificate whose id is the given name. */
export function issueDevice(pki: TestPki, name: string, more: object = {}): Promise<Issued> {
  return pki.issueClient({ subject: [['CN', name], ['OU', 'Devices']], san: { dns: name }, ...more });
}

/** The records of connections, of all threads, in the order of their times. */
export async function connectionRecords(gateway: TestGateway): Promise<readonly Record<string, unknown>[]> {
  const records = (await gateway.records()).filter((record) => record['event'] === 'connection');
  return records.toSorted((a, b) => String(a['time']).localeCompare(String(b['time'])));
}

/** Resolves when the other end says nothing more, by whatever end. */
export function gone(socket: TLSSocket): Promise<void> {
  return new Promise((done) => {
    socket.on('error', () => undefined);
    socket.resume();
    if (socket.readableEnded || socket.destroyed) return done();
    for (const event of ['end', 'close'] as const) socket.once(event, () => done());
  });
}
