import { quoted, unknownShape, type Objection } from './fhir/compartment.ts';
import { readJson } from './fhir/json.ts';

/** In DICOMweb (PS3.18 section 8.3.4.1) an attribute has two names; of two that differ, servers take the one that they read last. */
const ALSO: ReadonlyMap<string, string> = new Map([['00100020', 'patientid']]);

/** A name as the laxest servers see it: PHP ends it at a bracket or NUL, drops blanks before it and turns blanks and dots into "_"; others do not mind case. */
function asServersRead(name: string): string {
  // eslint-disable-next-line no-control-regex
  const plain = (name.toLowerCase().trim().split(/[[\u0000]/, 1)[0] as string).replace(/[ .]/g, '_');
  return ALSO.get(plain) ?? plain;
}

/** The parameters of a query that some server would read as the one of this name: `id[]`, `ID`, `i%64`, one behind a `;`, one that cannot be decoded. As written. */
export function readAs(wanted: string, query: string): readonly string[] {
  const plain = asServersRead(wanted);
  return query.split(/[&;]/).filter((part) => {
    const name = decode((part.split('=', 1)[0] as string).replaceAll('+', ' '));
    return name === undefined || asServersRead(name) === plain;
  });
}

export function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** Why a body leaves unclear what the parameters of a query are. */
export const UNCLEAR = {
  form: 'a form, whose fields some servers take for parameters of the query',
  encoded: 'a body of JSON that is encoded, whose members some servers take for parameters of the query',
  other: 'a body that nobody here reads, and of which a server may: neither JSON nor of a type under unread',
} as const;

/**
 * What comes beside a query, as the header section says: a form, whose fields PHP, Rails and servlets put beside the parameters of the query or in their place; JSON,
 * of which Rails and Laravel do the same with the members of the outermost object; `encoded` JSON, which cannot be read here; or another body, which some servers read
 * parameters from (XML in Rails before 4, any that somebody added a reader for), unless all it says of its type is one of `unread`. `unannounced`: one comes of which that section need not tell.
 */
export function bodyBeside(fields: readonly string[], unread: ReadonlySet<string>, unannounced: boolean): 'none' | 'form' | 'json' | 'encoded' | 'other' {
  let json = false;
  let encoded = false;
  let comes = unannounced;
  const types: string[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const name = (fields[index] as string).toLowerCase().replace(/[^a-z0-9]/g, '-');
    const value = fields[index + 1] as string;
    if (name === 'content-type' && /x-www-form-urlencoded|multipart\/form-data/i.test(value)) return 'form';
    json ||= name === 'content-type' && /(?:^|[^a-z])json/i.test(value);
    encoded ||= name === 'content-encoding' && value.trim().toLowerCase() !== 'identity';
    comes ||= name === 'transfer-encoding' || (name === 'content-length' && value.trim() !== '0');
    if (name === 'content-type') types.push((value.split(';', 1)[0] as string).trim().toLowerCase());
  }
  if (json) return encoded ? 'encoded' : 'json';
  return comes && !(types.length === 1 && unread.has(types[0] as string)) ? 'other' : 'none';
}

/** Whether a body of JSON leaves the parameter that names a patient as it is: no member that some server would take for it, or the one that says the same. */
export function judgeBeside(parameter: string, patient: string, octets: Uint8Array): Objection | undefined {
  if (octets.length === 0) return undefined;
  const read = readJson(octets);
  if (read.kind === 'objection') return read;
  // Readers differ in which of two counts.
  if (membersOf(read.value) !== read.colons) return unknownShape('a member that is written twice');
  if (typeof read.value !== 'object' || read.value === null || Array.isArray(read.value)) return undefined;
  const plain = asServersRead(parameter);
  const other = Object.entries(read.value).find(([name, value]) => asServersRead(name) === plain && (name !== parameter || (value !== patient && !isNumber(value, patient))));
  return other === undefined ? undefined : unknownShape(`a member ${quoted(other[0])}, which some servers take for the parameter ${parameter}`);
}

/** Whether a number is the id; of larger ones JavaScript may have read another than is written. */
function isNumber(value: unknown, id: string): boolean {
  return Number.isSafeInteger(value) && String(value) === id;
}

function membersOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const within = Object.values(value).reduce<number>((sum, one) => sum + membersOf(one), 0);
  return Array.isArray(value) ? within : within + Object.keys(value).length;
}
