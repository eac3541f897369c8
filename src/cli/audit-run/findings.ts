import type { Gathered, SeenCertificate } from './gather.ts';
import type { Standing } from './standing.ts';

/** One thing that somebody has to do something about. */
export interface Finding {
  readonly rule: FindingRule;
  readonly detail: string;
  readonly remedy: string;
}

export type FindingRule =
  | 'chain_broken' | 'records_lost' | 'configuration' | 'route_without_certificate' | 'route_unused' | 'role_unused' | 'weak_protocol' | 'weak_cipher'
  | 'certificate_expired' | 'certificate_ending' | 'expired_unrevoked' | 'alarm_overdue' | 'emergency_unreviewed';

const DAY = 86_400_000;
const ENDING = 30 * DAY;
/** REQUIREMENTS 50: a review within the week. */
const REVIEW = 7 * DAY;
const OVERDUE = DAY;

/** What is wrong, worst first. */
export function findingsOf(gathered: Gathered, standing: Standing): readonly Finding[] {
  return [
    ...chainFindings(gathered, standing), ...standing.issues.map(({ file, line, message }): Finding => ({ rule: 'configuration', detail: `${file}:${line}: ${message}`, remedy: 'wardgate check names the place and what is expected' })),
    ...protocolFindings(gathered), ...routeFindings(gathered, standing), ...roleFindings(gathered, standing), ...materialFindings(standing), ...expiredFindings(gathered, standing),
    ...alarmFindings(standing), ...grantFindings(standing),
  ];
}

function chainFindings({ lost }: Gathered, { verdict: { bad } }: Standing): Finding[] {
  const broken: Finding[] = bad === undefined ? [] : [{
    rule: 'chain_broken', detail: `${bad.file}${bad.line === undefined ? '' : `:${bad.line}`}: ${bad.kind}: ${bad.detail}`, remedy: 'keep the directory as it is, and follow the runbook for tampered evidence',
  }];
  return [...broken, ...lost.map(({ time, detail }): Finding => ({ rule: 'records_lost', detail: `${day(time)}: ${detail}`, remedy: 'see to the disk; audit.failing: refuse serves nothing without a record' }))];
}

const GOOD_PROTOCOLS = new Set(['TLSv1.2', 'TLSv1.3']);
/** Forward secrecy and authenticated encryption (RFC 9325 section 4.2); those of TLS 1.3 all have both. */
const GOOD_SUITE = /^TLS_(?:AES_|CHACHA20_|(?:ECDHE|DHE)_(?:ECDSA|RSA)_WITH_(?:AES_(?:128|256)_(?:GCM|CCM)|CHACHA20_POLY1305))/;

function protocolFindings({ negotiated }: Gathered): Finding[] {
  return [...negotiated].flatMap(([what, count]): Finding[] => {
    const [protocol = '', suite] = what.split(' ');
    if (!GOOD_PROTOCOLS.has(protocol)) return [{ rule: 'weak_protocol', detail: `${count} records by ${protocol}`, remedy: 'find the listener that takes it, and raise its profile' }];
    return suite === undefined || GOOD_SUITE.test(suite) ? [] : [{ rule: 'weak_cipher', detail: `${count} records by ${suite}`, remedy: 'take the suite out of the listener\'s profile' }];
  });
}

function routeFindings({ routes: seen }: Gathered, { routes }: Standing): Finding[] {
  return routes.flatMap(({ name, allow, phi, patient }): Finding[] => {
    const used = seen.get(name);
    const open = allow.includes('public') && (phi || patient !== undefined);
    return [
      ...(open ? [{ rule: 'route_without_certificate', detail: `${name} takes clients without a certificate, and is ${phi ? 'phi' : 'about patients'}${used === undefined ? '' : `; ${used.anonymous} came so`}`, remedy: 'take public out of allow' } as const] : []),
      ...(used === undefined ? [{ rule: 'route_unused', detail: `${name}: no request in the period`, remedy: 'what nobody uses is only a way in: take it out, or say why it stays' } as const] : []),
    ];
  });
}

function roleFindings({ roles: seen }: Gathered, { roles }: Standing): Finding[] {
  return roles.filter((role) => !seen.has(role)).map((role) => ({ rule: 'role_unused', detail: `${role}: nobody was let in with it in the period`, remedy: 'take it out, or say why it stays' }));
}

function materialFindings({ material, now }: Standing): Finding[] {
  return material.flatMap(({ use, subject, notAfter }): Finding[] => {
    if (notAfter <= now) return [{ rule: 'certificate_expired', detail: `${use}: ${subject} ended on ${day(notAfter)}`, remedy: 'replace it, and reload' }];
    return notAfter - now > ENDING ? [] : [{ rule: 'certificate_ending', detail: `${use}: ${subject} ends on ${day(notAfter)}`, remedy: 'renew it now' }];
  });
}

/**
 * Certificates that have ended, are still about, and that nobody has revoked. One that was renewed, and is not shown any more, is done with.
 */
export function expiredUnrevoked({ certificates }: Gathered, { isDenied, now }: Pick<Standing, 'isDenied' | 'now'>): readonly SeenCertificate[] {
  const latest = new Map<string, number>();
  for (const { id, notAfter } of certificates.values()) if (id !== undefined && notAfter !== undefined) latest.set(id, Math.max(latest.get(id) ?? 0, notAfter));
  return [...certificates.values()].filter((certificate) => {
    const { id, notAfter, expiredAt, revoked } = certificate;
    if (notAfter === undefined || notAfter > now || revoked || isDenied(certificate)) return false;
    const renewed = id !== undefined && (latest.get(id) ?? 0) > notAfter;
    return expiredAt !== undefined || !renewed;
  });
}

function expiredFindings(gathered: Gathered, standing: Standing): Finding[] {
  return expiredUnrevoked(gathered, standing).map(({ serial, issuer, role, notAfter, expiredAt }) => ({
    rule: 'expired_unrevoked',
    detail: `serial ${serial} of ${issuer}${role === undefined ? '' : ` (${role})`} ended on ${day(notAfter as number)}, ${expiredAt === undefined ? 'was not renewed' : `was last shown on ${day(expiredAt)}`}, and is not revoked`,
    remedy: 'find out who holds it: renew it, or revoke it (wardgate revoke)',
  }));
}

function alarmFindings({ alarms, now }: Standing): Finding[] {
  return alarms.filter(({ since }) => now - since > OVERDUE).map(({ id, rule, since }) => ({ rule: 'alarm_overdue', detail: `${rule} is open since ${day(since)} (${id})`, remedy: 'look into it, then wardgate alarm acknowledge' }));
}

function grantFindings({ grants, now }: Standing): Finding[] {
  return grants.filter(({ at, review }) => review === undefined && now - Date.parse(at) > REVIEW)
    .map(({ id, at }) => ({ rule: 'emergency_unreviewed', detail: `the emergency of ${day(Date.parse(at))} (${id}) was not reviewed within a week`, remedy: 'wardgate break-glass review' }));
}

function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}
