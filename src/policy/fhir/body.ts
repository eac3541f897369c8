import { parseTarget } from '../target.ts';
import { mismatch, quoted, unknownShape, type Objection } from './compartment.ts';
import { judgeSearch, parseQuery, type SearchRules } from './query.ts';
import { isJsonBody, judgeRequest, type AwaitedBody } from './request.ts';
import { isObject, judgeElement, judgeMembers, judgeRead } from './resource.ts';
import { readJson } from './json.ts';

const BUNDLE_MEMBERS = new Set(['resourceType', 'id', 'meta', 'type', 'timestamp', 'entry']);
const ENTRY_MEMBERS = new Set(['fullUrl', 'resource', 'request']);
const REQUEST_MEMBERS = new Set(['method', 'url', 'ifMatch']);

/** Whether the body of a request stays within the compartment that its head was found to be in. */
export function judgeBody(awaited: AwaitedBody, contentType: string | undefined, octets: Uint8Array, rules: SearchRules): Objection | undefined {
  switch (awaited.kind) {
    case 'none': return octets.length === 0 ? undefined : unknownShape('a body where none is expected');
    case 'form': return judgeForm(awaited, contentType, octets, rules);
    case 'resource':
    case 'bundle': {
      if (!isJsonBody(contentType)) return unknownShape(`a body of the type ${quoted(contentType ?? '')}: only JSON can be judged`);
      const read = readJson(octets);
      if (read.kind === 'objection') return read;
      const objection = judgeMembers(read.value, read.colons);
      return objection ?? (awaited.kind === 'bundle' ? judgeBatch(read.value, rules) : judgeGiven(awaited, read.value, rules));
    }
  }
}

/** A search whose parameters come in the body; those of the query count as well. */
function judgeForm(awaited: AwaitedBody & { kind: 'form' }, contentType: string | undefined, octets: Uint8Array, rules: SearchRules): Objection | undefined {
  if (contentType === undefined || !/^application\/x-www-form-urlencoded(?:\s*;\s*charset=utf-8)?$/i.test(contentType.trim())) {
    return unknownShape(`a search of the type ${quoted(contentType ?? '')}`);
  }
  const text = latin1(octets);
  // eslint-disable-next-line no-control-regex
  if (/[^\u0021-\u007e]/.test(text)) return unknownShape('a form that is not percent-encoded');
  const form = parseQuery(text);
  if (form.kind === 'objection') return form;
  return judgeSearch(awaited.type, { kind: 'query', pairs: [...awaited.query.pairs, ...form.pairs] }, false, rules);
}

function judgeGiven({ type, id }: AwaitedBody & { kind: 'resource' }, value: unknown, { compartment }: SearchRules): Objection | undefined {
  if (!isObject(value) || value['resourceType'] !== type) return unknownShape(`a body that is no ${type}`);
  if (id !== undefined && value['id'] !== id) return mismatch(`a ${type} with another id`);
  // Whoever says that they are the same person as another (Patient.link) gets that one's compartment (FHIR R4, CompartmentDefinition/patient).
  return judgeRead(value, { compartment, others: 'refuse' });
}

/** A batch or a transaction: every entry is a request for itself. */
function judgeBatch(value: unknown, rules: SearchRules): Objection | undefined {
  if (!isObject(value) || value['resourceType'] !== 'Bundle') return unknownShape('a body that is no Bundle');
  if (value['type'] !== 'batch' && value['type'] !== 'transaction') return unknownShape(`a Bundle of the type ${quoted(String(value['type']))}`);
  for (const name in value) if (!BUNDLE_MEMBERS.has(name)) return unknownShape(`a Bundle with a member ${quoted(name)}`);
  const entries = value['entry'] ?? [];
  if (!Array.isArray(entries)) return unknownShape('the entries of a Bundle are no list');
  for (let index = 0; index < entries.length; index++) {
    const objection = judgeEntry(entries[index], rules);
    if (objection !== undefined) return { ...objection, detail: `entry ${index}: ${objection.detail}` };
  }
  return judgeElement('meta', value['meta'], rules.compartment);
}

function judgeEntry(entry: unknown, rules: SearchRules): Objection | undefined {
  const request = isObject(entry) ? entry['request'] : undefined;
  if (!isObject(entry) || !isObject(request)) return unknownShape('no request');
  for (const name in entry) if (!ENTRY_MEMBERS.has(name)) return unknownShape(`a member ${quoted(name)}`);
  for (const name in request) if (!REQUEST_MEMBERS.has(name)) return unknownShape(`a request with a member ${quoted(name)}`);
  const { fullUrl, resource } = entry;
  // Others may refer to it by that name; a name that is an address could be somebody's.
  if (fullUrl !== undefined && (typeof fullUrl !== 'string' || !/^urn:uuid:[0-9A-Fa-f-]{36}$/.test(fullUrl))) return unknownShape('a full URL that is no urn:uuid');
  const { method, url } = request;
  if (typeof method !== 'string' || typeof url !== 'string') return unknownShape('a request without a method or an address');
  // Relative to the base, and written as the target of a request by itself must be ("#" ends the query for some), in a path without escapes.
  const target = parseTarget(`/${url}`);
  if (target.kind === 'malformed' || !/^\/[A-Za-z0-9\-._$*/]+$/.test(target.path) || target.path.endsWith('/')) return unknownShape(`a request of ${quoted(url)}`);
  const judged = judgeRequest({ method, segments: target.segments, query: target.query }, rules);
  if (judged.kind === 'objection') return judged;
  switch (judged.body.kind) {
    case 'none': return resource === undefined ? undefined : unknownShape('a resource where none is expected');
    case 'resource': return judgeGiven(judged.body, resource, rules);
    default: return unknownShape(`${method} ${quoted(url)} within a Bundle`);
  }
}

function latin1(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString('latin1');
}
