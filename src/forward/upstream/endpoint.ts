import { Agent } from 'node:https';
import { TLSSocket, type ConnectionOptions } from 'node:tls';
import { hashOf } from './balance.ts';
import { isOpen, noTime, setStage, tooMany } from './connect-fault.ts';
import { dial } from './dial.ts';
import { SocketPool } from './sockets.ts';
import type { LastFault } from './upstream.ts';

/** One address of an endpoint, with the connections that one thread has to it. */
export interface UpstreamEndpoint {
  /** The endpoint as it is configured. */
  readonly url: URL;
  /** What records and the status call it: the URL, and the address where the URL has a name. */
  readonly name: string;
  /** Pooled connections for Node's HTTP client. */
  readonly agent: Agent;
  /** Pooled connections for those who frame messages themselves. */
  readonly sockets: SocketPool;
  /** True once no connection is to be kept any more: the configuration or the name's addresses have changed. */
  readonly retired: boolean;
  /** How a connection is made: where to, under which name, by which trust; always verified. */
  connectOptions(): ConnectionOptions;
  /**
   * A connection of its own: verified before `secureConnect`, destroyed when that takes too long, its TLS session resumed from
   * one of this upstream only, and counted. Beyond the limit it is one that fails at once. It has an error handler; what the
   * error means says `connectFault`. `preface` goes in front of TLS.
   */
  open(extra?: ConnectionOptions, preface?: Buffer): TLSSocket;
  /** Has `closeIdle` called whenever kept connections are not to be used any more: the address is out, or retired. */
  whenDropped(closeIdle: () => void): void;
}

export interface EndpointOptions {
  readonly url: URL;
  readonly name: string;
  readonly slot: number;
  /** Its number in the configuration. */
  readonly index: number;
  readonly weight: number;
  readonly connectOptions: () => ConnectionOptions;
  /** Milliseconds a connection may take to open, TLS included, and an unused one is kept. */
  readonly connectTime: number;
  readonly idleTime: number;
  /** Connections that this thread may have to the address. */
  readonly mostConnections: number;
  /** Called when that was too few. */
  readonly refused: () => void;
}

/** Idle connections kept to one address by one thread. */
const MOST_IDLE = 256;
/** How long after its certificate was last verified an upstream's sessions are resumed: a resumption shows no certificate. */
const SESSION_MS = 3_600_000;

/** A session that can be resumed, and until when: ms since the epoch. */
interface KeptSession {
  readonly session: Buffer;
  readonly until: number;
}

/** An address of an endpoint as one thread sees it. */
export class Endpoint implements UpstreamEndpoint {
  readonly url: URL;
  readonly name: string;
  readonly slot: number;
  readonly index: number;
  readonly weight: number;
  /** Its place in rendezvous hashing: the same on every thread, replica and start. */
  readonly seed: number;
  readonly agent: Agent;
  readonly sockets: SocketPool;
  retired = false;
  /** Why a request failed here last. */
  fault: LastFault | undefined;
  readonly #options: EndpointOptions;
  readonly #open = new Set<TLSSocket>();
  readonly #closers: (() => void)[] = [];
  #session: KeptSession | undefined;

  constructor(options: EndpointOptions) {
    this.url = options.url;
    this.name = options.name;
    this.slot = options.slot;
    this.index = options.index;
    this.weight = options.weight;
    this.seed = hashOf(options.name);
    this.#options = options;
    // Without a servername of its own it would keep connections apart by the Host fields of clients.
    this.agent = new Agent({ keepAlive: true, maxFreeSockets: MOST_IDLE, scheduling: 'lifo', timeout: options.idleTime, servername: '' });
    this.agent.createConnection = (_options, callback) => {
      const socket = this.#dial({});
      if (socket === undefined) callback?.(tooMany(), undefined as never);
      return socket;
    };
    this.sockets = new SocketPool((extra) => this.open(extra), options.idleTime);
  }

  connectOptions(): ConnectionOptions {
    return this.#options.connectOptions();
  }

  open(extra: ConnectionOptions = {}, preface?: Buffer): TLSSocket {
    return this.#dial(extra, preface) ?? refusedSocket();
  }

  #dial(extra: ConnectionOptions, preface?: Buffer): TLSSocket | undefined {
    if (!this.#hasRoom()) {
      this.#options.refused();
      return undefined;
    }
    const { connectTime } = this.#options;
    const kept = this.#session;
    const resumable = kept !== undefined && kept.until > Date.now() ? kept : undefined;
    const socket = dial({ ...this.connectOptions(), ...(resumable === undefined ? {} : { session: resumable.session }), ...extra }, preface);
    let verifiedUntil = 0;
    // In TLS 1.2 it comes before the connection is verified.
    let early: Buffer | undefined;
    setStage(socket, 'opening');
    this.#open.add(socket);
    const timer = setTimeout(() => socket.destroy(noTime()), connectTime);
    socket.on('error', () => {
      if (!isOpen(socket) && socket.authorizationError) setStage(socket, 'unverified');
    });
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      setStage(socket, 'open');
      const certificate = socket.getPeerX509Certificate();
      verifiedUntil = socket.isSessionReused() ? resumable?.until ?? 0 : Math.min(Date.now() + SESSION_MS, certificate?.validToDate.getTime() ?? 0);
      this.#keep(early, verifiedUntil);
      early = undefined;
    });
    socket.on('session', (session) => {
      if (isOpen(socket)) this.#keep(session, verifiedUntil);
      else early = session;
    });
    socket.once('close', () => {
      clearTimeout(timer);
      this.#open.delete(socket);
      // A session that the other side stumbles over would keep every connection from opening.
      if (!isOpen(socket)) this.#session = undefined;
    });
    return socket;
  }

  whenDropped(closeIdle: () => void): void {
    this.#closers.push(closeIdle);
  }

  /** Closes idle connections: whatever put the address out may have left them useless. */
  drop(): void {
    for (const sockets of Object.values(this.agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
    this.sockets.drop();
    for (const closeIdle of this.#closers) closeIdle();
  }

  /** The same for good; busy connections close when their request is done. */
  retire(): void {
    this.retired = true;
    this.#session = undefined;
    (this.agent as Agent & { maxFreeSockets: number }).maxFreeSockets = 0;
    this.sockets.retire();
    this.drop();
  }

  #keep(session: Buffer | undefined, until: number): void {
    if (session !== undefined && until > Date.now() && !this.retired) this.#session = { session, until };
  }

  #hasRoom(): boolean {
    const { mostConnections } = this.#options;
    if (this.#open.size < mostConnections) return true;
    // Idle ones, of whichever kind, give way. They are gone from the set only when they have closed.
    this.drop();
    let open = 0;
    for (const socket of this.#open) if (!socket.destroyed) open++;
    return open < mostConnections;
  }
}

/** A connection that was never made: whoever waits for it hears so like of any other that fails. */
function refusedSocket(): TLSSocket {
  const socket = new TLSSocket(undefined as never);
  setStage(socket, 'opening');
  socket.on('error', () => undefined);
  socket.destroy(tooMany());
  return socket;
}
