import { lookup as resolveName } from 'node:dns';
import { BlockList, isIP } from 'node:net';
import type { LookupFunction } from 'node:net';
import { Agent, ProxyAgent } from 'undici';
import type { Dispatcher } from 'undici';

/**
 * Ways out of the gateway. Rules for URLs that certificates carry. Whoever can put one into a certificate must not be able to make the gateway call
 * its own host: the responder's URL of a configuration is the operator's and is not held to them.
 */

const LOCAL = new BlockList();
for (const [network, prefix] of [['0.0.0.0', 8], ['127.0.0.0', 8], ['169.254.0.0', 16], ['224.0.0.0', 4], ['240.0.0.0', 4], ['100.100.100.200', 32]] as const) {
  LOCAL.addSubnet(network, prefix, 'ipv4');
}
// Addresses that translate to IPv4 ones lead around the list above, so they are in this one as a whole (RFC 6052, RFC 3056, RFC 4380).
for (const [network, prefix] of [['::', 96], ['fe80::', 10], ['ff00::', 8], ['64:ff9b::', 96], ['2002::', 16], ['2001::', 32], ['64:ff9b:1::', 48], ['::ffff:0:0:0', 96], ['fec0::', 10], ['fd00:ec2::254', 128]] as const) {
  LOCAL.addSubnet(network, prefix, 'ipv6');
}

/** Whether an address is loopback, link-local, unspecified, multicast or a translation of an IPv4 address. */
export function isLocalAddress(address: string): boolean {
  const family = isIP(address);
  // An IPv4-mapped IPv6 address is checked as the IPv4 address it is.
  return family === 0 || LOCAL.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/** Why a URL from a certificate is not fetched; undefined when it may be. Names are checked again when they resolve. */
export function refuseUrl(text: string, allowLocal: boolean): string | undefined {
  const url = URL.parse(text);
  if (url === null) return 'not a URL';
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return `${url.protocol} is not fetched`;
  if (url.username !== '' || url.password !== '') return 'carries a password';
  if (allowLocal) return undefined;
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return isIP(host) !== 0 && isLocalAddress(host) ? 'a local address' : undefined;
}

/**
 * A `lookup` for sockets that fails for names that resolve to a local address. It is the address connected to that is checked,
 * so a name cannot resolve to one address for the check and to another for the connection.
 */
const publicLookup: LookupFunction = (hostname, options, callback) => {
  resolveName(hostname, { ...options, all: true }, (error, found) => {
    if (error !== null) {
      callback(error, []);
      return;
    }
    const [first] = found;
    const local = found.find(({ address }) => isLocalAddress(address));
    if (first === undefined || local !== undefined) {
      callback(new Error(`${hostname} resolves to a local address`), []);
    } else if (options.all === true) {
      callback(null, found);
    } else {
      callback(null, first.address, first.family);
    }
  });
};

/** Connections to the outside, by who chose the URL. */
export interface Outbound {
  /** For URLs of the configuration. */
  readonly configured: Dispatcher;
  /** For URLs that certificates carry: never connects to this host. */
  readonly named: Dispatcher;
  close(): void;
}

export interface OutboundOptions {
  /** URL of an HTTP proxy that everything goes through. It resolves names itself, so what they lead to is its own affair. */
  readonly proxy?: string;
  /** Lets URLs that certificates carry lead to this host, as in a demonstration. Default false. */
  readonly allowLocal?: boolean;
  /** Milliseconds. */
  readonly connectTimeout: number;
}

const CONNECTIONS = 16;

/** Opens the ways out; nothing connects before it is used. */
export function openOutbound({ proxy, allowLocal = false, connectTimeout }: OutboundOptions): Outbound {
  const connect = { timeout: connectTimeout };
  const agents = proxy === undefined
    ? [new Agent({ connections: CONNECTIONS, connect }), new Agent({ connections: CONNECTIONS, connect: { ...connect, ...(allowLocal ? {} : { lookup: publicLookup }) } })] as const
    : [new ProxyAgent({ uri: proxy, connections: CONNECTIONS, connectTimeout })] as const;
  return {
    configured: agents[0],
    named: agents[1] ?? agents[0],
    close() {
      for (const agent of agents) void agent.destroy().catch(() => undefined);
    },
  };
}

/** A URL for logs: without control characters, not longer than a line. */
export function printableUrl(url: string): string {
  return url.replace(/[^\x21-\x7e]/g, '?').slice(0, 200);
}
