import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { Certificate as LibraryCertificate } from 'pkijs';
import { describe, expect, it } from 'vitest';
import { boolean, context, contextPrimitive, integer, octetString, oid, sequence, text, tlv } from '../src/ca/der.ts';
import { parseCertificate, PkiError } from '../src/pki/certificate.ts';
import type { Certificate } from '../src/pki/certificate.ts';
import { readAll, readSingle } from '../src/pki/der.ts';
import { pemBlocks } from '../src/pki/pem.ts';
import { createPool, validatePath } from '../src/pki/path.ts';
import { createAuthority, issueCertificate, ocspNoCheck, unknownExtension } from './support/pki.ts';
import type { CertificateOptions, RawExtension } from './support/pki.ts';
import { shortest } from './support/timing.ts';
import { haveVectors, limboCases, pkitsFile } from './support/vectors.ts';

const authority = await createAuthority({ name: 'Root' });

async function issue(options: Partial<CertificateOptions> = {}): Promise<Buffer> {
  return (await issueCertificate(authority, { subject: [['CN', 'Dr Wang']], ...options })).der;
}

const extension = (value: Uint8Array, identifier: string, critical = false): RawExtension => ({ oid: identifier, critical, value });

/** The same certificate with one of the parts of its TBSCertificate replaced; `undefined` leaves it out. */
function editTbs(index: number, replace: (part: Uint8Array) => Uint8Array | undefined): (tbs: Buffer) => Uint8Array {
  return (tbs) => sequence(...readAll(readSingle(tbs, 0x30, 'tbs').content, 'tbs').flatMap(({ der }, at) => (at === index ? replace(der) ?? [] : der)));
}

describe('parseCertificate', () => {
  it('reads what identities are made of', async () => {
    const issued = await issueCertificate(authority, {
      subject: [['CN', 'Kiosk 7'], ['OU', 'Devices']],
      serial: '00ab01',
      policies: ['1.3.6.1.4.1.99999.1'],
      ocsp: 'http://ocsp.test/',
      caIssuers: 'http://ca.test/ca.crt',
      crlDistributionPoints: ['http://crl.test/x.crl', { urls: ['http://crl.test/y.crl'], reasons: ['keyCompromise'] }],
      san: { dns: 'kiosk-7.test', email: 'k@hospital.test', uri: 'urn:device:7', ip: ['192.0.2.7', '2001:db8::7'] },
      extensions: [ocspNoCheck()],
    });
    expect(parseCertificate(issued.der)).toMatchObject({
      sha256: issued.sha256,
      serial: 'ab01',
      version: 3,
      notBefore: issued.notBefore,
      notAfter: issued.notAfter,
      selfIssued: false,
      basicConstraints: { ca: false },
      keyUsage: new Set(['digitalSignature']),
      extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'],
      policies: ['1.3.6.1.4.1.99999.1'],
      ocspResponders: ['http://ocsp.test/'],
      caIssuers: ['http://ca.test/ca.crt'],
      ocspNoCheck: true,
      crlDistributionPoints: [
        { name: { kind: 'full', names: [{ kind: 'uri', value: 'http://crl.test/x.crl' }] }, crlIssuer: [] },
        { reasons: new Set([1]) },
      ],
      subjectKeyIdentifier: issued.keyIdentifier.toString('hex'),
      authorityKeyIdentifier: { keyIdentifier: authority.keyIdentifier.toString('hex') },
      unknownCriticalExtensions: [],
    });
    expect(parseCertificate(issued.der).subjectAltNames.map((name) => [name.kind, 'value' in name ? name.value : ''])).toEqual(expect.arrayContaining([
      ['dns', 'kiosk-7.test'], ['email', 'k@hospital.test'], ['uri', 'urn:device:7'], ['ip', '192.0.2.7'], ['ip', '2001:db8::7'],
    ]));
  });

  it('reads the otherNames that devices and smart cards carry', async () => {
    const other = (type: string, value: Uint8Array): Buffer => context(0, oid(type), context(0, value));
    const names = sequence(
      other('1.3.6.1.5.5.7.8.4', sequence(oid('1.2.3'), octetString(Buffer.from('00a1', 'hex')))),
      other('1.3.6.1.5.5.7.8.3', sequence(text('TPM-1', 'utf8'), oid('1.2.3'))),
      other('1.3.6.1.4.1.311.20.2.3', text('wang@hospital.test', 'utf8')),
      other('1.2.3.4', sequence()),
      contextPrimitive(8, readSingle(oid('1.2.3.4'), 6, 'oid').content),
      tlv(0xa5, context(1, text('x', 'utf8'))),
    );
    expect(parseCertificate(await issue({ extensions: [extension(names, '2.5.29.17')] })).subjectAltNames).toMatchObject([
      { kind: 'other', oid: '1.3.6.1.5.5.7.8.4', text: '00a1' },
      { kind: 'other', oid: '1.3.6.1.5.5.7.8.3', text: 'TPM-1' },
      { kind: 'other', oid: '1.3.6.1.4.1.311.20.2.3', text: 'wang@hospital.test' },
      { kind: 'other', oid: '1.2.3.4' },
      { kind: 'rid', oid: '1.2.3.4' },
      { kind: 'unsupported', tag: 5 },
    ]);
  });

  it('does not hold on to the buffer it was given', async () => {
    const der = await issue();
    const larger = Buffer.concat([Buffer.alloc(10), der]);
    const certificate = parseCertificate(larger.subarray(10));
    larger.fill(0);
    expect(Buffer.from(certificate.der).equals(der)).toBe(true);
    expect(certificate.der.buffer.byteLength).toBe(der.length);
  });

  it('lists critical extensions that it does not process, and those that may not be critical', async () => {
    const der = await issue({ extensions: [unknownExtension(true), extension(sequence(sequence(oid('1.2.3'), contextPrimitive(6, Buffer.from('x')))), '1.3.6.1.5.5.7.1.1', true)] });
    expect(parseCertificate(der).unknownCriticalExtensions).toEqual(['1.3.6.1.4.1.99999.7.7', '1.3.6.1.5.5.7.1.1']);
  });

  it('takes a FALSE that is written out, as some issuers do', async () => {
    const extensions = (): Buffer => context(3, sequence(sequence(oid('1.2.3'), boolean(false), octetString(Buffer.of(5, 0)))));
    expect(parseCertificate(await issue({ editTbs: editTbs(7, extensions) })).extensions).toMatchObject([{ oid: '1.2.3', critical: false }]);
  });

  it.each<[string, Partial<CertificateOptions>]>([
    ['an extension that occurs twice', { extensions: [unknownExtension(false), unknownExtension(false)] }],
    ['an empty list of extensions', { editTbs: editTbs(7, () => context(3, sequence())) }],
    ['extensions in version 1', { editTbs: editTbs(0, () => undefined) }],
    ['extensions in version 2', { editTbs: editTbs(0, () => context(0, integer(1))) }],
    ['a version 1 that is written out', { version: 1, editTbs: (tbs) => sequence(context(0, integer(0)), readSingle(tbs, 0x30, 'tbs').content) }],
    ['version 4', { editTbs: editTbs(0, () => context(0, integer(3))) }],
    ['another signature algorithm inside than outside', { editTbs: editTbs(2, () => sequence(oid('1.2.840.10045.4.3.3'))) }],
    ['a local time', { editTbs: editTbs(4, () => sequence(tlv(0x17, Buffer.from('250101000000+0100')), tlv(0x17, Buffer.from('350101000000Z')))) }],
    ['a third time', { editTbs: editTbs(4, (part) => sequence(readSingle(part, 0x30, 'validity').content, tlv(0x17, Buffer.from('350101000000Z')))) }],
    ['something after the extensions', { editTbs: (tbs) => sequence(readSingle(tbs, 0x30, 'tbs').content, integer(1)) }],
    ['an unknown field before the extensions', { editTbs: editTbs(7, (part) => Buffer.concat([contextPrimitive(4, Buffer.of(1)), part])) }],
    ['an alternative name without names', { extensions: [extension(sequence(), '2.5.29.17')] }],
    ['an alternative name of no known form', { extensions: [extension(sequence(contextPrimitive(9, Buffer.of(1))), '2.5.29.17')] }],
    ['a dNSName beyond ASCII', { extensions: [extension(sequence(contextPrimitive(2, Buffer.from('ä.test', 'utf8'))), '2.5.29.17')] }],
    ['an address of five octets', { extensions: [extension(sequence(contextPrimitive(7, Buffer.alloc(5))), '2.5.29.17')] }],
    ['octets after an extension\'s value', { extensions: [extension(Buffer.concat([integer(1), Buffer.of(5, 0)]), '2.5.29.54', true)] }],
    ['an extended key usage without usages', { eku: [] }],
    ['a negative count of certificates', { extensions: [extension(tlv(2, Buffer.of(0xff)), '2.5.29.54', true)] }],
    ['the same policy twice', { policies: ['1.2.3', '1.2.3'] }],
    ['policy constraints without any', { extensions: [extension(sequence(), '2.5.29.36', true)] }],
    ['name constraints without any', { extensions: [extension(sequence(), '2.5.29.30', true)] }],
    ['name constraints with a minimum', { extensions: [extension(sequence(context(0, sequence(contextPrimitive(2, Buffer.from('x')), contextPrimitive(0, Buffer.of(1))))), '2.5.29.30', true)] }],
  ])('refuses %s', async (_, options) => {
    const der = await issue(options);
    expect(() => parseCertificate(der)).toThrow(PkiError);
  });

  it('refuses octets after the certificate, and a certificate cut short', async () => {
    const der = await issue();
    expect(() => parseCertificate(Buffer.concat([der, Buffer.of(0)]))).toThrow(PkiError);
    for (let length = 0; length < der.length; length += 1) expect(() => parseCertificate(der.subarray(0, length))).toThrow(PkiError);
  });

  it('is quick with what a stranger makes of 60 KB: elements, names, attributes, nesting', async () => {
    const tiny = extension(sequence(...Array.from({ length: 20_000 }, () => Buffer.of(4, 1, 65))), '1.2.3');
    const many = extension(sequence(...Array.from({ length: 18_000 }, () => contextPrimitive(2, Buffer.from('a')))), '2.5.29.17');
    const subject = Array.from({ length: 4000 }, () => ['CN', 'a'] as const);
    let nested: Uint8Array = Buffer.of(5, 0);
    while (nested.length < 60_000) nested = octetString(nested);
    const hostile = [await issue({ extensions: [tiny] }), await issue({ extensions: [many] }), await issue({ subject }), await issue({ extensions: [extension(nested, '1.2.3')] })];
    for (const der of hostile) {
      expect(der.length).toBeGreaterThan(45_000);
      expect(shortest(() => parseCertificate(der))).toBeLessThan(100);
    }
    expect(() => parseCertificate(Buffer.concat([hostile[0] as Buffer, Buffer.alloc(20_000)]))).toThrow(/octets/);
  });
});

const vectors = haveVectors('pkits') && haveVectors('x509-limbo');

function vectorCertificates(): readonly Uint8Array[] {
  const directory = new URL('../../shared/vectors/pkits/certs/', import.meta.url);
  const pkits = readdirSync(directory).map((file) => pkitsFile('certs', file.replace(/\.crt$/, '')));
  const limbo = limboCases().flatMap((test) => [test.peer_certificate, ...test.untrusted_intermediates, ...test.trusted_certs]);
  return [...pkits, ...new Set(limbo)].flatMap((entry) => (typeof entry === 'string' ? pemBlocks(entry).map(({ der }) => der) : [entry]));
}

describe.skipIf(!vectors)('beside pkijs', () => {
  it('reads every certificate of the suites as the library does', () => {
    let compared = 0;
    for (const der of vectorCertificates()) {
      const ours = tryParse(der);
      if (ours === undefined) continue;
      const theirs = LibraryCertificate.fromBER(Uint8Array.from(der));
      expect([ours.version, ours.notBefore, ours.notAfter, ours.signatureAlgorithm.oid, Buffer.from(ours.tbs).toString('hex')]).toEqual([
        theirs.version + 1, theirs.notBefore.value.getTime(), theirs.notAfter.value.getTime(), theirs.signatureAlgorithm.algorithmId, Buffer.from(theirs.tbsView).toString('hex'),
      ]);
      expect(ours.extensions.map(({ oid: id, critical, value }) => [id, critical, Buffer.from(value).toString('hex')])).toEqual(
        (theirs.extensions ?? []).map(({ extnID, critical, extnValue }) => [extnID, critical, Buffer.from(extnValue.valueBlock.valueHexView).toString('hex')]),
      );
      expect(ours.subject.rdns.flat().map((attribute) => attribute.oid)).toEqual(theirs.subject.typesAndValues.map(({ type }) => type));
      compared += 1;
    }
    expect(compared).toBeGreaterThan(500);
  });
});

function tryParse(der: Uint8Array): Certificate | undefined {
  try {
    return parseCertificate(der);
  } catch (error) {
    expect(error).toBeInstanceOf(PkiError);
    return undefined;
  }
}

describe('with mutated certificates', () => {
  // FUZZ_RUNS=1000000 for the long run.
  const runs = Number(process.env.FUZZ_RUNS ?? 20_000);

  it(`throws nothing but its own error, and never trusts one, in ${runs} mutations`, async () => {
    const subject = [['CN', 'Kiosk 7'], ['OU', 'Devices']] as const;
    const san = { dns: 'kiosk-7.test', email: 'k@hospital.test', uri: 'urn:device:7', ip: '2001:db8::7' } as const;
    const leaf = await issueCertificate(authority, { subject, san, policies: ['1.2.3'], ocsp: 'http://ocsp.test/', crlDistributionPoints: ['http://crl.test/x.crl'] });
    const ca = await createAuthority({ name: 'CA', nameConstraints: { permitted: { dns: 'x.test', email: 'x.test' } }, policyMappings: [['1.2.3', '1.2.4']], policyConstraints: { requireExplicit: 1 }, inhibitAnyPolicy: 2, policies: ['1.2.3'] });
    const pool = createPool([parseCertificate(authority.der), parseCertificate(ca.der)], []);
    const mutation = fc.tuple(fc.nat(), fc.constantFrom('flip', 'set', 'cut', 'insert', 'double'), fc.nat(255));
    const arbitrary = fc.tuple(fc.constantFrom(leaf.der, ca.der), fc.array(mutation, { minLength: 1, maxLength: 4 }));
    fc.assert(fc.property(arbitrary, ([seed, mutations]) => {
      const der = mutations.reduce(mutate, seed);
      const certificate = tryParse(der);
      if (certificate === undefined || der.equals(seed)) return;
      expect(validatePath(certificate, pool, { now: Date.now(), purpose: 'any', budget: { signatures: 4, candidates: 8 } }).kind).toBe('invalid');
    }), { numRuns: runs });
  }, 600_000);

  function mutate(der: Buffer, [where, how, value]: [number, string, number]): Buffer {
    const at = where % Math.max(1, der.length);
    const [before, after] = [der.subarray(0, at), der.subarray(at)];
    if (how === 'flip') return Buffer.concat([before, Buffer.of((after[0] ?? 0) ^ (1 << (value & 7))), after.subarray(1)]);
    if (how === 'set') return Buffer.concat([before, Buffer.of(value), after.subarray(1)]);
    if (how === 'cut') return Buffer.concat([before, after.subarray(1 + (value & 15))]);
    if (how === 'insert') return Buffer.concat([before, Buffer.of(value), after]);
    return Buffer.concat([before, after.subarray(0, value), after]);
  }
});
