import { z } from 'zod';
import { hardwareName } from '../pki/hardware.ts';
import { parseNameText } from '../pki/name.ts';
import { prepareText } from '../pki/preparation.ts';
import { readCsv, type CsvRow } from './csv.ts';
import { parseHours, type Hours } from './hours.ts';
import { formatPath, pathKey, printable, show, type Fault, type Issue, type Path } from './issue.ts';
import { schemaFaults } from './schema-faults.ts';
import { decodeUtf8 } from './text.ts';
import { network, timeZone } from './values.ts';
import { readYaml, type Position, type SyntaxFault } from './yaml-source.ts';

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

export type InventoryResult =
  | { readonly kind: 'ok'; readonly devices: readonly Device[] }
  | { readonly kind: 'invalid'; readonly issues: readonly Issue[] };

const MIB = 1024 * 1024;
/** Octets of an inventory file. */
export const LARGEST_INVENTORY = 64 * MIB;
/** YAML is slow to read: longer lists are for CSV. */
const YAML_LIMITS = { size: 2 * MIB, values: 200_000 };
/** Devices that are read at a time. */
const SLICE = 500;

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
const KNOWN = Object.keys(SHAPE);
/** The keys that hold lists: in CSV, their items are separated by semicolons. */
const LISTS: ReadonlySet<string> = new Set(['fingerprint', 'key', 'serial', 'users', 'networks', 'hours']);

/** A device as files and webhooks write it. */
export const deviceSchema = z.strictObject(SHAPE, { error: (issue) => (issue.code === 'unrecognized_keys' ? KNOWN.join(', ') : undefined) })
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

/**
 * Reads an inventory: CSV with a header line, or a YAML (or JSON) list of devices, by the name of the file. `zone` is where hours are
 * meant that name no zone. Every issue at once, at its line and column. A long one is read in slices.
 */
export async function readInventory(bytes: Uint8Array, file: string, zone: string): Promise<InventoryResult> {
  const decoded = decodeUtf8(bytes);
  if (decoded.kind === 'fault') return { kind: 'invalid', issues: [{ file, line: decoded.line, column: 1, path: formatPath([]), message: printable(decoded.message) }] };
  const source = /\.csv$/i.test(file) ? fromCsv(decoded.text) : /\.(?:ya?ml|json)$/i.test(file) ? fromYaml(decoded.text) : UNKNOWN_FORM;
  const found: Placed[] = source.faults.map((fault) => ({ ...fault, path: [] }));
  const make = createDeviceMaker(zone);
  const devices: Device[] = [];
  const first = new Map<string, number>();
  for (const [index, { value, locate }] of source.entries.entries()) {
    if (index % SLICE === SLICE - 1) await new Promise((resolve) => setImmediate(resolve));
    const place = (fault: Fault): Placed => ({ ...locate(fault), path: [index, ...fault.path], message: fault.message });
    const parsed = deviceSchema.safeParse(value);
    if (!parsed.success) {
      found.push(...firstOfEach(schemaFaults(parsed.error.issues, value)).map(place));
      continue;
    }
    const { id } = parsed.data;
    const earlier = first.get(prepareText(id));
    if (earlier === undefined) {
      first.set(prepareText(id), index);
      devices.push(make(parsed.data));
    } else found.push(place({ path: ['id'], message: `the id ${show(id)} is taken by [${earlier}]` }));
  }
  return found.length === 0 ? { kind: 'ok', devices } : { kind: 'invalid', issues: ordered(found, file) };
}

interface Placed extends Position {
  readonly path: Path;
  readonly message: string;
}

interface Source {
  readonly faults: readonly SyntaxFault[];
  readonly entries: readonly { readonly value: unknown; readonly locate: (fault: Fault) => Position }[];
}

const UNKNOWN_FORM: Source = { entries: [], faults: [{ line: 1, column: 1, message: 'expected a file named .csv, .yaml, .yml or .json' }] };

function fromYaml(text: string): Source {
  const source = readYaml(text, YAML_LIMITS);
  if (source.kind === 'invalid') return { entries: [], faults: source.faults };
  const faults = source.faults.map((fault) => ({ ...(fault.at === 'key' ? source.locateKey(fault.path) : source.locate(fault.path)), message: fault.message }));
  if (!Array.isArray(source.value)) return { entries: [], faults: [...faults, { ...source.locate([]), message: 'expected a list of devices' }] };
  return {
    faults,
    entries: source.value.map((value: unknown, index) => ({ value, locate: ({ path, at }) => (at === 'key' ? source.locateKey([index, ...path]) : source.locate([index, ...path])) })),
  };
}

function fromCsv(text: string): Source {
  const { rows: [header, ...rows], faults } = readCsv(text);
  if (header === undefined) return { entries: [], faults: [...faults, { line: 1, column: 1, message: 'the file is empty' }] };
  const names = header.fields.map((name) => name.trim().toLowerCase());
  const wrong = names.flatMap((name, index) => {
    const message = !KNOWN.includes(name) ? `unknown column ${show(name)}; known: ${KNOWN.join(', ')}` : names.indexOf(name) < index ? `the column ${name} is given twice` : undefined;
    return message === undefined ? [] : [{ ...(header.positions[index] as Position), message }];
  });
  if (!names.includes('id')) wrong.push({ line: 1, column: 1, message: 'expected a column id' });
  if (wrong.length > 0) return { entries: [], faults: [...faults, ...wrong] };
  const long = rows.filter(({ fields }) => fields.length !== names.length).slice(0, MOST_ISSUES)
    .map(({ fields, positions }) => ({ ...(positions[0] as Position), message: `expected ${names.length} fields as in the header; got ${fields.length}` }));
  return { faults: [...faults, ...long], entries: long.length > 0 ? [] : rows.map((row) => csvEntry(names, row)) };
}

function csvEntry(names: readonly string[], { fields, positions }: CsvRow): Source['entries'][number] {
  const value: Record<string, unknown> = {};
  names.forEach((name, index) => {
    const text = (fields[index] as string).trim();
    if (text !== '') value[name] = LISTS.has(name) ? text.split(';').map((item) => item.trim()) : text;
  });
  return { value, locate: ({ path }) => positions[names.indexOf(String(path[0]))] ?? (positions[0] as Position) };
}

function firstOfEach(faults: readonly Fault[]): readonly Fault[] {
  const seen = new Set<string>();
  return faults.filter(({ path }) => !seen.has(pathKey(path)) && seen.add(pathKey(path)));
}

const MOST_ISSUES = 200;

function ordered(found: readonly Placed[], file: string): readonly Issue[] {
  const issues = found.toSorted((a, b) => a.line - b.line || a.column - b.column)
    .map(({ line, column, path, message }) => ({ file, line, column, path: path.length === 0 ? 'inventory' : formatPath(path), message }));
  if (issues.length <= MOST_ISSUES) return issues;
  return [...issues.slice(0, MOST_ISSUES - 1), { ...(issues[MOST_ISSUES - 1] as Issue), path: 'inventory', message: `and ${issues.length - MOST_ISSUES + 1} more issues` }];
}

function writtenHardware(text: string): string | undefined {
  if (!/^hex:/i.test(text)) return hardwareName(Buffer.from(text));
  const hex = text.slice(4).replaceAll(':', '');
  return /^(?:[0-9a-f]{2}){1,128}$/i.test(hex) ? hardwareName(Buffer.from(hex, 'hex')) : undefined;
}
