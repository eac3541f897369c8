import { prepareText } from '../pki/preparation.ts';
import { inNetworks, parseNetwork, type Network } from './networks.ts';
import { describeScope, type SuspensionOrder } from './suspensions.ts';

/** What is cut off: connections of it are closed as they come, and open ones ended. */
export interface Isolation {
  /** Clients from these addresses. */
  readonly network?: Network;
  /** The id of a device, as `prepareText` has it. */
  readonly device?: string;
  /** As people write it, with why. */
  readonly detail: string;
  /** ms since the epoch */
  readonly until: number | undefined;
}

/** What an isolation is held against: an address, and of a client whose certificate is known its id and the devices that stand for it. */
export interface Isolable {
  readonly address: string;
  readonly ids?: readonly string[];
}

/** Makes orders ready; those that suspend are none of them. */
export function compileIsolations(orders: readonly SuspensionOrder[]): readonly Isolation[] {
  return orders.filter(({ isolate }) => isolate === true).map(({ network, device, expires, ...order }) => ({
    ...(network === undefined ? {} : { network: parseNetwork(network) }), ...(device === undefined ? {} : { device: prepareText(device) }),
    detail: `isolated: ${describeScope({ ...(network === undefined ? {} : { network }), ...(device === undefined ? {} : { device }) })}: ${order.reason}`,
    until: expires === undefined ? undefined : Date.parse(expires),
  }));
}

/** The isolation that is in force for a client at `now` (ms since the epoch); undefined when none is. */
export function isolationOf(isolations: readonly Isolation[], { address, ids = [] }: Isolable, now: number): Isolation | undefined {
  return isolations.find(({ network, device, until = Infinity }) => now < until
    && (network === undefined ? device !== undefined && ids.some((id) => prepareText(id) === device) : inNetworks(address, [network])));
}
