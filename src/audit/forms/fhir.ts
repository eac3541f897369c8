import type { AuditRecord } from '../record.ts';
import { DICOM_CODES, activityOf, isAboutAnother, type Activity, type DicomCode, type Interaction, type RestActivity } from './activity.ts';
import type { MaskedRecord } from './masked-record.ts';
import { describe, fittingText, hostOf, requestText } from './words.ts';

/** A resource of FHIR R4. */
export interface AuditEvent {
  readonly resourceType: 'AuditEvent';
  /** The same for the same record: whoever sends it again can send it under its name. */
  readonly id: string;
  readonly meta?: { readonly profile: readonly string[] };
  readonly type: Coding;
  readonly subtype?: readonly Coding[];
  readonly action: 'C' | 'R' | 'U' | 'D' | 'E';
  readonly recorded: string;
  readonly outcome: '0' | '4' | '8' | '12';
  readonly outcomeDesc?: string;
  readonly agent: readonly Agent[];
  readonly source: { readonly site?: string; readonly observer: Reference; readonly type: readonly Coding[] };
  readonly entity?: readonly Entity[];
}

export interface Coding {
  readonly system: string;
  readonly code: string;
  readonly display?: string;
}

export interface Reference {
  readonly type?: string;
  readonly identifier?: { readonly value: string };
  readonly display?: string;
}

interface CodeableConcept {
  readonly coding?: readonly Coding[];
  readonly text?: string;
}

export interface Agent {
  readonly type?: CodeableConcept;
  readonly role?: readonly CodeableConcept[];
  readonly who?: Reference;
  readonly name?: string;
  readonly requestor: boolean;
  readonly policy?: readonly string[];
  readonly network?: { readonly address: string; readonly type: '1' | '2' | '5' };
  readonly purposeOfUse?: readonly CodeableConcept[];
}

export interface Entity {
  readonly what?: Reference;
  readonly type: Coding;
  readonly role?: Coding;
  readonly securityLabel?: readonly Coding[];
  readonly description?: string;
  readonly query?: string;
  readonly detail?: readonly { readonly type: string; readonly valueString: string }[];
}

const DCM = 'http://dicom.nema.org/resources/ontology/DCM';
const ENTITY_TYPE = 'http://terminology.hl7.org/CodeSystem/audit-entity-type';
const OBJECT_ROLE = 'http://terminology.hl7.org/CodeSystem/object-role';
const PARTICIPATION = 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType';
const REST: Coding = { system: 'http://terminology.hl7.org/CodeSystem/audit-event-type', code: 'rest', display: 'RESTful Operation' };
const WEB_SERVER: Coding = { system: 'http://terminology.hl7.org/CodeSystem/security-source-type', code: '3', display: 'Web Server' };
const REQUEST_ID: Coding = { system: 'https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType', code: 'XrequestId' };
const SYSTEM_OBJECT: Coding = { system: ENTITY_TYPE, code: '2', display: 'System Object' };
const PERSON: Coding = { system: ENTITY_TYPE, code: '1', display: 'Person' };
const CUSTODIAN: Coding = { system: 'http://terminology.hl7.org/CodeSystem/provenance-participant-type', code: 'custodian', display: 'Custodian' };
const RECIPIENT: Coding = { system: PARTICIPATION, code: 'IRCP', display: 'information recipient' };
const AUTHOR: Coding = { system: PARTICIPATION, code: 'AUT', display: 'author (originator)' };
const BREAK_THE_GLASS: Coding = { system: 'http://terminology.hl7.org/CodeSystem/v3-ActReason', code: 'BTG', display: 'break the glass' };
const NORMAL: Coding = { system: 'http://terminology.hl7.org/CodeSystem/v3-Confidentiality', code: 'N', display: 'normal' };
const PROFILES = 'https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.';

/** The AuditEvent of a record, after IHE's Basic Audit Log Patterns where they have one for it. */
export function fhirForm(masked: MaskedRecord): AuditEvent {
  const { record, reporter } = masked;
  const activity = activityOf(record);
  const profile = profileOf(activity, record);
  const outcomeDesc = activity.outcome === 0 ? undefined : fittingText(describe(record));
  const entities = entitiesOf(activity, record);
  return {
    resourceType: 'AuditEvent',
    id: resourceId(masked),
    ...(profile === undefined ? {} : { meta: { profile: [PROFILES + profile] } }),
    ...typesOf(activity),
    action: activity.action,
    recorded: record.time,
    outcome: `${activity.outcome}`,
    ...(outcomeDesc === undefined ? {} : { outcomeDesc }),
    agent: agentsOf(activity, masked),
    source: { ...(reporter.site === undefined ? {} : { site: reporter.site }), observer: { display: reporter.name }, type: [WEB_SERVER] },
    ...(entities.length === 0 ? {} : { entity: entities }),
  };
}

/** FHIR's ids are of letters, digits, "-" and "."; 64 at most. */
function resourceId({ segment, seq, reporter }: MaskedRecord): string {
  const place = `.${segment.replace(/\.jsonl.*$/, '')}.${seq}`.replace(/[^A-Za-z0-9.-]/g, '-');
  return `${reporter.name.replace(/[^A-Za-z0-9.-]/g, '-').slice(0, Math.max(0, 64 - place.length))}${place}`.slice(-64);
}

type Profile = 'Read' | 'Query' | 'Create' | 'Update' | 'Delete';

const PROFILED: Partial<Readonly<Record<Interaction, Profile>>> = {
  read: 'Read', vread: 'Read', search: 'Query', 'search-type': 'Query', 'search-system': 'Query', create: 'Create', update: 'Update', patch: 'Update', delete: 'Delete',
};

/** The patterns are for what was successful. */
function profileOf(activity: Activity, { patient }: AuditRecord): string | undefined {
  if (activity.kind !== 'rest' || activity.outcome !== 0 || activity.interaction === undefined) return undefined;
  const profile = PROFILED[activity.interaction];
  return profile === undefined ? undefined : `${patient === undefined ? '' : 'Patient'}${profile}`;
}

function typesOf(activity: Activity): Pick<AuditEvent, 'type' | 'subtype'> {
  if (activity.kind === 'plain') return { type: dicom(activity.type), ...(activity.subtype === undefined ? {} : { subtype: [dicom(activity.subtype)] }) };
  const { interaction: code } = activity;
  return { type: REST, ...(code === undefined ? {} : { subtype: [{ system: 'http://hl7.org/fhir/restful-interaction', code, display: code }] }) };
}

function dicom(code: DicomCode): Coding {
  return { system: DCM, code, display: DICOM_CODES[code] };
}

function agentsOf(activity: Activity, masked: MaskedRecord): readonly Agent[] {
  if (activity.kind === 'rest') return restAgents(activity, masked);
  const { record } = masked;
  const staff: readonly Agent[] = record.who === undefined ? [] : [{ ...whoOf(record.who), requestor: true }];
  // What is done about somebody names them, who had no part in it: an entity.
  const another = isAboutAnother(record);
  const client: readonly Agent[] = record.address === undefined || another ? [] : [clientAgent(record, undefined, staff.length === 0 && record.id === undefined)];
  const user: readonly Agent[] = record.id === undefined || another ? [] : [userAgent(record, undefined, true)];
  const agents = [...staff, ...user, ...client];
  return [...agents, gatewayAgent(masked, agents.length === 0)];
}

/** What BALP wants at the client and at the server, by the way that data goes. */
function restAgents(activity: RestActivity, { record, reporter }: MaskedRecord): readonly Agent[] {
  const reads = activity.action === 'R';
  const deletes = activity.action === 'D';
  const client = clientAgent(record, deletes ? dicom('110150') : dicom(reads ? '110152' : '110153'), record.id === undefined);
  const host = hostOf(record) ?? reporter.name;
  const server: Agent = {
    type: { coding: [deletes ? CUSTODIAN : dicom(reads ? '110153' : '110152')] },
    who: { identifier: { value: host }, ...(record.upstream === undefined ? {} : { display: record.upstream }) },
    requestor: false,
    network: record.host === undefined ? { address: host, type: '1' } : { address: `https://${host}`, type: '5' },
  };
  return [client, server, ...(record.id === undefined ? [] : [userAgent(record, activity.action === 'R' || activity.action === 'E' ? RECIPIENT : AUTHOR, true)])];
}

function clientAgent({ fingerprint, subject, address, listener }: AuditRecord, type: Coding | undefined, requestor: boolean): Agent {
  const display = fittingText(subject ?? (fingerprint === undefined ? 'client without a certificate' : ''));
  return {
    ...(type === undefined ? {} : { type: { coding: [type] } }),
    who: { ...(fingerprint === undefined ? {} : { identifier: { value: fingerprint } }), ...(display === undefined ? {} : { display }) },
    requestor,
    network: address === undefined ? { address: listener ?? 'unknown', type: '1' } : { address, type: '2' },
  };
}

/** Persons are no nodes: no network. */
function userAgent({ id, role, roles, break_glass: grant, token_id: token }: AuditRecord, type: Coding | undefined, requestor: boolean): Agent {
  const held = (roles ?? (role === undefined ? [] : [role])).map((text) => ({ text }));
  const jti = token === undefined ? undefined : `urn:ietf:params:oauth:jti:${encodeURIComponent(token.toWellFormed())}`;
  return {
    ...(type === undefined ? {} : { type: { coding: [type] } }),
    ...(held.length === 0 ? {} : { role: held }),
    ...whoOf(id ?? ''),
    requestor,
    ...(jti === undefined ? {} : { policy: [jti] }),
    ...(grant === undefined ? {} : { purposeOfUse: [{ coding: [BREAK_THE_GLASS] }] }),
  };
}

function whoOf(name: string): Pick<Agent, 'who' | 'name'> {
  const value = fittingText(name) ?? 'unknown';
  return { who: { identifier: { value } }, name: value };
}

function gatewayAgent({ reporter }: MaskedRecord, requestor: boolean): Agent {
  return { type: { coding: [dicom('110150')] }, who: { display: reporter.name }, name: reporter.name, requestor };
}

function entitiesOf(activity: Activity, record: AuditRecord): readonly Entity[] {
  const { request_id: id, patient, path, phi } = record;
  const detail = detailsOf(record);
  const label = phi === true ? { securityLabel: [NORMAL] } : {};
  const object: readonly Entity[] = path === undefined && activity.kind === 'plain' ? [] : [activity.action === 'E' && activity.kind === 'rest' && isSearch(activity) ? queryEntity(record, label) : dataEntity(activity, record, label)];
  const [first, ...others] = [
    ...(id === undefined ? [] : [{ type: REQUEST_ID, what: { identifier: { value: id } } }]),
    ...(patient === undefined ? [] : [{ type: PERSON, role: { system: OBJECT_ROLE, code: '1', display: 'Patient' }, what: { type: 'Patient', identifier: { value: fittingText(patient) ?? 'unknown' } } }]),
    ...object,
    ...aboutAnother(record),
    ...aboutCertificate(record),
  ] satisfies readonly Entity[];
  // What no element is for stands at the first, which is not the query: that has no details.
  return first === undefined ? [] : [detail.length === 0 || 'query' in first ? first : { ...first, detail: [...detail, ...first.detail ?? []] }, ...others];
}

function isSearch({ interaction }: RestActivity): boolean {
  return interaction !== undefined && PROFILED[interaction] === 'Query';
}

function queryEntity(record: AuditRecord, label: Pick<Entity, 'securityLabel'>): Entity {
  const text = requestText(record);
  return { type: SYSTEM_OBJECT, role: { system: OBJECT_ROLE, code: '24', display: 'Query' }, ...label, description: text, query: Buffer.from(text, 'utf8').toString('base64') };
}

function dataEntity(activity: Activity, record: AuditRecord, label: Pick<Entity, 'securityLabel'>): Entity {
  const { type, id } = (activity.kind === 'rest' ? activity.resource : undefined) ?? {};
  return {
    what: { ...(type === undefined ? {} : { type }), ...(id === undefined ? {} : { identifier: { value: id } }), display: requestText(record) },
    type: SYSTEM_OBJECT, role: { system: OBJECT_ROLE, code: '4', display: 'Domain Resource' }, ...label,
  };
}

/** Whom staff did something about. */
function aboutAnother(record: AuditRecord): readonly Entity[] {
  if (!isAboutAnother(record)) return [];
  const { who: what, name } = whoOf(record.id ?? '');
  const roles = fittingText((record.roles ?? [record.role ?? '']).join(', '));
  const detail = [['role', roles], ['address', record.address]].flatMap(([type = '', value]) => (value === undefined ? [] : [{ type, valueString: value }]));
  return [{ what: { type: 'Person', ...what, ...(name === undefined ? {} : { display: name }) }, type: PERSON, role: { system: OBJECT_ROLE, code: '11', display: 'Security User Entity' }, ...(detail.length === 0 ? {} : { detail }) }];
}

/** What is revoked or reinstated where no client is, what the audit was asked about, or what they used whom staff did something about. */
function aboutCertificate(record: AuditRecord): readonly Entity[] {
  const { event, fingerprint, serial, issuer, key } = record;
  const value = fingerprint ?? key ?? serial ?? issuer;
  if (value === undefined || (event !== 'revocation' && event !== 'evidence' && !isAboutAnother(record))) return [];
  const display = fittingText(issuer ?? '');
  return [{ what: { identifier: { value }, ...(display === undefined ? {} : { display }) }, type: SYSTEM_OBJECT, role: { system: OBJECT_ROLE, code: '13', display: 'Security Resource' } }];
}

const DETAILS = ['event', 'result', 'reason', 'detail', 'alarm', 'listener', 'route', 'upstream', 'endpoint', 'device', 'factor', 'degraded', 'serial', 'issuer', 'method', 'status', 'bytes_in', 'bytes_out', 'duration_ms', 'tls', 'cipher', 'until', 'network'] as const satisfies readonly (keyof AuditRecord)[];

function detailsOf(record: AuditRecord): NonNullable<Entity['detail']> {
  const found = DETAILS.flatMap((type) => {
    const value = fittingText(record[type] === undefined ? '' : String(record[type]));
    return value === undefined ? [] : [{ type, valueString: value }];
  });
  const grant = record.break_glass;
  return grant === undefined ? found : [...found, { type: 'break_glass', valueString: fittingText(`${grant.id}: ${grant.reason}`) ?? grant.id }];
}
