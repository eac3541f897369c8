import { describe, expect, it } from 'vitest';
import { parseCertificate } from '../src/pki/certificate.ts';
import type { Certificate } from '../src/pki/certificate.ts';
import { createPool, validatePath } from '../src/pki/path.ts';
import type { PathVerdict } from '../src/pki/path.ts';
import { processPolicies } from '../src/pki/policy-graph.ts';
import type { PolicyInputs } from '../src/pki/policy-graph.ts';
import { createAuthority, issueCertificate } from './support/pki.ts';
import type { AuthorityOptions } from './support/pki.ts';
import { shortest } from './support/timing.ts';

const SMARTCARD = '1.3.6.1.4.1.99999.1';
const SOFTWARE = '1.3.6.1.4.1.99999.2';
const PARTNER = '1.3.6.1.4.1.88888.1';

async function verdict(issuing: Partial<AuthorityOptions>, leafPolicies: readonly string[] | undefined, policies: PolicyInputs = {}): Promise<PathVerdict> {
  const root = await createAuthority({ name: 'Root' });
  const ca = await createAuthority({ name: 'Issuing', issuer: root, ...issuing });
  const leaf = await issueCertificate(ca, { subject: [['CN', 'x']], ...(leafPolicies !== undefined && { policies: leafPolicies }) });
  return validatePath(parseCertificate(leaf.der), createPool([parseCertificate(root.der)], [parseCertificate(ca.der)]), { now: Date.now(), purpose: 'client', policies });
}

describe('certificate policies', () => {
  it('are not asked for where nobody requires one', async () => {
    expect(await verdict({}, undefined)).toMatchObject({ kind: 'valid', policies: [] });
  });

  it('are reported when they hold along the path', async () => {
    expect(await verdict({ policies: [SMARTCARD, SOFTWARE] }, [SMARTCARD])).toMatchObject({ kind: 'valid', policies: [SMARTCARD] });
    expect(await verdict({ policies: ['2.5.29.32.0'] }, [SMARTCARD])).toMatchObject({ kind: 'valid', policies: [SMARTCARD] });
  });

  it('are not reported when a CA above does not have them', async () => {
    expect(await verdict({ policies: [SOFTWARE] }, [SMARTCARD])).toMatchObject({ kind: 'valid', policies: [] });
  });

  it('are missing when one is required and none holds', async () => {
    expect(await verdict({ policies: [SOFTWARE] }, [SMARTCARD], { requireExplicit: true })).toMatchObject({ reason: 'policy_missing' });
    expect(await verdict({}, [SMARTCARD], { requireExplicit: true })).toMatchObject({ reason: 'policy_missing' });
  });

  it('are missing when another than the acceptable ones holds', async () => {
    expect(await verdict({ policies: [SOFTWARE] }, [SOFTWARE], { requireExplicit: true, acceptable: [SMARTCARD] })).toMatchObject({ reason: 'policy_missing' });
    expect(await verdict({ policies: [SMARTCARD] }, [SMARTCARD], { requireExplicit: true, acceptable: [SMARTCARD] })).toMatchObject({ kind: 'valid', policies: [SMARTCARD] });
  });

  it('are required by a CA that says so', async () => {
    expect(await verdict({ policies: [SMARTCARD], policyConstraints: { requireExplicit: 0 } }, undefined)).toMatchObject({ reason: 'policy_missing' });
  });

  it('are mapped to the trust anchor\'s terms', async () => {
    const mapping = { policies: [SMARTCARD], policyMappings: [[SMARTCARD, PARTNER]] as const };
    expect(await verdict(mapping, [PARTNER], { acceptable: [SMARTCARD], requireExplicit: true })).toMatchObject({ kind: 'valid', policies: [SMARTCARD] });
    expect(await verdict(mapping, [PARTNER], { acceptable: [PARTNER], requireExplicit: true })).toMatchObject({ reason: 'policy_missing' });
    expect(await verdict(mapping, [PARTNER], { inhibitMapping: true, requireExplicit: true })).toMatchObject({ reason: 'policy_missing' });
  });

  it('may not be mapped to or from any policy', async () => {
    const mapping = { policies: [SMARTCARD], policyMappings: [['2.5.29.32.0', PARTNER]] as const };
    expect(await verdict(mapping, [PARTNER])).toMatchObject({ reason: 'policy_missing' });
  });

  it('are not any policy where that is inhibited', async () => {
    expect(await verdict({ policies: [SMARTCARD], inhibitAnyPolicy: 0 }, ['2.5.29.32.0'], { requireExplicit: true })).toMatchObject({ reason: 'policy_missing' });
  });

  it('cost no more than they are long: mappings that would double a tree at every level (CVE-2023-0464)', () => {
    const many = Array.from({ length: 40 }, (_, index) => `1.2.3.${index}`);
    const mappings = many.flatMap((issuerDomain) => many.map((subjectDomain) => ({ issuerDomain, subjectDomain })));
    const certificate = { policies: many, policyMappings: mappings, selfIssued: false } as unknown as Certificate;
    const took = shortest(() => expect(processPolicies(Array.from({ length: 12 }, () => certificate), { requireExplicit: true }).kind).toBe('satisfied'));
    expect(took).toBeLessThan(500);
  });
});
