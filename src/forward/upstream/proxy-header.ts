import { addressOctets } from '../../policy/networks.ts';

/** What a PROXY header tells of a client's connection. */
export interface ProxiedConnection {
  readonly source: { readonly address: string; readonly port: number };
  readonly destination: { readonly address: string; readonly port: number };
  /** The request id of the stream. */
  readonly uniqueId: string;
  /** Absent where only addresses are to be told. */
  readonly tls?: ProxiedTls;
}

export interface ProxiedTls {
  /** As OpenSSL names them: `TLSv1.3`, `TLS_AES_128_GCM_SHA256`. */
  readonly version: string;
  readonly cipher: string;
  readonly serverName: string | undefined;
  readonly alpn: string | undefined;
  /** Whether the client's certificate came in a full handshake of this connection, or in the one of the session that it resumed. */
  readonly resumed: boolean;
  /** Absent where the certificate has none, or it is not to be told. */
  readonly commonName?: string | undefined;
}

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const VERSION_2 = 0x20;
const LOCAL = 0;
const PROXY = 1;
const UNSPECIFIED = 0x00;
const TCP_IPV4 = 0x11;
const TCP_IPV6 = 0x21;

const ALPN = 0x01;
const AUTHORITY = 0x02;
const UNIQUE_ID = 0x05;
const SSL = 0x20;
const SSL_VERSION = 0x21;
const SSL_CN = 0x22;
const SSL_CIPHER = 0x23;

const CLIENT_SSL = 0x01;
const CLIENT_CERT_CONN = 0x02;
const CLIENT_CERT_SESS = 0x04;
/** Of a certificate that was verified. */
const VERIFIED = 0;

/** Octets of a common name (RFC 5280, upper bound 64 characters) and of other texts from a client. */
const LONGEST_TEXT = 256;

/** The header of a connection that the gateway makes for itself, as a health check does. */
export const LOCAL_HEADER = header(LOCAL, UNSPECIFIED, []);

/**
 * The header of version 2 (HAProxy's proxy-protocol.txt, section 2.2) for a stream of a client whose certificate was verified.
 * It travels in front of the TLS handshake with the upstream, in the clear.
 */
export function proxyHeader(connection: ProxiedConnection): Buffer {
  const { source, destination, uniqueId, tls } = connection;
  const [from, to] = [addressOctets(source.address), addressOctets(destination.address)];
  const values = [...(tls === undefined ? [] : tlsValues(tls)), text(UNIQUE_ID, uniqueId)];
  if (from === undefined || to === undefined) return header(PROXY, UNSPECIFIED, values);
  const ipv4 = from.length === 4 && to.length === 4;
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  return header(PROXY, ipv4 ? TCP_IPV4 : TCP_IPV6, [ipv4 ? from : mapped(from), ipv4 ? to : mapped(to), ports, ...values]);
}

function tlsValues(tls: ProxiedTls): readonly Uint8Array[] {
  const head = Buffer.alloc(5);
  head[0] = CLIENT_SSL | CLIENT_CERT_SESS | (tls.resumed ? 0 : CLIENT_CERT_CONN);
  head.writeUInt32BE(VERIFIED, 1);
  return [
    ...(tls.alpn === undefined ? [] : [text(ALPN, tls.alpn)]),
    ...(tls.serverName === undefined ? [] : [text(AUTHORITY, tls.serverName)]),
    value(SSL, Buffer.concat([
      head, text(SSL_VERSION, tls.version), ...(tls.commonName === undefined ? [] : [text(SSL_CN, tls.commonName)]), text(SSL_CIPHER, tls.cipher),
    ])),
  ];
}

function header(command: number, family: number, parts: readonly Uint8Array[]): Buffer {
  const rest = Buffer.concat(parts);
  const head = Buffer.alloc(4);
  head[0] = VERSION_2 | command;
  head[1] = family;
  head.writeUInt16BE(rest.length, 2);
  return Buffer.concat([SIGNATURE, head, rest]);
}

function text(type: number, words: string): Buffer {
  return value(type, Buffer.from(cut(words)));
}

/** Cut between characters, never within one. */
function cut(words: string): string {
  let kept = words;
  while (Buffer.byteLength(kept) > LONGEST_TEXT) kept = [...kept].slice(0, -1).join('');
  return kept;
}

function value(type: number, octets: Buffer): Buffer {
  const head = Buffer.alloc(3);
  head[0] = type;
  head.writeUInt16BE(octets.length, 1);
  return Buffer.concat([head, octets]);
}

/** An IPv4 address as IPv6 writes it (RFC 4291 section 2.5.5.2). */
function mapped(octets: Uint8Array): Uint8Array {
  return octets.length === 16 ? octets : Buffer.concat([Buffer.alloc(10), Buffer.of(0xff, 0xff), octets]);
}
