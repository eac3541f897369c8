import { lookup as resolveName } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { Agent, ProxyAgent } from 'undici';
import type { Dispatcher } from 'undici';
import { isLocalAddress } from './named-urls.ts';

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
