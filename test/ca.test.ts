import { execFile, execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  answerOcsp, createAuthority, issueCertificate, issueCrl, loadIssued, ocspNoCheck, rsaKey, testPki, toPkcs12, unknownExtension, writePki,
} from './support/pki.ts';
import type { Issued, KeyType, TestPki } from './support/pki.ts';

const day = 86_400_000;
let pki: TestPki;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wardgate-ca-'));
  pki = await testPki({ ocsp: 'http://127.0.0.1:1/', crl: 'http://127.0.0.1:1/issuing.crl' });
  await writePki(pki, folder);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string): string => join(folder, name);

function openssl(...args: readonly string[]): string {
  return execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 64 * 1024 * 1024 });
}

const openSslAsync = promisify(execFile);

function write(name: string, content: string | Uint8Array): string {
  writeFileSync(file(name), content, { mode: 0o600 });
  return file(name);
}

function text(issued: Issued): string {
  return openssl('x509', '-in', write('text.pem', issued.certificate), '-noout', '-text', '-nameopt', 'RFC2253');
}

test('OpenSSL builds and accepts the path of an issued client certificate, strictly', () => {
  expect(openssl('verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', file('root.pem'), '-untrusted', file('issuing.pem'), file('doctor.pem'))).toContain('OK');
});

test('OpenSSL accepts the EC and the RSA server certificate for the name they were issued for', () => {
  for (const name of ['server-ec.pem', 'server-rsa.pem']) {
    const result = openssl('verify', '-x509_strict', '-purpose', 'sslserver', '-verify_hostname', 'localhost', '-CAfile', file('root.pem'), '-untrusted', file('issuing.pem'), file(name));
    expect(result).toContain('OK');
  }
});

test.each<[KeyType, boolean]>([['ec', false], ['ec384', false], ['ec521', false], ['ed25519', false], ['ed448', false], ['rsa', false], ['rsa', true]])(
  'OpenSSL verifies what a %s authority signs (pss: %s)',
  async (keyType, pss) => {
    const key = keyType === 'rsa' ? { key: await rsaKey() } : {};
    const root = await createAuthority({ name: `Root ${keyType}`, keyType, pss, ...key });
    const leaf = await issueCertificate(root, { subject: [['CN', 'leaf']], pss });
    expect(openssl('verify', '-x509_strict', '-CAfile', write('a.pem', root.certificate), write('l.pem', leaf.certificate))).toContain('OK');
  },
);

test('a subject reads in RFC 4514 order as it was given, string types and multi-valued RDNs included', async () => {
  const leaf = await issueCertificate(pki.issuing, {
    subject: [['CN', 'Dr Wang, 王'], [['OU', 'Doctors'], ['2.5.4.5', '42']], ['O', 'Hospital', 'bmp'], ['DC', 'test'], ['C', 'CN']],
  });
  const subject = openssl('x509', '-in', write('s.pem', leaf.certificate), '-noout', '-subject', '-nameopt', 'RFC2253,-esc_msb,utf8');
  expect(subject.trim()).toBe('subject=CN=Dr Wang\\, 王,OU=Doctors+serialNumber=42,O=Hospital,DC=test,C=CN');
});

test('every kind of alternative name is read by OpenSSL', async () => {
  const leaf = await issueCertificate(pki.issuing, {
    subject: [['CN', 'x']],
    san: {
      dns: ['a.test', 'b.test'], email: 'a@b.test', uri: 'urn:patient:1', ip: ['10.1.2.3', '2001:db8::7'], upn: 'wang@hospital.test', rid: '1.2.3.4',
      directory: [[['CN', 'inner']]], hardwareModuleName: { type: '1.3.6.1.4.1.99999.1', serial: '0a0b0c' }, permanentIdentifier: { value: 'pump-7', assigner: '1.2.3' },
    },
  });
  const printed = text(leaf);
  for (const part of ['DNS:a.test', 'DNS:b.test', 'email:a@b.test', 'URI:urn:patient:1', 'IP Address:10.1.2.3', 'IP Address:2001:DB8:0:0:0:0:0:7', 'wang@hospital.test', 'Registered ID:1.2.3.4', 'DirName:/CN=inner']) {
    expect(printed).toContain(part);
  }
  const tree = openssl('asn1parse', '-in', file('text.pem'), '-strparse', sanOffset());
  expect(tree).toContain(':1.3.6.1.5.5.7.8.4');
  expect(tree).toContain('0A0B0C');
  expect(tree).toContain('pump-7');
});

function sanOffset(): string {
  const lines = openssl('asn1parse', '-in', file('text.pem')).split('\n');
  const value = lines[lines.findIndex((line) => line.includes('Subject Alternative Name')) + 1] ?? '';
  return value.trim().split(':', 1)[0] ?? '';
}

test('policies, key usages, purposes, responder and distribution point are where OpenSSL looks for them', async () => {
  const leaf = await issueCertificate(pki.issuing, {
    subject: [['CN', 'x']], policies: ['1.3.6.1.4.1.99999.1'], eku: ['clientAuth', '1.3.6.1.4.1.99999.2'], keyUsage: ['digitalSignature', 'decipherOnly'],
    ocsp: 'http://ocsp.test/', caIssuers: 'http://ca.test/ca.cer', crlDistributionPoints: ['http://crl.test/a.crl'], extensions: [unknownExtension(true)],
  });
  const printed = text(leaf);
  for (const part of ['Policy: 1.3.6.1.4.1.99999.1', 'Digital Signature, Decipher Only', 'TLS Web Client Authentication, 1.3.6.1.4.1.99999.2', 'OCSP - URI:http://ocsp.test/', 'CA Issuers - URI:http://ca.test/ca.cer', 'URI:http://crl.test/a.crl', '1.3.6.1.4.1.99999.7.7: critical']) {
    expect(printed).toContain(part);
  }
});

test('name constraints, path length and policy constraints bind in OpenSSL too', async () => {
  const limited = await createAuthority({ name: 'Limited', issuer: pki.root, pathLen: 0, nameConstraints: { permitted: { dns: 'hospital.test' }, excluded: { ip: '10.0.0.0/255.0.0.0' } } });
  const good = await issueCertificate(limited, { subject: [['CN', 'x']], san: { dns: 'a.hospital.test' } });
  const bad = await issueCertificate(limited, { subject: [['CN', 'x']], san: { dns: 'a.elsewhere.test' } });
  const below = await createAuthority({ name: 'Below', issuer: limited });
  const deep = await issueCertificate(below, { subject: [['CN', 'x']], san: { dns: 'a.hospital.test' } });
  const verify = (leaf: Issued) => openssl('verify', '-CAfile', file('root.pem'), '-untrusted', write('u.pem', limited.certificate + below.certificate), write('n.pem', leaf.certificate));
  expect(verify(good)).toContain('OK');
  expect(() => verify(bad)).toThrow(/permitted subtree violation/);
  expect(() => verify(deep)).toThrow(/path length constraint exceeded/);
});

test('hostile options do what they say: omitted extensions, version 1, a broken signature, an edited body', async () => {
  const bare = await issueCertificate(pki.issuing, { subject: [], omit: ['basicConstraints', 'keyUsage', 'extendedKeyUsage', 'subjectKeyIdentifier', 'authorityKeyIdentifier'] });
  expect(text(bare)).not.toContain('X509v3');
  const old = await issueCertificate(pki.issuing, { subject: [['CN', 'x']], version: 1 });
  expect(text(old)).toContain('Version: 1 (0x0)');
  const broken = await issueCertificate(pki.issuing, { subject: [['CN', 'x']], breakSignature: true });
  expect(new X509Certificate(broken.der).verify(new X509Certificate(pki.issuing.der).publicKey)).toBe(false);
  const edited = await issueCertificate(pki.issuing, { subject: [['CN', 'before']], editTbs: (tbs) => Buffer.from(tbs.toString('latin1').replace('before', 'after!'), 'latin1') });
  expect(new X509Certificate(edited.der).subject).toContain('after!');
  expect(new X509Certificate(edited.der).verify(new X509Certificate(pki.issuing.der).publicKey)).toBe(true);
});

test('a certificate and its key read back from PEM are the same issued certificate', () => {
  const { certificate, ...read } = loadIssued(pki.doctor.chain, pki.doctor.key);
  const { certificate: _, privateKey, ...made } = pki.doctor;
  expect(read).toMatchObject(made);
  expect(read.privateKey.equals(privateKey)).toBe(true);
  expect(certificate.trim()).toBe(pki.doctor.certificate.trim());
  expect(() => loadIssued(pki.doctor.chain, pki.patient.key)).toThrow(/private key is another/);
});

test.each([
  ['RSA-1024', 'weak_key', { keyType: 'rsa1024' as const }],
  ['SHA-1', 'weak_hash', { signatureHash: 'sha1' as const }],
  ['a leaf of 5,000 days', 'validity_too_long', { notBefore: 0, notAfter: 5000 * day }],
  ['a leaf of two years and a week', 'validity_too_long', { notBefore: 0, notAfter: 738 * day }],
  ['an end before the beginning', 'validity_empty', { notBefore: day, notAfter: 0 }],
])('refuses %s', async (_, code, options) => {
  await expect(issueCertificate(pki.issuing, { subject: [['CN', 'x']], ...options })).rejects.toMatchObject({ name: 'IssueRefused', code });
});

test('refuses an authority of more than ten years', async () => {
  await expect(createAuthority({ name: 'x', notBefore: 0, notAfter: 3700 * day })).rejects.toMatchObject({ code: 'validity_too_long' });
});

test('OpenSSL verifies a CRL and finds the revoked certificate in it', async () => {
  const revoked = [{ serial: pki.revokedDoctor.serialHex, reason: 'keyCompromise' as const, date: Date.UTC(2025, 0, 2), invalidityDate: Date.UTC(2025, 0, 1) }];
  const crl = await issueCrl(pki.issuing, { revoked, number: 'abcdef', issuingDistributionPoint: { onlyContainsUserCerts: true }, freshestCrl: ['http://crl.test/delta'] });
  const printed = openssl('crl', '-inform', 'DER', '-in', write('c.crl', crl), '-noout', '-text', '-CAfile', file('issuing.pem'));
  for (const part of [pki.revokedDoctor.serialHex.toUpperCase(), 'Key Compromise', 'Jan  2 00:00:00 2025', 'Jan  1 00:00:00 2025', 'Only User Certificates', 'http://crl.test/delta']) {
    expect(printed).toContain(part);
  }
  expect(printed).toMatch(/CRL Number:\s+(11259375|0xABCDEF)/);
  const pem = write('both.pem', openssl('crl', '-inform', 'DER', '-in', file('c.crl')) + pki.root.certificate + pki.issuing.certificate);
  const verify = (name: string) => openssl('verify', '-crl_check', '-extended_crl', '-CAfile', pem, file(name));
  expect(verify('doctor.pem')).toContain('OK');
  expect(() => verify('revoked.pem')).toThrow(/certificate revoked/);
});

test('a delta CRL, an indirect one and an empty one read as such', async () => {
  const delta = await issueCrl(pki.issuing, { number: 8, deltaBase: 7, revoked: [{ serial: '01', reason: 'removeFromCRL' }] });
  const indirect = await issueCrl(pki.root, { issuingDistributionPoint: { indirectCRL: true }, revoked: [{ serial: '02', certificateIssuer: pki.issuing.subject }, { serial: '03' }] });
  const empty = await issueCrl(pki.issuing);
  const read = (crl: Buffer) => openssl('crl', '-inform', 'DER', '-in', write('k.crl', crl), '-noout', '-text');
  expect(read(delta)).toMatch(/Delta CRL Indicator: critical\s+7\b[^]*Remove From CRL/);
  expect(read(indirect)).toMatch(/Indirect CRL[^]*Certificate Issuer: critical\s+DirName:\/O=Hospital\/CN=Hospital Issuing CA/);
  expect(read(empty)).toContain('No Revoked Certificates');
});

test('a CRL of 50,000 entries is made quickly and OpenSSL verifies it', async () => {
  const revoked = Array.from({ length: 50_000 }, (_, index) => ({ serial: (0x100000n + BigInt(index)).toString(16), date: 0, reason: 'superseded' as const }));
  const started = performance.now();
  const crl = await issueCrl(pki.issuing, { revoked });
  expect(performance.now() - started).toBeLessThan(5000);
  const printed = openssl('crl', '-inform', 'DER', '-in', write('big.crl', crl), '-noout', '-text', '-CAfile', file('issuing.pem'));
  expect(printed.match(/Serial Number/g)).toHaveLength(50_000);
});

/** The answers of a real `openssl ocsp` client to a real responder on port 0. */
async function askOpenSsl(answer: (request: Buffer) => Promise<Buffer>, ...certificates: readonly string[]): Promise<string> {
  const server = createServer((request, response) => {
    request.toArray().then((chunks) => answer(Buffer.concat(chunks as Buffer[]))).then((der) => response.setHeader('content-type', 'application/ocsp-response').end(der), () => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  try {
    const { stdout, stderr } = await openSslAsync('openssl', ['ocsp', '-url', `http://127.0.0.1:${port}/`, '-issuer', file('issuing.pem'), ...certificates.flatMap((name) => ['-cert', file(name)]), '-CAfile', file('root.pem'), '-verify_other', file('issuing.pem')]);
    return stdout + stderr;
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

const statusOf = (serial: string) => (serial === pki.revokedDoctor.serialHex ? { kind: 'revoked', reason: 'superseded' } as const : { kind: serial === pki.doctor.serialHex ? 'good' : 'unknown' } as const);

test('an OpenSSL client believes an answer signed by the issuer, nonce included', async () => {
  const printed = await askOpenSsl((request) => answerOcsp(request, { authority: pki.issuing, statusOf }), 'doctor.pem', 'revoked.pem', 'patient.pem');
  expect(printed).toContain('Response verify OK');
  expect(printed).not.toContain('nonce');
  expect(printed).toMatch(/doctor\.pem: good[^]*revoked\.pem: revoked[^]*superseded[^]*patient\.pem: unknown/);
});

test('an OpenSSL client believes an answer signed by a delegate, by name as well', async () => {
  const delegate = await issueCertificate(pki.issuing, { subject: [['CN', 'Delegate']], eku: ['OCSPSigning'], extensions: [ocspNoCheck()] });
  const printed = await askOpenSsl((request) => answerOcsp(request, { authority: pki.issuing, delegate, responderId: 'name', statusOf }), 'doctor.pem');
  expect(printed).toMatch(/Response verify OK[^]*doctor\.pem: good|doctor\.pem: good[^]*Response verify OK/);
});

test('answers of the wrong kind are seen as such: broken signature, lost nonce, failures, another issuer', async () => {
  const ask = (options: Partial<Parameters<typeof answerOcsp>[1]>) =>
    askOpenSsl((request) => answerOcsp(request, { authority: pki.issuing, statusOf, ...options }), 'doctor.pem').catch((error: { stdout: string; stderr: string }) => error.stdout + error.stderr);
  expect(await ask({ breakSignature: true })).toContain('Response Verify Failure');
  expect(await ask({ nonce: 'omit' })).toContain('no nonce in response');
  expect(await ask({ nonce: Buffer.alloc(16, 7) })).toContain('Nonce Verify error');
  expect(await ask({ failure: 'tryLater' })).toContain('trylater');
  expect(await ask({ authority: pki.root })).toContain('unauthorized');
  expect((await answerOcsp(Buffer.from('junk'), { authority: pki.issuing, statusOf })).toString('hex')).toBe('30030a0101');
});

test('OpenSSL reads a PKCS#12 file: AES-256 under PBES2, SHA-256 MAC, key, certificate and authorities', async () => {
  const p12 = write('doctor.p12', await toPkcs12(pki.doctor, { password: 'geheim-密码', name: 'Dr Wang', certificates: [pki.issuing, pki.root] }));
  const { stdout, stderr } = await openSslAsync('openssl', ['pkcs12', '-info', '-in', p12, '-passin', 'pass:geheim-密码', '-nodes']);
  expect(stderr).toContain('MAC: sha256, Iteration 100000');
  expect(stderr.match(/PBES2, PBKDF2, AES-256-CBC, Iteration 100000, PRF hmacWithSHA256/g)).toHaveLength(2);
  expect(stdout.match(/BEGIN CERTIFICATE/g)).toHaveLength(3);
  const keyText = /-----BEGIN PRIVATE KEY-----[^]*?-----END PRIVATE KEY-----/.exec(stdout)?.[0] ?? '';
  expect(loadIssued(pki.doctor.chain, keyText).sha256).toBe(pki.doctor.sha256);
  await expect(openSslAsync('openssl', ['pkcs12', '-in', p12, '-passin', 'pass:wrong', '-nodes'])).rejects.toThrow(/Mac verify error/);
});

test('a PKCS#12 file of an RSA certificate reads too', async () => {
  const p12 = write('rsa.p12', await toPkcs12(pki.serverRsa, { password: 'x', name: 'server', iterations: 10_000 }));
  expect(openssl('pkcs12', '-in', p12, '-passin', 'pass:x', '-nodes')).toContain('BEGIN PRIVATE KEY');
});
