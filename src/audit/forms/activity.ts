import { RESOURCE_TYPES } from '../../policy/fhir/r4.ts';
import type { AuditRecord } from '../record.ts';

/** What happened, in the words that FHIR's and DICOM's audits share. */
export type Activity = RestActivity | PlainActivity;

interface Happened {
  readonly action: 'C' | 'R' | 'U' | 'D' | 'E';
  /** 0 success, 4 minor failure, 8 serious failure, 12 the reporter cannot go on. */
  readonly outcome: 0 | 4 | 8 | 12;
}

/** A request that was let in. */
export interface RestActivity extends Happened {
  readonly kind: 'rest';
  /** Code of FHIR's restful-interaction; undefined for a method of which that has none. */
  readonly interaction: Interaction | undefined;
  /** The resource that was asked for; `id` masked. Undefined where the interface is not one of FHIR. */
  readonly resource: { readonly type: string; readonly id: string | undefined } | undefined;
}

/** Anything else: codes of DICOM's CID 400 and 403. */
export interface PlainActivity extends Happened {
  readonly kind: 'plain';
  readonly type: DicomCode;
  readonly subtype: DicomCode | undefined;
}

export type Interaction =
  | 'read' | 'vread' | 'search' | 'search-type' | 'search-system' | 'create' | 'update' | 'patch' | 'delete' | 'history-instance' | 'history-type' | 'history-system'
  | 'operation' | 'batch' | 'capabilities';

/** Codes of DICOM PS3.16 with their meanings. */
export const DICOM_CODES = {
  '110100': 'Application Activity',
  '110101': 'Audit Log Used',
  '110108': 'Network Entry',
  '110110': 'Patient Record',
  '110112': 'Query',
  '110113': 'Security Alert',
  '110114': 'User Authentication',
  '110120': 'Application Start',
  '110121': 'Application Stop',
  '110122': 'Login',
  '110123': 'Logout',
  '110124': 'Attach',
  '110125': 'Detach',
  '110126': 'Node Authentication',
  '110127': 'Emergency Override Started',
  '110129': 'Security Configuration',
  '110132': 'Use of Restricted Function',
  '110133': 'Audit Recording Stopped',
  '110137': 'User security Attributes Changed',
  '110138': 'Emergency Override Stopped',
  '110150': 'Application',
  '110152': 'Destination Role ID',
  '110153': 'Source Role ID',
  '110182': 'Node ID',
} as const;

export type DicomCode = keyof typeof DICOM_CODES;

/** What a record says happened. Masked ones say the same. */
export function activityOf(record: AuditRecord): Activity {
  const { event, result, detail = '', who } = record;
  const failed = result === 'denied' || result === 'failed' ? 8 : 0;
  const plain = (type: DicomCode, subtype: DicomCode | undefined, outcome: Happened['outcome'] = failed): PlainActivity => ({ kind: 'plain', type, subtype, action: 'E', outcome });
  switch (event) {
    case 'request': return result === 'denied' ? plain('110113', alertOf(record)) : restActivity(record);
    case 'connection':
      if (result === 'denied') return plain('110113', alertOf(record));
      return plain('110108', result === 'permitted' ? '110124' : '110125', result === 'failed' ? 4 : 0);
    case 'revocation': case 'webhook': return plain('110113', '110137');
    case 'suspension': case 'configuration': case 'administration': return plain('110113', '110129');
    case 'break_glass':
      if (detail.startsWith('opened')) return plain('110113', '110127');
      return plain('110113', /^(?:expired|withdrawn)/.test(detail) ? '110138' : '110137');
    case 'second_factor':
      // What staff does about somebody's factor is no login of theirs.
      if (who !== undefined) return plain('110113', '110137');
      return plain('110114', detail === 'signed out' || detail === 'token given back' ? '110123' : '110122');
    case 'responder': return plain('110113', '110126');
    case 'certificate_request': case 'certificate': return plain('110113', '110137');
    // Somebody has looked at what the audit showed.
    case 'evidence': case 'alarm': return plain('110101', undefined);
    case 'audit': return plain('110113', '110133');
    case 'start': return plain('110100', '110120');
    case 'stop': return plain('110100', '110121');
    // Of a later version, which somebody has gone back from.
    default: return plain('110100', undefined);
  }
}

/** Whether staff did something about somebody, whom `id` and what stands beside it are of: `who` did it. */
export function isAboutAnother({ event, who, id }: AuditRecord): boolean {
  return who !== undefined && id !== undefined && event !== 'request' && event !== 'connection';
}

/** Reasons that are about the certificate, or about whose it is. */
const OF_THE_NODE: ReadonlySet<AuditRecord['reason']> = new Set([
  'no_certificate', 'untrusted_issuer', 'expired', 'not_yet_valid', 'signature_invalid', 'constraint_violated', 'eku_invalid', 'policy_missing', 'revoked_denylist', 'revoked_crl', 'revoked_ocsp',
  'crl_expired', 'crl_missing', 'ocsp_unavailable', 'no_role', 'issuer_denied', 'device_unregistered', 'device_mismatch', 'device_inactive', 'device_moved',
]);

function alertOf({ event, reason }: AuditRecord): DicomCode {
  return OF_THE_NODE.has(reason) || (event === 'connection' && reason === undefined) ? '110126' : '110132';
}

function restActivity(record: AuditRecord): RestActivity {
  const { result, status = 0 } = record;
  const below = fhirSegments(record);
  const [type = '', id] = below ?? [];
  const interaction = status === 101 ? 'operation' : below === undefined ? plainInteraction(record) : fhirInteraction(record.method ?? '', below);
  const outcome = result === 'failed' ? (status === 499 ? 4 : 8) : status >= 500 ? 8 : status >= 400 ? 4 : 0;
  const instance = id === undefined || /^[$_*]/.test(id) ? undefined : id;
  return { kind: 'rest', interaction, action: ACTIONS[interaction ?? 'operation'], outcome, resource: RESOURCE_TYPES.has(type) ? { type, id: instance } : undefined };
}

const ACTIONS: Readonly<Record<Interaction, Happened['action']>> = {
  read: 'R', vread: 'R', search: 'E', 'search-type': 'E', 'search-system': 'E', create: 'C', update: 'U', patch: 'U', delete: 'D', 'history-instance': 'R', 'history-type': 'R', 'history-system': 'R',
  operation: 'E', batch: 'E', capabilities: 'R',
};

/** The path below the base of FHIR's interface; undefined where nothing shows that it is one. */
function fhirSegments({ path = '', fhir_base: base }: AuditRecord): readonly string[] | undefined {
  const segments = path.split('/').slice(1).filter((segment) => segment !== '');
  if (base !== undefined) return segments.slice(base.split('/').length - 1);
  const at = segments.findIndex((segment) => RESOURCE_TYPES.has(segment));
  return at === -1 ? undefined : segments.slice(at);
}

/** FHIR R4, 3.1.0: what a method does with a path. */
function fhirInteraction(method: string, segments: readonly string[]): Interaction | undefined {
  const last = segments.at(-1) ?? '';
  if (last.startsWith('$')) return 'operation';
  switch (method) {
    case 'GET': case 'HEAD': return fhirGet(segments);
    case 'POST':
      if (segments.length === 0) return 'batch';
      if (last === '_search') return segments.length === 1 ? 'search-system' : 'search-type';
      return segments.length === 1 ? 'create' : undefined;
    case 'PUT': return 'update';
    case 'PATCH': return 'patch';
    case 'DELETE': return 'delete';
    default: return undefined;
  }
}

function fhirGet([type = '', id, third, fourth]: readonly string[]): Interaction {
  if (type === '' || type === '_search') return 'search-system';
  if (type === 'metadata') return 'capabilities';
  if (type === '_history') return 'history-system';
  if (id === undefined || id === '_search') return 'search-type';
  if (id === '_history') return 'history-type';
  if (third === undefined) return 'read';
  if (third !== '_history') return 'search-type';
  return fourth === undefined ? 'history-instance' : 'vread';
}

function plainInteraction({ method, query }: AuditRecord): Interaction | undefined {
  switch (method) {
    case 'GET': case 'HEAD': return query === undefined ? 'read' : 'search';
    case 'POST': return 'create';
    case 'PUT': return 'update';
    case 'PATCH': return 'patch';
    case 'DELETE': return 'delete';
    default: return undefined;
  }
}
