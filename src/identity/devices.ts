import type { Device } from '../config/device.ts';
import type { Certificate } from '../pki/certificate.ts';
import { namedHardware } from '../pki/hardware.ts';
import { prepareText } from '../pki/preparation.ts';
import { fingerprintsOf } from '../pki/twin.ts';

/** What stands in the inventory about a certificate. */
export interface DeviceView {
  /** The devices that a certificate may be the own of: those that name it, its hardware, or its id. */
  ofDevice(leaf: Certificate, id: string): readonly Device[];
  /** The workstations of a person: those that name them or their certificate. */
  ofPerson(leaf: Certificate, id: string): readonly Device[];
}

/** The inventory of one thread: every look-up takes the same time, however many devices there are. */
export interface DeviceRegister extends DeviceView {
  /** Takes a device in, in the place of one with its id. */
  put(device: Device): void;
  remove(id: string): void;
  get(id: string): Device | undefined;
  all(): IterableIterator<Device>;
  readonly size: number;
}

export function createDeviceRegister(devices: Iterable<Device> = []): DeviceRegister {
  const byId = new Map<string, Device>();
  const fingerprints = createIndex();
  const keys = createIndex();
  const serials = createIndex();
  const hardware = createIndex();
  const users = createIndex();
  for (const device of devices) put(device);

  function put(device: Device): void {
    remove(device.id);
    byId.set(prepareText(device.id), device);
    for (const [index, key] of keysOf(device)) index.add(key, device);
  }

  function remove(id: string): void {
    const old = byId.get(prepareText(id));
    if (old === undefined) return;
    byId.delete(prepareText(id));
    for (const [index, key] of keysOf(old)) index.remove(key, old);
  }

  function* keysOf(device: Device): Generator<readonly [DeviceIndex, string]> {
    for (const hex of device.fingerprints) yield [fingerprints, hex];
    for (const hex of device.keys) yield [keys, hex];
    for (const { serial, issuer } of device.serials) for (const name of new Set([issuer, reversed(issuer)])) yield [serials, `${serial} ${name}`];
    if (device.hardware !== undefined) yield [hardware, device.hardware];
    for (const user of device.users) yield [users, prepareText(user)];
  }

  /** Those that name the certificate; its hardware, as far as `modules` is that. */
  function naming(leaf: Certificate, modules: readonly string[]): readonly Device[] {
    return [
      ...fingerprintsOf(leaf).flatMap((hex) => fingerprints.get(hex)), ...keys.get(leaf.spkiSha256), ...serials.get(`${leaf.serial} ${leaf.issuer.normalized}`),
      ...modules.flatMap((name) => hardware.get(name)),
    ];
  }

  return {
    put, remove,
    get: (id) => byId.get(prepareText(id)),
    all: () => byId.values(),
    get size() {
      return byId.size;
    },
    ofDevice(leaf, id) {
      const named = byId.get(prepareText(id));
      const found = naming(leaf, namedHardware(leaf).device);
      return once(named === undefined ? found : [named, ...found]);
    },
    // A person's certificate has a serial number of the person's, not of a device's, in its subject.
    ofPerson: (leaf, id) => once([...users.get(prepareText(id)), ...naming(leaf, namedHardware(leaf).modules)]),
  };
}

/** An inventory that is told in parts. */
export interface ToldRegister {
  /** What is in force: the whole of what was told last. */
  readonly view: DeviceView;
  take(part: { readonly devices: readonly Device[]; readonly first: boolean; readonly last: boolean }): void;
  /** Takes what one device is by now; absent: nothing any more. */
  put(id: string, device: Device | undefined): void;
}

export function createToldRegister(): ToldRegister {
  let register = createDeviceRegister();
  let coming = register;
  return {
    view: { ofDevice: (leaf, id) => register.ofDevice(leaf, id), ofPerson: (leaf, id) => register.ofPerson(leaf, id) },
    take({ devices, first, last }) {
      if (first) coming = createDeviceRegister();
      for (const device of devices) coming.put(device);
      if (last) register = coming;
    },
    put(id, device) {
      for (const one of new Set([register, coming])) {
        if (device === undefined) one.remove(id);
        else one.put(device);
      }
    },
  };
}

/** Whether a device's certificates are listed. */
export function listsCertificates({ fingerprints, keys, serials }: Device): boolean {
  return fingerprints.length > 0 || keys.length > 0 || serials.length > 0;
}

/** Whether a certificate is one of those listed. */
export function listsCertificate({ fingerprints, keys, serials }: Device, leaf: Certificate): boolean {
  return fingerprintsOf(leaf).some((hex) => fingerprints.includes(hex)) || keys.includes(leaf.spkiSha256)
    || serials.some(({ serial, issuer }) => serial === leaf.serial && (issuer === leaf.issuer.normalized || reversed(issuer) === leaf.issuer.normalized));
}

/** Whether a person is one of those listed. */
export function listsUser({ users }: Device, id: string): boolean {
  const wanted = prepareText(id);
  return users.some((user) => prepareText(user) === wanted);
}

interface DeviceIndex {
  get(key: string): readonly Device[];
  add(key: string, device: Device): void;
  remove(key: string, device: Device): void;
}

const NOBODY: readonly Device[] = [];

/** Nearly every key has one device: a list for each would take as much room again. */
function createIndex(): DeviceIndex {
  const devices = new Map<string, Device | readonly Device[]>();
  const get = (key: string): readonly Device[] => {
    const found = devices.get(key);
    return found === undefined ? NOBODY : 'id' in found ? [found] : found;
  };
  return {
    get,
    add(key, device) {
      const others = get(key);
      devices.set(key, others.length === 0 ? device : [...others, device]);
    },
    remove(key, device) {
      const [first, ...others] = get(key).filter((one) => one !== device);
      if (first === undefined) devices.delete(key);
      else devices.set(key, others.length === 0 ? first : [first, ...others]);
    },
  };
}

function once(devices: readonly Device[]): readonly Device[] {
  return devices.length < 2 ? devices : [...new Set(devices)];
}

/** Tools print names in both orders. */
function reversed(name: string): string {
  return name.split(/(?<!\\),/).reverse().join(',');
}
