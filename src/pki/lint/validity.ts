import type { Certificate } from '../certificate.ts';
import { tierOf, USUAL_TIERS } from '../ending.ts';
import { isPublic } from './validation.ts';
import { dayText, spanText } from './rules.ts';
import type { CertificateUse, Finding, LintContext } from './rules.ts';

const DAY = 86_400_000;

/** CA/Browser Forum, Baseline Requirements section 6.3.2 with ballot SC-081v3: days that a public server certificate may last, by when it begins. */
const PUBLIC_SERVER_DAYS: readonly (readonly [from: number, days: number])[] = [
  [Date.UTC(2029, 2, 15), 47],
  [Date.UTC(2027, 2, 15), 100],
  [Date.UTC(2026, 2, 15), 200],
  [Date.UTC(2020, 8, 1), 398],
  [Date.UTC(2018, 2, 1), 825],
];

/** Two years (NIST SP 800-57 part 1 table 1, private authentication keys), ten of an intermediate, 25 of a root (Baseline Requirements section 7.1.2.1.1). */
export const LONGEST_DAYS = { leaf: 731, intermediate: 3653, root: 9132 } as const;

const FAR_TOO_LONG_DAYS = 1827;

/** How long it lasts from end to end. */
export function periodFindings(certificate: Certificate, use: CertificateUse): readonly Finding[] {
  const { notBefore, notAfter } = certificate;
  if (notAfter < notBefore) return [{ rule: 'validity', severity: 'error', detail: `ends on ${dayText(notAfter)}, before it begins on ${dayText(notBefore)}`, remedy: 'have it issued anew' }];
  const days = (notAfter - notBefore) / DAY;
  if (use === 'ca') return authorityPeriod(certificate, days);
  const allowed = use === 'server' && isPublic(certificate) ? PUBLIC_SERVER_DAYS.find(([from]) => notBefore >= from) : undefined;
  // Section 6.3.2 counts both ends, and every second begun after a day as a day more.
  if (allowed !== undefined && notAfter + 1000 - notBefore > allowed[1] * DAY) {
    return [tooLong('error', `valid for ${dayCount(days)} from ${dayText(notBefore)}; a public server certificate that begins since ${dayText(allowed[0])} may last ${allowed[1]} days (Baseline Requirements section 6.3.2)`)];
  }
  if (days <= LONGEST_DAYS.leaf) return [];
  return [tooLong(days > FAR_TOO_LONG_DAYS ? 'error' : 'warning', `valid for ${dayCount(days)}; expected at most ${LONGEST_DAYS.leaf}, two years (NIST SP 800-57 part 1, table 1)`)];
}

// Since then roots are held to 25 years (ballot SC-062); those of before stand in every trust store, and nobody can help it.
const ROOTS_LIMITED = Date.UTC(2023, 8, 15);

function authorityPeriod({ selfIssued, notBefore }: Certificate, days: number): readonly Finding[] {
  if (days > LONGEST_DAYS.root) return [tooLong(notBefore < ROOTS_LIMITED ? 'note' : 'warning', `a CA valid for ${dayCount(days)}; expected at most ${LONGEST_DAYS.root}, 25 years (Baseline Requirements section 7.1.2.1.1)`)];
  if (selfIssued || days <= LONGEST_DAYS.intermediate) return [];
  return [tooLong('note', `an intermediate CA valid for ${dayCount(days)}; ten years (${LONGEST_DAYS.intermediate} days) are usual at most`)];
}

function tooLong(severity: Finding['severity'], detail: string): Finding {
  return { rule: 'validity', severity, detail, remedy: 'have it issued anew for a shorter time, and renew it without people' };
}

function dayCount(days: number): string {
  return `${Math.ceil(days)} days`;
}

/**
 * How the time now stands to its validity. It is warned of 90, 30 and 7 days before the end, or a quarter, a twelfth and a
 * fiftieth of the whole where that is less: a certificate of 90 days is renewed in its last three weeks.
 */
export function timeFindings({ notBefore, notAfter }: Certificate, { now }: LintContext): readonly Finding[] {
  // Section 4.1.2.5 of RFC 5280: the last second belongs to it.
  if (now >= notAfter + 1000) return [{ rule: 'expired', severity: 'error', detail: `expired on ${dayText(notAfter)}`, remedy: 'renew it now, or remove it' }];
  if (now < notBefore) return [{ rule: 'not-yet-valid', severity: 'error', detail: `not valid before ${new Date(notBefore).toISOString()}`, remedy: 'wait, or set the clock right' }];
  const left = notAfter - now;
  const tier = tierOf(USUAL_TIERS, { kind: 'certificate', from: notBefore, until: notAfter }, now);
  if (tier === undefined) return [];
  return [{ rule: 'expiring', severity: tier === Math.min(...USUAL_TIERS) ? 'error' : 'warning', detail: `expires on ${dayText(notAfter)}, in ${spanText(left)}`, remedy: 'renew it' }];
}
