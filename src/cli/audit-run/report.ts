import { counted } from '../counted.ts';
import { expiredUnrevoked, findingsOf, type Finding } from './findings.ts';
import type { Gathered, SeenCertificate } from './gather.ts';
import type { GatewayName, Standing } from './standing.ts';

/** What an audit of a period comes to. Times are ISO 8601. */
export interface AuditReport {
  readonly made: string;
  readonly gateway: GatewayName;
  readonly from: string;
  readonly to: string;
  readonly good: boolean;
  readonly findings: readonly Finding[];
  readonly notes: readonly string[];
  readonly chain: { readonly whole: boolean; readonly records: number; readonly segments: number; readonly checkpoints: number; readonly unanchored: number; readonly anchored_to?: string };
  readonly records: { readonly in_period: number; readonly first?: string; readonly last?: string; readonly oldest?: string; readonly events: readonly Count[]; readonly reasons: readonly Count[] };
  readonly negotiated: readonly Count[];
  readonly certificates: { readonly seen: number; readonly states: readonly Count[]; readonly own: readonly { readonly use: string; readonly subject: string; readonly not_after: string }[] };
  readonly routes: readonly RouteLine[];
  readonly roles: readonly Count[];
  readonly outages: readonly { readonly from: string; readonly to: string; readonly clean: boolean }[];
  readonly emergencies: { readonly opened: number; readonly unreviewed: number };
  readonly alarms_open: number;
  readonly retention_days?: number;
}

export interface Count {
  readonly name: string;
  readonly count: number;
}

export interface RouteLine {
  readonly name: string;
  /** `certificate`: nobody comes in without one. */
  readonly clients: 'certificate' | 'anybody';
  readonly phi: boolean;
  readonly permitted: number;
  readonly denied: number;
  readonly without_certificate: number;
}

const DAY = 86_400_000;
/** Of a certificate that still holds and that nobody has shown for so long. */
const IDLE = 90 * DAY;
const ENDING = 30 * DAY;

/** Puts together what records and standing say about a period; `from` and `to` in ms since the epoch. */
export function reportOf(gathered: Gathered, standing: Standing, { from, to }: { readonly from: number; readonly to: number }): AuditReport {
  const { gateway, verdict, routes, roles, material, grants, alarms, retention, now } = standing;
  const findings = findingsOf(gathered, standing);
  const anchored = verdict.anchored?.time;
  return {
    made: iso(now), gateway, from: iso(from), to: iso(to), good: findings.length === 0, findings, notes: notesOf(gathered, standing),
    chain: {
      whole: verdict.whole, records: verdict.records, segments: verdict.segments, checkpoints: verdict.checkpoints, unanchored: verdict.unanchored, ...(anchored === undefined ? {} : { anchored_to: anchored }),
    },
    records: {
      in_period: gathered.records, ...moments({ first: gathered.first, last: gathered.last, oldest: gathered.oldest }), events: sorted(gathered.events), reasons: sorted(gathered.reasons),
    },
    negotiated: sorted(gathered.negotiated),
    certificates: {
      seen: gathered.certificates.size, states: statesOf(gathered, standing), own: material.map(({ use, subject, notAfter }) => ({ use, subject, not_after: iso(notAfter) })),
    },
    routes: routes.map(({ name, allow, phi }) => {
      const { permitted = 0, denied = 0, anonymous = 0 } = gathered.routes.get(name) ?? {};
      return { name, clients: allow.includes('public') ? 'anybody' : 'certificate', phi, permitted, denied, without_certificate: anonymous };
    }),
    roles: roles.map((name) => ({ name, count: gathered.roles.get(name) ?? 0 })),
    outages: gathered.outages.map((outage) => ({ from: iso(outage.from), to: iso(outage.to), clean: outage.clean })),
    emergencies: { opened: grants.filter(({ at }) => Date.parse(at) >= from && Date.parse(at) < to).length, unreviewed: grants.filter(({ review }) => review === undefined).length },
    alarms_open: alarms.length,
    ...(retention === undefined ? {} : { retention_days: Math.round(retention / DAY) }),
  };
}

function statesOf(gathered: Gathered, standing: Standing): readonly Count[] {
  const left = new Set(expiredUnrevoked(gathered, standing));
  const counts = new Map<string, number>();
  for (const certificate of gathered.certificates.values()) {
    const state = stateOf(certificate, left, standing);
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  return sorted(counts);
}

function stateOf(certificate: SeenCertificate, left: ReadonlySet<SeenCertificate>, { isDenied, now }: Standing): string {
  const { notAfter, revoked, last } = certificate;
  if (revoked || isDenied(certificate)) return 'revoked';
  if (left.has(certificate)) return 'expired and not revoked';
  if (notAfter === undefined) return 'end not on record';
  if (notAfter <= now) return 'expired and renewed';
  if (notAfter - now < ENDING) return 'ends within 30 days';
  return now - last > IDLE ? 'good, not used for 90 days' : 'good';
}

/** What an auditor should know, and nobody has to act on. */
function notesOf({ degraded, outages, overflown, oldest, certificates }: Gathered, { verdict, anchored, grants, retention, now }: Standing): readonly string[] {
  const unclean = outages.filter(({ clean }) => !clean).length;
  const waiting = grants.filter(({ review }) => review === undefined).length;
  return [
    ...(anchored ? [] : ['no anchor is configured: who can write to the audit directory could cut its end off unseen (audit.anchor)']),
    ...(degraded === 0 ? [] : [`${counted(degraded, 'record')} of clients that were let in although the status of their certificate was unknown, as unavailable says`]),
    ...(unclean === 0 ? [] : [`the gateway ended ${counted(unclean, 'time')} without saying so (killed, or a loss of power)`]),
    ...(waiting === 0 ? [] : [`${counted(waiting, 'emergency waits', 'emergencies wait')} for review`]),
    ...(oldest !== undefined && retention !== undefined && now - oldest < retention ? [`records go back to ${iso(oldest).slice(0, 10)}; the gateway keeps them ${Math.round(retention / DAY)} days`] : []),
    ...(overflown ? [`more than ${certificates.size} certificates: those beyond are counted in no list`] : []),
    ...verdict.notes,
  ];
}

function sorted(counts: ReadonlyMap<string, number>): readonly Count[] {
  return [...counts].map(([name, count]) => ({ name, count })).sort((left, right) => right.count - left.count || (left.name < right.name ? -1 : 1));
}

function moments(times: Readonly<Record<string, number | undefined>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(times).flatMap(([name, time]) => (time === undefined ? [] : [[name, iso(time)]])));
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
