import { isIP, isIPv6, SocketAddress } from 'node:net';

/** What a PROXY header says (HAProxy's proxy-protocol.txt, versions 1 and 2); `length` is what to take off the connection. */
export type ProxyHeader =
  | { readonly kind: 'header'; readonly length: number; readonly address: string | undefined; readonly port: number }
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'malformed' };

const INCOMPLETE: ProxyHeader = { kind: 'incomplete' };
const MALFORMED: ProxyHeader = { kind: 'malformed' };

const SIGNATURE_2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const SIGNATURE_1 = Buffer.from('PROXY ', 'latin1');
/** Longest line of version 1, line end included. */
const LONGEST_1 = 107;
/** Longest header of version 2 that is read: addresses and a few kilobytes of TLVs. */
const LONGEST_2 = 4096;

/**
 * Reads the header that must begin a connection from a balancer. `address` and `port` are the client's; undefined and 0 when the balancer
 * speaks for itself (LOCAL, UNKNOWN): then the connection's own address counts.
 */
export function readProxyHeader(octets: Buffer): ProxyHeader {
  if (startsAlike(octets, SIGNATURE_2)) return octets.length < 16 ? INCOMPLETE : readVersion2(octets);
  if (startsAlike(octets, SIGNATURE_1)) return readVersion1(octets);
  return MALFORMED;
}

function startsAlike(octets: Buffer, signature: Buffer): boolean {
  const length = Math.min(octets.length, signature.length);
  return octets.subarray(0, length).equals(signature.subarray(0, length));
}

const LINE = /^PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP4 ([0-9.]{7,15}) [0-9.]{7,15} ([0-9]{1,5}) [0-9]{1,5}|TCP6 ([0-9A-Fa-f:.]{2,39}) [0-9A-Fa-f:.]{2,39} ([0-9]{1,5}) [0-9]{1,5})\r\n$/;

function readVersion1(octets: Buffer): ProxyHeader {
  const end = octets.subarray(0, LONGEST_1).indexOf('\n');
  if (end === -1) return octets.length >= LONGEST_1 ? MALFORMED : INCOMPLETE;
  const match = LINE.exec(octets.toString('latin1', 0, end + 1));
  const address = match?.[1] ?? match?.[3];
  const port = Number(match?.[2] ?? match?.[4] ?? 0);
  if (match === null || (address !== undefined && isIP(address) === 0) || port > 65_535) return MALFORMED;
  return { kind: 'header', length: end + 1, address: address !== undefined && isIPv6(address) ? shortest(address) : address, port };
}

const MAPPED = Buffer.from('00000000000000000000ffff', 'hex');
const VERSION_2 = 0x20;
const LOCAL = 0;
const PROXY = 1;
const TCP_IPV4 = 0x11;
const TCP_IPV6 = 0x21;

function readVersion2(octets: Buffer): ProxyHeader {
  const command = (octets[12] as number) - VERSION_2;
  const family = octets[13] as number;
  const length = 16 + octets.readUInt16BE(14);
  if (command !== LOCAL && command !== PROXY) return MALFORMED;
  if (length > LONGEST_2) return MALFORMED;
  if (octets.length < length) return INCOMPLETE;
  if (command === LOCAL) return { kind: 'header', length, address: undefined, port: 0 };
  if (family === TCP_IPV4 && length >= 16 + 12) return { kind: 'header', length, address: octets.subarray(16, 20).join('.'), port: octets.readUInt16BE(24) };
  if (family === TCP_IPV6 && length >= 16 + 36) return { kind: 'header', length, address: ipv6Text(octets.subarray(16, 32)), port: octets.readUInt16BE(48) };
  return MALFORMED;
}

/** A dual-stack balancer writes an IPv4 client as IPv6 (RFC 4291 section 2.5.5.2): networks, limits and records have it as IPv4. */
function ipv6Text(octets: Buffer): string {
  if (octets.subarray(0, 12).equals(MAPPED)) return octets.subarray(12).join('.');
  return shortest(Array.from({ length: 8 }, (_, group) => octets.readUInt16BE(group * 2).toString(16)).join(':'));
}

/** As RFC 5952 writes it, and the system an address of its own: one client is one address in records, alarms and limits, whatever its balancer writes. */
function shortest(address: string): string {
  return new SocketAddress({ address, family: 'ipv6' }).address;
}
