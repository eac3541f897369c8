import { isIP, isIPv4, isIPv6 } from 'node:net';

/** Where a listener binds. `text` is the address as written. */
export interface Address {
  readonly text: string;
  readonly host: string;
  readonly port: number;
}

/** One upstream endpoint. `text` is the URL as written, `host` has no brackets. */
export interface Endpoint {
  readonly text: string;
  readonly protocol: 'https' | 'tls';
  readonly host: string;
  readonly port: number;
}

const HOST = /^(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$/;
/** The form of `parseAddress`. */
export const ADDRESS = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(\d{1,5})$/;
/** The form of `parseEndpoint`. */
export const ENDPOINT = /^(https|tls):\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?\/?$/;
export const ENDPOINT_EXPECTED = 'expected https://HOST[:PORT], or tls://HOST:PORT for tcp listeners';

/** `127.0.0.1:8443`, `[::]:8443` or `localhost:0`; `undefined` without a host or with a port above 65535. */
export function parseAddress(text: string): Address | undefined {
  const [, bracketed, digits] = ADDRESS.exec(text) ?? [];
  if (bracketed === undefined || digits === undefined) return undefined;
  const host = plainHost(bracketed);
  const port = Number(digits);
  return host === undefined || port > 65535 ? undefined : { text, host, port };
}

/** HOST:PORT as `parseAddress` reads it, IPv6 in brackets. */
export function formatAddress({ host, port }: Pick<Address, 'host' | 'port'>): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** `https://host[:port]` or `tls://host:port`. No credentials, path, query or fragment: those would be ignored. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const [, protocol, bracketed, digits] = ENDPOINT.exec(text) ?? [];
  if (bracketed === undefined || (protocol !== 'https' && protocol !== 'tls')) return undefined;
  if (protocol === 'tls' && digits === undefined) return undefined;
  const host = plainHost(bracketed);
  const port = digits === undefined ? 443 : Number(digits);
  return host === undefined || port < 1 || port > 65535 ? undefined : { text, protocol, host, port };
}

/** The host of an address without its brackets; `undefined` when it is neither an IP address nor a name. */
function plainHost(text: string): string | undefined {
  if (text.startsWith('[')) return isIPv6(text.slice(1, -1)) ? text.slice(1, -1) : undefined;
  // A name made of digits and dots only is a mistyped IPv4 address, and some resolvers accept it as another one.
  if (/^[\d.]+$/.test(text)) return isIPv4(text) ? text : undefined;
  return parseHost(text);
}

/** A lowercase host name or IP address; `*.` stands for exactly one label in front when `wildcard` is set. */
export function parseHost(text: string, wildcard = false): string | undefined {
  if (isIP(text) !== 0) return text.toLowerCase();
  if (!HOST.test(text) || text.length > 253 || /^[\d.]+$/.test(text)) return undefined;
  if (text.startsWith('*.') && !wildcard) return undefined;
  return text.toLowerCase();
}

/** `pki.hospital.test` or `pki.hospital.test:8080`, written as URLs have it: in lower case, IPv6 in brackets. */
export function parseHostAndPort(text: string): string | undefined {
  const plain = parseHost(text);
  if (plain !== undefined) return hostInUrl(plain);
  const address = parseAddress(text);
  const host = address === undefined || address.port === 0 ? undefined : hostInUrl(address.host);
  return host === undefined ? undefined : `${host}:${address?.port}`;
}

/** A host name or IP address as URLs write it; `undefined` when no URL can have it. */
export function hostInUrl(host: string): string | undefined {
  return URL.parse(isIPv6(host) ? `http://[${host}]` : `http://${host}`)?.hostname;
}

/** What is wrong with `10.1.0.0/16`, `2001:db8::/32` or a single address; `undefined` when it is right. */
export function networkFault(text: string): string | undefined {
  const expected = 'expected a network such as 10.1.0.0/16 or 2001:db8::/32';
  const [address = '', digits, ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0 || address.includes('%')) return expected;
  const width = version === 4 ? 32 : 128;
  if (digits !== undefined && (!/^\d{1,3}$/.test(digits) || Number(digits) > width)) return expected;
  const bits = version === 4 ? ipv4Bits(address) : ipv6Bits(address);
  // ::ffff:a.b.c.d reaches us unwrapped, as IPv4: a network in that form would match nobody.
  if (version === 6 && bits >> 32n === 0xffffn) return 'expected an IPv4 network in IPv4 form such as 10.1.0.0/16';
  const host = (1n << BigInt(width - Number(digits ?? width))) - 1n;
  return (bits & host) === 0n ? undefined : 'expected a network without bits beyond its prefix, such as 10.1.0.0/16';
}

function ipv4Bits(address: string): bigint {
  return address.split('.').reduce((bits, octet) => (bits << 8n) | BigInt(octet), 0n);
}

function ipv6Bits(address: string): bigint {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const tail = dotted?.[2] === undefined ? 0n : ipv4Bits(dotted[2]);
  const text = dotted === null ? address : `${dotted[1]}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`;
  const [head = [], after = []] = text.split('::').map((half) => half.split(':').filter((group) => group !== ''));
  const zeros = Array.from({ length: 8 - head.length - after.length }, () => '0');
  return [...head, ...zeros, ...after].reduce((bits, group) => (bits << 16n) | BigInt(`0x${group}`), 0n);
}

/** What should stand where something else stands than an endpoint. */
export function endpointExpectation(value: unknown): string {
  if (typeof value !== 'string') return 'expected https://HOST[:PORT], tls://HOST:PORT, or { url, weight }';
  return /^(http|tcp):/i.test(value) ? 'expected https://: connections to upstreams are always encrypted' : ENDPOINT_EXPECTED;
}

/** What is wrong with the address of a DNS server, its port 53 when there is none; `undefined` when it is right. */
export function dnsServerFault(text: string): string | undefined {
  if (isIP(text) !== 0) return undefined;
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? [];
  const right = port !== undefined && Number(port) >= 1 && Number(port) <= 65535 && (bracketed === undefined ? isIPv4(plain ?? '') : isIPv6(bracketed));
  return right ? undefined : 'expected the address of a DNS server such as 10.0.0.53 or 10.0.0.53:5353';
}

/** What is wrong with a URL that is called over TLS; `undefined` when it is right. */
export function httpsUrlFault(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.protocol !== 'https:') return 'expected a URL such as https://sms.hospital.test/send';
  return url.username === '' && url.password === '' && url.hash === '' ? undefined : 'expected a URL without credentials and fragment';
}

/** What is wrong with an origin at which security keys are used: an https one as browsers write it, or that of an Android app. */
export function keyOriginFault(text: string): string | undefined {
  if (/^android:apk-key-hash:[A-Za-z0-9_-]{43}$/.test(text)) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.protocol !== 'https:') return 'expected an origin such as https://api.hospital.test:8443';
  return url.origin === text ? undefined : `expected an origin as browsers write it: ${url.origin}`;
}

/** What is wrong with the URL of a Redis; `undefined` when it is right. */
export function redisUrlFault(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^rediss?:$/.test(url.protocol) || url.hostname === '') return 'expected a URL such as rediss://redis.hospital.test:6379/0';
  return url.password === '' ? undefined : 'expected no password in the URL; name a file in password_file';
}

/** What is wrong with the URL of a collector of spans; `undefined` when it is right. */
export function collectorUrlFault(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) return 'expected a URL such as https://collector.hospital.test:4318/v1/traces';
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return 'expected a URL without credentials, query and fragment; name a file in authorization_file';
  if (url.protocol === 'http:' && !/^(localhost|127\..*|\[::1\])$/.test(url.hostname)) return 'expected https://: spans leave this host encrypted';
  return undefined;
}

/** An http or https URL as it is written; `undefined` when it is none, or has credentials or a fragment. */
export function parseHttpUrl(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const plain = url.username === '' && url.password === '' && url.hash === '';
  return plain && (url.protocol === 'http:' || url.protocol === 'https:') ? text : undefined;
}
