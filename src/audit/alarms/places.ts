import { addressOctets, inNetworks, parseNetwork, type Network } from '../../policy/networks.ts';
import type { Config } from '../../config/schema.ts';

/** Where addresses are. */
export interface Places {
  /** The site, `inside`, `outside`, or the network as text, for a client of this role. */
  of(address: string, role: string): string;
  /** Whether two places can be told to be two. */
  apart(one: string, other: string): boolean;
}

export interface PlacesOptions {
  readonly networks: Config['networks'];
  /** Roles whose places outside are told apart. */
  readonly apart: readonly string[];
}

const MOST = 20_000;

/**
 * Where no network is declared, a place is the network around an address: clients of one site share it, and an address that its
 * provider changes often stays in it. Where some are, everything else is one place, `outside`, but for the roles that are told apart:
 * patients come from wherever they are.
 */
export function createPlaces({ networks: { inside, sites }, apart }: PlacesOptions): Places {
  const declared: readonly { readonly name: string; readonly networks: readonly Network[] }[] = [
    ...Object.entries(sites).map(([name, networks]) => ({ name: `site ${name}`, networks: networks.map(parseNetwork) })),
    ...(inside === undefined ? [] : [{ name: 'inside', networks: inside.map(parseNetwork) }]),
  ];
  const known = new Map<string, string | undefined>();

  function declaredOf(address: string): string | undefined {
    if (known.has(address)) return known.get(address);
    const place = declared.find(({ networks }) => inNetworks(address, networks))?.name;
    if (known.size >= MOST) known.clear();
    known.set(address, place);
    return place;
  }

  function of(address: string, role: string): string {
    const place = declaredOf(address);
    if (place !== undefined) return place;
    return declared.length > 0 && !apart.includes(role) ? 'outside' : networkAround(address);
  }

  return {
    of,
    // A client with both versions of IP uses whichever answers first: its two addresses are no two places.
    apart: (one, other) => one !== other && !(isNetwork(one) && isNetwork(other) && one.includes(':') !== other.includes(':')),
  };
}

function isNetwork(place: string): boolean {
  return place.includes('/');
}

/** The network that an address is taken for: /24 of IPv4, /48 of IPv6. */
function networkAround(address: string): string {
  const octets = addressOctets(address);
  if (octets === undefined) return address;
  if (octets.length === 4) return `${octets[0]}.${octets[1]}.${octets[2]}.0/24`;
  return `${[0, 2, 4].map((at) => (((octets[at] as number) << 8) | (octets[at + 1] as number)).toString(16)).join(':')}::/48`;
}
