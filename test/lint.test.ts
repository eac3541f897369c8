import { checkPrimeSync, generateKeyPairSync, generatePrimeSync, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseCertificate, PkiError, type Certificate } from '../src/pki/certificate.ts';
import { likelyUse, lintCertificate } from '../src/pki/lint/certificate.ts';
import { rsaWeakness } from '../src/pki/lint/rsa-weakness.ts';
import { LINT_RULES, type CertificateUse, type ValidationLevel } from '../src/pki/lint/rules.ts';
import { chainFindings, sharedFindings } from '../src/pki/lint/together.ts';
import { LONGEST_DAYS } from '../src/pki/lint/validity.ts';
import { pemBlocks } from '../src/pki/pem.ts';
import { createAuthority, issueCertificate, longestValidity, rsaKey, testPki, unknownExtension, type Authority, type CertificateOptions, type Issued, type TestPki } from './support/pki.ts';
import { haveVectors } from './support/vectors.ts';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 22, 12);
const BEGAN = NOW - DAY;
const DV = '2.23.140.1.2.1';
const OV = '2.23.140.1.2.2';
const EV = '2.23.140.1.1';
const USES: readonly CertificateUse[] = ['server', 'client', 'ca', 'upstream', 'unknown'];
const SERVER = { subject: [['CN', 'api.hospital.test']], san: { dns: 'api.hospital.test' }, eku: ['serverAuth'], notBefore: BEGAN, notAfter: BEGAN + 90 * DAY, limits: 'off' } as const;
const CLIENT = { subject: [['CN', 'Dr Wang']], san: { uri: 'urn:person:1' }, notBefore: BEGAN, notAfter: BEGAN + 90 * DAY, limits: 'off' } as const;

let root: Authority;
let issuing: Authority;
let weakRoot: Authority;
let pki: TestPki;

beforeAll(async () => {
  root = await createAuthority({ name: 'Hospital Root', notBefore: BEGAN });
  issuing = await createAuthority({ name: 'Hospital Issuing CA', issuer: root, pathLen: 0, notBefore: BEGAN });
  weakRoot = await createAuthority({ name: 'Old Root', key: await rsaKey(), notBefore: BEGAN });
  pki = await testPki();
});

const read = (issued: Issued): Certificate => parseCertificate(issued.der);
const findings = (issued: Issued, use: CertificateUse, now = NOW, validation?: ValidationLevel): readonly string[] =>
  lintCertificate(read(issued), use, { now, ...(validation === undefined ? {} : { validation }) }).map(({ rule, severity }) => `${severity} ${rule}`);

const days = (count: number, from = BEGAN) => ({ notBefore: from, notAfter: from + count * DAY });
const publicServer = (count: number, from: number) => ({ policies: [OV], notBefore: from, notAfter: from + count * DAY - 1000 });
const rsaOf = (modulusLength: number, publicExponent = 65_537): string =>
  generateKeyPairSync('rsa', { modulusLength, publicExponent }).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
const ecOn = (namedCurve: string): string => generateKeyPairSync('ec', { namedCurve }).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;

type Row = readonly [what: string, options: Partial<CertificateOptions> | (() => Partial<CertificateOptions>), expected: readonly string[], now?: number, validation?: ValidationLevel];

const serverRows: readonly Row[] = [
  ['of our own CA has nothing', {}, []],
  ['with RSA of 1024 bits', () => ({ key: rsaOf(1024) }), ['error weak-key']],
  ['with RSA of 2048 bits is noted', () => ({ keyType: 'rsa' }), ['note key-size']],
  ['with RSA of 2060 bits', () => ({ key: rsaOf(2060) }), ['warning key-size', 'note key-size']],
  ['with the exponent 3', () => ({ key: rsaOf(2048, 3) }), ['warning key-size', 'note key-size']],
  ['on P-224', () => ({ key: ecOn('secp224r1') }), ['error weak-key']],
  ['on the curve of Bitcoin', () => ({ key: ecOn('secp256k1') }), ['error weak-key']],
  ['on P-384', { keyType: 'ec384' }, []],
  ['with Ed25519', { keyType: 'ed25519' }, []],
  ['signed with SHA-1', { signatureHash: 'sha1' }, ['error weak-signature']],
  ['signed with SHA-224', { signatureHash: 'sha224' }, ['error weak-signature']],
  ['of two years', days(731), []],
  ['of three years', days(1096), ['warning validity']],
  ['of 5,000 days', days(5000), ['error validity']],
  ['of 5,000 days that is a CA', { ca: true, ...days(5000) }, ['error validity', 'error basic-constraints']],
  ['that ends before it begins', { notBefore: BEGAN, notAfter: BEGAN - DAY }, ['error expired', 'error validity']],
  ['in public, of 200 days since March 2026', publicServer(200, Date.UTC(2026, 2, 15)), [], Date.UTC(2026, 3, 1)],
  ['in public, of 201 days since March 2026', publicServer(201, Date.UTC(2026, 2, 15)), ['error validity'], Date.UTC(2026, 3, 1)],
  ['in public, of 398 days before March 2026', publicServer(398, Date.UTC(2026, 2, 14)), [], Date.UTC(2026, 3, 1)],
  ['in public, of 399 days before March 2026', publicServer(399, Date.UTC(2026, 2, 14)), ['error validity'], Date.UTC(2026, 3, 1)],
  ['in public, of 101 days since March 2027', publicServer(101, Date.UTC(2027, 2, 15)), ['error validity'], Date.UTC(2027, 3, 1)],
  ['in public, of 48 days since March 2029', publicServer(48, Date.UTC(2029, 2, 15)), ['error validity'], Date.UTC(2029, 2, 16)],
  ['in public, of 47 days since March 2029', publicServer(47, Date.UTC(2029, 2, 15)), [], Date.UTC(2029, 2, 16)],
  ['of a year, 91 days before its end', days(365, NOW - 274 * DAY), []],
  ['of a year, 90 days before its end', days(365, NOW - 275 * DAY), ['warning expiring']],
  ['of a year, 7 days before its end', days(365, NOW - 359 * DAY), ['error expiring']],
  ['of 90 days, 23 days before its end', days(90, NOW - 67 * DAY), []],
  ['of 90 days, 22 days before its end', days(90, NOW - 68 * DAY), ['warning expiring']],
  ['of 90 days, a day before its end', days(90, NOW - 89 * DAY), ['error expiring']],
  ['of a day, 7 hours before its end', days(1, NOW - 17 * DAY / 24), []],
  ['of a day, an hour before its end', days(1, NOW - 23 * DAY / 24), ['warning expiring']],
  ['that ended', days(90, NOW - 91 * DAY), ['error expired']],
  ['that is of tomorrow', days(90, NOW + DAY), ['error not-yet-valid']],
  ['with a common name alone', { omit: ['subjectAltName'] }, ['error cn-only']],
  ['without any name', { omit: ['subjectAltName'], subject: [['O', 'Hospital']] }, ['error san-missing']],
  ['with no name of a host', { san: { email: 'a@hospital.test' } }, ['error san-missing']],
  ['with an address only', { san: { ip: '10.0.0.1' }, subject: [['CN', 'Gateway']] }, []],
  ['with a common name that no client compares', { subject: [['CN', 'www.hospital.test']] }, ['warning cn-not-in-san']],
  ['with a common name that is no host', { subject: [['CN', 'Hospital Gateway']] }, []],
  ['with a common name in capitals', { subject: [['CN', 'API.Hospital.test']] }, []],
  ['with a wildcard of its own domain', { san: { dns: ['api.hospital.test', '*.hospital.test'] } }, []],
  ['with a wildcard of a whole top domain', { san: { dns: ['api.hospital.test', '*.test'] } }, ['error wildcard']],
  ['with a star for everything', { san: { dns: ['api.hospital.test', '*'] } }, ['error wildcard']],
  ['with a star within a label', { san: { dns: ['api.hospital.test', 'a*.hospital.test'] } }, ['warning wildcard']],
  ['with an address among the DNS names', { san: { dns: ['api.hospital.test', '10.0.0.1'] } }, ['warning name-malformed']],
  ['with a DNS name that is none', { san: { dns: ['api.hospital.test', 'a b.test'] } }, ['warning name-malformed']],
  ['in public with an internal name', { san: { dns: ['api.hospital.test', 'records.internal'] }, policies: [OV] }, ['warning internal-name']],
  ['in public with a private address', { subject: [['CN', 'a.hospital.cn']], san: { dns: 'a.hospital.cn', ip: '192.168.1.1' }, policies: [OV] }, ['warning internal-name']],
  ['without extended key usage', { omit: ['extendedKeyUsage'] }, ['warning eku-missing']],
  ['for clients only', { eku: ['clientAuth'] }, ['error eku-wrong']],
  ['for anything', { eku: ['any'] }, ['warning eku-broad']],
  ['for servers and clients', { eku: ['serverAuth', 'clientAuth'] }, []],
  ['that signs code as well', { eku: ['serverAuth', 'codeSigning'] }, ['warning eku-broad']],
  ['without key usage is noted', { omit: ['keyUsage'] }, ['note key-usage']],
  ['that may not sign', { keyUsage: ['keyAgreement'] }, ['error key-usage']],
  ['of EC that enciphers keys', { keyUsage: ['digitalSignature', 'keyEncipherment'] }, ['warning key-usage']],
  ['that signs certificates without being a CA', { keyUsage: ['digitalSignature', 'keyCertSign'] }, ['error key-usage']],
  ['that is a CA', { ca: true }, ['error basic-constraints']],
  ['with a path length and no CA', { pathLen: 0 }, ['warning path-length']],
  ['without key identifiers', { omit: ['subjectKeyIdentifier', 'authorityKeyIdentifier'] }, ['note key-identifier', 'warning key-identifier']],
  ['with a critical extension nobody knows', { extensions: [unknownExtension(true)] }, ['error critical-unknown']],
  ['of version 1', { version: 1 }, ['warning version', 'error cn-only', 'warning eku-missing', 'note key-usage']],
  ['with the serial number 1', { serial: '01' }, ['note serial']],
  ['with the serial number 0', { serial: '00' }, ['warning serial']],
  ['with a serial number of 21 octets', { serial: `40${'00'.repeat(20)}` }, ['warning serial']],
  ['with a negative serial number', { serial: '7f'.repeat(16), editTbs: (tbs) => Buffer.from(tbs.toString('hex').replace(`0210${'7f'.repeat(16)}`, `0210ff${'7f'.repeat(15)}`).replace('0210ff7f', '021080ff'), 'hex') }, ['error serial']],
  ['with DV is warned of', { policies: [DV] }, ['warning internal-name', 'warning validation']],
  ['with DV where dv is enough', { policies: [DV], subject: [['CN', 'a.hospital.cn']], san: { dns: 'a.hospital.cn' } }, [], NOW, 'dv'],
  ['with DV where ov is demanded', { policies: [DV], subject: [['CN', 'a.hospital.cn']], san: { dns: 'a.hospital.cn' } }, ['error validation'], NOW, 'ov'],
  ['with OV where ov is demanded', { policies: [OV], subject: [['CN', 'a.hospital.cn']], san: { dns: 'a.hospital.cn' } }, [], NOW, 'ov'],
  ['with OV where ev is demanded', { policies: [OV], subject: [['CN', 'a.hospital.cn']], san: { dns: 'a.hospital.cn' } }, ['error validation'], NOW, 'ev'],
  ['with EV where ov is demanded', { policies: [EV], subject: [['CN', 'a.hospital.cn']], san: { dns: 'a.hospital.cn' } }, [], NOW, 'ov'],
  ['of our own CA where ov is demanded', {}, ['error validation'], NOW, 'ov'],
];

describe('a server certificate', () => {
  it.each(serverRows.map(([what, ...row]) => [what, row] as const))('%s', async (_, [options, expected, now, validation]) => {
    const given = typeof options === 'function' ? options() : options;
    const publicNames = given.policies !== undefined && !expected.some((one) => one.endsWith('internal-name')) ? { subject: [['CN', 'a.hospital.cn']], san: { dns: 'a.hospital.cn' } } as const : {};
    const issued = await issueCertificate(issuing, { ...SERVER, ...publicNames, ...given });
    expect(findings(issued, 'server', now, validation)).toEqual(expected);
  });
});

describe('a client certificate', () => {
  it.each([
    ['with a name of its own has nothing', {}, []],
    ['with a common name alone is noted', { omit: ['subjectAltName'] }, ['note cn-only']],
    ['of nobody', { omit: ['subjectAltName'], subject: [] }, ['error san-missing']],
    ['for servers only', { eku: ['serverAuth'] }, ['error eku-wrong']],
    ['without extended key usage', { omit: ['extendedKeyUsage'] }, ['warning eku-missing']],
    ['of three years', days(1096), ['warning validity']],
  ] as const satisfies readonly Row[])('%s', async (_, options, expected) => {
    const issued = await issueCertificate(issuing, { ...CLIENT, ...options });
    for (const use of ['client', 'upstream'] as const) expect(findings(issued, use)).toEqual(expected);
  });
});

describe('a CA', () => {
  it.each([
    ['that is a root has nothing', {}, []],
    ['of twenty years', days(7300), []],
    ['of thirty years', days(10_950), ['warning validity']],
    ['of thirty years, from before that was limited, is noted', days(10_950, Date.UTC(2015, 0, 1)), ['note validity']],
    ['signed with SHA-1 by itself is noted', { signatureHash: 'sha1' }, ['note weak-signature']],
    ['without key usage', { omit: ['keyUsage'] }, ['warning key-usage']],
    ['that may not sign certificates', { keyUsage: ['cRLSign'] }, ['error key-usage']],
    ['that may not sign CRLs is noted', { keyUsage: ['keyCertSign'] }, ['note key-usage']],
    ['without basicConstraints', { omit: ['basicConstraints'] }, ['error basic-constraints']],
    ['without subject key identifier', { omit: ['subjectKeyIdentifier'] }, ['warning key-identifier']],
    ['with RSA of 1024 bits', () => ({ key: rsaOf(1024) }), ['error weak-key']],
  ] as const)('%s', async (_, options, expected) => {
    const issued = await createAuthority({ name: 'Some Root', notBefore: BEGAN, limits: 'off', ...(typeof options === 'function' ? options() : options) });
    expect(findings(issued, 'ca')).toEqual(expected);
  });

  it('below another may last ten years, and should not make further CAs', async () => {
    expect(findings(issuing, 'ca')).toEqual([]);
    const long = await createAuthority({ name: 'Long CA', issuer: root, limits: 'off', ...days(5000) });
    expect(findings(long, 'ca')).toEqual(['note validity', 'note path-length']);
  });

  it('whose basicConstraints is not critical', async () => {
    const critical = Buffer.from('0603551d130101ff', 'hex');
    const issued = await createAuthority({ name: 'Lax Root', notBefore: BEGAN, editTbs: (tbs) => {
      const edited = Buffer.from(tbs);
      // FALSE in its place, as sloppy issuers write it.
      edited[edited.indexOf(critical) + critical.length - 1] = 0;
      return edited;
    } });
    expect(findings(issued, 'ca')).toEqual(['warning basic-constraints']);
  });
});

it('every certificate of the test PKI has notes at most', () => {
  const { root: anchor, issuing: below, backendCa, ...rest } = pki;
  const leaves = Object.values(rest).filter((one): one is Issued => typeof one === 'object');
  for (const issued of [anchor, below, backendCa, ...leaves]) {
    expect(findings(issued, likelyUse(read(issued)), Date.now()).filter((finding) => !finding.startsWith('note'))).toEqual([]);
  }
});

it('our own CA issues nothing for longer than is taken for reasonable', () => {
  expect(longestValidity).toEqual({ authority: LONGEST_DAYS.intermediate * DAY, leaf: LONGEST_DAYS.leaf * DAY });
});

describe('an RSA modulus', () => {
  const prime = (): bigint => generatePrimeSync(512, { bigint: true });
  const nextPrime = (from: bigint): bigint => {
    let candidate = from + 2n;
    while (!checkPrimeSync(candidate)) candidate += 2n;
    return candidate;
  };

  it('of good primes shows nothing', () => {
    for (let round = 0; round < 20; round += 1) expect(rsaWeakness(prime() * prime())).toBeUndefined();
  });

  it('of close primes is found by Fermat\'s method', () => {
    const p = prime();
    expect(rsaWeakness(p * nextPrime(p))).toContain('Fermat');
    expect(rsaWeakness(p * p)).toContain('Fermat');
  });

  it('with a small factor is found', () => {
    expect(rsaWeakness(prime() * 751n)).toContain('751');
    expect([0n, 1n, 4n].map((modulus) => rsaWeakness(modulus))).not.toContain(undefined);
  });

  it('of primes as ROCA makes them is found (CVE-2017-15361)', () => {
    const primes = Array.from({ length: 168 }, (_, n) => n).filter((n) => n > 2 && checkPrimeSync(BigInt(n)));
    const product = primes.reduce((all, one) => all * BigInt(one), 1n);
    const roca = (): bigint => {
      for (;;) {
        let power = 1n;
        for (let rest = randomBytes(2).readUInt16BE(); rest > 0; rest -= 1) power = (power * 65_537n) % product;
        for (let tries = 0; tries < 200; tries += 1) {
          const candidate = BigInt(`0x${randomBytes(37).toString('hex')}`) * product + power;
          if (checkPrimeSync(candidate)) return candidate;
        }
      }
    };
    expect(rsaWeakness(roca() * roca())).toContain('ROCA');
  });
});

describe('a chain', () => {
  const chained = (...all: readonly (readonly [Issued, CertificateUse])[]) => all.map(([issued, use], index) => ({ place: `certificate ${index + 1}`, certificate: read(issued), use }));
  const rules = (chain: ReturnType<typeof chained>, others: readonly Issued[] = []) => chainFindings(chain, others.map(read)).map(({ at, finding }) => `${at.place} ${finding.severity} ${finding.rule}`);
  let leaf: Issued;
  let middle: Authority;
  let deep: Issued;

  beforeAll(async () => {
    leaf = await issueCertificate(issuing, SERVER);
    middle = await createAuthority({ name: 'Middle CA', issuer: root });
    const low = await createAuthority({ name: 'Low CA', issuer: middle });
    deep = await issueCertificate(low, SERVER);
  });

  const parts = (issued: Issued): readonly Certificate[] => pemBlocks(issued.chain).map(({ der }) => parseCertificate(der));
  const deepChain = (...order: readonly number[]) => order.map((index) => ({ place: `certificate ${index + 1}`, certificate: parts(deep)[index] as Certificate, use: 'ca' as const }));

  it('as it should be has nothing', () => {
    expect(rules(chained([leaf, 'server'], [issuing, 'ca']))).toEqual([]);
    expect(rules(deepChain(0, 1, 2))).toEqual([]);
  });

  it('with a root at its end is noted', () => {
    expect(rules(chained([leaf, 'server'], [issuing, 'ca'], [root, 'ca']))).toEqual(['certificate 3 note chain-root']);
  });

  it('in the wrong order is found', () => {
    expect(rules(deepChain(0, 2, 1))).toEqual(['certificate 2 warning chain-order']);
  });

  it('with a gap is found', () => {
    expect(rules(deepChain(0, 2))).toEqual(['certificate 1 error chain-gap', 'certificate 3 warning chain-extra']);
  });

  it('without an intermediate that is known from elsewhere is found', () => {
    expect(rules(chained([leaf, 'server']))).toEqual([]);
    expect(rules(chained([leaf, 'server']), [root, issuing])).toEqual(['certificate 1 warning chain-gap']);
  });

  it('of a public leaf alone has a gap', async () => {
    const alone = await issueCertificate(issuing, { ...SERVER, policies: [OV] });
    expect(rules(chained([alone, 'server']))).toEqual(['certificate 1 warning chain-gap']);
  });

  it('through a CA of the same name and another key is found', async () => {
    const namesake = await createAuthority({ name: 'Hospital Issuing CA', issuer: root });
    expect(rules(chained([leaf, 'server'], [namesake, 'ca']))).toEqual(['certificate 1 error chain-gap', 'certificate 2 warning chain-extra']);
  });

  it('of one certificate that signed itself is warned of', async () => {
    const own = await createAuthority({ name: 'api.hospital.test' });
    expect(rules(chained([own, 'server']))).toEqual(['certificate 1 warning self-signed']);
  });

  it('that goes in a circle comes to an end', async () => {
    const a = await createAuthority({ name: 'A' });
    const b = await createAuthority({ name: 'B' });
    const aByB = await createAuthority({ name: 'A', key: a.privateKey, issuer: b });
    const bByA = await createAuthority({ name: 'B', key: b.privateKey, issuer: a });
    const below = await issueCertificate(a, SERVER);
    expect(rules(chained([below, 'server'], [aByB, 'ca'], [bByA, 'ca']))).toEqual([]);
  });
});

describe('certificates together', () => {
  const shared = (...all: readonly (readonly [string, Issued, CertificateUse])[]) =>
    sharedFindings(all.map(([place, issued, use]) => ({ place, certificate: read(issued), use }))).map(({ at, finding }) => `${at.place}: ${finding.severity} ${finding.rule}: ${finding.detail}`);

  it('with the same public key name each other', async () => {
    const one = await issueCertificate(issuing, SERVER);
    const other = await issueCertificate(issuing, { ...CLIENT, key: one.privateKey });
    const apart = await issueCertificate(issuing, CLIENT);
    expect(shared(['server', one, 'server'], ['upstream', other, 'upstream'], ['client', apart, 'client'])).toEqual([
      expect.stringMatching(/^server: warning key-reused: the same public key as upstream:/), expect.stringMatching(/^upstream: warning key-reused: the same public key as server:/),
    ]);
  });

  it('that are the same certificate twice have nothing', () => {
    expect(shared(['one', issuing, 'ca'], ['other', issuing, 'ca'])).toEqual([]);
  });

  it('of a CA under two issuers have nothing, of a CA and a leaf with its key an error', async () => {
    const cross = await createAuthority({ name: 'Hospital Issuing CA', key: issuing.privateKey, issuer: weakRoot });
    const thief = await issueCertificate(root, { ...SERVER, key: issuing.privateKey });
    expect(shared(['one', issuing, 'ca'], ['cross', cross, 'ca'])).toEqual([]);
    expect(shared(['one', issuing, 'ca'], ['leaf', thief, 'server'])).toEqual([expect.stringContaining('error key-reused'), expect.stringContaining('error key-reused')]);
  });

  it('with one serial number of one issuer are an error', async () => {
    const serial = '4'.repeat(32);
    const [one, two, elsewhere] = await Promise.all([issueCertificate(issuing, { ...CLIENT, serial }), issueCertificate(issuing, { ...CLIENT, serial }), issueCertificate(root, { ...CLIENT, serial })]);
    expect(shared(['one', one, 'client'], ['two', two, 'client'], ['three', elsewhere, 'client'])).toEqual([expect.stringMatching(/^one: error serial-duplicate: .* as two;/), expect.stringMatching(/^two: error/)]);
  });
});

describe('whatever can be read as a certificate', () => {
  const lookAt = (certificate: Certificate): void => {
    for (const use of USES) lintCertificate(certificate, use, { now: NOW, validation: 'ov' });
    const placed = [{ place: 'one', certificate, use: likelyUse(certificate) }, { place: 'other', certificate: read(issuing), use: 'ca' as const }];
    chainFindings(placed, [certificate]);
    sharedFindings(placed);
  };

  const readIfAny = (der: Uint8Array): Certificate | undefined => {
    try {
      return parseCertificate(der);
    } catch (error) {
      if (error instanceof PkiError) return undefined;
      throw error;
    }
  };

  it('is looked at without a throw, whatever has become of its bytes', async () => {
    const seeds = [
      await issueCertificate(issuing, { ...SERVER, policies: [DV], extensions: [unknownExtension(false)] }),
      await issueCertificate(weakRoot, { ...CLIENT, pss: true }), weakRoot, await issueCertificate(issuing, { ...CLIENT, keyType: 'ed25519' }),
    ].map(({ der }) => der);
    let readable = 0;
    fc.assert(fc.property(fc.nat(seeds.length - 1), fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { minLength: 1, maxLength: 3 }), (which, changes) => {
      const der = Buffer.from(seeds[which] as Buffer);
      for (const [at, byte] of changes) der[at % der.length] = byte;
      const certificate = readIfAny(der);
      if (certificate === undefined) return;
      readable += 1;
      lookAt(certificate);
    }), { numRuns: 2000 });
    expect(readable).toBeGreaterThan(100);
  });

  it.skipIf(!haveVectors('pkits') || !haveVectors('x509-limbo'))('is looked at without a throw, among the vectors of others', () => {
    const vectors = join(import.meta.dirname, '../../shared/vectors');
    const pkits = readdirSync(join(vectors, 'pkits/certs')).map((name) => readFileSync(join(vectors, 'pkits/certs', name)));
    const limbo = readFileSync(join(vectors, 'x509-limbo/limbo.json'), 'utf8').match(/-----BEGIN CERTIFICATE-----[^"]*-----END CERTIFICATE-----/g) ?? [];
    const ders = [...pkits, ...limbo.map((pem) => Buffer.from(pem.replaceAll('\\n', '').replace(/-----[A-Z ]+-----/g, ''), 'base64'))];
    const certificates = ders.flatMap((der) => readIfAny(der) ?? []);
    expect(certificates.length).toBeGreaterThan(500);
    for (const certificate of certificates) lookAt(certificate);
  });
});

it('docs/lint.md has a row for each rule, and for no other', () => {
  const rows = [...readFileSync(join(import.meta.dirname, '../docs/lint.md'), 'utf8').matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, rule]) => rule);
  expect(rows).toEqual([...LINT_RULES]);
});
