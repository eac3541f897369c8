import { join } from 'node:path';
import type { Device } from '../config/inventory.ts';
import { prepareText } from '../pki/preparation.ts';
import { areTexts, fieldsOf, openJournal, readJournal, unusable, type ChangeKind, type Journal, type JournalOptions } from './journal.ts';

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
  parse: parseDeviceChange, subject: (change) => deviceKey(change.op === 'remove' ? change.id : change.device.id), winner: 'scrap',
};

const LISTS = ['fingerprints', 'keys', 'serials', 'users'];

function parseDeviceChange(json: string): DeviceChange | undefined {
  const fields = fieldsOf(json);
  if (fields === undefined) return undefined;
  if (!areTexts(fields, ['who', 'reason', 'at'])) return undefined;
  if (fields['op'] === 'remove') return typeof fields['id'] === 'string' ? (fields as unknown as DeviceChange) : undefined;
  const device = fields['device'] as Readonly<Record<string, unknown>> | null | undefined;
  if ((fields['op'] !== 'put' && fields['op'] !== 'scrap') || typeof device !== 'object' || device === null) return undefined;
  const whole = typeof device['id'] === 'string' && typeof device['state'] === 'string' && LISTS.every((name) => Array.isArray(device[name]));
  return whole ? (fields as unknown as DeviceChange) : undefined;
}
