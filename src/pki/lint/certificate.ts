import type { Certificate } from '../certificate.ts';
import { constraintFindings, formFindings, identifierFindings, purposeFindings } from './extensions.ts';
import { keyFindings, signatureFindings } from './keys.ts';
import { nameFindings } from './names.ts';
import type { CertificateUse, Finding, LintContext } from './rules.ts';
import { periodFindings, timeFindings } from './validity.ts';
import { validationFindings } from './validation.ts';

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

/** Everything that a certificate shows by itself, as it is used. Never throws for a certificate that could be read. */
export function lintCertificate(certificate: Certificate, use: CertificateUse, context: LintContext): readonly Finding[] {
  return [
    ...formFindings(certificate),
    ...keyFindings(certificate),
    ...signatureFindings(certificate, use),
    ...timeFindings(certificate, context),
    ...periodFindings(certificate, use),
    ...nameFindings(certificate, use),
    ...purposeFindings(certificate, use),
    ...constraintFindings(certificate, use),
    ...identifierFindings(certificate, use),
    ...validationFindings(certificate, use, context),
  ];
}

/** What a certificate seems to be for, where nobody says. */
export function likelyUse({ basicConstraints, extendedKeyUsage, keyUsage, version, selfIssued }: Certificate): CertificateUse {
  // Version 1 has no extensions; what signs itself in it is an old root.
  if (basicConstraints?.ca === true || keyUsage?.has('keyCertSign') === true || (version === 1 && selfIssued)) return 'ca';
  if (extendedKeyUsage?.includes(SERVER_AUTH) === true) return 'server';
  return extendedKeyUsage?.includes(CLIENT_AUTH) === true ? 'client' : 'unknown';
}
