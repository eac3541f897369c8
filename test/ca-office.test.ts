import { createPublicKey, sign, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { certificateStep } from '../src/audit/certificate-step.ts';
import { makeCsr } from '../src/ca/csr.ts';
import { bitString, context, integer, pem, sequence } from '../src/ca/der.ts';
import { generateKey, signerOf, spkiOf } from '../src/ca/keys.ts';
import { createAuthority, issueCertificate } from '../src/ca/issue.ts';
import { encodeName } from '../src/ca/names.ts';
import { OfficeError, signApproval, type CaRequest, type Office, type OfficeCode } from '../src/ca/office.ts';
import { openRoot } from '../src/ca/root.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import { alarmsOf, raisedBy } from './support/alarms.ts';
import { csr, order, ROOT_PASSPHRASE, testCa, type TestCa } from './support/office.ts';

const DAY = 86_400_000;
let ca: TestCa;
let office: Office;
let now = Date.now();

beforeAll(async () => {
  ca = await testCa([{ profile: 'registrar', name: 'Zhao Min' }]);
});
beforeEach(() => {
  now = Date.now();
  office?.close();
  office = ca.open(() => now);
});
afterAll(() => {
  office.close();
  ca.remove();
});

/** The code with which something is refused; everything else fails the test. */
async function codeOf(act: () => unknown): Promise<OfficeCode> {
  try {
    await act();
  } catch (error) {
    if (error instanceof OfficeError) return error.code;
    throw error;
  }
  throw new Error('it was done');
}

async function delivered(change: Parameters<typeof order>[0] = {}): Promise<CaRequest> {
  const { id } = office.submit(order({ name: `Dr ${office.requests().length}`, ...change }));
  ca.approve(office, id);
  await office.issue(id, { who: 'operator' });
  office.deliver(id, { who: 'operator', to: 'the holder', how: 'in person' });
  return office.request(id);
}

describe('the whole life of a certificate', () => {
  test('goes through every step in its order, and every step that is skipped is refused and leaves no trace', async () => {
    const { id } = office.submit(order());
    const steps: Readonly<Record<string, () => unknown>> = {
      approve: () => ca.approve(office, id, 'Li Na', now),
      issue: () => office.issue(id, { who: 'operator' }),
      deliver: () => office.deliver(id, { who: 'operator', to: 'Dr Chen', how: 'USB stick 14' }),
      confirm: () => office.confirm(id, { who: 'operator', how: 'request 17 on the gateway' }),
      renew: () => office.renew(id, { applicant: { name: 'Ward 3' } }),
      revoke: () => office.revoke(id, { who: 'operator', reason: 'keyCompromise', why: 'laptop stolen' }),
      destroy: () => office.destroy(id, { who: 'operator', witness: 'Wu Fang', how: 'shredded' }),
      refuse: () => office.refuse(id, { who: 'Li Na', why: 'no' }),
    };
    // What would be allowed and is not the way of this one.
    const way: readonly (readonly [state: string, take: string, also: readonly string[]])[] = [
      ['requested', 'approve', ['refuse']], ['approved', 'issue', ['refuse']], ['issued', 'deliver', ['revoke']], ['delivered', 'confirm', ['revoke', 'renew']], ['confirmed', 'revoke', ['renew']], ['revoked', 'destroy', []],
    ];
    for (const [state, take, also] of way) {
      expect(office.request(id).state).toBe(state);
      const before = office.events().length;
      for (const [name, act] of Object.entries(steps)) if (name !== take && !also.includes(name)) expect([state, name, await codeOf(act)]).toEqual([state, name, 'step']);
      expect(office.events()).toHaveLength(before);
      await steps[take]?.();
    }
    expect(office.request(id).state).toBe('destroyed');
    for (const [name, act] of Object.entries(steps)) expect([name, await codeOf(act)]).toEqual([name, 'step']);
    expect(office.events(id).map(({ step, who }) => `${step} by ${who}`)).toEqual([
      'submit by Ward 3', 'approve by Li Na', 'reserve by operator', 'issue by operator', 'deliver by operator', 'confirm by operator', 'revoke by operator', 'destroy by operator',
    ]);
    expect(office.faults()).toEqual([]);
  });

  test('what was asked for is what is issued, for as long as was asked', async () => {
    const { id } = office.submit(order({ profile: 'patient', name: 'Patient 1001', id: '1001', validity: 30 * DAY }));
    ca.approve(office, id);
    const { entry, bundle } = await office.issue(id, { who: 'operator' });
    const certificate = parseCertificate(entry.der);
    expect(entry).toMatchObject({ subject: 'CN=Patient 1001,OU=Patients,O=Hospital', role: 'patient', state: 'issued', names: { uri: ['urn:patient:1001'] } });
    expect(certificate.notAfter - certificate.notBefore).toBe(30 * DAY);
    expect(certificate).toMatchObject({ basicConstraints: { ca: false }, extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'], subjectAltNames: [{ kind: 'uri', value: 'urn:patient:1001' }] });
    expect(bundle?.passphrase).toMatch(/^[a-z2-9]{5}(-[a-z2-9]{5}){4}$/);
    expect(office.status(entry.serial)).toEqual({ kind: 'good' });
    expect(office.status('00ff')).toEqual({ kind: 'unknown' });
  });

  test('ends by itself: what has expired cannot be delivered, and can be destroyed', async () => {
    const { id } = office.submit(order({ validity: 2 * DAY }));
    ca.approve(office, id);
    await office.issue(id, { who: 'operator' });
    now += 3 * DAY;
    expect(office.entry(id).state).toBe('expired');
    expect(await codeOf(() => office.deliver(id, { who: 'operator', to: 'x', how: 'y' }))).toBe('step');
    expect(office.expire().map(({ request }) => request)).toEqual([id]);
    expect(office.destroy(id, { who: 'operator', witness: 'Wu Fang', how: 'wiped' }).state).toBe('destroyed');
  });

  test('a destruction needs somebody else who saw it', async () => {
    const { id } = await delivered();
    office.revoke(id, { who: 'operator', reason: 'cessationOfOperation', why: 'left' });
    expect(await codeOf(() => office.destroy(id, { who: 'operator', witness: 'Operator ', how: 'shredded' }))).toBe('not_authorized');
  });
});

describe('requests', () => {
  test('for three years, with weak keys or unfit names are refused at once', async () => {
    const weak = await csr('rsa1024');
    expect(() => office.submit(order({ validity: 1096 * DAY }))).toThrow('validity: 1096 days; expected at most 731, which is two years');
    expect(() => office.submit(order({ key: weak }))).toThrow(/RSA/);
    expect(() => office.submit(order({ profile: 'server', name: 'evil.example' }))).toThrow('"evil.example" may not be asked for; expected one of *.hospital.test, localhost');
    expect(() => office.submit(order({ profile: 'patient', name: 'x', id: '*' }))).toThrow('"urn:patient:*" is no name of this kind');
    expect(() => office.submit(order({ profile: 'patient', name: 'x' }))).toThrow('the profile needs one');
    expect(() => office.submit(order({ names: { uri: ['urn:patient:1'] } }))).toThrow('may not be asked for');
    expect(() => office.submit(order({ name: 'Dr\u0000Chen' }))).toThrow('control characters');
    expect(() => office.submit(order({ profile: 'dean' }))).toThrow('there is no profile "dean"; there are server, doctor');
  });

  test('with a signature by SHA-1, or of another key, are refused', async () => {
    const { privateKey } = await generateKey('ec');
    const other = await generateKey('ec');
    const made = async (spki: Buffer, hash?: 'sha1'): Promise<string> => {
      const info = sequence(integer(0), encodeName([['CN', 'x']]), spki, context(0));
      const signer = signerOf(privateKey, { hash });
      return pem('CERTIFICATE REQUEST', sequence(info, signer.algorithm, bitString(await signer.sign(info))));
    };
    const sha1 = await made(spkiOf(privateKey), 'sha1');
    const foreign = await made(spkiOf(other.privateKey));
    expect(() => office.submit(order({ key: { kind: 'csr', csr: sha1 } }))).toThrow('is refused');
    expect(() => office.submit(order({ key: { kind: 'csr', csr: foreign } }))).toThrow('is not signed with its own key');
    expect(() => office.submit(order({ key: { kind: 'csr', csr: 'nothing' } }))).toThrow('expected one certificate request');
    expect(() => office.submit(order({ key: { kind: 'csr', csr: Buffer.from('3003020100', 'hex') } }))).toThrow('is no PKCS#10');
  });

  test('give their key and nothing else: names in a PKCS#10 request count for nothing', async () => {
    const { privateKey } = await generateKey('ec');
    const { id } = office.submit(order({ name: 'Dr Plain', key: { kind: 'csr', csr: await makeCsr(privateKey, [['CN', 'admin'], ['OU', 'Security']]) } }));
    ca.approve(office, id);
    const { entry, bundle } = await office.issue(id, { who: 'operator' });
    expect(entry.subject).toBe('CN=Dr Plain,OU=Doctors,O=Hospital');
    expect(bundle).toBeUndefined();
    expect(new X509Certificate(entry.der).checkPrivateKey(privateKey)).toBe(true);
  });

  test('never share a key, in whatever form it comes', async () => {
    const key = await csr();
    office.submit(order({ key }));
    expect(await codeOf(() => office.submit(order({ key, name: 'Dr Other' })))).toBe('key_reused');
    const { x = '', y = '', ...rest } = key.pair.publicKey.export({ format: 'jwk' });
    const parity = Buffer.from(y, 'base64url').readUInt8(31) & 1;
    const compressed = Buffer.concat([Buffer.from('3039301306072a8648ce3d020106082a8648ce3d030107032200', 'hex'), Buffer.of(2 + parity), Buffer.from(x, 'base64url')]);
    expect(createPublicKey({ key: compressed, format: 'der', type: 'spki' }).export({ format: 'jwk' })).toEqual({ x, y, ...rest });
    const info = sequence(integer(0), encodeName([['CN', 'x']]), compressed, context(0));
    const signer = signerOf(key.pair.privateKey);
    const again = pem('CERTIFICATE REQUEST', sequence(info, signer.algorithm, bitString(await signer.sign(info))));
    expect(await codeOf(() => office.submit(order({ key: { kind: 'csr', csr: again } })))).toBe('key_reused');
    expect(office.duplicates()).toEqual([]);
  });

  test('are on record so that bursts and sensitive names at night raise their alarms', () => {
    const asked = Array.from({ length: 10 }, (_, index) => office.submit(order({ name: `Dr Burst ${index}`, applicant: { name: 'Ward 9', certificate: ca.of('Dr Wang').entry.certificate } })));
    const admin = office.submit(order({ name: 'gateway-admin' }));
    const records = (requests: readonly CaRequest[], hour: string) => requests.flatMap((request) => office.events(request.id).map((event) => ({ time: `2026-11-24T${hour}:00:00.000Z`, result: 'done' as const, ...certificateStep(event, { ca: '0123456789abcdef', request }) })));
    expect(alarmsOf(raisedBy(records(asked, '10')))).toEqual({ certificate_requests: 1 });
    expect(alarmsOf(raisedBy(records(asked.slice(0, 9), '10')))).toEqual({});
    expect(alarmsOf(raisedBy(records([admin], '23')))).toEqual({ sensitive_names: 1 });
    expect(alarmsOf(raisedBy(records([admin], '10')))).toEqual({});
  });
});

describe('approvals', () => {
  test('are by somebody else than who asked, by certificate, by key and by name', async () => {
    const { entry } = ca.of('Li Na');
    for (const applicant of [{ name: 'Ward 3', certificate: entry.certificate }, { name: 'li  NA' }]) {
      const { id } = office.submit(order({ applicant }));
      expect(await codeOf(() => ca.approve(office, id, 'Li Na'))).toBe('not_authorized');
      expect(ca.approve(office, id, 'Chen Jing').state).toBe('approved');
    }
  });

  test('are by nobody who typed the request under another name, by --who or login, and by no login of the requester\'s where the policy has that', async () => {
    for (const typed of [{ typedBy: 'Li Na' }, { login: 'li na' }]) {
      const { id } = office.submit(order({ applicant: { name: 'Ward 3', ...typed } }));
      expect(await codeOf(() => ca.approve(office, id, 'Li Na'))).toBe('not_authorized');
    }
    const { id } = office.submit(order({ applicant: { name: 'Ward 3', typedBy: 'clerk', login: 'wang' } }));
    expect(office.request(id).applicant).toEqual({ name: 'Ward 3', typed_by: 'clerk', login: 'wang' });
    const file = join(ca.directory, 'policy.yaml');
    const before = readFileSync(file, 'utf8');
    writeFileSync(file, `${before}separate_logins: true\n`);
    const strict = ca.open(() => now);
    try {
      const { entry, key } = ca.of('Li Na');
      const approval = signApproval(strict.request(id), { certificate: entry.certificate, key }, now);
      expect(() => strict.approve(id, approval, 'wang')).toThrow('is approved from the same login');
      expect(() => strict.approve(id, approval)).toThrow('is not known to have another login');
      expect(strict.approve(id, approval, 'li').state).toBe('approved');
    } finally {
      strict.close();
      writeFileSync(file, before);
    }
  });

  test('are of no renewal whose certificate was revoked meanwhile: it waits to be refused', async () => {
    const { serial = '' } = await delivered();
    const approved = office.renew(serial, { applicant: { name: 'Dr Chen' } });
    office.revoke(serial, { who: 'security', reason: 'keyCompromise', why: 'stolen' });
    expect(office.request(approved.id).missing).toEqual([`a refusal: the certificate ${serial} that it renews was revoked (keyCompromise)`]);
    expect(() => ca.approve(office, approved.id)).toThrow(/that it renews was revoked \(keyCompromise\); refuse it/);
    expect(office.refuse(approved.id, { who: 'operator', why: 'stolen' }).state).toBe('refused');
  });

  test('are never of a certificate for oneself', async () => {
    const { id } = office.submit(order({ name: 'Li Na' }));
    expect(() => ca.approve(office, id, 'Li Na')).toThrow(`${id} is for Li Na; somebody else has to approve it`);
  });

  test('are by roles of the policy, with a certificate of this CA that is good', async () => {
    const { id } = office.submit(order());
    expect(() => ca.approve(office, id, 'Dr Wang')).toThrow('Dr Wang is doctor; doctor is approved by registrar or security');
    const stranger = await issueCertificate(await createAuthority({ name: 'Hospital Issuing CA 1' }), { subject: [['CN', 'Li Na'], ['OU', 'Registrars'], ['O', 'Hospital']] });
    expect(() => office.approve(id, signApproval(office.request(id), stranger, now))).toThrow('is that of no approver');
  });

  test('of sensitive names are by security as well', async () => {
    const { id, sensitive } = office.submit(order({ name: 'backup-operator' }));
    expect(sensitive).toEqual({ name: 'backup-operator', role: 'security' });
    expect(ca.approve(office, id, 'Li Na')).toMatchObject({ state: 'requested', missing: ['an approval by security, as "backup-operator" is a sensitive name'] });
    expect(await codeOf(() => office.issue(id, { who: 'operator' }))).toBe('step');
    expect(() => ca.approve(office, id, 'Li Na')).toThrow('has approved');
    expect(ca.approve(office, id, 'Chen Jing')).toMatchObject({ state: 'approved', missing: [] });
    await office.issue(id, { who: 'operator' });
  });

  test('are of one request as it stands, signed by whose they are, of today', async () => {
    const { id } = office.submit(order());
    const other = office.submit(order({ name: 'Dr Other' }));
    const { entry, key } = ca.of('Li Na');
    const signed = signApproval(office.request(id), { certificate: entry.certificate, key }, now);
    const change = (from: string, to: string) => ({ ...signed, statement: signed.statement.replace(from, to) });
    expect(() => office.approve(id, change('"days":365', '"days":700'))).toThrow('is not signed with the key');
    expect(() => office.approve(other.id, signed)).toThrow(`is not one of request ${other.id}`);
    expect(() => office.approve(id, { ...signed, certificate: ca.of('Chen Jing').entry.certificate })).toThrow('is not signed with the key');
    for (const statement of ['nothing', '{"time":"never"}', 'null', signed.statement.replace('{', '{ ')]) {
      const signature = sign('sha256', Buffer.from(statement), key).toString('base64');
      expect(() => office.approve(id, { ...signed, statement, signature })).toThrow(`is not one of request ${id}`);
    }
    expect(() => office.approve(id, { ...signed, certificate: 'none' })).toThrow('cannot be read');
    expect(() => ca.approve(office, id, 'Li Na', now - 2 * DAY)).toThrow('expected within the last day');
    expect(() => signApproval(office.request(id), { certificate: entry.certificate, key: ca.of('Chen Jing').key }, now)).toThrow('is not that of the certificate');
  });

  test('count no more once the certificate of who gave them is revoked', async () => {
    const { id } = office.submit(order());
    ca.approve(office, id, 'Zhao Min');
    office.revoke(ca.of('Zhao Min').entry.serial, { who: 'operator', reason: 'keyCompromise', why: 'card stolen' });
    await expect(office.issue(id, { who: 'operator' })).rejects.toThrow('the certificate of Zhao Min was revoked since');
    expect(office.request(id).state).toBe('approved');
    const second = office.submit(order());
    expect(() => ca.approve(office, second.id, 'Zhao Min')).toThrow('the certificate of the approver is revoked');
    expect(office.faults()).toEqual([]);
  });
});

describe('renewal', () => {
  test('leaves the old one valid until the new one was seen working, and then supersedes it on the CRL', async () => {
    const old = await delivered();
    const next = office.renew(old.id, { applicant: { name: 'Ward 3' } });
    expect(next).toMatchObject({ state: 'requested', renews: old.serial, subject: old.subject });
    expect(await codeOf(() => office.renew(old.id, { applicant: { name: 'Ward 3' } }))).toBe('step');
    ca.approve(office, next.id);
    const { entry } = await office.issue(next.id, { who: 'operator' });
    office.deliver(next.id, { who: 'operator', to: 'the holder', how: 'in person' });
    expect(office.entry(old.id)).toMatchObject({ state: 'delivered', renewedBy: entry.serial });
    office.confirm(next.id, { who: 'operator', how: 'seen' });
    expect(office.entry(old.id)).toMatchObject({ state: 'superseded', revoked: { reason: 'superseded' } });
    expect(office.status(old.serial ?? '')).toMatchObject({ kind: 'revoked', reason: 'superseded' });
    expect(office.entry(next.id).state).toBe('confirmed');
  });

  test('of a device needs nobody when it is asked for with the old certificate itself, and with that alone', async () => {
    const kiosk = ca.of('Kiosk 7').entry;
    const key = await csr();
    expect(await codeOf(() => office.renew(kiosk.serial, { key: { kind: 'csr', csr: key.csr }, applicant: { name: 'Kiosk 7' }, validity: 1096 * DAY }))).toBe('invalid');
    const doctor = ca.of('Dr Wang').entry;
    expect(office.renew(doctor.serial, { applicant: { name: 'Dr Wang' }, authenticated: doctor.sha256 }).state).toBe('requested');
    const stray = office.renew(kiosk.serial, { applicant: { name: 'somebody' }, authenticated: doctor.sha256 });
    expect(stray.state).toBe('requested');
    office.refuse(stray.id, { who: 'Li Na', why: 'not the kiosk' });
    const renewed = office.renew(kiosk.serial, { key, applicant: { name: 'Kiosk 7', certificate: kiosk.certificate }, authenticated: kiosk.sha256 });
    expect(renewed.state).toBe('approved');
    expect(await codeOf(() => office.renew(kiosk.serial, { applicant: { name: 'Kiosk 7' }, authenticated: kiosk.sha256 }))).toBe('step');
    const { entry } = await office.issue(renewed.id, { who: 'EST' });
    expect(entry.names).toEqual({ dns: ['kiosk-7.devices.hospital.test'] });
    expect(office.faults()).toEqual([]);
  });
});

describe('automatic renewal gives nobody more than was agreed to', () => {
  const device = async (name: string, change: Parameters<typeof order>[0] = {}) => {
    const { id } = office.submit(order({ profile: 'device', name, id: `${name.toLowerCase().replace(' ', '-')}.devices.hospital.test`, ...change }));
    ca.approve(office, id);
    await office.issue(id, { who: 'operator' });
    return office.deliver(id, { who: 'operator', to: name, how: 'installed' });
  };
  const renewed = ({ serial, sha256 }: { readonly serial: string; readonly sha256: string }, validity?: number) =>
    office.renew(serial, { applicant: { name: 'the device' }, authenticated: sha256, ...(validity === undefined ? {} : { validity }) });

  test('no longer life, and no regular certificate for a temporary one', async () => {
    expect(renewed(await device('Kiosk 8', { validity: 90 * DAY }), 91 * DAY).state).toBe('requested');
    expect(renewed(await device('Kiosk 9', { validity: 90 * DAY }), 90 * DAY).state).toBe('approved');
    expect(renewed(await device('Kiosk 10', { validity: 7 * DAY, temporary: true })).state).toBe('requested');
  });

  test('nothing once the old certificate was revoked', async () => {
    const old = await device('Kiosk 11');
    const { id } = renewed(old);
    office.revoke(old.serial, { who: 'operator', reason: 'keyCompromise', why: 'stolen' });
    await expect(office.issue(id, { who: 'EST' })).rejects.toThrow('with which the renewal was asked for, was revoked since');
  });
});

describe('the authorities', () => {
  test('the issuing CA may issue leaves for TLS and nothing else, the root issuing CAs', () => {
    const issuing = parseCertificate(new X509Certificate(office.issuers()[0]?.certificate ?? '').raw);
    expect(issuing).toMatchObject({ basicConstraints: { ca: true, pathLen: 0 }, extendedKeyUsage: ['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.9'] });
    expect(parseCertificate(new X509Certificate(office.root).raw)).toMatchObject({ basicConstraints: { ca: true, pathLen: 1 } });
  });

  test('the issuing CA is renewed by the root: the new one issues, the old one signs its own CRL', async () => {
    const old = await delivered();
    const request = await office.requestIssuer({ who: 'operator' });
    const root = openRoot({ directory: ca.rootDirectory, passphrase: ROOT_PASSPHRASE });
    const certificate = await root.signIssuing(request, {}, { who: 'founder' });
    expect(await codeOf(() => office.installIssuer(office.issuers()[0]?.certificate ?? '', { who: 'operator' }))).toBe('invalid');
    expect(await codeOf(() => office.installIssuer(ca.of('Dr Wang').entry.certificate, { who: 'operator' }))).toBe('invalid');
    expect(office.installIssuer(certificate, { who: 'operator' })).toMatchObject({ generation: 2, state: 'current' });
    const fresh = await delivered();
    expect([office.entry(old.id).generation, office.entry(fresh.id).generation]).toEqual([1, 2]);
    office.revoke(old.id, { who: 'operator', reason: 'keyCompromise', why: 'lost' });
    expect(office.status(old.serial ?? '', 1)).toMatchObject({ kind: 'revoked' });
    expect(office.status(old.serial ?? '')).toEqual({ kind: 'unknown' });
    const [first, second] = [await office.crl(1), await office.crl()];
    expect(first.der.includes(Buffer.from(old.serial ?? '', 'hex'))).toBe(true);
    expect(second.der.includes(Buffer.from(old.serial ?? '', 'hex'))).toBe(false);
    expect((await office.crl(1)).number).toBe(first.number + 1);
    expect(office.faults()).toEqual([]);
  });

  test('without the passphrase everything can be done that the CA does not sign', async () => {
    const { id } = office.submit(order());
    const without = ca.open(() => now, null);
    try {
      ca.approve(without, id);
      expect(await codeOf(() => without.issue(id, { who: 'operator' }))).toBe('locked');
      expect(await codeOf(() => without.crl())).toBe('locked');
      expect(without.request(id).state).toBe('approved');
    } finally {
      without.close();
    }
  });

  test('a rehearsal says what would come of a step, and nothing has happened', () => {
    const { id } = office.submit(order());
    const before = office.events().length;
    expect(office.rehearse(() => ca.approve(office, id)).state).toBe('approved');
    expect(office.request(id).state).toBe('requested');
    expect(office.events()).toHaveLength(before);
  });
});
