import { constants } from 'node:crypto';
import { connect as connectTcp, isIP } from 'node:net';
import { checkServerIdentity as checkNames, connect, createSecureContext, type ConnectionOptions, type PeerCertificate, type SecureContext, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { clientOptions } from '../../config/profile-options.ts';
import type { UpstreamConfig } from '../../config/schema.ts';
import type { UpstreamMaterial } from '../../config/snapshot.ts';

/**
 * How connections to an upstream are made: always verified, against the configured trust alone, under the configured name;
 * one secure context for all of them (one made per connection lives until it is collected).
 */
export interface Dialling {
  /** To one address of an endpoint whose host is `host`. */
  options(host: string, port: number, address: string): ConnectionOptions;
}

/** What upstreams of any age that is still safe have in common. */
const WITHOUT_PROFILE: SecureContextOptions = {
  minVersion: 'TLSv1.2',
  ciphers: 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL',
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
};

export function createDialling(config: UpstreamConfig, material: UpstreamMaterial): Dialling {
  const secureContext: SecureContext = createSecureContext({
    ca: material.trust,
    ...(material.certificate === undefined || material.key === undefined ? {} : { cert: material.certificate, key: material.key }),
    ...(config.tls.profile === undefined ? WITHOUT_PROFILE : clientOptions(config.tls.profile)),
  });
  return {
    options(host, port, address) {
      // Never from the Host field: that is the client's word, and names us, not the upstream.
      const name = config.tls.server_name ?? host;
      return {
        host: address, port, secureContext, rejectUnauthorized: true,
        servername: isIP(name) === 0 ? name : '',
        // Node compares with the servername, or else with the host it dials, which here is an address that a DNS server chose.
        checkServerIdentity: (_asked, certificate) => checkServerIdentity(name, certificate),
      };
    },
  };
}

/** Opens a connection. `preface` goes in front of the TLS handshake, in the clear: a PROXY header. */
export function dial(options: ConnectionOptions & { allowHalfOpen?: boolean }, preface?: Buffer): TLSSocket {
  if (preface === undefined) return connect(options);
  const below = connectTcp({ host: options.host as string, port: options.port as number, allowHalfOpen: options.allowHalfOpen === true });
  // Queued before TLS queues anything: it is the first to leave.
  below.write(preface);
  const socket = connect({ ...options, socket: below });
  below.on('error', (error) => socket.destroy(error));
  below.on('close', () => socket.destroy());
  return socket;
}

/** Node's check without its last resort: a common name is no host name (RFC 9525 section 2). */
function checkServerIdentity(host: string, certificate: PeerCertificate): Error | undefined {
  const names = certificate.subjectaltname ?? '';
  const kind = isIP(host) === 0 ? 'DNS:' : 'IP Address:';
  if (!names.includes(kind)) return Object.assign(new Error(`expected ${host}, the certificate has ${names === '' ? 'no subject alternative name' : names}`), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  return checkNames(host, certificate);
}
