import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { parseCertificate } from '../src/pki/certificate.ts';
import { dcmtk, dicomFile, hasDcmtk, startStoreProvider } from './support/dicom.ts';
import { configuration, startGateway, type TestGateway } from './support/gateway.ts';
import { issueCrl, testPki, writeLeaf, writePki, type CrlOptions, type Issued, type TestPki } from './support/pki.ts';
import { associationRequest, frame, pdu } from './support/senders.ts';
import { connectionRecords, gone, issueDevice, openStream, startStreamBackend, streamParts, type StreamBackend } from './support/stream-gateway.ts';
import { openBefore } from './support/timing.ts';

let pki: TestPki;
let backend: StreamBackend;
let gateway: TestGateway;
/** The configuration that each test begins with. */
let yaml: string;
let names = 0;
let crlNumber = 6;

beforeAll(async () => {
  pki = await testPki();
  backend = await startStreamBackend(pki, (socket) => socket.pipe(socket));
  const revocation = '{ sources: [crl], skew: 0s, crl: { files: [issuing.crl, root.crl] } }';
  const listeners = { stream: '', hl7: 'senders: { mllp: [ { id: "*", application: LAB } ] }', dicom: 'senders: { dicom: [ { id: "*", calling: CT1 } ] }' };
  const parts = {
    ...streamParts(backend.port, { revocation }),
    listeners: Object.entries(listeners).map(([name, listener]) => streamParts(backend.port, { listener }).listeners?.replace('name: stream', `name: ${name}`)).join(''),
  };
  gateway = await startGateway(pki, backend.port, parts);
  yaml = configuration(backend.port, parts);
});

afterAll(async () => {
  await gateway.stop();
  backend.close();
});

/** Puts another configuration in force until the end of the test. */
async function reload(text: string): Promise<void> {
  const put = async (what: string): Promise<void> => {
    await gateway.configure(what);
    await gateway.gateway.reload();
  };
  onTestFinished(() => put(yaml));
  await put(text);
}

/** Puts a newer CRL in place, and at the end of the test one that revokes nothing. */
async function publish(file: 'issuing.crl' | 'root.crl', options: CrlOptions): Promise<void> {
  const write = async (what: CrlOptions): Promise<void> => writeFile(gateway.path(file), await issueCrl(file === 'root.crl' ? pki.root : pki.issuing, { number: ++crlNumber, ...what }));
  onTestFinished(async () => {
    await write({});
    await gateway.gateway.reload();
  });
  await write(options);
}

/** A client of its own, so that what one test revokes is no other's. */
const device = (more: object = {}): Promise<Issued> => issueDevice(pki, `device-${names++}`, more);

interface Live {
  readonly client: TLSSocket;
  readonly certificate: Issued;
  /** Resolves when both sides have heard their end. */
  readonly ended: Promise<unknown>;
}

type ListenerName = 'stream' | 'hl7' | 'dicom';

function connectTo(listener: ListenerName, certificate: Issued): Promise<TLSSocket> {
  return openStream(pki, { ...gateway, port: gateway.gateway.listeners.find(({ name }) => name === listener)?.port ?? 0 }, certificate);
}

/** A stream that has carried octets both ways. */
async function live(certificate: Issued, octets: Buffer = Buffer.from('hello'), listener: ListenerName = 'stream'): Promise<Live> {
  const client = await connectTo(listener, certificate);
  client.on('error', () => undefined);
  client.write(octets);
  await new Promise((done) => client.once('data', done));
  const upstream = backend.accepted.at(-1) as TLSSocket;
  return { client, certificate, ended: Promise.all([gone(client), gone(upstream)]) };
}

/** The records of a certificate's connections. */
async function recordsOf({ serialHex }: Issued): Promise<readonly Record<string, unknown>[]> {
  return (await connectionRecords(gateway)).filter((record) => record['serial'] === serialHex);
}

/** The one record that says how a stream ended. */
async function expectEnd({ certificate }: Live, reason: string): Promise<void> {
  const ends = async (): Promise<readonly Record<string, unknown>[]> => (await recordsOf(certificate)).filter((record) => record['result'] !== 'permitted');
  await expect.poll(ends).toMatchObject([{ result: 'denied', reason, bytes_in: 5, upstream: 'peer', role: 'device', detail: expect.any(String), duration_ms: expect.any(Number) }]);
  const [begun] = await recordsOf(certificate);
  expect((await ends())[0]?.['request_id']).toBe(begun?.['request_id']);
}

describe('a live stream ends, on both sides and on record,', () => {
  it.each(['fingerprint', 'serial', 'key', 'issuer'] as const)('when its certificate is denied by %s', async (kind) => {
    const stream = await live(await device());
    const leaf = parseCertificate(stream.certificate.der);
    const subject = {
      fingerprint: { kind: 'fingerprint', fingerprint: leaf.sha256 }, serial: { kind: 'serial', serial: leaf.serial, issuer: leaf.issuer.normalized, issuer_text: 'the issuing CA' },
      key: { kind: 'key', key: leaf.spkiSha256 }, issuer: { kind: 'issuer', issuer: leaf.issuer.normalized, issuer_text: 'the issuing CA' },
    }[kind];
    await gateway.gateway.deny({ ...subject, reason: 'stolen', who: 'test' } as never);
    onTestFinished(async () => void await gateway.gateway.reinstate(subject as never, 'test'));
    await stream.ended;
    await expectEnd(stream, 'revoked_denylist');
  });

  it('when a new CRL revokes it', async () => {
    const stream = await live(await device());
    await publish('issuing.crl', { revoked: [{ serial: stream.certificate.serialHex, reason: 'keyCompromise' }] });
    await stream.ended;
    await expectEnd(stream, 'revoked_crl');
  });

  it('when a new CRL revokes its issuer', async () => {
    const stream = await live(await device());
    await publish('root.crl', { revoked: [{ serial: parseCertificate(pki.issuing.der).serial, reason: 'cACompromise' }] });
    await stream.ended;
    await expectEnd(stream, 'revoked_crl');
  });

  it('when the CRL that it stands on runs out', async () => {
    const stream = await openBefore(3_000, async (end) => {
      const client = await device();
      await publish('issuing.crl', { nextUpdate: end() });
      await gateway.gateway.reload();
      return live(client);
    });
    await stream.ended;
    await expectEnd(stream, 'crl_expired');
  });

  it('when its certificate expires', async () => {
    const stream = await openBefore(3_000, async (end) => live(await device({ notAfter: end() })));
    await stream.ended;
    await expectEnd(stream, 'expired');
  });

  it.each<readonly [string, string, (text: string) => string]>([
    ['gives its certificate no role', 'no_role', (text) => text.replace('OU: Devices', 'OU: Scanners')],
    ['gives its certificate another role', 'role_denied', (text) => text.replace('role: device, match: { subject: { OU: Devices } }', 'role: kiosk, match: { subject: { OU: Devices } }').replaceAll('allow: [device]', 'allow: [doctor]')],
    ['no longer lets its role in', 'role_denied', (text) => text.replaceAll('allow: [device]', 'allow: [doctor]')],
    ['no longer trusts its CA', 'untrusted_issuer', (text) => text.replace('trust: [root.pem], intermediates: [issuing.pem]', 'trust: [backend-ca.pem]')],
    ['removes the listener', 'role_denied', (text) => text.replace('name: stream', 'name: other')],
  ])('when a reload %s', async (_what, reason, change) => {
    const stream = await live(await device());
    expect(change(yaml)).not.toBe(yaml);
    await reload(change(yaml));
    await stream.ended;
    await expectEnd(stream, reason);
  });

  it('when it stands still, both readers having stopped', async () => {
    const stream = await live(await device());
    stream.client.pause();
    const upstream = backend.accepted.at(-1) as TLSSocket;
    upstream.unpipe();
    upstream.pause();
    while (stream.client.write(Buffer.alloc(64 * 1024))) await new Promise((done) => setImmediate(done));
    while (upstream.write(Buffer.alloc(64 * 1024))) await new Promise((done) => setImmediate(done));
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: stream.certificate.sha256, reason: 'stolen', who: 'test' });
    await expect.poll(async () => (await recordsOf(stream.certificate)).at(-1)).toMatchObject({ result: 'denied', reason: 'revoked_denylist' });
    stream.client.destroy();
    upstream.destroy();
  });

  it('when its client has closed its half and waits for an answer', async () => {
    const certificate = await device();
    const client = await connectTo('stream', certificate);
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
    await expect.poll(async () => (await recordsOf(certificate)).at(-1)).toMatchObject({ result: 'denied', reason: 'revoked_denylist', bytes_in: 5 });
  });

  it('when it has not said yet who it is', async () => {
    const certificate = await device();
    // Those of the tests before.
    await expect.poll(async () => (await gateway.gateway.status()).connections).toBe(0);
    const client = await connectTo('hl7', certificate);
    const ended = gone(client);
    client.write('\x0bMSH|');
    await expect.poll(async () => (await gateway.gateway.status()).connections).toBe(1);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: certificate.sha256, reason: 'stolen', who: 'test' });
    await ended;
    await expect.poll(() => recordsOf(certificate)).toMatchObject([{ result: 'denied', reason: 'revoked_denylist', id: expect.stringMatching(/^device-/) }]);
  });

  it('within an HL7 message, whose rest does not pass', async () => {
    const half = frame('LAB', 'NORTH', 'OBX|1|ED|').subarray(0, -2);
    const stream = await live(await device(), half, 'hl7');
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: stream.certificate.sha256, reason: 'stolen', who: 'test' });
    stream.client.write('rest\r\x1c\r');
    await stream.ended;
    expect(backend.received(-1).equals(half)).toBe(true);
    await expect.poll(async () => (await recordsOf(stream.certificate)).at(-1)).toMatchObject({ result: 'denied', reason: 'revoked_denylist', sending_application: 'LAB', messages: 1 });
  });

  it('within a DICOM association, of which the rest does not pass', async () => {
    const begun = Buffer.concat([associationRequest('CT1', 'PACS'), pdu(4, Buffer.alloc(60_000, 7)).subarray(0, 20_000)]);
    const stream = await live(await device(), begun, 'dicom');
    await expect.poll(() => backend.received(-1).length).toBe(begun.length);
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: stream.certificate.sha256, reason: 'stolen', who: 'test' });
    stream.client.write(Buffer.alloc(40_006, 7));
    await stream.ended;
    expect(backend.received(-1).equals(begun)).toBe(true);
    await expect.poll(async () => (await recordsOf(stream.certificate)).at(-1)).toMatchObject({ result: 'denied', reason: 'revoked_denylist', calling_ae_title: 'CT1' });
  });
});

describe('of many live streams', () => {
  it('those of a revoked certificate end, on all threads, and the others go on', async () => {
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
    await expect.poll(async () => (await recordsOf(lost)).filter((record) => record['reason'] === 'revoked_denylist').length).toBe(20);
  });
});

describe.skipIf(!hasDcmtk)('a C-STORE of dcmtk under way', () => {
  it('fails when its certificate is revoked, and no image is kept', async () => {
    const files = await writePki(pki);
    const certificate = await device();
    await Promise.all([...writeLeaf(files.path('ct'), certificate), mkdir(files.path('stored')), writeFile(files.path('image.dcm'), dicomFile('1.2.826.9', Buffer.alloc(30_000_000, 1)).file)]);
    // Rests within the data of each C-STORE: the association is in progress for seconds.
    const provider = await startStoreProvider(files.path('backend.key'), files.path('backend.pem'), files.path('backend-ca.pem'), files.path('stored'), ['--sleep-during', '3']);
    const storing = await startGateway(pki, provider.port, streamParts(provider.port, { listener: 'senders: { dicom: [ { id: "*", calling: CT1, called: PACS } ] }' }));
    const store = dcmtk('storescu', ['-v', '+tls', files.path('ct.key'), files.path('ct.pem'), '+cf', files.path('root.pem'), '-aet', 'CT1', '-aec', 'PACS', '127.0.0.1', String(storing.port), files.path('image.dcm')]);
    await expect.poll(() => provider.output()).toContain('Received Store Request');
    await storing.gateway.deny({ kind: 'fingerprint', fingerprint: certificate.sha256, reason: 'stolen', who: 'test' });
    const { code, output } = await store;
    expect(code, output).not.toBe(0);
    await expect.poll(async () => (await connectionRecords(storing)).at(-1)).toMatchObject({ result: 'denied', reason: 'revoked_denylist', calling_ae_title: 'CT1', called_ae_title: 'PACS' });
    expect(await readdir(files.path('stored'))).toEqual([]);
    await storing.stop();
    provider.stop();
    await rm(files.directory, { recursive: true, force: true });
  }, 60_000);
});
