import { writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { createAuthority, issueCertificate, issueCrl, testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

it('a CRL whose issuer\'s certificate clients bring is told of as unusable until one has brought it', async () => {
  const ward = await createAuthority({ name: [['CN', 'Ward CA'], ['O', 'Hospital']], issuer: pki.root });
  const client = await issueCertificate(ward, { subject: [['CN', 'Patient 2']], san: { uri: 'urn:patient:2' } });
  const gateway = await startGateway(pki, backend.port, { revocation: '{ check: leaf, sources: [crl], crl: { files: [issuing.crl, root.crl] } }' });
  await writeFile(gateway.path('root.crl'), await issueCrl(ward, {}));
  const crls = async (): Promise<readonly unknown[]> => {
    const { report, problems, sources } = (await gateway.gateway.status()).crls;
    return [report.every(({ verified }) => verified), problems.length, sources.filter(({ last_error: error }) => error !== undefined).length];
  };
  await expect.poll(crls).toEqual([false, 1, 1]);
  expect((await ask(pki, gateway.port, '/echo/x', { client })).status).toBe(200);
  expect(await crls()).toEqual([true, 0, 0]);
  await gateway.stop();
});

describe('a new CRL file', () => {
  const next = async (gateway: TestGateway, number: number): Promise<void> =>
    writeFile(gateway.path('issuing.crl'), await issueCrl(pki.issuing, { number, revoked: [{ serial: pki.patient.serialHex }] }));
  const status = async (gateway: TestGateway): Promise<number> => (await ask(pki, gateway.port, '/echo/x', { client: pki.patient })).status;

  it('counts although the configuration is half edited', async () => {
    const gateway = await startGateway(pki, backend.port);
    await gateway.configure('listeners: [');
    await next(gateway, 3);
    await expect.poll(() => status(gateway)).toBe(403);
    await gateway.stop();
  });

  it('counts although another cannot be read, and that one\'s revocations stand', async () => {
    const gateway = await startGateway(pki, backend.port);
    await writeFile(gateway.path('root.crl'), 'garbage');
    await next(gateway, 3);
    await expect.poll(() => status(gateway)).toBe(403);
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    const stranger = await createAuthority({ name: [['CN', 'Hospital Issuing CA'], ['O', 'Hospital']] });
    await writeFile(gateway.path('issuing.crl'), await issueCrl(stranger, { number: 9 }));
    await expect.poll(async () => (await gateway.gateway.status()).crls.problems.length).toBeGreaterThan(1);
    expect(await status(gateway)).toBe(403);
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    await gateway.stop();
  });
});
