/** An address range in CIDR form, as octets (4 or 16) and prefix length. */
export interface Network {
  readonly octets: Uint8Array;
  readonly prefix: number;
}

/** Parses `10.1.0.0/16` or `fd00::/8`; a bare address is a range of one. Throws RangeError: the schema has checked it before. */
export function parseNetwork(text: string): Network {
  const [address, prefix] = text.split('/');
  const octets = addressOctets(address ?? '');
  if (octets === undefined) throw new RangeError(`not an address range: ${text}`);
  return { octets, prefix: prefix === undefined ? octets.length * 8 : Number(prefix) };
}

/** Whether an address (text; IPv4-mapped IPv6 is IPv4) lies in one of the ranges. */
export function inNetworks(address: string, networks: readonly Network[]): boolean {
  const octets = addressOctets(address);
  return octets !== undefined && networks.some((network) => contains(network, octets));
}

function contains(network: Network, octets: Uint8Array): boolean {
  if (network.octets.length !== octets.length) return false;
  for (let bit = 0; bit < network.prefix; bit++) {
    const mask = 0x80 >> (bit & 7);
    if (((network.octets[bit >> 3] as number) & mask) !== ((octets[bit >> 3] as number) & mask)) return false;
  }
  return true;
}

/**
 * The octets of an IPv4 or IPv6 address in text form, of an IPv4-mapped one in any spelling (RFC 4291 section 2.5.5.2) those of IPv4;
 * undefined when it is neither.
 */
export function addressOctets(text: string): Uint8Array | undefined {
  const bare = text.includes('%') ? text.slice(0, text.indexOf('%')) : text;
  if (!bare.includes(':')) return ipv4Octets(bare);
  const octets = ipv6Octets(bare);
  return octets !== undefined && isMapped(octets) ? octets.subarray(12) : octets;
}

/** `::ffff:10.0.0.1` → `10.0.0.1`, in whatever spelling: a balancer writes it as it likes. Anything else unchanged. */
export function unmapped(address: string): string {
  if (!address.includes(':')) return address;
  const octets = addressOctets(address);
  return octets?.length === 4 ? octets.join('.') : address;
}

function isMapped(octets: Uint8Array): boolean {
  return octets.subarray(0, 10).every((octet) => octet === 0) && octets[10] === 0xff && octets[11] === 0xff;
}

function ipv4Octets(text: string): Uint8Array | undefined {
  if (!/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) return undefined;
  const parts = text.split('.').map(Number);
  return parts.every((part) => part < 256) ? Uint8Array.from(parts) : undefined;
}

/** RFC 4291 section 2.2: groups in hex, of which zeros may be left out once, and the last two may be written as IPv4. */
function ipv6Octets(text: string): Uint8Array | undefined {
  const plain = text.includes('.') ? withoutDots(text) : text;
  if (plain === undefined) return undefined;
  const halves = plain.split('::');
  if (halves.length > 2) return undefined;
  const head = groups(halves[0] ?? '');
  const tail = halves.length === 2 ? groups(halves[1] ?? '') : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...head, ...Array.from({ length: missing }, () => 0), ...tail];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 255]));
}

function withoutDots(text: string): string | undefined {
  const begin = text.lastIndexOf(':') + 1;
  const octets = ipv4Octets(text.slice(begin));
  return octets === undefined ? undefined : `${text.slice(0, begin)}${Buffer.from(octets.subarray(0, 2)).toString('hex')}:${Buffer.from(octets.subarray(2)).toString('hex')}`;
}

function groups(text: string): number[] | undefined {
  if (text === '') return [];
  const parts = text.split(':');
  return parts.every((part) => /^[0-9a-fA-F]{1,4}$/.test(part)) ? parts.map((part) => Number.parseInt(part, 16)) : undefined;
}

/** Who is counted as one address: whoever has one IPv6 address has its /64. */
export function addressGroup(text: string): string {
  const octets = addressOctets(text);
  return octets?.length === 16 ? Buffer.from(octets.subarray(0, 8)).toString('hex') : text;
}
