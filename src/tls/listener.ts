import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { TlsListenerConfig } from '../config/schema.ts';
import { inNetworks, parseNetwork, unmapped, type Network } from '../policy/networks.ts';
import { readClientHello } from './client-hello.ts';
import type { ContextGroup, ListenerContexts } from './contexts.ts';
import { openConnection, type ClientAddress, type Connection } from './connection.ts';
import { descriptorOf, type ConnectionLimit, type Door, type Places } from './door.ts';
import { createPort } from './port.ts';
import { readProxyHeader } from './proxy-protocol.ts';
import { createTicketServers, type TicketServers } from './ticket-servers.ts';

/** How a handshake ended that brought no connection, for the metrics. */
export type HandshakeFailure = 'protocol_version' | 'no_shared_cipher' | 'misdirected' | 'timeout' | 'reset' | 'alert' | 'proxy_header' | 'other';

export interface TlsListenerOptions {
  readonly config: TlsListenerConfig;
  readonly contexts: ListenerContexts;
  readonly door: Door;
  /** Whether nobody from an address is let in. */
  readonly isolated: (address: string) => boolean;
  /** A connection was closed as it came: there was no place for it. */
  readonly turnedAway: (limit: ConnectionLimit, address: string) => void;
  /** Protocols offered under a configuration; none for streams of any protocol. */
  readonly alpn: (config: TlsListenerConfig) => readonly string[];
  /** Takes a connection after its handshake, before any of its bytes are read. */
  readonly accept: (connection: Connection) => void;
  readonly failed: (failure: HandshakeFailure, address: string) => void;
  readonly durations: (seconds: number) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface TlsListener {
  /** See `Port`. */
  listen(host: string, port: number, inherited?: readonly number[]): Promise<number>;
  descriptors(): readonly number[];
  /** Stops accepting until it listens again. */
  pause(): void;
  /** Swaps certificates, client CAs, ticket keys and limits for handshakes from now on. */
  replace(contexts: ListenerContexts, config: TlsListenerConfig): void;
  /** To be called every so often: ticket keys that are over leave memory. */
  turn(): void;
  /** Connections that came after `since` (ms, monotonic) and whose handshake is not over: their first request is on its way. */
  arriving(since: number): number;
  /** Stops accepting; open connections go on. */
  close(): void;
}

/**
 * A listener that asks for client certificates and refuses none by itself: the verdict comes after the handshake and is
 * ours, on full and resumed connections alike.
 */
export function createTlsListener(options: TlsListenerOptions): TlsListener {
  let { config } = options;
  /** Connections whose handshake is not over, by their addresses and port. */
  const arrivals = new Map<string, Arrival>();
  let { contexts } = options;
  let groups = contexts.groups.map(createGroup);

  function createGroup(group: ContextGroup): TicketServers {
    return createTicketServers(group.tickets, (ticketKey) => createGroupServer(group, ticketKey), options.now);
  }

  /** Never listens: it is given its connections. */
  function createGroupServer(group: ContextGroup, ticketKeys: Buffer): Server {
    const alpn = options.alpn(config);
    const server = createServer({
      ...group.options,
      requestCert: true,
      // why: OpenSSL's verdict hides the cause from both sides and is skipped on resumption; admission decides on every connection.
      rejectUnauthorized: false,
      ticketKeys,
      handshakeTimeout: config.limits.handshake_time,
      ...(alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
      allowHalfOpen: config.protocol === 'tcp',
      SNICallback: (name, callback) => {
        // Nothing may be thrown here: it would take the process (CVE-2026-21637). No context means this server's own.
        if (contexts.knows(name.toLowerCase())) callback(null);
        else callback(new Error(UNKNOWN_NAME));
      },
    });
    const { staple } = group;
    if (staple !== undefined) server.on('OCSPRequest', (_certificate, _issuer, callback: (error: Error | null, answer: Buffer | null) => void) => callback(null, staple() ?? null));
    server.on('secureConnection', secured);
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      options.failed(classify(error), socket.remoteAddress ?? '');
      // Node reports a handshake that takes too long and leaves its connection open. The delay is for alerts on their way.
      if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') socket.destroy();
      else setTimeout(() => socket.destroy(), ALERT_MS).unref();
    });
    return server;
  }

  let balancers = balancersOf(config);
  const port = createPort({ allowHalfOpen: config.protocol === 'tcp', accept: arrive });

  function arrive(socket: Socket): void {
    socket.on('error', noop);
    const entered = options.door.enter(descriptorOf(socket));
    if (entered.kind === 'full') return turnAway(socket, entered.limit);
    const { places } = entered;
    const key = addressKey(socket);
    arrivals.set(key, { at: performance.now(), socket, places });
    socket.on('close', () => {
      arrivals.delete(key);
      places.leave();
    });
    const address = unmapped(socket.remoteAddress ?? '');
    if (balancers !== undefined && inNetworks(address, balancers)) return readProxy(socket);
    if (options.isolated(address)) return turnAway(socket, 'isolated', address);
    if (!places.address(address)) return turnAway(socket, 'address', address);
    route(socket);
  }

  function turnAway(socket: Socket, limit: ConnectionLimit, address = unmapped(socket.remoteAddress ?? '')): void {
    options.turnedAway(limit, address);
    socket.destroy();
  }

  /** One that is still in its handshake: a balancer is spared, whoever it speaks for is not. */
  function isIsolated({ remoteAddress = '' }: Socket, from: ClientAddress | undefined): boolean {
    if (from !== undefined) return options.isolated(from.address);
    return !(balancers !== undefined && inNetworks(remoteAddress, balancers)) && options.isolated(remoteAddress);
  }

  /** From a balancer: its header comes first, and says whom it speaks for. The balancer itself is not counted by its address. */
  function readProxy(socket: Socket): void {
    readFirst(socket, readProxyHeader, (header, octets) => {
      if (header.kind === 'malformed') return fail(socket, 'proxy_header');
      const arrival = arrivals.get(addressKey(socket));
      if (arrival !== undefined && header.kind === 'header' && header.address !== undefined) {
        arrival.from = { address: header.address, port: header.port };
        if (options.isolated(header.address)) return turnAway(socket, 'isolated', unmapped(header.address));
        if (!arrival.places.address(header.address)) return turnAway(socket, 'address', unmapped(header.address));
      }
      if (header.kind === 'header' && octets.length > header.length) socket.unshift(octets.subarray(header.length));
      route(socket);
    });
  }

  function route(socket: Socket): void {
    const [only] = groups;
    if (groups.length === 1 && only?.alone() === true) only.serverFor([]).emit('connection', socket);
    else routeByHello(socket);
  }

  /** Reads on until the ClientHello names its server and its tickets, then gives the connection, nothing consumed, to the server of that name that knows them. */
  function routeByHello(socket: Socket): void {
    readFirst(socket, readClientHello, (hello, octets) => {
      // With one group its server says what becomes of a name that is not ours.
      const group = hello.kind === 'hello' && hello.serverName !== undefined && contexts.byName ? contexts.select(hello.serverName) : 0;
      if (group === undefined) return fail(socket, 'misdirected');
      socket.unshift(octets);
      const serving = hello.kind === 'hello' && hello.status !== undefined ? contexts.stapled(group, hello.status) : group;
      groups[serving]?.serverFor(hello.kind === 'hello' ? hello.tickets : []).emit('connection', socket);
    });
  }

  /** Collects the first octets of a connection until they can be read, within the time of a handshake. */
  function readFirst<Result extends { readonly kind: string }>(socket: Socket, read: (octets: Buffer) => Result, done: (result: Result, octets: Buffer) => void): void {
    const timer = setTimeout(() => fail(socket, 'timeout'), config.limits.handshake_time);
    const stop = (): void => {
      clearTimeout(timer);
      socket.off('readable', look);
      socket.off('end', end);
      socket.off('close', stop);
    };
    const end = (): void => void socket.destroy();
    let octets = Buffer.alloc(0);
    function look(): void {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) octets = Buffer.concat([octets, chunk]);
      const result = read(octets);
      if (result.kind === 'incomplete') return;
      stop();
      done(result, octets);
    }
    socket.on('readable', look);
    socket.on('end', end);
    socket.on('close', stop);
  }

  function fail(socket: Socket, failure: HandshakeFailure): void {
    options.failed(failure, socket.remoteAddress ?? '');
    socket.destroy();
  }

  function secured(socket: TLSSocket): void {
    socket.on('error', noop);
    const key = addressKey(socket);
    const arrival = arrivals.get(key);
    // Its connection has closed already.
    if (arrival === undefined) return void socket.destroy();
    arrivals.delete(key);
    options.durations((performance.now() - arrival.at) / 1000);
    options.accept(openConnection(socket, { listener: config.name, places: arrival.places, transport: arrival.socket, ...(arrival.from === undefined ? {} : { from: arrival.from }) }));
  }

  return {
    listen: port.listen,
    descriptors: port.descriptors,
    pause: port.close,
    replace(next, changed) {
      config = changed;
      contexts = next;
      balancers = balancersOf(config);
      const before = groups;
      groups = next.groups.map(createGroup);
      for (const group of before) group.retire();
    },
    turn() {
      for (const { socket, from } of arrivals.values()) if (isIsolated(socket, from)) turnAway(socket, 'isolated', unmapped(from?.address ?? socket.remoteAddress ?? ''));
      for (const group of groups) group.turn();
    },
    arriving: (since) => [...arrivals.values()].filter(({ at }) => at >= since).length,
    close: () => {
      port.close();
      for (const group of groups) group.retire();
    },
  };
}

/** A connection before its handshake is over: `from` is where a balancer says it comes from. */
interface Arrival {
  readonly at: number;
  readonly socket: Socket;
  readonly places: Places;
  from?: ClientAddress;
}

/** How long a failed handshake's alert may take to leave. */
const ALERT_MS = 1_000;

const UNKNOWN_NAME = 'wardgate: unknown server name';

function balancersOf(config: TlsListenerConfig): readonly Network[] | undefined {
  return config.proxy_protocol?.from.map((range) => parseNetwork(range));
}

function noop(): void {
  // A socket without an error handler ends the process; what matters shows when it closes.
}

function addressKey(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress}`;
}

function classify(error: NodeJS.ErrnoException): HandshakeFailure {
  if (error.message === UNKNOWN_NAME) return 'misdirected';
  switch (error.code) {
    case 'ERR_SSL_UNSUPPORTED_PROTOCOL':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_VERSION_TOO_LOW':
      return 'protocol_version';
    case 'ERR_SSL_NO_SHARED_CIPHER':
    case 'ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM':
    case 'ERR_SSL_NO_SHARED_SIGNATURE_ALGORITHMS':
      return 'no_shared_cipher';
    case 'ERR_TLS_HANDSHAKE_TIMEOUT':
      return 'timeout';
    case 'ECONNRESET':
    case 'EPIPE':
      return 'reset';
    default:
      return error.code?.startsWith('ERR_SSL_TLSV1_ALERT') || error.code?.startsWith('ERR_SSL_SSLV3_ALERT') ? 'alert' : 'other';
  }
}
