import { beforeAll, describe, expect, it } from 'vitest';
import { parseCertificate, type Certificate } from '../src/pki/certificate.ts';
import { mustStaple, standingOf, type StandingOptions } from '../src/pki/standing.ts';
import { certificatesFor } from '../src/tls/choice.ts';
import type { StatusRequest } from '../src/tls/client-hello.ts';
import { keyTypeFor, type CertificateKey } from '../src/tls/key-type.ts';
import { createAuthority, issueCertificate, type Authority, type CertificateOptions, type Issued } from './support/pki.ts';

const DAY = 86_400_000;
/** RFC 7633: SEQUENCE OF INTEGER, 5 is status_request. */
const MUST_STAPLE = { oid: '1.3.6.1.5.5.7.1.24', critical: false, value: Buffer.from('3003020105', 'hex') };

let root: Authority;
let other: Authority;
let issuing: Authority;
let short: Authority;
const now = Date.now();

beforeAll(async () => {
  [root, other] = await Promise.all([createAuthority({ name: 'Root' }), createAuthority({ name: 'Other' })]);
  [issuing, short] = await Promise.all([createAuthority({ name: 'Issuing', issuer: root }), createAuthority({ name: 'Short', issuer: root, notAfter: now + DAY })]);
});

const parse = ({ der }: Issued): Certificate => parseCertificate(der);
const server = (issuer: Authority, options: Partial<CertificateOptions> = {}): Promise<Issued> => issueCertificate(issuer, { subject: [['CN', 'localhost']], san: { dns: 'localhost' }, eku: ['serverAuth'], ...options });

describe('a server certificate', () => {
  async function standing(chain: readonly Issued[], options: Partial<StandingOptions> = {}): Promise<string> {
    const [leaf, ...rest] = chain.map(parse) as [Certificate, ...Certificate[]];
    return standingOf([leaf, ...rest], { now, skew: 0, roots: [], revoked: () => undefined, stapled: false, ...options }).state;
  }

  it('is usable alone, with its intermediate, and to the root that it verifies to', async () => {
    const leaf = await server(issuing);
    expect(await standing([leaf])).toBe('usable');
    expect(await standing([leaf, issuing])).toBe('usable');
    expect(await standing([leaf, issuing, root])).toBe('usable');
    expect(await standing([leaf, issuing], { roots: [parse(root)] })).toBe('usable');
    expect(await standing([leaf, issuing], { roots: [parse(other), parse(root)] })).toBe('usable');
  });

  it('is usable through the last second of its validity, and expired in the next', async () => {
    const leaf = await server(issuing, { notAfter: now + DAY });
    expect(await standing([leaf, issuing], { now: leaf.notAfter + 999 })).toBe('usable');
    expect(await standing([leaf, issuing], { now: leaf.notAfter + 1_000 })).toBe('expired');
    expect(await standing([leaf, issuing], { now: leaf.notAfter - 1_000, ahead: 2_000 })).toBe('expired');
    expect(await standing([await server(short), short], { now: short.notAfter - 1_000, ahead: 2_000 })).toBe('unverified');
  });

  it('is not valid before its time, but for what clocks may differ', async () => {
    const leaf = await server(issuing, { notBefore: now + 30_000 });
    expect(await standing([leaf, issuing])).toBe('not_yet_valid');
    expect(await standing([leaf, issuing], { skew: 60_000 })).toBe('usable');
  });

  it.each<[string, () => Promise<readonly Issued[]>, () => Partial<StandingOptions>]>([
    ['is signed by another key than its issuer\'s', async () => [await server(issuing, { breakSignature: true }), issuing], () => ({})],
    ['comes with an intermediate that has expired', async () => [await server(short), short], () => ({ now: now + 2 * DAY })],
    ['comes with an intermediate that is not its issuer', async () => [await server(issuing), short], () => ({})],
    ['leads to none of the roots', async () => [await server(issuing), issuing], () => ({ roots: [parse(other)] })],
    ['comes without its intermediate, and roots are named', async () => [await server(issuing)], () => ({ roots: [parse(root)] })],
    ['is for clients alone', async () => [await server(issuing, { eku: ['clientAuth'] }), issuing], () => ({})],
  ])('does not verify when it %s', async (_, chain, options) => {
    expect(await standing(await chain(), options())).toBe('unverified');
  });

  it('is revoked when it or a CA above it is, whatever else it is', async () => {
    const leaf = await server(issuing, { notAfter: now + DAY });
    const asked: string[] = [];
    const revoked = (serial: string): StandingOptions['revoked'] => (certificate, issuer) => {
      asked.push(`${certificate.subject.rdns[0]?.[0]?.value} by ${issuer?.subject.rdns[0]?.[0]?.value}`);
      return certificate.serial === serial ? 'said so' : undefined;
    };
    expect(await standing([leaf, issuing], { now: now + 2 * DAY, revoked: revoked(leaf.serialHex) })).toBe('revoked');
    expect(await standing([leaf, issuing], { roots: [parse(root)], revoked: revoked(issuing.serialHex) })).toBe('revoked');
    expect(asked).toEqual(['localhost by Issuing', 'localhost by Issuing', 'Issuing by Root']);
  });

  it('that must be stapled is not usable without an OCSP answer', async () => {
    const leaf = await server(issuing, { extensions: [MUST_STAPLE] });
    expect(mustStaple(parse(leaf))).toBe(true);
    expect(mustStaple(parse(await server(issuing)))).toBe(false);
    expect(await standing([leaf, issuing])).toBe('no_staple');
    expect(await standing([leaf, issuing], { stapled: true })).toBe('usable');
  });
});

describe('of the certificates for a name', () => {
  type Candidate = Parameters<typeof certificatesFor>[0][number] & { readonly id: string };
  const one = (id: string, keyType: Candidate['keyType'], standing?: Candidate['standing'], names = ['a.test']): Candidate => ({ id, keyType, names, ...(standing === undefined ? {} : { standing }) });
  const chosen = (all: readonly Candidate[], name = 'a.test'): readonly string[] => certificatesFor(all, name).map(({ id }) => id);

  it.each<[string, readonly Candidate[], readonly string[]]>([
    ['the first of each key type serves', [one('1', 'ec'), one('2', 'ec'), one('3', 'rsa'), one('4', 'rsa')], ['1', '3']],
    ['the second serves when the first is expired', [one('1', 'ec', 'expired'), one('2', 'ec')], ['2']],
    ['the third when two are not usable', [one('1', 'ec', 'expired'), one('2', 'ec', 'revoked'), one('3', 'ec')], ['3']],
    ['the least bad serves on when none is usable', [one('1', 'ec', 'revoked'), one('2', 'ec', 'expired'), one('3', 'ec', 'unverified')], ['3']],
    ['the first of the equally bad serves', [one('1', 'ec', 'expired'), one('2', 'ec', 'expired')], ['1']],
    ['one without its OCSP answer comes before an expired one', [one('1', 'ec', 'expired'), one('2', 'ec', 'no_staple')], ['2']],
    ['an expired EC certificate goes when an RSA one is usable', [one('1', 'ec', 'expired'), one('2', 'rsa')], ['2']],
    ['an expired RSA certificate stays for those who know no EC', [one('1', 'ec'), one('2', 'rsa', 'expired')], ['1', '2']],
    ['both stay when neither is usable', [one('1', 'ec', 'expired'), one('2', 'rsa', 'expired')], ['1', '2']],
    ['one for other names does not stand in', [one('1', 'ec', 'expired'), one('2', 'ec', undefined, ['b.test'])], ['1']],
    ['a wildcard stands in', [one('1', 'ec', 'expired'), one('2', 'ec', undefined, ['*.test'])], ['2']],
  ])('%s', (_, all, expected) => {
    expect(chosen(all)).toEqual(expected);
  });

  it('any usable one serves names that none is for', () => {
    expect(chosen([one('1', 'ec', 'expired'), one('2', 'ec', undefined, ['b.test'])], 'c.test')).toEqual(['2']);
  });
});

describe('a client that asks for an OCSP answer', () => {
  const KEYS: readonly CertificateKey[] = [{ keyType: 'rsa' }, { keyType: 'ec', curve: 'prime256v1' }];
  const modern: StatusRequest = { versions: [0x0304, 0x0303], suites: [0x1301, 0xc02b, 0xc02f], groups: [0x1d, 0x17], signatures: [0x0403, 0x0804, 0x0401], signaturesOfCertificates: false };
  const older: StatusRequest = { ...modern, versions: [] };

  it.each<[string, Partial<StatusRequest>, string | undefined]>([
    ['is served EC when it knows both', {}, 'ec'],
    ['is served RSA when it signs by RSA alone', { signatures: [0x0804, 0x0401] }, 'rsa'],
    ['is left to OpenSSL when it knows ECDSA by other curves alone', { signatures: [0x0503, 0x0804] }, undefined],
    ['is left to OpenSSL when it knows RSA by PKCS #1 alone, by TLS 1.3', { signatures: [0x0401] }, undefined],
    ['is left to OpenSSL when it says apart what chains may be signed by', { signaturesOfCertificates: true }, undefined],
    ['is left to OpenSSL when it offers no signature that fits', { signatures: [0x0807] }, undefined],
  ])('%s', (_, offer, expected) => {
    expect(keyTypeFor({ ...modern, ...offer }, KEYS, 'bcp195')).toBe(expected);
  });

  it.each<[string, Partial<StatusRequest>, string | undefined]>([
    ['is served EC when its suites and groups allow', { suites: [0xc02c, 0xc030] }, 'ec'],
    ['is served RSA when it offers no suite of ECDSA', { suites: [0xc030] }, 'rsa'],
    ['is left to OpenSSL when its groups lack the curve', { suites: [0xc02c, 0xc030], groups: [0x1d] }, undefined],
    ['is left to OpenSSL when it offers no suite of ours', { suites: [0x002f] }, undefined],
  ])('by TLS 1.2 %s', (_, offer, expected) => {
    expect(keyTypeFor({ ...older, ...offer }, KEYS, 'bcp195')).toBe(expected);
  });

  it('is left to OpenSSL where a key is of a kind that is not known here', () => {
    expect(keyTypeFor(modern, [...KEYS, { keyType: 'other' }], 'bcp195')).toBeUndefined();
    expect(keyTypeFor(modern, [{ keyType: 'ec', curve: 'brainpoolP256r1' }, { keyType: 'rsa' }], 'bcp195')).toBeUndefined();
  });
});
