import type { Config, MaskingConfig } from '../config/schema.ts';
import { FIELD_CLASSES, type FieldClass } from './masked-fields.ts';
import { maskPath, maskQuery, pathShape, type PathShape } from './masked-target.ts';
import { HIDDEN, know, maskDetail, maskName, maskText } from './masked-text.ts';
import { createPseudonyms, type MaskKey, type Pseudonyms } from './pseudonyms.ts';
import type { AuditRecord } from './record.ts';

/** What becomes of a record that leaves the audit. Of two that hold the same values the masked ones are the same, until the key is another. */
export type Mask = (record: AuditRecord) => AuditRecord;

/** The declared rules, and what of the routes they need. */
export interface MaskRules extends Pick<MaskingConfig, Exclude<keyof MaskingConfig, 'plain_parameters' | 'plain_roles' | 'plain_attributes' | 'plain_segments'>> {
  readonly plain_parameters: ReadonlySet<string>;
  readonly plain_roles: ReadonlySet<string>;
  readonly plain_attributes: ReadonlySet<string>;
  /** Those of the routes' own paths included. */
  readonly plain_segments: ReadonlySet<string>;
  /** Paths of the routes by their names, in segments. */
  readonly shapes: ReadonlyMap<string, PathShape>;
}

/** What of a configuration says how records are masked. */
export interface MaskedBy {
  readonly audit: Pick<Config['audit'], 'masking'>;
  readonly routes: readonly { readonly name: string; readonly match: { readonly path: string } }[];
}

export function maskRules({ audit: { masking }, routes }: MaskedBy): MaskRules {
  const { plain_parameters, plain_roles, plain_attributes, plain_segments, ...rest } = masking;
  const shapes = new Map(routes.map(({ name, match }) => [name, pathShape(match.path)]));
  return {
    ...rest, shapes, plain_parameters: new Set(plain_parameters), plain_roles: new Set(plain_roles), plain_attributes: new Set(plain_attributes),
    plain_segments: new Set([...plain_segments, ...[...shapes.values()].flat().filter((place) => place !== '*' && !place.startsWith(':'))]),
  };
}

/** Masks by these rules with whatever the key is at the time. Pure but for the key. */
export function createMask(rules: MaskRules, key: () => MaskKey): Mask {
  const pseudonyms = createPseudonyms(key, rules);
  return (record) => maskRecord(record, rules, pseudonyms);
}

/** What one record is masked with. `known` collects what was found to be somebody's, with what is shown for it: it is taken out of its texts, too. */
export interface Masking {
  readonly record: AuditRecord;
  readonly rules: MaskRules;
  readonly pseudonyms: Pseudonyms;
  /** Ids of patients: only what is known to be one is shown as they are. */
  readonly patients: ReadonlySet<string>;
  readonly known: Map<string, string>;
  /** What was masked as a whole, as it was written: details repeat it so. */
  readonly written: Map<string, string>;
  /** The spellings of what was known when there were `of` of them, longest first. */
  spelled: { readonly of: number; readonly spellings: readonly (readonly [spelling: string, shown: string])[] };
}

/** What names somebody first, then the texts in which it may stand. */
const IN_ORDER: readonly FieldClass[] = ['patient', 'person', 'subject', 'emergency', 'path', 'query', 'issuer', 'text', 'detail', 'plain'];

const FIELDS = Object.keys(FIELD_CLASSES) as readonly (keyof AuditRecord)[];
const FIELDS_IN_ORDER = IN_ORDER.flatMap((wanted) => FIELDS.filter((field) => FIELD_CLASSES[field] === wanted));

function maskRecord(record: AuditRecord, rules: MaskRules, pseudonyms: Pseudonyms): AuditRecord {
  const masking: Masking = { record, rules, pseudonyms, patients: patientsOf(record), known: new Map(), written: new Map(), spelled: { of: 0, spellings: [] } };
  const masked = new Map<string, unknown>();
  for (const field of FIELDS_IN_ORDER) {
    const value = record[field];
    if (value !== undefined) masked.set(field, maskValue(FIELD_CLASSES[field], value, masking));
  }
  // In the order of the record; what is no field of one does not leave.
  return Object.fromEntries(Object.keys(record).flatMap((field) => (masked.has(field) ? [[field, masked.get(field)]] : []))) as unknown as AuditRecord;
}

function patientsOf({ patient, break_glass: grant }: AuditRecord): ReadonlySet<string> {
  return new Set([patient, grant?.patient].filter((id) => id !== undefined));
}

function maskValue(kind: FieldClass, value: unknown, masking: Masking): unknown {
  if (kind === 'emergency') return maskEmergency(value as NonNullable<AuditRecord['break_glass']>, masking);
  if (Array.isArray(value)) return value.map((item) => maskValue(kind, item, masking));
  return typeof value === 'string' ? maskString(kind, value, masking) : value;
}

function maskString(kind: Exclude<FieldClass, 'emergency'>, value: string, masking: Masking): string {
  switch (kind) {
    case 'plain': return value;
    case 'text': return maskText(value, masking);
    case 'detail': return maskDetail(value, masking);
    case 'patient': return maskPatient(value, masking);
    case 'person': return maskPerson(value, masking);
    case 'subject': return maskSubject(value, masking);
    case 'issuer': return maskIssuer(value, masking);
    case 'path': return kept(value, maskPath(value, masking), masking);
    case 'query': return kept(value, maskQuery(value, masking), masking);
  }
}

function kept(value: string, masked: string, { written }: Masking): string {
  if (value.length > 1) written.set(value, masked);
  return masked;
}

function maskPatient(value: string, masking: Masking): string {
  return know(value, masking.pseudonyms.patient(value), masking);
}

function isPlainRole({ record: { role }, rules }: Masking): boolean {
  return role !== undefined && rules.plain_roles.has(role);
}

function maskPerson(value: string, masking: Masking): string {
  if (isPlainRole(masking)) return value;
  return know(value, masking.pseudonyms.name(value), masking);
}

function maskSubject(value: string, masking: Masking): string {
  return isPlainRole(masking) ? maskText(value, masking) : maskName(value, masking);
}

/** Of those that nobody vouches for, issuers may be anybody, the client itself included. */
function maskIssuer(value: string, masking: Masking): string {
  const { subject, event, role } = masking.record;
  const vouched = role !== undefined || event !== 'connection' && event !== 'request';
  return value !== subject && vouched ? maskText(value, masking) : maskName(value, masking);
}

function maskEmergency({ id, reason, text, patient }: NonNullable<AuditRecord['break_glass']>, masking: Masking): NonNullable<AuditRecord['break_glass']> {
  const masked = patient === undefined ? {} : { patient: maskPatient(patient, masking) };
  return { id, reason, text: masking.rules.text === 'hide' ? HIDDEN : maskText(text, masking), ...masked };
}
