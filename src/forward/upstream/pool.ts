import { constants } from 'node:crypto';
import { Agent } from 'node:https';
import { isIP } from 'node:net';
import { checkServerIdentity as checkNames, connect, createSecureContext, type ConnectionOptions, type PeerCertificate, type TLSSocket } from 'node:tls';
import type { UpstreamConfig } from '../../config/schema.ts';
import type { UpstreamMaterial } from '../../config/snapshot.ts';
import { retireSessions } from './http2-sessions.ts';
import { SocketPool } from './sockets.ts';

/** One upstream with its pooled connections on this thread. */
export interface Upstream {
  readonly name: string;
  readonly config: UpstreamConfig;
  /** Chooses an endpoint for one request or stream. `key` says whose it is: the client's id, or its address. */
  choose(key: string): Turn | Failed;
  /** A TLS connection of its own, verified, each half to be closed by itself: for streams. */
  connect(key: string): Promise<UpstreamConnection>;
  /** Closes idle connections; busy ones close when their request is done. */
  retire(): void;
}

/** One use of an endpoint, from its choice to its end. */
export interface Turn {
  readonly kind: 'turn';
  readonly endpoint: UpstreamEndpoint;
  /** Says how it went, once it is known: the next choices depend on it. */
  done(result: TurnResult): void;
}

/** `answered`: a whole answer, whatever its status. `abandoned`: the client left, or a limit of ours ended it. */
export type TurnResult = 'answered' | 'failed' | 'timeout' | 'abandoned';

export interface Failed {
  readonly kind: 'failed';
  readonly code: 'upstream_unavailable' | 'upstream_timeout' | 'overloaded';
  readonly detail: string;
}

export interface UpstreamEndpoint {
  readonly url: URL;
  /** Pooled connections for Node's HTTP client. */
  readonly agent: Agent;
  /** Pooled connections for those who frame messages themselves. */
  readonly sockets: SocketPool;
  /** How a connection is made: where to, under which name, by which trust; always verified. */
  connectOptions(): ConnectionOptions;
}

export type UpstreamConnection =
  | { readonly kind: 'connected'; readonly socket: TLSSocket; readonly turn: Turn }
  | Failed;

/** Idle connections kept to one endpoint by one thread. */
const IDLE_CONNECTIONS = 256;

/**
 * The pool of one upstream: always verified, against the configured trust alone, under the configured name; one secure
 * context for all its connections (one made per connection lives until it is collected).
 */
export function createUpstream(name: string, config: UpstreamConfig, material: UpstreamMaterial): Upstream {
  const secureContext = createSecureContext({
    ca: material.trust,
    ...(material.certificate === undefined || material.key === undefined ? {} : { cert: material.certificate, key: material.key }),
    minVersion: 'TLSv1.2',
    ciphers: 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL',
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
  });
  const endpoints = config.endpoints.map(({ host, port }): UpstreamEndpoint => {
    // Never from the Host field: that is the client's word, and names us, not the upstream.
    const servername = config.tls.server_name ?? (isIP(host) === 0 ? host : '');
    const verified = { servername, secureContext, rejectUnauthorized: true, checkServerIdentity };
    const connectOptions = (): ConnectionOptions => ({ host, port, ...verified });
    return {
      url: endpointUrl(host, port),
      agent: new Agent({ keepAlive: true, maxFreeSockets: IDLE_CONNECTIONS, scheduling: 'lifo', timeout: config.timeouts.idle, ...verified }),
      sockets: new SocketPool(connectOptions, config.timeouts.connect, config.timeouts.idle),
      connectOptions,
    };
  });
  let last = 0;
  function choose(): Turn {
    last = (last + 1) % endpoints.length;
    return { kind: 'turn', endpoint: endpoints[last] as UpstreamEndpoint, done: () => undefined };
  }
  return {
    name,
    config,
    choose,
    connect: () => new Promise((resolve) => {
      const turn = choose();
      const options: ConnectionOptions & { allowHalfOpen: boolean } = { ...turn.endpoint.connectOptions(), allowHalfOpen: true };
      const socket = connect(options);
      const fail = (code: 'upstream_unavailable' | 'upstream_timeout', detail: string): void => {
        clearTimeout(timer);
        socket.destroy();
        resolve({ kind: 'failed', code, detail });
      };
      const timer = setTimeout(() => fail('upstream_timeout', 'no connection in time'), config.timeouts.connect);
      socket.on('error', (error: NodeJS.ErrnoException) => fail('upstream_unavailable', `${error.code ?? error.name}: ${error.message}`));
      socket.once('secureConnect', () => {
        clearTimeout(timer);
        resolve({ kind: 'connected', socket, turn });
      });
    }),
    retire() {
      for (const endpoint of endpoints) {
        retireAgent(endpoint.agent);
        endpoint.sockets.retire();
        retireSessions(endpoint);
      }
    },
  };
}

/** Node's check without its last resort: a common name is no host name (RFC 9525 section 2). */
function checkServerIdentity(host: string, certificate: PeerCertificate): Error | undefined {
  const names = certificate.subjectaltname ?? '';
  const kind = isIP(host) === 0 ? 'DNS:' : 'IP Address:';
  if (!names.includes(kind)) return Object.assign(new Error(`expected ${host}, the certificate has ${names === '' ? 'no subject alternative name' : names}`), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  return checkNames(host, certificate);
}

function endpointUrl(host: string, port: number): URL {
  return new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`);
}

function retireAgent(agent: Agent): void {
  const keepNone = agent as Agent & { maxFreeSockets: number };
  keepNone.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}
