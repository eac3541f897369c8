import type { Server } from 'node:tls';
import { deriveTicketKey, noTicketKey, TICKET_NAME_LENGTH, ticketWindow, type TicketKeys, type TicketWindow } from './tickets.ts';

/** The TLS servers of one set of certificates and client CAs: one for each ticket key that counts at the moment. */
export interface TicketServers {
  /** The server for a connection that brings these tickets (their names): the one whose key can open one of them, else the current one. */
  serverFor(tickets: readonly string[]): Server;
  /** Whether the tickets of a connection make no difference. */
  alone(): boolean;
  /** Has the keys that count at the moment, and no others. */
  turn(): void;
  /** Writes over every key: connections that have come go on, and resume elsewhere with a full handshake. */
  retire(): void;
}

interface Held {
  readonly key: Buffer;
  readonly name: string;
  server?: Server;
}

/**
 * Node knows one ticket key a server, and OpenSSL makes tickets with the one that it opens them with. So that a session outlives the end of an epoch, its
 * tickets are brought to a server that still has the key of before; what that one serves is the same. `now` is in ms since the epoch.
 */
export function createTicketServers(keys: TicketKeys, make: (ticketKey: Buffer) => Server, now: () => number): TicketServers {
  const held = new Map<number, Held>();
  let window: TicketWindow | undefined;
  let last: Server | undefined;

  function turn(): void {
    const at = now();
    if (window !== undefined && at >= window.from && at < window.until) return;
    window = ticketWindow(keys, at);
    const counting = [window.current, ...window.others];
    for (const [epoch, one] of held) {
      if (counting.includes(epoch)) continue;
      forget(one);
      held.delete(epoch);
    }
    for (const epoch of counting) {
      if (held.has(epoch)) continue;
      const key = deriveTicketKey(keys, epoch);
      held.set(epoch, { key, name: key.toString('latin1', 0, TICKET_NAME_LENGTH) });
    }
  }

  function serverOf(one: Held): Server {
    if (one.server !== undefined) return one.server;
    try {
      last = make(one.key);
    } catch (error) {
      // why: a private key that stays in a token cannot be had while that is away, and what is thrown here would end the thread. The server of before serves on.
      if (last === undefined) throw error;
      last.setTicketKeys(one.key);
    }
    return one.server = last;
  }

  /** Both copies: ours, and that of OpenSSL's side, which lives as long as the last connection of its server. */
  function forget(one: Held): void {
    one.key.fill(0);
    if (![...held.values()].some((other) => other !== one && other.server === one.server)) one.server?.setTicketKeys(noTicketKey());
  }

  function inForce(): TicketWindow {
    turn();
    return window as TicketWindow;
  }

  const current = (): Held => held.get(inForce().current) as Held;
  serverOf(current());

  return {
    serverFor(tickets) {
      const latest = current();
      const known = tickets.includes(latest.name) ? latest : [...held.values()].find(({ name }) => tickets.includes(name));
      return serverOf(known ?? latest);
    },
    alone: () => inForce().others.length === 0,
    turn,
    retire() {
      for (const one of held.values()) {
        one.key.fill(0);
        one.server?.setTicketKeys(noTicketKey());
      }
      held.clear();
      window = undefined;
    },
  };
}
