import { beforeAll, describe, expect, it } from 'vitest';
import { createDenyTable, advanceEpoch } from '../src/store/deny-table.ts';
import type { Statement } from '../src/revocation/status.ts';
import { createAdmissionOffice, type AdmissionOffice } from '../src/tls/admission.ts';
import { createAuthority, issueCertificate, testPki, type Authority, type TestPki } from './support/pki.ts';
import { shortest } from './support/timing.ts';

let pki: TestPki;

beforeAll(async () => {
  pki = await testPki();
});

const good: Statement = { kind: 'good', source: 'crl', detail: '', at: 0, thisUpdate: 0, validUntil: Infinity };

function office(options: { anchors?: readonly Authority[]; intermediates?: readonly Authority[]; crl?: (issuer: string) => Statement; deny?: ReturnType<typeof createDenyTable> } = {}): AdmissionOffice {
  return createAdmissionOffice({
    config: { revocation: { check: 'chain', sources: ['crl'], skew: 0, allow_local: false }, roles: [], routes: [], webhooks: {}, trust_domains: {} } as never, authorities: {},
    realms: [{ name: '', anchors: (options.anchors ?? [pki.root]).map(({ der }) => der), intermediates: (options.intermediates ?? []).map(({ der }) => der) }],
    deny: options.deny ?? createDenyTable(),
    revocation: {
      crlStatement: (_certificate: unknown, issuer: { sha256: string }) => options.crl?.(issuer.sha256) ?? good,
      crlMayCome: () => false,
    } as never,
    now: Date.now,
  });
}

const peer = (leaf: Uint8Array, ...intermediates: readonly Uint8Array[]) => ({ leaf, intermediates: () => intermediates });

describe('admission under attack', () => {
  it('refuses a leaf that is made to be expensive before it reads it', async () => {
    const heavy = await issueCertificate(pki.issuing, { subject: [['CN', 'Heavy']], san: { dns: Array.from({ length: 2_000 }, (_, index) => `a${index}.test`) } });
    expect(heavy.der.length).toBeGreaterThan(16_384);
    expect(office({ intermediates: [pki.issuing] }).admit(peer(heavy.der), '')).toMatchObject({ kind: 'refused', reason: 'bad_request' });
  });

  it('does not let a refusal for want of intermediates stand against a client that brings them', () => {
    const desk = office();
    expect(desk.admit(peer(pki.doctor.der), '')).toMatchObject({ kind: 'refused', reason: 'untrusted_issuer' });
    expect(desk.admit(peer(pki.doctor.der, pki.issuing.der), '')).toMatchObject({ kind: 'known' });
  });

  it('keeps no intermediate of a client whose status is unknown', async () => {
    const other = await createAuthority({ name: [['CN', 'Other Root']] });
    const sub = await createAuthority({ name: [['CN', 'Sub CA']], issuer: other });
    const one = await issueCertificate(sub, { subject: [['CN', 'One']] });
    const two = await issueCertificate(sub, { subject: [['CN', 'Two']] });
    const unknown: Statement = { kind: 'unavailable', source: 'crl', reason: 'crl_missing', detail: 'no CRL', at: 0 };
    const desk = office({ anchors: [other], crl: () => unknown });
    expect(desk.admit(peer(one.der, sub.der), '')).toMatchObject({ kind: 'known', status: { kind: 'unknown' } });
    expect(desk.admit(peer(two.der), '')).toMatchObject({ kind: 'refused', reason: 'untrusted_issuer' });
    const trusting = office({ anchors: [other] });
    expect(trusting.admit(peer(one.der, sub.der), '')).toMatchObject({ kind: 'known', status: { kind: 'good' } });
    expect(trusting.admit(peer(two.der), '')).toMatchObject({ kind: 'known' });
  });

  it('judges a known leaf again after a change for the price of its status', () => {
    const deny = createDenyTable();
    const desk = office({ intermediates: [pki.issuing], deny });
    desk.admit(peer(pki.doctor.der), '');
    const took = shortest(() => {
      for (let round = 0; round < 1_000; round++) {
        advanceEpoch(deny);
        if ((desk.admit(peer(pki.doctor.der), '') as { kind: string }).kind !== 'known') throw new Error('refused');
      }
    });
    // Two signatures each would take several times that.
    expect(took / 1_000).toBeLessThan(0.1);
  });
});
