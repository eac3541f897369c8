import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCertificate } from '../src/pki/certificate.ts';
import { readAll, readSingle, TAG } from '../src/pki/der.ts';
import { twinOf } from '../src/pki/twin.ts';
import { createDenyTable } from '../src/store/deny-table.ts';
import { createAdmissionOffice } from '../src/tls/admission.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { createAuthority, issueCertificate, testPki, unknownExtension, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  gateway = await startGateway(pki, backend.port);
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
});

async function lastRecord(): Promise<Record<string, unknown>> {
  const requests = (await gateway.records()).filter((record) => record['event'] === 'request');
  const times = requests.map((record) => String(record['time']));
  return requests[times.lastIndexOf(times.toSorted().at(-1) as string)] ?? {};
}

describe('a certificate that is denied by its fingerprint', () => {
  const pem = (der: Uint8Array): string => `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64').match(/.{1,64}/g)?.join('\n')}\n-----END CERTIFICATE-----\n`;

  it('does not come back in the other form that its signature has (r, n - s), which anybody can write', async () => {
    const stolen = await pki.issueClient({ subject: [['CN', 'Dr Twin'], ['OU', 'Doctors']] });
    const twin = twinOf(parseCertificate(stolen.der)) as Buffer;
    const shown = { ...stolen, chain: pem(twin) + pki.issuing.certificate };
    expect(twin.equals(stolen.der)).toBe(false);
    expect((await ask(pki, gateway.port, '/records', { client: shown })).status).toBe(200);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: stolen.sha256, reason: 'stolen', who: 'test' });
    expect((await ask(pki, gateway.port, '/records', { client: stolen })).status).toBe(403);
    expect((await ask(pki, gateway.port, '/records', { client: shown })).status).toBe(403);
    expect((await lastRecord())['reason']).toBe('revoked_denylist');
  });

  it.each(['P-256', 'P-384', 'P-521'])('has one other form when its issuer signs on %s, and no third', async (namedCurve) => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve });
    const spki = publicKey.export({ type: 'spki', format: 'der' });
    const { tbs, signatureAlgorithm } = parseCertificate(pki.doctor.der);
    const made = (signature: Uint8Array) => ({ tbs, signatureAlgorithm, signature });
    const first = made(sign('sha256', tbs, privateKey));
    const second = made(readSecond(twinOf(first) as Buffer));
    expect(verify('sha256', tbs, createPublicKey({ key: spki, format: 'der', type: 'spki' }), second.signature)).toBe(true);
    expect(readSecond(twinOf(second) as Buffer)).toEqual(Buffer.from(first.signature));
  });

  /** The signature of a certificate: what its last element holds. */
  function readSecond(der: Buffer): Buffer {
    const certificate = readAll(readSingle(der, TAG.sequence, 'certificate').content, 'certificate');
    return Buffer.from(certificate.at(-1)?.content.subarray(1) as Uint8Array);
  }

  it('has no other form when its issuer signs by RSA', async () => {
    const rsa = await createAuthority({ name: [['CN', 'RSA CA']], key: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey });
    expect(twinOf(parseCertificate((await issueCertificate(rsa, { subject: [['CN', 'x']] })).der))).toBeUndefined();
  });
});

describe('admission', () => {
  it('lets a doctor read the records through both TLS legs', async () => {
    const reply = await ask(pki, gateway.port, '/records', { client: pki.doctor });
    expect(reply.status).toBe(200);
    expect(reply.body.toString()).toBe('hello');
    const seen = backend.seen.at(-1);
    expect(seen?.headers['x-client-role']).toBe('doctor');
    expect(seen?.headers['x-client-id']).toBe('Dr Wang');
    expect(seen?.headers['client-cert']).toBe(`:${pki.doctor.der.toString('base64')}:`);
    expect(seen?.headers['x-request-id']).toBe(reply.headers['x-request-id']);
  });

  it('refuses a patient on the doctors\' route with 403 and the reason on record', async () => {
    const before = backend.seen.length;
    const reply = await ask(pki, gateway.port, '/records', { client: pki.patient });
    expect(reply.status).toBe(403);
    expect(reply.json()).toMatchObject({ status: 403, code: 'role_denied' });
    expect(backend.seen.length).toBe(before);
    expect(await lastRecord()).toMatchObject({
      result: 'denied', reason: 'role_denied', role: 'patient', id: 'urn:patient:1001', route: 'records',
      serial: pki.patient.serialHex, request_id: reply.json()['request_id'],
    });
  });

  it('refuses a certificate that maps to no role with 403, on public routes too', async () => {
    for (const path of ['/records', '/public/x']) {
      const reply = await ask(pki, gateway.port, path, { client: pki.unmapped });
      expect(reply.json()).toMatchObject({ status: 403, code: 'role_denied' });
      expect(await lastRecord()).toMatchObject({ reason: 'no_role' });
    }
  });

  it('asks for a certificate where the route needs one, and serves public routes without', async () => {
    const refused = await ask(pki, gateway.port, '/records');
    expect(refused.json()).toMatchObject({ status: 401, code: 'certificate_required' });
    expect(await lastRecord()).toMatchObject({ reason: 'no_certificate' });
    expect((await ask(pki, gateway.port, '/public/x')).status).toBe(200);
  });

  it('refuses a revoked certificate everywhere', async () => {
    for (const path of ['/records', '/public/x', '/nowhere']) {
      const reply = await ask(pki, gateway.port, path, { client: pki.revokedDoctor });
      expect(reply.json()).toMatchObject({ status: 403, code: 'certificate_rejected' });
      expect(await lastRecord()).toMatchObject({ reason: 'revoked_crl', serial: pki.revokedDoctor.serialHex });
    }
  });

  it('answers 404 where no route matches', async () => {
    const reply = await ask(pki, gateway.port, '/nowhere', { client: pki.doctor });
    expect(reply.json()).toMatchObject({ status: 404, code: 'not_found' });
  });

  it('answers with HSTS exactly once, on errors too', async () => {
    for (const client of [pki.doctor, undefined]) {
      const reply = await ask(pki, gateway.port, '/records', client === undefined ? {} : { client });
      const values = reply.rawHeaders.filter((_, index, all) => all[index - 1]?.toLowerCase() === 'strict-transport-security');
      expect(values).toEqual(['max-age=31536000; includeSubDomains; preload']);
    }
  });

  it.each([
    ['a stranger\'s CA', 'untrusted_issuer', async () => {
      const stranger = await createAuthority({ name: [['CN', 'Hospital Root'], ['O', 'Hospital']] });
      return issueCertificate(stranger, { subject: [['CN', 'Dr Wang'], ['OU', 'Doctors']] });
    }],
    ['an expired certificate', 'expired', () => pki.issueClient({ subject: [['CN', 'Dr Late'], ['OU', 'Doctors']], notBefore: new Date(Date.now() - 9e8), notAfter: new Date(Date.now() - 864e5) })],
    ['a certificate of tomorrow', 'not_yet_valid', () => pki.issueClient({ subject: [['CN', 'Dr Early'], ['OU', 'Doctors']], notBefore: new Date(Date.now() + 864e5), notAfter: new Date(Date.now() + 9e8) })],
    ['a server\'s certificate (TRAPS 14)', 'eku_invalid', () => pki.issueClient({ subject: [['CN', 'Dr Server'], ['OU', 'Doctors']], eku: ['serverAuth'] })],
    ['an unknown critical extension (TRAPS 14)', 'constraint_violated', () => pki.issueClient({ subject: [['CN', 'Dr Odd'], ['OU', 'Doctors']], extensions: [unknownExtension(true)] })],
    ['a path longer than its CA allows (TRAPS 14)', 'constraint_violated', async () => {
      const sub = await createAuthority({ name: [['CN', 'Hospital Sub CA']], issuer: pki.issuing });
      return issueCertificate(sub, { subject: [['CN', 'Dr Deep'], ['OU', 'Doctors']] });
    }],
  ] as const)('refuses %s with its reason', async (_what, reason, make) => {
    const client = await make();
    const reply = await ask(pki, gateway.port, '/records', { client });
    expect(reply.json()).toMatchObject({ status: 403, code: 'certificate_rejected' });
    expect(Object.keys(reply.json()).toSorted()).toEqual(['code', 'request_id', 'status', 'title', 'type']);
    expect(await lastRecord()).toMatchObject({ result: 'denied', reason });
  });

  it('shows an ECDSA client the EC certificate and an RSA-only client the RSA one', async () => {
    const { openTls } = await import('./support/gateway.ts');
    const ec = await openTls(pki, gateway.port, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384' });
    expect(ec.getPeerX509Certificate()?.publicKey.asymmetricKeyType).toBe('ec');
    ec.destroy();
    const rsa = await openTls(pki, gateway.port, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES256-GCM-SHA384' });
    expect(rsa.getPeerX509Certificate()?.publicKey.asymmetricKeyType).toBe('rsa');
    rsa.destroy();
  });

  it('is ours where OpenSSL judges otherwise, which is counted and logged with the certificate\'s hash', async () => {
    const warnings: { fields: object; message: string }[] = [];
    const log = { info: () => undefined, error: () => undefined, warn: (fields: object, message: string) => void warnings.push({ fields, message }) };
    const other = await startGateway(pki, backend.port, { log, top: 'metrics: { address: 127.0.0.1:0 }' });
    // Within the allowed skew for us, not yet valid for OpenSSL.
    const early = await pki.issueClient({ subject: [['CN', 'Dr Soon'], ['OU', 'Doctors']], notBefore: new Date(Date.now() + 30_000) });
    expect((await ask(pki, other.port, '/records', { client: early })).status).toBe(200);
    expect((await ask(pki, other.port, '/records', { client: pki.revokedDoctor })).status).toBe(403);
    await expect.poll(() => warnings.filter(({ message }) => message.includes('OpenSSL'))).toMatchObject([{ fields: { certificate: early.sha256, ours: 'admitted', openssl: 'CERT_NOT_YET_VALID' } }]);
    const text = await (await fetch(`http://127.0.0.1:${other.gateway.metrics?.port}/metrics`)).text();
    expect(text).toContain('wardgate_witness_disagreements_total{verdict="admitted"} 1');
    await other.stop();
  });

  it('never lets in what OpenSSL found a wrong signature on, whatever we find', () => {
    const office = createAdmissionOffice({
      config: { revocation: { check: 'off', sources: ['crl'], skew: 0 }, roles: [], routes: [], webhooks: {}, trust_domains: {} } as never, authorities: {},
      realms: [{ name: '', anchors: [pki.root.der], intermediates: [pki.issuing.der] }],
      deny: createDenyTable(), revocation: {} as never, now: Date.now,
    });
    const peer = { leaf: pki.doctor.der, intermediates: () => [] };
    expect(office.admit(peer, '')).toMatchObject({ kind: 'known' });
    expect(office.admit({ ...peer, fault: 'CERT_SIGNATURE_FAILURE' }, '')).toMatchObject({ kind: 'refused', reason: 'signature_invalid' });
    expect(office.admit(peer, '')).toMatchObject({ kind: 'known' });
  });
});
