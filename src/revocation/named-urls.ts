import { BlockList, isIP } from 'node:net';

/**
 * Rules for URLs that certificates carry. Whoever can put one into a certificate must not be able to make the gateway call
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

/** A URL for logs: without control characters, not longer than a line. */
export function printableUrl(url: string): string {
  return url.replace(/[^\x21-\x7e]/g, '?').slice(0, 200);
}
