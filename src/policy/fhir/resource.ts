import { ABOUT, ID, missing, mismatch, patientOf, quoted, unknownShape, type Compartment, type Objection } from './compartment.ts';
import { COMPARTMENT, RESOURCE_TYPES, UNRELATED_TYPES } from './r4.ts';

/** A value that JSON was read into, and how many members its objects were written with. */
export interface JsonValue {
  readonly value: unknown;
  /** Colons outside of texts: more than there are members once it was read means that one was written twice. */
  readonly colons: number;
}

type JsonObject = Readonly<Record<string, unknown>>;

export interface ResourceRules {
  readonly compartment: Compartment;
  /**
   * Whether references to other patients may stand beside the one to this patient. In answers they may: the mother who asserted a
   * condition is part of the child's record. What is asked for must name no other: it would appear in their record.
   */
  readonly others: 'pass' | 'refuse';
}

/** Types that are answers about the interface itself. */
const OF_THE_INTERFACE = new Set(['OperationOutcome', 'CapabilityStatement']);

/**
 * Whether a resource is the patient's, or nobody's in particular: it is about the patient, or it is about nobody and names the
 * patient and no other where FHIR's definition of the compartment looks, or it is of a type that is shared and names nobody.
 */
export function judgeRead(value: unknown, rules: ResourceRules): Objection | undefined {
  if (!isObject(value)) return unknownShape('not a resource');
  const type = value['resourceType'];
  if (typeof type !== 'string' || !RESOURCE_TYPES.has(type)) return unknownShape(`a resource of the type ${quoted(String(type))}`);
  return judgeType(type, value, rules) ?? judgeContained(type, value, rules) ?? judgeParts(type, value, rules);
}

function judgeType(type: string, resource: JsonObject, { compartment }: ResourceRules): Objection | undefined {
  if (OF_THE_INTERFACE.has(type)) return undefined;
  const partial = compartment.partial === true || isSubset(resource);
  if (compartment.shared.has(type)) return partial && type === 'Device' && referenceOf(resource['patient'], compartment) !== 'own' ? unknownShape(`${nameOf(type, resource)} in part, which need not say whose it is`) : undefined;
  if (type === 'Patient') return resource['id'] === compartment.patient ? undefined : mismatch(`Patient/${plain(resource['id'])}`);
  // A group is of several patients, however many its members are.
  const membership = type === 'Group' ? undefined : COMPARTMENT.get(type);
  if (membership === undefined) return unknownShape(`${nameOf(type, resource)} is of a type that is neither in patients' compartments nor shared`);
  let about = false;
  let own = false;
  let other = false;
  for (const path of membership.elements) {
    for (const element of elementsAt(resource, path.split('.'))) {
      const named = referenceOf(element, compartment);
      if (!ABOUT.has(path)) {
        own ||= named === 'own';
        other ||= named === 'other';
        continue;
      }
      about ||= named === 'own';
      if (named === 'other') return mismatch(`${nameOf(type, resource)} is about another patient`);
      if (named === 'none' && !refersToThing(element)) return unknownShape(`${nameOf(type, resource)} does not say by a reference whom it is about`);
    }
  }
  if (about) return undefined;
  if (own && !other) {
    // The one element that counts came as a whole or not at all.
    return partial && membership.elements.length > 1 ? unknownShape(`${nameOf(type, resource)} in part, which need not say whom it is about`) : undefined;
  }
  const detail = `${nameOf(type, resource)} names ${other ? 'another patient' : 'no patient'} in ${membership.elements.join(', ')}`;
  return other ? mismatch(detail) : missing(detail);
}

/** Whether a server says of a resource that some of its elements were left out (FHIR R4, resource, section 2.26.3.1). */
function isSubset(resource: JsonObject): boolean {
  return elementsAt(resource, ['meta', 'tag', 'code']).includes('SUBSETTED');
}

const THING = /(?:^|\/)([A-Z][A-Za-z]+)\/[A-Za-z0-9\-.]{1,64}(?:\/_history\/[A-Za-z0-9\-.]{1,64})?$/;

/** Whether an element refers to what is a resource and no patient: a group, a device, a place. */
function refersToThing(element: unknown): boolean {
  const reference = isObject(element) ? element['reference'] : undefined;
  const type = typeof reference === 'string' ? THING.exec(reference)?.[1] : undefined;
  return type !== undefined && type !== 'Patient' && RESOURCE_TYPES.has(type);
}

/** A contained resource has no identity of its own: it is judged by what it says, and a Patient says nothing that can be compared. */
function judgeContained(type: string, resource: JsonObject, rules: ResourceRules): Objection | undefined {
  const contained = resource['contained'];
  if (contained === undefined) return undefined;
  if (!Array.isArray(contained)) return unknownShape(`${nameOf(type, resource)}: contained is no list`);
  for (const one of contained) {
    const inner = isObject(one) ? one['resourceType'] : undefined;
    if (!isObject(one) || typeof inner !== 'string') return unknownShape(`${nameOf(type, resource)} contains what is no resource`);
    if (inner === 'Patient' || Object.hasOwn(one, 'contained')) return unknownShape(`${nameOf(type, resource)} contains a ${inner === 'Patient' ? 'patient' : 'resource that contains others'}`);
    // Of a type that refers to nobody it is a part of what contains it.
    const objection = UNRELATED_TYPES.has(inner) ? undefined : judgeType(inner, one, rules);
    if (objection !== undefined) return { ...objection, detail: `within ${nameOf(type, resource)}: ${objection.detail}` };
  }
  return undefined;
}

/** Looks for resources where none may be, and for references to others where there must be none. */
function judgeParts(type: string, resource: JsonObject, { compartment, others }: ResourceRules): Objection | undefined {
  const references = others === 'refuse' || !COMPARTMENT.has(type) ? compartment : undefined;
  for (const [name, value] of Object.entries(resource)) {
    if (name === 'resourceType') continue;
    const objection = name === 'contained' && Array.isArray(value)
      ? firstOf(value, (one) => firstOf(Object.entries(one as JsonObject), ([inner, part]) => (inner === 'resourceType' ? undefined : judgeElement(inner, part, references))))
      : judgeElement(name, value, references);
    if (objection !== undefined) return { ...objection, detail: `${nameOf(type, resource)}: ${objection.detail}` };
  }
  return undefined;
}

/** Any part of a resource, or of what carries resources, but the resources themselves; its references only where a compartment is given. */
export function judgeElement(name: string, value: unknown, compartment: Compartment | undefined): Objection | undefined {
  if (Array.isArray(value)) return firstOf(value, (one) => judgeElement(name, one, compartment));
  if (!isObject(value)) return name === 'reference' && typeof value === 'string' && compartment !== undefined ? judgeReference(value, compartment) : undefined;
  if (compartment !== undefined && isLogical(value)) return unknownShape(`a patient in ${name} who is named by an identifier alone`);
  for (const inner in value) {
    if (inner === 'resourceType') return unknownShape(`a resource in ${name}`);
    const objection = judgeElement(inner, value[inner], compartment);
    if (objection !== undefined) return objection;
  }
  return undefined;
}

/**
 * A reference that is a search (FHIR R4, http, section 3.1.0.11.4) is replaced by what its server finds, among everything that it has: whether it
 * has found something shows, and so what another patient has.
 */
function judgeReference(text: string, compartment: Compartment): Objection | undefined {
  return judgeText(text, compartment) ?? (text.includes('?') ? unknownShape(`a reference to what is found by ${quoted(text)}`) : undefined);
}

/** Whether a reference (FHIR R4, references, section 2.3.0.1) says that it is to a patient, and leaves it to others to find out which. */
function isLogical(element: JsonObject): boolean {
  const { type, identifier, reference } = element;
  return typeof type === 'string' && type.toLowerCase() === 'patient' && isObject(identifier) && reference === undefined;
}

/** A reference or an address: it must not lead to another patient. */
export function judgeText(text: string, compartment: Compartment): Objection | undefined {
  return patientOf(text, compartment) === 'other' ? mismatch(`a reference to ${quoted(text)}`) : undefined;
}

/** Names that FHIR has for elements, and `_` in front of those that extend a primitive one. */
const ELEMENT = /^_?[a-z][A-Za-z0-9]*$/;

/** The names that are looked at, by what is left of them for readers who do not mind case: in another spelling they would be looked past. */
const LOOKED_AT: ReadonlyMap<string, string> = new Map(
  ['resourceType', 'id', 'reference', 'contained', 'entry', 'resource', ...[...COMPARTMENT.values()].flatMap(({ elements }) => elements.flatMap((path) => path.split('.')))]
    .map((name) => [name.toLowerCase(), name]),
);

/**
 * Whether every reader reads the same: names written twice, in whatever case, mean one thing to one reader and another to the
 * next, and so do texts that are no Unicode.
 */
export function judgeMembers(value: unknown, colons: number): Objection | undefined {
  const counted = countMembers(value);
  if (typeof counted !== 'number') return counted;
  return counted === colons ? undefined : unknownShape('a member that is written twice');
}

function countMembers(value: unknown): number | Objection {
  if (typeof value === 'string') return value.isWellFormed() ? 0 : unknownShape('a text that is no Unicode');
  if (Array.isArray(value)) {
    let members = 0;
    for (const one of value) {
      const counted = countMembers(one);
      if (typeof counted !== 'number') return counted;
      members += counted;
    }
    return members;
  }
  if (!isObject(value)) return 0;
  const names = Object.keys(value);
  let members = names.length;
  let mixed = false;
  for (let index = 0; index < names.length; index++) {
    const name = names[index] as string;
    const spelling = spellingOf(name);
    if (spelling === 'odd') return unknownShape(`a member named ${quoted(name)}`);
    mixed ||= spelling === 'mixed';
    const counted = countMembers(value[name]);
    if (typeof counted !== 'number') return counted;
    members += counted;
  }
  if (mixed && new Set(names.map((name) => name.toLowerCase())).size !== names.length) return unknownShape('two members whose names differ in their case only');
  return members;
}

function spellingOf(name: string): 'lower' | 'mixed' | 'odd' {
  const lower = name.toLowerCase();
  if (!ELEMENT.test(name) || (LOOKED_AT.get(lower) ?? name) !== name) return 'odd';
  return lower === name ? 'lower' : 'mixed';
}

function referenceOf(element: unknown, compartment: Compartment): 'own' | 'other' | 'none' {
  const reference = isObject(element) ? element['reference'] : undefined;
  return typeof reference === 'string' ? patientOf(reference, compartment) : 'none';
}

function elementsAt(value: unknown, path: readonly string[]): readonly unknown[] {
  if (Array.isArray(value)) return value.flatMap((one) => elementsAt(one, path));
  const [name, ...rest] = path;
  if (name === undefined) return [value];
  return isObject(value) && Object.hasOwn(value, name) ? elementsAt(value[name], rest) : [];
}

function nameOf(type: string, resource: JsonObject): string {
  return `${type}/${plain(resource['id'])}`;
}

function plain(id: unknown): string {
  return typeof id === 'string' && ID.test(id) ? id : '?';
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function firstOf<Item>(items: readonly Item[], judge: (item: Item) => Objection | undefined): Objection | undefined {
  for (const item of items) {
    const objection = judge(item);
    if (objection !== undefined) return objection;
  }
  return undefined;
}
