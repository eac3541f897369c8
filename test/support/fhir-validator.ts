import { readFileSync } from 'node:fs';

interface ElementRule {
  readonly path: string;
  readonly min: number;
  /** Null: any number. */
  readonly max: number | null;
  readonly types: readonly string[];
  readonly strength?: 'required' | 'extensible';
  readonly codes?: readonly { readonly system: string; readonly codes: readonly string[] }[];
}

interface Definitions {
  readonly elements: readonly ElementRule[];
  readonly patterns: Readonly<Record<string, string>>;
  readonly displays: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
type Member = { readonly [name: string]: Json };

const definitions = JSON.parse(readFileSync(new URL('../vectors/fhir-r4-audit-event.json', import.meta.url), 'utf8')) as Definitions;
const CHILDREN = new Map<string, ElementRule[]>();
for (const rule of definitions.elements) {
  const parent = rule.path.slice(0, rule.path.lastIndexOf('.'));
  CHILDREN.set(parent, [...CHILDREN.get(parent) ?? [], rule]);
}
/** Codes that the displayed texts must be those of. */
const DISPLAYS = definitions.displays;

function isMember(value: Json | undefined): value is Member {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What of FHIR R4's definition of AuditEvent a resource breaks: elements, cardinalities, types, required bindings, codes and displays, sev-1. */
export function auditEventFaults(resource: unknown): readonly string[] {
  if (!isMember(resource as Json)) return ['no object'];
  const { resourceType, ...rest } = resource as Member;
  const entities = Array.isArray(rest['entity']) ? rest['entity'] as readonly Json[] : [];
  return [
    ...(resourceType === 'AuditEvent' ? [] : ['no AuditEvent']),
    ...membersFaults('AuditEvent', rest, 'AuditEvent'),
    ...entities.flatMap((entity, index) => (isMember(entity) && 'name' in entity && 'query' in entity ? [`entity[${index}]: sev-1: a name and a query`] : [])),
  ];
}

function membersFaults(path: string, value: Member, place: string): readonly string[] {
  const rules = CHILDREN.get(path) ?? [];
  if (Object.keys(value).length === 0) return [`${place}: ele-1: empty`];
  const named = (rule: ElementRule): readonly string[] => {
    const name = rule.path.slice(rule.path.lastIndexOf('.') + 1);
    return name.endsWith('[x]') ? rule.types.map((type) => `${name.slice(0, -3)}${type.charAt(0).toUpperCase()}${type.slice(1)}`) : [name];
  };
  const known = new Set(rules.flatMap(named));
  return [
    ...Object.keys(value).filter((name) => !known.has(name)).map((name) => `${place}.${name}: unknown`),
    ...rules.flatMap((rule) => {
      const present = named(rule).filter((name) => value[name] !== undefined);
      const [name] = present;
      if (name === undefined) return rule.min > 0 ? [`${place}: ${rule.path} is missing`] : [];
      if (present.length > 1) return [`${place}: ${present.join(' and ')}`];
      const type = rule.types[named(rule).indexOf(name)] ?? rule.types[0] ?? '';
      return elementFaults(rule, type, value[name] as Json, `${place}.${name}`);
    }),
  ];
}

function elementFaults(rule: ElementRule, type: string, value: Json, place: string): readonly string[] {
  if (rule.max === 1) return Array.isArray(value) ? [`${place}: a list`] : valueFaults(rule, type, value, place);
  if (!Array.isArray(value)) return [`${place}: no list`];
  const items = value as readonly Json[];
  if (items.length === 0) return [`${place}: an empty list`];
  return items.flatMap((item, index) => valueFaults(rule, type, item, `${place}[${index}]`));
}

function valueFaults(rule: ElementRule, type: string, value: Json, place: string): readonly string[] {
  if (type in definitions.patterns) return primitiveFaults(rule, type, value, place);
  if (!isMember(value)) return [`${place}: no object`];
  return [...membersFaults(type === 'BackboneElement' ? rule.path : type, value, place), ...(type === 'Coding' ? codingFaults(rule, value, place) : [])];
}

function primitiveFaults(rule: ElementRule, type: string, value: Json, place: string): readonly string[] {
  if (type === 'boolean') return typeof value === 'boolean' ? [] : [`${place}: no boolean`];
  if (typeof value !== 'string' || !new RegExp(`^(?:${definitions.patterns[type] ?? ''})$`).test(value)) return [`${place}: no ${type}: ${JSON.stringify(value)}`];
  // FHIR R4, 2.24.0.1: no control characters but these, a megabyte at most.
  if (type === 'string' && (/[^\P{Cc}\t\r\n]/u.test(value) || !value.isWellFormed() || value.length > 1 << 20)) return [`${place}: no string of FHIR`];
  const bound = rule.strength === 'required' && rule.codes !== undefined && !rule.codes.some(({ codes }) => codes.includes(value));
  return bound ? [`${place}: ${value} is not in the required value set`] : [];
}

/** A code of a system that we know must be there, with its display; an extensible binding leaves other systems. */
function codingFaults({ codes, strength }: ElementRule, { system, code, display }: Member, place: string): readonly string[] {
  const known = typeof system === 'string' ? DISPLAYS[system] : undefined;
  const own = known?.[String(code)];
  if (known !== undefined && own === undefined) return [`${place}: ${String(system)} has no code ${String(code)}`];
  if (own !== undefined && display !== undefined && display !== own) return [`${place}: ${String(code)} is ${JSON.stringify(own)}, not ${JSON.stringify(display)}`];
  const set = codes?.find((one) => one.system === system);
  if (set !== undefined && set.codes.length > 0 && !set.codes.includes(String(code))) return [`${place}: ${String(code)} of that system is not in the value set`];
  return strength === 'required' && codes !== undefined && set === undefined ? [`${place}: ${String(system)} is not in the required value set`] : [];
}

/** What of a profile in the notation of balp.ts a resource breaks. */
export function profileFaults(resource: unknown, rules: readonly string[]): readonly string[] {
  const slices = slicesOf(rules);
  return rules.flatMap((rule) => ruleFaults(resource as Member, rule, slices).map((fault) => `${rule}: ${fault}`));
}

interface Slicing {
  readonly by: '$this' | 'type';
  /** What tells the members of a slice: the rule of its discriminator. */
  readonly of: Readonly<Record<string, string>>;
}

function slicesOf(rules: readonly string[]): ReadonlyMap<string, Slicing> {
  const found = new Map<string, Slicing>();
  for (const rule of rules) {
    const [, path = '', by = ''] = /^(\S+) by (\S+)$/.exec(rule) ?? [];
    if (path === '') continue;
    const suffix = by === '$this' ? '' : `.${by}`;
    const of = Object.fromEntries(rules.flatMap((one) => {
      const [, name, said] = new RegExp(`^${path}\\[(\\w+)\\]${suffix.replace('.', '\\.')} ((?:=|from) .*)$`).exec(one) ?? [];
      return name === undefined || said === undefined ? [] : [[name, said]];
    }));
    found.set(path, { by: by === '$this' ? '$this' : 'type', of });
  }
  return found;
}

function ruleFaults(resource: Member, rule: string, slices: ReadonlyMap<string, Slicing>): readonly string[] {
  const [, path = '', kind = '', said = ''] = /^(\S+) (by|has|=|from|only|(?:\d+\.\.(?:\d+|\*)?))(?: (.*))?$/.exec(rule) ?? [];
  if (kind === '') throw new Error(`the rule ${rule} cannot be read`);
  if (kind === 'by') return [];
  if (kind === 'has') {
    const [slice = '', cardinality = ''] = said.split(' ');
    return countFaults(valuesAt(resource, `${path}[${slice}]`, slices).length, cardinality);
  }
  if (kind === '=') return valuesAt(resource, path, slices).flatMap((value) => (matches(value, [said]) ? [] : [`it is ${JSON.stringify(value)}`]));
  if (kind === 'from') return valuesAt(resource, path, slices).flatMap((value) => (matches(value, said.split('|')) ? [] : [`it is ${JSON.stringify(value)}`]));
  if (kind === 'only') return valuesAt(resource, path, slices).flatMap((value) => (isReferenceTo(value, said) ? [] : [`it is ${JSON.stringify(value)}`]));
  // A cardinality is one for each of what the path leads through.
  const at = path.lastIndexOf('.');
  const parents = at === -1 ? [resource] : valuesAt(resource, path.slice(0, at), slices);
  return parents.flatMap((parent) => countFaults(listed((parent as Member)[path.slice(at + 1)]).length, kind));
}

function countFaults(count: number, cardinality: string): readonly string[] {
  const [least = '0', most = '*'] = cardinality.split('..');
  return count < Number(least) || (most !== '*' && most !== '' && count > Number(most)) ? [`there are ${count}`] : [];
}

function listed(value: Json | undefined): readonly Json[] {
  return value === undefined ? [] : Array.isArray(value) ? value as readonly Json[] : [value];
}

function valuesAt(resource: Member, path: string, slices: ReadonlyMap<string, Slicing>): readonly Json[] {
  let values: readonly Json[] = [resource];
  let walked = '';
  for (const step of path.split('.')) {
    const [, name = '', slice] = /^(\w+)(?:\[(\w+)\])?$/.exec(step) ?? [];
    walked = walked === '' ? name : `${walked}.${name}`;
    values = values.flatMap((value) => listed(isMember(value) ? value[name] : undefined));
    const slicing = slices.get(walked);
    if (slice !== undefined) values = values.filter((value) => belongs(value, slicing, slice));
  }
  return values;
}

function belongs(value: Json, slicing: Slicing | undefined, slice: string): boolean {
  const said = slicing?.of[slice];
  if (slicing === undefined || said === undefined) throw new Error(`no discriminator for ${slice}`);
  const discriminated = slicing.by === '$this' ? value : isMember(value) ? value['type'] : undefined;
  return discriminated !== undefined && matches(discriminated, said.replace(/^(?:=|from) /, '').split('|'));
}

/** A code, a Coding, or a CodeableConcept of which one Coding is it. */
function matches(value: Json, wanted: readonly string[]): boolean {
  if (isMember(value) && 'coding' in value) return listed(value['coding']).some((coding) => matches(coding, wanted));
  if (isMember(value)) return wanted.includes(`${String(value['system'])}#${String(value['code'])}`);
  return wanted.some((one) => one === String(value) || one.slice(one.indexOf('#') + 1) === String(value));
}

function isReferenceTo(value: Json, said: string): boolean {
  const type = /^Reference\((\w+)\)$/.exec(said)?.[1];
  if (!isMember(value)) return false;
  const { type: stated, reference } = value;
  return (stated === undefined || stated === type) && (typeof reference !== 'string' || reference.startsWith(`${type}/`) || reference.includes(`/${type}/`)) && (stated !== undefined || reference !== undefined);
}
