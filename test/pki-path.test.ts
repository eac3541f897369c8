import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCertificate } from '../src/pki/certificate.ts';
import type { Certificate } from '../src/pki/certificate.ts';
import { createPool, validatePath, withIntermediates } from '../src/pki/path.ts';
import type { PathOptions, PathVerdict } from '../src/pki/path.ts';
import { createAuthority, issueCertificate, unknownExtension } from './support/pki.ts';
import type { Authority, AuthorityOptions, CertificateOptions, Issued } from './support/pki.ts';
import { shortest } from './support/timing.ts';

const now = Date.now();
const day = 86_400_000;
const subject = [['CN', 'Dr Wang'], ['OU', 'Doctors']] as const;

const read = ({ der }: Issued): Certificate => parseCertificate(der);

function validate(leaf: Issued, anchors: readonly Issued[], intermediates: readonly Issued[] = [], options: Partial<PathOptions> = {}): PathVerdict {
  return validatePath(read(leaf), createPool(anchors.map(read), intermediates.map(read)), { now, purpose: 'client', ...options });
}

async function chain(options: { root?: Partial<AuthorityOptions>; issuing?: Partial<AuthorityOptions>; leaf?: Partial<CertificateOptions> } = {}): Promise<{ root: Authority; issuing: Authority; leaf: Issued }> {
  const root = await createAuthority({ name: 'Root', limits: 'off', ...options.root });
  const issuing = await createAuthority({ name: 'Issuing', issuer: root, limits: 'off', ...options.issuing });
  const leaf = await issueCertificate(issuing, { subject, limits: 'off', ...options.leaf });
  return { root, issuing, leaf };
}

const names = (verdict: PathVerdict): readonly string[] => (verdict.kind === 'valid' ? verdict.path.map(({ subject: { rdns } }) => rdns.at(-1)?.[0]?.value ?? '') : [verdict.detail]);

describe('validatePath', () => {
  it('finds the path from a leaf over an issuing CA to the root, until its first expiry', async () => {
    const { root, issuing, leaf } = await chain();
    const verdict = validate(leaf, [root], [issuing]);
    expect(names(verdict)).toEqual(['Dr Wang', 'Issuing', 'Root']);
    expect(verdict).toMatchObject({ kind: 'valid', validUntil: leaf.notAfter + 1000 });
  });

  it('says untrusted_issuer when an intermediate is missing', async () => {
    const { root, leaf } = await chain();
    expect(validate(leaf, [root])).toMatchObject({ kind: 'invalid', reason: 'untrusted_issuer' });
  });

  it('takes an issuing CA for the anchor without its root', async () => {
    const { issuing, leaf } = await chain();
    expect(names(validate(leaf, [issuing]))).toEqual(['Dr Wang', 'Issuing']);
  });

  it('takes a pinned leaf for the anchor', async () => {
    const { leaf } = await chain();
    expect(names(validate(leaf, [leaf]))).toEqual(['Dr Wang']);
  });

  it('takes a pinned self-signed leaf for the anchor, and no other by the same key', async () => {
    const pinned = await createAuthority({ name: 'Device', keyUsage: ['digitalSignature'], omit: ['basicConstraints'] });
    const other = await createAuthority({ name: 'Device', key: pinned.key, keyUsage: ['digitalSignature'], omit: ['basicConstraints'] });
    expect(validate(pinned, [pinned]).kind).toBe('valid');
    expect(validate(other, [pinned])).toMatchObject({ kind: 'invalid', reason: 'untrusted_issuer' });
  });

  it('holds a pinned leaf to its validity and purpose', async () => {
    const { leaf } = await chain({ leaf: { notAfter: now - 1000, notBefore: now - day } });
    const server = (await chain({ leaf: { eku: ['serverAuth'] } })).leaf;
    expect(validate(leaf, [leaf])).toMatchObject({ reason: 'expired' });
    expect(validate(server, [server])).toMatchObject({ reason: 'eku_invalid' });
  });

  it('does not let a pinned leaf issue', async () => {
    const { leaf } = await chain();
    const forged = await issueCertificate(leaf, { subject: [['CN', 'Mallory']] });
    expect(validate(forged, [leaf])).toMatchObject({ kind: 'invalid', reason: 'constraint_violated', detail: expect.stringContaining('not a CA') });
  });

  it('refuses a self-signed stranger', async () => {
    const { root, issuing } = await chain();
    const stranger = await createAuthority({ name: 'Stranger', keyUsage: ['digitalSignature'] });
    expect(validate(stranger, [root], [issuing])).toMatchObject({ reason: 'untrusted_issuer' });
  });

  it('refuses a leaf of a CA that only has the right name', async () => {
    const { root, issuing } = await chain();
    const impostor = await createAuthority({ name: 'Issuing' });
    const leaf = await issueCertificate(impostor, { subject });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'untrusted_issuer' });
    expect(validate(leaf, [root], [issuing, impostor]).kind).toBe('invalid');
  });

  it('says signature_invalid when the issuer is right and the signature is not', async () => {
    const { root, issuing, leaf } = await chain({ leaf: { breakSignature: true } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'signature_invalid' });
  });
});

describe('the reason, when no path is valid', () => {
  it('is expired when the leaf has expired', async () => {
    const { root, issuing, leaf } = await chain({ leaf: { notBefore: now - 2 * day, notAfter: now - day } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'expired', detail: expect.stringContaining('Dr Wang') });
  });

  it('is expired when the issuer has expired', async () => {
    const { root, issuing, leaf } = await chain({ issuing: { notBefore: now - 2 * day, notAfter: now - day } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'expired', detail: expect.stringContaining('Issuing') });
  });

  it('is expired when the anchor has expired', async () => {
    const { root, issuing, leaf } = await chain({ root: { notBefore: now - 2 * day, notAfter: now - day } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'expired', detail: expect.stringContaining('Root') });
  });

  it('is not_yet_valid before notBefore, by more than the clock skew', async () => {
    const { root, issuing, leaf } = await chain({ leaf: { notBefore: now + 30_000 } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'not_yet_valid' });
    expect(validate(leaf, [root], [issuing], { skew: 60_000 }).kind).toBe('valid');
  });

  it('never lets the clock skew lengthen a life', async () => {
    const { root, issuing, leaf } = await chain();
    const at = (time: number) => validate(leaf, [root], [issuing], { now: time, skew: 60_000 });
    expect(at(leaf.notAfter + 999).kind).toBe('valid');
    expect(at(leaf.notAfter + 1000)).toMatchObject({ reason: 'expired' });
  });

  it('is what stops the current path rather than the expiry of an old one', async () => {
    const key = (await createAuthority({ name: 'Old' })).key;
    const old = await createAuthority({ name: 'Root', key, notBefore: now - 2 * day, notAfter: now - day, limits: 'off' });
    const renewed = await createAuthority({ name: 'Root', key, eku: ['serverAuth'] });
    const leaf = await issueCertificate(renewed, { subject });
    expect(validate(leaf, [old, renewed])).toMatchObject({ reason: 'eku_invalid' });
    expect(validate(leaf, [renewed, old])).toMatchObject({ reason: 'eku_invalid' });
  });

  it('is untrusted_issuer for an expired leaf of a stranger: no one vouches for the date', async () => {
    const { root } = await chain();
    const stranger = await createAuthority({ name: 'Stranger' });
    const leaf = await issueCertificate(stranger, { subject, notBefore: now - 2 * day, notAfter: now - day });
    expect(validate(leaf, [root], [stranger])).toMatchObject({ reason: 'untrusted_issuer' });
  });
});

describe('chain building', () => {
  it('goes over a renewed CA with the same key', async () => {
    const { root, issuing, leaf } = await chain({ issuing: { notBefore: now - 2 * day, notAfter: now - day } });
    const renewed = await createAuthority({ name: 'Issuing', key: issuing.key, issuer: root });
    expect(names(validate(leaf, [root], [issuing, renewed]))).toEqual(['Dr Wang', 'Issuing', 'Root']);
    expect(validate(leaf, [root], [issuing, renewed])).toMatchObject({ path: [{ sha256: leaf.sha256 }, { sha256: renewed.sha256 }, { sha256: root.sha256 }] });
  });

  it('tells a re-keyed CA of the same name from the old one, with and without key identifiers', async () => {
    for (const omit of [[], ['subjectKeyIdentifier', 'authorityKeyIdentifier']] as const) {
      const root = await createAuthority({ name: 'Root' });
      const [old, fresh] = [await createAuthority({ name: 'Issuing', issuer: root, omit }), await createAuthority({ name: 'Issuing', issuer: root, omit })];
      const leaf = await issueCertificate(fresh, { subject, omit });
      expect(validate(leaf, [root], [old, fresh])).toMatchObject({ kind: 'valid', path: [{}, { sha256: fresh.sha256 }, {}] });
    }
  });

  it('goes over a cross-certificate to a root that is trusted here', async () => {
    const { root, issuing, leaf } = await chain();
    const other = await createAuthority({ name: 'Other root' });
    const cross = await createAuthority({ name: 'Root', key: root.key, issuer: other });
    expect(names(validate(leaf, [other], [issuing, cross]))).toEqual(['Dr Wang', 'Issuing', 'Root', 'Other root']);
  });

  it('tries the other path when one leads over a cross-certificate that must not be used', async () => {
    const { root, issuing, leaf } = await chain();
    const [first, second] = [await createAuthority({ name: 'First' }), await createAuthority({ name: 'Second' })];
    const cross = [await createAuthority({ name: 'Root', key: root.key, issuer: first }), await createAuthority({ name: 'Root', key: root.key, issuer: second })];
    const found = validate(leaf, [first, second], [issuing, ...cross]);
    const used = found.kind === 'valid' ? (found.path[2] as Certificate).sha256 : '';
    const again = validate(leaf, [first, second], [issuing, ...cross], { avoid: new Set([used]) });
    expect(again.kind).toBe('valid');
    expect(names(again)).not.toEqual(names(found));
  });

  it('follows a key roll-over: the new key certified by the old one', async () => {
    const old = await createAuthority({ name: 'Root' });
    const renewed = await createAuthority({ name: 'Root', issuer: old });
    const leaf = await issueCertificate(renewed, { subject });
    expect(validate(leaf, [old], [renewed])).toMatchObject({ kind: 'valid', path: [{}, { sha256: renewed.sha256 }, { sha256: old.sha256 }] });
  });

  it('matches names by their meaning: case and blanks aside', async () => {
    const root = await createAuthority({ name: 'Hospital  Root' });
    const twin = await createAuthority({ name: 'hospital root', key: root.key });
    const leaf = await issueCertificate(root, { subject });
    expect(validate(leaf, [twin]).kind).toBe('valid');
  });

  it('finds a path in a mesh of cross-certificates if and only if there is one', async () => {
    const size = 5;
    const cas = await Promise.all(Array.from({ length: size }, (_, index) => createAuthority({ name: `CA ${index}` })));
    const certifies = await Promise.all(cas.map((issuer) => Promise.all(cas.map(async (ca, index) => read(ca === issuer ? ca : await createAuthority({ name: `CA ${index}`, key: ca.key, issuer }))))));
    const leaf = read(await issueCertificate(cas[0] as Authority, { subject }));
    const edge = fc.tuple(fc.nat(size - 1), fc.nat(size - 1)).filter(([issuer, ca]) => issuer !== ca);
    fc.assert(fc.property(fc.uniqueArray(edge, { selector: String, maxLength: 12 }), fc.uniqueArray(fc.nat(size - 1), { minLength: 1, maxLength: 2 }), (edges, trusted) => {
      const reached = new Set([0]);
      for (let round = 0; round < size; round += 1) for (const [issuer, ca] of edges) if (reached.has(ca)) reached.add(issuer);
      const pool = createPool(trusted.map((index) => read(cas[index] as Authority)), edges.map(([issuer, ca]) => certifies[issuer]?.[ca] as Certificate));
      const verdict = validatePath(leaf, pool, { now, purpose: 'client', budget: { signatures: 100, candidates: 1000 } });
      expect(verdict.kind).toBe(trusted.some((index) => reached.has(index)) ? 'valid' : 'invalid');
      if (verdict.kind === 'invalid') expect(verdict.reason).toBe('untrusted_issuer');
    }), { numRuns: 200 });
  });

  it('uses intermediates that are added later', async () => {
    const { root, issuing, leaf } = await chain();
    const pool = createPool([read(root)], []);
    expect(validatePath(read(leaf), pool, { now, purpose: 'client' }).kind).toBe('invalid');
    expect(validatePath(read(leaf), withIntermediates(pool, [read(issuing)]), { now, purpose: 'client' }).kind).toBe('valid');
  });
});

describe('constraints (traps 14: what the chain engine of a library let through)', () => {
  it('refuses a path-length violation', async () => {
    const root = await createAuthority({ name: 'Root', pathLen: 0 });
    const issuing = await createAuthority({ name: 'Issuing', issuer: root });
    const leaf = await issueCertificate(issuing, { subject });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'constraint_violated', detail: expect.stringContaining('path length') });
  });

  it('refuses a path-length violation of an intermediate', async () => {
    const root = await createAuthority({ name: 'Root' });
    const first = await createAuthority({ name: 'First', issuer: root, pathLen: 0 });
    const second = await createAuthority({ name: 'Second', issuer: first });
    const leaf = await issueCertificate(second, { subject });
    expect(validate(leaf, [root], [first, second])).toMatchObject({ reason: 'constraint_violated' });
    expect(validate(await issueCertificate(first, { subject }), [root], [first, second]).kind).toBe('valid');
  });

  it('refuses a leaf for serverAuth only', async () => {
    const { root, issuing, leaf } = await chain({ leaf: { eku: ['serverAuth'] } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'eku_invalid' });
    expect(validate(leaf, [root], [issuing], { purpose: 'server' }).kind).toBe('valid');
  });

  it.each(['leaf', 'issuing', 'root'] as const)('refuses an unknown critical extension in the %s certificate', async (where) => {
    const { root, issuing, leaf } = await chain({ [where]: { extensions: [unknownExtension(true)] } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'constraint_violated', detail: expect.stringContaining('1.3.6.1.4.1.99999.7.7') });
  });

  it('ignores an unknown extension that is not critical', async () => {
    const { root, issuing, leaf } = await chain({ leaf: { extensions: [unknownExtension(false)] } });
    expect(validate(leaf, [root], [issuing]).kind).toBe('valid');
  });

  it('refuses an issuer that is no CA', async () => {
    const { root, issuing } = await chain();
    const middle = await issueCertificate(issuing, { subject: [['CN', 'Nurse']], keyUsage: ['digitalSignature', 'keyCertSign'] });
    const forged = await issueCertificate(middle, { subject });
    expect(validate(forged, [root], [issuing, middle])).toMatchObject({ reason: 'constraint_violated', detail: expect.stringContaining('not a CA') });
  });

  it('refuses an issuer whose key may not sign certificates', async () => {
    const { root, issuing, leaf } = await chain({ issuing: { keyUsage: ['cRLSign'] } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'constraint_violated' });
  });

  it('refuses a root of version 3 without basic constraints, and takes one of version 1', async () => {
    const { root, issuing, leaf } = await chain({ root: { omit: ['basicConstraints'] } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'constraint_violated' });
    const old = await chain({ root: { version: 1 } });
    expect(validate(old.leaf, [old.root], [old.issuing]).kind).toBe('valid');
    const middle = await chain({ issuing: { version: 1 } });
    expect(validate(middle.leaf, [middle.root], [middle.issuing])).toMatchObject({ reason: 'constraint_violated' });
  });

  it('refuses a leaf whose key usage does not let it sign', async () => {
    const { root, issuing, leaf } = await chain({ leaf: { keyUsage: ['keyEncipherment'] } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'constraint_violated' });
  });

  it.each([['00'], ['00'.repeat(20) + '01'], ['7f'.padEnd(42, '0')]])('judges the serial number %s', async (serial) => {
    const { root, issuing, leaf } = await chain({ leaf: { serial } });
    const sane = leaf.serialHex.length <= 40 && leaf.serialHex !== '00';
    expect(validate(leaf, [root], [issuing]).kind).toBe(sane ? 'valid' : 'invalid');
    expect(validate(leaf, [root], [issuing], { serials: 'any' }).kind).toBe('valid');
  });
});

describe('extended key usage', () => {
  it('of a CA limits what is below it', async () => {
    const { root, issuing, leaf } = await chain({ issuing: { eku: ['serverAuth'] }, leaf: { eku: ['clientAuth'] } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'eku_invalid', detail: expect.stringContaining('Issuing') });
  });

  it('of a CA may be any', async () => {
    const { root, issuing, leaf } = await chain({ issuing: { eku: ['any'] } });
    expect(validate(leaf, [root], [issuing]).kind).toBe('valid');
  });

  it('of a leaf may be absent, but not any alone', async () => {
    const without = await chain({ leaf: { omit: ['extendedKeyUsage'] } });
    const any = await chain({ leaf: { eku: ['any'] } });
    expect(validate(without.leaf, [without.root], [without.issuing]).kind).toBe('valid');
    expect(validate(any.leaf, [any.root], [any.issuing])).toMatchObject({ reason: 'eku_invalid' });
  });

  it('is demanded of an OCSP delegate, and not of the CAs above it', async () => {
    const { root, issuing, leaf } = await chain({ issuing: { eku: ['clientAuth'] }, leaf: { eku: ['OCSPSigning'] } });
    const plain = await issueCertificate(issuing, { subject, omit: ['extendedKeyUsage'] });
    expect(validate(leaf, [root], [issuing], { purpose: 'ocsp-delegate' }).kind).toBe('valid');
    expect(validate(plain, [root], [issuing], { purpose: 'ocsp-delegate' })).toMatchObject({ reason: 'eku_invalid' });
  });
});

describe('algorithms and keys', () => {
  it.each(['ec', 'ec384', 'ec521', 'ed25519', 'ed448', 'rsa'] as const)('verifies a path of %s keys', async (keyType) => {
    const { root, issuing, leaf } = await chain({ root: { keyType }, issuing: { keyType }, leaf: { keyType } });
    expect(validate(leaf, [root], [issuing]).kind).toBe('valid');
  });

  it('verifies RSASSA-PSS', async () => {
    const { root, issuing, leaf } = await chain({ issuing: { keyType: 'rsa' }, leaf: { pss: true } });
    expect(validate(leaf, [root], [issuing]).kind).toBe('valid');
  });

  it.each([['sha1', 'ec'], ['sha1', 'rsa'], ['sha224', 'ec']] as const)('refuses a signature over %s with %s', async (signatureHash, keyType) => {
    const { root, issuing, leaf } = await chain({ issuing: { keyType }, leaf: { signatureHash } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'constraint_violated', detail: expect.stringContaining(signatureHash) });
  });

  it('does not mind how a root signed itself: that signature vouches for nothing', async () => {
    const { root, issuing, leaf } = await chain({ root: { signatureHash: 'sha1' } });
    expect(validate(leaf, [root], [issuing]).kind).toBe('valid');
  });

  it.each(['root', 'issuing', 'leaf'] as const)('refuses RSA of 1024 bits in the %s certificate', async (where) => {
    const { root, issuing, leaf } = await chain({ [where]: { keyType: 'rsa1024' } });
    expect(validate(leaf, [root], [issuing])).toMatchObject({ reason: 'constraint_violated', detail: expect.stringContaining('RSA key of 1024 bits') });
  });
});

describe('hostile chains', () => {
  const budget = { signatures: 32, candidates: 256 };

  it('stops trying after so many CAs of one name', async () => {
    const { root, issuing, leaf } = await chain({ leaf: { omit: ['authorityKeyIdentifier'] } });
    const impostors = await Promise.all(Array.from({ length: 60 }, () => createAuthority({ name: 'Issuing', omit: ['subjectKeyIdentifier'] })));
    const verdict = validate(leaf, [root], impostors, { budget });
    expect(verdict).toMatchObject({ kind: 'invalid', detail: expect.stringContaining('gave up') });
    expect(validate(leaf, [root], [issuing, ...impostors], { budget }).kind).toBe('valid');
  });

  it('tries what is configured before what a stranger brings', async () => {
    const { root, issuing, leaf } = await chain();
    const impostors = await Promise.all(Array.from({ length: 60 }, () => createAuthority({ name: 'Issuing', key: issuing.key })));
    const pool = withIntermediates(createPool([read(root)], [read(issuing)]), impostors.map(read));
    expect(validatePath(read(leaf), pool, { now, purpose: 'client', budget: { signatures: 2, candidates: 2 } }).kind).toBe('valid');
  });

  it('ends in a mesh of CAs that certify each other', async () => {
    const parts = await Promise.all(Array.from({ length: 7 }, (_, index) => createAuthority({ name: `CA ${index}` })));
    const mesh = await Promise.all(parts.flatMap((issuer) => parts.filter((part) => part !== issuer).map((part, index) => {
      const name = `CA ${parts.indexOf(part)}`;
      return createAuthority({ name, key: part.key, issuer, serial: `0${index + 1}` });
    })));
    const leaf = await issueCertificate(parts[0] as Authority, { subject });
    const { root } = await chain();
    expect(shortest(() => expect(validate(leaf, [root], mesh, { budget })).toMatchObject({ reason: 'untrusted_issuer' }))).toBeLessThan(500);
  });

  it('ends in a loop of two CAs', async () => {
    const [a, b] = [await createAuthority({ name: 'A' }), await createAuthority({ name: 'B' })];
    const loop = [await createAuthority({ name: 'A', key: a.key, issuer: b }), await createAuthority({ name: 'B', key: b.key, issuer: a })];
    const leaf = await issueCertificate(a, { subject });
    expect(validate(leaf, [], loop)).toMatchObject({ reason: 'untrusted_issuer' });
  });

  it('remembers signatures among its own CAs and no stranger\'s', async () => {
    const { root, issuing, leaf } = await chain();
    const pool = createPool([read(root)], [read(issuing)]);
    const once = { now, purpose: 'client', budget: { signatures: 1, candidates: 10 } } as const;
    expect(validatePath(read(leaf), pool, once).kind).toBe('invalid');
    expect(validatePath(read(leaf), pool, { ...once, budget: { signatures: 2, candidates: 10 } }).kind).toBe('valid');
    expect(validatePath(read(leaf), pool, once).kind).toBe('valid');
    expect(validatePath(read(leaf), withIntermediates(pool, [read(await createAuthority({ name: 'Other' }))]), once).kind).toBe('valid');
  });
});
