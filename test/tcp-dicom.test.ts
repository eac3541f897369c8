import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dcmtk, dicomFile, hasDcmtk, startStoreProvider, type DicomRun, type StoreProvider } from './support/dicom.ts';
import type { TestGateway } from './support/gateway.ts';
import { testPki, writeLeaf, writePki, type PkiFiles, type TestPki } from './support/pki.ts';
import { connectionRecords, issueDevice, startStreamGateway } from './support/stream-gateway.ts';

if (!hasDcmtk) console.log('skipped: dcmtk is not installed, so DICOM over TLS is not tried with real peers');

let pki: TestPki;
let files: PkiFiles;
let stored: string;
let provider: StoreProvider;
let gateway: TestGateway;

describe.skipIf(!hasDcmtk)('dcmtk through the gateway', () => {
  beforeAll(async () => {
    pki = await testPki();
    files = await writePki(pki);
    await Promise.all((await Promise.all(['ct1', 'ct2', 'stranger'].map(async (name) => writeLeaf(files.path(name), await issueDevice(pki, `${name}.hospital.test`))))).flat());
    stored = files.path('stored');
    await mkdir(stored);
    provider = await startStoreProvider(files.path('backend.key'), files.path('backend.pem'), files.path('backend-ca.pem'), stored);
    gateway = await startStreamGateway(pki, provider.port, {
      listener: 'senders: { dicom: [ { id: ct1.hospital.test, calling: CT1, called: PACS }, { id: ct2.hospital.test, calling: "CT2*", called: PACS } ] }',
    });
  }, 60_000);

  afterAll(async () => {
    await gateway.stop();
    provider.stop();
    await rm(files.directory, { recursive: true, force: true });
  });

  const run = (program: string, who: string, calling: string, more: readonly string[] = [], called = 'PACS'): Promise<DicomRun> => dcmtk(program, [
    '-v', '+tls', files.path(`${who}.key`), files.path(`${who}.pem`), '+cf', files.path('root.pem'), '-aet', calling, '-aec', called, '127.0.0.1', String(gateway.port), ...more,
  ]);

  it('echoes (C-ECHO), and the record names the AE titles', async () => {
    const echo = await run('echoscu', 'ct1', 'CT1');
    expect(echo, echo.output).toMatchObject({ code: 0, output: expect.stringContaining('Received Echo Response (Success)') });
    await expect.poll(async () => (await connectionRecords(gateway)).map((record) => [record['result'], record['id'], record['calling_ae_title'], record['called_ae_title']])).toEqual([
      ['permitted', 'ct1.hospital.test', 'CT1', 'PACS'], ['done', 'ct1.hospital.test', 'CT1', 'PACS'],
    ]);
  });

  it('stores images (C-STORE) of several devices at once, each octet as it was', async () => {
    const images = [['ct1', 'CT1', '1.2.826.1'], ['ct1', 'CT1', '1.2.826.2'], ['ct2', 'CT2A', '1.2.826.3'], ['ct2', 'CT2B', '1.2.826.4']].map(([who = '', title = '', instance = ''], index) => ({ who, title, instance, ...dicomFile(instance, randomBytes(2_000_000 * (index + 1))) }));
    await Promise.all(images.map(({ instance, file }) => writeFile(files.path(`${instance}.dcm`), file)));
    const runs = await Promise.all(images.map(({ who, title, instance }) => run('storescu', who, title, [files.path(`${instance}.dcm`)])));
    for (const store of runs) expect(store, store.output).toMatchObject({ code: 0, output: expect.stringContaining('Received Store Response (Success)') });
    const kept = (await Promise.all((await readdir(stored)).map((name) => readFile(join(stored, name)))));
    for (const { dataset, instance } of images) expect(kept.some((file) => file.subarray(-dataset.length).equals(dataset)), instance).toBe(true);
  });

  it.each([
    ['a calling AE title of another device', 'ct1', 'CT2', 'PACS', /Calling AE Title Not Recognized/],
    ['another called AE title', 'ct1', 'CT1', 'ARCHIVE', /Called AE Title Not Recognized/],
  ])('is told why an association with %s is rejected', async (_what, who, calling, called, words) => {
    const echo = await run('echoscu', who, calling, [], called);
    expect(echo.code).not.toBe(0);
    expect(echo.output).toMatch(words);
    await expect.poll(async () => (await connectionRecords(gateway)).at(-1)).toMatchObject({ result: 'denied', reason: 'sender_denied', calling_ae_title: calling, called_ae_title: called });
  });

  it('is not served for a device that no entry is for, and without a certificate', async () => {
    const echo = await run('echoscu', 'stranger', 'CT1');
    expect(echo.code).not.toBe(0);
    const anonymous = await dcmtk('echoscu', ['-v', '+tla', '+cf', files.path('root.pem'), '-aet', 'CT1', '-aec', 'PACS', '127.0.0.1', String(gateway.port)]);
    expect(anonymous.code).not.toBe(0);
    await expect.poll(async () => (await connectionRecords(gateway)).slice(-2).map((record) => record['reason'])).toEqual(['sender_denied', 'no_certificate']);
  });

  it('is told to come again while the archive is away', async () => {
    const away = await startStreamGateway(pki, 1, { listener: 'senders: { dicom: [ { id: "*", calling: CT1 } ] }' });
    const echo = await dcmtk('echoscu', ['-v', '+tls', files.path('ct1.key'), files.path('ct1.pem'), '+cf', files.path('root.pem'), '-aet', 'CT1', '-aec', 'PACS', '127.0.0.1', String(away.port)]);
    expect(echo.output).toMatch(/Rejected Transient.*\n?.*Temporary Congestion/s);
    await away.stop();
  });
});
