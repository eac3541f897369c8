import { constants } from 'node:crypto';
import { Agent } from 'node:https';
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { UpstreamConfig } from '../../config/schema.ts';
import type { UpstreamMaterial } from '../../config/snapshot.ts';

/** One upstream with its pooled connections on this thread. */
export interface Upstream {
  readonly name: string;
  readonly config: UpstreamConfig;
  /** The next endpoint, round robin. */
  next(): UpstreamEndpoint;
  /** Closes idle connections; busy ones close when their request is done. */
  retire(): void;
}

export interface UpstreamEndpoint {
  readonly url: URL;
  readonly agent: Agent;
}

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
    agent: new Agent({
      keepAlive: true,
      maxFreeSockets: IDLE_CONNECTIONS,
      scheduling: 'lifo',
      timeout: config.timeouts.idle,
      secureContext,
      rejectUnauthorized: true,
      // Never from the Host field: that is the client's word, and names us, not the upstream.
      servername: config.tls.server_name ?? (isIP(endpoint.host) === 0 ? endpoint.host : ''),
    }),
  }));
  let turn = 0;
  return {
    name,
    config,
    next() {
      turn = (turn + 1) % endpoints.length;
      return endpoints[turn] as UpstreamEndpoint;
    },
    retire() {
      for (const endpoint of endpoints) retireAgent(endpoint.agent);
    },
  };
}

function endpointUrl(host: string, port: number): URL {
  return new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`);
}

function retireAgent(agent: Agent): void {
  const keepNone = agent as Agent & { maxFreeSockets: number };
  keepNone.maxFreeSockets = 0;
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}
