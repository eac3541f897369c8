import { join } from 'node:path';
import { networkFault } from '../config/addresses.ts';
import { isTimeZone } from '../config/hours.ts';
import { DEVICE_STATES, type Device } from '../config/device.ts';
import { prepareText } from '../pki/preparation.ts';
import { areTexts, fieldsOf, isTime, openJournal, readJournal, unusable, type ChangeKind, type Journal, type JournalOptions } from './journal.ts';

/**
 * What another system has told of a device; `at` is when it happened there, ISO 8601. `put` stands above what the inventory file says of
 * it, and so does `scrap`, for good; `remove` takes what was told away.
 */
export type DeviceChange =
  | { readonly op: 'put' | 'scrap'; readonly device: Device; readonly who: string; readonly reason: string; readonly at: string }
  | { readonly op: 'remove'; readonly id: string; readonly who: string; readonly reason: string; readonly at: string };

/** Opens the devices of a state directory, whose lock the caller holds. */
export function openToldDevices(state: string): Journal<DeviceChange> {
  return openJournal(journalOf(state));
}

/** The last that was told of every device according to a state directory, for looking beside a running gateway. */
export function readToldDevices(state: string): readonly DeviceChange[] {
  return readJournal(journalOf(state));
}

export function deviceKey(id: string): string {
  return prepareText(id);
}

/** The devices of a file with what was told of them since. */
export function withTold(devices: readonly Device[], told: readonly DeviceChange[]): readonly Device[] {
  const put = told.flatMap((change) => (change.op === 'remove' ? [] : [change.device]));
  if (put.length === 0) return devices;
  const above = new Set(put.map(({ id }) => deviceKey(id)));
  return [...devices.filter(({ id }) => !above.has(deviceKey(id))), ...put];
}

function journalOf(state: string): JournalOptions<DeviceChange> {
  return { file: join(state, 'devices.jsonl'), entry: 'device', fault: unusable('devices_unusable'), ...TOLD_DEVICES };
}

/** What the list of devices is made of. */
export const TOLD_DEVICES: ChangeKind<DeviceChange> = {
  parse: parseDeviceChange, subject: (change) => deviceKey(change.op === 'remove' ? change.id : change.device.id), winner: 'scrap', ends: 'scrap',
};

const LISTS = ['fingerprints', 'keys', 'users'] as const;

/** Whatever is compared with requests is held to what the inventory would take: a text that is no network would end the thread that meets it. */
function parseDeviceChange(json: string): DeviceChange | undefined {
  const fields = fieldsOf(json);
  if (fields === undefined) return undefined;
  if (!areTexts(fields, ['who', 'reason']) || !isTime(fields['at'])) return undefined;
  if (fields['op'] === 'remove') return typeof fields['id'] === 'string' ? (fields as unknown as DeviceChange) : undefined;
  if ((fields['op'] !== 'put' && fields['op'] !== 'scrap') || !isDevice(fields['device'])) return undefined;
  return fields as unknown as DeviceChange;
}

function isDevice(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { state, hardware, serials, networks, hours } = value;
  return areTexts(value, ['id']) && DEVICE_STATES.some((one) => one === state) && LISTS.every((name) => isList(value[name], isText))
    && isList(serials, (one) => isObject(one) && areTexts(one, ['serial', 'issuer'])) && (hardware === undefined || isText(hardware))
    && (networks === undefined || isList(networks, (one) => isText(one) && networkFault(one) === undefined)) && (hours === undefined || areHours(hours));
}

function areHours(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { zone, windows } = value;
  return isText(zone) && isTimeZone(zone) && isList(windows, (one) => isObject(one) && [one['days'], one['from'], one['to']].every(Number.isSafeInteger));
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isList(value: unknown, holds: (one: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(holds);
}
