import type { Device } from '../config/device.ts';
import type { BindConfig } from '../config/schema.ts';
import { listsCertificate, listsCertificates, listsUser, type DeviceView } from '../identity/devices.ts';
import type { Certificate } from '../pki/certificate.ts';
import { namedHardware } from '../pki/hardware.ts';
import type { Alarm, Reason } from './facts.ts';
import { clockTime, describeHours, withinHours } from './hours.ts';
import { inNetworks, parseNetwork, type Network } from './networks.ts';

/** Which roles are bound to devices, and what stands in the inventory. */
export interface DevicePolicy {
  readonly register: DeviceView;
  /** By role. */
  readonly bindings: ReadonlyMap<string, BindConfig>;
}

/** Who asks, and from where. */
export interface DeviceFacts {
  readonly roles: ReadonlySet<string>;
  readonly id: string;
  readonly leaf: Certificate;
  readonly address: string;
}

export type DeviceVerdict =
  /** No role of the client is bound to anything. */
  | { readonly kind: 'free' }
  | { readonly kind: 'bound'; readonly device: Device }
  | DeviceRefusal;

export interface DeviceRefusal {
  readonly kind: 'refused';
  readonly reason: Extract<Reason, 'device_unregistered' | 'device_mismatch' | 'device_inactive' | 'device_moved' | 'outside_hours'>;
  readonly alarm: Alarm;
  readonly detail: string;
}

/** Which roles are bound, by their names. */
export function compileBindings(roles: readonly { readonly role: string; readonly bind?: BindConfig }[]): ReadonlyMap<string, BindConfig> {
  return new Map(roles.flatMap(({ role, bind }) => (bind === undefined ? [] : [[role, bind]])));
}

/**
 * Whether a client may ask from where it is, now (ms since the epoch): for each role that is bound, one device of the inventory must fit
 * as a whole, its certificate and hardware, its state, its networks and its hours. Never kept: hours pass, and devices are lost.
 */
export function judgeDevice({ register, bindings }: DevicePolicy, facts: DeviceFacts, now: number): DeviceVerdict {
  let verdict: DeviceVerdict = FREE;
  if (bindings.size === 0) return verdict;
  for (const role of facts.roles) {
    const binding = bindings.get(role);
    if (binding === undefined) continue;
    verdict = judgeBinding(register, binding, facts, now);
    if (verdict.kind === 'refused') return verdict;
  }
  return verdict;
}

/** Whether what a client may do depends on a device, and with that on the time. */
export function isBound({ bindings }: DevicePolicy, roles: ReadonlySet<string>): boolean {
  for (const role of roles) if (bindings.has(role)) return true;
  return false;
}

/** A device in one line, for `explain`. */
export function describeDevice({ id, hardware, location, networks, hours }: Device): string {
  return [
    id,
    ...(hardware === undefined ? [] : [`hardware ${hardware}`]),
    ...(location === undefined ? [] : [location]),
    ...(networks === undefined ? [] : [`networks ${networks.join(', ')}`]),
    ...(hours === undefined ? [] : [`within its hours (${hours.zone})`]),
  ].join(', ');
}

const FREE: DeviceVerdict = { kind: 'free' };

/** A refusal, and how far the device came: of several, the one that nearly fitted says best what is wrong. */
interface Objection {
  readonly progress: number;
  readonly refusal: DeviceRefusal;
}

function judgeBinding(register: DeviceView, binding: BindConfig, facts: DeviceFacts, now: number): DeviceVerdict {
  const { leaf, id } = facts;
  const device = binding.to === 'device';
  const candidates = device ? register.ofDevice(leaf, id) : register.ofPerson(leaf, id);
  let nearest: Objection | undefined;
  for (const candidate of candidates) {
    const objection = objectionTo(candidate, binding, facts, now) ?? objectionToGone(candidate, candidates, binding, leaf);
    if (objection === undefined) return { kind: 'bound', device: candidate };
    if (nearest === undefined || objection.progress > nearest.progress) nearest = objection;
  }
  if (nearest !== undefined) return nearest.refusal;
  const detail = device ? `no registered device is ${id}` : `no registered workstation is ${id}'s`;
  return { kind: 'refused', reason: 'device_unregistered', alarm: 'unregistered_device', detail };
}

function objectionTo(device: Device, binding: BindConfig, facts: DeviceFacts, now: number): Objection | undefined {
  const { address } = facts;
  const stranger = strangeness(device, binding, facts);
  if (stranger !== undefined) return { progress: 0, refusal: { kind: 'refused', reason: 'device_mismatch', alarm: 'mismatched_device', detail: stranger } };
  if (device.state !== 'active') {
    return { progress: 1, refusal: { kind: 'refused', reason: 'device_inactive', alarm: 'inactive_device', detail: `${device.id} is ${device.state}` } };
  }
  if (device.networks !== undefined && !inNetworks(address, networksOf(device.networks))) {
    return { progress: 2, refusal: { kind: 'refused', reason: 'device_moved', alarm: 'moved_device', detail: `${device.id} belongs to ${device.networks.join(', ')}, and asks from ${address}` } };
  }
  if (device.hours !== undefined && !withinHours(device.hours, now)) {
    return { progress: 3, refusal: { kind: 'refused', reason: 'outside_hours', alarm: 'off_hours', detail: `${device.id} is in use ${describeHours(device.hours)}, and it is ${clockTime(device.hours, now)} there` } };
  }
  return undefined;
}

/**
 * A device that is gone, with the certificate or the hardware that asks: another that fits by its id or its users alone does not stand for it.
 * One that names the same does: then somebody has registered it anew.
 */
function objectionToGone(device: Device, candidates: readonly Device[], { to }: BindConfig, leaf: Certificate): Objection | undefined {
  if (candidates.length < 2) return undefined;
  const named = namedHardware(leaf)[to === 'device' ? 'device' : 'modules'];
  const gone = candidates.find((other) => (other.state === 'lost' || other.state === 'scrapped') && (
    (other.hardware !== undefined && device.hardware === undefined && named.includes(other.hardware))
    // A person's certificate belongs to no workstation.
    || (to === 'device' && !listsCertificate(device, leaf) && listsCertificate(other, leaf))
  ));
  if (gone === undefined) return undefined;
  return { progress: 1, refusal: { kind: 'refused', reason: 'device_inactive', alarm: 'inactive_device', detail: `${gone.id}, whose certificate or hardware it is, is ${gone.state}` } };
}

/** Why a client is not the one that a device is registered for; undefined when it may be. */
function strangeness(device: Device, { to, hardware }: BindConfig, { leaf, id }: DeviceFacts): string | undefined {
  if (to === 'device') {
    if (listsCertificates(device) && !listsCertificate(device, leaf)) return `the certificate is none of those registered for ${device.id}`;
  } else if ((device.users.length > 0 || listsCertificates(device)) && !listsUser(device, id) && !listsCertificate(device, leaf)) {
    return `${id} is none of those who work at ${device.id}`;
  }
  const named = namedHardware(leaf)[to === 'device' ? 'device' : 'modules'];
  if (hardware === 'required' && named.length === 0) return 'the certificate names no hardware';
  if (hardware === 'required' && device.hardware === undefined) return `no hardware is registered for ${device.id}`;
  if (device.hardware === undefined || named.every((name) => name === device.hardware)) return undefined;
  return `the certificate is for the hardware ${named.join(', ')}, ${device.id} is ${device.hardware}`;
}

const compiled = new WeakMap<readonly string[], readonly Network[]>();

function networksOf(texts: readonly string[]): readonly Network[] {
  let networks = compiled.get(texts);
  if (networks === undefined) {
    networks = texts.map(parseNetwork);
    compiled.set(texts, networks);
  }
  return networks;
}
