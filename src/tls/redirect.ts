import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { resolve } from 'node:path';
import type { RedirectListenerConfig } from '../config/schema.ts';
import { checkFields } from '../forward/headers.ts';
import { parseHost } from '../policy/host.ts';
import { unmapped } from '../policy/networks.ts';
import { parseTarget } from '../policy/target.ts';
import { challengeAnswer } from './challenge-answer.ts';
import { descriptorOf, type ConnectionLimit, type Door } from './door.ts';
import { createPort } from './port.ts';

export interface RedirectListener {
  /** See `Port`. */
  listen(host: string, port: number, inherited?: readonly number[]): Promise<number>;
  descriptors(): readonly number[];
  /** Stops accepting until it listens again. */
  pause(): void;
  /** Connections that came after `since` (ms, monotonic): each is for one answer. */
  arriving(since: number): number;
  /** Stops accepting; who has come is answered. */
  close(): void;
}

export interface RedirectOptions {
  readonly config: RedirectListenerConfig;
  /** Of the configuration, to which its paths are relative. */
  readonly directory: string;
  readonly door: Door;
  /** Whether nobody from an address is let in. */
  readonly isolated: (address: string) => boolean;
  readonly turnedAway: (limit: ConnectionLimit, address: string) => void;
  readonly answered: (status: number) => void;
}

/** How late Node may notice that a request takes too long. */
const CLOCK_MS = 1_000;

/** The plain-HTTP port: 308 to https for requests that https would take, 400 or nothing for the rest, and the answers to an ACME CA's challenges where there are any; it knows no upstream. */
export function createRedirectListener({ config, directory, door, isolated, turnedAway, answered }: RedirectOptions): RedirectListener {
  const { limits } = config;
  const webroot = config.webroot === undefined ? undefined : resolve(directory, config.webroot);
  const served = new WeakSet<Socket>();
  /** When each open connection came. */
  const arrivals = new Map<Socket, number>();
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    // The connection ends with its first answer: what is pipelined behind it gets none.
    if (served.has(request.socket)) return;
    served.add(request.socket);
    answered(redirect(request, response, config, webroot));
  };
  const http = createServer({
    maxHeaderSize: limits.header_size,
    headersTimeout: limits.header_time,
    requestTimeout: limits.header_time,
    connectionsCheckingInterval: CLOCK_MS,
    requireHostHeader: false,
    insecureHTTPParser: false,
    // Nothing is upgraded here: such a request is one like any other.
    shouldUpgradeCallback: () => false,
  }, answer);
  // Ours counts: see forward/http1.ts.
  http.maxHeadersCount = 0;
  // Nobody's body is asked for.
  http.on('checkContinue', answer);
  http.on('checkExpectation', answer);
  http.on('connect', (_request, socket) => socket.destroy());
  http.on('clientError', (_error, socket) => socket.destroy());
  // A server that never listens itself starts its header clock at this event.
  http.emit('listening');

  const port = createPort({ accept: arrive });

  function arrive(socket: Socket): void {
    socket.on('error', noop);
    const address = unmapped(socket.remoteAddress ?? '');
    const entered = door.enter(descriptorOf(socket));
    if (entered.kind === 'full') return turnAway(socket, entered.limit, address);
    arrivals.set(socket, performance.now());
    socket.on('close', () => {
      arrivals.delete(socket);
      entered.places.leave();
    });
    if (isolated(address)) return turnAway(socket, 'isolated', address);
    if (!entered.places.address(address)) return turnAway(socket, 'address', address);
    http.emit('connection', socket);
  }

  function turnAway(socket: Socket, limit: ConnectionLimit, address: string): void {
    turnedAway(limit, address);
    socket.destroy();
  }

  return {
    listen: port.listen,
    descriptors: port.descriptors,
    pause: port.close,
    arriving: (since) => [...arrivals.values()].filter((at) => at >= since).length,
    close() {
      port.close();
      // Its clocks end with it: not before the last request had its time.
      setTimeout(() => http.close(), limits.header_time + CLOCK_MS).unref();
    },
  };
}

function noop(): void {
  // A socket without an error handler ends the process.
}

/** Answers, and says with which status; the connection ends with it. */
function redirect(request: IncomingMessage, response: ServerResponse, { redirect_port, limits }: RedirectListenerConfig, webroot: string | undefined): number {
  const host = parseHost(request.headers.host ?? '');
  const fields = request.rawHeaders.length / 2;
  // Node's parser takes a line without a version for HTTP/0.9.
  const version = request.httpVersion === '1.1' || request.httpVersion === '1.0';
  const readable = version && checkFields(request.rawHeaders).kind === 'ok' && parseTarget(request.url ?? '').kind === 'target';
  const status = fields > limits.header_fields ? 431 : host.kind === 'malformed' || !readable ? 400 : 308;
  const head = { connection: 'close', 'content-length': 0 };
  const answer = status === 308 && webroot !== undefined ? challengeAnswer(webroot, request.method, request.url) : undefined;
  if (answer !== undefined) {
    response.writeHead(200, { ...head, 'content-length': answer.length, 'content-type': 'application/octet-stream' }).end(answer);
    return 200;
  }
  if (status !== 308 || host.kind === 'malformed') response.writeHead(status, head).end();
  else response.writeHead(308, { ...head, location: `https://${authority(host.name, redirect_port)}${request.url}` }).end();
  return status;
}

function authority(host: string, port: number): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return port === 443 ? name : `${name}:${port}`;
}
