import { fromBER, ObjectIdentifier, OctetString, Sequence, Utf8String } from 'asn1js';
import { beforeAll, describe, expect, it } from 'vitest';
import { sequence, text, tlv } from '../src/ca/der.ts';
import { parseConfig } from '../src/config/load.ts';
import { compileRoles, identify, type Identification } from '../src/identity/roles.ts';
import type { AuthorityFiles } from '../src/identity/authorities.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import { createPool, validatePath } from '../src/pki/path.ts';
import { createAuthority, issueCertificate, rsaKey, testPki, type Authority, type CertificateOptions, type Subject, type TestPki } from './support/pki.ts';

let pki: TestPki;

beforeAll(async () => {
  pki = await testPki();
});

const UPN = '1.3.6.1.4.1.311.20.2.3';
const SMTP_UTF8_MAILBOX = '1.3.6.1.5.5.7.8.9';
const PERSON: Subject = [['CN', 'Dr Wang'], ['OU', 'Doctors'], ['O', 'Hospital']];

/** The identification of a leaf under the rules of a configuration, as they are written. */
async function judge(roles: string, leaf: Partial<CertificateOptions>, more: { readonly issuer?: Authority; readonly files?: AuthorityFiles; readonly top?: string; readonly above?: readonly Authority[] } = {}): Promise<Identification> {
  const issuer = more.issuer ?? pki.issuing;
  const issued = await issueCertificate(issuer, { subject: PERSON, ...leaf });
  const above = more.above ?? (issuer === pki.issuing ? [pki.issuing, pki.root] : [issuer]);
  return identify({ path: [issued, ...above].map(({ der }) => parseCertificate(der)), policies: leaf.policies ?? [] }, rules(roles, more.files, more.top));
}

function rules(roles: string, files: AuthorityFiles = {}, top = '') {
  const parsed = parseConfig(`listeners: [{ name: a, address: "127.0.0.1:0", tls: { certificates: [{ certificate: c, key: k }] }, client_auth: { trust: [t] } }]\n${top}\nroles: ${roles}\n`, 'test.yaml');
  if (parsed.kind === 'invalid') throw new Error(parsed.issues.map(({ message }) => message).join('\n'));
  return compileRoles(parsed.config, files);
}

/** Role and id of a leaf under one rule; undefined when it does not match. */
async function under(match: string, leaf: Partial<CertificateOptions>, id = '{serial}'): Promise<string | undefined> {
  return (await judge(`[{ role: r, match: ${match}, id: "${id}" }]`, leaf)).identity?.id;
}

async function fits(match: string, leaf: Partial<CertificateOptions>): Promise<boolean> {
  return (await under(match, leaf)) !== undefined;
}

describe('a subject', () => {
  it.each([
    ['an attribute by its type', '{ OU: Doctors }', PERSON],
    ['an attribute by its OID', '{ 2.5.4.11: Doctors }', PERSON],
    ['one of several values', '{ OU: [Nurses, Doctors] }', PERSON],
    ['one of several attributes of the type', '{ OU: Cardiology }', [['CN', 'a'], ['OU', 'Cardiology'], ['OU', 'Doctors']] as Subject],
    ['part of a multi-valued RDN', '{ UID: w17, CN: "Dr *" }', [[['CN', 'Dr Wang'], ['UID', 'w17']], ['O', 'Hospital']] as Subject],
    ['a BMPString', '{ OU: 医生 }', [['CN', 'a'], ['OU', '医生', 'bmp']] as Subject],
    ['a UniversalString', '{ OU: 医生 }', [['CN', 'a'], ['OU', '医生', 'universal']] as Subject],
    ['a TeletexString as Latin-1', '{ OU: Ärzte }', [['CN', 'a'], ['OU', 'Ärzte', 'teletex']] as Subject],
    ['a PrintableString', '{ OU: doctors }', [['CN', 'a'], ['OU', 'DOCTORS', 'printable']] as Subject],
    ['another case, width and spacing', '{ OU: "cardio logy" }', [['CN', 'a'], ['OU', ' ＣＡＲＤＩＯ\u00a0\u3000logy ']] as Subject],
    ['a decomposed letter', '{ OU: Chirurgie für Ältere }', [['CN', 'a'], ['OU', 'chirurgie fu\u0308r A\u0308ltere']] as Subject],
    ['full case folding', '{ OU: STRASSE }', [['CN', 'a'], ['OU', 'Straße']] as Subject],
    ['final and other sigmas', '{ OU: ΝΟΣΟΣ }', [['CN', 'a'], ['OU', 'νοσος']] as Subject],
    ['soft hyphens and joiners', '{ OU: Doctors }', [['CN', 'a'], ['OU', 'Doc\u00adto\u200drs\ufe0f']] as Subject],
  ])('is matched by %s', async (_, match, subject) => {
    expect(await fits(`{ subject: ${match} }`, { subject })).toBe(true);
  });

  it.each([
    ['an attribute of another type', '{ O: Doctors }', PERSON],
    ['the beginning of a value', '{ OU: Doc }', PERSON],
    ['two attributes of which one is missing', '{ OU: Doctors, L: Berlin }', PERSON],
    ['a homoglyph in another script', '{ OU: Doctors }', [['CN', 'a'], ['OU', 'D\u043ectors']] as Subject],
    ['another accent', '{ OU: Ärzte }', [['CN', 'a'], ['OU', 'Arzte']] as Subject],
    ['dotless and dotted i', '{ OU: klinik }', [['CN', 'a'], ['OU', 'kl\u0131nik']] as Subject],
    ['a character for private use', '{ OU: "Doctors*" }', [['CN', 'a'], ['OU', 'Doctors\ue000']] as Subject],
    ['a code point that is not assigned', '{ OU: "Doctors*" }', [['CN', 'a'], ['OU', 'Doctors\u{e0fff}']] as Subject],
    ['the replacement character', '{ OU: "Doctors*" }', [['CN', 'a'], ['OU', 'Doctors\ufffd']] as Subject],
    ['an empty value', '{ OU: "?*" }', [['CN', 'a'], ['OU', '']] as Subject],
    ['a name without attributes', '{ CN: "*" }', [] as Subject],
  ])('is not matched by %s', async (_, match, subject) => {
    expect(await fits(`{ subject: ${match} }`, { subject })).toBe(false);
  });

  it('is not matched by text that imitates a value that is none', async () => {
    const number = [['CN', 'a']] as Subject;
    const leaf = { subject: number, editTbs: (tbs: Buffer) => replaceOnce(tbs, text('a'), tlv(0x04, Buffer.from('a'))) };
    expect(await fits('{ subject: { CN: "#040161" } }', leaf)).toBe(false);
  });
});

describe('a pattern', () => {
  it('has one wildcard, which stands for anything at any place, and is never anchored by half', async () => {
    const cases: readonly (readonly [pattern: string, value: string, fits: boolean])[] = [
      ['*', 'anything', true], ['Dr *', 'Dr Wang', true], ['Dr *', 'Drake', false], ['* Wang', 'Dr  WANG', true], ['D*W*g', 'Dr Wang', true], ['D*W*x', 'Dr Wang', false],
      ['a*a', 'a', false], ['a*a', 'aa', true], ['(a|b)', 'a', false], ['.*', 'x', false], ['[D]r', 'D', false], ['a|b', 'a', false], ['^a$', 'a', false], ['?r', 'Dr', false],
      ['**', 'x', true], ['a**b', 'ab', true],
    ];
    for (const [pattern, value, expected] of cases) {
      expect([pattern, value, await fits(`{ subject: { CN: ${JSON.stringify(pattern)} } }`, { subject: [['CN', value]] })]).toEqual([pattern, value, expected]);
    }
  });

  it('takes an asterisk in a certificate for a character', async () => {
    expect(await fits('{ subject: { OU: Doctors } }', { subject: [['CN', 'a'], ['OU', '*']] })).toBe(false);
    expect(await fits('{ subject: { OU: Doctors } }', { subject: [['CN', 'a'], ['OU', 'Doc*']] })).toBe(false);
    expect(await fits('{ san: { dns: kiosk.test } }', { san: { dns: '*.test' } })).toBe(false);
    expect(await under('{ san: { dns: "*.test" } }', { san: { dns: '*.test' } }, '{san.dns}')).toBe('*.test');
  });

  it('has no wildcard in a fullwidth asterisk, which is the character after preparation', async () => {
    expect(await fits('{ subject: { CN: "D＊" } }', { subject: [['CN', 'Dr Wang']] })).toBe(false);
    expect(await fits('{ subject: { CN: "D＊" } }', { subject: [['CN', 'D*']] })).toBe(true);
  });
});

describe('hostile names', () => {
  it.each([
    ['NUL, at which some readers stop', [['CN', 'Dr Wang\0.evil'], ['OU', 'Doctors']] as Subject],
    ['NUL in another attribute than the matched one', [['CN', 'Dr Wang'], ['OU', 'Doctors'], ['O', 'a\0b']] as Subject],
    ['an escape sequence', [['CN', '\u001b[2J'], ['OU', 'Doctors']] as Subject],
    ['a C1 control', [['CN', 'a\u009b'], ['OU', 'Doctors']] as Subject],
  ])('give no role: %s', async (_, subject) => {
    const { identity, misses } = await judge('[{ role: doctor, match: { subject: { OU: Doctors } }, id: "{serial}" }, { role: any, match: { subject: { CN: "*" } }, id: "{serial}" }]', { subject });
    expect(identity).toBeUndefined();
    expect(misses).toEqual([{ role: 'doctor', detail: 'a name of the certificate holds control characters' }]);
  });

  it('give no role for NUL in an alternative name', async () => {
    expect(await fits('{ subject: { OU: Doctors } }', { san: { dns: 'kiosk.test\0.evil' } })).toBe(false);
    expect(await fits('{ subject: { OU: Doctors } }', { san: { upn: 'wang\0@hospital.test' } })).toBe(false);
    expect(await fits('{ subject: { OU: Doctors } }', { san: { directory: [[['CN', 'a\0']]] } })).toBe(false);
  });

  it('give no id when two common names could be it, and one when the match singles it out', async () => {
    const subject: Subject = [['CN', 'Dr Wang'], ['CN', 'admin'], ['OU', 'Doctors']];
    expect(await under('{ subject: { OU: Doctors } }', { subject }, '{subject.CN}')).toBeUndefined();
    expect(await under('{ subject: { CN: "Dr *" } }', { subject }, '{subject.CN}')).toBe('Dr Wang');
    expect(await under('{ subject: { CN: "*" } }', { subject }, '{subject.CN}')).toBeUndefined();
    expect(await under('{ subject: { CN: "*" } }', { subject: [['CN', 'a'], ['CN', 'a']] }, '{subject.CN}')).toBe('a');
  });

  it('may be very long, and are quoted short and without control of the terminal', async () => {
    const long = 'x'.repeat(9_000);
    expect(await fits(`{ subject: { CN: "x*x" } }`, { subject: [['CN', long]] })).toBe(true);
    const { misses } = await judge('[{ role: doctor, match: { subject: { OU: Doctors } } }]', { subject: [['CN', 'a'], ...Array.from({ length: 9 }, (_, index) => ['OU', `u${index}`] as const), ['OU', long], ['OU', '\u202edoctor']] });
    expect(misses[0]?.detail.length).toBeLessThan(400);
    expect(misses[0]?.detail).toContain('\\u{202e}doctor');
    expect(misses[0]?.detail).toContain('6 more');
  });

  it('are refused as a certificate with an empty RDN', async () => {
    const issued = await issueCertificate(pki.issuing, { subject: [['CN', 'a'], []] });
    expect(() => parseCertificate(issued.der)).toThrow('an RDN is empty');
  });
});

describe('alternative names', () => {
  const hardware = { type: '1.3.6.1.4.1.99999.5', serial: '0a1b2c' };
  it.each([
    ['dns', 'KIOSK-7.devices.test', { dns: 'kiosk-7.devices.test' }, 'kiosk-7.devices.test'],
    ['dns', '*.devices.test', { dns: ['x.other.test', 'kiosk-7.devices.test'] }, 'kiosk-7.devices.test'],
    ['email', 'WANG@hospital.test', { email: 'wang@hospital.test' }, 'wang@hospital.test'],
    ['email', '王@hospital.test', { other: { oid: SMTP_UTF8_MAILBOX, value: text('王@hospital.test') } }, '王@hospital.test'],
    ['uri', 'urn:patient:*', { uri: 'URN:Patient:1001' }, 'URN:Patient:1001'],
    ['uri', 'https://Hospital.test/staff/*', { uri: 'https://hospital.TEST/staff/7' }, 'https://hospital.TEST/staff/7'],
    ['ip', '10.1.*', { ip: '10.1.2.3' }, '10.1.2.3'],
    ['ip', '2001:DB8:0:0::7', { ip: '2001:db8:0:0:0:0:0:7' }, '2001:db8::7'],
    ['upn', '*@HOSPITAL.test', { upn: 'wang@hospital.test' }, 'wang@hospital.test'],
    ['registered_id', '1.2.3.4', { rid: ['1.2.3', '1.2.3.4'] }, undefined],
  ] as const)('of kind %s are matched by %s', async (kind, pattern, san, id) => {
    expect(await fits(`{ san: { ${kind}: "${pattern}" } }`, { san })).toBe(true);
    expect(await under(`{ san: { ${kind}: "${pattern}" } }`, { san }, `{san.${kind}}`)).toBe(kind === 'registered_id' ? '1.2.3.4' : id);
  });

  it('are octets beyond the case of ASCII: no mailbox of another person, no other URI', async () => {
    expect(await fits('{ san: { email: "admin@hospital.test" } }', { san: { other: { oid: SMTP_UTF8_MAILBOX, value: text('ａdmin@hospital.test') } } })).toBe(false);
    expect(await fits('{ san: { upn: "kim@hospital.test" } }', { san: { upn: '\u212aim@hospital.test' } })).toBe(false);
    expect(await fits('{ san: { uri: "urn:patient:abc" } }', { san: { uri: 'urn:patient:ABC' } })).toBe(false);
    expect(await fits('{ san: { uri: "https://a.test/x" } }', { san: { uri: 'https://a.test/X' } })).toBe(false);
  });

  it('take no mailbox from a string of another type than UTF8String, nor behind a byte order mark', async () => {
    for (const value of [text('wang@hospital.test', 'ia5'), text('\ufeffwang@hospital.test')]) {
      expect(await fits('{ san: { email: "*" } }', { san: { other: { oid: SMTP_UTF8_MAILBOX, value } } })).toBe(false);
    }
  });

  it('of a directory are matched by one name for all attributes', async () => {
    const directory: readonly Subject[] = [[['CN', 'Dr Wang'], ['O', 'Clinic']], [['CN', 'Dr Li'], ['O', 'Hospital']]];
    expect(await fits('{ san: { directory: { CN: Dr Li, O: Hospital } } }', { san: { directory } })).toBe(true);
    expect(await fits('{ san: { directory: { CN: Dr Wang, O: Hospital } } }', { san: { directory } })).toBe(false);
    expect(await under('{ san: { directory: { O: Hospital } } }', { san: { directory } }, '{san.directory.CN}')).toBe('Dr Li');
    expect(await under('{ subject: { OU: Doctors } }', { san: { directory } }, '{san.directory.CN}')).toBeUndefined();
  });

  it('of hardware are matched by type and serial number of one name (RFC 4108)', async () => {
    const two = [hardware, { type: '1.3.6.1.4.1.99999.6', serial: 'ffff' }];
    expect(await fits('{ san: { hardware_module: { type: 1.3.6.1.4.1.99999.5, serial: "0A1B*" } } }', { san: { hardwareModuleName: hardware } })).toBe(true);
    expect(await fits('{ san: { hardware_module: { serial: ffff } } }', { san: { hardwareModuleName: two } })).toBe(true);
    expect(await fits('{ san: { hardware_module: { type: 1.3.6.1.4.1.99999.5, serial: ffff } } }', { san: { hardwareModuleName: two } })).toBe(false);
    expect(await under('{ subject: { OU: Doctors } }', { san: { hardwareModuleName: hardware } }, '{san.hardware_module.type}/{san.hardware_module.serial}')).toBe('1.3.6.1.4.1.99999.5/0a1b2c');
    expect(await under('{ subject: { OU: Doctors } }', { san: { hardwareModuleName: two } }, '{san.hardware_module.serial}')).toBeUndefined();
    expect(await under('{ san: { hardware_module: { serial: ffff } } }', { san: { hardwareModuleName: two } }, '{san.hardware_module.serial}')).toBe('ffff');
  });

  it('of a permanent identifier are matched by assigner and value of one name (RFC 4043)', async () => {
    const two = [{ value: 'A-17', assigner: '1.2.3' }, { value: 'A-18' }];
    expect(await fits('{ san: { permanent_identifier: { assigner: 1.2.3, value: "A-*" } } }', { san: { permanentIdentifier: two } })).toBe(true);
    expect(await fits('{ san: { permanent_identifier: { assigner: 1.2.3, value: A-18 } } }', { san: { permanentIdentifier: two } })).toBe(false);
    expect(await fits('{ san: { permanent_identifier: { value: a-18 } } }', { san: { permanentIdentifier: two } })).toBe(false);
    expect(await fits('{ san: { permanent_identifier: { value: "*" } } }', { san: { permanentIdentifier: { assigner: '1.2.3' } } })).toBe(false);
    expect(await under('{ san: { permanent_identifier: { assigner: 1.2.3, value: "*" } } }', { san: { permanentIdentifier: two } }, '{san.permanent_identifier.assigner}:{san.permanent_identifier.value}')).toBe('1.2.3:A-17');
  });

  it('of any other type are matched where they are strings', async () => {
    expect(await under('{ san: { other: { 1.2.3.4: "CASE *" } } }', { san: { other: { oid: '1.2.3.4', value: text('case  17') } } }, '{san.other.1.2.3.4}')).toBe('case  17');
    expect(await fits('{ san: { other: { 1.2.3.4: "*" } } }', { san: { other: { oid: '1.2.3.4', value: sequence(text('a')) } } })).toBe(false);
  });

  it('count once when they are there twice, and give no id when two differ', async () => {
    expect(await under('{ san: { uri: "urn:patient:*" } }', { san: { uri: ['urn:patient:1', 'urn:patient:1'] } }, '{san.uri}')).toBe('urn:patient:1');
    expect(await under('{ san: { uri: "urn:patient:*" } }', { san: { uri: ['urn:patient:1', 'urn:patient:2'] } }, '{san.uri}')).toBeUndefined();
  });

  it('are read by asn1js as by us', async () => {
    const san = { upn: 'wang@hospital.test', hardwareModuleName: hardware, permanentIdentifier: { value: 'A-17', assigner: '1.2.3' }, other: { oid: SMTP_UTF8_MAILBOX, value: text('王@hospital.test') } };
    const { der } = await issueCertificate(pki.issuing, { subject: PERSON, san });
    const ours = parseCertificate(der).subjectAltNames.flatMap((name) => (name.kind === 'other' ? [name] : []));
    expect(ours.map(({ oid: type, text: value, within }) => [type, within, value])).toEqual([
      [UPN, undefined, 'wang@hospital.test'], ['1.3.6.1.5.5.7.8.4', '1.3.6.1.4.1.99999.5', '0a1b2c'], ['1.3.6.1.5.5.7.8.3', '1.2.3', 'A-17'], [SMTP_UTF8_MAILBOX, undefined, '王@hospital.test'],
    ]);
    for (const { value, text: said, within } of ours) expect(asn1jsReading(value)).toEqual([within, said]);
  });

  it('in UTF-8 are held to the constraints on mailboxes (RFC 9598 section 6)', async () => {
    const root = await createAuthority({ name: 'Mail Root', nameConstraints: { permitted: { email: 'hospital.test' } } });
    const verdict = async (mailbox: Uint8Array): Promise<string> => {
      const leaf = parseCertificate((await issueCertificate(root, { subject: [['CN', 'a']], san: { other: { oid: SMTP_UTF8_MAILBOX, value: mailbox } } })).der);
      const result = validatePath(leaf, createPool([parseCertificate(root.der)], []), { now: Date.now(), purpose: 'client' });
      return result.kind === 'valid' ? 'valid' : result.detail;
    };
    expect(await verdict(text('王@hospital.test'))).toBe('valid');
    expect(await verdict(text('王@evil.test'))).toContain('outside the permitted subtrees');
    expect(await verdict(text('王@医院.test'))).toContain('not a mailbox');
    expect(await verdict(text('王@hospital.test', 'bmp'))).toContain('not a mailbox');
  });
});

describe('what else a certificate is matched by', () => {
  it('is a CA on its path, by any attribute', async () => {
    expect(await fits('{ issuer: { CN: "Hospital Issuing *" } }', {})).toBe(true);
    expect(await fits('{ issuer: { CN: Hospital Root } }', {})).toBe(true);
    expect(await fits('{ issuer: { CN: Dr Wang } }', {})).toBe(false);
    // One CA must have both.
    const other = await createAuthority({ name: [['CN', 'Clinic CA'], ['O', 'Clinic']], issuer: pki.root });
    const roles = '[{ role: r, match: { issuer: { CN: Hospital Root, O: Clinic } }, id: "{serial}" }]';
    expect((await judge(roles, {}, { issuer: other, above: [other, pki.root] })).identity).toBeUndefined();
  });

  it('is a CA itself, where another that calls itself the same is another', async () => {
    const roles = '[{ role: r, match: { trust: staff.pem }, id: "{serial}" }]';
    const [staff, namesake] = await Promise.all([createAuthority({ name: 'Staff CA', issuer: pki.root }), createAuthority({ name: 'Staff CA', issuer: pki.root })]);
    const renewed = await createAuthority({ name: 'Staff CA', issuer: pki.root, key: staff.privateKey });
    const files = { 'staff.pem': [staff.der] };
    const held = async (issuer: Authority) => (await judge(roles, {}, { issuer, above: [issuer, pki.root], files })).identity?.role;
    expect([await held(staff), await held(renewed), await held(namesake)]).toEqual(['r', 'r', undefined]);
    expect((await judge(roles, {}, { files })).misses).toEqual([{ role: 'r', detail: 'trust: none of these CAs is on the path' }]);
    expect((await judge(roles, {})).identity).toBeUndefined();
  });

  it('is a policy that holds on the whole path, not one that the leaf alone claims', async () => {
    const rule = rules('[{ role: r, match: { policy: [1.2.3.4] }, id: "{serial}" }]');
    const [plain, vouching] = await Promise.all([createAuthority({ name: 'Plain CA', issuer: pki.root }), createAuthority({ name: 'Vouching CA', issuer: pki.root, policies: ['1.2.3.4'] })]);
    const admitted = async (issuer: Authority): Promise<boolean> => {
      const leaf = parseCertificate((await issueCertificate(issuer, { subject: PERSON, policies: ['1.2.3.4'] })).der);
      const verdict = validatePath(leaf, createPool([parseCertificate(pki.root.der)], [parseCertificate(issuer.der)]), { now: Date.now(), purpose: 'client' });
      if (verdict.kind === 'invalid') throw new Error(verdict.detail);
      return identify(verdict, rule).identity !== undefined;
    };
    expect(await admitted(vouching)).toBe(true);
    expect(await admitted(plain)).toBe(false);
  });

  it('is an extended key usage that is named, never the one for everything', async () => {
    expect(await fits('{ eku: [1.2.3.4, 1.3.6.1.5.5.7.3.2] }', {})).toBe(true);
    expect(await fits('{ eku: [1.2.3.4] }', { eku: ['clientAuth', 'any'] })).toBe(false);
    expect(await fits('{ eku: [1.3.6.1.5.5.7.3.2] }', { omit: ['extendedKeyUsage'] })).toBe(false);
  });

  it('is the algorithm of its key, of RSA with a least size', async () => {
    const rsa = await rsaKey();
    expect(await fits('{ key: [ec-p256] }', {})).toBe(true);
    expect(await fits('{ key: [ec-p384, ed25519] }', {})).toBe(false);
    expect(await fits('{ key: [rsa-2048] }', { key: rsa })).toBe(true);
    expect(await fits('{ key: [ec-p256, rsa-3072] }', { key: rsa })).toBe(false);
    expect(await fits('{ key: [rsa-1024] }', {})).toBe(false);
    expect((await judge('[{ role: r, match: { key: [rsa-3072] } }]', { key: rsa })).misses).toEqual([{ role: 'r', detail: 'key is rsa-2048' }]);
  });
});

describe('a SPIFFE id', () => {
  let wards: Authority;
  let labs: Authority;
  let files: AuthorityFiles;

  beforeAll(async () => {
    [wards, labs] = await Promise.all([createAuthority({ name: 'Wards CA', issuer: pki.root }), createAuthority({ name: 'Labs CA', issuer: pki.root })]);
    files = { 'wards.pem': [wards.der], 'labs.pem': [labs.der] };
  });

  const TOP = 'trust_domains: { wards.test: { trust: [wards.pem] }, labs.test: { trust: [labs.pem] } }';
  const WORKLOAD = '[{ role: workload, match: { san: { spiffe: "spiffe://wards.test/ward/*" } }, id: "{san.spiffe}" }]';

  function asked(uri: string | readonly string[], issuer: Authority, roles = WORKLOAD, leaf: Partial<CertificateOptions> = {}) {
    return judge(roles, { ...leaf, san: { uri, ...leaf.san } }, { issuer, above: [issuer, pki.root], files, top: TOP });
  }

  it('is matched by its path, where a CA of its trust domain vouches for it', async () => {
    expect((await asked('spiffe://wards.test/ward/7', wards)).identity).toMatchObject({ role: 'workload', id: 'spiffe://wards.test/ward/7' });
    expect((await asked('spiffe://wards.test/ward/7', wards, WORKLOAD, { san: { dns: 'ward-7.test' } })).identity).toBeDefined();
    expect((await asked('spiffe://wards.test/Ward/7', wards)).identity).toBeUndefined();
  });

  it('is not believed from the CA of another trust domain, nor from one of none', async () => {
    expect((await asked('spiffe://wards.test/ward/7', labs)).misses).toEqual([{ role: 'workload', detail: 'san.spiffe: the CA vouches for the trust domain labs.test, not for wards.test' }]);
    expect((await asked('spiffe://wards.test/ward/7', pki.issuing)).misses[0]?.detail).toContain('no CA on the path is bound');
  });

  it('is vouched for by the nearest bound CA, although a root above is bound to its domain', async () => {
    const both = { 'wards.pem': [pki.root.der], 'labs.pem': [labs.der] };
    expect((await judge(WORKLOAD, { san: { uri: 'spiffe://wards.test/ward/7' } }, { issuer: labs, above: [labs, pki.root], files: both, top: TOP })).identity).toBeUndefined();
    expect((await judge(WORKLOAD, { san: { uri: 'spiffe://wards.test/ward/7' } }, { files: both, top: TOP })).identity).toBeDefined();
  });

  it.each([
    ['capitals in the trust domain', 'spiffe://Wards.test/ward/7'], ['another spelling of the scheme', 'SPIFFE://wards.test/ward/7'], ['a port', 'spiffe://wards.test:443/ward/7'],
    ['user information', 'spiffe://a@wards.test/ward/7'], ['a query', 'spiffe://wards.test/ward/7?a'], ['a fragment', 'spiffe://wards.test/ward/7#a'], ['percent-encoding', 'spiffe://wards.test/ward/%37'],
    ['an empty segment', 'spiffe://wards.test/ward//7'], ['a dot segment', 'spiffe://wards.test/ward/../7'], ['a slash at the end', 'spiffe://wards.test/ward/7/'], ['no path', 'spiffe://wards.test'],
    ['no trust domain', 'spiffe:///ward/7'], ['2049 octets', `spiffe://wards.test/ward/${'7'.repeat(2024)}`], ['an asterisk', 'spiffe://wards.test/ward/*'],
  ])('is not believed with %s', async (_, uri) => {
    const { identity, misses } = await asked(uri, wards);
    expect(identity).toBeUndefined();
    expect(misses[0]?.detail).toMatch(/^san\.spiffe: a SPIFFE id/);
  });

  it('is not believed beside another URI, nor in a certificate that may issue', async () => {
    expect((await asked(['spiffe://wards.test/ward/7', 'urn:patient:1'], wards)).misses[0]?.detail).toBe('san.spiffe: a SPIFFE id beside another URI');
    expect((await asked('spiffe://wards.test/ward/7', wards, WORKLOAD, { keyUsage: ['digitalSignature', 'keyCertSign'] })).misses[0]?.detail).toContain('may issue');
  });

  it('is no URI to other rules: what was not vouched for counts nowhere', async () => {
    expect((await asked('spiffe://wards.test/ward/7', labs, '[{ role: r, match: { san: { uri: "*" } }, id: "{san.uri}" }]')).identity).toBeUndefined();
    expect((await asked('spiffe://wards.test/ward/7', labs, '[{ role: r, match: { subject: { CN: "*" } }, id: "{san.spiffe}" }]')).identity).toBeUndefined();
  });
});

describe('several roles', () => {
  const ROLES = `
  - role: doctor
    match: { subject: { OU: Doctors } }
    also: [tutor, { role: radiologist, match: { subject: { OU: Radiology } } }]
  - { role: nurse, match: { subject: { OU: Nurses } } }
  - { role: radiologist, match: { subject: { OU: Radiology } } }`;
  const TOP = 'inherits: { doctor: [staff], nurse: [staff], radiologist: [imaging], staff: [person] }';
  const held = async (subject: Subject): Promise<readonly string[]> => [...(await judge(ROLES, { subject }, { top: TOP })).identity?.roles ?? []];

  it('come with the first rule that matches, some of them on conditions, and with what they inherit', async () => {
    expect(await held(PERSON)).toEqual(['doctor', 'tutor', 'staff', 'person']);
    expect(await held([['CN', 'a'], ['OU', 'Doctors'], ['OU', 'Radiology']])).toEqual(['doctor', 'tutor', 'radiologist', 'staff', 'imaging', 'person']);
    expect(await held([['CN', 'a'], ['OU', 'Nurses'], ['OU', 'Radiology']])).toEqual(['nurse', 'staff', 'person']);
    expect(await held([['CN', 'a'], ['OU', 'Radiology']])).toEqual(['radiologist', 'imaging']);
  });

  it('show the first as the role, and why a further one is not held', async () => {
    const { identity, misses } = await judge(ROLES, {}, { top: TOP });
    expect(identity?.role).toBe('doctor');
    expect(misses).toEqual([{ role: 'radiologist', detail: 'subject OU is Doctors' }]);
  });
});

function asn1jsReading(der: Uint8Array): readonly (string | undefined)[] {
  const { result } = fromBER(Uint8Array.from(der).buffer);
  if (result instanceof Utf8String) return [undefined, result.getValue()];
  const parts = (result as Sequence).valueBlock.value;
  const type = parts.find((part) => part instanceof ObjectIdentifier)?.getValue();
  const serial = parts.find((part) => part instanceof OctetString);
  return [type, serial === undefined ? parts.find((part) => part instanceof Utf8String)?.getValue() : Buffer.from(serial.getValue()).toString('hex')];
}

/** Puts one element in the place of another of the same length; the subject's, which comes after the issuer's. */
function replaceOnce(tbs: Buffer, wanted: Buffer, by: Buffer): Buffer {
  const at = tbs.lastIndexOf(wanted);
  return Buffer.concat([tbs.subarray(0, at), by, tbs.subarray(at + wanted.length)]);
}
