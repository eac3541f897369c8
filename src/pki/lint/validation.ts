import type { Certificate } from '../certificate.ts';
import type { CertificateUse, Finding, LintContext, ValidationLevel } from './rules.ts';

/** The CA/Browser Forum's own policies (Baseline Requirements section 7.1.6.1), of which every public server certificate has one. */
const LEVELS: Readonly<Record<string, ValidationLevel | 'iv'>> = {
  '2.23.140.1.2.1': 'dv', '2.23.140.1.2.2': 'ov', '2.23.140.1.2.3': 'iv', '2.23.140.1.1': 'ev',
};

/** Signed certificate timestamps (RFC 6962 section 3.3), without which browsers take no public certificate. */
const TIMESTAMPS = '1.3.6.1.4.1.11129.2.4.2';

const TITLES = { dv: 'DV (the domain alone)', iv: 'IV (an individual)', ov: 'OV (the organisation)', ev: 'EV (extended)' } as const;
const RANK = { dv: 0, iv: 0, ov: 1, ev: 2 } as const;

/** Whether a public CA issued it, as far as it says itself. */
export function isPublic({ policies, extensions }: Certificate): boolean {
  return policies.some((policy) => LEVELS[policy] !== undefined) || extensions.some(({ oid }) => oid === TIMESTAMPS);
}

/** How far the CA has looked at who asked: a hospital's public name should not stand on a mailbox alone. */
export function validationFindings(certificate: Certificate, use: CertificateUse, { validation }: LintContext): readonly Finding[] {
  if (use !== 'server' || validation === 'dv') return [];
  const levels = certificate.policies.flatMap((policy) => LEVELS[policy] ?? []);
  const highest = levels.toSorted((a, b) => RANK[b] - RANK[a])[0];
  const remedy = `order ${validation === 'ev' ? 'an EV' : 'an OV or EV'} certificate`;
  if (validation === undefined) {
    const detail = `validated as ${TITLES.dv}, policy 2.23.140.1.2.1; medical services in public should show OV or EV`;
    return highest === 'dv' ? [{ rule: 'validation', severity: 'warning', detail, remedy: `${remedy}, or say that dv is enough` }] : [];
  }
  if (highest !== undefined && RANK[highest] >= RANK[validation]) return [];
  const found = highest === undefined ? 'no policy of the CA/Browser Forum tells how it was validated' : `validated as ${TITLES[highest]}`;
  return [{ rule: 'validation', severity: 'error', detail: `${found}; ${TITLES[validation]} is demanded`, remedy }];
}
