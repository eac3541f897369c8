import type { AuditRecord } from '../record.ts';
import { activityOf, isAboutAnother } from './activity.ts';
import type { MaskedRecord } from './masked-record.ts';
import { fittingText, hostOf, requestText } from './words.ts';

type Extension = readonly (readonly [key: string, value: string | number | undefined])[];

/** The record in ArcSight's Common Event Format, version 0: one line, keys of its dictionary. */
export function cefForm(masked: MaskedRecord): string {
  const { record, reporter } = masked;
  const header = ['CEF:0', 'Wardgate', 'Wardgate', reporter.version, classOf(record), nameOf(record), String(severityOf(record))].map((field) => headerText(field));
  const extension = extensionOf(masked).flatMap(([key, value]) => {
    const text = value === undefined ? undefined : fittingText(String(value));
    return text === undefined ? [] : [`${key}=${extensionText(text)}`];
  });
  return `${header.join('|')}|${extension.join(' ')}`;
}

/** What events are told apart by. */
function classOf({ event, result, reason, alarm }: AuditRecord): string {
  return [event, result, ...(reason === undefined ? [] : [reason]), ...(alarm === undefined ? [] : [alarm])].join('.');
}

function nameOf({ event, result, reason }: AuditRecord): string {
  return `${event.replaceAll('_', ' ')} ${result}${reason === undefined ? '' : `: ${reason.replaceAll('_', ' ')}`}`;
}

/** 0 to 10. */
function severityOf({ event, result, alarm }: AuditRecord): number {
  if (alarm !== undefined || event === 'break_glass') return 8;
  if (event === 'audit' && result === 'failed') return 9;
  if (result === 'denied') return 6;
  if (result === 'failed') return 4;
  return event === 'request' || event === 'connection' ? 1 : 3;
}

function extensionOf({ record, segment, seq, reporter }: MaskedRecord): Extension {
  const { address, break_glass: grant } = record;
  const six = address?.includes(':') === true;
  const another = isAboutAnother(record);
  const roles = record.roles?.join(',') ?? record.role;
  const custom = (place: number, label: string, value: string | undefined): Extension => (value === undefined ? [] : [[`cs${place}`, value], [`cs${place}Label`, label]]);
  return [
    ['rt', Date.parse(record.time) || undefined],
    ['dvchost', reporter.name],
    ['cat', record.event],
    ['act', record.result],
    ['outcome', activityOf(record).outcome === 0 ? 'success' : 'failure'],
    ['reason', record.reason],
    ['msg', record.detail],
    ['externalId', record.request_id],
    // Of whom staff did something about, these are no source of it.
    ...(another ? placeOf(six, address, ['c6a3', 'Destination IPv6 Address'], 'dst') : placeOf(six, address, ['c6a2', 'Source IPv6 Address'], 'src')),
    ['suser', record.who ?? record.id],
    ...(another ? [['duser', record.id], ['dpriv', roles]] as const : [['spriv', roles]] as const),
    ['dhost', hostOf(record)],
    ['requestMethod', record.method],
    ['request', record.path === undefined ? undefined : requestText(record)],
    ['app', record.tls],
    ['in', record.bytes_in],
    ['out', record.bytes_out],
    ...(record.status === undefined ? [] : [['cn1', record.status], ['cn1Label', 'status']] as const),
    ...custom(1, 'route', record.route),
    ...custom(2, 'patient', record.patient),
    ...custom(3, 'certificate', record.fingerprint ?? record.serial),
    ...custom(4, 'subject', record.subject),
    ...custom(5, 'grant', grant === undefined ? undefined : `${grant.id}: ${grant.reason}`),
    ...custom(6, 'alarm', record.alarm),
    ['deviceExternalId', record.device],
    ['sourceServiceName', record.listener],
    ['destinationServiceName', record.upstream],
    ['fileId', `${segment}:${seq}`],
  ];
}

function placeOf(six: boolean, address: string | undefined, [key, label]: readonly [key: string, label: string], four: string): Extension {
  return six ? [[key, address], [`${key}Label`, label]] : [[four, address]];
}

/** In the header a pipe ends a field, and a backslash escapes it; there are no lines. */
function headerText(text: string): string {
  return (fittingText(text) ?? '').replace(/[\\|]/g, '\\$&');
}

/** In the extension an equals sign ends a key. */
function extensionText(text: string): string {
  return text.replace(/[\\=]/g, '\\$&').replaceAll('\r', '\\r').replaceAll('\n', '\\n');
}
