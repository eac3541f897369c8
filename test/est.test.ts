import { execFile } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pem } from '../src/ca/der.ts';
import { createRequest } from '../src/ca/request.ts';
import { generateKey } from '../src/ca/keys.ts';
import { pairFiles } from '../src/cli/renew/pair-files.ts';
import { renew } from '../src/cli/renew/renewal.ts';
import { readBundle } from '../src/pki/bundle.ts';
import { parseCertificate, type Certificate } from '../src/pki/certificate.ts';
import { testCa, type TestCa } from './support/ca.ts';
import { wardgate } from './support/command.ts';
import { startEst, type TestEst } from './support/est.ts';
import { ask, type Reply } from './support/gateway.ts';
import { issueCertificate, testPki, type Issued, type TestPki } from './support/pki.ts';

const run = promisify(execFile);
const DAY = 86_400_000;
const KIOSKS = ['gateway:front.hospital.test', 'Kiosk 1', 'Kiosk 2', 'Kiosk 3', 'Kiosk 4', 'Kiosk 5', 'Kiosk 6', 'Kiosk 7', 'Kiosk 8'] as const;

let pki: TestPki;
/** Its certificates were issued 70 days ago, for 90. */
let ca: TestCa;
let est: TestEst;

const ROUTES = `
  - { name: est, match: { path: /.well-known/est/* }, allow: [device], upstream: ca, limits: { body: 64KiB } }`;

beforeAll(async () => {
  let clock = Date.now() - 70 * DAY;
  pki = await testPki();
  ca = await testCa(KIOSKS, { now: () => clock, validity: 90 * DAY });
  clock = Date.now();
  est = await startEst(pki, ca, { routes: ROUTES, trust: `${pki.backendCa.certificate}${ca.office.root}`, gateways: ['gateway.internal', 'front.hospital.test'] });
});
afterAll(() => est.stop());

interface Device {
  readonly certificate: Certificate;
  /** As the client of the tests takes it. */
  readonly client: Issued;
}

function device(name: string): Device {
  const first = ca.first.get(name);
  if (first === undefined) throw new Error(`no ${name}`);
  return { certificate: parseCertificate(first.entry.der), client: { chain: first.entry.chain, key: first.key } as Issued };
}

async function requestOf(certificate: Certificate, parts: { readonly subject?: Uint8Array; readonly san?: boolean; readonly breakSignature?: boolean } = {}): Promise<Buffer> {
  const { privateKey } = await generateKey('ec');
  const extensions = certificate.extensions.filter(({ oid }) => oid === '2.5.29.17' && parts.san !== false);
  return createRequest(privateKey, { subject: parts.subject ?? certificate.subject.der, extensions, ...(parts.breakSignature === undefined ? {} : { breakSignature: parts.breakSignature }) });
}

const call = (operation: string, client: Issued | undefined, body?: string | Buffer, type = 'application/pkcs10'): Promise<Reply> =>
  ask(pki, est.gateway.port, `/.well-known/est/${operation}`, { ...(client === undefined ? {} : { client }), ...(body === undefined ? {} : { method: 'POST', headers: { 'content-type': type }, body }) });
const reenroll = (client: Issued, csr: Buffer): Promise<Reply> => call('simplereenroll', client, csr.toString('base64'));
const issuedIn = (reply: Reply): Certificate => readBundle(Buffer.from(reply.body.toString(), 'base64'), 5)[0] as Certificate;

async function kiosk(name: string): Promise<{ readonly certificate: string; readonly key: string; readonly directory: string }> {
  const directory = await mkdtemp(join(est.gateway.directory, 'kiosk-'));
  const first = ca.first.get(name);
  const [certificate, key] = [join(directory, 'kiosk.pem'), join(directory, 'kiosk.key')];
  writeFileSync(certificate, first?.entry.chain as string);
  writeFileSync(key, first?.key as string, { mode: 0o600 });
  return { certificate, key, directory };
}

const command = (files: { certificate: string; key: string }, ...more: readonly string[]) =>
  wardgate(['renew', '--est', `https://localhost:${est.gateway.port}`, '--cert', files.certificate, '--key', files.key, '--trust', est.gateway.path('root.pem'), ...more]);

describe('a device that renews its certificate', () => {
  test('has a new key and a new certificate, seen working through the gateway; the CA has all of it on record, and lets the old one go when told', async () => {
    const files = await kiosk('Kiosk 1');
    const old = device('Kiosk 1').certificate;
    const { code, stdout, stderr } = await command(files, '--now', '--json', '--overlap', '0s');
    expect([code, stderr]).toEqual([0, '']);
    const said = JSON.parse(stdout) as Record<string, string>;
    expect(said).toMatchObject({ result: 'renewed', previous_serial: old.serial });
    const renewed = parseCertificate(readBundle(readFileSync(files.certificate), 1)[0]?.der as Uint8Array);
    expect(renewed.serial).toBe(said['serial']);
    expect(renewed.spkiSha256).not.toBe(old.spkiSha256);
    expect(renewed.subject.normalized).toBe(old.subject.normalized);
    expect(renewed.notAfter).toBeGreaterThan(old.notAfter + 60 * DAY);
    expect(ca.office.entry(renewed.serial)).toMatchObject({ state: 'confirmed', renews: old.serial });
    expect(ca.office.entry(old.serial)).toMatchObject({ state: 'superseded', revoked: { reason: 'superseded' }, renewedBy: renewed.serial });
    expect(ca.office.events(ca.office.entry(renewed.serial).request).map(({ step }) => step)).toEqual(['submit', 'approve', 'reserve', 'issue', 'deliver', 'confirm']);
    const state = JSON.parse(readFileSync(join(files.directory, '.kiosk.key.renewal', 'state.json'), 'utf8')) as object;
    expect(state).toMatchObject({ result: 'renewed', serial: renewed.serial });
    // The old one is refused once the gateway has the new list.
    await expect.poll(async () => (await call('cacerts', device('Kiosk 1').client)).status).toBe(403);
    expect((await call('cacerts', { chain: readFileSync(files.certificate, 'utf8'), key: readFileSync(files.key, 'utf8') } as Issued)).status).toBe(200);
  });

  test('keeps the old certificate good until the programs have had time, and then tells the CA', async () => {
    const files = await kiosk('Kiosk 2');
    const old = device('Kiosk 2').certificate;
    expect((await command(files, '--now')).code).toBe(0);
    expect(ca.office.entry(old.serial).state).toBe('delivered');
    const { code, stdout } = await command(files, '--overlap', '0s');
    expect([code, stdout]).toEqual([0, expect.stringContaining('not due')]);
    expect(ca.office.entry(old.serial).state).toBe('superseded');
  });

  test('keeps the old pair when the new certificate does not work, says so, and takes it up in the next run', async () => {
    const files = await kiosk('Kiosk 3');
    const before = readFileSync(files.certificate, 'utf8');
    const failed = await command(files, '--now', '--check', `https://localhost:${est.gateway.port}/nowhere`);
    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(/not renewed \(check\): the new certificate does not work yet: status 404.*urgent from 20/);
    expect(readFileSync(files.certificate, 'utf8')).toBe(before);
    const issued = ca.office.entries().filter(({ name }) => name === 'Kiosk 3').length;
    expect((await command(files, '--now')).code).toBe(0);
    expect(readFileSync(files.certificate, 'utf8')).not.toBe(before);
    expect(ca.office.entries().filter(({ name }) => name === 'Kiosk 3')).toHaveLength(issued);
  });

  test('does nothing outside of its window, and says when its turn is', async () => {
    const files = await kiosk('Kiosk 4');
    const away = new Date(Date.now() + 6 * 3_600_000).getHours();
    const hour = (at: number): string => `${String(at % 24).padStart(2, '0')}:00`;
    const { code, stdout } = await command(files, '--window', `${hour(away)}-${hour(away + 1)}`);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/due, and its turn is 20/)]);
    const dry = await command(files, '--dry-run', '--json');
    expect(JSON.parse(dry.stdout)).toMatchObject({ result: 'not-now', not_after: expect.any(String), urgent: expect.any(String) });
  });

  test('says that its clock is not set, and that its certificate has expired', async () => {
    const { certificate, key } = await kiosk('Kiosk 4');
    const attempt = { files: pairFiles(certificate, key), est: `https://localhost:${est.gateway.port}`, trust: pki.root.certificate };
    expect(await renew({ ...attempt, now: 0 })).toMatchObject({ kind: 'failed', at: 'clock', detail: expect.stringContaining('it is not set'), again: 'no' });
    expect(await renew({ ...attempt, now: Date.now() + 30 * DAY })).toMatchObject({ kind: 'failed', at: 'clock', detail: expect.stringContaining('expired') });
  });

  test('believes no server that its trust file does not vouch for', async () => {
    const files = await kiosk('Kiosk 4');
    const { code, stderr } = await wardgate(['renew', '--est', `https://localhost:${est.gateway.port}`, '--cert', files.certificate, '--key', files.key, '--trust', est.gateway.path('backend-ca.pem'), '--now']);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/not renewed \(cacerts\): /)]);
  });
});

describe('the EST server behind the gateway', () => {
  test('is an independent client\'s too: openssl makes the request, curl sends it, openssl reads the answer', async () => {
    const { directory, certificate, key } = await kiosk('Kiosk 5');
    const at = (name: string): string => join(directory, name);
    const url = `https://localhost:${est.gateway.port}/.well-known/est`;
    const curl = (...args: readonly string[]) => run('curl', ['-sS', '--cacert', est.gateway.path('root.pem'), '--cert', certificate, '--key', key, ...args]);
    await curl('-o', at('cacerts.b64'), `${url}/cacerts`);
    await run('openssl', ['base64', '-d', '-in', at('cacerts.b64'), '-out', at('cacerts.p7')]);
    const cas = await run('openssl', ['pkcs7', '-inform', 'DER', '-in', at('cacerts.p7'), '-print_certs', '-out', at('cacerts.pem')]).then(() => readFileSync(at('cacerts.pem'), 'utf8'));
    expect(cas.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    await run('openssl', ['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', at('new.key'), '-subj', '/O=Hospital/OU=Devices/CN=Kiosk 5', '-addext', 'subjectAltName=DNS:kiosk-5.devices.hospital.test', '-outform', 'DER', '-out', at('new.csr')]);
    await run('openssl', ['base64', '-in', at('new.csr'), '-out', at('new.b64')]);
    const { stdout } = await curl('-w', '%{http_code} %{content_type}', '-o', at('answer.b64'), '-H', 'Content-Type: application/pkcs10', '-H', 'Content-Transfer-Encoding: base64', '--data-binary', `@${at('new.b64')}`, `${url}/simplereenroll`);
    expect(stdout).toBe('200 application/pkcs7-mime; smime-type=certs-only');
    await run('openssl', ['base64', '-d', '-in', at('answer.b64'), '-out', at('answer.p7')]);
    await run('openssl', ['pkcs7', '-inform', 'DER', '-in', at('answer.p7'), '-print_certs', '-out', at('new.pem')]);
    expect((await run('openssl', ['verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', at('cacerts.pem'), at('new.pem')])).stdout).toContain('OK');
    const { stdout: works } = await run('curl', ['-sS', '--cacert', est.gateway.path('root.pem'), '--cert', at('new.pem'), '--key', at('new.key'), '-o', '/dev/null', '-w', '%{http_code}', `${url}/csrattrs`]);
    expect(works).toBe('204');
  });

  test('answers the same request with the same certificate, and another key makes the unconfirmed one void', async () => {
    const { certificate, client } = device('Kiosk 6');
    const csr = await requestOf(certificate);
    const [first, again] = [issuedIn(await reenroll(client, csr)), issuedIn(await reenroll(client, csr))];
    expect(again.serial).toBe(first.serial);
    const other = issuedIn(await reenroll(client, await requestOf(certificate)));
    expect(other.serial).not.toBe(first.serial);
    expect(ca.office.entry(first.serial).state).toBe('revoked');
    expect(ca.office.entry(certificate.serial).state).toBe('delivered');
  });

  test('refuses too early a renewal', async () => {
    const { certificate, client } = device('Kiosk 6');
    const { privateKey } = await generateKey('ec');
    const csr = await createRequest(privateKey, { subject: certificate.subject.der, extensions: certificate.extensions.filter(({ oid }) => oid === '2.5.29.17') });
    const renewed = issuedIn(await reenroll(client, csr));
    const fresh = { chain: pem('CERTIFICATE', renewed.der), key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string };
    const reply = await reenroll(fresh as Issued, await requestOf(renewed));
    expect([reply.status, reply.body.toString()]).toEqual([403, expect.stringMatching(/^too early: .* from 20/)]);
  });

  test.each<[string, (certificate: Certificate) => Promise<string | Buffer>, number, RegExp]>([
    ['another subject', async (certificate) => (await requestOf(certificate, { subject: device('Kiosk 8').certificate.subject.der })).toString('base64'), 400, /the subject of the request/],
    ['other alternative names', async (certificate) => (await requestOf(certificate, { san: false })).toString('base64'), 400, /alternative names/],
    ['a broken signature', async (certificate) => (await requestOf(certificate, { breakSignature: true })).toString('base64'), 400, /signature/],
    ['garbage', async () => 'AAAA', 400, /certification request/],
    ['what is not base64', async () => '!!!!', 400, /not base64/],
    ['nothing', async () => '', 400, /not base64/],
  ])('refuses %s', async (_, body, status, words) => {
    const { certificate, client } = device('Kiosk 7');
    const reply = await call('simplereenroll', client, await body(certificate));
    expect([reply.status, reply.body.toString()]).toEqual([status, expect.stringMatching(words)]);
  });

  test('refuses the key of the certificate itself, and a request of another device that somebody has seen', async () => {
    const { certificate, client } = device('Kiosk 8');
    const { createPrivateKey } = await import('node:crypto');
    const names = certificate.extensions.filter(({ oid }) => oid === '2.5.29.17');
    const own = await createRequest(createPrivateKey(client.key), { subject: certificate.subject.der, extensions: names });
    expect((await reenroll(client, own)).body.toString()).toContain('a new key is needed');
    const seen = await requestOf(device('Kiosk 7').certificate);
    expect((await reenroll(client, seen)).status).toBe(400);
  });

  test('refuses another type, more than a request can be, and operations that it does not offer', async () => {
    const { client } = device('Kiosk 8');
    expect((await call('simplereenroll', client, 'AAAA', 'text/plain')).status).toBe(415);
    expect((await call('simplereenroll', client, 'A'.repeat(65_000))).status).toBe(400);
    expect((await call('simplereenroll', client, Buffer.alloc(70 * 1024, 65))).status).toBe(413);
    expect((await call('simpleenroll', client, 'AAAA')).status).toBe(401);
    expect((await call('serverkeygen', client, 'AAAA')).status).toBe(501);
    expect((await call('simplereenroll', client)).status).toBe(405);
    expect((await call('nothing', client)).status).toBe(404);
    expect((await call('kiosks/cacerts', client)).status).toBe(200);
  });

  test('is reached by nobody without a certificate, by no other role, and by no device of another CA', async () => {
    expect((await call('cacerts', undefined)).status).toBe(401);
    expect((await call('cacerts', pki.doctor)).status).toBe(403);
    const csr = await requestOf(parseCertificate(pki.device.der));
    const reply = await reenroll(pki.device, csr);
    expect([reply.status, reply.body.toString()]).toEqual([403, expect.stringContaining('none of this CA')]);
  });

  test('believes a Client-Cert of no one but the gateway', async () => {
    const { request } = await import('node:https');
    const { certificate } = device('Kiosk 8');
    const csr = (await requestOf(certificate)).toString('base64');
    const asked = (client: Issued, headers: Record<string, string>) => new Promise<number | string>((done) => {
      const outgoing = request({ host: '127.0.0.1', port: est.server.est?.port, servername: 'localhost', path: '/.well-known/est/simplereenroll', method: 'POST', ca: ca.office.root, cert: client.chain, key: client.key, agent: false, headers: { 'content-type': 'application/pkcs10', ...headers } }, (response) => {
        response.resume();
        done(response.statusCode ?? 0);
      });
      outgoing.on('error', (error) => done(error.message));
      outgoing.end(csr);
    });
    const named = { 'client-cert': `:${Buffer.from(certificate.der).toString('base64')}:` };
    const sameCa = await issueCertificate(pki.backendCa, { subject: [['CN', 'records']], san: { dns: 'records.internal' } });
    expect(await asked(sameCa, named)).toBe(403);
    expect(await asked(device('Kiosk 7').client, named)).toBe(403);
    expect(await asked(pki.doctor, named)).toEqual(expect.any(String));
    expect(await asked(pki.gatewayClient, {})).toBe(403);
    expect(await asked(pki.gatewayClient, { 'client-cert': 'garbage' })).toBe(403);
    // Of the CA that serves, whose root alone is trusted: its issuing CA is known here.
    expect(await asked(device('front.hospital.test').client, named)).toBe(200);
  });

  test('answers so many requests of one device in an hour and no more', async () => {
    const { certificate, client } = device('Kiosk 8');
    const csr = await requestOf(certificate, { san: false });
    const statuses = [];
    for (let sent = 0; sent < 12; sent += 1) statuses.push((await reenroll(client, csr)).status);
    expect(statuses.at(-1)).toBe(429);
    expect((await reenroll(client, csr)).headers['retry-after']).toBe('360');
  });

  test('tells a revoked device nothing', async () => {
    const { certificate, client } = device('Kiosk 7');
    ca.office.revoke(certificate.serial, { who: 'security', why: 'stolen', reason: 'keyCompromise' });
    // The CA knows at once, the gateway with the next list.
    expect((await reenroll(client, await requestOf(certificate))).status).toBe(403);
    await expect.poll(async () => (await reenroll(client, await requestOf(certificate))).json()).toMatchObject({ code: 'certificate_rejected' });
  });
});
