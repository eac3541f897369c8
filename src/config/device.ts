import { z } from 'zod';
import { hardwareName } from '../pki/hardware.ts';
import { parseNameText } from '../pki/name.ts';
import { parseHours, type Hours } from './hours.ts';
import { network, timeZone } from './values.ts';

/** What a device may do: only an `active` one is served. */
export const DEVICE_STATES = ['active', 'inactive', 'lost', 'scrapped'] as const;
export type DeviceState = (typeof DEVICE_STATES)[number];

/** One registered device. Hex is lower case. */
export interface Device {
  readonly id: string;
  readonly state: DeviceState;
  /** Serial number of the hardware, as `hardwareName` writes it. */
  readonly hardware?: string;
  /** Its certificates: SHA-256 of each, SHA-256 of each public key, serial numbers of an issuer (normalised name). None: any that names it. */
  readonly fingerprints: readonly string[];
  readonly keys: readonly string[];
  readonly serials: readonly { readonly serial: string; readonly issuer: string }[];
  /** Ids of the persons who work at it. */
  readonly users: readonly string[];
  /** Absent: any. */
  readonly networks?: readonly string[];
  /** Absent: at any time. */
  readonly hours?: Hours;
  readonly owner?: string;
  readonly location?: string;
}

// eslint-disable-next-line no-control-regex
const label = z.string({ error: 'expected text (numbers in quotes)' }).regex(/^(?!\s)[^\u0000-\u001f\u007f-\u009f\u2028\u2029\p{Cs}]{1,256}(?<!\s)$/u, { error: 'expected text of 256 characters at most, without blanks around it' });
const sha256 = z.string({ error: 'expected a SHA-256 in hex' }).transform((value, context) => {
  const hex = value.replaceAll(':', '').toLowerCase();
  if (/^[0-9a-f]{64}$/.test(hex)) return hex;
  context.addIssue({ code: 'custom', message: 'expected a SHA-256 in hex (64 digits)' });
  return z.NEVER;
});
const serialNumber = z.string({ error: 'expected a serial number in hex, in quotes' }).transform((value, context) => {
  const hex = value.replaceAll(':', '').replace(/^0x/i, '').toLowerCase().replace(/^(?:00)+(?=.)/, '');
  if (/^[0-9a-f]{1,64}$/.test(hex)) return hex.length % 2 === 0 ? hex : `0${hex}`;
  context.addIssue({ code: 'custom', message: 'expected a serial number in hex' });
  return z.NEVER;
});
const issuerName = z.string({ error: 'expected a name such as CN=Devices CA,O=Hospital' }).transform((value, context) => {
  try {
    return parseNameText(value).normalized;
  } catch {
    context.addIssue({ code: 'custom', message: 'expected a name such as CN=Devices CA,O=Hospital' });
    return z.NEVER;
  }
});
const HOURS_EXPECTED = 'expected hours such as Mon-Fri 07:00-19:00, Sat 08:00-12:00 or daily 22:00-06:00';
const hours = z.string({ error: HOURS_EXPECTED }).transform((value, context) => {
  const windows = parseHours(value);
  if (windows !== undefined) return windows;
  context.addIssue({ code: 'custom', message: HOURS_EXPECTED });
  return z.NEVER;
});
const hardware = label.transform((value, context) => {
  const name = writtenHardware(value);
  if (name !== undefined) return name;
  context.addIssue({ code: 'custom', message: 'expected octets in hex behind hex:' });
  return z.NEVER;
});

function listOf<Item extends z.ZodType<unknown, string>>(item: Item, expected: string) {
  return z.union([item.transform((value) => [value]), z.array(item, { error: expected })], { error: expected });
}

const SHAPE = {
  id: label,
  state: z.enum(DEVICE_STATES, { error: `expected ${DEVICE_STATES.join(', ')}` }).default('active'),
  hardware: hardware.exactOptional(),
  fingerprint: listOf(sha256, 'expected a SHA-256 in hex, or a list of them').default([]),
  key: listOf(sha256, 'expected a SHA-256 in hex, or a list of them').default([]),
  serial: listOf(serialNumber, 'expected a serial number in hex, or a list of them').default([]),
  issuer: issuerName.exactOptional(),
  users: listOf(label, 'expected the id of a person, or a list of them').default([]),
  networks: listOf(network, 'expected a network such as 10.1.0.0/16, or a list of them').exactOptional(),
  hours: listOf(hours, HOURS_EXPECTED).exactOptional(),
  timezone: timeZone.exactOptional(),
  owner: label.exactOptional(),
  location: label.exactOptional(),
};
/** The keys that a device may have. */
export const DEVICE_KEYS: readonly string[] = Object.keys(SHAPE);

/** A device as files and webhooks write it. */
export const deviceSchema = z.strictObject(SHAPE, { error: (issue) => (issue.code === 'unrecognized_keys' ? DEVICE_KEYS.join(', ') : undefined) })
  .superRefine(({ serial, issuer }, context) => {
    if (serial.length > 0 && issuer === undefined) context.addIssue({ code: 'custom', path: ['serial'], message: 'expected its issuer beside it: serial numbers are only unique within one CA' });
    if (serial.length === 0 && issuer !== undefined) context.addIssue({ code: 'custom', path: ['issuer'], message: 'expected the serial number that it belongs to, in serial' });
  });
type Written = z.output<typeof deviceSchema>;

/** Makes devices of what was written; equal networks and hours are the same object, so that a hundred thousand devices take little room. */
export function createDeviceMaker(zone: string): (written: Written) => Device {
  const shared = new Map<string, unknown>();
  const once = <Value extends object>(value: Value): Value => {
    const key = JSON.stringify(value);
    const known = shared.get(key) as Value | undefined;
    if (known === undefined) shared.set(key, value);
    return known ?? value;
  };
  return ({ id, state, hardware: module, fingerprint, key, serial, issuer, users, networks, hours: windows, timezone, owner, location }) => ({
    id, state,
    ...(module === undefined ? {} : { hardware: module }),
    fingerprints: fingerprint.length === 0 ? once([]) : fingerprint,
    keys: key.length === 0 ? once([]) : key,
    serials: serial.length === 0 ? once([]) : serial.map((number) => ({ serial: number, issuer: issuer as string })),
    users: users.length === 0 ? once([]) : users,
    ...(networks === undefined ? {} : { networks: once(networks) }),
    ...(windows === undefined ? {} : { hours: once({ zone: timezone ?? zone, windows: windows.flat() }) }),
    ...(owner === undefined ? {} : { owner }),
    ...(location === undefined ? {} : { location }),
  });
}

function writtenHardware(text: string): string | undefined {
  if (!/^hex:/i.test(text)) return hardwareName(Buffer.from(text));
  const hex = text.slice(4).replaceAll(':', '');
  return /^(?:[0-9a-f]{2}){1,128}$/i.test(hex) ? hardwareName(Buffer.from(hex, 'hex')) : undefined;
}
