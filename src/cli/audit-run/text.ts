import { counted } from '../counted.ts';
import type { AuditReport, Count } from './report.ts';

/** The report as text for a terminal. */
export function textOf(report: AuditReport): string {
  const { gateway, from, to, findings, notes, chain, records, negotiated, certificates, routes, roles, outages, emergencies, alarms_open: open, retention_days: retention } = report;
  return [
    `Audit of ${from.slice(0, 10)} to ${to.slice(0, 10)}, made ${report.made}`,
    gatewayText(gateway),
    '',
    findings.length === 0 ? 'No findings.' : counted(findings.length, 'finding'),
    ...findings.map(({ rule, detail, remedy }, index) => `  ${index + 1}. ${rule}: ${detail}\n     -> ${remedy}`),
    ...section('Chain', [
      `${chain.whole ? 'whole' : 'NOT WHOLE'}: ${counted(chain.records, 'record')} in ${counted(chain.segments, 'segment')}, ${counted(chain.checkpoints, 'checkpoint')}`,
      ...(chain.anchored_to === undefined ? [] : [`anchored up to ${chain.anchored_to}`]), ...(chain.unanchored === 0 ? [] : [`${counted(chain.unanchored, 'record is', 'records are')} newer than that`]),
    ]),
    ...section('Records', [`${records.in_period} in the period${records.oldest === undefined ? '' : `; the oldest of all is of ${records.oldest}`}${retention === undefined ? '' : `; kept ${retention} days`}`, ...counts(records.events)]),
    ...section('Refused and failed, by reason', counts(records.reasons)),
    ...section('Negotiated', counts(negotiated)),
    ...section('Certificates of clients', [`${certificates.seen} seen`, ...counts(certificates.states)]),
    ...section('Certificates of the gateway', certificates.own.map(({ use, subject, not_after: end }) => `${end.slice(0, 10)}  ${use}: ${subject}`)),
    ...section('Routes', routes.map(({ name, clients, phi, permitted, denied, without_certificate: anonymous }) => (
      `${name}: ${clients === 'anybody' ? 'anybody' : 'certificate required'}${phi ? ', phi' : ''}; ${permitted} let in${anonymous === 0 ? '' : ` (${anonymous} without a certificate)`}, ${denied} refused`
    ))),
    ...section('Roles', counts(roles)),
    ...section('Runs of the gateway', outages.map(({ from: ended, to: began, clean }) => `${clean ? 'stopped' : 'ended without a stop, last started'} ${ended}, started ${began}`)),
    ...section('Emergencies and alarms', [`${counted(emergencies.opened, 'grant')} in the period, ${emergencies.unreviewed} not reviewed; ${counted(open, 'alarm')} open`]),
    ...section('Notes', notes),
  ].join('\n');
}

/** Which gateway a report is about. */
export function gatewayText({ name, configuration, key }: AuditReport['gateway']): string {
  return `Gateway ${name}, ${key === undefined ? 'which has no key of its own yet' : `key ${key}`}, configuration SHA-256 ${configuration}`;
}

function section(title: string, lines: readonly string[]): readonly string[] {
  return lines.length === 0 ? [] : ['', title, ...lines.map((line) => `  ${line}`)];
}

function counts(list: readonly Count[]): readonly string[] {
  const width = Math.max(...list.map(({ count }) => String(count).length), 0);
  return list.map(({ name, count }) => `${String(count).padStart(width)}  ${name}`);
}
