import type { PatientConfig } from '../config/schema.ts';
import type { Identity } from '../identity/roles.ts';
import { ID, mismatch, missing, quoted, unknownShape, type Compartment, type Objection } from './fhir/compartment.ts';
import type { SearchRules } from './fhir/query.ts';
import { bodyBeside, decode, readAs, UNCLEAR } from './parameters.ts';
import { judgeFields, judgeRequest, patientAsked, type AwaitedBody } from './fhir/request.ts';

/** Where requests of a route name the patient they concern, and whom that binds. */
export interface PatientRule {
  readonly where: Simple | FhirRule;
  /** Roles that reach no other patient than the one they are. */
  readonly bound: ReadonlySet<string>;
  /** What stands before and behind the patient's id in the id of a bound client. */
  readonly around: readonly [before: string, behind: string];
}

interface Simple {
  readonly kind: 'path' | 'query' | 'header';
  readonly name: string;
  /** Media types, in lower case, whose bodies pass beside a query. */
  readonly unread: ReadonlySet<string>;
}

interface FhirRule {
  readonly kind: 'fhir';
  /** Segments of the path that are the base of the interface. */
  readonly depth: number;
  readonly shared: ReadonlySet<string>;
  readonly bases: readonly string[];
  readonly pages: ReadonlySet<string>;
  /** Octets of one resource. */
  readonly resource: number;
}

/** What a permitted request is still bound to. */
export type Bond = FhirBond | QueryBond;

/** Its body before it leaves, and its answer before that does. */
export interface FhirBond {
  readonly kind: 'fhir';
  readonly rules: SearchRules;
  readonly body: AwaitedBody;
  /** Whether elements of what is answered may be left out. */
  readonly partial: boolean;
  /** Octets of one resource, and of a body where nothing else limits it. */
  readonly resource: number;
}

/** Its body before it leaves: members of JSON must not overrule the query. */
export interface QueryBond {
  readonly kind: 'query';
  readonly parameter: string;
  readonly patient: string;
  /** Octets of a body where nothing else limits it. */
  readonly resource: number;
}

/** Of a body that is held beside a query, where the route sets no limit. */
const LARGEST_BESIDE = 1024 * 1024;

/** `named`: whom the request concerns, where it says so in one way; `unclear`: why some server may read that it is somebody else. */
export type PatientFinding =
  | { readonly kind: 'concerns'; readonly named: string | undefined; readonly bond: Bond | undefined; readonly unclear?: string }
  | (Objection & { readonly named: string | undefined });

/** The parts of a request that may name a patient. */
export interface PatientQuestion {
  readonly method: string;
  readonly host: string;
  /** The path as written, and its segments, decoded. */
  readonly path: string;
  readonly segments: readonly string[];
  readonly query: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** Name, value, name, value…, as received. */
  readonly fields: readonly string[];
  /** A body comes, of which the header section need not tell. */
  readonly unannounced?: boolean | undefined;
}

/** Compiles the rule of a route whose pattern has `depth` segments. */
export function compilePatient({ path, query, header, bound, id, fhir, unread = [] }: PatientConfig, depth: number): PatientRule {
  const [before = '', behind = ''] = id.split('*');
  const name = path ?? query ?? header?.toLowerCase() ?? '';
  const kind = path !== undefined ? 'path' : query !== undefined ? 'query' : 'header';
  return {
    bound: new Set(bound),
    around: [before, behind],
    where: fhir === undefined ? { kind, name, unread: new Set(unread) } : {
      kind: 'fhir', depth, shared: new Set(fhir.shared), bases: fhir.bases.map((base) => base.replace(/^https?:\/\//, '').toLowerCase()), pages: new Set(fhir.pages), resource: fhir.resource,
    },
  };
}

/**
 * Whom a request concerns, and whether whoever asks may reach them: a bound client reaches the patient it is, named exactly
 * once and in the one spelling that has one reading. `admitted`: the roles by which the route lets it in. `emergency`: it would be let
 * in for an emergency, for which it may have named a patient.
 */
export function judgePatient(
  rule: PatientRule, question: PatientQuestion, identity: Identity | undefined, admitted: readonly string[], emergency?: { readonly patient: string | undefined },
): PatientFinding {
  const { where, bound } = rule;
  const free = isFree(bound, identity, admitted);
  const fhir = where.kind === 'fhir' ? { method: question.method, segments: question.segments.slice(where.depth), query: question.query } : undefined;
  const beside = where.kind === 'query' ? bodyBeside(question.fields, where.unread, question.unannounced === true) : 'none';
  const unclear = beside === 'none' || beside === 'json' ? undefined : UNCLEAR[beside];
  const bondTo = (named: string): QueryBond | undefined => (where.kind === 'query' && beside === 'json' ? { kind: 'query', parameter: where.name, patient: named, resource: LARGEST_BESIDE } : undefined);
  if (free && fhir === undefined) {
    const concern = concernOf(namedIn(where as Simple, question));
    const bond = emergency === undefined || concern.named === undefined ? undefined : bondTo(concern.named);
    return { ...concern, bond, ...(unclear === undefined ? {} : { unclear }) };
  }
  if (free && where.kind === 'fhir' && fhir !== undefined) {
    const named = patientAsked(fhir);
    // A grant for one patient serves nothing of another: what it may be asked and answered is what that patient may.
    const granted = emergency === undefined ? undefined : named ?? emergency.patient;
    return granted === undefined ? { kind: 'concerns', named, bond: undefined } : judgeFhir(where, question, granted);
  }
  const patient = patientOfClient(rule, identity);
  if (patient === undefined) return { ...missing('the client\'s id holds no patient'), named: undefined };
  if (where.kind === 'fhir') return judgeFhir(where, question, patient);
  const found = namedIn(where, question);
  if (found.kind === 'objection') return { ...found, named: undefined };
  if (found.patient !== patient) return { ...mismatch(`the ${where.kind} names ${quoted(found.patient)}`), named: found.patient };
  return unclear === undefined ? { kind: 'concerns', named: patient, bond: bondTo(patient) } : { ...unknownShape(unclear), named: patient };
}

/** Whether somebody may name a patient beforehand, for requests to come: as with each of those, a bound client names the patient it is. */
export function judgeDeclared({ where, bound, around }: PatientRule, patient: string, identity: Identity, admitted: readonly string[]): Objection | undefined {
  if (where.kind === 'fhir' && !ID.test(patient)) return missing('that is no id that FHIR could name');
  if (isFree(bound, identity, admitted) || patientOfClient({ around }, identity) === patient) return undefined;
  return mismatch(`a bound client names ${quoted(patient)}`);
}

function isFree(bound: ReadonlySet<string>, identity: Identity | undefined, admitted: readonly string[]): boolean {
  // A patient who inherits another role stays one; whoever is something else first, and is let in as that, is free.
  return identity !== undefined && !bound.has(identity.role) && admitted.some((role) => !bound.has(role));
}

function judgeFhir(where: FhirRule, { method, host, path, segments, query, fields }: PatientQuestion, patient: string): PatientFinding {
  if (!ID.test(patient)) return { ...missing('the client\'s id holds no patient that FHIR could name'), named: undefined };
  const below = segments.slice(where.depth);
  const base = path.split('/').slice(0, where.depth + 1).join('/');
  const compartment: Compartment = { patient, host, base, bases: where.bases, shared: where.shared };
  const rules: SearchRules = { compartment, pages: where.pages };
  const judged = judgeFields(fields) ?? judgeRequest({ method, segments: below, query }, rules);
  if (judged.kind === 'objection') return { ...judged, named: patientAsked({ method, segments: below, query }) };
  return { kind: 'concerns', named: patient, bond: { kind: 'fhir', rules, body: judged.body, partial: judged.partial, resource: where.resource } };
}

function patientOfClient({ around: [before, behind] }: Pick<PatientRule, 'around'>, identity: Identity | undefined): string | undefined {
  const id = identity?.id ?? '';
  if (id.length <= before.length + behind.length || !id.startsWith(before) || !id.endsWith(behind)) return undefined;
  return id.slice(before.length, id.length - behind.length);
}

type Named = { readonly kind: 'named'; readonly patient: string } | Objection;

function concernOf(named: Named): Extract<PatientFinding, { kind: 'concerns' }> {
  if (named.kind === 'named') return { kind: 'concerns', named: named.patient, bond: undefined };
  return { kind: 'concerns', named: undefined, bond: undefined, ...(named.reason === 'patient_unknown_shape' ? { unclear: named.detail } : {}) };
}

function namedIn(where: Simple, question: PatientQuestion): Named {
  switch (where.kind) {
    case 'path': return question.parameters[where.name] === undefined ? missing('the path names no patient') : { kind: 'named', patient: question.parameters[where.name] as string };
    case 'query': return namedInQuery(where.name, question.query);
    case 'header': return namedInHeader(where.name, question.fields);
  }
}

/** The parameter must be there once, and so must what some server would read as the same one. */
function namedInQuery(wanted: string, query: string): Named {
  const found = readAs(wanted, query);
  const [part] = found;
  if (part === undefined) return missing(`the query has no parameter ${wanted}`);
  if (found.length > 1) return unknownShape(`the query has several parameters that may be ${wanted}`);
  // In the spelling of the configuration, and between "&": what is left is the one reading that all share.
  if (!query.split('&').includes(part) || !part.startsWith(`${wanted}=`)) return unknownShape(`the query has a parameter that may be ${wanted}`);
  const written = part.slice(wanted.length + 1);
  const patient = written.includes('+') ? undefined : decode(written);
  if (patient === undefined) return unknownShape(`the parameter ${wanted} can be read in several ways`);
  return patient === '' ? missing(`the parameter ${wanted} is empty`) : { kind: 'named', patient };
}

/** The field must be there once, in its own spelling (CGI and its heirs read "X_Patient" as "X-Patient"), and reach the upstream. */
function namedInHeader(wanted: string, fields: readonly string[]): Named {
  const plain = wanted.replace(/[^a-z0-9]/g, '-');
  const values: string[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const name = (fields[index] as string).toLowerCase();
    if (name === 'connection' && (fields[index + 1] as string).toLowerCase().split(',').some((option) => option.trim() === wanted)) return unknownShape(`Connection names ${wanted}`);
    if (name.replace(/[^a-z0-9]/g, '-') !== plain) continue;
    if (name !== wanted) return unknownShape(`a header field that may be ${wanted}`);
    values.push((fields[index + 1] as string).trim());
  }
  const [patient] = values;
  if (patient === undefined || patient === '') return missing(`no header field ${wanted}`);
  return values.length > 1 ? unknownShape(`several header fields ${wanted}`) : { kind: 'named', patient };
}
