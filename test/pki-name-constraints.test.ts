import { describe, expect, it } from 'vitest';
import { parseCertificate } from '../src/pki/certificate.ts';
import { createPool, validatePath } from '../src/pki/path.ts';
import { context, contextPrimitive, oid, sequence, text } from '../src/ca/der.ts';
import { encodeName } from '../src/ca/names.ts';
import { createAuthority, issueCertificate } from './support/pki.ts';
import type { AlternativeNames, AuthorityOptions, Subject } from './support/pki.ts';

type Constraints = NonNullable<AuthorityOptions['nameConstraints']>;

async function verdict(constraints: Constraints, san: AlternativeNames, subject: Subject = [['CN', 'x']]): Promise<string> {
  const root = await createAuthority({ name: 'Root', nameConstraints: constraints });
  const leaf = await issueCertificate(root, { subject, san });
  const result = validatePath(parseCertificate(leaf.der), createPool([parseCertificate(root.der)], []), { now: Date.now(), purpose: 'client' });
  return result.kind === 'valid' ? 'valid' : result.reason;
}

const refused = 'constraint_violated';

describe('name constraints', () => {
  it.each<[string, Constraints, AlternativeNames, string]>([
    ['takes a host below the permitted domain', { permitted: { dns: 'hospital.test' } }, { dns: 'a.b.hospital.test' }, 'valid'],
    ['takes the permitted domain itself, in any case', { permitted: { dns: 'hospital.test' } }, { dns: 'HOSPITAL.test' }, 'valid'],
    ['takes a wildcard below the permitted domain', { permitted: { dns: 'hospital.test' } }, { dns: '*.hospital.test' }, 'valid'],
    ['refuses a host that only ends in the same letters', { permitted: { dns: 'hospital.test' } }, { dns: 'nothospital.test' }, refused],
    ['refuses a wildcard that reaches beyond the permitted host', { permitted: { dns: 'a.hospital.test' } }, { dns: '*.hospital.test' }, refused],
    ['refuses a wildcard that covers the excluded host', { excluded: { dns: 'a.hospital.test' } }, { dns: '*.hospital.test' }, refused],
    ['refuses an excluded host even where it is permitted', { permitted: { dns: 'hospital.test' }, excluded: { dns: 'x.hospital.test' } }, { dns: 'y.x.hospital.test' }, refused],
    ['refuses when one of several names is outside', { permitted: { dns: 'hospital.test' } }, { dns: ['a.hospital.test', 'a.other.test'] }, refused],
    ['refuses what is no host name where host names are constrained', { permitted: { dns: 'hospital.test' } }, { dns: 'a b.hospital.test' }, refused],
    ['refuses a constraint with a leading period, which means nothing for DNS', { permitted: { dns: '.hospital.test' } }, { dns: 'a.hospital.test' }, refused],
    ['leaves other forms of name alone', { permitted: { dns: 'hospital.test' } }, { email: 'wang@elsewhere.test' }, 'valid'],
    ['takes a mailbox at the permitted host', { permitted: { email: 'hospital.test' } }, { email: 'wang@Hospital.test' }, 'valid'],
    ['refuses a mailbox below the permitted host', { permitted: { email: 'hospital.test' } }, { email: 'wang@mail.hospital.test' }, refused],
    ['takes a mailbox below a permitted domain', { permitted: { email: '.hospital.test' } }, { email: 'wang@mail.hospital.test' }, 'valid'],
    ['refuses a mailbox at the permitted domain itself', { permitted: { email: '.hospital.test' } }, { email: 'wang@hospital.test' }, refused],
    ['takes the permitted mailbox', { permitted: { email: 'wang@hospital.test' } }, { email: 'wang@HOSPITAL.test' }, 'valid'],
    ['tells the local parts of mailboxes apart by case', { permitted: { email: 'wang@hospital.test' } }, { email: 'Wang@hospital.test' }, refused],
    ['takes an asterisk in a mailbox for itself', { permitted: { email: '*@hospital.test' } }, { email: 'wang@hospital.test' }, refused],
    ['takes a URI on the permitted host', { permitted: { uri: 'api.hospital.test' } }, { uri: 'https://u@api.hospital.test:8443/x' }, 'valid'],
    ['takes a URI below a permitted domain', { permitted: { uri: '.hospital.test' } }, { uri: 'https://api.hospital.test' }, 'valid'],
    ['refuses a URI whose host is the user part only', { permitted: { uri: 'api.hospital.test' } }, { uri: 'https://api.hospital.test@evil.test/' }, refused],
    ['refuses a URI without a host where hosts are constrained', { permitted: { uri: 'api.hospital.test' } }, { uri: 'urn:patient:1' }, refused],
    ['refuses a URI with an address where hosts are constrained', { excluded: { uri: 'api.hospital.test' } }, { uri: 'https://192.0.2.1/' }, refused],
  ])('%s', async (_, constraints, san, expected) => {
    expect(await verdict(constraints, san)).toBe(expected);
  });

  it('applies to the e-mail address in a subject', async () => {
    expect(await verdict({ permitted: { email: 'hospital.test' } }, { dns: 'x.test' }, [['CN', 'x'], ['emailAddress', 'wang@elsewhere.test']])).toBe(refused);
  });

  it('applies to directory names: a subtree below the permitted one', async () => {
    const permitted = subtree([['OU', 'Doctors'], ['O', 'Hospital']]);
    expect(await verdictRaw(permitted, [['CN', 'Wang'], ['OU', 'doctors'], ['O', 'Hospital']])).toBe('valid');
    expect(await verdictRaw(permitted, [['CN', 'Wang'], ['OU', 'Patients'], ['O', 'Hospital']])).toBe(refused);
    expect(await verdictRaw(permitted, [['O', 'Hospital']])).toBe(refused);
  });

  it('applies to addresses by range', async () => {
    const permitted = sequence(context(0, sequence(contextPrimitive(7, Buffer.from([10, 1, 0, 0, 255, 255, 0, 0])))));
    expect(await verdictRaw(permitted, [['CN', 'x']], { ip: '10.1.2.3' })).toBe('valid');
    expect(await verdictRaw(permitted, [['CN', 'x']], { ip: '10.2.2.3' })).toBe(refused);
    expect(await verdictRaw(permitted, [['CN', 'x']], { ip: '2001:db8::1' })).toBe(refused);
  });

  it('refuses an address range with holes', async () => {
    const permitted = sequence(context(0, sequence(contextPrimitive(7, Buffer.from([10, 1, 0, 0, 255, 0, 255, 0])))));
    expect(await verdictRaw(permitted, [['CN', 'x']])).toBe(refused);
  });

  it('refuses an otherName of a kind that is constrained, and leaves other kinds alone', async () => {
    const upn = '1.3.6.1.4.1.311.20.2.3';
    const base = context(0, oid(upn), context(0, text('x', 'utf8')));
    const constraints = sequence(context(1, sequence(base)));
    const san = (kind: string) => ({ oid: '2.5.29.17', value: sequence(context(0, oid(kind), context(0, text('wang@hospital.test', 'utf8')))) });
    expect(await verdictRaw(constraints, [['CN', 'x']], undefined, [san(upn)])).toBe(refused);
    expect(await verdictRaw(constraints, [['CN', 'x']], undefined, [san('1.3.6.1.5.5.7.8.7')])).toBe('valid');
  });

  it('narrows along the path and never widens', async () => {
    const root = await createAuthority({ name: 'Root', nameConstraints: { permitted: { dns: 'hospital.test' } } });
    const issuing = await createAuthority({ name: 'Issuing', issuer: root, nameConstraints: { permitted: { dns: 'test' } } });
    const pool = createPool([parseCertificate(root.der)], [parseCertificate(issuing.der)]);
    const check = async (dns: string): Promise<string> => validatePath(parseCertificate((await issueCertificate(issuing, { subject: [['CN', 'x']], san: { dns } })).der), pool, { now: Date.now(), purpose: 'client' }).kind;
    expect(await check('a.hospital.test')).toBe('valid');
    expect(await check('a.other.test')).toBe('invalid');
  });
});

async function verdictRaw(value: Uint8Array, subject: Subject, san?: AlternativeNames, extensions: { oid: string; value: Uint8Array }[] = []): Promise<string> {
  const root = await createAuthority({ name: 'Root', extensions: [{ oid: '2.5.29.30', critical: true, value }] });
  const leaf = await issueCertificate(root, { subject, extensions, ...(san !== undefined && { san }) });
  const result = validatePath(parseCertificate(leaf.der), createPool([parseCertificate(root.der)], []), { now: Date.now(), purpose: 'client' });
  return result.kind === 'valid' ? 'valid' : result.reason;
}

function subtree(name: Subject): Buffer {
  return sequence(context(0, sequence(context(4, encodeName(name)))));
}
