import type { TlsListenerConfig } from './config/schema.ts';
import type { DeviceView } from './identity/devices.ts';
import { compileIsolations, isolationOf, type Isolation } from './policy/isolations.ts';
import { inNetworks, parseNetwork, unmapped } from './policy/networks.ts';
import type { KnownAdmission } from './policy/facts.ts';
import type { SuspensionOrder } from './policy/suspensions.ts';
import type { Connection } from './tls/connection.ts';

/** What is isolated, as one thread knows it. */
export interface IsolationWatch {
  take(orders: readonly SuspensionOrder[]): void;
  /** Whether nothing is: then nobody has to be looked at. */
  idle(): boolean;
  /** By which isolation nobody from an address is let in. */
  address(text: string): Isolation | undefined;
  /** By which isolation a connection has to end. */
  connection(connection: Connection, config: TlsListenerConfig): Isolation | undefined;
  /** By which isolation a client is not let in that a front has named: its connection is not its own. */
  client(admission: KnownAdmission): Isolation | undefined;
}

/** `now` is in ms since the epoch. */
export function createIsolation(devices: DeviceView, now: () => number): IsolationWatch {
  let isolations: readonly Isolation[] = [];
  let ofDevices = false;
  return {
    take(orders) {
      isolations = compileIsolations(orders);
      ofDevices = isolations.some(({ device }) => device !== undefined);
    },
    idle: () => isolations.length === 0,
    address: (address) => (isolations.length === 0 ? undefined : isolationOf(isolations, { address }, now())),
    connection(connection, config) {
      if (isolations.length === 0) return undefined;
      const spared = speaksForItself(connection, config);
      return isolationOf(isolations, { address: spared ? '' : connection.address, ids: ofDevices ? idsOf(connection, devices) : [] }, now());
    },
    client: (admission) => (ofDevices ? isolationOf(isolations, { address: '', ids: idsOf({ admissions: new Map([['', admission]]) }, devices) }, now()) : undefined),
  };
}

/** A balancer that looks whether the gateway is well: without it, all of its clients would be cut off. */
export function speaksForItself({ address, socket }: Connection, { proxy_protocol: proxied }: TlsListenerConfig): boolean {
  if (proxied === undefined || address !== unmapped(socket.remoteAddress ?? '')) return false;
  return inNetworks(address, proxied.from.map(parseNetwork));
}

/** The id of a connection's client, and the devices that its certificate is of, or that it works at. */
export function idsOf({ admissions }: Pick<Connection, 'admissions'>, devices: DeviceView): readonly string[] {
  return [...admissions.values()].flatMap((held) => {
    if (held.kind !== 'known') return [];
    const id = held.identity?.id ?? '';
    return [...(id === '' ? [] : [id]), ...devices.ofDevice(held.leaf, id).map((device) => device.id), ...devices.ofPerson(held.leaf, id).map((device) => device.id)];
  });
}
