import type { AuditRecord } from '../record.ts';
import { DICOM_CODES, activityOf, isAboutAnother, type Activity, type DicomCode, type RestActivity } from './activity.ts';
import type { MaskedRecord } from './masked-record.ts';
import { describe, fittingText, hostOf, requestText } from './words.ts';

interface Coded {
  readonly code: string;
  readonly system: string;
  readonly meaning: string;
}

/** Attributes by their names; what is undefined is left out. */
type Attributes = Readonly<Record<string, string | undefined>>;

/** The audit message (DICOM PS3.15, A.5) of a record, in one line of XML. It concerns one patient at most, as records do. */
export function dicomForm(masked: MaskedRecord): string {
  const { record, reporter } = masked;
  const activity = activityOf(record);
  return element('AuditMessage', {}, [
    identification(activity, record),
    ...participants(activity, masked),
    element('AuditSourceIdentification', { AuditEnterpriseSiteID: reporter.site, AuditSourceID: reporter.name }, [element('AuditSourceTypeCode', { 'csd-code': '3' })]),
    ...objects(activity, masked),
  ]);
}

function dcm(code: DicomCode): Coded {
  return { code, system: 'DCM', meaning: DICOM_CODES[code] };
}

const rfc3881 = (code: string, meaning: string): Coded => ({ code, system: 'RFC-3881', meaning });

/** A search is a Query, what concerns a patient otherwise is about a Patient Record; for all other requests DICOM has no event. */
function eventOf(activity: Activity, { patient }: AuditRecord): Coded {
  if (activity.kind === 'plain') return dcm(activity.type);
  if (isSearch(activity)) return dcm('110112');
  return patient === undefined ? { code: 'rest', system: 'http://terminology.hl7.org/CodeSystem/audit-event-type', meaning: 'RESTful Operation' } : dcm('110110');
}

function isSearch({ interaction }: RestActivity): boolean {
  return interaction?.startsWith('search') === true;
}

function typeOf(activity: Activity): Coded | undefined {
  if (activity.kind === 'plain') return activity.subtype === undefined ? undefined : dcm(activity.subtype);
  return activity.interaction === undefined ? undefined : { code: activity.interaction, system: 'http://hl7.org/fhir/restful-interaction', meaning: activity.interaction };
}

function identification(activity: Activity, record: AuditRecord): string {
  const type = typeOf(activity);
  return element('EventIdentification', { EventActionCode: activity.action, EventDateTime: record.time, EventOutcomeIndicator: String(activity.outcome) }, [
    coded('EventID', eventOf(activity, record)),
    ...(type === undefined ? [] : [coded('EventTypeCode', type)]),
    ...(activity.outcome === 0 ? [] : [`<EventOutcomeDescription>${escaped(fittingText(describe(record)) ?? '')}</EventOutcomeDescription>`]),
  ]);
}

interface Participant {
  readonly user: string;
  readonly alternative?: string | undefined;
  readonly name?: string | undefined;
  readonly requestor: boolean;
  readonly at?: { readonly id: string; readonly type: '1' | '2' | '5' } | undefined;
  readonly role?: Coded | undefined;
}

function participants(activity: Activity, { record, reporter }: MaskedRecord): readonly string[] {
  const { who, id, role, subject, fingerprint, address } = record;
  const rest = activity.kind === 'rest';
  const reads = activity.action === 'R';
  const client: Participant = {
    user: fingerprint ?? subject ?? 'client without a certificate', name: subject, requestor: who === undefined && id === undefined,
    at: address === undefined ? undefined : { id: address, type: '2' }, role: rest ? dcm(reads ? '110152' : '110153') : undefined,
  };
  const staff: readonly Participant[] = who === undefined ? [] : [{ user: who, requestor: true }];
  // Whom staff does something about has no part in it: an object.
  const another = isAboutAnother(record);
  const user: readonly Participant[] = id === undefined || another ? [] : [{ user: id, requestor: true, role: role === undefined ? undefined : { code: role, system: 'Wardgate', meaning: role } }];
  const others = [...staff, ...user, ...((address === undefined && !rest) || another ? [] : [client])];
  const host = hostOf(record);
  const gateway: Participant = {
    user: rest ? host ?? reporter.name : reporter.name, alternative: rest ? record.upstream : undefined, requestor: others.length === 0,
    at: host === undefined ? { id: reporter.name, type: '1' } : { id: `https://${host}`, type: '5' }, role: rest ? dcm(reads ? '110153' : '110152') : dcm('110150'),
  };
  return [...others, gateway].map(participant);
}

function participant({ user, alternative, name, requestor, at, role }: Participant): string {
  return element('ActiveParticipant', {
    UserID: user, AlternativeUserID: alternative, UserName: name, UserIsRequestor: String(requestor), NetworkAccessPointID: at?.id, NetworkAccessPointTypeCode: at?.type,
  }, role === undefined ? [] : [coded('RoleIDCode', role)]);
}

function objects(activity: Activity, masked: MaskedRecord): readonly string[] {
  const { record } = masked;
  const details = detailsOf(masked);
  const patient = record.patient === undefined ? [] : [object({ id: record.patient, type: '1', role: '1', idType: rfc3881('2', 'Patient Number'), name: record.patient })];
  const person = isAboutAnother(record) ? [aboutAnother(record)] : [];
  if (activity.kind === 'rest') {
    const text = requestText(record);
    const query = isSearch(activity);
    return [...patient, ...person, object({ id: text, type: '2', role: query ? '24' : '3', idType: rfc3881('12', 'URI'), sensitivity: record.phi === true ? 'PHI' : undefined, details, ...(query ? { query: text } : { name: text }) })];
  }
  // What an alert is about: the node, or what was asked of it.
  const about = record.path === undefined ? record.fingerprint ?? record.key ?? record.serial ?? record.listener ?? masked.reporter.name : requestText(record);
  const alert = activity.type === '110113' ? [...details, ['Alert Description', describe(record)] as const] : details;
  return [...patient, ...person, object({ id: about, type: '2', role: '13', idType: record.path === undefined ? dcm('110182') : rfc3881('12', 'URI'), name: about, details: alert })];
}

/** Whom staff did something about. */
function aboutAnother({ id = '', role, roles, address }: AuditRecord): string {
  const details = [['role', roles?.join(', ') ?? role], ['address', address]].flatMap(([type = '', value]) => (value === undefined ? [] : [[type, value] as const]));
  return object({ id, type: '1', role: '11', idType: rfc3881('11', 'User Identifier'), name: id, details });
}

interface ParticipantObject {
  readonly id: string;
  readonly type: '1' | '2';
  readonly role: string;
  readonly idType: Coded;
  readonly name?: string;
  readonly query?: string;
  readonly sensitivity?: string | undefined;
  readonly details?: readonly (readonly [type: string, value: string])[];
}

function object({ id, type, role, idType, name, query, sensitivity, details = [] }: ParticipantObject): string {
  return element('ParticipantObjectIdentification', { ParticipantObjectID: id, ParticipantObjectTypeCode: type, ParticipantObjectTypeCodeRole: role, ParticipantObjectSensitivity: sensitivity }, [
    coded('ParticipantObjectIDTypeCode', idType),
    query === undefined ? `<ParticipantObjectName>${escaped(fittingText(name ?? id) ?? '')}</ParticipantObjectName>` : `<ParticipantObjectQuery>${base64(query)}</ParticipantObjectQuery>`,
    ...details.map(([detail, value]) => element('ParticipantObjectDetail', { type: detail, value: base64(value) })),
  ]);
}

const DETAILS = ['event', 'result', 'reason', 'detail', 'alarm', 'listener', 'route', 'upstream', 'method', 'status', 'serial', 'issuer', 'device', 'factor', 'degraded', 'tls', 'until'] as const satisfies readonly (keyof AuditRecord)[];

function detailsOf({ record, segment, seq }: MaskedRecord): readonly (readonly [type: string, value: string])[] {
  const { request_id: request, break_glass: grant } = record;
  return [
    ...(request === undefined ? [] : [['X-Request-Id', request] as const]),
    ...DETAILS.flatMap((type) => (record[type] === undefined ? [] : [[type, String(record[type])] as const])),
    ...(grant === undefined ? [] : [['break_glass', `${grant.id}: ${grant.reason}`] as const]),
    ['record', `${segment}:${seq}`],
  ];
}

function base64(text: string): string {
  return Buffer.from(text.toWellFormed(), 'utf8').toString('base64');
}

function coded(name: string, { code, system, meaning }: Coded): string {
  return element(name, { 'csd-code': code, codeSystemName: system, originalText: meaning });
}

function element(name: string, attributes: Attributes, children: readonly string[] = []): string {
  const written = Object.entries(attributes).map(([attribute, value]) => (value === undefined ? '' : ` ${attribute}="${escaped(fittingText(value) ?? '')}"`)).join('');
  return children.length === 0 ? `<${name}${written}/>` : `<${name}${written}>${children.join('')}</${name}>`;
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' };

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] as string);
}
