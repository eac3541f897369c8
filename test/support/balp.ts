/**
 * What IHE's Basic Audit Log Patterns (ITI BALP 1.1, IHE.BasicAudit.*, published under CC-BY-4.0) ask of an AuditEvent beside FHIR itself, as facts
 * in a notation of our own: `PATH CARDINALITY`, `PATH = SYSTEM#CODE`, `PATH from CODE|CODE`, `PATH by DISCRIMINATOR`, `PATH has SLICE CARDINALITY`,
 * `PATH only TYPE`. A slice stands in brackets. A test holds it to the published definitions where they are to be had.
 */
export type BalpProfile = 'Read' | 'Query' | 'Create' | 'Update' | 'Delete' | 'PatientRead' | 'PatientQuery' | 'PatientCreate' | 'PatientUpdate' | 'PatientDelete';

const TERMINOLOGY = 'http://terminology.hl7.org/CodeSystem';
const DICOM = 'http://dicom.nema.org/resources/ontology/DCM';
const INTERACTION = 'http://hl7.org/fhir/restful-interaction';
const PARTICIPATION = `${TERMINOLOGY}/v3-ParticipationType`;
const OBJECT_ROLE = `${TERMINOLOGY}/object-role`;
const SOURCE = `${DICOM}#110153`;
const DESTINATION = `${DICOM}#110152`;
const DATA_SOURCES = `from ${['AUT', 'CST', 'INF'].map((code) => `${PARTICIPATION}#${code}`).join('|')}`;
const DATA = [
  'entity has data 1..1', `entity[data].type = ${TERMINOLOGY}/audit-entity-type#2`, 'entity[data].type 1..1', `entity[data].role from ${['20', '3', '4'].map((code) => `${OBJECT_ROLE}#${code}`).join('|')}`,
  'entity[data].what 1..1',
];
const QUERY = [
  'entity has query 1..1', `entity[query].type = ${TERMINOLOGY}/audit-entity-type#2`, 'entity[query].type 1..1', `entity[query].role = ${OBJECT_ROLE}#24`, 'entity[query].role 1..', 'entity[query].what 0..0',
  'entity[query].lifecycle 0..0', 'entity[query].description 0..1', 'entity[query].query 1..1', 'entity[query].detail 0..0',
];

interface Differences {
  readonly subtype: readonly [slice: string, rule: string];
  readonly action: string;
  readonly client: string;
  readonly server: string;
  readonly user: string;
  readonly object: readonly string[];
}

function basic({ subtype: [slice, rule], action, client, server, user, object }: Differences): readonly string[] {
  const agent = (name: string): readonly string[] => [`agent[${name}].type 1..1`, `agent[${name}].who 1..1`, `agent[${name}].media 0..0`];
  return [
    `type = ${TERMINOLOGY}/audit-event-type#rest`, 'subtype by $this', 'subtype 1..', `subtype has ${slice} 1..1`, `subtype[${slice}] ${rule}`, `action = ${action}`, 'recorded 1..1',
    `outcome = ${TERMINOLOGY}/audit-event-outcome#0`, 'outcome 1..', 'agent by type', 'agent 2..', 'agent has client 1..1', 'agent has server 1..1', 'agent has user 0..1',
    ...agent('client'), ...agent('server'), ...agent('user'), `agent[client].type = ${client}`, 'agent[client].network 1..1', `agent[server].type = ${server}`, 'agent[server].network 1..1',
    `agent[user].type ${user}`, 'agent[user].requestor = true', 'agent[user].network 0..0', 'entity by type', 'entity 1..', 'entity has transaction 0..1',
    'entity[transaction].type = https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType#XrequestId', 'entity[transaction].type 1..1', 'entity[transaction].what.identifier.value 1..1', ...object,
  ];
}

const interactions = (...codes: readonly string[]): string => `from ${codes.map((code) => `${INTERACTION}#${code}`).join('|')}`;
const recipient = `= ${PARTICIPATION}#IRCP`;

const BASIC = {
  Read: basic({ subtype: ['anyRead', interactions('read', 'vread')], action: 'R', client: DESTINATION, server: SOURCE, user: recipient, object: DATA }),
  Query: basic({ subtype: ['anySearch', interactions('search', 'search-system', 'search-type')], action: 'E', client: SOURCE, server: DESTINATION, user: recipient, object: QUERY }),
  Create: basic({ subtype: ['anyCreate', `= ${INTERACTION}#create`], action: 'C', client: SOURCE, server: DESTINATION, user: DATA_SOURCES, object: [...DATA, 'entity[data].role 1..'] }),
  Update: basic({ subtype: ['anyUpdate', interactions('patch', 'update')], action: 'U', client: SOURCE, server: DESTINATION, user: DATA_SOURCES, object: [...DATA, 'entity[data].role 1..'] }),
  Delete: basic({
    subtype: ['anyDelete', `= ${INTERACTION}#delete`], action: 'D', client: `${DICOM}#110150`, server: `${TERMINOLOGY}/provenance-participant-type#custodian`, user: DATA_SOURCES,
    object: [...DATA, 'entity[data].role 1..', 'entity[data].securityLabel 0..*'],
  }),
} as const;

function ofPatient(of: keyof typeof BASIC): readonly string[] {
  return [
    ...BASIC[of], ...(of === 'Query' ? [] : ['entity 2..']), 'entity has patient 1..1', `entity[patient].type = ${TERMINOLOGY}/audit-entity-type#1`, `entity[patient].role = ${OBJECT_ROLE}#1`,
    'entity[patient].role 1..', 'entity[patient].what 1..1', 'entity[patient].what only Reference(Patient)',
    ...(of === 'Read' || of === 'Update' ? [] : ['entity[patient].type 1..1']),
  ];
}

export const BALP: Readonly<Record<BalpProfile, readonly string[]>> = {
  ...BASIC,
  PatientRead: ofPatient('Read'),
  PatientQuery: ofPatient('Query'),
  PatientCreate: ofPatient('Create'),
  PatientUpdate: ofPatient('Update'),
  PatientDelete: ofPatient('Delete'),
};
