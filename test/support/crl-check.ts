import type { Certificate } from '../../src/pki/certificate.ts';
import { crlSigners, loadCrl } from '../../src/revocation/crl-load.ts';
import { crlStatement } from '../../src/revocation/crl-statement.ts';
import { certificatesToCheck } from '../../src/revocation/status.ts';
import type { RevocationCheck } from './vectors.ts';

/** The gateway's own CRL processing over the CRLs of a case: why a certificate of the path is not known to be good. */
export const checkCrls: RevocationCheck = ({ path, crls, anchors, intermediates, now, algorithms }) => {
  if (crls.length === 0) return undefined;
  const ders = (certificates: readonly Certificate[]): Uint8Array[] => certificates.map(({ der }) => der);
  const signers = crlSigners({ realms: [{ anchors: ders(anchors), intermediates: ders(intermediates) }], now, algorithms });
  const outcomes = crls.map((der, index) => loadCrl(`crl ${index}`, der, signers));
  const handles = outcomes.flatMap((outcome) => (outcome.kind === 'crl' ? [outcome.handle] : []));
  const refusals = outcomes.flatMap((outcome) => (outcome.kind === 'refused' ? [outcome.problem.detail] : []));
  for (const { certificate, issuer, anchor } of certificatesToCheck(path, 'chain')) {
    const statement = crlStatement(handles, certificate, issuer, now, { skew: 0, anchor, check: 'chain', algorithms });
    if (statement.kind !== 'good') return [`${statement.kind}: ${statement.detail}`, ...refusals].join('; ');
  }
  return undefined;
};
