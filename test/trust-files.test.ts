import { createPublicKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { lookAtBundles } from '../src/bundle-refresh.ts';
import { readFileOrDirectory } from '../src/config/files.ts';
import { olderBundles } from '../src/config/trust-files.ts';
import { readSpiffeBundle } from '../src/pki/spiffe-bundle.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, configuration, exchange, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { createAuthority, issueCertificate, rsaKey, testPki, type Authority, type Issued, type TestPki } from './support/pki.ts';

let pki: TestPki;
let kiosks: Authority;
let kiosk: Issued;
let backend: Backend;
let served: TestGateway;

const OPEN = 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n';

/** A key of a bundle, as SPIRE writes it. */
function jwk(authority: Authority, use = 'x509-svid'): object {
  return { use, ...new X509Certificate(authority.certificate).publicKey.export({ format: 'jwk' }), x5c: [authority.der.toString('base64')] };
}

function bundle(authorities: readonly Authority[], sequence: number | undefined, more: object = {}): string {
  return JSON.stringify({ keys: authorities.map((authority) => jwk(authority)), ...(sequence === undefined ? {} : { spiffe_sequence: sequence }), ...more });
}

beforeAll(async () => {
  pki = await testPki();
  kiosks = await createAuthority({ name: [['CN', 'Kiosks Root']] });
  kiosk = await issueCertificate(kiosks, { subject: [['CN', 'Kiosk'], ['OU', 'Devices']], san: { dns: 'kiosk.test' } });
  backend = await startBackend(pki);
  served = await startGateway(pki, backend.port, {
    clientAuth: '{ mode: optional, trust: root.pem, intermediates: [issuing.pem] }', revocation: '{ check: off }',
  });
});

afterAll(async () => {
  await served.stop();
  await backend.close();
});

/** Puts `trust` of the gateway's listener in force. */
async function trusting(trust: string, parts: { readonly top?: string; readonly intermediates?: string } = {}): Promise<void> {
  const { top = '', intermediates = 'issuing.pem' } = parts;
  await served.configure(configuration(backend.port, { clientAuth: `{ mode: optional, trust: ${trust}, intermediates: [${intermediates}] }`, revocation: '{ check: off }', top }));
  await served.gateway.reload();
}

const statusOf = async (client: Issued): Promise<number> => (await ask(pki, served.port, '/echo/x', { client })).status;
const answers = (socket: TLSSocket): Promise<string> => exchange(socket, OPEN, (text) => text.includes('\r\n\r\n'));

describe('a directory of trust', () => {
  it('is followed as files come and go: who is no longer trusted is cut off, the others go on on their connections', async () => {
    await mkdir(served.path('anchors'));
    await writeFile(served.path('anchors/hospital.pem'), pki.root.certificate);
    await writeFile(served.path('anchors/kiosks.crt'), kiosks.certificate);
    await trusting('anchors');
    const [doctor, device] = await Promise.all([openTls(pki, served.port, { client: pki.doctor }), openTls(pki, served.port, { client: kiosk })]);
    expect(await answers(doctor)).toMatch(/^HTTP\/1.1 200 /);
    expect(await answers(device)).toMatch(/^HTTP\/1.1 200 /);
    const cut = new Promise((done) => device.on('close', done));
    await rm(served.path('anchors/kiosks.crt'));
    await cut;
    await expect.poll(() => statusOf(kiosk)).toBe(403);
    expect(await answers(doctor)).toMatch(/^HTTP\/1.1 200 /);
    await expect.poll(() => served.records()).toContainEqual(expect.objectContaining({ event: 'connection', reason: 'untrusted_issuer', fingerprint: kiosk.sha256 }));
    await writeFile(served.path('anchors/kiosks.cer'), kiosks.certificate);
    await expect.poll(() => statusOf(kiosk), { timeout: 20_000 }).toBe(200);
    expect(await answers(doctor)).toMatch(/^HTTP\/1.1 200 /);
    doctor.destroy();
  });

  it('that is half written, or empty, leaves what was trusted as it was, and says so until it is whole', async () => {
    const failing = async (): Promise<string | undefined> => (await served.gateway.status()).certificates.failing?.detail;
    await writeFile(served.path('anchors/new.pem'), kiosks.certificate.slice(0, 200));
    await expect.poll(failing, { timeout: 20_000 }).toMatch(/anchors\/new\.pem/);
    expect(await statusOf(kiosk)).toBe(200);
    await rm(served.path('anchors/new.pem'));
    await expect.poll(failing, { timeout: 20_000 }).toBeUndefined();
    await rename(served.path('anchors'), served.path('elsewhere'));
    await mkdir(served.path('anchors'));
    await expect.poll(failing, { timeout: 20_000 }).toMatch(/"anchors" is a directory without any file \*\.pem, \*\.crt or \*\.cer/);
    expect(await statusOf(kiosk)).toBe(200);
    const checked = await wardgate(['check', '-c', served.path('wardgate.yaml')]);
    expect(checked).toMatchObject({ code: 1, stdout: expect.stringContaining('listeners[0].client_auth.trust: "anchors" is a directory without any file') });
    await rm(served.path('anchors'), { recursive: true });
    await rename(served.path('elsewhere'), served.path('anchors'));
    await expect.poll(failing, { timeout: 20_000 }).toBeUndefined();
  });

  it('serves for upstreams, too, and for what roles are bound to', async () => {
    await mkdir(served.path('backends'));
    await writeFile(served.path('backends/one.pem'), kiosks.certificate);
    const upstreams = (trust: string): string => `{ records: { endpoints: ["https://127.0.0.1:${backend.port}"], tls: { trust: ${trust}, certificate: gateway.pem, key: gateway.key, server_name: records.internal } } }`;
    const roles = '[{ role: device, match: { subject: { OU: Devices }, trust: backends }, id: "{san.dns}" }, { role: doctor, match: { subject: { OU: Doctors } }, id: "{subject.CN}" }, { role: patient, match: { subject: { OU: Patients } }, id: "{subject.CN}" }]';
    await served.configure(configuration(backend.port, { clientAuth: '{ mode: optional, trust: anchors, intermediates: [issuing.pem] }', revocation: '{ check: off }', upstreams: upstreams('backends'), roles }));
    await served.gateway.reload();
    expect([await statusOf(pki.doctor), await statusOf(kiosk)]).toEqual([502, 502]);
    await writeFile(served.path('backends/two.pem'), pki.backendCa.certificate);
    await expect.poll(() => statusOf(kiosk), { timeout: 20_000 }).toBe(200);
    await rm(served.path('backends/one.pem'));
    await expect.poll(() => statusOf(kiosk), { timeout: 20_000 }).toBe(403);
    expect(await statusOf(pki.doctor)).toBe(200);
  });

  it('may be a volume of Kubernetes: links into a hidden directory, which is not read twice', async () => {
    const volume = await mkdtemp(join(tmpdir(), 'wardgate-volume-'));
    await mkdir(join(volume, '..2026_11_22'));
    await writeFile(join(volume, '..2026_11_22/ca.crt'), pki.root.certificate);
    await symlink('..2026_11_22', join(volume, '..data'));
    await symlink('..data/ca.crt', join(volume, 'ca.crt'));
    await writeFile(join(volume, '.ca.crt.swp'), 'half');
    await writeFile(join(volume, 'README'), 'not a certificate');
    expect(await readFileOrDirectory(volume, 'volume', 1_000_000)).toMatchObject({ kind: 'directory', files: [{ name: 'ca.crt' }] });
    await symlink('..data/gone.pem', join(volume, 'gone.pem'));
    expect(await readFileOrDirectory(volume, 'volume', 1_000_000)).toEqual({ kind: 'fault', message: expect.stringMatching(/^"volume\/gone\.pem": no such file/) });
    await rm(volume, { recursive: true });
  });
});

describe('a change of trust', () => {
  it('leaves a resumed connection alone whose intermediates only an earlier handshake has brought', async () => {
    await trusting('[root.pem]', { intermediates: '' });
    const first = await openTls(pki, served.port, { client: pki.doctor });
    const session = once(first, 'session') as Promise<[Buffer]>;
    expect(await answers(first)).toMatch(/^HTTP\/1.1 200 /);
    const [ticket] = await session;
    // Each thread learns by itself: on one that has not, it is refused, and comes again.
    const resumed = await vi.waitFor(async () => {
      const socket = await openTls(pki, served.port, { client: pki.doctor, session: ticket, maxVersion: 'TLSv1.3' });
      expect([socket.isSessionReused(), (await answers(socket)).slice(0, 12)]).toEqual([true, 'HTTP/1.1 200']);
      return socket;
    }, { timeout: 20_000 });
    // It could teach its thread again.
    first.destroy();
    await expect.poll(async () => (await served.gateway.status()).connections).toBe(1);
    await writeFile(served.path('kiosks.pem'), kiosks.certificate);
    await trusting('[root.pem, kiosks.pem]', { intermediates: '' });
    expect(await answers(resumed)).toMatch(/^HTTP\/1.1 200 /);
    resumed.destroy();
  });
});

describe('a SPIFFE bundle', () => {
  it('is trusted, followed as its sequence rises, and not when it falls: an old one could bring a CA back that was taken out', async () => {
    const write = (text: string): Promise<void> => writeFile(served.path('bundle.json'), text);
    await write(bundle([pki.root], 7));
    await trusting('bundle.json', { top: 'trust_domains: { hospital.test: { trust: bundle.json } }' });
    expect([await statusOf(pki.doctor), await statusOf(kiosk)]).toEqual([200, 403]);
    await write(bundle([pki.root, kiosks], 8));
    await expect.poll(() => statusOf(kiosk), { timeout: 20_000 }).toBe(200);
    await write(bundle([pki.root], 9));
    await expect.poll(() => statusOf(kiosk), { timeout: 20_000 }).toBe(403);
    await write(bundle([pki.root, kiosks], 8));
    await expect.poll(async () => (await served.gateway.status()).certificates.failing?.detail, { timeout: 20_000 }).toMatch(/"bundle.json": spiffe_sequence 8, and 9 is in force: an older bundle is not taken/);
    await expect(served.gateway.reload()).rejects.toThrow(/spiffe_sequence 8, and 9 is in force/);
    expect([await statusOf(pki.doctor), await statusOf(kiosk)]).toEqual([200, 403]);
    await write(bundle([pki.root], 9));
    await expect.poll(async () => (await served.gateway.status()).certificates.failing, { timeout: 20_000 }).toBeUndefined();
  });

  const read = (text: string) => readSpiffeBundle(Buffer.from(text));

  it('gives the CAs of x509-svid, its sequence to the last digit, and its hint in milliseconds; other keys are left out', async () => {
    const text = JSON.stringify({ keys: [jwk(pki.root), jwk(kiosks, 'jwt-svid'), { kty: 'EC' }, { ...jwk(kiosks), kty: 'new' }], spiffe_refresh_hint: 300 }).replace('{', '{"spiffe_sequence":18446744073709551617,');
    expect(read(text)).toEqual({
      kind: 'bundle', authorities: [new Uint8Array(pki.root.der)], sequence: '18446744073709551617', refresh: 300_000,
      ignored: ['keys[1] is for "jwt-svid"', 'keys[2] is for nothing that is known', 'keys[3] is of a kind that is not known'],
    });
    const rsa = await createAuthority({ name: [['CN', 'RSA Root']], key: await rsaKey() });
    expect(read(bundle([rsa], undefined))).toMatchObject({ kind: 'bundle', authorities: [new Uint8Array(rsa.der)] });
  });

  it.each<[string, () => string, RegExp]>([
    ['nothing for certificates', () => JSON.stringify({ keys: [jwk(pki.root, 'jwt-svid')] }), /no key for x509-svid: nobody would be trusted/],
    ['no keys', () => '{}', /no SPIFFE bundle/],
    ['half of it', () => bundle([pki.root], 1).slice(0, -20), /no SPIFFE bundle/],
    ['two certificates for one key', () => JSON.stringify({ keys: [{ ...jwk(pki.root), x5c: [pki.root.der.toString('base64'), kiosks.der.toString('base64')] }] }), /keys\[0\] does not have exactly one certificate in x5c/],
    ['the certificate of another key', () => JSON.stringify({ keys: [{ ...jwk(pki.root), x5c: [kiosks.der.toString('base64')] }] }), /keys\[0\] has a certificate of another key/],
    ['a certificate that is no CA\'s', () => JSON.stringify({ keys: [{ use: 'x509-svid', ...createPublicKey(kiosk.key).export({ format: 'jwk' }), x5c: [new X509Certificate(kiosk.certificate).raw.toString('base64')] }] }), /keys\[0\] has a certificate in x5c that is no CA's/],
    ['a certificate that cannot be read', () => JSON.stringify({ keys: [{ ...jwk(pki.root), x5c: ['AAAA'] }] }), /keys\[0\] has a certificate or a key that cannot be read/],
    ['a sequence that is a fraction', () => bundle([pki.root], 1.5), /spiffe_sequence that is no whole number/],
    ['a hint in words', () => bundle([pki.root], 1, { spiffe_refresh_hint: 'hourly' }), /spiffe_refresh_hint that is no whole number/],
  ])('with %s is refused as a whole', (_, text, detail) => {
    expect(read(text())).toEqual({ kind: 'fault', detail: expect.stringMatching(detail) });
  });

  it('that has lost its sequence is older than one that had one, and numbers are compared as numbers', () => {
    const named = (sequence?: string) => ({ directory: '/', bundles: { 'b.json': sequence === undefined ? {} : { sequence } } });
    expect(olderBundles(named('9'), named('10'))).toEqual([]);
    expect(olderBundles(named(), named('1'))).toEqual([]);
    expect(olderBundles(named('9'), named('9'))).toEqual([]);
    expect(olderBundles(named('10'), named('9'))).toHaveLength(1);
    expect(olderBundles(named('10'), named())).toEqual([expect.stringContaining('spiffe_sequence is missing')]);
  });

  it('is read again as often as its hint says, whatever its file looks like', async () => {
    let reads = 0;
    const close = lookAtBundles(() => ({ bundles: { a: { refresh: 1_000 }, b: { refresh: 3_600_000 } } }), async () => {
      reads += 1;
      throw new Error('not now');
    });
    await expect.poll(() => reads, { timeout: 20_000 }).toBeGreaterThan(1);
    close();
  });
});
