import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parseCertificate } from '../src/pki/certificate.ts';
import { dcmtk, dicomFile, hasDcmtk, startStoreProvider } from './support/dicom.ts';
import { configuration, startGateway, type TestGateway } from './support/gateway.ts';
import { issueCrl, testPki, writeLeaf, writePki, type Issued, type TestPki } from './support/pki.ts';
import { associationRequest, frame, pdu } from './support/senders.ts';
import { connectionRecords, gone, issueDevice, openStream, startStreamBackend, startStreamGateway, streamParts, type StreamBackend, type StreamParts } from './support/stream-gateway.ts';

let pki: TestPki;
let backend: StreamBackend;
let gateway: TestGateway;
let names = 0;

beforeAll(async () => {
  pki = await testPki();
  backend = await startStreamBackend(pki, (socket) => socket.pipe(socket));
});

afterEach(() => gateway?.stop());

afterAll(() => backend.close());

const REVOCATION = '{ sources: [crl], skew: 0s, crl: { files: [issuing.crl, root.crl] } }';
const begin = (parts: StreamParts = {}): Promise<TestGateway> => startStreamGateway(pki, backend.port, { revocation: REVOCATION, ...parts });

/** A client of its own, so that what one test revokes is no other's. */
const device = (more: object = {}): Promise<Issued> => issueDevice(pki, `device-${names++}`, more);

interface Live {
  readonly client: TLSSocket;
  readonly certificate: Issued;
  /** Resolves when both sides have heard their end. */
  readonly ended: Promise<unknown>;
}

/** A stream that has carried octets both ways. */
async function live(certificate: Issued, octets: Buffer = Buffer.from('hello')): Promise<Live> {
  const client = await openStream(pki, gateway, certificate);
  client.on('error', () => undefined);
  client.write(octets);
  await new Promise((done) => client.once('data', done));
  const upstream = backend.accepted.at(-1) as TLSSocket;
  return { client, certificate, ended: Promise.all([gone(client), gone(upstream)]) };
}

/** The one record that says how a stream ended. */
async function expectEnd(reason: string, bytes = 5): Promise<void> {
  const records = async (): Promise<readonly Record<string, unknown>[]> => (await connectionRecords(gateway)).filter((record) => record['result'] !== 'permitted');
  await expect.poll(records).toMatchObject([{ result: 'denied', reason, bytes_in: bytes, upstream: 'peer', role: 'device', detail: expect.any(String), duration_ms: expect.any(Number) }]);
  const [begun] = await connectionRecords(gateway);
  expect((await records())[0]?.['request_id']).toBe(begun?.['request_id']);
}

describe('a live stream ends, on both sides and on record,', () => {
  it.each(['fingerprint', 'serial', 'key', 'issuer'] as const)('when its certificate is denied by %s', async (kind) => {
    gateway = await begin();
    const stream = await live(await device());
    const leaf = parseCertificate(stream.certificate.der);
    const subject = {
      fingerprint: { kind: 'fingerprint', fingerprint: leaf.sha256 }, serial: { kind: 'serial', serial: leaf.serial, issuer: leaf.issuer.normalized, issuer_text: 'the issuing CA' },
      key: { kind: 'key', key: leaf.spkiSha256 }, issuer: { kind: 'issuer', issuer: leaf.issuer.normalized, issuer_text: 'the issuing CA' },
    }[kind];
    await gateway.gateway.deny({ ...subject, reason: 'stolen', who: 'test' } as never);
    await stream.ended;
    await expectEnd('revoked_denylist');
  });

  it('when a new CRL revokes it', async () => {
    gateway = await begin();
    const stream = await live(await device());
    await writeFile(gateway.path('issuing.crl'), await issueCrl(pki.issuing, { number: 7, revoked: [{ serial: stream.certificate.serialHex, reason: 'keyCompromise' }] }));
    await stream.ended;
    await expectEnd('revoked_crl');
  });

  it('when a new CRL revokes its issuer', async () => {
    gateway = await begin();
    const stream = await live(await device());
    await writeFile(gateway.path('root.crl'), await issueCrl(pki.root, { number: 7, revoked: [{ serial: parseCertificate(pki.issuing.der).serial, reason: 'cACompromise' }] }));
    await stream.ended;
    await expectEnd('revoked_crl');
  });

  it('when the CRL that it stands on runs out', async () => {
    gateway = await begin();
    await writeFile(gateway.path('issuing.crl'), await issueCrl(pki.issuing, { number: 8, nextUpdate: new Date(Date.now() + 3_000) }));
    await gateway.gateway.reload();
    const stream = await live(await device());
    await stream.ended;
    await expectEnd('crl_expired');
  });

  it('when its certificate expires', async () => {
    gateway = await begin();
    const stream = await live(await device({ notAfter: new Date(Date.now() + 2_500) }));
    await stream.ended;
    await expectEnd('expired');
  });

  it.each<readonly [string, string, (text: string) => string]>([
    ['gives its certificate no role', 'no_role', (text) => text.replace('OU: Devices', 'OU: Scanners')],
    ['gives its certificate another role', 'role_denied', (text) => text.replace('role: device, match: { subject: { OU: Devices } }', 'role: kiosk, match: { subject: { OU: Devices } }').replace('allow: [device]', 'allow: [doctor]')],
    ['no longer lets its role in', 'role_denied', (text) => text.replace('allow: [device]', 'allow: [doctor]')],
    ['no longer trusts its CA', 'untrusted_issuer', (text) => text.replace('trust: [root.pem], intermediates: [issuing.pem]', 'trust: [backend-ca.pem]')],
    ['removes the listener', 'role_denied', (text) => text.replace('name: stream', 'name: other')],
  ])('when a reload %s', async (_what, reason, change) => {
    gateway = await begin();
    const stream = await live(await device());
    const text = configuration(backend.port, streamParts(backend.port, { revocation: REVOCATION }));
    expect(change(text)).not.toBe(text);
    await gateway.configure(change(text));
    await gateway.gateway.reload();
    await stream.ended;
    await expectEnd(reason);
  });

  it('when it stands still, both readers having stopped', async () => {
    gateway = await begin();
    const stream = await live(await device());
    stream.client.pause();
    const upstream = backend.accepted.at(-1) as TLSSocket;
    upstream.unpipe();
    upstream.pause();
    while (stream.client.write(Buffer.alloc(64 * 1024))) await new Promise((done) => setImmediate(done));
    while (upstream.write(Buffer.alloc(64 * 1024))) await new Promise((done) => setImmediate(done));
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: stream.certificate.sha256, reason: 'stolen', who: 'test' });
    await expect.poll(async () => (await connectionRecords(gateway)).at(-1)).toMatchObject({ result: 'denied', reason: 'revoked_denylist' });
    stream.client.destroy();
    upstream.destroy();
  });

  it('when its client has closed its half and waits for an answer', async () => {
    gateway = await begin();
    const certificate = await device();
    const client = await openStream(pki, gateway, certificate);
    client.on('error', () => undefined);
    const accepted: number = backend.accepted.length;
    client.write('hello');
    await expect.poll(() => backend.accepted.length).toBe(accepted + 1);
    const upstream = backend.accepted.at(-1) as TLSSocket;
    upstream.unpipe();
    upstream.resume();
    client.end();
    await expect.poll(() => upstream.readableEnded).toBe(true);
    const ended = gone(client);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: certificate.sha256, reason: 'stolen', who: 'test' });
    await ended;
    await expect.poll(async () => (await connectionRecords(gateway)).at(-1)).toMatchObject({ result: 'denied', reason: 'revoked_denylist', bytes_in: 5 });
  });

  it('when it has not said yet who it is', async () => {
    gateway = await begin({ listener: 'senders: { mllp: [ { id: "*", application: LAB } ] }' });
    const certificate = await device();
    const client = await openStream(pki, gateway, certificate);
    const ended = gone(client);
    client.write('\x0bMSH|');
    await expect.poll(async () => (await gateway.gateway.status()).connections).toBe(1);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: certificate.sha256, reason: 'stolen', who: 'test' });
    await ended;
    await expect.poll(() => connectionRecords(gateway)).toMatchObject([{ result: 'denied', reason: 'revoked_denylist', id: expect.stringMatching(/^device-/) }]);
  });

  it('within an HL7 message, whose rest does not pass', async () => {
    gateway = await begin({ listener: 'senders: { mllp: [ { id: "*", application: LAB } ] }' });
    const half = frame('LAB', 'NORTH', 'OBX|1|ED|').subarray(0, -2);
    const stream = await live(await device(), half);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: stream.certificate.sha256, reason: 'stolen', who: 'test' });
    stream.client.write('rest\r\x1c\r');
    await stream.ended;
    expect(backend.received(-1).equals(half)).toBe(true);
    await expect.poll(async () => (await connectionRecords(gateway)).at(-1)).toMatchObject({ result: 'denied', reason: 'revoked_denylist', sending_application: 'LAB', messages: 1 });
  });

  it('within a DICOM association, of which the rest does not pass', async () => {
    gateway = await begin({ listener: 'senders: { dicom: [ { id: "*", calling: CT1 } ] }' });
    const begun = Buffer.concat([associationRequest('CT1', 'PACS'), pdu(4, Buffer.alloc(60_000, 7)).subarray(0, 20_000)]);
    const stream = await live(await device(), begun);
    await expect.poll(() => backend.received(-1).length).toBe(begun.length);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: stream.certificate.sha256, reason: 'stolen', who: 'test' });
    stream.client.write(Buffer.alloc(40_006, 7));
    await stream.ended;
    expect(backend.received(-1).equals(begun)).toBe(true);
    await expect.poll(async () => (await connectionRecords(gateway)).at(-1)).toMatchObject({ result: 'denied', reason: 'revoked_denylist', calling_ae_title: 'CT1' });
  });
});

describe('of many live streams', () => {
  it('those of a revoked certificate end, on all threads, and the others go on', async () => {
    gateway = await begin();
    const [lost, kept] = [await device(), await device()];
    const streams: Live[] = [];
    for (let index = 0; index < 30; index++) streams.push(await live(index % 3 === 0 ? kept : lost));
    const ends = streams.filter(({ certificate }) => certificate === lost).map(({ client }) => gone(client));
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: lost.sha256, reason: 'stolen', who: 'test' });
    await Promise.all(ends);
    for (const { client } of streams.filter(({ certificate }) => certificate === kept)) {
      client.write('again');
      expect(String(await new Promise((done) => client.once('data', done)))).toBe('again');
      client.destroy();
    }
    await expect.poll(async () => (await connectionRecords(gateway)).filter((record) => record['reason'] === 'revoked_denylist').length).toBe(20);
  });
});

describe.skipIf(!hasDcmtk)('a C-STORE of dcmtk under way', () => {
  it('fails when its certificate is revoked, and no image is kept', async () => {
    const files = await writePki(pki);
    const certificate = await device();
    await Promise.all([...writeLeaf(files.path('ct'), certificate), mkdir(files.path('stored')), writeFile(files.path('image.dcm'), dicomFile('1.2.826.9', Buffer.alloc(30_000_000, 1)).file)]);
    // Rests within the data of each C-STORE: the association is in progress for seconds.
    const provider = await startStoreProvider(files.path('backend.key'), files.path('backend.pem'), files.path('backend-ca.pem'), files.path('stored'), ['--sleep-during', '3']);
    gateway = await startGateway(pki, provider.port, streamParts(provider.port, { listener: 'senders: { dicom: [ { id: "*", calling: CT1, called: PACS } ] }' }));
    const store = dcmtk('storescu', ['-v', '+tls', files.path('ct.key'), files.path('ct.pem'), '+cf', files.path('root.pem'), '-aet', 'CT1', '-aec', 'PACS', '127.0.0.1', String(gateway.port), files.path('image.dcm')]);
    await expect.poll(() => provider.output()).toContain('Received Store Request');
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: certificate.sha256, reason: 'stolen', who: 'test' });
    const { code, output } = await store;
    expect(code, output).not.toBe(0);
    await expect.poll(async () => (await connectionRecords(gateway)).at(-1)).toMatchObject({ result: 'denied', reason: 'revoked_denylist', calling_ae_title: 'CT1', called_ae_title: 'PACS' });
    expect(await readdir(files.path('stored'))).toEqual([]);
    provider.stop();
    await rm(files.directory, { recursive: true, force: true });
  }, 60_000);
});
