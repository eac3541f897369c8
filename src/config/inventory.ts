import { prepareText } from '../pki/preparation.ts';
import { readCsv, type CsvRow } from './csv.ts';
import { createDeviceMaker, DEVICE_KEYS, deviceSchema, type Device } from './device.ts';
import { formatPath, pathKey, printable, show, type Fault, type Issue, type Path } from './issue.ts';
import { schemaFaults } from './schema-faults.ts';
import { decodeUtf8 } from './text.ts';
import { readYaml, type Position, type SyntaxFault } from './yaml-source.ts';

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

/** The keys that hold lists: in CSV, their items are separated by semicolons. */
const LISTS: ReadonlySet<string> = new Set(['fingerprint', 'key', 'serial', 'users', 'networks', 'hours']);

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
    const message = !DEVICE_KEYS.includes(name) ? `unknown column ${show(name)}; known: ${DEVICE_KEYS.join(', ')}` : names.indexOf(name) < index ? `the column ${name} is given twice` : undefined;
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
