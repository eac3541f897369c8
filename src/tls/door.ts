import type { Socket } from 'node:net';
import { addressGroup } from '../policy/networks.ts';
import {
  connectionCeiling, countKey, firstReservedDescriptor, leavePlace, mostConnections, placesTaken, takePlace, type ConnectionCounts, type CountKey,
} from '../store/connection-counts.ts';

/** Which limit a connection ran into. `memory` lowers the gateway's for a time. */
export type ConnectionLimit = 'gateway' | 'memory' | 'listener' | 'address' | 'certificate' | 'descriptors' | 'isolated';

export interface DoorLimits {
  readonly connections: number;
  readonly connections_per_address?: number;
  readonly connections_per_certificate?: number;
}

/** A connection's places in the counts of the gateway, from its arrival to its close. */
export interface Places {
  /** Takes one for the address it comes from; false when that has no more. */
  address(text: string): boolean;
  /** Takes one for its client's certificate (SHA-256); false when that has no more. */
  certificate(fingerprint: string): boolean;
  /** Gives all of them back. */
  leave(): void;
}

export interface Door {
  /** Takes places for a connection that has just come; `descriptor` is its file descriptor. */
  enter(descriptor: number): { readonly kind: 'entered'; readonly places: Places } | { readonly kind: 'full'; readonly limit: ConnectionLimit };
}

export interface DoorOptions {
  readonly counts: ConnectionCounts;
  /** The number of this thread among the threads. */
  readonly thread: number;
  readonly listener: string;
  /** Read for each connection: a reload changes them. */
  readonly limits: () => DoorLimits;
  /** Connections that it may have beyond the gateway's ceiling. Absent: none. */
  readonly reserve?: number;
}

/** Kept for operators: clients who take every place must not lock out who is to do something about it. */
export const OPERATORS_RESERVE = 32;
/** What one address may have of that: who says nothing would otherwise hold all of it, too. */
const RESERVE_OF_ADDRESS = 8;

/** Where connections of one listener come in on one thread, counted together with all others of the gateway. */
export function createDoor({ counts, thread, listener, limits, reserve = 0 }: DoorOptions): Door {
  const gateway = countKey(counts, 'gateway', '');
  const own = countKey(counts, 'listener', listener);

  function placesFor(held: CountKey[]): Places {
    const take = (kind: 'address' | 'certificate', text: string, most: number | undefined): boolean => {
      if (most === undefined) return true;
      const key = countKey(counts, kind, `${listener}\0${text}`);
      if (!takePlace(counts, thread, key, most)) return false;
      held.push(key);
      return true;
    };
    const ofAddress = (): number | undefined => {
      const { connections_per_address: most } = limits();
      const scarce = reserve > 0 && placesTaken(counts, gateway) > connectionCeiling(counts);
      return scarce ? Math.min(most ?? RESERVE_OF_ADDRESS, RESERVE_OF_ADDRESS) : most;
    };
    return {
      address: (text) => take('address', addressGroup(text), ofAddress()),
      certificate: (fingerprint) => take('certificate', fingerprint, limits().connections_per_certificate),
      leave() {
        for (const key of held.splice(0)) leavePlace(counts, thread, key);
      },
    };
  }

  return {
    enter(descriptor) {
      // Descriptors kept from clients are for operators, too, but not all of them: the gateway needs some itself, and at least 32 are kept (see descriptorMark).
      if (descriptor >= firstReservedDescriptor(counts) + reserve / 2) return { kind: 'full', limit: 'descriptors' };
      const ceiling = connectionCeiling(counts);
      if (!takePlace(counts, thread, gateway, ceiling + reserve)) return { kind: 'full', limit: ceiling < mostConnections(counts) ? 'memory' : 'gateway' };
      if (takePlace(counts, thread, own, limits().connections)) return { kind: 'entered', places: placesFor([gateway, own]) };
      leavePlace(counts, thread, gateway);
      return { kind: 'full', limit: 'listener' };
    },
  };
}

/** The file descriptor of a connection; -1 when it has none any more. Node has no public name for it. */
export function descriptorOf(socket: Socket): number {
  return (socket as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd ?? -1;
}
