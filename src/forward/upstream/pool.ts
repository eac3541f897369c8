import { constants } from 'node:crypto';
import { Agent } from 'node:https';
import { isIP } from 'node:net';
import { checkServerIdentity as checkNames, connect, createSecureContext, type ConnectionOptions, type PeerCertificate, type TLSSocket } from 'node:tls';
import type { UpstreamConfig } from '../../config/schema.ts';
import type { UpstreamMaterial } from '../../config/snapshot.ts';

/** One upstream with its pooled connections on this thread. */
export interface Upstream {
  readonly name: string;
  readonly config: UpstreamConfig;
  /** The next endpoint, round robin. */
  next(): UpstreamEndpoint;
  /** A TLS connection of its own to the next endpoint, verified, each half to be closed by itself: for streams. */
  connect(): Promise<UpstreamConnection>;
  /** Closes idle connections; busy ones close when their request is done. */
  retire(): void;
}

export interface UpstreamEndpoint {
  readonly url: URL;
  readonly agent: Agent;
  /** A connection outside the pool, for `createConnection`. */
  readonly connectAlone: () => TLSSocket;
}

export type UpstreamConnection =
  | { readonly kind: 'connected'; readonly socket: TLSSocket }
  | { readonly kind: 'failed'; readonly code: 'upstream_unavailable' | 'upstream_timeout'; readonly detail: string };

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
  const endpoints = config.endpoints.map((endpoint) => ({
    url: endpointUrl(endpoint.host, endpoint.port),
    host: endpoint.host,
    port: endpoint.port,
    // Never from the Host field: that is the client's word, and names us, not the upstream.
    servername: config.tls.server_name ?? (isIP(endpoint.host) === 0 ? endpoint.host : ''),
  })).map((endpoint) => ({
    ...endpoint,
    agent: new Agent({
      keepAlive: true,
      maxFreeSockets: IDLE_CONNECTIONS,
      scheduling: 'lifo',
      timeout: config.timeouts.idle,
      secureContext,
      rejectUnauthorized: true,
      servername: endpoint.servername,
      checkServerIdentity,
    }),
    connectAlone: () => connect({ host: endpoint.host, port: endpoint.port, servername: endpoint.servername, secureContext, rejectUnauthorized: true, checkServerIdentity }),
  }));
  let turn = 0;
  const next = (): (typeof endpoints)[number] => {
    turn = (turn + 1) % endpoints.length;
    return endpoints[turn] as (typeof endpoints)[number];
  };
  return {
    name,
    config,
    next,
    connect: () => new Promise((resolve) => {
      const { host, port, servername } = next();
      const options: ConnectionOptions & { allowHalfOpen: boolean } = { host, port, servername, secureContext, rejectUnauthorized: true, checkServerIdentity, allowHalfOpen: true };
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
        resolve({ kind: 'connected', socket });
      });
    }),
    retire() {
      for (const endpoint of endpoints) retireAgent(endpoint.agent);
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
