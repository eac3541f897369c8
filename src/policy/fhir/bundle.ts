import { unknownShape, type Compartment, type Objection } from './compartment.ts';
import { isObject, judgeElement, judgeMembers, judgeRead, judgeText, type JsonValue, type ResourceRules } from './resource.ts';

/** Bundles that answers are. A message or a subscription's notification is none that anybody asked for. */
const ANSWERS = new Set(['searchset', 'history', 'collection', 'document', 'batch-response', 'transaction-response']);

/** What a Bundle has beside its entries (FHIR R4, Bundle); `_` stands in front of what extends a primitive one. */
const MEMBERS = new Set(['resourceType', 'id', 'meta', 'implicitRules', 'language', 'identifier', 'type', 'timestamp', 'total', 'link', 'signature', 'entry']);
const PRIMITIVE = new Set(['_id', '_implicitRules', '_language', '_type', '_timestamp', '_total']);
const ENTRY_MEMBERS = new Set(['id', 'extension', 'modifierExtension', 'link', 'fullUrl', '_fullUrl', 'resource', 'search', 'request', 'response']);
const RESPONSE_MEMBERS = new Set(['id', 'extension', 'modifierExtension', 'status', '_status', 'location', '_location', 'etag', '_etag', 'lastModified', '_lastModified', 'outcome']);

/** A whole answer that is small enough to be held: one resource, or a Bundle of them. */
export function judgeAnswer({ value, colons }: JsonValue, compartment: Compartment): Objection | undefined {
  return judgeMembers(value, colons) ?? judgeAnswerRead(value, compartment, 1);
}

function judgeAnswerRead(value: unknown, compartment: Compartment, nesting: number): Objection | undefined {
  const rules: ResourceRules = { compartment, others: 'pass' };
  if (!isObject(value) || value['resourceType'] !== 'Bundle') return judgeRead(value, rules);
  // An answer to a batch holds the answers to its searches.
  if (nesting > 2) return unknownShape('a Bundle in a Bundle in a Bundle');
  for (const [name, member] of Object.entries(value)) {
    const objection = name === 'entry' ? judgeEntries(member, compartment, nesting) : judgeBundleMemberRead(name, member, compartment);
    if (objection !== undefined) return objection;
  }
  return typeof value['type'] === 'string' ? undefined : unknownShape('a Bundle without a type');
}

function judgeEntries(entries: unknown, compartment: Compartment, nesting: number): Objection | undefined {
  if (!Array.isArray(entries)) return unknownShape('the entries of a Bundle are no list');
  for (let index = 0; index < entries.length; index++) {
    const objection = judgeEntryRead(entries[index], index, compartment, nesting);
    if (objection !== undefined) return objection;
  }
  return undefined;
}

/** A member of an answer's Bundle, but its entries. */
export function judgeBundleMember(name: string, { value, colons }: JsonValue, compartment: Compartment): Objection | undefined {
  return judgeMembers(value, colons) ?? judgeBundleMemberRead(name, value, compartment);
}

function judgeBundleMemberRead(name: string, value: unknown, compartment: Compartment): Objection | undefined {
  if (!MEMBERS.has(name) && !PRIMITIVE.has(name)) return unknownShape(`a Bundle with a member ${JSON.stringify(name)}`);
  if (name === 'type' && (typeof value !== 'string' || !ANSWERS.has(value))) return unknownShape(`a Bundle of the type ${JSON.stringify(value)}`);
  return judgeElement(name, value, compartment);
}

/** One entry of an answer's Bundle, `index` from 0. */
export function judgeEntry({ value, colons }: JsonValue, index: number, compartment: Compartment): Objection | undefined {
  const objection = judgeMembers(value, colons);
  return objection === undefined ? judgeEntryRead(value, index, compartment, 1) : at(index, objection);
}

function judgeEntryRead(value: unknown, index: number, compartment: Compartment, nesting: number): Objection | undefined {
  if (!isObject(value)) return at(index, unknownShape('not an object'));
  for (const [name, member] of Object.entries(value)) {
    const objection = judgeEntryMember(name, member, compartment, nesting);
    if (objection !== undefined) return at(index, objection);
  }
  if (Object.hasOwn(value, 'resource')) return undefined;
  // What was deleted cannot be told whose it was.
  return Object.hasOwn(value, 'response') && !Object.hasOwn(value, 'request') ? undefined : at(index, unknownShape('no resource'));
}

function judgeEntryMember(name: string, value: unknown, compartment: Compartment, nesting: number): Objection | undefined {
  if (!ENTRY_MEMBERS.has(name)) return unknownShape(`a member ${JSON.stringify(name)}`);
  if (name === 'resource') return judgeAnswerRead(value, compartment, nesting + 1);
  if (name === 'fullUrl') return judgeAddress(value, compartment);
  if (name === 'request') return judgeElement(name, value, compartment) ?? judgeAddress(isObject(value) ? value['url'] : undefined, compartment);
  return name === 'response' ? judgeResponse(value, compartment) : judgeElement(name, value, compartment);
}

function judgeResponse(response: unknown, compartment: Compartment): Objection | undefined {
  if (!isObject(response)) return unknownShape('a response that is no object');
  for (const [name, value] of Object.entries(response)) {
    if (!RESPONSE_MEMBERS.has(name)) return unknownShape(`a response with a member ${JSON.stringify(name)}`);
    const objection = name === 'outcome' ? judgeOutcome(value, compartment) : name === 'location' ? judgeAddress(value, compartment) : judgeElement(name, value, compartment);
    if (objection !== undefined) return objection;
  }
  return undefined;
}

function judgeOutcome(outcome: unknown, compartment: Compartment): Objection | undefined {
  if (!isObject(outcome) || outcome['resourceType'] !== 'OperationOutcome') return unknownShape('an outcome that is no OperationOutcome');
  return judgeRead(outcome, { compartment, others: 'refuse' });
}

function judgeAddress(address: unknown, compartment: Compartment): Objection | undefined {
  return typeof address === 'string' ? judgeText(address, compartment) : unknownShape('an address that is no text');
}

function at(index: number, objection: Objection): Objection {
  return { ...objection, detail: `entry ${index}: ${objection.detail}` };
}
